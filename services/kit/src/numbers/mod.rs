//! Settings of single numbers, from one TOML file that is read again whenever it changes.
//!
//! `[default]` holds for numbers that are not listed and for what a listed one leaves out; below it the settings of the
//! environment hold, which this module does not know. A file with a mistake is refused whole, with line and column of
//! every mistake: at the start that is a mistake of the setting `CALLFOLD_NUMBERS`, later the settings read before stay
//! in force, and health, the log and a metric say so.
//!
//! To add a key: a field in `settings.rs`, a line in `KEYS` and one in `merge` (`parse.rs`), `docs/numbers.md`.

mod calls;
mod file;
mod parse;
mod settings;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callfold_schema::PhoneNumber;
use tokio::sync::watch as channel;

use crate::config::Settings;

pub use calls::CalledError;
pub use parse::{FILE_BYTES_MAX, NUMBERS_MAX};
pub use settings::{
    BUSINESS_NAME_CHARS_MAX, ENGINES, NumberSettings, PHRASE_CHARS_MAX, PHRASES_MAX, PROMPT_CHARS_MAX,
    RETENTION_DAYS_MAX, SUMMARY_ENGINES,
};
pub use watch::POLL;

/// The setting that names the file.
pub const SETTING: &str = "CALLFOLD_NUMBERS";
/// The file in the data folder that is read where the setting is unset.
pub const FILE_NAME: &str = "numbers.toml";

/// What this module cannot check: (key, what is wrong with its value and what is right) for every wrong key. The text
/// goes on after the key's name (`is longer than 4096 characters`) and does not repeat the value.
///
/// It is asked of `[default]` and of every number with `[default]` filled in, and must not depend on the process, so that
/// all roles agree about a file.
pub type Check = Arc<dyn Fn(&NumberSettings) -> Vec<(&'static str, String)> + Send + Sync>;

/// One mistake in the file. Never a value: texts and numbers are nobody's business in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what is right.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be opened or read.
    #[error("could not read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A folder, a pipe, or another thing that is no file.
    #[error("{} is no file", .0.display())]
    NotAFile(PathBuf),
    /// Larger than [`FILE_BYTES_MAX`].
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// It was written while it was read.
    #[error("{} was changed while it was read", .0.display())]
    Unsettled(PathBuf),
    /// Mistakes in it, at least one, in the order of the file.
    #[error("{}", at_paths(path, mistakes))]
    Mistakes {
        /// Which file.
        path: PathBuf,
        /// All of them, up to a bound.
        mistakes: Vec<Mistake>,
    },
}

/// `path:line:column: what`, for each.
fn at_paths(path: &Path, mistakes: &[Mistake]) -> String {
    let line = |m: &Mistake| format!("{}:{}:{}: {}", path.display(), m.line, m.column, m.what);
    mistakes.iter().map(line).collect::<Vec<_>>().join("; ")
}

impl LoadError {
    /// The same on one line and without the folder, for health: `numbers.toml line 3, column 9: …`.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::Mistakes { path, mistakes } => {
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
                match mistakes.len() {
                    0 | 1 => format!("{name} {first}"),
                    count => format!("{name} {first} (the first of {count} mistakes)"),
                }
            }
            other => crate::chain(other),
        }
    }

    /// Whether there is no such file.
    fn is_absence(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// How many mistakes it stands for.
    fn count(&self) -> usize {
        match self {
            Self::Mistakes { mistakes, .. } => mistakes.len(),
            _ => 1,
        }
    }
}

/// What one reading of the file gave.
#[derive(Debug, Default)]
pub struct Book {
    /// What holds for numbers that are not listed.
    pub default: Arc<NumberSettings>,
    /// Listed numbers, `[default]` filled in.
    pub numbers: HashMap<PhoneNumber, Arc<NumberSettings>>,
    /// What is no mistake and should be known all the same, each once.
    pub remarks: Vec<&'static str>,
    /// Whether there was a file.
    pub is_from_file: bool,
}

impl Book {
    /// What holds for a call of which nobody knows the number: `[default]`, with those engines only that every number
    /// allows, since it may be one that keeps its calls from others. Where they have none in common it is the engine that
    /// runs here: what it hears goes nowhere.
    #[must_use]
    pub fn unknown(&self) -> Arc<NumberSettings> {
        let speech = |settings: &NumberSettings| Arc::clone(&settings.engines);
        let summaries = |settings: &NumberSettings| Arc::clone(&settings.summary_engines);
        Arc::new(NumberSettings {
            engines: self.common(&settings::ENGINES, settings::LOCAL_ENGINE, speech),
            summary_engines: self.common(
                &settings::SUMMARY_ENGINES,
                settings::LOCAL_SUMMARY_ENGINE,
                summaries,
            ),
            ..NumberSettings::clone(&self.default)
        })
    }

    /// The engines of `[default]` that no number leaves out, else the local one. Empty: no number says anything.
    fn common(
        &self,
        all: &[&str],
        local: &str,
        of: impl Fn(&NumberSettings) -> Arc<[String]>,
    ) -> Arc<[String]> {
        let default = of(&self.default);
        let numbers = self.numbers.values().map(|settings| of(settings));
        let named: Vec<_> = numbers.filter(|engines| !engines.is_empty()).collect();
        if named.is_empty() {
            return default;
        }
        let mut common: Vec<String> = match &*default {
            [] => all.iter().map(|engine| (*engine).to_owned()).collect(),
            engines => engines.to_vec(),
        };
        common.retain(|engine| named.iter().all(|engines| engines.contains(engine)));
        if common.is_empty() {
            common.push(local.to_owned());
        }
        common.into()
    }

    /// The settings of a number.
    #[must_use]
    pub fn settings(&self, to: &PhoneNumber) -> &Arc<NumberSettings> {
        self.numbers.get(to).unwrap_or(&self.default)
    }

    /// Whether `[default]` or a listed number keeps its calls from this engine of summaries: then it has to be known
    /// which number a call was made to before that engine is asked.
    #[must_use]
    pub fn keeps_summaries_from(&self, engine: &str) -> bool {
        let mut all = std::iter::once(&self.default).chain(self.numbers.values());
        all.any(|settings| !settings.may_summarize(engine))
    }
}

/// The settings of all numbers. Clones share one state.
#[derive(Clone)]
pub struct Numbers {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None`: there is no file and none is looked for.
    path: Option<PathBuf>,
    check: Check,
    book: channel::Sender<Arc<Book>>,
    /// How the file looked when it was read at the start.
    loaded: file::Stamp,
    calls: calls::Called,
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Numbers")
            .field("path", &self.inner.path)
            .field("numbers", &self.book().numbers.len())
            .finish_non_exhaustive()
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self::none()
    }
}

impl Numbers {
    fn new(path: Option<PathBuf>, check: Check, book: Book, loaded: file::Stamp) -> Self {
        Self {
            inner: Arc::new(Inner {
                path,
                check,
                book: channel::Sender::new(Arc::new(book)),
                loaded,
                calls: calls::Called::default(),
            }),
        }
    }

    /// No file: the settings of the environment hold for every number.
    #[must_use]
    pub fn none() -> Self {
        Self::new(
            None,
            Arc::new(|_| Vec::new()),
            Book::default(),
            file::Stamp::Absent,
        )
    }

    /// Reads a file that has to be there. Blocks; for the start of a process.
    ///
    /// # Errors
    /// It cannot be read, or there are mistakes in it.
    pub fn load(path: &Path, check: Check) -> Result<Self, LoadError> {
        let (book, stamp) = file::read(path, &check)?;
        Ok(Self::new(Some(path.to_owned()), check, book, stamp))
    }

    /// Reads a file that need not be there, yet.
    ///
    /// # Errors
    /// It is there, and cannot be read or has mistakes.
    pub fn load_if_there(path: &Path, check: Check) -> Result<Self, LoadError> {
        match Self::load(path, Arc::clone(&check)) {
            Err(error) if error.is_absence() => {
                let path = Some(path.to_owned());
                Ok(Self::new(path, check, Book::default(), file::Stamp::Absent))
            }
            loaded => loaded,
        }
    }

    /// Reads the section: the file that [`SETTING`] names, or [`FILE_NAME`] in the data folder when it is there.
    pub fn from_settings(settings: &mut Settings<'_>, data_dir: &Path, check: Check) -> Self {
        let loaded = match settings.text(SETTING) {
            Some(path) => Self::load(Path::new(path.trim()), check),
            None => Self::load_if_there(&data_dir.join(FILE_NAME), check),
        };
        loaded.unwrap_or_else(|error| {
            match &error {
                LoadError::Mistakes { path, mistakes } => {
                    for mistake in mistakes {
                        settings.mistake(SETTING, at_paths(path, std::slice::from_ref(mistake)));
                    }
                }
                other => settings.mistake(SETTING, crate::chain(other)),
            }
            Self::none()
        })
    }

    /// The file, where one is looked for.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    /// The settings of a number as callers dial it, in E.164. One look-up, nothing is copied.
    #[must_use]
    pub fn settings(&self, to: &PhoneNumber) -> Arc<NumberSettings> {
        Arc::clone(self.inner.book.borrow().settings(to))
    }

    /// Everything that is in force now.
    #[must_use]
    pub fn book(&self) -> Arc<Book> {
        Arc::clone(&self.inner.book.borrow())
    }

    /// Tells of every change from now on.
    #[must_use]
    pub fn subscribe(&self) -> channel::Receiver<Arc<Book>> {
        self.inner.book.subscribe()
    }
}
