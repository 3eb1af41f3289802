//! Reads of the file, of its record and of its directory, which follow no link and block on no pipe.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use secrecy::zeroize::Zeroizing;

use super::Names;
use super::error::{OtherObject, OutputError, WriteStep, failed};
use crate::provider::MAX_VALUE_BYTES;
use crate::sidecar::record::EntryRecord;

/// A file, and the record of what regcred wrote into it, as another process reads them.
pub(in crate::sidecar) struct CheckedFile {
    /// The bytes; `None` without a file.
    pub(in crate::sidecar) content: Option<Vec<u8>>,
    /// The record; `None` if no sidecar has written it yet.
    pub(in crate::sidecar) record: Option<EntryRecord>,
}

/// Reads the file and the record as another process does.
pub(in crate::sidecar) fn read_for_check(path: &Path) -> Result<CheckedFile, OutputError> {
    let names = Names::new(path)?;
    check_object(path)?;
    let content = read(path)?.map(|(bytes, _)| bytes.to_vec());
    let record = match fs::read(&names.lock) {
        Ok(record) => (!record.is_empty()).then(|| EntryRecord::parse(&record)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // Another user may not read it: the file itself is what counts.
        Err(_) => Some(EntryRecord::default()),
    };
    Ok(CheckedFile { content, record })
}

/// The bytes of a file, and its attributes.
type FileContent = (Zeroizing<Vec<u8>>, Metadata);

/// Reads a file; none where there is none.
pub(super) fn read(path: &Path) -> Result<Option<FileContent>, OutputError> {
    check_object(path)?;
    let flags = flags(OFlags::NOFOLLOW | OFlags::NONBLOCK);
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed(WriteStep::Read, path))?,
    };
    let metadata = file.metadata().map_err(failed(WriteStep::Read, path))?;
    let mut bytes = Zeroizing::new(Vec::new());
    let limit = MAX_VALUE_BYTES as u64;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed(WriteStep::Read, path))?;
    if bytes.len() as u64 > limit {
        return Err(failed(WriteStep::Read, path)(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 1 MiB",
        )));
    }
    Ok(Some((bytes, metadata)))
}

pub(super) fn check_directory(directory: &Path) -> Result<(), OutputError> {
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(OutputError::NotADirectory(directory.to_owned())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(WriteStep::Read, directory)(error))
        }
        _ => Err(OutputError::NoDirectory(directory.to_owned())),
    }
}

/// Fails where something other than a file has the name.
pub(super) fn check_object(path: &Path) -> Result<(), OutputError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    let kind = if metadata.is_dir() {
        OtherObject::Directory
    } else if metadata.is_symlink() {
        OtherObject::Link
    } else if metadata.is_file() {
        return Ok(());
    } else {
        OtherObject::Special
    };
    Err(OutputError::NotAFile { path: path.to_owned(), kind })
}

pub(super) fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or_default()
}
