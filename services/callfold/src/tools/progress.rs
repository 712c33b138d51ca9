//! How far a long piece of work is: a bar on a terminal, else a line for every tenth.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Shown on standard error, so that what is printed stays for programs.
pub struct Bar {
    name: &'static str,
    total: u64,
    have: u64,
    bar: Option<ProgressBar>,
    is_silent: bool,
}

impl Bar {
    /// Work of so many events.
    pub fn new(name: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {per_sec} {eta}") {
                bar.set_style(style);
            }
            bar.set_prefix(name);
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            name,
            total,
            have: 0,
            bar,
            is_silent: false,
        }
    }

    /// Shows nothing.
    pub fn silent() -> Self {
        Self {
            name: "",
            total: 0,
            have: 0,
            bar: None,
            is_silent: true,
        }
    }

    /// So many more are done.
    pub fn add(&mut self, more: u64) {
        let tenth = |have: u64| have.saturating_mul(10) / self.total.max(1);
        let (before, after) = (tenth(self.have), tenth(self.have + more));
        self.have += more;
        match &self.bar {
            Some(bar) => bar.set_position(self.have),
            None if after > before && !self.is_silent => {
                eprintln!("{}: {} % of {}", self.name, after.min(10) * 10, self.total);
            }
            None => {}
        }
    }

    /// Takes the bar away.
    pub fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
