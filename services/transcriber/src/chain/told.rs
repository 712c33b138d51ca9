//! How the engines are, on `/metrics` and in the body of `/readyz`.

use std::time::Duration;

use callfold_kit::clock::SharedClock;
use callfold_kit::health::Part;
use callfold_kit::metric::{GaugeName, Metrics};
use callfold_schema::UnixMillis;

use super::breaker::EngineState;

/// Where it is told.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) metrics: Metrics,
    pub(super) part: Part,
    pub(super) clock: SharedClock,
}

impl Told {
    pub(super) fn tell(&self, engines: &[(String, EngineState)]) {
        for (name, state) in engines {
            let value = match state {
                EngineState::Working => 0.0,
                EngineState::Trial { .. } => 1.0,
                // Over: the next recording tries it.
                EngineState::Resting { left, .. } if left.is_zero() => 1.0,
                EngineState::Resting { .. } => 2.0,
            };
            self.metrics
                .set(GaugeName::EngineState, &[("engine", name)], value);
        }
        let now = self.clock.now();
        let text = engines
            .iter()
            .map(|(name, state)| describe(name, state, now))
            .collect::<Vec<_>>()
            .join("; ");
        // An outage is over when a trial says so, not when it begins.
        let is_out = |(_, state): &(String, EngineState)| *state != EngineState::Working;
        if !engines.is_empty() && engines.iter().all(is_out) {
            self.part.not_ready(text);
        } else if text.is_empty() {
            self.part.ready_with("none");
        } else {
            self.part.ready_with(text);
        }
    }
}

/// `google resting until 12:04:05 UTC (HTTP 503)`: a moment, since the text stands until something changes.
fn describe(name: &str, state: &EngineState, now: UnixMillis) -> String {
    match state {
        EngineState::Working => format!("{name} working"),
        EngineState::Trial { reason } => format!("{name} tried with one recording ({reason})"),
        EngineState::Resting { left, reason } if left.is_zero() => {
            format!("{name} to be tried with the next recording ({reason})")
        }
        EngineState::Resting { left, reason } => {
            format!("{name} resting until {} UTC ({reason})", time_of_day(now, *left))
        }
    }
}

fn time_of_day(now: UnixMillis, left: Duration) -> String {
    let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
    let moment = UnixMillis(now.0.saturating_add(left)).rfc3339();
    // `2026-11-22T10:00:00.000Z`
    moment
        .split_once('T')
        .map_or(moment.as_str(), |(_, time)| time)
        .chars()
        .take(8)
        .collect()
}

#[cfg(test)]
mod tests {
    use callfold_kit::clock::TestClock;
    use callfold_kit::health::Health;

    use super::*;

    #[test]
    fn the_state_of_each_engine_is_told() {
        let (metrics, health) = (Metrics::new(), Health::new());
        let told = Told {
            metrics: metrics.clone(),
            part: health.part("speech-engines", false),
            clock: TestClock::at(UnixMillis(1_764_331_200_000)),
        };
        let rests = |name: &str, secs| {
            let state = EngineState::Resting {
                left: Duration::from_secs(secs),
                reason: "HTTP 503".to_owned(),
            };
            (name.to_owned(), state)
        };
        let resting = |name: &str| rests(name, 41);
        told.tell(&[resting("google"), ("whisper".to_owned(), EngineState::Working)]);
        let text = metrics.render();
        assert!(
            text.contains("callfold_engine_state{engine=\"google\"} 2"),
            "{text}"
        );
        assert!(
            text.contains("callfold_engine_state{engine=\"whisper\"} 0"),
            "{text}"
        );
        let part = health.readiness().parts["speech-engines"].clone();
        assert!(part.ready);
        assert_eq!(
            part.reason.as_deref(),
            Some("google resting until 12:00:41 UTC (HTTP 503); whisper working")
        );
        told.tell(&[resting("google")]);
        assert!(!health.readiness().parts["speech-engines"].ready);
        told.tell(&[rests("google", 0)]);
        let text = metrics.render();
        assert!(
            text.contains("callfold_engine_state{engine=\"google\"} 1"),
            "{text}"
        );
        let part = health.readiness().parts["speech-engines"].clone();
        assert_eq!(
            (part.ready, part.reason.as_deref()),
            (
                false,
                Some("google to be tried with the next recording (HTTP 503)")
            )
        );
    }
}
