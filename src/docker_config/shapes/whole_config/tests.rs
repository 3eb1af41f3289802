//! Docker configs in every wrapping, and their good and bad entries.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::super::tests::{check, registry};
use super::*;

/// A docker config with `robot:pw` for ghcr.io.
const CONFIG: &str = r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6cHc="}}}"#;
const DOCKERCFG: &str = r#"{"https://ghcr.io":{"auth":"cm9ib3Q6cHc=","email":"a@b"}}"#;
const ROBOT: &str = "ghcr.io robot pw";

fn base64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

fn with_config_key(host: &str) -> RegistrySource {
    RegistrySource { config_key: Some("docker".to_owned()), ..registry(host, "", "", "") }
}

/// The same docker config as text, as base64, as base64 in lines, as a JSON string, and with a byte order mark.
fn texts() -> Vec<String> {
    let lines =
        base64(CONFIG).as_bytes().chunks(20).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    vec![
        CONFIG.to_owned(),
        DOCKERCFG.to_owned(),
        format!("\u{feff}{CONFIG}\r\n"),
        base64(CONFIG),
        base64(&format!("\u{feff}{DOCKERCFG}\n")),
        format!("{lines}\n"),
        json!(CONFIG).to_string(),
        base64(&base64(CONFIG)),
    ]
}

#[test]
fn docker_config_is_understood_in_every_wrapping() {
    for host in ["", "ghcr.io"] {
        for text in texts() {
            check(&text, &registry(host, "", "", ""), ROBOT);
            // A username in the spec does not make it a password.
            if !host.is_empty() {
                check(&text, &registry(host, "robot", "", ""), ROBOT);
            }
        }
    }
}

#[test]
fn docker_config_is_understood_in_every_field() {
    for text in texts() {
        for field in CONFIG_FIELDS {
            for host in ["", "ghcr.io"] {
                check(&json!({field: text}).to_string(), &registry(host, "", "", ""), ROBOT);
            }
            check(&json!({field: text}).to_string(), &registry("ghcr.io", "robot", "", field), ROBOT);
        }
        check(&json!({"docker": text}).to_string(), &with_config_key("ghcr.io"), ROBOT);
        check(&json!({"docker": text}).to_string(), &with_config_key(""), ROBOT);
    }
    let object: Value = serde_json::from_str(CONFIG).expect("JSON");
    check(&json!({".dockerconfigjson": object}).to_string(), &registry("", "", "", ""), ROBOT);
    check(&json!({"docker": object, "password": "x"}).to_string(), &with_config_key(""), ROBOT);
}

#[test]
fn password_field_next_to_a_docker_config_is_taken() {
    let both = json!({"username": "other", "password": "x", "value": CONFIG}).to_string();
    check(&both, &registry("ghcr.io", "", "", ""), "ghcr.io other x");
    check(&both, &registry("", "", "", ""), ROBOT);
}

#[test]
fn field_without_a_docker_config_is_named() {
    let config = with_config_key("ghcr.io");
    for (value, what) in [
        (json!({"docker": null}), "field `docker` holds no docker config: it is null"),
        (json!({"docker": ""}), "field `docker` holds no docker config: it is empty"),
        (json!({"docker": 1}), "field `docker` holds no docker config: it is neither an object nor a text"),
        (
            json!({"docker": "sentinel"}),
            "field `docker` holds no docker config: its text is neither the JSON of one nor base64 of that",
        ),
        (
            json!({"docker": {"a": 1}}),
            "field `docker` holds no docker config: its object has neither `auths` nor registry hosts",
        ),
        (json!({"other": CONFIG}), "field `docker` is missing"),
        (json!("sentinel"), "the value is not a JSON object, so it has no field `docker`"),
    ] {
        check(&value.to_string(), &config, &format!("malformed: {what}"));
    }
    let plain = registry("ghcr.io", "", "", "");
    check(
        &json!({".dockerconfigjson": "null"}).to_string(),
        &plain,
        "malformed: field `.dockerconfigjson` holds no docker config: its text is neither the JSON of one nor base64 of that",
    );
    check(&json!({"value": "pw"}).to_string(), &plain, "malformed: field `username` is missing");
    check(
        &json!({"value": CONFIG, "DOCKER_CONFIG": CONFIG}).to_string(),
        &plain,
        "malformed: the fields `DOCKER_CONFIG` and `value` both hold a docker config: name one of them with `configKey`",
    );
}

#[test]
fn docker_config_as_the_password_is_malformed() {
    let what = "malformed: the password is a docker config: name its field by `configKey`, or store it as the whole value";
    for text in texts().iter().filter(|text| base64(&base64(CONFIG)) != **text) {
        check(
            &json!({"username": "robot", "password": text}).to_string(),
            &registry("ghcr.io", "", "", ""),
            what,
        );
        check(&json!({"token": text}).to_string(), &registry("ghcr.io", "robot", "", "token"), what);
    }
}

#[test]
fn docker_config_with_named_fields_is_malformed() {
    let what = "malformed: the value is a docker config as a whole: remove `usernameKey` and `passwordKey` from the spec";
    for text in [CONFIG.to_owned(), DOCKERCFG.to_owned(), base64(CONFIG)] {
        check(&text, &registry("ghcr.io", "", "user", "token"), what);
        check(&text, &registry("ghcr.io", "robot", "", "token"), what);
    }
}

#[test]
fn too_many_layers_are_no_docker_config() {
    let layers = (0..MAX_LAYERS).fold(CONFIG.to_owned(), |text, _| base64(&text));
    let error = parse_error(&layers);
    assert_eq!(error, "the value is a bare password: put the `username` into the spec");
}

fn parse_error(value: &str) -> String {
    let parsed = super::super::parse(&value.as_bytes().to_vec().into(), &registry("ghcr.io", "", "", ""));
    parsed.expect_err("an error").to_string()
}

#[test]
fn bad_entries_do_not_hold_back_their_neighbours() {
    let value = r#"{"auths":{"a.example.com":{"auth":"cm9ib3Q6cHc="},"b.example.com":{},"registry":{"auth":"cm9ib3Q6cHc="},"c.example.com":{"auth":"cm9ib3Q6bnVsbA=="},"u:sentinel@d.example.com":{"auth":"x"},"robot:sentinel":{"auth":"x"}},"credsStore":"desktop"}"#;
    check(
        value,
        &registry("", "", "", ""),
        &format!(
            "a.example.com robot pw; \
             key `registry`: it is not a registry host: it has neither a dot nor a port: an image named like this is one on Docker Hub; write the full host, or docker.io/NAME; \
             a key that is not shown: it is not a registry host: it has a port that is not a number from 1 to 65535; \
             a key that is not shown: it is not a registry host: it holds an @: write the host alone; usernames and passwords stay in the store; \
             entry for b.example.com: the entry holds neither `auth` nor `username` and `password`{IN_HELPER}; \
             entry for c.example.com: the password is what tools print for a missing value, such as null: correct the tool that stored it"
        ),
    );
    check(value, &registry("a.example.com", "", "", ""), "a.example.com robot pw");
    check(
        value,
        &registry("b.example.com", "", "", ""),
        &format!(
            "malformed: `auths`, entry for b.example.com: the entry holds neither `auth` nor `username` and `password`{IN_HELPER}"
        ),
    );
}

#[test]
fn one_host_in_two_spellings_is_one_entry() {
    let value = r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6cHc="},"https://GHCR.io/v2/":{"username":"robot","password":"pw"}}}"#;
    check(value, &registry("", "", "", ""), ROBOT);
    check(value, &registry("ghcr.io", "", "", ""), ROBOT);
    let one_bad = r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6cHc="},"https://ghcr.io":{"auth":"!"}}}"#;
    let bad = "entry for ghcr.io: `auth` is not base64 of username:password";
    check(one_bad, &registry("", "", "", ""), &format!("{ROBOT}; {bad}"));
    check(one_bad, &registry("ghcr.io", "", "", ""), ROBOT);
}

#[test]
fn credential_store_is_named_as_the_cause() {
    let plain = registry("ghcr.io", "", "", "");
    check(
        r#"{"credsStore":"desktop"}"#,
        &plain,
        &format!("malformed: the docker config has no `auths`{IN_HELPER}"),
    );
    check(
        r#"{"auths":{},"credHelpers":{"ghcr.io":"gh"}}"#,
        &plain,
        &format!("malformed: `auths` has no entry for ghcr.io{IN_HELPER}"),
    );
    check(
        r#"{"auths":{},"credsStore":"desktop"}"#,
        &registry("", "", "", ""),
        &format!("malformed: `auths` has no entry{IN_HELPER}"),
    );
    check(r#"{"auths":null}"#, &plain, "malformed: `auths` is not an object");
    // Without a credential store there is none to name.
    check(
        r#"{"auths":{"ghcr.io":{}}}"#,
        &plain,
        "malformed: `auths`, entry for ghcr.io: the entry holds neither `auth` nor `username` and `password`",
    );
}

#[test]
fn dockercfg_needs_a_host_with_a_credential() {
    check(DOCKERCFG, &registry("", "", "", ""), ROBOT);
    check(
        r#"{"https://index.docker.io/v1/":{"auth":"cm9ib3Q6cHc="},"ghcr.io":{}}"#,
        &registry("", "", "", ""),
        "docker.io robot pw; entry for ghcr.io: the entry holds neither `auth` nor `username` and `password`",
    );
    for value in
        [r#"{"data":{"auth":"cm9ib3Q6cHc="}}"#, r#"{"ghcr.io":{"user":"robot"}}"#, r#"{"ghcr.io":"pw"}"#]
    {
        let error = parse_error(value);
        assert!(!error.contains("auths"), "{value}: {error}");
    }
}
