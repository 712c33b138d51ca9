//! The caller's earlier calls.

use callfold_lead::Lead;
use callfold_store::LeadFilter;

use super::super::Frame;
use super::super::row::{RowView, non_empty};
use super::super::state::When;
use crate::app::AppState;
use crate::error::ApiError;
use crate::show;

/// How many of them stand on the card.
const EARLIER_MAX: u32 = 5;

/// Calls of the same number that came before.
pub(crate) struct EarlierView {
    pub(crate) calls: Vec<EarlierCallView>,
    /// All calls of the number, when there are more.
    pub(crate) all: Option<String>,
}

/// One of them.
pub(crate) struct EarlierCallView {
    pub(crate) call_sid: String,
    pub(crate) received: When,
    /// The headline, else how it ended.
    pub(crate) what: String,
}

/// Reads them; a withheld number is nobody's.
pub(super) async fn read_earlier(
    app: &AppState,
    lead: &Lead,
    f: &Frame,
) -> Result<Option<EarlierView>, ApiError> {
    let Some(phone) = non_empty(Some(lead.phone.as_str())).filter(|_| !show::is_withheld(&lead.phone)) else {
        return Ok(None);
    };
    let filter = LeadFilter {
        phone: Some(phone.clone()),
        to: Some(lead.created_at.0),
        ..LeadFilter::default()
    };
    let page = app
        .leads
        .list(&filter, EARLIER_MAX, None)
        .await
        .map_err(ApiError::Store)?;
    let calls: Vec<EarlierCallView> = page
        .leads
        .iter()
        // A number can be the tail of another one where it is not international.
        .filter(|earlier| earlier.phone == lead.phone && earlier.call_sid != lead.call_sid)
        .map(|earlier| {
            let row = RowView::of(earlier, &[], 0, "", f);
            EarlierCallView {
                call_sid: row.call_sid,
                received: row.received,
                what: non_empty(earlier.summary_title.as_deref()).unwrap_or(row.state.label),
            }
        })
        .collect();
    let all = page.next_cursor.map(|_| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("phone", &phone)
            .finish();
        format!("/?{query}")
    });
    Ok((!calls.is_empty()).then_some(EarlierView { calls, all }))
}
