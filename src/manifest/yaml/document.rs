//! Reads the documents of a text, each as a tree of nodes with their lines.

use super::super::field::{DocumentSource, FieldErrors};
use super::composer::Composer;
use super::node::Node;

/// A document that is not empty.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) source: DocumentSource,
    pub(crate) root: Node,
}

/// Returns the documents of a text, without empty ones and without those with a syntax error.
pub(crate) fn parse(file: &str, text: &str, errors: &mut FieldErrors) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut composer = Composer::new(file, text);
    let roots = composer.documents();
    let is_numbered = composer.number > 1;
    errors.0.extend(composer.errors.into_iter().map(|mut error| {
        error.document = error.document.filter(|_| is_numbered);
        error
    }));
    roots
        .into_iter()
        .map(|(number, root)| Document {
            source: DocumentSource { file: file.to_owned(), document: is_numbered.then_some(number) },
            root,
        })
        .collect()
}
