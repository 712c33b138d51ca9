//! Archives: written from a running system, put into another one, and refused where something is not as it was.

use std::collections::BTreeMap;
use std::path::Path;

use callfold::archive::{Archive, Manifest};
use callfold::simulate::Script;
use callfold::stack::{Role, open_blobs, open_store};
use callfold::tools::{export, import, verify};
use callfold_kit::bus::Published;
use callfold_kit::testing::{all_events, publish, wait_for};
use callfold_kit::{Bus, SystemClock};
use callfold_lead::{At, lead_view};
use callfold_schema::event::{CallErased, ErasureReason};
use callfold_schema::{CallSid, Key, NewEvent, UnixMillis};
use callfold_store::LeadFilter;

use crate::harness::{Database, System, World, tone};

/// Exports from a world, whatever runs in it.
pub(crate) async fn export_from(
    world: &World,
    folder: &Path,
    wanted: &export::Wanted,
) -> Result<Manifest, String> {
    let config = world.config(&[Role::Projector]);
    let (leads, _) = Box::pin(open_store(&config.database)).await.unwrap();
    let (bus, blobs) = (world.nats.bus().await, open_blobs(&config).unwrap());
    let archive = Archive::at(folder);
    let written = export::write(&bus, &*leads, &blobs, &archive, wanted, &SystemClock, false);
    Box::pin(written).await.map_err(|error| format!("{error:#}"))
}

/// Imports into a world in which nothing runs.
pub(crate) async fn import_into(world: &World, folder: &Path) -> Result<import::Imported, String> {
    let archive = Archive::at(folder);
    let imported = async {
        let checked = import::check(&archive, false).await?;
        let blobs = open_blobs(&world.config(&[Role::Projector]))?;
        import::put(&world.nats.bus().await, &blobs, &archive, &checked, false).await
    };
    Box::pin(imported).await.map_err(|error| format!("{error:#}"))
}

/// Folds what a world's stream holds into its table.
pub(crate) async fn fold(world: &World) {
    let config = world.config(&[Role::Projector]);
    let projector = world.start_with(&config).await;
    let end = projector.stack.bus.stream_state().await.unwrap().last;
    let (leads, _) = Box::pin(open_store(&config.database)).await.unwrap();
    wait_for("the table to be folded", async || {
        (leads.projection().await.unwrap().position == end).then_some(())
    })
    .await;
    projector.stop().await;
}

pub(crate) async fn verified(world: &World) -> verify::Report {
    let config = world.config(&[Role::Projector]);
    let (leads, _) = Box::pin(open_store(&config.database)).await.unwrap();
    let (bus, blobs) = (world.nats.bus().await, open_blobs(&config).unwrap());
    Box::pin(verify::examine(&bus, &*leads, Some(&blobs), false))
        .await
        .unwrap()
}

/// Call → hash of its row.
type Hashes = BTreeMap<CallSid, [u8; 16]>;

async fn hashes(world: &World) -> Hashes {
    let config = world.config(&[Role::Projector]);
    let (leads, _) = Box::pin(open_store(&config.database)).await.unwrap();
    let page = leads.list(&LeadFilter::default(), 100, None).await.unwrap();
    let rows = page.leads.iter();
    rows.map(|lead| (lead.call_sid.clone(), lead.hash().unwrap().0))
        .collect()
}

/// What the rows of a world were when its stream ended at a position.
async fn hashes_at(world: &World, position: u64) -> Hashes {
    let config = world.config(&[Role::Projector]);
    let (leads, _) = Box::pin(open_store(&config.database)).await.unwrap();
    let mut then = Hashes::new();
    for call_sid in hashes(world).await.into_keys() {
        let state = leads
            .state(&call_sid)
            .await
            .unwrap()
            .unwrap()
            .at(At::Position(position));
        if !state.is_empty() {
            then.insert(call_sid, lead_view(&state).unwrap().hash().unwrap().0);
        }
    }
    then
}

async fn play(system: &System, from: &str, count: usize) -> Vec<String> {
    let mut calls = Vec::new();
    for _ in 0..count {
        let script = Script {
            from: from.to_owned(),
            ..Script::leaves(tone())
        };
        calls.push(system.play(&script).await.call_sid);
    }
    for call in &calls {
        system
            .lead_when(call, "processed and over", |lead| {
                lead["status"] == "processed" && lead["call"]["status"] == "completed"
            })
            .await;
    }
    calls
}

fn everything() -> export::Wanted {
    export::Wanted::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_system_is_restored_as_the_leads_of_its_moment() {
    let world = World::sqlite().signed().build().await;
    let system = world.start().await;
    play(&system, "+972501234567", 2).await;
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("backup");
    // Calls arrive while it is written.
    let all = everything();
    let (manifest, _) = tokio::join!(
        export_from(&world, &archive, &all),
        play(&system, "+972502222222", 3)
    );
    let manifest = manifest.unwrap();
    assert!(manifest.complete && manifest.recordings.missing.is_empty());
    assert_eq!(manifest.up_to, manifest.events, "nothing is left out");
    let then = hashes_at(&world, manifest.up_to).await;
    assert!(then.len() >= 2);

    for database in [Database::Sqlite, Database::Postgres] {
        let restored = World::on(database).build().await;
        let imported = import_into(&restored, &archive).await.unwrap();
        assert_eq!(imported.events, manifest.events);
        assert_eq!(imported.recordings, manifest.recordings.files);
        fold(&restored).await;
        assert_eq!(hashes(&restored).await, then, "{database:?}");
        let report = verified(&restored).await;
        assert!(report.is_clean(), "{:?}", report.findings);
        assert_eq!((report.events, report.rows), (manifest.events, then.len() as u64));
    }

    // The next backup into the same folder costs what is new, and brings the rest.
    let next = export_from(&world, &archive, &everything()).await.unwrap();
    assert_eq!(next.recordings.files, 5);
    let fresh = export_from(&world, &folder.path().join("fresh"), &everything())
        .await
        .unwrap();
    assert_eq!((&next.sha256, next.events), (&fresh.sha256, fresh.events));
    let restored = World::sqlite().build().await;
    import_into(&restored, &archive).await.unwrap();
    fold(&restored).await;
    assert_eq!(hashes(&restored).await, hashes(&world).await);

    // The restored system works: what is done is not done again, and new calls are taken.
    let again = restored.start().await;
    play(&again, "+972503333333", 1).await;
    let events = again.stack.bus.stream_state().await.unwrap().messages;
    assert_eq!(events, next.events + 7, "only the new call has new events");
    again.stop().await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_and_an_import_that_were_broken_off_go_on() {
    let world = World::sqlite().build().await;
    let system = world.start().await;
    play(&system, "+972501234567", 3).await;
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("a");
    let whole = export_from(&world, &archive, &everything()).await.unwrap();
    assert_eq!(whole.events, 21);

    // As a process leaves it that was killed while it wrote: no end, half a line, a manifest that says so.
    let events = archive.join("events.ndjson");
    let text = std::fs::read(&events).unwrap();
    let fifth = text
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .nth(4)
        .unwrap()
        .0;
    std::fs::write(&events, &text[..fifth + 200]).unwrap();
    let begun = Manifest {
        complete: false,
        sha256: String::new(),
        ..whole.clone()
    };
    begun.write(&Archive::at(&archive)).unwrap();
    let error = import_into(&World::sqlite().build().await, &archive)
        .await
        .unwrap_err();
    assert!(error.contains("run it again"), "{error}");
    let continued = export_from(&world, &archive, &everything()).await.unwrap();
    assert_eq!(
        (continued.sha256, continued.events, continued.recordings),
        (whole.sha256.clone(), 21, whole.recordings.clone())
    );
    assert_eq!(std::fs::read(&events).unwrap(), text);

    // An import that came as far as the ninth event.
    let target = World::sqlite().build().await;
    let bus = target.nats.bus().await;
    let mut lines = Archive::at(&archive).lines().unwrap();
    for _ in 0..9 {
        let line = lines.next().unwrap().unwrap();
        let published = bus
            .publish_raw(&line.message, std::time::Duration::from_secs(10))
            .await;
        assert!(matches!(published.unwrap(), Published::Recorded { .. }));
    }
    let rest = import_into(&target, &archive).await.unwrap();
    assert_eq!((rest.events, rest.were_there, rest.recordings), (12, 9, 3));
    let nothing = import_into(&target, &archive).await.unwrap();
    assert_eq!(
        (nothing.events, nothing.were_there, nothing.recordings),
        (0, 21, 0),
        "a second import changes nothing"
    );
    fold(&target).await;
    assert_eq!(hashes(&target).await, hashes(&world).await);
    // Byte by byte what it was: subject, our headers, payload.
    let (from, to) = (all_events(&world.nats.bus().await).await, all_events(&bus).await);
    for (from, to) in from.iter().zip(&to) {
        assert_eq!((from.subject(), &from.payload), (to.subject(), &to.payload));
        for (name, value) in from.headers() {
            assert_eq!(to.header(name), Some(value), "{name}");
        }
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_was_damaged_and_a_stream_of_others_are_refused() {
    let world = World::sqlite().build().await;
    let system = world.start().await;
    let calls = play(&system, "+972501234567", 1).await;
    system.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("a");
    export_from(&world, &archive, &everything()).await.unwrap();
    let events = archive.join("events.ndjson");
    let text = std::fs::read(&events).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
    let (recording, audio) = {
        let mut files = std::fs::read_dir(archive.join("recordings").join(&calls[0])).unwrap();
        let path = files.next().unwrap().unwrap().path();
        let audio = std::fs::read(&path).unwrap();
        (path, audio)
    };
    let target = World::sqlite().build().await;
    let mut flipped = text.clone();
    flipped[text.len() / 2] ^= 1;
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    let mut other_audio = audio.clone();
    other_audio[100] ^= 1;
    type Damage<'a> = (&'a str, Vec<u8>, Option<Vec<u8>>);
    let damages: Vec<Damage<'_>> = vec![
        ("its checksum says", flipped, Some(audio.clone())),
        (
            "is not the file that the manifest describes",
            lines[1..].concat(),
            Some(audio.clone()),
        ),
        (
            "is not the file that the manifest describes",
            swapped.concat(),
            Some(audio.clone()),
        ),
        ("is cut off", text[..text.len() - 9].to_vec(), Some(audio.clone())),
        ("is not what its event says", text.clone(), Some(other_audio)),
        ("could not read a recording", text.clone(), None),
    ];
    for (expected, events_then, audio_then) in damages {
        std::fs::write(&events, events_then).unwrap();
        match audio_then {
            Some(audio) => std::fs::write(&recording, audio).unwrap(),
            None => std::fs::remove_file(&recording).unwrap(),
        }
        let error = import_into(&target, &archive).await.unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains("+972"), "{error}");
    }
    std::fs::write(&events, &text).unwrap();
    std::fs::write(&recording, &audio).unwrap();
    let state = target.nats.bus().await.stream_state().await.unwrap();
    assert_eq!(
        state.messages, 0,
        "nothing is written of an archive that is not whole"
    );

    // A stream that has something of its own, and one whose event of the same name is another one.
    let system = target.start().await;
    play(&system, "+972509999999", 1).await;
    system.stop().await;
    let error = import_into(&target, &archive).await.unwrap_err();
    assert!(error.contains("7 events that are not in the archive"), "{error}");
    let twisted = World::sqlite().build().await;
    let bus: Bus = twisted.nats.bus().await;
    let mut first = Archive::at(&archive).lines().unwrap().next().unwrap().unwrap();
    first.message.payload = bytes::Bytes::from_static(b"another one");
    bus.publish_raw(&first.message, std::time::Duration::from_secs(10))
        .await
        .unwrap();
    let error = import_into(&twisted, &archive).await.unwrap_err();
    assert!(
        error.contains("at position 1 of the stream is not the one"),
        "{error}"
    );

    // An export of something else does not mix with what is there.
    let error = export_from(&target, &archive, &everything()).await.unwrap_err();
    assert!(error.contains("archive of something else"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_persons_export_holds_everything_of_them_and_nothing_of_others() {
    let world = World::sqlite().build().await;
    let system = world.start().await;
    let mine = play(&system, "+972501234567", 2).await;
    let others = play(&system, "+972521234567", 1).await;
    let folder = tempfile::tempdir().unwrap();
    let of = |phone: &str| export::Wanted {
        phone: Some(phone.to_owned()),
        ..export::Wanted::default()
    };
    let archive = folder.path().join("person");
    // As a person writes it, and as Twilio does.
    for (name, phone) in [("national", "050-1234567"), ("person", "+972501234567")] {
        let manifest = export_from(&world, &folder.path().join(name), &of(phone))
            .await
            .unwrap();
        assert_eq!((manifest.events, manifest.recordings.files), (14, 2));
    }
    let text = std::fs::read_to_string(archive.join("events.ndjson")).unwrap();
    assert!(mine.iter().all(|call| text.contains(call)) && text.contains("+972501234567"));
    assert!(others.iter().all(|call| !text.contains(call)) && !text.contains("+972521234567"));
    assert!(!archive.join("recordings").join(&others[0]).exists());
    let error = export_from(&world, &folder.path().join("two"), &of("1234567"))
        .await
        .unwrap_err();
    assert!(error.contains("several callers"), "{error}");
    let nobody = export_from(&world, &folder.path().join("nobody"), &of("+15550000000"))
        .await
        .unwrap();
    assert_eq!(nobody.events, 0);
    // A period: calls that began in it.
    let until = export::Wanted {
        until: Some(UnixMillis(0)),
        ..export::Wanted::default()
    };
    let none = export_from(&world, &folder.path().join("none"), &until)
        .await
        .unwrap();
    assert_eq!(none.events, 0);

    // It is an archive like any other: its leads come back the same.
    let restored = World::sqlite().build().await;
    import_into(&restored, &archive).await.unwrap();
    fold(&restored).await;
    let all = hashes(&world).await;
    let expected: Hashes = mine
        .iter()
        .map(|call| CallSid::parse(call).unwrap())
        .map(|call| (call.clone(), all[&call]))
        .collect();
    assert_eq!(hashes(&restored).await, expected);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_call_stays_erased_whichever_backup_is_imported() {
    let world = World::sqlite().build().await;
    let system = world.start().await;
    let calls = play(&system, "+972501234567", 2).await;
    system.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let (older, continued) = (folder.path().join("older"), folder.path().join("continued"));
    export_from(&world, &older, &everything()).await.unwrap();
    export_from(&world, &continued, &everything()).await.unwrap();
    let gone = CallSid::parse(&calls[0]).unwrap();
    let erased = |call: &CallSid| {
        let event = CallErased {
            by: "a test".to_owned(),
            why: ErasureReason::Request,
        };
        NewEvent::new(call.clone(), Key::single(), UnixMillis(1_800_000_000_000), event)
    };
    let bus = world.nats.bus().await;
    publish(&bus, &erased(&gone)).await;
    let manifest = export_from(&world, &continued, &everything()).await.unwrap();
    assert_eq!(manifest.events, 15, "what was exported before is still in it");

    // The archive says so itself.
    let target = World::sqlite().build().await;
    let imported = import_into(&target, &continued).await.unwrap();
    assert_eq!((imported.events, imported.erased, imported.recordings), (8, 7, 1));
    // The installation says so: its tombstones came first.
    let warned = World::sqlite().build().await;
    publish(&warned.nats.bus().await, &erased(&gone)).await;
    let imported = import_into(&warned, &older).await.unwrap();
    assert_eq!((imported.events, imported.erased, imported.recordings), (7, 7, 1));
    for world in [target, warned] {
        assert!(!world.path("recordings").join(&calls[0]).exists());
        for event in all_events(&world.nats.bus().await).await {
            assert!(
                !event.subject().contains(gone.as_str()) || event.subject().contains("call_erased"),
                "{}",
                event.subject()
            );
        }
        // And a second time.
        let again = import_into(&world, &older).await.unwrap();
        assert_eq!((again.events, again.were_there, again.erased), (0, 7, 7));
    }
}
