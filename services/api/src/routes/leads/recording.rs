//! `GET /api/v1/leads/{call_sid}/recordings/{recording_sid}`: audio, streamed, in parts where a player asks for parts.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::get::is_known;
use super::read_lead;
use crate::app::App;
use crate::error::ApiError;
use crate::query::{NO_RECORDING, call_sid, recording_sid};
use crate::range::{Slice, slice};

const NOT_STORED: &str = "The recording is not stored yet, or not any more.";

/// The audio of one recording of a lead.
pub(crate) async fn recording(
    State(app): State<App>,
    Path((call, recording)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let lead = read_lead(&app, &call_sid(&call)?).await?;
    let recording = lead
        .recording(&recording_sid(&recording)?)
        .ok_or(ApiError::NotFound(NO_RECORDING))?;
    let key = recording
        .blob_key
        .as_deref()
        .ok_or(ApiError::NotFound(NOT_STORED))?;
    let length = app
        .blobs
        .size(key)
        .await
        .map_err(ApiError::Recording)?
        .ok_or(ApiError::NotFound(NOT_STORED))?;

    // A key is written by one run of the download, so key and length stand for the content.
    let tag = format!(
        "\"{}\"",
        HEXLOWER.encode(&Sha256::digest(format!("{key} {length}"))[..12])
    );
    let mut response = if is_known(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        // A part of another version than the one the player has would not fit: then it gets the whole.
        let fits = text(header::IF_RANGE).is_none_or(|given| given.trim() == tag);
        match slice(text(header::RANGE).filter(|_| fits), length) {
            Slice::Unsatisfiable => return Err(ApiError::Range { length }),
            Slice::Whole => send(&app, key, None, length).await?,
            Slice::Part { first, last } => send(&app, key, Some((first, last)), length).await?,
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::CONTENT_TYPE,
        content_type(recording.content_type.as_deref()),
    );
    let extension = key.rsplit_once('.').map_or("bin", |(_, extension)| extension);
    let name = format!("inline; filename=\"{}.{extension}\"", recording.recording_sid);
    for (header, value) in [(header::ETAG, tag), (header::CONTENT_DISPOSITION, name)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(header, value);
        }
    }
    Ok(response)
}

async fn send(app: &App, key: &str, part: Option<(u64, u64)>, length: u64) -> Result<Response, ApiError> {
    let range = part.map(|(first, last)| first..last + 1);
    let bytes = range.as_ref().map_or(length, |range| range.end - range.start);
    let blob = app.blobs.get(key, range).await.map_err(ApiError::Recording)?;
    let blob = blob.ok_or(ApiError::NotFound(NOT_STORED))?;
    let mut response = Body::from_stream(blob.bytes).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    if let Some((first, last)) = part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        if let Ok(value) = HeaderValue::from_str(&format!("bytes {first}-{last}/{length}")) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(response)
}

/// Only audio is called by its name: nothing that was downloaded may be taken for a page of ours.
fn content_type(stored: Option<&str>) -> HeaderValue {
    HeaderValue::from_static(match stored {
        Some("audio/x-wav" | "audio/wav") => "audio/x-wav",
        Some("audio/mpeg") => "audio/mpeg",
        _ => "application/octet-stream",
    })
}
