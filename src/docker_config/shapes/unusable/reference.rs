//! Texts that stand for a secret elsewhere: templates, variables, and references of other tools.

use super::{Unusable, between, is_secret_variable, is_variable};

/// The marks around an expression of a template.
const TEMPLATES: [(&str, &str); 4] = [("{{", "}}"), ("${{", "}}"), ("<%", "%>"), ("{%", "%}")];

/// The marks around the name of a variable, or a command: shells, Kubernetes, Azure Pipelines, Octopus.
const VARIABLES: [(&str, &str); 3] = [("${", "}"), ("$(", ")"), ("#{", "}")];

/// The marks around a name in capitals: shells, `cmd`, Maven, replacers of tokens.
const NAME_MARKS: [(&str, &str); 6] =
    [("$", ""), ("%", "%"), ("@@", "@@"), ("@", "@"), ("__", "__"), ("#{", "}#")];

/// The schemes of references of secret managers.
const SCHEMES: [&str; 31] = [
    "1password",
    "akv",
    "aws-secretsmanager",
    "aws-sm",
    "awsps",
    "awssecretsmanager",
    "awssm",
    "awsssm",
    "azkv",
    "azurekeyvault",
    "berglas",
    "bitwarden",
    "bw",
    "conjur",
    "doppler",
    "env",
    "file",
    "gcp-sm",
    "gcpsecretmanager",
    "gcpsm",
    "infisical",
    "k8s",
    "keeper",
    "keyvault",
    "op",
    "secret",
    "secretmanager",
    "secrets",
    "sm",
    "ssm",
    "vault",
];

/// The beginnings of references: templates of AWS, Azure, ARNs, Google, tags of YAML, Git LFS.
const PREFIXES: [&str; 13] = [
    "{{resolve:",
    "@Microsoft.KeyVault(",
    "secretref:",
    "keyvaultref:",
    ">>vault:",
    "arn:aws:",
    "arn:aws-cn:",
    "arn:aws-us-gov:",
    "!Ref ",
    "!Sub ",
    "!GetAtt ",
    "!ImportValue ",
    "version https://git-lfs.github.com/",
];

pub(super) fn find(text: &str) -> Option<Unusable> {
    let text = text.trim();
    if is_reference(text) {
        Some(Unusable::Reference)
    } else if is_template(text) {
        Some(Unusable::Template)
    } else if is_unreplaced_variable(text) {
        Some(Unusable::Variable)
    } else if ["http://", "https://"].iter().any(|scheme| has_scheme(text, scheme)) {
        Some(Unusable::Url)
    } else {
        None
    }
}

fn is_reference(text: &str) -> bool {
    PREFIXES.iter().any(|prefix| text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()))
        || text.split_once("://").is_some_and(|(scheme, rest)| is_scheme(scheme) && is_one_word(rest))
        || text.strip_prefix("vault:").is_some_and(|rest| rest.contains('/') && rest.contains('#'))
        || between(text, "<path:", ">").is_some()
        || (text.starts_with("projects/") && text.contains("/secrets/"))
        || text.strip_prefix("env:").is_some_and(is_secret_variable)
}

/// Returns true for the scheme of a reference, also as vals writes it: `ref+vault`.
fn is_scheme(scheme: &str) -> bool {
    SCHEMES.contains(&scheme)
        || ["ref+", "secretref+"].iter().any(|prefix| {
            scheme
                .strip_prefix(prefix)
                .is_some_and(|rest| !rest.is_empty() && rest.chars().all(char::is_alphanumeric))
        })
}

fn is_one_word(rest: &str) -> bool {
    !rest.is_empty() && !rest.contains(char::is_whitespace)
}

fn has_scheme(text: &str, scheme: &str) -> bool {
    text.strip_prefix(scheme).is_some_and(is_one_word)
}

fn is_template(text: &str) -> bool {
    let has_expression = text.split_once("{{ ").is_some_and(|(_, rest)| rest.contains(" }}"));
    has_expression || TEMPLATES.iter().any(|(open, close)| between(text, open, close).is_some())
}

fn is_unreplaced_variable(text: &str) -> bool {
    let is_whole = VARIABLES.iter().any(|(open, close)| {
        between(text, open, close).is_some_and(|inner| starts_like_name(inner) && !inner.contains(['{', '(']))
    });
    let is_name =
        NAME_MARKS.iter().any(|(open, close)| between(text, open, close).is_some_and(is_secret_variable));
    let is_of_powershell = text.strip_prefix("$env:").is_some_and(is_variable);
    is_whole || is_name || is_of_powershell || has_variable_inside(text)
}

fn starts_like_name(inner: &str) -> bool {
    inner.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Returns true for a text around a variable: `token-${REGISTRY_TOKEN}`.
fn has_variable_inside(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("${") {
        match after.split_once('}') {
            Some((name, _)) if is_secret_variable(name) => return true,
            _ => rest = after,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_near_misses};
    use super::*;

    #[test]
    fn reference_of_another_tool_is_recognised() {
        check(
            find,
            Unusable::Reference,
            &[
                "vault:secret/data/ci/ghcr#password",
                ">>vault:secret/data/x#y",
                "op://ci/ghcr/token",
                "ref+vault://secret/ci/ghcr#/password",
                "ref+awssecrets://ci/ghcr",
                "secretref+sops://a#b",
                "<path:secret/data/ci/ghcr#password>",
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ci/ghcr",
                "arn:aws-cn:ssm:cn-north-1:1:parameter/x",
                "{{resolve:secretsmanager:ci/ghcr:SecretString:password}}",
                "projects/acme/secrets/ghcr/versions/latest",
                "projects/1/secrets/ghcr",
                "@Microsoft.KeyVault(SecretUri=https://x.vault.azure.net/secrets/y)",
                "secretref:ghcr-password",
                "keyvaultref:https://x.vault.azure.net/secrets/y,identityref:z",
                "awssm://ci/ghcr",
                "gcpsm://p/s",
                "sm://project/secret",
                "env:REGISTRY_TOKEN",
                "file:///run/secrets/x",
                "!Ref RegistryPassword",
            ],
        );
        check_near_misses(
            find,
            &[
                "vault:pw",
                "vault:a/b",
                "vault:a#b",
                "op:/x",
                "op://",
                "op://two words",
                "top://x",
                "ref+",
                "ref+://x",
                "<path>",
                "arn:",
                "arn:aws:",
                "arn:pw:x",
                "projects/x",
                "secrets/projects/",
                "@Microsoft",
                "secretref",
                "env:pw",
                "env:TEST",
                "!Refuse",
                "pw://x",
                "a+b://c",
            ],
        );
    }

    #[test]
    fn template_that_was_not_rendered_is_recognised() {
        check(
            find,
            Unusable::Template,
            &[
                "{{ .Values.password }}",
                "{{password}}",
                "${{ secrets.TOKEN }}",
                "<%= password %>",
                "{% raw %}",
                "token-{{ .token }}",
                "{{- .x -}}",
            ],
        );
        check_near_misses(
            find,
            &["{{", "}}", "{{}}", "{{pw", "pw}}", "{pw}", "<%", "a{{b}}c", "%>x<%", "{{ pw"],
        );
    }

    #[test]
    fn variable_that_was_not_replaced_is_recognised() {
        check(
            find,
            Unusable::Variable,
            &[
                "${TOKEN}",
                "${token}",
                "${env.TOKEN}",
                "${TOKEN:-default}",
                "$(REGISTRY_TOKEN)",
                "$(cat /run/x)",
                "$REGISTRY_PASSWORD",
                "%REGISTRY_PASSWORD%",
                "@@TOKEN@@",
                "@REGISTRY_TOKEN@",
                "__REGISTRY_TOKEN__",
                "#{RegistryPassword}",
                "$env:REGISTRY_PASSWORD",
                "robot-${REGISTRY_TOKEN}",
                "#{REGISTRY_TOKEN}#",
            ],
        );
        check_near_misses(
            find,
            &[
                "$SUMMER2024",
                "$ecret",
                "$password",
                "$oauthtoken",
                "$",
                "${",
                "${}",
                "${1}",
                "$(1+1)",
                "$()",
                "a${b}",
                "a${}${x}",
                "%PW%D%",
                "%41%",
                "@HOME@",
                "__init__",
                "#{1}",
                "$env:",
                "x${y",
                "${a{b}}",
                "$PAS$WORD",
            ],
        );
    }

    #[test]
    fn url_is_recognised() {
        check(find, Unusable::Url, &["https://ghcr.io", "http://localhost:8200/v1/secret"]);
        check_near_misses(find, &["https", "https:pw", "https://", "xhttps://x", "https://a b", "HTTPS:/x"]);
    }
}
