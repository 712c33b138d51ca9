//! What a server understands of the protocol, found out by what it refuses and remembered for a while.
//!
//! Everything is asked for at first: an answer held to a JSON schema, `max_tokens`, a low temperature. A server that refuses
//! one of these says so in fields for machines; one that refuses without saying what is tried with less. Neither costs a
//! try, and the next questions know.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::prompt;

/// After this time everything is asked for again: servers are updated, names lead to other models.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// So long a refusal without a name is not met with guesses, after guesses did not help.
const GUESSED: Duration = Duration::from_secs(60);

/// How a question is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    format: Format,
    bound: Bound,
    has_temperature: bool,
}

/// How the form of the answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Schema,
    Object,
    Text,
}

/// The name of the bound on tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    MaxTokens,
    MaxCompletionTokens,
    None,
}

/// What a server refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Format,
    MaxTokens,
    MaxCompletionTokens,
    Temperature,
    /// It does not say.
    Unnamed,
    /// Something that asking in another way does not change.
    Other,
    /// The model's own answer, which did not have the form: another one may.
    Generation,
}

impl Dialect {
    const ALL: Dialect = Dialect {
        format: Format::Schema,
        bound: Bound::MaxTokens,
        has_temperature: true,
    };

    /// Writes what it asks for into a request.
    pub(super) fn write(self, request: &mut Value, tokens_max: u32, temperature: f32) {
        match self.format {
            Format::Schema => {
                let schema = json!({ "name": "summary", "strict": true, "schema": prompt::schema() });
                request["response_format"] = json!({ "type": "json_schema", "json_schema": schema });
            }
            Format::Object => request["response_format"] = json!({ "type": "json_object" }),
            Format::Text => {}
        }
        match self.bound {
            Bound::MaxTokens => request["max_tokens"] = json!(tokens_max),
            Bound::MaxCompletionTokens => request["max_completion_tokens"] = json!(tokens_max),
            Bound::None => {}
        }
        if self.has_temperature {
            request["temperature"] = json!(temperature);
        }
    }

    /// The next way to ask; `None` when there is none.
    fn without(self, refused: Refused) -> Option<Self> {
        match refused {
            Refused::Format | Refused::Unnamed => {
                let format = match self.format {
                    Format::Schema => Format::Object,
                    Format::Object => Format::Text,
                    Format::Text => return None,
                };
                Some(Self { format, ..self })
            }
            Refused::MaxTokens if self.bound == Bound::MaxTokens => Some(Self {
                bound: Bound::MaxCompletionTokens,
                ..self
            }),
            Refused::MaxCompletionTokens if self.bound == Bound::MaxCompletionTokens => Some(Self {
                bound: Bound::None,
                ..self
            }),
            Refused::Temperature if self.has_temperature => Some(Self {
                has_temperature: false,
                ..self
            }),
            Refused::MaxTokens
            | Refused::MaxCompletionTokens
            | Refused::Temperature
            | Refused::Other
            | Refused::Generation => None,
        }
    }
}

/// What was found out about one server and model.
#[derive(Default)]
pub(super) struct Learned {
    state: Mutex<State>,
}

#[derive(Default, Clone, Copy)]
struct State {
    /// What works, and when that was found out.
    works: Option<(Dialect, Instant)>,
    /// In which form a question was taken last.
    accepted: Option<Dialect>,
    /// When asking for less was no help against a refusal without a name.
    guessed_in_vain: Option<Instant>,
}

impl Learned {
    /// How to ask first.
    pub(super) fn first(&self, now: Instant) -> Asking<'_> {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_within = |since: &Instant, span| now.duration_since(*since) < span;
        let works = state.works.filter(|(_, since)| is_within(since, REMEMBERED));
        let in_vain = state.guessed_in_vain.filter(|since| is_within(since, GUESSED));
        let dialect = works.map_or(Dialect::ALL, |(dialect, _)| dialect);
        Asking {
            learned: self,
            dialect,
            first: dialect,
            is_guess: false,
            may_guess: in_vain.is_none(),
            now,
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// One question on its way to the form that a server takes.
pub(super) struct Asking<'l> {
    learned: &'l Learned,
    pub(super) dialect: Dialect,
    /// How it was asked first.
    first: Dialect,
    /// What is left out was not named by the server.
    is_guess: bool,
    may_guess: bool,
    now: Instant,
}

impl Asking<'_> {
    /// Whether to ask again in another way.
    pub(super) fn refused(&mut self, refused: Refused) -> bool {
        let is_unnamed = refused == Refused::Unnamed;
        let next = self
            .dialect
            .without(refused)
            .filter(|_| !is_unnamed || self.may_guess);
        let Some(next) = next else {
            if self.is_guess && is_unnamed {
                let (first, now) = (self.first, self.now);
                self.learned.change(|state| {
                    // Of a form that no question was ever taken in it is not known that the server takes it: this
                    // question may be wrong in two ways, and the next one in one that a guess mends.
                    if state.accepted == Some(first) {
                        state.guessed_in_vain = Some(now);
                    }
                });
            }
            return false;
        };
        self.dialect = next;
        self.is_guess |= is_unnamed;
        if !self.is_guess {
            self.remember();
        }
        true
    }

    /// The server took it.
    pub(super) fn accepted(&self) {
        let dialect = self.dialect;
        self.learned.change(|state| state.accepted = Some(dialect));
        if self.dialect != Dialect::ALL {
            self.remember();
        }
    }

    fn remember(&self) {
        let (dialect, now) = (self.dialect, self.now);
        self.learned.change(|state| {
            // The first time counts, so that it is tried anew in the end.
            if state
                .works
                .is_none_or(|(known, since)| known != dialect || now.duration_since(since) >= REMEMBERED)
            {
                state.works = Some((dialect, now));
            }
        });
    }
}

/// The fields for machines of an error. The message beside them repeats the question at times and is not read.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    error: Value,
    /// Validation errors of servers in Python: where in the request.
    #[serde(default)]
    detail: Value,
}

/// What the body of a 400 or 422 says was refused.
pub(super) fn refused_by(body: &[u8]) -> Refused {
    let Ok(body) = serde_json::from_slice::<ErrorBody>(body) else {
        return Refused::Unnamed;
    };
    let text = |name: &str| body.error.get(name).and_then(Value::as_str).unwrap_or_default();
    let (param, code) = (text("param"), text("code"));
    if code == "json_validate_failed" {
        return Refused::Generation;
    }
    let locations = body.detail.as_array().into_iter().flatten();
    let located = locations
        .filter_map(|place| place.get("loc")?.as_array())
        .flatten()
        .filter_map(Value::as_str);
    let known = [
        ("response_format", Refused::Format),
        ("max_completion_tokens", Refused::MaxCompletionTokens),
        ("max_tokens", Refused::MaxTokens),
        ("temperature", Refused::Temperature),
    ];
    for name in [param, code].into_iter().chain(located) {
        if let Some((_, refused)) = known.iter().find(|(known, _)| name.contains(known)) {
            return *refused;
        }
    }
    let says_nothing = matches!(
        code,
        "" | "400"
            | "422"
            | "bad_request"
            | "invalid_request"
            | "invalid_request_error"
            | "unsupported_parameter"
            | "unsupported_value"
            | "invalid_value"
    );
    if param.is_empty() && says_nothing {
        Refused::Unnamed
    } else {
        Refused::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_read_from_fields_for_machines_only() {
        let table: &[(&str, Refused)] = &[
            (
                r#"{"error": {"param": "response_format", "code": null}}"#,
                Refused::Format,
            ),
            (
                r#"{"error": {"param": "response_format.json_schema.strict"}}"#,
                Refused::Format,
            ),
            (
                r#"{"error": {"code": "unsupported_parameter", "param": "max_tokens"}}"#,
                Refused::MaxTokens,
            ),
            (
                r#"{"error": {"param": "max_completion_tokens"}}"#,
                Refused::MaxCompletionTokens,
            ),
            (
                r#"{"error": {"code": "unsupported_value", "param": "temperature"}}"#,
                Refused::Temperature,
            ),
            (
                r#"{"detail": [{"loc": ["body", "response_format", "type"], "msg": "x"}]}"#,
                Refused::Format,
            ),
            (
                r#"{"error": {"code": "context_length_exceeded", "param": "messages"}}"#,
                Refused::Other,
            ),
            (r#"{"error": {"code": "content_filter"}}"#, Refused::Other),
            (
                r#"{"error": {"code": "json_validate_failed"}}"#,
                Refused::Generation,
            ),
            (
                r#"{"error": {"message": "no response_format", "type": "x", "code": 400}}"#,
                Refused::Unnamed,
            ),
            (r#"{"error": "temperature"}"#, Refused::Unnamed),
            ("<html>", Refused::Unnamed),
            ("", Refused::Unnamed),
        ];
        for (body, refused) in table {
            assert_eq!(refused_by(body.as_bytes()), *refused, "{body}");
        }
    }

    #[test]
    fn what_works_is_remembered_for_an_hour() {
        let learned = Learned::default();
        let now = Instant::now();
        let mut asking = learned.first(now);
        assert!(asking.refused(Refused::Format));
        assert!(asking.refused(Refused::MaxTokens));
        assert!(asking.refused(Refused::Temperature));
        assert!(!asking.refused(Refused::Temperature) && !asking.refused(Refused::Other));
        asking.accepted();
        let known = learned.first(now).dialect;
        assert_eq!(known, asking.dialect);
        let mut request = json!({});
        known.write(&mut request, 7, 0.5);
        assert_eq!(
            request,
            json!({ "response_format": { "type": "json_object" }, "max_completion_tokens": 7 })
        );
        assert_eq!(learned.first(now + REMEMBERED).dialect, Dialect::ALL);
    }

    #[test]
    fn guesses_count_only_when_they_help() {
        let now = Instant::now();
        let vain = |learned: &Learned, now| {
            let mut asking = learned.first(now);
            assert_eq!(asking.dialect, Dialect::ALL);
            assert!(asking.refused(Refused::Unnamed) && asking.refused(Refused::Unnamed));
            assert!(!asking.refused(Refused::Unnamed));
        };
        // Nothing was taken yet: it may have been the form and something else.
        let learned = Learned::default();
        vain(&learned, now);
        vain(&learned, now);
        // The form is taken: it was something else, and for a while such a question is asked once.
        learned.first(now).accepted();
        vain(&learned, now);
        let mut asking = learned.first(now);
        assert_eq!(asking.dialect, Dialect::ALL);
        assert!(!asking.refused(Refused::Unnamed));
        // A server may be another one a moment later.
        vain(&learned, now + GUESSED);
        let learned = Learned::default();
        let mut asking = learned.first(now);
        assert!(asking.refused(Refused::Unnamed));
        asking.accepted();
        assert_eq!(learned.first(now).dialect, asking.dialect);
    }
}
