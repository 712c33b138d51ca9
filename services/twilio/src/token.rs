//! A Twilio auth token.

use std::fmt;

/// An auth token of a Twilio account. `Debug` never shows it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthToken(String);

impl AuthToken {
    /// Takes the token's text as it is.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The tokens of a comma separated list; blanks around a token and empty entries are dropped.
    #[must_use]
    pub fn parse_list(list: &str) -> Vec<Self> {
        list.split(',')
            .map(str::trim)
            .filter(|token| !token.is_empty())
            .map(Self::new)
            .collect()
    }

    /// The secret itself: for signing and for Basic auth, never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_token() {
        assert_eq!(format!("{:?}", AuthToken::new("s3cret")), "AuthToken(…)");
    }

    #[test]
    fn a_list_is_split_at_commas() {
        assert_eq!(
            AuthToken::parse_list(" one, ,two,"),
            vec![AuthToken::new("one"), AuthToken::new("two")]
        );
    }
}
