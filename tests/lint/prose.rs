//! Measures of comments.

use crate::Measure;
use crate::source::File;

/// Words that open a relative clause where a noun phrase or a verb belongs.
const RELATIVE: [&str; 11] =
    ["What", "Who", "Whose", "Whom", "Whether", "Why", "How", "When", "Where", "Which", "That"];

/// Words and phrases of a dialect that readers have to translate.
const MANNERED: [&str; 24] = [
    "anew",
    "whoever",
    "whom",
    "whose",
    "mend",
    "mends",
    "mended",
    "mending",
    "told",
    "heard",
    "passed over",
    "so many",
    "so long",
    "somebody",
    "nobody",
    "meanwhile",
    "beside",
    "of ours",
    "of others",
    "comes to its end",
    "come to its end",
    "came to its end",
    "comes to their end",
    "came to their end",
];

/// A run of lines with the same comment marker.
struct Block<'a> {
    line: usize,
    marker: &'static str,
    opening: &'a str,
}

/// Doc blocks of the whole tree that open with a relative clause, in per cent.
pub(crate) fn relative_openings(files: &[File]) -> Measure {
    let total = files.iter().map(|file| doc_blocks(&file.text).len()).sum();
    let places = files.iter().flat_map(|file| relative(file, &["///", "//!"])).collect();
    Measure::share("doc blocks that open with a relative clause, %", 2.0, 100.0, total, places)
}

/// The same for `//!`, where none is allowed.
pub(crate) fn relative_module_openings(files: &[File]) -> Measure {
    let places = files.iter().flat_map(|file| relative(file, &["//!"])).collect();
    Measure::places("`//!` that open with a relative clause", 0.0, places)
}

fn relative(file: &File, markers: &[&str]) -> Vec<String> {
    let blocks = doc_blocks(&file.text).into_iter().filter(|block| {
        let word = block.opening.trim_start_matches(|c: char| !c.is_alphanumeric());
        let word = word.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        markers.contains(&block.marker) && RELATIVE.contains(&word)
    });
    blocks.map(|block| format!("{}:{}: {} {}", file.path, block.line, block.marker, block.opening)).collect()
}

fn doc_blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut before = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let marker = ["///", "//!"].into_iter().find(|it| line.starts_with(it) && !line.starts_with("////"));
        if let Some(marker) = marker.filter(|it| before != Some(*it)) {
            blocks.push(Block { line: index + 1, marker, opening: line[3..].trim_start() });
        }
        before = marker;
    }
    blocks
}

/// Mannered words in comments, for each thousand comment words.
pub(crate) fn mannered_words(files: &[File]) -> Measure {
    let mut words = 0;
    let mut places = Vec::new();
    // The lists of this file name the words.
    for file in files.iter().filter(|file| file.path != "tests/lint/prose.rs") {
        for (index, line) in file.text.lines().enumerate() {
            let Some(comment) = comment_of(line) else { continue };
            words += comment.split_whitespace().count();
            places.extend(
                mannered(comment).map(|word| format!("{}:{}: {word}: {comment}", file.path, index + 1)),
            );
        }
    }
    Measure::share("mannered words per 1,000 comment words", 0.5, 1000.0, words, places)
}

/// The mannered words of a text, each as often as it occurs.
pub(crate) fn mannered(text: &str) -> impl Iterator<Item = &'static str> {
    let spaced: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let spaced = format!(" {} ", spaced.join(" ").to_lowercase());
    MANNERED.into_iter().flat_map(move |word| vec![word; spaced.matches(&format!(" {word} ")).count()])
}

/// The text of the comment on a line; `//` inside a string literal opens none.
fn comment_of(line: &str) -> Option<&str> {
    let start = line
        .match_indices("//")
        .map(|(at, _)| at)
        .find(|at| line[..*at].matches('"').count().is_multiple_of(2))?;
    let is_address = line[..start].ends_with(':');
    (!is_address).then(|| line[start..].trim_start_matches(['/', '!']).trim())
}

#[test]
fn mannered_words_are_found_whole_and_in_any_case() {
    let found: Vec<_> = mannered("Nobody untold; so  many amended\nmend.").collect();
    assert_eq!(found, ["mend", "so many", "nobody"]);
}

#[test]
fn comment_of_line_ignores_strings_and_addresses() {
    for (line, expected) in [
        ("let a = 1; // why", Some("why")),
        ("    /// Returns it.", Some("Returns it.")),
        (r#"let a = "http://x";"#, None),
        ("let a = 1;", None),
    ] {
        assert_eq!(comment_of(line), expected, "{line}");
    }
}
