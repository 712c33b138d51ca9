//! `callfold import DIR`: an archive into an empty installation.
//!
//! The archive is read three times: its checksums and recordings are checked before anything else; then it is compared with
//! what the installation has, which may be nothing, a part of this same archive (an import that was broken off), and
//! tombstones of erased calls; then it is written. A subject is written once, so writing again what is there is harmless.
//!
//! Calls that were erased stay erased: those of which the archive itself says so further on (a backup that was continued
//! over an erasure), and those of which tombstones in the installation do.

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use callfold_kit::Bus;
use callfold_kit::blob::Blobs;
use callfold_kit::bus::{Published, StoredEvent};
use callfold_schema::event::RecordingDownloaded;
use callfold_schema::{Event, subject::RawSubject};
use futures::stream::{self, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::Access;
use super::progress::Bar;
use crate::archive::{Archive, Line, Manifest, hash_file, hex};
use crate::cli::ImportArgs;
use crate::stack::{Role, open_blobs};
use crate::up::say;

/// How much is held at once: lines, and the bytes of their payloads.
const CHUNK_LINES: usize = 256;
const CHUNK_BYTES: usize = 32 * 1024 * 1024;
/// How many recordings are read or written at once.
const COPY_AT_ONCE: usize = 4;
/// How long one event may take to become durable.
const PUBLISH_WAIT: Duration = Duration::from_secs(30);
/// The kinds that say of a call that it was erased.
const TOMBSTONES: [&str; 2] = ["call_erased", "erase_done"];

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Events that were written.
    pub events: u64,
    /// Events that were there before.
    pub were_there: u64,
    /// Events of erased calls, which were left out.
    pub erased: u64,
    /// Recordings that were written.
    pub recordings: u64,
}

/// What a look at an archive found. No archive with a fault comes that far.
pub struct Checked {
    /// The description.
    pub manifest: Manifest,
    /// Calls that were erased, by what the archive says.
    erased: HashSet<String>,
}

/// Imports.
pub async fn run(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    let config = super::settings(&data_dir, &[Role::Projector])?;
    let archive = Archive::at(&args.folder);
    let checked = check(&archive, true).await?;
    let manifest = &checked.manifest;
    say(&format!(
        "the archive is whole: {} events, {} recordings, made at {}",
        manifest.events, manifest.recordings.files, manifest.made_at
    ));
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let access = Access::open_alone(&data_dir).await?;
    let put = async {
        let blobs = open_blobs(&config)?;
        put(&access.bus, &blobs, &archive, &checked, true).await
    }
    .await;
    access.close().await;
    let imported = put?;
    say(&format!(
        "{} events and {} recordings were imported, {} events were there before",
        imported.events, imported.recordings, imported.were_there
    ));
    if imported.erased > 0 {
        say(&format!(
            "{} events of erased calls were left out",
            imported.erased
        ));
    }
    say("leads are folded from them at the next start");
    Ok(ExitCode::SUCCESS)
}

/// Reads a whole archive and holds it against its checksums.
///
/// # Errors
/// It is not complete, or something in it is not what its checksum says.
pub async fn check(archive: &Archive, is_shown: bool) -> anyhow::Result<Checked> {
    let folder = archive.folder().display();
    let manifest = Manifest::read(archive)?.with_context(|| format!("{folder} is no archive"))?;
    anyhow::ensure!(
        manifest.complete,
        "the export into {folder} did not come to its end: run it again, it goes on"
    );
    let mut bar = if is_shown {
        Bar::new("check", manifest.events)
    } else {
        Bar::silent()
    };
    let mut lines = archive.lines()?;
    let mut erased = HashSet::new();
    while let Some(chunk) = next_chunk(&mut lines)? {
        bar.add(chunk.len() as u64);
        for line in &chunk {
            if let Some(call) = tombstone(&line.message.subject) {
                erased.insert(call.to_owned());
            }
        }
        let known_faults = [&manifest.recordings.missing, &manifest.recordings.damaged];
        let downloads = downloads(&chunk)
            .into_iter()
            .map(|(_, done)| done)
            .filter(|done| !known_faults.iter().any(|keys| keys.contains(&done.blob_key)));
        let checks = stream::iter(downloads).map(|done| check_recording(archive, done));
        checks.buffer_unordered(COPY_AT_ONCE).try_collect::<()>().await?;
    }
    bar.end();
    anyhow::ensure!(
        lines.number() == manifest.events && hex(lines.digest()) == manifest.sha256,
        "events.ndjson of {folder} is not the file that the manifest describes: lines were taken away, added or moved"
    );
    Ok(Checked { manifest, erased })
}

async fn check_recording(archive: &Archive, done: RecordingDownloaded) -> anyhow::Result<()> {
    let key = &done.blob_key;
    let path = archive
        .recording(key)
        .with_context(|| format!("the key {key} is none of a recording"))?;
    let (sha256, bytes) = hash_file(path)
        .await
        .with_context(|| format!("recording {key} of the archive"))?;
    anyhow::ensure!(
        sha256 == done.sha256 && bytes == done.bytes,
        "recording {key} of the archive is not what its event says: it was damaged or changed"
    );
    Ok(())
}

/// Writes a checked archive into the stream and the recordings.
///
/// # Errors
/// The stream holds events that are not of this archive; something cannot be written. What was written stays, and the
/// same call goes on.
pub async fn put(
    bus: &Bus,
    blobs: &Blobs,
    archive: &Archive,
    checked: &Checked,
    is_shown: bool,
) -> anyhow::Result<Imported> {
    let mut erased = checked.erased.clone();
    compare(bus, archive, checked, &mut erased).await?;
    let mut bar = if is_shown {
        Bar::new("import", checked.manifest.events)
    } else {
        Bar::silent()
    };
    let mut imported = Imported::default();
    let mut lines = archive.lines()?;
    while let Some(mut chunk) = next_chunk(&mut lines)? {
        bar.add(chunk.len() as u64);
        let before = chunk.len();
        chunk.retain(|line| is_kept(&line.message.subject, &erased));
        imported.erased += (before - chunk.len()) as u64;

        // Recordings first: an event says that its recording is there.
        let copies = stream::iter(downloads(&chunk)).map(|(_, done)| copy(archive, blobs, done));
        let copied: Vec<bool> = copies.buffer_unordered(COPY_AT_ONCE).try_collect().await?;
        imported.recordings += copied.into_iter().filter(|copied| *copied).count() as u64;

        // All at once, and in their order: the client sends them one after the other on one connection.
        let published: Vec<Published> = stream::iter(&chunk)
            .map(|line| bus.publish_raw(&line.message, PUBLISH_WAIT))
            .buffered(CHUNK_LINES)
            .try_collect()
            .await
            .context("could not write an event; the same command goes on from here")?;
        for published in published {
            match published {
                Published::Recorded { .. } => imported.events += 1,
                Published::AlreadyRecorded => imported.were_there += 1,
            }
        }
    }
    bar.end();
    Ok(imported)
}

/// Whether the stream holds nothing but a part of this archive and tombstones, whose calls join the erased ones.
async fn compare(
    bus: &Bus,
    archive: &Archive,
    checked: &Checked,
    erased: &mut HashSet<String>,
) -> anyhow::Result<()> {
    let failed = "could not read the stream";
    let state = bus.stream_state().await.context(failed)?;
    if state.messages == 0 {
        return Ok(());
    }
    let (mut others, mut walk) = (0_u64, bus.walk(1, state.last));
    while let Some(events) = walk.next(CHUNK_LINES, CHUNK_BYTES).await.context(failed)? {
        for event in events {
            match tombstone(event.subject()) {
                Some(call) => {
                    erased.insert(call.to_owned());
                }
                None => others += 1,
            }
        }
    }
    let mut same = 0_u64;
    let mut lines = archive.lines()?;
    while let Some(chunk) = next_chunk(&mut lines)? {
        let found: Vec<bool> = stream::iter(&chunk)
            .map(|line| async move {
                let there = bus.find_text(&line.message.subject).await.context(failed)?;
                anyhow::Ok(match there {
                    Some(there) => is_same(&there, line).then_some(true).with_context(|| {
                        format!(
                            "the event at position {} of the stream is not the one of the archive: import into an \
                             empty installation",
                            there.position
                        )
                    })?,
                    None => false,
                })
            })
            .buffered(CHUNK_LINES)
            .try_collect()
            .await?;
        same += chunk
            .iter()
            .zip(found)
            .filter(|(line, found)| *found && tombstone(&line.message.subject).is_none())
            .count() as u64;
    }
    anyhow::ensure!(
        others <= same,
        "the stream holds {} events that are not in the archive of {} events: import into an empty installation",
        others - same,
        checked.manifest.events
    );
    Ok(())
}

fn is_same(there: &StoredEvent, line: &Line) -> bool {
    let ours = |name: &str| name.to_ascii_lowercase().starts_with("callfold-");
    let of_line = line.message.headers.iter().filter(|(name, _)| ours(name));
    there.payload == line.message.payload
        && of_line
            .clone()
            .all(|(name, value)| there.header(name) == Some(value))
}

/// The call of an event that says that the call was erased.
fn tombstone(subject: &str) -> Option<&str> {
    let subject = RawSubject::split(subject)?;
    TOMBSTONES.contains(&subject.kind).then_some(subject.call_sid)
}

/// Of an erased call only the tombstones are kept.
fn is_kept(subject: &str, erased: &HashSet<String>) -> bool {
    RawSubject::split(subject)
        .is_none_or(|tokens| !erased.contains(tokens.call_sid) || TOMBSTONES.contains(&tokens.kind))
}

/// The recordings that these lines speak of, each once.
fn downloads(chunk: &[Line]) -> Vec<(u64, RecordingDownloaded)> {
    let mut seen = HashSet::new();
    chunk
        .iter()
        .filter_map(|line| match line.decode().ok()?.event {
            Event::RecordingDownloaded(done) => seen
                .insert(done.blob_key.clone())
                .then_some((line.position, done)),
            _ => None,
        })
        .collect()
}

/// Copies a recording into the store unless it is there; whether it did.
async fn copy(archive: &Archive, blobs: &Blobs, done: RecordingDownloaded) -> anyhow::Result<bool> {
    let key = &done.blob_key;
    let Some(path) = archive.recording(key).filter(|path| path.is_file()) else {
        // The manifest names it as one that the store did not have; `check` has seen to that.
        return Ok(false);
    };
    if stored_sha256(blobs, key, done.bytes).await?.as_ref() == Some(&done.sha256) {
        return Ok(false);
    }
    let file = std::fs::File::open(&path).with_context(|| format!("could not open {}", path.display()))?;
    blobs
        .put(key, file)
        .await
        .context("could not write a recording")?;
    Ok(true)
}

/// The SHA-256 of a recording in the store; `None` when it is not there, or has another size.
pub(super) async fn stored_sha256(blobs: &Blobs, key: &str, bytes: u64) -> anyhow::Result<Option<String>> {
    let failed = "could not read a recording";
    let Some(mut blob) = blobs.get(key, None).await.context(failed)? else {
        return Ok(None);
    };
    if blob.size != bytes {
        return Ok(None);
    }
    let mut digest = Sha256::new();
    while let Some(piece) = blob.bytes.next().await {
        digest.update(&piece.context(failed)?);
    }
    Ok(Some(hex(digest)))
}

/// The next lines; `None` behind the last one.
fn next_chunk(lines: &mut crate::archive::Lines) -> anyhow::Result<Option<Vec<Line>>> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while chunk.len() < CHUNK_LINES && bytes < CHUNK_BYTES {
        let Some(line) = lines.next()? else { break };
        bytes += line.message.payload.len();
        chunk.push(line);
    }
    Ok((!chunk.is_empty()).then_some(chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_erased_call_only_the_tombstones_are_kept() {
        let erased: HashSet<String> = ["CA1".to_owned()].into();
        for (subject, is) in [
            ("calls.CA1.call_started.new.0", false),
            ("calls.CA1.call_erased.new.0", true),
            ("calls.CA1.erase_done.new.0", true),
            ("calls.CA2.call_started.new.0", true),
            ("calls.odd", true),
        ] {
            assert_eq!(is_kept(subject, &erased), is, "{subject}");
        }
        assert_eq!(tombstone("calls.CA1.call_erased.new.0"), Some("CA1"));
        assert_eq!(tombstone("calls.CA1.call_ended.new.0"), None);
    }
}
