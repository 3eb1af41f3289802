//! The stores of AWS in a Config.

use super::super::field::{FieldErrors, FieldPath};
use super::super::yaml::node::Value;
use super::text::{validate_region, validate_url};
use crate::docker_config::ecr_host;

const NO_REGISTRY_ID: &str = "must have at least one registry id: the 12 digits of an AWS account";

const REGISTRY_ID: &str = "must be a registry id: the 12 digits of an AWS account, such as 123456789012";

const ROLE_ARN: &str = "must be the ARN of a role, such as arn:aws:iam::123456789012:role/regcred";

/// Validates a region of Secrets Manager.
pub(super) fn validate_secrets_manager(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    validate_region(&path.field("region"), errors);
    validate_url(&path.field("endpointUrl"), "https://secretsmanager.eu-west-1.amazonaws.com", errors);
    validate_role(&path.field("roleArn"), errors);
}

/// Validates a region of ECR.
pub(super) fn validate_ecr(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    validate_region(&path.field("region"), errors);
    validate_url(&path.field("endpointUrl"), "https://api.ecr.eu-west-1.amazonaws.com", errors);
    validate_role(&path.field("roleArn"), errors);
    let registry_ids = path.field("registryIds");
    if registry_ids.node().is_some_and(|node| node.value == Value::List(Vec::new())) {
        errors.push(registry_ids.error(NO_REGISTRY_ID));
    }
    for path in registry_ids.items() {
        if path.text().is_some_and(|text| !ecr_host::is_registry_id(text)) {
            errors.push(path.error(REGISTRY_ID));
        }
    }
}

/// Checks the ARN of a role.
fn validate_role(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    if path.text().is_some_and(|text| !is_role_arn(text)) {
        errors.push(path.error(ROLE_ARN));
    }
}

/// Returns true for `arn:PARTITION:iam::ACCOUNT:role/NAME`, in which a path may precede the name.
fn is_role_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, role] = parts[..] else { return false };
    let name = role.strip_prefix("role/").unwrap_or_default();
    partition.starts_with("aws")
        && ecr_host::is_registry_id(account)
        && !name.is_empty()
        && !name.ends_with('/')
        && name.bytes().all(|byte| byte.is_ascii_graphic())
}
