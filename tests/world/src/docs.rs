//! The documentation, cut up for the tests that do what it says.

use std::path::{Path, PathBuf};

/// A file of the repository, by its path from the root.
#[must_use]
pub fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)
}

/// Every file with this extension below a folder, by path; build output is left out.
///
/// # Panics
///
/// If the folder or one below it cannot be read.
#[must_use]
#[track_caller]
pub fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![path(folder)];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("a readable folder").path()) {
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("book") {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The text of a page such as `docs/guides/vault.md`.
///
/// # Panics
///
/// If the page does not exist.
#[must_use]
#[track_caller]
pub fn page(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The text below a heading such as `## Stores`, up to the next heading of the same level or above.
///
/// # Panics
///
/// If the page has no such heading.
#[must_use]
#[track_caller]
pub fn section(file: &str, heading: &str) -> String {
    let text = page(file);
    let (_, rest) =
        text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{file}: no {heading}"));
    let level = |line: &str| line.split(' ').next().filter(|it| it.chars().all(|it| it == '#')).map(str::len);
    let depth = level(heading).expect("a heading");
    // A single mark is a comment in a command.
    let is_inside = |line: &&str| !level(line).is_some_and(|level| (2..=depth).contains(&level));
    rest.split_inclusive('\n').take_while(is_inside).collect()
}

/// The fenced blocks of a language, such as `yaml`, in their order.
#[must_use]
pub fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|it| Some(it.split_once("```")?.0)).collect()
}

/// The text between `<!-- MARK: begin -->` and `<!-- MARK: end -->`, with all that stands around it.
///
/// # Panics
///
/// If the page lacks one of the two marks.
#[must_use]
#[track_caller]
pub fn marked(file: &str, mark: &str) -> [String; 3] {
    let (begin, end) = (format!("<!-- {mark}: begin -->\n"), format!("<!-- {mark}: end -->"));
    let text = page(file);
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{file}: no {begin}"));
    let (inside, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{file}: no {end}"));
    [format!("{before}{begin}"), inside.to_owned(), format!("{end}{after}")]
}
