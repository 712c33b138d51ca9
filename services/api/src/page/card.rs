//! The card: one lead, whole.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use callfold_lead::{Lead, LeadRecording, RecordingState, StageState, Stages};
use callfold_schema::event::{Speaker, Urgency};
use callfold_schema::{RecordingSid, Stage};

use super::list::{PageQuery, QueueView, read_queue};
use super::row::{NumberView, SaidNumberView, caller_name, is_urgent, message_length, non_empty};
use super::state::{self, PassedView, StateView, When};
use super::{Frame, Viewer, html};
use crate::app::App;
use crate::error::ApiError;
use crate::query::call_sid;
use crate::routes::leads::read_lead;
use crate::show;
use crate::words::fill;

/// A player.
pub(crate) struct SoundView {
    pub(crate) recording_sid: String,
    pub(crate) label: String,
    pub(crate) length: Option<String>,
}

/// A piece of the transcript.
pub(crate) struct SaidView {
    pub(crate) at: String,
    pub(crate) speaker: Option<String>,
    pub(crate) text: String,
}

/// The stages of one recording.
pub(crate) struct StagesView {
    pub(crate) label: String,
    pub(crate) steps: Vec<StepView>,
}

/// One stage.
pub(crate) struct StepView {
    pub(crate) name: &'static str,
    pub(crate) state: StateView,
    pub(crate) why: Vec<String>,
    pub(crate) passed: Vec<PassedView>,
}

/// A detail.
pub(crate) struct FactView {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) direction: &'static str,
    pub(crate) is_id: bool,
    /// What it leads to.
    pub(crate) href: Option<String>,
}

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
    pub(crate) why: Vec<String>,
    pub(crate) offline_summary: bool,
    pub(crate) sounds: Vec<SoundView>,
    pub(crate) said: Vec<SaidView>,
    pub(crate) transcript: Option<String>,
    pub(crate) stages: Vec<StagesView>,
    pub(crate) facts: Vec<FactView>,
}

impl CardView {
    fn of(lead: &Lead, f: &Frame) -> Self {
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
            why: state::why_of_lead(lead, f),
            offline_summary: lead
                .engines
                .summarize
                .as_deref()
                .is_some_and(|engine| engine.contains("extractive")),
            sounds: sounds(lead, f),
            said: said(lead, f),
            transcript: non_empty(lead.transcript.as_deref()),
            stages: stages(lead, f),
            facts: facts(lead, f),
        }
    }
}

fn sounds(lead: &Lead, f: &Frame) -> Vec<SoundView> {
    let several = lead.recordings.len() > 1;
    let view = |(n, recording): (usize, &LeadRecording)| {
        recording.blob_key.as_ref()?;
        Some(SoundView {
            recording_sid: recording.recording_sid.to_string(),
            label: if several {
                fill(f.w.card.recording_of, n + 1)
            } else {
                f.w.card.recording.to_owned()
            },
            length: recording.duration_ms.map(show::length_ms),
        })
    };
    lead.recordings.iter().enumerate().filter_map(view).collect()
}

fn said(lead: &Lead, f: &Frame) -> Vec<SaidView> {
    let several_recordings = lead.recordings.len() > 1;
    let several_speakers = lead
        .segments
        .iter()
        .any(|segment| segment.channel > 0 || segment.speaker.is_some());
    let mut last = None;
    let view = |segment: &callfold_lead::LeadSegment| {
        let text = non_empty(Some(&segment.text))?;
        let place = (segment.recording_sid.clone(), segment.channel);
        let mut speaker = Vec::new();
        if last.as_ref() != Some(&place) {
            let number = lead
                .recordings
                .iter()
                .position(|r| r.recording_sid == segment.recording_sid);
            if let (true, Some(n)) = (several_recordings, number) {
                speaker.push(fill(f.w.card.recording_of, n + 1));
            }
            if several_speakers {
                speaker.push(match segment.speaker {
                    Some(Speaker::Caller) => f.w.card.speaker_caller.to_owned(),
                    Some(Speaker::Callee) => f.w.card.speaker_callee.to_owned(),
                    None => fill(f.w.card.speaker, u32::from(segment.channel) + 1),
                });
            }
        }
        last = Some(place);
        let at = show::length(segment.start_ms / 1000);
        Some(SaidView {
            at,
            speaker: (!speaker.is_empty()).then(|| speaker.join(" · ")),
            text,
        })
    };
    lead.segments.iter().filter_map(view).collect()
}

fn stages(lead: &Lead, f: &Frame) -> Vec<StagesView> {
    let several = lead.recordings.len() > 1;
    let mut groups: Vec<StagesView> = lead
        .recordings
        .iter()
        .enumerate()
        // While the caller speaks, and when there is no file, no stage has anything to do.
        .filter(|(_, recording)| recording.state == RecordingState::Ready)
        .map(|(n, recording)| StagesView {
            label: if several {
                fill(f.w.story.stages_of, fill(f.w.card.recording_of, n + 1))
            } else {
                f.w.story.stages.to_owned()
            },
            steps: steps(&recording.stages, f, |stage| {
                passed(lead, &recording.recording_sid, stage, f)
            }),
        })
        .collect();
    if let Some(rerun) = &lead.rerun {
        groups.push(StagesView {
            label: f.w.story.rerun.to_owned(),
            // Who gave no answer in a run that is not shown is not told in the lead.
            steps: steps(&rerun.stages, f, |_| Vec::new()),
        });
    }
    groups
}

/// Engines that gave no answer in a stage of a recording.
fn passed(lead: &Lead, recording: &RecordingSid, stage: Stage, f: &Frame) -> Vec<PassedView> {
    lead.failed_engines
        .iter()
        .filter(|failed| failed.stage == stage && failed.recording_sid == *recording)
        .map(|failed| PassedView::of(failed, f.w))
        .collect()
}

fn steps(stages: &Stages, f: &Frame, passed: impl Fn(Stage) -> Vec<PassedView>) -> Vec<StepView> {
    let current = stages.current().map(|(stage, _)| stage);
    Stage::ALL
        .into_iter()
        .map(|stage| {
            let view = stages.get(stage);
            // Nothing is at work behind a stage that gave up.
            let at_work = current == Some(stage) && view.state != StageState::Failed;
            StepView {
                name: state::stage_name(stage, f.w),
                state: state::of_stage(stage, view, at_work, f),
                why: state::why(view, f),
                passed: passed(stage),
            }
        })
        .collect()
}

fn facts(lead: &Lead, f: &Frame) -> Vec<FactView> {
    let w = f.w;
    let mut facts = Vec::new();
    let mut add = |name, value: Option<String>, direction| {
        if let Some(value) = value {
            facts.push(FactView {
                name,
                value,
                direction,
                is_id: false,
                href: None,
            });
        }
    };
    let number = |number: &callfold_schema::PhoneNumber| {
        if show::is_withheld(number) {
            None
        } else {
            Some(show::phone(number))
        }
    };
    let caller = &lead.caller;
    add(w.card.said_name, non_empty(lead.caller_name.as_deref()), "auto");
    add(w.card.caller_name, caller.name.clone(), "auto");
    add(w.card.caller_number, number(&lead.phone), "ltr");
    // The country alone says no more than the number.
    let is_known = caller.city.is_some() || caller.state.is_some();
    let place: Vec<&str> = [&caller.city, &caller.state, &caller.country]
        .into_iter()
        .filter_map(|part| part.as_deref())
        .collect();
    add(w.card.caller_place, is_known.then(|| place.join(", ")), "auto");
    add(
        w.card.forwarded_from,
        caller.forwarded_from.as_ref().and_then(number),
        "ltr",
    );
    add(w.card.our_number, number(&lead.to), "ltr");
    add(
        w.card.received,
        Some(show::full(lead.created_at.0, &f.timezone)),
        "ltr",
    );
    add(
        w.card.call_length,
        lead.call.duration_s.map(|s| show::length(u64::from(s))),
        "ltr",
    );
    add(w.card.message_length, message_length(lead), "ltr");
    add(w.card.recognised_by, lead.engines.transcribe.clone(), "ltr");
    add(w.card.topic, non_empty(lead.topic.as_deref()), "auto");
    let urgency = lead.urgency.map(|urgency| match urgency {
        Urgency::Low => w.card.urgency_low,
        Urgency::Normal => w.card.urgency_normal,
        Urgency::High => w.card.urgency_high,
    });
    add(w.card.urgency, urgency.map(str::to_owned), "auto");
    if let Some(said) = SaidNumberView::of(lead) {
        facts.insert(
            0,
            FactView {
                name: w.card.callback_number,
                value: said.text,
                direction: "ltr",
                is_id: false,
                href: said.tel.map(|tel| format!("tel:{tel}")),
            },
        );
    }
    facts.push(FactView {
        name: w.card.call_id,
        value: lead.call_sid.to_string(),
        direction: "ltr",
        is_id: true,
        href: None,
    });
    facts
}

#[derive(Template)]
#[template(path = "detail.html")]
struct DetailPage {
    f: Frame,
    q: QueueView,
    c: CardView,
}

#[derive(Template)]
#[template(path = "card_fragment.html")]
struct CardFragment {
    f: Frame,
    c: CardView,
}

/// `GET /leads/{call_sid}`: the card, and on wide screens the queue beside it.
pub(crate) async fn detail(
    State(app): State<App>,
    viewer: Viewer,
    Path(sid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    // Before the rows: what changes in between is told again, which is harmless.
    let position = app.position().await?;
    let lead = read_lead(&app, &call_sid(&sid)?).await?;
    let query = PageQuery::parse(query.as_deref(), &app.timezone)?;
    let f = Frame::live(&app, &viewer, position);
    let q = read_queue(&app, &query, &f).await?;
    let c = CardView::of(&lead, &f);
    Ok(html(&DetailPage { f, q, c })?.into_response())
}

/// `GET /leads/{call_sid}/card`: the card alone.
pub(crate) async fn fragment(
    State(app): State<App>,
    viewer: Viewer,
    Path(sid): Path<String>,
) -> Result<Response, ApiError> {
    let lead = read_lead(&app, &call_sid(&sid)?).await?;
    let f = Frame::still(&app, &viewer);
    let c = CardView::of(&lead, &f);
    Ok(html(&CardFragment { f, c })?.into_response())
}
