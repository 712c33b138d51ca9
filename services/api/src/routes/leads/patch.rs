//! `PATCH /api/v1/leads/{call_sid}`: what a person does with a lead.
//!
//! **Who wins.** A change has the number behind the last one, and each number is written once: of two people who have seen the
//! same lead, one writes and the other gets 412 with the newer lead. The table may be behind what was just written: the
//! answer, and the next `If-Match`, are folded here from the same events.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use callfold_kit::bus::{Published, StoredEvent};
use callfold_lead::{Lead, LeadState, PersonChange, RerunState, changes_after, corrections};
use callfold_schema::event::{Disposition, LeadAction, LeadUpdated};
use callfold_schema::{
    CallSid, Event, EventKind, Key, NewEvent, PhoneNumber, Record, RecordingSid, Run, Subject,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::write::{Seen, answer, damaged, fold, if_match, read_state, read_up_to, request_hash, take_in};
use crate::app::{App, AppState};
use crate::auth::SignedIn;
use crate::error::ApiError;
use crate::query::call_sid;

/// How long the broker may take.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);
/// How often a change with `If-Match: *` steps behind somebody else's.
const TRIES_MAX: u32 = 8;
/// How many changes the table may be behind what a person has just done.
const BEHIND_MAX: u64 = 64;
/// How many changes back the same request is looked for.
const REPEAT_REVISIONS: u64 = 16;
/// The longest note, in characters.
const NOTE_CHARS_MAX: usize = 10_000;
/// The longest name, tag or number, in characters.
const NAME_CHARS_MAX: usize = 120;
/// Most tags of a lead.
const TAGS_MAX: usize = 20;
/// The longest corrected transcript, in bytes.
const TRANSCRIPT_BYTES_MAX: usize = 1024 * 1024;

/// One change. Each says the whole new value, so that undoing it is the same change with the value from before.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum LeadChange {
    /// Whether somebody looked at it.
    Seen(bool),
    /// What became of it.
    Disposition(Disposition),
    /// The whole note; empty: none.
    Note(String),
    /// Who looks after it; `null`: nobody.
    Assignee(Option<String>),
    /// All its tags.
    Tags(Vec<String>),
    /// What was said in a recording.
    Transcript {
        /// The recording.
        recording_sid: RecordingSid,
        /// By a person who listened; `null` takes the correction back.
        text: Option<String>,
    },
    /// The caller's name; `null`: the one the summary found.
    CallerName(Option<String>),
    /// The number to call back at; `null`: the one the summary found.
    CallbackNumber(Option<PhoneNumber>),
    /// The run that is shown; `null`: the newest one that is not held.
    Adopt(Option<Run>),
}

impl LeadChange {
    /// Within its bounds.
    fn checked(self) -> Result<LeadAction, ApiError> {
        let name = |text: String, what: &'static str| {
            let text = text.trim().to_owned();
            if text.is_empty() || text.chars().count() > NAME_CHARS_MAX || text.chars().any(char::is_control)
            {
                return Err(ApiError::BadBody(what));
            }
            Ok(text)
        };
        Ok(match self {
            LeadChange::Seen(seen) => LeadAction::Seen { seen },
            LeadChange::Disposition(disposition) => LeadAction::Disposition { disposition },
            LeadChange::Note(text) if text.chars().count() > NOTE_CHARS_MAX => {
                return Err(ApiError::BadBody("a note has 10,000 characters at most"));
            }
            LeadChange::Note(text) => LeadAction::Note { text },
            LeadChange::Assignee(assignee) => LeadAction::Assignee {
                assignee: assignee
                    .map(|text| name(text, "an assignee has 1 to 120 characters"))
                    .transpose()?,
            },
            LeadChange::Tags(tags) => {
                if tags.len() > TAGS_MAX {
                    return Err(ApiError::BadBody("a lead has 20 tags at most"));
                }
                let mut tags = tags
                    .into_iter()
                    .map(|text| name(text, "a tag has 1 to 120 characters"))
                    .collect::<Result<Vec<_>, _>>()?;
                tags.sort_unstable();
                tags.dedup();
                LeadAction::Tags { tags }
            }
            LeadChange::Transcript { recording_sid, text } => {
                if text
                    .as_ref()
                    .is_some_and(|text| text.len() > TRANSCRIPT_BYTES_MAX)
                {
                    return Err(ApiError::BadBody("a transcript has 1 MiB at most"));
                }
                LeadAction::Transcript { recording_sid, text }
            }
            LeadChange::CallerName(given) => LeadAction::CallerName {
                name: given
                    .map(|text| name(text, "a name has 1 to 120 characters"))
                    .transpose()?,
            },
            LeadChange::CallbackNumber(number) => LeadAction::CallbackNumber {
                number: number
                    .map(|number| name(number.0, "a number has 1 to 120 characters").map(PhoneNumber))
                    .transpose()?,
            },
            LeadChange::Adopt(run) => LeadAction::Adopt { run },
        })
    }
}

/// Whether the change makes sense for this lead.
fn check(action: &LeadAction, lead: &Lead) -> Result<(), ApiError> {
    match action {
        LeadAction::Transcript { recording_sid, .. } if lead.recording(recording_sid).is_none() => {
            Err(ApiError::Conflict("The lead has no such recording."))
        }
        LeadAction::Adopt { run: Some(run) } if *run != Run::FIRST => {
            let is_complete = lead
                .runs
                .iter()
                .any(|known| known.run == *run && matches!(known.state, RerunState::Done | RerunState::Held));
            if is_complete {
                Ok(())
            } else {
                Err(ApiError::Conflict(
                    "The lead has no such run, or it is not complete.",
                ))
            }
        }
        _ => Ok(()),
    }
}

/// What a change takes for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// What `If-Match` says: nothing at all may have changed.
    Seen(Seen),
    /// The number of the last change that a person has seen. Changes of other values may have come since, and so may
    /// what stages did: a person who writes a note need not know of them.
    Revision(u64),
}

/// How a change went.
pub(crate) enum Outcome {
    /// It stands: the events with it, and its number; `None` where everything was so already.
    Done(Box<LeadState>, Option<u64>),
    /// Somebody else changed the lead meanwhile: the events with what they did, and the change that stands in the way,
    /// where it is a person's.
    Stale(Box<LeadState>, Option<Box<PersonChange>>),
}

/// Whether one change would undo what the other did.
fn overwrites(action: &LeadAction, other: &LeadAction) -> bool {
    match (action, other) {
        // To have looked at it is true of both.
        (LeadAction::Seen { .. }, _) => false,
        (
            LeadAction::Transcript { recording_sid, .. },
            LeadAction::Transcript {
                recording_sid: other, ..
            },
        ) => recording_sid == other,
        _ => action.token() == other.token(),
    }
}

/// Whether the lead is so already.
fn is_so(action: &LeadAction, lead: &Lead, state: &LeadState) -> Result<bool, ApiError> {
    Ok(match action {
        LeadAction::Seen { seen } => lead.seen == *seen,
        LeadAction::Disposition { disposition } => lead.disposition == *disposition,
        LeadAction::Note { text } => lead.note.as_deref().unwrap_or_default() == text.trim(),
        LeadAction::Assignee { assignee } => lead.assignee == *assignee,
        LeadAction::Tags { tags } => lead.tags == *tags,
        LeadAction::Transcript { recording_sid, text } => {
            let corrected = corrections(state).map_err(damaged)?;
            corrected.get(recording_sid).map(String::as_str) == text.as_deref().map(str::trim)
        }
        LeadAction::Adopt { run } => lead.adopted == *run,
        // Whether it was a person or a summary that said so does not show.
        LeadAction::CallerName { .. } | LeadAction::CallbackNumber { .. } => false,
    })
}

/// The events of a lead with the changes up to `revision`, where the table is behind them. A number that nobody wrote
/// changes nothing.
pub(crate) async fn read_seen(
    app: &AppState,
    call_sid: &CallSid,
    revision: u64,
) -> Result<LeadState, ApiError> {
    let mut state = read_state(app, call_sid).await?;
    let known = fold(&state)?.revision;
    for number in (known..revision.min(known.saturating_add(BEHIND_MAX))).map(|number| number + 1) {
        match change_of(app, call_sid, number, None).await? {
            Some((position, record, _)) => take_in(&mut state, position, &record)?,
            None => break,
        }
    }
    Ok(state)
}

/// Records one change: the one way from a person to a `lead_updated`.
pub(crate) async fn record(
    app: &AppState,
    call_sid: &CallSid,
    basis: Basis,
    change: LeadChange,
    by: &str,
    request: Option<String>,
) -> Result<Outcome, ApiError> {
    let action = change.checked()?;
    // The client may have seen more than the table: the answer to a change of its own.
    let mut state = match basis {
        Basis::Seen(Seen::At(position)) => {
            let mut state = read_state(app, call_sid).await?;
            read_up_to(app, &mut state, position).await?;
            state
        }
        Basis::Seen(Seen::Any) => read_state(app, call_sid).await?,
        Basis::Revision(revision) => read_seen(app, call_sid, revision).await?,
    };
    if let Some(request) = &request
        && let Some((position, record)) = repeated(app, call_sid, fold(&state)?.revision, request).await?
    {
        take_in(&mut state, position, &record)?;
        return Ok(Outcome::Done(Box::new(state), None));
    }
    for _ in 0..TRIES_MAX {
        let lead = fold(&state)?;
        match basis {
            Basis::Seen(Seen::At(position)) if position != lead.position => {
                return Ok(Outcome::Stale(Box::new(state), None));
            }
            Basis::Seen(_) => {}
            Basis::Revision(seen) => {
                if is_so(&action, &lead, &state)? {
                    return Ok(Outcome::Done(Box::new(state), None));
                }
                let since = changes_after(&state, seen).map_err(damaged)?;
                let in_the_way = since
                    .into_iter()
                    .rfind(|change| overwrites(&action, &change.update.action));
                if let Some(change) = in_the_way {
                    return Ok(Outcome::Stale(Box::new(state), Some(Box::new(change))));
                }
            }
        }
        check(&action, &lead)?;
        let revision = lead.revision + 1;
        let update = LeadUpdated {
            revision,
            by: by.to_owned(),
            action: action.clone(),
            request: request.clone(),
        };
        let event = NewEvent::new(call_sid.clone(), Key::revision(revision), app.clock.now(), update);
        let published = app
            .bus
            .publish(&event, PUBLISH_WAIT)
            .await
            .map_err(ApiError::Publish)?;
        if let Published::Recorded { position } = published {
            let record = Record {
                envelope: event.envelope,
                event: event.event,
            };
            take_in(&mut state, position, &record)?;
            return Ok(Outcome::Done(Box::new(state), Some(revision)));
        }
        // Somebody else was faster, or the answer to this very request was lost on its way.
        if let Some((position, record, is_ours)) =
            change_of(app, call_sid, revision, request.as_deref()).await?
        {
            take_in(&mut state, position, &record)?;
            if is_ours {
                return Ok(Outcome::Done(Box::new(state), Some(revision)));
            }
        }
    }
    Err(ApiError::Conflict("Others are changing this lead; try again."))
}

/// Records one change; the answer is the lead it makes.
pub(crate) async fn patch(
    State(app): State<App>,
    SignedIn(who): SignedIn,
    Path(sid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let call_sid = call_sid(&sid)?;
    let change: LeadChange = serde_json::from_slice(&body).map_err(|_| {
        ApiError::BadBody(
            "one of seen, disposition, note, assignee, tags, transcript, caller_name, callback_number, adopt, with its value",
        )
    })?;
    let seen = if_match(&headers)?.ok_or(ApiError::PreconditionRequired)?;
    let request = request_hash(&headers, &call_sid, &body)?;
    Ok(
        match record(&app, &call_sid, Basis::Seen(seen), change, &who.name, request).await? {
            Outcome::Done(state, _) => answer(StatusCode::OK, fold(&state)?),
            Outcome::Stale(state, _) => answer(StatusCode::PRECONDITION_FAILED, fold(&state)?),
        },
    )
}

/// The change with this number, and whether it is of the same request.
async fn change_of(
    app: &AppState,
    call_sid: &CallSid,
    revision: u64,
    request: Option<&str>,
) -> Result<Option<(u64, Record, bool)>, ApiError> {
    let subject = Subject::new(call_sid.clone(), EventKind::LeadUpdated, Key::revision(revision));
    let found: Option<StoredEvent> = app.bus.find(&subject).await.map_err(ApiError::Stream)?;
    Ok(found.and_then(|stored| {
        let record = stored.decode().ok()?;
        let is_ours = match &record.event {
            Event::LeadUpdated(update) => request.is_some() && update.request.as_deref() == request,
            _ => false,
        };
        Some((stored.position, record, is_ours))
    }))
}

/// The change that this request made before.
async fn repeated(
    app: &AppState,
    call_sid: &CallSid,
    newest: u64,
    request: &str,
) -> Result<Option<(u64, Record)>, ApiError> {
    let oldest = newest.saturating_sub(REPEAT_REVISIONS).max(1);
    for revision in (oldest..=newest + 1).rev() {
        if let Some((position, record, true)) = change_of(app, call_sid, revision, Some(request)).await? {
            return Ok(Some((position, record)));
        }
    }
    Ok(None)
}
