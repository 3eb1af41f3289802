//! Files on disk: locks, modes, leftovers, and everything that is no file.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::credential::Credential;
use crate::provider::MAX_VALUE_BYTES;
use crate::sidecar::check::check;
use crate::sidecar::plan::UnreadRegistry;

/// A directory for a file `config.json`.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("config.json")
    }

    fn open(&self) -> Result<OutputFile, OutputError> {
        OutputFile::open(&self.path(), None, false)
    }

    /// The names in the directory.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn check(&self) -> Result<(), String> {
        let directory = self.0.path().display().to_string();
        check(&self.path()).map_err(|error| error.to_string().replace(&directory, "DIR"))
    }

    fn mode(&self) -> u32 {
        fs::metadata(self.path()).unwrap().mode() & PERMISSIONS
    }
}

fn desired(password: &str) -> DesiredEntries {
    let credential = Credential { username: "robot".into(), password: password.into() };
    DesiredEntries { entries: [("ghcr.io".to_owned(), credential)].into(), ..DesiredEntries::default() }
}

fn unread() -> DesiredEntries {
    let ghcr = UnreadRegistry { name: "ghcr.io".to_owned(), keys: Some(vec!["ghcr.io".to_owned()]) };
    DesiredEntries { unread: vec![ghcr], ..DesiredEntries::default() }
}

#[track_caller]
fn message(outcome: Result<impl Sized, OutputError>, place: &Place) -> String {
    let error = outcome.err().expect("an error").to_string();
    error.replace(&place.0.path().display().to_string(), "DIR")
}

#[test]
fn file_is_replaced_only_where_its_content_changes() {
    let place = Place::new();
    let file = place.open().unwrap();
    let first = file.apply(&desired("one")).unwrap();
    assert!(first.is_written && first.entries == 1 && first.missing.is_empty());
    let again = file.apply(&desired("one")).unwrap();
    assert!(!again.is_written);
    assert_eq!(again.stamp, first.stamp);
    let other = file.apply(&desired("two")).unwrap();
    assert!(other.is_written && other.stamp != first.stamp);
    assert_eq!(place.names(), [".config.json.regcred", "config.json"]);
    assert_eq!(fs::read_to_string(place.path()).unwrap(), r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6dHdv"}}}"#);
}

#[test]
fn second_sidecar_of_a_file_is_refused() {
    let place = Place::new();
    let first = place.open().unwrap();
    assert_eq!(message(place.open(), &place), "another regcred sidecar writes DIR/config.json");
    assert!(OutputFile::open(&place.0.path().join("other.json"), None, false).is_ok());
    drop(first);
    assert!(place.open().is_ok());
}

#[test]
fn temporary_file_of_a_killed_process_is_removed() {
    let place = Place::new();
    fs::write(place.0.path().join(".config.json.regcred.tmp"), "{\"auths\":{\"gh").unwrap();
    let file = place.open().unwrap();
    assert_eq!(place.names(), [".config.json.regcred"]);
    assert!(file.apply(&desired("one")).unwrap().is_written);
}

/// The mode, the group to set and the group out of reach, for a process of the groups 100 and 200.
fn attributes(mode: u32, group: u32, given: Option<u32>) -> (u32, Option<u32>, Option<u32>) {
    let process = ProcessGroups { own: 100, others: vec![200], is_root: false };
    let Attributes { mode, group, unreachable_group } =
        Attributes::new(DirectoryMode { mode, group }, &process, given);
    (mode, group, unreachable_group)
}

#[test]
fn mode_follows_the_directory_unless_it_is_given() {
    assert_eq!(attributes(0o40755, 100, None), (0o600, None, None));
    assert_eq!(attributes(0o40755, 200, None), (0o640, Some(200), None));
    assert_eq!(attributes(0o42777, 300, None), (0o640, None, None));
    assert_eq!(attributes(0o42755, 100, None), (0o640, None, None));
    assert_eq!(attributes(0o40755, 200, Some(0o444)), (0o444, Some(200), None));
    assert_eq!(attributes(0o40755, 300, None), (0o600, None, Some(300)), "a group of others");
    assert_eq!(attributes(0o40755, 300, Some(0o640)), (0o640, None, None));

    let place = Place::new();
    place.open().unwrap().apply(&desired("one")).unwrap();
    assert_eq!(place.mode(), 0o600);
    let file = OutputFile::open(&place.path(), Some(0o644), false).unwrap();
    assert!(file.apply(&desired("one")).unwrap().is_written, "another mode is asked for");
    assert_eq!(place.mode(), 0o644);
    assert!(!file.apply(&desired("one")).unwrap().is_written);
}

#[test]
fn object_that_is_no_file_is_refused_and_stays() {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    assert_eq!(message(place.open(), &place), "DIR/config.json is a directory");
    fs::remove_dir(place.path()).unwrap();
    symlink("/nonexistent", place.path()).unwrap();
    assert_eq!(message(place.open(), &place), "DIR/config.json is a symbolic link");
    fs::remove_file(place.path()).unwrap();
    let nowhere = OutputFile::open(&place.0.path().join("none/config.json"), None, false);
    assert_eq!(message(nowhere, &place), "the directory DIR/none does not exist");
    let root = OutputFile::open(Path::new("/"), None, false);
    assert_eq!(message(root, &place), "/ names no file");
}

#[test]
fn link_in_place_of_the_lock_is_not_followed() {
    let place = Place::new();
    let target = place.0.path().join("target");
    fs::write(&target, "precious").unwrap();
    symlink(&target, place.0.path().join(".config.json.regcred")).unwrap();
    assert!(place.open().is_err());
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn failed_write_leaves_the_last_good_file() {
    let place = Place::new();
    let file = place.open().unwrap();
    file.apply(&desired("one")).unwrap();
    // Something that cannot be overwritten, as on a full or broken disk.
    fs::create_dir(place.0.path().join(".config.json.regcred.tmp")).unwrap();
    let error = message(file.apply(&desired("two")), &place);
    assert_eq!(error, "cannot write DIR/config.json: File exists (os error 17)");
    assert_eq!(fs::read_to_string(place.path()).unwrap(), r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6b25l"}}}"#);
    fs::remove_dir(place.0.path().join(".config.json.regcred.tmp")).unwrap();
    assert!(file.apply(&desired("two")).unwrap().is_written);
}

#[test]
fn file_too_large_for_a_docker_config_is_refused() {
    let place = Place::new();
    fs::write(place.path(), " ".repeat(MAX_VALUE_BYTES + 1)).unwrap();
    let error = message(place.open().unwrap().apply(&desired("one")), &place);
    assert_eq!(error, "cannot read DIR/config.json: it is larger than 1 MiB");
}

#[test]
fn entry_of_an_earlier_process_is_known_as_its_own() {
    let place = Place::new();
    place.open().unwrap().apply(&desired("one")).unwrap();
    let file = place.open().unwrap();
    assert!(file.apply(&unread()).unwrap().missing.is_empty(), "the file serves until the store answers");
    let nothing = file.apply(&DesiredEntries::default()).unwrap();
    assert!(nothing.is_written && nothing.entries == 0, "the registry is not desired any more");
}

#[test]
fn check_passes_once_every_registry_has_an_entry() {
    let place = Place::new();
    assert_eq!(place.check(), Err("DIR/config.json does not exist yet".to_owned()));
    let file = place.open().unwrap();
    file.apply(&unread()).unwrap();
    assert_eq!(place.check(), Err("DIR/config.json does not exist yet".to_owned()));
    file.apply(&DesiredEntries { unread: unread().unread, ..DesiredEntries::default() }).unwrap();
    let mut partial = desired("one");
    partial.unread =
        vec![UnreadRegistry { name: "quay.io".to_owned(), keys: Some(vec!["quay.io".to_owned()]) }];
    file.apply(&partial).unwrap();
    assert_eq!(place.check(), Err("DIR/config.json has no entry yet for quay.io".to_owned()));
    file.apply(&desired("one")).unwrap();
    assert_eq!(place.check(), Ok(()));
    fs::write(place.path(), "{\"auths\":{\"ghcr.io\":{\"auth\":\"hunt").unwrap();
    assert_eq!(place.check(), Err("DIR/config.json: the file is not JSON".to_owned()));
    fs::write(place.path(), "{}").unwrap();
    assert_eq!(place.check(), Err("DIR/config.json has no entry".to_owned()));
}

#[test]
fn lock_that_was_removed_is_taken_again() {
    let place = Place::new();
    let file = place.open().unwrap();
    file.apply(&desired("one")).unwrap();
    let lock = place.0.path().join(".config.json.regcred");
    fs::remove_file(&lock).unwrap();
    assert!(file.apply(&desired("two")).unwrap().is_written, "the process knows what it wrote");
    assert_eq!(message(place.open(), &place), "another regcred sidecar writes DIR/config.json");
    fs::remove_file(&lock).unwrap();
    let other = place.open().unwrap();
    let error = message(file.apply(&desired("three")), &place);
    assert_eq!(error, "another regcred sidecar writes DIR/config.json");
    drop(other);
    fs::remove_file(&lock).unwrap();
    assert!(file.apply(&desired("three")).unwrap().is_written);
}

#[test]
fn file_that_no_sidecar_wrote_is_not_ready() {
    let place = Place::new();
    fs::write(place.path(), r#"{"auths":{"ghcr.io":{"auth":"YTpi"}}}"#).unwrap();
    assert_eq!(place.check(), Err("no sidecar has written DIR/config.json yet".to_owned()));
}
