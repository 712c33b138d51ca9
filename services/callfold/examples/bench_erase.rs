//! The voice webhook's times with and without erasures beside it: `cargo run --release --example bench_erase -- [CALLS]`.
//!
//! One process with gateway, projector and reconciler on a broker of its own. So many calls of seven events each are
//! recorded; then the webhook is posted at a steady rate, first alone, then while all of these calls are being erased.

#![allow(clippy::unwrap_used, reason = "a bench may stop at the first surprise")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use callfold::stack::{Role, Stack, StackConfig};
use callfold_kit::bus::Bus;
use callfold_kit::config::Settings;
use callfold_kit::testing::{TestNats, publish, wait_for};
use callfold_kit::{Clock, Lifecycle, SystemClock};
use callfold_reconciler::erase::tombstone;
use callfold_schema::event::{CallEnded, ErasureReason, RecordingStarted};
use callfold_schema::{CallSid, EventKind, Key, NewEvent, RecordingSid, Subject};
use hdrhistogram::Histogram;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Calls that come in a second while it is measured.
const RATE: u64 = 100;
/// How long it is measured without erasures.
const ALONE: Duration = Duration::from_secs(8);

#[tokio::main]
async fn main() {
    let calls: usize = std::env::args()
        .nth(1)
        .map_or(1_000, |text| text.parse().unwrap());
    let nats = TestNats::start().await;
    let data = tempfile::tempdir().unwrap();
    let source: BTreeMap<String, String> = BTreeMap::new();
    let mut settings = Settings::new(&source);
    let roles = [Role::Gateway, Role::Projector, Role::Reconciler];
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = StackConfig::from_settings(&mut settings, &roles, local, data.path());
    settings.finish().unwrap();
    let lifecycle = Lifecycle::new();
    let listener = TcpListener::bind(local).await.unwrap();
    let stack = Box::pin(Stack::start(&config, &nats.config(), listener, &lifecycle, true))
        .await
        .unwrap();
    stack.health.all_ready().await;
    let url = format!("http://{}/webhook/twilio/voice", stack.address);
    let http = callfold_kit::http::client_builder().build().unwrap();

    let old: Vec<CallSid> = (0..calls)
        .map(|n| CallSid::parse(&format!("CAold{n:06}")).unwrap())
        .collect();
    for call in &old {
        record(&stack.bus, call).await;
    }
    println!("{calls} calls of 7 events are recorded; {RATE} calls/s come in");

    // The first second warms connections up.
    measure(
        &http,
        &url,
        "warm",
        std::future::ready(()),
        Duration::from_secs(1),
    )
    .await;
    let alone = measure(&http, &url, "alone", std::future::ready(()), ALONE).await;
    tell("alone", &alone);

    let begun = Instant::now();
    let bus = stack.bus.clone();
    let erasing = async {
        for call in &old {
            let event = tombstone(call.clone(), "bench", ErasureReason::Request, SystemClock.now());
            publish(&bus, &event).await;
        }
        for call in &old {
            let note = Subject::new(call.clone(), EventKind::EraseDone, Key::single());
            wait_for("the erasures", async || bus.find(&note).await.unwrap()).await;
        }
    };
    let beside = measure(&http, &url, "beside", erasing, Duration::ZERO).await;
    tell("while erasing", &beside);
    println!(
        "{calls} calls erased in {:.1} s; p99 {:.2} times what it is alone",
        begun.elapsed().as_secs_f64(),
        beside.value_at_quantile(0.99) as f64 / alone.value_at_quantile(0.99) as f64
    );
    lifecycle.stop();
    lifecycle.stopped(Duration::from_secs(20)).await.unwrap();
}

/// Seven events of one call.
async fn record(bus: &Bus, call: &CallSid) {
    let now = SystemClock.now();
    let form = || vec![("From".to_owned(), "+972501234567".to_owned()); 20];
    let ended = CallEnded {
        status: "completed".to_owned(),
        duration_s: Some(3),
        ended_at: None,
        idempotency_token: None,
        form: form(),
    };
    publish(bus, &NewEvent::new(call.clone(), Key::single(), now, ended)).await;
    for n in 0..6 {
        let recording_sid = RecordingSid::parse(&format!("RE{n}")).unwrap();
        let key = Key::recording(recording_sid.clone());
        let started = RecordingStarted {
            recording_sid,
            started_at: None,
            idempotency_token: None,
            form: form(),
        };
        publish(bus, &NewEvent::new(call.clone(), key, now, started)).await;
    }
}

/// Posts at the rate, one task a call, until `work` is done, and for `at_least`. Times are those of the caller, in
/// microseconds, from the moment at which the call was due.
async fn measure(
    http: &reqwest::Client,
    url: &str,
    name: &str,
    work: impl Future<Output = ()>,
    at_least: Duration,
) -> Histogram<u64> {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
    let mut tasks = tokio::task::JoinSet::new();
    let mut work = std::pin::pin!(work);
    let (mut is_done, mut n) = (false, 0_u64);
    while !is_done || begun.elapsed() < at_least {
        tokio::select! {
            () = &mut work, if !is_done => is_done = true,
            due = tick.tick() => {
                n += 1;
                let body = format!(
                    "CallSid=CA{name}{n:07}&From=%2B972501234567&To=%2B97239999999&CallStatus=ringing&Direction=inbound"
                );
                let request = http
                    .post(url)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body);
                tasks.spawn(async move {
                    let answer = request.send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                    answer.bytes().await.unwrap();
                    u64::try_from(due.elapsed().as_micros()).unwrap()
                });
            }
        }
    }
    let mut times = Histogram::new(3).unwrap();
    while let Some(took) = tasks.join_next().await {
        times.record(took.unwrap()).unwrap();
    }
    times
}

fn tell(what: &str, times: &Histogram<u64>) {
    let ms = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1_000.0;
    println!(
        "{what}: {} webhooks, p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        times.len(),
        ms(0.5),
        ms(0.99),
        times.max() as f64 / 1_000.0
    );
}
