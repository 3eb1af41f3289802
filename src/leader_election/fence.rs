//! The fence under the client: no write is sent unless this process leads.
//!
//! In goes every request. Out goes every read, every request for the Lease itself, and a write only while
//! the [`Leadership`] is current; otherwise the answer is [`Error::NotLeading`]. A write still in flight when
//! leadership ends is dropped, whatever delays it: a slow login, a dead connection.

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use hyper::body::Bytes;
use k8s_openapi::api::coordination::v1::Lease;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Resource};
use tower::{BoxError, Layer, Service};

use super::{LeaderElectionConfig, Leadership};
use crate::cluster::error::Error;

/// A tower layer that rejects writes unless this process leads.
#[derive(Clone, Debug)]
pub struct Fence {
    leadership: Leadership,
    /// The path that creates the Lease.
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

/// Creates a client that sends writes only while this process leads, from what `build` makes of the configuration.
///
/// kube's own retries are off: they run below any layer that can be added, so a write admitted while
/// leading could be retried afterwards. Users of this client back off and retry by themselves.
pub fn client<S, B>(
    mut config: kube::Config,
    fence: &Fence,
    build: impl FnOnce(kube::Config) -> kube::Result<ClientBuilder<S>>,
) -> kube::Result<Client>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    config.default_retry = false;
    Ok(build(config)?.with_layer(fence).build())
}

impl Fence {
    /// Creates a fence that exempts the Lease of this configuration.
    #[must_use]
    pub fn new(config: &LeaderElectionConfig, leadership: Leadership) -> Self {
        let leases = Lease::url_path(&(), Some(&config.namespace));
        Self { leadership, lease: format!("{leases}/{}", config.name), leases }
    }

    fn is_exempt<B>(&self, request: &Request<B>) -> bool {
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
        if self.fence.is_exempt(&request) {
            return self.inner.call(request).map(|answer| answer.map_err(Into::into)).boxed();
        }
        let leadership = self.fence.leadership.clone();
        if !leadership.is_current() {
            return async { Err(Error::NotLeading.into()) }.boxed();
        }
        let answer = self.inner.call(request);
        let while_leading = async move {
            tokio::select! {
                // In this order: the process may have been suspended between the call and the first poll.
                biased;
                () = leadership.ended() => Err(Error::NotLeading.into()),
                answer = answer => answer.map_err(Into::into),
            }
        };
        while_leading.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::leader_election::clock::Clock;
    use k8s_openapi::api::core::v1::Secret;
    use kube::api::{Api, Patch, PatchParams};
    use serde_json::json;
    use tokio::time::Instant;
    use tower::util::ServiceExt;
    use tower_test::mock::{self, Handle};
    use wiremock::matchers::method;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/regcred-system/leases";
    const SECRET: &str = "/api/v1/namespaces/web/secrets/regcred";

    type Server = Handle<Request<Body>, Response<Body>>;

    /// A fence with a leadership that begins now, or none.
    fn fence(is_leading: bool) -> (Fence, Leadership) {
        let config = LeaderElectionConfig::example();
        let leadership = Leadership::new(&config, Clock::tokio());
        if is_leading {
            leadership.extend(leadership.clock().now() + config.lease_duration);
        }
        (Fence::new(&config, leadership.clone()), leadership)
    }

    /// Returns true if the fence admits a request.
    async fn admits(fence: &Fence, method: Method, path: &str) -> bool {
        let (service, mut server) = mock::pair::<Request<Body>, Response<Body>>();
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        let answer = tokio::spawn(fence.layer(service).oneshot(request));
        let received = server.next_request().await;
        let is_admitted = received.is_some();
        if let Some((_, send)) = received {
            send.send_response(Response::new(Body::empty()));
        }
        let answer = answer.await.expect("no panic");
        assert_eq!(answer.is_ok(), is_admitted);
        is_admitted
    }

    #[tokio::test(start_paused = true)]
    async fn follower_writes_nothing_but_the_lease() {
        let (fence, _) = fence(false);
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            for path in [SECRET, "/apis/coordination.k8s.io/v1/namespaces/web/leases/regcred"] {
                assert!(!admits(&fence, method.clone(), path).await, "{method} {path}");
            }
            assert!(admits(&fence, method.clone(), &format!("{LEASES}/regcred")).await, "{method}");
        }
        assert!(admits(&fence, Method::POST, &format!("{LEASES}?&fieldManager=regcred")).await);
        assert!(!admits(&fence, Method::DELETE, LEASES).await);
        assert!(!admits(&fence, Method::PATCH, &format!("{LEASES}/another")).await);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_always_pass() {
        let (fence, _) = fence(false);
        for path in [SECRET, "/api/v1/secrets?&watch=true"] {
            assert!(admits(&fence, Method::GET, path).await, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn leader_writes_until_the_margin_before_the_end() {
        let (fence, _) = fence(true);
        assert!(admits(&fence, Method::PATCH, SECRET).await);
        tokio::time::advance(Duration::from_millis(17_499)).await;
        assert!(admits(&fence, Method::PATCH, SECRET).await);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!admits(&fence, Method::PATCH, SECRET).await);
    }

    #[tokio::test(start_paused = true)]
    async fn revoked_leadership_admits_no_write() {
        let (fence, leadership) = fence(true);
        leadership.revoke();
        assert!(!admits(&fence, Method::PATCH, SECRET).await);
    }

    /// Writes through a client; `serve` plays the API server.
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
    async fn client_returns_not_leading() {
        let (fence, _) = fence(false);
        assert_eq!(write(&fence, async |_| ()).await, Err(Error::NotLeading));
    }

    #[tokio::test(start_paused = true)]
    async fn write_in_flight_is_dropped_when_leadership_ends() {
        let (fence, leadership) = fence(true);
        let outcome = write(&fence, async |server| {
            let (_, send) = server.next_request().await.expect("a request");
            let received = Instant::now();
            // The client is no longer waiting for the answer.
            leadership.ended().await;
            assert_eq!(received.elapsed(), Duration::from_secs(20));
            drop(send);
        });
        assert_eq!(outcome.await, Err(Error::NotLeading));
    }

    #[tokio::test(start_paused = true)]
    async fn write_in_flight_survives_a_renewal() {
        let (fence, leadership) = fence(true);
        let outcome = write(&fence, async |server| {
            let (_, send) = server.next_request().await.expect("a request");
            tokio::time::sleep(Duration::from_secs(10)).await;
            leadership.extend(leadership.clock().now() + Duration::from_secs(20));
            tokio::time::sleep(Duration::from_secs(15)).await;
            send.send_response(Response::new(Body::from(b"{}".to_vec())));
        });
        assert_eq!(outcome.await.map(|_| ()), Ok(()));
    }

    #[tokio::test]
    async fn client_never_retries_a_write() {
        let server = MockServer::start().await;
        Mock::given(method("PATCH")).respond_with(ResponseTemplate::new(503)).expect(1).mount(&server).await;
        let (fence, _) = fence(true);
        let config = kube::Config::new(server.uri().parse().expect("a URL"));
        assert!(config.default_retry, "kube retries by default");
        let client = client(config, &fence, ClientBuilder::try_from);
        let secrets = Api::<Secret>::namespaced(client.expect("a client"), "web");
        let patch = Patch::Merge(json!({}));
        let answer = secrets.patch("regcred", &PatchParams::default(), &patch).await;
        assert!(matches!(answer, Err(kube::Error::Api(_))), "{answer:?}");
        server.verify().await;
    }
}
