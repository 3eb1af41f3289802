//! The ClusterPullSecrets of the cluster.
//!
//! In goes a client, out come the objects as the API server sends them;
//! [`manifest::object`](crate::manifest::object) interprets and validates them. Annotations on them carry
//! requests from one process to another.

use kube::api::{Api, DynamicObject, Patch};
use kube::{Client, Resource};
use serde_json::{Value as Json, json};

use super::error::{Error, with_timeout};
use super::{list_all, params};
use crate::manifest::crd;

/// Lists every ClusterPullSecret, in pages; `None` if the API server does not know the kind, because the
/// CRD is not installed.
pub async fn list(client: &Client) -> Result<Option<Vec<Json>>, Error> {
    let path = DynamicObject::url_path(&crd::api_resource(), None);
    match list_all::<Json>(client, path).await {
        Ok(listed) => Ok(Some(listed.into_iter().map(|it| it.object).collect())),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the API of the kind.
#[must_use]
pub fn api(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &crd::api_resource())
}

/// Sets one annotation of a ClusterPullSecret.
pub async fn annotate(client: &Client, name: &str, annotation: &str, value: &str) -> Result<(), Error> {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { annotation: value } } }));
    with_timeout(api(client.clone()).patch(name, &params::patch(), &patch)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::script::{exchange, play, refused};
    use super::list;
    use crate::cluster::error::ErrorReason;
    use serde_json::{Value as Json, json};

    const FIRST: &str = "GET /apis/regcred.dev/v1alpha1/clusterpullsecrets?&limit=50";
    const SECOND: &str = "GET /apis/regcred.dev/v1alpha1/clusterpullsecrets?&limit=2000&continue=token";

    fn page(name: &str, next: &str) -> Json {
        json!({"metadata": {"continue": next}, "items": [{"metadata": {"name": name}}]})
    }

    #[tokio::test]
    async fn objects_are_listed_page_by_page() {
        let script = vec![exchange(FIRST, 200, page("a", "token")), exchange(SECOND, 200, page("b", ""))];
        let (listed, _) = play(script, async |client| list(&client).await).await;
        let expect = vec![json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}})];
        assert_eq!(listed, Ok(Some(expect)));
    }

    #[tokio::test]
    async fn list_without_the_crd_is_none() {
        let (listed, _) =
            play(vec![refused(FIRST, 404, "NotFound")], async |client| list(&client).await).await;
        assert_eq!(listed, Ok(None));
    }

    #[tokio::test]
    async fn forbidden_list_is_an_error() {
        let (listed, _) =
            play(vec![refused(FIRST, 403, "Forbidden")], async |client| list(&client).await).await;
        assert_eq!(listed.map_err(|error| error.reason()), Err(ErrorReason::Forbidden));
    }
}
