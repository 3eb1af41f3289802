//! A reader that opens the file as fast as it can, through thousands of rewrites.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::repetitions;
use rustix::process::Signal;

use crate::host::{Host, entries_of, until};

const REWRITES: usize = 10_000;

/// The generation of a password, `pw-7`, in the only entry of a whole file.
#[track_caller]
fn generation(entries: &[String]) -> usize {
    let [entry] = entries else { panic!("{entries:?}") };
    let password = entry.strip_prefix("ghcr.io=robot:pw-").unwrap_or_else(|| panic!("{entry}"));
    password.trim_end_matches('x').trim_end_matches('-').parse().unwrap()
}

#[test]
fn fast_reader_sees_only_whole_files() {
    // Lengths differ, so that half of one file is no other file.
    let password = |n: usize| format!("pw-{n}-{}", "x".repeat(n % 50 * 100));
    let host = Host::new(&[("ghcr.io", &password(0))]);
    let running = host.start(&[]);
    assert!(until(|| host.entries().is_some()));
    let (stop, path) = (Arc::new(AtomicBool::new(false)), host.file());
    let is_stopped = Arc::clone(&stop);
    let reader = std::thread::spawn(move || {
        let (mut reads, mut changes, mut last) = (0_u64, 0, 0);
        while !is_stopped.load(Ordering::Relaxed) {
            let seen = generation(&entries_of(&path).expect("the file never disappears"));
            assert!(seen >= last, "{seen} after {last}");
            (reads, changes, last) = (reads + 1, changes + usize::from(seen > last), seen);
        }
        (reads, changes)
    });
    let rewrites = repetitions(REWRITES);
    for n in 1..=rewrites {
        host.put("ghcr.io", &password(n));
        running.send(Signal::HUP);
        let mut again = std::time::Instant::now();
        let is_written = until(|| {
            // A signal that came during a read is served by the next one, and several may be merged.
            if again.elapsed() > Duration::from_secs(1) {
                running.send(Signal::HUP);
                again = std::time::Instant::now();
            }
            host.entries().is_some_and(|entries| generation(&entries) == n)
        });
        assert!(is_written, "{n}:\n{}", running.log());
        assert!(!reader.is_finished(), "the reader has failed");
    }
    stop.store(true, Ordering::Relaxed);
    let (reads, changes) = reader.join().expect("only whole files");
    assert!(reads > rewrites as u64 && changes > rewrites / 2, "{reads} reads, {changes} changes");
    assert_eq!(running.stop().0, 0);
}
