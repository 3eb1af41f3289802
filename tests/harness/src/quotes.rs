//! A docker config as somebody could quote it: its password, and pieces of its base64.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// The length of a piece of base64, which does not occur by chance.
const PIECE: usize = 24;

/// The forms in which text of others could hold a password of a docker config.
#[derive(Debug)]
pub struct QuotedForms(Vec<String>);

impl QuotedForms {
    /// The forms of a docker config that holds this password.
    pub fn new(docker_config: &[u8], password: &str) -> Self {
        let mut forms = vec![password.to_owned()];
        // A text may begin or end in the middle of the base64, so every piece counts.
        for alphabet in [STANDARD, URL_SAFE] {
            let text = alphabet.encode(docker_config);
            let text = text.trim_end_matches('=');
            forms.extend(
                (0..text.len().saturating_sub(PIECE)).step_by(4).map(|at| text[at..at + PIECE].to_owned()),
            );
            let auth = alphabet.encode(format!("robot:{password}"));
            assert!(auth.contains(['+', '/', '-', '_']), "the alphabets differ: {auth}");
            forms.push(auth.trim_end_matches('=').to_owned());
            forms.push(alphabet.encode(password).trim_end_matches('=').to_owned());
        }
        Self(forms)
    }

    /// Returns true if a text holds one of the forms.
    pub fn are_in(&self, text: &str) -> bool {
        self.0.iter().any(|form| text.contains(form))
    }

    /// Fails if a text holds one of the forms.
    #[track_caller]
    pub fn assert_absent(&self, what: &str, text: &str) {
        let found = self.0.iter().find(|form| text.contains(*form));
        assert!(found.is_none(), "{what} holds {found:?}: {text}");
    }
}
