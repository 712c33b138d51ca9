//! `POST /leads/{call_sid}/change`: what a person does with a lead, from a plain form. One field says what:
//!
//! | field | |
//! |---|---|
//! | `disposition` | `open`, `called_back`, `done`, `spam` |
//! | `note`, `assignee`, `tags` | the whole new value; tags a line each |
//! | `take` | the one who asks looks after it; `take=` empty: nobody |
//! | `tag`, `untag` | one tag more, one less |
//! | `transcript` + `recording` | what was said; `correction=` + `recording` takes it back |
//! | `caller_name`, `callback_number` | as a person heard them; empty: as the summary found them |
//! | `adopt` | the run that is shown; empty: by the rule |
//! | `seen` | `true`, `false` |
//!
//! `revision` is the last change the person has seen. Whoever would overwrite what another person did since is answered
//! 412, with the card of now and what was typed still in its field.

use axum::extract::{Path, RawForm, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use callfold_lead::{At, Disposition, LeadState, PersonChange, changes_after, corrections, lead_view};
use callfold_schema::event::LeadAction;
use callfold_schema::{CallSid, PhoneNumber, RecordingSid, Run};

use super::super::list::PageQuery;
use super::super::{Frame, Viewer};
use super::said::action_words;
use super::who::{isolated, who};
use super::work::DraftView;
use super::{Now, PART, page, part};
use crate::app::{App, AppState};
use crate::auth::SignedIn;
use crate::error::ApiError;
use crate::query::call_sid;
use crate::routes::leads::patch::{Basis, LeadChange, Outcome, read_seen, record};
use crate::routes::leads::write::{damaged, fold};
use crate::words::fill;

/// Most fields of a form that are looked at.
const FIELDS_MAX: usize = 16;

/// What is said after an action, with the way back.
pub(crate) struct NoticeView {
    pub(crate) text: String,
    /// Whether it was not done.
    pub(crate) bad: bool,
    pub(crate) undo: Option<UndoView>,
}

/// The same action with the value from before.
pub(crate) struct UndoView {
    pub(crate) call_sid: String,
    pub(crate) revision: u64,
    pub(crate) fields: Vec<(&'static str, String)>,
}

/// What a form asks for.
enum Wish {
    Change(LeadChange),
    Tag(String),
    Untag(String),
}

/// A form that was sent.
struct Sent {
    revision: u64,
    wish: Wish,
    draft: Option<DraftView>,
}

const BAD_FORM: ApiError = ApiError::BadBody(
    "a form with revision and one of disposition, note, assignee, take, tags, tag, untag, transcript, correction, caller_name, callback_number, adopt, seen",
);

impl Sent {
    fn parse(encoded: &[u8], by: &str) -> Result<Self, ApiError> {
        let fields: Vec<(String, String)> = form_urlencoded::parse(encoded)
            .take(FIELDS_MAX)
            .map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n")))
            .collect();
        let of = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let revision = of("revision")
            .and_then(|text| text.parse().ok())
            .ok_or(BAD_FORM)?;
        let recording = || -> Result<RecordingSid, ApiError> {
            RecordingSid::parse(of("recording").unwrap_or_default()).map_err(|_| BAD_FORM)
        };
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let typed = |field, text: &str, recording: Option<&str>| {
            Some(DraftView {
                field,
                recording: recording.map(str::to_owned),
                text: text.to_owned(),
            })
        };
        let mut draft = None;
        let wish = if let Some(token) = of("disposition") {
            LeadChange::Disposition(Disposition::from_token(token).ok_or(BAD_FORM)?)
        } else if let Some(text) = of("note") {
            draft = typed("note", text, None);
            LeadChange::Note(text.trim().to_owned())
        } else if let Some(text) = of("assignee") {
            draft = typed("assignee", text, None);
            LeadChange::Assignee(some(text))
        } else if let Some(text) = of("take") {
            LeadChange::Assignee(some(text).map(|_| by.to_owned()))
        } else if let Some(text) = of("tags") {
            LeadChange::Tags(text.lines().filter_map(some).collect())
        } else if let Some(text) = of("transcript") {
            let recording_sid = recording()?;
            draft = typed("transcript", text, Some(recording_sid.as_str()));
            LeadChange::Transcript {
                recording_sid,
                text: Some(text.trim().to_owned()),
            }
        } else if of("correction").is_some() {
            LeadChange::Transcript {
                recording_sid: recording()?,
                text: None,
            }
        } else if let Some(text) = of("caller_name") {
            draft = typed("caller_name", text, None);
            LeadChange::CallerName(some(text))
        } else if let Some(text) = of("callback_number") {
            draft = typed("callback_number", text, None);
            LeadChange::CallbackNumber(some(text).map(PhoneNumber))
        } else if let Some(text) = of("adopt") {
            let run = some(text).map(|text| text.parse().map(Run).map_err(|_| BAD_FORM));
            LeadChange::Adopt(run.transpose()?)
        } else if let Some(text) = of("seen") {
            LeadChange::Seen(text.parse().map_err(|_| BAD_FORM)?)
        } else if let Some(text) = of("tag") {
            let wish = Wish::Tag(some(text).ok_or(BAD_FORM)?);
            return Ok(Self {
                revision,
                wish,
                draft: None,
            });
        } else if let Some(text) = of("untag") {
            let wish = Wish::Untag(text.to_owned());
            return Ok(Self {
                revision,
                wish,
                draft: None,
            });
        } else {
            return Err(BAD_FORM);
        };
        Ok(Self {
            revision,
            wish: Wish::Change(wish),
            draft,
        })
    }
}

/// One change by a person.
pub(crate) async fn change(
    State(app): State<App>,
    SignedIn(who): SignedIn,
    viewer: Viewer,
    Path(sid): Path<String>,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let call_sid = call_sid(&sid)?;
    let by = &who.name;
    let sent = Sent::parse(&form, by)?;
    let is_look = matches!(sent.wish, Wish::Change(LeadChange::Seen(true)));
    if is_look && viewer.person.is_none() {
        // A program that reads the page is nobody who has seen it.
        let now = Now::read(&app, &call_sid, 0).await?;
        let f = Frame::still(&app, &viewer);
        return part(&app, &now, None, None, StatusCode::OK, f).await;
    }
    match record_wish(&app, &call_sid, sent.revision, sent.wish, by).await? {
        Outcome::Done(state, revision) => {
            let position = state.position();
            if headers.contains_key(PART) {
                let f = Frame::still(&app, &viewer);
                let notice = match revision {
                    Some(revision) if !is_look => notice_of(&state, revision, &f)?,
                    _ => None,
                };
                let now = Now::folded(*state)?;
                return part(&app, &now, None, notice, StatusCode::OK, f).await;
            }
            let did = revision
                .map(|revision| format!("did={revision}&"))
                .unwrap_or_default();
            let to = format!("/leads/{call_sid}?{did}position={position}");
            Ok(Redirect::to(&to).into_response())
        }
        Outcome::Stale(state, in_the_way) => {
            let is_part = headers.contains_key(PART);
            let f = if is_part {
                Frame::still(&app, &viewer)
            } else {
                Frame::live(&app, &viewer, app.position().await?)
            };
            let notice = Some(stale_notice(in_the_way.as_deref(), sent.draft.is_some(), &f));
            let now = Now::folded(*state)?;
            let status = StatusCode::PRECONDITION_FAILED;
            if is_part {
                part(&app, &now, sent.draft, notice, status, f).await
            } else {
                page(&app, &PageQuery::default(), &now, sent.draft, notice, status, f).await
            }
        }
    }
}

async fn record_wish(
    app: &AppState,
    call_sid: &CallSid,
    revision: u64,
    wish: Wish,
    by: &str,
) -> Result<Outcome, ApiError> {
    let (tag, add) = match wish {
        Wish::Change(change) => {
            return record(app, call_sid, Basis::Revision(revision), change, by, None).await;
        }
        Wish::Tag(tag) => (tag, true),
        Wish::Untag(tag) => (tag, false),
    };
    // One tag more or less goes with whatever others did to the tags: it is told again as the whole value.
    let lead = fold(&read_seen(app, call_sid, revision).await?)?;
    let seen = lead.revision.max(revision);
    let mut tags = lead.tags;
    tags.retain(|known| *known != tag);
    if add {
        tags.push(tag);
    }
    tags.sort_unstable();
    record(
        app,
        call_sid,
        Basis::Revision(seen),
        LeadChange::Tags(tags),
        by,
        None,
    )
    .await
}

/// What is said when somebody else was faster.
fn stale_notice(in_the_way: Option<&PersonChange>, has_draft: bool, f: &Frame) -> NoticeView {
    let w = &f.w.card;
    let mut text = match in_the_way {
        Some(change) => {
            let name = isolated(&who(&change.update.by, f.w));
            fill(
                &fill(w.changed_meanwhile, name),
                action_words(&change.update.action, f.w),
            )
        }
        None => w.changed.to_owned(),
    };
    if has_draft {
        text = format!("{text} {}", w.draft_kept);
    }
    NoticeView {
        text,
        bad: true,
        undo: None,
    }
}

/// What is said after the change with this number, as long as it is the last one.
pub(super) fn notice_of(state: &LeadState, revision: u64, f: &Frame) -> Result<Option<NoticeView>, ApiError> {
    let mut changes = changes_after(state, revision.saturating_sub(1)).map_err(damaged)?;
    let Some(change) = changes.pop().filter(|change| change.revision == revision) else {
        return Ok(None);
    };
    let before = state.at(At::Position(change.position.saturating_sub(1)));
    let fields = before_fields(&before, &change.update.action)?;
    Ok(Some(NoticeView {
        text: action_words(&change.update.action, f.w),
        bad: false,
        undo: Some(UndoView {
            call_sid: state.call_sid().to_string(),
            revision,
            fields,
        }),
    }))
}

/// The form that says what was before.
fn before_fields(before: &LeadState, action: &LeadAction) -> Result<Vec<(&'static str, String)>, ApiError> {
    let lead = lead_view(before).map_err(damaged)?;
    Ok(match action {
        LeadAction::Seen { .. } => vec![("seen", lead.seen.to_string())],
        LeadAction::Disposition { .. } => vec![("disposition", lead.disposition.token().to_owned())],
        LeadAction::Note { .. } => vec![("note", lead.note.unwrap_or_default())],
        LeadAction::Assignee { .. } => vec![("assignee", lead.assignee.unwrap_or_default())],
        LeadAction::Tags { .. } => vec![("tags", lead.tags.join("\n"))],
        LeadAction::Transcript { recording_sid, .. } => {
            let text = corrections(before).map_err(damaged)?.remove(recording_sid);
            let what = match text {
                Some(text) => ("transcript", text),
                None => ("correction", String::new()),
            };
            vec![what, ("recording", recording_sid.to_string())]
        }
        LeadAction::Adopt { .. } => {
            vec![(
                "adopt",
                lead.adopted.map(|run| run.to_string()).unwrap_or_default(),
            )]
        }
        LeadAction::CallerName { .. } | LeadAction::CallbackNumber { .. } => {
            vec![said_before(before, action)?]
        }
    })
}

/// What a person had said of name or number; what a summary found is not repeated as a person's word.
fn said_before(before: &LeadState, action: &LeadAction) -> Result<(&'static str, String), ApiError> {
    let changes = changes_after(before, 0).map_err(damaged)?;
    let last = changes
        .into_iter()
        .rfind(|change| change.update.action.token() == action.token());
    let said = last.and_then(|change| match change.update.action {
        LeadAction::CallerName { name } => name,
        LeadAction::CallbackNumber { number } => number.map(|number| number.as_str().to_owned()),
        _ => None,
    });
    Ok((action.token(), said.unwrap_or_default()))
}
