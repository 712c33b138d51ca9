//! Request → event, and nothing else: no clock, no network, no log.

use callfold_schema::event::{
    CallEnded, CallStarted, Caller, MissingReason, RecordingMissing, RecordingReady, RecordingStarted,
};
use callfold_schema::{CallSid, Event, IdError, Key, PhoneNumber, RecordingSid, UnixMillis};
use callfold_twilio::{
    CallStatusRequest, Form, RecordingRequest, RecordingStatus, Script, Voice, VoiceRequest,
};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use url::Url;

/// What stands before the hash when a recording is known by its URL alone. Twilio's own begin with `RE`.
const URL_SID_PREFIX: &str = "url_";
/// How many digits of the hash follow: together as long as an identifier may be.
const URL_SID_DIGITS: usize = 60;

/// A fact about a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// The call.
    pub call_sid: CallSid,
    /// What makes it the same fact as another one.
    pub key: Key,
    /// The event.
    pub event: Event,
}

/// A form that cannot become an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untranslatable {
    /// `CallSid` is not an identifier.
    #[error("CallSid {0}")]
    CallSid(IdError),
    /// `RecordingSid` is given and is not an identifier.
    #[error("RecordingSid {0}")]
    RecordingSid(IdError),
    /// Neither `RecordingSid` nor `RecordingUrl`: nothing says which recording is meant.
    #[error("neither RecordingSid nor RecordingUrl is given")]
    NoRecording,
    /// A finished recording without an address.
    #[error("neither RecordingUrl nor an AccountSid to make one from is given")]
    NoMedia,
}

/// What the caller is going to hear, for the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The greeting.
    pub greeting: String,
    /// Who says it.
    pub voice: Voice,
    /// The longest message, in seconds; 0 when none is taken.
    pub record_max_s: u32,
}

impl Heard {
    /// What this script lets a caller hear; without `records` no message is taken.
    #[must_use]
    pub fn of(script: &Script, records: bool) -> Self {
        Self {
            greeting: script.greeting.clone(),
            voice: script.voice.clone(),
            record_max_s: if records { script.max_length_secs } else { 0 },
        }
    }
}

/// What a recording callback says.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordingNews {
    /// A fact to record.
    Fact(Box<Fact>),
    /// A status this version has no event for.
    Ignored,
}

fn call_sid(text: Option<&str>) -> Result<CallSid, Untranslatable> {
    CallSid::parse(text.unwrap_or_default()).map_err(Untranslatable::CallSid)
}

/// The number that was called, in the form in which it stands in events.
pub(crate) fn called(form: &Form) -> PhoneNumber {
    phone(VoiceRequest(form).to())
}

fn phone(text: Option<String>) -> PhoneNumber {
    PhoneNumber(text.unwrap_or_default())
}

fn own(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

/// The voice webhook: a call has begun, and this is what the caller is going to hear.
///
/// # Errors
/// `CallSid` is not an identifier.
pub fn call_started(
    form: Form,
    idempotency_token: Option<String>,
    heard: &Heard,
) -> Result<Fact, Untranslatable> {
    let voice = VoiceRequest(&form);
    let call_sid = call_sid(voice.call_sid())?;
    let event = CallStarted {
        account_sid: voice.account_sid().unwrap_or_default().to_owned(),
        from: phone(voice.from()),
        to: phone(voice.to()),
        direction: voice.direction().unwrap_or("inbound").to_owned(),
        caller: Caller {
            name: own(voice.caller_name()),
            city: own(voice.caller_place("City")),
            state: own(voice.caller_place("State")),
            zip: own(voice.caller_place("Zip")),
            country: own(voice.caller_place("Country")),
            forwarded_from: voice.forwarded_from().map(PhoneNumber),
            stir_verdict: own(voice.stir_verstat()),
        },
        greeting: heard.greeting.clone(),
        voice: heard.voice.name().to_owned(),
        language: heard.voice.language().to_owned(),
        record_max_s: heard.record_max_s,
        idempotency_token,
        form: form.into_fields(),
    };
    Ok(Fact {
        call_sid,
        key: Key::single(),
        event: event.into(),
    })
}

/// The recording status callback.
///
/// # Errors
/// An identifier is malformed, or nothing says which recording is meant.
pub fn recording(form: Form, idempotency_token: Option<String>) -> Result<RecordingNews, Untranslatable> {
    let request = RecordingRequest(&form);
    let call_sid = call_sid(request.call_sid())?;
    let named = recording_sid(&request)?;
    let started_at = request.start_time_ms().map(UnixMillis);
    let error_code = request.error_code();
    let fact = match request.status() {
        RecordingStatus::InProgress => {
            let recording_sid = named.ok_or(Untranslatable::NoRecording)?;
            let key = Key::recording(recording_sid.clone());
            let form = form.into_fields();
            let event = RecordingStarted {
                recording_sid,
                started_at,
                idempotency_token,
                form,
            };
            Fact {
                call_sid,
                key,
                event: event.into(),
            }
        }
        RecordingStatus::Completed => {
            let recording_sid = named.ok_or(Untranslatable::NoRecording)?;
            let key = Key::recording(recording_sid.clone());
            let event = RecordingReady {
                account_sid: request.account_sid().unwrap_or_default().to_owned(),
                media_url: media_url(&request, &recording_sid)?,
                duration_s: request.duration_s(),
                channels: request.channels(),
                source: own(request.source()),
                started_at,
                recording_sid,
                idempotency_token,
                form: form.into_fields(),
            };
            Fact {
                call_sid,
                key,
                event: event.into(),
            }
        }
        RecordingStatus::Absent => missing(
            call_sid,
            named,
            MissingReason::Absent,
            error_code,
            idempotency_token,
            form,
        ),
        RecordingStatus::Failed => missing(
            call_sid,
            named,
            MissingReason::Failed,
            error_code,
            idempotency_token,
            form,
        ),
        RecordingStatus::Other(_) => return Ok(RecordingNews::Ignored),
    };
    Ok(RecordingNews::Fact(Box::new(fact)))
}

fn missing(
    call_sid: CallSid,
    recording_sid: Option<RecordingSid>,
    reason: MissingReason,
    error_code: Option<u32>,
    idempotency_token: Option<String>,
    form: Form,
) -> Fact {
    let key = Key::missing(recording_sid.clone(), reason.token());
    let form = form.into_fields();
    let event = RecordingMissing {
        recording_sid,
        reason,
        error_code,
        idempotency_token,
        form,
    };
    Fact {
        call_sid,
        key,
        event: event.into(),
    }
}

/// The call status callback; `None` while the call goes on.
///
/// # Errors
/// `CallSid` is not an identifier.
pub fn call_ended(form: Form, idempotency_token: Option<String>) -> Result<Option<Fact>, Untranslatable> {
    let request = CallStatusRequest(&form);
    let call_sid = call_sid(request.call_sid())?;
    let status = request.status();
    if !status.is_terminal() {
        return Ok(None);
    }
    let event = CallEnded {
        status: status.as_str().to_owned(),
        duration_s: request.duration_s(),
        ended_at: request.time_ms().map(UnixMillis),
        idempotency_token,
        form: form.into_fields(),
    };
    Ok(Some(Fact {
        call_sid,
        key: Key::single(),
        event: event.into(),
    }))
}

/// `RecordingSid` as it is; a missing one is the last path segment of `RecordingUrl` when that is an identifier, else a
/// hash of the URL. `None` when neither is given.
fn recording_sid(request: &RecordingRequest<'_>) -> Result<Option<RecordingSid>, Untranslatable> {
    if let Some(given) = request.recording_sid() {
        return RecordingSid::parse(given)
            .map(Some)
            .map_err(Untranslatable::RecordingSid);
    }
    let Some(text) = request.recording_url() else {
        return Ok(None);
    };
    let parsed = Url::parse(text).ok();
    let segment = parsed.as_ref().and_then(|url| url.path_segments()?.next_back());
    if let Some(sid) = segment.and_then(|segment| RecordingSid::parse(segment).ok()) {
        return Ok(Some(sid));
    }
    let hash = HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
    let sid = format!("{URL_SID_PREFIX}{}", &hash[..URL_SID_DIGITS]);
    RecordingSid::parse(&sid)
        .map(Some)
        .map_err(Untranslatable::RecordingSid)
}

/// `RecordingUrl` as sent; without one, the address that Twilio documents for this account and recording.
fn media_url(request: &RecordingRequest<'_>, recording: &RecordingSid) -> Result<String, Untranslatable> {
    if let Some(url) = request.recording_url() {
        return Ok(url.to_owned());
    }
    let account = request
        .account_sid()
        .filter(|sid| CallSid::parse(sid).is_ok())
        .ok_or(Untranslatable::NoMedia)?;
    Ok(format!(
        "https://{}/2010-04-01/Accounts/{account}/Recordings/{recording}",
        callfold_twilio::media::TWILIO_API_HOST
    ))
}

#[cfg(test)]
#[path = "translate/tests.rs"]
mod tests;
