//! The rows of the table of stored values.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

/// The password in every value that holds one.
pub(super) const PASSWORD: &str = "hunter2-s3cret";

/// One form of a stored value.
pub(super) struct Row {
    /// The form, in words.
    pub(super) form: &'static str,
    pub(super) value: String,
    /// Fields of the spec. The host is ghcr.io, unless the row names another, or `none`.
    pub(super) spec: Vec<(&'static str, &'static str)>,
    /// The password that is expected.
    pub(super) password: String,
    /// The reason a text is taken as it is.
    pub(super) reason: &'static str,
}

const USERNAME: (&str, &str) = ("username", "robot");

fn row(form: &'static str, value: impl Into<String>, spec: &[(&'static str, &'static str)]) -> Row {
    Row { form, value: value.into(), spec: spec.to_vec(), password: PASSWORD.to_owned(), reason: "" }
}

fn base64(text: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(text)
}

fn auth() -> String {
    base64(format!("robot:{PASSWORD}"))
}

fn config() -> String {
    json!({"auths": {"ghcr.io": {"auth": auth()}}}).to_string()
}

/// A service account key of Google, as its own JSON is written.
fn google_key() -> String {
    json!({"private_key": PASSWORD, "type": "service_account"}).to_string()
}

pub(super) fn understood() -> Vec<Row> {
    let both = json!({"auths": {"ghcr.io": {"auth": auth()}, "https://ghcr.io": {"username": "robot", "password": PASSWORD}}});
    let one_bad =
        json!({"auths": {"ghcr.io": {"auth": auth()}, "quay.io": {}, "registry": {"auth": auth()}}});
    let mut rows = vec![
        row("two fields", json!({"username": "robot", "password": PASSWORD}).to_string(), &[]),
        row(
            "fields of other names",
            json!({"user": "robot", "token": PASSWORD}).to_string(),
            &[("usernameKey", "user"), ("passwordKey", "token")],
        ),
        row("ECR pull-through cache", json!({"username": "robot", "accessToken": PASSWORD}).to_string(), &[]),
        row("`auth` of a docker config", json!({"auth": auth()}).to_string(), &[]),
        row("bare password", PASSWORD, &[USERNAME]),
        row("byte order mark and one line end", format!("\u{feff}{PASSWORD}\r\n"), &[USERNAME]),
        row(
            "the same around JSON",
            format!("\u{feff}{}\n", json!({"username": "robot", "password": PASSWORD})),
            &[],
        ),
        row("docker config", config(), &[]),
        row("docker config, every entry", config(), &[("host", "none")]),
        row("one host in two spellings, one credential", both.to_string(), &[]),
        row("one bad entry, without `host`", one_bad.to_string(), &[("host", "none")]),
        row(
            "`.dockercfg`: hosts at the top level",
            json!({"https://ghcr.io": {"auth": auth(), "email": "a@b"}}).to_string(),
            &[],
        ),
        row("base64 of a docker config", base64(config()), &[]),
        row("the same with a username", base64(config()), &[USERNAME]),
        row("docker config as a JSON string", json!(config()).to_string(), &[]),
        row(
            "docker config in a field that the spec names",
            json!({"pull": config()}).to_string(),
            &[("configKey", "pull")],
        ),
        row(
            "the same as an object",
            json!({"pull": {"auths": {"ghcr.io": {"auth": auth()}}}}).to_string(),
            &[("configKey", "pull")],
        ),
        row("the same as base64", json!({"pull": base64(config())}).to_string(), &[("configKey", "pull")]),
        row(
            "docker config in a field named as the password",
            json!({".dockerconfigjson": config()}).to_string(),
            &[USERNAME, ("passwordKey", ".dockerconfigjson")],
        ),
    ];
    for (form, field) in [
        ("docker config as text in `.dockerconfigjson`", ".dockerconfigjson"),
        ("in `dockerconfigjson`", "dockerconfigjson"),
        ("in `DOCKER_CONFIG`", "DOCKER_CONFIG"),
        ("in `value`", "value"),
    ] {
        rows.push(row(form, json!({field: config()}).to_string(), &[]));
    }
    rows.push(row(
        "base64 of it in one of these fields",
        json!({".dockerconfigjson": base64(config())}).to_string(),
        &[],
    ));
    for (form, value, username) in [
        ("service account key of Google", google_key(), "_json_key"),
        ("base64 of the key", base64(google_key()), "_json_key_base64"),
    ] {
        let password = value.clone();
        rows.push(Row { password, ..row(form, value, &[("host", "gcr.io"), ("username", username)]) });
    }
    rows
}

pub(super) fn malformed() -> Vec<Row> {
    [objects(), absent(), references(), encrypted(), printed(), encoded(), keys(), entries()]
        .into_iter()
        .flatten()
        .collect()
}

fn bare(texts: &[(&'static str, String)]) -> Vec<Row> {
    texts.iter().map(|(form, text)| row(form, text.clone(), &[USERNAME])).collect()
}

fn texts(texts: &[(&'static str, &'static str)]) -> Vec<Row> {
    texts.iter().map(|(form, text)| row(form, *text, &[USERNAME])).collect()
}

fn objects() -> Vec<Row> {
    vec![
        row("empty value", "", &[USERNAME]),
        row("bare password without a username", PASSWORD, &[]),
        row("broken JSON", format!(r#"{{"password":"{PASSWORD}","#), &[USERNAME]),
        row("JSON list", json!([PASSWORD]).to_string(), &[USERNAME]),
        row("missing field", json!({"username": "robot"}).to_string(), &[]),
        row("empty field", json!({"username": "robot", "password": ""}).to_string(), &[]),
        row("field with JSON null", json!({"username": "robot", "password": null}).to_string(), &[]),
        row("field with a number", json!({"username": "robot", "password": 12}).to_string(), &[]),
        row("field with the text null", json!({"username": "robot", "password": "null"}).to_string(), &[]),
        row("username with a colon", json!({"username": "a:b", "password": PASSWORD}).to_string(), &[]),
        row("two line ends", format!("{PASSWORD}\n\n"), &[USERNAME]),
        row(
            "whole answer of Vault, or of a Secret",
            json!({"data": {"username": "robot", "password": PASSWORD}}).to_string(),
            &[],
        ),
        row("answer with errors", json!({"errors": ["permission denied"]}).to_string(), &[USERNAME]),
        row("answer with an error", json!({"error": "invalid_request"}).to_string(), &[USERNAME]),
        row("answer with a message", json!({"message": "Not Found"}).to_string(), &[USERNAME]),
        row(
            "the same as the text of a field",
            json!({"password": "{\"errors\":[]}"}).to_string(),
            &[USERNAME],
        ),
        row(
            "manifest of a Secret as JSON",
            json!({"apiVersion": "v1", "kind": "Secret", "data": {".dockerconfigjson": base64(config())}})
                .to_string(),
            &[],
        ),
    ]
}

fn absent() -> Vec<Row> {
    texts(&[
        ("JSON null, jq", "null"),
        ("JavaScript", "undefined"),
        ("Python", "None"),
        ("Ruby, Lua", "nil"),
        ("Ansible", "AnsibleUndefined"),
        ("Go", "<nil>"),
        ("Java, C", "(null)"),
        ("kubectl", "<none>"),
        ("kubectl", "<unset>"),
        ("template of Go", "<no value>"),
        ("format of Go", "%!s(<nil>)"),
        ("format of Go", "%!v(MISSING)"),
        ("mask", "***"),
        ("mask", "********"),
        ("mask with the last characters", "****************ABCD"),
        ("mask", "••••••••"),
        ("mask of URLs", "xxxxx"),
        ("Terraform", "(sensitive value)"),
        ("Terraform", "(known after apply)"),
        ("Pulumi, Terraform", "<sensitive>"),
        ("logs", "REDACTED"),
        ("logs", "[REDACTED]"),
        ("GitLab", "[MASKED]"),
        ("Rails", "[FILTERED]"),
        ("example", "<your-password>"),
        ("example", "<REGISTRY_TOKEN>"),
        ("example", "YOUR_TOKEN_HERE"),
        ("example", "replace-with-password"),
    ])
}

fn references() -> Vec<Row> {
    texts(&[
        ("Helm, Jinja, External Secrets", "{{ .Values.password }}"),
        ("GitHub Actions", "${{ secrets.REGISTRY_TOKEN }}"),
        ("ERB", "<%= password %>"),
        ("shell, Compose, Jenkins", "${REGISTRY_PASSWORD}"),
        ("inside of a text", "token-${REGISTRY_TOKEN}"),
        ("Kubernetes, Azure Pipelines, shell", "$(REGISTRY_PASSWORD)"),
        ("shell", "$REGISTRY_PASSWORD"),
        ("PowerShell", "$env:REGISTRY_PASSWORD"),
        ("cmd", "%REGISTRY_PASSWORD%"),
        ("Maven", "@REGISTRY_PASSWORD@"),
        ("replacers of tokens", "__REGISTRY_PASSWORD__"),
        ("Octopus", "#{RegistryPassword}"),
        ("Bank-Vaults", "vault:secret/data/ci/ghcr#password"),
        ("1Password", "op://ci/ghcr/password"),
        ("vals, helmfile", "ref+vault://secret/ci/ghcr#/password"),
        ("Argo CD Vault Plugin", "<path:secret/data/ci/ghcr#password>"),
        ("AWS", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ci/ghcr"),
        ("CloudFormation", "{{resolve:secretsmanager:ci/ghcr:SecretString:password}}"),
        ("Google Cloud", "projects/acme/secrets/ghcr/versions/latest"),
        ("Azure App Service", "@Microsoft.KeyVault(SecretUri=https://acme.vault.azure.net/secrets/ghcr)"),
        ("Azure Container Apps", "secretref:ghcr-password"),
        ("Helm Secrets, others", "awssm://ci/ghcr"),
        ("tag of CloudFormation", "!Ref RegistryPassword"),
        ("URL", "https://ghcr.io"),
    ])
}

fn encrypted() -> Vec<Row> {
    texts(&[
        ("SOPS", "ENC[AES256_GCM,data:p673w==,iv:YY=,tag:UQ=,type:str]"),
        ("Jasypt", "ENC(x8Jk2mQ=)"),
        ("Ansible Vault", "$ANSIBLE_VAULT;1.1;AES256\n6162636465"),
        ("age", "age-encryption.org/v1\n-> X25519 abc"),
        ("age, armored", "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----"),
        ("PGP", "-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----"),
        ("Vault's transit engine", "vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQ="),
        ("Spring Cloud Config", "{cipher}8f2ac4"),
        ("openssl enc", "U2FsdGVkX19zYWx0c2FsdA=="),
        ("htpasswd", "robot:$2y$05$OLmfg0MhYdcAm0BGDmyxvuCNv1UAvZnI7GWBFqD0ZpVoWnM6EqZFG"),
        ("hash alone", "$2y$05$OLmfg0MhYdcAm0BGDmyxvuCNv1UAvZnI7GWBFqD0ZpVoWnM6EqZFG"),
        ("certificate, private key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"),
        ("public key of SSH", "ssh-rsa AAAAB3NzaC1yc2E robot"),
    ])
}

fn printed() -> Vec<Row> {
    let mut rows = texts(&[
        ("page", "<!DOCTYPE html>\n<html><title>Sign in</title></html>"),
        ("page", "<html><body>502</body></html>"),
        ("XML", "<?xml version=\"1.0\"?><Error/>"),
        ("error", "Error: no such secret"),
        ("error", "error: exit status 1"),
        ("AWS CLI", "An error occurred (AccessDeniedException) when calling the GetSecretValue operation"),
        ("Vault CLI", "Error making API request."),
        ("Vault CLI", "No value found at secret/data/ci/ghcr"),
        ("shell", "bash: jq: command not found"),
        ("server", "404 page not found"),
        ("server", "Unauthorized"),
        ("JavaScript", "[object Object]"),
        ("Go", "map[password:x username:robot]"),
        ("Python", "b'x'"),
        ("Python", "{'username': 'robot'}"),
        ("PowerShell", "System.Security.SecureString"),
        ("PowerShell", "@{username=robot}"),
        ("Java", "Optional[x]"),
        ("Pulumi", "Calling [toString] on an [Output<T>] is not supported."),
    ]);
    rows.extend(bare(&[
        ("Python", format!("b'{PASSWORD}'")),
        ("command", format!("docker login -u robot -p {PASSWORD} ghcr.io")),
        ("command", format!("echo {PASSWORD} | docker login -u robot --password-stdin")),
        ("command", "aws ecr get-login-password --region eu-west-1".to_owned()),
        ("header", format!("Authorization: Basic {}", auth())),
        ("header", format!("Bearer {PASSWORD}-token")),
        ("line of an env file", format!("REGISTRY_PASSWORD={PASSWORD}")),
        ("line of .netrc", format!("machine ghcr.io login robot password {PASSWORD}")),
        ("line of .npmrc", format!("//ghcr.io/:_authToken={PASSWORD}")),
        ("line of a shell", format!("export REGISTRY_PASSWORD={PASSWORD}")),
        ("line of a file with settings", format!("password: {PASSWORD}")),
        ("YAML", format!("username: robot\npassword: {PASSWORD}")),
        ("manifest of a Secret", "apiVersion: v1\nkind: Secret\ndata:\n  password: aHVudGVyMg==".to_owned()),
        ("double quotation marks, jq without `-r`", json!(PASSWORD).to_string()),
        ("single quotation marks", format!("'{PASSWORD}'")),
        ("backquotes", format!("`{PASSWORD}`")),
        ("username and password", format!("robot:{PASSWORD}")),
    ]));
    rows
}

fn encoded() -> Vec<Row> {
    let fields = json!({"username": "robot", "password": PASSWORD}).to_string();
    let mut rows = bare(&[
        ("JSON string of JSON", json!(fields).to_string()),
        ("base64 of JSON", base64(&fields)),
        ("JSON for a URL", "%7B%22username%22%3A%22robot%22%7D".to_owned()),
        ("base64 of username:password", auth()),
        ("base64 of null", base64("null")),
    ]);
    rows.extend([
        row("JSON as the text of a field", json!({"password": fields}).to_string(), &[USERNAME]),
        row("base64 of JSON in a field", json!({"password": base64(&fields)}).to_string(), &[USERNAME]),
        row("docker config as the password", json!({"password": config()}).to_string(), &[USERNAME]),
        row(
            "docker config in a field of another name",
            json!({"token": config()}).to_string(),
            &[USERNAME, ("passwordKey", "token")],
        ),
        row(
            "base64 of a docker config as the password",
            json!({"password": base64(config())}).to_string(),
            &[USERNAME],
        ),
        row("docker config with a named field", config(), &[USERNAME, ("passwordKey", "token")]),
        row(
            "field of `configKey` with another content",
            json!({"pull": PASSWORD}).to_string(),
            &[("configKey", "pull")],
        ),
        row(
            "two fields with a docker config",
            json!({"value": config(), "DOCKER_CONFIG": config()}).to_string(),
            &[],
        ),
        row("`authorizationToken` of ECR", base64(format!("AWS:{PASSWORD}")), &[("username", "AWS")]),
    ]);
    rows
}

fn keys() -> Vec<Row> {
    let in_field = |username: &'static str| [("host", "gcr.io"), ("username", username)];
    vec![
        row("service account key of Google for another user", google_key(), &in_field("robot")),
        row("the same without a username", google_key(), &[("host", "gcr.io")]),
        row("base64 of the key for `_json_key`", base64(google_key()), &in_field("_json_key")),
        row("base64 of the key for another user", base64(google_key()), &in_field("robot")),
        row("base64 of the key without a username", base64(google_key()), &[("host", "gcr.io")]),
        row(
            "JSON of the key for `_json_key_base64`",
            json!({"password": google_key()}).to_string(),
            &in_field("_json_key_base64"),
        ),
        row("another password for `_json_key`", PASSWORD, &in_field("_json_key")),
    ]
}

fn entries() -> Vec<Row> {
    let config = |entry: serde_json::Value| json!({"auths": {"ghcr.io": entry}}).to_string();
    let azure = base64("00000000-0000-0000-0000-000000000000:");
    let twice =
        json!({"auths": {"ghcr.io": {"auth": auth()}, "https://ghcr.io": {"auth": base64("robot:other")}}});
    let helper = json!({"auths": {"ghcr.io": {}}, "credsStore": "desktop"});
    vec![
        row(
            "docker config without the host",
            json!({"auths": {"quay.io": {"auth": auth()}}}).to_string(),
            &[],
        ),
        row("empty entry", config(json!({})), &[]),
        row("empty entry next to `credsStore`", helper.to_string(), &[]),
        row("`credHelpers` alone", json!({"credHelpers": {"ghcr.io": "gh"}}).to_string(), &[]),
        row("entry with null", config(json!(null)), &[]),
        row("`auth` that is not base64", config(json!({"auth": PASSWORD})), &[]),
        row("identity token alone", config(json!({"identitytoken": PASSWORD})), &[]),
        row("identity token of Azure", config(json!({"auth": azure, "identitytoken": PASSWORD})), &[]),
        row("entry with a form from above", config(json!({"auth": base64("robot:null")})), &[]),
        row("one host in two spellings, two credentials", twice.to_string(), &[]),
    ]
}

pub(super) fn taken() -> Vec<Row> {
    let ecr = base64(r#"{"payload":"x","datakey":"y","version":"2","type":"DATA_KEY","expiration":1}"#);
    let plain =
        |form, text: &str, reason| Row { password: text.to_owned(), reason, ..row(form, text, &[USERNAME]) };
    let field = |form, text: &str, reason| Row {
        password: text.to_owned(),
        reason,
        ..row(form, json!({"username": "robot", "password": text}).to_string(), &[])
    };
    vec![
        plain("default of products", "changeme", "real products ship it as their password"),
        plain("default of products", "CHANGEME", "the same"),
        plain("default of products", "changeit", "the same"),
        plain("a word", "TODO", "any word may be a password"),
        plain("a word", "password", "the same"),
        plain("a word with a part of a form", "<pw>", "random passwords have brackets, too"),
        plain("a word with a part of a form", "$ecret", "and signs of shells"),
        plain("a word with a part of a form", "{pw}", "and braces").in_field(),
        plain("two asterisks", "**", "too short for a mask"),
        plain("number", "12345", "digits may be a password"),
        plain("base64", "aHVudGVyMg==", "tokens look like this: what it decodes to is not known to be meant"),
        plain("token of ECR", &ecr, "base64 of JSON, but without a field of a credential"),
        plain("JWT", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb2JvdCJ9.c2ln", "registries of Azure and GitLab issue them"),
        plain("access token of Google", "ya29.a0AfH6SMBx", "with `username: oauth2accesstoken` at the registry"),
        plain("spaces at the ends", " pw ", "spaces may be a part"),
        field("quotation marks in a field", "\"pw\"", "its author wrote JSON around it, so that they are meant"),
        field("quotation marks in a field", "'pw'", "the same"),
        field("username and colon in a field", "robot:pw", "the same"),
        field("beginning of JSON in a field", "{pw", "not JSON"),
        Row {
            password: "eyJhbGciOiJSUzI1NiJ9.e30.c2ln".to_owned(),
            reason: "the password of the null user is a token, and the kubelet sends it",
            ..row(
                "access token of Azure",
                json!({"username": "00000000-0000-0000-0000-000000000000", "password": "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"}).to_string(),
                &[],
            )
        },
    ]
}

impl Row {
    /// Puts the value into a field `password`.
    fn in_field(self) -> Self {
        let value = json!({"password": self.value}).to_string();
        Self { value, ..self }
    }
}
