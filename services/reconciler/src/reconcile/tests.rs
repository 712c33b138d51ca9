//! A real broker and a double of Twilio's API.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::sync::Arc;

use callfold_kit::clock::TestClock;
use callfold_kit::testing::{TestNats, TestServer, all_records, publish, wait_for};
use callfold_schema::event::{CallEnded, RecordingReady};
use callfold_twilio::testing::{Call, Quirk, Recording, RestDouble};

use super::*;

const AC: &str = "AC00000000000000000000000000000001";
const OURS: &str = "+97239999999";
/// 2026-11-22T10:00:00Z
const TEN: i64 = 1_795_341_600_000;
const HOUR: i64 = 3_600_000;

struct Peer {
    double: RestDouble,
    server: TestServer,
    nats: TestNats,
    clock: Arc<TestClock>,
}

impl Peer {
    async fn new(page_size: usize) -> Self {
        let double = RestDouble::new(AC, "token", page_size);
        double.number(OURS, "https://calls.example.com/webhook/twilio/voice");
        double.number("+97231111111", "https://elsewhere.example.com/voice");
        let server = TestServer::start(double.router()).await;
        Self {
            server,
            double,
            nats: TestNats::start().await,
            clock: TestClock::at(UnixMillis(TEN + HOUR)),
        }
    }

    fn api(&self) -> Url {
        Url::parse(&self.server.url()).unwrap()
    }

    async fn look(&self) -> Reconciliation {
        let http = callfold_kit::http::client_builder().build().unwrap();
        let tokens = AuthToken::parse_list("token");
        Reconciliation {
            bus: self.nats.bus().await,
            client: RestClient::new(http, self.api(), AC.to_owned(), tokens),
            account_sid: AC.to_owned(),
            api: self.api(),
            ours: Ours::Numbers,
            clock: self.clock.clone(),
            metrics: Metrics::new(),
            dry_run: false,
            stop: CancellationToken::new(),
        }
    }

    /// A whole call with a message.
    fn call(&self, n: i64) {
        self.call_to(n, OURS);
        self.double.recording(Recording {
            sid: format!("RE{n}"),
            call_sid: format!("CA{n}"),
            status: "completed".to_owned(),
            started_ms: TEN + n * 1_000 + 5_000,
            duration_s: 20,
        });
    }

    fn call_to(&self, n: i64, to: &str) {
        self.double.call(Call {
            sid: format!("CA{n}"),
            from: "+972501234567".to_owned(),
            to: to.to_owned(),
            direction: "inbound".to_owned(),
            status: "completed".to_owned(),
            started_ms: TEN + n * 1_000,
            duration_s: 31,
        });
    }
}

async fn whole(look: &Reconciliation) -> Result<Report, ReconcileError> {
    look.period(
        UnixMillis(TEN - 24 * HOUR),
        UnixMillis(TEN + HOUR),
        &mut |_, _| {},
    )
    .await
}

fn call_sid(n: i64) -> CallSid {
    CallSid::parse(&format!("CA{n}")).unwrap()
}

fn live_ready(n: i64) -> NewEvent {
    let sid = RecordingSid::parse(&format!("RE{n}")).unwrap();
    let event = RecordingReady {
        recording_sid: sid.clone(),
        account_sid: AC.to_owned(),
        media_url: String::new(),
        duration_s: Some(20),
        channels: Some(1),
        source: None,
        started_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    NewEvent::new(call_sid(n), Key::recording(sid), UnixMillis(TEN), event)
}

fn live_end(n: i64) -> NewEvent {
    let event = CallEnded {
        status: "completed".to_owned(),
        duration_s: Some(31),
        ended_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    NewEvent::new(call_sid(n), Key::single(), UnixMillis(TEN), event)
}

#[tokio::test]
async fn what_the_lists_know_and_the_stream_does_not_is_published_once() {
    let peer = Peer::new(2).await;
    (1..=5).for_each(|n| peer.call(n));
    peer.call_to(6, "+97231111111");
    let look = peer.look().await;
    // Of one call only the recording was lost, of another one nothing.
    publish(&look.bus, &live_end(1)).await;
    publish(&look.bus, &live_end(2)).await;
    publish(&look.bus, &live_ready(2)).await;
    let tried = Reconciliation {
        dry_run: true,
        ..peer.look().await
    };
    let seen = whole(&tried).await.unwrap();
    assert_eq!((seen.missing, seen.published), (12, 0));
    assert_eq!(all_records(&look.bus).await.len(), 3);

    let report = whole(&look).await.unwrap();
    assert_eq!((report.calls, report.recordings, report.foreign), (6, 5, 1));
    assert_eq!((report.missing, report.published, report.already), (12, 12, 0));
    let subjects: Vec<String> = all_records(&look.bus)
        .await
        .iter()
        .map(|record| record.envelope.subject.to_string())
        .collect();
    assert!(subjects.contains(&"calls.CA1.recording_ready.new.RE1-reconciled".to_owned()));
    assert!(subjects.contains(&"calls.CA1.call_started.new.0-reconciled".to_owned()));
    assert!(!subjects.contains(&"calls.CA1.call_ended.new.0-reconciled".to_owned()));
    assert!(!subjects.contains(&"calls.CA2.recording_ready.new.RE2-reconciled".to_owned()));
    assert!(!subjects.iter().any(|subject| subject.contains("CA6")));
    // Nobody may take a recording for never left: the end comes behind it.
    let at = |subject: &str| subjects.iter().position(|one| one == subject).unwrap();
    assert!(at("calls.CA5.recording_ready.new.RE5-reconciled") < at("calls.CA5.call_ended.new.0-reconciled"));

    let again = whole(&look).await.unwrap();
    assert_eq!((again.missing, again.calls), (0, 6));
    // A live event that comes later stands beside it, and the fold prefers it.
    publish(&look.bus, &live_ready(1)).await;
}

#[tokio::test]
async fn limits_bad_moments_and_half_answers_are_met_with_patience() {
    let peer = Peer::new(1).await;
    (1..=3).for_each(|n| peer.call(n));
    peer.double.quirks([
        Quirk::TooManyRequests,
        Quirk::ServerError,
        Quirk::HalfAnswer,
        Quirk::Slow(Duration::from_millis(50)),
    ]);
    let look = peer.look().await;
    let report = whole(&look).await.unwrap();
    assert_eq!((report.calls, report.published), (3, 9));
    let wrong = AuthToken::parse_list("other");
    let http = callfold_kit::http::client_builder().build().unwrap();
    let refused = Reconciliation {
        client: RestClient::new(http, peer.api(), AC.to_owned(), wrong),
        ..peer.look().await
    };
    assert!(matches!(
        whole(&refused).await,
        Err(ReconcileError::Twilio(RestError::Unauthorized))
    ));
}

#[tokio::test]
async fn what_twilio_is_not_done_with_is_told_by_a_later_look() {
    let peer = Peer::new(10).await;
    let mut recording = Recording {
        sid: "RE1".to_owned(),
        call_sid: "CA1".to_owned(),
        status: "processing".to_owned(),
        started_ms: TEN + 5_000,
        duration_s: 20,
    };
    peer.call_to(1, OURS);
    peer.double.recording(recording.clone());
    peer.double.recording(Recording {
        sid: "RE2".to_owned(),
        status: "deleted".to_owned(),
        ..recording.clone()
    });
    // Too fresh to be missed: its webhooks may be on their way.
    peer.call_to(3_590, OURS);
    let look = peer.look().await;
    let report = whole(&look).await.unwrap();
    assert_eq!(
        (report.recordings, report.unfinished, report.published),
        (1, 2, 2)
    );
    recording.status = "completed".to_owned();
    peer.double.recording(recording);
    let report = whole(&look).await.unwrap();
    assert_eq!((report.published, report.unfinished), (1, 1));
}

#[tokio::test]
async fn a_look_that_was_stopped_is_taken_again() {
    let peer = Peer::new(1).await;
    (1..=4).for_each(|n| peer.call(n));
    let look = peer.look().await;
    let stop = look.stop.clone();
    let mut pages = 0;
    let stopped = look
        .period(UnixMillis(TEN - HOUR), UnixMillis(TEN + HOUR), &mut |_, _| {
            pages += 1;
            if pages == 2 {
                stop.cancel();
            }
        })
        .await;
    assert!(matches!(stopped, Err(ReconcileError::Stopped)));
    let begun = all_records(&look.bus).await.len();
    assert!((1..12).contains(&begun), "{begun}");
    whole(&peer.look().await).await.unwrap();
    assert_eq!(all_records(&look.bus).await.len(), 12);
}

#[tokio::test]
async fn the_role_compares_at_start_and_when_the_broker_is_back() {
    let peer = Peer::new(10).await;
    peer.call(1);
    let (metrics, soft) = (Metrics::new(), CancellationToken::new());
    let health = callfold_kit::Health::new();
    let deps = callfold_kit::stage::StageDeps {
        clock: peer.clock.clone(),
        metrics: metrics.clone(),
        health: health.part("reconciler", false),
        soft: soft.clone(),
        hard: CancellationToken::new(),
    };
    let config = crate::ReconcilerConfig {
        account: Some(Account {
            sid: AC.to_owned(),
            tokens: AuthToken::parse_list("token"),
        }),
        api: peer.api(),
        reconcile_every: None,
        ..crate::ReconcilerConfig::default()
    };
    let bus = peer.nats.bus().await;
    let role = tokio::spawn(run(bus.clone(), config, deps, health.part("reconcile", false)));
    let held = async |n: usize| (bus.stream_state().await.ok()?.messages == n as u64).then_some(());
    wait_for("the first look", async || held(3).await).await;
    peer.call(2);
    let asked = peer.double.asked().len();
    peer.nats.broker().kill_and_restart().await;
    wait_for("the look behind the outage", async || held(6).await).await;
    assert!(peer.double.asked().len() > asked);
    soft.cancel();
    role.await.unwrap().unwrap();
}
