//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;

/// Below the range that systems give to outgoing connections, so that no client takes a port before its server does.
const FIRST: u32 = 20_000;
/// How many ports there are to choose from.
const COUNT: u32 = 12_000;
/// Ports set apart for each process id, so that two worlds that start together do not choose the same.
const STRIDE: u32 = 32;
/// Vault listens on the port after its own, too, so every second one is left to it.
const STEP: u16 = 2;

/// A loopback port on which nobody listens, nor on the one after it.
pub fn free() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = std::process::id().wrapping_mul(STRIDE) % COUNT;
    (0..COUNT)
        .filter_map(|_| {
            let step = u32::from(NEXT.fetch_add(STEP, Ordering::Relaxed));
            u16::try_from(FIRST + (base + step) % COUNT).ok()
        })
        .find(|port| [*port, port + 1].into_iter().all(is_free))
        .context("no loopback port between 20000 and 32000 is free: end what occupies them")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
