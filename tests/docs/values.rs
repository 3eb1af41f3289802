//! The table of stored values in `docs/reference/values.md`: every form with the answer of the parser.
//!
//! A row states what is expected of its value, and the parser is asked. The messages in the table are the ones that a
//! status has.

mod rows;

use std::fmt::Write as _;

use regcred::credential::StoreKey;
use regcred::docker_config::host_key::HostKey;
use regcred::docker_config::registry_source::RegistrySource;
use regcred::docker_config::shapes::{self, ParsedValue};
use secrecy::ExposeSecret as _;

use rows::{PASSWORD, Row};

/// The most characters of a value in the table.
const MAX_SHOWN: usize = 60;

/// Renders the three parts of the table.
pub(crate) fn reference() -> String {
    let mut text = String::new();
    part(&mut text, "Understood", "written", &rows::understood(), understood);
    part(&mut text, "Malformed", "message", &rows::malformed(), malformed);
    part(&mut text, "Taken as the password", "reason", &rows::taken(), taken);
    text
}

fn part(text: &mut String, heading: &str, column: &str, rows: &[Row], result: fn(&Row) -> String) {
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "### {heading}\n\n| value | example | in the spec | {column} |\n| --- | --- | --- | --- |\n"
    );
    for row in rows {
        let spec = row.spec.iter().map(|(field, content)| code(&format!("{field}: {content}")));
        let spec = spec.collect::<Vec<_>>().join(", ");
        let (form, example) = (row.form, code(&row.value));
        let _ = writeln!(text, "| {form} | {example} | {spec} | {} |", escape(&result(row)));
    }
    text.push('\n');
}

/// Returns the hosts that are written, with their usernames.
fn understood(row: &Row) -> String {
    let ParsedValue { config, rejected } = parse(row).unwrap_or_else(|error| panic!("{}: {error}", row.form));
    assert!(!config.auths.is_empty(), "{}", row.form);
    let entries = config.auths.iter().map(|(host, credential)| {
        assert_eq!(credential.password.expose_secret(), row.password, "{}", row.form);
        format!("{}: {}", code(host.as_str()), code(&credential.username))
    });
    let rejected = rejected.iter().map(|entry| format!("not written: {entry}"));
    entries.chain(rejected).collect::<Vec<_>>().join("; ")
}

fn malformed(row: &Row) -> String {
    let message = match parse(row) {
        Ok(_) => panic!("{}: understood", row.form),
        Err(error) => error.to_string(),
    };
    assert!(!message.contains(PASSWORD), "{}: the message shows the password: {message}", row.form);
    message
}

fn taken(row: &Row) -> String {
    let ParsedValue { config, .. } = parse(row).unwrap_or_else(|error| panic!("{}: {error}", row.form));
    let passwords: Vec<_> = config.auths.values().map(|it| it.password.expose_secret()).collect();
    assert_eq!(passwords, [row.password.as_str()], "{}", row.form);
    row.reason.to_owned()
}

/// Asks the parser.
fn parse(row: &Row) -> Result<ParsedValue, shapes::Malformed> {
    let field =
        |name: &str| row.spec.iter().find(|(field, _)| *field == name).map(|(_, it)| (*it).to_owned());
    let host = field("host").unwrap_or_else(|| "ghcr.io".to_owned());
    let registry = RegistrySource {
        host: (host != "none").then(|| HostKey::parse(&host).expect("a host")),
        store_key: StoreKey { store: "vault".into(), key: "ci/ghcr".into() },
        username: field("username"),
        username_key: field("usernameKey"),
        password_key: field("passwordKey"),
        config_key: field("configKey"),
    };
    shapes::parse(&row.value.clone().into_bytes().into(), &registry)
}

/// Renders a text as code in a cell of a table.
fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let shown = shown.replace('\u{feff}', "␣BOM␣").replace("\r\n", "↵").replace('\n', "↵");
    let marks = if shown.contains('`') { "`` " } else { "`" };
    let end: String = marks.chars().rev().collect();
    escape(&format!("{marks}{shown}{end}"))
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace("\\\\|", "\\|")
}
