//! A model from the hub: resumable, bounded, checked before it is there under its name.
//!
//! The hub answers `<repository>/resolve/<revision>/<file>` with a redirect to where the file lies, and with its SHA-256
//! (`X-Linked-Etag`). What arrives goes into `<file>.part`, whose origin stands in `<file>.part.json`; a later attempt,
//! of this process or of another one, goes on where it ends, as long as the origin still has the same file. Only a file
//! with the right hash and the right beginning is renamed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use callfold_kit::Clock;
use callfold_transcriber::model_choice::FileKind;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use url::Url;

use super::catalogue::{Kind, Model};
use super::store::{
    CheckedBy, Folder, Record, Sha256Hex, Verdict, hash_into, read_json, sync_folder, write_json,
};

/// Where models are fetched from when no other place is named.
pub const HUB: &str = "https://huggingface.co";
/// Most redirects that are followed.
const REDIRECTS_MAX: usize = 5;
/// Space that is left on the disk, in bytes: the broker needs some.
const RESERVE: u64 = 512 << 20;
/// Pieces of a body that wait for the disk.
const QUEUE: usize = 16;
/// Most attempts of one fetch, however much each of them brings.
const ATTEMPTS_MAX: u32 = 200;

/// How patient a fetch is.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Attempts in a row that bring nothing new.
    pub tries: u32,
    /// The pause after the first of them; it doubles with each.
    pub pause: Duration,
    /// The longest pause, and the longest that a server can ask for.
    pub pause_max: Duration,
    /// How long a server may send nothing.
    pub stall: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            tries: 6,
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(30),
            stall: Duration::from_secs(60),
        }
    }
}

/// Hears how far a fetch is.
pub trait Progress: Send {
    /// There are `have` of `total` bytes (if the server says how many).
    fn at(&mut self, have: u64, total: Option<u64>);
    /// Something that a person should know.
    fn say(&mut self, line: &str);
}

/// What to fetch, and where to.
#[derive(Clone, Copy)]
pub struct Fetch<'a> {
    /// The model.
    pub model: &'a Model,
    /// The folder for models.
    pub folder: &'a Folder,
    /// Where from: [`HUB`] or a mirror of it. Its own address and those it redirects to are https; when it is plain http
    /// on loopback, so may be the others.
    pub hub: &'a Url,
    /// The hash it has to have, whatever is known of it.
    pub sha256: Option<Sha256Hex>,
    /// Fetch it even when it is there.
    pub again: bool,
    /// How patient to be.
    pub pace: Pace,
    /// What time it is.
    pub clock: &'a dyn Clock,
}

/// What became of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It was there already, as it was fetched.
    There(Record),
    /// It is there now.
    New(Record),
    /// A file of this name is there that was not fetched, and nothing is known to hold it against. It was left alone.
    Foreign,
}

/// Why a model is not there.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Somebody else is at it.
    #[error("{name} is being fetched by another process")]
    Busy {
        /// The model.
        name: &'static str,
    },
    /// No answer at all.
    #[error(
        "cannot reach {host}: {why}. Without a network: fetch the file elsewhere, copy it here and run `callfold model use \
         /path/to/file`"
    )]
    Unreachable {
        /// The server.
        host: String,
        /// What was tried last.
        why: String,
    },
    /// The address is not one that models are fetched from.
    #[error("{host} was not asked: models are fetched over https only")]
    NotHttps {
        /// The server.
        host: String,
    },
    /// The server does not have it, or does not give it.
    #[error("{host} answered {status}: {}", match .status {
        401 | 403 => "it does not give this file to everybody; see the page of its repository",
        404 | 410 => "it has no such file; a newer callfold may know where it is now",
        _ => "it does not give this file",
    })]
    Refused {
        /// The server.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// An answer that makes no sense.
    #[error("{host} answered nonsense: {what}")]
    Nonsense {
        /// The server.
        host: String,
        /// What was wrong with it.
        what: &'static str,
    },
    /// Another size than the model has.
    #[error("the file at {host} has {found} bytes, the model about {expected}: it is another file")]
    Size {
        /// The server.
        host: String,
        /// Its size.
        found: u64,
        /// The model's.
        expected: u64,
    },
    /// The disk is too full.
    #[error("{:.1} GB are needed in {} and {:.1} GB are free", gb(*.needed), .folder.display(), gb(*.free))]
    NoRoom {
        /// The folder for models.
        folder: PathBuf,
        /// How much is needed, with a reserve for everything else, in bytes.
        needed: u64,
        /// How much there is, in bytes.
        free: u64,
    },
    /// The hub has another file under this name.
    #[error(
        "{host} has another file now: its SHA-256 is {found}, {by} says {expected}. If you trust it: --sha256 {found}"
    )]
    Changed {
        /// The server.
        host: String,
        /// The hub's hash.
        found: Sha256Hex,
        /// Ours.
        expected: Sha256Hex,
        /// Where ours is from.
        by: CheckedBy,
    },
    /// What arrived has another hash.
    #[error("what arrived is another file: its SHA-256 is {found}, {by} says {expected}. Nothing was kept")]
    Mismatch {
        /// Its hash.
        found: Sha256Hex,
        /// The hash it should have.
        expected: Sha256Hex,
        /// Where that one is from.
        by: CheckedBy,
    },
    /// Nothing is known to hold the file against.
    #[error(
        "there is no hash to check {name} by: {host} gives none, and none is built in. Take it from where you trust it, and \
         give it with --sha256"
    )]
    NoHash {
        /// The model.
        name: &'static str,
        /// The server.
        host: String,
    },
    /// What arrived is no model.
    #[error("what arrived is not a model of the kind that {name} is. Nothing was kept")]
    NotAModel {
        /// The model.
        name: &'static str,
    },
    /// It broke off too often.
    #[error("the download broke off at {have} bytes: {why}. The same command goes on from there")]
    BrokenOff {
        /// How much is there.
        have: u64,
        /// What happened last.
        why: String,
    },
    /// Reading or writing failed.
    #[error("could not {what} {}", .path.display())]
    Disk {
        /// The attempt.
        what: &'static str,
        /// The file.
        path: PathBuf,
        #[source]
        #[doc = "Why."]
        source: io::Error,
    },
    /// What is remembered of files could not be read or written.
    #[error(transparent)]
    Record(#[from] anyhow::Error),
    /// No client could be made.
    #[error("could not make an HTTP client")]
    Client(#[source] reqwest::Error),
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Disk { what, path, source }
}

/// Where a `.part` is from: it is only gone on with from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    source: String,
    /// The `ETag` of the server that has the bytes.
    etag: Option<String>,
    /// The hash that the hub gave.
    linked: Option<Sha256Hex>,
    total: Option<u64>,
}

impl Origin {
    /// Whether it can be told from another file at the same address.
    fn is_certain(&self) -> bool {
        self.etag.as_deref().is_some_and(is_strong) || self.linked.is_some()
    }
}

/// Whether the tag is of the bytes. A weak one (`W/"…"`) stays the same for files that are only alike.
fn is_strong(etag: &str) -> bool {
    etag.starts_with('"')
}

/// The beginning of the file.
struct Part {
    path: PathBuf,
    file: File,
    len: u64,
    hasher: Sha256,
    origin: Option<Origin>,
}

impl Part {
    /// Opens what is there, and forgets it when it cannot be gone on with. Reads all of it, and blocks.
    fn open(path: PathBuf, source: &str) -> Result<Self, FetchError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o644)
            .open(&path)
            .map_err(disk("open", &path))?;
        let mut part = Self {
            path,
            file,
            len: 0,
            hasher: Sha256::new(),
            origin: None,
        };
        // A note that does not read is as good as none.
        let origin: Option<Origin> = read_json(&part.note()).unwrap_or(None);
        if let Some(origin) = origin.filter(|origin| origin.source == source && origin.is_certain()) {
            let read = disk("read", &part.path);
            part.len = hash_into(&mut part.hasher, &part.file, u64::MAX).map_err(read)?;
            part.origin = Some(origin);
        }
        if part.len == 0 {
            part.forget()?;
        }
        Ok(part)
    }

    fn note(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".json");
        name.into()
    }

    /// Begins anew.
    fn forget(&mut self) -> Result<(), FetchError> {
        let cut = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cut.map_err(disk("empty", &self.path))?;
        (self.len, self.hasher, self.origin) = (0, Sha256::new(), None);
        Ok(())
    }

    /// Notes where the bytes are from, before the first of them is written.
    fn begin(&mut self, origin: Origin) -> Result<(), FetchError> {
        write_json(&self.note(), &origin)?;
        self.origin = Some(origin);
        Ok(())
    }

    /// Writes what comes until nothing comes any more. Blocks.
    fn take(mut self, mut pieces: mpsc::Receiver<Bytes>) -> (Self, io::Result<()>) {
        while let Some(piece) = pieces.blocking_recv() {
            if let Err(error) = self.file.write_all(&piece) {
                // Half a piece may be there: what was hashed is what counts.
                let cut = self
                    .file
                    .set_len(self.len)
                    .and_then(|()| self.file.seek(SeekFrom::Start(self.len)).map(drop));
                return (self, cut.and(Err(error)));
            }
            self.hasher.update(&piece);
            self.len += piece.len() as u64;
        }
        (self, Ok(()))
    }

    fn remove(&self) -> Result<(), FetchError> {
        for path in [self.path.clone(), self.note()] {
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(disk("remove", &path)(error)),
            }
        }
        Ok(())
    }
}

/// How an attempt ended that did not fail for good.
enum Attempt {
    /// Everything is there.
    Complete,
    /// Another one may bring more.
    Again { why: String, after: Option<Duration> },
}

/// What a server says besides the bytes.
struct Answer {
    response: Response,
    host: String,
    /// The hash that the hub gave on the way.
    linked: Option<Sha256Hex>,
}

impl Fetch<'_> {
    /// Fetches the model. Dropping the future leaves what has come so far, to be gone on with.
    ///
    /// # Errors
    /// [`FetchError`]; after it no file of the model's name has been made or changed.
    pub async fn run(&self, progress: &mut dyn Progress) -> Result<Fetched, FetchError> {
        if !is_allowed(self.hub, self.hub) {
            return Err(FetchError::NotHttps { host: host(self.hub) });
        }
        self.folder.make().map_err(disk("make", self.folder.path()))?;
        let _lock = self.lock()?;
        let record = self.folder.record(self.model.file)?;
        if !self.again
            && let Some(there) = self.look(record.as_ref(), progress).await?
        {
            return Ok(there);
        }
        let source = self.source();
        let path = self.folder.file(&format!("{}.part", self.model.file));
        let name = source.to_string();
        let opened = tokio::task::spawn_blocking(move || Part::open(path, &name)).await;
        let mut part = opened.map_err(lost)??;
        if part.len > 0 {
            progress.say(&format!("going on from {} bytes", part.len));
        }
        let http = callfold_kit::http::client_builder()
            .read_timeout(self.pace.stall)
            .build()
            .map_err(FetchError::Client)?;
        let known = self.known(record.as_ref());
        let (mut failures, mut is_reached) = (0, false);
        for attempt in 1.. {
            let before = part.len;
            let (after, ended) = self
                .attempt(&http, part, known, &mut is_reached, progress)
                .await?;
            part = after;
            let (why, asked) = match ended {
                Ok(Attempt::Complete) => break,
                Ok(Attempt::Again { why, after }) => (why, after),
                Err(error) => {
                    // Nothing to go on with.
                    if part.len == 0 {
                        part.remove()?;
                    }
                    return Err(error);
                }
            };
            failures = if part.len > before { 1 } else { failures + 1 };
            if failures >= self.pace.tries || attempt >= ATTEMPTS_MAX {
                return Err(FetchError::BrokenOff { have: part.len, why });
            }
            let doubled = self.pace.pause.saturating_mul(1 << (failures - 1).min(16));
            let pause = asked.unwrap_or(doubled).min(self.pace.pause_max);
            progress.say(&format!("{why}; trying again"));
            tokio::time::sleep(pause).await;
        }
        let (model, folder) = (self.model.clone(), self.folder.clone());
        let now = self.clock.now().rfc3339();
        let installed =
            tokio::task::spawn_blocking(move || install(part, &model, &folder, known, source, now)).await;
        installed.map_err(lost)?.map(Fetched::New)
    }

    /// One process at a time: the lock goes with the value, and with the process.
    fn lock(&self) -> Result<File, FetchError> {
        // Not the part itself: whoever waits for it would then hold the finished model.
        let path = self.folder.file(&format!(".{}.lock", self.model.file));
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o644)
            .open(&path);
        let file = opened.map_err(disk("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(FetchError::Busy {
                name: self.model.name,
            }),
            Err(TryLockError::Error(error)) => Err(disk("lock", &path)(error)),
        }
    }

    /// The hash that is known before anybody is asked.
    fn known(&self, record: Option<&Record>) -> Option<(Sha256Hex, CheckedBy)> {
        let built_in = self.model.sha256.and_then(Sha256Hex::parse);
        self.sha256
            .map(|hash| (hash, CheckedBy::Asked))
            .or(built_in.map(|hash| (hash, CheckedBy::BuiltIn)))
            .or(record.map(|record| (record.sha256, CheckedBy::Earlier)))
    }

    /// What to say of a file that is there already; `None`: it has to be fetched.
    async fn look(
        &self,
        record: Option<&Record>,
        progress: &mut dyn Progress,
    ) -> Result<Option<Fetched>, FetchError> {
        let path = self.folder.file(self.model.file);
        let bytes = match std::fs::metadata(&path) {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk("look at", &path)(error)),
        };
        progress.say("it is there; checking it");
        let Some(record) = record else {
            let Some((hash, checked_by)) = self.known(None) else {
                return Ok(Some(Fetched::Foreign));
            };
            let of = path.clone();
            let hashed = tokio::task::spawn_blocking(move || {
                let mut hasher = Sha256::new();
                hash_into(&mut hasher, File::open(of)?, u64::MAX)?;
                Ok(Sha256Hex::finish(hasher))
            });
            let found = hashed.await.map_err(lost)?.map_err(disk("read", &path))?;
            if found != hash {
                progress.say("it is another file; fetching it anew");
                return Ok(None);
            }
            let record = Record {
                sha256: hash,
                bytes,
                source: self.source().to_string(),
                checked_by,
                fetched_at: self.clock.now().rfc3339(),
            };
            self.folder.set_record(self.model.file, &record)?;
            return Ok(Some(Fetched::There(record)));
        };
        let (folder, file) = (self.folder.clone(), self.model.file);
        let checked = tokio::task::spawn_blocking(move || folder.check(file)).await;
        if let Verdict::Same(record) = checked.map_err(lost)??
            && self
                .known(Some(&record))
                .is_none_or(|(hash, _)| hash == record.sha256)
        {
            return Ok(Some(Fetched::There(record)));
        }
        tracing::debug!(sha256 = %record.sha256, "the file is not the one that was fetched");
        progress.say("it is not the file it should be; fetching it anew");
        Ok(None)
    }

    fn source(&self) -> Url {
        let mut url = self.hub.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(self.model.repository.split('/'))
                .extend(["resolve", self.model.revision])
                .extend(self.model.path.split('/'));
        }
        url
    }

    /// Asks for what is missing and writes down what comes. The outer error ends with the part lost to this process (it
    /// stays on the disk); the inner result leaves it in hand.
    async fn attempt(
        &self,
        http: &reqwest::Client,
        mut part: Part,
        known: Option<(Sha256Hex, CheckedBy)>,
        is_reached: &mut bool,
        progress: &mut dyn Progress,
    ) -> Result<(Part, Result<Attempt, FetchError>), FetchError> {
        let mut answer = match self.ask(http, &mut part, is_reached).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(again)) => return Ok((part, Ok(again))),
            Err(error) => return Ok((part, Err(error))),
        };
        let total = match self.judge(&answer, &mut part, known) {
            Ok(Judged::Bytes(total)) => total,
            Ok(Judged::Ended(attempt)) => return Ok((part, Ok(attempt))),
            Err(error) => return Ok((part, Err(error))),
        };
        let most = total.unwrap_or_else(|| self.model.size.max());
        let mut have = part.len;
        progress.at(have, total);
        let (pieces, receiver) = mpsc::channel(QUEUE);
        let path = part.path.clone();
        let writer = tokio::task::spawn_blocking(move || part.take(receiver));
        let ended = loop {
            match answer.response.chunk().await {
                Ok(Some(piece)) => {
                    have += piece.len() as u64;
                    if have > most {
                        break Err(FetchError::Size {
                            host: answer.host,
                            found: have,
                            expected: self.model.size.bytes(),
                        });
                    }
                    if pieces.send(piece).await.is_err() {
                        // The disk: the writer says why.
                        break Ok(Attempt::Complete);
                    }
                    progress.at(have, total);
                }
                Ok(None) if total.is_some_and(|total| have < total) => {
                    break Ok(again(&answer.host, "it sent less than it said"));
                }
                Ok(None) => break Ok(Attempt::Complete),
                Err(error) => {
                    break Ok(again(&answer.host, &callfold_kit::chain(&error.without_url())));
                }
            }
        };
        drop(pieces);
        let (mut part, written) = writer.await.map_err(lost)?;
        if let Err(error) = written {
            return Ok((part, Err(disk("write", &path)(error))));
        }
        if matches!(ended, Err(FetchError::Size { .. })) {
            part.forget()?;
        }
        Ok((part, ended))
    }

    /// Sends the request, and follows where the hub leads.
    async fn ask(
        &self,
        http: &reqwest::Client,
        part: &mut Part,
        is_reached: &mut bool,
    ) -> Result<Result<Answer, Attempt>, FetchError> {
        if !part.origin.as_ref().is_some_and(Origin::is_certain) {
            part.forget()?;
        }
        let mut url = self.source();
        let mut linked = None;
        for _ in 0..=REDIRECTS_MAX {
            let host = host(&url);
            if !is_allowed(&url, self.hub) {
                return Err(FetchError::NotHttps { host });
            }
            let mut request = http.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if part.len > 0 {
                request = request.header(RANGE, format!("bytes={}-", part.len));
                let etag = part.origin.as_ref().and_then(|origin| origin.etag.as_deref());
                // Weak ones may not be sent.
                if let Some(etag) = etag.filter(|etag| is_strong(etag)) {
                    request = request.header(IF_RANGE, etag);
                }
            }
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => {
                    let no_answer = error.is_connect() && !*is_reached;
                    let why = callfold_kit::chain(&error.without_url());
                    if no_answer {
                        return Err(FetchError::Unreachable { host, why });
                    }
                    return Ok(Err(again(&host, &why)));
                }
            };
            *is_reached = true;
            linked = linked.or_else(|| linked_hash(response.headers()));
            if let (Some(hub), Some(ours)) = (linked, part.origin.as_ref().and_then(|origin| origin.linked))
                && hub != ours
            {
                // The file at the hub is another one by now.
                part.forget()?;
            }
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Ok(Answer {
                    response,
                    host,
                    linked,
                }));
            }
            let next = response
                .headers()
                .get(LOCATION)
                .and_then(|location| url.join(location.to_str().ok()?).ok());
            url = next.ok_or(FetchError::Nonsense {
                host,
                what: "a redirect to nowhere",
            })?;
        }
        Err(FetchError::Nonsense {
            host: host(self.hub),
            what: "redirects without end",
        })
    }

    /// What the answer's head means. May begin the part anew.
    fn judge(
        &self,
        answer: &Answer,
        part: &mut Part,
        known: Option<(Sha256Hex, CheckedBy)>,
    ) -> Result<Judged, FetchError> {
        let headers = answer.response.headers();
        let status = answer.response.status();
        if let (Some((expected, by)), Some(found)) = (known, answer.linked)
            && expected != found
            && !status.is_server_error()
        {
            return Err(FetchError::Changed {
                host: answer.host.clone(),
                found,
                expected,
                by,
            });
        }
        let etag = headers
            .get(ETAG)
            .and_then(|etag| Some(etag.to_str().ok()?.to_owned()));
        let range = headers
            .get(CONTENT_RANGE)
            .and_then(|range| ContentRange::parse(range.to_str().ok()?));
        let total = match status {
            StatusCode::OK => {
                let total = answer.response.content_length();
                // The file has changed, or the server knows no ranges: from the beginning.
                part.forget()?;
                total
            }
            StatusCode::PARTIAL_CONTENT => {
                let origin = part.origin.clone();
                let is_ours = part.len > 0
                    && range.is_some_and(|range| range.start == Some(part.len))
                    && origin.is_some_and(|origin| {
                        let total = range.and_then(|range| range.total);
                        // Servers of one file may name it differently; then its hash tells in the end.
                        (origin.etag == etag || origin.linked.is_some())
                            && (origin.total.is_none() || total.is_none() || origin.total == total)
                    });
                if !is_ours {
                    part.forget()?;
                    return Ok(Judged::Ended(again(
                        &answer.host,
                        "the file there is another one now",
                    )));
                }
                range.and_then(|range| range.total)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let total = range.and_then(|range| range.total);
                if part.len > 0 && total == Some(part.len) {
                    return Ok(Judged::Ended(Attempt::Complete));
                }
                part.forget()?;
                return Ok(Judged::Ended(again(
                    &answer.host,
                    "what is here does not fit the file there",
                )));
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::TOO_EARLY => {
                return Ok(Judged::Ended(later(answer)));
            }
            status if status.is_server_error() => return Ok(Judged::Ended(later(answer))),
            status => {
                return Err(FetchError::Refused {
                    host: answer.host.clone(),
                    status: status.as_u16(),
                });
            }
        };
        // Before anything is written: what cannot be checked in the end is not worth gigabytes.
        let remembered = part.origin.as_ref().and_then(|origin| origin.linked);
        if known.is_none() && answer.linked.or(remembered).is_none() {
            return Err(self.no_hash(&answer.host));
        }
        if let Some(found) = total
            && !self.model.size.fits(found)
        {
            part.forget()?;
            return Err(FetchError::Size {
                host: answer.host.clone(),
                found,
                expected: self.model.size.bytes(),
            });
        }
        let missing = total.unwrap_or_else(|| self.model.size.max()) - part.len.min(total.unwrap_or(0));
        self.room(missing)?;
        if part.len == 0 {
            part.begin(Origin {
                source: self.source().to_string(),
                etag,
                linked: answer.linked,
                total,
            })?;
        }
        Ok(Judged::Bytes(total))
    }

    fn no_hash(&self, host: &str) -> FetchError {
        FetchError::NoHash {
            name: self.model.name,
            host: host.to_owned(),
        }
    }

    fn room(&self, missing: u64) -> Result<(), FetchError> {
        let stat = rustix::fs::statvfs(self.folder.path())
            .map_err(|error| disk("ask for the space of", self.folder.path())(error.into()))?;
        let (needed, free) = (
            missing.saturating_add(RESERVE),
            stat.f_bavail.saturating_mul(stat.f_frsize),
        );
        if free < needed {
            return Err(FetchError::NoRoom {
                folder: self.folder.path().to_owned(),
                needed,
                free,
            });
        }
        Ok(())
    }
}

/// What an answer's head leads to.
enum Judged {
    /// Bytes follow; as many as the whole file has, if it is said.
    Bytes(Option<u64>),
    /// None do.
    Ended(Attempt),
}

fn again(host: &str, why: &str) -> Attempt {
    Attempt::Again {
        why: format!("{host}: {why}"),
        after: None,
    }
}

/// A server that cannot now, and may say when.
fn later(answer: &Answer) -> Attempt {
    let after = answer
        .response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|after| after.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    Attempt::Again {
        why: format!("{} answered {}", answer.host, answer.response.status().as_u16()),
        after,
    }
}

fn lost(error: tokio::task::JoinError) -> FetchError {
    FetchError::Record(anyhow::Error::new(error).context("a worker ended without an answer"))
}

/// Checks what has come and gives it its name. Blocks.
fn install(
    part: Part,
    model: &Model,
    folder: &Folder,
    known: Option<(Sha256Hex, CheckedBy)>,
    source: Url,
    now: String,
) -> Result<Record, FetchError> {
    let found = Sha256Hex::finish(part.hasher.clone());
    let linked = part.origin.as_ref().and_then(|origin| origin.linked);
    let Some((expected, by)) = known.or(linked.map(|hash| (hash, CheckedBy::Hub))) else {
        part.remove()?;
        return Err(FetchError::NoHash {
            name: model.name,
            host: host(&source),
        });
    };
    if expected != found {
        part.remove()?;
        return Err(FetchError::Mismatch { found, expected, by });
    }
    if !model.size.fits(part.len) {
        part.remove()?;
        return Err(FetchError::Size {
            host: host(&source),
            found: part.len,
            expected: model.size.bytes(),
        });
    }
    let kind = FileKind::of(&part.path).map_err(disk("read", &part.path))?;
    if !matches!(
        (model.kind, kind),
        (Kind::Speech, FileKind::Speech) | (Kind::Vad, FileKind::Vad)
    ) {
        part.remove()?;
        return Err(FetchError::NotAModel { name: model.name });
    }
    part.file.sync_all().map_err(disk("write", &part.path))?;
    let record = Record {
        sha256: found,
        bytes: part.len,
        source: source.to_string(),
        checked_by: by,
        fetched_at: now,
    };
    // First the record: a file without one would count as somebody else's.
    folder.set_record(model.file, &record)?;
    let path = folder.file(model.file);
    std::fs::rename(&part.path, &path)
        .and_then(|()| sync_folder(&path))
        .map_err(disk("rename", &part.path))?;
    part.remove()?;
    Ok(record)
}

/// `bytes 100-199/200`, `bytes */200`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ContentRange {
    start: Option<u64>,
    total: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let start = match range.trim() {
            "*" => None,
            range => Some(range.split_once('-')?.0.trim().parse().ok()?),
        };
        let total = match total.trim() {
            "*" => None,
            total => Some(total.parse().ok()?),
        };
        Some(Self { start, total })
    }
}

/// The SHA-256 of the content, which the hub gives as the `ETag` of what a large file's entry links to.
fn linked_hash(headers: &HeaderMap) -> Option<Sha256Hex> {
    let text = headers.get("x-linked-etag")?.to_str().ok()?;
    // Of small files it is something else, and shorter.
    Sha256Hex::parse(text.trim().trim_start_matches("W/").trim_matches('"'))
}

/// Host and port: the rest of an address may be signed, and does not help anybody.
fn host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "an address without a host".to_owned(),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn is_allowed(url: &Url, hub: &Url) -> bool {
    let is_plain = |url: &Url| url.scheme() == "http" && is_loopback(url);
    let is_bare = url.username().is_empty() && url.password().is_none();
    is_bare && (url.scheme() == "https" || is_plain(url) && is_plain(hub))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_only_when_the_hub_is_there() {
        let allowed = |url: &str, hub: &str| {
            let parse = |text: &str| Url::parse(text).expect("a URL");
            is_allowed(&parse(url), &parse(hub))
        };
        assert!(allowed("https://cdn.example/x?sig=1", HUB));
        assert!(!allowed("http://cdn.example/x", HUB));
        assert!(
            !allowed("http://127.0.0.1/x", HUB),
            "a redirect leads to nobody's own machine"
        );
        assert!(!allowed("file:///etc/passwd", HUB));
        assert!(!allowed("https://me:secret@cdn.example/x", HUB));
        assert!(allowed("http://127.0.0.1:9/x", "http://localhost:8"));
        assert!(!allowed("http://cdn.example/x", "http://localhost:8"));
        assert!(!allowed("http://hub.example/", "http://hub.example/"));
    }

    #[test]
    fn headers_are_read_as_servers_write_them() {
        let range = |text| ContentRange::parse(text).map(|range| (range.start, range.total));
        assert_eq!(range("bytes 100-199/200"), Some((Some(100), Some(200))));
        assert_eq!(range("bytes */200"), Some((None, Some(200))));
        assert_eq!(range("bytes 0-1/*"), Some((Some(0), None)));
        assert_eq!(range("items 0-1/2"), None);
        assert_eq!(range("bytes -1/2"), None);
        let linked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-linked-etag", text.parse().expect("a value"));
            linked_hash(&headers).map(|hash| hash.to_string())
        };
        let hash = "ab".repeat(32);
        assert_eq!(linked(&format!("\"{hash}\"")), Some(hash.clone()));
        assert_eq!(linked(&hash), Some(hash));
        assert_eq!(linked(&format!("\"{}\"", "ab".repeat(20))), None);
    }

    #[test]
    fn an_error_says_what_to_do() {
        let text = FetchError::Unreachable {
            host: "hub.example".to_owned(),
            why: "no route".to_owned(),
        }
        .to_string();
        assert!(text.starts_with("cannot reach hub.example: no route. "), "{text}");
        assert!(text.contains("`callfold model use /path/to/file`"), "{text}");
        let refused = |status| {
            FetchError::Refused {
                host: "h".to_owned(),
                status,
            }
            .to_string()
        };
        assert!(refused(401).contains("does not give this file to everybody"));
        assert!(refused(404).contains("no such file"));
    }
}
