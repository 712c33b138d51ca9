//! `callfold verify`: reads everything and says what is not as it should be.
//!
//! Each event decodes, and its subject says what it says. Positions without an event are explained by erasures.
//! Each recording is there and has the SHA-256 and size of its event; each file belongs to an event. The lead table has every event, and each row is what
//! the fold makes of the events that the *stream* has, not of those that the table keeps.
//!
//! The system may run. What is checked is what was there at the beginning; an erasure at work meanwhile can look like a
//! finding, and is none when it is gone at the next run.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use callfold_kit::Bus;
use callfold_kit::blob::{Blobs, key_parts};
use callfold_kit::bus::StoredEvent;
use callfold_lead::{FOLD_VERSION, Lead, LeadState, lead_view};
use callfold_schema::event::RecordingDownloaded;
use callfold_schema::subject::HEADER_MSG_ID;
use callfold_schema::{CallSid, Event, EventKind, Key, Record, Subject};
use callfold_store::{LIMIT_MAX, LeadFilter, ReadLeads};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::Access;
use super::import::stored_sha256;
use super::progress::Bar;
use crate::cli::VerifyArgs;
use crate::stack::{Role, open_blobs, open_store};
use crate::up::say;

/// How much is held at once: events, and their bytes.
const BATCH_EVENTS: usize = 1_000;
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// How many recordings, and events of a call, are read at once.
const RECORDINGS_AT_ONCE: usize = 4;
const READ_AT_ONCE: usize = 16;
const ROWS_AT_ONCE: usize = 8;
/// The positions of how many calls are remembered while the stream is read.
const CALLS_REMEMBERED: usize = 20_000;
/// How often a row is read again that changes while it is looked at.
const ROW_TRIES: u32 = 4;
/// How long a running projector may take to come to the end of the stream.
const PROJECTOR_PATIENCE: Duration = Duration::from_secs(30);
/// How many findings of a report are kept with their words; all are counted.
const KEPT_MAX: usize = 10_000;

/// A sort of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// An event does not decode.
    Unreadable,
    /// An event of a newer release: this one cannot check it.
    Newer,
    /// The subject or the message id says something else than the event.
    Subject,
    /// Positions without an event that no erasure explains.
    Gap,
    /// A recording is not there, or not what its event says.
    Recording,
    /// The lead table does not have an event of the stream, or has one that the stream does not.
    Missing,
    /// A row is not what the fold makes of the events.
    Row,
    /// The lead table as a whole.
    Table,
}

impl Fault {
    /// In the report.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Unreadable => "unreadable event",
            Fault::Newer => "event of a newer release",
            Fault::Subject => "subject and content differ",
            Fault::Gap => "unexplained gap",
            Fault::Recording => "recording",
            Fault::Missing => "table and stream differ",
            Fault::Row => "row",
            Fault::Table => "table",
        }
    }
}

/// What was found. Holds no number and nothing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The sort.
    pub fault: Fault,
    /// What and where.
    pub text: String,
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that were read.
    pub events: u64,
    /// Positions without an event that erasures explain.
    pub erased: u64,
    /// Recordings that were read.
    pub recordings: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// What could not be checked, and is no fault.
    pub notes: Vec<String>,
    /// How many findings there are of each sort.
    pub counts: BTreeMap<Fault, u64>,
    /// The findings, the first 10,000 of them.
    pub findings: Vec<Finding>,
}

impl Report {
    fn find(&mut self, fault: Fault, text: impl Into<String>) {
        *self.counts.entry(fault).or_default() += 1;
        if self.findings.len() < KEPT_MAX {
            self.findings.push(Finding {
                fault,
                text: text.into(),
            });
        }
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }
}

/// Verifies.
pub async fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    let config = super::settings(&data_dir, &[Role::Projector])?;
    let blobs = match args.no_recordings {
        true => None,
        false => Some(open_blobs(&config)?),
    };
    let access = Access::open(&data_dir).await?;
    let examined = async {
        let (leads, _) = open_store(&config.database).await?;
        examine(&access.bus, &*leads, blobs.as_ref(), true).await
    }
    .await;
    access.close().await;
    let report = examined?;
    for finding in report.findings.iter().take(args.findings_max) {
        say(&format!("{}: {}", finding.fault.name(), finding.text));
    }
    let total: u64 = report.counts.values().sum();
    if total > args.findings_max as u64 {
        say(&format!("… {} more", total - args.findings_max as u64));
    }
    for note in &report.notes {
        say(&format!("note: {note}"));
    }
    say(&format!(
        "{} events, {} erased positions, {} recordings, {} rows were read",
        report.events, report.erased, report.recordings, report.rows
    ));
    if report.is_clean() {
        say("everything is as it should be");
        return Ok(ExitCode::SUCCESS);
    }
    let sorts: Vec<String> = report
        .counts
        .iter()
        .map(|(fault, count)| format!("{} {count}", fault.name()))
        .collect();
    say(&format!("{total} findings: {}", sorts.join(", ")));
    Ok(ExitCode::FAILURE)
}

/// Reads everything. Without `blobs` the recordings are left out.
///
/// # Errors
/// Something could not be read at all; what is read and wrong is a finding.
pub async fn examine(
    bus: &Bus,
    leads: &dyn ReadLeads,
    blobs: Option<&Blobs>,
    is_shown: bool,
) -> anyhow::Result<Report> {
    let bar = |name, total| {
        if is_shown {
            Bar::new(name, total)
        } else {
            Bar::silent()
        }
    };
    let mut report = Report::default();
    let state = bus.stream_state().await.context("could not read the stream")?;
    // Up to here the table is compared; `None`: not at all.
    let bound = folded_up_to(leads, &state.identity, state.last, &mut report).await?;

    let strays = match blobs {
        Some(blobs) => strays(bus, blobs).await?,
        None => Vec::new(),
    };
    let mut stream = StreamCheck {
        bus,
        leads,
        bound,
        expected: 1,
        gaps: Vec::new(),
        explained: Vec::new(),
        known: HashMap::new(),
    };
    let mut progress = bar("events", state.messages);
    let mut walk = bus.walk(1, state.last);
    while let Some(events) = walk
        .next(BATCH_EVENTS, BATCH_BYTES)
        .await
        .context("could not read the stream")?
    {
        progress.add(events.len() as u64);
        let mut downloads = Vec::new();
        for event in &events {
            if let Some(done) = stream.look_at(event, &mut report).await? {
                downloads.push((event.position, done));
            }
        }
        if let Some(blobs) = blobs {
            check_recordings(blobs, downloads, &mut report).await?;
        }
    }
    progress.end();
    stream.end(state.last, &mut report);

    if bound.is_some() {
        let rows: u64 = leads
            .counts()
            .await
            .context("could not read the lead table")?
            .iter()
            .map(|(_, count)| count)
            .sum();
        let mut progress = bar("rows", rows);
        check_rows(bus, leads, &mut report, &mut progress).await?;
        progress.end();
    }
    for key in strays {
        // By now whoever wrote it has told of it, or never will.
        if !is_told_of(bus, &key).await? {
            report.find(Fault::Recording, format!("file {key} belongs to no event"));
        }
    }
    Ok(report)
}

/// The position up to which the lead table can be compared; a running projector gets the time to come to the end.
async fn folded_up_to(
    leads: &dyn ReadLeads,
    identity: &str,
    last: u64,
    report: &mut Report,
) -> anyhow::Result<Option<u64>> {
    let deadline = Instant::now() + PROJECTOR_PATIENCE;
    loop {
        let projection = leads
            .projection()
            .await
            .context("could not read the lead table")?;
        let Some(stored) = &projection.identity else {
            report
                .notes
                .push("the lead table is empty: it is folded at the next start".to_owned());
            return Ok(None);
        };
        if stored != identity {
            report.find(
                Fault::Table,
                format!("the leads were folded from stream {stored}, the broker has stream {identity}"),
            );
            return Ok(None);
        }
        if projection.fold_version != FOLD_VERSION {
            report.notes.push(format!(
                "the lead table is of version {} of the fold, this release has {FOLD_VERSION}: not compared",
                projection.fold_version
            ));
            return Ok(None);
        }
        if projection.position > last {
            report.find(
                Fault::Table,
                format!(
                    "the leads hold events up to position {}, the stream ends at {last}",
                    projection.position
                ),
            );
            return Ok(None);
        }
        // Nobody folds on where nobody holds the claim.
        if projection.position == last || projection.writer.is_none() || Instant::now() >= deadline {
            if projection.position < last {
                report.notes.push(format!(
                    "the lead table is folded up to position {} of {last}: compared up to there",
                    projection.position
                ));
            }
            return Ok(Some(projection.position));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The pass over the stream.
struct StreamCheck<'a> {
    bus: &'a Bus,
    leads: &'a dyn ReadLeads,
    bound: Option<u64>,
    /// The position that comes next where nothing is missing.
    expected: u64,
    /// Positions without an event: first and last of each row of them.
    gaps: Vec<(u64, u64)>,
    /// Positions that erasures deleted.
    explained: Vec<(u64, u64)>,
    /// The positions in the table of calls that were met lately; `None` for an erased call.
    known: HashMap<CallSid, Option<Vec<u64>>>,
}

impl StreamCheck<'_> {
    /// One event; a recording that it speaks of is handed back.
    async fn look_at(
        &mut self,
        event: &StoredEvent,
        report: &mut Report,
    ) -> anyhow::Result<Option<RecordingDownloaded>> {
        let position = event.position;
        report.events += 1;
        if position > self.expected {
            self.gaps.push((self.expected, position - 1));
        }
        self.expected = position + 1;
        let record = match event.decode() {
            Ok(record) => record,
            Err(error) => {
                let fault = if error.is_newer() {
                    Fault::Newer
                } else {
                    Fault::Unreadable
                };
                report.find(fault, format!("position {position}: {error}"));
                return Ok(None);
            }
        };
        if let Some(what) = contradiction(&record, event.header(HEADER_MSG_ID)) {
            report.find(Fault::Subject, format!("position {position}: {what}"));
        }
        self.explained.extend(explains(&record.event));
        if self.bound.is_some_and(|bound| position <= bound) {
            let call_sid = &record.envelope.subject.call_sid;
            if !self.is_in_table(call_sid, position).await? {
                let text = format!("position {position} of call {call_sid} is not in the lead table");
                report.find(Fault::Missing, text);
            }
            if let (Event::CallErased(_), Some(Some(known))) = (&record.event, self.known.get(call_sid)) {
                // A tombstone knows what the call had, what came behind its erasure too.
                self.explained
                    .extend(known.iter().map(|position| (*position, *position)));
            }
        }
        Ok(match record.event {
            Event::RecordingDownloaded(done) => Some(done),
            _ => None,
        })
    }

    async fn is_in_table(&mut self, call_sid: &CallSid, position: u64) -> anyhow::Result<bool> {
        if !self.known.contains_key(call_sid) {
            if self.known.len() >= CALLS_REMEMBERED {
                self.known.clear();
            }
            let positions = self
                .leads
                .positions(call_sid)
                .await
                .context("could not read the lead table")?;
            let known = if positions.is_empty() && is_erased(self.bus, call_sid).await? {
                None
            } else {
                Some(positions)
            };
            self.known.insert(call_sid.clone(), known);
        }
        Ok(match self.known.get(call_sid) {
            Some(Some(positions)) => positions.binary_search(&position).is_ok(),
            // What is left of an erased call is no matter of the table.
            Some(None) | None => true,
        })
    }

    /// Gaps against erasures, both in order.
    fn end(mut self, last: u64, report: &mut Report) {
        if last >= self.expected {
            self.gaps.push((self.expected, last));
        }
        let gone: u64 = self.gaps.iter().map(|(first, last)| last - first + 1).sum();
        let mut left_over = 0;
        for (first, last) in subtract(&self.gaps, self.explained) {
            left_over += last - first + 1;
            let text = if first == last {
                format!("position {first} holds no event, and no erasure says why")
            } else {
                format!("positions {first} to {last} hold no event, and no erasure says why")
            };
            report.find(Fault::Gap, text);
        }
        report.erased = gone - left_over;
    }
}

/// What is left of `gaps`, which are in order, without `explained`.
fn subtract(gaps: &[(u64, u64)], mut explained: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    explained.retain(|(first, last)| first <= last);
    explained.sort_unstable();
    let mut left = Vec::new();
    let mut from = 0;
    for (mut first, last) in gaps.iter().copied() {
        while explained.get(from).is_some_and(|(_, end)| *end < first) {
            from += 1;
        }
        // Ranges may overlap, so one that is short may stand behind one that is long.
        for (begin, end) in explained[from..].iter().take_while(|(begin, _)| *begin <= last) {
            if *begin > first {
                left.push((first, begin - 1));
            }
            first = first.max(end.saturating_add(1));
            if first > last {
                break;
            }
        }
        if first <= last {
            left.push((first, last));
        }
    }
    left
}

/// The positions that an event says were deleted.
fn explains(event: &Event) -> Vec<(u64, u64)> {
    match event {
        Event::EraseDone(done) => done
            .positions
            .iter()
            .map(|range| (range.first, range.last))
            .collect(),
        _ => Vec::new(),
    }
}

async fn is_erased(bus: &Bus, call_sid: &CallSid) -> anyhow::Result<bool> {
    let subject = Subject::new(call_sid.clone(), EventKind::CallErased, Key::single());
    let found = bus.find(&subject).await.context("could not read the stream")?;
    Ok(found.is_some())
}

/// What the subject or the message id says otherwise than the event.
fn contradiction(record: &Record, message_id: Option<&str>) -> Option<&'static str> {
    let subject = &record.envelope.subject;
    if message_id.is_some_and(|id| id != subject.message_id()) {
        return Some("the message id is that of another event");
    }
    let key = &subject.key;
    let is_same = match &record.event {
        Event::RecordingStarted(event) => key.recording.as_ref() == Some(&event.recording_sid),
        Event::RecordingReady(event) => key.recording.as_ref() == Some(&event.recording_sid),
        Event::RecordingMissing(event) => {
            key.recording == event.recording_sid && key.reason.as_deref() == Some(event.reason.token())
        }
        // A re-run may speak of the file of an earlier one, but never of another call's.
        Event::RecordingDownloaded(event) => event
            .blob_key
            .strip_prefix(subject.call_sid.as_str())
            .is_some_and(|rest| rest.starts_with('/')),
        Event::ReprocessRequested(event) => key.run == Some(event.run),
        Event::LeadUpdated(event) => key.revision == Some(event.revision),
        Event::CallStarted(_)
        | Event::CallErased(_)
        | Event::EraseDone(_)
        | Event::CallEnded(_)
        | Event::TranscriptReady(_)
        | Event::SummaryReady(_)
        | Event::StageFailed(_) => true,
    };
    (!is_same).then_some("the subject is that of another fact than the event tells")
}

/// Files that no event tells of yet: a downloader writes the file first. The first 10,000 of them.
async fn strays(bus: &Bus, blobs: &Blobs) -> anyhow::Result<Vec<String>> {
    let asked = blobs
        .keys()
        .map_err(|error| anyhow::Error::new(error).context("could not list the recordings"))
        .map_ok(async |key| Ok((!is_told_of(bus, &key).await?).then_some(key)))
        .try_buffer_unordered(READ_AT_ONCE)
        .try_filter_map(async |stray| Ok(stray));
    asked.take(KEPT_MAX).try_collect().await
}

/// Whether an erasure is at work on the call: it deletes the files.
async fn is_being_erased(bus: &Bus, call_sid: &CallSid) -> anyhow::Result<bool> {
    let find = async |kind| {
        let subject = Subject::new(call_sid.clone(), kind, Key::single());
        bus.find(&subject).await.context("could not read the stream")
    };
    Ok(find(EventKind::CallErased).await?.is_some() && find(EventKind::EraseDone).await?.is_none())
}

/// Whether an event of the stream names the file, or an erasure is about to delete it.
async fn is_told_of(bus: &Bus, key: &str) -> anyhow::Result<bool> {
    let Some((call_sid, recording, run)) = key_parts(key) else {
        return Ok(false);
    };
    let (kind, stage) = (EventKind::RecordingDownloaded, Key::stage(recording, run));
    let subject = Subject::new(call_sid.clone(), kind, stage);
    let found = bus.find(&subject).await.context("could not read the stream")?;
    let record = found.and_then(|event| event.decode().ok());
    let is_named = record.is_some_and(
        |record| matches!(record.event, Event::RecordingDownloaded(done) if done.blob_key == key),
    );
    Ok(is_named || is_being_erased(bus, &call_sid).await?)
}

async fn check_recordings(
    blobs: &Blobs,
    downloads: Vec<(u64, RecordingDownloaded)>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut checks = stream::iter(downloads)
        .map(|(position, done)| async move {
            let size = blobs
                .size(&done.blob_key)
                .await
                .context("could not read a recording")?;
            let fault = match size {
                None => Some("is not in the store".to_owned()),
                Some(size) if size != done.bytes => Some(format!("has {size} bytes, not {}", done.bytes)),
                Some(_) => match stored_sha256(blobs, &done.blob_key, done.bytes).await? {
                    Some(sha256) if sha256 == done.sha256 => None,
                    _ => Some("does not have the SHA-256 that its event says".to_owned()),
                },
            };
            anyhow::Ok((position, done.blob_key, fault))
        })
        .buffered(RECORDINGS_AT_ONCE);
    while let Some((position, key, fault)) = checks.try_next().await? {
        report.recordings += 1;
        if let Some(fault) = fault {
            report.find(
                Fault::Recording,
                format!("position {position}: recording {key} {fault}"),
            );
        }
    }
    Ok(())
}

/// Each row against the fold of the events that the stream has at the positions that the row knows.
async fn check_rows(
    bus: &Bus,
    leads: &dyn ReadLeads,
    report: &mut Report,
    progress: &mut Bar,
) -> anyhow::Result<()> {
    let mut cursor: Option<String> = None;
    loop {
        let page = leads
            .list(&LeadFilter::default(), LIMIT_MAX, cursor.as_deref())
            .await
            .context("could not read the lead table")?;
        progress.add(page.leads.len() as u64);
        let mut checks = stream::iter(&page.leads)
            .map(|lead| check_row(bus, leads, lead))
            .buffered(ROWS_AT_ONCE);
        while let Some(finding) = checks.try_next().await? {
            report.rows += 1;
            if let Some(Finding { fault, text }) = finding {
                report.find(fault, text);
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn check_row(bus: &Bus, leads: &dyn ReadLeads, listed: &Lead) -> anyhow::Result<Option<Finding>> {
    let failed = "could not read the lead table";
    let call_sid = &listed.call_sid;
    let found = |fault, text: String| {
        Ok(Some(Finding {
            fault,
            text: format!("call {call_sid}: {text}"),
        }))
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let positions = leads.positions(call_sid).await.context(failed)?;
        let mut state = LeadState::new(call_sid.clone());
        let mut gone = None;
        let mut read = bus.get_each(positions.clone(), READ_AT_ONCE);
        while let Some((position, event)) = read.try_next().await.context("could not read the stream")? {
            // What does not decode is a finding of the other pass.
            let record = event.as_ref().map(StoredEvent::decode);
            match (event, record) {
                (Some(event), Some(Ok(record))) => {
                    state.apply(position, &record.envelope, &event.payload);
                }
                _ => gone = gone.or(Some(position)),
            }
        }
        let now = match leads.lead(call_sid).await.context(failed)? {
            Some(now) if !state.is_erased() => now,
            // It was erased meanwhile.
            _ => return Ok(None),
        };
        let is_steady = positions.last() == Some(&now.position);
        if !is_steady && tries < ROW_TRIES {
            continue;
        }
        if let Some(position) = gone {
            return found(
                Fault::Missing,
                format!("the table has the event at position {position}, the stream does not"),
            );
        }
        if state.positions() != positions {
            return found(
                Fault::Missing,
                "an event at its positions is that of another call".to_owned(),
            );
        }
        if state.events().len() != positions.len() {
            return found(
                Fault::Subject,
                "two events of the stream have the same key".to_owned(),
            );
        }
        let folded = lead_view(&state).context("could not fold the events of a call")?;
        let hashes = (folded.hash(), now.hash());
        let (Ok(folded), Ok(stored)) = hashes else {
            return found(Fault::Row, "does not encode".to_owned());
        };
        if folded != stored {
            return found(
                Fault::Row,
                "is not what the fold makes of its events: rebuild the leads".to_owned(),
            );
        }
        return Ok(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_erasures_do_not_explain() {
        assert_eq!(subtract(&[], vec![(1, 5)]), []);
        assert_eq!(subtract(&[(3, 5), (9, 9)], vec![]), [(3, 5), (9, 9)]);
        assert_eq!(subtract(&[(3, 5), (9, 9)], vec![(9, 9), (3, 5)]), []);
        // In parts, in the middle, beyond the ends, and one range over two gaps.
        assert_eq!(
            subtract(&[(10, 20)], vec![(12, 13), (15, 15)]),
            [(10, 11), (14, 14), (16, 20)]
        );
        assert_eq!(
            subtract(&[(10, 20), (30, 31)], vec![(5, 12), (18, 30)]),
            [(13, 17), (31, 31)]
        );
        // Ranges that overlap, and one inside of another.
        assert_eq!(subtract(&[(1, 9)], vec![(1, 8), (2, 3), (4, 8)]), [(9, 9)]);
        assert_eq!(subtract(&[(1, 2), (5, 9)], vec![(1, 8), (2, 3)]), [(9, 9)]);
        assert_eq!(subtract(&[(1, 3)], vec![(3, 1)]), [(1, 3)]);
    }
}
