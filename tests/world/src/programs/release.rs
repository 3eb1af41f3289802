//! The releases of the servers that a world runs, which the environment selects.

use std::ffi::OsStr;

use anyhow::bail;

const KUBERNETES_VARIABLE: &str = "REGCRED_WORLD_KUBERNETES";
const VAULT_VARIABLE: &str = "REGCRED_WORLD_VAULT";

/// A release of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// The newest that regcred is tested on.
    Newest,
    /// The oldest that the documentation promises.
    Oldest,
}

/// The release of each server of which there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Releases {
    pub(crate) kubernetes: Release,
    pub(crate) vault: Release,
}

impl Releases {
    /// Returns the releases that the environment selects.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        let release = |variable| Release::parse(variable, std::env::var_os(variable).as_deref());
        Ok(Self { kubernetes: release(KUBERNETES_VARIABLE)?, vault: release(VAULT_VARIABLE)? })
    }
}

impl Release {
    fn parse(variable: &str, value: Option<&OsStr>) -> anyhow::Result<Self> {
        let Some(value) = value else { return Ok(Self::Newest) };
        match value.to_str() {
            Some("oldest") => Ok(Self::Oldest),
            Some("newest") => Ok(Self::Newest),
            _ => bail!("invalid {variable}={}: the value must be oldest or newest", value.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_selects_release_or_is_rejected() {
        let parse = |value: Option<&str>| Release::parse("VARIABLE", value.map(AsRef::as_ref));
        assert_eq!(parse(None).unwrap(), Release::Newest);
        assert_eq!(parse(Some("newest")).unwrap(), Release::Newest);
        assert_eq!(parse(Some("oldest")).unwrap(), Release::Oldest);
        for value in ["", "1.30", "Oldest"] {
            let error = parse(Some(value)).unwrap_err().to_string();
            assert_eq!(error, format!("invalid VARIABLE={value}: the value must be oldest or newest"));
        }
    }
}
