//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;

/// The first port, below the ephemeral range, so that no outgoing connection takes the port of a server.
const FIRST: u32 = 20_000;
/// The number of candidate ports.
const COUNT: u32 = 12_000;
/// The number of ports reserved for each process id, so that two worlds that start together choose different ones.
const STRIDE: u32 = 32;
/// The distance between two ports: Vault also listens on the port after its own.
const STEP: u16 = 2;

/// Returns a loopback port that is free together with the next one.
pub fn free() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = std::process::id().wrapping_mul(STRIDE) % COUNT;
    (0..COUNT)
        .filter_map(|_| {
            let step = u32::from(NEXT.fetch_add(STEP, Ordering::Relaxed));
            u16::try_from(FIRST + (base + step) % COUNT).ok()
        })
        .find(|port| [*port, port + 1].into_iter().all(is_free))
        .context("no loopback port between 20000 and 32000 is free: stop the processes that use them")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
