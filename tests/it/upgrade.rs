//! Releases on one stream: what any of them recorded folds to the same leads for ever, old and new processes work side by
//! side, and what only a newer one can read stops the projector and loses nothing.
//!
//! The recorded streams are in `fixtures/streams`; the README there says how to add one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use callfold::archive::{Archive, Line};
use callfold::simulate::{HangUp, Script};
use callfold::stack::{Role, Stack, open_store};
use callfold_kit::bus::Published;
use callfold_kit::testing::{all_events, all_records, publish, wait_for};
use callfold_kit::{Bus, Lifecycle};
use callfold_lead::{LeadState, lead_view};
use callfold_schema::event::{
    CallErased, Disposition, EraseDone, ErasureReason, LeadAction, LeadUpdated, PositionRange,
    ReprocessRequested, RerunInput, SummaryReady, TranscriptReady, TwilioErasure,
};
use callfold_schema::{
    CallSid, Event, EventKind, Key, NewEvent, Record, RecordingSid, Run, Stage, UnixMillis, Writing,
};
use callfold_store::LeadFilter;
use serde_json::{Value, json};

use crate::harness::{Database, System, World, fresh_postgres, root, silence, tone};

/// Every stream that is recorded, and how.
const RECIPES: [&str; 5] = [
    "versions-1",
    "versions-2",
    "versions-1-and-2",
    "people-and-re-runs",
    "unreadable-and-newer",
];
/// Set to record what is not there yet.
const RECORD: &str = "CALLFOLD_RECORD";
const WAIT: Duration = Duration::from_secs(10);

fn folder() -> PathBuf {
    root().join("tests/fixtures/streams")
}

/// A recorded stream.
struct Recorded {
    lines: Vec<Line>,
    expected: Value,
}

async fn recorded(name: &str) -> Recorded {
    // Several tests may want one that is not there yet.
    static RECORDING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one_at_a_time = RECORDING.lock().await;
    let (stream, leads) = (
        folder().join(format!("{name}.ndjson")),
        folder().join(format!("{name}.leads.json")),
    );
    if !stream.exists() && std::env::var_os(RECORD).is_some() {
        let (bus, _world) = record(name).await;
        let mut text = String::new();
        for event in all_events(&bus).await {
            text += &Line::of(&event).to_text(&event.decode()).unwrap();
            text.push('\n');
        }
        std::fs::write(&stream, text).unwrap();
    }
    // The reading of archives is what reads them; it wants a folder.
    let copy = tempfile::tempdir().unwrap();
    let archive = Archive::at(copy.path());
    std::fs::copy(&stream, archive.events()).unwrap_or_else(|error| panic!("{}: {error}", stream.display()));
    let mut reading = archive.lines().unwrap();
    let mut lines = Vec::new();
    while let Some(line) = reading.next().unwrap() {
        lines.push(line);
    }
    if !leads.exists() && std::env::var_os(RECORD).is_some() {
        let text = serde_json::to_string_pretty(&folded(&lines)).unwrap() + "\n";
        std::fs::write(&leads, text).unwrap();
    }
    let expected = std::fs::read_to_string(&leads).unwrap();
    Recorded {
        lines,
        expected: serde_json::from_str(&expected).unwrap(),
    }
}

/// What the fold makes of a stream: as much as the projector would fold.
fn folded(lines: &[Line]) -> Value {
    let mut states: BTreeMap<CallSid, LeadState> = BTreeMap::new();
    let (mut unreadable, mut stops_before) = (Vec::new(), None);
    for line in lines {
        match line.decode() {
            Ok(record) => {
                let call = record.envelope.subject.call_sid.clone();
                let state = states.entry(call.clone()).or_insert_with(|| LeadState::new(call));
                state.apply(line.position, &record.envelope, &line.message.payload);
            }
            Err(error) if error.is_newer() => {
                stops_before = Some(line.position);
                break;
            }
            Err(error) => unreadable.push(json!([line.position, error.to_string()])),
        }
    }
    let shown = states.values().filter(|state| !state.is_erased());
    let leads: Vec<Value> = shown
        .map(|state| serde_json::to_value(lead_view(state).unwrap()).unwrap())
        .collect();
    json!({ "leads": leads, "unreadable": unreadable, "stops_before": stops_before })
}

/// Whether everything that `expected` says is so; the first place where it is not. New members of objects are allowed.
fn difference(actual: &Value, expected: &Value, place: &str) -> Option<String> {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => expected.iter().find_map(|(name, expected)| {
            difference(
                actual.get(name).unwrap_or(&Value::Null),
                expected,
                &format!("{place}/{name}"),
            )
        }),
        (Value::Array(actual), Value::Array(expected)) if actual.len() == expected.len() => actual
            .iter()
            .zip(expected)
            .enumerate()
            .find_map(|(n, (actual, expected))| difference(actual, expected, &format!("{place}/{n}"))),
        _ if actual == expected => None,
        _ => Some(format!("{place} is {actual}, not {expected}")),
    }
}

fn same(actual: &Value, expected: &Value, what: &str) {
    if let Some(difference) = difference(actual, expected, "") {
        panic!("{what}: {difference}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_stream_folds_to_its_leads_in_any_order() {
    for name in RECIPES {
        let Recorded { lines, expected } = Box::pin(recorded(name)).await;
        same(&folded(&lines), &expected, name);
        if !expected["stops_before"].is_null() {
            continue;
        }
        // Backwards, and every event twice.
        let twice: Vec<Line> = lines.iter().rev().chain(&lines).cloned().collect();
        let mut turned = folded(&twice);
        turned["unreadable"] = expected["unreadable"].clone();
        same(&turned, &expected, &format!("{name}, backwards"));
    }
    // Nothing lies about that no recipe knows.
    let known: BTreeSet<String> = RECIPES
        .iter()
        .flat_map(|name| [format!("{name}.ndjson"), format!("{name}.leads.json")])
        .collect();
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, known);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recorded_streams_hold_every_version_of_every_kind_that_can_be_read() {
    let mut found: BTreeSet<(EventKind, u16)> = BTreeSet::new();
    for name in RECIPES {
        for line in Box::pin(recorded(name)).await.lines {
            if let Ok(record) = line.decode() {
                found.insert((record.envelope.subject.kind, record.envelope.version));
            }
        }
    }
    let missing: Vec<(EventKind, u16)> = EventKind::ALL
        .iter()
        .flat_map(|kind| (1..=callfold_schema::decode::newest_version(*kind)).map(|version| (*kind, version)))
        .filter(|version| !found.contains(version))
        .collect();
    assert!(missing.is_empty(), "no recorded stream has {missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_stream_on_a_real_broker_gives_the_same_rows_in_both_databases() {
    for name in RECIPES {
        let Recorded { lines, expected } = Box::pin(recorded(name)).await;
        let world = World::sqlite().build().await;
        let bus = world.nats.bus().await;
        let mut positions = BTreeMap::new();
        for line in &lines {
            match bus.publish_raw(&line.message, WAIT).await.unwrap() {
                Published::Recorded { position } => positions.insert(line.position, position),
                Published::AlreadyRecorded => panic!("{name} has two events under one subject"),
            };
        }
        let stops_before = expected["stops_before"]
            .as_u64()
            .map(|position| positions[&position]);
        for database in [Database::Sqlite, Database::Postgres] {
            let others: BTreeMap<String, String> = match database {
                Database::Sqlite => BTreeMap::new(),
                Database::Postgres => [("DATABASE_URL".to_owned(), fresh_postgres().await)].into(),
            };
            let config = world.config_with(&[Role::Projector], &others);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (life, nats) = (Lifecycle::new(), world.nats.config());
            let stack = Box::pin(Stack::start(&config, &nats, listener, &life, false))
                .await
                .unwrap();
            let (leads, _) = Box::pin(open_store(&config.database)).await.unwrap();
            let end = match stops_before {
                Some(position) => position - 1,
                None => bus.stream_state().await.unwrap().last,
            };
            wait_for("the table to be folded", async || {
                (leads.projection().await.unwrap().position == end).then_some(())
            })
            .await;
            if let Some(position) = stops_before {
                wait_for("the projector to stop before what it cannot read", async || {
                    let told = stack.health.readiness().parts["projector"].reason.clone();
                    told.is_some_and(|reason| {
                        reason.contains(&format!("before the event at position {position}"))
                    })
                    .then_some(())
                })
                .await;
                assert!(!stack.health.readiness().ready);
            }
            let page = leads.list(&LeadFilter::default(), 100, None).await.unwrap();
            let is_erased = |call: &CallSid| {
                let subject = format!("calls.{call}.call_erased.new.0");
                lines.iter().any(|line| line.message.subject == subject)
            };
            let mut rows: Vec<Value> = page
                .leads
                .iter()
                .filter(|lead| !is_erased(&lead.call_sid))
                .map(|lead| serde_json::to_value(lead).unwrap())
                .collect();
            rows.sort_by_key(|row| row["call_sid"].as_str().map(str::to_owned));
            let mut leads_then = expected["leads"].clone();
            for lead in leads_then.as_array_mut().unwrap() {
                // Positions are new in a new stream.
                lead["position"] = json!(positions[&lead["position"].as_u64().unwrap()]);
            }
            same(&json!(rows), &leads_then, &format!("{name} in {database:?}"));
            life.stop();
            life.stopped(Duration::from_secs(20)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_new_processes_side_by_side_lose_no_call_and_give_the_same_rows() {
    let world = World::sqlite().build().await;
    let config = world.config(&Role::ALL);
    let mut calls = Vec::new();
    // Readers come first: the projector is of the new release before anything else is.
    let projector = world.start_with(&world.config(&[Role::Projector])).await;
    // The old release alone; then both, each taking every second call and any of the work; then the new one alone.
    let old = start_beside(&world, Writing::Previous).await;
    for _ in 0..2 {
        let call = old.play(&Script::leaves(tone())).await.call_sid;
        old.lead_at(&call, "processed").await;
        calls.push(call);
    }
    let new = start_beside(&world, Writing::Newest).await;
    for n in 0..6 {
        let system = if n % 2 == 0 { &old } else { &new };
        calls.push(system.play(&Script::leaves(tone())).await.call_sid);
    }
    old.stop().await;
    for _ in 0..2 {
        calls.push(new.play(&Script::leaves(tone())).await.call_sid);
    }
    for call in &calls {
        over(&new, call).await;
    }
    new.stop().await;
    projector.stop().await;
    let bus = world.nats.bus().await;
    let mut versions = BTreeSet::new();
    let mut states: BTreeMap<CallSid, LeadState> = BTreeMap::new();
    let mut answers = 0;
    for event in all_events(&bus).await {
        let record = event.decode().unwrap();
        let call = record.envelope.subject.call_sid.clone();
        // A process that stops may say of what it had in hand that it waits.
        answers += usize::from(record.envelope.subject.kind != EventKind::StageFailed);
        if record.envelope.subject.kind == EventKind::TranscriptReady {
            versions.insert(record.envelope.version);
        }
        let state = states.entry(call.clone()).or_insert_with(|| LeadState::new(call));
        state.apply(event.position, &record.envelope, &event.payload);
    }
    assert_eq!(versions, [1, 2].into(), "both releases have worked");
    assert_eq!(states.len(), calls.len());
    assert_eq!(answers, 7 * calls.len());
    let (leads, _) = Box::pin(open_store(&config.database)).await.unwrap();
    for (call, state) in &states {
        let row = leads.lead(call).await.unwrap().unwrap();
        assert_eq!(
            row.hash().unwrap(),
            lead_view(state).unwrap().hash().unwrap(),
            "{call}"
        );
    }
}

/// A process of every role but the projector, which is one that stands by wherever there is another one.
async fn start_beside(world: &World, writing: Writing) -> System {
    let roles: Vec<Role> = Role::ALL
        .into_iter()
        .filter(|role| *role != Role::Projector)
        .collect();
    world.start_writing(&world.config(&roles), writing).await
}

async fn over(system: &System, call: &str) {
    system
        .lead_when(call, "at its end and over", |lead| {
            let status = lead["status"].as_str().unwrap_or_default();
            ["processed", "no_message", "failed"].contains(&status) && lead["call"]["status"] == "completed"
        })
        .await;
}

// What follows makes streams; it runs when one is recorded.

/// Makes the stream of a recipe.
async fn record(name: &str) -> (Bus, World) {
    let world = World::sqlite()
        .with("CALLFOLD_MISSING_AFTER_SECS", "1")
        .with("CALLFOLD_RETRY_ATTEMPTS", "2")
        .build()
        .await;
    let projector = world.start_with(&world.config(&[Role::Projector])).await;
    match name {
        "versions-1" => play_all(&world, Writing::Previous).await,
        "versions-2" => play_all(&world, Writing::Newest).await,
        "versions-1-and-2" => {
            play_all(&world, Writing::Previous).await;
            play_all(&world, Writing::Newest).await;
        }
        "people-and-re-runs" => people_and_re_runs(&world).await,
        "unreadable-and-newer" => unreadable_and_newer(&world).await,
        other => panic!("no recipe makes {other}"),
    }
    projector.stop().await;
    (world.nats.bus().await, world)
}

/// Every way a call can go: a message, one sent three times by somebody without a number, one whose media is late,
/// silence, nothing, and one whose recording is no recording.
async fn play_all(world: &World, writing: Writing) {
    let system = start_beside(world, writing).await;
    let broken = {
        let mut message = tone();
        message.audio = "<html>not found</html>".into();
        message
    };
    let scripts = [
        Script::leaves(tone()),
        Script {
            repeat: 3,
            from: "anonymous".to_owned(),
            ..Script::leaves(tone())
        },
        Script {
            media_not_yet: 1,
            ..Script::leaves(tone())
        },
        Script::leaves(silence()),
        Script {
            hang_up: HangUp::InGreeting,
            ..Script::leaves(tone())
        },
        Script::leaves(broken),
    ];
    for script in &scripts {
        let call = system.play(script).await.call_sid;
        over(&system, &call).await;
    }
    system.stop().await;
}

/// The first recording of a call, and its events by kind.
async fn one_call(world: &World) -> (CallSid, RecordingSid, Vec<Record>) {
    let system = start_beside(world, Writing::Newest).await;
    let call = system.play(&Script::leaves(tone())).await.call_sid;
    over(&system, &call).await;
    let records: Vec<Record> = all_records(&system.stack.bus)
        .await
        .into_iter()
        .filter(|record| record.envelope.subject.call_sid.as_str() == call)
        .collect();
    let recording = records
        .iter()
        .find_map(|record| record.envelope.subject.key.recording.clone())
        .unwrap();
    system.stop().await;
    (CallSid::parse(&call).unwrap(), recording, records)
}

async fn people_and_re_runs(world: &World) {
    let bus = world.nats.bus().await;
    let (call, recording, records) = one_call(world).await;
    let mut time = records.iter().map(|record| record.envelope.time.0).max().unwrap();
    let run = Run(u64::try_from(time).unwrap() * 1_000 + 7);
    let mut say = async |call: &CallSid, key: Key, event: Event| {
        time += 1_000;
        publish(&bus, &NewEvent::new(call.clone(), key, UnixMillis(time), event)).await;
    };
    let asked = ReprocessRequested {
        run,
        from: Stage::Transcribe,
        by: "dana".to_owned(),
        why: Some("a better model".to_owned()),
        engine: Some("whisper".to_owned()),
        model: Some("turbo".to_owned()),
        prompt: None,
        campaign: None,
        hold: true,
        inputs: vec![RerunInput {
            recording_sid: recording.clone(),
            run: Run::FIRST,
            corrected: None,
        }],
    };
    say(&call, Key::run(run), asked.into()).await;
    for record in &records {
        let key = Key::stage(recording.clone(), run);
        match record.event.clone() {
            Event::TranscriptReady(done) => {
                let done = TranscriptReady {
                    text: "another text".to_owned(),
                    ..done
                };
                say(&call, key, done.into()).await;
            }
            Event::SummaryReady(done) => {
                let done = SummaryReady {
                    title: "another title".to_owned(),
                    ..done
                };
                say(&call, key, done.into()).await;
            }
            _ => {}
        }
    }
    let actions = [
        LeadAction::Seen { seen: true },
        LeadAction::Disposition {
            disposition: Disposition::CalledBack,
        },
        LeadAction::Note {
            text: "call again on Monday".to_owned(),
        },
        LeadAction::Assignee {
            assignee: Some("dana".to_owned()),
        },
        LeadAction::Tags {
            tags: vec!["kitchen".to_owned(), "haifa".to_owned()],
        },
        LeadAction::Transcript {
            recording_sid: recording.clone(),
            text: Some("what was really said".to_owned()),
        },
        LeadAction::CallerName {
            name: Some("David".to_owned()),
        },
        LeadAction::CallbackNumber {
            number: Some("+972507654321".into()),
        },
        LeadAction::Adopt { run: Some(run) },
        LeadAction::Note { text: String::new() },
    ];
    for (revision, action) in (1..).zip(actions) {
        let update = LeadUpdated {
            revision,
            by: "dana".to_owned(),
            action,
            request: None,
        };
        say(&call, Key::revision(revision), update.into()).await;
    }
    let (gone, _, before) = one_call(world).await;
    let erased = CallErased {
        by: "dana".to_owned(),
        why: ErasureReason::Request,
    };
    say(&gone, Key::single(), erased.into()).await;
    let done = EraseDone {
        positions: vec![PositionRange { first: 1, last: 1 }],
        events: before.len() as u64,
        blobs: 1,
        twilio: TwilioErasure::NotAsked,
    };
    say(&gone, Key::single(), done.into()).await;
}

async fn unreadable_and_newer(world: &World) {
    let bus = world.nats.bus().await;
    let (call, ..) = one_call(world).await;
    let events = all_events(&bus).await;
    let ended = events
        .iter()
        .find(|event| event.header("Callfold-Kind") == Some("call_ended"))
        .map(|event| Line::of(event).message)
        .unwrap();
    let put = async |subject: &str, header: Option<(&str, &str)>, payload: Option<&'static [u8]>| {
        let mut message = ended.clone();
        message.subject = subject.to_owned();
        message.headers.retain(|(name, _)| name != "Nats-Msg-Id");
        if let Some((name, value)) = header {
            message.headers.retain(|(known, _)| known != name);
            message.headers.push((name.to_owned(), value.to_owned()));
        }
        if let Some(payload) = payload {
            message.payload = bytes::Bytes::from_static(payload);
        }
        bus.publish_raw(&message, WAIT).await.unwrap();
    };
    put("calls.CA_broken.call_ended.new.0", None, Some(&[0xff, 0xff])).await;
    put(
        "calls.CA_headers.call_ended.new.0",
        Some(("Callfold-Version", "none")),
        None,
    )
    .await;
    put("calls.CA_subject.call_ended.other.0", None, None).await;
    put("calls.CA_key.call_ended.new.00", None, None).await;
    put("calls.CA_good.call_ended.new.0", None, None).await;
    let version = Some(("Callfold-Version", "9"));
    put("calls.CA_version.call_ended.new.0", version, None).await;
    put(
        "calls.CA_kind.lead_sold.new.0",
        Some(("Callfold-Kind", "lead_sold")),
        None,
    )
    .await;
    put("calls.CA_later.call_ended.new.0", None, None).await;
    assert_eq!(events.len(), 7, "{call}");
}
