//! The read model over HTTP: JSON, server-sent events, and the page that people work in.
//!
//! Reads the lead table (`ReadLeads`), the stream (stories, by position) and the recordings; writes none of them. What
//! it keeps itself are people and sessions, in buckets of the broker (`callfold-people`). `README.md` has paths, settings and invariants.

mod app;
mod assets;
mod auth;
mod config;
mod error;
mod export;
mod operation;
mod page;
mod peaks;
mod query;
mod range;
mod routes;
mod show;
mod sse;
mod words;

pub use app::{Api, Deps, Warnings, build};
pub use config::{ApiConfig, TIMEZONE_DEFAULT, TOKEN_CHARS_MIN};
