//! The argument `--mode`.

/// The bits that a mode may have: setuid, setgid and sticky mean nothing for the file.
const MAX: u32 = 0o777;
/// The owner reads the file at the next start.
const OWNER_READS: u32 = 0o400;

/// Parses a mode as `chmod` takes it, in octal.
pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= MAX && mode & OWNER_READS != 0);
    mode.ok_or_else(|| {
        "must be an octal number such as 0640, up to 777, with read permission of the owner".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_octal_and_lets_the_owner_read() {
        for (text, mode) in [("0640", 0o640), ("600", 0o600), ("444", 0o444)] {
            assert_eq!(parse_mode(text), Ok(mode), "{text}");
        }
        for text in ["", "0", "0240", "1640", "689", "u=rw", "-1"] {
            assert!(parse_mode(text).is_err(), "{text}");
        }
    }
}
