//! What crosses a process boundary: events, their subjects, keys and headers, and how bytes become events.
//!
//! Depends on nothing of ours and does no I/O. `README.md` of this folder says how to add an event or a version.

pub mod decode;
mod downcast;
pub mod envelope;
pub mod event;
pub mod id;
pub mod kind;
pub mod subject;
mod upcast;

pub use decode::{EncodeError, RawEvent, Unreadable, decode, decode_event};
pub use downcast::{Encoded, UnknownWriting, Writing};
pub use envelope::{Envelope, NewEvent, Record};
pub use event::Event;
pub use id::{CallSid, IdError, Lane, PhoneNumber, RecordingSid, Run, UnixMillis};
pub use kind::{EventKind, Stage};
pub use subject::{Key, Subject};
