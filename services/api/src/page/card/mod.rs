//! The card: one lead, whole, and what people do with it.
//!
//! [`CardView::of`] is the card of now; [`CardView::past`] the same without anything to do, as it was. Actions are plain
//! forms (`actions.rs`): the script sends the same forms and is answered with the card alone.

mod actions;
mod compare;
mod earlier;
mod erase;
mod facts;
mod peaks;
mod rerun;
mod said;
mod sound;
mod stages;
mod story;
mod transcript;
mod who;
mod work;

pub(crate) use actions::change;
pub(crate) use compare::compare;
pub(crate) use erase::{ask as ask_to_erase, erase};
pub(crate) use peaks::peaks;
pub(crate) use rerun::rerun;
pub(crate) use story::story;
pub(crate) use who::isolated;
pub(crate) use work::Colleagues;

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use callfold_lead::{Lead, LeadState, NoMessageReason, Status, changes_after, corrections};
use callfold_schema::event::FailureClass;
use callfold_schema::{CallSid, RecordingSid};

use self::actions::{NoticeView, notice_of};
use self::earlier::{EarlierView, read_earlier};
use self::facts::{FactView, facts};
use self::sound::{SoundView, sounds};
use self::stages::{StagesView, WhyView, stages, why_of_lead};
use self::transcript::{HeardView, heard};
use self::work::{DraftView, StandingView, WorkView};
use super::list::{PageQuery, QueueView, read_queue};
use super::row::{NumberView, SaidNumberView, caller_name, is_urgent, message_length, non_empty};
use super::state::{self, StateView, When};
use super::{Frame, Viewer, html};
use crate::app::{App, AppState};
use crate::error::ApiError;
use crate::query::call_sid;
use crate::routes::leads::read_lead;
use crate::routes::leads::write::{damaged, fold, read_state, read_up_to};

/// The header with which the script asks for the card alone.
const PART: &str = "callfold-part";

/// The number to call back at, for the card's one main action.
pub(crate) struct DialView {
    pub(crate) tel: String,
    pub(crate) text: String,
    /// Its digits, where it is an international one.
    pub(crate) whatsapp: Option<String>,
}

impl DialView {
    /// The number the call came from; where that cannot be called, the one that was said.
    fn of(number: &NumberView, said: Option<&SaidNumberView>) -> Option<Self> {
        let of_call = number.tel.as_ref().map(|tel| (tel, &number.text));
        let of_words = said.and_then(|said| said.tel.as_ref().map(|tel| (tel, &said.text)));
        let (tel, text) = of_call.or(of_words)?;
        Some(Self {
            tel: tel.clone(),
            text: text.clone(),
            whatsapp: tel.strip_prefix('+').map(str::to_owned),
        })
    }
}

/// The card.
pub(crate) struct CardView {
    pub(crate) call_sid: String,
    /// The number of the last change by a person: what a form says it has seen.
    pub(crate) revision: u64,
    /// The position of the last event: an older card does not replace a newer one.
    pub(crate) position: u64,
    pub(crate) title: String,
    pub(crate) name: Option<String>,
    pub(crate) number: NumberView,
    /// Where the caller wants to be called, when that is another number.
    pub(crate) callback: Option<SaidNumberView>,
    pub(crate) dial: Option<DialView>,
    pub(crate) urgent: bool,
    pub(crate) topic: Option<String>,
    pub(crate) received: When,
    pub(crate) length: Option<String>,
    pub(crate) headline: Option<String>,
    pub(crate) points: Vec<String>,
    pub(crate) state: StateView,
    /// What an end without a message means, in plain words.
    pub(crate) meaning: Option<&'static str>,
    pub(crate) why: Option<WhyView>,
    pub(crate) offline_summary: bool,
    pub(crate) sounds: Vec<SoundView>,
    pub(crate) heard: Vec<HeardView>,
    pub(crate) stages: Vec<StagesView>,
    pub(crate) facts: Vec<FactView>,
    pub(crate) earlier: Option<EarlierView>,
    /// What people had made of it, on a card of the past.
    pub(crate) standing: Option<StandingView>,
    /// What can be done; nothing with a card of the past.
    pub(crate) work: Option<WorkView>,
}

impl CardView {
    /// The card of a moment of the past: to read, with nothing to do.
    fn past(lead: &Lead, state: &LeadState, f: &Frame) -> Result<Self, ApiError> {
        Ok(Self {
            standing: Some(StandingView::of(lead, f)),
            ..Self::bare(lead, &corrections(state).map_err(damaged)?, f)
        })
    }

    /// The card of now, for the one who asks.
    async fn of(app: &AppState, now: &Now, draft: Option<DraftView>, f: &Frame) -> Result<Self, ApiError> {
        let lead = &now.lead;
        let (corrections, changes) = match &now.state {
            Some(state) => (
                corrections(state).map_err(damaged)?,
                changes_after(state, 0).map_err(damaged)?,
            ),
            None => (BTreeMap::new(), Vec::new()),
        };
        let work = if f.is_agent() {
            let colleagues = app.colleagues.names(&app.auth.people).await?;
            Some(WorkView::of(lead, &changes, &colleagues, draft, f))
        } else {
            None
        };
        Ok(Self {
            earlier: read_earlier(app, lead, f).await?,
            // Who may only read sees what others made of it.
            standing: work.is_none().then(|| StandingView::of(lead, f)),
            work,
            ..Self::bare(lead, &corrections, f)
        })
    }

    fn bare(lead: &Lead, corrections: &BTreeMap<RecordingSid, String>, f: &Frame) -> Self {
        let number = NumberView::of(&lead.phone);
        let name = caller_name(lead);
        let callback = SaidNumberView::of(lead).filter(|said| said.text != number.text);
        let who = name.clone().unwrap_or_else(|| {
            if number.withheld {
                f.w.card.withheld.to_owned()
            } else {
                number.text.clone()
            }
        });
        let headline = non_empty(lead.summary_title.as_deref());
        Self {
            call_sid: lead.call_sid.to_string(),
            revision: lead.revision,
            position: lead.position,
            title: match &headline {
                Some(headline) => format!("{who} · {headline}"),
                None => format!("{who} · {}", f.w.frame.leads),
            },
            name,
            dial: DialView::of(&number, callback.as_ref()),
            callback,
            urgent: is_urgent(lead),
            topic: non_empty(lead.topic.as_deref()),
            number,
            received: When::day(lead.created_at.0, f),
            length: message_length(lead),
            headline,
            points: lead
                .summary_points
                .iter()
                .filter_map(|point| non_empty(Some(point)))
                .collect(),
            state: state::of_lead(lead, f),
            meaning: meaning(lead, f),
            why: why_of_lead(lead, f),
            offline_summary: lead
                .engines
                .summarize
                .as_deref()
                .is_some_and(|engine| engine.contains("extractive")),
            sounds: sounds(lead, f),
            heard: heard(lead, corrections, f),
            stages: stages(lead, f),
            facts: facts(lead, f),
            earlier: None,
            standing: None,
            work: None,
        }
    }
}

/// What it means that there is no message, or no transcript of it.
fn meaning(lead: &Lead, f: &Frame) -> Option<&'static str> {
    let w = &f.w.card;
    match lead.status {
        Status::NoMessage => lead.missing.as_ref().map(|missing| match missing.reason {
            NoMessageReason::NeverLeft => w.meaning_hung_up,
            NoMessageReason::Silent => w.meaning_silent,
            NoMessageReason::Absent => w.meaning_absent,
            NoMessageReason::Failed => w.meaning_failed_at_twilio,
            NoMessageReason::DeadlinePassed => w.meaning_deadline,
            NoMessageReason::NotRecorded => w.meaning_not_recorded,
        }),
        Status::Failed => {
            let download = &lead.stages.download;
            let is_gone = download.state == callfold_lead::StageState::Failed
                && matches!(
                    download.class,
                    Some(FailureClass::NotFound | FailureClass::Credentials | FailureClass::Refused)
                );
            Some(if is_gone {
                w.meaning_not_available
            } else {
                w.meaning_failed
            })
        }
        _ => None,
    }
}

/// A lead as it is now, and its events where somebody changed it.
pub(super) struct Now {
    pub(super) lead: Lead,
    pub(super) state: Option<LeadState>,
}

impl Now {
    /// Reads it; what stands at `position` is taken in where the table does not have it yet, since whoever just wrote
    /// it comes here to see it.
    async fn read(app: &AppState, call_sid: &CallSid, position: u64) -> Result<Self, ApiError> {
        let lead = read_lead(app, call_sid).await?;
        if lead.revision == 0 && position <= lead.position {
            return Ok(Self { lead, state: None });
        }
        let mut state = read_state(app, call_sid).await?;
        read_up_to(app, &mut state, position).await?;
        Self::folded(state)
    }

    fn folded(state: LeadState) -> Result<Self, ApiError> {
        Ok(Self {
            lead: fold(&state)?,
            state: Some(state),
        })
    }
}

#[derive(Template)]
#[template(path = "detail.html")]
struct DetailPage {
    f: Frame,
    q: QueueView,
    c: CardView,
    notice: Option<NoticeView>,
}

#[derive(Template)]
#[template(path = "card_fragment.html")]
struct CardFragment {
    f: Frame,
    c: CardView,
    notice: Option<NoticeView>,
}

/// A number in a query; what is none counts as left out.
fn number_of(query: &str, wanted: &str) -> Option<u64> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == wanted)
        .and_then(|(_, value)| value.parse().ok())
}

/// `GET /leads/{call_sid}?did=&position=`: the card, and on wide screens the queue beside it. `did` is the number of the
/// change that a form without a script just made, `position` where it stands.
pub(crate) async fn detail(
    State(app): State<App>,
    viewer: Viewer,
    Path(sid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let call_sid = call_sid(&sid)?;
    let query = query.unwrap_or_default();
    if let Some(at) = number_of(&query, "at") {
        return Ok(Redirect::to(&format!("/leads/{call_sid}/story?at={at}")).into_response());
    }
    // Before the rows: what changes in between is told again, which is harmless.
    let behind = app.position().await?;
    let f = Frame::live(&app, &viewer, behind);
    let now = Now::read(&app, &call_sid, number_of(&query, "position").unwrap_or(0)).await?;
    let notice = match (number_of(&query, "did"), &now.state) {
        (Some(revision), Some(state)) => notice_of(state, revision, &f)?,
        _ => None,
    };
    let beside = PageQuery::parse(Some(&query), &app.timezone)?;
    page(&app, &beside, &now, None, notice, StatusCode::OK, f).await
}

/// The whole page around a card. `beside`: what the queue beside it shows.
async fn page(
    app: &AppState,
    beside: &PageQuery,
    now: &Now,
    draft: Option<DraftView>,
    notice: Option<NoticeView>,
    status: StatusCode,
    f: Frame,
) -> Result<Response, ApiError> {
    let q = read_queue(app, beside, &f).await?;
    let c = CardView::of(app, now, draft, &f).await?;
    Ok((status, html(&DetailPage { f, q, c, notice })?).into_response())
}

/// `GET /leads/{call_sid}/card`: the card alone.
pub(crate) async fn fragment(
    State(app): State<App>,
    viewer: Viewer,
    Path(sid): Path<String>,
) -> Result<Response, ApiError> {
    let f = Frame::still(&app, &viewer);
    let now = Now::read(&app, &call_sid(&sid)?, 0).await?;
    part(&app, &now, None, None, StatusCode::OK, f).await
}

/// The card alone, with what is to be said about it.
async fn part(
    app: &AppState,
    now: &Now,
    draft: Option<DraftView>,
    notice: Option<NoticeView>,
    status: StatusCode,
    f: Frame,
) -> Result<Response, ApiError> {
    let c = CardView::of(app, now, draft, &f).await?;
    Ok((status, html(&CardFragment { f, c, notice })?).into_response())
}
