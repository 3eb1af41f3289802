//! The reasons why a file is not written, each with its fix.

use std::io;
use std::path::{Path, PathBuf};

use crate::sidecar::plan::FileRefusal;

/// A file that is not written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The path is `/` or ends with `..`.
    #[error("{0} names no file")]
    NoName(PathBuf),
    /// The directory does not exist.
    #[error("the directory {0} does not exist")]
    NoDirectory(PathBuf),
    /// A file has the name of the directory.
    #[error("{0} is no directory")]
    NotADirectory(PathBuf),
    /// There is something else under the name.
    #[error("{path} is {kind}")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// The kind of object.
        kind: OtherObject,
    },
    /// Another sidecar has the lock.
    #[error("another regcred sidecar writes {0}")]
    Locked(PathBuf),
    /// The content of the file forbids it.
    #[error("{path} is left as it is: {refusal}")]
    Refused {
        /// The path.
        path: PathBuf,
        /// The reason.
        refusal: FileRefusal,
    },
    /// The kernel refused a step.
    #[error("cannot {step} {path}: {error}")]
    Io {
        /// The step.
        step: WriteStep,
        /// The file of the step.
        path: PathBuf,
        /// The error of the kernel.
        error: io::Error,
    },
}

/// An object that is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum OtherObject {
    /// A directory.
    #[strum(to_string = "a directory")]
    Directory,
    /// A symbolic link, which a rename would replace.
    #[strum(to_string = "a symbolic link")]
    Link,
    /// A device, a pipe, a socket.
    #[strum(to_string = "no regular file")]
    Special,
}

/// A step of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum WriteStep {
    /// A read of the file, its directory or its record.
    Read,
    /// The lock.
    Lock,
    /// A write of the temporary file, of the file or of its record.
    Write,
}

impl OutputError {
    /// Returns the fix.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoName(_) => "name the file, as in --output /docker/config.json",
            Self::NoDirectory(_) => "create the directory, or mount a volume there",
            Self::NotADirectory(_) => "name a file in a directory, as in --output /docker/config.json",
            Self::NotAFile { kind: OtherObject::Directory, .. } => {
                "name the file in it, as in --output /docker/config.json"
            }
            Self::NotAFile { kind: OtherObject::Link, .. } => {
                "give the path of the file itself: regcred replaces it by a rename"
            }
            Self::NotAFile { .. } => "remove it, or give another path",
            Self::Locked(_) => "stop the other one, or write another file",
            Self::Refused { refusal: FileRefusal::Foreign(_), .. } => {
                "pass --merge to keep all that, or give another path"
            }
            Self::Refused { refusal: FileRefusal::NotADockerConfig(_), .. } => {
                "remove the file, or give another path"
            }
            Self::Io { error, .. } => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on its file system",
                io::ErrorKind::ReadOnlyFilesystem => "mount the directory writable",
                io::ErrorKind::PermissionDenied => {
                    "let this user write to the directory, or run the sidecar as the user that wrote the file"
                }
                _ => "correct the directory, its permissions or its free space",
            },
        }
    }
}

pub(super) fn failed(step: WriteStep, path: &Path) -> impl FnOnce(io::Error) -> OutputError {
    move |error| OutputError::Io { step, path: path.to_owned(), error }
}
