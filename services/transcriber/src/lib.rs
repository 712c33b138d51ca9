//! callfold-transcriber: a recording in the blob store becomes text.
//!
//! Consumes `recording_downloaded`, answers with `transcript_ready`. The engines are behind one trait
//! ([`engine::Engine`]) and are asked in order; see README.md.

#![deny(unsafe_code)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use callfold_kit::audio::RecordingLimits;
use callfold_kit::blob::Blobs;
use callfold_kit::clock::SharedClock;
use callfold_kit::health::{Health, Part};
use callfold_kit::lifecycle::{BoxError, Lifecycle};
use callfold_kit::metric::Metrics;
use callfold_kit::numbers::Book;
use callfold_kit::stage::{StageDeps, StagePolicy, run_stage};
use callfold_kit::{Bus, Numbers};

pub mod audio;
pub mod chain;
pub mod config;
pub mod engine;
mod filter;
pub mod handler;
pub mod model_choice;
pub mod speech;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use callfold_kit::wer;
pub use config::TranscriberConfig;
pub use handler::Handler;

use chain::Chain;
use config::Engines;
use engine::EngineError;
use engine::whisper::Whisper;
use handler::HandlerParts;
use model_choice::{Change, LOOK_EVERY, ModelChoice};

/// What the transcriber is given.
pub struct Deps {
    /// The broker.
    pub bus: Bus,
    /// The recordings.
    pub blobs: Blobs,
    /// The settings of single numbers.
    pub numbers: Numbers,
    /// The time of day.
    pub clock: SharedClock,
    /// The process's metrics.
    pub metrics: Metrics,
    /// The process's health; parts `transcriber`, `speech-model` and `speech-engines` are added.
    pub health: Health,
    /// Whether the process counts as ready only with the transcriber (where it runs alone).
    pub gates: bool,
}

/// The built service.
pub struct Transcriber {
    chain: Chain,
    /// The engine whose model may change, and what decides which it is.
    whisper: Option<(Arc<Whisper>, ModelChoice)>,
    policy: StagePolicy,
    limits: RecordingLimits,
    work_dir: Option<PathBuf>,
    deps: Deps,
    part: Part,
    model: Part,
}

/// Builds the transcriber. Loads nothing and asks nobody.
///
/// # Errors
/// See [`TranscriberConfig::build`].
pub fn build(config: &TranscriberConfig, deps: Deps) -> Result<Transcriber, BoxError> {
    let Engines { chain, whisper } = config.build()?;
    let built = build_with(config, chain, deps);
    Ok(Transcriber {
        whisper: whisper.map(|whisper| (whisper, config.models.clone())),
        ..built
    })
}

/// As [`build`], with engines of the caller's choice.
pub fn build_with(config: &TranscriberConfig, chain: Chain, deps: Deps) -> Transcriber {
    let part = deps.health.part("transcriber", deps.gates);
    let model = deps.health.part("speech-model", false);
    let engines = deps.health.part("speech-engines", false);
    Transcriber {
        chain: chain.told(deps.metrics.clone(), engines, Arc::clone(&deps.clock)),
        whisper: None,
        policy: config.policy.clone(),
        limits: config.recording,
        work_dir: config.work_dir.clone(),
        deps,
        part,
        model,
    }
}

impl Transcriber {
    /// Tells at any time whether recordings go to the demonstration model first.
    pub fn demonstration(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let chain = self.chain.clone();
        move || {
            chain
                .engines()
                .next()
                .is_some_and(|engine| engine.is_demonstration())
        }
    }

    /// Loads the models, then works until the soft stop. An engine that cannot work as it is configured ends the
    /// process with an error. A model file that no setting names (half copied, say) does not: it is looked at again when it
    /// changes, and until then there is no speech model.
    pub fn run(self, lifecycle: &Lifecycle) {
        let (soft, hard) = (lifecycle.soft(), lifecycle.hard());
        let watcher = lifecycle.clone();
        lifecycle.spawn("transcriber", async move {
            self.part.not_ready("preparing the speech engines");
            // Either arm may be dropped: a model that is being loaded is then loaded for nothing.
            let refused = tokio::select! {
                () = soft.cancelled() => return Ok(()),
                prepared = prepare(&self.chain, self.whisper.as_ref()) => prepared?,
            };
            let Self {
                chain,
                whisper,
                policy,
                limits,
                work_dir,
                deps,
                part,
                model,
            } = self;
            tell_models(&chain, &model);
            if let Some(why) = refused {
                model.not_ready(why);
            }
            let (telling, told_until) = (chain.clone(), watcher.soft());
            watcher.spawn("speech-engines", async move {
                // A rest ends by itself, and nobody says so.
                let mut ticks = tokio::time::interval(LOOK_EVERY);
                loop {
                    tokio::select! {
                        // Nothing is in hand here.
                        () = told_until.cancelled() => return Ok(()),
                        _ = ticks.tick() => telling.tell(),
                    }
                }
            });
            if let Some((whisper, choice)) = whisper {
                let (chain, stop) = (chain.clone(), watcher.soft());
                watcher.spawn("speech-model", async move {
                    let loaded = whisper.source();
                    let tell = |change| {
                        tell_models(&chain, &model);
                        if let Change::Refused(why) = change {
                            model.not_ready(why);
                        }
                        chain.tell();
                    };
                    model_choice::watch(choice, &*whisper, loaded, LOOK_EVERY, stop, tell).await;
                    Ok(())
                });
            }
            let (engines, mut book, watch_until) = (chain.clone(), deps.numbers.subscribe(), watcher.soft());
            watcher.spawn("numbers-engines", async move {
                loop {
                    for engine in absent(&book.borrow_and_update(), &engines) {
                        tracing::warn!(
                            engine.name = engine,
                            "the settings of numbers allow some calls the engine {engine} only, which is not here: their \
                             recordings wait"
                        );
                    }
                    tokio::select! {
                        // Nothing is in hand here.
                        () = watch_until.cancelled() => return Ok(()),
                        changed = book.changed() => if changed.is_err() {
                            return Ok(());
                        },
                    }
                }
            });
            let handler = Handler::new(HandlerParts {
                blobs: deps.blobs,
                chain,
                numbers: Some((deps.bus.clone(), deps.numbers)),
                limits,
                work_dir,
                clock: Arc::clone(&deps.clock),
                metrics: deps.metrics.clone(),
            });
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
}

/// Prepares the engines. A model file that no setting names and that cannot be loaded is given up; says why.
async fn prepare(
    chain: &Chain,
    whisper: Option<&(Arc<Whisper>, ModelChoice)>,
) -> Result<Option<String>, EngineError> {
    let mut refused = None;
    if let Some((whisper, choice)) = whisper
        && choice.setting.is_none()
        && let Err(error) = whisper.prepare_or_give_up().await
    {
        let why = callfold_kit::chain(&error);
        tracing::error!(why, "the speech model cannot be loaded; it is tried again: {why}");
        refused = Some(why);
    }
    chain.prepare().await?;
    Ok(refused)
}

/// The engines of numbers none of whose engines is here, each once.
fn absent(book: &Book, chain: &Chain) -> BTreeSet<String> {
    let all = book.numbers.values().chain([&book.default]);
    all.filter(|settings| !settings.engines.is_empty() && chain.is_empty(Some(&settings.engines)))
        .flat_map(|settings| settings.engines.iter().cloned())
        .collect()
}

/// Says which models recognise speech here.
fn tell_models(chain: &Chain, part: &Part) {
    let mut engines = chain.engines().peekable();
    let Some(first) = engines.peek() else {
        tracing::warn!("no speech model: recordings wait until there is one (`callfold model fetch`)");
        return part.ready_with("no speech model: recordings wait");
    };
    if first.is_demonstration() {
        tracing::warn!("speech is recognised by the demonstration model, which knows a few words only");
    }
    let names: Vec<String> = engines
        .map(|engine| format!("{}:{}", engine.name(), engine.model()))
        .collect();
    part.ready_with(names.join(", "));
}
