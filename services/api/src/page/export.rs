//! `GET /leads.csv`: the list as a table for people, in their language and time.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use callfold_lead::{Disposition, Lead};
use callfold_schema::event::Urgency;

use super::list::PageQuery;
use super::row::{NumberView, SaidNumberView, caller_name, message_length};
use super::state::of_lead;
use super::{Frame, Viewer};
use crate::app::App;
use crate::error::ApiError;
use crate::export::{Table, csv};
use crate::show;

/// What a cell of a spreadsheet holds at most, in characters; a longer text would spill into the next rows.
const CELL_CHARS_MAX: usize = 32_000;

/// The list that a page shows, from its first lead to its last.
pub(crate) async fn export(
    State(app): State<App>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut wanted = PageQuery::parse(query.as_deref(), &app.timezone)?.wanted(&viewer);
    wanted.cursor = None;
    let f = Frame::still(&app, &viewer);
    let file = format!("leads-{}.csv", show::day(f.now(), &f.timezone));
    csv(&app, wanted, ForPeople(f), &file).await
}

struct ForPeople(Frame);

impl Table for ForPeople {
    fn head(&self) -> Vec<String> {
        let (card, queue) = (&self.0.w.card, &self.0.w.queue);
        [
            card.received,
            card.caller_name,
            card.caller_number,
            queue.column_international,
            queue.column_state,
            queue.column_handling,
            queue.column_assignee,
            queue.column_tags,
            card.topic,
            card.urgency,
            queue.column_headline,
            queue.column_points,
            card.transcript,
            queue.column_note,
            card.callback_number,
            card.message_length,
            card.call_id,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn row(&self, lead: &Lead) -> Vec<String> {
        let f = &self.0;
        let (card, queue) = (&f.w.card, &f.w.queue);
        let number = NumberView::of(&lead.phone);
        let text = |text: &Option<String>| text.as_deref().map(short).unwrap_or_default();
        vec![
            show::sortable(lead.created_at.0, &f.timezone),
            caller_name(lead).unwrap_or_default(),
            if number.withheld {
                card.withheld.to_owned()
            } else {
                number.text
            },
            number.tel.unwrap_or_default(),
            of_lead(lead, f).label,
            match lead.disposition {
                Disposition::Open => queue.handling_open,
                Disposition::CalledBack => queue.called_back,
                Disposition::Done => queue.done,
                Disposition::Spam => queue.spam,
            }
            .to_owned(),
            text(&lead.assignee),
            lead.tags.join(", "),
            text(&lead.topic),
            match lead.urgency {
                Some(Urgency::Low) => card.urgency_low,
                Some(Urgency::Normal) => card.urgency_normal,
                Some(Urgency::High) => card.urgency_high,
                None => "",
            }
            .to_owned(),
            text(&lead.summary_title),
            short(&lead.summary_points.join("\n")),
            text(&lead.transcript),
            text(&lead.note),
            SaidNumberView::of(lead).map(|said| said.text).unwrap_or_default(),
            message_length(lead).unwrap_or_default(),
            lead.call_sid.to_string(),
        ]
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
