//! The lock of a sidecar, which also holds the record of the entries that it wrote.

use std::fs::{File, Metadata, OpenOptions, TryLockError, symlink_metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::{OutputError, WriteStep, failed};
use super::reading::flags;
use crate::provider::MAX_VALUE_BYTES;
use crate::sidecar::record::EntryRecord;

/// A lock file, locked as long as it is open.
#[derive(Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    file: File,
}

impl LockFile {
    /// Takes the lock of the file at `output`.
    pub(super) fn open(output: &Path, path: PathBuf) -> Result<Self, OutputError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags(OFlags::NOFOLLOW))
            .open(&path)
            .map_err(failed(WriteStep::Lock, &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, file }),
            Err(TryLockError::WouldBlock) => Err(OutputError::Locked(output.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(WriteStep::Lock, &path)(error)),
        }
    }

    /// Takes the lock again if its file was removed, with the whole directory for example: another sidecar could have
    /// the file that has the name now.
    pub(super) fn renew(&mut self, output: &Path) -> Result<(), OutputError> {
        let own = self.file.metadata().map_err(failed(WriteStep::Lock, &self.path))?;
        match symlink_metadata(&self.path) {
            Ok(found) if is_same_file(&found, &own) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(WriteStep::Lock, &self.path)(error));
            }
            _ => {}
        }
        let known = self.record()?;
        *self = Self::open(output, self.path.clone())?;
        let found = self.record()?;
        // The file is still the one of which this process knows the author.
        if found == EntryRecord::default() && symlink_metadata(output).is_ok() {
            self.set_record(&found, &known)?;
        }
        Ok(())
    }

    /// Reads the record.
    pub(super) fn record(&self) -> Result<EntryRecord, OutputError> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let offset = bytes.len() as u64;
            match self.file.read_at(&mut buffer, offset).map_err(failed(WriteStep::Read, &self.path))? {
                length if length > 0 && bytes.len() < MAX_VALUE_BYTES => bytes.extend(&buffer[..length]),
                _ => return Ok(EntryRecord::parse(&bytes)),
            }
        }
    }

    /// Writes the record, if it differs. A process that is killed between the two steps leaves the remainder of a
    /// longer record, which a read passes over.
    pub(super) fn set_record(&self, before: &EntryRecord, next: &EntryRecord) -> Result<(), OutputError> {
        if before == next {
            return Ok(());
        }
        let line = next.render();
        self.file
            .write_all_at(&line, 0)
            .and_then(|()| self.file.set_len(line.len() as u64))
            .map_err(failed(WriteStep::Write, &self.path))
    }
}

fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
