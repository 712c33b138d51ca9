//! Serves the page over leads in every state, to look at it: `cargo run -p callfold-api --example serve [ADDRESS]`.
//! Needs `nats-server`. With `--live` one more call arrives every few seconds and goes through its states.

#![allow(clippy::unwrap_used, reason = "a tool for looking at pages")]

#[path = "../tests/stage/mod.rs"]
mod stage;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use callfold_api::Warnings;
use callfold_kit::clock::SystemClock;
use callfold_kit::{Clock, http};

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let address = arguments
        .iter()
        .find(|a| !a.starts_with("--"))
        .map_or("127.0.0.1:0", String::as_str);
    let mut stage = stage::TestStage::start(Arc::new(SystemClock)).await;
    stage::every_state(&mut stage, SystemClock.now()).await;
    stage::odd_ones(&mut stage, SystemClock.now()).await;
    stage::with_more_said(&mut stage, SystemClock.now()).await;
    let warnings = if has("--quiet") {
        Warnings::default()
    } else {
        Warnings {
            demonstration_model: true,
            unsigned_webhooks: true,
        }
    };
    let api = stage.api(None, warnings).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    println!(
        "http://{}{}",
        listener.local_addr().unwrap(),
        api.issue_sign_in_link()
    );
    let mut router = api.router();
    if has("--open") {
        // Lets everybody in: for screenshots of these made-up leads only.
        router = router.layer(middleware::from_fn(
            async |mut request: axum::extract::Request, next: Next| {
                let bearer = HeaderValue::from_str(&format!("Bearer {}", stage::TOKEN)).unwrap();
                request.headers_mut().insert(header::AUTHORIZATION, bearer);
                next.run(request).await
            },
        ));
    }
    let lifecycle = stage.lifecycle.clone();
    let serving = tokio::spawn(http::serve(listener, router, lifecycle));
    if has("--live") {
        for n in 1.. {
            let pause = || tokio::time::sleep(Duration::from_secs(4));
            let number = format!("+9725400000{:02}", n % 100);
            let call = stage
                .call(&format!("live{n}"), &number, SystemClock.now())
                .started()
                .await;
            pause().await;
            let call = call.recording().await.ended().await.recorded().await;
            pause().await;
            let call = call.downloaded(24).await;
            pause().await;
            let call = call
                .transcribed(&["שלום, כאן שיחה חיה.", "אפשר לחזור אליי?"])
                .await;
            pause().await;
            call.summarized(&format!("שיחה חיה מספר {n}"), &["לחזור אליי"], "extractive")
                .await;
        }
    }
    serving.await.unwrap().unwrap();
}
