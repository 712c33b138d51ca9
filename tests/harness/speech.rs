//! Speech engines that answer at once, or when they are told to. They stand behind the service's own trait: fetching,
//! decoding and resampling are the real ones.

use std::sync::Arc;

use async_trait::async_trait;
use callfold_transcriber::audio::Audio16k;
use callfold_transcriber::engine::{Engine, EngineError, Recognised, RecognisedSegment, Request};
use tokio::sync::watch;

/// Hears the same in every recording, and nothing in silence.
pub(crate) struct Spoken(pub(crate) &'static str);

impl Spoken {
    /// Something to summarise: a name, a wish, a budget.
    pub(crate) const TEXT: &'static str = "שלום, מדבר דוד כהן מחיפה. אני מעוניין לקבל הצעת מחיר לשיפוץ מטבח. התקציב שלנו שלושים אלף שקל. תחזרו אליי מחר בבוקר.";

    fn recognise(&self, audio: &Audio16k, model: &str) -> Recognised {
        let is_silent = (0..audio.channel_count())
            .flat_map(|channel| audio.read(channel, 0..audio.frames()).unwrap())
            .all(|sample| sample.abs() < 1e-4);
        let segments = if is_silent {
            Vec::new()
        } else {
            vec![RecognisedSegment {
                start_ms: 0,
                end_ms: audio.duration_ms(),
                channel: 0,
                text: self.0.to_owned(),
                confidence: None,
            }]
        };
        Recognised {
            language: "he".to_owned(),
            model: model.to_owned(),
            pieces: 1,
            segments,
        }
    }
}

#[async_trait]
impl Engine for Spoken {
    fn name(&self) -> &str {
        "double"
    }

    fn model(&self) -> String {
        "at-once".to_owned()
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn transcribe(&self, request: Request) -> Result<Recognised, EngineError> {
        Ok(self.recognise(&request.audio, &self.model()))
    }
}

/// Lets recognitions through once it is open.
#[derive(Clone)]
pub(crate) struct Gate(Arc<watch::Sender<(u32, bool)>>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(watch::channel((0, false)).0))
    }

    /// Waits until so many recognitions began.
    pub(crate) async fn began(&self, count: u32) {
        self.0
            .subscribe()
            .wait_for(|(began, _)| *began >= count)
            .await
            .unwrap();
    }

    pub(crate) fn open(&self) {
        self.0.send_modify(|state| state.1 = true);
    }
}

/// [`Spoken`], but only when its gate is open.
pub(crate) struct GatedSpeech {
    pub(crate) speech: Spoken,
    pub(crate) gate: Gate,
}

#[async_trait]
impl Engine for GatedSpeech {
    fn name(&self) -> &str {
        "double"
    }

    fn model(&self) -> String {
        "gated".to_owned()
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn transcribe(&self, request: Request) -> Result<Recognised, EngineError> {
        let mut state = self.gate.0.subscribe();
        self.gate.0.send_modify(|state| state.0 += 1);
        tokio::select! {
            () = request.cancel.cancelled() => Err(EngineError::Cancelled),
            _ = state.wait_for(|(_, is_open)| *is_open) => Ok(self.speech.recognise(&request.audio, &self.model())),
        }
    }
}
