//! Whole-system tests: every role in one process with a broker of its own, a media host that plays Twilio's, and a real
//! database. Each test stands alone; where speech is not the subject an engine's double takes the model's place.
//!
//! Processes (`up`, roles apart, signals) are tested beside the program, in `services/callfold/tests`.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

#[path = "../harness/mod.rs"]
mod harness;

mod architecture;
mod archive;
mod chain;
mod checklist;
mod compose;
mod erase;
mod no_message;
mod numbers;
mod order;
mod outage;
mod page;
mod page_card;
mod page_people;
mod page_queue;
mod pipeline;
mod privacy;
mod redelivery;
mod replay;
mod rerun;
mod shutdown;
mod summary;
mod travel;
mod upgrade;
mod verify;
