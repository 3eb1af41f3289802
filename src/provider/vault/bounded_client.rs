//! The HTTP client below vaultrs, with a limit for the body of a response.
//!
//! Whoever may write a key of a Vault decides about the size of its value: up to a megabyte with integrated storage, and
//! more with others.

use async_trait::async_trait;
use http::{Request, Response};
use rustify::errors::ClientError;

/// The most bytes of a response: a value of [`MAX_VALUE_BYTES`](crate::provider::MAX_VALUE_BYTES), with its escapes.
const MAX_BODY_BYTES: usize = 2 << 20;

/// A client that reads responses up to a limit.
pub(super) struct BoundedClient {
    /// The client with its connections.
    pub(super) http: reqwest::Client,
    /// The address of the Vault.
    pub(super) base: String,
}

/// A response is larger than any that is needed.
#[derive(Debug, thiserror::Error)]
#[error("the response is larger than 2 MiB")]
pub(super) struct ResponseTooLarge;

#[async_trait]
impl rustify::client::Client for BoundedClient {
    fn base(&self) -> &str {
        &self.base
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, ClientError> {
        let request = reqwest::Request::try_from(request)
            .map_err(|source| ClientError::ReqwestBuildError { source })?;
        let (url, method) = (request.url().to_string(), request.method().to_string());
        let sent = self.http.execute(request).await;
        let mut response =
            sent.map_err(|error| ClientError::RequestError { source: error.into(), url, method })?;
        let mut whole = Response::new(Vec::new());
        *whole.status_mut() = response.status();
        std::mem::swap(whole.headers_mut(), response.headers_mut());
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if whole.body().len() + chunk.len() > MAX_BODY_BYTES {
                return Err(ClientError::ResponseError { source: ResponseTooLarge.into() });
            }
            whole.body_mut().extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}

fn broken(error: reqwest::Error) -> ClientError {
    ClientError::ResponseError { source: error.into() }
}
