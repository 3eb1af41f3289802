//! A sidecar killed at any instant: the file is whole, and the next start tidies up.

use std::time::Duration;

use harness::repetitions;
use rustix::process::Signal;

use crate::host::Host;

const KILLS: usize = 1000;

/// A spread of the instants of the kills, which needs no randomness to reach every step.
fn delay(n: usize, longest: Duration) -> Duration {
    // The fractional parts of the multiples of the golden ratio lie evenly.
    let fraction = (f64::from(u32::try_from(n).unwrap()) * 0.618_033_988_75).fract();
    longest.mul_f64(fraction)
}

#[test]
fn killed_sidecar_leaves_a_whole_file() {
    let host = Host::new(&[("ghcr.io", "pw-0"), ("quay.io", "quay")]);
    let start = std::time::Instant::now();
    assert_eq!(host.once(&[]).code, 0);
    // From the start of the process to a while after its first write.
    let longest = start.elapsed() * 2;
    for n in 1..=repetitions(KILLS) {
        host.put("ghcr.io", &format!("pw-{n}"));
        let running = host.start(&[]);
        // Writes one after the other, so that the kill meets one.
        let killed_at = std::time::Instant::now() + delay(n, longest);
        let mut generation = n;
        while std::time::Instant::now() < killed_at {
            if host.entries().is_some_and(|it| it[0] == format!("ghcr.io=robot:pw-{generation}")) {
                generation += 1;
                host.put("ghcr.io", &format!("pw-{generation}"));
                running.send(Signal::HUP);
            }
        }
        running.kill();
        let entries = host.entries().expect("a file that was there stays");
        assert_eq!(entries.len(), 2, "{entries:?}");
        assert_eq!(entries[1], "quay.io=robot:quay");
        assert!(entries[0].starts_with("ghcr.io=robot:pw-"), "{entries:?}");
        let names = host.names();
        let others =
            names.iter().filter(|name| !["config.json", ".config.json.regcred"].contains(&name.as_str()));
        assert!(others.count() <= 1, "{names:?}");
    }
    let running = host.start(&[]);
    // By then it has the lock. The file may be current already, so that nothing is written.
    running.await_log("started");
    assert_eq!(host.names(), [".config.json.regcred", "config.json"]);
    host.put("ghcr.io", "last");
    running.send(Signal::HUP);
    host.await_entries(&["ghcr.io=robot:last", "quay.io=robot:quay"]);
    assert_eq!(running.stop().0, 0);
}
