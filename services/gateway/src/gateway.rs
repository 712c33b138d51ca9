//! The service: what its routes share, and how it is built.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::post;
use callfold_kit::bus::{Bus, PublishError};
use callfold_kit::chain::chain;
use callfold_kit::clock::SharedClock;
use callfold_kit::health::{Health, Part};
use callfold_kit::lifecycle::Lifecycle;
use callfold_kit::metric::{CounterName, HistogramName, Metrics};
use callfold_kit::numbers::{Book, Numbers};
use callfold_schema::{CallSid, EventKind, Key, NewEvent, PhoneNumber, Subject};
use callfold_twilio::{PublicUrl, Script, SignatureVerifier, path};
use tokio::sync::watch;

use crate::config::GatewayConfig;
use crate::error::Outcome;
use crate::known_calls::KnownCalls;
use crate::numbers::{Answer, Answers};
use crate::routes;
use crate::translate::Fact;
use crate::webhook::WEBHOOK_BYTES_MAX;

/// Longest time the voice webhook waits for its event to become durable. After it the caller hears the greeting anyway.
pub const VOICE_ACCEPT_WAIT: Duration = Duration::from_secs(1);
/// Longest time a callback waits for its event to become durable: below the 3 s after which our overrides have Twilio
/// try again.
pub const CALLBACK_ACCEPT_WAIT: Duration = Duration::from_millis(2_000);
/// Longest time the question whether a call is known may take. Its answer decides between 200 and 204 only.
const KNOWN_WAIT: Duration = Duration::from_millis(500);
/// How often the connection to the broker is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// What the gateway is given.
pub struct Deps {
    /// The broker.
    pub bus: Bus,
    /// The time of day.
    pub clock: SharedClock,
    /// The process's metrics.
    pub metrics: Metrics,
    /// The process's health; the gateway adds a part that gates readiness.
    pub health: Health,
    /// The settings of single numbers.
    pub numbers: Numbers,
}

/// The built service.
pub struct Gateway {
    shared: Shared,
    part: Part,
    /// Changes of the settings of numbers, from the building on.
    changes: watch::Receiver<Arc<Book>>,
}

/// What every route can reach.
pub(crate) type Shared = Arc<Inner>;

pub(crate) struct Inner {
    pub(crate) verifier: Option<SignatureVerifier>,
    pub(crate) public_url: PublicUrl,
    /// What the environment says for numbers without settings of their own.
    script: Script,
    answers: RwLock<Arc<Answers>>,
    /// Kept so that changes of them can be followed: the channel ends with its last owner.
    _numbers: Numbers,
    pub(crate) metrics: Metrics,
    known: KnownCalls,
    bus: Bus,
    clock: SharedClock,
}

/// Builds the gateway for the address that is listened on. Opens nothing.
pub fn build(config: GatewayConfig, local: SocketAddr, deps: Deps) -> Gateway {
    let public_url = config.public_url_at(local);
    let verifier = (!config.tokens.is_empty()).then(|| SignatureVerifier::new(config.tokens));
    if verifier.is_none() && !public_url.is_loopback() {
        // Only loopback may be bound then, so whatever makes the URL public is in front of us and lets anybody in.
        tracing::warn!(
            "PUBLIC_URL is public and webhook signatures are not checked: anybody can post calls; set TWILIO_AUTH_TOKEN"
        );
    }
    let part = deps.health.part("gateway", true);
    let mut changes = deps.numbers.subscribe();
    let answers = Answers::of(&changes.borrow_and_update(), &config.script, &public_url);
    let shared = Arc::new(Inner {
        verifier,
        answers: RwLock::new(Arc::new(answers)),
        _numbers: deps.numbers,
        public_url,
        script: config.script,
        metrics: deps.metrics,
        known: KnownCalls::default(),
        bus: deps.bus,
        clock: deps.clock,
    });
    Gateway {
        shared,
        part,
        changes,
    }
}

impl Gateway {
    /// The webhooks, to be served alone or beside other routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route(path::VOICE, post(routes::voice::voice))
            .route(path::RECORDING_DONE, post(routes::recording::recording_done))
            .route(path::RECORD_ACTION, post(routes::record_action::record_action))
            .route(path::STATUS, post(routes::status::status))
            .route_layer(from_fn_with_state(Arc::clone(&self.shared), measure))
            .layer(DefaultBodyLimit::max(WEBHOOK_BYTES_MAX))
            .with_state(Arc::clone(&self.shared))
    }

    /// The URL under which Twilio is expected to reach the webhooks.
    #[must_use]
    pub fn public_url(&self) -> &PublicUrl {
        &self.shared.public_url
    }

    /// Follows what changes for as long as the process lives: the health part (calls can be accepted while the broker is
    /// connected and has room) and the settings of numbers.
    pub fn watch(&self, lifecycle: &Lifecycle) {
        self.watch_numbers(lifecycle);
        let (bus, part, soft) = (self.shared.bus.clone(), self.part.clone(), lifecycle.soft());
        lifecycle.spawn("gateway-watch", async move {
            let mut every = tokio::time::interval(WATCH_EVERY);
            let mut before = None;
            loop {
                // Both arms only wait: nothing is lost when one of them is dropped.
                tokio::select! {
                    () = soft.cancelled() => break,
                    _ = every.tick() => {}
                }
                let now = (bus.is_connected(), bus.is_nearly_full());
                if before.replace(now) == Some(now) {
                    continue;
                }
                match now {
                    (false, _) => {
                        part.not_ready("the broker is not connected: events cannot be made durable")
                    }
                    (true, true) => part.not_ready("the stream is nearly full: no new calls are taken"),
                    (true, false) => part.ready(),
                }
            }
            part.not_ready("stopping");
            Ok(())
        });
    }

    fn watch_numbers(&self, lifecycle: &Lifecycle) {
        let (shared, mut changes, soft) = (Arc::clone(&self.shared), self.changes.clone(), lifecycle.soft());
        lifecycle.spawn("gateway-numbers", async move {
            loop {
                // Both arms only wait: a change that is not seen now is seen next time.
                tokio::select! {
                    () = soft.cancelled() => return Ok(()),
                    changed = changes.changed() => changed?,
                }
                let (book, shared) = (Arc::clone(&changes.borrow_and_update()), Arc::clone(&shared));
                // Ten thousand numbers take a moment that no caller should wait for.
                let making = move || {
                    let answers = Answers::of(&book, &shared.script, &shared.public_url);
                    *shared.answers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(answers);
                };
                tokio::task::spawn_blocking(making).await?;
            }
        });
    }
}

impl Inner {
    /// What is answered to calls of this number: looked up, not made.
    pub(crate) fn answer(&self, called: &PhoneNumber) -> Arc<Answer> {
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(answers.to(called))
    }

    /// Makes a fact durable. That it was recorded before is a success.
    ///
    /// A failure is counted and logged here, once: it means that a person should look.
    pub(crate) async fn record(
        &self,
        route: &'static str,
        fact: Fact,
        wait: Duration,
    ) -> Result<(), PublishError> {
        let Fact { call_sid, key, event } = fact;
        let kind = event.kind();
        let event = NewEvent::new(call_sid.clone(), key, self.clock.now(), event);
        // The last part of the stream is kept for what ends calls, failures and erasures: no new call begins there.
        let published = if kind == EventKind::CallStarted && self.bus.is_nearly_full() {
            Err(PublishError::Full)
        } else {
            self.bus.publish(&event, wait).await
        };
        match published {
            Ok(_) => Ok(()),
            Err(error) => {
                self.metrics.count(
                    CounterName::WebhookEventsLost,
                    &[("route", route), ("reason", error.label())],
                );
                let cause = chain(&error);
                tracing::error!(
                    call.id = %call_sid, event.kind = %kind, error = %cause,
                    "{kind} of call {call_sid} could not be made durable: {cause}"
                );
                Err(error)
            }
        }
    }

    /// Remembers that a call was heard of.
    pub(crate) fn remember(&self, call: &CallSid) {
        self.known.insert(call);
    }

    /// Whether the call's beginning was recorded; `true` as well when that cannot be found out.
    pub(crate) async fn is_known(&self, call: &CallSid) -> bool {
        if self.known.contains(call) {
            return true;
        }
        let subject = Subject::new(call.clone(), EventKind::CallStarted, Key::single());
        match tokio::time::timeout(KNOWN_WAIT, self.bus.find(&subject)).await {
            Ok(Ok(Some(_))) => {
                self.known.insert(call);
                true
            }
            Ok(Ok(None)) => false,
            Ok(Err(error)) => {
                tracing::warn!(call.id = %call, "could not look up call {call}: {}", chain(&error));
                true
            }
            Err(_) => {
                tracing::warn!(call.id = %call, "looking up call {call} took too long");
                true
            }
        }
    }
}

/// Counts and times every request. Labels come from closed sets only.
async fn measure(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let route = route_label(request.uri().path());
    let started = tokio::time::Instant::now();
    let response = next.run(request).await;
    let outcome = match response.extensions().get::<Outcome>() {
        Some(Outcome(outcome)) => outcome,
        None if response.status().is_success() => "ok",
        None => "refused",
    };
    shared
        .metrics
        .count(CounterName::Webhooks, &[("route", route), ("outcome", outcome)]);
    shared.metrics.observe(
        HistogramName::WebhookSeconds,
        &[("route", route)],
        started.elapsed().as_secs_f64(),
    );
    if matches!(outcome, "unsigned" | "wrong_signature") {
        tracing::warn!(
            http.route = route,
            "a request to {route} was refused ({outcome}); if it was Twilio's, compare PUBLIC_URL and TWILIO_AUTH_TOKEN \
             with the number's settings"
        );
    }
    response
}

fn route_label(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("voice") => "voice",
        Some("recording_done") => "recording_done",
        Some("record_action") => "record_action",
        Some("status") => "status",
        _ => "other",
    }
}
