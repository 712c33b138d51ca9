//! `GET /api/v1/leads/{call_sid}/events`: the story of a call, decoded and told in plain words.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use callfold_kit::bus::StoredEvent;
use callfold_lead::Told;
use callfold_schema::subject::RawSubject;
use callfold_schema::{CallSid, Event, Lane, Run, UnixMillis};
use futures::stream::TryStreamExt;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::{App, AppState};
use crate::error::ApiError;
use crate::query::{NO_LEAD, call_sid};

/// How many events one answer holds at most.
const EVENTS_MAX: usize = 200;
/// How many bytes of events are read for one answer before it ends, in bytes; a transcript can have megabytes.
const EVENTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How many events are read at once.
const READ_AT_ONCE: usize = 16;

/// The story of a call.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Story {
    /// The call.
    call_sid: CallSid,
    /// Its events, in the order of the stream.
    events: Vec<StoryEvent>,
    /// What to send as `after` for the events behind these; `null` when these are all.
    next_after: Option<u64>,
}

/// One event. What does not read has `unreadable` instead of `data`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct StoryEvent {
    /// Where it stands in the stream.
    position: u64,
    /// When the fact was accepted; for an unreadable event, when it was stored; `null` for a deleted one.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    time: Option<String>,
    /// The kind; `null` for a deleted event.
    kind: Option<String>,
    /// The version of the payload.
    version: Option<u16>,
    /// `new` or `again`.
    lane: Option<Lane>,
    /// What makes it the same fact as another one of its kind.
    key: Option<String>,
    /// The message id of the event that led to this one.
    cause: Option<String>,
    /// The run, for what a stage did.
    run: Option<Run>,
    /// The event in plain words, without numbers of callers and without what was said; `null` for one that does not read.
    told: Option<Told>,
    /// The payload, in the newest version of its kind.
    data: Option<serde_json::Value>,
    /// Why it does not read, or that it was deleted.
    unreadable: Option<String>,
}

/// The events of a call behind `?after=`, by the positions that are kept with the lead.
pub(crate) async fn story(
    State(app): State<App>,
    Path(sid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Story>, ApiError> {
    let call_sid = call_sid(&sid)?;
    let after = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(name, value)| name == "after" && !value.is_empty())
        .map(|(_, value)| {
            value
                .parse::<u64>()
                .map_err(|_| ApiError::BadQuery("after is a position: a number"))
        })
        .transpose()?
        .unwrap_or(0);
    let (stored, next_after) = read_story(&app, &call_sid, after).await?;
    let events = stored
        .into_iter()
        .map(|(position, event)| match event {
            Some(event) => tell(&event),
            None => Ok(StoryEvent {
                unreadable: Some("deleted".to_owned()),
                ..StoryEvent::at(position)
            }),
        })
        .collect::<Result<_, _>>()?;
    Ok(Json(Story {
        call_sid,
        events,
        next_after,
    }))
}

/// An event by its position; `None` for one that was deleted.
pub(crate) type Kept = (u64, Option<StoredEvent>);

/// The events of a call behind a position, as many as one answer holds, and where the next ones begin: the position of
/// the last one, unless these are all.
pub(crate) async fn read_story(
    app: &AppState,
    call_sid: &CallSid,
    after: u64,
) -> Result<(Vec<Kept>, Option<u64>), ApiError> {
    let positions = app.leads.positions(call_sid).await.map_err(ApiError::Store)?;
    if positions.is_empty() {
        return Err(ApiError::NotFound(NO_LEAD));
    }
    let wanted: Vec<u64> = positions
        .into_iter()
        .filter(|position| *position > after)
        .collect();
    let last = wanted.last().copied();

    let wanted = wanted.into_iter().take(EVENTS_MAX).collect();
    let mut read = app.bus.get_each(wanted, READ_AT_ONCE);
    let mut events = Vec::new();
    let mut bytes = 0;
    while bytes < EVENTS_BYTES_MAX
        && let Some((position, event)) = read.try_next().await.map_err(ApiError::Stream)?
    {
        bytes += event.as_ref().map_or(0, |event| event.payload.len());
        events.push((position, event));
    }
    let next_after = events
        .last()
        .map(|(position, _)| *position)
        .filter(|told| last.is_some_and(|last| *told < last));
    Ok((events, next_after))
}

impl StoryEvent {
    fn at(position: u64) -> Self {
        Self {
            position,
            time: None,
            kind: None,
            version: None,
            lane: None,
            key: None,
            cause: None,
            run: None,
            told: None,
            data: None,
            unreadable: None,
        }
    }
}

fn tell(stored: &StoredEvent) -> Result<StoryEvent, ApiError> {
    let told = StoryEvent::at(stored.position);
    match stored.decode() {
        Ok(record) => {
            let words = callfold_lead::tell(&record);
            let envelope = record.envelope;
            Ok(StoryEvent {
                time: Some(envelope.time.rfc3339()),
                kind: Some(envelope.subject.kind.token().to_owned()),
                version: Some(envelope.version),
                lane: Some(envelope.subject.lane),
                key: Some(envelope.subject.key.to_string()),
                cause: envelope.cause,
                run: envelope.subject.key.run,
                told: Some(words),
                data: Some(data(&record.event).map_err(ApiError::Encode)?),
                ..told
            })
        }
        Err(unreadable) => {
            let subject = RawSubject::split(stored.subject());
            Ok(StoryEvent {
                time: Some(UnixMillis::rfc3339(stored.stored_at)),
                kind: subject.map(|subject| subject.kind.to_owned()),
                lane: subject.and_then(|subject| Lane::from_token(subject.lane)),
                key: subject.map(|subject| subject.key.to_owned()),
                unreadable: Some(unreadable.to_string()),
                ..told
            })
        }
    }
}

/// The payload alone.
fn data(event: &Event) -> Result<serde_json::Value, serde_json::Error> {
    match event {
        Event::CallStarted(data) => serde_json::to_value(data),
        Event::CallEnded(data) => serde_json::to_value(data),
        Event::RecordingStarted(data) => serde_json::to_value(data),
        Event::RecordingReady(data) => serde_json::to_value(data),
        Event::RecordingMissing(data) => serde_json::to_value(data),
        Event::RecordingDownloaded(data) => serde_json::to_value(data),
        Event::TranscriptReady(data) => serde_json::to_value(data),
        Event::SummaryReady(data) => serde_json::to_value(data),
        Event::StageFailed(data) => serde_json::to_value(data),
        Event::ReprocessRequested(data) => serde_json::to_value(data),
        Event::LeadUpdated(data) => serde_json::to_value(data),
        Event::CallErased(data) => serde_json::to_value(data),
        Event::EraseDone(data) => serde_json::to_value(data),
    }
}
