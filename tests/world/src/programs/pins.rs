//! The pins: Go module files, Python requirements and the Go sources of this crate, compiled into the program.
//!
//! The digest of a module's pins names its cache directory: a changed pin never finds a program that was built from an
//! older one, and rebuilds nothing else.

use std::path::Path;

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest as sha256};

/// One pinned file: its path below `tests/world`, and its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pin {
    path: &'static str,
    text: &'static str,
}

macro_rules! pins {
    ($($path:literal),+ $(,)?) => {
        &[$(Pin { path: $path, text: include_str!(concat!("../../", $path)) }),+]
    };
}

pub(crate) const ETCD: &[Pin] = pins!["go/etcd/go.mod", "go/etcd/go.sum"];
pub(crate) const HELM: &[Pin] = pins!["go/helm/go.mod", "go/helm/go.sum"];
/// The clients of registries.
pub(crate) const CLIENTS: &[Pin] =
    pins!["go/clients/go.mod", "go/clients/go.sum", "go/clients/k8schain/main.go"];
pub(crate) const REGISTRY: &[Pin] =
    pins!["go/registry/go.mod", "go/registry/go.sum", "go/registry/registry/main.go"];
pub(crate) const KUBE: &[Pin] = pins!["go/kube/go.mod", "go/kube/go.sum", "go/kube/keyring/main.go"];
/// The control plane of the oldest Kubernetes that the documentation promises.
pub(crate) const KUBE_OLDEST: &[Pin] = pins!["go/kube-oldest/go.mod", "go/kube-oldest/go.sum"];
pub(crate) const VAULT: &[Pin] = pins!["go/vault/go.mod", "go/vault/go.sum", "go/vault/vault.patch"];
/// The oldest Vault that the documentation promises.
pub(crate) const VAULT_OLDEST: &[Pin] = pins!["go/vault-oldest/go.mod", "go/vault-oldest/go.sum"];
pub(crate) const LOCALSTACK: &[Pin] = pins!["localstack.lock", "uv.lock"];
pub(crate) const MOTO: &[Pin] = pins!["moto.lock", "uv.lock"];
pub(crate) const DOCKER_PY: &[Pin] = pins!["docker-py.lock", "uv.lock"];
pub(crate) const OPENBAO: &[Pin] = pins!["openbao.lock", "uv.lock"];
/// The linters and parsers of infrastructure as code.
pub(crate) const DEPLOY_TOOLS: &[Pin] = pins!["deploy-tools.lock", "uv.lock"];

/// Returns the first 16 hexadecimal digits of the SHA-256 over all paths and texts.
pub(crate) fn digest(pins: &[Pin]) -> String {
    let mut all = Vec::new();
    for pin in pins {
        // Lengths separate two neighbouring files, whatever they contain.
        for part in [pin.path, pin.text] {
            all.extend_from_slice(&part.len().to_le_bytes());
            all.extend_from_slice(part.as_bytes());
        }
    }
    hex(&sha256(&SHA256, &all).as_ref()[..8])
}

/// Writes pins below `directory` under their own paths, so that a build needs no source checkout.
pub(crate) fn write_to(directory: &Path, pins: &[Pin]) -> anyhow::Result<()> {
    for pin in pins {
        let path = directory.join(pin.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        std::fs::write(&path, pin.text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Returns the version of `module` in `go/<folder>/go.mod`, without the leading `v`.
pub(crate) fn version(folder: &str, module: &str) -> Option<&'static str> {
    let path = format!("go/{folder}/go.mod");
    let text = [ETCD, HELM, REGISTRY, KUBE, KUBE_OLDEST, VAULT, VAULT_OLDEST]
        .into_iter()
        .flatten()
        .find(|pin| pin.path == path)?
        .text;
    text.lines()
        .map(|line| line.trim().trim_start_matches("require "))
        .filter_map(|line| line.strip_prefix(module)?.strip_prefix(" v"))
        .find_map(|rest| rest.split_whitespace().next())
}

/// Returns `bytes` as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_pin_changes_the_digest() {
        let before = [Pin { path: "a", text: "one" }, Pin { path: "b", text: "two" }];
        let after = [Pin { path: "a", text: "one" }, Pin { path: "b", text: "tw0" }];
        assert_ne!(digest(&before), digest(&after));
        assert_eq!(digest(&before), digest(&before));
    }

    #[test]
    fn text_that_moves_between_files_changes_the_digest() {
        let before = [Pin { path: "a", text: "one" }, Pin { path: "b", text: "" }];
        let after = [Pin { path: "a", text: "" }, Pin { path: "b", text: "one" }];
        assert_ne!(digest(&before), digest(&after));
    }

    #[test]
    fn every_main_module_has_a_pinned_version() {
        for (folder, module) in [
            ("etcd", "go.etcd.io/etcd/server/v3"),
            ("helm", "helm.sh/helm/v3"),
            ("kube", "k8s.io/kubernetes"),
            ("kube-oldest", "k8s.io/kubernetes"),
            ("registry", "github.com/distribution/distribution/v3"),
            ("vault", "github.com/hashicorp/vault"),
            ("vault-oldest", "github.com/hashicorp/vault"),
        ] {
            assert!(version(folder, module).is_some(), "{module}");
        }
    }

    #[test]
    fn pins_are_written_under_their_own_paths() {
        let directory = std::env::temp_dir().join(format!("regcred-world-pins-{}", std::process::id()));
        write_to(&directory, KUBE).unwrap();
        let written = std::fs::read_to_string(directory.join("go/kube/keyring/main.go")).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(written.contains("package main"));
    }
}
