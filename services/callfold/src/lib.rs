//! The one program: every role, alone or together, and the tools around them. The only place where parts are chosen and
//! joined.

pub mod archive;
pub mod card;
pub mod cli;
pub mod client;
pub mod lead_index;
pub mod role;
pub mod run_file;
pub mod simulate;
pub mod stack;
pub mod tools;
pub mod up;
