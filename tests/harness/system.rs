//! One run of the system, and questions to it.

use std::time::Duration;

use callfold::client::ApiClient;
use callfold::simulate::{Played, Player, Script};
use callfold::stack::Stack;
use callfold_kit::testing::wait_for;
use callfold_kit::{Lifecycle, Secret};
use reqwest::Response;
use serde_json::Value;
use url::Url;

use super::world::API_TOKEN;

/// How long work in hand may take at the end of a run.
const GRACE: Duration = Duration::from_secs(20);
/// How long a lead may take to become what it is waited for: several recognitions on a busy machine.
const LEAD_PATIENCE: Duration = Duration::from_secs(120);

/// The roles of one run.
pub(crate) struct System {
    pub(crate) stack: Stack,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) base: Url,
    pub(crate) http: reqwest::Client,
    pub(crate) player: Player,
    pub(crate) api: ApiClient,
}

impl System {
    pub(super) fn new(
        stack: Stack,
        lifecycle: Lifecycle,
        base: Url,
        http: reqwest::Client,
        player: Player,
    ) -> Self {
        let api = ApiClient::new(http.clone(), base.clone(), Secret::new(API_TOKEN));
        Self {
            stack,
            lifecycle,
            base,
            http,
            player,
            api,
        }
    }

    /// Waits until every role can do its work.
    pub(crate) async fn ready(&self) {
        let all = tokio::time::timeout(Duration::from_secs(60), self.stack.health.all_ready()).await;
        assert!(all.is_ok(), "not ready: {:?}", self.stack.health.readiness());
    }

    /// Plays a call to its end.
    pub(crate) async fn play(&self, script: &Script) -> Played {
        self.player.play(script).await.unwrap()
    }

    /// Posts a form as `curl -d` would: unsigned.
    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        self.http
            .post(self.base.join(path).unwrap())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// GET with the API's token.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.http
            .get(self.base.join(path).unwrap())
            .bearer_auth(API_TOKEN)
            .send()
            .await
            .unwrap()
    }

    /// A lead as the API shows it.
    pub(crate) async fn lead(&self, call_sid: &str) -> Option<Value> {
        self.api.lead(call_sid).await.unwrap()
    }

    /// The lead, once `condition` holds for it. A failure shows how far it was.
    pub(crate) async fn lead_when(
        &self,
        call_sid: &str,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut seen = Value::Null;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        let found = tokio::time::timeout(LEAD_PATIENCE, async {
            loop {
                tick.tick().await;
                if let Some(lead) = self.lead(call_sid).await {
                    if condition(&lead) {
                        return lead;
                    }
                    seen = lead;
                }
            }
        });
        found
            .await
            .unwrap_or_else(|_| panic!("lead {call_sid} never was {what}: {seen:#}"))
    }

    /// The lead, once it has this status.
    pub(crate) async fn lead_at(&self, call_sid: &str, status: &str) -> Value {
        self.lead_when(call_sid, status, |lead| lead["status"] == status)
            .await
    }

    /// The story of a call: its decoded events.
    pub(crate) async fn story(&self, call_sid: &str) -> Vec<Value> {
        let story = self.api.story(call_sid).await.unwrap().unwrap();
        story["events"].as_array().unwrap().clone()
    }

    /// The value of a counter, all its labels together.
    pub(crate) fn counter(&self, name: &str) -> f64 {
        let text = self.stack.metrics.render();
        text.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Waits until the gateway takes calls.
    pub(crate) async fn takes_calls(&self) {
        wait_for("the gateway to take calls", async || {
            self.stack.health.readiness().ready.then_some(())
        })
        .await;
    }

    /// Stops in order. An error means that something ended that should have gone on.
    pub(crate) async fn stop(self) {
        self.lifecycle.stop();
        self.lifecycle.stopped(GRACE).await.unwrap();
    }
}
