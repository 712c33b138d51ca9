//! Who did something, as a person reads it.

use crate::words::Words;

/// What events say of a program that has the API's token, of a person whose name is not known, and of who erases.
const TOKEN: [&str; 2] = ["token", "api"];
const SESSION: &str = "session";

/// The name; in words where there is none.
pub(super) fn who(by: &str, w: &Words) -> String {
    if by.is_empty() || by == SESSION {
        w.story.somebody.to_owned()
    } else if TOKEN.contains(&by) {
        w.story.program.to_owned()
    } else {
        by.to_owned()
    }
}

/// A value within a sentence of the other direction: kept together by the isolates of Unicode, which need no markup.
pub(crate) fn isolated(value: &str) -> String {
    format!("\u{2068}{value}\u{2069}")
}
