//! Reads and validates manifests.
//!
//! In: files of YAML or JSON, and objects as the API server sends them. Out: [`Manifests`] in which every
//! choice is made and every name is valid, or every [`FieldError`](field::FieldError) of all files at once.
//! Nothing here asks a store or a cluster. [`wire`] has the types as written, [`crd`] describes them to the
//! API server.

pub mod admission;
pub mod cluster_pull_secret;
pub mod config;
pub mod crd;
pub mod field;
pub mod json_schema;
pub mod object;
pub mod reference;
pub mod selection;
pub mod status;
pub mod wire;

mod interval;
pub(crate) mod names;
mod schema;
mod source;
mod suggest;
mod unknown_fields;
mod validate;
mod yaml;

use std::io;
use std::path::{Path, PathBuf};

use field::FieldErrors;
use source::Text;
use yaml::document;

pub use cluster_pull_secret::ClusterPullSecret;
pub use reference::reference;
pub use validate::Manifests;
pub use validate::object::read_object;
pub use wire::{API_VERSION, CLUSTER_PULL_SECRET};

/// Reads files, directories (their `.yaml`, `.yml` and `.json` files) and `-`, which is stdin.
pub fn read(sources: &[PathBuf], default_files_directory: &Path) -> Result<Manifests, FieldErrors> {
    let mut errors = FieldErrors::default();
    let texts = source::read(sources, &mut io::stdin(), &mut errors);
    interpret(&texts, default_files_directory, errors)
}

/// Reads one text as if it were the file of this name.
pub fn parse(file: &str, text: &str, default_files_directory: &Path) -> Result<Manifests, FieldErrors> {
    let text = Text { file: file.to_owned(), text: text.to_owned() };
    interpret(&[text], default_files_directory, FieldErrors::default())
}

/// Parses and validates texts; `errors` are those found while reading them.
fn interpret(
    texts: &[Text],
    default_files_directory: &Path,
    mut errors: FieldErrors,
) -> Result<Manifests, FieldErrors> {
    let mut documents = Vec::new();
    for text in texts {
        documents.extend(document::parse(&text.file, &text.text, &mut errors));
    }
    if documents.is_empty() && errors.0.is_empty() {
        for text in texts {
            errors.push(source::file_error(&text.file, "contains no manifest"));
        }
    }
    let manifests = validate::validate(&documents, default_files_directory, &mut errors);
    errors.into_result(manifests)
}

#[cfg(test)]
mod tests;
