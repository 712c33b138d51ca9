//! `callfold model`: which speech models there are, fetching them, and choosing the one to use.

pub mod catalogue;
pub mod fetch;
pub mod store;

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use callfold_kit::SystemClock;
use callfold_kit::config::{Environment, Settings};
use callfold_transcriber::engine::whisper::{ModelSource, check_file};
use callfold_transcriber::model_choice::{self, FileKind, ModelChoice, Reason};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::{FetchArgs, ListArgs, ModelCommand, UseArgs};
use catalogue::{DEMO, Kind, MODELS, Model, Size};
use fetch::{Fetch, Fetched, Pace, Progress};
use store::{Folder, Record, Sha256Hex, Verdict};

/// Exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Does what was asked.
pub async fn run(command: ModelCommand) -> anyhow::Result<ExitCode> {
    match command {
        ModelCommand::List(args) => list(&args),
        ModelCommand::Fetch(args) => Box::pin(fetch_one(&args)).await,
        ModelCommand::Use(args) => {
            let task = tokio::task::spawn_blocking(move || use_one(&args));
            task.await.context("the choice ended without an answer")?
        }
    }
}

/// What the settings of this shell choose. A process that runs may have been given others.
fn choice(folder: &Folder) -> ModelChoice {
    let mut settings = Settings::new(&Environment);
    // Mistakes in the settings are for `doctor` and for the start to tell.
    ModelChoice::from_settings(&mut settings, Some(folder.path()))
}

/// A row of the list.
struct Row {
    name: String,
    kind: &'static str,
    size: String,
    bytes: Option<u64>,
    licence: &'static str,
    state: String,
    about: String,
    path: Option<String>,
    record: Option<Record>,
    is_used: bool,
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    let folder = Folder::of(&data_dir);
    let choice = choice(&folder);
    let chosen = choice.choose();
    let used = chosen.as_ref().ok().and_then(|chosen| chosen.clone());
    let vad = choice.vad();
    let is_used = |path: &Path| {
        let source = used.as_ref().map(|chosen| &chosen.source);
        matches!(source, Some(ModelSource::File(used)) if used == path) || vad.as_deref() == Some(path)
    };
    let mut rows = Vec::new();
    for model in &MODELS {
        rows.push(row_of(model, &folder, &is_used)?);
    }
    rows.push(Row {
        name: DEMO.to_owned(),
        kind: Kind::Speech.name(),
        size: "-".to_owned(),
        bytes: None,
        licence: "MIT OR Apache-2.0",
        state: "built in".to_owned(),
        about: "for trying out: 181 words of synthetic Hebrew, no human voice".to_owned(),
        path: None,
        record: None,
        is_used: used
            .as_ref()
            .is_some_and(|chosen| chosen.source == ModelSource::Demo),
    });
    let in_folder = model_choice::models(folder.path())
        .with_context(|| format!("could not read {}", folder.path().display()))?;
    let mut others: Vec<_> = in_folder.iter().map(|(path, _)| path.clone()).collect();
    if let Some(ModelSource::File(path)) = used.as_ref().map(|chosen| &chosen.source)
        && !others.contains(path)
    {
        others.push(path.clone());
    }
    others.sort();
    for path in others {
        let is_listed = MODELS.iter().any(|model| folder.file(model.file) == path);
        if !is_listed {
            rows.push(row_of_file(&path, is_used(&path)));
        }
    }
    if args.json {
        crate::up::say(&as_json(&rows, &chosen, vad.as_deref()).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    crate::up::say(&table(&rows));
    crate::up::say(&match &chosen {
        Ok(Some(chosen)) => format!("in use: {}, because {}", name_of(&chosen.source), chosen.reason),
        Ok(None) => "in use: none; recordings wait until one is fetched".to_owned(),
        Err(error) => format!("in use: none; {}", callfold_kit::chain(error)),
    });
    if vad.is_none() {
        crate::up::say("no VAD model: `callfold model fetch vad` brings one, against words that nobody said");
    }
    Ok(ExitCode::SUCCESS)
}

fn row_of(model: &Model, folder: &Folder, is_used: &dyn Fn(&Path) -> bool) -> anyhow::Result<Row> {
    let path = folder.file(model.file);
    let there = std::fs::metadata(&path).ok().map(|meta| meta.len());
    let begun = std::fs::metadata(folder.file(&format!("{}.part", model.file))).ok();
    let record = match there {
        Some(_) => folder.record(model.file)?,
        None => None,
    };
    let state = match (there, &begun) {
        (Some(bytes), _) if record.as_ref().is_some_and(|record| record.bytes != bytes) => {
            "damaged".to_owned()
        }
        (Some(_), _) if is_used(&path) => "in use".to_owned(),
        (Some(_), _) => "fetched".to_owned(),
        (None, Some(part)) if part.len() > 0 => {
            format!(
                "{} % there",
                part.len().saturating_mul(100) / model.size.bytes().max(1)
            )
        }
        (None, _) => "not fetched".to_owned(),
    };
    Ok(Row {
        name: model.name.to_owned(),
        kind: model.kind.name(),
        size: match (there, model.size) {
            (Some(bytes), _) | (None, Size::Exact(bytes)) => size(bytes),
            (None, Size::About(bytes)) => format!("~{}", size(bytes)),
        },
        bytes: there.or(match model.size {
            Size::Exact(bytes) => Some(bytes),
            Size::About(_) => None,
        }),
        licence: model.licence,
        state,
        about: model.about.to_owned(),
        path: there.is_some().then(|| path.display().to_string()),
        record,
        is_used: is_used(&path),
    })
}

/// A file that is in nobody's catalogue.
fn row_of_file(path: &Path, is_used: bool) -> Row {
    let kind = FileKind::of(path);
    let bytes = std::fs::metadata(path).ok().map(|meta| meta.len());
    Row {
        name: name_of(&ModelSource::File(path.to_owned())),
        kind: match kind {
            Ok(FileKind::Speech | FileKind::English) => Kind::Speech.name(),
            Ok(FileKind::Vad) => Kind::Vad.name(),
            Ok(FileKind::Other) | Err(_) => "unknown",
        },
        size: bytes.map_or_else(|| "-".to_owned(), size),
        bytes,
        licence: "unknown",
        state: match kind {
            _ if is_used => "in use",
            Ok(FileKind::Speech | FileKind::Vad) => "there",
            Ok(FileKind::English | FileKind::Other) | Err(_) => "no use",
        }
        .to_owned(),
        about: match kind {
            Ok(FileKind::Speech) => "a speech model of your own",
            Ok(FileKind::Vad) => "a VAD model of your own",
            Ok(FileKind::English) => "knows English only",
            Ok(FileKind::Other) => "not a model for whisper.cpp, or only the beginning of one",
            Err(_) => "cannot be read",
        }
        .to_owned(),
        path: Some(path.display().to_string()),
        record: None,
        is_used,
    }
}

/// What a person calls it: the name of the list, else the file's.
fn name_of(source: &ModelSource) -> String {
    match source {
        ModelSource::Demo => DEMO.to_owned(),
        ModelSource::File(path) => {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let listed = MODELS.iter().find(|model| model.file == file);
            listed.map_or_else(|| file.into_owned(), |model| model.name.to_owned())
        }
    }
}

/// `1.5 GB`, `864 kB`: as people compare them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn table(rows: &[Row]) -> String {
    let head = ["name", "size", "licence", "state", "what"].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(rows.iter().map(|row| {
        [
            row.name.clone(),
            row.size.clone(),
            row.licence.to_owned(),
            row.state.clone(),
            row.about.clone(),
        ]
    }));
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let (name, size, licence, state) = (width(0), width(1), width(2), width(3));
    let mut text = String::new();
    for line in &lines {
        // Writing into a String does not fail.
        let _ = writeln!(
            text,
            "{:<name$}  {:>size$}  {:<licence$}  {:<state$}  {}",
            line[0], line[1], line[2], line[3], line[4]
        );
    }
    text
}

fn as_json(
    rows: &[Row],
    chosen: &Result<Option<model_choice::Chosen>, model_choice::ChoiceError>,
    vad: Option<&Path>,
) -> Value {
    let models: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "kind": row.kind,
                "bytes": row.bytes,
                "licence": row.licence,
                "state": row.state,
                "in_use": row.is_used,
                "about": row.about,
                "path": row.path,
                "sha256": row.record.as_ref().map(|record| record.sha256),
                "checked_by": row.record.as_ref().map(|record| record.checked_by),
                "source": row.record.as_ref().map(|record| &record.source),
            })
        })
        .collect();
    let chosen = match chosen {
        Ok(Some(chosen)) => json!({
            "name": name_of(&chosen.source),
            "because": chosen.reason.to_string(),
        }),
        Ok(None) => Value::Null,
        Err(error) => json!({ "error": callfold_kit::chain(error) }),
    };
    json!({ "models": models, "in_use": chosen, "vad": vad.map(|path| path.display().to_string()) })
}

async fn fetch_one(args: &FetchArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    let name = args.name.as_str();
    anyhow::ensure!(name != DEMO, "{DEMO} is built in: there is nothing to fetch");
    let model = catalogue::find(name)
        .with_context(|| format!("there is no model {name}; there are {}", catalogue::names()))?;
    let folder = Folder::of(&data_dir);
    let fetch = Fetch {
        model,
        folder: &folder,
        hub: &args.hub,
        sha256: args.sha256,
        again: args.again,
        pace: Pace::default(),
        clock: &SystemClock,
    };
    let mut shown = Shown::new(model);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("could not catch the signal to stop")?;
    let fetched = tokio::select! {
        fetched = fetch.run(&mut shown) => fetched,
        // What has come is on the disk, and the next fetch goes on from there.
        signal = tokio::signal::ctrl_c() => {
            signal.context("could not catch Ctrl-C")?;
            return Ok(interrupted(model));
        }
        _ = terminate.recv() => return Ok(interrupted(model)),
    };
    shown.end();
    let record = match fetched? {
        Fetched::New(record) => {
            let (size, by) = (size(record.bytes), record.checked_by);
            crate::up::say(&format!(
                "{name}: {size}, checked by {by}; sha256 {}",
                record.sha256
            ));
            record
        }
        Fetched::There(record) => {
            crate::up::say(&format!(
                "{name} is there already, as it was fetched; sha256 {}",
                record.sha256
            ));
            record
        }
        Fetched::Foreign => {
            let path = folder.file(model.file);
            crate::up::say(&format!(
                "{} is there and was not fetched by callfold; it was left alone. `--again` fetches it anew",
                path.display()
            ));
            return Ok(ExitCode::SUCCESS);
        }
    };
    tracing::debug!(source = record.source, "fetched");
    crate::up::say(&what_now(model, &folder));
    Ok(ExitCode::SUCCESS)
}

fn interrupted(model: &Model) -> ExitCode {
    eprintln!(
        "stopped; `callfold model fetch {}` goes on from what is there",
        model.name
    );
    ExitCode::from(INTERRUPTED)
}

/// What a fetched model is used for, or how to bring that about.
fn what_now(model: &Model, folder: &Folder) -> String {
    let path = folder.file(model.file);
    let choice = choice(folder);
    if model.kind == Kind::Vad {
        return if choice.vad() == Some(path) {
            "It is used with any speech model, without a restart.".to_owned()
        } else {
            "Another VAD model is in use (CALLFOLD_VAD_MODEL, or a later name in the folder).".to_owned()
        };
    }
    match choice.choose() {
        Ok(Some(chosen)) if chosen.source == ModelSource::File(path) => {
            format!("It is in use, because {}.", chosen.reason)
        }
        Ok(Some(chosen)) if chosen.reason == Reason::Setting => format!(
            "WHISPER_MODEL names {}; unset it, then `callfold model use {}`.",
            name_of(&chosen.source),
            model.name
        ),
        _ => format!("To use it: `callfold model use {}`", model.name),
    }
}

fn use_one(args: &UseArgs) -> anyhow::Result<ExitCode> {
    let data_dir = super::prepare(&args.data.data_dir)?;
    let folder = Folder::of(&data_dir);
    let name = args.model.as_str();
    let entry = if name == DEMO {
        DEMO.to_owned()
    } else {
        entry(name, &folder)?
    };
    folder.set_in_use(&entry)?;
    let choice = choice(&folder);
    match choice.setting {
        Some(_) => crate::up::say(&format!(
            "{name} is chosen, but WHISPER_MODEL is set here and wins where a transcriber is started with it"
        )),
        None => crate::up::say(&format!(
            "{name} is in use; a running transcriber changes to it within seconds"
        )),
    }
    if name == DEMO && choice.real_calls {
        crate::up::say("it knows 181 words of synthetic Hebrew: real calls come out as nonsense");
    }
    Ok(ExitCode::SUCCESS)
}

/// How a file of the folder stands to what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// As it was fetched.
    AsFetched(Sha256Hex),
    /// Another content than was fetched.
    NotAsFetched(Sha256Hex),
    /// Not fetched by this program, and with the hash that is built in for its name.
    AsBuiltIn(Sha256Hex),
    /// Not fetched by this program, and with another hash than the one that is built in for its name.
    NotAsBuiltIn(Sha256Hex),
    /// There is nothing to hold it against.
    Unknown,
}

/// Holds a file of the folder against its record, else against the hash that is built in. Reads all of it, and blocks.
pub(super) fn standing(folder: &Folder, file: &str) -> anyhow::Result<Standing> {
    let built_in = || catalogue::of_file(file)?.sha256.and_then(Sha256Hex::parse);
    Ok(match folder.check(file)? {
        Verdict::Same(record) => Standing::AsFetched(record.sha256),
        Verdict::Differs(record) => Standing::NotAsFetched(record.sha256),
        Verdict::Unknown => match built_in() {
            None => Standing::Unknown,
            Some(expected) if folder.hash(file)? == expected => Standing::AsBuiltIn(expected),
            Some(expected) => Standing::NotAsBuiltIn(expected),
        },
    })
}

/// What goes into `in-use` for a name or a path, after a look at the file.
fn entry(name: &str, folder: &Folder) -> anyhow::Result<String> {
    let (path, file) = if let Some(model) = catalogue::find(name) {
        let path = folder.file(model.file);
        anyhow::ensure!(
            path.is_file(),
            "{name} is not there yet: `callfold model fetch {name}`"
        );
        (path, Some(model.file.to_owned()))
    } else if !name.contains('/') && folder.file(name).is_file() {
        (folder.file(name), Some(name.to_owned()))
    } else {
        let path = Path::new(name).canonicalize().with_context(|| {
            format!(
                "{name} is neither a model's name ({}) nor a file",
                catalogue::names()
            )
        })?;
        // A file of the folder by its name: the folder may be elsewhere in a container.
        let inside = folder.path().canonicalize().ok();
        let file = path
            .strip_prefix(inside.as_deref().unwrap_or(Path::new("")))
            .ok()
            .filter(|file| inside.is_some() && file.components().count() == 1)
            .map(|file| file.display().to_string());
        (path, file)
    };
    match FileKind::of(&path).with_context(|| format!("could not read {}", path.display()))? {
        FileKind::Speech => {}
        FileKind::Vad => anyhow::bail!(
            "{name} tells speech from silence and writes nothing down; it is used by itself when it is in the folder for models"
        ),
        FileKind::English => anyhow::bail!("{name} knows English only"),
        FileKind::Other => {
            check_file(&path)?;
            anyhow::bail!("{} is not a speech model for whisper.cpp", path.display());
        }
    }
    if let Some(file) = &file {
        match standing(folder, file)? {
            Standing::AsFetched(_) | Standing::AsBuiltIn(_) | Standing::Unknown => {}
            Standing::NotAsFetched(sha256) => anyhow::bail!(
                "{} is not the file that was fetched (sha256 {sha256}): `callfold model fetch` brings it again",
                path.display(),
            ),
            Standing::NotAsBuiltIn(sha256) => anyhow::bail!(
                "{} is not the model of this name (sha256 {sha256}): `callfold model fetch` brings it; another model needs \
                 another file name",
                path.display(),
            ),
        }
    }
    let entry = file.unwrap_or_else(|| path.display().to_string());
    anyhow::ensure!(
        entry != DEMO && !entry.contains('\n'),
        "{} cannot be chosen under this name",
        path.display()
    );
    Ok(entry)
}

/// Shows how far a fetch is: a bar on a terminal, else a line for every tenth.
struct Shown {
    name: &'static str,
    bar: Option<ProgressBar>,
    tenths: u64,
}

impl Shown {
    fn new(model: &Model) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            let style = "{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.set_prefix(model.name);
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            name: model.name,
            bar,
            tenths: 0,
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Shown {
    fn at(&mut self, have: u64, total: Option<u64>) {
        match (&self.bar, total) {
            (Some(bar), total) => {
                if let Some(total) = total {
                    bar.set_length(total);
                }
                bar.set_position(have);
            }
            (None, Some(total)) => {
                let tenths = have.saturating_mul(10) / total.max(1);
                if tenths > self.tenths {
                    eprintln!("{}: {} % of {}", self.name, tenths * 10, size(total));
                }
                self.tenths = tenths;
            }
            (None, None) => {}
        }
    }

    fn say(&mut self, line: &str) {
        let line = format!("{}: {line}", self.name);
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_people_say_them() {
        assert_eq!(
            [864_000, 574_000_000, 1_549_000_000, 3_095_033_483].map(size),
            ["864 kB", "574 MB", "1.5 GB", "3.1 GB"]
        );
    }

    #[test]
    fn a_name_or_a_path_becomes_an_entry() {
        let folder = tempfile::tempdir().expect("a folder");
        let models = Folder::of(folder.path());
        models.make().expect("makes it");
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transcriber/assets/ggml-micro-he.bin");
        let own = models.file("own.bin");
        std::fs::copy(&demo, &own).expect("copies");
        assert_eq!(
            entry("own.bin", &models).expect("a file of the folder"),
            "own.bin"
        );
        let path = own.display().to_string();
        assert_eq!(entry(&path, &models).expect("by its path"), "own.bin");
        let elsewhere = entry(&demo.display().to_string(), &models).expect("outside the folder");
        assert!(Path::new(&elsewhere).is_absolute() && elsewhere.ends_with("ggml-micro-he.bin"));
        let refused = |name: &str| entry(name, &models).expect_err("refused").to_string();
        assert!(refused("ivrit-turbo").contains("`callfold model fetch ivrit-turbo`"));
        assert!(refused("ivrit-turboo").contains("neither a model's name (ivrit-turbo, "));
        // A catalogue's file that nobody fetched is held against the hash that is built in.
        std::fs::copy(&demo, models.file("ivrit-large.bin")).expect("copies");
        for name in ["ivrit-large", "ivrit-large.bin"] {
            assert!(
                refused(name).contains("is not the model of this name (sha256 09e66ec6"),
                "{name}"
            );
        }
        std::fs::write(models.file("page.bin"), "<html>").expect("writes");
        assert!(refused("page.bin").contains("is not a ggml model"));
        let mut vad = b"lmgg\x0a\0\0\0silero-16k".to_vec();
        vad.resize(100, 0);
        std::fs::write(models.file("silero.bin"), &vad).expect("writes");
        assert!(refused("silero.bin").contains("tells speech from silence"));
    }
}
