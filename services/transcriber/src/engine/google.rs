//! Google Speech-to-Text v2, through Google's own client.
//!
//! Each channel is sent as a file of its own, since channels are billed apart either way; silent stretches are not sent.
//! The service takes less than a minute at once: longer audio is cut at its quietest moments, and the pieces are
//! recognised beside each other. One piece that fails ends the others and the whole: half a transcript is none.
//!
//! The client does not try again by itself; when, and whether at all, is the chain's decision.

mod answer;
mod config;
mod error;
mod key;
mod offer;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use callfold_kit::clock::{SharedClock, SystemClock};
use callfold_schema::event::FailureClass;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use google_cloud_auth::credentials::service_account;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_speech_v2::client::Speech;
use google_cloud_speech_v2::model::phrase_set::Phrase;
use google_cloud_speech_v2::model::speech_adaptation::AdaptationPhraseSet;
use google_cloud_speech_v2::model::{
    AutoDetectDecodingConfig, PhraseSet, RecognitionConfig, RecognitionFeatures, SpeechAdaptation,
};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::{Engine, EngineError, Recognised, Request, is_model_name};
use crate::audio::Audio16k;
use crate::speech::{Piece, audible_plan, is_silent};
use answer::Heard;
use config::{domain_language, google_language};

pub use config::{GoogleConfig, PHRASE_CHARS_MAX, PHRASES_MAX, REQUEST_TIMEOUT, setting};
pub use key::{KeyError, ServiceAccountKey};

/// Audio up to this length is sent whole. The service takes 60 s.
const WHOLE_MAX: Duration = Duration::from_secs(58);
/// Longest piece of audio that is cut.
const PIECE_MAX: Duration = Duration::from_secs(55);
/// Requests of one recording at once. Each holds about 8 MB while it is sent.
const REQUESTS_MAX: usize = 4;
/// How long the question at the start may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// How much a phrase weighs, of 20.
const PHRASE_BOOST: f32 = 10.0;

/// The engine.
pub struct Google {
    config: GoogleConfig,
    clock: SharedClock,
    client: OnceCell<Speech>,
    checked: OnceCell<()>,
}

impl Google {
    /// An engine as configured. Asks nothing.
    pub fn new(config: GoogleConfig) -> Self {
        Self {
            config,
            clock: Arc::new(SystemClock),
            client: OnceCell::new(),
            checked: OnceCell::new(),
        }
    }

    /// The client. It keeps its token fresh by a task, so it is made where tasks can run.
    async fn client(&self) -> Result<&Speech, EngineError> {
        let made = self.client.get_or_try_init(async || {
            callfold_kit::http::install_tls();
            let credentials = service_account::Builder::new(self.config.key.json())
                .build()
                .map_err(|_| ())?;
            Speech::builder()
                .with_endpoint(&self.config.endpoint)
                .with_credentials(credentials)
                .with_retry_policy(NeverRetry)
                .build()
                .await
                .map_err(|_| ())
        });
        // The causes print the key's owner and addresses.
        made.await.map_err(|()| EngineError::Rejected {
            class: FailureClass::Internal,
            text: "the client of Google Speech could not be made".to_owned(),
            source: None,
        })
    }

    fn place(&self) -> String {
        format!(
            "projects/{}/locations/{}",
            self.config.project, self.config.location
        )
    }

    /// Asks the service whether it can do what is configured.
    ///
    /// # Errors
    /// `Rejected` names the setting that is wrong; `Unavailable`: it could not be asked now.
    pub async fn check(&self) -> Result<(), EngineError> {
        let asked = self.client().await?.get_location().set_name(self.place()).send();
        let found = match tokio::time::timeout(CHECK_TIMEOUT, asked).await {
            Ok(Ok(location)) => return offer::judge(&location, &self.config),
            Ok(Err(error)) if self.config.is_loopback() && is_unknown_call(&error) => {
                tracing::warn!(
                    "the server at {} cannot be asked what it offers",
                    setting::ENDPOINT
                );
                return Ok(());
            }
            Ok(Err(error)) => error::failure(&error, self.clock.now()),
            Err(_) => error::timeout(),
        };
        Err(offer::explained(found))
    }

    fn recognition(&self, model: &str, language: &str, phrases: &[String]) -> RecognitionConfig {
        let config = RecognitionConfig::new()
            .set_auto_decoding_config(AutoDetectDecodingConfig::new())
            .set_language_codes([language])
            .set_model(model)
            .set_features(RecognitionFeatures::new().set_enable_automatic_punctuation(true));
        let phrases = self.phrases(phrases);
        if phrases.is_empty() {
            return config;
        }
        let set = AdaptationPhraseSet::new().set_inline_phrase_set(PhraseSet::new().set_phrases(phrases));
        config.set_adaptation(SpeechAdaptation::new().set_phrase_sets([set]))
    }

    /// The call's own phrases, then the configured ones, each once and at most [`PHRASES_MAX`].
    fn phrases(&self, own: &[String]) -> Vec<Phrase> {
        let mut seen = HashSet::new();
        own.iter()
            .chain(&self.config.phrases)
            .map(|phrase| phrase.trim())
            // One that is too long would make the service refuse the recording.
            .filter(|phrase| !phrase.is_empty() && phrase.chars().count() <= PHRASE_CHARS_MAX)
            .filter(|phrase| seen.insert(*phrase))
            .take(PHRASES_MAX)
            .map(|phrase| Phrase::new().set_value(phrase).set_boost(PHRASE_BOOST))
            .collect()
    }

    async fn recognise(&self, request: Request) -> Result<Recognised, EngineError> {
        let Request {
            audio,
            language,
            phrases,
            model,
            ..
        } = request;
        let model = model.unwrap_or_else(|| self.config.model.clone());
        let language = language
            .as_deref()
            .map_or(self.config.language.as_str(), google_language);
        let (cut, spoken) = spoken_pieces(&audio).await?;
        let call = Call {
            client: self.client().await?.clone(),
            recognizer: format!("{}/recognizers/_", self.place()),
            config: self.recognition(&model, language, &phrases),
            timeout: self.config.request_timeout,
            clock: Arc::clone(&self.clock),
            audio,
        };
        let call = &call;
        // The first failure drops the requests that are still on their way.
        let mut heard: Vec<(u64, Heard)> = stream::iter(spoken)
            .map(|piece| async move { Ok::<_, EngineError>((piece.start_ms(), call.ask(piece).await?)) })
            .buffer_unordered(REQUESTS_MAX)
            .try_collect()
            .await?;
        heard.sort_by_key(|(start_ms, _)| *start_ms);
        let told = heard.iter().find_map(|(_, heard)| heard.language.clone());
        let mut segments: Vec<_> = heard.into_iter().flat_map(|(_, heard)| heard.segments).collect();
        segments.sort_by_key(|segment| (segment.start_ms, segment.channel));
        Ok(Recognised {
            language: told.unwrap_or_else(|| domain_language(language).to_owned()),
            model,
            pieces: cut,
            segments,
        })
    }
}

#[async_trait]
impl Engine for Google {
    fn name(&self) -> &str {
        "google"
    }

    fn model(&self) -> String {
        self.config.model.clone()
    }

    /// The service knows more models than the one that is configured, and refuses those that it does not know.
    fn may_have(&self, model: &str) -> bool {
        is_model_name(model)
    }

    /// Refuses what the service says it cannot do. When it cannot be asked now, that is logged and no failure.
    async fn prepare(&self) -> Result<(), EngineError> {
        let checked = self.checked.get_or_try_init(|| self.check()).await;
        match checked {
            Err(error @ EngineError::Unavailable { .. }) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Google Speech could not be asked whether its settings are right"
                );
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    async fn transcribe(&self, request: Request) -> Result<Recognised, EngineError> {
        let cancel = request.cancel.clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(EngineError::Cancelled),
            recognised = Box::pin(self.recognise(request)) => recognised,
        }
    }
}

/// What all requests for one recording have in common.
struct Call {
    client: Speech,
    recognizer: String,
    config: RecognitionConfig,
    timeout: Duration,
    clock: SharedClock,
    audio: Arc<Audio16k>,
}

impl Call {
    async fn ask(&self, piece: Piece) -> Result<Heard, EngineError> {
        let (audio, channel, frames) = (Arc::clone(&self.audio), piece.channel, piece.frames.clone());
        let wav = off_the_threads(move || audio.wav(channel, frames)).await?;
        let asked = self
            .client
            .recognize()
            .set_recognizer(&self.recognizer)
            .set_config(self.config.clone())
            .set_content(Bytes::from(wav))
            .send();
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(told)) => answer::read(told, &piece).map_err(error::nonsense),
            Ok(Err(error)) => Err(error::failure(&error, self.clock.now())),
            Err(_) => Err(error::timeout()),
        }
    }
}

/// Whether a server that is not Google's own does not know the call. Google says so in its own form.
fn is_unknown_call(error: &google_cloud_gax::error::Error) -> bool {
    matches!(error.http_status_code(), Some(404 | 405 | 501)) && error.status().is_none()
}

/// How many pieces the audio was cut into, and those in which there is something to hear.
async fn spoken_pieces(audio: &Arc<Audio16k>) -> Result<(u32, Vec<Piece>), EngineError> {
    let audio = Arc::clone(audio);
    // Whatever ends this future ends looking for speech.
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let found = off_the_threads(move || {
        let is_short = u128::from(audio.duration_ms()) <= WHOLE_MAX.as_millis();
        let max = if is_short { WHOLE_MAX } else { PIECE_MAX };
        let Some(plan) = audible_plan(&audio, max, &|| !stop.is_cancelled())? else {
            return Ok(None);
        };
        let cut = plan.pieces;
        let count = u32::try_from(cut.len()).unwrap_or(u32::MAX).max(1);
        let mut spoken = Vec::new();
        for piece in cut {
            if !is_silent(&audio, &piece)? {
                spoken.push(piece);
            }
        }
        Ok(Some((count, spoken)))
    });
    found.await?.ok_or(EngineError::Cancelled)
}

/// Runs what may read a file, or compute for long, where it holds nobody up.
async fn off_the_threads<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(EngineError::Unavailable {
            class: FailureClass::Storage,
            text: format!("the recording could not be read ({})", error.kind()),
            after: None,
            source: None,
        }),
        Err(_) => Err(error::unavailable(
            FailureClass::Internal,
            "preparing the audio panicked",
            None,
        )),
    }
}
