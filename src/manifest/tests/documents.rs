//! What documents are to each other, and texts that are no documents.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;

use super::super::read;
use super::{SMALLEST, files, mistakes};

#[test]
fn a_name_is_used_once_across_files() {
    let store = "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: [{name: a, file: {directory: x}}]\n";
    assert_snapshot!(
        files(&[("a.yaml", store), ("b.yaml", store), ("c.yaml", &SMALLEST.replace("files", "a")), ("d.yaml", &SMALLEST.replace("files", "a"))])
            .expect_err("there are mistakes"),
        @r###"
    b.yaml:3: stores[0].name: a store has this name already, at a.yaml:3
    d.yaml:3: metadata.name: a ClusterPullSecret has this name already, at c.yaml:3
    "###
    );
}

#[test]
fn a_mistake_of_syntax_has_its_line_and_hides_no_other() {
    assert_snapshot!(mistakes("kind: [\n---\nkind: Unknown\n---\na: b: c\n---\nkind: ClusterPullSecret\nkind: Config\n"), @r###"
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
fn a_glob_without_quotes_is_told_to_have_some() {
    assert_snapshot!(mistakes("include:\n- *-web\n"), @"images.yaml:2: is not YAML: while parsing node, found unknown anchor; a value that begins with * needs quotes");
}

#[test]
fn stores_that_may_be_in_an_unreadable_document_are_not_called_unknown() {
    let text = format!("kind: Config\nstores: [\n---\n{}", SMALLEST.replace("files", "vault"));
    assert_eq!(mistakes(&text).lines().count(), 1, "{}", mistakes(&text));
}

#[test]
fn a_store_whose_name_is_missing_may_be_any_that_others_speak_of() {
    for stores in ["stores: [{file: {directory: x}}]", "stores: {file: {directory: x}}", "store: []"] {
        let text = format!(
            "apiVersion: regcred.dev/v1alpha1\nkind: Config\n{stores}\n---\n{}",
            SMALLEST.replace("files", "vault")
        );
        assert!(!mistakes(&text).contains("no store has this name"), "{}", mistakes(&text));
    }
}

#[test]
fn aliases_do_not_fill_the_memory() {
    let mut text = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 0..20 {
        let alias = format!("*a{level}, ").repeat(10);
        let _ = writeln!(text, "b{level}: &a{} [{}]", level + 1, alias.trim_end_matches(", "));
    }
    assert!(mistakes(&text).contains("aliases add more than"), "{}", mistakes(&text));
    assert!(mistakes(&"[".repeat(100_000)).contains("not YAML"));
    let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(mistakes(&deep).contains("nested more than 64 levels deep"), "{}", mistakes(&deep));
    assert!(mistakes("a: &a [*a]").contains("alias of what it is a part of"));
}

#[test]
fn a_missing_file_is_a_mistake_among_others() {
    let sources: Vec<PathBuf> = vec!["/absent/one.yaml".into(), "/absent/two.yaml".into()];
    let mistakes = read(&sources, Path::new("x")).expect_err("there are mistakes");
    assert_eq!(mistakes.0.len(), 2, "{mistakes}");
}
