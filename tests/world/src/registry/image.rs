//! Pushes a minimal image through the API of the registry.

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest as sha256};
use reqwest::header::LOCATION;
use serde_json::json;
use url::Url;

use super::Registry;
use super::login::Credentials;
use crate::http;
use crate::programs::hex;

/// The media type of an OCI image manifest.
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

impl Registry {
    /// Pushes an image of one empty layer as the registry's user and returns the digest of the manifest.
    pub async fn push_image(&self, repository: &str, tag: &str) -> anyhow::Result<String> {
        let scope = format!("repository:{repository}:pull,push");
        let credentials = self
            .authorize(&self.username, &self.password()?, Some(&scope))
            .await?
            .context("the token server rejected the user of the registry")?;
        // Two empty blocks are the smallest tar archive.
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
        self.push_blob(&credentials, repository, layer).await?;
        self.push_blob(&credentials, repository, config).await?;
        let manifest_digest = digest(manifest.as_bytes());
        let request = self
            .client
            .put(self.url(&format!("/v2/{repository}/manifests/{tag}")))
            .header("content-type", MANIFEST_TYPE)
            .body(manifest);
        http::json(credentials.apply(request)).await?;
        Ok(manifest_digest)
    }

    async fn push_blob(
        &self,
        credentials: &Credentials,
        repository: &str,
        blob: Vec<u8>,
    ) -> anyhow::Result<()> {
        let uploads = self.url(&format!("/v2/{repository}/blobs/uploads/"));
        let response = credentials
            .apply(self.client.post(&uploads))
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .context("the registry rejected the start of an upload")?;
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .context("the registry started an upload without a location")?;
        let mut url =
            Url::parse(&uploads)?.join(location).context("the location of the upload is not a URL")?;
        url.query_pairs_mut().append_pair("digest", &digest(&blob));
        let request =
            self.client.put(url.as_str()).header("content-type", "application/octet-stream").body(blob);
        http::json(credentials.apply(request)).await?;
        Ok(())
    }
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(sha256(&SHA256, content).as_ref()))
}
