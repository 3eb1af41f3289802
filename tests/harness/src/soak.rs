//! The two sizes of the tests that count: `make test` and `make soak`.

/// Returns the repetitions of a test: `full` in `make soak`; a tenth, at least ten, in `make test`.
pub fn repetitions(full: usize) -> usize {
    if std::env::var_os("REGCRED_SOAK").is_some() { full } else { (full / 10).max(10).min(full) }
}
