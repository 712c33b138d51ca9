//! One line for an error and all its causes.

use std::error::Error;

/// The error and its causes, joined with `: `. A cause that the text before it already ends with is left out: some
/// libraries print their source and return it as well.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: {0}")]
    struct Repeats(#[source] std::io::Error);

    #[test]
    fn a_cause_that_was_printed_is_not_printed_again() {
        let error = Repeats(std::io::Error::other("inner"));
        assert_eq!(chain(&error), "outer: inner");
    }
}
