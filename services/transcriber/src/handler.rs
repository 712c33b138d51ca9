//! One recording: fetch, decode, recognise.
//!
//! Duplicates: an input may come again after a crash or a lost acknowledgement. The loop that calls this asks the
//! stream for the answer first, and an answer published twice is recorded once; what is done twice is work.

use std::io::Seek as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use callfold_kit::audio::{AudioError, Limits, decode_reader};
use callfold_kit::blob::{BlobError, Blobs};
use callfold_kit::metric::{CounterName, Metrics};
use callfold_kit::stage::{Failure, Job, Outcome, StageHandler};
use callfold_schema::event::{
    EngineFailureV1, FailureClass, RecordingDownloaded, SegmentV1, TranscriptReady,
};
use callfold_schema::{Event, Stage};

use crate::audio::Audio16k;
use crate::engine::{Answer, Chain, ChainError, EngineFailure};

/// Largest recording that is fetched from the store, in bytes: 4 h of two channels at 8 kHz and 16 bit, and some more.
pub const RECORDING_BYTES_MAX: u64 = 512 << 20;
/// How often a recording that waits for a model is looked at.
const NO_MODEL_DELAY: Duration = Duration::from_secs(60);
/// When work that a stop has ended goes on.
const STOPPED_DELAY: Duration = Duration::from_secs(1);

/// The stage's handler.
pub struct Handler {
    blobs: Blobs,
    chain: Chain,
    limits: Limits,
    work_dir: PathBuf,
    metrics: Metrics,
}

impl Handler {
    /// A handler that reads recordings from `blobs` and asks the engines of `chain`. While a recording is decoded it is
    /// in a file without a name in `work_dir`; `None`: the system's folder for temporary files.
    pub fn new(blobs: Blobs, chain: Chain, metrics: Metrics, work_dir: Option<PathBuf>) -> Self {
        Self {
            blobs,
            chain,
            limits: Limits::default(),
            work_dir: work_dir.unwrap_or_else(std::env::temp_dir),
            metrics,
        }
    }

    async fn transcribe(&self, job: &Job, input: &RecordingDownloaded) -> Result<TranscriptReady, Outcome> {
        let started = Instant::now();
        if self.chain.is_empty() {
            return Err(Outcome::Waiting {
                text: ChainError::NoEngine.to_string(),
                after: NO_MODEL_DELAY,
            });
        }
        let audio = Arc::new(self.audio(input).await?);
        let result = self.chain.transcribe(&audio, &job.cancel).await;
        let audio_ms = audio.duration_ms();
        // A long call is large; nothing below needs it.
        drop(audio);
        let answer = result.map_err(|error| self.failed(error))?;
        self.count_failed(&answer.failed);
        self.count(&answer.engine, "done");
        Ok(transcript(answer, audio_ms, millis(started.elapsed())))
    }

    /// The recording's samples. What is in memory twice, is so for one channel at a time.
    async fn audio(&self, input: &RecordingDownloaded) -> Result<Audio16k, Outcome> {
        // Without a name: nobody else can open it, and it is gone with the handle even when the process is killed.
        let file = tempfile::tempfile_in(&self.work_dir)
            .map_err(|error| storage(format!("could not create a temporary file: {}", error.kind())))?;
        let mut file = tokio::fs::File::from_std(file);
        match self
            .blobs
            .get_to(&input.blob_key, &mut file, RECORDING_BYTES_MAX)
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
        let (mut file, limits) = (file.into_std().await, self.limits);
        tokio::task::spawn_blocking(move || {
            file.rewind().map_err(|error| unreadable(AudioError::Io(error)))?;
            let pcm = decode_reader(file, &limits).map_err(unreadable)?;
            Audio16k::from_pcm(pcm)
                .map_err(|error| Outcome::Reject(Failure::new(FailureClass::Invalid, error.to_string())))
        })
        .await
        .map_err(|_| {
            Outcome::Retry(Failure::new(
                FailureClass::Internal,
                "decoding the recording panicked",
            ))
        })?
    }

    fn failed(&self, error: ChainError) -> Outcome {
        let failure = Failure::new(error.class(), error.to_string());
        match error {
            ChainError::NoEngine => Outcome::Waiting {
                text: failure.text,
                after: NO_MODEL_DELAY,
            },
            // Being told to stop is no failure of the recording: nothing is counted.
            ChainError::Cancelled => Outcome::Waiting {
                text: "the transcriber was stopped; it goes on when it runs again".to_owned(),
                after: STOPPED_DELAY,
            },
            ChainError::Failed { failed, retry } => {
                self.count_failed(&failed);
                if retry {
                    Outcome::Retry(failure)
                } else {
                    Outcome::Reject(failure)
                }
            }
        }
    }

    fn count_failed(&self, failed: &[EngineFailure]) {
        failed
            .iter()
            .for_each(|failure| self.count(&failure.engine, failure.class.token()));
    }

    fn count(&self, engine: &str, outcome: &str) {
        let labels = [
            ("stage", Stage::Transcribe.token()),
            ("engine", engine),
            ("outcome", outcome),
        ];
        self.metrics.count(CounterName::EngineCalls, &labels);
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

fn transcript(answer: Answer, audio_ms: u64, elapsed_ms: u64) -> TranscriptReady {
    let Answer {
        recognised,
        engine,
        model,
        failed,
    } = answer;
    TranscriptReady {
        text: recognised.text(),
        segments: recognised
            .segments
            .into_iter()
            .map(|segment| SegmentV1 {
                start_ms: segment.start_ms,
                end_ms: segment.end_ms,
                channel: segment.channel,
                text: segment.text,
                confidence: segment.confidence,
                words: Vec::new(),
            })
            .collect(),
        language: recognised.language,
        engine,
        model,
        failed_engines: failed
            .into_iter()
            .map(|failure| EngineFailureV1 {
                engine: failure.engine,
                class: failure.class,
                text: failure.text,
                elapsed_ms: failure.elapsed_ms,
            })
            .collect(),
        audio_ms,
        elapsed_ms,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
