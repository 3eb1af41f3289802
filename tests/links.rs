//! Links in the documentation: every file and every heading that a page names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use world::docs;

/// The files that are read: each path and its text, by the path from the root of the repository.
fn texts(roots: &[&str]) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = roots.iter().map(PathBuf::from).collect();
    while let Some(path) = open.pop() {
        let real = docs::path(&path.display().to_string());
        if real.is_dir() && path != Path::new("docs/book") {
            for entry in std::fs::read_dir(&real).expect("a directory") {
                open.push(path.join(entry.expect("an entry").file_name()));
            }
        } else if let Ok(text) = std::fs::read_to_string(&real) {
            found.insert(path, text);
        }
    }
    found
}

fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = texts(&[
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "deploy",
        "docs",
        "examples",
        "findings",
    ]);
    pages.retain(|path, _| path.extension().is_some_and(|it| it == "md"));
    pages
}

/// The text without fenced blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The anchors of a page, as GitHub and mdBook derive them from its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let prose = prose(text);
    for line in prose.lines().filter(|line| line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|it| it.is_alphanumeric() || [' ', '-', '_'].contains(it));
        let slug: String = kept.map(|it| if it == ' ' { '-' } else { it }).collect();
        let numbered = (1..).map(|count| format!("{slug}-{count}"));
        let free = std::iter::once(slug.clone()).chain(numbered).find(|it| !anchors.contains(it));
        anchors.extend(free);
    }
    anchors
}

/// A path without `.` and `..`; `None` where it leaves the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if !normal.pop() => return None,
            Component::Normal(name) => normal.push(name),
            _ => {}
        }
    }
    Some(normal)
}

/// The reason why a target such as `vault.md#login` leads nowhere from a page.
fn broken(page: &Path, target: &str, pages: &BTreeMap<PathBuf, String>) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path =
        if file.is_empty() { Some(page.to_owned()) } else { normal(&page.with_file_name("").join(file)) };
    let Some(path) = path else { return Some("leaves the repository".to_owned()) };
    if !docs::path(&path.display().to_string()).exists() {
        return Some("no such file".to_owned());
    }
    // A page of the book is served without the rest of the repository.
    if page.starts_with("docs") && !path.starts_with("docs") {
        return Some("leaves the book: name the file as code instead".to_owned());
    }
    let has_anchor = anchor.is_empty() || pages.get(&path).is_some_and(|text| anchors(text).contains(anchor));
    (!has_anchor).then(|| "no such heading".to_owned())
}

#[test]
fn links_between_pages_lead_to_files_and_headings() {
    let pages = pages();
    let (mut seen, mut errors) = (0, Vec::new());
    for (page, text) in &pages {
        let prose = prose(text);
        let targets = prose.split("](").skip(1).filter_map(|it| it.split(')').next());
        for target in targets.filter(|it| !it.contains("://")) {
            seen += 1;
            errors.extend(
                broken(page, target, &pages).map(|why| format!("{}: {target}: {why}", page.display())),
            );
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    assert!(seen > 80, "{seen} links");
}

#[test]
fn pages_named_by_other_files_exist_with_their_headings() {
    let pages = pages();
    let sources =
        texts(&["Cargo.toml", "Makefile", "deploy", "docker-compose.yml", "examples", "src", "tests"]);
    let (mut seen, mut errors) = (0, Vec::new());
    let is_link = |it: char| it.is_ascii_alphanumeric() || "/#-_.".contains(it);
    // A page as the root of the repository sees it, with a heading or without.
    let page = Path::new("README.md");
    for (source, text) in &sources {
        for rest in text.split("docs/").skip(1) {
            let target: String = rest.chars().take_while(|it| is_link(*it)).collect();
            let target = format!("docs/{}", target.trim_end_matches('.'));
            if target.contains(".md") {
                seen += 1;
                let why = broken(page, &target, &pages);
                errors.extend(why.map(|why| format!("{}: {target}: {why}", source.display())));
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    assert!(seen > 5, "{seen} pages are named");
}

#[test]
fn paths_in_code_spans_of_pages_exist() {
    let roots = ["deploy/", "docs/", "examples/", "findings/", "src/", "tests/"];
    let mut errors = Vec::new();
    // A changelog names files of its time.
    for (page, text) in pages().iter().filter(|(page, _)| **page != Path::new("CHANGELOG.md")) {
        for span in prose(text).split('`').skip(1).step_by(2) {
            let is_path = roots.iter().any(|root| span.starts_with(root)) && !span.contains(['*', ' ', '{']);
            if is_path && !docs::path(span).exists() {
                errors.push(format!("{}: {span}", page.display()));
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn pages_of_the_book_are_all_in_its_summary() {
    let summary = docs::page("docs/SUMMARY.md");
    for page in pages().keys().filter_map(|page| page.strip_prefix("docs").ok()) {
        let is_listed = summary.contains(&format!("({})", page.display()));
        assert!(is_listed || page == Path::new("SUMMARY.md"), "{} is not in SUMMARY.md", page.display());
    }
}
