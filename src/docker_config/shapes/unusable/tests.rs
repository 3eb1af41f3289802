//! Near misses of every form: a real password may hold the same characters.

use proptest::prelude::*;

use super::*;

type Find = fn(&str) -> Option<Unusable>;

#[track_caller]
pub(super) fn check(find: Find, form: Unusable, texts: &[&str]) {
    for text in texts {
        assert_eq!(find(text), Some(form), "{text:?}");
    }
}

/// Checks that neither this rule nor any other takes these passwords for anything else.
#[track_caller]
pub(super) fn check_near_misses(find: Find, texts: &[&str]) {
    for text in texts {
        assert_eq!(find(text), None, "{text:?}");
    }
}

#[test]
fn bare_value_in_marks_is_recognised_but_no_field() {
    for (text, form) in [
        (r#""pw""#, Unusable::Quoted),
        ("'pw'", Unusable::Quoted),
        ("`pw`", Unusable::Quoted),
        ("“pw”", Unusable::Quoted),
        ("robot:pw", Unusable::WithUsername),
        (r#""{\"username\":\"robot\",\"password\":\"pw\"}""#, Unusable::Encoded),
    ] {
        assert_eq!(Unusable::find_wrapped(text, Some("robot")), Some(form), "{text}");
    }
    for text in ["\"pw", "pw\"", "'pw\"", "''", "\"\"", "it's", "robot:", "robot", "other:pw", "robotpw:"] {
        assert_eq!(Unusable::find_wrapped(text, Some("robot")), None, "{text}");
    }
    assert_eq!(Unusable::find_wrapped("ab:pw", Some("ab")), None);
    for text in ["\"pw\"", "'pw'", "robot:pw"] {
        assert_eq!(Unusable::find_password("robot", text), None, "{text}");
    }
}

#[test]
fn usernames_of_real_registries_are_taken() {
    for username in [
        "$oauthtoken",
        "<token>",
        "AWS",
        "oauth2accesstoken",
        "00000000-0000-0000-0000-000000000000",
        "robot$ci+push",
        "__token__",
        "x-access-token",
        "token",
        "acme+robot",
        "a@b.example.com",
        "_json_key",
        "$app",
        "https://x",
    ] {
        assert_eq!(Unusable::find_in_username(username), None, "{username}");
    }
    for username in ["null", "<no value>", "{{ .Values.user }}", "${USER}", "$(USER)"] {
        assert!(Unusable::find_in_username(username).is_some(), "{username}");
    }
}

#[test]
fn tokens_of_real_registries_are_taken() {
    let long = "eyJ".repeat(400);
    for password in [
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "glpat-xxxxxxxxxxxxxxxxxxxx",
        "dckr_pat_Zx9-abc_DEF",
        "hvs.CAESIJ",
        "ya29.a0AfH6SMBx",
        "AKIA/secret+key==",
        "gldt-_Zx9",
        "s.Zx9",
        "0",
        "pw",
        "correct horse battery staple",
        "Harbor12345",
        "password",
        "changeme",
        "a=b=c",
        "p:w",
        "<pw>",
        "{pw}",
        "[pw]",
        "$pw",
        "%pw%",
        "#pw",
        "!pw",
        "`pw",
        "~!@#$%^&*()_+",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyIn0.c2ln",
        &long,
    ] {
        assert_eq!(Unusable::find_password("robot", password), None, "{password}");
        assert_eq!(Unusable::find_wrapped(password, Some("robot")), None, "{password}");
    }
}

proptest! {
    #[test]
    fn random_password_is_taken(password in "[!-~]{8,64}") {
        // A form has at least three fixed characters: none of these cases is one by chance.
        prop_assume!(!["${", "$(", "#{", "b'", "b\"", "%!", "{{", "&{"].iter().any(|mark| password.contains(mark)));
        prop_assert_eq!(Unusable::find_password("robot", &password), None);
    }

    #[test]
    fn random_base64_is_taken(bytes in proptest::collection::vec(any::<u8>(), 16..64)) {
        use base64::Engine as _;
        let password = base64::prelude::BASE64_STANDARD.encode(bytes);
        prop_assert_eq!(Unusable::find_password("robot", &password), None);
        prop_assert_eq!(Unusable::find_wrapped(&password, Some("robot")), None);
    }

    #[test]
    fn arbitrary_text_is_searched_without_panic(text in any::<String>()) {
        let _ = (Unusable::find_password("robot", &text), Unusable::find_wrapped(&text, None));
    }
}
