//! The page: what people see. Rendered on the server from the same rows as the API; a small script keeps it fresh.

mod card;
mod export;
mod frame;
mod list;
mod message;
pub(crate) mod operation;
pub(crate) mod people;
mod pieces;
mod row;
pub(crate) mod settings;
mod state;

pub(crate) use card::{
    Colleagues, ask_to_erase, change, compare, detail, erase, fragment as card_fragment, isolated, peaks,
    rerun, story,
};
pub(crate) use export::export;
pub(crate) use frame::{Frame, Viewer};
pub(crate) use list::{fragment as list_fragment, list};
pub(crate) use message::as_page;

use askama::Template;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::error::ApiError;

/// Renders a template.
pub(crate) fn html(template: &impl Template) -> Result<Html<String>, ApiError> {
    template.render().map(Html).map_err(ApiError::Render)
}

/// A part of a page, or 304 when the request says that it is known. The tag stands for the content, and is a weak one:
/// the same part may come compressed.
pub(crate) fn unless_known(headers: &HeaderMap, part: Html<String>) -> Response {
    let tag = format!(
        "W/\"{}\"",
        HEXLOWER.encode(&Sha256::digest(part.0.as_bytes())[..12])
    );
    let is_known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        part.into_response()
    };
    // Hexadecimal digits: always a valid header.
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
