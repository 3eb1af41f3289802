//! regcred against the real things: a Vault and a Secrets Manager.
//!
//! All tests share one world.

mod provider_contract;
