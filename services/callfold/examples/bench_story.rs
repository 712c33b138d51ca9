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

mod made_up;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use callfold::stack::{Role, Stack, StackConfig};
use callfold_kit::Lifecycle;
use callfold_kit::config::Settings;
use hdrhistogram::Histogram;
use made_up::{EVENTS_OF_A_CALL, argument, broker, call_sid, fill};
use tokio::net::TcpListener;

const TOKEN: &str = "a-token-for-the-bench-of-stories";

#[tokio::main]
async fn main() {
    let (total, requests) = (argument("--events", 1_000_000), argument("--requests", 300));
    let calls = total.div_ceil(EVENTS_OF_A_CALL);
    let folder = tempfile::tempdir().unwrap();
    let (_broker, config, bus) = broker(folder.path(), false).await;

    let begun = Instant::now();
    fill(&bus, calls).await;
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
