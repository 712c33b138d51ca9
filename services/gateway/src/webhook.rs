//! What every webhook goes through first: bounded body, form, signature.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, OriginalUri, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use callfold_twilio::{Form, IDEMPOTENCY_HEADER, Payload, SIGNATURE_HEADER, SignatureError};

use crate::error::Refusal;
use crate::gateway::Shared;

/// Largest body of a webhook, in bytes. Twilio's are below 4 KiB.
pub const WEBHOOK_BYTES_MAX: usize = 64 * 1024;
/// Longest time a body may take; Twilio itself gives up after 15 seconds in all.
const BODY_WAIT: Duration = Duration::from_secs(5);
/// Longest idempotency token that is kept, in bytes. Twilio's is a UUID.
const IDEMPOTENCY_TOKEN_BYTES_MAX: usize = 200;

/// A webhook request that is believed to be Twilio's.
pub(crate) struct Webhook {
    pub(crate) form: Form,
    pub(crate) idempotency_token: Option<String>,
}

impl FromRequest<Shared> for Webhook {
    type Rejection = Refusal;

    async fn from_request(mut request: Request, shared: &Shared) -> Result<Self, Refusal> {
        // Behind a nested router the request's own URI is shortened; signed is the whole path.
        let uri = match request.extensions_mut().remove::<OriginalUri>() {
            Some(OriginalUri(uri)) => uri,
            None => request.uri().clone(),
        };
        let headers = request.headers().clone();
        let body = tokio::time::timeout(BODY_WAIT, Bytes::from_request(request, &())).await;
        let body = body.map_err(|_| Refusal::Body)?.map_err(|rejection| {
            match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
                _ => Refusal::Body,
            }
        })?;
        let form = Form::parse(&body).map_err(Refusal::Form)?;
        if let Some(verifier) = &shared.verifier {
            // A header that is no text cannot be a signature: it is wrong, not missing.
            let signature = headers
                .get(SIGNATURE_HEADER)
                .map(|value| value.to_str().unwrap_or("?"));
            let path_and_query = uri.path_and_query().map_or("/", |path| path.as_str());
            let url = shared.public_url.join(path_and_query);
            verifier
                .verify(&url, Payload::Form(form.fields()), signature)
                .map_err(|error| match error {
                    SignatureError::Missing => Refusal::Unsigned,
                    SignatureError::Wrong | SignatureError::WrongBody => Refusal::WrongSignature,
                })?;
        }
        Ok(Self {
            form,
            idempotency_token: idempotency_token(&headers),
        })
    }
}

fn idempotency_token(headers: &HeaderMap) -> Option<String> {
    let token = headers.get(IDEMPOTENCY_HEADER)?.to_str().ok()?.trim();
    (!token.is_empty() && token.len() <= IDEMPOTENCY_TOKEN_BYTES_MAX).then(|| token.to_owned())
}
