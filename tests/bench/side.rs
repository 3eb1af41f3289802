//! One version of regcred, on a cluster of its own with the manifests of that version.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

use harness::bench::Pair;
use harness::{TestCluster, deploy_folder};
use world::Baseline;

use crate::cluster::Bench as _;
use crate::image;

/// The version of regcred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The working tree.
    Current,
    /// The commit in `tests/baseline`.
    Baseline,
}

/// The files of a version.
pub(crate) struct Build {
    /// The program of the image.
    pub(crate) regcred: PathBuf,
    /// The folder `deploy/`.
    pub(crate) deploy: PathBuf,
}

impl Version {
    pub(crate) async fn build(self) -> anyhow::Result<Build> {
        match self {
            Self::Current => {
                image::ensure_flags()?;
                Ok(Build { regcred: env!("CARGO_BIN_EXE_regcred").into(), deploy: deploy_folder() })
            }
            Self::Baseline => {
                let Baseline { regcred, deploy } = Baseline::build_image().await?;
                Ok(Build { regcred, deploy })
            }
        }
    }
}

impl Version {
    /// Returns the value of this version.
    pub(crate) fn select<T>(self, pair: &Pair<T>) -> &T {
        match self {
            Self::Current => &pair.current,
            Self::Baseline => &pair.baseline,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "regcred",
            Self::Baseline => "baseline",
        })
    }
}

/// One side of the comparison.
pub(crate) struct Side {
    pub(crate) version: Version,
    cluster: TestCluster,
}

impl Side {
    /// Starts a cluster for the version, with these namespaces, a password, a Config and a ClusterPullSecret.
    pub(crate) async fn start(version: Version, namespaces: usize) -> anyhow::Result<Self> {
        let cluster = TestCluster::start(&version.build().await?, namespaces).await?;
        Ok(Self { version, cluster })
    }
}

impl Deref for Side {
    type Target = TestCluster;

    fn deref(&self) -> &TestCluster {
        &self.cluster
    }
}
