//! [`HostKey`](crate::docker_config::host_key::HostKey) as CEL: which hosts there are, and which of them are one.
//!
//! What `HostKey::parse` refuses breaks at least one of [`rules`], and two good hosts have one [`key`]
//! where they have one host key. RE2 knows no looking ahead, and a scheme may be there or not: every
//! pattern is written so that the colon of a scheme can never be taken for that of a port.

use crate::docker_config::host_key::HostKeyError;

/// A scheme, which is not part of the registry's name.
const SCHEME: &str = "^(?:(?i:https?)://)?";

/// An address in brackets, or a host without its port.
const HOST: &str = r"(?:\[[^\]/]*\]|[^/:\[]*)";

/// What goes before a path.
const AUTHORITY: &str = r"(?:\[[^/]*|[^/:\[][^/:]*(?::[^/]+)?)";

/// The end of an authority.
const END: &str = "(?:/|$)";

/// From 1 to 65535, without zeros before it.
const PORT: &str = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

/// Where Docker Hub answers.
const HUB_SERVERS: &str = r"(?i:registry-1\.docker\.io|registry\.hub\.docker\.com|hub\.docker\.com)";

/// Which character it is, only [`HostKeyError::Character`] of a file can tell.
const CHARACTER: &str =
    "holds a character that no image name has there: write host, host:port or host:port/path";

/// What a host, `TEXT` in the expressions, has to be, each with what is wrong where it is not.
pub(super) fn rules() -> Vec<(String, String)> {
    let ipv6 = ipv6();
    let without = |pattern: &str, error: HostKeyError| (format!("!{}", matches(pattern)), error.to_string());
    let either = |one: (String, String), pattern: &str| (format!("{} || {}", one.0, matches(pattern)), one.1);
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

fn matches(pattern: &str) -> String {
    format!("TEXT.matches(r'{SCHEME}{pattern}')")
}

/// Eight groups of an IPv6 address, or fewer around `::`.
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

/// The host key of a good host, where `host` is the expression for it: in lower case, without scheme
/// and API version, and with one name for Docker Hub.
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
