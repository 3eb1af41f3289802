//! Reproducible random numbers: a failing run prints its seed.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The environment variable that sets the seed.
const VARIABLE: &str = "REGCRED_SEED";

/// Splitmix64: small, and the same for a seed on every machine.
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    /// Creates a generator with a random seed or the one in the environment, and prints the seed.
    pub(crate) fn new() -> Self {
        let given = std::env::var_os(VARIABLE);
        let given = given.map(|seed| seed.to_string_lossy().parse().expect("a seed is a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(()));
        #[expect(clippy::print_stderr, reason = "the test harness shows it when the test fails")]
        {
            eprintln!("random numbers by {VARIABLE}={seed}");
        }
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a small number");
        usize::try_from(self.next() % bound).expect("a smaller number")
    }

    /// Returns one of these.
    pub(crate) fn choose<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Returns a time shorter than `longest`.
    pub(crate) fn duration(&mut self, longest: Duration) -> Duration {
        let micros = usize::try_from(longest.as_micros()).expect("a short time");
        Duration::from_micros(u64::try_from(self.below(micros)).expect("a shorter time"))
    }
}
