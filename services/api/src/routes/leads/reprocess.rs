//! `POST /api/v1/leads/{call_sid}/reprocess`: stages run again.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use callfold_kit::bus::Published;
use callfold_lead::Lead;
use callfold_schema::event::ReprocessRequested;
use callfold_schema::{CallSid, Key, NewEvent, Run, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::read_lead;
use super::write::{Seen, answer, if_match, request_hash};
use crate::app::{App, AppState};
use crate::auth::SignedIn;
use crate::error::ApiError;
use crate::query::call_sid;

/// How long the broker may take.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);
/// The longest name of an engine or a model, in characters.
const NAME_CHARS_MAX: usize = 100;
/// The longest reason or remark, in characters.
const TEXT_CHARS_MAX: usize = 2_000;

/// What is to be run again, and how.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReprocessBody {
    /// The first stage that works again; the later ones follow.
    pub(crate) from: Stage,
    /// The engine of the first stage that has engines; left out: as the settings say.
    #[serde(default)]
    pub(crate) engine: Option<String>,
    /// The engine's model.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// What the model that summarises is told besides.
    #[serde(default)]
    pub(crate) prompt: Option<String>,
    /// Why.
    #[serde(default)]
    pub(crate) why: Option<String>,
    /// Hold the result for comparison instead of showing it.
    #[serde(default)]
    pub(crate) hold: bool,
}

/// A re-run that was asked for.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ReprocessAnswer {
    /// The call.
    call_sid: CallSid,
    /// The number of the run.
    run: Run,
}

impl ReprocessBody {
    fn checked(self) -> Result<Self, ApiError> {
        let fits = |text: &Option<String>, chars_max: usize| {
            text.as_ref()
                .is_none_or(|text| !text.trim().is_empty() && text.chars().count() <= chars_max)
        };
        if !fits(&self.engine, NAME_CHARS_MAX) || !fits(&self.model, NAME_CHARS_MAX) {
            return Err(ApiError::BadBody("engine and model have 1 to 100 characters"));
        }
        if !fits(&self.why, TEXT_CHARS_MAX) || !fits(&self.prompt, TEXT_CHARS_MAX) {
            return Err(ApiError::BadBody("why and prompt have 1 to 2,000 characters"));
        }
        Ok(self)
    }
}

/// Asks for a re-run; the answer comes before it begins.
pub(crate) async fn reprocess(
    State(app): State<App>,
    SignedIn(who): SignedIn,
    Path(sid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let call_sid = call_sid(&sid)?;
    let asked: ReprocessBody = serde_json::from_slice(&body).map_err(|_| {
        ApiError::BadBody(
            "an object with from (download, transcribe or summarize) and, if wanted, engine, model, prompt, why, hold",
        )
    })?;
    let request = request_hash(&headers, &call_sid, &body)?;
    let seen = if_match(&headers)?;
    Ok(
        match ask(&app, &call_sid, asked, seen, &who.name, request).await? {
            Asked::Run(run, _) => {
                (StatusCode::ACCEPTED, Json(ReprocessAnswer { call_sid, run })).into_response()
            }
            Asked::Stale(lead) => answer(StatusCode::PRECONDITION_FAILED, *lead),
        },
    )
}

/// How asking went.
pub(crate) enum Asked {
    /// The run, and the position of the request; `None` where the same request was there already.
    Run(Run, Option<u64>),
    /// The lead is not what the client has seen.
    Stale(Box<Lead>),
}

/// Asks for a re-run: the one way from a person to a `reprocess_requested` of one call.
pub(crate) async fn ask(
    app: &AppState,
    call_sid: &CallSid,
    asked: ReprocessBody,
    seen: Option<Seen>,
    by: &str,
    request: Option<String>,
) -> Result<Asked, ApiError> {
    let asked = asked.checked()?;
    let lead = read_lead(app, call_sid).await?;
    let run = run_of(app, request).await?;
    // A request that comes again finds its run on the card, whose position has moved since.
    if lead.runs.iter().any(|known| known.run == run) {
        return Ok(Asked::Run(run, None));
    }
    if let Some(Seen::At(position)) = seen
        && position != lead.position
    {
        return Ok(Asked::Stale(Box::new(lead)));
    }
    let inputs = lead.rerun_inputs(asked.from);
    if inputs.is_empty() {
        return Err(ApiError::Conflict(
            "There is nothing for this stage to begin with; run an earlier one again.",
        ));
    }
    let event = ReprocessRequested {
        run,
        from: asked.from,
        by: by.to_owned(),
        why: asked.why,
        engine: asked.engine,
        model: asked.model,
        prompt: asked.prompt,
        campaign: None,
        hold: asked.hold,
        inputs,
    };
    let event = NewEvent::new(call_sid.clone(), Key::run(run), app.clock.now(), event);
    let published = app
        .bus
        .publish(&event, PUBLISH_WAIT)
        .await
        .map_err(ApiError::Publish)?;
    Ok(Asked::Run(
        run,
        match published {
            Published::Recorded { position } => Some(position),
            Published::AlreadyRecorded => None,
        },
    ))
}

/// A new number, or the one that the same request got before: kept first, so that a lost answer loses nothing.
async fn run_of(app: &AppState, request: Option<String>) -> Result<Run, ApiError> {
    let run = Run::mint(app.clock.now(), rand::random());
    let Some(request) = request else { return Ok(run) };
    let is_new = app
        .requests
        .create(&request, run.to_string().into())
        .await
        .map_err(ApiError::Stream)?;
    if is_new {
        return Ok(run);
    }
    let kept = app.requests.get(&request).await.map_err(ApiError::Stream)?;
    let kept = kept.and_then(|kept| std::str::from_utf8(&kept).ok()?.parse().ok());
    Ok(kept.map_or(run, Run))
}
