//! The evidence that a Secret is regcred's, and for which ClusterPullSecret it was written.
//!
//! Pure. In go the marks of a Secret, the key of the installation and the record of UIDs; out comes one
//! [`Evidence`], which every decision uses. Labels are evidence only where regcred has no key: anybody who may
//! edit a Secret can set and remove them.

use super::key::{OwnershipKey, Verified};
use crate::cluster::{PULL_SECRET_TYPE, Secret};
use crate::object_name::{NamespaceName, SecretName};

/// The evidence for the ClusterPullSecret that a Secret was written for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Evidence {
    /// No mark of regcred.
    #[default]
    Foreign,
    /// The labels, with the ClusterPullSecret they name, and no proof: a copy, a forgery, or a Secret of a
    /// regcred without access to its own namespace.
    Labelled(Option<String>),
    /// The labels, and regcred has no key to verify more.
    Unverified(String),
    /// A signature that verifies.
    Signed(String),
    /// The UID is in the record.
    Recorded(String),
}

/// The marks of a Secret as observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The label that marks the Secrets regcred manages is there.
    pub managed: bool,
    /// The ClusterPullSecret in its label.
    pub cluster_pull_secret: Option<String>,
    /// The annotation with the signature.
    pub signature: Option<String>,
}

impl Evidence {
    /// Returns the ClusterPullSecret that owns the Secret; `None` without proof.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Unverified(owner) | Self::Signed(owner) | Self::Recorded(owner) => Some(owner),
            Self::Foreign | Self::Labelled(_) => None,
        }
    }

    /// Returns the owner as long as the UID stays the same, whatever happens to the marks. Labels that could not
    /// be verified count no longer once there is a key.
    #[must_use]
    pub fn owner_by_uid(&self, has_key: bool) -> Option<&str> {
        self.owner().filter(|_| !has_key || !matches!(self, Self::Unverified(_)))
    }

    /// Returns the owner, else the ClusterPullSecret that the labels name. Decides only between
    /// ClusterPullSecrets that all select the namespace.
    #[must_use]
    pub fn owner_or_label(&self) -> Option<&str> {
        match self {
            Self::Labelled(label) => label.as_deref(),
            _ => self.owner(),
        }
    }
}

impl Marks {
    fn judge(&self, verified: Option<&Verified<'_>>, has_key: bool, recorded_for: Option<&str>) -> Evidence {
        let label = self.cluster_pull_secret.clone();
        match (recorded_for, verified) {
            (Some(owner), _) => Evidence::Recorded(owner.to_owned()),
            (None, Some(verified)) => Evidence::Signed(verified.cluster_pull_secret.to_owned()),
            (None, None) if !self.managed => Evidence::Foreign,
            (None, None) => match label {
                Some(label) if !has_key => Evidence::Unverified(label),
                label => Evidence::Labelled(label),
            },
        }
    }
}

impl Secret {
    /// Judges the marks of a Secret that was just observed. `recorded_for` is the ClusterPullSecret for which
    /// its UID is known to be regcred's. Marks that are those regcred would write are not kept.
    pub fn assess(
        &mut self,
        namespace: &NamespaceName,
        name: &SecretName,
        key: Option<&OwnershipKey>,
        recorded_for: Option<&str>,
    ) {
        let Some(marks) = self.marks.take() else { return };
        let verified =
            key.zip(marks.signature.as_deref()).and_then(|(key, it)| key.verify(it, namespace, name));
        self.evidence = marks.judge(verified.as_ref(), key.is_some(), recorded_for);
        let owner = self.evidence.owner();
        let is_signed = match &verified {
            Some(verified) => verified.is_current && Some(verified.cluster_pull_secret) == owner,
            None => key.is_none(),
        };
        let is_complete =
            marks.managed && owner.is_some() && marks.cluster_pull_secret.as_deref() == owner && is_signed;
        if !is_complete {
            self.marks = Some(marks);
        }
    }

    /// Returns true if regcred wrote this Secret for that ClusterPullSecret. A signature is not bound to the UID: a
    /// tenant may put it on a Secret of another type, which regcred neither writes nor may delete.
    #[must_use]
    pub fn is_created_for(&self, cluster_pull_secret: &str) -> bool {
        let is_of_another_type = self.body.as_ref().is_some_and(|body| body.type_ != PULL_SECRET_TYPE);
        self.evidence.owner() == Some(cluster_pull_secret) && !is_of_another_type
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::SecretBody;

    fn key(byte: u8) -> OwnershipKey {
        OwnershipKey::new("a", &[byte; 32], None)
    }

    fn marks(label: Option<&str>, signature: Option<String>) -> Marks {
        Marks { managed: label.is_some(), cluster_pull_secret: label.map(str::to_owned), signature }
    }

    /// The evidence for a Secret `web/regcred` with these marks, and true if the marks are complete.
    fn assess(marks: Marks, key: Option<&OwnershipKey>, recorded_for: Option<&str>) -> (Evidence, bool) {
        let mut secret = Secret { marks: Some(Box::new(marks)), ..Secret::default() };
        secret.assess(&"web".into(), &"regcred".into(), key, recorded_for);
        (secret.evidence, secret.marks.is_none())
    }

    fn signed(namespace: &str) -> String {
        key(1).sign("images", &namespace.into(), &"regcred".into())
    }

    fn images() -> String {
        "images".to_owned()
    }

    #[test]
    fn signature_decides_and_labels_alone_do_not() {
        let key = key(1);
        let both = marks(Some("images"), Some(signed("web")));
        assert_eq!(assess(both, Some(&key), None), (Evidence::Signed(images()), true));
        let labels = marks(Some("images"), None);
        assert_eq!(assess(labels, Some(&key), None), (Evidence::Labelled(Some(images())), false));
        let copy = marks(Some("images"), Some(signed("other")));
        assert_eq!(assess(copy, Some(&key), None), (Evidence::Labelled(Some(images())), false));
        assert_eq!(assess(marks(None, None), Some(&key), None), (Evidence::Foreign, false));
    }

    #[test]
    fn removed_or_forged_labels_change_no_evidence() {
        let key = key(1);
        for label in [None, Some("other")] {
            let evidence = assess(marks(label, Some(signed("web"))), Some(&key), None);
            assert_eq!(evidence, (Evidence::Signed(images()), false), "{label:?}");
            let evidence = assess(marks(label, None), Some(&key), Some("images"));
            assert_eq!(evidence, (Evidence::Recorded(images()), false), "{label:?}");
        }
    }

    #[test]
    fn record_goes_before_a_signature_that_was_put_back() {
        let evidence = assess(marks(Some("images"), Some(signed("web"))), Some(&key(1)), Some("heir"));
        assert_eq!(evidence, (Evidence::Recorded("heir".to_owned()), false));
    }

    #[test]
    fn labels_decide_where_regcred_has_no_key() {
        let labels = marks(Some("images"), None);
        assert_eq!(assess(labels, None, None), (Evidence::Unverified(images()), true));
        assert_eq!(
            assess(marks(Some("images"), Some(signed("web"))), None, None).0,
            Evidence::Unverified(images())
        );
    }

    #[test]
    fn signature_makes_no_secret_of_another_type_regcreds() {
        for (type_, expect) in [(Some(PULL_SECRET_TYPE), true), (Some("Opaque"), false), (None, true)] {
            let body = type_.map(|it| SecretBody { type_: it.into(), ..SecretBody::default() });
            let secret = Secret { evidence: Evidence::Signed(images()), body, ..Secret::default() };
            assert_eq!(secret.is_created_for("images"), expect, "{type_:?}");
        }
    }

    #[test]
    fn signature_of_a_previous_key_is_renewed() {
        let rotated = OwnershipKey::new("a", &[2; 32], Some(&[1; 32]));
        let both = marks(Some("images"), Some(signed("web")));
        assert_eq!(assess(both, Some(&rotated), None), (Evidence::Signed(images()), false));
    }
}
