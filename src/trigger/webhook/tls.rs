//! The server's certificate, from files that are reloaded when they change.

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

use super::reload::{FileError, ReloadingFile};
use crate::manifest::config::triggers::Tls;

/// The reason why a certificate cannot be served.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{0}; the webhook's `tls` has to name the files of a certificate and its key, in PEM form")]
    File(FileError),
    /// There is no certificate.
    #[error("no certificate in PEM form in {}; the webhook's `tls.certificateFile` has to hold one", .0.display())]
    NoCertificate(PathBuf),
    /// There is no key.
    #[error("no private key in PEM form in {}; the webhook's `tls.keyFile` has to hold one, without a passphrase", .0.display())]
    NoKey(PathBuf),
    /// They do not match, or TLS cannot use them.
    #[error(
        "cannot use the certificate in {} with the private key in {}: {why}; the webhook's `tls` has to name a \
         matching pair, the certificate itself before those that signed it",
        certificate.display(), key.display()
    )]
    NoPair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// The error of the TLS library.
        why: rustls::Error,
    },
}

/// The server's certificate, the last good one.
#[derive(Debug)]
pub(super) struct Certificate {
    tls: Tls,
    files: ReloadingFile<2>,
    /// Replaced by the first connection that finds changed content.
    config: RwLock<Arc<ServerConfig>>,
}

impl Certificate {
    /// Loads the files, which have to exist.
    pub(super) async fn open(tls: &Tls) -> Result<Self, CertificateError> {
        let files = ReloadingFile::new([tls.certificate_file.clone(), tls.key_file.clone()]);
        let changes = files.changes().await;
        let contents = changes.expect("the first check finds a change").map_err(CertificateError::File)?;
        Ok(Self { tls: tls.clone(), files, config: RwLock::new(config(tls, &contents)?) })
    }

    /// Returns the acceptor of a connection, by the current content of the files.
    pub(super) async fn acceptor(&self) -> TlsAcceptor {
        if let Some(changes) = self.files.changes().await {
            let config =
                changes.map_err(CertificateError::File).and_then(|contents| config(&self.tls, &contents));
            match config {
                Ok(config) => {
                    info!(file = %self.tls.certificate_file.display(), "webhook certificate reloaded");
                    *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
                }
                Err(error) => warn!("{error}; the webhook keeps serving its current certificate"),
            }
        }
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

fn config(
    tls: &Tls,
    [certificate, key]: &[SecretSlice<u8>; 2],
) -> Result<Arc<ServerConfig>, CertificateError> {
    let Tls { certificate_file, key_file } = tls;
    // An error about PEM quotes the line, which may be one of a key: it is dropped.
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.expose_secret())
        .collect::<Result<_, _>>()
        .ok()
        .filter(|chain: &Vec<_>| !chain.is_empty())
        .ok_or_else(|| CertificateError::NoCertificate(certificate_file.clone()))?;
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret())
        .map_err(|_| CertificateError::NoKey(key_file.clone()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|why| CertificateError::NoPair {
            certificate: certificate_file.clone(),
            key: key_file.clone(),
            why,
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // No session outlives its connection.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
