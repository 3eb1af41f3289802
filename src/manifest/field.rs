//! What is wrong with the manifests: every mistake at once, each with its file or object, line and field.
//!
//! A mistake names fields and rules. It repeats a value only where a check has made sure that it is
//! a name (of a store, a kind, a host): what was pasted into the wrong place may be a password.

use std::fmt;

use super::node::Node;

/// One thing that is wrong with the manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The file as the caller named it, `stdin`, or an object of the API server: `ClusterPullSecret images`.
    pub file: String,
    /// Which document of the file, from 1, where the file has several.
    pub document: Option<usize>,
    /// The field, such as `spec.registries[0].host`; empty for a file or a document as a whole.
    pub path: String,
    /// The line, from 1, where the mistake has one.
    pub line: Option<usize>,
    /// What is wrong, and where it helps, what to write instead.
    pub what: String,
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
        f.write_str(&self.what)
    }
}

/// Every mistake of the manifests, one a line, by file and line.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    pub(crate) fn push(&mut self, mistake: FieldError) {
        self.0.push(mistake);
    }

    /// `found`, unless there is any mistake.
    pub(crate) fn or<T>(mut self, found: T) -> Result<T, Self> {
        if self.0.is_empty() {
            return Ok(found);
        }
        self.0.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Err(self)
    }

    /// As one text, where there is no room for lines.
    pub(crate) fn in_one_line(&self) -> String {
        self.to_string().replace('\n', "; ")
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

/// Where a document stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The file as the caller named it, or the kind and name of an object of the API server.
    pub(crate) file: String,
    /// Which document of the file, where it has several.
    pub(crate) document: Option<usize>,
}

/// A place in a document that a mistake can point at, whether or not anything is written there.
#[derive(Clone, Debug)]
pub(crate) struct FieldPath<'a> {
    origin: &'a Origin,
    node: Option<&'a Node>,
    line: Option<usize>,
    path: String,
}

impl<'a> FieldPath<'a> {
    pub(crate) fn root(origin: &'a Origin, node: &'a Node) -> Self {
        Self { origin, node: Some(node), line: node.line, path: String::new() }
    }

    /// What is written here.
    pub(crate) fn node(&self) -> Option<&'a Node> {
        self.node
    }

    /// The text here; nothing where something else is written, which the shape notes.
    pub(crate) fn text(&self) -> Option<&'a str> {
        self.node.and_then(Node::text)
    }

    /// The field of this name, on the line of its name, or on the line of the whole where it is absent.
    pub(crate) fn field(&self, name: &str) -> Self {
        let field = self.node.and_then(|node| node.field(name));
        Self {
            origin: self.origin,
            node: field.map(|field| &field.node),
            line: field.map_or(self.line, |field| field.line),
            path: join(&self.path, name),
        }
    }

    /// The item of a list at this index.
    pub(crate) fn item(&self, index: usize) -> Self {
        let node = self.node.and_then(|node| node.items().get(index));
        Self {
            origin: self.origin,
            node,
            line: node.map_or(self.line, |node| node.line),
            path: format!("{}[{index}]", self.path),
        }
    }

    /// The items of the list here.
    pub(crate) fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let list = self.clone();
        (0..self.node.map_or(0, |node| node.items().len())).map(move |index| list.item(index))
    }

    pub(crate) fn mistake(&self, what: impl Into<String>) -> FieldError {
        FieldError {
            file: self.origin.file.clone(),
            document: self.origin.document,
            path: self.path.clone(),
            line: self.line,
            what: what.into(),
        }
    }
}

/// How another mistake refers to this place: `stores.yaml:12`, or by its path where there are no lines.
impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.origin.file),
            None => f.write_str(&self.path),
        }
    }
}

/// `spec` and `host` make `spec.host`; a name with dots, slashes or anything stranger stands in brackets.
pub(crate) fn join(path: &str, name: &str) -> String {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        return format!("{path}[{}]", shown(name));
    }
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A name someone wrote, in quotes, short enough and without control characters.
pub(crate) fn shown(name: &str) -> String {
    const LONGEST: usize = 63;
    if name.chars().count() <= LONGEST {
        return format!("{name:?}");
    }
    let start: String = name.chars().take(LONGEST).collect();
    format!("{:?}", start + "…")
}
