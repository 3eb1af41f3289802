//! Documents that depend on each other, and texts that are no documents.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;

use super::super::read;
use super::{SMALLEST, errors, files};

#[test]
fn name_is_unique_across_files() {
    let store = "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: [{name: a, file: {directory: x}}]\n";
    assert_snapshot!(
        files(&[("a.yaml", store), ("b.yaml", store), ("c.yaml", &SMALLEST.replace("files", "a")), ("d.yaml", &SMALLEST.replace("files", "a"))])
            .expect_err("errors"),
        @r###"
    b.yaml:3: stores[0].name: a store has this name already, at a.yaml:3
    d.yaml:3: metadata.name: a ClusterPullSecret has this name already, at c.yaml:3
    "###
    );
}

#[test]
fn syntax_error_has_its_line_and_hides_no_other() {
    assert_snapshot!(errors("kind: [\n---\nkind: Unknown\n---\na: b: c\n---\nkind: ClusterPullSecret\nkind: Config\n"), @r###"
    images.yaml:1: document 1: is not YAML: unclosed bracket '['
    images.yaml:3: document 2: kind: unknown kind "Unknown"; known: Config, ClusterPullSecret
    images.yaml:5: document 3: is not YAML: mapping values are not allowed in this context
    images.yaml:7: document 4: the field apiVersion is missing
    images.yaml:7: document 4: the field metadata is missing
    images.yaml:7: document 4: the field spec is missing
    images.yaml:8: document 4: kind: is given twice, first on line 7
    "###);
}

#[test]
fn unquoted_glob_gets_a_hint() {
    assert_snapshot!(errors("include:\n- *-web\n"), @"images.yaml:2: is not YAML: while parsing node, found unknown anchor; a value that begins with * needs quotes");
}

#[test]
fn unreadable_document_makes_no_store_unknown() {
    let text = format!("kind: Config\nstores: [\n---\n{}", SMALLEST.replace("files", "vault"));
    assert_eq!(errors(&text).lines().count(), 1, "{}", errors(&text));
}

#[test]
fn store_without_a_name_makes_no_store_unknown() {
    for stores in ["stores: [{file: {directory: x}}]", "stores: {file: {directory: x}}", "store: []"] {
        let text = format!(
            "apiVersion: regcred.dev/v1alpha1\nkind: Config\n{stores}\n---\n{}",
            SMALLEST.replace("files", "vault")
        );
        assert!(!errors(&text).contains("no store has this name"), "{}", errors(&text));
    }
}

#[test]
fn aliases_and_nesting_are_limited() {
    let mut text = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 0..20 {
        let alias = format!("*a{level}, ").repeat(10);
        let _ = writeln!(text, "b{level}: &a{} [{}]", level + 1, alias.trim_end_matches(", "));
    }
    assert!(errors(&text).contains("aliases add more than"), "{}", errors(&text));
    assert!(errors(&"[".repeat(100_000)).contains("not YAML"));
    let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(errors(&deep).contains("nested more than 64 levels deep"), "{}", errors(&deep));
    assert!(errors("a: &a [*a]").contains("alias of a value that contains it"));
}

#[test]
fn missing_files_are_all_reported() {
    let sources: Vec<PathBuf> = vec!["/absent/one.yaml".into(), "/absent/two.yaml".into()];
    let errors = read(&sources, Path::new("x")).expect_err("errors");
    assert_eq!(errors.0.len(), 2, "{errors}");
}
