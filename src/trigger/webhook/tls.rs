//! The server's certificate, from files that are read anew when they change.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use secrecy::{ExposeSecret, SecretSlice};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::reload::{self, ReloadingFile};
use crate::manifest::config::triggers::Tls;

/// Why a certificate cannot be served.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// A file cannot be read.
    #[error("{0}: the webhook's `tls` has to name the files of a certificate and its key, in PEM form")]
    Unreadable(reload::Unreadable),
    /// There is none.
    #[error("{} holds no certificate in PEM form: the webhook's `tls.certificateFile` has to", .0.display())]
    NoCertificate(PathBuf),
    /// There is no key.
    #[error("{} holds no private key in PEM form: the webhook's `tls.keyFile` has to, without a passphrase", .0.display())]
    NoKey(PathBuf),
    /// They do not belong together, or are of no use to TLS.
    #[error(
        "the certificate in {} and the private key in {} cannot be used together ({why}): the webhook's `tls` \
         has to name two that belong together, the certificate itself before those that signed it",
        certificate.display(), key.display()
    )]
    NoPair {
        /// The file of the one.
        certificate: PathBuf,
        /// The file of the other.
        key: PathBuf,
        /// What TLS says of them.
        why: rustls::Error,
    },
}

/// The server's certificate, the last good one.
#[derive(Debug)]
pub(super) struct Certificate {
    tls: Tls,
    files: ReloadingFile<2>,
    /// Replaced by whoever first sees another content.
    config: RwLock<Arc<ServerConfig>>,
}

impl Certificate {
    /// Reads the files, which have to be there.
    pub(super) async fn open(tls: &Tls) -> Result<Self, Unusable> {
        let files = ReloadingFile::new([tls.certificate_file.clone(), tls.key_file.clone()]);
        let news = files.news().await;
        let contents = news.expect("whatever the first look sees is new").map_err(Unusable::Unreadable)?;
        Ok(Self { tls: tls.clone(), files, config: RwLock::new(config(tls, &contents)?) })
    }

    /// What a connection begins with, by what the files hold now.
    pub(super) async fn acceptor(&self) -> TlsAcceptor {
        if let Some(news) = self.files.news().await {
            let config = news.map_err(Unusable::Unreadable).and_then(|contents| config(&self.tls, &contents));
            match config {
                Ok(config) => {
                    info!(file = %self.tls.certificate_file.display(), "read the webhook's new certificate");
                    *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
                }
                Err(error) => warn!("{error}; until then the webhook goes on with the certificate it has"),
            }
        }
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

fn config(tls: &Tls, [certificate, key]: &[SecretSlice<u8>; 2]) -> Result<Arc<ServerConfig>, Unusable> {
    let Tls { certificate_file, key_file } = tls;
    // What is wrong with PEM is told with the line that is wrong, which may be one of a key.
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.expose_secret())
        .collect::<Result<_, _>>()
        .ok()
        .filter(|chain: &Vec<_>| !chain.is_empty())
        .ok_or_else(|| Unusable::NoCertificate(certificate_file.clone()))?;
    let key =
        PrivateKeyDer::from_pem_slice(key.expose_secret()).map_err(|_| Unusable::NoKey(key_file.clone()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|why| Unusable::NoPair {
            certificate: certificate_file.clone(),
            key: key_file.clone(),
            why,
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Nothing is kept of a connection that is over.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
