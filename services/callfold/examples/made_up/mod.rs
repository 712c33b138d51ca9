//! What benches of the whole program share: made-up calls, and a broker of their own.
#![allow(dead_code, reason = "each bench uses what it needs")]

use std::path::Path;
use std::time::Duration;

use callfold_kit::Bus;
use callfold_kit::broker::find_server;
use callfold_kit::bus::BusConfig;
use callfold_kit::config::Environment;
use callfold_schema::event::{
    CallEnded, CallStarted, Caller, RecordingDownloaded, RecordingReady, RecordingStarted, SummaryReady,
    TranscriptReady,
};
use callfold_schema::{CallSid, Event, Key, NewEvent, RecordingSid, Run, UnixMillis};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::net::TcpListener;

pub(crate) const EVENTS_OF_A_CALL: u64 = 7;
const IN_FLIGHT: usize = 1_000;

pub(crate) fn call_sid(n: u64) -> CallSid {
    CallSid::parse(&format!("CA{n:032x}")).unwrap()
}

/// The events of a call as they come, a little under a kilobyte each.
pub(crate) fn events(n: u64) -> Vec<NewEvent> {
    let (call, recording) = (call_sid(n), RecordingSid::parse(&format!("RE{n:032x}")).unwrap());
    let form = || -> Vec<(String, String)> {
        (0..12)
            .map(|field| (format!("Field{field}"), "a value of common length".to_owned()))
            .collect()
    };
    let text =
        "שלום, מדבר דוד כהן מחיפה, אני מעוניין לקבל הצעת מחיר לשיפוץ מטבח. תחזרו אליי מחר בבוקר. ".repeat(3);
    let stage = || Key::stage(recording.clone(), Run::FIRST);
    let all: Vec<(Key, Event)> = vec![
        (
            Key::single(),
            CallStarted {
                account_sid: String::new(),
                from: format!("+97250{:07}", n % 10_000_000).as_str().into(),
                to: "+97239999999".into(),
                direction: "inbound".to_owned(),
                caller: Caller::default(),
                greeting: "שלום".to_owned(),
                voice: "Google.he-IL-Standard-A".to_owned(),
                language: "he-IL".to_owned(),
                record_max_s: 120,
                idempotency_token: None,
                form: form(),
            }
            .into(),
        ),
        (
            Key::recording(recording.clone()),
            RecordingStarted {
                recording_sid: recording.clone(),
                started_at: None,
                idempotency_token: None,
                form: form(),
            }
            .into(),
        ),
        (
            Key::single(),
            CallEnded {
                status: "completed".to_owned(),
                duration_s: Some(31),
                ended_at: None,
                idempotency_token: None,
                form: form(),
            }
            .into(),
        ),
        (
            Key::recording(recording.clone()),
            RecordingReady {
                recording_sid: recording.clone(),
                account_sid: String::new(),
                media_url: "https://api.twilio.com/x".to_owned(),
                duration_s: Some(24),
                channels: Some(1),
                source: Some("RecordVerb".to_owned()),
                started_at: None,
                idempotency_token: None,
                form: form(),
            }
            .into(),
        ),
        (
            stage(),
            RecordingDownloaded {
                blob_key: format!("{call}/{recording}-0.wav"),
                bytes: 384_044,
                sha256: "0".repeat(64),
                content_type: "audio/x-wav".to_owned(),
                duration_ms: 24_000,
                sample_rate_hz: 8_000,
                channels: 1,
                elapsed_ms: 120,
            }
            .into(),
        ),
        (
            stage(),
            TranscriptReady {
                text: text.clone(),
                segments: Vec::new(),
                language: "he".to_owned(),
                engine: "whisper".to_owned(),
                model: "bench".to_owned(),
                failed_engines: Vec::new(),
                pieces: 1,
                audio_ms: 24_000,
                elapsed_ms: 900,
            }
            .into(),
        ),
        (
            stage(),
            SummaryReady {
                title: "הצעת מחיר לשיפוץ מטבח".to_owned(),
                points: vec!["לחזור מחר בבוקר".to_owned()],
                text,
                caller_name: None,
                callback_number: None,
                topic: None,
                urgency: None,
                engine: "extractive".to_owned(),
                model: String::new(),
                prompt_version: 1,
                failed_engines: Vec::new(),
                parts: 1,
                tries: 0,
                tokens_in: None,
                tokens_out: None,
                elapsed_ms: 5,
            }
            .into(),
        ),
    ];
    (0..)
        .zip(all)
        .map(|(step, (key, event))| {
            let time = UnixMillis(1_700_000_000_000 + i64::try_from(n).unwrap() * 1_000 + step);
            NewEvent::new(call.clone(), key, time, event)
        })
        .collect()
}

/// `--name N` of the command line.
pub(crate) fn argument(name: &str, standard: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).map_or(standard, |value| value.parse().unwrap())
}

/// A broker with its store in the folder; it ends with the value.
pub(crate) async fn broker(folder: &Path, sync_each_event: bool) -> (tokio::process::Child, BusConfig, Bus) {
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let settings = folder.join("nats.conf");
    let store = folder.join("nats");
    let sync = if sync_each_event {
        ", sync_interval: always"
    } else {
        ""
    };
    let text = format!(
        "listen: \"127.0.0.1:{port}\"\nmax_payload: 4194304\njetstream {{ store_dir: \"{}\", max_file_store: 64GB{sync} }}\n",
        store.display()
    );
    std::fs::write(&settings, text).unwrap();
    let server = find_server(&Environment).unwrap();
    let child = tokio::process::Command::new(server)
        .arg("-c")
        .arg(&settings)
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let config = BusConfig::new(format!("nats://127.0.0.1:{port}"));
    let bus = loop {
        match Bus::connect(&config).await {
            Ok(bus) => break bus,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    (child, config, bus)
}

/// Writes the events of the calls `0..calls`.
pub(crate) async fn fill(bus: &Bus, calls: u64) {
    stream::iter((0..calls).flat_map(events))
        .map(|event| {
            let bus = bus.clone();
            async move { bus.publish(&event, Duration::from_secs(60)).await }
        })
        .buffered(IN_FLIGHT)
        .try_for_each(|_| async { Ok(()) })
        .await
        .unwrap();
}
