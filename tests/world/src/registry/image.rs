//! Pushing a tiny image through the registry's own API.

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest as sha256};
use reqwest::header::LOCATION;
use serde_json::json;
use url::Url;

use super::Registry;
use super::login::Pass;
use crate::http;
use crate::programs::hex;

/// The media type of an OCI image manifest.
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

impl Registry {
    /// Pushes an image of one empty layer as the registry's user and returns the manifest's digest.
    pub async fn push_image(&self, repository: &str, tag: &str) -> anyhow::Result<String> {
        let scope = format!("repository:{repository}:pull,push");
        let pass = self
            .pass(&self.username, &self.password()?, Some(&scope))
            .await?
            .context("the token server refused the registry's own user")?;
        // Two empty blocks are the smallest tar archive there is.
        let layer = vec![0; 1024];
        let layer_digest = digest(&layer);
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&config),
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer_digest,
                "size": layer.len(),
            }],
        })
        .to_string();
        self.push_blob(&pass, repository, layer).await?;
        self.push_blob(&pass, repository, config).await?;
        let manifest_digest = digest(manifest.as_bytes());
        let request = self
            .client
            .put(self.url(&format!("/v2/{repository}/manifests/{tag}")))
            .header("content-type", MANIFEST_TYPE)
            .body(manifest);
        http::json(pass.on(request)).await?;
        Ok(manifest_digest)
    }

    async fn push_blob(&self, pass: &Pass, repository: &str, blob: Vec<u8>) -> anyhow::Result<()> {
        let begin = self.url(&format!("/v2/{repository}/blobs/uploads/"));
        let response = pass
            .on(self.client.post(&begin))
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .context("the registry refused to begin an upload")?;
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .context("the registry began an upload without saying where")?;
        let mut url = Url::parse(&begin)?.join(location).context("the upload's location is not a URL")?;
        url.query_pairs_mut().append_pair("digest", &digest(&blob));
        let request =
            self.client.put(url.as_str()).header("content-type", "application/octet-stream").body(blob);
        http::json(pass.on(request)).await?;
        Ok(())
    }
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(sha256(&SHA256, content).as_ref()))
}
