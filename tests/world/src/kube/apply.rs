//! Server-side apply of manifests without kubectl.

use anyhow::Context as _;
use serde_json::Value;

use super::Kube;

impl Kube {
    /// Applies every document of a YAML text as admin, in order.
    pub async fn apply_yaml(&self, text: &str) -> anyhow::Result<()> {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).context("the manifests are not YAML")?;
        for document in &documents {
            let path = path_of(document).context("a manifest without apiVersion, kind or metadata.name")?;
            self.apply(&path, document).await.with_context(|| format!("cannot apply {path}"))?;
        }
        Ok(())
    }
}

/// Returns the path of an object of a built-in kind, by its regular English plural.
fn path_of(object: &Value) -> Option<String> {
    let version = object["apiVersion"].as_str()?;
    let root = if version.contains('/') { "/apis" } else { "/api" };
    let kind = object["kind"].as_str()?.to_lowercase();
    let plural = kind.strip_suffix('y').map_or_else(|| format!("{kind}s"), |stem| format!("{stem}ies"));
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().map(|it| format!("/namespaces/{it}")).unwrap_or_default();
    Some(format!("{root}/{version}{namespace}/{plural}/{}", metadata["name"].as_str()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn path_of_object_follows_group_namespace_and_plural() {
        for (version, kind, namespace, expected) in [
            ("v1", "Namespace", None, "/api/v1/namespaces/x"),
            ("v1", "ServiceAccount", Some("a"), "/api/v1/namespaces/a/serviceaccounts/x"),
            (
                "admissionregistration.k8s.io/v1",
                "ValidatingAdmissionPolicy",
                None,
                "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/x",
            ),
        ] {
            let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": namespace}});
            assert_eq!(path_of(&object).as_deref(), Some(expected));
        }
    }
}
