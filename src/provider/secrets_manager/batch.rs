//! The answer to a batch, taken apart: which value and which error is whose.

use std::collections::HashMap;

use aws_sdk_secretsmanager::operation::batch_get_secret_value::BatchGetSecretValueOutput;

use super::{failure, value};
use crate::credential::{Key, StoredValue, arn};
use crate::provider::failure::Failure;

/// What a batch answers for each key that it answers for.
pub(super) type Answers<'a> = HashMap<&'a Key, Result<StoredValue, Failure>>;

/// Finds for each key its value or its error in the answer, where they stand in no order.
pub(super) fn take_apart<'a>(keys: &[&'a Key], batch: &BatchGetSecretValueOutput) -> Answers<'a> {
    let answer = |Key(key): &Key| {
        let is_value = |name: Option<&str>, arn: Option<&str>| {
            arn::is_of(key, name.unwrap_or_default(), arn.unwrap_or_default())
        };
        let found = batch.secret_values().iter().find(|secret| is_value(secret.name(), secret.arn()));
        if let Some(secret) = found {
            let (version, arn) = (secret.version_id(), secret.arn());
            return Some(value(arn, version, secret.secret_string(), secret.secret_binary()));
        }
        let errors = batch.errors().iter();
        let of_key = errors.filter(|error| error.secret_id().is_some_and(|id| arn::is_of_id(key, id)));
        // The one that repeats the key, since of `…:secret:ghcr-backup` nobody can tell that it is not `ghcr`.
        let error = of_key.min_by_key(|error| error.secret_id() != Some(key.as_str()))?;
        Some(Err(failure::of_part(error.error_code(), error.message())))
    };
    keys.iter().filter_map(|key| Some((*key, answer(key)?))).collect()
}
