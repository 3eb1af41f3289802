//! The README, cut up for the tests of what it tells people to do.

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");

/// The whole of it.
///
/// # Panics
///
/// If it is not there.
#[must_use]
#[track_caller]
pub fn text() -> String {
    std::fs::read_to_string(PATH).expect("a README")
}

/// What stands under a heading such as `### Webhook`, up to the next one of its level or above.
///
/// # Panics
///
/// If there is no such heading.
#[must_use]
#[track_caller]
pub fn section(heading: &str) -> String {
    let text = text();
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let level = |line: &str| line.split(' ').next().filter(|it| it.chars().all(|it| it == '#')).map(str::len);
    let depth = level(heading).expect("a heading");
    // One mark alone is a comment in a command.
    let is_inside = |line: &&str| !level(line).is_some_and(|level| (2..=depth).contains(&level));
    rest.split_inclusive('\n').take_while(is_inside).collect()
}

/// The blocks of YAML in a text, in their order.
#[must_use]
pub fn yaml(text: &str) -> Vec<&str> {
    text.split("```yaml\n").skip(1).filter_map(|it| Some(it.split_once("```")?.0)).collect()
}
