//! `callfold verify`: nothing is found in a system that is as it should be, and corruption of each sort is.

use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use callfold::archive::Line;
use callfold::simulate::Script;
use callfold::stack::{Role, open_store};
use callfold::tools::verify::{Fault, Report};
use callfold_kit::testing::{all_events, publish};
use callfold_schema::event::{CallErased, EraseDone, ErasureReason, PositionRange, TwilioErasure};
use callfold_schema::{Event, Key, NewEvent, UnixMillis};
use callfold_store::{Batch, Change, Claim};

use super::archive::{fold, verified};
use crate::harness::{World, tone};

/// A world with two finished calls and nothing that runs; events 1 to 14.
async fn two_calls() -> (World, Vec<String>) {
    let world = World::sqlite().build().await;
    let system = world.start().await;
    let mut calls = Vec::new();
    for _ in 0..2 {
        let played = system.play(&Script::leaves(tone())).await;
        system
            .lead_when(&played.call_sid, "processed and over", |lead| {
                lead["status"] == "processed" && lead["call"]["status"] == "completed"
            })
            .await;
        calls.push(played.call_sid);
    }
    system.stop().await;
    (world, calls)
}

/// A table that is lost: it is folded again from what the stream has now.
fn forget_table(world: &World) {
    for name in ["leads.db", "leads.db-wal", "leads.db-shm"] {
        if let Err(error) = std::fs::remove_file(world.path(name)) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

/// The broker itself, for what callfold never does.
async fn raw(world: &World) -> jetstream::Context {
    callfold_kit::http::install_tls();
    let url = url::Url::parse(&world.nats.url()).unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password(
        url.username().to_owned(),
        url.password().unwrap().to_owned(),
    );
    let address = format!("127.0.0.1:{}", world.nats.broker().port());
    jetstream::new(options.connect(address).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_as_it_should_be_is_clean_while_it_runs_and_when_it_is_stopped() {
    let (world, _) = two_calls().await;
    let report = verified(&world).await;
    assert!(report.is_clean() && report.notes.is_empty(), "{report:?}");
    assert_eq!((report.events, report.recordings, report.rows), (14, 2, 2));
    let system = world.start().await;
    let script = Script::leaves(tone());
    let (report, _) = tokio::join!(verified(&world), system.play(&script));
    assert!(report.is_clean(), "{report:?}");
    system.stop().await;
    // An empty installation has nothing to find.
    let report = verified(&World::sqlite().build().await).await;
    assert!(report.is_clean() && report.events == 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_do_not_read_or_say_something_else_and_gaps_are_found() {
    let (world, calls) = two_calls().await;
    let bus = world.nats.bus().await;
    let events = all_events(&bus).await;
    let kind = |kind: &str| {
        let found = events
            .iter()
            .find(|event| event.header("Callfold-Kind") == Some(kind));
        Line::of(found.unwrap()).message
    };
    let wait = Duration::from_secs(10);
    // 15: bytes that are no event.
    let mut message = kind("call_ended");
    message.subject = "calls.CA_bad.call_ended.new.0".to_owned();
    message.headers.retain(|(name, _)| name != "Nats-Msg-Id");
    let mut unreadable = message.clone();
    unreadable.payload = Bytes::from_static(&[0xff; 3]);
    bus.publish_raw(&unreadable, wait).await.unwrap();
    // 16: a recording under another one's subject.
    let mut strange = kind("recording_ready");
    strange.subject = format!("calls.{}.recording_ready.new.RE_other", calls[0]);
    strange.headers.retain(|(name, _)| name != "Nats-Msg-Id");
    bus.publish_raw(&strange, wait).await.unwrap();
    // 17: an event under the message id of another one.
    let mut copied = message.clone();
    copied.subject = "calls.CA_copied.call_ended.new.0".to_owned();
    copied.headers.push((
        "Nats-Msg-Id".to_owned(),
        "calls.CA_someone.call_ended.new.0".to_owned(),
    ));
    bus.publish_raw(&copied, wait).await.unwrap();
    // 18: an event that a newer release wrote.
    let mut newer = message;
    newer.subject = "calls.CA_new.lead_sold.new.0".to_owned();
    newer.headers.retain(|(name, _)| name != "Callfold-Kind");
    bus.publish_raw(&newer, wait).await.unwrap();
    // 3 is lost.
    let stream = raw(&world).await.get_stream("CALLS").await.unwrap();
    assert!(stream.delete_message(3).await.unwrap());

    let report = verified(&world).await;
    let found: Vec<(Fault, &str)> = report
        .findings
        .iter()
        .map(|finding| (finding.fault, finding.text.as_str()))
        .collect();
    let expected = [
        (
            Fault::Unreadable,
            "position 15: malformed event: the payload does not decode".to_owned(),
        ),
        (
            Fault::Subject,
            "position 16: the subject is that of another fact than the event tells".to_owned(),
        ),
        (
            Fault::Subject,
            "position 17: the message id is that of another event".to_owned(),
        ),
        (
            Fault::Newer,
            "position 18: unknown kind \"lead_sold\": a newer release wrote it; upgrade this one".to_owned(),
        ),
        (
            Fault::Gap,
            "position 3 holds no event, and no erasure says why".to_owned(),
        ),
        (
            Fault::Missing,
            format!(
                "call {}: the table has the event at position 3, the stream does not",
                calls[0]
            ),
        ),
    ];
    assert_eq!(
        found,
        expected
            .iter()
            .map(|(fault, text)| (*fault, text.as_str()))
            .collect::<Vec<_>>()
    );
    assert_eq!(report.notes.len(), 1, "the table is behind: {:?}", report.notes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_that_changed_or_went_are_found() {
    let (world, calls) = two_calls().await;
    let file = |call: &str| {
        let mut files = std::fs::read_dir(world.path("recordings").join(call)).unwrap();
        files.next().unwrap().unwrap().path()
    };
    let mut audio = std::fs::read(file(&calls[0])).unwrap();
    audio[1_000] ^= 1;
    std::fs::write(file(&calls[0]), &audio).unwrap();
    std::fs::remove_file(file(&calls[1])).unwrap();
    let report = verified(&world).await;
    let texts: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.text.as_str())
        .collect();
    assert_eq!(report.counts, [(Fault::Recording, 2)].into());
    assert!(
        texts[0].ends_with("does not have the SHA-256 that its event says")
            && texts[1].ends_with("is not in the store"),
        "{texts:?}"
    );
    audio.pop();
    std::fs::write(file(&calls[0]), &audio).unwrap();
    let report = verified(&world).await;
    assert!(report.findings[0].text.contains("bytes, not"), "{report:?}");
    // A copy that nobody knows, and a file that is no recording.
    let stray = file(&calls[0]).with_file_name("RE77-0.wav");
    std::fs::write(&stray, &audio).unwrap();
    std::fs::write(world.path("recordings").join("notes.txt"), "x").unwrap();
    let report = verified(&world).await;
    let strays = report
        .findings
        .iter()
        .filter(|finding| finding.text.ends_with("belongs to no event"));
    assert_eq!(strays.count(), 2, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_not_what_the_fold_makes_and_events_without_a_row_are_found() {
    let (world, calls) = two_calls().await;
    let config = world.config(&[Role::Projector]);
    let (read, write) = Box::pin(open_store(&config.database)).await.unwrap();
    let call = callfold_schema::CallSid::parse(&calls[0]).unwrap();
    let (mut lead, state) = (
        read.lead(&call).await.unwrap().unwrap(),
        read.state(&call).await.unwrap().unwrap(),
    );
    let projection = read.projection().await.unwrap();
    let claim = write.claim("a test", true).await.unwrap();
    assert!(matches!(claim, Claim::Granted(_)));
    let put = async |lead: &callfold_lead::Lead, state: &callfold_lead::LeadState| {
        let batch = Batch {
            identity: projection.identity.clone().unwrap(),
            from: projection.position,
            to: projection.position,
            changes: vec![Change::new(lead, state).unwrap()],
            ..Batch::default()
        };
        write.apply("a test", &batch).await.unwrap();
    };
    // A row with other words.
    let good = lead.clone();
    lead.summary_title = Some("something else".to_owned());
    put(&lead, &state).await;
    let report = verified(&world).await;
    assert_eq!(report.counts, [(Fault::Row, 1)].into());
    assert!(report.findings[0].text.contains(call.as_str()), "{report:?}");

    // A row that is right for the events it has, and lacks one.
    let last = state.position();
    let older = state.at(callfold_lead::At::Position(last - 1));
    put(&callfold_lead::lead_view(&older).unwrap(), &older).await;
    let report = verified(&world).await;
    assert_eq!(report.counts, [(Fault::Missing, 1)].into());
    assert_eq!(
        report.findings[0].text,
        format!("position {last} of call {call} is not in the lead table")
    );
    put(&good, &state).await;
    assert!(verified(&world).await.is_clean());
    write.release("a test").await.unwrap();

    // A table of another stream.
    let table = format!("sqlite://{}", world.path("leads.db").display());
    let other = World::sqlite().with("DATABASE_URL", table).build().await;
    let report = verified(&other).await;
    assert_eq!(report.counts, [(Fault::Table, 1)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_that_an_erasure_made_are_explained_by_it() {
    let (world, calls) = two_calls().await;
    let bus = world.nats.bus().await;
    let call = callfold_schema::CallSid::parse(&calls[0]).unwrap();
    let say = async |event: Event| {
        let new = NewEvent::new(call.clone(), Key::single(), UnixMillis(1_800_000_000_000), event);
        publish(&bus, &new).await
    };
    let erased = CallErased {
        by: "a test".to_owned(),
        why: ErasureReason::Person,
    };
    say(erased.into()).await;
    let stream = raw(&world).await.get_stream("CALLS").await.unwrap();
    let mut positions = Vec::new();
    for event in all_events(&bus).await {
        if event.subject().contains(call.as_str()) && event.position <= 14 {
            assert!(stream.delete_message(event.position).await.unwrap());
            positions.push(PositionRange {
                first: event.position,
                last: event.position,
            });
        }
    }
    let gaps = |report: &Report| report.counts.get(&Fault::Gap).copied().unwrap_or_default();
    // While the erasure is at work only the tombstone in the table explains its gaps.
    fold(&world).await;
    assert!(verified(&world).await.is_clean());
    forget_table(&world);
    fold(&world).await;
    assert_ne!(gaps(&verified(&world).await), 0);
    // What an erasure that says it is done has left is a finding.
    let recordings = world.path("recordings").join(call.as_str());
    std::fs::remove_dir_all(recordings).unwrap();
    let done = EraseDone {
        positions,
        events: 7,
        blobs: 1,
        twilio: TwilioErasure::NotAsked,
    };
    say(done.into()).await;
    for is_known in [true, false] {
        if !is_known {
            forget_table(&world);
        }
        fold(&world).await;
        let report = verified(&world).await;
        assert!(report.is_clean(), "{:?}", report.findings);
        assert_eq!((report.events, report.erased), (9, 7));
    }
    let report = verified(&world).await;
    assert_eq!((report.events, report.erased), (9, 7));
    // One more than the erasure tells of.
    let other = all_events(&bus)
        .await
        .into_iter()
        .find(|event| event.subject().contains(&calls[1]));
    assert!(stream.delete_message(other.unwrap().position).await.unwrap());
    assert_eq!(gaps(&verified(&world).await), 1);
}
