//! One row of the table.

use std::fmt::Write;

/// How a thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// It works; there is something to know.
    Note,
    /// Something that is needed is not there.
    Missing,
    /// It does not work as it is.
    Wrong,
    /// It could not be found out.
    Unknown,
}

impl State {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Missing => "missing",
            State::Wrong => "wrong",
            State::Unknown => "unknown",
        }
    }

    /// Whether somebody has to do something.
    pub fn is_bad(self) -> bool {
        matches!(self, State::Missing | State::Wrong)
    }
}

/// What was looked at, what was found, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The setting or the dependency.
    pub name: String,
    /// How it was found.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it; empty: nothing.
    pub to_do: String,
}

impl Check {
    fn new(
        state: State,
        name: impl Into<String>,
        found: impl Into<String>,
        to_do: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            state,
            found: found.into(),
            to_do: to_do.into(),
        }
    }

    /// As it should be.
    pub(super) fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(State::Ok, name, found, "")
    }

    /// Works, with something to know.
    pub(super) fn note(name: impl Into<String>, found: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self::new(State::Note, name, found, to_do)
    }

    /// Needed, not there.
    pub(super) fn missing(
        name: impl Into<String>,
        found: impl Into<String>,
        to_do: impl Into<String>,
    ) -> Self {
        Self::new(State::Missing, name, found, to_do)
    }

    /// Does not work.
    pub(super) fn wrong(name: impl Into<String>, found: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self::new(State::Wrong, name, found, to_do)
    }

    /// Could not be found out.
    pub(super) fn unknown(
        name: impl Into<String>,
        found: impl Into<String>,
        to_do: impl Into<String>,
    ) -> Self {
        Self::new(State::Unknown, name, found, to_do)
    }
}

/// The rows and a last line that counts them, wrapped to `width` characters where words allow.
pub fn table(checks: &[Check], width: usize) -> String {
    let names = checks
        .iter()
        .map(|check| check.name.chars().count())
        .max()
        .unwrap_or(0);
    let indent = "missing".len() + 2 + names + 2;
    let room = width.saturating_sub(indent).max(40);
    let mut text = String::new();
    for check in checks {
        let mut lines = wrap(&check.found, room, "");
        lines.extend(wrap(&check.to_do, room, "→ "));
        for (index, line) in lines.iter().enumerate() {
            // Writing into a String does not fail.
            let _ = match index {
                0 => writeln!(text, "{:<7}  {:<names$}  {line}", check.state.word(), check.name),
                _ => writeln!(text, "{:indent$}{line}", ""),
            };
        }
    }
    let count = |state: State| checks.iter().filter(|check| check.state == state).count();
    let (wrong, missing) = (count(State::Wrong), count(State::Missing));
    text.push('\n');
    let _ = match (wrong, missing) {
        (0, 0) => writeln!(text, "nothing is wrong"),
        _ => writeln!(text, "{wrong} wrong, {missing} missing"),
    };
    text
}

/// Lines of at most `room` characters; a longer word has a line of its own. Nothing from nothing.
fn wrap(text: &str, room: usize, lead: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let follow = " ".repeat(lead.chars().count());
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("{follow}{word}")),
            None => lines.push(format!("{lead}{word}")),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up_and_wraps_between_words() {
        let checks = [
            Check::ok("settings", "fine"),
            Check::wrong(
                "PUBLIC_URL",
                "is not https",
                "use the address that Twilio was given, one that begins with https",
            ),
            Check::missing("x", "none", ""),
        ];
        let expected = "\
ok       settings    fine
wrong    PUBLIC_URL  is not https
                     → use the address that Twilio was given,
                       one that begins with https
missing  x           none

1 wrong, 1 missing
";
        assert_eq!(table(&checks, 64), expected);
        assert_eq!(
            table(&checks[..1], 64),
            "ok       settings  fine\n\nnothing is wrong\n"
        );
    }
}
