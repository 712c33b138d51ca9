//! How fast lists, searches and cards are read from a large lead table, in SQLite and PostgreSQL.
//!
//! `make bench-list`. Arguments: `--leads N` (1000000), `--rounds N` (100), `--database sqlite|postgres` (both).
//!
//! Every tenth lead holds one frequent word. Most leads are done; what is open, failed or assigned is rare, as it is
//! behind a desk that works.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool that fails by panicking and prints"
)]

use std::time::{Duration, Instant};

use callfold_lead::{Disposition, LeadState, Status, lead_view};
use callfold_schema::event::{
    CallStarted, Caller, FailureClass, LeadAction, LeadUpdated, MissingReason, RecordingDownloaded,
    RecordingMissing, RecordingReady, StageFailed, SummaryReady, TranscriptReady,
};
use callfold_schema::{CallSid, Event, Key, NewEvent, Record, RecordingSid, Run, Stage, UnixMillis};
use callfold_store::testing::TestPostgres;
use callfold_store::{Batch, Change, Claim, Cursor, LeadFilter, ReadLeads, WriteLeads};
use callfold_store_postgres::PostgresStore;
use callfold_store_sqlite::SqliteStore;

const WRITER: &str = "bench";
const STREAM: &str = "bench";
const T0: i64 = 1_700_000_000_000;
/// Milliseconds between two calls.
const APART_MS: i64 = 60_000;
/// Leads a transaction.
const BATCH: u64 = 2_000;
/// Rows of a page.
const ROWS: u32 = 50;
/// In every tenth transcript.
const FREQUENT: &str = "נזילה";
const WORDS: [&str; 24] = [
    "שלום",
    "אני",
    "צריך",
    "אינסטלטור",
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
    "שיפוץ",
    "דירה",
    "חדרים",
    "מזגן",
    "תיקון",
    "חשבונית",
    "הזמנה",
    "רחוב",
    "שעה",
];

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

/// A number that looks drawn by lot, the same in every run.
fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}

fn sid(n: u64) -> CallSid {
    CallSid::parse(&format!("CA{:032x}", mixed(n))).unwrap()
}

fn at(n: u64) -> UnixMillis {
    UnixMillis(T0 + i64::try_from(n).unwrap() * APART_MS)
}

/// The lead of a call as it is stored.
fn change(n: u64, leads: u64) -> Change {
    let call = sid(n);
    let recording = RecordingSid::parse(&format!("RE{n:032x}")).unwrap();
    let draw = mixed(n.wrapping_mul(31));
    let mut state = LeadState::new(call.clone());
    let mut position = n * 8;
    let mut add = |key: Key, event: Event| {
        position += 1;
        let new = NewEvent::new(call.clone(), key, at(n), event);
        let record = Record {
            envelope: new.envelope,
            event: new.event,
        };
        state.apply_record(position, &record).unwrap();
    };
    let phone = format!("+9725{:08}", draw % 3_000_000 * 31);
    add(
        Key::single(),
        CallStarted {
            account_sid: String::new(),
            from: phone.as_str().into(),
            to: "+97239999999".into(),
            direction: "inbound".into(),
            caller: Caller::default(),
            greeting: String::new(),
            voice: String::new(),
            language: "he-IL".into(),
            record_max_s: 180,
            idempotency_token: None,
            form: vec![],
        }
        .into(),
    );
    let stage = || Key::stage(recording.clone(), Run::FIRST);
    if draw % 10 == 1 {
        let missing = RecordingMissing {
            recording_sid: None,
            reason: MissingReason::NeverLeft,
            error_code: None,
            idempotency_token: None,
            form: vec![],
        };
        add(Key::missing(None, "never_left"), missing.into());
    } else {
        let ready = RecordingReady {
            recording_sid: recording.clone(),
            account_sid: String::new(),
            media_url: "https://api.twilio.com/x".into(),
            duration_s: Some(31),
            channels: Some(1),
            source: None,
            started_at: None,
            idempotency_token: None,
            form: vec![],
        };
        add(Key::recording(recording.clone()), ready.into());
        if draw % 500 == 2 {
            let failed = StageFailed {
                attempts_max: 8,
                class: FailureClass::NotFound,
                text: "HTTP 404 from the media host".into(),
                next_attempt_at: None,
                delivery: 1,
                elapsed_ms: 300,
            };
            add(
                Key::failure(recording.clone(), Run::FIRST, Stage::Download, 8),
                failed.into(),
            );
        } else {
            let downloaded = RecordingDownloaded {
                blob_key: format!("{n}.wav"),
                bytes: 496_044,
                sha256: "0".repeat(64),
                content_type: "audio/x-wav".into(),
                duration_ms: 31_000,
                sample_rate_hz: 8_000,
                channels: 1,
                elapsed_ms: 180,
            };
            add(stage(), downloaded.into());
            let mut words: Vec<String> = (0..30)
                .map(|word| WORDS[usize::try_from(mixed(n * 64 + word) % 24).unwrap()].to_owned())
                .collect();
            // Some words are of one call, or of a few.
            words.push(format!("לקוח{}", n % 200_000));
            if n.is_multiple_of(10) {
                words.insert(7, FREQUENT.to_owned());
            }
            let transcript = TranscriptReady {
                text: words.join(" "),
                segments: vec![],
                language: "he".into(),
                engine: "whisper".into(),
                model: "m".into(),
                failed_engines: vec![],
                pieces: 1,
                audio_ms: 31_000,
                elapsed_ms: 3_000,
            };
            add(stage(), transcript.into());
            let summary = SummaryReady {
                title: words[..5].join(" "),
                points: vec![words[5..10].join(" ")],
                text: words[..10].join(" "),
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
                elapsed_ms: 5,
            };
            add(stage(), summary.into());
        }
    }
    let mut actions = Vec::new();
    let disposition = match mixed(n.wrapping_mul(77)) % 1_000 {
        _ if n + 30 > leads => Disposition::Open,
        0..3 => Disposition::Open,
        3..13 => Disposition::CalledBack,
        13..15 => Disposition::Spam,
        _ => Disposition::Done,
    };
    if disposition != Disposition::Open {
        actions.push(LeadAction::Seen { seen: true });
        actions.push(LeadAction::Disposition { disposition });
    }
    if draw.is_multiple_of(3) {
        let assignee = Some(["דנה", "יוסי", "dana"][usize::try_from(draw % 9 / 3).unwrap()].to_owned());
        actions.push(LeadAction::Assignee { assignee });
    }
    for (revision, action) in (1..).zip(actions) {
        let updated = LeadUpdated {
            revision,
            by: "bench".into(),
            action,
            request: None,
        };
        add(Key::revision(revision), updated.into());
    }
    Change::new(&lead_view(&state).unwrap(), &state).unwrap()
}

async fn fill<S: WriteLeads>(store: &S, leads: u64) -> Duration {
    let begun = Instant::now();
    assert!(matches!(
        store.claim(WRITER, true).await.unwrap(),
        Claim::Granted(_)
    ));
    store.reset(WRITER, STREAM).await.unwrap();
    let mut from = 0;
    for first in (0..leads).step_by(usize::try_from(BATCH).unwrap()) {
        let last = (first + BATCH).min(leads);
        let batch = Batch {
            identity: STREAM.to_owned(),
            from,
            to: last * 8 + 8,
            changes: (first..last).map(|n| change(n, leads)).collect(),
            ..Batch::default()
        };
        store.apply(WRITER, &batch).await.unwrap();
        from = batch.to;
    }
    begun.elapsed()
}

/// What is read: a name, the filter, and whether from somewhere in the middle.
fn lists(leads: u64) -> Vec<(&'static str, LeadFilter, bool)> {
    let all = LeadFilter::default;
    let q = |q: &str| LeadFilter {
        q: Some(q.to_owned()),
        ..all()
    };
    let is = |disposition: Disposition| vec![disposition];
    let year = |n: u64| Some(at(n));
    vec![
        ("all, first page", all(), false),
        ("all, deep page", all(), true),
        (
            "new",
            LeadFilter {
                disposition: is(Disposition::Open),
                ..all()
            },
            false,
        ),
        (
            "new, deep page",
            LeadFilter {
                disposition: is(Disposition::Open),
                ..all()
            },
            true,
        ),
        (
            "mine",
            LeadFilter {
                assignee: Some("דנה".to_owned()),
                disposition: vec![Disposition::Open, Disposition::CalledBack],
                ..all()
            },
            false,
        ),
        (
            "called back",
            LeadFilter {
                disposition: is(Disposition::CalledBack),
                ..all()
            },
            false,
        ),
        (
            "done, deep page",
            LeadFilter {
                disposition: is(Disposition::Done),
                ..all()
            },
            true,
        ),
        (
            "spam",
            LeadFilter {
                disposition: is(Disposition::Spam),
                ..all()
            },
            false,
        ),
        (
            "no message, deep page",
            LeadFilter {
                status: vec![Status::NoMessage],
                ..all()
            },
            true,
        ),
        (
            "failed",
            LeadFilter {
                status: vec![Status::Failed],
                ..all()
            },
            false,
        ),
        (
            "not looked at",
            LeadFilter {
                seen: Some(false),
                ..all()
            },
            false,
        ),
        (
            "a week of last year",
            LeadFilter {
                from: year(leads / 2),
                to: year(leads / 2 + 10_080),
                ..all()
            },
            false,
        ),
        (
            "number, by its end",
            LeadFilter {
                phone: Some("1234".to_owned()),
                ..all()
            },
            false,
        ),
        ("word in every tenth", q(FREQUENT), false),
        ("word in every tenth, deep page", q(FREQUENT), true),
        (
            "the same among new",
            LeadFilter {
                disposition: is(Disposition::Open),
                ..q(FREQUENT)
            },
            false,
        ),
        (
            "the same among failed",
            LeadFilter {
                status: vec![Status::Failed],
                ..q(FREQUENT)
            },
            false,
        ),
        (
            "the same of one person, open",
            LeadFilter {
                assignee: Some("דנה".to_owned()),
                disposition: is(Disposition::Open),
                ..q(FREQUENT)
            },
            false,
        ),
        (
            "the same in a week of last year",
            LeadFilter {
                from: year(leads / 2),
                to: year(leads / 2 + 10_080),
                ..q(FREQUENT)
            },
            false,
        ),
        ("word of five leads", q("לקוח1234"), false),
        ("two frequent words", q("נזילה מזגן"), false),
        ("two letters", q("של"), false),
        ("two letters, deep page", q("של"), true),
        ("digits of a number", q("050-1"), false),
        ("a word that is nowhere", q("דרקון"), false),
    ]
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1e3
}

fn print(name: &str, mut taken: Vec<Duration>, found: usize) {
    taken.sort_unstable();
    println!(
        "  {name:<34} {:>8.2} {:>8.2} ms   {found:>3} rows",
        percentile(&taken, 50),
        percentile(&taken, 99)
    );
}

async fn measure<S: ReadLeads>(name: &str, store: &S, leads: u64, rounds: u64) {
    println!("\n{name}: {leads} leads{:>28} {:>8}", "p50", "p99");
    for (what, filter, deep) in lists(leads) {
        let mut taken = Vec::new();
        let mut found = 0;
        for round in 0..rounds {
            let cursor = deep.then(|| {
                let n = mixed(round) % leads;
                Cursor {
                    created_at: at(n),
                    call_sid: sid(n),
                }
                .encode()
            });
            let begun = Instant::now();
            let page = store.list(&filter, ROWS, cursor.as_deref()).await.unwrap();
            taken.push(begun.elapsed());
            found = found.max(page.leads.len());
        }
        print(what, taken, found);
    }
    let unread = LeadFilter {
        disposition: vec![Disposition::Open],
        seen: Some(false),
        ..LeadFilter::default()
    };
    let page = store.list(&LeadFilter::default(), ROWS, None).await.unwrap();
    let rows: Vec<_> = page.leads.iter().collect();
    let (mut counts, mut earlier, mut cards) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let begun = Instant::now();
        store.count(&unread, 100).await.unwrap();
        counts.push(begun.elapsed());
        let begun = Instant::now();
        assert_eq!(store.earlier(&rows).await.unwrap().len(), rows.len());
        earlier.push(begun.elapsed());
        let begun = Instant::now();
        assert!(store.lead(&sid(mixed(round) % leads)).await.unwrap().is_some());
        cards.push(begun.elapsed());
    }
    print("how many are not looked at", counts, 0);
    print("earlier calls of a page's numbers", earlier, rows.len());
    print("card", cards, 1);
}

#[tokio::main]
async fn main() {
    let number = |name: &str, usual: u64| argument(name).map_or(usual, |text| text.parse().unwrap());
    let (leads, rounds) = (number("--leads", 1_000_000), number("--rounds", 100));
    let database = argument("--database");
    let wanted = |name: &str| database.as_deref().is_none_or(|database| database == name);
    if wanted("sqlite") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leads.db");
        let store = SqliteStore::open(&path).await.unwrap();
        let took = fill(&store, leads).await;
        println!(
            "SQLite: filled in {:.0} s, {} MB",
            took.as_secs_f64(),
            std::fs::metadata(&path).unwrap().len() / 1_000_000
        );
        measure("SQLite", &store, leads, rounds).await;
        store.close().await;
    }
    if wanted("postgres") {
        let server = TestPostgres::start();
        let store = PostgresStore::connect(&server.fresh_database()).await.unwrap();
        let took = fill(&store, leads).await;
        println!("\nPostgreSQL: filled in {:.0} s", took.as_secs_f64());
        // What its own maintenance does in the background: read once, so that it does not begin in the middle.
        store.purge().await.unwrap();
        measure("PostgreSQL", &store, leads, rounds).await;
        store.close().await;
    }
}
