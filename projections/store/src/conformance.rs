//! The suite that every backend has to pass.
//!
//! A backend's test makes an empty store and hands it to [`all`]; each case gets a store of its own.

use std::future::Future;
use std::sync::Arc;

use callfold_lead::{Disposition, FOLD_VERSION, Lead, LeadState, Status, lead_view};
use callfold_schema::event::{
    CallStarted, Caller, LeadAction, LeadUpdated, MissingReason, RecordingDownloaded, RecordingMissing,
    RecordingReady, SummaryReady, TranscriptReady, Urgency,
};
use callfold_schema::{CallSid, Event, Key, NewEvent, Record, RecordingSid, Run, UnixMillis};

use crate::apply::{Batch, Change, Claim, Erased, Projection, UnreadableEvent, WriteLeads};
use crate::error::StoreError;
use crate::read::{EARLIER_MAX, LeadFilter, Page, ReadLeads};
use crate::shadow::{Comparison, Difference, DifferenceKind, Shadow, ShadowState};

/// A store under test.
pub trait Store: ReadLeads + WriteLeads + 'static {}
impl<T: ReadLeads + WriteLeads + 'static> Store for T {}

const STREAM: &str = "stream-1";
const WRITER: &str = "writer-1";
const T0: i64 = 1_780_000_000_000;

/// Runs every case, each on a store that `fresh` makes. Panics at the first difference.
pub async fn all<F, S>(fresh: F)
where
    F: AsyncFn() -> Arc<S>,
    S: Store,
{
    async fn case<F, S, C, R>(name: &str, fresh: &F, case: C)
    where
        F: AsyncFn() -> Arc<S>,
        C: FnOnce(Arc<S>) -> R,
        R: Future<Output = ()>,
    {
        eprintln!("conformance: {name}");
        case(fresh().await).await;
    }
    case("an empty store answers", &fresh, an_empty_store_answers).await;
    case(
        "a lead reads back as it was written",
        &fresh,
        a_lead_reads_back_as_it_was_written,
    )
    .await;
    case("one writer at a time", &fresh, one_writer_at_a_time).await;
    case("a batch applies once", &fresh, a_batch_applies_once).await;
    case("a batch is all or nothing", &fresh, a_batch_is_all_or_nothing).await;
    case("reset empties everything", &fresh, reset_empties_everything).await;
    case(
        "pages meet without gap or repeat",
        &fresh,
        pages_meet_without_gap_or_repeat,
    )
    .await;
    case("filters narrow", &fresh, filters_narrow).await;
    case(
        "what people do narrows and is counted",
        &fresh,
        what_people_do_narrows_and_is_counted,
    )
    .await;
    case(
        "earlier calls of a number are counted",
        &fresh,
        earlier_calls_of_a_number_are_counted,
    )
    .await;
    case(
        "calls are counted by the quarter",
        &fresh,
        calls_are_counted_by_the_quarter,
    )
    .await;
    case("words are found", &fresh, words_are_found).await;
    case(
        "beginnings of any length are found",
        &fresh,
        beginnings_of_any_length_are_found,
    )
    .await;
    case(
        "a search follows what changes",
        &fresh,
        a_search_follows_what_changes,
    )
    .await;
    case(
        "an earlier event moves a lead",
        &fresh,
        an_earlier_event_moves_a_lead,
    )
    .await;
    case("changes come in order", &fresh, changes_come_in_order).await;
    case("unreadable events are kept", &fresh, unreadable_events_are_kept).await;
    case(
        "hostile texts are only texts",
        &fresh,
        hostile_texts_are_only_texts,
    )
    .await;
    case("a large batch is written", &fresh, a_large_batch_is_written).await;
    case(
        "an erased call leaves a tombstone",
        &fresh,
        an_erased_call_leaves_a_tombstone,
    )
    .await;
    case(
        "a rebuild serves after the switch",
        &fresh,
        a_rebuild_serves_after_the_switch,
    )
    .await;
    case(
        "a rebuild goes on where it was broken off",
        &fresh,
        a_rebuild_goes_on_where_it_was_broken_off,
    )
    .await;
    case("differences are found", &fresh, differences_are_found).await;
    case(
        "the shadow has the same fence",
        &fresh,
        the_shadow_has_the_same_fence,
    )
    .await;
    case(
        "an erased call leaves both sides",
        &fresh,
        an_erased_call_leaves_both_sides,
    )
    .await;
    case("no read fails in a switch", &fresh, no_read_fails_in_a_switch).await;
}

/// Writes many leads, one of which holds `word`, erases that one and cleans up behind it.
pub async fn erase_one_of_many(store: &dyn Store, word: &str) {
    let mut script = begin(store).await;
    for n in 0..300 {
        let name = if n == 150 {
            word.to_owned()
        } else {
            format!("harmless{n}")
        };
        let call = format!("CA{n:03}");
        script
            .named_call(&call, n, "+1555", Some(&name))
            .ready(&call, &format!("RE{n}"), n)
            .transcript(&call, &format!("RE{n}"), n, &name.to_uppercase());
        // Several segments of the index.
        if n % 50 == 0 {
            script.write(store).await;
        }
    }
    script.write(store).await;
    assert_eq!(found(store, q(word)).await, ["CA150"]);
    let (erased, _) = tombstone("CA150", script.position + 1);
    let batch = Batch {
        identity: STREAM.into(),
        from: script.position,
        to: script.position + 1,
        erased: vec![erased],
        ..Batch::default()
    };
    store.apply(WRITER, &batch).await.unwrap();
    store.purge().await.unwrap();
    assert!(found(store, q(word)).await.is_empty());
    assert_eq!(found(store, q("harmless")).await.len(), 100);
}

fn sid(text: &str) -> CallSid {
    CallSid::parse(text).unwrap()
}

fn re(text: &str) -> RecordingSid {
    RecordingSid::parse(text).unwrap()
}

fn summary_of(title: &str) -> SummaryReady {
    SummaryReady {
        title: title.into(),
        points: vec!["first".into(), "second".into()],
        text: format!("{title}\nfirst\nsecond"),
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
        elapsed_ms: 3,
    }
}

/// Events of calls at increasing positions, and the batches they make.
struct Script {
    position: u64,
    states: std::collections::BTreeMap<CallSid, LeadState>,
    changed: std::collections::BTreeSet<CallSid>,
    from: u64,
}

impl Script {
    fn new() -> Self {
        Self {
            position: 0,
            states: Default::default(),
            changed: Default::default(),
            from: 0,
        }
    }

    fn add(&mut self, call: &str, key: Key, at_s: i64, event: impl Into<Event>) -> &mut Self {
        let new = NewEvent::new(sid(call), key, UnixMillis(T0 + at_s * 1000), event);
        self.position += 1;
        let state = self
            .states
            .entry(sid(call))
            .or_insert_with(|| LeadState::new(sid(call)));
        let record = Record {
            envelope: new.envelope,
            event: new.event,
        };
        if state.apply_record(self.position, &record).unwrap() {
            self.changed.insert(sid(call));
        }
        self
    }

    fn call(&mut self, call: &str, at_s: i64, phone: &str) -> &mut Self {
        self.named_call(call, at_s, phone, None)
    }

    fn named_call(&mut self, call: &str, at_s: i64, phone: &str, name: Option<&str>) -> &mut Self {
        let started = CallStarted {
            account_sid: String::new(),
            from: phone.into(),
            to: "+97239999999".into(),
            direction: "inbound".into(),
            caller: Caller {
                name: name.map(str::to_owned),
                ..Caller::default()
            },
            greeting: String::new(),
            voice: String::new(),
            language: "he-IL".into(),
            record_max_s: 180,
            idempotency_token: None,
            form: vec![("From".into(), phone.into())],
        };
        self.add(call, Key::single(), at_s, started)
    }

    fn ready(&mut self, call: &str, recording: &str, at_s: i64) -> &mut Self {
        let ready = RecordingReady {
            recording_sid: re(recording),
            account_sid: String::new(),
            media_url: "https://api.twilio.com/x".into(),
            duration_s: Some(9),
            channels: Some(1),
            source: None,
            started_at: None,
            idempotency_token: None,
            form: vec![],
        };
        self.add(call, Key::recording(re(recording)), at_s, ready)
    }

    fn transcript(&mut self, call: &str, recording: &str, at_s: i64, text: &str) -> &mut Self {
        let downloaded = RecordingDownloaded {
            blob_key: format!("{call}/{recording}-0.wav"),
            bytes: 10,
            sha256: "0".repeat(64),
            content_type: "audio/x-wav".into(),
            duration_ms: 9_100,
            sample_rate_hz: 8_000,
            channels: 1,
            elapsed_ms: 5,
        };
        let transcript = TranscriptReady {
            text: text.into(),
            segments: vec![],
            language: "he".into(),
            engine: "whisper".into(),
            model: "m".into(),
            failed_engines: vec![],
            pieces: 1,
            audio_ms: 9_100,
            elapsed_ms: 7,
        };
        self.add(call, Key::stage(re(recording), Run::FIRST), at_s, downloaded);
        self.add(call, Key::stage(re(recording), Run::FIRST), at_s, transcript)
    }

    fn summary(&mut self, call: &str, recording: &str, at_s: i64, title: &str) -> &mut Self {
        self.add(
            call,
            Key::stage(re(recording), Run::FIRST),
            at_s,
            summary_of(title),
        )
    }

    /// A summary in which the caller said a name, a number and what it is about.
    fn said(
        &mut self,
        call: &str,
        recording: &str,
        at_s: i64,
        [name, number, topic]: [&str; 3],
    ) -> &mut Self {
        let summary = SummaryReady {
            caller_name: Some(name.into()),
            callback_number: Some(number.into()),
            topic: Some(topic.into()),
            urgency: Some(Urgency::High),
            ..summary_of("Call back")
        };
        self.add(call, Key::stage(re(recording), Run::FIRST), at_s, summary)
    }

    /// What a person did.
    fn person(&mut self, call: &str, revision: u64, at_s: i64, action: LeadAction) -> &mut Self {
        let updated = LeadUpdated {
            revision,
            by: "dana".into(),
            action,
            request: None,
        };
        self.add(call, Key::revision(revision), at_s, updated)
    }

    fn batch(&mut self) -> Batch {
        let changes = std::mem::take(&mut self.changed)
            .into_iter()
            .map(|call| {
                let state = &self.states[&call];
                Change::new(&lead_view(state).unwrap(), state).unwrap()
            })
            .collect();
        let batch = Batch {
            identity: STREAM.into(),
            from: self.from,
            to: self.position,
            changes,
            erased: vec![],
            unreadable: vec![],
        };
        self.from = self.position;
        batch
    }

    async fn write(&mut self, store: &dyn Store) {
        let batch = self.batch();
        store.apply(WRITER, &batch).await.unwrap();
    }
}

/// The tombstone of a call. The store does not look into states, so any event does; it is the last one of the call.
fn tombstone(call: &str, position: u64) -> (Erased, LeadState) {
    let mut script = Script::new();
    script.position = position - 1;
    script.call(call, 0, "");
    let state = script.states.remove(&sid(call)).unwrap();
    (Erased::new(&state).unwrap(), state)
}

async fn begin(store: &dyn Store) -> Script {
    assert!(matches!(
        store.claim(WRITER, false).await.unwrap(),
        Claim::Granted(_)
    ));
    store.reset(WRITER, STREAM).await.unwrap();
    Script::new()
}

fn sids(page: &Page) -> Vec<&str> {
    page.leads.iter().map(|lead| lead.call_sid.as_str()).collect()
}

async fn found(store: &dyn Store, filter: LeadFilter) -> Vec<String> {
    let page = store.list(&filter, 100, None).await.unwrap();
    sids(&page).into_iter().map(str::to_owned).collect()
}

fn q(words: &str) -> LeadFilter {
    LeadFilter {
        q: Some(words.to_owned()),
        ..LeadFilter::default()
    }
}

async fn an_empty_store_answers<S: Store>(store: Arc<S>) {
    assert_eq!(store.projection().await.unwrap(), Projection::default());
    assert_eq!(store.lead(&sid("CA1")).await.unwrap(), None);
    assert_eq!(store.state(&sid("CA1")).await.unwrap(), None);
    assert_eq!(store.positions(&sid("CA1")).await.unwrap(), Vec::<u64>::new());
    let page = store.list(&LeadFilter::default(), 10, None).await.unwrap();
    assert!(page.leads.is_empty() && page.next_cursor.is_none());
    assert!(found(&*store, q("שלום")).await.is_empty());
    assert_eq!(store.changes_since(0, 10).await.unwrap(), vec![]);
    assert_eq!(store.newest_position().await.unwrap(), 0);
    assert_eq!(store.counts().await.unwrap(), vec![]);
    assert_eq!(store.unreadable(10).await.unwrap(), vec![]);
    assert!(store.states(&[sid("CA1")]).await.unwrap().is_empty());
    assert!(store.states(&[]).await.unwrap().is_empty());
    let bad = store.list(&LeadFilter::default(), 10, Some("?")).await;
    assert!(matches!(bad, Err(StoreError::Cursor)));
}

async fn a_lead_reads_back_as_it_was_written<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    script.call("CA1", 0, "+972501234567").ready("CA1", "RE1", 30);
    script
        .transcript("CA1", "RE1", 31, "שלום אני צריך אינסטלטור")
        .summary("CA1", "RE1", 32, "נזילה");
    script.write(&*store).await;

    let state = &script.states[&sid("CA1")];
    let expected = lead_view(state).unwrap();
    assert_eq!(expected.status, Status::Processed);
    let read = store.lead(&sid("CA1")).await.unwrap().unwrap();
    assert_eq!(
        serde_json::to_value(&read).unwrap(),
        serde_json::to_value(&expected).unwrap()
    );
    assert_eq!(store.state(&sid("CA1")).await.unwrap().as_ref(), Some(state));
    assert_eq!(
        store
            .states(&[sid("CA1"), sid("CA2")])
            .await
            .unwrap()
            .get(&sid("CA1")),
        Some(state)
    );
    assert_eq!(store.positions(&sid("CA1")).await.unwrap(), vec![1, 2, 3, 4, 5]);
    assert_eq!(store.newest_position().await.unwrap(), 5);
    let projection = store.projection().await.unwrap();
    let is = (
        projection.identity.as_deref(),
        projection.position,
        projection.fold_version,
        projection.writer.as_deref(),
    );
    assert_eq!(is, (Some(STREAM), 5, FOLD_VERSION, Some(WRITER)));

    // The next event replaces the row.
    script.call("CA2", 40, "anonymous").write(&*store).await;
    assert_eq!(
        store.lead(&sid("CA2")).await.unwrap().unwrap().phone.as_str(),
        "anonymous"
    );
    assert_eq!(
        store.counts().await.unwrap(),
        vec![(Status::New, 1), (Status::Processed, 1)]
    );
}

async fn one_writer_at_a_time<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    script.call("CA1", 0, "+1555");
    assert_eq!(store.claim("writer-2", false).await.unwrap(), Claim::Held);
    assert!(matches!(store.renew("writer-2").await, Err(StoreError::Fenced)));
    assert!(matches!(
        store.reset("writer-2", STREAM).await,
        Err(StoreError::Fenced)
    ));
    assert!(matches!(
        store.apply("writer-2", &script.batch()).await,
        Err(StoreError::Fenced)
    ));
    assert_eq!(store.lead(&sid("CA1")).await.unwrap(), None);
    store.release("writer-2").await.unwrap();

    // Its own claim can be repeated, and forced by another one; from then on the first one is fenced.
    assert!(matches!(
        store.claim(WRITER, false).await.unwrap(),
        Claim::Granted(_)
    ));
    store.renew(WRITER).await.unwrap();
    let Claim::Granted(projection) = store.claim("writer-2", true).await.unwrap() else {
        panic!("held")
    };
    assert_eq!(
        (projection.position, projection.writer.as_deref()),
        (0, Some("writer-2"))
    );
    assert!(matches!(store.renew(WRITER).await, Err(StoreError::Fenced)));
    let batch = Batch {
        identity: STREAM.into(),
        from: 0,
        to: 1,
        ..Batch::default()
    };
    assert!(matches!(
        store.apply(WRITER, &batch).await,
        Err(StoreError::Fenced)
    ));

    // Given back, it is free at once.
    store.release("writer-2").await.unwrap();
    assert_eq!(store.projection().await.unwrap().writer, None);
    assert!(matches!(
        store.claim(WRITER, false).await.unwrap(),
        Claim::Granted(_)
    ));
}

async fn a_batch_applies_once<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    script.call("CA1", 0, "+1555");
    let batch = script.batch();
    store.apply(WRITER, &batch).await.unwrap();
    assert!(matches!(
        store.apply(WRITER, &batch).await,
        Err(StoreError::Fenced)
    ));
    let other = Batch {
        identity: "stream-2".into(),
        from: 1,
        to: 2,
        ..Batch::default()
    };
    assert!(matches!(
        store.apply(WRITER, &other).await,
        Err(StoreError::Fenced)
    ));
    assert_eq!(store.projection().await.unwrap().position, 1);
    assert_eq!(store.counts().await.unwrap(), vec![(Status::New, 1)]);
    // A batch that only moves on.
    let empty = Batch {
        identity: STREAM.into(),
        from: 1,
        to: 9,
        ..Batch::default()
    };
    store.apply(WRITER, &empty).await.unwrap();
    assert_eq!(store.projection().await.unwrap().position, 9);
    assert_eq!(store.newest_position().await.unwrap(), 1);
}

async fn a_batch_is_all_or_nothing<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    script.call("CA1", 0, "+1555").write(&*store).await;
    script.call("CA2", 1, "+1555");
    let mut batch = script.batch();
    let event = UnreadableEvent {
        position: 2,
        subject: "calls.x".into(),
        reason: "r".into(),
        stored_at: UnixMillis(T0),
    };
    // The same position twice cannot be stored; nothing of the batch may stay.
    batch.unreadable = vec![
        event.clone(),
        UnreadableEvent {
            subject: "other".into(),
            ..event
        },
    ];
    assert!(store.apply(WRITER, &batch).await.is_err());
    assert_eq!(store.projection().await.unwrap().position, 1);
    assert_eq!(store.lead(&sid("CA2")).await.unwrap(), None);
    assert_eq!(store.unreadable(10).await.unwrap(), vec![]);
    assert_eq!(store.counts().await.unwrap(), vec![(Status::New, 1)]);
    batch.unreadable.pop();
    store.apply(WRITER, &batch).await.unwrap();
    assert_eq!(store.counts().await.unwrap(), vec![(Status::New, 2)]);
}

async fn reset_empties_everything<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    script.named_call("CA1", 0, "+1555", Some("Dana"));
    let mut batch = script.batch();
    batch.unreadable.push(UnreadableEvent {
        position: 1,
        subject: "calls.x".into(),
        reason: "r".into(),
        stored_at: UnixMillis(T0),
    });
    store.apply(WRITER, &batch).await.unwrap();
    assert_eq!(found(&*store, q("dana")).await, ["CA1"]);
    store.reset(WRITER, "stream-2").await.unwrap();
    let projection = store.projection().await.unwrap();
    assert_eq!(
        (projection.identity.as_deref(), projection.position),
        (Some("stream-2"), 0)
    );
    assert!(found(&*store, LeadFilter::default()).await.is_empty());
    assert!(found(&*store, q("dana")).await.is_empty());
    assert!(store.counts().await.unwrap().is_empty());
    assert!(store.unreadable(10).await.unwrap().is_empty());
    assert!(store.states(&[sid("CA1")]).await.unwrap().is_empty());
    // And the same can be written again.
    batch.identity = "stream-2".into();
    store.apply(WRITER, &batch).await.unwrap();
    assert_eq!(found(&*store, q("dana")).await, ["CA1"]);
}

async fn pages_meet_without_gap_or_repeat<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    // Three at each moment, so that pages end within one.
    for n in 0..20 {
        script.named_call(&format!("CA{n:02}"), n / 3, "+972501234567", Some("dana"));
    }
    script.write(&*store).await;
    let mut expected: Vec<String> = (0..20).map(|n| format!("CA{n:02}")).collect();
    expected.sort_by_key(|call| std::cmp::Reverse((call[2..].parse::<i64>().unwrap() / 3, call.clone())));
    let word = q("dana");
    let statuses = LeadFilter {
        status: vec![Status::New, Status::Failed],
        ..LeadFilter::default()
    };
    for filter in [LeadFilter::default(), word, statuses] {
        let mut read: Vec<String> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = store.list(&filter, 4, cursor.as_deref()).await.unwrap();
            assert!(page.leads.len() <= 4);
            read.extend(sids(&page).into_iter().map(str::to_owned));
            // A lead that arrives between two pages stands before the first one.
            if cursor.is_none() {
                script.named_call(
                    &format!("CB{}", read.len() + read[0].len() + script.states.len()),
                    99,
                    "+1",
                    Some("dana"),
                );
                script.write(&*store).await;
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        read.retain(|call| call.starts_with("CA"));
        assert_eq!(read, expected, "{filter:?}");
    }
    // The limit is bounded on both sides.
    assert_eq!(
        store
            .list(&LeadFilter::default(), 0, None)
            .await
            .unwrap()
            .leads
            .len(),
        1
    );
    assert_eq!(
        store
            .list(&LeadFilter::default(), 10_000, None)
            .await
            .unwrap()
            .leads
            .len(),
        23
    );
}

async fn calls_are_counted_by_the_quarter<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    // A quarter of an hour ends 200 s behind T0.
    for (n, second) in [(1, 0), (2, 10), (3, 199), (4, 200), (5, 2_000)] {
        script.call(&format!("CA{n}"), second, "+972501234567");
    }
    script.call("CA6", 100, "+972501234567").ready("CA6", "RE6", 101);
    script.write(&*store).await;
    let at = |second: i64| UnixMillis(T0 + second * 1_000);
    let counted = |from, to| store.calls_per_quarter(from, to);
    assert_eq!(
        counted(at(-1_000), at(3_000)).await.unwrap(),
        [(at(-700), 4), (at(200), 1), (at(2_000), 1)]
    );
    // From the first moment on, and before the last one.
    assert_eq!(counted(at(10), at(200)).await.unwrap(), [(at(-700), 3)]);
    assert_eq!(counted(at(5_000), at(9_000)).await.unwrap(), []);
    assert_eq!(store.oldest(Status::New).await.unwrap(), Some(at(0)));
    assert_eq!(store.oldest(Status::Recorded).await.unwrap(), Some(at(100)));
    assert_eq!(store.oldest(Status::Failed).await.unwrap(), None);
}

async fn filters_narrow<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    script.call("CA1", 0, "+972501234567").ready("CA1", "RE1", 5);
    script.call("CA2", 10, "+972507654321");
    script.call("CA3", 20, "anonymous");
    let missing = RecordingMissing {
        recording_sid: None,
        reason: MissingReason::NeverLeft,
        error_code: None,
        idempotency_token: None,
        form: vec![],
    };
    script.add("CA3", Key::missing(None, "never_left"), 25, missing);
    script.write(&*store).await;
    let phone = |phone: &str| LeadFilter {
        phone: Some(phone.to_owned()),
        ..LeadFilter::default()
    };
    let status = |status: &[Status]| LeadFilter {
        status: status.to_vec(),
        ..LeadFilter::default()
    };
    assert_eq!(found(&*store, phone("+972501234567")).await, ["CA1"]);
    assert_eq!(found(&*store, phone("+97250123456")).await, Vec::<String>::new());
    assert_eq!(found(&*store, phone("050-1234567")).await, ["CA1"]);
    assert_eq!(found(&*store, phone("4321")).await, ["CA2"]);
    assert_eq!(found(&*store, phone("9999")).await, Vec::<String>::new());
    assert_eq!(found(&*store, phone("anonymous")).await, ["CA3"]);
    assert_eq!(found(&*store, status(&[Status::Recorded])).await, ["CA1"]);
    assert_eq!(
        found(&*store, status(&[Status::NoMessage, Status::New])).await,
        ["CA3", "CA2"]
    );
    let since = LeadFilter {
        from: Some(UnixMillis(T0 + 10_000)),
        ..LeadFilter::default()
    };
    assert_eq!(found(&*store, since.clone()).await, ["CA3", "CA2"]);
    let between = LeadFilter {
        to: Some(UnixMillis(T0 + 20_000)),
        ..since
    };
    assert_eq!(found(&*store, between.clone()).await, ["CA2"]);
    assert_eq!(
        found(
            &*store,
            LeadFilter {
                status: vec![Status::Recorded],
                ..between.clone()
            }
        )
        .await,
        Vec::<String>::new()
    );
    let both = LeadFilter {
        q: Some("97250".into()),
        phone: Some("4321".into()),
        ..between
    };
    assert_eq!(found(&*store, both).await, ["CA2"]);
}

/// Twelve calls of one number in every combination of disposition, seen and assignee; every filter is held against what
/// the leads themselves say.
async fn what_people_do_narrows_and_is_counted<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    for n in 0..24_i64 {
        let call = format!("CA{n:02}");
        script.named_call(&call, n / 2, "+972501234567", Some("dana"));
        if n % 3 == 0 {
            script.ready(&call, &format!("RE{n}"), n / 2);
        }
        let mut actions = vec![LeadAction::Disposition {
            disposition: Disposition::ALL[usize::try_from(n % 4).unwrap()],
        }];
        if n % 2 == 0 {
            actions.push(LeadAction::Seen { seen: true });
        }
        if n % 5 < 2 {
            let assignee = if n % 5 == 0 { "dana כהן" } else { "yossi\0" };
            actions.push(LeadAction::Assignee {
                assignee: Some(assignee.to_owned()),
            });
        }
        for (revision, action) in (1..).zip(actions) {
            script.person(&call, revision, n / 2, action);
        }
    }
    script.write(&*store).await;
    let leads: Vec<Lead> = {
        let mut leads: Vec<Lead> = script
            .states
            .values()
            .map(|state| lead_view(state).unwrap())
            .collect();
        leads.sort_by(|a, b| (b.created_at, &b.call_sid).cmp(&(a.created_at, &a.call_sid)));
        leads
    };
    let some_of = [
        vec![],
        vec![Disposition::Open],
        vec![Disposition::Spam, Disposition::CalledBack],
    ];
    let statuses = [
        vec![],
        vec![Status::Recorded],
        vec![Status::New, Status::Recorded],
    ];
    for disposition in &some_of {
        for status in &statuses {
            for seen in [None, Some(true), Some(false)] {
                for assignee in [None, Some("dana כהן"), Some("yossi\0"), Some("nobody")] {
                    let filter = LeadFilter {
                        disposition: disposition.clone(),
                        status: status.clone(),
                        seen,
                        assignee: assignee.map(str::to_owned),
                        ..LeadFilter::default()
                    };
                    let passes = |lead: &&Lead| {
                        (disposition.is_empty() || disposition.contains(&lead.disposition))
                            && (status.is_empty() || status.contains(&lead.status))
                            && seen.is_none_or(|seen| seen == lead.seen)
                            && assignee.is_none_or(|name| lead.assignee.as_deref() == Some(name))
                    };
                    let expected: Vec<&str> = leads
                        .iter()
                        .filter(passes)
                        .map(|lead| lead.call_sid.as_str())
                        .collect();
                    let number = expected.len();
                    assert_eq!(found(&*store, filter.clone()).await, expected, "{filter:?}");
                    assert_eq!(
                        store.count(&filter, 100).await.unwrap() as usize,
                        number,
                        "{filter:?}"
                    );
                    assert_eq!(store.count(&filter, 3).await.unwrap() as usize, number.min(3));
                    for narrower in [
                        LeadFilter {
                            q: Some("dan".into()),
                            ..filter.clone()
                        },
                        LeadFilter {
                            phone: Some("050-1234567".into()),
                            ..filter.clone()
                        },
                    ] {
                        assert_eq!(found(&*store, narrower.clone()).await, expected, "{narrower:?}");
                    }
                    // In pages, and within a time.
                    let (mut paged, mut cursor) = (Vec::new(), None);
                    loop {
                        let page = store.list(&filter, 3, cursor.as_deref()).await.unwrap();
                        paged.extend(sids(&page).into_iter().map(str::to_owned));
                        cursor = page.next_cursor;
                        if cursor.is_none() {
                            break;
                        }
                    }
                    assert_eq!(paged, expected, "{filter:?}");
                    let late = LeadFilter {
                        from: Some(UnixMillis(T0 + 6_000)),
                        ..filter
                    };
                    let expected: Vec<&str> = leads
                        .iter()
                        .filter(passes)
                        .filter(|lead| lead.created_at.0.0 >= T0 + 6_000)
                        .map(|lead| lead.call_sid.as_str())
                        .collect();
                    assert_eq!(found(&*store, late).await, expected);
                }
            }
        }
    }
    // A later action: the lead moves from one list to the other, in the search too.
    let open = LeadFilter {
        disposition: vec![Disposition::Open],
        ..q("dan")
    };
    let before = found(&*store, open.clone()).await.len();
    let done = LeadAction::Disposition {
        disposition: Disposition::Done,
    };
    script.person("CA04", 9, 99, done);
    script.write(&*store).await;
    assert_eq!(found(&*store, open).await.len(), before - 1);
}

async fn earlier_calls_of_a_number_are_counted<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    for n in 0..120 {
        script.call(&format!("CA{n:03}"), n / 2, "+972501234567");
    }
    script
        .call("CB1", 5, "+97250123456")
        .call("CB2", 6, "x\0y")
        .call("CB3", 7, "x\0y")
        .write(&*store)
        .await;
    let mut leads = Vec::new();
    for call in ["CA000", "CA001", "CA010", "CB1", "CA119", "CB3"] {
        leads.push(store.lead(&sid(call)).await.unwrap().unwrap());
    }
    let leads: Vec<&Lead> = leads.iter().collect();
    assert_eq!(
        store.earlier(&leads).await.unwrap(),
        [0, 1, 10, 0, EARLIER_MAX, 1]
    );
    assert_eq!(store.earlier(&[]).await.unwrap(), Vec::<u32>::new());
}

async fn words_are_found<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    script
        .named_call("CA1", 0, "+972501234567", Some("Dana LEVI"))
        .ready("CA1", "RE1", 5);
    script
        .transcript("CA1", "RE1", 6, "שָׁלוֹם, יש נזילה של צה\"ל ב-12:30")
        .summary("CA1", "RE1", 7, "Leak");
    script
        .named_call("CA2", 10, "+972507654321", Some("dan"))
        .ready("CA2", "RE2", 15);
    script.transcript("CA2", "RE2", 16, "שלומית ביקשה הצעת מחיר");
    // Another number than the one that called, and a name that the network did not know.
    script.call("CA3", 20, "anonymous").ready("CA3", "RE3", 21);
    script.transcript("CA3", "RE3", 22, "אפשר לדבר איתי מחר").said(
        "CA3",
        "RE3",
        23,
        ["יעל כהן", "+97236543210", "חשבונית"],
    );
    script.write(&*store).await;
    for (query, expected) in [
        ("יעל", vec!["CA3"]),
        ("כהנ מחר", vec!["CA3"]),
        ("חשבונית", vec!["CA3"]),
        ("03-654-3210", vec!["CA3"]),
        ("+972 3-654", vec!["CA3"]),
        ("3210", vec!["CA3"]),
        ("anonymous", vec!["CA3"]),
        ("שלום", vec!["CA2", "CA1"]),
        ("שלומית", vec!["CA2"]),
        ("שָׁלוֹם נזי", vec!["CA1"]),
        ("שלום מחיר", vec!["CA2"]),
        ("צהל", vec!["CA1"]),
        ("dana", vec!["CA1"]),
        ("DAN", vec!["CA2", "CA1"]),
        ("levi leak", vec!["CA1"]),
        ("second", vec!["CA3", "CA1"]),
        ("4321", vec!["CA2"]),
        ("050-123", vec!["CA1"]),
        ("+972 50", vec!["CA2", "CA1"]),
        ("972501234567", vec!["CA1"]),
        // Longer than the beginnings that an index may have, whole and not.
        ("חשבונ", vec!["CA3"]),
        ("חשבונית", vec!["CA3"]),
        ("שלומי", vec!["CA2"]),
        ("חשבוניתא", vec![]),
        ("ana", vec![]),
        ("!!!", vec![]),
        ("שלום dragon", vec![]),
    ] {
        assert_eq!(found(&*store, q(query)).await, expected, "{query}");
    }
    let processed = LeadFilter {
        status: vec![Status::Processed],
        ..q("dan")
    };
    assert_eq!(found(&*store, processed).await, ["CA1"]);
    let late = LeadFilter {
        from: Some(UnixMillis(T0 + 5_000)),
        ..q("dan")
    };
    assert_eq!(found(&*store, late).await, ["CA2"]);
}

/// Beginnings that few words have, and that many have, of whatever length.
async fn beginnings_of_any_length_are_found<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    for n in 0..60_i64 {
        script.named_call(
            &format!("CA{n:02}"),
            n,
            "+1",
            Some(&format!("Customer{n:02}x same{}", n % 3)),
        );
    }
    script.write(&*store).await;
    for (query, number) in [
        ("cu", 60),
        ("cust", 60),
        ("customer", 60),
        ("customer0", 10),
        ("customer07", 1),
        ("customer07x", 1),
        ("customer07xy", 0),
        ("customer same1", 20),
        ("customer1 same1", 4),
        ("samesame", 0),
    ] {
        assert_eq!(found(&*store, q(query)).await.len(), number, "{query}");
    }
}

async fn a_search_follows_what_changes<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    script.ready("CA1", "RE1", 5).write(&*store).await;
    assert!(found(&*store, q("dana")).await.is_empty());
    script
        .named_call("CA1", 6, "+972501234567", Some("dana"))
        .write(&*store)
        .await;
    assert_eq!(found(&*store, q("dana")).await, ["CA1"]);
    script.transcript("CA1", "RE1", 7, "נזילה").write(&*store).await;
    assert_eq!(found(&*store, q("dana נזילה")).await, ["CA1"]);
    script.summary("CA1", "RE1", 8, "leak").write(&*store).await;
    assert_eq!(found(&*store, q("dana leak")).await, ["CA1"]);
    // A word that goes is not found any more: the same call without its name.
    let mut other = Script::new();
    (other.position, other.from) = (script.position, script.position);
    other.call("CA1", 6, "+1555").write(&*store).await;
    assert!(found(&*store, q("dana")).await.is_empty());
    assert_eq!(found(&*store, q("1555")).await, ["CA1"]);
    assert_eq!(store.counts().await.unwrap(), vec![(Status::New, 1)]);
}

async fn an_earlier_event_moves_a_lead<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    script.named_call("CA1", 50, "+1555", Some("dana"));
    script
        .named_call("CA2", 40, "+1555", Some("dana"))
        .write(&*store)
        .await;
    assert_eq!(found(&*store, q("dana")).await, ["CA1", "CA2"]);
    // Two leads change places: one of them got an event with an earlier time.
    script.ready("CA1", "RE1", 30).write(&*store).await;
    assert_eq!(found(&*store, q("dana")).await, ["CA2", "CA1"]);
    assert_eq!(found(&*store, LeadFilter::default()).await, ["CA2", "CA1"]);
    assert_eq!(
        store.lead(&sid("CA1")).await.unwrap().unwrap().created_at.0,
        UnixMillis(T0 + 30_000)
    );
    assert_eq!(store.positions(&sid("CA1")).await.unwrap(), vec![1, 3]);
    assert_eq!(
        store.counts().await.unwrap(),
        vec![(Status::New, 1), (Status::Recorded, 1)]
    );
}

async fn changes_come_in_order<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    script
        .call("CA1", 0, "+1555")
        .call("CA2", 1, "+1555")
        .call("CA3", 2, "+1555")
        .ready("CA1", "RE1", 3);
    script.write(&*store).await;
    let of = async |position, limit| -> Vec<(String, u64)> {
        let changes = store.changes_since(position, limit).await.unwrap();
        changes
            .into_iter()
            .map(|change| (change.call_sid.to_string(), change.position))
            .collect()
    };
    assert_eq!(
        of(0, 10).await,
        [("CA2".into(), 2), ("CA3".into(), 3), ("CA1".into(), 4)]
    );
    assert_eq!(of(2, 1).await, [("CA3".into(), 3)]);
    assert_eq!(of(4, 10).await, []);
    assert_eq!(
        store.changes_since(3, 9).await.unwrap()[0].status,
        Some(Status::Recorded)
    );
}

async fn unreadable_events_are_kept<S: Store>(store: Arc<S>) {
    begin(&*store).await;
    let event = |position| UnreadableEvent {
        position,
        subject: format!("calls.x.{position}"),
        reason: "malformed".into(),
        stored_at: UnixMillis(T0),
    };
    let batch = Batch {
        identity: STREAM.into(),
        from: 0,
        to: 3,
        changes: vec![],
        erased: vec![],
        unreadable: vec![event(1), event(2), event(3)],
    };
    store.apply(WRITER, &batch).await.unwrap();
    assert_eq!(store.unreadable(2).await.unwrap(), vec![event(3), event(2)]);
}

async fn hostile_texts_are_only_texts<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    let nasty = "'; DROP TABLE leads; -- \" \0 \\ %_ * AND NEAR( {} 𝕏 👍🏽 ﷽";
    script
        .named_call("CA1", 0, nasty, Some(nasty))
        .ready("CA1", "RE1", 5);
    script
        .transcript("CA1", "RE1", 6, nasty)
        .summary("CA1", "RE1", 7, nasty);
    script.write(&*store).await;
    let lead = store.lead(&sid("CA1")).await.unwrap().unwrap();
    assert_eq!(lead.transcript.as_deref(), Some(nasty));
    assert_eq!(lead.phone.as_str(), nasty);
    for query in [
        nasty,
        "drop",
        "near",
        "'",
        "\"",
        "*",
        "a:*",
        "x & y",
        "!drop",
        "\0",
        "\\",
        "word:words",
    ] {
        let list = store.list(&q(query), 10, None).await.unwrap();
        assert!(list.leads.len() <= 1, "{query}");
        let phone = LeadFilter {
            phone: Some(query.to_owned()),
            ..LeadFilter::default()
        };
        store.list(&phone, 10, None).await.unwrap();
    }
    assert_eq!(found(&*store, q("drop table")).await, ["CA1"]);
    assert_eq!(found(&*store, q("near")).await, ["CA1"]);
}

async fn a_large_batch_is_written<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    for n in 0..1_500 {
        script.named_call(&format!("CA{n:04}"), n / 7, "+972501234567", Some("dana"));
    }
    script.write(&*store).await;
    for n in (0..1_500).step_by(2) {
        script.ready(&format!("CA{n:04}"), &format!("RE{n}"), n);
    }
    script.write(&*store).await;
    assert_eq!(
        store.counts().await.unwrap(),
        vec![(Status::New, 750), (Status::Recorded, 750)]
    );
    assert_eq!(store.projection().await.unwrap().position, 2_250);
    assert_eq!(found(&*store, q("dana")).await.len(), 100);
    let calls: Vec<CallSid> = script.states.keys().cloned().collect();
    assert_eq!(store.states(&calls).await.unwrap().len(), 1_500);
}

async fn an_erased_call_leaves_a_tombstone<S: Store>(store: Arc<S>) {
    let mut script = begin(&*store).await;
    script
        .named_call("CA1", 0, "+1555", Some("dana"))
        .named_call("CA2", 1, "+1555", Some("dana"))
        .write(&*store)
        .await;
    // A call that never had a lead is erased like one that had.
    let ((first, state), (second, _)) = (tombstone("CA1", 3), tombstone("CA9", 4));
    let erase = |from, erased| Batch {
        identity: STREAM.into(),
        from,
        to: from + 2,
        erased,
        ..Batch::default()
    };
    store.apply(WRITER, &erase(2, vec![first, second])).await.unwrap();
    assert_eq!(store.lead(&sid("CA1")).await.unwrap(), None);
    assert_eq!(found(&*store, LeadFilter::default()).await, ["CA2"]);
    assert_eq!(found(&*store, q("dana")).await, ["CA2"]);
    assert_eq!(store.counts().await.unwrap(), vec![(Status::New, 1)]);
    assert_eq!(store.state(&sid("CA1")).await.unwrap().as_ref(), Some(&state));
    assert_eq!(store.positions(&sid("CA1")).await.unwrap(), vec![3]);
    let states = store.states(&[sid("CA1"), sid("CA2"), sid("CA9")]).await.unwrap();
    assert_eq!((states.len(), states.get(&sid("CA1"))), (3, Some(&state)));
    // Who follows is told, in order with the others.
    let changes = store.changes_since(1, 10).await.unwrap();
    let seen: Vec<_> = changes
        .iter()
        .map(|change| (change.call_sid.as_str(), change.status, change.position))
        .collect();
    assert_eq!(
        seen,
        [("CA2", Some(Status::New), 2), ("CA1", None, 3), ("CA9", None, 4)]
    );
    assert_eq!(store.changes_since(2, 1).await.unwrap().len(), 1);
    assert_eq!(store.newest_position().await.unwrap(), 4);
    // A later event of the call: the newer tombstone takes the place of the older one.
    let (again, state) = tombstone("CA1", 6);
    store.apply(WRITER, &erase(4, vec![again])).await.unwrap();
    assert_eq!(store.state(&sid("CA1")).await.unwrap().as_ref(), Some(&state));
    assert_eq!(store.newest_position().await.unwrap(), 6);
    assert_eq!(store.counts().await.unwrap(), vec![(Status::New, 1)]);
    store.purge().await.unwrap();
    assert_eq!(found(&*store, q("dana")).await, ["CA2"]);
    store.reset(WRITER, STREAM).await.unwrap();
    assert_eq!(store.state(&sid("CA1")).await.unwrap(), None);
}

/// Some calls, and the one batch that makes them.
fn some_calls() -> (Script, Batch) {
    let mut script = Script::new();
    for n in 0..50 {
        let call = format!("CA{n:02}");
        script
            .named_call(&call, n, "+972501234567", Some("dana"))
            .ready(&call, &format!("RE{n}"), n)
            .transcript(&call, &format!("RE{n}"), n, "נזילה");
    }
    let batch = script.batch();
    (script, batch)
}

async fn clear(store: &dyn Store) {
    while !store.shadow_clear(WRITER, 7).await.unwrap() {}
}

async fn index(store: &dyn Store) {
    while !store.shadow_index(WRITER, 7).await.unwrap() {}
}

/// Folds a batch into the shadow and makes its indexes.
async fn rebuild(store: &dyn Store, batch: &Batch) {
    clear(store).await;
    store.shadow_begin(WRITER, false).await.unwrap();
    store.shadow_apply(WRITER, batch).await.unwrap();
    index(store).await;
}

async fn compare(store: &dyn Store) -> Comparison {
    store.compare(3).await.unwrap().unwrap()
}

async fn a_rebuild_serves_after_the_switch<S: Store>(store: Arc<S>) {
    begin(&*store).await;
    let (mut script, batch) = some_calls();
    store.apply(WRITER, &batch).await.unwrap();
    // Twice, so that each side has been both.
    for generation in [1, 2] {
        clear(&*store).await;
        let shadow = store.shadow().await.unwrap();
        assert_eq!((shadow.state, shadow.position), (ShadowState::Empty, 0));
        store.shadow_begin(WRITER, true).await.unwrap();
        assert!(store.shadow_states(&[sid("CA00")]).await.unwrap().is_empty());
        let whole = Batch {
            from: 0,
            changes: script
                .states
                .values()
                .map(|state| Change::new(&lead_view(state).unwrap(), state).unwrap())
                .collect(),
            to: script.position,
            ..batch.clone()
        };
        store.shadow_apply(WRITER, &whole).await.unwrap();
        assert_eq!(
            store.shadow_states(&[sid("CA00")]).await.unwrap()[&sid("CA00")],
            script.states[&sid("CA00")]
        );
        // Not before its indexes are there.
        assert!(matches!(
            store.switch(WRITER, script.position).await,
            Err(StoreError::Fenced)
        ));
        index(&*store).await;
        // An event that comes now goes into both.
        script.named_call(&format!("CB{generation}"), 99, "+1555", Some("levi"));
        let next = script.batch();
        store.apply_both(WRITER, &next, &next).await.unwrap();
        let comparison = compare(&*store).await;
        assert!(comparison.is_same(), "{comparison:?}");
        assert_eq!(
            (comparison.position, comparison.live),
            (script.position, 50 + generation)
        );
        assert!(store.switch(WRITER, script.position).await.unwrap());
        let expected = Shadow {
            state: ShadowState::Old,
            position: script.position,
            fold_version: FOLD_VERSION,
            accept: true,
            generation: i64::try_from(generation).unwrap(),
        };
        assert_eq!(store.shadow().await.unwrap(), expected);
        // All reads answer from the other side, and writes go there.
        let counted: u64 = store.counts().await.unwrap().iter().map(|(_, leads)| leads).sum();
        assert_eq!(counted, 50 + generation);
        assert_eq!(
            found(&*store, q("levi")).await.len(),
            usize::try_from(generation).unwrap()
        );
        assert_eq!(found(&*store, q("dana נזי")).await.len(), 50);
        script.summary("CA00", "RE0", 100, "leak").write(&*store).await;
        assert_eq!(found(&*store, q("leak")).await, ["CA00"]);
        assert_eq!(store.newest_position().await.unwrap(), script.position);
        assert_eq!(
            store.changes_since(script.position - 1, 9).await.unwrap()[0].call_sid,
            sid("CA00")
        );
    }
}

async fn a_rebuild_goes_on_where_it_was_broken_off<S: Store>(store: Arc<S>) {
    begin(&*store).await;
    let (script, batch) = some_calls();
    store.apply(WRITER, &batch).await.unwrap();
    clear(&*store).await;
    store.shadow_begin(WRITER, false).await.unwrap();
    // Rows without the position, then an end: the live side does not know of it.
    let half = Batch {
        to: 0,
        changes: batch.changes[..20].to_vec(),
        ..batch.clone()
    };
    store.shadow_apply(WRITER, &half).await.unwrap();
    store.release(WRITER).await.unwrap();
    assert!(matches!(
        store.claim(WRITER, false).await.unwrap(),
        Claim::Granted(_)
    ));
    let shadow = store.shadow().await.unwrap();
    assert_eq!((shadow.state, shadow.position), (ShadowState::Folding, 0));
    assert_eq!(found(&*store, q("dana")).await.len(), 50);
    assert_eq!(store.compare(3).await.unwrap(), None);
    // The same again, and the rest.
    store.shadow_apply(WRITER, &batch).await.unwrap();
    assert_eq!(store.shadow().await.unwrap().position, script.position);
    // The indexes half made.
    assert!(!store.shadow_index(WRITER, 7).await.unwrap());
    assert_eq!(store.shadow().await.unwrap().state, ShadowState::Folding);
    index(&*store).await;
    assert!(compare(&*store).await.is_same());
    assert!(store.switch(WRITER, script.position).await.unwrap());
    assert_eq!(found(&*store, q("dana")).await.len(), 50);
    assert_eq!(store.counts().await.unwrap(), vec![(Status::Transcribed, 50)]);
    // Emptying the old ones, half and then whole.
    store.shadow_clear(WRITER, 7).await.unwrap();
    clear(&*store).await;
    assert_eq!(store.shadow().await.unwrap().state, ShadowState::Empty);
    assert_eq!(found(&*store, q("dana")).await.len(), 50);
}

async fn differences_are_found<S: Store>(store: Arc<S>) {
    begin(&*store).await;
    let (script, batch) = some_calls();
    let mut planted = batch.clone();
    planted.changes[3].hash.0[0] ^= 1;
    planted.changes.remove(5);
    let mut fewer = batch.clone();
    fewer.changes.remove(9);
    store.apply(WRITER, &planted).await.unwrap();
    rebuild(&*store, &fewer).await;
    let comparison = compare(&*store).await;
    assert!(!comparison.is_same());
    let difference = |call: &str, kind| Difference {
        call_sid: sid(call),
        kind,
    };
    assert_eq!(
        comparison.calls,
        [
            difference("CA03", DifferenceKind::Different),
            difference("CA05", DifferenceKind::Extra),
            difference("CA09", DifferenceKind::Missing)
        ]
    );
    assert_eq!((comparison.live, comparison.rebuilt), (49, 49));
    assert_ne!(comparison.live_hash, comparison.rebuilt_hash);
    assert_eq!(comparison.position, script.position);
}

async fn the_shadow_has_the_same_fence<S: Store>(store: Arc<S>) {
    begin(&*store).await;
    let (_, batch) = some_calls();
    let fenced =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Fenced)), "{result:?}");
    fenced(store.shadow_begin("writer-2", false).await);
    fenced(store.shadow_clear("writer-2", 7).await.map(drop));
    // Not begun.
    fenced(store.shadow_apply(WRITER, &batch).await);
    store.shadow_begin(WRITER, false).await.unwrap();
    // Begun already.
    fenced(store.shadow_begin(WRITER, false).await);
    fenced(store.shadow_apply("writer-2", &batch).await);
    fenced(store.shadow_accept("writer-2").await);
    store.shadow_apply(WRITER, &batch).await.unwrap();
    // Not from there.
    fenced(store.shadow_apply(WRITER, &batch).await);
    assert!(!store.shadow().await.unwrap().accept);
    store.shadow_accept(WRITER).await.unwrap();
    assert!(store.shadow().await.unwrap().accept);
    index(&*store).await;
    // The live side is not at this position; and half of a batch for both is none.
    fenced(store.switch(WRITER, batch.to).await.map(drop));
    let next = Batch {
        from: 0,
        ..batch.clone()
    };
    fenced(store.apply_both(WRITER, &next, &next).await);
    assert_eq!(store.projection().await.unwrap().position, 0);
    assert!(found(&*store, LeadFilter::default()).await.is_empty());
    // A reset takes the shadow with it.
    store.reset(WRITER, "stream-2").await.unwrap();
    assert_eq!(store.shadow().await.unwrap().state, ShadowState::Empty);
    assert!(store.shadow_states(&[sid("CA00")]).await.unwrap().is_empty());
}

async fn an_erased_call_leaves_both_sides<S: Store>(store: Arc<S>) {
    begin(&*store).await;
    let (script, batch) = some_calls();
    store.apply(WRITER, &batch).await.unwrap();
    rebuild(&*store, &batch).await;
    assert!(store.switch(WRITER, script.position).await.unwrap());
    let (erased, state) = tombstone("CA07", script.position + 1);
    let erase = Batch {
        identity: STREAM.into(),
        from: script.position,
        to: script.position + 1,
        erased: vec![erased],
        ..Batch::default()
    };
    store.apply(WRITER, &erase).await.unwrap();
    assert_eq!(store.lead(&sid("CA07")).await.unwrap(), None);
    // The old tables hold the tombstone as well.
    assert_eq!(
        store.shadow_states(&[sid("CA07")]).await.unwrap()[&sid("CA07")],
        state
    );
    // A rebuild under way: its tables lose the call at once, and the comparison sees the same on both sides.
    rebuild(&*store, &batch).await;
    store.shadow_apply(WRITER, &erase).await.unwrap();
    let comparison = compare(&*store).await;
    assert!(comparison.is_same(), "{comparison:?}");
    assert_eq!(comparison.live, 50);
    assert!(store.switch(WRITER, erase.to).await.unwrap());
    assert_eq!(found(&*store, q("dana")).await.len(), 49);
    assert_eq!(store.counts().await.unwrap(), vec![(Status::Transcribed, 49)]);
}

async fn no_read_fails_in_a_switch<S: Store>(store: Arc<S>) {
    begin(&*store).await;
    let (script, batch) = some_calls();
    store.apply(WRITER, &batch).await.unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|n| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut reads = 0_u32;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let call = sid(&format!("CA{:02}", (reads + n) % 50));
                    assert!(store.lead(&call).await.unwrap().is_some());
                    assert!(store.state(&call).await.unwrap().is_some());
                    assert_eq!(found(&*store, q("dana נזי")).await.len(), 50);
                    assert_eq!(found(&*store, LeadFilter::default()).await.len(), 50);
                    assert_eq!(store.counts().await.unwrap(), vec![(Status::Transcribed, 50)]);
                    assert_eq!(store.changes_since(0, 100).await.unwrap().len(), 50);
                    reads += 6;
                }
                reads
            })
        })
        .collect();
    for generation in 1..=6 {
        rebuild(&*store, &batch).await;
        while !store.switch(WRITER, script.position).await.unwrap() {}
        assert_eq!(store.shadow().await.unwrap().generation, generation);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}
