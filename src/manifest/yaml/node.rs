//! A document as a tree in which every node of a text knows its line.

use serde_json::{Map, Number, Value as Json};

/// A value and the line, from 1, on which it begins; objects of the API server have no lines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: Option<usize>,
    pub(crate) value: Value,
}

/// A value as kubectl sends it to the API server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the text, no name twice.
    Map(Vec<MapEntry>),
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MapEntry {
    pub(crate) name: String,
    /// The line of the name.
    pub(crate) line: Option<usize>,
    pub(crate) node: Node,
}

impl Node {
    /// Returns the field of this name, if this is a map that has one.
    pub(crate) fn field(&self, name: &str) -> Option<&MapEntry> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// Returns the fields of a map; none for any other value.
    pub(crate) fn fields(&self) -> &[MapEntry] {
        match &self.value {
            Value::Map(fields) => fields,
            _ => &[],
        }
    }

    /// Returns the items of a list; none for any other value.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Returns the text, if the value is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a copy without the fields of these names.
    pub(crate) fn without(&self, names: &[&str]) -> Self {
        let mut node = self.clone();
        if let Value::Map(fields) = &mut node.value {
            fields.retain(|field| !names.contains(&field.name.as_str()));
        }
        node
    }

    /// Returns the kind of the value, as words for a sentence.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Counts the nodes of this tree, itself included.
    pub(crate) fn size(&self) -> usize {
        let children: usize = self.children().map(Self::size).sum();
        1 + children
    }

    /// Counts the levels of this tree.
    pub(crate) fn height(&self) -> usize {
        1 + self.children().map(Self::height).max().unwrap_or(0)
    }

    fn children(&self) -> impl Iterator<Item = &Self> {
        self.items().iter().chain(self.fields().iter().map(|field| &field.node))
    }

    /// Converts the JSON of the API server to a tree without lines.
    pub(crate) fn from_json(json: &Json) -> Self {
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Value::Integer(integer),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Self::from_json).collect()),
            Json::Object(fields) => Value::Map(
                fields
                    .iter()
                    .map(|(name, value)| MapEntry {
                        name: name.clone(),
                        line: None,
                        node: Self::from_json(value),
                    })
                    .collect(),
            ),
        };
        Self { line: None, value }
    }

    /// Converts the tree to JSON, without lines, for serde.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Integer(value) => Json::Number((*value).into()),
            // JSON has no infinity; no field takes a fraction anyway.
            Value::Float(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(fields) => {
                Json::Object(fields.iter().map(|f| (f.name.clone(), f.node.to_json())).collect::<Map<_, _>>())
            }
        }
    }
}
