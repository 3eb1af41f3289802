//! Counts what the project promises of its language and its structure, on the tree as it stands.
//!
//! In goes every Rust file and page of the repository, out comes one line for each measure: the count and its limit.
//! A measure over its limit fails its test and lists the places.

mod imports;
mod names;
mod pages;
mod prose;
mod reasons;
mod source;

use source::{File, rust_files};

/// A count that may not exceed its limit, with the places that were counted.
pub(crate) struct Measure {
    name: &'static str,
    count: f64,
    limit: f64,
    places: Vec<String>,
}

impl Measure {
    /// Each place counts as one.
    pub(crate) fn places(name: &'static str, limit: f64, places: Vec<String>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a tree has fewer than 2^52 lines")]
        let count = places.len() as f64;
        Self { name, count, limit, places }
    }

    /// Places for each `unit` of `total`: per cent, per thousand words, per thousand lines.
    pub(crate) fn share(
        name: &'static str,
        limit: f64,
        unit: f64,
        total: usize,
        places: Vec<String>,
    ) -> Self {
        let mut measure = Self::places(name, limit, places);
        #[expect(clippy::cast_precision_loss, reason = "a tree has fewer than 2^52 words")]
        let total = total.max(1) as f64;
        measure.count *= unit / total;
        measure
    }

    #[track_caller]
    #[expect(clippy::print_stdout, reason = "`make lint` shows the counts")]
    pub(crate) fn check(self) {
        let Self { name, count, limit, places } = self;
        println!("{name}: {count:.2} (limit {limit})");
        assert!(count <= limit, "{name}: {count:.2}, limit {limit}\n{}", places.join("\n"));
    }
}

/// The Rust files of the program.
fn program() -> Vec<File> {
    rust_files(&["src"])
}

/// Every Rust file of the repository.
fn everything() -> Vec<File> {
    rust_files(&["src", "tests"])
}

#[test]
fn doc_blocks_opening_with_relative_clause_are_rare() {
    prose::relative_openings(&everything()).check();
}

#[test]
fn module_docs_opening_with_relative_clause_do_not_exist() {
    prose::relative_module_openings(&everything()).check();
}

#[test]
fn mannered_words_in_comments_are_rare() {
    prose::mannered_words(&everything()).check();
}

#[test]
fn mannered_words_in_pages_are_rare() {
    pages::mannered_words().check();
}

#[test]
fn type_names_are_defined_once() {
    names::types_defined_twice(&program()).check();
}

#[test]
fn functions_named_of_do_not_exist() {
    names::functions_named_of(&everything()).check();
}

#[test]
fn named_closures_are_rare() {
    names::named_closures(&program()).check();
}

#[test]
fn test_names_state_subject_condition_outcome() {
    names::bad_test_names(&everything()).check();
}

#[test]
fn field_vocabulary_is_found_in_file_or_type_names() {
    names::missing_vocabulary(&program()).check();
}

#[test]
fn reasons_are_enums_end_to_end() {
    reasons::reasons_as_text(&program()).check();
}

#[test]
fn import_cycles_between_files_do_not_exist() {
    imports::cycles(&program()).check();
}

#[test]
fn top_level_modules_do_not_import_each_other() {
    imports::mutual_pairs(&program()).check();
}

#[test]
fn readme_is_short_and_shows_output() {
    pages::readme_bytes().check();
    pages::missing_samples().check();
}

#[test]
fn documentation_has_a_page_for_each_task() {
    pages::missing_pages().check();
}
