//! The docker configs in memory, one copy of each.
//!
//! Pure. In go Secrets as they are decoded, out come the same Secrets with shared bytes. What tenants write
//! into their Secrets must not decide how much memory is used: bytes of foreign Secrets are dropped, and so
//! are bytes beyond a budget, which are read again when a decision needs them.

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::{DockerConfigBytes, Secret};

/// The most bytes in the data of a Secret: the API server accepts no more, so regcred wrote no more.
pub(crate) const MAX_SECRET_BYTES: usize = 1 << 20;
/// The most bytes of distinct docker configs in memory.
const BUDGET: usize = 64 << 20;

/// One copy of each docker config, however many Secrets hold it.
#[derive(Debug, Default)]
pub struct DockerConfigs {
    copies: Vec<DockerConfigBytes>,
    bytes: usize,
}

impl DockerConfigs {
    /// Makes a Secret share one copy of equal bytes; drops the bytes that are not needed.
    pub fn intern(&mut self, secret: &mut Secret, is_needed: bool) {
        let Some(body) = &mut secret.body else { return };
        if !is_needed {
            body.is_dropped |= body.docker_config.take().is_some();
        }
        // A docker config that regcred cannot have written differs from every desired one.
        body.docker_config.take_if(|held| held.expose_secret().len() > MAX_SECRET_BYTES);
        let Some(held) = &mut body.docker_config else { return };
        // The docker config that is being rolled out was added last.
        let mut copies = self.copies.iter().rev();
        let copy =
            copies.find(|copy| Arc::ptr_eq(copy, held) || copy.expose_secret() == held.expose_secret());
        if let Some(copy) = copy {
            *held = Arc::clone(copy);
            return;
        }
        self.drop_unused();
        let length = held.expose_secret().len();
        if self.bytes + length > BUDGET {
            body.drop_docker_config();
            return;
        }
        self.bytes += length;
        self.copies.push(Arc::clone(held));
    }

    /// Drops the docker configs that no Secret holds.
    pub fn drop_unused(&mut self) {
        self.copies.retain(|copy| Arc::strong_count(copy) > 1);
        self.bytes = self.copies.iter().map(|copy| copy.expose_secret().len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{PULL_SECRET_TYPE, SecretBody};

    fn secret(bytes: Vec<u8>) -> Secret {
        let type_ = PULL_SECRET_TYPE.into();
        let body = SecretBody { type_, docker_config: Some(Arc::new(bytes.into())), ..SecretBody::default() };
        Secret { body: Some(body), ..Secret::default() }
    }

    fn body(secret: &Secret) -> &SecretBody {
        secret.body.as_ref().expect("a body")
    }

    fn interned(configs: &mut DockerConfigs, is_needed: bool, bytes: Vec<u8>) -> Option<DockerConfigBytes> {
        let mut secret = secret(bytes);
        configs.intern(&mut secret, is_needed);
        secret.body.expect("a body").docker_config
    }

    #[test]
    fn equal_bytes_share_one_copy() {
        let mut configs = DockerConfigs::default();
        let first = interned(&mut configs, true, b"{}".to_vec()).expect("bytes");
        let second = interned(&mut configs, true, b"{}".to_vec()).expect("bytes");
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((configs.copies.len(), configs.bytes), (1, 2));
    }

    #[test]
    fn bytes_that_are_not_needed_are_dropped() {
        let mut configs = DockerConfigs::default();
        assert!(interned(&mut configs, false, b"{}".to_vec()).is_none(), "of a foreign Secret");
        assert!(interned(&mut configs, true, vec![0; MAX_SECRET_BYTES + 1]).is_none(), "too large");
        assert_eq!(configs.bytes, 0);
    }

    #[test]
    fn bytes_beyond_the_budget_are_read_again() {
        let mut configs = DockerConfigs::default();
        let distinct = |n: u8| secret(vec![n; MAX_SECRET_BYTES]);
        let mut kept: Vec<_> = (0..70).map(distinct).collect();
        for secret in &mut kept {
            configs.intern(secret, true);
        }
        let (kept_whole, shortened): (Vec<&Secret>, Vec<&Secret>) =
            kept.iter().partition(|it| body(it).docker_config.is_some());
        assert_eq!((kept_whole.len(), shortened.len()), (64, 6));
        assert!(kept_whole.iter().all(|it| !body(it).is_dropped));
        assert!(shortened.iter().all(|it| body(it).is_dropped && body(it).type_ == PULL_SECRET_TYPE));
        // Once Secrets are gone, there is room again.
        kept.truncate(10);
        let mut next = distinct(200);
        configs.intern(&mut next, true);
        assert!(body(&next).docker_config.is_some() && configs.bytes == 11 * MAX_SECRET_BYTES);
    }
}
