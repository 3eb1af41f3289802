//! Measures of the documentation.

use std::path::PathBuf;

use world::docs;

use crate::Measure;
use crate::prose::mannered;
use crate::source::relative;

/// The most bytes that the README may have.
const README_BYTES: f64 = 8_000.0;
/// The fewest pages that the documentation may have.
const PAGES: usize = 15;
/// A line of each sample output that the README shows.
const SAMPLES: [&str; 3] = ["$ regcred rotate", "$ kubectl get clusterpullsecrets", "hint: "];

fn readme() -> String {
    docs::page("README.md")
}

/// Every page of prose.
fn pages() -> Vec<PathBuf> {
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    let mut pages: Vec<_> = top.iter().map(|page| docs::path(page)).collect();
    for folder in ["docs", "findings", "examples"] {
        pages.extend(docs::files(folder, "md"));
    }
    pages
}

/// The size of the README.
pub(crate) fn readme_bytes() -> Measure {
    #[expect(clippy::cast_precision_loss, reason = "a README has fewer than 2^52 bytes")]
    let count = readme().len() as f64;
    Measure { name: "bytes of README.md", count, limit: README_BYTES, places: Vec::new() }
}

/// Sample outputs that the README does not show.
pub(crate) fn missing_samples() -> Measure {
    let text = readme();
    let missing = SAMPLES.iter().filter(|sample| !text.contains(**sample));
    Measure::places("sample outputs that README.md lacks", 0.0, missing.map(|it| (*it).to_owned()).collect())
}

/// Pages that are missing to the least number.
pub(crate) fn missing_pages() -> Measure {
    let pages = docs::files("docs", "md").len();
    let missing = (pages..PAGES).map(|page| format!("page {}", page + 1)).collect();
    Measure::places("missing pages in docs/", 0.0, missing)
}

/// Mannered words in pages, for each thousand words.
pub(crate) fn mannered_words() -> Measure {
    let mut words = 0;
    let mut places = Vec::new();
    for page in pages() {
        let text =
            std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        words += text.split_whitespace().count();
        for (index, line) in text.lines().enumerate() {
            let path = relative(&page);
            places.extend(mannered(line).map(|word| format!("{path}:{}: {word}: {line}", index + 1)));
        }
    }
    Measure::share("mannered words per 1,000 words of the pages", 0.5, 1000.0, words, places)
}
