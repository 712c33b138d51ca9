//! What Twilio says and wants to hear: signatures, forms, TwiML, media addresses and the few REST calls callfold needs.
//!
//! Invariant: this crate knows no event, no stream and no setting of callfold. Everything except [`rest`] is pure; the
//! HTTP client of [`rest`] is handed in.

pub mod form;
pub mod media;
pub mod public_url;
pub mod rest;
pub mod signature;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
pub mod twiml;

pub use form::{
    CallStatus, CallStatusRequest, Form, FormError, RecordingRequest, RecordingStatus, VoiceRequest,
};
pub use media::{AllowedHosts, MediaError, MediaQuery, media_url};
pub use public_url::{PublicUrl, PublicUrlError};
pub use signature::{Payload, SIGNATURE_HEADER, SignatureError, SignatureVerifier, sign};
pub use token::AuthToken;
pub use twiml::{Script, ScriptError, Voice};

/// Header by which Twilio marks the tries of one and the same webhook request.
pub const IDEMPOTENCY_HEADER: &str = "i-twilio-idempotency-token";

/// Where Twilio reaches the gateway, relative to the public URL.
pub mod path {
    /// A call comes in; answered with TwiML.
    pub const VOICE: &str = "/webhook/twilio/voice";
    /// What became of a recording (`recordingStatusCallback`).
    pub const RECORDING_DONE: &str = "/webhook/twilio/recording_done";
    /// The `action` of `<Record>`; answered with the closing TwiML.
    pub const RECORD_ACTION: &str = "/webhook/twilio/record_action";
    /// What became of the call (the number's status callback).
    pub const STATUS: &str = "/webhook/twilio/status";
}
