//! Settings of single numbers, through the whole system.

use callfold::simulate::Script;
use callfold_kit::testing::{all_records, wait_for};
use callfold_schema::{Event, EventKind};

use crate::harness::{System, World, tone};

const FIRST: &str = "+97239999999";
const SECOND: &str = "+97248888888";

fn call_to(number: &str) -> Script {
    Script {
        to: number.to_owned(),
        ..Script::leaves(tone())
    }
}

/// The state of the part that follows the file: (ready, reason).
fn part(system: &System) -> (bool, String) {
    let readiness = system.stack.health.readiness();
    assert!(readiness.ready, "calls are taken whatever is wrong with the file");
    let part = &readiness.parts["numbers"];
    (part.ready, part.reason.clone().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_number_change_without_a_restart() {
    let world = World::sqlite().signed().build().await;
    let system = world.start().await;
    let standard = system.play(&call_to(FIRST)).await;
    let path = world.path("numbers.toml");
    let file = |greeting: &str| format!("[numbers.\"{FIRST}\"]\ngreeting = \"{greeting}\"\n");
    let hears = async |greeting: &str| {
        wait_for("the greeting", async || {
            let played = system.play(&call_to(FIRST)).await;
            (played.heard[0] == greeting).then_some(played)
        })
        .await
    };

    // The file comes while the system runs.
    std::fs::write(&path, file("Welcome to the first.")).unwrap();
    let played = hears("Welcome to the first.").await;
    let other = system.play(&call_to(SECOND)).await;
    assert_eq!(other.heard, standard.heard);

    // A mistake: told, and not taken.
    std::fs::write(&path, file("Another").replace("greeting", "greting")).unwrap();
    let reason = wait_for("the mistake to be told", async || {
        let (is_ready, reason) = part(&system);
        (!is_ready).then_some(reason)
    })
    .await;
    assert_eq!(
        reason,
        "numbers.toml line 2, column 1: unknown key `greting`; did you mean `greeting`?; the settings read before \
         stay in force"
    );
    assert!(system.counter("callfold_numbers_mistakes") > 0.0);
    let during = system.play(&call_to(FIRST)).await;
    assert_eq!(during.heard[0], "Welcome to the first.");

    // Mended.
    std::fs::write(&path, file("Another greeting.")).unwrap();
    hears("Another greeting.").await;
    assert!(part(&system).0);
    assert_eq!(system.counter("callfold_numbers_mistakes"), 0.0);

    // The event says what the caller heard, and the call went its whole way.
    let lead = system.lead_at(&played.call_sid, "processed").await;
    assert_eq!(lead["to"], FIRST);
    let said = all_records(&system.stack.bus)
        .await
        .into_iter()
        .find_map(|record| {
            let is_this = record.envelope.subject.call_sid.as_str() == played.call_sid;
            match record.event {
                Event::CallStarted(started) if is_this => Some(started.greeting),
                _ => None,
            }
        });
    assert_eq!(said.as_deref(), Some("Welcome to the first."));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_takes_no_messages_greets_and_leaves_a_finished_lead() {
    // Nothing may wait for a deadline here: it is an hour away.
    let world = World::sqlite()
        .signed()
        .with("CALLFOLD_MISSING_AFTER_SECS", "3600")
        .build()
        .await;
    let file = format!("[numbers.\"{FIRST}\"]\ngreeting = \"We are closed.\"\nrecord = false\n");
    std::fs::write(world.path("numbers.toml"), file).unwrap();
    let system = world.start().await;
    assert_eq!(
        part(&system),
        (true, "numbers with settings of their own: 1".to_owned())
    );
    let played = system.play(&call_to(FIRST)).await;
    assert_eq!(
        (played.heard.as_slice(), &played.recording_sid),
        (&["We are closed.".to_owned()][..], &None)
    );
    let lead = system.lead_at(&played.call_sid, "no_message").await;
    assert_eq!(lead["missing"]["reason"], "not_recorded");
    assert_eq!(lead["call"]["status"], "completed");
    assert_eq!(
        (&lead["phone"], &lead["to"]),
        (&"+972501234567".into(), &FIRST.into())
    );
    for stage in ["download", "transcribe", "summarize"] {
        assert_eq!(lead["stages"][stage]["state"], "skipped", "{stage}");
    }
    let kinds: Vec<EventKind> = all_records(&system.stack.bus)
        .await
        .iter()
        .map(|record| record.envelope.subject.kind)
        .collect();
    assert_eq!(kinds, [EventKind::CallStarted, EventKind::CallEnded]);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_knows_the_call_finds_the_settings_of_its_number() {
    let world = World::sqlite().signed().build().await;
    let path = world.path("numbers.toml");
    let file = |prompt: &str| {
        format!(
            "[default]\nengines = [\"openai\"]\n[numbers.\"{FIRST}\"]\nengines = [\"whisper\"]\n\
             summary.prompt = \"{prompt}\"\n"
        )
    };
    std::fs::write(&path, file("one")).unwrap();
    let config = world.config(&callfold::stack::Role::ALL);
    let system = world.start_with(&config).await;
    let (numbers, bus) = (&config.numbers, &system.stack.bus);
    let sid = |text: &str| callfold_schema::CallSid::parse(text).unwrap();
    let first = sid(&system.play(&call_to(FIRST)).await.call_sid);
    let second = sid(&system.play(&call_to(SECOND)).await.call_sid);

    let settings = numbers.of_call(bus, &first).await.unwrap();
    assert_eq!(settings.engines.as_ref(), ["whisper"]);
    assert_eq!(settings.summary_prompt.as_deref(), Some("one"));
    let settings = numbers.of_call(bus, &second).await.unwrap();
    assert_eq!(settings.engines.as_ref(), ["openai"]);
    // It may have been the first number, which keeps its calls here.
    let settings = numbers.of_call(bus, &sid("CA_unknown")).await.unwrap();
    assert_eq!(settings.engines.as_ref(), ["whisper"]);
    // What is remembered is the number: a change of its settings holds at once.
    std::fs::write(&path, file("two")).unwrap();
    wait_for("the change", async || {
        let settings = numbers.of_call(bus, &first).await.unwrap();
        (settings.summary_prompt.as_deref() == Some("two")).then_some(())
    })
    .await;
    // The broker is away: what is known is known, and nothing is guessed about the rest.
    world.nats.broker().kill_and_hold().await;
    let settings = numbers.of_call(bus, &first).await.unwrap();
    assert_eq!(settings.engines.as_ref(), ["whisper"]);
    assert!(numbers.of_call(bus, &sid("CA_other")).await.is_err());
    world.nats.broker().resume().await;
    system.stop().await;
}
