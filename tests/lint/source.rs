//! The files of the repository, parsed.

use std::path::{Path, PathBuf};

use world::docs;

/// One Rust file.
pub(crate) struct File {
    /// Its path below the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
}

impl File {
    /// True for files and folders called `tests` inside `src/`, which the compiler sees under `cfg(test)` only.
    pub(crate) fn is_unit_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }
}

/// Every Rust file below these folders, by path.
///
/// # Panics
///
/// If a file cannot be read or parsed.
pub(crate) fn rust_files(folders: &[&str]) -> Vec<File> {
    let paths = folders.iter().flat_map(|folder| docs::files(folder, "rs"));
    let parse = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        File { path: relative(&path), text, syntax }
    };
    paths.map(parse).collect()
}

/// A path below the root of the repository.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(docs::path("")).expect("a path of this repository").to_string_lossy().replace('\\', "/")
}
