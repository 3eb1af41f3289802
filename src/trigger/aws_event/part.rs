//! A part of an event: as much of its JSON as anyone reads.
//!
//! In goes any JSON, out come the texts under the names of [`Field`]. Everything else is passed over and
//! never kept, so that a body costs no more memory than its own length a few times. Nothing is
//! wrong with a field that holds something else than is asked of it: there is nothing in it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A name that is read. The case of its letters says nothing: AWS has written `arn`, `aRN` and `ARN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "camelCase", ascii_case_insensitive)]
pub(super) enum Field {
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

/// What is kept of a JSON value.
#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    List(Vec<Part>),
    Object(Vec<(Field, Part)>),
    /// A number, a boolean, null.
    Nothing,
}

impl Part {
    /// What a JSON text holds, which nests no deeper than `serde_json` follows.
    pub(super) fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The text at the end of a path; the first one where a name stands twice.
    pub(super) fn text(&self, path: &[Field]) -> Option<&str> {
        match self.at(path)? {
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Object(_) | Self::Nothing => None,
        }
    }

    /// The texts of the list at the end of a path, or the one that stands there without a list.
    pub(super) fn texts(&self, path: &[Field]) -> impl Iterator<Item = &str> {
        let parts = match self.at(path) {
            Some(Self::List(parts)) => parts,
            Some(part @ Self::Text(_)) => std::slice::from_ref(part),
            Some(Self::Object(_) | Self::Nothing) | None => &[],
        };
        parts.iter().filter_map(|part| part.text(&[]))
    }

    fn at(&self, path: &[Field]) -> Option<&Self> {
        path.iter().try_fold(self, |part, wanted| match part {
            Self::Object(fields) => fields.iter().find(|(field, _)| field == wanted).map(|(_, part)| part),
            Self::Text(_) | Self::List(_) | Self::Nothing => None,
        })
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Parts)
    }
}

struct Parts;

impl<'de> Visitor<'de> for Parts {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Part, E> {
        Ok(Part::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Part, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = list.next_element()? {
            parts.push(part);
        }
        Ok(Part::List(parts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Part, A::Error> {
        let mut fields = Vec::new();
        while let Some(Name(name)) = object.next_key()? {
            match name {
                Some(field) => fields.push((field, object.next_value()?)),
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Part::Object(fields))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Part, E> {
        Ok(Part::Nothing)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Part, E> {
        Ok(Part::Nothing)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Part, E> {
        Ok(Part::Nothing)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Part, E> {
        Ok(Part::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Part, E> {
        Ok(Part::Nothing)
    }
}

/// The name of a field, if it is one that is read.
struct Name(Option<Field>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl Visitor<'_> for Names {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(Name(name.parse().ok()))
            }
        }

        deserializer.deserialize_str(Names)
    }
}
