//! The stream and the consumers are created, verified, and refused with a reason.

use std::process::{Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use callfold_kit::broker::find_server;
use callfold_kit::bus::{Bus, BusConfig, BusError};
use callfold_kit::chain;
use callfold_kit::config::Environment;
use callfold_kit::testing::{TestNats, wait_for};
use callfold_schema::Stage;

use crate::support::{Running, Scripted, policy, raw};

#[tokio::test]
async fn the_stream_is_created_once_and_verified_by_whoever_comes_next() {
    let nats = TestNats::start().await;
    // Two that start at the same moment agree on one stream.
    let (first, second) = (nats.config(), nats.config());
    let (first, second) = tokio::join!(Bus::connect(&first), Bus::connect(&second));
    let identity = first.unwrap().stream_identity().to_owned();
    assert_eq!(second.unwrap().stream_identity(), identity);
    assert_eq!(identity.len(), 32);
    assert_eq!(nats.bus().await.stream_identity(), identity);

    let config = raw(&nats)
        .await
        .get_stream("CALLS")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    assert_eq!(config.subjects, ["calls.>"]);
    assert_eq!(config.discard, DiscardPolicy::New);
    assert_eq!(config.max_age, Duration::ZERO);
    assert_eq!((config.max_messages, config.max_messages_per_subject), (-1, -1));
    assert_eq!(config.max_bytes, 1 << 30);
    assert_eq!(config.num_replicas, 1);
    assert!(config.allow_direct);
    assert_eq!(config.metadata["callfold_identity"], identity);
}

#[tokio::test]
async fn a_stream_that_differs_is_refused_with_every_difference_by_name() {
    let nats = TestNats::start().await;
    let foreign = Config {
        name: "CALLS".to_owned(),
        subjects: vec!["calls.>".to_owned()],
        max_age: Duration::from_secs(3_600),
        discard: DiscardPolicy::Old,
        max_bytes: 1 << 30,
        ..Config::default()
    };
    raw(&nats).await.create_stream(foreign).await.unwrap();
    let error = Bus::connect(&nats.config()).await.err().unwrap();
    let BusError::StreamDiffers(differences) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        differences,
        &[
            "discard is Old, not New",
            "max_age is 3600s, not 0ns",
            "allow_direct is false, not true"
        ]
    );
    assert!(error.to_string().contains("nats stream edit CALLS"), "{error}");
    // The setting has to be at least the bound that the stream has.
    let other = nats.config();
    let error = Bus::connect(&BusConfig {
        stream_bytes_max: 1 << 29,
        ..other
    })
    .await
    .err()
    .unwrap();
    assert!(
        error
            .to_string()
            .contains("max_bytes is 1073741824: CALLFOLD_STREAM_BYTES_MAX must be at least what the stream has, not 536870912"),
        "{error}"
    );
}

#[tokio::test]
async fn a_larger_bound_is_set_at_the_start_and_a_smaller_one_is_refused() {
    let nats = TestNats::start().await;
    let identity = nats.bus().await.stream_identity().to_owned();
    let context = raw(&nats).await;
    let config = async || {
        let stream = context.get_stream("CALLS").await.unwrap();
        stream.cached_info().config.clone()
    };
    let before = config().await;
    let bound = |stream_bytes_max| BusConfig {
        stream_bytes_max,
        ..nats.config()
    };
    let larger = Bus::connect(&bound(1 << 31)).await.unwrap();
    assert_eq!(larger.stream_identity(), identity);
    let after = config().await;
    assert_eq!(after.max_bytes, 1 << 31);
    assert_eq!((after.subjects, after.max_age), (before.subjects, before.max_age));
    // Another difference is refused, and then nothing is changed.
    let mut foreign = config().await;
    foreign.discard = DiscardPolicy::Old;
    context.update_stream(&foreign).await.unwrap();
    let error = Bus::connect(&bound(1 << 32)).await.err().unwrap();
    let BusError::StreamDiffers(differences) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(differences, &["discard is Old, not New"]);
    assert_eq!(config().await.max_bytes, 1 << 31);
}

#[tokio::test]
async fn a_stream_without_an_identity_is_not_ours_and_what_an_operator_adds_is_his() {
    let nats = TestNats::start().await;
    drop(nats.bus().await);
    let context = raw(&nats).await;
    let mut config = context
        .get_stream("CALLS")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.description = Some("ours, said the operator".to_owned());
    config.metadata.insert("team".to_owned(), "leads".to_owned());
    context.update_stream(&config).await.unwrap();
    drop(nats.bus().await);

    config.metadata.clear();
    context.update_stream(&config).await.unwrap();
    let error = Bus::connect(&nats.config()).await.err().unwrap();
    assert!(matches!(error, BusError::NotOurs), "{error:?}");
    assert!(
        error.to_string().contains("--metadata callfold_identity="),
        "{error}"
    );
}

#[tokio::test]
async fn a_consumer_that_differs_is_refused_with_the_difference() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let foreign = pull::Config {
        durable_name: Some("download_new".to_owned()),
        filter_subject: "calls.*.recording_ready.new.*".to_owned(),
        max_deliver: 5,
        ack_wait: Duration::from_secs(30),
        max_ack_pending: 1_000_000,
        ..pull::Config::default()
    };
    raw(&nats)
        .await
        .get_stream("CALLS")
        .await
        .unwrap()
        .create_consumer(foreign)
        .await
        .unwrap();
    let running = Running::start(&bus, &Scripted::done(Stage::Download), policy(1));
    let error = running.ended().await.unwrap_err();
    let text = chain(&*error);
    assert!(text.contains("consumer download_new differs"), "{text}");
    assert!(text.contains("max_deliver is 5, not -1"), "{text}");
    assert!(text.contains("nats consumer rm CALLS download_new"), "{text}");
}

#[tokio::test]
async fn a_broker_that_takes_too_small_messages_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(find_server(&Environment).unwrap())
        .args(["-a", "127.0.0.1", "-p", "-1", "-js", "-sd"])
        .arg(folder.path())
        .arg("--ports_file_dir")
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = wait_for("the server's port", async || {
        let ports = std::fs::read_dir(folder.path()).ok()?.flatten().find(|file| {
            file.path()
                .extension()
                .is_some_and(|extension| extension == "ports")
        })?;
        let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(ports.path()).ok()?).ok()?;
        Some(ports["nats"][0].as_str()?.to_owned())
    })
    .await;
    let error = Bus::connect(&BusConfig::new(url)).await.err();
    server.kill().unwrap();
    server.wait().unwrap();
    let Some(BusError::MaxPayload { allowed: 1_048_576 }) = error else {
        panic!("{error:?}")
    };
}

#[tokio::test]
async fn nothing_that_is_said_about_a_connection_holds_its_password() {
    let config = BusConfig {
        connect_timeout: Duration::from_millis(300),
        ..BusConfig::new("nats://someone:s3cr3t%2B@127.0.0.1:1")
    };
    let error = Bus::connect(&config).await.err().unwrap();
    let said = format!("{config:?} {error:?} {}", chain(&error));
    assert!(!said.contains("s3cr3t"), "{said}");
    assert!(said.contains("NATS_URL"), "{said}");
}
