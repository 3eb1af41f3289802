//! The fence under the client: no write goes out unless this process leads.
//!
//! In goes every request, out goes every read, every request about the Lease itself, and a write only
//! while the [`Leadership`] is current; else the answer is [`Error::NotLeading`]. A write that is still under
//! way at the end of the term is given up, whatever keeps it: a slow login, a dead connection.

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request};
use k8s_openapi::api::coordination::v1::Lease;
use kube::client::ClientBuilder;
use kube::{Client, Resource};
use tower::{BoxError, Layer, Service};

use super::{Leadership, Settings};
use crate::cluster::error::Error;

/// A tower layer that refuses writes without a current term.
#[derive(Clone, Debug)]
pub struct Fence {
    term: Leadership,
    /// The path of the Lease's creation.
    leases: String,
    /// The path of the Lease.
    lease: String,
}

/// A service behind the [`Fence`].
#[derive(Clone, Debug)]
pub struct Fenced<S> {
    fence: Fence,
    inner: S,
}

/// A client none of whose writes passes without a current term.
///
/// kube's own retries are off: they are made below whatever layer can be added, so that a write which
/// was let through in the term could be repeated after it. Who uses this client waits and tries again
/// by itself.
pub fn client(mut config: kube::Config, fence: &Fence) -> kube::Result<Client> {
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?.with_layer(fence).build())
}

impl Fence {
    /// A fence with a gate for the Lease of these settings.
    #[must_use]
    pub fn new(settings: &Settings, term: Leadership) -> Self {
        let leases = Lease::url_path(&(), Some(&settings.namespace));
        Self { term, lease: format!("{leases}/{}", settings.name), leases }
    }

    fn is_free<B>(&self, request: &Request<B>) -> bool {
        let (method, path) = (request.method(), request.uri().path());
        method.is_safe() || path == self.lease || (method == Method::POST && path == self.leases)
    }
}

impl<S> Layer<S> for Fence {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced { fence: self.clone(), inner }
    }
}

impl<S, B> Service<Request<B>> for Fenced<S>
where
    S: Service<Request<B>>,
    S::Response: 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.fence.is_free(&request) {
            return self.inner.call(request).map(|answer| answer.map_err(Into::into)).boxed();
        }
        let term = self.fence.term.clone();
        if !term.is_current() {
            return async { Err(Error::NotLeading.into()) }.boxed();
        }
        let answer = self.inner.call(request);
        let within_term = async move {
            tokio::select! {
                // In this order: between the call and the first poll the process may have been stopped.
                biased;
                () = term.over() => Err(Error::NotLeading.into()),
                answer = answer => answer.map_err(Into::into),
            }
        };
        within_term.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use http::Response;
    use k8s_openapi::api::core::v1::Secret;
    use kube::api::{Api, Patch, PatchParams};
    use kube::client::Body;
    use serde_json::json;
    use tokio::time::Instant;
    use tower::util::ServiceExt;
    use tower_test::mock::{self, Handle};
    use wiremock::matchers::method;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/regcred-system/leases";
    const SECRET: &str = "/api/v1/namespaces/web/secrets/regcred";

    type Server = Handle<Request<Body>, Response<Body>>;

    /// A fence whose term begins now, or not.
    fn fence(is_leading: bool) -> (Fence, Leadership) {
        let settings = Settings::example();
        let term = Leadership::new(&settings);
        if is_leading {
            term.extend(Instant::now() + settings.duration);
        }
        (Fence::new(&settings, term.clone()), term)
    }

    /// Whether the fence lets a request through.
    async fn passes(fence: &Fence, method: Method, path: &str) -> bool {
        let (service, mut server) = mock::pair::<Request<Body>, Response<Body>>();
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        let answer = tokio::spawn(fence.layer(service).oneshot(request));
        let asked = server.next_request().await;
        let is_passed = asked.is_some();
        if let Some((_, send)) = asked {
            send.send_response(Response::new(Body::empty()));
        }
        let answer = answer.await.expect("no panic");
        assert_eq!(answer.is_ok(), is_passed);
        is_passed
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_term_no_write_passes_but_those_to_the_lease() {
        let (fence, _) = fence(false);
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            for path in [SECRET, "/apis/coordination.k8s.io/v1/namespaces/web/leases/regcred"] {
                assert!(!passes(&fence, method.clone(), path).await, "{method} {path}");
            }
            assert!(passes(&fence, method.clone(), &format!("{LEASES}/regcred")).await, "{method}");
        }
        assert!(passes(&fence, Method::POST, &format!("{LEASES}?&fieldManager=regcred")).await);
        assert!(!passes(&fence, Method::DELETE, LEASES).await);
        assert!(!passes(&fence, Method::PATCH, &format!("{LEASES}/another")).await);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_always_pass() {
        let (fence, _) = fence(false);
        for path in [SECRET, "/api/v1/secrets?&watch=true"] {
            assert!(passes(&fence, Method::GET, path).await, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn in_the_term_writes_pass_until_the_margin_before_its_end() {
        let (fence, _) = fence(true);
        assert!(passes(&fence, Method::PATCH, SECRET).await);
        tokio::time::advance(Duration::from_millis(17_499)).await;
        assert!(passes(&fence, Method::PATCH, SECRET).await);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!passes(&fence, Method::PATCH, SECRET).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_that_was_laid_down_lets_nothing_pass() {
        let (fence, term) = fence(true);
        term.lay_down();
        assert!(!passes(&fence, Method::PATCH, SECRET).await);
    }

    /// Writes through a client; `serve` is the API server.
    async fn write(fence: &Fence, serve: impl AsyncFnOnce(&mut Server)) -> Result<Secret, Error> {
        let (service, mut server) = mock::pair::<Request<Body>, Response<Body>>();
        let client = Client::new(fence.layer(service), "default");
        let secrets = Api::<Secret>::namespaced(client, "web");
        let patch = Patch::Merge(json!({}));
        let params = PatchParams::default();
        let (answer, ()) = tokio::join!(secrets.patch("regcred", &params, &patch), serve(&mut server));
        answer.map_err(|error| Error::from(&error))
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_comes_out_of_the_client_as_what_it_is() {
        let (fence, _) = fence(false);
        assert_eq!(write(&fence, async |_| ()).await, Err(Error::NotLeading));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_under_way_is_given_up_at_the_end_of_the_term() {
        let (fence, term) = fence(true);
        let serve = async |server: &mut Server| {
            let (_, send) = server.next_request().await.expect("a request");
            let asked = Instant::now();
            // Whoever waits for the answer has gone.
            term.over().await;
            assert_eq!(asked.elapsed(), Duration::from_secs(20));
            drop(send);
        };
        assert_eq!(write(&fence, serve).await, Err(Error::NotLeading));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_under_way_outlives_a_term_that_is_renewed() {
        let (fence, term) = fence(true);
        let serve = async |server: &mut Server| {
            let (_, send) = server.next_request().await.expect("a request");
            tokio::time::sleep(Duration::from_secs(10)).await;
            term.extend(Instant::now() + Duration::from_secs(20));
            tokio::time::sleep(Duration::from_secs(15)).await;
            send.send_response(Response::new(Body::from(b"{}".to_vec())));
        };
        assert_eq!(write(&fence, serve).await.map(|_| ()), Ok(()));
    }

    #[tokio::test]
    async fn the_client_sends_each_write_once_whatever_is_answered() {
        let server = MockServer::start().await;
        Mock::given(method("PATCH")).respond_with(ResponseTemplate::new(503)).expect(1).mount(&server).await;
        let (fence, _) = fence(true);
        let config = kube::Config::new(server.uri().parse().expect("a URL"));
        assert!(config.default_retry, "kube repeats by default what it can");
        let secrets = Api::<Secret>::namespaced(client(config, &fence).expect("a client"), "web");
        let patch = Patch::Merge(json!({}));
        let answer = secrets.patch("regcred", &PatchParams::default(), &patch).await;
        assert!(matches!(answer, Err(kube::Error::Api(_))), "{answer:?}");
        server.verify().await;
    }
}
