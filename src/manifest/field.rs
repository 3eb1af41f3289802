//! Errors of the manifests, all at once, each with its file or object, line and field.
//!
//! An error names fields and rules. It repeats a value only after a check has made sure that it is a name
//! (of a store, a kind, a host): text pasted into the wrong field may be a password.

use std::fmt;

use super::yaml::node::Node;

/// One error of the manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The file as the caller named it, `stdin`, or an object of the API server: `ClusterPullSecret images`.
    pub file: String,
    /// The number of the document, from 1, if the file has several.
    pub document: Option<usize>,
    /// The field, such as `spec.registries[0].host`; empty for a file or a document as a whole.
    pub path: String,
    /// The line, from 1, if there is one.
    pub line: Option<usize>,
    /// The error, and if it helps, the fix.
    pub detail: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if let Some(document) = self.document {
            write!(f, "document {document}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.detail)
    }
}

/// All errors of the manifests, one per line, by file and line.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    pub(crate) fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    /// Returns `value` if there is no error, and all errors otherwise.
    pub(crate) fn into_result<T>(mut self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Err(self)
    }

    /// Joins all errors into one line.
    pub(crate) fn to_single_line(&self) -> String {
        self.to_string().replace('\n', "; ")
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

/// The file or object that a document comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocumentSource {
    /// The file as the caller named it, or the kind and name of an object of the API server.
    pub(crate) file: String,
    /// The number of the document, from 1, if the file has several.
    pub(crate) document: Option<usize>,
}

/// The path of a field for which an error can be reported, with or without a value.
#[derive(Clone, Debug)]
pub(crate) struct FieldPath<'a> {
    source: &'a DocumentSource,
    node: Option<&'a Node>,
    line: Option<usize>,
    path: String,
}

impl<'a> FieldPath<'a> {
    pub(crate) fn root(source: &'a DocumentSource, node: &'a Node) -> Self {
        Self { source, node: Some(node), line: node.line, path: String::new() }
    }

    /// Returns the value of the field, if there is one.
    pub(crate) fn node(&self) -> Option<&'a Node> {
        self.node
    }

    /// Returns the text of the field; `None` for any other value, for which the schema has an error.
    pub(crate) fn text(&self) -> Option<&'a str> {
        self.node.and_then(Node::text)
    }

    /// Returns the field of this name, on the line of its name, or on that of the whole if it is absent.
    pub(crate) fn field(&self, name: &str) -> Self {
        let field = self.node.and_then(|node| node.field(name));
        Self {
            source: self.source,
            node: field.map(|field| &field.node),
            line: field.map_or(self.line, |field| field.line),
            path: join(&self.path, name),
        }
    }

    /// Returns the item of a list at this index.
    pub(crate) fn item(&self, index: usize) -> Self {
        let node = self.node.and_then(|node| node.items().get(index));
        Self {
            source: self.source,
            node,
            line: node.map_or(self.line, |node| node.line),
            path: format!("{}[{index}]", self.path),
        }
    }

    /// Returns the items of a list.
    pub(crate) fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let list = self.clone();
        (0..self.node.map_or(0, |node| node.items().len())).map(move |index| list.item(index))
    }

    /// Returns an error of this field.
    pub(crate) fn error(&self, detail: impl Into<String>) -> FieldError {
        FieldError {
            file: self.source.file.clone(),
            document: self.source.document,
            path: self.path.clone(),
            line: self.line,
            detail: detail.into(),
        }
    }
}

/// The reference to this place in other errors: `stores.yaml:12`, or the path if there are no lines.
impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source.file),
            None => f.write_str(&self.path),
        }
    }
}

/// Joins `spec` and `host` to `spec.host`; puts a name with dots, slashes or other such characters in brackets.
pub(crate) fn join(path: &str, name: &str) -> String {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        return format!("{path}[{}]", quoted(name));
    }
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Quotes a name of a manifest, shortened and with control characters escaped.
pub(crate) fn quoted(name: &str) -> String {
    const MAX_LENGTH: usize = 63;
    if name.chars().count() <= MAX_LENGTH {
        return format!("{name:?}");
    }
    let start: String = name.chars().take(MAX_LENGTH).collect();
    format!("{:?}", start + "…")
}
