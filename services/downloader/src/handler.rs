//! One announced recording → one checked blob.
//!
//! **Order.** Fetch into a temporary file, look at what it is, store it, then say so: the event is the last step, so a
//! blob without an event is possible and an event without a blob is not. The temporary file has no name: a process that
//! is killed leaves no voice behind.
//!
//! **Duplicates.** A recording may be announced again after a crash. The key of the blob follows from call, recording
//! and run, so another download replaces the same bytes by the same bytes.

use std::io::Seek as _;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use callfold_kit::audio::{self, AudioError};
use callfold_kit::blob::{Blobs, recording_key};
use callfold_kit::clock::SharedClock;
use callfold_kit::metric::{CounterName, Metrics};
use callfold_kit::stage::{Failure, Job, Outcome, StageHandler};
use callfold_schema::event::{FailureClass, RecordingDownloaded, RecordingReady};
use callfold_schema::{Event, Stage, UnixMillis};
use callfold_twilio::{AllowedHosts, MediaError, MediaQuery, media_url};
use tokio::time::Instant;

use crate::config::DownloaderConfig;
use crate::fetch::{FetchError, Fetcher, wait_for_media};

/// How long after the announcement a 404 means that the media is still being stored.
pub const MEDIA_PATIENCE: Duration = Duration::from_secs(120);
/// The attempt at which a 404 is believed after that time. One alone proves little: clocks disagree, and a recording
/// may be that old because this service was down.
pub const MISSING_ATTEMPTS: u32 = 3;

/// The handler of the stage `download`.
pub struct Downloader {
    fetcher: Fetcher,
    allowed: AllowedHosts,
    duration_max: Duration,
    work_dir: PathBuf,
    blobs: Blobs,
    clock: SharedClock,
    metrics: Metrics,
}

impl Downloader {
    /// `http` must not follow redirects.
    #[must_use]
    pub fn new(
        http: reqwest::Client,
        config: &DownloaderConfig,
        blobs: Blobs,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Self {
        Self {
            fetcher: Fetcher::new(
                http,
                config.allowed.clone(),
                config.credentials.clone(),
                config.limits,
                clock.clone(),
            ),
            allowed: config.allowed.clone(),
            duration_max: config.limits.duration_max,
            work_dir: config.work_dir.clone().unwrap_or_else(std::env::temp_dir),
            blobs,
            clock,
            metrics,
        }
    }

    async fn download(&self, job: &Job, ready: &RecordingReady) -> Result<RecordingDownloaded, Outcome> {
        let began = Instant::now();
        let query = MediaQuery {
            recording_url: &ready.media_url,
            account_sid: Some(&ready.account_sid),
            recording_sid: Some(job.recording.as_str()),
            channels: ready.channels,
        };
        let url = media_url(&query, &self.allowed).map_err(|error| self.refused(&error))?;
        // Without a name: nobody else can open it, and it is gone with the handle even when the process is killed.
        let temporary = tempfile::tempfile_in(&self.work_dir).map_err(|error| {
            retry(
                FailureClass::Storage,
                format!("could not create a temporary file: {}", error.kind()),
            )
        })?;
        let mut file = tokio::fs::File::from_std(temporary);
        let fetched = self
            .fetcher
            .fetch(&url, &mut file)
            .await
            .map_err(|error| self.not_fetched(job, &error))?;
        let mut file = file.into_std().await;
        self.metrics
            .count_many(CounterName::MediaBytes, &[], fetched.bytes);

        let duration_max = self.duration_max;
        let probed = tokio::task::spawn_blocking(move || {
            file.rewind().map_err(AudioError::Io)?;
            audio::probe_reader(&file, duration_max).map(|info| (info, file))
        })
        .await;
        let (info, file) = probed
            .map_err(|_| retry(FailureClass::Internal, "the look at the file panicked"))?
            .map_err(|error| not_audio(&error))?;
        let channels = u8::try_from(info.channels)
            .map_err(|_| reject(FailureClass::Invalid, "the recording has too many channels"))?;

        let blob_key = recording_key(&job.call_sid, &job.recording, job.run, info.container.extension());
        self.blobs.put(&blob_key, file).await.map_err(|error| {
            // The causes name folders and servers: they are for the operator, not for the card.
            tracing::error!(call.id = %job.call_sid, error = %callfold_kit::chain(&error), "could not store a recording");
            retry(FailureClass::Storage, error.to_string())
        })?;
        Ok(RecordingDownloaded {
            blob_key,
            bytes: fetched.bytes,
            sha256: fetched.sha256,
            content_type: info.content_type.to_owned(),
            duration_ms: info.duration_ms,
            sample_rate_hz: info.sample_rate_hz,
            channels,
            elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The address is one that nothing is fetched from.
    fn refused(&self, error: &MediaError) -> Outcome {
        match error {
            MediaError::Malformed => reject(FailureClass::Invalid, error.to_string()),
            MediaError::NotHttps => reject(FailureClass::NotAllowed, error.to_string()),
            MediaError::HostRefused { .. } => {
                self.metrics.count(CounterName::MediaHostsRefused, &[]);
                let text = format!("{error}; if that host is yours, add it to CALLFOLD_RECORDING_HOSTS");
                reject(FailureClass::NotAllowed, text)
            }
        }
    }

    fn not_fetched(&self, job: &Job, error: &FetchError) -> Outcome {
        if matches!(error, FetchError::RedirectRefused { .. }) {
            self.metrics.count(CounterName::MediaHostsRefused, &[]);
        }
        if matches!(error, FetchError::Missing) {
            if let Some(after) = wait_for_media(age(job.accepted_at, self.clock.now()), MEDIA_PATIENCE) {
                return Outcome::Waiting {
                    text: "the recording is not stored at the media host yet".to_owned(),
                    after,
                };
            }
            if job.attempt < MISSING_ATTEMPTS {
                return retry(error.class(), error.to_string());
            }
        }
        error.outcome()
    }
}

#[async_trait]
impl StageHandler for Downloader {
    fn stage(&self) -> Stage {
        Stage::Download
    }

    async fn handle(&self, job: &Job) -> Outcome {
        let Event::RecordingReady(ready) = &job.record.event else {
            return reject(FailureClass::Internal, "the input is not a recording");
        };
        // Dropping a download leaves nothing but, at most, a blob that is written again.
        tokio::select! {
            biased;
            () = job.cancel.cancelled() => Outcome::Waiting { text: "stopped".to_owned(), after: Duration::ZERO },
            downloaded = self.download(job, ready) => downloaded.map_or_else(|outcome| outcome, Outcome::done),
        }
    }
}

/// How old the announcement is; clocks that disagree make it 0.
fn age(accepted_at: UnixMillis, now: UnixMillis) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(accepted_at.0)).unwrap_or(0))
}

fn not_audio(error: &AudioError) -> Outcome {
    let text = error.to_string();
    match error {
        AudioError::Io(_) => retry(FailureClass::Storage, text),
        // A host in trouble serves error pages and torn files under any name: another time it may serve the recording.
        AudioError::NotAudio { .. } | AudioError::Empty | AudioError::Malformed(_) => {
            retry(FailureClass::Invalid, text)
        }
        AudioError::TooLong { .. } => reject(
            FailureClass::NotAllowed,
            format!("{text} (CALLFOLD_RECORDING_SECS_MAX)"),
        ),
        AudioError::TooManySamples { .. } => reject(FailureClass::NotAllowed, text),
        AudioError::Unsupported(_) => reject(FailureClass::Invalid, text),
    }
}

fn retry(class: FailureClass, text: impl Into<String>) -> Outcome {
    Outcome::Retry(Failure::new(class, text))
}

fn reject(class: FailureClass, text: impl Into<String>) -> Outcome {
    Outcome::Reject(Failure::new(class, text))
}

#[cfg(test)]
mod tests;
