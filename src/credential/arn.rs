//! ARNs of secrets: `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-XXXXXX`.
//!
//! The six characters at the end are random, new for every secret created under the name, and may be left
//! out. In a partial ARN the end of the name may look like such a suffix, as in `ghcr-backup`, and the two
//! cannot be distinguished. Here both readings match, because a stricter rule would miss the secret.

/// The ARN of a secret, with its suffix or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub(crate) partition: &'a str,
    /// The region of the secret.
    pub(crate) region: &'a str,
    /// The account that owns the secret.
    pub(crate) account: &'a str,
    /// The text after `secret:`: the name, usually with the suffix.
    ending: &'a str,
}

impl<'a> Arn<'a> {
    /// Parses the ARN of a secret; `None` for any other text.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<_> = text.splitn(7, ':').collect();
        let ["arn", partition, "secretsmanager", region, account, "secret", ending] = parts[..] else {
            return None;
        };
        let is_complete = [partition, region, account, ending].iter().all(|part| !part.is_empty());
        is_complete.then_some(Self { partition, region, account, ending })
    }

    /// Returns true if both are the same secret, each with its suffix or without; two suffixes are two
    /// secrets.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.partition, self.region, self.account) == (other.partition, other.region, other.account)
            && (self.ending == other.ending || self.is_partial_of(other) || other.is_partial_of(self))
    }

    /// Returns true if this may be the secret of a name.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.ending == name || without_suffix(self.ending) == Some(name)
    }

    fn is_partial_of(&self, whole: &Self) -> bool {
        without_suffix(whole.ending) == Some(self.ending)
    }
}

/// Returns true if a key refers to the secret with this name and ARN.
pub(crate) fn is_same_secret(key: &str, name: &str, arn: &str) -> bool {
    let arns = Arn::parse(key).zip(Arn::parse(arn));
    key == name || key == arn || arns.is_some_and(|(key, arn)| key.is_same(&arn))
}

/// Returns true if a key refers to the secret that an error identifies by a name or an ARN.
pub(crate) fn is_same_id(key: &str, id: &str) -> bool {
    match (Arn::parse(key), Arn::parse(id)) {
        (Some(key), Some(id)) => key.is_same(&id),
        (None, Some(id)) => id.is_named(key),
        (_, None) => key == id,
    }
}

fn without_suffix(ending: &str) -> Option<&str> {
    let (start, suffix) = ending.rsplit_once('-')?;
    (suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ci/ghcr-a1B2c3";
    const PARTIAL: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ci/ghcr";

    #[test]
    fn secret_matches_name_arn_and_partial_arn() {
        for key in ["ci/ghcr", ARN, PARTIAL] {
            assert!(is_same_secret(key, "ci/ghcr", ARN), "{key}");
        }
        for key in ["ci/ghc", "ghcr", "ci/ghcr-a1B2c3", "", "arn:aws:secretsmanager"] {
            assert!(!is_same_secret(key, "ci/ghcr", ARN), "{key}");
        }
    }

    #[test]
    fn name_that_ends_like_a_suffix_is_its_own() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ghcr-backup-a1B2c3";
        assert!(is_same_secret("ghcr-backup", "ghcr-backup", arn));
        assert!(!is_same_secret("ghcr", "ghcr-backup", arn));
    }

    #[test]
    fn error_id_matches_name_and_arn() {
        for key in ["ci/ghcr", ARN, PARTIAL] {
            assert!(is_same_id(key, ARN), "{key}");
        }
        assert!(is_same_id("ci/ghcr", "ci/ghcr"));
        assert!(is_same_id(PARTIAL, PARTIAL));
        assert!(!is_same_id("ci/other", ARN));
    }

    fn parts(text: &str) -> Option<(&str, &str, &str)> {
        Arn::parse(text).map(|arn| (arn.partition, arn.region, arn.account))
    }

    #[test]
    fn arn_holds_partition_region_and_account() {
        assert_eq!(parts(ARN), Some(("aws", "eu-west-1", "123456789012")));
        let china = "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:ci/ghcr-a1B2c3";
        assert_eq!(parts(china), Some(("aws-cn", "cn-north-1", "123456789012")));
        for text in [
            "ci/ghcr",
            "arn:",
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:",
            "arn:aws:secretsmanager:eu-west-1::secret:ci/ghcr",
            "arn:aws:secretsmanager:eu-west-1:123456789012:ci/ghcr",
            "arn:aws:sqs:eu-west-1:123456789012:secret:ci/ghcr",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
