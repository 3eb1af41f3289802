//! The servers with the API of Vault that the tests run against, and what differs between them.

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use world::{Vault, World};

/// A server that all tests of the process share.
pub(in super::super) struct Server {
    pub(super) world: &'static World,
    pub(super) vault: &'static Vault,
    /// The file with its root token.
    pub(super) token_file: PathBuf,
}

impl Server {
    fn new(world: &'static World, vault: &'static Vault) -> Self {
        let token_file = world.reaper().new_directory("root-token").unwrap().join("token");
        std::fs::write(&token_file, &vault.root_token).unwrap();
        Self { world, vault, token_file }
    }
}

/// A kind of server. Every test runs against each; a constant is an answer that is not the same for all.
#[async_trait]
pub(in super::super) trait VaultServer: Send + Sync + 'static {
    /// The name in namespaces of the cluster, of which all servers share one.
    const NAME: &str;

    /// The failure of a read or a login with `namespace: team-b`, which does not exist.
    const ABSENT_NAMESPACE: &str;

    /// Returns the server that tests share.
    async fn shared() -> &'static Server;

    /// Starts a server for one test.
    async fn own(world: &World) -> Vault;
}

/// Vault of HashiCorp, without an Enterprise licence.
pub(in super::super) struct HashiCorp;

#[async_trait]
impl VaultServer for HashiCorp {
    const NAME: &str = "vault";

    // Namespaces are a feature of Enterprise: the server ignores the header, and would answer with the root's value.
    const ABSENT_NAMESPACE: &str = "this Vault has no namespaces and would answer from its root, because it is not Vault \
                                    Enterprise. Remove `namespace: team-b`, or correct `address`";

    async fn shared() -> &'static Server {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        let start = async || {
            let world = World::shared().await;
            Server::new(world, &world.vault)
        };
        SHARED.get_or_init(start).await
    }

    async fn own(world: &World) -> Vault {
        Vault::start(world.reaper()).await.unwrap()
    }
}

/// OpenBao, which has namespaces.
pub(in super::super) struct OpenBao;

#[async_trait]
impl VaultServer for OpenBao {
    const NAME: &str = "openbao";

    // OpenBao refuses a header that names no namespace.
    const ABSENT_NAMESPACE: &str =
        "the namespace team-b is not found in the Vault. Correct `namespace`, or create it";

    async fn shared() -> &'static Server {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        let start = async || {
            let world = World::shared().await;
            Server::new(world, world.openbao().await)
        };
        SHARED.get_or_init(start).await
    }

    async fn own(world: &World) -> Vault {
        Vault::start_openbao(world.reaper()).await.unwrap()
    }
}

/// Runs tests against every server, each in a module with the name of the server.
macro_rules! on_every_server {
    ($($test:ident)*) => {
        mod hashicorp {
            $(#[tokio::test]
            async fn $test() {
                super::$test::<crate::provider_contract::vault::HashiCorp>().await;
            })*
        }
        mod openbao {
            $(#[tokio::test]
            async fn $test() {
                super::$test::<crate::provider_contract::vault::OpenBao>().await;
            })*
        }
    };
}

pub(super) use on_every_server;
