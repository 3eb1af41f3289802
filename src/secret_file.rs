//! A file with something secret in it, of which no copy is left in memory.
//!
//! In goes a path, out come the whole content and what the kernel says of the file. Nothing but a file is
//! opened: to open a pipe is to wait for whoever writes into it.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use secrecy::SecretSlice;
use secrecy::zeroize::Zeroizing;
use tokio::fs;
use tokio::task::spawn_blocking;

/// Why there is no content.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The kernel refuses.
    Refused(io::Error),
    /// It is a directory, a pipe, a device.
    NoFile,
    /// It is longer than it may be.
    TooLong,
}

/// The content, where it has so many bytes at most.
pub(crate) async fn read(path: &Path, max_length: u64) -> Result<(SecretSlice<u8>, Metadata), Unread> {
    look_up(path).await?;
    let path = path.to_owned();
    // Not by tokio's own file, whose buffer would keep a copy.
    let read = spawn_blocking(move || read_at_once(&path, max_length)).await;
    read.unwrap_or_else(|error| Err(Unread::Refused(io::Error::other(error))))
}

fn read_at_once(path: &Path, max_length: u64) -> Result<(SecretSlice<u8>, Metadata), Unread> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // The whole buffer at once, for one that grows leaves copies behind.
    let length = metadata.len().min(max_length) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default()));
    file.take(max_length + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_length {
        return Err(Unread::TooLong);
    }
    Ok((SecretSlice::from(bytes.to_vec()), metadata))
}

/// What there is to know of a file without opening it.
pub(crate) async fn look_up(path: &Path) -> Result<Metadata, Unread> {
    let metadata = fs::metadata(path).await?;
    if metadata.is_file() { Ok(metadata) } else { Err(Unread::NoFile) }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use tempfile::TempDir;

    use super::*;

    #[tokio::test]
    async fn a_content_may_be_so_long_and_no_longer() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "hunter2").unwrap();
        let (content, metadata) = read(&path, 7).await.unwrap();
        assert_eq!((content.expose_secret(), metadata.len()), (&b"hunter2"[..], 7));
        assert!(matches!(read(&path, 6).await, Err(Unread::TooLong)));
    }

    #[tokio::test]
    async fn what_is_no_file_is_not_opened() {
        let directory = TempDir::new().unwrap();
        for path in [directory.path(), Path::new("/dev/zero")] {
            assert!(matches!(read(path, 7).await, Err(Unread::NoFile)), "{}", path.display());
        }
        let absent = read(&directory.path().join("token"), 7).await;
        assert!(matches!(absent, Err(Unread::Refused(error)) if error.kind() == io::ErrorKind::NotFound));
    }
}
