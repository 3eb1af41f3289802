//! The file of a sidecar: its lock, its replacement by rename, and its mode.
//!
//! Makes no decision about the content, which is `plan`'s. A reader sees the whole file or the one before: new content
//! goes to a temporary file in the same directory, which is synced and renamed. A process that is killed leaves at most
//! that one temporary file, and the next start removes it. The lock is a file of its own, because a rename would leave
//! a lock of the target behind; it also holds the record of the entries that regcred wrote.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use secrecy::{ExposeSecret as _, SecretSlice};

use self::attributes::{Attributes, DirectoryMode, ProcessGroups};
use self::error::failed;
pub use self::error::{OtherObject, OutputError, WriteStep};
use self::lock::LockFile;
pub(super) use self::reading::{CheckedFile, read_for_check};
use self::reading::{check_directory, check_object, read};
use super::plan::{self, DesiredEntries, FilePlan, Hindrance};
use crate::docker_config::host_key::HostKey;

mod attributes;
mod error;
mod lock;
mod reading;

/// The bits that `chmod` sets.
const PERMISSIONS: u32 = 0o7777;

/// The file of a sidecar, locked for this process.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    directory: PathBuf,
    temporary: PathBuf,
    lock: Mutex<LockFile>,
    /// The mode; `None` for the one that fits the directory.
    mode: Option<u32>,
    merge: bool,
}

/// The result of a write.
#[derive(Debug, Default)]
pub struct AppliedFile {
    /// True if the file was replaced.
    pub is_written: bool,
    /// The number of regcred's own entries.
    pub entries: usize,
    /// The registries without an entry.
    pub missing: Vec<String>,
    /// Parts of the file that keep clients from regcred's entries.
    pub hindrances: Vec<Hindrance>,
    /// The file afterwards.
    pub(super) stamp: Option<FileStamp>,
}

/// The attributes by which a file that another program touched is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    inode: u64,
    length: u64,
    mode: u32,
    modified: Option<SystemTime>,
}

impl OutputFile {
    /// Takes the lock of a file, and removes the temporary file of a process that was killed.
    pub fn open(path: &Path, mode: Option<u32>, merge: bool) -> Result<Self, OutputError> {
        let Names { directory, temporary, lock } = Names::new(path)?;
        check_directory(&directory)?;
        check_object(path)?;
        let lock = Mutex::new(LockFile::open(path, lock)?);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(WriteStep::Write, &temporary)(error));
            }
            _ => {}
        }
        Ok(Self { path: path.to_owned(), directory, temporary, lock, mode, merge })
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the servers of which the file had entries by path when the record was written.
    pub(super) fn split_servers(&self) -> Result<BTreeSet<HostKey>, OutputError> {
        let record = self.lock().record()?;
        let written = record.written.iter().filter_map(|key| HostKey::parse(key).ok());
        let paths = written.filter(|host| !host.is_bare());
        Ok(paths.filter_map(|path| HostKey::parse(path.server()).ok()).collect())
    }

    /// Brings the file to the desired entries, if it differs. Blocks.
    pub fn apply(&self, desired: &DesiredEntries) -> Result<AppliedFile, OutputError> {
        let mut lock = self.lock();
        let attributes = self.attributes()?;
        lock.renew(&self.path)?;
        let existing = read(&self.path)?;
        let record = lock.record()?;
        let bytes = existing.as_ref().map(|(bytes, _)| bytes.as_slice());
        let plan = plan::plan(bytes, &record, desired, self.merge);
        let FilePlan { content, record: next, mut hindrances } =
            plan.map_err(|refusal| OutputError::Refused { path: self.path.clone(), refusal })?;
        let has_other = existing
            .as_ref()
            .filter(|(_, metadata)| !attributes.are_of(metadata.mode() & PERMISSIONS, metadata.gid()));
        let content = content.or_else(|| has_other.map(|(bytes, _)| SecretSlice::from(bytes.to_vec())));
        if let Some(content) = &content {
            lock.set_record(&record, &record.during(&next))?;
            self.replace(content.expose_secret(), attributes)?;
            lock.set_record(&record.during(&next), &next)?;
        } else {
            lock.set_record(&record, &next)?;
        }
        hindrances.extend(attributes.unreachable_group.map(Hindrance::Group));
        Ok(AppliedFile {
            is_written: content.is_some(),
            entries: next.written.len(),
            missing: next.missing.into_iter().collect(),
            hindrances,
            stamp: self.stamp(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, LockFile> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the attributes of the file; none where it does not exist.
    pub(super) fn stamp(&self) -> Option<FileStamp> {
        let metadata = fs::symlink_metadata(&self.path).ok()?;
        Some(FileStamp {
            inode: metadata.ino(),
            length: metadata.len(),
            mode: metadata.mode(),
            modified: metadata.modified().ok(),
        })
    }

    /// Replaces the file.
    fn replace(&self, content: &[u8], attributes: Attributes) -> Result<(), OutputError> {
        let written =
            self.write_temporary(content, attributes).and_then(|()| fs::rename(&self.temporary, &self.path));
        if let Err(error) = written {
            // What is left of it takes space that the next attempt may need.
            let _ = fs::remove_file(&self.temporary);
            return Err(failed(WriteStep::Write, &self.path)(error));
        }
        // The name of the new file survives a power failure only after this.
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(failed(WriteStep::Write, &self.path))
    }

    fn write_temporary(&self, content: &[u8], attributes: Attributes) -> io::Result<()> {
        // A file of this name is never opened: it might be a link to another one.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.temporary)?;
        if let Some(group) = attributes.group {
            fchown(&file, None, Some(group))?;
        }
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(attributes.mode))?;
        file.sync_all()
    }

    /// Returns the attributes that fit the directory: its group reads the file where it is not the process's own.
    fn attributes(&self) -> Result<Attributes, OutputError> {
        let directory = fs::metadata(&self.directory).map_err(failed(WriteStep::Read, &self.directory))?;
        Ok(Attributes::new(DirectoryMode::new(&directory), &ProcessGroups::current(), self.mode))
    }
}

/// The names of a sidecar's files, all in one directory.
struct Names {
    directory: PathBuf,
    temporary: PathBuf,
    lock: PathBuf,
}

impl Names {
    fn new(path: &Path) -> Result<Self, OutputError> {
        let name = path.file_name().ok_or_else(|| OutputError::NoName(path.to_owned()))?.to_string_lossy();
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).to_owned();
        let temporary = directory.join(format!(".{name}.regcred.tmp"));
        let lock = directory.join(format!(".{name}.regcred"));
        Ok(Self { directory, temporary, lock })
    }
}

#[cfg(test)]
mod tests;
