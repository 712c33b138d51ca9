//! Twilio's webhooks become events; a caller hears a greeting whatever happens behind it.
//!
//! A callback is answered 2xx only when its event is durable, because Twilio gives up on a callback within 15 seconds
//! and never comes back. The voice webhook is answered in any case: a caller who waits hears silence.
//!
//! Duplicates: Twilio repeats requests (retries, redelivery by its edges) and anybody may replay a captured one. Every
//! event has a key that names the fact, the broker takes a key once, and "already recorded" is a success here.

mod config;
mod error;
mod gateway;
mod known_calls;
pub mod numbers;
mod routes;
#[cfg(test)]
mod tests;
pub mod translate;
mod webhook;

pub use config::{GatewayConfig, setting};
pub use gateway::{CALLBACK_ACCEPT_WAIT, Deps, Gateway, VOICE_ACCEPT_WAIT, build};
pub use webhook::WEBHOOK_BYTES_MAX;
