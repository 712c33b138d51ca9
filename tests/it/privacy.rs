//! What is said on the telephone stays out of logs, failures and metrics.

use callfold::simulate::Script;
use url::Url;

use crate::harness::{AUTH_TOKEN, Logs, ModelDouble, Reply, Spoken, World, tone};

/// Words that no other test speaks, so that they can be looked for in the log of the whole process.
const SPOKEN: &str =
    "שלום, מדברת אביגיל רוזנצוויג מקריית טבעון. אני צריכה הצעת מחיר לריפוד ספה. הכתובת שלי הגפן שבע.";
/// A number that nobody else calls from.
const CALLER: &str = "+972538461973";
const OUR_NUMBER: &str = "+97237418529";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_numbers_nor_words_nor_addresses_nor_tokens_are_logged() {
    // A server that refuses and repeats the question in its answer.
    let model = ModelDouble::start(Reply::Refuses(500)).await;
    let world = World::sqlite()
        .signed()
        .engine(Spoken(SPOKEN))
        .with("OPENAI_API_KEY", "sk-this-key-is-not-for-logs")
        .with("OPENAI_BASE_URL", &*model.base_url)
        .with("CALLFOLD_RETRY_ATTEMPTS", "2")
        .build()
        .await;
    let system = world.start().await;
    let script = Script {
        from: CALLER.to_owned(),
        to: OUR_NUMBER.to_owned(),
        media_not_yet: 1,
        ..Script::leaves(tone())
    };
    let played = system.play(&script).await;
    let lead = system.lead_at(&played.call_sid, "processed").await;
    assert_eq!(lead["transcript"], SPOKEN);
    // Things that go wrong say so without saying what they were about: a page called audio, a forged request, a form
    // that is none, a wrong token, a search.
    let mut broken = tone();
    broken.audio = "<html>אביגיל</html>".into();
    let failed = system
        .play(&Script {
            message: broken,
            ..script.clone()
        })
        .await;
    system.lead_at(&failed.call_sid, "failed").await;
    let number = CALLER.trim_start_matches('+');
    system
        .post(
            "/webhook/twilio/voice",
            format!("CallSid=CA_forged&From=%2B{number}"),
        )
        .await;
    system
        .post("/webhook/twilio/voice", format!("From=%2B{number}&%zz"))
        .await;
    system
        .get(&format!("/api/v1/leads?phone=%2B{number}&q=אביגיל"))
        .await;
    system.get(&format!("/api/v1/leads/{number}")).await;
    let wrong = system
        .http
        .get(system.base.join("/api/v1/leads").unwrap())
        .bearer_auth("a-wrong-token-1234")
        .send();
    assert_eq!(wrong.await.unwrap().status(), 401);
    let link = system.stack.api.as_ref().unwrap().issue_sign_in_link();
    let link_token = link.split_once("token=").unwrap().1.to_owned();
    system
        .http
        .post(system.base.join("/signin").unwrap())
        .form(&[("token", &link_token)])
        .send()
        .await
        .unwrap();
    let story = system.story(&failed.call_sid).await;
    let metrics = system.stack.metrics.render();
    let (call, recording) = (played.call_sid.clone(), played.recording_sid.clone().unwrap());
    system.stop().await;

    let log = Logs::text();
    assert!(
        log.contains(&call) && log.contains(&recording),
        "the way of a call can be followed by its identifiers"
    );
    let failures: String = story
        .iter()
        .filter(|event| event["kind"] == "stage_failed")
        .map(|event| event["data"]["text"].as_str().unwrap())
        .collect();
    assert!(!failures.is_empty());
    let broker = Url::parse(&world.nats.url()).unwrap();
    let media_path = world.media.recording_url(&recording);
    let secrets = [
        ("the caller's number", number),
        ("the end of the caller's number", &number[3..]),
        ("our number", OUR_NUMBER.trim_start_matches('+')),
        ("the caller's name", "אביגיל"),
        ("the transcript", "ריפוד"),
        ("the address of the media", media_path.as_str()),
        ("the path of the media", "/2010-04-01/Accounts/"),
        ("the auth token", AUTH_TOKEN),
        ("the API token", crate::harness::API_TOKEN),
        ("a wrong API token", "a-wrong-token-1234"),
        ("the model's key", "sk-this-key-is-not-for-logs"),
        ("the broker's password", broker.password().unwrap()),
        ("a sign-in link", link_token.as_str()),
    ];
    for (text, name) in [(&log, "log"), (&failures, "failure"), (&metrics, "metric")] {
        for (what, secret) in secrets {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(
                line.is_none(),
                "{what} is in a {name}: {}",
                line.unwrap_or_default()
            );
        }
    }
}
