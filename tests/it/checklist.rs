//! The list that the system was first asked to pass, word for word.

use crate::harness::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_original_check_list_passes() {
    let world = World::sqlite().build().await;
    let system = world.start().await;

    // curl -X POST http://127.0.0.1:5000/webhook/twilio/voice -d "CallSid=CA_test&From=+1555&To=+1555"
    let voice = system
        .post("/webhook/twilio/voice", "CallSid=CA_test&From=+1555&To=+1555")
        .await;
    assert_eq!(voice.status(), 200);
    assert!(
        voice.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/xml")
    );
    let twiml = voice.text().await.unwrap();
    assert!(
        twiml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"),
        "{twiml}"
    );
    for part in [
        "<Response>",
        "<Say ",
        "language=\"he-IL\"",
        "<Record ",
        "recordingStatusCallbackEvent=\"in-progress completed absent\"",
        "<Hangup/>",
    ] {
        assert!(twiml.contains(part), "{part} in {twiml}");
    }

    // curl -X POST http://127.0.0.1:5000/webhook/twilio/recording_done
    //      -d "CallSid=CA_test&RecordingUrl=https://api.twilio.com/recordings/abc123"
    let done = "CallSid=CA_test&RecordingUrl=https://api.twilio.com/recordings/abc123";
    let done = system.post("/webhook/twilio/recording_done", done).await;
    // At once: what becomes of the recording is for the card.
    assert_eq!(done.status(), 200);

    // No account protects this address and no recording is behind it; where there is no network it is not even reached.
    // Whichever it is, the card says it.
    let lead = system
        .lead_when("CA_test", "told what became of the recording", |lead| {
            lead["stages"]["download"]["text"].is_string()
        })
        .await;
    // A space where `curl -d` sends a plus: a number all the same.
    assert_eq!(lead["phone"], "+1555");
    assert_eq!(lead["to"], "+1555");
    assert_eq!(lead["recordings"][0]["recording_sid"], "abc123");
    let download = &lead["stages"]["download"];
    match download["class"].as_str().unwrap() {
        "not_yet" => assert_eq!(download["state"], "waiting", "{download}"),
        class => {
            assert!(
                [
                    "network",
                    "timeout",
                    "credentials",
                    "not_found",
                    "refused",
                    "invalid",
                    "unavailable"
                ]
                .contains(&class),
                "{download}"
            );
            assert!(
                ["retrying", "failed"].contains(&download["state"].as_str().unwrap()),
                "{download}"
            );
            assert!(
                download["attempt"].as_u64().unwrap() >= 1 && download["attempts_max"].as_u64().unwrap() >= 1,
                "{download}"
            );
        }
    }
    assert!(!download["text"].as_str().unwrap().is_empty());
    assert!(["recorded", "failed"].contains(&lead["status"].as_str().unwrap()));
    assert!(
        system
            .story("CA_test")
            .await
            .iter()
            .any(|event| event["kind"] == "stage_failed")
    );
    system.stop().await;
}
