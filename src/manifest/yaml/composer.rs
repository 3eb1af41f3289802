//! Composes the events of the YAML parser to trees of nodes.
//!
//! Reads events instead of deserialising, so that a document with several errors reports them all, each
//! with its line. JSON is YAML and needs no code of its own.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag, options};

use super::super::field::{FieldError, join};
use super::node::{MapEntry, Node, Value};
use super::scalar;

/// The limit for nesting: no manifest has twenty levels, and everything that walks a tree is recursive.
const MAX_DEPTH: usize = 64;

/// The limit for nodes that aliases add to a file: a few lines of aliases of aliases would fill the memory.
const MAX_COPIES: usize = 10_000;

/// The rest of the document cannot be read; the error that says so is already added.
struct Abandoned;

/// The state of composing one file.
pub(super) struct Composer<'t> {
    parser: Parser<'t, StrInput<'t>>,
    file: &'t str,
    /// The number of documents begun so far.
    pub(super) number: usize,
    anchors: HashMap<usize, Node>,
    copies_left: usize,
    /// All errors so far, each with the number of its document.
    pub(super) errors: Vec<FieldError>,
}

impl<'t> Composer<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            parser: Parser::new_from_str_with_options(text, options! { emit_comments: false }),
            file,
            number: 0,
            anchors: HashMap::new(),
            copies_left: MAX_COPIES,
            errors: Vec::new(),
        }
    }

    /// Composes all documents that are not empty, each with its number.
    pub(super) fn documents(&mut self) -> Vec<(usize, Node)> {
        let mut roots = Vec::new();
        loop {
            let document = match self.event() {
                Ok((Event::StreamEnd, _)) => return roots,
                Ok((Event::DocumentStart(..), _)) => {
                    self.number += 1;
                    self.anchors.clear();
                    self.root()
                }
                Ok(_) => continue,
                // The parser fails between documents if a directive is wrong: that begins one.
                Err(Abandoned) => {
                    self.number += 1;
                    Err(Abandoned)
                }
            };
            match document {
                Ok(Node { value: Value::Null, .. }) => {}
                Ok(root) => roots.push((self.number, root)),
                Err(Abandoned) => match self.parser.proceed_next_document() {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return roots,
                },
            }
        }
    }

    fn root(&mut self) -> Result<Node, Abandoned> {
        match self.event()? {
            (Event::DocumentEnd, span) => Ok(Node { line: Some(span.start.line()), value: Value::Null }),
            (event, span) => self.node(event, span, "", 1),
        }
    }

    fn event(&mut self) -> Result<(Event<'t>, Span), Abandoned> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let info = error.info();
                let is_alias = info.contains("unknown anchor");
                let fix = if is_alias { "; a value that begins with * needs quotes" } else { "" };
                self.add_error("", error.marker().line(), format!("is not YAML: {info}{fix}"));
                Err(Abandoned)
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, path: &str, depth: usize) -> Result<Node, Abandoned> {
        let line = span.start.line();
        if depth > MAX_DEPTH {
            return self.abandon(path, line, format!("is nested more than {MAX_DEPTH} levels deep"));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, self.scalar(&text, style, tag.as_deref(), path, line))
            }
            Event::SequenceStart(_, anchor, _) => (anchor, Value::List(self.list(path, depth)?)),
            Event::MappingStart(_, anchor, _) => (anchor, Value::Map(self.map(path, depth)?)),
            Event::Alias(anchor) => return self.alias(anchor, path, line, depth),
            _ => return self.abandon(path, line, "ends before its value".to_owned()),
        };
        let node = Node { line: Some(line), value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        path: &str,
        line: usize,
    ) -> Value {
        match tag.map(|tag| (tag.core_suffix(), tag.suffix())) {
            Some((Some("str"), _) | (None, "" | "!")) => Value::Text(text.to_owned()),
            None if style != ScalarStyle::Plain => Value::Text(text.to_owned()),
            None | Some((Some(_), _)) => scalar::resolve(text),
            Some((None, _)) => {
                self.add_error(path, line, "has a YAML tag without a meaning here: remove it".to_owned());
                Value::Text(text.to_owned())
            }
        }
    }

    fn list(&mut self, path: &str, depth: usize) -> Result<Vec<Node>, Abandoned> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.event()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(items);
            }
            items.push(self.node(event, span, &format!("{path}[{}]", items.len()), depth + 1)?);
        }
    }

    fn map(&mut self, path: &str, depth: usize) -> Result<Vec<MapEntry>, Abandoned> {
        let mut fields: Vec<MapEntry> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.event()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let name = self.node(event, span, path, depth + 1)?;
            let field_path = name.text().map_or_else(|| path.to_owned(), |name| join(path, name));
            let (event, span) = self.event()?;
            let node = self.node(event, span, &field_path, depth + 1)?;
            let line = name.line;
            match name.value {
                _ if is_merge => merged.push(node),
                Value::Text(name) => match fields.iter().find(|field| field.name == name) {
                    Some(first) => {
                        let first = first.line.map(|line| format!(", first on line {line}"));
                        self.add_error(
                            &field_path,
                            line,
                            format!("is given twice{}", first.unwrap_or_default()),
                        );
                    }
                    None => fields.push(MapEntry { name, line, node }),
                },
                _ => self.add_error(
                    path,
                    line,
                    format!("has {} for a field name: put it in quotes", name.kind()),
                ),
            }
        }
        for node in merged {
            self.merge(node, path, &mut fields);
        }
        Ok(fields)
    }

    /// Merges `<<: *base`: adds the fields of the base that the map does not have.
    fn merge(&mut self, base: Node, path: &str, fields: &mut Vec<MapEntry>) {
        match base.value {
            Value::Map(inherited) => {
                for field in inherited {
                    if fields.iter().all(|own| own.name != field.name) {
                        fields.push(field);
                    }
                }
            }
            Value::List(bases) if bases.iter().all(|base| matches!(base.value, Value::Map(_))) => {
                for base in bases {
                    self.merge(base, path, fields);
                }
            }
            _ => self.add_error(
                path,
                base.line,
                "has a << that is neither a map nor a list of maps".to_owned(),
            ),
        }
    }

    fn alias(&mut self, anchor: usize, path: &str, line: usize, depth: usize) -> Result<Node, Abandoned> {
        let Some(node) = self.anchors.get(&anchor) else {
            return self.abandon(path, line, "is an alias of a value that contains it".to_owned());
        };
        if depth + node.height() > MAX_DEPTH + 1 {
            return self.abandon(path, line, format!("is nested more than {MAX_DEPTH} levels deep"));
        }
        match self.copies_left.checked_sub(node.size()) {
            Some(left) => self.copies_left = left,
            None => {
                return self.abandon(
                    path,
                    line,
                    format!("aliases add more than {MAX_COPIES} values to the file"),
                );
            }
        }
        Ok(node.clone())
    }

    fn abandon<T>(&mut self, path: &str, line: usize, detail: String) -> Result<T, Abandoned> {
        self.add_error(path, line, detail);
        Err(Abandoned)
    }

    fn add_error(&mut self, path: &str, line: impl Into<Option<usize>>, detail: String) {
        self.errors.push(FieldError {
            file: self.file.to_owned(),
            document: Some(self.number),
            path: path.to_owned(),
            line: line.into(),
            detail,
        });
    }
}
