//! Bursts of concurrent requests as admin, over connections that are kept until the burst ends.

use futures::{StreamExt as _, stream};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::Kube;
use crate::http;

/// The number of requests in flight; a higher one does not make one API server faster.
const IN_FLIGHT: usize = 32;

impl Kube {
    /// Creates objects of one kind concurrently; `path` is that of the collection.
    pub async fn create_all(&self, path: &str, objects: Vec<Value>) -> anyhow::Result<()> {
        let objects = objects.into_iter().map(|object| (path.to_owned(), object));
        self.burst(objects, |client, url, object| client.request(Method::POST, url).json(&object)).await
    }

    /// Changes objects concurrently, each by a JSON merge patch; the paths are those of the objects.
    pub async fn patch_all(&self, changes: Vec<(String, Value)>) -> anyhow::Result<()> {
        let merge = "application/merge-patch+json";
        self.burst(changes, |client, url, change| {
            client.request(Method::PATCH, url).header("content-type", merge).body(change.to_string())
        })
        .await
    }

    /// Deletes objects concurrently; the paths are those of the objects. An object that does not exist is no error.
    pub async fn delete_all(&self, paths: Vec<String>) -> anyhow::Result<()> {
        let paths = paths.into_iter().map(|path| (path, ()));
        let deleted = self.burst(paths, |client, url, ()| client.request(Method::DELETE, url)).await;
        deleted.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })
    }

    async fn burst<T>(
        &self,
        bodies: impl IntoIterator<Item = (String, T)>,
        request: impl Fn(&Client, String, T) -> RequestBuilder,
    ) -> anyhow::Result<()> {
        let client = http::burst_client(Some(self.ca_pem()?.as_bytes()))?;
        let requests: Vec<_> = bodies
            .into_iter()
            .map(|(path, body)| request(&client, format!("{}{path}", self.url), body))
            .map(|request| request.bearer_auth(&self.admin_token))
            .collect();
        // Every request is sent, even after a failure; the first failure other than a 404 is returned.
        let results: Vec<_> =
            stream::iter(requests).map(http::json).buffer_unordered(IN_FLIGHT).collect().await;
        let (gone, failed): (Vec<_>, Vec<_>) = results.into_iter().filter_map(Result::err).partition(is_gone);
        failed.into_iter().chain(gone).next().map_or(Ok(()), Err)
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.to_string().contains("returned 404")
}
