//! Files of every author, and the next content of each.

use secrecy::ExposeSecret as _;

use super::*;

const GHCR: &str = r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6b25l"}}}"#;

/// The desired entries: `(key, password)`, and the registries that were not read.
fn desired(entries: &[(&str, &str)], unread: &[&str]) -> DesiredEntries {
    let entries = entries.iter().map(|&(key, password)| {
        (key.to_owned(), Credential { username: "robot".into(), password: password.into() })
    });
    let unread = unread.iter().map(|&name| {
        let keys = (name != "*").then(|| vec![name.to_owned()]);
        UnreadRegistry { name: name.to_owned(), keys }
    });
    DesiredEntries { entries: entries.collect(), unread: unread.collect(), ..DesiredEntries::default() }
}

fn record(written: &[&str]) -> EntryRecord {
    EntryRecord { written: written.iter().map(|key| (*key).to_owned()).collect(), ..EntryRecord::default() }
}

/// A file, its record, the desired entries, and if it is merged.
struct FileCase<'a>(&'a str, &'a [&'a str], DesiredEntries, bool);

impl FileCase<'_> {
    fn plan(&self) -> Result<FilePlan, FileRefusal> {
        let Self(existing, written, desired, merge) = self;
        let existing = (!existing.is_empty()).then_some(existing.as_bytes());
        plan(existing, &record(written), desired, *merge)
    }

    /// The new content, or the refusal; `=` for a file that stays.
    fn outcome(&self) -> String {
        match self.plan() {
            Ok(FilePlan { content: None, .. }) => "=".to_owned(),
            Ok(FilePlan { content: Some(content), .. }) => {
                String::from_utf8(content.expose_secret().to_vec()).expect("JSON is UTF-8")
            }
            Err(refusal) => refusal.to_string(),
        }
    }
}

#[test]
fn absent_file_is_written_once_there_is_an_entry() {
    assert_eq!(FileCase("", &[], desired(&[("ghcr.io", "one")], &[]), false).outcome(), GHCR);
    let nothing = FileCase("", &[], desired(&[], &["ghcr.io"]), false);
    assert_eq!(nothing.outcome(), "=");
    assert_eq!(nothing.plan().ok().map(|it| it.record.missing), Some(["ghcr.io".to_owned()].into()));
}

#[test]
fn current_content_is_not_rewritten() {
    let spaced = GHCR.replace(':', ": ");
    for file in [GHCR, &spaced] {
        assert_eq!(FileCase(file, &["ghcr.io"], desired(&[("ghcr.io", "one")], &[]), false).outcome(), "=");
    }
}

#[test]
fn unread_registry_keeps_its_entry() {
    let case = FileCase(GHCR, &["ghcr.io"], desired(&[("quay.io", "two")], &["ghcr.io"]), false);
    let both = r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6b25l"},"quay.io":{"auth":"cm9ib3Q6dHdv"}}}"#;
    assert_eq!(case.outcome(), both);
    let record = case.plan().expect("a plan").record;
    assert!(record.missing.is_empty(), "{record:?}");
    let down = FileCase(GHCR, &["ghcr.io"], desired(&[], &["ghcr.io"]), false);
    assert_eq!(down.outcome(), "=", "all stores are down");
}

#[test]
fn entry_of_another_author_is_never_taken_over() {
    let foreign = "the file holds what regcred did not write: auths.ghcr.io";
    for unread in ["ghcr.io", "*"] {
        assert_eq!(FileCase(GHCR, &[], desired(&[], &[unread]), false).outcome(), foreign);
        let merged = FileCase(GHCR, &[], desired(&[], &[unread]), true);
        assert_eq!(merged.outcome(), "=");
        let record = merged.plan().expect("a plan").record;
        assert!(record.written.is_empty(), "{unread}: {record:?}");
        assert_eq!(record.missing, [unread.to_owned()].into(), "it is not the entry of regcred");
    }
    assert_eq!(FileCase(GHCR, &[], desired(&[("quay.io", "two")], &[]), false).outcome(), foreign);
    assert_eq!(FileCase(GHCR, &[], desired(&[("ghcr.io", "two")], &[]), false).outcome(), foreign);
    let same = FileCase(GHCR, &[], desired(&[("ghcr.io", "one")], &[]), false);
    assert_eq!(same.outcome(), "=", "the same entry");
}

#[test]
fn unusable_entry_stays_and_is_not_missing() {
    let mut desired = desired(&[("quay.io", "two")], &[]);
    desired.kept = ["ghcr.io".to_owned(), "gcr.io".to_owned()].into();
    desired.denied = vec!["docker.io".to_owned()];
    let case = FileCase(GHCR, &["ghcr.io"], desired, false);
    let both = r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6b25l"},"quay.io":{"auth":"cm9ib3Q6dHdv"}}}"#;
    assert_eq!(case.outcome(), both);
    assert_eq!(case.plan().expect("a plan").record.missing, ["docker.io".to_owned()].into());
}

#[test]
fn unread_docker_config_keeps_every_entry() {
    let case = FileCase(GHCR, &["ghcr.io"], desired(&[], &["*"]), false);
    assert_eq!(case.outcome(), "=");
    assert!(case.plan().expect("a plan").record.missing.is_empty());
    let absent = FileCase("", &[], desired(&[("ghcr.io", "one")], &["*"]), false).plan().expect("a plan");
    assert_eq!(absent.record.missing, ["*".to_owned()].into());
}

#[test]
fn entry_that_is_not_desired_any_more_is_removed() {
    let case = FileCase(GHCR, &["ghcr.io"], desired(&[("quay.io", "two")], &[]), false);
    assert_eq!(case.outcome(), r#"{"auths":{"quay.io":{"auth":"cm9ib3Q6dHdv"}}}"#);
    assert_eq!(case.plan().expect("a plan").record, record(&["quay.io"]));
    let none = FileCase(GHCR, &["ghcr.io"], desired(&[], &[]), false);
    assert_eq!(none.outcome(), r#"{"auths":{}}"#);
}

#[test]
fn file_of_another_author_is_refused_by_name() {
    let file = r#"{"auths":{"ghcr.io":{"auth":"x","email":"a"},"quay.io":{"auth":"x"}},"credsStore":"pass"}"#;
    let refused = FileCase(file, &[], desired(&[("ghcr.io", "one")], &[]), false).outcome();
    let expect = "the file holds what regcred did not write: credsStore, auths.ghcr.io, auths.quay.io";
    assert_eq!(refused, expect);
    for file in [r#"{"auths":{"ghcr.io":{"#, "[]"] {
        for merge in [false, true] {
            assert!(
                FileCase(file, &[], desired(&[("ghcr.io", "one")], &[]), merge).plan().is_err(),
                "{file}"
            );
        }
    }
}

#[test]
fn merge_keeps_what_regcred_did_not_write() {
    let file = r#"{"auths":{"gone.io":{"auth":"x"},"quay.io":{"username":"u"}},"psFormat":"table"}"#;
    let merged = FileCase(file, &["gone.io"], desired(&[("ghcr.io", "one")], &[]), true);
    let expect =
        r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6b25l"},"quay.io":{"username":"u"}},"psFormat":"table"}"#;
    assert_eq!(merged.outcome(), expect);
    assert_eq!(merged.plan().expect("a plan").record, record(&["ghcr.io"]));
    assert_eq!(FileCase(expect, &["ghcr.io"], desired(&[("ghcr.io", "one")], &[]), true).outcome(), "=");
}

#[test]
fn merge_takes_over_an_entry_of_the_same_key() {
    let file = r#"{"auths":{"ghcr.io":{"username":"u","password":"p"}}}"#;
    let case = FileCase(file, &[], desired(&[("ghcr.io", "one")], &[]), true);
    assert_eq!(case.outcome(), GHCR);
    assert_eq!(case.plan().expect("a plan").hindrances, [Hindrance::Replaced("ghcr.io".to_owned())]);
}

#[test]
fn parts_that_hide_entries_are_reported() {
    let file = r#"{"auths":{"https://ghcr.io":{"auth":"x"},"quay.io":{"auth":"x"}},"credsStore":"pass","credHelpers":{"ghcr.io":"x","gcr.io":"y"}}"#;
    let plan = FileCase(file, &[], desired(&[("ghcr.io", "one")], &[]), true).plan().expect("a plan");
    let expect = [
        Hindrance::CredsStore,
        Hindrance::CredHelper("ghcr.io".to_owned()),
        Hindrance::OtherSpelling("https://ghcr.io".to_owned()),
    ];
    assert_eq!(plan.hindrances, expect);
    let hub = ["docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"];
    let own = FileCase("", &[], desired(&hub.map(|key| (key, "one")), &[]), false).plan().expect("a plan");
    assert!(own.hindrances.is_empty(), "the keys of Docker Hub are regcred's own");
}

#[test]
fn removed_file_is_written_again() {
    assert_eq!(FileCase("", &["ghcr.io"], desired(&[("ghcr.io", "one")], &[]), false).outcome(), GHCR);
}
