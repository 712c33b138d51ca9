//! Live updates. One task a process reads what changed from the lead table, woken by the projector's notice or by a
//! tick; every client gets it from there. A client that comes back, or is too slow, reads what it missed from the
//! table: nothing is buffered without bound, and a lost notice costs a second.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use callfold_kit::bus::Bus;
use callfold_kit::chain::chain;
use callfold_kit::lifecycle::{BoxError, Lifecycle};
use callfold_kit::metric::{GaugeName, Metrics};
use callfold_schema::CallSid;
use callfold_schema::subject::LEAD_CHANGED;
use callfold_store::{LeadChange, ReadLeads, StoreError};
use futures::stream::{self, Stream, StreamExt};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::app::App;
use crate::error::ApiError;

/// How many clients can follow at once.
const CLIENTS_MAX: usize = 256;
/// How many changes wait for a slow client before it is sent to the table.
const CHANGES_WAITING_MAX: usize = 256;
/// How many changes are read at once.
const CHANGES_READ_MAX: u32 = 500;
/// How long a change waits at most when its notice was lost.
const TICK: Duration = Duration::from_secs(1);
/// How often a comment is sent to keep proxies from closing the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long one connection lasts; the client comes back and shows again that it may read.
const CONNECTION_MAX: Duration = Duration::from_secs(30 * 60);
/// What clients are told to wait before they come back.
const RETRY: Duration = Duration::from_secs(2);

/// What stands in place of a status when the call was erased.
const ERASED: &str = "erased";

/// The data of `event: lead`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LeadNotice<'a> {
    call_sid: &'a CallSid,
    /// A status of a lead, or `erased`.
    status: &'static str,
    position: u64,
}

/// Where live updates come from.
pub(crate) struct Feed {
    sender: broadcast::Sender<LeadChange>,
    slots: Arc<Semaphore>,
}

impl Feed {
    /// Starts the task that reads changes.
    pub(crate) fn start(leads: Arc<dyn ReadLeads>, bus: Bus, lifecycle: &Lifecycle) -> Self {
        let (sender, _) = broadcast::channel(CHANGES_WAITING_MAX);
        let soft = lifecycle.soft();
        let poller = Poller {
            leads,
            sender: sender.clone(),
            last: None,
            failing: false,
        };
        lifecycle.spawn("api-live-updates", async move {
            poller.run(bus, soft).await;
            Ok::<(), BoxError>(())
        });
        Self {
            sender,
            slots: Arc::new(Semaphore::new(CLIENTS_MAX)),
        }
    }
}

struct Poller {
    leads: Arc<dyn ReadLeads>,
    sender: broadcast::Sender<LeadChange>,
    /// The last position that was told; `None` before the table could be read for the first time.
    last: Option<u64>,
    failing: bool,
}

impl Poller {
    async fn run(mut self, bus: Bus, soft: tokio_util::sync::CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut notices = None;
        loop {
            if notices.is_none() {
                // Without notices the tick alone brings the changes.
                notices = bus.notices(LEAD_CHANGED).await.ok();
            }
            let notice = async {
                match &mut notices {
                    Some(stream) => stream.next().await,
                    None => std::future::pending().await,
                }
            };
            // Every arm may be dropped: the table is asked for everything behind `last` each time.
            tokio::select! {
                () = soft.cancelled() => return,
                _ = tick.tick() => {}
                notice = notice => if notice.is_none() { notices = None },
            }
            match self.advance().await {
                Ok(()) => self.failing = false,
                Err(error) if !self.failing => {
                    tracing::warn!(error = %chain(&error), "live updates wait: the leads cannot be read");
                    self.failing = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn advance(&mut self) -> Result<(), StoreError> {
        let newest = self.leads.newest_position().await?;
        let mut last = match self.last {
            Some(last) if last <= newest => last,
            // The first look, or a table that was folded anew: what comes from here on is told.
            _ => newest,
        };
        self.last = Some(last);
        while last < newest {
            let changes = self.leads.changes_since(last, CHANGES_READ_MAX).await?;
            let Some(end) = changes.last().map(|change| change.position) else {
                break;
            };
            for change in changes {
                // An error says that nobody follows.
                let _ = self.sender.send(change);
            }
            last = end;
            self.last = Some(last);
        }
        Ok(())
    }
}

/// One client.
struct Follower {
    leads: Arc<dyn ReadLeads>,
    live: broadcast::Receiver<LeadChange>,
    /// The last position this client was told.
    last: u64,
    /// Read from the table, not told yet.
    missed: VecDeque<LeadChange>,
    /// Whether there may be more in the table.
    behind: bool,
    _slot: Slot,
}

/// A place among the clients, given back when dropped.
struct Slot {
    slots: Arc<Semaphore>,
    metrics: Metrics,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slot {
    fn take(feed: &Feed, metrics: &Metrics) -> Option<Self> {
        let permit = Arc::clone(&feed.slots).try_acquire_owned().ok()?;
        let slot = Self {
            slots: Arc::clone(&feed.slots),
            metrics: metrics.clone(),
            permit: Some(permit),
        };
        slot.count();
        Some(slot)
    }

    #[expect(clippy::cast_precision_loss, reason = "256 clients at most")]
    fn count(&self) {
        let taken = CLIENTS_MAX.saturating_sub(self.slots.available_permits());
        self.metrics.set(GaugeName::SseClients, &[], taken as f64);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.permit = None;
        self.count();
    }
}

impl Follower {
    /// The next change for this client; `None` ends the connection, and the client takes up behind what it was told.
    async fn next(&mut self) -> Option<LeadChange> {
        loop {
            if let Some(change) = self.missed.pop_front() {
                self.last = change.position;
                return Some(change);
            }
            if self.behind {
                match self.leads.changes_since(self.last, CHANGES_READ_MAX).await {
                    Ok(changes) if changes.is_empty() => self.behind = false,
                    Ok(changes) => self.missed.extend(changes),
                    Err(error) => {
                        tracing::debug!(error = %chain(&error), "a follower is sent away: the leads cannot be read");
                        return None;
                    }
                }
                continue;
            }
            match self.live.recv().await {
                Ok(change) if change.position > self.last => {
                    self.last = change.position;
                    return Some(change);
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => self.behind = true,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Follows changes behind `after`; without it, those that come from now on.
pub(crate) async fn follow(app: &App, after: Option<u64>) -> Result<Response, ApiError> {
    let slot = Slot::take(&app.feed, &app.metrics).ok_or(ApiError::TooManyFollowers)?;
    // Before the table is read, so that nothing falls between the two.
    let live = app.feed.sender.subscribe();
    let newest = app.position().await?;
    let follower = Follower {
        leads: Arc::clone(&app.leads),
        live,
        // A position beyond the table is of another table: it says nothing about this one.
        last: after.unwrap_or(newest).min(newest),
        missed: VecDeque::new(),
        behind: true,
        _slot: slot,
    };
    let soft = app.lifecycle.soft();
    let end = async move {
        // Both mean the same: the client comes back, here or elsewhere.
        tokio::select! {
            () = soft.cancelled() => {}
            () = tokio::time::sleep(CONNECTION_MAX) => {}
        }
    };
    let hello = stream::once(async { Ok(Event::default().comment("callfold").retry(RETRY)) });
    let events = hello.chain(changes(follower)).take_until(Box::pin(end));
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response();
    // Proxies that collect answers would hold updates back.
    response
        .headers_mut()
        .insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    Ok(response)
}

fn changes(follower: Follower) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(follower, async |mut follower| {
        loop {
            let change = follower.next().await?;
            let notice = LeadNotice {
                call_sid: &change.call_sid,
                status: change.status.map_or(ERASED, callfold_lead::Status::token),
                position: change.position,
            };
            match Event::default()
                .event("lead")
                .id(change.position.to_string())
                .json_data(&notice)
            {
                Ok(event) => return Some((Ok(event), follower)),
                Err(error) => tracing::error!(%error, "could not encode a live update"),
            }
        }
    })
}
