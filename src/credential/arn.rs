//! ARNs of secrets: `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-XXXXXX`.
//!
//! The six characters at the end are random, new with every secret that is made under the name, and
//! may be left out: of a partial ARN nobody can tell whether the end of the name is such a suffix, as
//! in `ghcr-backup`. Here both count, since the other way would miss the secret that is meant.

/// The ARN of a secret, with its suffix or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub(crate) partition: &'a str,
    /// Where the secret is.
    pub(crate) region: &'a str,
    /// Whose it is.
    pub(crate) account: &'a str,
    /// What stands behind `secret:`: the name, most often with the suffix.
    ending: &'a str,
}

impl<'a> Arn<'a> {
    /// None where the text is something else than the ARN of a secret.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(7, ':');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let (scheme, partition, service) = (part()?, part()?, part()?);
        let (region, account, kind, ending) = (part()?, part()?, part()?, part()?);
        let is_secret = (scheme, service, kind) == ("arn", "secretsmanager", "secret");
        is_secret.then_some(Self { partition, region, account, ending })
    }

    /// Whether both mean the same secret, each with its suffix or without; two suffixes are two secrets.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let place = |arn: &Self| (arn.partition, arn.region, arn.account);
        let is_partial_of =
            |partial: &Self, whole: &Self| without_suffix(whole.ending) == Some(partial.ending);
        place(self) == place(other)
            && (self.ending == other.ending || is_partial_of(self, other) || is_partial_of(other, self))
    }

    /// Whether this may be the secret of a name.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.ending == name || without_suffix(self.ending) == Some(name)
    }
}

/// Whether a key means the secret of this name and ARN.
pub(crate) fn is_of(key: &str, name: &str, arn: &str) -> bool {
    let is_arn = || Some(Arn::parse(key)?.is_same(&Arn::parse(arn)?));
    key == name || key == arn || is_arn().unwrap_or(false)
}

/// Whether a key means the secret that an error names, by what may be a name or an ARN.
pub(crate) fn is_of_id(key: &str, id: &str) -> bool {
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
    fn a_secret_is_known_by_its_name_its_arn_and_its_partial_arn() {
        for key in ["ci/ghcr", ARN, PARTIAL] {
            assert!(is_of(key, "ci/ghcr", ARN), "{key}");
        }
        for key in ["ci/ghc", "ghcr", "ci/ghcr-a1B2c3", "", "arn:aws:secretsmanager"] {
            assert!(!is_of(key, "ci/ghcr", ARN), "{key}");
        }
    }

    #[test]
    fn a_name_that_looks_like_one_with_a_suffix_is_its_own() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ghcr-backup-a1B2c3";
        assert!(is_of("ghcr-backup", "ghcr-backup", arn));
        assert!(!is_of("ghcr", "ghcr-backup", arn));
    }

    #[test]
    fn an_error_names_a_secret_in_either_way() {
        for key in ["ci/ghcr", ARN, PARTIAL] {
            assert!(is_of_id(key, ARN), "{key}");
        }
        assert!(is_of_id("ci/ghcr", "ci/ghcr"));
        assert!(is_of_id(PARTIAL, PARTIAL));
        assert!(!is_of_id("ci/other", ARN));
    }

    #[test]
    fn an_arn_tells_whose_secret_it_is_and_where() {
        let parts = |text| Arn::parse(text).map(|arn| (arn.partition, arn.region, arn.account));
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
