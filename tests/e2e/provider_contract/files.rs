//! A directory of files.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use regcred::manifest::config::FileStore;
use regcred::provider::Provider;
use regcred::provider::file::Directory;
use serde_json::Value;
use tempfile::TempDir;

use super::{KeepingSubject, Subject};

pub(super) struct Files(TempDir);

#[async_trait]
impl Subject for Files {
    async fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        open(self.0.path())
    }

    async fn unreachable(&self) -> Arc<dyn Provider> {
        open(&self.0.path().join("not-mounted"))
    }

    async fn put(&self, key: &str, value: &Value) {
        let path = self.0.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let before = modified(&path);
        // The clock of a file system may have a resolution of a few milliseconds.
        while modified(&path) == before {
            std::fs::write(&path, value.to_string()).unwrap();
        }
    }
}

#[async_trait]
impl KeepingSubject for Files {
    const DELETED: &str = "NotFound";

    async fn delete(&self, key: &str) {
        std::fs::remove_file(self.0.path().join(key)).unwrap();
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

fn open(directory: &Path) -> Arc<dyn Provider> {
    Arc::new(Directory::open("files".into(), &FileStore { directory: directory.to_owned() }))
}
