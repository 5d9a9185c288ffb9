//! The token that commands must bring.

use std::path::Path;

use subtle::ConstantTimeEq as _;

use crate::base::secret::Secret;
use crate::base::{Error, Result};
use crate::policy::Environment;
use crate::policy::secrets::loose_permissions;
use crate::store::sha256;

/// Variable with the token, where no file is named.
const VARIABLE: &str = "PGKEEP_API_TOKEN";
/// Shorter ones can be guessed.
const MIN_CHARACTERS: usize = 16;

/// SHA-256 of the token: comparing digests takes the same time whatever is offered, of whatever length.
#[derive(Debug)]
pub struct Token(Secret<[u8; 32]>);

impl Token {
    /// The token in `file`, else in the environment; `None` where there is neither. Blank space around it is left out.
    pub fn load(file: Option<&Path>, env: &Environment) -> Result<Option<Self>> {
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|e| {
                Error::denied(format!("read the API token from {}", path.display()))
                    .source(e)
                    .hint("the file must be readable by the user that runs pgkeep")
            })?;
            if let Some(advice) = loose_permissions(path) {
                tracing::warn!("{advice}");
            }
            return Self::new(&text, &path.display().to_string()).map(Some);
        }
        env.var(VARIABLE).map(|text| Self::new(text.expose(), VARIABLE)).transpose()
    }

    fn new(text: &str, place: &str) -> Result<Self> {
        let text = text.trim();
        if text.chars().count() < MIN_CHARACTERS || !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(Error::usage(format!(
                "the API token in {place} is not at least {MIN_CHARACTERS} visible ASCII characters on one line"
            ))
            .hint("make one with `openssl rand -hex 24`"));
        }
        Ok(Self(Secret::new(sha256(text.as_bytes()))))
    }

    /// Whether `offered` is the token.
    pub(super) fn matches(&self, offered: &[u8]) -> bool {
        sha256(offered).ct_eq(self.0.expose()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_itself_alone_and_never_prints() {
        let env = Environment::fixed([(VARIABLE, " 0123456789abcdef \n")]);
        let token = Token::load(None, &env).expect("load").expect("set");
        assert!(token.matches(b"0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0", " 0123456789abcdef"] {
            assert!(!token.matches(wrong.as_bytes()), "{wrong}");
        }
        assert!(Token::load(None, &Environment::fixed([])).expect("load").is_none());
        for weak in ["", "hunter2", "two words of hunter2"] {
            let error = Token::load(None, &Environment::fixed([(VARIABLE, weak)])).expect_err(weak);
            assert_eq!(error.kind().exit_code(), 2);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
        assert!(Token::load(Some(Path::new("/nonexistent/token")), &env).is_err(), "a file that is named must be there");
    }
}
