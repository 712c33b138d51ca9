//! A call that is to be forgotten: by the API, with what comes late, at Twilio, in both databases; and calls that no
//! webhook told of.

use callfold::simulate::Script;
use callfold_kit::testing::{TestServer, all_events, wait_for};
use callfold_twilio::testing::{Call, Recording, RestDouble};
use serde_json::Value;

use crate::harness::{ACCOUNT_SID, API_TOKEN, AUTH_TOKEN, Database, System, World, tone};

async fn delete(system: &System, call_sid: &str) -> (u16, Value) {
    let url = system.base.join(&format!("/api/v1/leads/{call_sid}")).unwrap();
    let asked = system.http.delete(url).bearer_auth(API_TOKEN);
    let answer = asked.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The subjects of a call that are in the stream.
async fn subjects(system: &System, call_sid: &str) -> Vec<String> {
    let events = all_events(&system.stack.bus).await;
    let of = events.iter().filter(|event| event.subject().contains(call_sid));
    of.map(|event| event.subject().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_call_is_gone_and_stays_gone_on_sqlite() {
    an_erased_call_is_gone_and_stays_gone(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_call_is_gone_and_stays_gone_on_postgres() {
    an_erased_call_is_gone_and_stays_gone(Database::Postgres).await;
}

async fn an_erased_call_is_gone_and_stays_gone(database: Database) {
    let twilio = RestDouble::new(ACCOUNT_SID, AUTH_TOKEN, 10);
    let server = TestServer::start(twilio.router()).await;
    let world = World::on(database)
        .signed()
        .with("TWILIO_API_URL", server.url())
        .build()
        .await;
    let system = world.start().await;
    let gone = system.play(&Script::leaves(tone())).await;
    let stays = system
        .play(&Script {
            from: "+972509999999".to_owned(),
            ..Script::leaves(tone())
        })
        .await;
    for played in [&gone, &stays] {
        system.lead_at(&played.call_sid, "processed").await;
        twilio.recording(Recording {
            sid: played.recording_sid.clone().unwrap(),
            call_sid: played.call_sid.clone(),
            status: "completed".to_owned(),
            started_ms: 0,
            duration_s: 3,
        });
    }
    assert_eq!(delete(&system, "CAnobody").await.0, 404);
    let (status, answer) = delete(&system, &gone.call_sid).await;
    assert_eq!((status, &answer["state"]), (202, &"erasing".into()));

    let tombstone = format!("calls.{}.call_erased.new.0", gone.call_sid);
    let note = format!("calls.{}.erase_done.new.0", gone.call_sid);
    wait_for("nothing but the tombstone", async || {
        (subjects(&system, &gone.call_sid).await == [tombstone.clone(), note.clone()]).then_some(())
    })
    .await;
    let lead = format!("/api/v1/leads/{}", gone.call_sid);
    wait_for("the lead to be gone", async || {
        (system.get(&lead).await.status() == 410).then_some(())
    })
    .await;
    assert_eq!(delete(&system, &gone.call_sid).await.1["state"], "erased");
    let list: Value = system.get("/api/v1/leads").await.json().await.unwrap();
    assert_eq!(list["leads"].as_array().unwrap().len(), 1);
    assert_eq!(twilio.recording_sids(), [stays.recording_sid.clone().unwrap()]);
    assert!(!world.path("recordings").join(&gone.call_sid).exists());
    assert!(world.path("recordings").join(&stays.call_sid).exists());
    let story = system.get(&format!("{lead}/events")).await.status();
    assert!(story == 200 || story == 404 || story == 410, "{story}");
    system.lead_at(&stays.call_sid, "processed").await;

    // A late event, as one who looks into Twilio's lists publishes it: it is taken, and nothing stays.
    let before = system.stack.bus.stream_state().await.unwrap().last;
    let status = format!(
        "CallSid={}&CallStatus=completed&From=%2B972501234567",
        gone.call_sid
    );
    let late = callfold_schema::NewEvent::new(
        callfold_schema::CallSid::parse(&gone.call_sid).unwrap(),
        callfold_schema::Key::single().reconciled(),
        callfold_schema::UnixMillis(1),
        callfold_schema::event::CallEnded {
            status: "completed".to_owned(),
            duration_s: None,
            ended_at: None,
            idempotency_token: None,
            form: vec![("body".to_owned(), status)],
        },
    );
    callfold_kit::testing::publish(&system.stack.bus, &late).await;
    wait_for("the late event to go", async || {
        (subjects(&system, &gone.call_sid).await.len() == 2).then_some(())
    })
    .await;
    assert!(system.stack.bus.get(before + 1).await.unwrap().is_none());
    assert_eq!(system.get(&lead).await.status(), 410);
    system.stop().await;

    // A lead table that is folded anew knows nothing either.
    if database == Database::Sqlite {
        for name in ["leads.db", "leads.db-wal", "leads.db-shm"] {
            let path = world.path(name);
            if path.exists() {
                std::fs::remove_file(path).unwrap();
            }
        }
        let system = world.start().await;
        system.lead_at(&stays.call_sid, "processed").await;
        assert_eq!(system.get(&lead).await.status(), 410);
        system.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_no_webhook_told_of_gets_its_card_from_twilios_lists() {
    let twilio = RestDouble::new(ACCOUNT_SID, AUTH_TOKEN, 1);
    let server = TestServer::start(twilio.router()).await;
    let to = "+97239999999";
    twilio.number(to, "https://calls.example.com/webhook/twilio/voice");
    let now = callfold_kit::Clock::now(&callfold_kit::SystemClock).0;
    let began = now - 3_600_000;
    twilio.call(Call {
        sid: "CAlost".to_owned(),
        from: "+972501234567".to_owned(),
        to: to.to_owned(),
        direction: "inbound".to_owned(),
        status: "completed".to_owned(),
        started_ms: began,
        duration_s: 9,
    });
    let world = World::sqlite()
        .signed()
        .with("TWILIO_API_URL", server.url())
        .build()
        .await;
    let system = world.start().await;
    let lead = system.lead_at("CAlost", "no_message").await;
    assert_eq!(
        (&lead["phone"], &lead["to"]),
        (&"+972501234567".into(), &to.into())
    );
    assert_eq!(lead["call"]["duration_s"], 9);
    // It stands at the time of the call, not of the look. RFC 3339 in UTC compares as text.
    let moment = |field: &str| lead[field].as_str().unwrap().to_owned();
    assert!(moment("created_at") < moment("updated_at"));
    system.stop().await;
}
