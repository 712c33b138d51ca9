//! callfold-transcriber: a recording in the blob store becomes text.
//!
//! Consumes `recording_downloaded`, answers with `transcript_ready`. The engines are behind one trait
//! ([`engine::Engine`]) and are asked in order; see README.md.

#![deny(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;

use callfold_kit::Bus;
use callfold_kit::blob::Blobs;
use callfold_kit::clock::SharedClock;
use callfold_kit::health::{Health, Part};
use callfold_kit::lifecycle::Lifecycle;
use callfold_kit::metric::Metrics;
use callfold_kit::stage::{StageDeps, StagePolicy, run_stage};

pub mod audio;
pub mod config;
pub mod engine;
pub mod handler;
pub mod wer;

pub use config::TranscriberConfig;
pub use handler::Handler;

use engine::Chain;

/// What the transcriber is given.
pub struct Deps {
    /// The broker.
    pub bus: Bus,
    /// The recordings.
    pub blobs: Blobs,
    /// The time of day.
    pub clock: SharedClock,
    /// The process's metrics.
    pub metrics: Metrics,
    /// The process's health; parts `transcriber` and `speech-model` are added.
    pub health: Health,
    /// Whether the process counts as ready only with the transcriber (where it runs alone).
    pub gates: bool,
}

/// The built service.
pub struct Transcriber {
    chain: Chain,
    policy: StagePolicy,
    work_dir: Option<PathBuf>,
    deps: Deps,
    part: Part,
    model: Part,
}

/// Builds the transcriber. Opens and loads nothing.
pub fn build(config: &TranscriberConfig, deps: Deps) -> Transcriber {
    build_with(config.chain(), config.policy.clone(), deps).work_dir(config.work_dir.clone())
}

/// As [`build`], with engines of the caller's choice, and with [`Transcriber::work_dir`] unset.
pub fn build_with(chain: Chain, policy: StagePolicy, deps: Deps) -> Transcriber {
    let part = deps.health.part("transcriber", deps.gates);
    let model = deps.health.part("speech-model", false);
    Transcriber {
        chain,
        policy,
        work_dir: None,
        deps,
        part,
        model,
    }
}

impl Transcriber {
    /// Where recordings are kept while they are decoded; `None`: the system's folder for temporary files.
    #[must_use]
    pub fn work_dir(self, work_dir: Option<PathBuf>) -> Self {
        Self { work_dir, ..self }
    }

    /// Loads the models, then works until the soft stop. An engine that cannot work as it is configured ends the
    /// process with an error.
    pub fn run(self, lifecycle: &Lifecycle) {
        let (soft, hard) = (lifecycle.soft(), lifecycle.hard());
        lifecycle.spawn("transcriber", async move {
            self.part.not_ready("loading the speech model");
            // Either arm may be dropped: a model that is being loaded is then loaded for nothing.
            tokio::select! {
                () = soft.cancelled() => return Ok(()),
                prepared = self.chain.prepare() => prepared?,
            }
            self.tell_model();
            let Self {
                chain,
                policy,
                work_dir,
                deps,
                part,
                model: _,
            } = self;
            let handler = Handler::new(deps.blobs, chain, deps.metrics.clone(), work_dir);
            let stage = StageDeps {
                clock: deps.clock,
                metrics: deps.metrics,
                health: part,
                soft,
                hard,
            };
            run_stage(deps.bus, Arc::new(handler), policy, stage).await
        });
    }

    /// Says which models recognise speech here.
    fn tell_model(&self) {
        let engines = self.chain.engines();
        if engines.is_empty() {
            tracing::warn!("no speech model: recordings wait until WHISPER_MODEL names one");
            return self.model.ready_with("no speech model: recordings wait");
        }
        if engines.iter().all(|engine| engine.is_demonstration()) {
            tracing::warn!("speech is recognised by the demonstration model, which knows a few words only");
        }
        let names: Vec<String> = engines
            .iter()
            .map(|engine| format!("{}:{}", engine.name(), engine.model()))
            .collect();
        self.model.ready_with(names.join(", "));
    }
}
