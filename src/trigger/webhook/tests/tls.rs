//! The webhook's certificate: served, replaced while it runs, refused where it is none.

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::port::{LONG, Port, SHORT, bounds, exchange, good};
use super::*;
use crate::manifest::config::triggers::Tls;

const HOST: &str = "regcred.test";
const LAST: &str = "Content-Length: 0\r\n\r\n";

type Pair = CertifiedKey<KeyPair>;

fn pair() -> Pair {
    generate_simple_self_signed([HOST.to_owned()]).unwrap()
}

impl Scene {
    /// The webhook is to speak TLS, by what is in these two files.
    fn secure(&mut self, certificate: &str, key: &str) {
        std::fs::write(self.path("tls.crt"), certificate).unwrap();
        std::fs::write(self.path("tls.key"), key).unwrap();
        self.webhook.tls =
            Some(Tls { certificate_file: self.path("tls.crt"), key_file: self.path("tls.key") });
    }

    fn secure_with(&mut self, pair: &Pair) {
        self.secure(&pair.cert.pem(), &pair.signing_key.serialize_pem());
    }
}

/// A connection of a client who trusts this certificate and no other.
async fn connect(port: &Port, trusted: &Pair) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(port.address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(HOST).unwrap(), stream).await
}

/// The clock jumps, but not while something is sent.
async fn a_second_later() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn requests_come_by_http_1_over_tls() {
    let (mut scene, trigger_receiver) = Scene::new();
    let _looks = play(trigger_receiver);
    let pair = pair();
    scene.secure_with(&pair);
    let port = Port::open(&scene).await;
    let stream = connect(&port, &pair).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = exchange(stream, &good(LAST)).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    // Who does not speak TLS is not answered, and in nobody's way.
    let plain = exchange(TcpStream::connect(port.address).await.unwrap(), &good(LAST)).await;
    assert!(!plain.contains("HTTP"), "{plain}");
    assert!(connect(&port, &pair).await.is_ok());
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_served_from_then_on() {
    let (mut scene, _wakes) = Scene::new();
    let (old, new) = (pair(), pair());
    scene.secure_with(&old);
    let port = Port::open(&scene).await;
    assert!(connect(&port, &old).await.is_ok() && connect(&port, &new).await.is_err());
    // One without the other is none, and what was good stays.
    scene.secure(&new.cert.pem(), &old.signing_key.serialize_pem());
    a_second_later().await;
    assert!(connect(&port, &old).await.is_ok() && connect(&port, &new).await.is_err());
    scene.secure_with(&new);
    a_second_later().await;
    assert!(connect(&port, &new).await.is_ok() && connect(&port, &old).await.is_err());
    std::fs::remove_file(scene.path("tls.key")).unwrap();
    a_second_later().await;
    assert!(connect(&port, &new).await.is_ok());
}

#[tokio::test]
async fn who_begins_no_handshake_is_left_after_a_while() {
    let (mut scene, _wakes) = Scene::new();
    scene.secure_with(&pair());
    let port = Port::open_within(bounds(SHORT, LONG), &scene).await;
    let begin = Instant::now();
    // The beginning of a ClientHello.
    let answer = exchange(TcpStream::connect(port.address).await.unwrap(), &[0x16, 0x03, 0x01, 0x02]).await;
    assert_eq!(answer, "");
    assert!((SHORT..LONG).contains(&begin.elapsed()), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn what_is_no_pair_keeps_the_webhook_from_starting() {
    let (mut scene, _wakes) = Scene::new();
    let (one, other) = (pair(), pair());
    let [certificate, key] = [one.cert.pem(), one.signing_key.serialize_pem()];
    let mut check = async |certificate: &str, key: &str, expect: &str| {
        scene.secure(certificate, key);
        assert_eq!(scene.unusable().await, expect);
    };
    check(&key, &key, "tls.crt holds no certificate in PEM form: the webhook's `tls.certificateFile` has to")
        .await;
    let no_key =
        "tls.key holds no private key in PEM form: the webhook's `tls.keyFile` has to, without a passphrase";
    check(&certificate, "", no_key).await;
    check(&certificate, &key.replace("-----BEGIN", "-----BEGONE"), no_key).await;
    check(
        &certificate,
        &other.signing_key.serialize_pem(),
        "the certificate in tls.crt and the private key in tls.key cannot be used together (keys may not be \
         consistent: KeyMismatch): the webhook's `tls` has to name two that belong together, the certificate itself \
         before those that signed it",
    )
    .await;
    std::fs::remove_file(scene.path("tls.key")).unwrap();
    assert_eq!(
        scene.unusable().await,
        "tls.key cannot be read: it is not there: the webhook's `tls` has to name the files of a certificate and \
         its key, in PEM form"
    );
}
