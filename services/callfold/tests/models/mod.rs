//! Models: fetched from a hub that misbehaves, chosen, and told of.

mod hub;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use callfold::tools::model::catalogue::{Kind, Model, Size};
use callfold::tools::model::fetch::{Fetch, FetchError, Fetched, Pace, Progress};
use callfold::tools::model::store::{CheckedBy, Folder, Record, Sha256Hex};
use callfold_kit::SystemClock;
use callfold_kit::testing::wait_for;
use rustix::process::Signal;
use serde_json::Value;

use crate::program::{Installation, free_port, mode};
use hub::{Act, Hub, sha256};

/// As large as it says, for tests that look at content only.
const BYTES: usize = 900_000;

static SPEECH: Model = Model {
    name: "small",
    file: "small.bin",
    kind: Kind::Speech,
    about: "for tests",
    repository: "somebody/models",
    path: "ggml-model.bin",
    revision: "main",
    size: Size::About(BYTES as u64),
    licence: "MIT",
    sha256: None,
};

/// A speech model as far as its beginning tells; `seed` makes the rest another one.
fn speech(seed: u8, bytes: usize) -> Bytes {
    let mut file = b"lmgg".to_vec();
    // The vocabulary, then audio context, state, heads, layers, text context and width.
    for number in [51_865_u32, 1500, 64, 2, 2, 448, 64] {
        file.extend(number.to_le_bytes());
    }
    filled(file, seed, bytes)
}

fn vad(seed: u8) -> Bytes {
    filled(b"lmgg\x0a\0\0\0silero-16k".to_vec(), seed, 864_000)
}

/// No two places look alike, so that pieces in the wrong place are noticed.
fn filled(mut file: Vec<u8>, seed: u8, bytes: usize) -> Bytes {
    let mut state = u32::from(seed) + 1;
    file.resize_with(bytes, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    file.into()
}

#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    positions: Vec<u64>,
}

impl Progress for Heard {
    fn at(&mut self, have: u64, _: Option<u64>) {
        self.positions.push(have);
    }

    fn say(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }
}

/// A hub and a folder.
struct World {
    hub: Hub,
    data: tempfile::TempDir,
    folder: Folder,
}

impl World {
    async fn new(bytes: Bytes) -> Self {
        let data = tempfile::tempdir().unwrap();
        Self {
            hub: Hub::start(bytes).await,
            folder: Folder::of(data.path()),
            data,
        }
    }

    fn fetch_of<'a>(&'a self, model: &'a Model) -> Fetch<'a> {
        Fetch {
            model,
            folder: &self.folder,
            hub: &self.hub.url,
            sha256: None,
            again: false,
            pace: Pace {
                tries: 3,
                pause: Duration::from_millis(1),
                pause_max: Duration::from_millis(5),
                stall: Duration::from_secs(20),
            },
            clock: &SystemClock,
        }
    }

    async fn run(&self, fetch: Fetch<'_>) -> Result<Fetched, FetchError> {
        fetch.run(&mut Heard::default()).await
    }

    async fn fetch(&self) -> Result<Fetched, FetchError> {
        self.run(self.fetch_of(&SPEECH)).await
    }

    async fn refused(&self) -> FetchError {
        self.fetch().await.expect_err("it is refused")
    }

    fn there(&self) -> Option<Bytes> {
        std::fs::read(self.folder.file(SPEECH.file)).ok().map(Bytes::from)
    }

    /// Everything in the folder but locks.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect();
        names.sort();
        names
    }
}

fn record(fetched: Fetched) -> Record {
    match fetched {
        Fetched::New(record) => record,
        other => panic!("{other:?}"),
    }
}

fn range(from: usize) -> Option<String> {
    Some(format!("bytes={from}-"))
}

#[tokio::test]
async fn a_model_is_fetched_and_remembered() {
    let world = World::new(speech(0, BYTES)).await;
    let mut heard = Heard::default();
    let fetched = world.fetch_of(&SPEECH).run(&mut heard).await.unwrap();
    let fetched = record(fetched);
    assert_eq!(fetched.sha256.to_string(), sha256(&speech(0, BYTES)));
    assert_eq!(
        (fetched.bytes, fetched.checked_by),
        (BYTES as u64, CheckedBy::Hub)
    );
    assert!(
        fetched
            .source
            .ends_with("/somebody/models/resolve/main/ggml-model.bin"),
        "{}",
        fetched.source
    );
    assert_eq!(world.there(), Some(speech(0, BYTES)));
    assert_eq!(world.files(), ["small.bin", "small.bin.json"]);
    // Others may read it, a container for one.
    assert_eq!(mode(&world.folder.file("small.bin")), 0o644);
    assert_eq!(
        std::fs::metadata(world.folder.path())
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o755
    );
    assert_eq!(world.folder.record("small.bin").unwrap(), Some(fetched.clone()));
    assert!(heard.positions.is_sorted() && heard.positions.last() == Some(&(BYTES as u64)));
    assert_eq!(world.hub.ranges(), [(None, None)]);

    // Once more: nothing is asked, the file is looked at.
    assert_eq!(world.fetch().await.unwrap(), Fetched::There(fetched));
    assert_eq!(world.hub.asked().len(), 2);
    // A damaged file is fetched anew.
    let path = world.folder.file("small.bin");
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[500_000] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    assert_eq!(
        record(world.fetch().await.unwrap()).checked_by,
        CheckedBy::Earlier
    );
    assert_eq!(world.there(), Some(speech(0, BYTES)));
}

#[tokio::test]
async fn what_broke_off_goes_on_where_it_ended() {
    let world = World::new(speech(0, BYTES)).await;
    world.hub.then([Act::CutAfter(300_000), Act::CutAfter(200_000)]);
    record(world.fetch().await.unwrap());
    assert_eq!(world.there(), Some(speech(0, BYTES)));
    let ranges = world.hub.ranges();
    assert_eq!(ranges.len(), 3);
    assert_eq!(ranges[0], (None, None));
    let etag = world.hub.set(|content| content.etag.clone());
    // Not more than was sent, and whole pieces of what was: an abort may swallow the last ones.
    let mut before = 0;
    for ((range, if_range), most) in ranges[1..].iter().zip([300_000, 500_000]) {
        let from: usize = range
            .as_deref()
            .unwrap()
            .strip_prefix("bytes=")
            .unwrap()
            .strip_suffix('-')
            .unwrap()
            .parse()
            .unwrap();
        assert!(from > before && from <= most, "{from}");
        before = from;
        assert_eq!(*if_range, etag);
    }
}

#[tokio::test]
async fn a_part_of_another_process_is_gone_on_with() {
    let world = World::new(speech(0, BYTES)).await;
    world.hub.then([Act::StallAfter(400_000)]);
    let part = world.folder.file("small.bin.part");
    let length = || std::fs::metadata(&part).map_or(0, |meta| meta.len());
    {
        let mut heard = Heard::default();
        let fetch = world.fetch_of(&SPEECH);
        let run = fetch.run(&mut heard);
        tokio::select! {
            ended = run => panic!("{ended:?}"),
            () = wait_for("the part", async || (length() == 400_000).then_some(())) => {}
        }
    }
    // The lock goes with the one who held it.
    record(world.fetch().await.unwrap());
    assert_eq!(world.there(), Some(speech(0, BYTES)));
    assert_eq!(world.hub.ranges()[1].0, range(400_000));
}

#[tokio::test]
async fn a_server_without_ranges_starts_over() {
    let world = World::new(speech(0, BYTES)).await;
    world.hub.then([Act::CutAfter(300_000), Act::IgnoreRange]);
    record(world.fetch().await.unwrap());
    assert_eq!(world.there(), Some(speech(0, BYTES)));
    assert_eq!(world.hub.ranges().len(), 2);
}

#[tokio::test]
async fn a_part_of_another_file_is_not_gone_on_with() {
    // The hub's hash says so.
    let world = World::new(speech(0, BYTES)).await;
    world.hub.then([Act::CutAfter(300_000)]);
    let pace = Pace {
        tries: 1,
        ..world.fetch_of(&SPEECH).pace
    };
    let once = Fetch {
        pace,
        ..world.fetch_of(&SPEECH)
    };
    assert!(matches!(
        world.run(once).await,
        Err(FetchError::BrokenOff { have: 1.., .. })
    ));
    world.hub.has(speech(1, BYTES));
    record(world.fetch().await.unwrap());
    assert_eq!(world.there(), Some(speech(1, BYTES)));
    assert_eq!(world.hub.ranges()[1], (None, None));

    // Without it the entity tag does, where somebody knows the hash.
    let world = World::new(speech(0, BYTES)).await;
    let hide = || world.hub.set(|content| content.linked = None);
    hide();
    world.hub.then([Act::CutAfter(300_000)]);
    let knowing = |seed: u8| Fetch {
        sha256: Sha256Hex::parse(&sha256(&speech(seed, BYTES)).to_string()),
        ..world.fetch_of(&SPEECH)
    };
    let once = Fetch { pace, ..knowing(0) };
    world.run(once).await.unwrap_err();
    world.hub.has(speech(1, BYTES));
    hide();
    assert_eq!(
        record(world.run(knowing(1)).await.unwrap()).checked_by,
        CheckedBy::Asked
    );
    assert_eq!(world.there(), Some(speech(1, BYTES)));
    assert!(world.hub.ranges()[1].1.is_some());

    // With neither, or with a tag of files that are only alike, a part is worth nothing.
    for etag in [None, Some("W/\"alike\"".to_owned())] {
        let world = World::new(speech(0, BYTES)).await;
        world
            .hub
            .set(|content| (content.linked, content.etag) = (None, etag.clone()));
        world.hub.then([Act::CutAfter(300_000)]);
        let knowing = Fetch {
            sha256: Sha256Hex::parse(&sha256(&speech(0, BYTES)).to_string()),
            ..world.fetch_of(&SPEECH)
        };
        record(world.run(knowing).await.unwrap());
        assert_eq!(world.hub.ranges(), [(None, None), (None, None)], "{etag:?}");
        assert_eq!(world.there(), Some(speech(0, BYTES)));
    }
}

#[tokio::test]
async fn a_file_without_any_hash_is_refused_and_says_how_to_give_one() {
    let world = World::new(speech(0, BYTES)).await;
    world.hub.set(|content| content.linked = None);
    let error = world.fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::NoHash { .. }), "{error}");
    assert!(error.to_string().contains("--sha256"), "{error}");
    assert_eq!(world.there(), None);
}

#[tokio::test]
async fn a_part_that_is_whole_already_is_taken() {
    let world = World::new(speech(0, BYTES)).await;
    world.hub.then([Act::StallAfter(BYTES)]);
    let part = world.folder.file("small.bin.part");
    {
        let mut heard = Heard::default();
        // It has said how much there is, so it is done when that has come.
        let fetch = world.fetch_of(&SPEECH);
        record(fetch.run(&mut heard).await.unwrap());
    }
    // A process that was killed just before it could give the file its name.
    let origin = format!(
        "{{\"source\":\"{}somebody/models/resolve/main/ggml-model.bin\",\"etag\":null,\"linked\":\"{}\",\"total\":null}}",
        world.hub.url,
        sha256(&speech(0, BYTES))
    );
    std::fs::rename(world.folder.file("small.bin"), &part).unwrap();
    std::fs::write(world.folder.file("small.bin.part.json"), &origin).unwrap();
    record(world.fetch().await.unwrap());
    assert_eq!(world.there(), Some(speech(0, BYTES)));
    assert_eq!(world.hub.ranges()[1].0, range(BYTES));
    // One that is longer than the file is of no use.
    let mut long = speech(0, BYTES).to_vec();
    long.extend([0; 100]);
    std::fs::remove_file(world.folder.file("small.bin")).unwrap();
    std::fs::write(&part, long).unwrap();
    std::fs::write(world.folder.file("small.bin.part.json"), &origin).unwrap();
    record(world.fetch().await.unwrap());
    assert_eq!(world.there(), Some(speech(0, BYTES)));
    assert_eq!(world.files(), ["small.bin", "small.bin.json"]);
}

#[tokio::test]
async fn servers_out_of_order_are_asked_again_and_refusals_are_final() {
    let world = World::new(speech(0, BYTES)).await;
    world.hub.then([
        Act::Status(500),
        Act::Status(429),
        Act::CutAfter(100_000),
        Act::Status(503),
    ]);
    record(world.fetch().await.unwrap());
    assert_eq!(world.there(), Some(speech(0, BYTES)));

    let world = World::new(speech(0, BYTES)).await;
    world.hub.then(vec![Act::Status(502); 10]);
    let error = world.refused().await;
    assert!(matches!(&error, FetchError::BrokenOff { have: 0, why } if why.ends_with("answered 502")));
    assert_eq!(world.hub.ranges().len(), 3, "as often as it was told to");

    for status in [401, 403, 404, 410, 451] {
        let world = World::new(speech(0, BYTES)).await;
        world.hub.set(|content| content.hub_status = Some(status));
        let error = world.refused().await;
        assert!(
            matches!(error, FetchError::Refused { status: found, .. } if found == status),
            "{error}"
        );
        assert_eq!(world.hub.asked().len(), 1);
        assert_eq!(world.files(), [""; 0]);
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let world = World::new(speech(0, BYTES)).await;
    world.hub.then([Act::StallAfter(400_000)]);
    let mut fetch = world.fetch_of(&SPEECH);
    fetch.pace.stall = Duration::from_millis(300);
    record(world.run(fetch).await.unwrap());
    assert_eq!(world.hub.ranges()[1].0, range(400_000));
}

#[tokio::test]
async fn nothing_but_the_right_file_is_kept() {
    let wrong: Sha256Hex = sha256(b"something else").parse().unwrap();
    // It says that it has another file than the one that is wanted: it is not even fetched.
    let world = World::new(speech(0, BYTES)).await;
    let wanted = Fetch {
        sha256: Some(wrong),
        ..world.fetch_of(&SPEECH)
    };
    let error = world.run(wanted).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Changed { by: CheckedBy::Asked, expected, .. } if expected == wrong),
        "{error}"
    );
    assert_eq!(world.hub.set(|content| content.acts.len()), 0);

    // It does not say, and has.
    world.hub.set(|content| content.linked = None);
    let error = world.run(wanted).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Mismatch {
                by: CheckedBy::Asked,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(world.files(), [""; 0]);

    // It says one thing and has another.
    world
        .hub
        .set(|content| content.linked = Some(format!("\"{wrong}\"")));
    let error = world.refused().await;
    assert!(
        matches!(
            error,
            FetchError::Mismatch {
                by: CheckedBy::Hub,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(world.files(), [""; 0]);

    // What is built in goes before what the hub says.
    let built_in = Model {
        sha256: Some(Box::leak(sha256(b"built in").into_boxed_str())),
        ..SPEECH.clone()
    };
    world.hub.has(speech(0, BYTES));
    let error = world.run(world.fetch_of(&built_in)).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Changed {
                by: CheckedBy::BuiltIn,
                ..
            }
        ),
        "{error}"
    );
    // And what is asked for before both.
    let asked = Fetch {
        sha256: Some(sha256(&speech(0, BYTES)).parse().unwrap()),
        ..world.fetch_of(&built_in)
    };
    assert_eq!(
        record(world.run(asked).await.unwrap()).checked_by,
        CheckedBy::Asked
    );
}

#[tokio::test]
async fn a_file_that_changes_at_the_hub_is_not_taken_unasked() {
    let world = World::new(speech(0, BYTES)).await;
    record(world.fetch().await.unwrap());
    world.hub.has(speech(1, BYTES));
    let again = Fetch {
        again: true,
        ..world.fetch_of(&SPEECH)
    };
    let error = world.run(again).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Changed {
                by: CheckedBy::Earlier,
                ..
            }
        ),
        "{error}"
    );
    let new = sha256(&speech(1, BYTES));
    assert!(error.to_string().ends_with(&format!("--sha256 {new}")), "{error}");
    assert_eq!(world.there(), Some(speech(0, BYTES)), "the old one stays");
    let trusted = Fetch {
        sha256: Some(new.parse().unwrap()),
        ..world.fetch_of(&SPEECH)
    };
    record(world.run(trusted).await.unwrap());
    assert_eq!(world.there(), Some(speech(1, BYTES)));
}

#[tokio::test]
async fn other_files_are_known_by_size_and_beginning() {
    for bytes in [100, 2_000_000] {
        let world = World::new(speech(0, bytes)).await;
        let error = world.refused().await;
        assert!(
            matches!(error, FetchError::Size { found, .. } if found == bytes as u64),
            "{error}"
        );
        // Without its length it is cut off.
        world.hub.then([Act::CutUnsaid(bytes)]);
        world.refused().await;
        assert!(!world.folder.file("small.bin").exists());
    }
    let page = filled(b"<html>".to_vec(), 0, BYTES);
    for bytes in [page, vad(0)] {
        let world = World::new(bytes).await;
        let error = world.refused().await;
        assert!(
            matches!(error, FetchError::NotAModel { name: "small" }),
            "{error}"
        );
        assert_eq!(world.files(), [""; 0]);
    }
}

#[tokio::test]
async fn redirects_are_followed_with_care() {
    let world = World::new(speech(0, BYTES)).await;
    let to = |location: &str| {
        world
            .hub
            .set(|content| content.location = Some(location.to_owned()));
    };
    // Nothing else is asked: the name would not resolve, and the error would be another one.
    to("http://cdn.invalid/blob?X-Signature=do-not-tell");
    let error = world.refused().await;
    assert_eq!(
        error.to_string(),
        "cdn.invalid was not asked: models are fetched over https only"
    );
    to("/somebody/models/resolve/main/ggml-model.bin");
    let error = world.refused().await;
    assert!(matches!(error, FetchError::Nonsense { .. }), "{error}");
    let hub = "http://hub.invalid".parse().unwrap();
    let plain = Fetch {
        hub: &hub,
        ..world.fetch_of(&SPEECH)
    };
    assert!(matches!(world.run(plain).await, Err(FetchError::NotHttps { .. })));
}

#[tokio::test]
async fn one_model_is_fetched_by_one_process_at_a_time() {
    let world = World::new(speech(0, BYTES)).await;
    world.hub.then([Act::StallAfter(1000)]);
    let mut heard = Heard::default();
    let first = world.fetch_of(&SPEECH);
    let others = async {
        wait_for("the first request", async || {
            (!world.hub.ranges().is_empty()).then_some(())
        })
        .await;
        assert!(matches!(
            world.refused().await,
            FetchError::Busy { name: "small" }
        ));
        // Another model is another matter.
        let other = Model {
            name: "other",
            file: "other.bin",
            ..SPEECH.clone()
        };
        record(world.run(world.fetch_of(&other)).await.unwrap());
    };
    tokio::select! {
        ended = first.run(&mut heard) => panic!("{ended:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn a_file_that_somebody_put_there_is_left_alone() {
    let world = World::new(speech(0, BYTES)).await;
    world.folder.make().unwrap();
    std::fs::write(world.folder.file("small.bin"), speech(2, BYTES)).unwrap();
    assert_eq!(world.fetch().await.unwrap(), Fetched::Foreign);
    let wanted = Fetch {
        sha256: Some(sha256(&speech(2, BYTES)).parse().unwrap()),
        ..world.fetch_of(&SPEECH)
    };
    assert!(matches!(world.run(wanted).await.unwrap(), Fetched::There(_)));
    assert!(world.hub.asked().is_empty());
    assert!(world.data.path().is_dir());
}

fn demo_model() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../transcriber/assets/ggml-micro-he.bin")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_lists_fetches_and_chooses_models() {
    let hub = Hub::start(vad(0)).await;
    let here = Installation::new().with("CALLFOLD_MODEL_HUB", hub.url.as_str());
    let models = here.data().join("models");
    let list = here.run(&["model", "list"]).await;
    assert_eq!(list.code, Some(0), "{list:?}");
    let row = |text: &str, name: &str| {
        let row = text
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        row.unwrap_or_else(|| panic!("{name} in {text}")).to_owned()
    };
    assert!(
        row(&list.out, "ivrit-turbo").contains("~1.6 GB  Apache-2.0"),
        "{}",
        list.out
    );
    assert!(
        row(&list.out, "ivrit-turbo").contains("not fetched"),
        "{}",
        list.out
    );
    assert!(row(&list.out, "ivrit-large").contains(" 3.1 GB "), "{}", list.out);
    assert!(
        list.out.contains("in use: demo, because there is no other one"),
        "{}",
        list.out
    );
    assert!(!here.data().exists(), "looking makes nothing");

    // Killed in the middle.
    hub.then([Act::StallAfter(300_000)]);
    let part = models.join("silero-vad.bin.part");
    let fetched = || std::fs::metadata(&part).map_or(0, |meta| meta.len());
    let mut first = here.start(&["model", "fetch", "vad"]);
    wait_for("the part", async || (fetched() == 300_000).then_some(())).await;
    let busy = here.run(&["model", "fetch", "vad"]).await;
    assert_eq!(busy.code, Some(1), "{busy:?}");
    assert!(
        busy.err.contains("vad is being fetched by another process"),
        "{busy:?}"
    );
    first.stop(Signal::KILL).await;
    // Interrupted.
    hub.then([Act::StallAfter(100_000)]);
    let mut second = here.start(&["model", "fetch", "vad"]);
    wait_for("the part", async || (fetched() == 400_000).then_some(())).await;
    assert_eq!(second.stop(Signal::INT).await.code(), Some(130));
    assert!(second.everything().contains("goes on from what is there"));
    let list = here.run(&["model", "list"]).await;
    assert!(row(&list.out, "vad").contains("46 % there"), "{}", list.out);
    let third = here.run(&["model", "fetch", "vad"]).await;
    assert_eq!(third.code, Some(0), "{third:?}");
    assert!(third.out.contains("checked by the hub's hash"), "{third:?}");
    assert!(third.err.contains("100 %"), "{third:?}");
    assert!(
        !third.err.contains("do-not-tell"),
        "addresses are signed: {third:?}"
    );
    let ranges: Vec<_> = hub.ranges().into_iter().map(|(range, _)| range).collect();
    assert_eq!(ranges, [None, range(300_000), range(400_000)]);
    assert_eq!(std::fs::read(models.join("silero-vad.bin")).unwrap(), vad(0));

    let json = here.run(&["model", "list", "--json"]).await;
    let json: Value = serde_json::from_str(&json.out).unwrap();
    let of = |name: &str| {
        let models = json["models"].as_array().unwrap();
        models.iter().find(|model| model["name"] == name).unwrap().clone()
    };
    assert_eq!(of("vad")["in_use"], true);
    assert_eq!(of("vad")["sha256"], sha256(&vad(0)));
    assert_eq!(of("ivrit-large")["bytes"], 3_095_033_483_u64);
    assert_eq!(of("ivrit-turbo")["bytes"], Value::Null);
    assert_eq!(json["in_use"]["name"], "demo");

    // Choosing.
    let not_there = here.run(&["model", "use", "ivrit-turbo"]).await;
    assert_eq!(not_there.code, Some(1));
    assert!(
        not_there.err.contains("`callfold model fetch ivrit-turbo`"),
        "{not_there:?}"
    );
    let no_speech = here.run(&["model", "use", "vad"]).await;
    assert!(
        no_speech.err.contains("tells speech from silence"),
        "{no_speech:?}"
    );
    std::fs::copy(demo_model(), models.join("own.bin")).unwrap();
    std::fs::copy(demo_model(), models.join("own-too.bin")).unwrap();
    let chosen = here.run(&["model", "use", "own.bin"]).await;
    assert_eq!(chosen.code, Some(0), "{chosen:?}");
    assert_eq!(
        std::fs::read_to_string(models.join("in-use")).unwrap(),
        "own.bin\n"
    );
    let list = here.run(&["model", "list"]).await;
    assert!(row(&list.out, "own.bin").contains("in use"), "{}", list.out);
    assert!(!row(&list.out, "own-too.bin").contains("in use"), "{}", list.out);
    assert!(
        list.out
            .contains("in use: own.bin, because `callfold model use` chose it"),
        "{}",
        list.out
    );
    let elsewhere = demo_model().canonicalize().unwrap();
    let path = elsewhere.to_str().unwrap();
    let outside = here
        .run_with(&["model", "use", path], &[("WHISPER_MODEL", "demo")])
        .await;
    assert_eq!(outside.code, Some(0), "{outside:?}");
    assert!(outside.out.contains("WHISPER_MODEL is set"), "{outside:?}");
    assert_eq!(
        std::fs::read_to_string(models.join("in-use")).unwrap().trim(),
        path
    );

    // What cannot be fetched.
    let unknown = here.run(&["model", "fetch", "ivrit-turboo"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("there are ivrit-turbo, "), "{unknown:?}");
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let offline = here
        .run(&["model", "fetch", "ivrit-turbo", "--hub", &nowhere])
        .await;
    assert_eq!(offline.code, Some(1));
    assert!(offline.err.contains("cannot reach 127.0.0.1:"), "{offline:?}");
    assert!(
        offline.err.contains("`callfold model use /path/to/file`"),
        "{offline:?}"
    );
    // The recorded hash is held against what is there.
    let wanted = sha256(b"another");
    let differs = here.run(&["model", "fetch", "vad", "--sha256", &wanted]).await;
    assert_eq!(differs.code, Some(1), "{differs:?}");
    assert!(differs.err.contains("has another file now"), "{differs:?}");
    assert_eq!(std::fs::read(models.join("silero-vad.bin")).unwrap(), vad(0));
    let nonsense = here.run(&["model", "fetch", "vad", "--sha256", "abc"]).await;
    assert_eq!(nonsense.code, Some(64), "{nonsense:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_system_takes_up_a_model_that_comes_later() {
    let here = Installation::new()
        .with("TWILIO_ACCOUNT_SID", "AC0123456789abcdef0123456789abcdef")
        .with("TWILIO_AUTH_TOKEN", "b7c1a5e2d9f04c3c8a1e6f2d7b9c0a4e")
        .with("TWILIO_API_URL", "http://127.0.0.1:9");
    let mut up = here.start(&["up", "--listen", "127.0.0.1:0"]);
    let address = up.ready().await;
    let http = callfold_kit::http::client_builder().build().unwrap();
    let model_is = async |wanted: &str| {
        wait_for(wanted, async || {
            let answer = http.get(format!("{address}/readyz")).send().await.unwrap();
            let told: Value = answer.json().await.unwrap();
            let reason = told["parts"]["speech-model"]["reason"].as_str();
            reason.is_some_and(|reason| reason.contains(wanted)).then_some(())
        })
        .await;
    };
    model_is("no speech model").await;
    let models = here.data().join("models");
    std::fs::create_dir_all(&models).unwrap();
    std::fs::copy(demo_model(), models.join("first.bin")).unwrap();
    model_is("whisper:first").await;
    let used = here.run(&["model", "use", demo_model().to_str().unwrap()]).await;
    assert_eq!(used.code, Some(0), "{used:?}");
    model_is("whisper:ggml-micro-he").await;
    let used = here.run(&["model", "use", "first.bin"]).await;
    assert_eq!(used.code, Some(0), "{used:?}");
    model_is("whisper:first").await;
    // One that does not load: cut off in its middle.
    let bytes = std::fs::read(demo_model()).unwrap();
    std::fs::write(models.join("cut.bin"), &bytes[..bytes.len() / 2]).unwrap();
    let used = here.run(&["model", "use", "cut.bin"]).await;
    assert_eq!(used.code, Some(0), "its beginning is as it should be: {used:?}");
    model_is("whisper.cpp cannot load the model cut").await;

    let media_port = here.media_port.to_string();
    let played = here
        .run(&["simulate", "--wait", "--media-port", &media_port])
        .await;
    assert_eq!(played.code, Some(0), "{played:?}");
    assert!(played.out.contains("whisper:first"), "{}", played.out);
    assert_eq!(up.stop(Signal::INT).await.code(), Some(0));
}
