//! `GET /leads/{call_sid}/story?at=&step=&after=`: what happened to a lead, event by event, and the card as it was.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use callfold_lead::{At, LeadState};
use callfold_schema::UnixMillis;

use super::super::{Frame, Viewer, html};
use super::said::sentence;
use super::who::{isolated, who};
use super::{CardView, PART, number_of};
use crate::app::App;
use crate::error::ApiError;
use crate::query::call_sid;
use crate::routes::leads::events::{Kept, read_story};
use crate::routes::leads::write::{fold, read_state};
use crate::show;
use crate::words::fill;

/// Said when a call came later than the moment that was asked for.
const NOT_YET: &str = "Nothing was known of this call at that moment.";

/// One event.
pub(crate) struct EntryView {
    pub(crate) position: u64,
    /// The day, where it is another one than before.
    pub(crate) day: Option<String>,
    pub(crate) time: String,
    pub(crate) text: String,
    pub(crate) by: Option<String>,
    pub(crate) technical: Option<String>,
    pub(crate) bad: bool,
    /// Whether the card stands at it.
    pub(crate) current: bool,
}

/// The card as it was.
pub(crate) struct PastView {
    /// `כך היה הכרטיס ב־22.11.2026 12:04:05`
    pub(crate) banner: String,
    pub(crate) card: CardView,
}

/// The story.
pub(crate) struct StoryView {
    pub(crate) call_sid: String,
    pub(crate) entries: Vec<EntryView>,
    /// Which of the entries the card stands at, from 1.
    pub(crate) step: usize,
    /// The positions of the entries, for the slider.
    pub(crate) positions: String,
    /// Where the events behind these begin.
    pub(crate) next: Option<u64>,
    /// What these begin behind; 0 at the start.
    pub(crate) after: u64,
}

#[derive(Template)]
#[template(path = "card_story.html")]
struct StoryPage {
    f: Frame,
    s: StoryView,
    past: PastView,
}

#[derive(Template)]
#[template(path = "card_past.html")]
struct PastFragment {
    f: Frame,
    past: PastView,
}

/// The story of a lead, and the card at one of its events: the last one, unless a position or a step is named.
pub(crate) async fn story(
    State(app): State<App>,
    viewer: Viewer,
    Path(sid): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let call_sid = call_sid(&sid)?;
    let query = query.unwrap_or_default();
    let f = Frame::still(&app, &viewer);
    let state = read_state(&app, &call_sid).await?;
    if let (true, Some(at)) = (headers.contains_key(PART), number_of(&query, "at")) {
        let past = past(&state, at, &f)?;
        return Ok(html(&PastFragment { f, past })?.into_response());
    }
    let after = number_of(&query, "after").unwrap_or(0);
    let (kept, next) = read_story(&app, &call_sid, after).await?;
    let last = kept.last().map_or(0, |(position, _)| *position);
    let of_step = number_of(&query, "step")
        .and_then(|step| usize::try_from(step).ok())
        .and_then(|step| kept.get(step.saturating_sub(1)))
        .map(|(position, _)| *position);
    let at = of_step.or(number_of(&query, "at")).unwrap_or(last);
    let past = past(&state, at, &f)?;
    let current = kept
        .iter()
        .map(|(position, _)| *position)
        .rfind(|position| *position <= at);
    let step = kept
        .iter()
        .position(|(position, _)| Some(*position) == current)
        .map_or(1, |index| index + 1);
    let positions: Vec<String> = kept.iter().map(|(position, _)| position.to_string()).collect();
    let s = StoryView {
        call_sid: call_sid.to_string(),
        entries: entries(&kept, current, &f),
        step,
        positions: positions.join(","),
        next,
        after,
    };
    Ok(html(&StoryPage { f, s, past })?.into_response())
}

/// The card as it was when the stream ended at a position.
fn past(state: &LeadState, at: u64, f: &Frame) -> Result<PastView, ApiError> {
    let then = state.at(At::Position(at));
    if then.is_empty() {
        return Err(ApiError::NotFound(NOT_YET));
    }
    let lead = fold(&then)?;
    let moment = isolated(&show::full(lead.updated_at.0, &f.timezone));
    Ok(PastView {
        banner: fill(f.w.story.as_it_was, moment),
        card: CardView::past(&lead, &then, f)?,
    })
}

fn entries(kept: &[Kept], current: Option<u64>, f: &Frame) -> Vec<EntryView> {
    let w = f.w;
    let mut last_day = String::new();
    kept.iter()
        .map(|(position, stored)| {
            let mut entry = EntryView {
                position: *position,
                day: None,
                time: String::new(),
                text: w.story.deleted.to_owned(),
                by: None,
                technical: None,
                bad: false,
                current: current == Some(*position),
            };
            let Some(stored) = stored else { return entry };
            let moment: UnixMillis = match stored.decode() {
                Ok(record) => {
                    let told = sentence(&record, w);
                    entry.text = told.text;
                    entry.by = told.by.map(|by| who(&by, w));
                    entry.technical = told.technical;
                    entry.bad = told.bad;
                    record.envelope.time
                }
                Err(_) => {
                    entry.text = w.story.unreadable.to_owned();
                    entry.bad = true;
                    stored.stored_at
                }
            };
            entry.time = show::clock(moment, &f.timezone);
            let full = show::full(moment, &f.timezone);
            let day = full.split(' ').next().unwrap_or_default().to_owned();
            if day != last_day {
                entry.day = Some(day.clone());
                last_day = day;
            }
            entry
        })
        .collect()
}
