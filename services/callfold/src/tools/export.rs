//! `callfold export DIR`: the whole history, or what is known of one number, as an archive.
//!
//! An export of everything goes on where an earlier one into the same folder ended, so that it can be broken off, and
//! repeated as a backup that costs what is new. It is of one moment: the end of the stream when it began. The system may
//! run meanwhile.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use callfold_kit::blob::{Blobs, create_private_folder};
use callfold_kit::bus::StoredEvent;
use callfold_kit::{Bus, Clock, SystemClock};
use callfold_schema::event::RecordingDownloaded;
use callfold_schema::{Event, Record, UnixMillis, Unreadable};
use callfold_store::{LIMIT_MAX, LeadFilter, ReadLeads};
use futures::StreamExt;
use futures::stream::{self, TryStreamExt};
use sha2::{Digest, Sha256};

use super::Access;
use super::progress::Bar;
use crate::archive::{Archive, Line, Manifest, RecordingCounts, Selection, hex, manifest::FORMAT};
use crate::cli::ExportArgs;
use crate::stack::{Role, open_blobs, open_store};
use crate::up::say;

/// How much is held at once: events, and their bytes.
const BATCH_EVENTS: usize = 500;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How many events of a call are read at once.
const READ_AT_ONCE: usize = 16;
/// How many recordings are copied at once.
const COPY_AT_ONCE: usize = 4;
/// How many keys of recordings with a fault are named in the manifest.
const NAMED_MAX: usize = 1_000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Calls of this number only.
    pub phone: Option<String>,
    /// Calls that began at this moment or later.
    pub since: Option<UnixMillis>,
    /// Calls that began before this moment.
    pub until: Option<UnixMillis>,
}

/// Writes the archive.
pub async fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    let config = super::settings(&data_dir, &[Role::Projector])?;
    let zone = &config.api.timezone;
    let bound = |text: Option<&str>, end| text.map(|text| super::moment(text, zone, end)).transpose();
    let wanted = Wanted {
        phone: args.phone,
        since: bound(args.since.as_deref(), false).context("--since")?,
        until: bound(args.until.as_deref(), true).context("--until")?,
    };
    let blobs = open_blobs(&config)?;
    let access = Access::open(&data_dir).await?;
    let written = async {
        let (leads, _) = open_store(&config.database).await?;
        write(
            &access.bus,
            &*leads,
            &blobs,
            &Archive::at(&args.folder),
            &wanted,
            &SystemClock,
            true,
        )
        .await
    }
    .await;
    access.close().await;
    let manifest = written?;
    say(&format!(
        "{} events and {} recordings ({} bytes) are in {}; sha256 of events.ndjson: {}",
        manifest.events,
        manifest.recordings.files,
        manifest.recordings.bytes + manifest.bytes,
        args.folder.display(),
        manifest.sha256,
    ));
    if manifest.unreadable > 0 {
        say(&format!(
            "{} events could not be read; they are in it as they are",
            manifest.unreadable
        ));
    }
    for (what, keys) in [
        ("are not in the store", &manifest.recordings.missing),
        (
            "are not what their event says (callfold verify)",
            &manifest.recordings.damaged,
        ),
    ] {
        if !keys.is_empty() {
            say(&format!("{} recordings {what}, such as {}", keys.len(), keys[0]));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes an archive, or goes on with one.
///
/// # Errors
/// The folder holds something else; the number is that of several callers; the stream, the table, the recordings or the
/// folder cannot be read or written. What was written stays, and the same call goes on from there.
pub async fn write(
    bus: &Bus,
    leads: &dyn ReadLeads,
    blobs: &Blobs,
    archive: &Archive,
    wanted: &Wanted,
    clock: &dyn Clock,
    is_shown: bool,
) -> anyhow::Result<Manifest> {
    let state = bus.stream_state().await.context("could not read the stream")?;
    let selection = Selection {
        one_number: wanted.phone.is_some(),
        since: wanted.since.map(UnixMillis::rfc3339),
        until: wanted.until.map(UnixMillis::rfc3339),
    };
    create_private_folder(archive.folder())
        .with_context(|| format!("could not make {}", archive.folder().display()))?;
    let began = Manifest {
        format: FORMAT.to_owned(),
        made_by: format!("callfold {}", env!("CARGO_PKG_VERSION")),
        made_at: clock.now().rfc3339(),
        stream: state.identity.clone(),
        selection,
        complete: false,
        up_to: state.last,
        events: 0,
        unreadable: 0,
        bytes: 0,
        sha256: String::new(),
        recordings: RecordingCounts::default(),
    };
    let mut writer = Writer::begin(archive, began, blobs)?;
    let total = if writer.manifest.selection.is_everything() {
        state.messages.saturating_sub(writer.manifest.events)
    } else {
        state.messages
    };
    let mut bar = if is_shown {
        Bar::new("export", total)
    } else {
        Bar::silent()
    };
    if writer.manifest.selection.is_everything() {
        let mut walk = bus.walk(writer.last_position + 1, state.last);
        while let Some(events) = walk
            .next(BATCH_EVENTS, BATCH_BYTES)
            .await
            .context("could not read the stream")?
        {
            bar.add(events.len() as u64);
            writer.add(&events).await?;
        }
    } else {
        write_calls(bus, leads, wanted, &mut writer, &mut bar).await?;
    }
    bar.end();
    writer.finish()
}

/// The events of the calls that are wanted, call by call, newest first.
async fn write_calls(
    bus: &Bus,
    leads: &dyn ReadLeads,
    wanted: &Wanted,
    writer: &mut Writer<'_>,
    bar: &mut Bar,
) -> anyhow::Result<()> {
    let filter = LeadFilter {
        phone: wanted.phone.clone(),
        from: wanted.since,
        to: wanted.until,
        ..LeadFilter::default()
    };
    let failed = "could not read the lead table";
    let mut number: Option<String> = None;
    let mut cursor: Option<String> = None;
    loop {
        let page = leads
            .list(&filter, LIMIT_MAX, cursor.as_deref())
            .await
            .context(failed)?;
        for lead in &page.leads {
            // Whoever asks for what is kept of them must not get what is kept of somebody else.
            if wanted.phone.is_some() {
                let known = number.get_or_insert_with(|| lead.phone.as_str().to_owned());
                anyhow::ensure!(
                    known == lead.phone.as_str(),
                    "the number is that of several callers: give it as a whole, beginning with +"
                );
            }
            let mut positions = leads.positions(&lead.call_sid).await.context(failed)?;
            // What came after the moment of the export is not in it.
            positions.retain(|position| *position <= writer.manifest.up_to);
            let mut events: Vec<StoredEvent> = Vec::new();
            let mut bytes = 0;
            let mut read = bus.get_each(positions, READ_AT_ONCE);
            while let Some((_, event)) = read.try_next().await.context("could not read the stream")? {
                let Some(event) = event else { continue };
                bytes += event.payload.len();
                events.push(event);
                if bytes > BATCH_BYTES {
                    bar.add(events.len() as u64);
                    writer.add(&std::mem::take(&mut events)).await?;
                    bytes = 0;
                }
            }
            bar.add(events.len() as u64);
            writer.add(&events).await?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// What is being written.
struct Writer<'a> {
    archive: &'a Archive,
    blobs: &'a Blobs,
    manifest: Manifest,
    file: BufWriter<File>,
    digest: Sha256,
    last_position: u64,
}

/// What became of a recording.
enum Copied {
    Stored,
    Missing,
    Damaged,
}

impl<'a> Writer<'a> {
    /// Begins, or takes up an export of everything behind its last whole line.
    fn begin(archive: &'a Archive, began: Manifest, blobs: &'a Blobs) -> anyhow::Result<Self> {
        let path = archive.events();
        let before = Manifest::read(archive)?;
        let mut writer = Self {
            archive,
            blobs,
            file: BufWriter::with_capacity(1 << 20, open(&path)?),
            digest: Sha256::new(),
            last_position: 0,
            manifest: began,
        };
        let folder = archive.folder().display();
        let has_lines = writer.file.get_ref().metadata().is_ok_and(|file| file.len() > 0);
        match before {
            None => anyhow::ensure!(
                !has_lines,
                "{folder} holds events and no manifest: use an empty folder"
            ),
            Some(before) => {
                let is_same = before.stream == writer.manifest.stream
                    && before.selection.is_everything()
                    && writer.manifest.selection.is_everything();
                anyhow::ensure!(
                    is_same || !has_lines,
                    "{folder} holds an archive of something else: use an empty folder"
                );
                writer.manifest.recordings = before.recordings;
                writer.take_up()?;
            }
        }
        // From here on the folder is one that was begun.
        writer.manifest.write(archive)?;
        Ok(writer)
    }

    /// Reads the lines that are there; one that was not written to its end is cut off.
    fn take_up(&mut self) -> anyhow::Result<()> {
        let mut lines = self.archive.lines()?;
        let unsealed = loop {
            match lines.next() {
                Ok(Some(line)) => {
                    self.last_position = line.position;
                    self.manifest.unreadable += u64::from(line.decode().is_err());
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        (self.digest, self.manifest.events) = (lines.digest(), lines.number());
        self.manifest.bytes = lines.bytes();
        let file = self.file.get_mut();
        if let Some(error) = unsealed {
            // Only the last line may be half there; one in the middle means that the archive was damaged.
            let rest = file.metadata().context("could not look at events.ndjson")?.len() - lines.bytes();
            let mut behind = vec![0; usize::try_from(rest.min(1 << 28)).unwrap_or(usize::MAX)];
            file.seek(SeekFrom::Start(lines.bytes()))
                .and_then(|_| std::io::Read::read_exact(file, &mut behind))
                .context("could not read the end of events.ndjson")?;
            if behind.contains(&b'\n') {
                return Err(error).context("the archive is damaged: use an empty folder");
            }
            file.set_len(lines.bytes())
                .context("could not cut a line off that was not written to its end")?;
        }
        file.seek(SeekFrom::End(0))
            .context("could not go to the end of events.ndjson")?;
        Ok(())
    }

    /// Recordings first: a line that is there says that its recording is.
    async fn add(&mut self, events: &[StoredEvent]) -> anyhow::Result<()> {
        let decoded: Vec<Result<Record, Unreadable>> = events.iter().map(StoredEvent::decode).collect();
        let downloads: Vec<&RecordingDownloaded> = decoded
            .iter()
            .filter_map(|record| match record.as_ref().map(|record| &record.event) {
                Ok(Event::RecordingDownloaded(done)) => Some(done),
                _ => None,
            })
            .collect();
        let (archive, blobs) = (self.archive, self.blobs);
        let copies: Vec<(&RecordingDownloaded, Copied)> = stream::iter(downloads)
            .map(|done| async move { anyhow::Ok((done, copy(archive, blobs, done).await?)) })
            .buffered(COPY_AT_ONCE)
            .try_collect()
            .await?;
        let mut has_fault = false;
        for (done, copied) in copies {
            let recordings = &mut self.manifest.recordings;
            let named = match copied {
                Copied::Stored => continue,
                Copied::Missing => &mut recordings.missing,
                Copied::Damaged => &mut recordings.damaged,
            };
            if named.len() < NAMED_MAX && !named.contains(&done.blob_key) {
                named.push(done.blob_key.clone());
                has_fault = true;
            }
        }
        if has_fault {
            // Whoever goes on after an interruption does not look at these recordings again.
            self.manifest.write(self.archive)?;
        }
        for (event, decoded) in events.iter().zip(&decoded) {
            let mut text = Line::of(event)
                .to_text(decoded)
                .context("could not encode an event")?;
            text.push('\n');
            self.digest.update(text.as_bytes());
            self.file
                .write_all(text.as_bytes())
                .context("could not write events.ndjson")?;
            self.manifest.events += 1;
            self.manifest.bytes += text.len() as u64;
            self.manifest.unreadable += u64::from(decoded.is_err());
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<Manifest> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.context("could not write events.ndjson")?;
        self.manifest.sha256 = hex(self.digest);
        let (files, bytes) = count(&self.archive.folder().join("recordings"))?;
        (self.manifest.recordings.files, self.manifest.recordings.bytes) = (files, bytes);
        self.manifest.complete = true;
        self.manifest.write(self.archive)?;
        Ok(self.manifest)
    }
}

/// How many files are in a folder and those in it, and their bytes.
fn count(folder: &Path) -> anyhow::Result<(u64, u64)> {
    let failed = || format!("could not look into {}", folder.display());
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(error) => return Err(error).with_context(failed),
    };
    let (mut files, mut bytes) = (0, 0);
    for entry in entries {
        let entry = entry.with_context(failed)?;
        let meta = entry.metadata().with_context(failed)?;
        let (more, size) = if meta.is_dir() {
            count(&entry.path())?
        } else {
            (1, meta.len())
        };
        files += more;
        bytes += size;
    }
    Ok((files, bytes))
}

fn open(path: &Path) -> anyhow::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .with_context(|| format!("could not open {}", path.display()))
}

/// Copies a recording, unless it is there already, and holds it against what its event says.
async fn copy(archive: &Archive, blobs: &Blobs, done: &RecordingDownloaded) -> anyhow::Result<Copied> {
    let key = &done.blob_key;
    let Some(path) = archive.recording(key) else {
        return Ok(Copied::Damaged);
    };
    if std::fs::metadata(&path).is_ok_and(|file| file.len() == done.bytes) {
        // A second run of the same call, or an export that is repeated.
        return Ok(Copied::Stored);
    }
    let Some(mut blob) = blobs.get(key, None).await.context("could not read a recording")? else {
        return Ok(Copied::Missing);
    };
    let folder = path.parent().context("a recording has no folder")?;
    create_private_folder(folder).context("could not make a folder for recordings")?;
    let part = path.with_extension("part");
    let mut file = File::create(&part).with_context(|| format!("could not create {}", part.display()))?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    while let Some(piece) = blob.bytes.next().await {
        let piece = piece.context("could not read a recording")?;
        digest.update(&piece);
        bytes += piece.len() as u64;
        file.write_all(&piece)
            .with_context(|| format!("could not write {}", part.display()))?;
    }
    let kept = file.sync_all().and_then(|()| std::fs::rename(&part, &path));
    kept.with_context(|| format!("could not write {}", path.display()))?;
    if bytes == done.bytes && hex(digest) == done.sha256 {
        Ok(Copied::Stored)
    } else {
        Ok(Copied::Damaged)
    }
}
