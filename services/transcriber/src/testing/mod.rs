//! Doubles of the services that engines ask: real HTTP on loopback, with everything that can go wrong.

pub mod google;
pub mod speech_api;

pub use google::GoogleDouble;
pub use speech_api::SpeechApiDouble;
