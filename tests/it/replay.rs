//! The stream is the truth: a lead table that was deleted is folded again, row by row the same, in either database.

use std::collections::BTreeMap;

use callfold::simulate::{HangUp, Script};
use callfold::stack::{Role, open_store};
use callfold_kit::testing::wait_for;
use callfold_store::LeadFilter;

use crate::harness::{Database, World, silence, tone};

/// Call → hash of its row and position of its last event.
type Rows = BTreeMap<String, ([u8; 16], u64)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_table_is_folded_again_and_is_the_same_in_both_databases() {
    let world = World::sqlite()
        .signed()
        .with("CALLFOLD_MISSING_AFTER_SECS", "1")
        .with("CALLFOLD_RETRY_ATTEMPTS", "2")
        .build()
        .await;
    let system = world.start().await;
    // Every way a call can go: a message, one sent three times, one whose media is late, silence, nothing, and one whose
    // recording is no recording.
    let broken = {
        let mut message = tone();
        message.audio = "<html>not found</html>".into();
        message
    };
    let scripts = [
        (Script::leaves(tone()), "processed"),
        (
            Script {
                repeat: 3,
                from: "anonymous".to_owned(),
                ..Script::leaves(tone())
            },
            "processed",
        ),
        (
            Script {
                media_not_yet: 1,
                ..Script::leaves(tone())
            },
            "processed",
        ),
        (Script::leaves(silence()), "no_message"),
        (
            Script {
                hang_up: HangUp::InGreeting,
                ..Script::leaves(tone())
            },
            "no_message",
        ),
        (Script::leaves(broken), "failed"),
    ];
    for (script, end) in &scripts {
        let played = system.play(script).await;
        system.lead_at(&played.call_sid, end).await;
    }
    system.stop().await;
    let (live, identity, end) = rows(&world, &BTreeMap::new()).await;
    assert_eq!(live.len(), scripts.len());

    let other_file = world.path("rebuilt.db");
    for database_url in [
        format!("sqlite://{}", other_file.display()),
        crate::harness::fresh_postgres().await,
    ] {
        let others: BTreeMap<String, String> = [("DATABASE_URL".to_owned(), database_url)].into();
        let config = world.config_with(&[Role::Projector], &others);
        let projector = world.start_with(&config).await;
        let (leads, _) = Box::pin(open_store(&config.database)).await.unwrap();
        wait_for("the table to be folded", async || {
            (leads.projection().await.unwrap().position == end).then_some(())
        })
        .await;
        projector.stop().await;
        let (rebuilt, rebuilt_identity, _) = rows(&world, &others).await;
        assert_eq!(rebuilt_identity, identity);
        assert_eq!(rebuilt, live);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_live_in_postgres_is_the_same_when_it_is_folded_into_sqlite() {
    let world = World::on(Database::Postgres).signed().build().await;
    let system = world.start().await;
    for _ in 0..3 {
        let played = system.play(&Script::leaves(tone())).await;
        system.lead_at(&played.call_sid, "processed").await;
    }
    system.stop().await;
    let (live, _, end) = rows(&world, &BTreeMap::new()).await;
    let others: BTreeMap<String, String> = [(
        "DATABASE_URL".to_owned(),
        format!("sqlite://{}", world.path("other.db").display()),
    )]
    .into();
    let config = world.config_with(&[Role::Projector], &others);
    let projector = world.start_with(&config).await;
    let (leads, _) = Box::pin(open_store(&config.database)).await.unwrap();
    wait_for("the table to be folded", async || {
        (leads.projection().await.unwrap().position == end).then_some(())
    })
    .await;
    projector.stop().await;
    assert_eq!(rows(&world, &others).await.0, live);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_another_stream_is_refused_and_the_reason_says_what_to_do() {
    let world = World::sqlite().build().await;
    let system = world.start().await;
    let played = system.play(&Script::leaves(tone())).await;
    system.lead_at(&played.call_sid, "processed").await;
    system.stop().await;
    let stranger = World::sqlite()
        .with(
            "DATABASE_URL",
            format!("sqlite://{}", world.path("leads.db").display()),
        )
        .build()
        .await;
    let config = stranger.config(&[Role::Projector]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let life = callfold_kit::Lifecycle::new();
    let bus = stranger.nats.config();
    let starting = Box::pin(callfold::stack::Stack::start(
        &config, &bus, listener, &life, false,
    ));
    let _stack = starting.await.unwrap();
    let error = life
        .stopped(std::time::Duration::from_secs(20))
        .await
        .unwrap_err();
    let text = callfold_kit::chain(&error);
    assert!(
        text.contains("folded from stream") && text.contains("empty database"),
        "{text}"
    );
}

/// All rows of a table, the identity of its stream, and how far it is.
async fn rows(world: &World, others: &BTreeMap<String, String>) -> (Rows, Option<String>, u64) {
    let config = world.config_with(&[Role::Projector], others);
    let (leads, _) = Box::pin(open_store(&config.database)).await.unwrap();
    let projection = leads.projection().await.unwrap();
    let page = leads.list(&LeadFilter::default(), 100, None).await.unwrap();
    assert!(page.next_cursor.is_none());
    let rows = page
        .leads
        .iter()
        .map(|lead| (lead.call_sid.to_string(), (lead.hash().unwrap().0, lead.position)))
        .collect();
    (rows, projection.identity, projection.position)
}
