//! The file of a sidecar: its lock, its replacement by rename, and its mode.
//!
//! Makes no decision about the content, which is `plan`'s. A reader sees the whole file or the one before: new content
//! goes to a temporary file in the same directory, which is synced and renamed. A process that is killed leaves at most
//! that one temporary file, and the next start removes it. The lock is a file of its own, because a rename would leave
//! a lock of the target behind; it also holds the record of the entries that regcred wrote.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;
use secrecy::{ExposeSecret as _, SecretSlice};

use self::attributes::Attributes;
use self::error::failed;
pub use self::error::{OtherObject, OutputError, WriteStep};
pub(super) use self::reading::read_for_check;
use self::reading::{check_directory, check_object, flags, read};
use super::plan::{self, DesiredEntries, FilePlan, Hindrance};
use super::record::EntryRecord;
use crate::provider::MAX_VALUE_BYTES;

mod attributes;
mod error;
mod reading;

/// The bits that `chmod` sets.
const PERMISSIONS: u32 = 0o7777;

/// The file of a sidecar, locked for this process.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    directory: PathBuf,
    temporary: PathBuf,
    /// Locked as long as it is open.
    lock: File,
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
        let lock_file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags(OFlags::NOFOLLOW))
            .open(&lock)
            .map_err(failed(WriteStep::Lock, path))?;
        match lock_file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OutputError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(WriteStep::Lock, &lock)(error)),
        }
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(WriteStep::Write, &temporary)(error));
            }
            _ => {}
        }
        Ok(Self { path: path.to_owned(), directory, temporary, lock: lock_file, mode, merge })
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the file to the desired entries, if it differs. Blocks.
    pub fn apply(&self, desired: &DesiredEntries) -> Result<AppliedFile, OutputError> {
        let existing = read(&self.path)?;
        let record = self.record()?;
        let bytes = existing.as_ref().map(|(bytes, _)| bytes.as_slice());
        let plan = plan::plan(bytes, &record, desired, self.merge);
        let FilePlan { content, record: next, hindrances } =
            plan.map_err(|refusal| OutputError::Refused { path: self.path.clone(), refusal })?;
        let attributes = self.attributes()?;
        let has_other_mode =
            existing.as_ref().filter(|(_, metadata)| metadata.mode() & PERMISSIONS != attributes.mode);
        let content = content.or_else(|| has_other_mode.map(|(bytes, _)| SecretSlice::from(bytes.to_vec())));
        if let Some(content) = &content {
            self.set_record(&record, &record.during(&next))?;
            self.replace(content.expose_secret(), attributes)?;
            self.set_record(&record.during(&next), &next)?;
        } else {
            self.set_record(&record, &next)?;
        }
        Ok(AppliedFile {
            is_written: content.is_some(),
            entries: next.written.len(),
            missing: next.missing.into_iter().collect(),
            hindrances,
            stamp: self.stamp(),
        })
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

    fn record(&self) -> Result<EntryRecord, OutputError> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let offset = bytes.len() as u64;
            match self.lock.read_at(&mut buffer, offset).map_err(failed(WriteStep::Read, &self.path))? {
                length if length > 0 && bytes.len() < MAX_VALUE_BYTES => bytes.extend(&buffer[..length]),
                _ => return Ok(EntryRecord::parse(&bytes)),
            }
        }
    }

    /// Writes the record, if it differs. A process that is killed between the two steps leaves the remainder of a
    /// longer record, which a read passes over.
    fn set_record(&self, before: &EntryRecord, next: &EntryRecord) -> Result<(), OutputError> {
        if before == next {
            return Ok(());
        }
        let line = next.render();
        self.lock
            .write_all_at(&line, 0)
            .and_then(|()| self.lock.set_len(line.len() as u64))
            .map_err(failed(WriteStep::Write, &self.path))
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

    fn write_temporary(&self, content: &[u8], Attributes { mode, group }: Attributes) -> io::Result<()> {
        // A file of this name is never opened: it might be a link to another one.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.temporary)?;
        if let Some(group) = group {
            // A process outside the group may not: its own group then reads the file.
            let _ = fchown(&file, None, Some(group));
        }
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    }

    /// Returns the attributes that fit the directory: its group reads the file where it is not the process's own.
    fn attributes(&self) -> Result<Attributes, OutputError> {
        let directory = fs::metadata(&self.directory).map_err(failed(WriteStep::Read, &self.directory))?;
        Ok(Attributes::new(directory.mode(), directory.gid(), rustix::process::getegid().as_raw(), self.mode))
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
