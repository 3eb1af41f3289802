//! The response to a batch: finds the value or the error of each key.

use std::collections::HashMap;

use aws_sdk_secretsmanager::operation::batch_get_secret_value::BatchGetSecretValueOutput;

use super::{error, value};
use crate::credential::{Key, StoredValue, arn};
use crate::provider::ErrorKind;

/// The results of a batch, for each key that the response covers.
pub(super) type BatchResults<'a> = HashMap<&'a Key, Result<StoredValue, ErrorKind>>;

/// Finds the value or the error of each key in the response, which is not ordered.
pub(super) fn results_by_key<'a>(keys: &[&'a Key], batch: &BatchGetSecretValueOutput) -> BatchResults<'a> {
    keys.iter().filter_map(|key| Some((*key, result(key, batch)?))).collect()
}

/// Returns true if a batch failed for this key and a retry may succeed.
pub(super) fn is_retryable(results: &BatchResults<'_>, key: &Key) -> bool {
    matches!(results.get(key), Some(Err(kind)) if kind.is_retryable())
}

fn result(Key(key): &Key, batch: &BatchGetSecretValueOutput) -> Option<Result<StoredValue, ErrorKind>> {
    let found = batch.secret_values().iter().find(|secret| {
        arn::is_same_secret(key, secret.name().unwrap_or_default(), secret.arn().unwrap_or_default())
    });
    if let Some(secret) = found {
        let (version, arn) = (secret.version_id(), secret.arn());
        return Some(value(arn, version, secret.secret_string(), secret.secret_binary()));
    }
    let errors = batch.errors().iter();
    let of_key = errors.filter(|error| error.secret_id().is_some_and(|id| arn::is_same_id(key, id)));
    // An error that repeats the key goes first, since `…:secret:ghcr-backup` may also be the ARN of `ghcr`.
    let error = of_key.min_by_key(|error| error.secret_id() != Some(key.as_str()))?;
    Some(Err(error::part_error_kind(error.error_code(), error.message())))
}
