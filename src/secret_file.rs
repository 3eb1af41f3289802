//! Reads a file that holds a secret, and leaves no copy of it in memory.
//!
//! In goes a path, out come the whole content and the metadata of the file. Nothing but a regular file is
//! opened: opening a pipe waits for its writer.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use secrecy::SecretSlice;
use secrecy::zeroize::Zeroizing;
use tokio::fs;
use tokio::task::spawn_blocking;

/// The reason why there is no content.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// An error of the kernel.
    Io(io::Error),
    /// A directory, a pipe, a device.
    NotAFile,
    /// A file above the maximum length.
    TooLarge,
}

/// Reads a file of at most `max_length` bytes.
pub(crate) async fn read(path: &Path, max_length: u64) -> Result<(SecretSlice<u8>, Metadata), ReadError> {
    metadata(path).await?;
    let path = path.to_owned();
    // Not by tokio's own file: its buffer would keep a copy.
    let read = spawn_blocking(move || read_blocking(&path, max_length)).await;
    read.unwrap_or_else(|error| Err(ReadError::Io(io::Error::other(error))))
}

fn read_blocking(path: &Path, max_length: u64) -> Result<(SecretSlice<u8>, Metadata), ReadError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // The whole buffer at once: one that grows leaves copies behind.
    let length = metadata.len().min(max_length) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default()));
    file.take(max_length + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_length {
        return Err(ReadError::TooLarge);
    }
    Ok((SecretSlice::from(bytes.to_vec()), metadata))
}

/// Returns the metadata of a regular file without opening it.
pub(crate) async fn metadata(path: &Path) -> Result<Metadata, ReadError> {
    let metadata = fs::metadata(path).await?;
    if metadata.is_file() { Ok(metadata) } else { Err(ReadError::NotAFile) }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use tempfile::TempDir;

    use super::*;

    #[tokio::test]
    async fn file_over_the_maximum_length_is_refused() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "hunter2").unwrap();
        let (content, metadata) = read(&path, 7).await.unwrap();
        assert_eq!((content.expose_secret(), metadata.len()), (&b"hunter2"[..], 7));
        assert!(matches!(read(&path, 6).await, Err(ReadError::TooLarge)));
    }

    #[tokio::test]
    async fn directory_or_device_is_not_opened() {
        let directory = TempDir::new().unwrap();
        for path in [directory.path(), Path::new("/dev/zero")] {
            assert!(matches!(read(path, 7).await, Err(ReadError::NotAFile)), "{}", path.display());
        }
        let absent = read(&directory.path().join("token"), 7).await;
        assert!(matches!(absent, Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound));
    }
}
