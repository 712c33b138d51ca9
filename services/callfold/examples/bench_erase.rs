//! The voice webhook while calls are being erased, beside the same webhook before.
//!
//! `make bench-erase`. Arguments: `--calls N` (1,000 that are erased), `--rate N` (50 webhooks a second, sent when they are
//! due whatever became of the ones before), `--seconds N` (20, the first part). Gateway, projector, api and reconciler in this
//! process, SQLite, a broker that syncs each event, as the shipped settings have it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool that fails by panicking and prints"
)]

mod made_up;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use callfold::stack::{Role, Stack, StackConfig, open_blobs};
use callfold_kit::config::Settings;
use callfold_kit::{Bus, Lifecycle};
use callfold_schema::EventKind;
use futures::{StreamExt, stream};
use hdrhistogram::Histogram;
use made_up::{EVENTS_OF_A_CALL, argument, broker, call_sid, fill};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const TOKEN: &str = "a-token-for-the-bench-of-erasures";
/// Erasures that are asked for at once.
const ASKED_AT_ONCE: usize = 8;
/// A recording's bytes.
const RECORDING_BYTES: usize = 100_000;

/// Calls that come in at a rate until it is told to stop.
struct Callers {
    http: reqwest::Client,
    url: String,
    rate: u64,
}

impl Callers {
    /// How long each call waited for its answer from the moment it was due.
    async fn call(&self, first: u64, until: impl Fn(u64) -> bool) -> Histogram<u64> {
        let mut answers = JoinSet::new();
        let begun = Instant::now();
        let mut sent = 0;
        while until(sent) {
            let due = begun + Duration::from_secs_f64(sent as f64 / self.rate as f64);
            tokio::time::sleep_until(due.into()).await;
            let (http, url) = (self.http.clone(), self.url.clone());
            let call = call_sid(first + sent);
            answers.spawn(async move {
                let form = [
                    ("CallSid", call.as_str()),
                    ("AccountSid", "AC00000000000000000000000000000001"),
                    ("From", "+972501234567"),
                    ("To", "+97239999999"),
                    ("CallStatus", "ringing"),
                    ("Direction", "inbound"),
                    ("ApiVersion", "2010-04-01"),
                ];
                let answer = http.post(url).form(&form).send().await.unwrap();
                assert!(answer.status().is_success(), "{}", answer.status());
                answer.bytes().await.unwrap();
                u64::try_from(due.elapsed().as_micros()).unwrap()
            });
            sent += 1;
        }
        let mut times = Histogram::new(3).unwrap();
        while let Some(took) = answers.join_next().await {
            times.record(took.unwrap()).unwrap();
        }
        times
    }
}

fn print(name: &str, times: &Histogram<u64>) {
    let ms = |micros: u64| micros as f64 / 1_000.0;
    println!(
        "{name:<24} {:>6} webhooks   p50 {:>6.2}   p99 {:>6.2}   max {:>6.2} ms",
        times.len(),
        ms(times.value_at_quantile(0.5)),
        ms(times.value_at_quantile(0.99)),
        ms(times.max())
    );
}

/// Counts the notes that calls are erased, from a position on, until there are enough.
async fn erased(bus: Bus, from: u64, calls: u64) {
    let mut reader = bus.read_from(
        from,
        vec![format!("calls.*.{}.new.*", EventKind::EraseDone.token())],
    );
    for _ in 0..calls {
        reader.next().await.unwrap();
    }
}

#[tokio::main]
async fn main() {
    let (calls, rate) = (argument("--calls", 1_000), argument("--rate", 50));
    let seconds = argument("--seconds", 20);
    let folder = tempfile::tempdir().unwrap();
    let (_broker, config, bus) = broker(folder.path(), true).await;
    fill(&bus, calls).await;
    let source: BTreeMap<String, String> = [("CALLFOLD_API_TOKEN".to_owned(), TOKEN.to_owned())].into();
    let mut settings = Settings::new(&source);
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let roles = [Role::Gateway, Role::Projector, Role::Api, Role::Reconciler];
    let config_of_stack = StackConfig::from_settings(&mut settings, &roles, nowhere, folder.path());
    settings.finish().unwrap();
    let blobs = open_blobs(&config_of_stack).unwrap();
    for n in 0..calls {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; RECORDING_BYTES]).unwrap();
        let key = format!("{}/RE{n:032x}-0.wav", call_sid(n));
        blobs.put(&key, file).await.unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let life = Lifecycle::new();
    let stack = Box::pin(Stack::start(&config_of_stack, &config, listener, &life, true))
        .await
        .unwrap();
    stack.health.all_ready().await;
    println!("{calls} calls of {EVENTS_OF_A_CALL} events and a recording of {RECORDING_BYTES} bytes each");

    let http = callfold_kit::http::client_builder().build().unwrap();
    let callers = Callers {
        http: http.clone(),
        url: format!("http://{}/webhook/twilio/voice", stack.address),
        rate,
    };
    // The first connections and the first rows are nobody's measure.
    callers.call(10_000_000, |sent| sent < rate).await;
    let before = callers.call(20_000_000, |sent| sent < rate * seconds).await;
    print("before", &before);

    let from = bus.stream_state().await.unwrap().last + 1;
    let is_over = Arc::new(AtomicBool::new(false));
    let erasing = {
        let (is_over, bus, address) = (Arc::clone(&is_over), bus.clone(), stack.address);
        tokio::spawn(async move {
            let begun = Instant::now();
            stream::iter(0..calls)
                .for_each_concurrent(ASKED_AT_ONCE, async |n| {
                    let url = format!("http://{address}/api/v1/leads/{}", call_sid(n));
                    let asked = http.delete(url).bearer_auth(TOKEN).send().await.unwrap();
                    assert_eq!(asked.status().as_u16(), 202);
                })
                .await;
            erased(bus, from, calls).await;
            is_over.store(true, Ordering::Relaxed);
            begun.elapsed()
        })
    };
    let during = callers
        .call(30_000_000, |_| !is_over.load(Ordering::Relaxed))
        .await;
    let took = erasing.await.unwrap();
    print("while calls are erased", &during);
    println!(
        "{calls} calls erased in {:.1} s; p99 is {:.2} of what it was",
        took.as_secs_f64(),
        during.value_at_quantile(0.99) as f64 / before.value_at_quantile(0.99) as f64
    );
    life.stop();
    life.stopped(Duration::from_secs(20)).await.unwrap();
}
