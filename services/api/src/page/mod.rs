//! The page: what people see. Rendered on the server from the same rows as the API; a small script keeps it fresh.

mod card;
mod frame;
mod list;
mod message;
mod row;
mod state;

pub(crate) use card::isolated;
pub(crate) use card::{
    ask_to_erase, change, compare, detail, erase, fragment as card_fragment, peaks, rerun, story,
};
pub(crate) use frame::{Frame, Viewer};
pub(crate) use list::{fragment as list_fragment, list};
pub(crate) use message::as_page;

use askama::Template;
use axum::response::Html;

use crate::error::ApiError;

/// Renders a template.
pub(crate) fn html(template: &impl Template) -> Result<Html<String>, ApiError> {
    template.render().map(Html).map_err(ApiError::Render)
}
