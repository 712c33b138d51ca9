//! Leaving the model alone while it keeps failing, and telling how it is on `/metrics` and in the body of `/readyz`.
//!
//! A server that hangs costs every transcript the whole budget, and a server that asked to be left alone is asked by none:
//! while the model rests the offline summary takes its place at once. See [`callfold_kit::breaker`].

use std::sync::{Arc, Mutex};
use std::time::Duration;

use callfold_kit::SharedClock;
use callfold_kit::breaker::{self, Blow, Breaker, BreakerPolicy, EngineState, Turn};
use callfold_kit::health::Part;
use callfold_kit::metric::{GaugeName, Metrics};
use callfold_schema::UnixMillis;
use callfold_schema::event::FailureClass;
use tokio::time::Instant;

use crate::model::ModelError;

/// The breaker of one model.
pub(crate) struct ModelRest {
    breaker: Arc<Mutex<Breaker>>,
    engine: &'static str,
    metrics: Metrics,
    told: Option<(Part, SharedClock)>,
}

impl ModelRest {
    /// A model that works, until it shows otherwise.
    pub(crate) fn new(engine: &'static str, policy: BreakerPolicy, metrics: Metrics) -> Self {
        let rest = Self {
            breaker: Arc::new(Mutex::new(Breaker::new(policy))),
            engine,
            metrics,
            told: None,
        };
        rest.tell();
        rest
    }

    /// The same, with `part` telling how the model is from now on.
    pub(crate) fn told(self, part: Part, clock: SharedClock) -> Self {
        let told = Some((part, clock));
        let rest = Self { told, ..self };
        rest.tell();
        rest
    }

    /// A turn to ask the model.
    ///
    /// # Errors
    /// It rests.
    pub(crate) fn take(&self) -> Result<Turn, ModelError> {
        let turn = Turn::take(&Some(Arc::clone(&self.breaker)), Instant::now());
        self.tell();
        turn.map_err(|(left, on_trial)| {
            let text = if on_trial {
                "resting, and just tried with another transcript".to_owned()
            } else {
                // Rounded up: "0 s more" would be none.
                let secs = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                format!("resting for {secs} s more")
            };
            ModelError::lasting(FailureClass::Resting, text)
        })
    }

    /// Notes what became of a turn. `error`: why there is no summary; `tries`: how many questions were sent.
    pub(crate) fn settle(&self, turn: Turn, error: Option<&ModelError>, tries: u32) {
        match error.map_or(Verdict::Answered, judge) {
            // Nobody was asked.
            _ if tries == 0 => drop(turn),
            Verdict::None => drop(turn),
            Verdict::Answered => turn.answered(),
            Verdict::Failed(blow) => {
                let reason = error.map_or("", |error| error.text.as_str());
                turn.failed(Instant::now(), blow, reason);
            }
        }
        self.tell();
    }

    fn tell(&self) {
        let state = breaker::with(&self.breaker, |breaker| breaker.state(Instant::now()));
        let value = match &state {
            EngineState::Working => 0.0,
            EngineState::Trial { .. } => 1.0,
            // Over: the next transcript tries it.
            EngineState::Resting { left, .. } if left.is_zero() => 1.0,
            EngineState::Resting { .. } => 2.0,
        };
        self.metrics
            .set(GaugeName::SummaryEngineState, &[("engine", self.engine)], value);
        let Some((part, clock)) = &self.told else {
            return;
        };
        let text = describe(self.engine, &state, clock.now());
        // An outage is over when a trial says so, not when it begins.
        if state == EngineState::Working {
            part.ready_with(text);
        } else {
            part.not_ready(text);
        }
    }
}

/// What a failure says about the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It answered, if only to say no to this transcript, or something that is no summary.
    Answered,
    /// It failed.
    Failed(Blow),
    /// Nothing: something failed in this process.
    None,
}

fn judge(error: &ModelError) -> Verdict {
    use FailureClass as Class;
    match error.class {
        Class::Credentials | Class::NotFound => Verdict::Failed(Blow::Lasting),
        Class::Internal | Class::Storage => Verdict::None,
        Class::Refused | Class::NotAllowed => Verdict::Answered,
        Class::Invalid if !error.is_passing || error.is_cut_off => Verdict::Answered,
        _ => Verdict::Failed(Blow::Passing {
            after: error.retry_after,
        }),
    }
}

/// `openai resting until 12:04:05 UTC (HTTP 503 from the model's server)`: a moment, since the text stands until something
/// changes.
fn describe(engine: &str, state: &EngineState, now: UnixMillis) -> String {
    match state {
        EngineState::Working => format!("{engine} working"),
        EngineState::Trial { reason } => format!("{engine} tried with one transcript ({reason})"),
        EngineState::Resting { left, reason } if left.is_zero() => {
            format!("{engine} to be tried with the next transcript ({reason})")
        }
        EngineState::Resting { left, reason } => {
            format!(
                "{engine} resting until {} UTC ({reason})",
                time_of_day(now, *left)
            )
        }
    }
}

fn time_of_day(now: UnixMillis, left: Duration) -> String {
    let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
    let moment = UnixMillis(now.0.saturating_add(left)).rfc3339();
    // `2026-11-22T10:00:00.000Z`
    let time = moment.split_once('T').map_or(moment.as_str(), |(_, time)| time);
    time.chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_transcript_says_nothing_about_the_model() {
        use FailureClass as Class;
        let passing = |class| ModelError::passing(class, "x");
        let lasting = |class| ModelError::lasting(class, "x");
        let wish = Some(Duration::from_secs(7));
        let table = [
            (lasting(Class::Credentials), Verdict::Failed(Blow::Lasting)),
            (lasting(Class::NotFound), Verdict::Failed(Blow::Lasting)),
            (lasting(Class::Refused), Verdict::Answered),
            (lasting(Class::Invalid), Verdict::Answered),
            (
                ModelError {
                    is_cut_off: true,
                    ..passing(Class::Invalid)
                },
                Verdict::Answered,
            ),
            (
                passing(Class::Invalid),
                Verdict::Failed(Blow::Passing { after: None }),
            ),
            (
                passing(Class::Timeout),
                Verdict::Failed(Blow::Passing { after: None }),
            ),
            (
                ModelError {
                    retry_after: wish,
                    ..passing(Class::RateLimited)
                },
                Verdict::Failed(Blow::Passing { after: wish }),
            ),
            (lasting(Class::Internal), Verdict::None),
        ];
        for (error, verdict) in table {
            assert_eq!(judge(&error), verdict, "{error:?}");
        }
    }
}
