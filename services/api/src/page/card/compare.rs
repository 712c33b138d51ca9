//! `GET /leads/{call_sid}/compare?a=&b=`: two runs side by side, their differences marked, and the choice between them.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use callfold_lead::{Lead, LeadRun, RerunState, RunResult};
use callfold_schema::Run;

use super::super::row::non_empty;
use super::super::{Frame, Viewer, html};
use super::stages::asked_at;
use super::work::comparable;
use crate::app::App;
use crate::error::ApiError;
use crate::query::call_sid;
use crate::routes::leads::compare::{Change, Comparison, ErrorRate, compare_runs, run_named};
use crate::routes::leads::read_lead;
use crate::show;
use crate::words::fill;

/// A run to choose.
pub(crate) struct ChoiceView {
    pub(crate) run: String,
    pub(crate) name: String,
    pub(crate) is_a: bool,
    pub(crate) is_b: bool,
}

/// Words that stand together.
pub(crate) struct WordsView {
    /// Whether the other run does not have them.
    pub(crate) differs: bool,
    pub(crate) text: String,
}

/// One run.
pub(crate) struct SideView {
    pub(crate) run: String,
    pub(crate) name: String,
    /// Who made it.
    pub(crate) engines: String,
    pub(crate) shown: bool,
    /// Whether it can be chosen.
    pub(crate) can_be_shown: bool,
    pub(crate) title: Option<WordsView>,
    pub(crate) points: Vec<WordsView>,
    pub(crate) transcript: Vec<WordsView>,
    /// How far it is from what was said.
    pub(crate) errors: Option<String>,
}

#[derive(Template)]
#[template(path = "card_compare.html")]
struct ComparePage {
    f: Frame,
    call_sid: String,
    revision: u64,
    choices: Vec<ChoiceView>,
    sides: [SideView; 2],
    same: bool,
    /// Whether a person chose the run that is shown.
    adopted: bool,
}

/// Two runs, by default what is shown and its newest rival.
pub(crate) async fn compare(
    State(app): State<App>,
    viewer: Viewer,
    Path(sid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let call_sid = call_sid(&sid)?;
    let lead = read_lead(&app, &call_sid).await?;
    let query = query.unwrap_or_default();
    let (a, b) = if query.is_empty() {
        comparable(&lead).ok_or(ApiError::NotFound("The lead has one run only."))?
    } else {
        (run_named(&query, "a")?, run_named(&query, "b")?)
    };
    let compared = compare_runs(&app, call_sid, a, b).await?;
    let f = Frame::still(&app, &viewer);
    let choices = choices(&lead, a, b, &f);
    let same = !compared.diff.iter().any(|piece| piece.change != Change::Same)
        && compared.a.summary_title == compared.b.summary_title
        && compared.a.summary_points == compared.b.summary_points;
    let sides = [
        side(&lead, &compared, &compared.a, &compared.b, Change::Removed, &f),
        side(&lead, &compared, &compared.b, &compared.a, Change::Added, &f),
    ];
    let page = ComparePage {
        call_sid: lead.call_sid.to_string(),
        revision: lead.revision,
        choices,
        sides,
        same,
        adopted: lead.adopted.is_some(),
        f,
    };
    Ok(html(&page)?.into_response())
}

/// The number of a re-run is long; people count them and know them by their time.
fn name(lead: &Lead, run: Run, f: &Frame) -> String {
    match lead.runs.iter().position(|known| known.run == run) {
        Some(index) => {
            let when = show::day_and_time(asked_at(run), f.now(), &f.timezone, f.w);
            fill(&fill(f.w.story.run_of, index + 1), when)
        }
        None => f.w.story.run_first.to_owned(),
    }
}

fn choices(lead: &Lead, a: Run, b: Run, f: &Frame) -> Vec<ChoiceView> {
    std::iter::once(Run::FIRST)
        .chain(lead.runs.iter().map(|known| known.run))
        .map(|run| ChoiceView {
            run: run.to_string(),
            name: name(lead, run, f),
            is_a: run == a,
            is_b: run == b,
        })
        .collect()
}

fn side(
    lead: &Lead,
    compared: &Comparison,
    this: &RunResult,
    other: &RunResult,
    own: Change,
    f: &Frame,
) -> SideView {
    let is_complete =
        |known: &LeadRun| known.run == this.run && matches!(known.state, RerunState::Done | RerunState::Held);
    let mut engines: Vec<&str> = Vec::new();
    for engine in this
        .transcripts
        .iter()
        .map(|made| made.engine.as_str())
        .chain(this.summarize.iter().map(String::as_str))
    {
        if !engine.is_empty() && !engines.contains(&engine) {
            engines.push(engine);
        }
    }
    let rate = compared.word_errors.as_ref().map(|errors| match own {
        Change::Added => &errors.b,
        Change::Removed | Change::Same => &errors.a,
    });
    SideView {
        run: this.run.to_string(),
        name: name(lead, this.run, f),
        engines: engines.join(" · "),
        shown: lead.run == this.run,
        can_be_shown: lead.run != this.run && (this.run == Run::FIRST || lead.runs.iter().any(is_complete)),
        title: non_empty(this.summary_title.as_deref()).map(|text| WordsView {
            differs: this.summary_title != other.summary_title,
            text,
        }),
        points: this
            .summary_points
            .iter()
            .map(|point| WordsView {
                differs: !other.summary_points.contains(point),
                text: point.clone(),
            })
            .collect(),
        transcript: compared
            .diff
            .iter()
            .filter(|piece| piece.change == Change::Same || piece.change == own)
            .map(|piece| WordsView {
                differs: piece.change == own,
                text: piece.text.clone(),
            })
            .collect(),
        errors: rate.map(|rate| errors_in_words(rate, f)),
    }
}

/// `3 מילים שגויות מתוך 40`
fn errors_in_words(rate: &ErrorRate, f: &Frame) -> String {
    fill(&fill(f.w.story.word_errors, rate.errors), rate.words)
}
