//! Twilio's own lists of calls and recordings against the stream: what was lost on the way is published.
//!
//! A webhook that reached nobody within fifteen seconds never comes again; Twilio's REST API still knows the call.
//! [`compare`] decides, purely; [`Reconciliation`] reads a period a day and a page at a time and publishes; `role.rs`
//! does so at start, when the broker is back, and on a schedule.
//!
//! **Duplicates.** Two looks at one period, at once or one after the other, publish under the same keys: recorded once.
//! One that was stopped half-way is simply run again. Erased calls are left alone: their tombstone is asked for first,
//! and what slips through is deleted like anything late.

pub mod compare;
mod role;

use std::time::Duration;

use callfold_kit::bus::{PublishError, Published, ReadError};
use callfold_kit::metric::{CounterName, Metrics};
use callfold_kit::{Bus, SharedClock, chain};
use callfold_schema::{CallSid, EventKind, Key, NewEvent, RecordingSid, Subject, UnixMillis};
use callfold_twilio::rest::{CallEntry, Date, IncomingPhoneNumber, RecordingEntry, RestClient, RestError};
use callfold_twilio::{AuthToken, path};
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::compare::{HeldCall, ListedRecording, is_incoming, listed_recording, missing_of_call};

pub use role::run;

/// How long an event may take to become durable.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);
/// Tries of one request to Twilio or to the broker.
const TRIES: u32 = 6;
/// The pause after a failure, times the try. Twilio's own `Retry-After` goes before it.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that Twilio may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A call that began so shortly ago is left alone: its webhooks may be on their way.
const SETTLING_MS: i64 = 120_000;
/// Most ends of calls that are kept until the recordings of their day were read.
const ENDS_MAX: usize = 200_000;

/// Whose lists are read.
#[derive(Debug, Clone)]
pub struct Account {
    /// `AC…`
    pub sid: String,
    /// At least one; several while rotating.
    pub tokens: Vec<AuthToken>,
}

/// Which calls of the account are callfold's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ours {
    /// Calls to numbers whose voice URL is that of our webhook, and calls the stream knows.
    #[default]
    Numbers,
    /// Every incoming call: numbers behind a TwiML application or a SIP trunk do not name the webhook themselves.
    All,
}

/// What a look at a period found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Incoming calls in the list.
    pub calls: u64,
    /// Recordings in the list.
    pub recordings: u64,
    /// Events that the stream did not hold.
    pub missing: u64,
    /// Events of these that were published.
    pub published: u64,
    /// Events of these that came while it was looked, or that another reconciler published.
    pub already: u64,
    /// Events of these that cannot be recorded at all.
    pub refused: u64,
    /// Calls that are not callfold's.
    pub foreign: u64,
    /// Calls that were erased, and recordings of such.
    pub erased: u64,
    /// Calls and recordings that are too fresh, or that Twilio is not done with: a later look tells.
    pub unfinished: u64,
    /// Entries whose names cannot stand in a subject.
    pub malformed: u64,
}

/// Why a period was not compared to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Twilio's lists.
    #[error("could not read Twilio's lists")]
    Twilio(#[source] RestError),
    /// What the stream holds.
    #[error("could not look into the stream")]
    Read(#[source] ReadError),
    /// An event that was missing.
    #[error("could not publish what was missing")]
    Publish(#[source] PublishError),
    /// A moment that the calendar does not have.
    #[error("the period is not one of the calendar")]
    Period,
    /// More calls without an end than are kept.
    #[error("a day has more than {ENDS_MAX} calls whose end is missing: look at a shorter period first")]
    TooMany,
    /// A stop was asked for. What was published stays; the period can be looked at again.
    #[error("stopped")]
    Stopped,
}

/// A look at the account, ready to be taken.
pub struct Reconciliation {
    /// The stream.
    pub bus: Bus,
    /// The account.
    pub client: RestClient,
    /// The account's name, for media addresses.
    pub account_sid: String,
    /// Where its API is.
    pub api: Url,
    /// Which calls count.
    pub ours: Ours,
    /// The time of day.
    pub clock: SharedClock,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Only tells what is missing.
    pub dry_run: bool,
    /// Ends the look.
    pub stop: CancellationToken,
}

/// How far a look is.
pub type Progress<'a> = &'a mut (dyn FnMut(Date, &Report) + Send);

impl Reconciliation {
    /// Compares the calls that began, and the recordings that were made, from `since` on and before `until`.
    ///
    /// # Errors
    /// See [`ReconcileError`]. Everything published until then is good, and looking again is harmless.
    pub async fn period(
        &self,
        since: UnixMillis,
        until: UnixMillis,
        progress: Progress<'_>,
    ) -> Result<Report, ReconcileError> {
        let mut report = Report::default();
        let numbers = match self.ours {
            Ours::All => None,
            Ours::Numbers => {
                let listed = self.ask(|| self.client.incoming_phone_numbers()).await?;
                Some(
                    listed
                        .into_iter()
                        .filter(calls_here)
                        .map(|number| number.phone_number)
                        .collect(),
                )
            }
        };
        let look = Look {
            since,
            until,
            numbers,
        };
        let mut day = day_of(since)?;
        let last = day_of(UnixMillis(until.0.saturating_sub(1).max(since.0)))?;
        while day <= last {
            self.day(day, &look, &mut report, progress).await?;
            day = day.tomorrow().map_err(|_| ReconcileError::Period)?;
        }
        Ok(report)
    }

    /// Beginnings of calls, then recordings, then ends: no card ever says "no message" in between.
    async fn day(
        &self,
        day: Date,
        look: &Look,
        report: &mut Report,
        progress: Progress<'_>,
    ) -> Result<(), ReconcileError> {
        let mut ends = Vec::new();
        let mut page = Some(self.ask(|| self.client.calls_of_day(day)).await?);
        while let Some(calls) = page {
            for entry in &calls.entries {
                self.call(entry, look, report, &mut ends).await?;
            }
            progress(day, report);
            page = self.ask(|| self.client.page_behind(&calls)).await?;
        }
        let mut page = Some(self.ask(|| self.client.recordings_of_day(day)).await?);
        while let Some(recordings) = page {
            for entry in &recordings.entries {
                self.recording(entry, look, report).await?;
            }
            progress(day, report);
            page = self.ask(|| self.client.page_behind(&recordings)).await?;
        }
        for end in ends {
            self.publish(&end, report).await?;
        }
        progress(day, report);
        Ok(())
    }

    async fn call(
        &self,
        entry: &CallEntry,
        look: &Look,
        report: &mut Report,
        ends: &mut Vec<NewEvent>,
    ) -> Result<(), ReconcileError> {
        if !is_incoming(entry) || !look.has(entry.started_ms) {
            return Ok(());
        }
        report.calls += 1;
        if self.is_settling(entry.started_ms) {
            report.unfinished += 1;
            return Ok(());
        }
        let Ok(call_sid) = CallSid::parse(&entry.sid) else {
            report.malformed += 1;
            return Ok(());
        };
        let held = HeldCall {
            started: self
                .holds(&call_sid, EventKind::CallStarted, Key::single())
                .await?,
            ended: self.holds(&call_sid, EventKind::CallEnded, Key::single()).await?,
        };
        if held.started && held.ended {
            return Ok(());
        }
        if self.is_erased(&call_sid).await? {
            report.erased += 1;
            return Ok(());
        }
        if !held.started && !held.ended && !look.is_ours(&entry.to) {
            report.foreign += 1;
            return Ok(());
        }
        if !entry.is_over() {
            report.unfinished += 1;
        }
        let missing = missing_of_call(entry, held, self.clock.now()).unwrap_or_default();
        if let Some(started) = missing.started {
            self.publish(&started, report).await?;
        }
        if let Some(ended) = missing.ended {
            if ends.len() >= ENDS_MAX {
                return Err(ReconcileError::TooMany);
            }
            ends.push(ended);
        }
        Ok(())
    }

    async fn recording(
        &self,
        entry: &RecordingEntry,
        look: &Look,
        report: &mut Report,
    ) -> Result<(), ReconcileError> {
        if !look.has(entry.started_ms) {
            return Ok(());
        }
        report.recordings += 1;
        let told = match listed_recording(entry, &self.api, &self.account_sid, self.clock.now()) {
            ListedRecording::Told(event) => event,
            ListedRecording::Unfinished => {
                report.unfinished += 1;
                return Ok(());
            }
            ListedRecording::Nothing => return Ok(()),
            ListedRecording::Malformed => {
                report.malformed += 1;
                return Ok(());
            }
        };
        let subject = &told.envelope.subject;
        let call_sid = &subject.call_sid;
        let live = Key {
            reconciled: false,
            ..subject.key.clone()
        };
        if self.holds(call_sid, subject.kind, live).await? {
            return Ok(());
        }
        if self.is_settling(entry.started_ms) {
            report.unfinished += 1;
            return Ok(());
        }
        if self.is_erased(call_sid).await? {
            report.erased += 1;
            return Ok(());
        }
        if subject.kind == EventKind::RecordingMissing && self.is_ready(call_sid, entry).await? {
            return Ok(());
        }
        if !self
            .holds(call_sid, EventKind::CallStarted, Key::single())
            .await?
        {
            // Of a call that began on another day, or that is somebody else's.
            let call = self.ask(|| self.client.call(&entry.call_sid)).await?;
            if !call.is_some_and(|call| is_incoming(&call) && look.is_ours(&call.to)) {
                report.foreign += 1;
                return Ok(());
            }
        }
        self.publish(&told, report).await
    }

    async fn is_ready(&self, call_sid: &CallSid, entry: &RecordingEntry) -> Result<bool, ReconcileError> {
        match RecordingSid::parse(&entry.sid) {
            Ok(sid) => {
                self.holds(call_sid, EventKind::RecordingReady, Key::recording(sid))
                    .await
            }
            Err(_) => Ok(false),
        }
    }

    async fn publish(&self, event: &NewEvent, report: &mut Report) -> Result<(), ReconcileError> {
        report.missing += 1;
        if self.dry_run {
            return Ok(());
        }
        let kind = event.envelope.subject.kind;
        let mut tries = 1;
        loop {
            match self.bus.publish(event, PUBLISH_WAIT).await {
                Ok(Published::Recorded { .. }) => {
                    report.published += 1;
                    self.metrics
                        .count(CounterName::Reconciled, &[("kind", kind.token())]);
                    return Ok(());
                }
                Ok(Published::AlreadyRecorded) => {
                    report.already += 1;
                    return Ok(());
                }
                Err(error) if !error.is_transient() => {
                    let call_sid = &event.envelope.subject.call_sid;
                    tracing::error!(call.id = %call_sid, error = %chain(&error), "{kind} of call {call_sid} is missing and cannot be recorded");
                    report.refused += 1;
                    return Ok(());
                }
                Err(error) if tries >= TRIES => return Err(ReconcileError::Publish(error)),
                Err(_) => self.pause(PAUSE * tries).await?,
            }
            tries += 1;
        }
    }

    /// Whether the stream holds the fact, told live or by a reconciler.
    async fn holds(&self, call_sid: &CallSid, kind: EventKind, key: Key) -> Result<bool, ReconcileError> {
        let live = Subject::new(call_sid.clone(), kind, key.clone());
        if self.find(&live).await? {
            return Ok(true);
        }
        self.find(&Subject::new(call_sid.clone(), kind, key.reconciled()))
            .await
    }

    async fn is_erased(&self, call_sid: &CallSid) -> Result<bool, ReconcileError> {
        let tombstone = Subject::new(call_sid.clone(), EventKind::CallErased, Key::single());
        self.find(&tombstone).await
    }

    async fn find(&self, subject: &Subject) -> Result<bool, ReconcileError> {
        let mut tries = 1;
        loop {
            match self.bus.find(subject).await {
                Ok(found) => return Ok(found.is_some()),
                Err(error) if tries >= TRIES => return Err(ReconcileError::Read(error)),
                Err(_) => self.pause(PAUSE * tries).await?,
            }
            tries += 1;
        }
    }

    fn is_settling(&self, began_ms: Option<i64>) -> bool {
        began_ms.is_some_and(|began| began > self.clock.now().0 - SETTLING_MS)
    }

    /// Asks Twilio until it answers, for a while.
    async fn ask<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, ReconcileError>
    where
        F: Future<Output = Result<T, RestError>>,
    {
        let mut tries = 1;
        loop {
            let asked = tokio::select! {
                // A request that is dropped has changed nothing: only lists are asked for.
                () = self.stop.cancelled() => return Err(ReconcileError::Stopped),
                asked = ask() => asked,
            };
            match asked {
                Ok(answer) => return Ok(answer),
                Err(error) if !error.is_transient() || tries >= TRIES => {
                    return Err(ReconcileError::Twilio(error));
                }
                Err(RestError::TooManyRequests {
                    retry_after: Some(wait),
                }) => self.pause(wait.min(PAUSE_MAX)).await?,
                Err(_) => self.pause(PAUSE * tries).await?,
            }
            tries += 1;
        }
    }

    async fn pause(&self, pause: Duration) -> Result<(), ReconcileError> {
        tokio::select! {
            () = self.stop.cancelled() => Err(ReconcileError::Stopped),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }
}

/// What one look is about.
struct Look {
    since: UnixMillis,
    until: UnixMillis,
    /// Numbers whose calls are ours; `None`: all.
    numbers: Option<std::collections::HashSet<String>>,
}

impl Look {
    fn has(&self, began_ms: Option<i64>) -> bool {
        began_ms.is_none_or(|began| (self.since.0..self.until.0).contains(&began))
    }

    fn is_ours(&self, to: &str) -> bool {
        self.numbers.as_ref().is_none_or(|numbers| numbers.contains(to))
    }
}

/// Whether calls to the number come to our webhook, wherever that is reached.
fn calls_here(number: &IncomingPhoneNumber) -> bool {
    let url = number.voice_url.as_deref().and_then(|url| Url::parse(url).ok());
    url.is_some_and(|url| url.path().ends_with(path::VOICE))
}

fn day_of(moment: UnixMillis) -> Result<Date, ReconcileError> {
    let time = jiff::Timestamp::from_millisecond(moment.0).map_err(|_| ReconcileError::Period)?;
    Ok(time.to_zoned(TimeZone::UTC).date())
}

#[cfg(test)]
mod tests;
