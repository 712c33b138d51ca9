//! The proof that nothing is left: everything that is kept is searched for a call's name, a number and given texts.
//!
//! | place | searched |
//! |---|---|
//! | stream | subjects, headers, payloads as bytes and as JSON |
//! | a rebuild | the stream folded anew into a database of its own, and that database's file |
//! | lead table | the lead, the list of the number, the search for each text, and the file itself where it is SQLite |
//! | recordings | their names |
//! | data folder | every file but recordings and models: the broker's store, databases, spool and logs |
//!
//! What an erased call leaves on purpose is its tombstone and its note, which name the call and nothing else: the name
//! alone is therefore not looked for in the files of broker and database, but event by event and row by row.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use callfold_kit::Bus;
use callfold_kit::blob::Blobs;
use callfold_kit::bus::StoredEvent;
use callfold_lead::{LeadState, lead_view};
use callfold_schema::CallSid;
use callfold_schema::subject::{
    HEADER_CAUSE, HEADER_KIND, HEADER_MSG_ID, HEADER_TIME, HEADER_TRACEPARENT, HEADER_VERSION, RawSubject,
};
use callfold_store::{Batch, Change, Claim, Erased, LeadFilter, ReadLeads, WriteLeads};
use callfold_store_sqlite::SqliteStore;

use crate::stack::{DatabaseConfig, StackConfig, open_blobs, open_store};

/// Events of one step of the rebuild.
const BATCH_EVENTS: usize = 5_000;
/// Bytes of one step of the rebuild.
const BATCH_BYTES: usize = 16 << 20;
/// How long the end of the stream is waited for: its last events may be deleted ones, which nobody hands out.
const SILENCE: Duration = Duration::from_secs(2);
/// A file is searched in pieces of so many bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Most findings that are printed.
const SHOWN: usize = 50;
/// The shortest number or text that is looked for, in characters: shorter ones are everywhere.
const CHARS_MIN: usize = 4;
/// The name the scratch database is written under.
const WRITER: &str = "prove";
/// Parts of the data folder that are searched by name or not at all.
const NOT_SEARCHED: [&str; 2] = ["recordings", "models"];

/// Every header that an event of ours has.
const HEADERS: [&str; 6] = [
    HEADER_KIND,
    HEADER_VERSION,
    HEADER_TIME,
    HEADER_CAUSE,
    HEADER_TRACEPARENT,
    HEADER_MSG_ID,
];

/// What must not be found.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    calls: Vec<CallSid>,
    /// Numbers and texts, as they are written.
    texts: Vec<String>,
}

impl Wanted {
    /// Calls, a number, and texts.
    pub(super) fn new(calls: &[CallSid], phone: Option<&str>, texts: &[String]) -> anyhow::Result<Self> {
        let texts: Vec<String> = phone
            .into_iter()
            .map(str::to_owned)
            .chain(texts.iter().cloned())
            .map(|text| text.trim().to_owned())
            .collect();
        anyhow::ensure!(
            texts.iter().all(|text| text.chars().count() >= CHARS_MIN),
            "a number or text to look for needs {CHARS_MIN} characters or more"
        );
        Ok(Self {
            calls: calls.to_vec(),
            texts,
        })
    }

    /// What the bytes hold; texts are told by their number, for a report is no place for them.
    fn in_bytes(&self, bytes: &[u8]) -> Option<String> {
        let at = self.texts.iter().position(|text| holds(bytes, text.as_bytes()))?;
        Some(self.name(at))
    }

    fn name(&self, at: usize) -> String {
        format!("text {} of {}", at + 1, self.texts.len())
    }

    fn longest(&self) -> usize {
        self.texts.iter().map(String::len).max().unwrap_or(0)
    }
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    let Some(first) = text.first() else {
        return false;
    };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// What was found, place by place, and what was looked at.
#[derive(Debug, Default)]
pub(super) struct Found {
    findings: Vec<String>,
    looked: Vec<String>,
}

impl Found {
    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, finding: impl Into<String>) {
        self.findings.push(finding.into());
    }

    /// The report.
    pub(super) fn print(&self) {
        for looked in &self.looked {
            println!("searched {looked}");
        }
        for finding in self.findings.iter().take(SHOWN) {
            println!("FOUND    {finding}");
        }
        if self.findings.len() > SHOWN {
            println!("FOUND    {} more", self.findings.len() - SHOWN);
        }
        if self.is_empty() {
            println!("nothing is left");
        }
    }
}

/// Searches everything.
pub(super) async fn search(bus: &Bus, config: &StackConfig, wanted: &Wanted) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let scratch = tempfile::tempdir().context("could not make a folder for the rebuild")?;
    let file = scratch.path().join("leads.db");
    let store = SqliteStore::open(&file)
        .await
        .context("could not open the scratch database")?;
    stream(bus, &store, wanted, &mut found).await?;
    table(&store, "the rebuild", wanted, &mut found).await?;
    store
        .purge()
        .await
        .context("could not tidy the scratch database")?;
    drop(store);
    folder(scratch.path(), "the rebuild's files", wanted, &mut found)?;

    let (leads, _) = open_store(&config.database).await?;
    table(&*leads, "the lead table", wanted, &mut found).await?;
    if let DatabaseConfig::Sqlite(path) = &config.database
        && !path.starts_with(&config.data_dir)
        && let Some(parent) = path.parent()
    {
        folder(parent, "the database's folder", wanted, &mut found)?;
    }
    blobs(&open_blobs(config)?, wanted, &mut found).await?;
    folder(&config.data_dir, "the data folder", wanted, &mut found)?;
    Ok(found)
}

/// Each event, as it stands and decoded, and a fold of all of them.
async fn stream(bus: &Bus, store: &SqliteStore, wanted: &Wanted, found: &mut Found) -> anyhow::Result<()> {
    let state = bus.stream_state().await.context("could not read the stream")?;
    if !matches!(store.claim(WRITER, true).await?, Claim::Granted(_)) {
        anyhow::bail!("the scratch database is in use");
    }
    store.reset(WRITER, &state.identity).await?;
    let mut reader = bus.read_from(1, Vec::new());
    let (mut folded, mut events) = (0, 0_u64);
    while state.messages > 0 && reader.next_position() <= state.last {
        let mut batch = Vec::new();
        let read = reader.next_batch(BATCH_EVENTS, BATCH_BYTES, &mut batch);
        match tokio::time::timeout(SILENCE, read).await {
            Ok(read) => read.context("could not read the stream")?,
            Err(_) => break,
        }
        events += batch.len() as u64;
        for event in &batch {
            if let Some(what) = in_event(event, wanted) {
                found.add(format!("stream, position {}: {what}", event.position));
            }
        }
        let is_last = batch.last().is_some_and(|event| event.pending == 0);
        folded = fold(store, &state.identity, folded, &batch).await?;
        if is_last {
            break;
        }
    }
    found.looked.push(format!("stream: {events} events"));
    Ok(())
}

fn in_event(event: &StoredEvent, wanted: &Wanted) -> Option<String> {
    let subject = RawSubject::split(event.subject());
    let is_tombstone = subject.is_some_and(|subject| matches!(subject.kind, "call_erased" | "erase_done"));
    // The tombstone names its call; nothing else does.
    for call in wanted.calls.iter().filter(|_| !is_tombstone) {
        let named =
            event.subject().contains(call.as_str()) || holds(&event.payload, call.as_str().as_bytes());
        if named {
            return Some(format!("call {call}"));
        }
    }
    let headers = HEADERS
        .iter()
        .filter_map(|name| event.header(name))
        .find_map(|value| wanted.in_bytes(value.as_bytes()));
    headers
        .or_else(|| wanted.in_bytes(event.subject().as_bytes()))
        .or_else(|| wanted.in_bytes(&event.payload))
        .or_else(|| {
            let record = event.decode().ok()?;
            wanted.in_bytes(serde_json::to_string(&record.event).ok()?.as_bytes())
        })
}

/// As the projector folds; gives the position behind it.
async fn fold(store: &SqliteStore, identity: &str, from: u64, events: &[StoredEvent]) -> anyhow::Result<u64> {
    let Some(to) = events.last().map(|event| event.position) else {
        return Ok(from);
    };
    let records: Vec<_> = events
        .iter()
        .filter_map(|event| Some((event, event.decode().ok()?)))
        .collect();
    let mut calls: Vec<CallSid> = records
        .iter()
        .map(|(_, record)| record.envelope.subject.call_sid.clone())
        .collect();
    calls.sort_unstable();
    calls.dedup();
    let mut states: HashMap<CallSid, LeadState> = store.states(&calls).await?;
    for (event, record) in &records {
        let call = &record.envelope.subject.call_sid;
        states
            .entry(call.clone())
            .or_insert_with(|| LeadState::new(call.clone()))
            .apply(event.position, &record.envelope, &event.payload);
    }
    let (mut changes, mut erased) = (Vec::new(), Vec::new());
    for state in states.values() {
        if state.is_erased() {
            erased.push(Erased::new(state)?);
        } else {
            changes.push(Change::new(&lead_view(state)?, state)?);
        }
    }
    let batch = Batch {
        identity: identity.to_owned(),
        from,
        to,
        changes,
        erased,
        unreadable: Vec::new(),
    };
    store.apply(WRITER, &batch).await?;
    Ok(to)
}

/// As a person would look: the lead, the number, the words.
async fn table(leads: &dyn ReadLeads, place: &str, wanted: &Wanted, found: &mut Found) -> anyhow::Result<()> {
    for call in &wanted.calls {
        if leads.lead(call).await?.is_some() {
            found.add(format!("{place}: the lead of call {call}"));
        }
        if leads.state(call).await?.is_some_and(|state| !state.is_erased()) {
            found.add(format!("{place}: the events of call {call}"));
        }
    }
    for (at, text) in wanted.texts.iter().enumerate() {
        let searches = [
            LeadFilter {
                phone: Some(text.clone()),
                ..LeadFilter::default()
            },
            LeadFilter {
                q: Some(text.clone()),
                ..LeadFilter::default()
            },
        ];
        for filter in searches {
            for lead in leads.list(&filter, 100, None).await?.leads {
                // The search finds by beginnings of words; only what holds the text counts.
                let row = serde_json::to_string(&lead).context("could not write a lead as JSON")?;
                if row.contains(text.as_str()) {
                    found.add(format!("{place}: {} in call {}", wanted.name(at), lead.call_sid));
                }
            }
        }
    }
    found.looked.push(place.to_owned());
    Ok(())
}

async fn blobs(blobs: &Blobs, wanted: &Wanted, found: &mut Found) -> anyhow::Result<()> {
    for call in &wanted.calls {
        let keys = blobs
            .keys_of(call, 1_000)
            .await
            .context("could not list the recordings")?;
        for key in keys {
            found.add(format!("recordings: {key}"));
        }
    }
    found.looked.push("the recordings' names".to_owned());
    Ok(())
}

fn folder(folder: &Path, place: &str, wanted: &Wanted, found: &mut Found) -> anyhow::Result<()> {
    let (mut files, mut waiting) = (0_u64, vec![folder.to_owned()]);
    while let Some(next) = waiting.pop() {
        let entries =
            std::fs::read_dir(&next).with_context(|| format!("could not read {}", next.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("could not read {}", next.display()))?;
            let path = entry.path();
            let kind = entry
                .file_type()
                .with_context(|| format!("could not read {}", path.display()))?;
            if kind.is_dir() {
                let is_searched =
                    next != folder || NOT_SEARCHED.iter().all(|name| entry.file_name() != *name);
                if is_searched {
                    waiting.push(path);
                }
            } else if kind.is_file() {
                files += 1;
                if let Some(what) = in_file(&path, wanted)? {
                    found.add(format!("{}: {what}", path.display()));
                }
            }
        }
    }
    found.looked.push(format!("{place}: {files} files"));
    Ok(())
}

/// Piece by piece, so that any size fits; pieces overlap by the longest text.
fn in_file(path: &PathBuf, wanted: &Wanted) -> anyhow::Result<Option<String>> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        // The broker and the database make and remove files while they run.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
    };
    let overlap = wanted.longest();
    let mut held: Vec<u8> = Vec::new();
    loop {
        let before = held.len();
        let read = (&mut file)
            .take(PIECE_BYTES as u64)
            .read_to_end(&mut held)
            .with_context(|| format!("could not read {}", path.display()))?;
        if let Some(what) = wanted.in_bytes(&held) {
            return Ok(Some(what));
        }
        if read == 0 {
            return Ok(None);
        }
        let keep = overlap.min(before + read);
        held.drain(..before + read - keep);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

    use super::*;

    #[test]
    fn a_text_across_two_pieces_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut bytes = vec![b'+'; PIECE_BYTES - 4];
        bytes.extend_from_slice("+972501234567 and more".as_bytes());
        std::fs::write(&path, bytes).unwrap();
        let wanted = Wanted::new(&[], Some("+972501234567"), &[]).unwrap();
        assert_eq!(in_file(&path, &wanted).unwrap(), Some("text 1 of 1".to_owned()));
        let other = Wanted::new(&[], Some("+972501234568"), &[]).unwrap();
        assert_eq!(in_file(&path, &other).unwrap(), None);
        let mut found = Found::default();
        super::folder(folder.path(), "here", &wanted, &mut found).unwrap();
        assert_eq!(found.findings.len(), 1);
        assert!(Wanted::new(&[], Some("+97"), &[]).is_err());
    }
}
