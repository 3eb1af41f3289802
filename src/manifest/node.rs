//! A document as a tree that knows on which line everything stands, where it comes from a text.

use serde_json::{Map, Number, Value as Json};

/// A value and the line, from 1, on which it begins; an object of the API server has no lines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: Option<usize>,
    pub(crate) value: Value,
}

/// A value as kubectl would send it to the API server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order written, no name twice.
    Map(Vec<Field>),
}

/// One field of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// The line of the name.
    pub(crate) line: Option<usize>,
    pub(crate) node: Node,
}

impl Node {
    /// The field of this name, where this is a map that has one.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// The fields, none where this is no map.
    pub(crate) fn fields(&self) -> &[Field] {
        match &self.value {
            Value::Map(fields) => fields,
            _ => &[],
        }
    }

    /// The items, none where this is no list.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text, where this is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same without fields of these names.
    pub(crate) fn without(&self, names: &[&str]) -> Self {
        let mut node = self.clone();
        if let Value::Map(fields) = &mut node.value {
            fields.retain(|field| !names.contains(&field.name.as_str()));
        }
        node
    }

    /// What this is, in a sentence about it.
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

    /// The number of nodes in this tree, itself included.
    pub(crate) fn size(&self) -> usize {
        let children: usize = self.children().map(Self::size).sum();
        1 + children
    }

    /// The number of levels of this tree.
    pub(crate) fn height(&self) -> usize {
        1 + self.children().map(Self::height).max().unwrap_or(0)
    }

    fn children(&self) -> impl Iterator<Item = &Self> {
        self.items().iter().chain(self.fields().iter().map(|field| &field.node))
    }

    /// What the API server sent, as a tree without lines.
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
                    .map(|(name, value)| Field {
                        name: name.clone(),
                        line: None,
                        node: Self::from_json(value),
                    })
                    .collect(),
            ),
        };
        Self { line: None, value }
    }

    /// The same without lines, for serde.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Integer(value) => Json::Number((*value).into()),
            // Infinity is no JSON; no field takes a fraction anyway.
            Value::Float(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(fields) => {
                Json::Object(fields.iter().map(|f| (f.name.clone(), f.node.to_json())).collect::<Map<_, _>>())
            }
        }
    }
}
