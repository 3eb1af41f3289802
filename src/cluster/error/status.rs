//! The error that a `Status` of the API server means.
//!
//! In goes the `Status`, out comes the decision with a message of codes, names and closed lists: the reason
//! word, the object in `details`, paths of fields, the verb that RBAC denied. Its texts stay behind.

use std::fmt::Write as _;

use kube::core::Status;
use kube::core::response::StatusDetails;
use kube::core::response::reason;

use super::admission::Admission;
use super::{Detail, Error};
use crate::manifest::names::dns_subdomain;

/// The reason words of the API server that a message may show.
const REASONS: [&str; 17] = [
    reason::UNAUTHORIZED,
    reason::FORBIDDEN,
    reason::NOT_FOUND,
    reason::ALREADY_EXISTS,
    reason::CONFLICT,
    reason::GONE,
    reason::INVALID,
    "BadRequest",
    "Expired",
    "InternalError",
    "MethodNotAllowed",
    "NotAcceptable",
    "RequestEntityTooLarge",
    "ServerTimeout",
    "ServiceUnavailable",
    "Timeout",
    "TooManyRequests",
];

/// The verbs that RBAC knows for the requests of regcred.
const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];

/// The number of field paths in a message.
const SHOWN_FIELDS: usize = 3;

/// The longest name of a field in a path.
const LONGEST_FIELD: usize = 40;

impl From<&Status> for Error {
    fn from(status: &Status) -> Self {
        // A webhook chooses the code, the reason and the details of its status: nothing else of it is read.
        match Admission::parse(&status.message) {
            Some(admission @ (Admission::Webhook(_) | Admission::Policy(_))) => {
                return Self::AdmissionDenied(admission.detail());
            }
            Some(admission @ Admission::WebhookCall(_)) => return Self::Unavailable(admission.detail()),
            Some(admission @ Admission::Quota(_)) => return Self::QuotaExceeded(admission.detail()),
            None => {}
        }
        match status.code {
            401 => {
                Self::Unauthorized(Detail::from("the API server rejected the credentials").with_fix(
                    "Check that the account exists and that its token or certificate has not expired",
                ))
            }
            403 if has_cause(status, "NamespaceTerminating") => Self::NamespaceTerminating,
            403 => Self::Forbidden(forbidden(status)),
            404 => Self::NotFound(object_or_code(status)),
            409 if status.is_already_exists() => Self::AlreadyExists(object_or_code(status)),
            409 => Self::Changed(object_or_code(status)),
            410 => Self::Expired,
            422 if is_failed_json_patch(status) => Self::Changed(object_or_code(status)),
            429 | 500.. => Self::Unavailable(Detail::from_own_words(code(status))),
            _ => Self::Invalid(invalid(status)),
        }
    }
}

/// Returns true if a JSON patch could not be applied: its `test` of the `resourceVersion` failed, because the
/// object was changed. A validation names the object and its invalid fields instead.
fn is_failed_json_patch(status: &Status) -> bool {
    let has_causes = status.details.as_ref().is_some_and(|details| !details.causes.is_empty());
    !has_causes
        && status.message.starts_with("the server rejected our request due to an error in our request")
}

fn has_cause(status: &Status, reason: &str) -> bool {
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == reason)
}

/// Names the object of the request, or the code where the `Status` has no details.
fn object_or_code(status: &Status) -> Detail {
    let resource = details(status).map(|details| details.kind.as_str());
    Detail::from_own_words(object(status).unwrap_or_else(|| code(status))).about(resource)
}

/// Words a request that an authorizer or an admission plugin denied.
fn forbidden(status: &Status) -> Detail {
    let object = object(status);
    let target = object.as_deref().unwrap_or("the object");
    match denied_verb(&status.message) {
        Some(verb) => {
            let resource = resource(status);
            Detail::from_own_words(format!("no right to {verb} {target}")).with_fix(format!(
                "Grant the verb {verb} on {resource} to the account of this process, as deploy/rbac.yaml does"
            ))
        }
        None => Detail::from_own_words(format!("access to {target} is denied ({})", code(status))).with_fix(
            "Check the rights of the account of this process, and the admission plugins of the API server",
        ),
    }
}

/// Finds the verb in the wording of the authorizer: `… is forbidden: User "NAME" cannot VERB resource "…`.
fn denied_verb(message: &str) -> Option<&'static str> {
    VERBS.into_iter().find(|verb| message.contains(&format!("\" cannot {verb} resource \"")))
}

/// Words an object or a request that the API server rejected.
fn invalid(status: &Status) -> Detail {
    let rejected = object(status).map(|object| format!("{object} was rejected")).unwrap_or_default();
    let rejected = if rejected.is_empty() { "the request was rejected".to_owned() } else { rejected };
    let fields = fields(status);
    let at = if fields.is_empty() { String::new() } else { format!(" at {}", fields.join(", ")) };
    let detail = Detail::from_own_words(format!("{rejected}{at} ({})", code(status)));
    if status.code == 413 || has_cause(status, "FieldValueTooLong") || has_cause(status, "FieldValueTooMany")
    {
        return detail.with_fix("The object is too large for Kubernetes: divide it, such as the registries among several ClusterPullSecrets");
    }
    detail.with_fix(
        "Check that the CRD and the API server are of versions that this version of regcred supports",
    )
}

/// Returns the paths of the fields that the API server rejected, each once, without keys of maps: these are
/// names of free choice.
fn fields(status: &Status) -> Vec<String> {
    let mut fields = Vec::new();
    for cause in status.details.iter().flat_map(|details| &details.causes) {
        let path = field_path(&cause.field);
        if !path.is_empty() && !fields.contains(&path) {
            fields.push(path);
        }
    }
    fields.truncate(SHOWN_FIELDS);
    fields
}

/// Returns the begin of a path that consists of names of fields and indexes: `spec.registries[0].host`.
fn field_path(path: &str) -> String {
    let mut kept = String::new();
    for segment in path.split('.') {
        let (name, index) = segment.split_once('[').unwrap_or((segment, ""));
        let is_name =
            (1..=LONGEST_FIELD).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_name {
            break;
        }
        if !kept.is_empty() {
            kept.push('.');
        }
        kept.push_str(name);
        match index.strip_suffix(']') {
            Some(index) if (1..=6).contains(&index.len()) && index.bytes().all(|b| b.is_ascii_digit()) => {
                let _ = write!(kept, "[{index}]");
            }
            None if index.is_empty() => {}
            _ => break,
        }
    }
    kept
}

/// Returns the code with its reason word: `422 Invalid`.
fn code(status: &Status) -> String {
    match REASONS.into_iter().find(|reason| *reason == status.reason) {
        Some(reason) => format!("{} {reason}", status.code),
        None => format!("HTTP status {}", status.code),
    }
}

/// Returns the object of the request: `secrets "regcred"`, `clusterpullsecrets.regcred.dev "images"`.
fn object(status: &Status) -> Option<String> {
    let details = details(status)?;
    let group = if has_group(details) { format!(".{}", details.group) } else { String::new() };
    let name = &details.name;
    let name = if dns_subdomain(name).is_ok() { format!(" \"{name}\"") } else { String::new() };
    Some(format!("{}{group}{name}", details.kind))
}

/// Returns the resource of a right, as a role names it.
fn resource(status: &Status) -> String {
    match details(status) {
        Some(details) if has_group(details) => format!("{} (API group {})", details.kind, details.group),
        Some(details) => details.kind.clone(),
        None => "the resource".to_owned(),
    }
}

/// Returns the details with a kind, which every error about an object has.
fn details(status: &Status) -> Option<&StatusDetails> {
    status.details.as_ref().filter(|details| is_kind(&details.kind))
}

fn has_group(details: &StatusDetails) -> bool {
    dns_subdomain(&details.group).is_ok()
}

fn is_kind(kind: &str) -> bool {
    (1..=63).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    fn error(status: &Json) -> Error {
        Error::from(&serde_json::from_value::<Status>(status.clone()).expect("a Status"))
    }

    #[track_caller]
    fn check(status: Json, reason: &str, message: &str) {
        let error = error(&status);
        assert_eq!((error.reason().to_string().as_str(), error.to_string().as_str()), (reason, message));
    }

    fn failure(code: u16, reason: &str, message: &str) -> Json {
        json!({
            "code": code, "reason": reason, "message": message,
            "details": {"kind": "secrets", "name": "regcred"},
        })
    }

    #[test]
    fn every_status_maps_to_an_error_with_its_own_words() {
        check(
            failure(409, "Conflict", "the object has been modified"),
            "Changed",
            r#"the object was changed by another writer: secrets "regcred""#,
        );
        check(failure(409, "AlreadyExists", "x"), "AlreadyExists", r#"already exists: secrets "regcred""#);
        check(failure(404, "NotFound", "x"), "NotFound", r#"not found: secrets "regcred""#);
        check(json!({"code": 404, "message": "x"}), "NotFound", "not found: HTTP status 404");
        check(failure(410, "Expired", "too old"), "Expired", "the list expired");
        check(
            failure(403, "Forbidden", r#"secrets "regcred" is forbidden: exceeded quota: few, requested: x"#),
            "QuotaExceeded",
            "the ResourceQuota few is exceeded. Raise it, or delete objects that it counts",
        );
        check(
            failure(401, "Unauthorized", "Unauthorized"),
            "Unauthorized",
            "the API server rejected the credentials. Check that the account exists and that its token or certificate has not expired",
        );
        check(
            failure(400, "BadRequest", r#"admission webhook "no.example.com" denied the request: no"#),
            "AdmissionDenied",
            "the admission webhook no.example.com denied the write. Its log has the reason: let it admit the Secrets and ServiceAccounts that regcred writes",
        );
        check(
            failure(
                500,
                "InternalError",
                r#"Internal error occurred: failed calling webhook "no.example.com": x"#,
            ),
            "Unavailable",
            "the API server is unavailable: the admission webhook no.example.com could not be called. Repair the webhook, or exempt the Secrets and ServiceAccounts that regcred writes",
        );
        check(
            failure(429, "TooManyRequests", "x"),
            "Unavailable",
            "the API server is unavailable: 429 TooManyRequests",
        );
        check(
            failure(500, "hunter2", "etcd"),
            "Unavailable",
            "the API server is unavailable: HTTP status 500",
        );
    }

    #[test]
    fn terminating_namespace_is_known_by_its_cause() {
        let mut terminating = failure(403, "Forbidden", "unable to create new content");
        terminating["details"]["causes"] = json!([{"reason": "NamespaceTerminating", "message": "x"}]);
        check(terminating.clone(), "NamespaceTerminating", "the namespace is terminating");
        // A webhook chooses the causes of its own status.
        terminating["message"] = json!(r#"admission webhook "no" denied the request: x"#);
        assert_eq!(error(&terminating).reason().to_string(), "AdmissionDenied");
    }

    #[test]
    fn forbidden_request_names_the_missing_right() {
        let user = r#"User "system:serviceaccount:regcred-system:regcred" cannot"#;
        check(
            failure(
                403,
                "Forbidden",
                &format!(
                    r#"secrets "regcred" is forbidden: {user} patch resource "secrets" in API group """#
                ),
            ),
            "Forbidden",
            r#"no right to patch secrets "regcred". Grant the verb patch on secrets to the account of this process, as deploy/rbac.yaml does"#,
        );
        let mut list = failure(403, "Forbidden", &format!(r#"{user} list resource "clusterpullsecrets""#));
        list["details"] = json!({"kind": "clusterpullsecrets", "group": "regcred.dev"});
        check(
            list,
            "Forbidden",
            "no right to list clusterpullsecrets.regcred.dev. Grant the verb list on clusterpullsecrets (API group regcred.dev) to the account of this process, as deploy/rbac.yaml does",
        );
        check(
            failure(403, "Forbidden", r#"secrets "regcred" is forbidden: not yet ready to handle request"#),
            "Forbidden",
            r#"access to secrets "regcred" is denied (403 Forbidden). Check the rights of the account of this process, and the admission plugins of the API server"#,
        );
    }

    #[test]
    fn invalid_object_names_its_fields_without_values() {
        let causes = json!([
            {"reason": "FieldValueTooLong", "message": "hunter2", "field": "data"},
            {"reason": "FieldValueInvalid", "message": "hunter2", "field": "spec.registries[0].host"},
            {"reason": "FieldValueInvalid", "message": "hunter2", "field": "data[.dockerconfigjson]"},
            {"reason": "FieldValueInvalid", "message": "hunter2", "field": "metadata.labels[hunter2].x"},
            {"reason": "FieldValueInvalid", "message": "hunter2", "field": "Invalid value: hunter2"},
        ]);
        let mut status = failure(422, "Invalid", r#"Secret "regcred" is invalid: data: Too long: hunter2"#);
        status["details"]["causes"] = causes;
        check(
            status,
            "Invalid",
            r#"secrets "regcred" was rejected at data, spec.registries[0].host, metadata.labels (422 Invalid). The object is too large for Kubernetes: divide it, such as the registries among several ClusterPullSecrets"#,
        );
        check(
            json!({"code": 400, "reason": "BadRequest", "message": "hunter2"}),
            "Invalid",
            "the request was rejected (400 BadRequest). Check that the CRD and the API server are of versions that this version of regcred supports",
        );
    }

    #[test]
    fn failed_json_patch_is_a_conflict_and_a_named_field_is_none() {
        const MESSAGE: &str = "the server rejected our request due to an error in our request";
        // As the API server answers a failed `test` of a JSON patch: without an object.
        let failed = json!({"code": 422, "reason": "Invalid", "message": MESSAGE, "details": {}});
        check(failed, "Changed", "the object was changed by another writer: 422 Invalid");
        let message = format!("{MESSAGE} (patch serviceaccounts default)");
        check(
            failure(422, "Invalid", &message),
            "Changed",
            r#"the object was changed by another writer: secrets "regcred""#,
        );
        let causes =
            json!([{"reason": "FieldValueInvalid", "message": "x", "field": "imagePullSecrets[0].name"}]);
        for kind in [json!("serviceaccounts"), Json::Null] {
            let mut invalid = failure(422, "Invalid", MESSAGE);
            invalid["details"] = json!({"causes": causes});
            if !kind.is_null() {
                invalid["details"]["kind"] = kind;
            }
            let error = error(&invalid);
            assert_eq!(error.reason().to_string(), "Invalid", "{invalid}");
            assert!(error.to_string().contains(" at imagePullSecrets[0].name (422 Invalid)"), "{error}");
        }
        check(
            failure(422, "Invalid", "ServiceAccount \"default\" is invalid"),
            "Invalid",
            r#"secrets "regcred" was rejected (422 Invalid). Check that the CRD and the API server are of versions that this version of regcred supports"#,
        );
    }

    #[test]
    fn field_path_ends_before_what_somebody_chose() {
        for (path, expect) in [
            ("spec.registries[12].from.key", "spec.registries[12].from.key"),
            ("data[.dockerconfigjson]", "data"),
            ("metadata.annotations[a.b/c]", "metadata.annotations"),
            ("spec.list[1a]", "spec.list"),
            ("spec.list[1234567]", "spec.list"),
            ("spec.list[]", "spec.list"),
            ("", ""),
            ("a b", ""),
            ("cGFzc3dvcmQtcGFzc3dvcmQtcGFzc3dvcmQtcGFzc3dvcmQ", ""),
        ] {
            assert_eq!(field_path(path), expect, "{path}");
        }
    }

    proptest! {
        #[test]
        fn error_never_quotes_text_of_the_status(
            code in prop_oneof![Just(0u16), 400u16..=599],
            template in prop_oneof![
                Just("TEXT"),
                Just("secrets \"regcred\" is forbidden: TEXT"),
                Just("secrets \"regcred\" is forbidden: ValidatingAdmissionPolicy 'no' with binding 'b' denied request: TEXT"),
                Just("secrets \"regcred\" is forbidden: ValidatingAdmissionPolicy 'TEXT' denied request: x"),
                Just("secrets \"regcred\" is forbidden: exceeded quota: TEXT, requested: x"),
                Just("admission webhook \"no\" denied the request: TEXT"),
                Just("admission webhook \"TEXT\" denied the request"),
                Just("Internal error occurred: failed calling webhook \"TEXT\": TEXT"),
                Just("User \"TEXT\" cannot list resource \"TEXT\""),
            ],
            causes in any::<bool>(),
        ) {
            // As base64 and a password are: no name of Kubernetes, and no path of a field.
            const TEXT: &str = "eyJhdXRocyI6eyJnaGNyLmlvIjp7ImF1dGgiOiJjbTlpYjNRNmFIVnVkR1Z5TWc9PSJ9fX0=";
            let mut status = failure(code, TEXT, &template.replace("TEXT", TEXT));
            status["details"] = json!({"kind": TEXT, "name": TEXT, "group": TEXT, "uid": TEXT});
            if causes {
                status["details"]["causes"] = json!([{"reason": TEXT, "message": TEXT, "field": TEXT}]);
            }
            let error = error(&status);
            for text in [error.to_string(), format!("{error:?}")] {
                prop_assert!(!text.contains("eyJhdXRo"), "{text}");
            }
        }
    }
}
