//! The ClusterPullSecrets of the cluster.
//!
//! In goes a client, out come the objects as the API server sends them: what they mean, and whether
//! they are right, is for [`manifest::read_object`](crate::manifest::read_object) to say. By their annotations one
//! process leaves word for another.

use kube::api::{Api, DynamicObject, ListParams, Patch};
use kube::{Client, Resource};
use serde_json::{Value as Json, json};

use super::error::{Error, within};
use super::{pages, params};
use crate::manifest::crd;

/// Every ClusterPullSecret, in pages; `None` where the API server does not know the kind, because
/// nobody installed the CRD.
pub async fn list(client: &Client) -> Result<Option<Vec<Json>>, Error> {
    let path = DynamicObject::url_path(&crd::api_resource(), None);
    match pages(client, path, ListParams::default(), |object: Json| object).await {
        Ok(objects) => Ok(Some(objects)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where they are.
#[must_use]
pub fn api(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &crd::api_resource())
}

/// Sets one annotation of a ClusterPullSecret, and leaves the others alone.
pub async fn annotate(client: &Client, name: &str, annotation: &str, value: &str) -> Result<(), Error> {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { annotation: value } } }));
    within(api(client.clone()).patch(name, &params::patch(), &patch)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::script::{exchange, play, refused};
    use super::list;
    use serde_json::{Value as Json, json};

    const FIRST: &str = "GET /apis/regcred.dev/v1alpha1/clusterpullsecrets?&limit=2000";
    const SECOND: &str = "GET /apis/regcred.dev/v1alpha1/clusterpullsecrets?&limit=2000&continue=token";

    fn page(name: &str, next: &str) -> Json {
        json!({"metadata": {"continue": next}, "items": [{"metadata": {"name": name}}]})
    }

    #[tokio::test]
    async fn they_are_read_page_by_page() {
        let script = vec![exchange(FIRST, 200, page("a", "token")), exchange(SECOND, 200, page("b", ""))];
        let (listed, _) = play(script, async |client| list(&client).await).await;
        let expect = vec![json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}})];
        assert_eq!(listed, Ok(Some(expect)));
    }

    #[tokio::test]
    async fn without_the_crd_there_is_no_answer() {
        let (listed, _) =
            play(vec![refused(FIRST, 404, "NotFound")], async |client| list(&client).await).await;
        assert_eq!(listed, Ok(None));
    }

    #[tokio::test]
    async fn a_refusal_is_no_absence() {
        let (listed, _) =
            play(vec![refused(FIRST, 403, "Forbidden")], async |client| list(&client).await).await;
        assert_eq!(listed.map_err(|error| error.reason()), Err("Forbidden"));
    }
}
