//! The webhook's certificate: served, reloaded while it runs, rejected if it is unusable.

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::socket::{LONG, NO_BODY, SHORT, TestServer, exchange, limits, request};
use super::*;
use crate::manifest::config::triggers::Tls;

const HOST: &str = "regcred.test";

type Pair = CertifiedKey<KeyPair>;

fn pair() -> Pair {
    generate_simple_self_signed([HOST.to_owned()]).unwrap()
}

impl TestWebhook {
    /// Configures TLS by two files of this content.
    fn use_tls(&mut self, certificate: &str, key: &str) {
        std::fs::write(self.path("tls.crt"), certificate).unwrap();
        std::fs::write(self.path("tls.key"), key).unwrap();
        self.config.tls =
            Some(Tls { certificate_file: self.path("tls.crt"), key_file: self.path("tls.key") });
    }

    fn use_pair(&mut self, pair: &Pair) {
        self.use_tls(&pair.cert.pem(), &pair.signing_key.serialize_pem());
    }

    /// Expects this error at the start with these files.
    async fn check_start_error(&mut self, certificate: &str, key: &str, expect: &str) {
        self.use_tls(certificate, key);
        assert_eq!(self.start_error().await, expect);
    }
}

/// A connection of a client that trusts this certificate and no other.
async fn connect(server: &TestServer, trusted: &Pair) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(server.address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(HOST).unwrap(), stream).await
}

/// Advances the clock, but not while something is sent.
async fn a_second_later() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn request_is_served_by_http_1_over_tls() {
    let (mut webhook, receiver) = TestWebhook::new();
    let _scopes = accept_all(receiver);
    let pair = pair();
    webhook.use_pair(&pair);
    let server = TestServer::start(&webhook).await;
    let stream = connect(&server, &pair).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = exchange(stream, &request(NO_BODY)).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    // A client without TLS gets no answer, and blocks no other.
    let plain = exchange(TcpStream::connect(server.address).await.unwrap(), &request(NO_BODY)).await;
    assert!(!plain.contains("HTTP"), "{plain}");
    assert!(connect(&server, &pair).await.is_ok());
}

#[tokio::test]
async fn replaced_certificate_is_served_from_then_on() {
    let (mut webhook, _receiver) = TestWebhook::new();
    let (old, new) = (pair(), pair());
    webhook.use_pair(&old);
    let server = TestServer::start(&webhook).await;
    assert!(connect(&server, &old).await.is_ok() && connect(&server, &new).await.is_err());
    // A mismatched pair is not served; the last good one stays.
    webhook.use_tls(&new.cert.pem(), &old.signing_key.serialize_pem());
    a_second_later().await;
    assert!(connect(&server, &old).await.is_ok() && connect(&server, &new).await.is_err());
    webhook.use_pair(&new);
    a_second_later().await;
    assert!(connect(&server, &new).await.is_ok() && connect(&server, &old).await.is_err());
    std::fs::remove_file(webhook.path("tls.key")).unwrap();
    a_second_later().await;
    assert!(connect(&server, &new).await.is_ok());
}

#[tokio::test]
async fn incomplete_handshake_times_out() {
    let (mut webhook, _receiver) = TestWebhook::new();
    webhook.use_pair(&pair());
    let server = TestServer::start_with(limits(SHORT, LONG), &webhook).await;
    let begin = Instant::now();
    // The beginning of a ClientHello.
    let answer = exchange(TcpStream::connect(server.address).await.unwrap(), &[0x16, 0x03, 0x01, 0x02]).await;
    assert_eq!(answer, "");
    assert!((SHORT..LONG).contains(&begin.elapsed()), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn unusable_certificate_prevents_the_start() {
    let (mut webhook, _receiver) = TestWebhook::new();
    let (one, other) = (pair(), pair());
    let [certificate, key] = [one.cert.pem(), one.signing_key.serialize_pem()];
    let no_certificate =
        "no certificate in PEM form in tls.crt; the webhook's `tls.certificateFile` has to hold one";
    webhook.check_start_error(&key, &key, no_certificate).await;
    let no_key = "no private key in PEM form in tls.key; the webhook's `tls.keyFile` has to hold one, without a \
                  passphrase";
    webhook.check_start_error(&certificate, "", no_key).await;
    webhook.check_start_error(&certificate, &key.replace("-----BEGIN", "-----BEGONE"), no_key).await;
    let no_pair = "cannot use the certificate in tls.crt with the private key in tls.key: keys may not be \
                   consistent: KeyMismatch; the webhook's `tls` has to name a matching pair, the certificate itself \
                   before those that signed it";
    webhook.check_start_error(&certificate, &other.signing_key.serialize_pem(), no_pair).await;
    std::fs::remove_file(webhook.path("tls.key")).unwrap();
    assert_eq!(
        webhook.start_error().await,
        "cannot read tls.key: no such file; the webhook's `tls` has to name the files of a certificate and its key, \
         in PEM form"
    );
}
