//! A real broker, real files, a double of Twilio's API; the stream itself takes the lead table's place.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use callfold_kit::blob::{BlobConfig, recording_key};
use callfold_kit::clock::TestClock;
use callfold_kit::lifecycle::Lifecycle;
use callfold_kit::numbers::{Book, NumberSettings};
use callfold_kit::testing::{TestNats, TestServer, all_events, publish, wait_for};
use callfold_schema::event::{CallEnded, EraseDone, RecordingDownloaded, RecordingReady};
use callfold_schema::{PhoneNumber, Run, Subject};
use callfold_twilio::AuthToken;
use callfold_twilio::testing::{Quirk, Recording, RestDouble};
use url::Url;

use super::*;

const AC: &str = "AC00000000000000000000000000000001";
const SECRET: &str = "+972501234567";
const NOW: i64 = 1_795_341_600_000;

/// What a caught-up lead table would say.
struct Table {
    bus: Bus,
    calls: Vec<(CallSid, PhoneNumber, UnixMillis)>,
    /// So often it is behind first.
    behind: AtomicUsize,
}

#[async_trait]
impl Index for Table {
    async fn positions(&self, call_sid: &CallSid, _: u64) -> Result<Option<Vec<u64>>, BoxError> {
        let waits = self
            .behind
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if waits.is_ok() {
            return Ok(None);
        }
        let of = |event: &StoredEvent| {
            RawSubject::split(event.subject()).is_some_and(|raw| raw.call_sid == call_sid.as_str())
        };
        let events = all_events(&self.bus).await;
        Ok(Some(
            events
                .iter()
                .filter(|event| of(event))
                .map(|event| event.position)
                .collect(),
        ))
    }

    async fn calls_before(&self, before: UnixMillis, cursor: Option<&str>) -> Result<OldCalls, BoxError> {
        let skipped: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let old = self.calls.iter().filter(|(_, _, began)| *began < before);
        let calls: Vec<_> = old.skip(skipped).take(1).cloned().collect();
        let next = (!calls.is_empty()).then(|| (skipped + 1).to_string());
        Ok(OldCalls { calls, next })
    }

    async fn purge(&self) -> Result<(), BoxError> {
        Ok(())
    }
}

struct World {
    nats: TestNats,
    bus: Bus,
    folder: tempfile::TempDir,
    double: RestDouble,
    server: TestServer,
}

impl World {
    async fn new() -> Self {
        let nats = TestNats::start().await;
        let double = RestDouble::new(AC, "token", 10);
        Self {
            bus: nats.bus().await,
            nats,
            folder: tempfile::tempdir().unwrap(),
            server: TestServer::start(double.router()).await,
            double,
        }
    }

    fn blobs(&self) -> Blobs {
        Blobs::open(&BlobConfig::folder(&self.folder.path().join("recordings")).unwrap()).unwrap()
    }

    fn eraser(&self, calls: Vec<(CallSid, PhoneNumber, UnixMillis)>) -> Eraser {
        let http = callfold_kit::http::client_builder().build().unwrap();
        let base = Url::parse(&self.server.url()).unwrap();
        Eraser {
            bus: self.bus.clone(),
            index: Arc::new(Table {
                bus: self.bus.clone(),
                calls,
                behind: AtomicUsize::new(2),
            }),
            blobs: self.blobs(),
            twilio: Some(RestClient::new(
                http,
                base,
                AC.to_owned(),
                AuthToken::parse_list("token"),
            )),
            clock: TestClock::at(UnixMillis(NOW)),
            metrics: Metrics::new(),
        }
    }

    /// A call with an end, a recording at Twilio and a file.
    async fn call(&self, n: u32) -> CallSid {
        let call = CallSid::parse(&format!("CA{n}")).unwrap();
        for event in [ended(&call), ready(&call, n), downloaded(&call, n)] {
            publish(&self.bus, &event).await;
        }
        self.file(&call, n).await;
        self.double.recording(Recording {
            sid: format!("RE{n}"),
            call_sid: call.to_string(),
            status: "completed".to_owned(),
            started_ms: NOW,
            duration_s: 3,
        });
        call
    }

    async fn file(&self, call: &CallSid, n: u32) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"voice").unwrap();
        self.blobs().put(&key(call, n), file).await.unwrap();
    }

    async fn done(&self, call: &CallSid) -> callfold_schema::event::EraseDone {
        let subject = Subject::new(call.clone(), EventKind::EraseDone, Key::single());
        let note = wait_for("the note", async || self.bus.find(&subject).await.unwrap()).await;
        let Event::EraseDone(done) = note.decode().unwrap().event else {
            panic!("another event")
        };
        done
    }

    async fn kinds(&self, call: &CallSid) -> Vec<String> {
        let of = |event: &StoredEvent| {
            let raw = RawSubject::split(event.subject()).unwrap();
            (raw.call_sid == call.as_str()).then(|| raw.kind.to_owned())
        };
        all_events(&self.bus).await.iter().filter_map(of).collect()
    }
}

fn sid(n: u32) -> RecordingSid {
    RecordingSid::parse(&format!("RE{n}")).unwrap()
}

fn key(call: &CallSid, n: u32) -> String {
    recording_key(call, &sid(n), Run::FIRST, "wav")
}

fn ended(call: &CallSid) -> NewEvent {
    let event = CallEnded {
        status: "completed".to_owned(),
        duration_s: None,
        ended_at: None,
        idempotency_token: None,
        form: vec![("From".to_owned(), SECRET.to_owned())],
    };
    NewEvent::new(call.clone(), Key::single(), UnixMillis(NOW), event)
}

fn ready(call: &CallSid, n: u32) -> NewEvent {
    let event = RecordingReady {
        recording_sid: sid(n),
        account_sid: AC.to_owned(),
        media_url: String::new(),
        duration_s: None,
        channels: None,
        source: None,
        started_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    NewEvent::new(call.clone(), Key::recording(sid(n)), UnixMillis(NOW), event)
}

fn downloaded(call: &CallSid, n: u32) -> NewEvent {
    let event = RecordingDownloaded {
        blob_key: key(call, n),
        bytes: 5,
        sha256: String::new(),
        content_type: "audio/x-wav".to_owned(),
        duration_ms: 1,
        sample_rate_hz: 8_000,
        channels: 1,
        elapsed_ms: 1,
    };
    NewEvent::new(
        call.clone(),
        Key::stage(sid(n), Run::FIRST),
        UnixMillis(NOW),
        event,
    )
}

async fn erase(bus: &Bus, call: &CallSid) {
    publish(
        bus,
        &tombstone(call.clone(), "test", ErasureReason::Person, UnixMillis(NOW)),
    )
    .await;
}

fn start(eraser: Eraser) -> Lifecycle {
    let lifecycle = Lifecycle::new();
    run(
        eraser,
        callfold_kit::Health::new().part("erase", false),
        &lifecycle,
    );
    lifecycle
}

async fn stop(lifecycle: Lifecycle) {
    lifecycle.stop();
    lifecycle
        .stopped(std::time::Duration::from_secs(20))
        .await
        .unwrap();
}

/// Whether a text stands anywhere in the broker's files.
fn is_in_store(nats: &TestNats, text: &str) -> bool {
    let mut waiting = vec![nats.folder().to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && bytes.windows(text.len()).any(|part| part == text.as_bytes())
            {
                return true;
            }
        }
    }
    false
}

#[tokio::test]
async fn nothing_is_left_of_an_erased_call_and_its_neighbour_stays() {
    let world = World::new().await;
    let (gone, stays) = (world.call(1).await, world.call(2).await);
    let eraser = world.eraser(Vec::new());
    erase(&world.bus, &gone).await;
    let running = start(eraser);
    let done = world.done(&gone).await;
    assert_eq!(
        (done.events, done.blobs, done.twilio),
        (3, 1, TwilioErasure::Deleted)
    );
    assert_eq!(done.positions, [PositionRange { first: 1, last: 3 }]);
    assert_eq!(world.kinds(&gone).await, ["call_erased", "erase_done"]);
    assert_eq!(world.kinds(&stays).await.len(), 3);
    assert_eq!(world.double.recording_sids(), ["RE2"]);
    assert!(world.blobs().keys_of(&gone, 10).await.unwrap().is_empty());
    assert_eq!(world.blobs().keys_of(&stays, 10).await.unwrap(), [key(&stays, 2)]);

    // What comes after all leaves nothing behind either, with what it names. (The same events once more the server would
    // take for repeats.)
    world.file(&gone, 91).await;
    publish(&world.bus, &ready(&gone, 91)).await;
    publish(&world.bus, &downloaded(&gone, 91)).await;
    wait_for("the late events to go", async || {
        (world.kinds(&gone).await.len() == 2).then_some(())
    })
    .await;
    assert!(world.blobs().keys_of(&gone, 10).await.unwrap().is_empty());
    stop(running).await;

    // So does what comes while nobody looks.
    publish(&world.bus, &ready(&gone, 92)).await;
    let running = start(world.eraser(Vec::new()));
    wait_for("what came meanwhile to go", async || {
        (world.kinds(&gone).await.len() == 2).then_some(())
    })
    .await;
    erase(&world.bus, &stays).await;
    world.done(&stays).await;
    wait_for("the number to be overwritten", async || {
        (!is_in_store(&world.nats, SECRET)).then_some(())
    })
    .await;
    stop(running).await;
}

#[tokio::test]
async fn an_erasure_that_was_interrupted_anywhere_comes_to_its_end() {
    let world = World::new().await;
    // As an eraser leaves it that was killed behind each of its steps.
    for step in 0..4_u32 {
        let call = world.call(step).await;
        erase(&world.bus, &call).await;
        if step >= 1 {
            world.blobs().delete(&key(&call, step)).await.unwrap();
        }
        if step >= 2 {
            let twilio = world.eraser(Vec::new()).twilio.unwrap();
            assert!(twilio.delete_recording(None, &format!("RE{step}")).await.unwrap());
        }
        if step >= 3 {
            assert!(world.bus.delete(u64::from(step) * 4 + 1).await.unwrap());
        }
    }
    // And a Twilio that is in trouble for a moment.
    world.double.quirks([Quirk::ServerError, Quirk::TooManyRequests]);
    let running = start(world.eraser(Vec::new()));
    for step in 0..4_u32 {
        let call = CallSid::parse(&format!("CA{step}")).unwrap();
        let done = world.done(&call).await;
        let deleted = if step >= 2 {
            TwilioErasure::NotFound
        } else {
            TwilioErasure::Deleted
        };
        assert_eq!(done.twilio, deleted, "step {step}");
        assert_eq!(
            world.kinds(&call).await,
            ["call_erased", "erase_done"],
            "step {step}"
        );
    }
    assert!(world.double.recording_sids().is_empty());
    stop(running).await;
}

#[tokio::test]
async fn a_file_whose_writer_was_killed_goes_at_the_second_look() {
    let world = World::new().await;
    let call = world.call(1).await;
    erase(&world.bus, &call).await;
    // As it is twenty minutes later: all is done, and a downloader had left a file that no event names.
    let note = EraseDone {
        positions: vec![PositionRange { first: 1, last: 3 }],
        events: 3,
        blobs: 1,
        twilio: TwilioErasure::NotAsked,
    };
    let note = NewEvent::new(call.clone(), Key::single(), UnixMillis(NOW), note);
    publish(&world.bus, &note).await;
    world.file(&call, 91).await;
    let running = start(world.eraser(Vec::new()));
    wait_for("the file to go", async || {
        world
            .blobs()
            .keys_of(&call, 10)
            .await
            .unwrap()
            .is_empty()
            .then_some(())
    })
    .await;
    stop(running).await;
}

#[tokio::test]
async fn calls_older_than_their_number_keeps_them_are_erased() {
    let world = World::new().await;
    let day = 86_400_000;
    let number = |text: &str| PhoneNumber(text.to_owned());
    let old = |n: u32, to: &str, days: i64| {
        (
            CallSid::parse(&format!("CA{n}")).unwrap(),
            number(to),
            UnixMillis(NOW - days * day - 1),
        )
    };
    let calls = vec![
        old(1, "+1", 29),
        old(2, "+1", 30),
        old(3, "+2", 30),
        old(4, "+2", 365),
        old(5, "+3", 4_000),
    ];
    let keeps = |days| {
        Arc::new(NumberSettings {
            retention_days: Some(days),
            ..NumberSettings::default()
        })
    };
    let mut book = Book::default();
    let eraser = world.eraser(calls);
    assert_eq!(
        retention::sweep(&eraser, &book, None).await.unwrap(),
        retention::Swept::default()
    );
    book.numbers.insert(number("+1"), keeps(30));
    book.numbers.insert(number("+2"), keeps(365));
    let swept = retention::sweep(&eraser, &book, None).await.unwrap();
    assert_eq!((swept.erased, swept.cursor), (2, None));
    let erased: Vec<String> = all_events(&world.bus)
        .await
        .iter()
        .map(|event| event.subject().to_owned())
        .collect();
    assert_eq!(
        erased,
        ["calls.CA2.call_erased.new.0", "calls.CA4.call_erased.new.0"]
    );
    // A second sweep before the first one's calls are gone begins nothing anew.
    assert_eq!(retention::sweep(&eraser, &book, None).await.unwrap().erased, 0);
}

#[test]
fn positions_become_ranges() {
    let of = |positions: &[u64]| -> Vec<(u64, u64)> {
        ranges(positions)
            .iter()
            .map(|range| (range.first, range.last))
            .collect()
    };
    assert_eq!(of(&[]), []);
    assert_eq!(of(&[1, 2, 3, 3, 7, 9, 10]), [(1, 3), (7, 7), (9, 10)]);
}
