//! Checks of single texts: names, paths, URLs and globs.
//!
//! Each adds an error for a text that breaks its rule, and none for what is not text at all: that is for
//! the schema.

use url::Url;

use super::super::field::{FieldError, FieldErrors, FieldPath};
use super::super::names::Rule;
use super::super::selection::glob;
use super::super::yaml::node::Value;

pub(crate) const EMPTY: Rule = "must not be empty";
pub(crate) const CONTROL: Rule = "must not have line breaks or other control characters";
pub(crate) const SPACE: Rule = "must not begin or end with a space";

/// Checks a name against a rule.
pub(super) fn validate_name(
    path: &FieldPath<'_>,
    rule: fn(&str) -> Result<(), Rule>,
    errors: &mut FieldErrors,
) {
    if let Some(Err(rule)) = path.text().map(rule) {
        errors.push(path.error(rule));
    }
}

/// Rejects a text that is empty, or that no field of this sort can hold.
pub(super) fn validate_text(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    let Some(text) = path.text() else { return };
    if text.is_empty() {
        errors.push(path.error(EMPTY));
    } else if text.chars().any(char::is_control) {
        errors.push(path.error(CONTROL));
    } else if text.trim() != text {
        errors.push(path.error(SPACE));
    }
}

/// Returns the valid globs of a list, and rejects every pattern that is empty or malformed.
pub(super) fn validate_globs(path: &FieldPath<'_>, errors: &mut FieldErrors) -> Vec<String> {
    let mut globs = Vec::new();
    for path in path.items() {
        validate_text(&path, errors);
        let Some(text) = path.text() else { continue };
        match glob(text) {
            Ok(_) => globs.push(text.to_owned()),
            Err(error) => errors.push(invalid_glob(&path, &error)),
        }
    }
    globs
}

/// Returns the error for a malformed glob, with only the kind of `error`, which itself repeats the pattern.
pub(super) fn invalid_glob(path: &FieldPath<'_>, error: &globset::Error) -> FieldError {
    path.error(format!("is not a valid glob: {}", error.kind()))
}

/// Checks the name of an AWS region.
pub(super) fn validate_region(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    if path.text().is_some_and(|text| text.is_empty() || !text.bytes().all(is_region_byte)) {
        errors.push(path.error("must be the name of a region, such as eu-west-1"));
    }
}

fn is_region_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

/// Rejects an empty path of a file.
pub(super) fn validate_file(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    if path.text() == Some("") {
        errors.push(path.error(EMPTY));
    }
}

/// Returns the URL, if it is `http` or `https` and has neither credentials nor a query.
pub(super) fn validate_url(path: &FieldPath<'_>, example: &str, errors: &mut FieldErrors) -> Option<Url> {
    let detail = match Url::parse(path.text()?) {
        Err(error) => format!("must be a URL, such as {example}: {error}"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => "must be an http or https URL".to_owned(),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "must not hold a username or password".to_owned()
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            "must not have a query or a fragment".to_owned()
        }
        Ok(url) => return Some(url),
    };
    errors.push(path.error(detail));
    None
}

/// Returns true if there is a list, valid or not.
pub(super) fn is_list(path: &FieldPath<'_>) -> bool {
    path.node().is_some_and(|node| matches!(node.value, Value::List(_)))
}
