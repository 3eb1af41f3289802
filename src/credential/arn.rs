//! ARNs of secrets: `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-XXXXXX`.
//!
//! The six characters at the end are random and may be left out of a key, which is then a partial
//! ARN; one who does not know them cannot write them down before the secret is there.

/// The region of a key that is an ARN.
pub(crate) fn region(key: &str) -> Option<&str> {
    key.strip_prefix("arn:")?.split(':').nth(2)
}

/// The account of a key that is an ARN.
pub(crate) fn account(key: &str) -> Option<&str> {
    key.strip_prefix("arn:")?.split(':').nth(3)
}

/// Whether a key means the secret of this name and ARN.
pub(crate) fn is_of(key: &str, name: &str, arn: &str) -> bool {
    key == name || key == arn || (is_arn(key) && without_suffix(arn) == Some(key))
}

/// Whether a key means the secret that an error names, by what may be a name or an ARN.
pub(crate) fn is_of_id(key: &str, id: &str) -> bool {
    let name = id.split_once(":secret:").map_or(id, |(_, name)| without_suffix(name).unwrap_or(name));
    is_of(key, name, id) || key == id
}

fn is_arn(key: &str) -> bool {
    key.starts_with("arn:")
}

fn without_suffix(arn: &str) -> Option<&str> {
    let (start, suffix) = arn.rsplit_once('-')?;
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
    fn only_an_arn_has_a_region() {
        assert_eq!(region(ARN), Some("eu-west-1"));
        assert_eq!(region("ci/ghcr"), None);
        assert_eq!(region("arn:"), None);
    }
}
