//! The forms Twilio posts, read leniently: Twilio leaves parameters out and adds new ones without notice, so a request is
//! never refused for a field that is absent, unknown or oddly written, and every field is kept.

use jiff::fmt::rfc2822;

/// Most fields a form may have. Twilio's largest requests have about forty.
pub const FORM_FIELDS_MAX: usize = 200;

/// The fields of a form in the order they came, decoded and untrimmed.
#[derive(Clone, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

/// Why a body is not a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// More than [`FORM_FIELDS_MAX`] fields.
    #[error("the form has more than {FORM_FIELDS_MAX} fields")]
    TooManyFields,
    /// Twilio writes UTF-8; anything else could not be signed nor stored.
    #[error("the form is not UTF-8")]
    NotUtf8,
}

impl Form {
    /// Decodes an `application/x-www-form-urlencoded` body. The size of the body is the caller's to bound.
    ///
    /// # Errors
    /// Too many fields, or bytes that are not UTF-8 once decoded.
    pub fn parse(body: &[u8]) -> Result<Self, FormError> {
        let mut fields = Vec::new();
        for piece in body.split(|&b| b == b'&').filter(|piece| !piece.is_empty()) {
            if fields.len() == FORM_FIELDS_MAX {
                return Err(FormError::TooManyFields);
            }
            let (name, value) = match piece.iter().position(|&b| b == b'=') {
                Some(at) => (&piece[..at], &piece[at + 1..]),
                None => (piece, &[][..]),
            };
            fields.push((decode(name)?, decode(value)?));
        }
        Ok(Self(fields))
    }

    /// A form of these fields: for the simulator and for tests.
    #[must_use]
    pub fn from_fields(fields: Vec<(String, String)>) -> Self {
        Self(fields)
    }

    /// The body that [`Form::parse`] reads back.
    #[must_use]
    pub fn encode(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.0)
            .finish()
    }

    /// The first value of a field, as it came. An empty value counts as given.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// All fields, in the order they came.
    #[must_use]
    pub fn fields(&self) -> &[(String, String)] {
        &self.0
    }

    /// Takes the fields out.
    #[must_use]
    pub fn into_fields(self) -> Vec<(String, String)> {
        self.0
    }

    /// The first value of a field, blanks around it dropped; `None` when nothing is left.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// A whole number; `None` when absent or not one.
    #[must_use]
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.text(name)?.parse().ok()
    }

    /// A date in RFC 2822 as milliseconds since the epoch; `None` when absent or not one.
    #[must_use]
    pub fn time_ms(&self, name: &str) -> Option<i64> {
        rfc2822::parse(self.text(name)?)
            .ok()
            .map(|time| time.timestamp().as_millisecond())
    }

    /// A phone number, client or SIP address, `anonymous` and so on, as text.
    ///
    /// A client that forgets to escape `+` sends `From=+1555`, which decodes to a blank and `1555`: that is read as `+1555`.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<String> {
        let raw = self.get(name)?;
        match raw.strip_prefix(' ') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
                Some(format!("+{}", rest.trim_end()))
            }
            _ => self.text(name).map(str::to_owned),
        }
    }
}

/// Only the names: values are phone numbers and URLs.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Decodes `+` and `%XX`; a `%` that begins no escape stands for itself, as browsers and Twilio's libraries have it.
fn decode(raw: &[u8]) -> Result<String, FormError> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match tail {
                [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    out.push((hex(*high) << 4) | hex(*low));
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    String::from_utf8(out).map_err(|_| FormError::NotUtf8)
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// The voice webhook: a call comes in, or a document is asked for again.
#[derive(Debug, Clone, Copy)]
pub struct VoiceRequest<'a>(pub &'a Form);

impl VoiceRequest<'_> {
    /// `CallSid`, unchecked.
    #[must_use]
    pub fn call_sid(&self) -> Option<&str> {
        self.0.text("CallSid")
    }

    /// `AccountSid`, unchecked.
    #[must_use]
    pub fn account_sid(&self) -> Option<&str> {
        self.0.text("AccountSid")
    }

    /// Who calls: see [`Form::address`].
    #[must_use]
    pub fn from(&self) -> Option<String> {
        self.0.address("From").or_else(|| self.0.address("Caller"))
    }

    /// Which of our numbers was called: see [`Form::address`].
    #[must_use]
    pub fn to(&self) -> Option<String> {
        self.0.address("To").or_else(|| self.0.address("Called"))
    }

    /// `inbound`, `outbound-api`, `outbound-dial`, …
    #[must_use]
    pub fn direction(&self) -> Option<&str> {
        self.0.text("Direction")
    }

    /// The caller's name, when the number has the paid look-up switched on.
    #[must_use]
    pub fn caller_name(&self) -> Option<&str> {
        self.0.text("CallerName")
    }

    /// The number that forwarded the call here, when the carrier passes it on.
    #[must_use]
    pub fn forwarded_from(&self) -> Option<String> {
        self.0.address("ForwardedFrom")
    }

    /// `FromCity`, `FromState`, `FromZip` or `FromCountry`, or its older twin with `Caller` in place of `From`.
    #[must_use]
    pub fn caller_place(&self, part: &str) -> Option<&str> {
        self.0
            .text(&format!("From{part}"))
            .or_else(|| self.0.text(&format!("Caller{part}")))
    }

    /// The result of SHAKEN/STIR (US): `TN-Validation-Passed-A` and so on.
    #[must_use]
    pub fn stir_verstat(&self) -> Option<&str> {
        self.0.text("StirVerstat")
    }

    /// The error that made Twilio come to the fallback URL, when this is such a request.
    #[must_use]
    pub fn fallback_error(&self) -> Option<u32> {
        self.0.number("ErrorCode").filter(|&code| code != 0)
    }
}

/// What became of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordingStatus {
    /// It has begun.
    InProgress,
    /// The file is there or soon will be.
    Completed,
    /// There is no file and there will be none.
    Absent,
    /// It went wrong at Twilio.
    Failed,
    /// A word this version does not know.
    Other(String),
}

impl RecordingStatus {
    /// Reads Twilio's word; a missing one means `completed`, the only event sent unless others are asked for.
    #[must_use]
    pub fn parse(word: Option<&str>) -> Self {
        match word.map(|word| word.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "completed") => Self::Completed,
            Some("in-progress") => Self::InProgress,
            Some("absent") => Self::Absent,
            Some("failed") => Self::Failed,
            Some(other) => Self::Other(other.to_owned()),
        }
    }
}

/// The recording status callback, and the recording part of the `action` request.
#[derive(Debug, Clone, Copy)]
pub struct RecordingRequest<'a>(pub &'a Form);

impl RecordingRequest<'_> {
    /// `CallSid`, unchecked.
    #[must_use]
    pub fn call_sid(&self) -> Option<&str> {
        self.0.text("CallSid")
    }

    /// `AccountSid`, unchecked.
    #[must_use]
    pub fn account_sid(&self) -> Option<&str> {
        self.0.text("AccountSid")
    }

    /// `RecordingSid`, unchecked.
    #[must_use]
    pub fn recording_sid(&self) -> Option<&str> {
        self.0.text("RecordingSid")
    }

    /// `RecordingUrl`, unchecked, without extension.
    #[must_use]
    pub fn recording_url(&self) -> Option<&str> {
        self.0.text("RecordingUrl")
    }

    /// `RecordingStatus`; missing means completed.
    #[must_use]
    pub fn status(&self) -> RecordingStatus {
        RecordingStatus::parse(self.0.get("RecordingStatus"))
    }

    /// Length in seconds, after trimming.
    #[must_use]
    pub fn duration_s(&self) -> Option<u32> {
        self.0.number("RecordingDuration")
    }

    /// 1 or 2.
    #[must_use]
    pub fn channels(&self) -> Option<u8> {
        self.0.number("RecordingChannels")
    }

    /// `RecordVerb`, `DialVerb`, …
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.0.text("RecordingSource")
    }

    /// `inbound`, `outbound` or `both`.
    #[must_use]
    pub fn track(&self) -> Option<&str> {
        self.0.text("RecordingTrack")
    }

    /// When the recording began, milliseconds since the epoch.
    #[must_use]
    pub fn start_time_ms(&self) -> Option<i64> {
        self.0.time_ms("RecordingStartTime")
    }

    /// Twilio's error number; `None` also for its `0`, which means no error.
    #[must_use]
    pub fn error_code(&self) -> Option<u32> {
        self.0.number("ErrorCode").filter(|&code| code != 0)
    }
}

/// Where a call stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallStatus {
    /// Waiting to be placed.
    Queued,
    /// Being placed.
    Initiated,
    /// Ringing.
    Ringing,
    /// Answered and going on.
    InProgress,
    /// Over, after it was answered.
    Completed,
    /// Over: busy.
    Busy,
    /// Over: could not be placed.
    Failed,
    /// Over: nobody answered.
    NoAnswer,
    /// Over: taken back before it was answered.
    Canceled,
    /// A word this version does not know, or none.
    Other(String),
}

impl CallStatus {
    /// Reads Twilio's word.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word.trim().to_ascii_lowercase().as_str() {
            "queued" => Self::Queued,
            "initiated" => Self::Initiated,
            "ringing" => Self::Ringing,
            "in-progress" => Self::InProgress,
            "completed" => Self::Completed,
            "busy" => Self::Busy,
            "failed" => Self::Failed,
            "no-answer" => Self::NoAnswer,
            "canceled" => Self::Canceled,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Twilio's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Queued => "queued",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::NoAnswer => "no-answer",
            Self::Canceled => "canceled",
            Self::Other(word) => word,
        }
    }

    /// Whether the call is over.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Completed | Self::Busy | Self::Failed | Self::NoAnswer | Self::Canceled => true,
            Self::Queued | Self::Initiated | Self::Ringing | Self::InProgress | Self::Other(_) => false,
        }
    }
}

/// The call status callback.
#[derive(Debug, Clone, Copy)]
pub struct CallStatusRequest<'a>(pub &'a Form);

impl CallStatusRequest<'_> {
    /// `CallSid`, unchecked.
    #[must_use]
    pub fn call_sid(&self) -> Option<&str> {
        self.0.text("CallSid")
    }

    /// Where the call stands.
    #[must_use]
    pub fn status(&self) -> CallStatus {
        CallStatus::parse(self.0.get("CallStatus").unwrap_or_default())
    }

    /// How long the call was, in seconds.
    #[must_use]
    pub fn duration_s(&self) -> Option<u32> {
        self.0.number("CallDuration")
    }

    /// When this happened, milliseconds since the epoch.
    #[must_use]
    pub fn time_ms(&self) -> Option<i64> {
        self.0.time_ms("Timestamp")
    }

    /// Final SIP code of the call.
    #[must_use]
    pub fn sip_response_code(&self) -> Option<u16> {
        self.0.number("SipResponseCode")
    }

    /// The order in which Twilio fired the callbacks of a call, from 0; they may arrive in another.
    #[must_use]
    pub fn sequence_number(&self) -> Option<u32> {
        self.0.number("SequenceNumber")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;

    fn form(body: &str) -> Form {
        Form::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn fields_keep_order_blanks_repeats_and_empty_values() {
        let parsed = form("b=+x%20&a=%D7%A9&&b=2&empty=&bare&odd=100%&odd2=%zz");
        let expected = [
            ("b", " x "),
            ("a", "ש"),
            ("b", "2"),
            ("empty", ""),
            ("bare", ""),
            ("odd", "100%"),
            ("odd2", "%zz"),
        ];
        let fields: Vec<(&str, &str)> = parsed
            .fields()
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(fields, expected);
        assert_eq!(parsed.get("b"), Some(" x "));
        assert_eq!(Form::parse(parsed.encode().as_bytes()), Ok(parsed));
    }

    #[test]
    fn too_many_fields_and_other_encodings_are_refused() {
        let most = vec!["a=1"; FORM_FIELDS_MAX].join("&");
        assert!(Form::parse(most.as_bytes()).is_ok());
        assert_eq!(
            Form::parse(format!("{most}&a=1").as_bytes()),
            Err(FormError::TooManyFields)
        );
        assert_eq!(Form::parse(b"a=%ff"), Err(FormError::NotUtf8));
        assert_eq!(Form::parse(b"a=\xff"), Err(FormError::NotUtf8));
    }

    #[test]
    fn debug_shows_names_only() {
        assert_eq!(
            format!("{:?}", form("From=%2B15551234567&To=x")),
            r#"{"From", "To"}"#
        );
    }

    #[test]
    fn a_plus_that_became_a_blank_is_a_plus() {
        let parsed = form("From=+1555&To=%2B1555&ForwardedFrom=+abc");
        let voice = VoiceRequest(&parsed);
        assert_eq!(voice.from().as_deref(), Some("+1555"));
        assert_eq!(voice.to().as_deref(), Some("+1555"));
        assert_eq!(voice.forwarded_from().as_deref(), Some("abc"));
        assert_eq!(
            VoiceRequest(&form("From=anonymous")).from().as_deref(),
            Some("anonymous")
        );
        assert_eq!(
            VoiceRequest(&form("From=&Caller=%2B1")).from().as_deref(),
            Some("+1")
        );
    }

    #[test]
    fn odd_numbers_and_dates_are_absent() {
        let parsed = form(
            "RecordingDuration=24&RecordingChannels=two&RecordingStartTime=Fri,+20+Aug+2010+01:13:42+%2B0000&ErrorCode=0",
        );
        let recording = RecordingRequest(&parsed);
        assert_eq!(recording.duration_s(), Some(24));
        assert_eq!(recording.channels(), None);
        assert_eq!(recording.start_time_ms(), Some(1_282_266_822_000));
        assert_eq!(recording.error_code(), None);
        assert_eq!(recording.status(), RecordingStatus::Completed);
        assert_eq!(
            RecordingRequest(&form("RecordingStartTime=yesterday")).start_time_ms(),
            None
        );
    }

    #[test]
    fn statuses_are_read_and_unknown_ones_kept() {
        for (word, status) in [
            ("in-progress", RecordingStatus::InProgress),
            ("completed", RecordingStatus::Completed),
            ("absent", RecordingStatus::Absent),
            ("failed", RecordingStatus::Failed),
            ("paused", RecordingStatus::Other("paused".to_owned())),
        ] {
            assert_eq!(RecordingStatus::parse(Some(word)), status);
        }
        for (word, terminal) in [
            ("queued", false),
            ("initiated", false),
            ("ringing", false),
            ("in-progress", false),
            ("completed", true),
            ("busy", true),
            ("failed", true),
            ("no-answer", true),
            ("canceled", true),
            ("something", false),
        ] {
            let status = CallStatus::parse(word);
            assert_eq!((status.is_terminal(), status.as_str()), (terminal, word));
        }
    }
}
