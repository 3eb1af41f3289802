//! The signature of a Secret: proof that regcred wrote a Secret under this name into this namespace.
//!
//! Pure. In go a ClusterPullSecret, a namespace and a name; out comes the annotation `regcred.dev/owner`:
//! the ClusterPullSecret, and a message authentication code by a key that only regcred's own namespace holds.
//! A copy of the Secret in another namespace, or under another name, does not verify.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::object_name::{NamespaceName, SecretName};

/// The version of the form of a signature, its first byte.
const FORM: u8 = 1;

/// The keys of one installation of regcred.
#[derive(Debug)]
pub struct OwnershipKey {
    installation: String,
    current: hmac::Key,
    /// The key before the current one, while Secrets that it signed may exist.
    previous: Option<hmac::Key>,
}

/// A signature that verified.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    /// The ClusterPullSecret for which the Secret was written.
    pub cluster_pull_secret: &'a str,
    /// True if the current key signed it.
    pub is_current: bool,
}

impl OwnershipKey {
    /// Creates the keys of the installation of that id.
    #[must_use]
    pub fn new(installation: &str, current: &[u8], previous: Option<&[u8]>) -> Self {
        let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Self { installation: installation.to_owned(), current: key(current), previous: previous.map(key) }
    }

    /// Signs the Secret that is written for a ClusterPullSecret.
    #[must_use]
    pub fn sign(&self, cluster_pull_secret: &str, namespace: &NamespaceName, name: &SecretName) -> String {
        let message = self.message(cluster_pull_secret, namespace, name);
        let code = hmac::sign(&self.current, &message);
        let bytes: Vec<u8> = [FORM].iter().chain(code.as_ref()).copied().collect();
        format!("{cluster_pull_secret}/{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Verifies the signature of the Secret of that name in a namespace; `None` where it is not regcred's.
    #[must_use]
    pub fn verify<'a>(
        &self,
        signature: &'a str,
        namespace: &NamespaceName,
        name: &SecretName,
    ) -> Option<Verified<'a>> {
        let (cluster_pull_secret, bytes) = signature.split_once('/')?;
        let bytes = URL_SAFE_NO_PAD.decode(bytes).ok()?;
        let (&FORM, code) = bytes.split_first()? else { return None };
        let message = self.message(cluster_pull_secret, namespace, name);
        let is_by = |key: &hmac::Key| hmac::verify(key, &message, code).is_ok();
        let is_current = is_by(&self.current);
        (is_current || self.previous.as_ref().is_some_and(is_by))
            .then_some(Verified { cluster_pull_secret, is_current })
    }

    /// Joins the parts, each after its length, so that no two lists of parts give the same message.
    fn message(&self, cluster_pull_secret: &str, namespace: &str, name: &str) -> Vec<u8> {
        let parts = [self.installation.as_str(), cluster_pull_secret, namespace, name];
        let mut joined = Vec::with_capacity(parts.iter().map(|part| size_of::<u64>() + part.len()).sum());
        for part in parts {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            joined.extend_from_slice(&length.to_be_bytes());
            joined.extend_from_slice(part.as_bytes());
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(current: u8, previous: Option<u8>) -> OwnershipKey {
        OwnershipKey::new("a", &[current; 32], previous.map(|byte| [byte; 32]).as_ref().map(|it| &it[..]))
    }

    fn verify<'a>(
        key: &OwnershipKey,
        signature: &'a str,
        namespace: &str,
        name: &str,
    ) -> Option<(&'a str, bool)> {
        let verified = key.verify(signature, &namespace.into(), &name.into())?;
        Some((verified.cluster_pull_secret, verified.is_current))
    }

    #[test]
    fn signature_verifies_at_its_own_place_only() {
        let key = key(1, None);
        let signature = key.sign("images", &"web".into(), &"regcred".into());
        assert_eq!(verify(&key, &signature, "web", "regcred"), Some(("images", true)));
        assert_eq!(verify(&key, &signature, "db", "regcred"), None);
        assert_eq!(verify(&key, &signature, "web", "other"), None);
        assert_eq!(verify(&key, &signature.replace("images", "others"), "web", "regcred"), None);
        // The parts are not simply joined.
        assert_eq!(verify(&key, &signature, "webr", "egcred"), None);
    }

    #[test]
    fn other_key_or_installation_does_not_verify() {
        let signature = key(1, None).sign("images", &"web".into(), &"regcred".into());
        assert_eq!(verify(&key(2, None), &signature, "web", "regcred"), None);
        let other = OwnershipKey::new("b", &[1; 32], None);
        assert_eq!(verify(&other, &signature, "web", "regcred"), None);
    }

    #[test]
    fn previous_key_verifies_during_its_rotation() {
        let signature = key(1, None).sign("images", &"web".into(), &"regcred".into());
        assert_eq!(verify(&key(2, Some(1)), &signature, "web", "regcred"), Some(("images", false)));
    }

    #[test]
    fn text_that_is_no_signature_does_not_verify() {
        let key = key(1, None);
        let long = format!("images/{}", "A".repeat(10_000));
        for signature in ["", "/", "images", "images/", "images/!", "images/AQ", "images/AA", &long] {
            assert_eq!(verify(&key, signature, "web", "regcred"), None, "{signature}");
        }
    }
}
