//! What the story of a call and its past cost, over HTTP, at the beginning, in the middle and at the end of a long stream.
//!
//! `make bench-story`. Arguments: `--events N` (1,000,000), `--requests N` (300 of each sort, one after the other).
//! The broker is a bare one that does not sync each event, so that filling it takes a minute and not five; reading is the
//! same.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool that fails by panicking and prints"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use callfold::stack::{Role, Stack, StackConfig};
use callfold_kit::broker::find_server;
use callfold_kit::bus::BusConfig;
use callfold_kit::config::{Environment, Settings};
use callfold_kit::{Bus, Lifecycle};
use callfold_schema::event::{
    CallEnded, CallStarted, Caller, RecordingDownloaded, RecordingReady, RecordingStarted, SummaryReady,
    TranscriptReady,
};
use callfold_schema::{CallSid, Event, Key, NewEvent, RecordingSid, Run, UnixMillis};
use futures::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use tokio::net::TcpListener;

const TOKEN: &str = "a-token-for-the-bench-of-stories";
const EVENTS_OF_A_CALL: u64 = 7;
const IN_FLIGHT: usize = 1_000;

fn call_sid(n: u64) -> CallSid {
    CallSid::parse(&format!("CA{n:032x}")).unwrap()
}

/// The events of a call as they come, a little under a kilobyte each.
fn events(n: u64) -> Vec<NewEvent> {
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
fn argument(name: &str, standard: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).map_or(standard, |value| value.parse().unwrap())
}

#[tokio::main]
async fn main() {
    let (total, requests) = (argument("--events", 1_000_000), argument("--requests", 300));
    let calls = total.div_ceil(EVENTS_OF_A_CALL);
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let settings = folder.path().join("nats.conf");
    let store = folder.path().join("nats");
    let text = format!(
        "listen: \"127.0.0.1:{port}\"\nmax_payload: 4194304\njetstream {{ store_dir: \"{}\", max_file_store: 64GB }}\n",
        store.display()
    );
    std::fs::write(&settings, text).unwrap();
    let server = find_server(&Environment).unwrap();
    let _broker = tokio::process::Command::new(server)
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

    let begun = Instant::now();
    stream::iter((0..calls).flat_map(events))
        .map(|event| {
            let bus = bus.clone();
            async move { bus.publish(&event, Duration::from_secs(60)).await }
        })
        .buffered(IN_FLIGHT)
        .try_for_each(|_| async { Ok(()) })
        .await
        .unwrap();
    let state = bus.stream_state().await.unwrap();
    println!(
        "{} events of {calls} calls written in {:.1} s ({} MB)",
        state.messages,
        begun.elapsed().as_secs_f64(),
        state.bytes >> 20
    );

    let source: BTreeMap<String, String> = [("CALLFOLD_API_TOKEN".to_owned(), TOKEN.to_owned())].into();
    let mut settings = Settings::new(&source);
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let roles = [Role::Projector, Role::Api];
    let config_of_stack = StackConfig::from_settings(&mut settings, &roles, nowhere, folder.path());
    settings.finish().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let life = Lifecycle::new();
    let begun = Instant::now();
    let stack = Box::pin(Stack::start(&config_of_stack, &config, listener, &life, true))
        .await
        .unwrap();
    stack.health.all_ready().await;
    println!("folded in {:.1} s", begun.elapsed().as_secs_f64());

    let http = callfold_kit::http::client_builder().build().unwrap();
    let ask = async |path: String| {
        let asked = http
            .get(format!("http://{}/api/v1/leads/{path}", stack.address))
            .bearer_auth(TOKEN);
        let begun = Instant::now();
        let answer = asked.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        let body = answer.bytes().await.unwrap();
        (begun.elapsed(), body)
    };
    let last = calls - 1;
    // A table without an entry is warm for nobody: each call of a sort is asked for once.
    let sorts = [
        ("oldest", 0..requests.min(calls)),
        ("middle", calls / 2..(calls / 2 + requests).min(calls)),
        ("newest", last - (requests - 1).min(last)..last + 1),
    ];
    println!(
        "{:<8} {:>22} {:>22} {:>22}",
        "", "story", "card at a position", "card now"
    );
    for (name, range) in sorts {
        let mut columns = Vec::new();
        for of in ["/events", "?at=", ""] {
            let mut times = Histogram::<u64>::new(3).unwrap();
            for n in range.clone() {
                let call = call_sid(n);
                let path = match of {
                    "?at=" => format!("{call}?at={}", n * EVENTS_OF_A_CALL + 5),
                    of => format!("{call}{of}"),
                };
                let (took, body) = ask(path).await;
                assert!(!body.is_empty());
                times.record(u64::try_from(took.as_micros()).unwrap()).unwrap();
            }
            columns.push(format!(
                "{:.2} / {:.2} ms",
                times.value_at_quantile(0.5) as f64 / 1_000.0,
                times.value_at_quantile(0.99) as f64 / 1_000.0
            ));
        }
        println!(
            "{name:<8} {:>22} {:>22} {:>22}",
            columns[0], columns[1], columns[2]
        );
    }
    println!("p50 / p99 of {requests} requests each, one after the other, each for another call");
    life.stop();
    life.stopped(Duration::from_secs(20)).await.unwrap();
}
