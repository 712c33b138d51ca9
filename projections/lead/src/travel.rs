//! Time travel: the events of a call as they were at a moment of the past.

use callfold_schema::UnixMillis;

use crate::state::LeadState;

/// A moment of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// When the stream ended at this position.
    Position(u64),
    /// What had been accepted by this time, by the events' own `Callfold-Time`: it travels with exports, and is the same
    /// after an import, where positions are new.
    Time(UnixMillis),
}

impl LeadState {
    /// The state of the same call as it was at a moment; an empty one when nothing was known of it then.
    ///
    /// [`crate::lead_view`] of it is the lead of that moment, as today's fold sees it. What was unreadable then and is
    /// now counts as known.
    #[must_use]
    pub fn at(&self, moment: At) -> LeadState {
        match moment {
            At::Position(last) => self.retain(|event| event.position <= last, |position| position <= last),
            // Only a position is kept of an event that lost its key. Its holder stands before it, so it says nothing.
            At::Time(last) => self.retain(|event| event.time <= last, |_| false),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use callfold_schema::event::{CallEnded, RecordingStarted, StageFailed};
    use callfold_schema::{CallSid, Event, Key, NewEvent, Record, RecordingSid, Run, Stage};

    use super::*;
    use crate::lead_view;

    fn record(key: Key, seconds: i64, event: impl Into<Event>) -> Record {
        let call = CallSid::parse("CA1").unwrap();
        let new = NewEvent::new(call, key, UnixMillis(seconds * 1_000), event);
        Record {
            envelope: new.envelope,
            event: new.event,
        }
    }

    /// Positions 10, 20, …; the second event was spooled, so that it came late.
    fn events() -> Vec<Record> {
        let re = RecordingSid::parse("RE1").unwrap();
        let ended = |status: &str| CallEnded {
            status: status.to_owned(),
            duration_s: None,
            ended_at: None,
            idempotency_token: None,
            form: Vec::new(),
        };
        let begun = RecordingStarted {
            recording_sid: re.clone(),
            started_at: None,
            idempotency_token: None,
            form: Vec::new(),
        };
        let failed = |attempt| {
            let event = StageFailed {
                attempts_max: 8,
                class: callfold_schema::event::FailureClass::Timeout,
                text: "no answer in time".to_owned(),
                next_attempt_at: None,
                delivery: 1,
                elapsed_ms: 1,
            };
            (
                Key::failure(re.clone(), Run::FIRST, Stage::Download, attempt),
                event,
            )
        };
        let (first_key, first) = failed(1);
        let (second_key, second) = failed(2);
        vec![
            record(Key::recording(re.clone()), 5, begun),
            record(Key::single(), 1, ended("completed")),
            record(first_key, 6, first),
            record(Key::single(), 7, ended("busy")),
            record(second_key, 8, second),
        ]
    }

    fn folded(events: &[(u64, &Record)]) -> LeadState {
        let mut state = LeadState::new(CallSid::parse("CA1").unwrap());
        for (position, record) in events {
            state.apply_record(*position, record).unwrap();
        }
        state
    }

    #[test]
    fn the_state_at_a_position_is_that_of_the_events_up_to_it() {
        let events = events();
        let stream: Vec<(u64, &Record)> = events.iter().zip(1..).map(|(event, n)| (n * 10, event)).collect();
        let now = folded(&stream);
        for end in 0..=stream.len() {
            let then = folded(&stream[..end]);
            let last = stream[..end].last().map_or(0, |(position, _)| *position);
            for moment in [last, last + 9] {
                assert_eq!(now.at(At::Position(moment)), then, "at {moment}");
            }
            assert_eq!(then.is_empty(), end == 0);
        }
        assert_eq!(now.at(At::Position(u64::MAX)), now);
    }

    #[test]
    fn the_state_at_a_time_is_that_of_the_events_accepted_by_then_wherever_they_stand() {
        let events = events();
        let stream: Vec<(u64, &Record)> = events.iter().zip(1..).map(|(event, n)| (n * 10, event)).collect();
        let now = folded(&stream);
        let at = |seconds: i64| now.at(At::Time(UnixMillis(seconds * 1_000)));
        assert!(at(0).is_empty());
        assert_eq!(at(4).positions(), [20]);
        assert_eq!(at(6).positions(), [10, 20, 30]);
        // The fourth event lost its key to the second: it says nothing at any time.
        assert_eq!(at(7).positions(), [10, 20, 30]);
        assert_eq!(at(8).events(), now.events());
        let lead = lead_view(&at(6)).unwrap();
        assert_eq!(lead.updated_at.0, UnixMillis(6_000));
    }
}
