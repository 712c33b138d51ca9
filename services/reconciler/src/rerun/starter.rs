//! A request becomes the input of its first stage.
//!
//! **Duplicates.** A request may come again: its inputs are published under the same keys and are recorded once. One whose
//! input is gone fails for good, as a `stage_failed` of its first stage; one of a call that was erased in the meantime is
//! passed over, for it must leave nothing behind.

use std::time::Duration;

use async_trait::async_trait;
use callfold_kit::bus::{PublishError, ReadError, StoredEvent};
use callfold_kit::lifecycle::BoxError;
use callfold_kit::stage::StageDeps;
use callfold_kit::work::{Worked, Worker, run_worker};
use callfold_kit::{Bus, SharedClock, chain};
use callfold_schema::event::{
    FailureClass, LeadAction, ReprocessRequested, RerunInput, StageFailed, TranscriptReady,
};
use callfold_schema::subject::STARTER_CONSUMER;
use callfold_schema::{
    CallSid, Envelope, Event, EventKind, Key, Lane, NewEvent, Record, Stage, Subject, Unreadable,
};

/// How long a publish may take.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);
/// The pause after an error of the broker.
const BROKER_PAUSE: Duration = Duration::from_secs(1);
/// How long a request of a newer release is left alone before it is looked at again.
const NEWER_EVENT_DELAY: Duration = Duration::from_secs(60);
/// The engine of a text that a person wrote.
pub const PERSON: &str = "person";

/// Why a re-run did not begin.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("could not read what a re-run begins with")]
    Read(#[source] ReadError),
    #[error("what a re-run begins with does not read")]
    Decode(#[source] Unreadable),
    #[error("could not publish what a re-run begins with")]
    Publish(#[source] PublishError),
}

/// Begins re-runs until the soft stop.
///
/// # Errors
/// The durable consumer is there with other settings.
pub async fn run_starter(bus: Bus, deps: StageDeps) -> Result<(), BoxError> {
    let filter = format!(
        "calls.*.{}.{}.*",
        EventKind::ReprocessRequested,
        Lane::Again.token()
    );
    let starter = Starter {
        bus: bus.clone(),
        clock: deps.clock,
    };
    deps.health.ready();
    run_worker(&bus, STARTER_CONSUMER, &filter, &starter, &deps.soft, &deps.hard).await
}

struct Starter {
    bus: Bus,
    clock: SharedClock,
}

#[async_trait]
impl Worker for Starter {
    async fn work(&self, event: &StoredEvent) -> Worked {
        let record = match event.decode() {
            Ok(record) => record,
            Err(unreadable) if unreadable.is_newer() => {
                tracing::error!(position = event.position, error = %unreadable, "a request of a newer release waits");
                return Worked::Again(NEWER_EVENT_DELAY);
            }
            // The projector records and shows it.
            Err(unreadable) => {
                tracing::error!(position = event.position, error = %unreadable, "a request is passed over");
                return Worked::Done;
            }
        };
        let Event::ReprocessRequested(request) = &record.event else {
            return Worked::Done;
        };
        let call = &record.envelope.subject.call_sid;
        match self.start(&record.envelope, request).await {
            Ok(()) => {
                tracing::info!(call.id = %call, run = %request.run, "re-run {} of call {call} begins", request.run);
                Worked::Done
            }
            Err(StartError::Publish(error)) if !error.is_transient() => {
                tracing::error!(call.id = %call, error = %chain(&error), "a re-run cannot begin");
                Worked::Done
            }
            Err(error) => {
                tracing::warn!(call.id = %call, error = %chain(&error), "a re-run begins later");
                Worked::Again(BROKER_PAUSE)
            }
        }
    }
}

impl Starter {
    async fn start(&self, envelope: &Envelope, request: &ReprocessRequested) -> Result<(), StartError> {
        let call = &envelope.subject.call_sid;
        let erased = Subject::new(call.clone(), EventKind::CallErased, Key::single());
        if self.bus.find(&erased).await.map_err(StartError::Read)?.is_some() {
            return Ok(());
        }
        for input in &request.inputs {
            let (key, event): (Key, Event) = match self.input(call, request.from, input).await? {
                Some(event) => (Key::stage(input.recording_sid.clone(), request.run), event),
                None => (
                    Key::failure(input.recording_sid.clone(), request.run, request.from, 1),
                    gone().into(),
                ),
            };
            let event = NewEvent::new(call.clone(), key, self.clock.now(), event).caused_by(envelope);
            self.bus
                .publish(&event, PUBLISH_WAIT)
                .await
                .map_err(StartError::Publish)?;
        }
        Ok(())
    }

    /// What the first stage works on; `None` when it is not in the stream.
    async fn input(
        &self,
        call: &CallSid,
        from: Stage,
        input: &RerunInput,
    ) -> Result<Option<Event>, StartError> {
        let recording = || input.recording_sid.clone();
        if from == Stage::Download {
            let key = Key::recording(recording());
            // What the reconciler found counts only where no live event says the same.
            return match self.read(call, EventKind::RecordingReady, key.clone()).await? {
                Some(event) => Ok(Some(event)),
                None => self.read(call, EventKind::RecordingReady, key.reconciled()).await,
            };
        }
        let key = Key::stage(recording(), input.run);
        let found = self.read(call, from.input(), key).await?;
        match (found, input.corrected) {
            (Some(Event::TranscriptReady(transcript)), Some(revision)) => {
                Ok(Some(match self.corrected(call, input, revision).await? {
                    Some(text) => in_words_of_a_person(transcript, text).into(),
                    None => transcript.into(),
                }))
            }
            (found, _) => Ok(found),
        }
    }

    /// What a person wrote in place of what an engine heard.
    async fn corrected(
        &self,
        call: &CallSid,
        input: &RerunInput,
        revision: u64,
    ) -> Result<Option<String>, StartError> {
        let update = self
            .read(call, EventKind::LeadUpdated, Key::revision(revision))
            .await?;
        Ok(match update {
            Some(Event::LeadUpdated(update)) => match update.action {
                LeadAction::Transcript { recording_sid, text } if recording_sid == input.recording_sid => {
                    text
                }
                _ => None,
            },
            _ => None,
        })
    }

    async fn read(&self, call: &CallSid, kind: EventKind, key: Key) -> Result<Option<Event>, StartError> {
        let found = self
            .bus
            .find(&Subject::new(call.clone(), kind, key))
            .await
            .map_err(StartError::Read)?;
        match found.map(|found| found.decode()) {
            None => Ok(None),
            Some(Ok(Record { event, .. })) => Ok(Some(event)),
            Some(Err(unreadable)) if unreadable.is_newer() => Err(StartError::Decode(unreadable)),
            // As good as gone: it will never read.
            Some(Err(_)) => Ok(None),
        }
    }
}

/// The times stay those of the engine; the words are a person's.
fn in_words_of_a_person(transcript: TranscriptReady, text: String) -> TranscriptReady {
    TranscriptReady {
        text,
        engine: PERSON.to_owned(),
        model: String::new(),
        failed_engines: Vec::new(),
        ..transcript
    }
}

fn gone() -> StageFailed {
    StageFailed {
        attempts_max: 1,
        class: FailureClass::NotFound,
        text: "what the re-run was to begin with is not in the stream".to_owned(),
        next_attempt_at: None,
        delivery: 1,
        elapsed_ms: 0,
    }
}
