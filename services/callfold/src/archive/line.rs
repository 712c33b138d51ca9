//! One event as a line of text.

use bytes::Bytes;
use callfold_kit::bus::{RawMessage, StoredEvent};
use callfold_schema::subject::RawSubject;
use callfold_schema::{RawEvent, Record, UnixMillis, Unreadable};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What stands between a line's content and its checksum, and behind that.
const SEAL: (&str, &str) = (",\"sha256\":\"", "\"}");
const HEX_CHARS: usize = 64;

/// Why a line is not one of an archive. Does not repeat it.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It does not end with a checksum: it was cut, or is of something else.
    #[error("is cut off, or no line of an archive")]
    Unsealed,
    /// Its content is not what its checksum says.
    #[error("does not have the content that its checksum says: it was damaged or changed")]
    Checksum,
    /// The checksum holds, but it does not read.
    #[error("does not read: another release wrote it")]
    Json(#[source] serde_json::Error),
    /// The payload is no base64.
    #[error("has a payload that does not read")]
    Payload(#[source] data_encoding::DecodeError),
}

/// An event as it stands in an archive.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it stood in the stream that it was exported from.
    pub position: u64,
    /// When that stream stored it.
    pub stored_at: UnixMillis,
    /// The message.
    pub message: RawMessage,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("position", &self.position)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// The JSON of a line without its checksum.
#[derive(Serialize, Deserialize)]
struct Wire {
    position: u64,
    subject: String,
    headers: Vec<(String, String)>,
    stored_at: String,
    /// `{"kind": …, "data": …}` in the newest version of the kind: for people. The import reads the payload.
    event: Option<Value>,
    unreadable: Option<String>,
    payload: String,
}

impl Line {
    /// The line of a message of the stream.
    pub fn of(stored: &StoredEvent) -> Self {
        let mut headers: Vec<(String, String)> = stored
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        // The client has them in no order; the same event is to be the same line.
        headers.sort();
        Self {
            position: stored.position,
            stored_at: stored.stored_at,
            message: RawMessage {
                subject: stored.subject().to_owned(),
                headers,
                payload: stored.payload.clone(),
            },
        }
    }

    /// A header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = &self.message.headers;
        headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Reads the event.
    pub fn decode(&self) -> Result<Record, Unreadable> {
        callfold_schema::decode(&RawEvent {
            subject: &self.message.subject,
            header: &|name| self.header(name),
            payload: &self.message.payload,
        })
    }

    /// The tokens of the subject, where it has the form of one of ours.
    pub fn subject(&self) -> Option<RawSubject<'_>> {
        RawSubject::split(&self.message.subject)
    }

    /// The line, without a line feed.
    pub fn to_text(&self, decoded: &Result<Record, Unreadable>) -> Result<String, serde_json::Error> {
        let wire = Wire {
            position: self.position,
            subject: self.message.subject.clone(),
            headers: self.message.headers.clone(),
            stored_at: self.stored_at.rfc3339(),
            event: decoded
                .as_ref()
                .ok()
                .map(|record| serde_json::to_value(&record.event))
                .transpose()?,
            unreadable: decoded.as_ref().err().map(ToString::to_string),
            payload: BASE64.encode(&self.message.payload),
        };
        let mut text = serde_json::to_string(&wire)?;
        let digest = HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
        // The checksum becomes the last member of the object.
        text.pop();
        text.push_str(SEAL.0);
        text.push_str(&digest);
        text.push_str(SEAL.1);
        Ok(text)
    }

    /// Reads a line, without its line feed.
    pub fn from_text(text: &[u8]) -> Result<Self, LineError> {
        let seal_bytes = SEAL.0.len() + HEX_CHARS + SEAL.1.len();
        let at = text.len().checked_sub(seal_bytes).ok_or(LineError::Unsealed)?;
        let (content, seal) = text.split_at(at);
        let digest = seal
            .strip_prefix(SEAL.0.as_bytes())
            .and_then(|seal| seal.strip_suffix(SEAL.1.as_bytes()))
            .ok_or(LineError::Unsealed)?;
        let content = [content, b"}"].concat();
        if HEXLOWER.encode(&Sha256::digest(&content)).as_bytes() != digest {
            return Err(LineError::Checksum);
        }
        let wire: Wire = serde_json::from_slice(&content).map_err(LineError::Json)?;
        let payload = BASE64
            .decode(wire.payload.as_bytes())
            .map_err(LineError::Payload)?;
        Ok(Self {
            position: wire.position,
            stored_at: UnixMillis::parse_rfc3339(&wire.stored_at).unwrap_or_default(),
            message: RawMessage {
                subject: wire.subject,
                headers: wire.headers,
                payload: Bytes::from(payload),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use callfold_schema::event::CallEnded;
    use callfold_schema::{CallSid, Key, NewEvent};

    use super::*;

    fn line() -> Line {
        let event = CallEnded {
            status: "completed".to_owned(),
            duration_s: Some(31),
            ended_at: None,
            idempotency_token: None,
            form: vec![("Name".to_owned(), "דנה \"x\"\n".to_owned())],
        };
        let call = CallSid::parse("CA1").unwrap();
        let new = NewEvent::new(call, Key::single(), UnixMillis(1_700_000_000_123), event);
        let headers = new.envelope.headers();
        Line {
            position: 7,
            stored_at: UnixMillis(1_700_000_000_456),
            message: RawMessage {
                subject: new.envelope.subject.to_string(),
                headers: headers.into_iter().map(|(n, v)| (n.to_owned(), v)).collect(),
                payload: new.event.encode().unwrap().into(),
            },
        }
    }

    #[test]
    fn a_line_comes_back_as_it_was_and_can_be_read_by_people() {
        let line = line();
        let text = line.to_text(&line.decode()).unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(Line::from_text(text.as_bytes()).unwrap(), line);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["event"]["kind"], "call_ended");
        assert_eq!(json["event"]["data"]["duration_s"], 31);
        assert_eq!(json["unreadable"], Value::Null);

        let broken = Line {
            message: RawMessage {
                payload: Bytes::from_static(&[0xff]),
                ..line.message
            },
            ..line
        };
        let text = broken.to_text(&broken.decode()).unwrap();
        assert_eq!(Line::from_text(text.as_bytes()).unwrap(), broken);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["event"], Value::Null);
        assert!(json["unreadable"].as_str().unwrap().starts_with("malformed"));
    }

    #[test]
    fn a_line_that_was_cut_or_changed_in_any_byte_is_found() {
        let line = line();
        let text = line.to_text(&line.decode()).unwrap().into_bytes();
        for cut in 0..text.len() {
            assert!(Line::from_text(&text[..cut]).is_err(), "cut at {cut}");
        }
        for changed in 0..text.len() {
            let mut other = text.clone();
            other[changed] ^= 1;
            assert!(Line::from_text(&other).is_err(), "changed at {changed}");
        }
    }
}
