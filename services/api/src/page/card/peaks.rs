//! `GET /leads/{call_sid}/recordings/{recording_sid}/peaks`: what the waveform is drawn from.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::error::ApiError;
use crate::query::{NO_RECORDING, call_sid, recording_sid};
use crate::routes::leads::get::is_known;
use crate::routes::leads::read_lead;

/// A waveform.
#[derive(Serialize)]
struct Waveform<'a> {
    /// At most 200 values from 0 to 100, the start of the recording first.
    peaks: &'a [u8],
}

/// The waveform of one recording.
pub(crate) async fn peaks(
    State(app): State<App>,
    Path((call, recording)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let lead = read_lead(&app, &call_sid(&call)?).await?;
    let key = lead
        .recording(&recording_sid(&recording)?)
        .and_then(|recording| recording.blob_key.as_deref())
        .ok_or(ApiError::NotFound(NO_RECORDING))?;
    // A key is written once, so it stands for the content.
    let tag = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(key)[..12]));
    let mut response = if is_known(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let peaks = app.peaks.of(&app.blobs, key).await?;
        Json(Waveform { peaks: &peaks }).into_response()
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    Ok(response)
}
