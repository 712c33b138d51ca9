//! How fast leads are rebuilt while they are served, in SQLite and PostgreSQL, beside the bare ordered read of the same
//! stream and a bare bulk insert of the same rows in the same run.
//!
//! `make bench`. Arguments: `--events N` (200000), `--database sqlite|postgres` (both).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool that fails by panicking and prints"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use callfold_kit::testing::{TestNats, wait_for};
use callfold_kit::{Bus, Health, Lifecycle, Metrics};
use callfold_projector::{Deps, ProjectorConfig, RebuildProgress, RebuildRequest, start};
use callfold_schema::event::{
    CallEnded, CallStarted, Caller, RecordingDownloaded, RecordingReady, SummaryReady, TranscriptReady,
};
use callfold_schema::subject::{REBUILD, REBUILD_PROGRESS};
use callfold_schema::{CallSid, Key, NewEvent, RecordingSid, Run, UnixMillis};
use callfold_store::testing::TestPostgres;
use callfold_store::{LeadFilter, ReadLeads, WriteLeads};
use callfold_store_postgres::PostgresStore;
use callfold_store_sqlite::SqliteStore;
use futures::StreamExt as _;

/// Publishes in flight.
const IN_FLIGHT: usize = 512;
const WORDS: [&str; 16] = [
    "שלום",
    "אני",
    "צריך",
    "אינסטלטור",
    "נזילה",
    "במטבח",
    "בבקשה",
    "תחזרו",
    "אליי",
    "מחר",
    "בבוקר",
    "תודה",
    "הצעת",
    "מחיר",
    "דחוף",
    "כתובת",
];

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

/// The events of a call, as a minute's message leaves them.
fn call(n: u64) -> Vec<NewEvent> {
    let call = CallSid::parse(&format!("CA{:032x}", u128::from(n) * 0x9e37_79b9_7f4a_7c15)).unwrap();
    let recording = RecordingSid::parse(&format!("RE{n:032x}")).unwrap();
    let at = UnixMillis(1_780_000_000_000 + i64::try_from(n).unwrap() * 977);
    let text: Vec<&str> = (0..60)
        .map(|word| WORDS[usize::try_from((n * 31 + word * word * 7) % 16).unwrap()])
        .collect();
    let text = text.join(" ");
    let phone = format!("+9725{:08}", n * 7_919 % 100_000_000);
    let form = |extra: &str| -> Vec<(String, String)> {
        [
            "CallSid",
            "AccountSid",
            "From",
            "To",
            "Direction",
            "ApiVersion",
            extra,
        ]
        .iter()
        .map(|name| ((*name).to_owned(), format!("{name}-{n}")))
        .collect()
    };
    let stage = || Key::stage(recording.clone(), Run::FIRST);
    vec![
        NewEvent::new(
            call.clone(),
            Key::single(),
            at,
            CallStarted {
                account_sid: "AC0123456789abcdef0123456789abcdef".into(),
                from: phone.as_str().into(),
                to: "+97239999999".into(),
                direction: "inbound".into(),
                caller: Caller::default(),
                greeting: "שלום, השאירו הודעה".into(),
                voice: "Google.he-IL-Wavenet-A".into(),
                language: "he-IL".into(),
                record_max_s: 180,
                idempotency_token: None,
                form: form("CallStatus"),
            },
        ),
        NewEvent::new(
            call.clone(),
            Key::recording(recording.clone()),
            at,
            RecordingReady {
                recording_sid: recording.clone(),
                account_sid: "AC0123456789abcdef0123456789abcdef".into(),
                media_url: format!("https://api.twilio.com/2010-04-01/Accounts/AC/Recordings/RE{n:032x}"),
                duration_s: Some(31),
                channels: Some(1),
                source: Some("RecordVerb".into()),
                started_at: None,
                idempotency_token: None,
                form: form("RecordingUrl"),
            },
        ),
        NewEvent::new(
            call.clone(),
            Key::single(),
            at,
            CallEnded {
                status: "completed".into(),
                duration_s: Some(41),
                ended_at: None,
                idempotency_token: None,
                form: form("CallDuration"),
            },
        ),
        NewEvent::new(
            call.clone(),
            stage(),
            at,
            RecordingDownloaded {
                blob_key: format!("{call}/{recording}-0.wav"),
                bytes: 496_044,
                sha256: "0".repeat(64),
                content_type: "audio/x-wav".into(),
                duration_ms: 31_000,
                sample_rate_hz: 8_000,
                channels: 1,
                elapsed_ms: 180,
            },
        ),
        NewEvent::new(
            call.clone(),
            stage(),
            at,
            TranscriptReady {
                text: text.clone(),
                segments: vec![],
                language: "he".into(),
                engine: "whisper".into(),
                model: "ivrit-turbo".into(),
                failed_engines: vec![],
                pieces: 1,
                audio_ms: 31_000,
                elapsed_ms: 9_000,
            },
        ),
        NewEvent::new(
            call,
            stage(),
            at,
            SummaryReady {
                title: "נזילה במטבח".into(),
                points: vec!["מבקש שיחזרו אליו מחר".into(), "דחוף".into()],
                text: "נזילה במטבח\nמבקש שיחזרו אליו מחר\nדחוף".into(),
                caller_name: None,
                callback_number: None,
                topic: None,
                urgency: None,
                engine: "extractive".into(),
                model: String::new(),
                prompt_version: 1,
                failed_engines: vec![],
                parts: 1,
                tries: 0,
                tokens_in: None,
                tokens_out: None,
                elapsed_ms: 2,
            },
        ),
    ]
}

/// Calls overlap: the events of some hundred calls stand mixed, as on a busy day.
async fn fill(bus: &Bus, events: u64) {
    let begun = Instant::now();
    let calls = events / 6;
    let mixed = (0..calls.div_ceil(300)).flat_map(|group| {
        let group: Vec<Vec<NewEvent>> = (group * 300..((group + 1) * 300).min(calls)).map(call).collect();
        (0..6_usize).flat_map(move |n| group.iter().map(|events| events[n].clone()).collect::<Vec<_>>())
    });
    futures::stream::iter(mixed)
        .for_each_concurrent(IN_FLIGHT, |event| async move {
            bus.publish(&event, Duration::from_secs(60)).await.unwrap();
        })
        .await;
    println!(
        "{} events of {calls} calls published in {:.1} s",
        calls * 6,
        begun.elapsed().as_secs_f64()
    );
}

/// Events a second of the bare ordered read.
async fn read(bus: &Bus) -> f64 {
    let last = bus.stream_state().await.unwrap().last;
    let begun = Instant::now();
    let mut reader = bus.read_from(1, Vec::new());
    let mut events = Vec::new();
    while reader.next_position() <= last {
        events.clear();
        reader.next_batch(2_000, 4 << 20, &mut events).await.unwrap();
    }
    last as f64 / begun.elapsed().as_secs_f64()
}

struct Figures {
    folded: f64,
    rebuilt: f64,
    reads: u64,
    failed: u64,
    slowest: Duration,
}

async fn bench<S: ReadLeads + WriteLeads + 'static>(bus: &Bus, store: Arc<S>) -> Figures {
    let last = bus.stream_state().await.unwrap().last;
    let lifecycle = Lifecycle::new();
    let deps = Deps {
        bus: bus.clone(),
        leads: Arc::clone(&store) as Arc<dyn WriteLeads>,
        metrics: Metrics::new(),
        health: Health::new().part("projector", true),
        embedded: true,
    };
    let begun = Instant::now();
    start(&ProjectorConfig::default(), deps, &lifecycle);
    while store.projection().await.unwrap().position < last {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let folded = last as f64 / begun.elapsed().as_secs_f64();
    let (stop, reads, failed, slowest) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    let reader = {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        let (reads, failed, slowest) = (Arc::clone(&reads), Arc::clone(&failed), Arc::clone(&slowest));
        tokio::spawn(async move {
            let search = LeadFilter {
                q: Some("נזילה".into()),
                ..LeadFilter::default()
            };
            let all = LeadFilter::default();
            // Readers of a page, not of a race: fifty reads a second.
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while !stop.load(Ordering::Relaxed) {
                tick.tick().await;
                let begun = Instant::now();
                let n = reads.fetch_add(1, Ordering::Relaxed);
                let filter = if n.is_multiple_of(2) { &search } else { &all };
                match store.list(filter, 20, None).await {
                    Ok(page) if page.leads.len() == 20 => {}
                    _ => {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                let micros = u64::try_from(begun.elapsed().as_micros()).unwrap();
                slowest.fetch_max(micros, Ordering::Relaxed);
            }
        })
    };
    let mut notices = bus.notices(REBUILD_PROGRESS).await.unwrap();
    bus.flush().await.unwrap();
    let request = serde_json::to_vec(&RebuildRequest::Rebuild {
        accept_differences: false,
    })
    .unwrap();
    wait_for("the projector to listen", async || {
        let asked = bus.ask(REBUILD, request.clone().into(), Duration::from_secs(5));
        asked.await.unwrap()
    })
    .await;
    let rebuilt = loop {
        let progress: RebuildProgress = serde_json::from_slice(&notices.next().await.unwrap()).unwrap();
        match progress {
            RebuildProgress::Switched {
                comparison,
                events,
                elapsed_ms,
            } => {
                assert!(comparison.is_same(), "{comparison:?}");
                break events as f64 * 1e3 / elapsed_ms as f64;
            }
            RebuildProgress::Refused { comparison } => panic!("refused: {comparison:?}"),
            RebuildProgress::Interrupted { reason } => panic!("interrupted: {reason}"),
            _ => {}
        }
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    reader.await.unwrap();
    lifecycle.stop();
    lifecycle.stopped(Duration::from_secs(20)).await.unwrap();
    Figures {
        folded,
        rebuilt,
        reads: reads.load(Ordering::Relaxed),
        failed: failed.load(Ordering::Relaxed),
        slowest: Duration::from_micros(slowest.load(Ordering::Relaxed)),
    }
}

fn print(name: &str, figures: &Figures, read: f64, insert: f64) {
    println!("\n{name}");
    println!("  folded into empty tables  {:>9.0} events/s", figures.folded);
    println!("  bulk insert of the rows   {insert:>9.0} events/s");
    println!(
        "  rebuilt while serving     {:>9.0} events/s: {:.2} of the bare read, {:.2} of the bare insert",
        figures.rebuilt,
        figures.rebuilt / read,
        figures.rebuilt / insert
    );
    println!(
        "  reads meanwhile           {} served, {} failed, the slowest {:.1} ms",
        figures.reads - figures.failed,
        figures.failed,
        figures.slowest.as_secs_f64() * 1e3
    );
}

async fn run() {
    let events: u64 = argument("--events").map_or(200_000, |text| text.parse().unwrap());
    let only = argument("--database");
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let nats = TestNats::start().await;
    let bus = Bus::connect(&callfold_kit::bus::BusConfig {
        stream_bytes_max: 4 << 30,
        ..nats.config()
    })
    .await
    .unwrap();
    fill(&bus, events).await;
    let last = bus.stream_state().await.unwrap().last as f64;
    let read = read(&bus).await;
    println!("bare ordered read           {read:>9.0} events/s");
    if wanted("sqlite") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leads.db");
        let store = Arc::new(SqliteStore::open(&path).await.unwrap());
        let figures = bench(&bus, Arc::clone(&store)).await;
        store.close().await;
        // What serves now stands on the second side; the same columns and indexes as in a table beside it.
        let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display()))
            .await
            .unwrap();
        sqlx::query("DELETE FROM leads").execute(&pool).await.unwrap();
        let begun = Instant::now();
        sqlx::query("INSERT INTO leads SELECT * FROM leads_b")
            .execute(&pool)
            .await
            .unwrap();
        print("SQLite", &figures, read, last / begun.elapsed().as_secs_f64());
        pool.close().await;
    }
    if wanted("postgres") {
        let url = TestPostgres::shared().fresh_database();
        let store = Arc::new(PostgresStore::connect(&url).await.unwrap());
        let figures = bench(&bus, Arc::clone(&store)).await;
        let pool = sqlx::PgPool::connect(&url).await.unwrap();
        sqlx::query("CREATE TABLE bare (LIKE leads INCLUDING ALL)")
            .execute(&pool)
            .await
            .unwrap();
        let begun = Instant::now();
        sqlx::query("INSERT INTO bare SELECT * FROM leads_b")
            .execute(&pool)
            .await
            .unwrap();
        print("PostgreSQL", &figures, read, last / begun.elapsed().as_secs_f64());
        pool.close().await;
        store.close().await;
    }
}

fn main() {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(run());
}
