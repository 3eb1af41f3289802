//! Reads and patches one ServiceAccount.
//!
//! In goes a name, and the operations of a JSON patch; out comes the reduced ServiceAccount. Its list is only
//! in memory while one name is looked up in it.

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use k8s_openapi::api::core::v1 as core;
use kube::api::{GetParams, Patch};
use kube::core::Request;
use kube::{Client, Resource};
use serde_json::Value as Json;

use super::error::{Error, with_timeout};
use super::object::{Wire, WirePatched, WireServiceAccount};
use super::{ServiceAccount, params};
use crate::object_name::{NamespaceName, SecretName};

/// Reads a ServiceAccount, with the position of one name in its list; `None` if it does not exist.
pub(crate) async fn get(
    client: &Client,
    namespace: &NamespaceName,
    name: &str,
    secret_name: &SecretName,
) -> Result<Option<ServiceAccount>, Error> {
    let request = Request::new(core::ServiceAccount::url_path(&(), Some(namespace)));
    let request = request.get(name, &GetParams::default()).map_err(kube::Error::BuildRequest);
    let text = match with_timeout(async { client.request_text(request?).await }).await {
        Ok(text) => text,
        Err(Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let decoded = decode(&text, secret_name).map_err(|error| Error::unavailable(&error))?;
    Ok(Some(decoded))
}

fn decode(text: &str, secret_name: &SecretName) -> serde_json::Result<ServiceAccount> {
    let mut decoded = serde_json::from_str::<WireServiceAccount>(text)?.reduce().object;
    if decoded.image_pull_secrets.is_truncated() {
        decoded.image_pull_secrets.look_up(text, secret_name)?;
    }
    Ok(decoded)
}

/// Sends a JSON patch; returns the new `resourceVersion`, and true if the object has annotations now.
pub(crate) async fn patch(
    client: &Client,
    namespace: &NamespaceName,
    name: &str,
    operations: Vec<Json>,
) -> Result<(String, bool), Error> {
    let endpoint = Request::new(core::ServiceAccount::url_path(&(), Some(namespace)));
    // The bytes of both kinds of patch are plain JSON; only the content type differs.
    let request = endpoint.patch_metadata(name, &params::patch(), &Patch::Merge(Json::from(operations)));
    let request = request.map_err(kube::Error::BuildRequest).map(|mut request| {
        let json_patch = HeaderValue::from_static("application/json-patch+json");
        request.headers_mut().insert(CONTENT_TYPE, json_patch);
        request
    });
    let patched = with_timeout(async { client.request::<WirePatched>(request?).await }).await?;
    Ok(patched.into_parts())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ADDED;
    use crate::cluster::service_account::{Annotation, MAX_ANNOTATION_BYTES};
    use serde_json::json;

    fn service_account(annotations: Json, list: Json) -> ServiceAccount {
        let wire = json!({
            "metadata": {"name": "default", "resourceVersion": "3", "annotations": annotations},
            "imagePullSecrets": list, "secrets": [{"name": "x"}],
        });
        decode(&wire.to_string(), &"regcred".into()).expect("a ServiceAccount")
    }

    fn named(name: &str) -> Json {
        json!([{"name": name}])
    }

    #[test]
    fn annotation_longer_than_its_limit_is_malformed() {
        let text = "a".repeat(MAX_ANNOTATION_BYTES + 1);
        let object = service_account(json!({ADDED: text}), json!(null));
        assert_eq!((object.annotation, object.added.len()), (Annotation::Malformed, 0));
        assert_eq!(service_account(json!({ADDED: &text[1..]}), json!(null)).annotation, Annotation::Present);
    }

    #[test]
    fn lost_annotation_is_kept_where_the_entry_is_still_there() {
        let known = service_account(json!({ADDED: "regcred=images"}), named("regcred"));
        let mut without = service_account(json!({"other": "x"}), named("regcred"));
        without.keep_lost_annotation(&known);
        assert_eq!(
            (&without.added, without.annotation),
            (&known.added, Annotation::Lost { is_present: false })
        );
        assert!(!without.has_same_entries(&known));
        // It stays lost until it is written again.
        let mut later = service_account(json!({ADDED: "second"}), named("regcred"));
        later.keep_lost_annotation(&without);
        assert_eq!((later.added.len(), later.annotation), (2, Annotation::Lost { is_present: true }));
        let mut removed = service_account(json!({}), named("own"));
        removed.keep_lost_annotation(&known);
        assert_eq!((removed.added.len(), removed.annotation), (0, Annotation::Absent));
    }

    #[test]
    fn name_at_the_end_of_a_long_list_is_found() {
        let list: Vec<_> = (0..9000).map(|n| json!({"name": format!("a-long-name-{n}")})).collect();
        let mut with: Vec<_> = list.clone();
        with.push(json!({"name": "regcred"}));
        let (without, with) =
            (service_account(json!({}), list.into()), service_account(json!({}), with.into()));
        assert_eq!(without.image_pull_secrets.contains("regcred"), Some(false));
        assert_eq!(with.image_pull_secrets.last_index("regcred"), Some(Some(9000)));
        assert_eq!(with.image_pull_secrets.contains("second"), None);
    }
}
