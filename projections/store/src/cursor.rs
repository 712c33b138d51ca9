//! Where a page ends. Callers see opaque text.

use callfold_schema::{CallSid, UnixMillis};
use data_encoding::BASE64URL_NOPAD;

use crate::error::StoreError;

/// The last lead of a page; the next page begins behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Its time.
    pub created_at: UnixMillis,
    /// Its call.
    pub call_sid: CallSid,
}

impl Cursor {
    /// The opaque text.
    pub fn encode(&self) -> String {
        BASE64URL_NOPAD.encode(format!("1.{}.{}", self.created_at.0, self.call_sid).as_bytes())
    }

    /// Reads what [`Cursor::encode`] wrote; else [`StoreError::Cursor`].
    pub fn decode(text: &str) -> Result<Self, StoreError> {
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| StoreError::Cursor)?;
        let text = String::from_utf8(bytes).map_err(|_| StoreError::Cursor)?;
        let mut parts = text.splitn(3, '.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("1"), Some(created_at), Some(call_sid)) => Ok(Self {
                created_at: UnixMillis(created_at.parse().map_err(|_| StoreError::Cursor)?),
                call_sid: CallSid::parse(call_sid).map_err(|_| StoreError::Cursor)?,
            }),
            _ => Err(StoreError::Cursor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        let cursor = Cursor {
            created_at: UnixMillis(-5),
            call_sid: CallSid::parse("CA_1").expect("is an identifier"),
        };
        assert_eq!(Cursor::decode(&cursor.encode()).expect("was encoded"), cursor);
        for text in ["", "x", "MS4x", "MS54LkNB", "ב"] {
            assert!(matches!(Cursor::decode(text), Err(StoreError::Cursor)), "{text}");
        }
    }
}
