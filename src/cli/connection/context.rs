//! The cluster and the user that a context of the kubeconfig selects.
//!
//! In goes a kubeconfig, out comes the part of kube's configuration that describes the server. kube's own loader reads
//! the variables for proxies by rules of its own, so the configuration is built here.

use std::fmt;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use http::uri::PathAndQuery;
use kube::Config;
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The server and the user of a context.
pub(super) struct SelectedContext {
    pub(super) cluster: Cluster,
    pub(super) cluster_name: String,
    pub(super) user: AuthInfo,
    pub(super) user_name: String,
    pub(super) namespace: Option<String>,
}

/// Users and the address of a proxy hold passwords.
impl fmt::Debug for SelectedContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectedContext").finish_non_exhaustive()
    }
}

/// The reason why a context selects no server.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContextError {
    #[error("no current context")]
    NoCurrentContext,
    #[error("no context {0}")]
    NoContext(String),
    #[error("context {0}: no cluster {1:?}")]
    NoCluster(String, String),
    #[error("cluster {0}: no server")]
    NoServer(String),
    #[error("cluster {0}: server is not an address such as https://api.example.com:6443")]
    Server(String),
    #[error("cluster {0}: certificate-authority and insecure-skip-tls-verify exclude each other")]
    InsecureWithAuthority(String),
    #[error("cluster {0}: cannot read certificate-authority {1}: {2}")]
    ReadAuthority(String, String, io::Error),
    #[error("cluster {0}: certificate-authority holds no certificate in PEM")]
    NoCertificate(String),
}

/// Selects a context by its name, else the current one.
pub(super) fn select(kubeconfig: &Kubeconfig, name: Option<&str>) -> Result<SelectedContext, ContextError> {
    let name = name.or(kubeconfig.current_context.as_deref()).ok_or(ContextError::NoCurrentContext)?;
    let context = kubeconfig.contexts.iter().find(|it| it.name == name).and_then(|it| it.context.as_ref());
    let context = context.ok_or_else(|| ContextError::NoContext(name.to_owned()))?;
    let cluster = kubeconfig.clusters.iter().find(|it| it.name == context.cluster);
    let cluster = cluster
        .and_then(|it| it.cluster.clone())
        .ok_or_else(|| ContextError::NoCluster(name.to_owned(), context.cluster.clone()))?;
    // As in kubectl, requests of a user that is not defined carry no credential.
    let user = kubeconfig.auth_infos.iter().find(|it| Some(&it.name) == context.user.as_ref());
    let user = user.and_then(|it| it.auth_info.clone()).unwrap_or_default();
    Ok(SelectedContext {
        cluster,
        cluster_name: context.cluster.clone(),
        user,
        user_name: context.user.clone().unwrap_or_default(),
        namespace: context.namespace.clone(),
    })
}

/// Builds kube's configuration of a server; the user and the proxy are left out.
pub(super) fn server(selection: &SelectedContext) -> Result<Config, ContextError> {
    let SelectedContext { cluster, cluster_name: name, .. } = selection;
    let server = cluster.server.as_deref().ok_or_else(|| ContextError::NoServer(name.clone()))?;
    let mut config = Config::new(parse_server(server).ok_or_else(|| ContextError::Server(name.clone()))?);
    if let Some(namespace) = &selection.namespace {
        config.default_namespace.clone_from(namespace);
    }
    config.root_cert = authorities(cluster, name)?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    if config.accept_invalid_certs && config.root_cert.is_some() {
        return Err(ContextError::InsecureWithAuthority(name.clone()));
    }
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name.clone_from(&cluster.tls_server_name);
    Ok(config)
}

/// Parses the address of a server. As in kubectl, one without a scheme is reached by plain HTTP, and a query is
/// ignored.
fn parse_server(server: &str) -> Option<Uri> {
    let with_scheme = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let uri: Uri = with_scheme.parse().ok()?;
    let mut parts = uri.into_parts();
    let is_http = parts.scheme.as_ref().is_some_and(|it| ["http", "https"].contains(&it.as_str()));
    let has_user = parts.authority.as_ref().is_some_and(|it| it.as_str().contains('@'));
    let path = parts.path_and_query.as_ref().map_or("/", PathAndQuery::path);
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok().filter(|_| is_http && !has_user)
}

/// Returns the certificates that sign that of the server; `None` for those of the system.
fn authorities(cluster: &Cluster, name: &str) -> Result<Option<Vec<Vec<u8>>>, ContextError> {
    let pem = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(data), _) => STANDARD.decode(data).map_err(|_| ContextError::NoCertificate(name.to_owned()))?,
        (None, Some(file)) => std::fs::read(file)
            .map_err(|error| ContextError::ReadAuthority(name.to_owned(), file.clone(), error))?,
        (None, None) => return Ok(None),
    };
    let certificates = CertificateDer::pem_slice_iter(&pem).map(|it| it.map(|it| it.to_vec()));
    match certificates.collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(Some(certificates)),
        _ => Err(ContextError::NoCertificate(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kubeconfig(cluster: Value) -> Kubeconfig {
        let value = json!({
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"username": "me"}}],
            "contexts": [
                {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "web"}},
                {"name": "nobody", "context": {"cluster": "c", "user": "v"}},
                {"name": "nowhere", "context": {"cluster": "d"}},
            ],
            "current-context": "x",
        });
        serde_json::from_value(value).expect("a kubeconfig")
    }

    fn config(cluster: Value) -> Result<Config, String> {
        let selection = select(&kubeconfig(cluster), None).map_err(|error| error.to_string())?;
        server(&selection).map_err(|error| error.to_string())
    }

    #[test]
    fn context_selects_cluster_user_and_namespace() {
        let kubeconfig = kubeconfig(json!({"server": "https://h"}));
        let it = select(&kubeconfig, None).expect("the current context");
        assert_eq!((it.user.username.as_deref(), it.namespace.as_deref()), (Some("me"), Some("web")));
        let it = select(&kubeconfig, Some("nobody")).expect("no user is needed");
        assert_eq!(it.user.username, None);
        for (name, error) in [("nowhere", "context nowhere: no cluster \"d\""), ("y", "no context y")] {
            assert_eq!(select(&kubeconfig, Some(name)).expect_err(name).to_string(), error);
        }
        let error = select(&Kubeconfig::default(), None).expect_err("an empty kubeconfig");
        assert_eq!(error.to_string(), "no current context");
    }

    #[test]
    fn server_may_lack_a_scheme_and_have_a_path() {
        for (server, expect) in [
            ("https://h:6443", "https://h:6443/"),
            ("h:8080", "http://h:8080/"),
            ("localhost", "http://localhost/"),
            ("https://h/k8s/clusters/c-1?a=b", "https://h/k8s/clusters/c-1"),
            ("https://[fd00::1]:6443/", "https://[fd00::1]:6443/"),
        ] {
            assert_eq!(config(json!({"server": server})).expect("a server").cluster_url, expect);
        }
        for server in ["ftp://h", "https://", "https://u:hunter2@h", "a b", "://h"] {
            let error = config(json!({"server": server})).expect_err(server);
            assert_eq!(error, "cluster c: server is not an address such as https://api.example.com:6443");
        }
        assert_eq!(config(json!({})).expect_err("no server"), "cluster c: no server");
    }

    #[test]
    fn settings_of_tls_are_passed_on() {
        let it =
            config(json!({"server": "https://h", "tls-server-name": "n", "insecure-skip-tls-verify": true,
            "disable-compression": true}))
            .expect("valid");
        assert_eq!(it.tls_server_name.as_deref(), Some("n"));
        assert!(it.accept_invalid_certs && it.disable_compression && it.root_cert.is_none());
    }

    #[test]
    fn authority_must_hold_a_certificate_and_excludes_insecure() {
        let certificate = rcgen::generate_simple_self_signed(["h".to_owned()]).expect("a certificate").cert;
        let data = STANDARD.encode(format!("text before\n{0}{0}", certificate.pem()));
        let cluster = json!({"server": "https://h", "certificate-authority-data": data});
        assert_eq!(config(cluster.clone()).expect("valid").root_cert.map(|it| it.len()), Some(2));
        let mut insecure = cluster;
        insecure["insecure-skip-tls-verify"] = true.into();
        let error = config(insecure).expect_err("kubectl refuses it, too");
        assert!(error.ends_with("exclude each other"), "{error}");
        for data in ["hunter2!", "aHVudGVyMg=="] {
            let cluster = json!({"server": "https://h", "certificate-authority-data": data});
            let error = config(cluster).expect_err("no certificate");
            assert_eq!(error, "cluster c: certificate-authority holds no certificate in PEM");
        }
        let cluster = json!({"server": "https://h", "certificate-authority": "/nonexist"});
        assert_eq!(
            config(cluster).expect_err("no file"),
            "cluster c: cannot read certificate-authority /nonexist: No such file or directory (os error 2)"
        );
    }
}
