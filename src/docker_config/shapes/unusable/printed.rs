//! Texts that a program printed around a secret or instead of one: pages, errors, commands, settings, objects.

use super::{Unusable, between, is_variable, names_secret};
use crate::docker_config::entry::decode_auth;

/// The beginnings of pages and documents, in lower case.
const PAGES: [&str; 6] = ["<!doctype", "<html", "<head>", "<body", "<?xml", "<error>"];

/// The beginnings of messages of errors, in lower case.
const ERRORS: [&str; 19] = [
    "error: ",
    "fatal: ",
    "panic: ",
    "usage: ",
    "an error occurred (",
    "error making api request",
    "error reading ",
    "error writing data to ",
    "no value found at ",
    "unable to locate credentials",
    "traceback (most recent call",
    "exception in thread ",
    "calling [tostring] on an [output",
    "curl: (",
    "404 page not found",
    "404 not found",
    "502 bad gateway",
    "503 service unavailable",
    "unhandled exception",
];

/// The ends of messages of errors, in lower case.
const ERROR_ENDS: [&str; 4] =
    [": command not found", ": no such file or directory", ": permission denied", ": connection refused"];

/// The whole answers of servers.
const ANSWERS: [&str; 9] = [
    "VARIABLE IS NOT DEFINED!",
    "Unauthorized",
    "Forbidden",
    "Not Found",
    "Access Denied",
    "permission denied",
    "Bad Gateway",
    "Internal Server Error",
    "Service Unavailable",
];

/// The beginnings of commands that log in or print a secret.
const COMMANDS: [&str; 21] = [
    "docker login ",
    "podman login ",
    "nerdctl login ",
    "buildah login ",
    "skopeo login ",
    "oras login ",
    "regctl registry ",
    "crane auth ",
    "helm registry login ",
    "echo ",
    "printf ",
    "cat /",
    "vault kv ",
    "vault read ",
    "bao kv ",
    "aws ecr ",
    "aws secretsmanager ",
    "gcloud ",
    "az acr ",
    "kubectl ",
    "sudo ",
];

/// The names of settings in lower case that stand for a secret.
const SETTINGS: [&str; 4] = ["password", "passwd", "token", "secret"];

pub(super) fn find(text: &str) -> Option<Unusable> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if PAGES.iter().any(|start| lower.starts_with(start)) {
        Some(Unusable::Page)
    } else if is_error(text, &lower) {
        Some(Unusable::ErrorText)
    } else if is_manifest(text) {
        Some(Unusable::Manifest)
    } else if is_command(text) {
        Some(Unusable::Command)
    } else if is_header(text) {
        Some(Unusable::Header)
    } else if text.lines().all(is_setting) && !text.is_empty() {
        Some(Unusable::Setting)
    } else if is_yaml(text) {
        Some(Unusable::Yaml)
    } else if is_printed_object(text) {
        Some(Unusable::Printed)
    } else {
        None
    }
}

fn is_error(text: &str, lower: &str) -> bool {
    ERRORS.iter().any(|start| lower.starts_with(start))
        || ERROR_ENDS.iter().any(|end| lower.ends_with(end))
        || ANSWERS.contains(&text)
}

/// Returns true for a header with a credential, with its name or without.
fn is_header(text: &str) -> bool {
    let value = text.strip_prefix("Authorization: ").or_else(|| text.strip_prefix("authorization: "));
    let basic = value.unwrap_or(text).strip_prefix("Basic ");
    let bearer = value.unwrap_or(text).strip_prefix("Bearer ").filter(|token| token.len() >= 16);
    value.is_some()
        || basic.is_some_and(|auth| decode_auth(auth).is_ok())
        || bearer.is_some_and(|token| !token.contains(' '))
}

fn is_manifest(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("apiVersion: "))
        && text.lines().any(|line| line.starts_with("kind: "))
}

fn is_command(text: &str) -> bool {
    // Two words after the name of a program: a password may be a few words, but hardly with an option or a pipe.
    let has_arguments = [" -", " |", " <", "/", " login"].iter().any(|part| text.contains(part));
    let text = text.strip_prefix("$ ").unwrap_or(text);
    has_arguments && COMMANDS.iter().any(|start| text.starts_with(start))
}

/// Returns true for a line such as `REGISTRY_PASSWORD=…`, `export TOKEN=…` or `password: …`.
fn is_setting(line: &str) -> bool {
    let line = line.trim();
    // Lines of .netrc and .npmrc.
    if line.starts_with("machine ") && line.contains(" login ") && line.contains(" password ") {
        return true;
    }
    if line.starts_with("//") && (line.contains(":_authToken=") || line.contains(":_auth=")) {
        return true;
    }
    if let Some((name, value)) = line.strip_prefix("export ").and_then(|rest| rest.split_once('=')) {
        return is_variable(name) && !value.is_empty();
    }
    if let Some((name, value)) = line.split_once('=') {
        let is_capital = is_variable(name) && !name.contains(|c: char| c.is_ascii_lowercase());
        // One or two equal signs at the end are the padding of base64.
        let is_padding = value.chars().all(|c| c == '=');
        return !is_padding && (is_capital && names_secret(name) || SETTINGS.contains(&name));
    }
    let setting = line.split_once(": ").filter(|(_, value)| !value.trim().is_empty());
    setting.is_some_and(|(name, _)| SETTINGS.contains(&name))
}

/// Returns true for several lines of YAML with one level of fields.
fn is_yaml(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && *line != "---").peekable();
    lines.peek().is_some_and(|first| !first.starts_with(' '))
        && text.lines().count() > 1
        && lines.all(is_field)
}

/// Returns true for a field of YAML, or a part of the one before.
fn is_field(line: &str) -> bool {
    let name = line.split_once(": ").map(|(name, _)| name).or_else(|| line.strip_suffix(':'));
    line.starts_with(' ') || name.is_some_and(|name| !name.is_empty() && !name.contains(' '))
}

fn is_printed_object(text: &str) -> bool {
    between(text, "[object ", "]").is_some_and(|inner| inner.chars().all(char::is_alphabetic))
        || between(text, "map[", "]").is_some_and(|inner| inner.contains(':'))
        || ["b'", "b\""].iter().any(|open| between(text, open, &open[1..]).is_some())
        || between(text, "{'", "}").is_some_and(|inner| inner.contains("': "))
        || between(text, "&{", "}").is_some()
        || between(text, "@{", "}").is_some_and(|inner| inner.contains('='))
        || between(text, "Some(\"", "\")").is_some()
        || between(text, "Optional[", "]").is_some()
        || (text.starts_with('<') && text.contains(" object at 0x") && text.ends_with('>'))
        || matches!(
            text,
            "System.Security.SecureString" | "System.Object[]" | "System.Byte[]" | "System.String[]"
        )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_near_misses};
    use super::*;

    #[test]
    fn page_is_recognised() {
        check(
            find,
            Unusable::Page,
            &[
                "<!DOCTYPE html><html>",
                "<html>\n<body>",
                "<?xml version=\"1.0\"?>",
                "<Error><Code>AccessDenied</Code></Error>",
            ],
        );
        check_near_misses(find, &["<htm", "!doctype", "<", "<errors>", "<b>pw</b>"]);
    }

    #[test]
    fn message_of_an_error_is_recognised() {
        check(
            find,
            Unusable::ErrorText,
            &[
                "Error: no such secret",
                "error: exit status 1",
                "An error occurred (AccessDeniedException) when calling",
                "Error making API request.\n\nURL: GET http://x",
                "No value found at secret/data/ci/ghcr",
                "bash: jq: command not found",
                "cat: /run/x: No such file or directory",
                "Unauthorized",
                "curl: (7) Failed to connect",
                "404 page not found",
                "permission denied",
                "Calling [toString] on an [Output<T>] is not supported.",
                "Traceback (most recent call last):",
            ],
        );
        check_near_misses(
            find,
            &[
                "error:pw",
                "Error",
                "Terror: x1",
                "error",
                "unauthorized",
                "Unauthorized1",
                "404",
                "command not found",
                "usage",
            ],
        );
    }

    #[test]
    fn command_is_recognised() {
        check(
            find,
            Unusable::Command,
            &[
                "docker login -u robot -p pw ghcr.io",
                "$ docker login -u robot ghcr.io",
                "helm registry login ghcr.io -u robot",
                "echo pw | docker login -u robot --password-stdin",
                "aws ecr get-login-password --region eu-west-1",
                "vault kv get -field=password secret/ci/ghcr",
                "cat /run/secrets/password",
            ],
        );
        check_near_misses(
            find,
            &["docker", "docker login", "docker-login -u", "echo chamber", "sudo please", "-p pw"],
        );
    }

    #[test]
    fn whole_line_of_settings_is_recognised() {
        check(
            find,
            Unusable::Setting,
            &[
                "PASSWORD=pw",
                "export REGISTRY_TOKEN=pw",
                "export x=pw",
                "password=pw",
                "password: pw",
                "token: pw",
                "DOCKER_AUTH=pw==",
                "machine ghcr.io login robot password pw",
                "//registry.example.com/:_authToken=pw",
                "REGISTRY_USER_TOKEN=a\nREGISTRY_PASSWORD=b",
            ],
        );
        check_near_misses(
            find,
            &[
                "PASSWORD=",
                "TOKEN==",
                "Password=pw",
                "A=b",
                "pass=word",
                "password:pw",
                "password",
                "export",
                "=pw",
                "cGFzc3dvcmQ=",
                "SUMMER=2024",
                "export =x",
                "token :x",
            ],
        );
    }

    #[test]
    fn header_is_recognised() {
        check(
            find,
            Unusable::Header,
            &[
                "Basic cm9ib3Q6cHc=",
                "Authorization: Basic cm9ib3Q6cHc=",
                "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
            ],
        );
        check_near_misses(
            find,
            &["Basic", "Basic training", "Basic cHc=", "Bearer", "Bearer of news", "Authorization"],
        );
    }

    #[test]
    fn yaml_is_recognised() {
        check(
            find,
            Unusable::Yaml,
            &["username: robot\npassword: pw", "---\nauths:\n  ghcr.io:\n    auth: x"],
        );
        check(find, Unusable::Manifest, &["apiVersion: v1\nkind: Secret\ndata:\n  .dockerconfigjson: e30="]);
        check_near_misses(
            find,
            &["a: b", "kind: Secret", "apiVersion: v1", "a: b\nc", "a b: c\nd e: f", "---"],
        );
    }

    #[test]
    fn printed_object_is_recognised() {
        check(
            find,
            Unusable::Printed,
            &[
                "[object Object]",
                "[object Promise]",
                "map[password:pw username:robot]",
                "b'pw'",
                "b\"pw\"",
                "{'username': 'robot'}",
                "&{robot pw}",
                "<Secret object at 0x7f>",
                "System.Security.SecureString",
                "@{password=pw}",
                "Some(\"pw\")",
                "Optional[pw]",
            ],
        );
        check_near_misses(
            find,
            &[
                "[object]",
                "object Object",
                "map[]",
                "map[pw]",
                "b'",
                "b''",
                "b'pw",
                "{pw}",
                "&pw",
                "{'x'}",
                "{'':a!a}",
            ],
        );
    }
}
