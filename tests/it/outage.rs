//! One part is cut at a time.

use std::time::Duration;

use callfold::simulate::{Account, Callback, MediaHost, Script, What};
use callfold_kit::Lifecycle;
use callfold_kit::testing::wait_for;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::harness::{ACCOUNT_SID, Gate, GatedSpeech, ModelDouble, Reply, Spoken, World, tone};

/// Twilio gives a request up after this time; a caller hears nothing for as long.
const TWILIO_PATIENCE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_hear_the_greeting_while_the_broker_is_away_and_what_was_recorded_goes_on() {
    let gate = Gate::closed();
    let world = World::sqlite()
        .engine(GatedSpeech {
            speech: Spoken(Spoken::TEXT),
            gate: gate.clone(),
        })
        .build()
        .await;
    let system = world.start().await;
    let before = system.play(&Script::leaves(tone())).await;
    gate.began(1).await;

    world.nats.broker().kill_and_hold().await;
    wait_for("the gateway to notice", async || {
        (!system.stack.health.readiness().ready).then_some(())
    })
    .await;
    let voice = "CallSid=CA_unlucky&From=%2B972501112222&To=%2B97239999999";
    let answer = tokio::time::timeout(TWILIO_PATIENCE, system.post("/webhook/twilio/voice", voice))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("<Record "));
    // A callback is not taken when it cannot be kept, so that Twilio sends it again.
    let over = "CallSid=CA_unlucky&CallStatus=completed";
    let answer = tokio::time::timeout(TWILIO_PATIENCE, system.post("/webhook/twilio/status", over))
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    assert!(system.counter("callfold_webhook_events_lost_total") >= 2.0);
    let health = system
        .http
        .get(system.base.join("/readyz").unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(health.status(), 503);
    // The work that was in hand ends while nobody can be told of it.
    gate.open();

    world.nats.broker().resume().await;
    system.takes_calls().await;
    let after = system.play(&Script::leaves(tone())).await;
    for call in [&before, &after] {
        let lead = system.lead_at(&call.call_sid, "processed").await;
        assert_eq!(lead["transcript"], Spoken::TEXT);
        assert_eq!(lead["phone"], "+972501234567");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_arrive_while_the_broker_restarts_lose_nothing_that_was_answered() {
    let world = World::sqlite().signed().build().await;
    let system = world.start().await;
    let mut calls = JoinSet::new();
    for n in 0..12 {
        let script = Script {
            from: format!("+9725000000{n:02}"),
            ..Script::leaves(tone())
        };
        let player = system.player.clone();
        calls.spawn(async move { player.play(&script).await.unwrap() });
    }
    // Twice, while they are being taken.
    wait_for("the first webhooks", async || {
        (system.counter("callfold_webhooks_total") >= 3.0).then_some(())
    })
    .await;
    world.nats.broker().kill_and_restart().await;
    wait_for("a recording", async || {
        (system.counter("callfold_stage_jobs_total") >= 1.0).then_some(())
    })
    .await;
    world.nats.broker().kill_and_restart().await;
    let mut processed = 0;
    for played in calls.join_all().await {
        assert!(
            played
                .sent
                .iter()
                .all(|sent| sent.what != What::Voice || sent.status == Some(200)),
            "a caller always hears the greeting: {:?}",
            played.sent
        );
        let is_kept = |callback| {
            let mut sent = played.sent.iter();
            sent.any(|sent| sent.what == What::Callback(callback) && matches!(sent.status, Some(200 | 204)))
        };
        if is_kept(Callback::RecordingCompleted) {
            let lead = system.lead_at(&played.call_sid, "processed").await;
            assert_eq!(lead["transcript"], Spoken::TEXT);
            processed += 1;
        }
        if is_kept(Callback::CallCompleted) {
            system
                .lead_when(&played.call_sid, "over", |lead| {
                    lead["call"]["status"] == "completed"
                })
                .await;
        }
    }
    // The player tries again for 15 seconds, as Twilio does; the broker is away for less.
    assert_eq!(processed, 12);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_that_is_not_stored_yet_is_waited_for_and_not_counted() {
    let world = World::sqlite().signed().build().await;
    let system = world.start().await;
    let played = system
        .play(&Script {
            media_not_yet: 2,
            ..Script::leaves(tone())
        })
        .await;
    let lead = system.lead_at(&played.call_sid, "processed").await;
    assert!(
        lead["stages"]["download"]["attempt"].as_u64().unwrap_or(1) == 1,
        "{:#}",
        lead["stages"]
    );
    let told: Vec<_> = system
        .story(&played.call_sid)
        .await
        .into_iter()
        .filter(|event| event["kind"] == "stage_failed")
        .collect();
    assert_eq!(told.len(), 1, "said once");
    assert_eq!(told[0]["data"]["class"], "not_yet");
    assert!(told[0]["key"].as_str().unwrap().ends_with("-0-download-0"));
    assert_eq!(world.media.requests(), 3);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_media_host_that_is_down_is_tried_again_and_each_attempt_is_told() {
    // A port that was free a moment ago: nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let world = World::sqlite()
        .with("CALLFOLD_RECORDING_HOSTS", address.to_string())
        .with("CALLFOLD_RETRY_ATTEMPTS", "100")
        .build()
        .await;
    let system = world.start().await;
    let recording = "RE00000000000000000000000000000009";
    let url = format!("http://{address}/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/{recording}");
    system
        .post(
            "/webhook/twilio/voice",
            "CallSid=CA_patient&From=%2B972501234567&To=%2B97239999999",
        )
        .await;
    let ready =
        format!("CallSid=CA_patient&RecordingSid={recording}&RecordingStatus=completed&RecordingUrl={url}");
    assert_eq!(
        system
            .post("/webhook/twilio/recording_done", ready)
            .await
            .status(),
        200
    );
    let lead = system
        .lead_when("CA_patient", "tried twice", |lead| {
            lead["stages"]["download"]["attempt"].as_u64() >= Some(2)
        })
        .await;
    assert_eq!(lead["status"], "recorded");
    let download = &lead["stages"]["download"];
    assert_eq!(
        (&download["state"], &download["class"], &download["attempts_max"]),
        (&"retrying".into(), &"network".into(), &100.into())
    );
    assert!(download["next_attempt_at"].is_string());

    let account = Account {
        sid: ACCOUNT_SID.to_owned(),
        token: None,
    };
    let life = Lifecycle::new();
    let host = MediaHost::start(TcpListener::bind(address).await.unwrap(), account, &life).unwrap();
    let message = tone();
    host.keep(recording, message.audio, message.content_type, 0);
    let lead = system.lead_at("CA_patient", "processed").await;
    assert!(lead["stages"]["download"]["attempt"].as_u64() >= Some(3));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_from_a_host_that_is_not_allowed_is_never_fetched() {
    let world = World::sqlite()
        .with("CALLFOLD_RECORDING_HOSTS", "127.0.0.1:9")
        .build()
        .await;
    let system = world.start().await;
    let played = system.play(&Script::leaves(tone())).await;
    let lead = system.lead_at(&played.call_sid, "failed").await;
    let download = &lead["stages"]["download"];
    assert_eq!(
        (&download["state"], &download["class"]),
        (&"failed".into(), &"not_allowed".into())
    );
    assert!(
        download["text"]
            .as_str()
            .unwrap()
            .contains("CALLFOLD_RECORDING_HOSTS"),
        "{download}"
    );
    for stage in ["transcribe", "summarize"] {
        assert_eq!(lead["stages"][stage]["state"], "skipped");
    }
    assert_eq!(world.media.requests(), 0);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_is_down_leaves_the_summary_to_the_offline_one() {
    let model = ModelDouble::start(Reply::Refuses(503)).await;
    let world = World::sqlite()
        .with("OPENAI_API_KEY", "sk-of-a-test")
        .with("OPENAI_BASE_URL", &*model.base_url)
        .build()
        .await;
    let system = world.start().await;
    let played = system.play(&Script::leaves(tone())).await;
    let lead = system.lead_at(&played.call_sid, "processed").await;
    assert_eq!(lead["engines"]["summarize"], "extractive");
    assert!(!lead["summary_title"].as_str().unwrap().is_empty());
    let failed = &lead["failed_engines"][0];
    assert_eq!(
        (&failed["engine"], &failed["class"], &failed["stage"]),
        (&"openai".into(), &"unavailable".into(), &"summarize".into())
    );
    assert!(!model.asked().is_empty());
    // No attempt of the stage failed: the card never waits for a model.
    assert!(
        system
            .story(&played.call_sid)
            .await
            .iter()
            .all(|event| event["kind"] != "stage_failed")
    );
    system.stop().await;
}
