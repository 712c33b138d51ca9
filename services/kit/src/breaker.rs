//! Leaving an engine alone that keeps failing. A state machine over moments that are handed in: no clock, no waiting.
//! What an engine works on is called a recording here; one of summaries has transcripts in their place.
//!
//! ```text
//!            failures in a row, or one that says "not now" ┌─────────┐ its time is over, and a recording comes
//! ┌─────────┐ ────────────────────────────────────────────▶│ resting │ ───────────────┐
//! │ working │                                              └─────────┘                ▼
//! └─────────┘                                                   ▲  it failed again ┌───────┐
//!      ▲                                                        └──────────────────│ trial │ one recording at a time
//!      └───────────────────────────────────────────────────────────────────────────└───────┘
//!                                    it answered
//! ```
//!
//! A trial is a real recording, so that a recovery is noticed by the work itself; the others pass the engine over
//! meanwhile. A trial that ends without a verdict (the work was stopped) leaves the next recording to be the trial.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::backoff::Backoff;

/// How soon somebody who met a trial of another recording looks again.
const TRIAL_LOOK: Duration = Duration::from_secs(5);

/// When an engine is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerPolicy {
    /// So many failures in a row.
    pub failures: u32,
    /// The rests: each failed trial makes the next one longer. Nothing rests longer, whatever it asks for.
    pub rest: Backoff,
}

impl Default for BreakerPolicy {
    /// Three failures; 30 s, 1 min, 2 min … 10 min.
    fn default() -> Self {
        Self {
            failures: 3,
            rest: Backoff {
                base: Duration::from_secs(30),
                max: Duration::from_secs(600),
                factor: 2.0,
                jitter: 0.2,
            },
        }
    }
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// It may be over soon.
    Passing {
        /// How long the other side asked to be left alone.
        after: Option<Duration>,
    },
    /// It concerns every recording and ends when somebody does something about it: credentials, an unknown model.
    Lasting,
}

/// Whether an engine is asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It is.
    Ask,
    /// It is, and what becomes of it decides for the others.
    Trial,
    /// It rests for so long, or is on trial, which is looked at again after so long.
    Rest {
        /// How long.
        left: Duration,
        /// Whether another recording tries it just now.
        on_trial: bool,
    },
}

/// How an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineState {
    /// It is asked.
    Working,
    /// It is tried with one recording.
    Trial {
        /// What it rested for.
        reason: String,
    },
    /// It is left alone.
    Resting {
        /// For so long; zero: the next recording is its trial.
        left: Duration,
        /// What for, in words fit for an event.
        reason: String,
    },
}

#[derive(Debug, Clone, Copy)]
enum State {
    Working { failures: u32 },
    Resting { until: Instant, rests: u32 },
    Trial { rests: u32 },
}

/// The state machine of one engine.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    reason: String,
}

impl Breaker {
    /// A working engine's.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            state: State::Working { failures: 0 },
            reason: String::new(),
        }
    }

    /// What [`Breaker::ask`] would say, without beginning a trial.
    pub fn look(&self, now: Instant) -> Permission {
        match self.state {
            State::Working { .. } => Permission::Ask,
            State::Resting { until, .. } if until <= now => Permission::Trial,
            State::Resting { until, .. } => Permission::Rest {
                left: until - now,
                on_trial: false,
            },
            State::Trial { .. } => Permission::Rest {
                left: TRIAL_LOOK.min(self.policy.rest.base),
                on_trial: true,
            },
        }
    }

    /// Whether the engine is asked now. After [`Permission::Trial`] one of the three verdicts has to follow.
    pub fn ask(&mut self, now: Instant) -> Permission {
        let permission = self.look(now);
        if let (Permission::Trial, State::Resting { rests, .. }) = (permission, self.state) {
            self.state = State::Trial { rests };
        }
        permission
    }

    /// It answered, be it that it will not have this recording. `is_trial`: for the one who was given the trial. Whoever
    /// began before a rest knows nothing about what came after it: only the trial ends the rest.
    pub fn answered(&mut self, is_trial: bool) {
        if is_trial || matches!(self.state, State::Working { .. }) {
            self.state = State::Working { failures: 0 };
        }
    }

    /// It failed. `is_trial`: for the one who was given the trial.
    pub fn failed(&mut self, now: Instant, is_trial: bool, blow: Blow, reason: &str, rng: &mut impl Rng) {
        let longest = self.policy.rest.max;
        let rests = match self.state {
            State::Working { failures } => {
                let failures = failures + 1;
                self.state = State::Working { failures };
                if matches!(blow, Blow::Passing { after: None }) && failures < self.policy.failures {
                    return;
                }
                1
            }
            State::Trial { rests } if is_trial => rests.saturating_add(1),
            // From before the rest; only a wish to be left alone longer is news.
            State::Resting { until, rests } => {
                if let Blow::Passing { after: Some(after) } = blow {
                    let until = until.max(now + after.min(longest));
                    self.state = State::Resting { until, rests };
                }
                return;
            }
            State::Trial { .. } => return,
        };
        let rest = match blow {
            Blow::Lasting => longest,
            Blow::Passing { after: Some(after) } if rests == 1 => after.min(longest),
            Blow::Passing { after } => {
                let rest = self.policy.rest.delay(rests, rng);
                after.map_or(rest, |after| rest.max(after.min(longest)))
            }
        };
        reason.clone_into(&mut self.reason);
        self.state = State::Resting {
            until: now + rest,
            rests,
        };
    }

    /// The trial ended without a verdict.
    pub fn abandoned(&mut self, now: Instant) {
        if let State::Trial { rests } = self.state {
            self.state = State::Resting { until: now, rests };
        }
    }

    /// How the engine is.
    pub fn state(&self, now: Instant) -> EngineState {
        let reason = || self.reason.clone();
        match self.state {
            State::Working { .. } => EngineState::Working,
            State::Trial { .. } => EngineState::Trial { reason: reason() },
            State::Resting { until, .. } => EngineState::Resting {
                left: until.saturating_duration_since(now),
                reason: reason(),
            },
        }
    }
}

/// A breaker that recordings share; `None`: an engine that never rests.
pub type Shared = Option<Arc<Mutex<Breaker>>>;

/// Acts on a shared breaker.
pub fn with<T>(breaker: &Mutex<Breaker>, act: impl FnOnce(&mut Breaker) -> T) -> T {
    act(&mut breaker.lock().unwrap_or_else(PoisonError::into_inner))
}

/// An engine that is being asked. Gone without a verdict, it gives a trial back.
#[derive(Debug)]
pub struct Turn {
    breaker: Shared,
    is_trial: bool,
}

impl Turn {
    /// Asks for a turn.
    ///
    /// # Errors
    /// The engine rests: for how long, and whether another recording tries it just now.
    pub fn take(breaker: &Shared, now: Instant) -> Result<Self, (Duration, bool)> {
        let permission = match breaker {
            None => Permission::Ask,
            Some(breaker) => with(breaker, |breaker| breaker.ask(now)),
        };
        match permission {
            Permission::Rest { left, on_trial } => Err((left, on_trial)),
            Permission::Ask | Permission::Trial => Ok(Self {
                breaker: breaker.clone(),
                is_trial: permission == Permission::Trial,
            }),
        }
    }

    /// It answered.
    pub fn answered(mut self) {
        if let Some(breaker) = self.breaker.take() {
            with(&breaker, |breaker| breaker.answered(self.is_trial));
        }
    }

    /// It failed.
    pub fn failed(mut self, now: Instant, blow: Blow, reason: &str) {
        if let Some(breaker) = self.breaker.take() {
            with(&breaker, |breaker| {
                breaker.failed(now, self.is_trial, blow, reason, &mut rand::rng());
            });
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let (true, Some(breaker)) = (self.is_trial, self.breaker.take()) {
            with(&breaker, |breaker| breaker.abandoned(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const PASSING: Blow = Blow::Passing { after: None };

    struct Case {
        breaker: Breaker,
        now: Instant,
        rng: StdRng,
    }

    /// Three failures; 30 s, 60 s … 600 s to the point.
    fn case() -> Case {
        let mut policy = BreakerPolicy::default();
        policy.rest.jitter = 0.0;
        Case {
            breaker: Breaker::new(policy),
            now: Instant::now(),
            rng: StdRng::seed_from_u64(1),
        }
    }

    impl Case {
        fn fails(&mut self, blow: Blow) {
            self.breaker
                .failed(self.now, false, blow, "HTTP 503", &mut self.rng);
        }

        fn trial_fails(&mut self, blow: Blow) {
            assert_eq!(self.breaker.ask(self.now), Permission::Trial);
            self.breaker
                .failed(self.now, true, blow, "HTTP 503", &mut self.rng);
        }

        fn goes_on(&mut self, secs: u64) {
            self.now += Duration::from_secs(secs);
        }

        fn left_secs(&self) -> Option<u64> {
            match self.breaker.look(self.now) {
                Permission::Rest { left, .. } => Some(left.as_secs()),
                Permission::Ask | Permission::Trial => None,
            }
        }
    }

    #[test]
    fn it_rests_after_failures_in_a_row_and_longer_after_each_trial() {
        let mut case = case();
        case.fails(PASSING);
        case.fails(PASSING);
        case.breaker.answered(false);
        case.fails(PASSING);
        case.fails(PASSING);
        assert_eq!(case.breaker.ask(case.now), Permission::Ask, "not three in a row");
        case.fails(PASSING);
        assert_eq!(case.left_secs(), Some(30));
        assert_eq!(
            case.breaker.state(case.now),
            EngineState::Resting {
                left: Duration::from_secs(30),
                reason: "HTTP 503".to_owned()
            }
        );
        // Those that began before it rested change nothing.
        case.fails(PASSING);
        for rest in [30, 60, 120, 240, 480, 600, 600] {
            assert_eq!(case.left_secs(), Some(rest));
            case.goes_on(rest);
            case.trial_fails(PASSING);
        }
        case.goes_on(600);
        assert_eq!(case.breaker.ask(case.now), Permission::Trial);
        case.breaker.answered(true);
        assert_eq!(case.breaker.state(case.now), EngineState::Working);
        case.fails(PASSING);
        case.fails(PASSING);
        case.fails(PASSING);
        assert_eq!(case.left_secs(), Some(30), "it begins anew");
    }

    #[test]
    fn one_recording_at_a_time_is_the_trial() {
        let mut case = case();
        (0..3).for_each(|_| case.fails(PASSING));
        case.goes_on(30);
        assert_eq!(case.breaker.ask(case.now), Permission::Trial);
        let meanwhile = Permission::Rest {
            left: TRIAL_LOOK,
            on_trial: true,
        };
        assert_eq!(case.breaker.ask(case.now), meanwhile);
        // Another one's failure is none of the trial.
        case.fails(PASSING);
        assert_eq!(case.breaker.ask(case.now), meanwhile);
        // Without a verdict the next one is the trial.
        case.breaker.abandoned(case.now);
        assert_eq!(case.breaker.ask(case.now), Permission::Trial);
        case.breaker.answered(true);
        assert_eq!(case.breaker.ask(case.now), Permission::Ask);
    }

    #[test]
    fn an_answer_from_before_a_rest_does_not_end_it() {
        let mut case = case();
        (0..3).for_each(|_| case.fails(PASSING));
        case.breaker.answered(false);
        assert_eq!(case.left_secs(), Some(30));
        case.goes_on(30);
        assert_eq!(case.breaker.ask(case.now), Permission::Trial);
        case.breaker.answered(false);
        assert_eq!(case.left_secs(), Some(TRIAL_LOOK.as_secs()), "the trial goes on");
        case.breaker.answered(true);
        assert_eq!(case.breaker.state(case.now), EngineState::Working);
    }

    #[test]
    fn a_wish_to_be_left_alone_is_heeded_at_once_and_within_bounds() {
        let after = |secs| Blow::Passing {
            after: Some(Duration::from_secs(secs)),
        };
        let mut case = case();
        case.fails(after(7));
        assert_eq!(case.left_secs(), Some(7));
        case.fails(after(20));
        assert_eq!(case.left_secs(), Some(20), "asked meanwhile, told to wait longer");
        case.fails(after(3));
        assert_eq!(case.left_secs(), Some(20));
        case.goes_on(20);
        // A second time it rests longer than it asks for.
        case.trial_fails(after(1));
        assert_eq!(case.left_secs(), Some(60));
        case.goes_on(60);
        case.trial_fails(after(86_400));
        assert_eq!(case.left_secs(), Some(600));
    }

    #[test]
    fn what_concerns_every_recording_rests_it_at_once_and_long() {
        let mut case = case();
        case.fails(Blow::Lasting);
        assert_eq!(case.left_secs(), Some(600));
        case.goes_on(600);
        case.trial_fails(Blow::Lasting);
        assert_eq!(case.left_secs(), Some(600));
    }

    #[test]
    fn a_turn_that_is_dropped_gives_its_trial_back() {
        let mut case = case();
        (0..3).for_each(|_| case.fails(PASSING));
        case.goes_on(30);
        let now = case.now;
        let shared = Some(Arc::new(Mutex::new(case.breaker)));
        let turn = Turn::take(&shared, now);
        assert!(turn.is_ok() && Turn::take(&shared, now).is_err());
        drop(turn);
        let turn = Turn::take(&shared, now + Duration::from_secs(3_600)).expect("a second trial");
        turn.answered();
        let turn = Turn::take(&shared, now).expect("it works");
        turn.failed(now, Blow::Lasting, "no");
        assert_eq!(
            Turn::take(&shared, now).expect_err("it rests").0,
            Duration::from_secs(600)
        );
    }
}
