//! [`HostKey`](crate::docker_config::host_key::HostKey) as CEL: the rules for hosts, and their key.
//!
//! A host that `HostKey::parse` rejects breaks at least one of [`rules`], and two valid hosts have the same
//! [`key`] if they have the same host key. RE2 has no look-ahead, and the scheme is optional: every pattern
//! is written so that the colon of a scheme never matches as that of a port.

use crate::docker_config::host_key::HostKeyError;

/// An optional scheme, which is not part of the registry's name.
const SCHEME: &str = "^(?:(?i:https?)://)?";

/// An address in brackets, or a host without its port.
const HOST: &str = r"(?:\[[^\]/]*\]|[^/:\[]*)";

/// The part before a path.
const AUTHORITY: &str = r"(?:\[[^/]*|[^/:\[][^/:]*(?::[^/]+)?)";

/// The end of an authority.
const END: &str = "(?:/|$)";

/// From 1 to 65535, without zeros before it.
const PORT: &str = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

/// The servers of Docker Hub.
const HUB_SERVERS: &str = r"(?i:registry-1\.docker\.io|registry\.hub\.docker\.com|hub\.docker\.com)";

/// The message for an invalid character; only [`HostKeyError::Character`] of a file can name the character.
const CHARACTER: &str =
    "holds a character that no image name has there: write host, host:port or host:port/path";

/// Returns the conditions of a host, which is `TEXT` in the expressions, each with its message.
pub(super) fn rules() -> Vec<(String, String)> {
    let ipv6 = ipv6();
    vec![
        ("!TEXT.contains('@')".to_owned(), HostKeyError::UserInfo.to_string()),
        (
            "!TEXT.contains('://') || TEXT.matches(r'^(?i:https?)://')".to_owned(),
            HostKeyError::Scheme.to_string(),
        ),
        ("!TEXT.matches(r'[?#]')".to_owned(), HostKeyError::Query.to_string()),
        without(END, HostKeyError::Empty),
        without(r"(?:\[[^\]:/]*\]|[^\[/:]*[\]\\]|[^\[/:]+\[)", HostKeyError::Pattern),
        without(&format!(r"\[{ipv6}\]{END}"), HostKeyError::Ipv6WithoutPort),
        either(
            without(r"(?:\[|[^/:\[]*:[^/:]*:)", HostKeyError::Ipv6),
            &format!(r"\[(?:{ipv6}\](?::|{END})|[^\]:/]*\])"),
        ),
        without(&format!(r"(?:{HOST}:[^/]*|{AUTHORITY}/.*)\*"), HostKeyError::GlobOutsideHost),
        without(&format!("{HOST}:(?:$|/(?:[^/]|$))"), HostKeyError::Port),
        either(without(&format!("{HOST}:[^/]"), HostKeyError::Port), &format!("{HOST}:{PORT}{END}")),
        (
            matches(
                r"(?:\[[^/]*|[A-Za-z0-9.*\[\]\\@?#-]*(?::[^/]*)?)(?:/(?:[A-Za-z0-9._*@?#-][A-Za-z0-9/._*@?#-]*)?)?$",
            ),
            CHARACTER.to_owned(),
        ),
        without(r"[^/:\[]*\*\*", HostKeyError::DoubleGlob),
        without(r"(?:(?:[^/:\[]*\.)?[.:-]|[^/:\[]*[.-](?:[.:/]|$))", HostKeyError::Label),
        without(&format!("{HUB_SERVERS}{END}"), HostKeyError::DockerHubServer),
        either(
            without(&format!(r"[^/:.\[]+{END}"), HostKeyError::SingleLabel),
            &format!("(?i:localhost){END}"),
        ),
        without(&format!("{AUTHORITY}/.*[A-Z]"), HostKeyError::PathCase),
        without(&format!(r"{AUTHORITY}/(?:.*/)?(?:/|\.{{1,2}}{END})"), HostKeyError::PathPart),
        without(&format!("{AUTHORITY}/v[12]/v[12]{END}"), HostKeyError::ApiVersionTwice),
    ]
}

/// Returns a condition that rejects a pattern with the message of `error`.
fn without(pattern: &str, error: HostKeyError) -> (String, String) {
    (format!("!{}", matches(pattern)), error.to_string())
}

/// Returns the same condition, which a second pattern also meets.
fn either((condition, message): (String, String), pattern: &str) -> (String, String) {
    (format!("{condition} || {}", matches(pattern)), message)
}

fn matches(pattern: &str) -> String {
    format!("TEXT.matches(r'{SCHEME}{pattern}')")
}

/// Returns a pattern for IPv6 addresses: eight groups, or fewer around `::`.
fn ipv6() -> String {
    const GROUP: &str = "[0-9A-Fa-f]{1,4}";
    let all = format!("(?:{GROUP}:){{7}}{GROUP}");
    let nothing_after = format!("(?:{GROUP}:){{1,7}}:");
    let nothing_before = format!(":(?::{GROUP}){{1,7}}");
    let both = (1..=6).map(|after| format!("(?:{GROUP}:){{1,{}}}(?::{GROUP}){{1,{after}}}", 7 - after));
    let forms: Vec<_> =
        [all, nothing_after, nothing_before, "::".to_owned()].into_iter().chain(both).collect();
    format!("(?:{})", forms.join("|"))
}

/// Returns an expression for the host key of a valid host, given the expression for the host: in lower case,
/// without scheme and API version, and with one name for Docker Hub.
pub(super) fn key(host: &str) -> String {
    let text = format!("{host}.lowerAscii().find(r'[^/]+(?:/|/[^/].*)?$')");
    let authority = format!("{text}.find(r'^[^/]+')");
    let path = format!("{text}.find(r'/.*')");
    format!(
        "({authority} == 'index.docker.io' ? 'docker.io' : {authority}) + \
         ({text}.matches(r'^[^/]+(?:/v[12])?/?$') ? '' : \
         {text}.matches(r'^[^/]+/v[12]/') ? {path}.substring(3) : {path})"
    )
}
