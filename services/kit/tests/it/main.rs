//! The kit against a real broker. One binary, so that it is linked once.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod broker;
mod bus;
mod order;
mod stage;
mod support;
mod topology;
