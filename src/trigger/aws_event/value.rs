//! A value of an event, with only the JSON fields that are used.
//!
//! In goes any JSON, out come the texts under the names of [`EventField`]. Everything else is skipped and
//! never kept, so that a body costs no more memory than a small multiple of its own length. A field with a
//! value of another type than expected counts as empty, not as an error.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The name of a used field. Names are case-insensitive: AWS has written `arn`, `aRN` and `ARN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "camelCase", ascii_case_insensitive)]
pub(super) enum EventField {
    Account,
    AdditionalEventData,
    Arn,
    AwsRegion,
    Detail,
    #[strum(serialize = "detail-type")]
    DetailType,
    ErrorCode,
    EventName,
    EventSource,
    LabelUpdated,
    Message,
    MoveToVersionId,
    Name,
    RecipientAccountId,
    Region,
    RequestParameters,
    Resources,
    ResponseElements,
    SecretId,
    ServiceEventDetails,
    Type,
    VersionId,
    VersionStage,
    VersionStages,
}

/// The used content of a JSON value.
#[derive(Debug)]
pub(super) enum EventValue {
    Text(String),
    List(Vec<EventValue>),
    Object(Vec<(EventField, EventValue)>),
    /// A number, a boolean, null.
    Other,
}

impl EventValue {
    /// Parses a JSON text, which nests no deeper than `serde_json` follows.
    pub(super) fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The text at the end of a path; of duplicate names the first one.
    pub(super) fn text(&self, path: &[EventField]) -> Option<&str> {
        match self.at(path)? {
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Object(_) | Self::Other => None,
        }
    }

    /// The texts of the list at the end of a path, or the single text there.
    pub(super) fn texts(&self, path: &[EventField]) -> impl Iterator<Item = &str> {
        let values = match self.at(path) {
            Some(Self::List(values)) => values,
            Some(value @ Self::Text(_)) => std::slice::from_ref(value),
            Some(Self::Object(_) | Self::Other) | None => &[],
        };
        values.iter().filter_map(|value| value.text(&[]))
    }

    fn at(&self, path: &[EventField]) -> Option<&Self> {
        path.iter().try_fold(self, |value, name| match value {
            Self::Object(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
            Self::Text(_) | Self::List(_) | Self::Other => None,
        })
    }
}

impl<'de> Deserialize<'de> for EventValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventValueVisitor)
    }
}

struct EventValueVisitor;

impl<'de> Visitor<'de> for EventValueVisitor {
    type Value = EventValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<EventValue, E> {
        Ok(EventValue::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<EventValue, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(EventValue::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<EventValue, A::Error> {
        let mut fields = Vec::new();
        while let Some(FieldName(name)) = object.next_key()? {
            match name {
                Some(field) => fields.push((field, object.next_value()?)),
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(EventValue::Object(fields))
    }

    fn visit_bool<E>(self, _: bool) -> Result<EventValue, E> {
        Ok(EventValue::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<EventValue, E> {
        Ok(EventValue::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<EventValue, E> {
        Ok(EventValue::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<EventValue, E> {
        Ok(EventValue::Other)
    }

    fn visit_unit<E>(self) -> Result<EventValue, E> {
        Ok(EventValue::Other)
    }
}

/// The name of a field, if it is used.
struct FieldName(Option<EventField>);

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldNameVisitor;

        impl Visitor<'_> for FieldNameVisitor {
            type Value = FieldName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<FieldName, E> {
                Ok(FieldName(name.parse().ok()))
            }
        }

        deserializer.deserialize_str(FieldNameVisitor)
    }
}
