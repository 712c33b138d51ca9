//! The chain: engines in the order in which they are asked, and what is done when one is slow, down or wrong.
//!
//! **The order** is that of the settings; a number may have its own, which may leave engines out.
//!
//! **Time.** A recording has a budget that grows with its length. When the engine in hand has not answered within
//! its share, the next one starts beside it; the first good answer wins and the others are stopped. With `n` engines a
//! share is the budget through `n + 1`, so that the last one still has two shares for itself, and never longer than a
//! bound: an engine over the network takes hardly longer for a long recording, whose pieces it hears side by side. An engine that fails starts
//! the next one at once. Silence is a good answer.
//!
//! **The end of the budget** ends the engines that are asked over the network: what they did not say by then
//! they may never say, and the attempt is repeated. An engine in this process ([`Engine::is_local`]) goes on as long as it
//! takes: on a machine that is too slow for the budget each attempt would be cut at the same place, and the
//! recording would never have a transcript. It ends early only by a deadline that was set for it.
//!
//! **Rest.** An engine that keeps failing is passed over for a while (see [`breaker`]). One that was overtaken by an
//! engine behind it, after it had its whole share, counts as one that did not answer in time: whoever is always late would cost every caller a share.
//! What fails in this process says nothing about an engine.
//! A local engine never rests: asking it costs nobody else anything, and it is what is left when all else is away.
//!
//! **Every engine failed**: [`Outlook`] says whether it is this recording's fault ([`Outlook::Never`]), whether another
//! attempt may do better, or whether everything that may answer is at rest. The last is an outage and counts against no
//! recording.

use std::collections::BTreeMap;
use std::collections::vec_deque::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callfold_kit::clock::SharedClock;
use callfold_kit::health::Part;
use callfold_kit::metric::Metrics;
use callfold_schema::event::FailureClass;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::engine::{Engine, EngineError, Recognised, Request};

mod outcome;
mod told;

pub use callfold_kit::breaker;
pub use outcome::{Answer, ChainError, EngineFailure, Outlook};

use breaker::{Blow, Breaker, BreakerPolicy, EngineState, Permission, Turn};
use told::Told;

/// An engine over the network that would have less is not asked; where shares are short, less than half of one.
const TIME_LEFT_MIN: Duration = Duration::from_secs(1);

/// How long a chain takes over a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainPolicy {
    /// The budget of a recording without length.
    pub budget: Duration,
    /// By how many seconds each second of audio makes the budget longer, and every deadline.
    pub per_audio_sec: f64,
    /// The longest time an engine is alone before the next one starts beside it, however long the recording.
    pub share_max: Duration,
    /// Deadlines of engines by name, from the moment at which each is asked; others have the budget only.
    pub deadlines: BTreeMap<String, Duration>,
    /// When an engine rests.
    pub breaker: BreakerPolicy,
}

impl Default for ChainPolicy {
    /// 20 s and the length of the recording: of a message of 60 s, three engines have 20 s each before the next one
    /// starts, and the last one 40 s. Of a longer one they have 20 s as well, and the last one the rest.
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(20),
            per_audio_sec: 1.0,
            share_max: Duration::from_secs(20),
            deadlines: BTreeMap::new(),
            breaker: BreakerPolicy::default(),
        }
    }
}

/// One engine of a chain.
#[derive(Clone)]
struct Link {
    engine: Arc<dyn Engine>,
    breaker: breaker::Shared,
}

/// Engines in the order in which they are asked. Clones share what is known about the engines.
#[derive(Clone, Default)]
pub struct Chain {
    links: Vec<Link>,
    policy: ChainPolicy,
    told: Option<Told>,
}

impl Chain {
    /// A chain of these engines, the preferred one first.
    pub fn new(engines: Vec<Arc<dyn Engine>>) -> Self {
        Self::with_policy(engines, ChainPolicy::default())
    }

    /// The same with a policy of the caller's choice.
    pub fn with_policy(engines: Vec<Arc<dyn Engine>>, policy: ChainPolicy) -> Self {
        let link = |engine: Arc<dyn Engine>| Link {
            breaker: (!engine.is_local()).then(|| Arc::new(Mutex::new(Breaker::new(policy.breaker)))),
            engine,
        };
        Self {
            links: engines.into_iter().map(link).collect(),
            policy,
            told: None,
        }
    }

    /// Tells from now on how the engines are: a gauge for each, and all of them in `part`.
    #[must_use]
    pub fn told(self, metrics: Metrics, part: Part, clock: SharedClock) -> Self {
        let told = Some(Told { metrics, part, clock });
        let chain = Self { told, ..self };
        chain.tell();
        chain
    }

    /// The engines that are there to be asked, in their order.
    pub fn engines(&self) -> impl Iterator<Item = &Arc<dyn Engine>> {
        let engines = self.links.iter().map(|link| &link.engine);
        engines.filter(|engine| engine.is_present())
    }

    /// The links to ask, see [`Chain::transcribe`].
    fn in_order(&self, order: Option<&[String]>) -> VecDeque<&Link> {
        let is_present = |link: &&Link| link.engine.is_present();
        match order {
            None => self.links.iter().filter(is_present).collect(),
            Some(names) => names
                .iter()
                .filter_map(|name| self.links.iter().find(|link| link.engine.name() == name))
                .filter(is_present)
                .collect(),
        }
    }

    /// Whether there is nothing to ask in this order, see [`Chain::transcribe`].
    pub fn is_empty(&self, order: Option<&[String]>) -> bool {
        self.in_order(order).is_empty()
    }

    /// How each engine is, in their order.
    pub fn states(&self) -> Vec<(String, EngineState)> {
        let now = Instant::now();
        let state = |link: &Link| match &link.breaker {
            None => EngineState::Working,
            Some(breaker) => breaker::with(breaker, |breaker| breaker.state(now)),
        };
        self.in_order(None)
            .into_iter()
            .map(|link| (link.engine.name().to_owned(), state(link)))
            .collect()
    }

    /// Tells how the engines are, after one came or its model changed.
    pub fn tell(&self) {
        if let Some(told) = &self.told {
            told.tell(&self.states());
        }
    }

    /// Prepares every engine, all at once. One whose credentials are refused begins with a rest instead of ending the
    /// start: they end one day by themselves, and a restart on that day must not keep calls from being taken.
    ///
    /// # Errors
    /// The failure of the first engine that cannot work as it is configured.
    pub async fn prepare(&self) -> Result<(), EngineError> {
        let prepared = self.links.iter().map(|link| async move {
            let Err(error) = link.engine.prepare().await else {
                return Ok(());
            };
            let (Some(breaker), (FailureClass::Credentials, Verdict::Failed(blow), _)) =
                (&link.breaker, judge(&error, false))
            else {
                return Err(error);
            };
            let name = link.engine.name();
            tracing::error!(
                engine.name = name,
                error = %callfold_kit::chain(&error),
                "the credentials of engine {name} are refused; it is passed over until they are taken"
            );
            breaker::with(breaker, |breaker| {
                breaker.failed(Instant::now(), false, blow, &error.to_string(), &mut rand::rng());
            });
            Ok(())
        });
        futures::future::try_join_all(prepared).await?;
        self.tell();
        Ok(())
    }

    /// What [`Chain::transcribe`] would say when all that may be asked in this order are at rest; `None`: somebody may be
    /// asked. To look before a recording is fetched.
    pub fn resting(&self, order: Option<&[String]>) -> Option<ChainError> {
        let now = Instant::now();
        let mut soonest: Option<Duration> = None;
        let mut failed = Vec::new();
        for link in self.in_order(order) {
            let breaker = link.breaker.as_ref()?;
            let Permission::Rest { left, on_trial } = breaker::with(breaker, |breaker| breaker.look(now))
            else {
                return None;
            };
            soonest = Some(soonest.map_or(left, |soonest| soonest.min(left)));
            failed.push(EngineFailure {
                engine: link.engine.name().to_owned(),
                model: link.engine.model(),
                class: FailureClass::Resting,
                text: resting_text(left, on_trial),
                elapsed_ms: 0,
            });
        }
        let outlook = Outlook::Resting { after: soonest? };
        Some(ChainError::Failed { failed, outlook })
    }

    /// Asks the engines until one answers. `order`: the names of those that may be asked, the preferred one first; names
    /// that are not of this chain are passed over. `None`: all, in their order.
    ///
    /// # Errors
    /// [`ChainError`] when none did.
    pub async fn transcribe(
        &self,
        request: &Request,
        order: Option<&[String]>,
    ) -> Result<Answer, ChainError> {
        let links = self.in_order(order);
        if links.is_empty() {
            return Err(ChainError::NoEngine);
        }
        let result = Round::new(&self.policy, request, links).run().await;
        self.tell();
        result
    }
}

/// One engine's part in a round.
struct Entry<'a> {
    link: &'a Link,
    model: String,
    started: Instant,
    /// When it is given up; `None`: never.
    deadline: Option<Instant>,
    stage: EntryStage,
}

enum EntryStage {
    /// It works.
    Running {
        turn: Turn,
        token: CancellationToken,
        task: AbortHandle,
    },
    /// It gave no answer.
    Failed {
        class: FailureClass,
        text: String,
        elapsed: Duration,
        hope: Hope,
    },
}

/// What may become of an engine that gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hope {
    /// It will never take this recording.
    Never,
    /// It may answer, and asked for such a delay.
    Again(Option<Duration>),
    /// Something failed in this process. However the engine is, that is no outage of it and counts as an attempt: it may
    /// fail so each time.
    Own,
    /// It is at rest for so long.
    Rest(Duration),
}

/// One recording on its way through the chain.
struct Round<'a> {
    request: &'a Request,
    policy: &'a ChainPolicy,
    to_ask: VecDeque<&'a Link>,
    asked: Vec<Entry<'a>>,
    tasks: JoinSet<Result<Recognised, EngineError>>,
    /// By how much the recording's length moves every deadline.
    growth: Duration,
    /// How long an engine is alone.
    share: Duration,
    /// The end of the budget.
    end: Instant,
    /// When the next engine starts beside those that work.
    next_start: Instant,
}

impl<'a> Round<'a> {
    fn new(policy: &'a ChainPolicy, request: &'a Request, to_ask: VecDeque<&'a Link>) -> Self {
        let now = Instant::now();
        let audio = Duration::from_millis(request.audio.duration_ms());
        // Both are bounded where they are read; what is not finite all the same makes nothing longer.
        let growth =
            Duration::try_from_secs_f64(audio.as_secs_f64() * policy.per_audio_sec).unwrap_or_default();
        let budget = policy.budget + growth;
        let is_awake = |link: &&&Link| match &link.breaker {
            None => true,
            Some(breaker) => !matches!(
                breaker::with(breaker, |breaker| breaker.look(now)),
                Permission::Rest { .. }
            ),
        };
        let awake = u32::try_from(to_ask.iter().filter(is_awake).count()).unwrap_or(u32::MAX);
        Self {
            request,
            policy,
            to_ask,
            asked: Vec::new(),
            tasks: JoinSet::new(),
            growth,
            share: (budget / awake.saturating_add(1)).min(policy.share_max),
            end: now + budget,
            next_start: now,
        }
    }

    async fn run(mut self) -> Result<Answer, ChainError> {
        loop {
            if self.tasks.is_empty() && !self.start_next() {
                return Err(self.nothing_heard());
            }
            if self.tasks.is_empty() {
                continue;
            }
            let wake = self.wake();
            let timer = async {
                match wake {
                    Some(wake) => tokio::time::sleep_until(wake).await,
                    None => pending().await,
                }
            };
            // Results before the timer: an answer in the last moment is an answer. Every arm may be dropped: a task
            // that ended meanwhile is still in the set.
            tokio::select! {
                biased;
                () = self.request.cancel.cancelled() => {
                    self.stop_all();
                    return Err(ChainError::Cancelled);
                }
                Some(ended) = self.tasks.join_next_with_id() => {
                    let (id, result) = match ended {
                        Ok((id, result)) => (id, result),
                        Err(error) => (error.id(), Err(panicked(error))),
                    };
                    let Some(index) = self.index_of(id) else { continue };
                    match result {
                        Ok(recognised) => return Ok(self.won(index, recognised)),
                        Err(error) => {
                            self.failed(index, error);
                            self.start_next();
                        }
                    }
                }
                () = timer => self.time_passed(),
            }
        }
    }

    /// When something is to be done although no engine says anything.
    fn wake(&self) -> Option<Instant> {
        let deadlines = self.asked.iter().filter_map(|entry| match entry.stage {
            EntryStage::Running { .. } => entry.deadline,
            EntryStage::Failed { .. } => None,
        });
        let next = (!self.to_ask.is_empty()).then_some(self.next_start);
        deadlines.chain(next).min()
    }

    /// The engine whose task this is, as long as its answer is wanted.
    fn index_of(&self, id: tokio::task::Id) -> Option<usize> {
        self.asked.iter().position(|entry| match &entry.stage {
            EntryStage::Running { task, .. } => task.id() == id,
            EntryStage::Failed { .. } => false,
        })
    }

    /// Starts the next engine that is not at rest; `false` when there is none.
    fn start_next(&mut self) -> bool {
        while let Some(link) = self.to_ask.pop_front() {
            let now = Instant::now();
            // Whoever is asked when the others have used up the time would only be found too slow.
            let left = self.end.saturating_duration_since(now);
            if !link.engine.is_local() && !self.asked.is_empty() && left < TIME_LEFT_MIN.min(self.share / 2) {
                self.has_no_time(link, now);
                continue;
            }
            let turn = match Turn::take(&link.breaker, now) {
                Ok(turn) => turn,
                Err((left, on_trial)) => {
                    self.passed_over(link, now, left, on_trial);
                    continue;
                }
            };
            let token = self.request.cancel.child_token();
            let request = Request {
                cancel: token.clone(),
                ..self.request.clone()
            };
            let engine = Arc::clone(&link.engine);
            // A task of its own: a panic is this engine's failure, and one that blocks does not hold up the others.
            let task = self
                .tasks
                .spawn(async move { engine.transcribe(request).await }.in_current_span());
            let own = self.policy.deadlines.get(link.engine.name());
            let own = own.map(|deadline| now + *deadline + self.growth);
            let deadline = if link.engine.is_local() {
                own
            } else {
                Some(own.map_or(self.end, |own| own.min(self.end)))
            };
            self.next_start = now + self.share;
            self.asked.push(Entry {
                model: self.model(link),
                link,
                started: now,
                deadline,
                stage: EntryStage::Running { turn, token, task },
            });
            return true;
        }
        false
    }

    fn passed_over(&mut self, link: &'a Link, now: Instant, left: Duration, on_trial: bool) {
        let text = resting_text(left, on_trial);
        self.not_asked(link, now, FailureClass::Resting, text, Hope::Rest(left));
    }

    fn has_no_time(&mut self, link: &'a Link, now: Instant) {
        let text = "the engines before it left it no time".to_owned();
        self.not_asked(link, now, FailureClass::Timeout, text, Hope::Again(None));
    }

    /// The model that is asked for.
    fn model(&self, link: &Link) -> String {
        self.request.model.clone().unwrap_or_else(|| link.engine.model())
    }

    fn not_asked(&mut self, link: &'a Link, now: Instant, class: FailureClass, text: String, hope: Hope) {
        self.asked.push(Entry {
            model: self.model(link),
            link,
            started: now,
            deadline: None,
            stage: EntryStage::Failed {
                class,
                text,
                elapsed: Duration::ZERO,
                hope,
            },
        });
    }

    /// Ends what is over its deadline, and starts the next engine when its time has come.
    fn time_passed(&mut self) {
        let now = Instant::now();
        let mut is_due = self.next_start <= now;
        for index in 0..self.asked.len() {
            let entry = &self.asked[index];
            let is_over = entry.deadline.is_some_and(|deadline| deadline <= now);
            if is_over && let EntryStage::Running { token, task, .. } = &entry.stage {
                token.cancel();
                task.abort();
                let waited = (now - entry.started).as_secs_f64();
                let error = EngineError::Unavailable {
                    class: FailureClass::Timeout,
                    text: format!("no answer within {waited:.0} s"),
                    after: None,
                    source: None,
                };
                self.failed(index, error);
                is_due = true;
            }
        }
        if is_due {
            self.start_next();
        }
    }

    /// Notes a failure.
    fn failed(&mut self, index: usize, error: EngineError) {
        let (class, verdict, hope) = judge(&error, self.request.model.is_some());
        let text = match &error {
            // Nobody asked it to: those that were asked to are not heard any more.
            EngineError::Cancelled => "it stopped without an answer".to_owned(),
            _ => error.to_string(),
        };
        let entry = &mut self.asked[index];
        let (now, name) = (Instant::now(), entry.link.engine.name());
        let elapsed = now - entry.started;
        tracing::warn!(
            engine.name = name,
            engine.elapsed_ms = millis(elapsed),
            failure.class = class.token(),
            error = %callfold_kit::chain(&error),
            "engine {name} gave no text"
        );
        let stage = EntryStage::Failed {
            class,
            text: text.clone(),
            elapsed,
            hope,
        };
        if let EntryStage::Running { turn, .. } = std::mem::replace(&mut entry.stage, stage) {
            match verdict {
                Verdict::Failed(blow) => turn.failed(now, blow, &text),
                Verdict::Answered => turn.answered(),
                Verdict::None => drop(turn),
            }
        }
    }

    /// Stops the others and closes the round.
    fn won(mut self, winner: usize, recognised: Recognised) -> Answer {
        let now = Instant::now();
        let (engine, elapsed_ms) = {
            let entry = &self.asked[winner];
            (entry.link.engine.name().to_owned(), millis(now - entry.started))
        };
        for index in 0..self.asked.len() {
            if index == winner {
                continue;
            }
            let entry = &mut self.asked[index];
            let text = format!("{engine} answered first");
            let stage = EntryStage::Failed {
                class: FailureClass::Overtaken,
                text: text.clone(),
                elapsed: now - entry.started,
                hope: Hope::Never,
            };
            if matches!(entry.stage, EntryStage::Running { .. })
                && let EntryStage::Running { turn, token, task } = std::mem::replace(&mut entry.stage, stage)
            {
                token.cancel();
                task.abort();
                // One that began later was not slow, nor one that was joined before its share was over.
                if index < winner && now - entry.started >= self.share {
                    turn.failed(now, Blow::Passing { after: None }, "too slow");
                }
            }
        }
        let won = self.asked.remove(winner);
        if let EntryStage::Running { turn, .. } = won.stage {
            turn.answered();
        }
        Answer {
            recognised,
            engine,
            elapsed_ms,
            failed: self.asked.iter().filter_map(Entry::failure).collect(),
        }
    }

    /// Stops all that run, without a verdict.
    fn stop_all(&mut self) {
        for entry in &self.asked {
            if let EntryStage::Running { token, task, .. } = &entry.stage {
                token.cancel();
                task.abort();
            }
        }
    }

    /// Every engine failed: what is to be hoped for.
    fn nothing_heard(self) -> ChainError {
        let now = Instant::now();
        let mut soonest: Option<Duration> = None;
        let (mut is_hopeless, mut all_rest, mut all_wish) = (true, true, true);
        for entry in &self.asked {
            let EntryStage::Failed { hope, .. } = entry.stage else {
                continue;
            };
            let wish = match hope {
                Hope::Never => continue,
                Hope::Rest(left) => Some(left),
                Hope::Own => {
                    all_rest = false;
                    None
                }
                // It failed just now, and that may have been once too often.
                Hope::Again(wish) => match entry.link.rests_for(now) {
                    Some(left) => Some(left),
                    None => {
                        all_rest = false;
                        wish
                    }
                },
            };
            is_hopeless = false;
            match wish {
                Some(wish) => soonest = Some(soonest.map_or(wish, |soonest| soonest.min(wish))),
                None => all_wish = false,
            }
        }
        let outlook = match soonest {
            _ if is_hopeless => Outlook::Never,
            Some(after) if all_rest => Outlook::Resting { after },
            soonest => Outlook::Again {
                after: soonest.filter(|_| all_wish),
            },
        };
        ChainError::Failed {
            failed: self.asked.iter().filter_map(Entry::failure).collect(),
            outlook,
        }
    }
}

impl Link {
    /// How long it rests from now on; `None`: it works. A rest that is over and was not ended by an answer is still one.
    fn rests_for(&self, now: Instant) -> Option<Duration> {
        let breaker = self.breaker.as_ref()?;
        match breaker::with(breaker, |breaker| breaker.look(now)) {
            Permission::Rest { left, .. } => Some(left),
            Permission::Trial => Some(Duration::ZERO),
            Permission::Ask => None,
        }
    }
}

impl Entry<'_> {
    fn failure(&self) -> Option<EngineFailure> {
        let EntryStage::Failed {
            class, text, elapsed, ..
        } = &self.stage
        else {
            return None;
        };
        Some(EngineFailure {
            engine: self.link.engine.name().to_owned(),
            model: self.model.clone(),
            class: *class,
            text: text.clone(),
            elapsed_ms: millis(*elapsed),
        })
    }
}

fn resting_text(left: Duration, on_trial: bool) -> String {
    if on_trial {
        return "resting, and just tried with another recording".to_owned();
    }
    // Rounded up: "0 s more" would be none.
    let secs = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    format!("resting for {secs} s more")
}

/// What a failure says about an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It answered, if only to say no.
    Answered,
    /// It failed.
    Failed(Blow),
    /// Nothing: something failed in this process before or after it was asked.
    None,
}

/// What a failure says about the recording, and about the engine. `is_wished`: a re-run asked for a model by name, and that
/// the engine does not have it, or may not use it, says nothing about the model that it uses for all others.
fn judge(error: &EngineError, is_wished: bool) -> (FailureClass, Verdict, Hope) {
    use FailureClass as Class;
    match error {
        EngineError::Rejected {
            class: class @ (Class::NotFound | Class::Refused | Class::NotAllowed),
            ..
        }
        | EngineError::Unavailable {
            class: class @ (Class::NotFound | Class::Refused | Class::NotAllowed),
            ..
        } if is_wished => (*class, Verdict::Answered, Hope::Never),
        EngineError::Unavailable { class, after, .. } => {
            let verdict = match class {
                Class::Storage | Class::Internal => Verdict::None,
                Class::Credentials | Class::NotFound | Class::Refused | Class::NotAllowed => {
                    Verdict::Failed(Blow::Lasting)
                }
                _ => Verdict::Failed(Blow::Passing { after: *after }),
            };
            let hope = match verdict {
                Verdict::None => Hope::Own,
                Verdict::Answered | Verdict::Failed(_) => Hope::Again(*after),
            };
            (*class, verdict, hope)
        }
        // Whatever the recording: it is asked again when somebody may have mended it.
        EngineError::Rejected {
            class: class @ (Class::Credentials | Class::NotFound),
            ..
        } => (*class, Verdict::Failed(Blow::Lasting), Hope::Again(None)),
        EngineError::Rejected {
            class: class @ (Class::Storage | Class::Internal),
            ..
        } => (*class, Verdict::None, Hope::Never),
        EngineError::Rejected { class, .. } => (*class, Verdict::Answered, Hope::Never),
        EngineError::Cancelled => (
            Class::WorkerLost,
            Verdict::Failed(Blow::Passing { after: None }),
            Hope::Again(None),
        ),
    }
}

fn panicked(error: tokio::task::JoinError) -> EngineError {
    EngineError::Unavailable {
        class: FailureClass::Internal,
        text: "the engine panicked".to_owned(),
        after: None,
        // The message of the panic may quote what it was working on.
        source: error.is_cancelled().then(|| error.into()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
