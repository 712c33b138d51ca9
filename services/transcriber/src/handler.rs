//! One recording: fetch, decode, recognise.
//!
//! An outage of the engines is no failure of a recording: while all that may answer are at rest it waits, and no attempt
//! is counted, for [`OUTAGE_MAX`]. What ends without any engine's verdict after that counts, so that a recording that makes
//! its engines fail ends as well.
//!
//! Duplicates: an input may come again after a crash or a lost acknowledgement. The loop that calls this asks the
//! stream for the answer first, and an answer published twice is recorded once; what is done twice is work.

use std::io::Seek as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callfold_kit::audio::{AudioError, RecordingLimits};
use callfold_kit::blob::{BlobError, Blobs};
use callfold_kit::clock::SharedClock;
use callfold_kit::metric::{CounterName, HistogramName, Metrics};
use callfold_kit::numbers::CalledError;
use callfold_kit::stage::{Failure, Job, Outcome, StageHandler};
use callfold_kit::{Bus, Numbers};
use callfold_schema::event::{self, FailureClass, RecordingDownloaded, Segment, Speaker, TranscriptReady};
use callfold_schema::{Event, Stage};
use tokio::time::Instant;

use crate::audio::{self, Audio16k, DecodeError};
use crate::chain::{Answer, Chain, ChainError, EngineFailure, Outlook};
use crate::engine::Request;

/// How often a recording that waits for a model is looked at.
const NO_MODEL_DELAY: Duration = Duration::from_secs(60);
/// When it is asked again which number was called.
const UNKNOWN_NUMBER_DELAY: Duration = Duration::from_secs(5);
/// When work that a stop has ended goes on.
const STOPPED_DELAY: Duration = Duration::from_secs(1);

/// How long a recording waits for engines that are all at rest before its attempts count: a long weekend.
pub const OUTAGE_MAX: Duration = Duration::from_secs(4 * 24 * 3_600);
/// The shortest wait for engines at rest.
const REST_DELAY_MIN: Duration = Duration::from_millis(100);

/// What a handler works with.
pub struct HandlerParts {
    /// The recordings.
    pub blobs: Blobs,
    /// The engines.
    pub chain: Chain,
    /// What number was called, and what is known about it; `None`: nothing is.
    pub numbers: Option<(Bus, Numbers)>,
    /// The largest recordings that are worked on.
    pub limits: RecordingLimits,
    /// Where a recording is while it is decoded, in a file without a name; `None`: the system's folder for temporary
    /// files.
    pub work_dir: Option<PathBuf>,
    /// The time of day.
    pub clock: SharedClock,
    /// Where to count.
    pub metrics: Metrics,
}

/// The stage's handler.
pub struct Handler {
    parts: HandlerParts,
}

impl Handler {
    /// A handler of these parts.
    pub fn new(parts: HandlerParts) -> Self {
        Self { parts }
    }

    async fn transcribe(&self, job: &Job, input: &RecordingDownloaded) -> Result<TranscriptReady, Outcome> {
        let started = Instant::now();
        let chain = &self.parts.chain;
        let number = match &self.parts.numbers {
            Some((bus, numbers)) => numbers
                .of_call(bus, &job.call_sid)
                .await
                .map_err(unknown_number)?,
            None => Arc::default(),
        };
        // A number may keep its calls from engines; then it is not helped by others.
        let allowed = Some(&number.engines).filter(|engines| !engines.is_empty());
        let order = allowed.map(|engines| &**engines);
        let wished = self.wished(job, order)?;
        let (engine, model) = wished.map_or((None, None), |(engine, model)| (Some(engine), model));
        let order = engine
            .as_ref()
            .map_or(order, |engine| Some(std::slice::from_ref(engine)));
        // Before anything is fetched: many may wait here, and look again and again.
        if chain.is_empty(order) {
            return Err(no_engine(allowed));
        }
        if let Some(error) = chain.resting(order) {
            return Err(self.failed(job, error));
        }
        let request = Request {
            language: number.spoken_language().map(str::to_owned),
            phrases: Arc::clone(&number.phrases),
            model,
            lane: job.run.lane(),
            cancel: job.cancel.clone(),
            ..Request::new(Arc::new(self.audio(input).await?))
        };
        let result = chain.transcribe(&request, order).await;
        let (audio_ms, channels) = (request.audio.duration_ms(), request.audio.channel_count());
        // A long call is large; nothing below needs it.
        drop(request);
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => return Err(self.failed(job, error)),
        };
        self.count_failed(&answer.failed);
        self.count(&answer.engine, "done", answer.elapsed_ms);
        Ok(transcript(answer, audio_ms, channels, millis(started.elapsed())))
    }

    /// The engine that a re-run was asked for with, and its model. One that is not there, may not be asked, or does not have
    /// the model fails this run for good: somebody who compares engines is not helped by another one's answer.
    fn wished(
        &self,
        job: &Job,
        order: Option<&[String]>,
    ) -> Result<Option<(String, Option<String>)>, Outcome> {
        let Some(request) = &job.request else {
            return Ok(None);
        };
        let (engine, model) = request.wish(Stage::Transcribe);
        let refuse = |class, text: String| Err(Outcome::Reject(Failure::new(class, text)));
        let chain = &self.parts.chain;
        let Some(engine) = engine else {
            return match model {
                None => Ok(None),
                Some(_) => refuse(
                    FailureClass::NotAllowed,
                    "a model was asked for without its engine".to_owned(),
                ),
            };
        };
        let Some(found) = chain.engines().find(|found| found.name() == engine) else {
            let known: Vec<&str> = chain.engines().map(|engine| engine.name()).collect();
            let text = format!(
                "the engine that was asked for is not there; there are: {}",
                known.join(", ")
            );
            return refuse(FailureClass::NotFound, text);
        };
        if order.is_some_and(|order| !order.iter().any(|name| name == engine)) {
            let text = format!("the settings of the number keep its calls from {engine}");
            return refuse(FailureClass::NotAllowed, text);
        }
        if model.is_some_and(|model| !found.may_have(model)) {
            let text = format!("{engine} has the model {}, not the one asked for", found.model());
            return refuse(FailureClass::NotFound, text);
        }
        Ok(Some((engine.to_owned(), model.map(str::to_owned))))
    }

    /// The recording's samples.
    async fn audio(&self, input: &RecordingDownloaded) -> Result<Audio16k, Outcome> {
        // Without a name: nobody else can open it, and it is gone with the handle even when the process is killed.
        let work_dir = self.parts.work_dir.clone().unwrap_or_else(std::env::temp_dir);
        let file = tempfile::tempfile_in(&work_dir)
            .map_err(|error| storage(format!("could not create a temporary file: {}", error.kind())))?;
        let mut file = tokio::fs::File::from_std(file);
        let limits = self.parts.limits;
        match self
            .parts
            .blobs
            .get_to(&input.blob_key, &mut file, limits.bytes_max)
            .await
        {
            Ok(true) => {}
            Ok(false) => return Err(storage("the recording is not in the store")),
            Err(error @ BlobError::TooLarge { .. }) => {
                return Err(Outcome::Reject(Failure::new(
                    FailureClass::NotAllowed,
                    error.to_string(),
                )));
            }
            Err(error) => {
                tracing::warn!(error = %callfold_kit::chain(&error), "could not fetch a recording from the store");
                return Err(storage(error.to_string()));
            }
        }
        let limits = audio::limits(limits.duration_max);
        let mut file = file.into_std().await;
        tokio::task::spawn_blocking(move || {
            file.rewind().map_err(|error| unreadable(AudioError::Io(error)))?;
            Audio16k::decode(file, &limits, &work_dir).map_err(|error| match error {
                DecodeError::Audio(error) => unreadable(error),
                DecodeError::Resample(error) => {
                    Outcome::Reject(Failure::new(FailureClass::Invalid, error.to_string()))
                }
                DecodeError::Keep(error) => {
                    storage(format!("could not keep the decoded samples: {}", error.kind()))
                }
            })
        })
        .await
        .map_err(|_| {
            Outcome::Retry(Failure::new(
                FailureClass::Internal,
                "decoding the recording panicked",
            ))
        })?
    }

    fn failed(&self, job: &Job, error: ChainError) -> Outcome {
        let failure = Failure::new(error.class(), error.to_string());
        let (failed, outlook) = match error {
            ChainError::NoEngine => return no_engine(None),
            // Being told to stop is no failure of the recording: nothing is counted.
            ChainError::Cancelled => {
                return Outcome::Waiting {
                    text: "the transcriber was stopped; it goes on when it runs again".to_owned(),
                    after: STOPPED_DELAY,
                };
            }
            ChainError::Failed { failed, outlook } => (failed, outlook),
        };
        self.count_failed(&failed);
        let age_ms = self.parts.clock.now().0.saturating_sub(job.accepted_at.0);
        let is_old = u64::try_from(age_ms).is_ok_and(|age| age > millis(OUTAGE_MAX));
        match outlook {
            Outlook::Never => Outcome::Reject(failure),
            Outlook::Resting { after } if !is_old => Outcome::Waiting {
                text: failure.text,
                after: after.max(REST_DELAY_MIN),
            },
            Outlook::Resting { after } => Outcome::Retry(Failure {
                after: Some(after),
                ..failure
            }),
            Outlook::Again { after } => Outcome::Retry(Failure { after, ..failure }),
        }
    }

    fn count_failed(&self, failed: &[EngineFailure]) {
        failed
            .iter()
            .for_each(|failure| self.count(&failure.engine, failure.class.token(), failure.elapsed_ms));
    }

    fn count(&self, engine: &str, outcome: &str, elapsed_ms: u64) {
        let labels = [
            ("stage", Stage::Transcribe.token()),
            ("engine", engine),
            ("outcome", outcome),
        ];
        self.parts.metrics.count(CounterName::EngineCalls, &labels);
        if outcome != FailureClass::Resting.token() {
            let seconds = Duration::from_millis(elapsed_ms).as_secs_f64();
            self.parts
                .metrics
                .observe(HistogramName::EngineSeconds, &labels, seconds);
        }
    }
}

#[async_trait]
impl StageHandler for Handler {
    fn stage(&self) -> Stage {
        Stage::Transcribe
    }

    async fn handle(&self, job: &Job) -> Outcome {
        let Event::RecordingDownloaded(input) = &job.record.event else {
            let text = format!("{} is not what this stage works on", job.record.event.kind());
            return Outcome::Reject(Failure::new(FailureClass::Internal, text));
        };
        match self.transcribe(job, input).await {
            Ok(transcript) => Outcome::done(transcript),
            Err(outcome) => outcome,
        }
    }
}

/// `order`: the engines that the call's number allows, where it allows some only.
fn no_engine(order: Option<&Arc<[String]>>) -> Outcome {
    let text = match order {
        None => ChainError::NoEngine.to_string(),
        Some(order) => format!(
            "its number allows only engines that are not here: {}",
            order.join(", ")
        ),
    };
    Outcome::Waiting {
        text,
        after: NO_MODEL_DELAY,
    }
}

/// A number may keep its calls from engines: as long as it is not known which one it is, none is asked.
fn unknown_number(error: CalledError) -> Outcome {
    match error {
        CalledError::Read(_) | CalledError::Timeout => Outcome::Waiting {
            text: error.to_string(),
            after: UNKNOWN_NUMBER_DELAY,
        },
        CalledError::Unreadable => Outcome::Retry(Failure::new(FailureClass::Invalid, error.to_string())),
    }
}

fn storage(text: impl Into<String>) -> Outcome {
    Outcome::Retry(Failure::new(FailureClass::Storage, text))
}

fn unreadable(error: AudioError) -> Outcome {
    let class = match &error {
        AudioError::Io(_) => FailureClass::Storage,
        AudioError::TooLong { .. } | AudioError::TooManySamples { .. } => FailureClass::NotAllowed,
        AudioError::NotAudio { .. }
        | AudioError::Empty
        | AudioError::Unsupported(_)
        | AudioError::Malformed(_) => FailureClass::Invalid,
    };
    let failure = Failure::new(class, error.to_string());
    if error.is_permanent() {
        Outcome::Reject(failure)
    } else {
        Outcome::Retry(failure)
    }
}

fn transcript(answer: Answer, audio_ms: u64, channels: u8, elapsed_ms: u64) -> TranscriptReady {
    let Answer {
        recognised,
        engine,
        failed,
        elapsed_ms: _,
    } = answer;
    TranscriptReady {
        text: recognised.text(),
        segments: recognised
            .segments
            .into_iter()
            .map(|segment| Segment {
                start_ms: segment.start_ms,
                end_ms: segment.end_ms,
                channel: segment.channel,
                speaker: Speaker::of_channel(segment.channel, channels),
                text: segment.text,
                confidence: segment.confidence,
                words: Vec::new(),
            })
            .collect(),
        language: recognised.language,
        engine,
        model: recognised.model,
        failed_engines: failed
            .into_iter()
            .map(|failure| event::EngineFailure {
                engine: failure.engine,
                model: failure.model,
                class: failure.class,
                text: failure.text,
                elapsed_ms: failure.elapsed_ms,
            })
            .collect(),
        pieces: recognised.pieces,
        audio_ms,
        elapsed_ms,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
