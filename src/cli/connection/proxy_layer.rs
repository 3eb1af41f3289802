//! A tower layer that names the proxy in the errors of connections through it.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Request;
use tower::{BoxError, Layer, Service};

use crate::cluster::error::proxy_failure;

/// The layer, with the address of the proxy, without user and password; `None` without a proxy.
#[derive(Clone, Debug)]
pub(super) struct ProxyLayer(pub(super) Option<Arc<str>>);

impl<S> Layer<S> for ProxyLayer {
    type Service = ThroughProxy<S>;

    fn layer(&self, inner: S) -> ThroughProxy<S> {
        ThroughProxy { proxy: self.0.clone(), inner }
    }
}

/// A service behind the [`ProxyLayer`].
#[derive(Clone, Debug)]
pub(super) struct ThroughProxy<S> {
    proxy: Option<Arc<str>>,
    inner: S,
}

impl<S, B> Service<Request<B>> for ThroughProxy<S>
where
    S: Service<Request<B>, Error = BoxError>,
    S::Response: 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let proxy = self.proxy.clone();
        let answer = self.inner.call(request);
        answer.map(move |answer| answer.map_err(|error| named(error, proxy.as_deref()))).boxed()
    }
}

fn named(error: BoxError, proxy: Option<&str>) -> BoxError {
    match proxy.and_then(|proxy| proxy_failure(&*error, proxy)) {
        Some(failure) => failure.into(),
        None => error,
    }
}
