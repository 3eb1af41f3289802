//! What the user wants.
//!
//! In: files of YAML or JSON, and objects as the API server sends them. Out: [`Manifests`] in which every
//! choice is made and every name is valid, or every [`FieldError`](field::Mistake) of all files at once. Nothing here asks
//! a store or a cluster. [`crd`] says the same to the API server.

pub mod cluster_pull_secret;
pub mod config;
pub mod crd;
pub mod field;
pub mod json_schema;
pub mod life;
pub mod object;
pub mod reference;
pub mod selection;
pub mod status;

mod document;
mod interval;
mod names;
mod node;
mod scalar;
mod schema;
mod source;
mod suggest;
mod validate;

use std::io;
use std::path::{Path, PathBuf};

use cluster_pull_secret::ClusterPullSecret;
use config::Store;
use config::triggers::Triggers;
use field::FieldErrors;
use source::Text;

pub use reference::reference;
pub use validate::{API_VERSION, CLUSTER_PULL_SECRET};

/// Everything the manifests say, after every check.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// The stores of every Config; a directory called `files` where none defines any.
    pub stores: Vec<Store>,
    /// What wakes the controller.
    pub triggers: Triggers,
    /// The ClusterPullSecrets in the order given: where two want one Secret, the first is the older.
    pub cluster_pull_secrets: Vec<ClusterPullSecret>,
}

/// Reads files, directories (their `.yaml`, `.yml` and `.json` files) and `-`, which is stdin.
pub fn read(sources: &[PathBuf], default_files_directory: &Path) -> Result<Manifests, FieldErrors> {
    let mut mistakes = FieldErrors::default();
    let texts = source::read(sources, &mut io::stdin(), &mut mistakes);
    interpret(&texts, default_files_directory, mistakes)
}

/// Reads one text as if it were the file of this name.
pub fn parse(file: &str, text: &str, default_files_directory: &Path) -> Result<Manifests, FieldErrors> {
    let text = Text { file: file.to_owned(), text: text.to_owned() };
    interpret(&[text], default_files_directory, FieldErrors::default())
}

/// What the texts say; `mistakes` are those that were made before there were texts.
fn interpret(
    texts: &[Text],
    default_files_directory: &Path,
    mut mistakes: FieldErrors,
) -> Result<Manifests, FieldErrors> {
    let mut documents = Vec::new();
    for text in texts {
        documents.extend(document::parse(&text.file, &text.text, &mut mistakes));
    }
    if documents.is_empty() && mistakes.0.is_empty() {
        for text in texts {
            mistakes.push(source::mistake(&text.file, "holds no manifest"));
        }
    }
    let manifests = validate::check(&documents, default_files_directory, &mut mistakes);
    mistakes.or(manifests)
}

#[cfg(test)]
mod tests;
