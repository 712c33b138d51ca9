//! Every log line of this process, as it would have been written: one subscriber for all tests, in our own crates down to
//! the finest level, elsewhere as by default.

use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The captured lines.
pub(crate) struct Logs;

impl Logs {
    /// Captures from here on; once for the process. `CALLFOLD_TEST_LOG` prints them as well.
    pub(crate) fn capture() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let ours = [
                "callfold",
                "callfold_api",
                "callfold_downloader",
                "callfold_gateway",
                "callfold_kit",
                "callfold_lead",
                "callfold_projector",
                "callfold_reconciler",
                "callfold_schema",
                "callfold_store",
                "callfold_store_postgres",
                "callfold_store_sqlite",
                "callfold_summarizer",
                "callfold_transcriber",
                "callfold_twilio",
            ];
            let filter = ours
                .iter()
                .fold("info".to_owned(), |filter, name| format!("{filter},{name}=trace"));
            tracing_subscriber::fmt()
                .with_env_filter(EnvFilter::new(filter))
                .with_ansi(false)
                .with_writer(Logs)
                .try_init()
                .expect("nothing else in the tests starts logging");
        });
    }

    /// What was logged so far, by all tests.
    pub(crate) fn text() -> String {
        String::from_utf8_lossy(&LINES.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Logs;

    fn make_writer(&'a self) -> Logs {
        Logs
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        if std::env::var_os("CALLFOLD_TEST_LOG").is_some() {
            std::io::stderr().write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
