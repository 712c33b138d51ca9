//! What the tests stand on. `World` is what outlives the system (broker, database, media host, data folder); `System` is
//! the roles of one run; the doubles play what is outside.

mod browser;
mod logs;
mod model;
mod speech;
mod system;
mod wav;
mod world;

pub(crate) use browser::Browser;
pub(crate) use logs::Logs;
pub(crate) use model::{ModelDouble, Reply};
pub(crate) use speech::{Gate, GatedSpeech, Spoken};
pub(crate) use system::System;
pub(crate) use wav::{silence, tone};
pub(crate) use world::{ACCOUNT_SID, API_TOKEN, AUTH_TOKEN, Database, World, fresh_postgres};

/// The root of the workspace.
pub(crate) fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the workspace")
        .to_owned()
}
