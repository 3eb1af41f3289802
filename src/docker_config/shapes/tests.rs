//! Every shape of a stored value, and malformed values.

use super::*;
use crate::credential::StoreKey;
use proptest::prelude::*;

/// A registry entry of a spec: host, username, the two field names; empty for absent.
pub(super) fn registry(host: &str, username: &str, username_key: &str, password_key: &str) -> RegistrySource {
    RegistrySource {
        host: non_empty(host).map(|host| HostKey::parse(&host).expect("a valid host")),
        store_key: StoreKey { store: "vault".into(), key: "ci/ghcr".into() },
        username: non_empty(username),
        username_key: non_empty(username_key),
        password_key: non_empty(password_key),
        config_key: None,
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// `host user password` for each entry, or the error.
fn outcome(value: &[u8], registry: &RegistrySource) -> String {
    match parse(&value.to_vec().into(), registry) {
        Ok(ParsedValue { config, rejected }) => {
            let entries = config
                .auths
                .iter()
                .map(|(host, it)| format!("{host} {} {}", it.username, it.password.expose_secret()));
            entries.chain(rejected.into_iter().map(|it| it.to_string())).collect::<Vec<_>>().join("; ")
        }
        Err(malformed) => format!("malformed: {malformed}"),
    }
}

#[track_caller]
pub(super) fn check(value: &str, registry: &RegistrySource, expect: &str) {
    assert_eq!(outcome(value.as_bytes(), registry), expect, "{value}");
}

#[test]
fn every_shape_is_recognised() {
    let plain = registry("ghcr.io", "", "", "");
    check(r#"{"username":"robot","password":"pw"}"#, &plain, "ghcr.io robot pw");
    check(r#"{"username":"robot","accessToken":"pw"}"#, &plain, "ghcr.io robot pw");
    check(r#"{"auth":"cm9ib3Q6cHc="}"#, &plain, "ghcr.io robot pw");
    check(r#"{"auth":"cm9ib3Q6cHc"}"#, &plain, "ghcr.io robot pw");
    check(
        r#"{"auths":{"https://ghcr.io/v2/":{"auth":"cm9ib3Q6cHc="},"quay.io":{}}}"#,
        &plain,
        "ghcr.io robot pw",
    );
    check(r#"{"auths":{"ghcr.io":{"username":"robot","password":"pw"}}}"#, &plain, "ghcr.io robot pw");
    let named = registry("ghcr.io", "robot", "", "");
    check("pw", &named, "ghcr.io robot pw");
    check(r#"{"password":"pw"}"#, &named, "ghcr.io robot pw");
    check("12345", &named, "ghcr.io robot 12345");
    check(r#"{"password":"\"quoted\""}"#, &named, r#"ghcr.io robot "quoted""#);
}

#[test]
fn fields_named_by_the_spec_take_precedence() {
    let mapped = registry("ghcr.io", "", "login", "secret");
    check(r#"{"login":"robot","secret":"pw","username":"x","password":"y"}"#, &mapped, "ghcr.io robot pw");
    check(r#"{"username":"x","password":"y"}"#, &mapped, "malformed: field `login` is missing");
    check("pw", &mapped, "malformed: the value is not a JSON object, so it has no field `login`");
}

#[test]
fn username_of_the_spec_overrides_the_stored_one() {
    let named = registry("ghcr.io", "robot", "", "");
    check(r#"{"username":"other","password":"pw"}"#, &named, "ghcr.io robot pw");
}

#[test]
fn without_a_host_every_entry_is_used() {
    let all = registry("", "", "", "");
    let two = r#"{"auths":{"docker.io":{"auth":"YTpvbmU="},"ghcr.io":{"auth":"Yjp0d28="}}}"#;
    check(two, &all, "docker.io a one; ghcr.io b two");
    check(
        r#"{"username":"a","password":"b"}"#,
        &all,
        "malformed: without `host` the value must be a docker config with `auths`",
    );
    check(r#"{"auths":{}}"#, &all, "malformed: `auths` has no entry");
    let twice = r#"{"auths":{"ghcr.io":{"auth":"YTpvbmU="},"https://ghcr.io":{"auth":"Yjp0d28="}}}"#;
    check(twice, &all, &format!("entry for ghcr.io: {TWICE}"));
    check(
        twice,
        &registry("ghcr.io", "", "", ""),
        &format!("malformed: `auths`, entry for ghcr.io: {TWICE}"),
    );
}

const TWICE: &str = "it is there twice, spelled differently, with different credentials. Remove one";

#[test]
fn docker_hub_under_both_keys_is_one_entry_as_for_the_kubelet() {
    let (all, hub) = (registry("", "", "", ""), registry("docker.io", "", "", ""));
    for keys in [["docker.io", "https://index.docker.io/v1/"], ["https://docker.io", "index.docker.io"]] {
        let [first, last_resort] = keys;
        let both = format!(
            r#"{{"auths":{{"{last_resort}":{{"auth":"Yjp0d28="}},"{first}":{{"auth":"YTpvbmU="}}}}}}"#
        );
        check(&both, &all, "docker.io a one");
        check(&both, &hub, "docker.io a one");
    }
    let only = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"Yjp0d28="}}}"#;
    check(only, &all, "docker.io b two");
    check(only, &hub, "docker.io b two");
    let team = r#"{"auths":{"docker.io/acme":{"auth":"YTpvbmU="},"index.docker.io":{"auth":"Yjp0d28="}}}"#;
    check(team, &all, "docker.io b two; docker.io/acme a one");
    let twice = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpvbmU="},"index.docker.io":{"auth":"Yjp0d28="},"docker.io":{"auth":"Yjp0d28="}}}"#;
    check(twice, &all, &format!("docker.io b two; entry for docker.io: {TWICE}"));
}

#[test]
fn gcp_key_is_the_password_as_a_whole() {
    let key = "{\n \"type\": \"service_account\",\n \"private_key\": \"-----BEGIN\\nx\\n\"\n}\n";
    let expect = r#"gcr.io _json_key {"private_key":"-----BEGIN\nx\n","type":"service_account"}"#;
    check(key, &registry("gcr.io", "_json_key", "", ""), expect);
}

#[test]
fn gcp_key_is_read_from_a_field_or_a_docker_config() {
    let expect = r#"gcr.io _json_key {"private_key":"x","type":"service_account"}"#;
    let key = "{\n\"type\": \"service_account\",\n\"private_key\": \"x\"\n}";
    let plain = registry("gcr.io", "", "", "");
    check(&serde_json::json!({"username": "_json_key", "password": key}).to_string(), &plain, expect);
    let auth = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("_json_key:{key}"));
    check(&serde_json::json!({"auths": {"gcr.io": {"auth": auth}}}).to_string(), &plain, expect);
}

#[test]
fn broken_json_is_never_a_password() {
    let named = registry("ghcr.io", "robot", "", "");
    for (value, message) in [
        (r#"{"password":"sentinel",}"#, BROKEN_JSON),
        (r#"{"password":"#, BROKEN_JSON),
        (" {", BROKEN_JSON),
        ("[x", BROKEN_JSON),
        ("[]", NO_OBJECT),
        ("[\"a\"]", NO_OBJECT),
    ] {
        check(value, &named, &format!("malformed: {message}"));
    }
}

#[test]
fn form_that_is_no_password_is_malformed_in_every_place() {
    let (plain, named) = (registry("ghcr.io", "", "", ""), registry("ghcr.io", "robot", "", ""));
    let mapped = registry("ghcr.io", "robot", "", "token");
    for (text, form) in [
        ("null", Unusable::NoValue),
        ("********", Unusable::Masked),
        ("{{ .Values.password }}", Unusable::Template),
        ("${TOKEN}", Unusable::Variable),
        ("op://ci/ghcr/token", Unusable::Reference),
        ("$ANSIBLE_VAULT;1.1;AES256\n61", Unusable::Encrypted),
        ("<!DOCTYPE html>\n<html>", Unusable::Page),
        ("Error: no such secret", Unusable::ErrorText),
        ("docker login -u robot -p pw ghcr.io", Unusable::Command),
        ("username: robot\npassword: pw", Unusable::Yaml),
        ("[object Object]", Unusable::Printed),
    ] {
        let auth = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("robot:{text}"));
        check(text, &named, &format!("malformed: the value {form}"));
        // Without a username, no message leads to a spec that takes the text for a password.
        check(text, &plain, &format!("malformed: the value {form}"));
        let field = serde_json::json!({"username": "robot", "password": text, "token": text}).to_string();
        for registry in [&plain, &named, &mapped] {
            check(&field, registry, &format!("malformed: the password {form}"));
        }
        check(
            &serde_json::json!({"auth": auth}).to_string(),
            &plain,
            &format!("malformed: the password {form}"),
        );
        let config = serde_json::json!({"auths": {"ghcr.io": {"auth": auth}}}).to_string();
        check(&config, &plain, &format!("malformed: `auths`, entry for ghcr.io: the password {form}"));
    }
}

#[test]
fn json_object_without_a_credential_is_named() {
    let named = registry("ghcr.io", "robot", "", "");
    for (value, form) in [
        (r#"{"errors":["permission denied"]}"#, Unusable::ApiError),
        (r#"{"data":{"username":"robot","password":"pw"}}"#, Unusable::Enveloped),
        (r#"{"apiVersion":"v1","kind":"Secret","data":{"x":"y"}}"#, Unusable::Manifest),
        (r#"{"type":"service_account","private_key":"x"}"#, Unusable::GoogleKey),
    ] {
        check(value, &named, &format!("malformed: the value {form}"));
        check(value, &registry("", "", "", ""), &format!("malformed: the value {form}"));
    }
    check(r#"{"message":"hello","password":"pw"}"#, &named, "ghcr.io robot pw");
}

#[test]
fn only_one_trailing_line_end_is_dropped() {
    let named = registry("ghcr.io", "robot", "", "");
    check("pw\n", &named, "ghcr.io robot pw");
    check("pw\r\n", &named, "ghcr.io robot pw");
    check(r#"{"password":"pw\n"}"#, &named, "ghcr.io robot pw");
    check("pw\n\n", &named, "malformed: the password has a control character");
    check(" pw ", &named, "ghcr.io robot  pw ");
}

#[test]
fn malformed_field_is_named_but_not_shown() {
    let plain = registry("ghcr.io", "", "", "");
    let named = registry("ghcr.io", "robot", "", "");
    check("", &plain, "malformed: the value is empty");
    check("\n", &plain, "malformed: the value is empty");
    check("sentinel", &plain, "malformed: the value is a bare password: put the `username` into the spec");
    check("{}", &plain, "malformed: field `username` is missing");
    check(r#"{"username":"robot"}"#, &plain, "malformed: field `password` is missing");
    check(r#"{"username":"robot","password":""}"#, &plain, "malformed: the password is empty");
    check(r#"{"username":"","password":"sentinel"}"#, &plain, "malformed: the username is empty");
    check(r#"{"username":"robot","password":12}"#, &plain, "malformed: field `password` is not a string");
    check(
        r#"{"username":"a:b","password":"sentinel"}"#,
        &plain,
        "malformed: the username has a colon, which separates it from the password",
    );
    check("<no value>", &named, "malformed: the value is the placeholder of a template that found no value");
    check(r#"{"password":"a\u0000b"}"#, &named, "malformed: the password has a control character");
    check(r#"{"username":"robot","password":null}"#, &plain, "malformed: field `password` is null");
    check(r#"{"auth":"sentinel"}"#, &plain, "malformed: `auth` is not base64 of username:password");
    check(r#"{"auths":[]}"#, &plain, "malformed: `auths` is not an object");
    check(
        r#"{"auths":{"quay.io":{"auth":"YTpvbmU="}}}"#,
        &plain,
        "malformed: `auths` has no entry for ghcr.io",
    );
    check(
        r#"{"auths":{"ghcr.io":{"identitytoken":"sentinel"}}}"#,
        &plain,
        "malformed: `auths`, entry for ghcr.io: the entry holds only a token, which the kubelet does not use for pulls",
    );
    assert_eq!(outcome(&[0xff, 0x00], &plain), "malformed: the value is not UTF-8");
}

proptest! {
    #[test]
    fn any_password_survives(password in "[^\\p{Cc}]+", username in "[^:\\p{Cc}]+") {
        prop_assume!(Unusable::find_password(&username, &password).is_none() && Unusable::find_in_username(&username).is_none());
        prop_assume!(!username.starts_with('\u{feff}') && !password.starts_with('\u{feff}'));
        let plain = registry("ghcr.io", "", "", "");
        let value = serde_json::json!({"username": &username, "password": &password}).to_string();
        prop_assert_eq!(outcome(value.as_bytes(), &plain), format!("ghcr.io {username} {password}"));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), host in any::<bool>()) {
        let registry = registry(if host { "ghcr.io" } else { "" }, "robot", "", "");
        let _ = parse(&bytes.into(), &registry);
    }

    #[test]
    fn password_never_appears_in_an_error(password in "[A-Za-z0-9]{12,40}") {
        let plain = registry("ghcr.io", "", "", "");
        for value in [
            password.clone(),
            format!(r#"{{"password":"{password}"}}"#),
            format!(r#"{{"auth":"{password}"}}"#),
            format!(r#"{{"auths":{{"ghcr.io":{{"auth":"{password}"}}}}}}"#),
            format!(r#"{{"username":"a:b","password":"{password}"}}"#),
        ] {
            prop_assert!(!outcome(value.as_bytes(), &plain).contains(&password));
        }
    }
}
