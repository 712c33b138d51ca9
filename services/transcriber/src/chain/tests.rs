#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::audio::{Audio16k, SAMPLE_RATE_HZ};
use crate::engine::RecognisedSegment;
use FailureClass as Class;

#[derive(Clone, Copy)]
enum Says {
    Text(&'static str),
    Nothing,
    Unavailable(Class),
    Wishes(u64),
    Rejected(Class),
    Cancelled,
    Panics,
    /// Never anything.
    Hangs,
}

use Says::*;

/// Says its sentences one after the other, each after so many seconds, and the last one for ever.
struct Fake {
    name: &'static str,
    is_local: bool,
    is_present: bool,
    script: Vec<(u64, Says)>,
    asked: AtomicUsize,
    /// How many were stopped in the middle, by their token or by being dropped.
    stopped: AtomicUsize,
}

fn fake(name: &'static str, script: &[(u64, Says)]) -> Arc<Fake> {
    Arc::new(Fake {
        name,
        is_local: false,
        is_present: true,
        script: script.to_vec(),
        asked: AtomicUsize::new(0),
        stopped: AtomicUsize::new(0),
    })
}

fn local(name: &'static str, script: &[(u64, Says)]) -> Arc<Fake> {
    Arc::new(Fake {
        is_local: true,
        ..Arc::into_inner(fake(name, script)).unwrap()
    })
}

impl Fake {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn stopped(&self) -> usize {
        self.stopped.load(Ordering::SeqCst)
    }
}

struct CountsWhenDropped<'a>(&'a AtomicUsize);

impl Drop for CountsWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Engine for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn model(&self) -> String {
        format!("{}-1", self.name)
    }

    fn is_local(&self) -> bool {
        self.is_local
    }

    fn is_present(&self) -> bool {
        self.is_present
    }

    async fn prepare(&self) -> Result<(), EngineError> {
        match self.script[0].1 {
            Rejected(class) => Err(EngineError::Rejected {
                class,
                text: "wrong".to_owned(),
                source: None,
            }),
            _ => Ok(()),
        }
    }

    async fn transcribe(&self, request: Request) -> Result<Recognised, EngineError> {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst);
        let (secs, says) = self.script[nth.min(self.script.len() - 1)];
        let stopped = CountsWhenDropped(&self.stopped);
        tokio::select! {
            () = request.cancel.cancelled() => return Err(EngineError::Cancelled),
            () = tokio::time::sleep(Duration::from_secs(secs)) => {}
        }
        if matches!(says, Hangs) {
            request.cancel.cancelled().await;
            return Err(EngineError::Cancelled);
        }
        std::mem::forget(stopped);
        let unavailable = |class, after: Option<u64>| EngineError::Unavailable {
            class,
            text: format!("{} is out", self.name),
            after: after.map(Duration::from_secs),
            source: None,
        };
        let segment = |text: &str| RecognisedSegment {
            start_ms: 0,
            end_ms: 10,
            channel: 0,
            text: text.to_owned(),
            confidence: None,
        };
        let heard = |segments| Recognised {
            language: "he".to_owned(),
            model: self.model(),
            pieces: 1,
            segments,
        };
        match says {
            Text(text) => Ok(heard(vec![segment(text)])),
            Nothing => Ok(heard(Vec::new())),
            Unavailable(class) => Err(unavailable(class, None)),
            Wishes(after) => Err(unavailable(Class::RateLimited, Some(after))),
            Rejected(class) => Err(EngineError::Rejected {
                class,
                text: format!("{} will not", self.name),
                source: None,
            }),
            Cancelled | Hangs => Err(EngineError::Cancelled),
            Panics => panic!("{} panics as it was told to", self.name),
        }
    }
}

/// 40 s, whatever the length; three failures, then 30 s, 60 s …
fn policy() -> ChainPolicy {
    let mut policy = ChainPolicy {
        budget: Duration::from_secs(40),
        per_audio_sec: 0.0,
        share_max: Duration::from_secs(3_600),
        ..ChainPolicy::default()
    };
    policy.breaker.rest.jitter = 0.0;
    policy
}

fn chain(engines: &[&Arc<Fake>]) -> Chain {
    chain_with(policy(), engines)
}

fn chain_with(policy: ChainPolicy, engines: &[&Arc<Fake>]) -> Chain {
    let engines = engines.iter().map(|engine| Arc::clone(engine) as Arc<dyn Engine>);
    Chain::with_policy(engines.collect(), policy)
}

fn seconds(secs: usize) -> Request {
    let samples = vec![0.0; secs * SAMPLE_RATE_HZ as usize];
    Request::new(Arc::new(Audio16k::from_samples(vec![samples])))
}

async fn ask(chain: &Chain) -> Result<Answer, ChainError> {
    chain.transcribe(&seconds(0), None).await
}

fn answered(result: Result<Answer, ChainError>) -> (String, String) {
    let answer = result.unwrap();
    (answer.engine, answer.recognised.text())
}

/// Name, class, tenths of a second.
fn told(failed: &[EngineFailure]) -> Vec<(&str, Class, u64)> {
    failed
        .iter()
        .map(|failure| (failure.engine.as_str(), failure.class, failure.elapsed_ms / 100))
        .collect()
}

fn outlook(result: Result<Answer, ChainError>) -> Outlook {
    match result.unwrap_err() {
        ChainError::Failed { outlook, .. } => outlook,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_fails_starts_the_next_one_at_once() {
    let a = fake("a", &[(2, Unavailable(Class::Network))]);
    let b = fake("b", &[(0, Rejected(Class::Refused))]);
    let c = fake("c", &[(1, Text("שלום"))]);
    let d = fake("d", &[(0, Text("not asked"))]);
    let began = Instant::now();
    let answer = ask(&chain(&[&a, &b, &c, &d])).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert_eq!(
        (answer.engine.as_str(), answer.recognised.text().as_str()),
        ("c", "שלום")
    );
    assert_eq!(answer.elapsed_ms, 1_000);
    assert_eq!(
        told(&answer.failed),
        [("a", Class::Network, 20), ("b", Class::Refused, 0)]
    );
    assert_eq!(
        (answer.failed[0].model.as_str(), answer.failed[0].text.as_str()),
        ("a-1", "a is out")
    );
    assert_eq!(d.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_good_answer() {
    let (a, b) = (fake("a", &[(1, Nothing)]), fake("b", &[(0, Text("x"))]));
    assert_eq!(
        answered(ask(&chain(&[&a, &b])).await),
        ("a".to_owned(), String::new())
    );
    assert_eq!(b.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_next_one_starts_beside_a_slow_one_and_the_slow_one_is_stopped() {
    // Three engines share 40 s: 10 s each, and 20 s for the last one.
    let a = fake("a", &[(0, Hangs)]);
    let b = local("b", &[(30, Text("late"))]);
    let c = fake("c", &[(5, Text("in time"))]);
    let began = Instant::now();
    let answer = ask(&chain(&[&a, &b, &c])).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(25));
    assert_eq!((answer.engine.as_str(), answer.elapsed_ms), ("c", 5_000));
    assert_eq!(
        told(&answer.failed),
        [("a", Class::Overtaken, 250), ("b", Class::Overtaken, 150)]
    );
    assert_eq!(answer.failed[0].text, "c answered first");
    tokio::task::yield_now().await;
    assert_eq!((a.stopped(), b.stopped()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_first_good_answer_wins_whoever_gives_it() {
    let a = fake("a", &[(15, Text("first"))]);
    let b = fake("b", &[(10, Text("second"))]);
    let chain = chain(&[&a, &b]);
    // Two share 40 s: b starts after 13.3 s and would need until 23.3 s.
    for _ in 0..5 {
        let answer = ask(&chain).await.unwrap();
        assert_eq!(answer.recognised.text(), "first");
        assert_eq!(told(&answer.failed), [("b", Class::Overtaken, 16)]);
    }
    // One that began later was not slow.
    assert_eq!((a.asked(), b.asked()), (5, 5));
    assert!(
        chain
            .states()
            .iter()
            .all(|(_, state)| *state == EngineState::Working)
    );
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_always_late_costs_no_caller_a_share_for_long() {
    let a = fake("a", &[(0, Hangs)]);
    let b = local("b", &[(1, Text("b"))]);
    let chain = chain(&[&a, &b]);
    for _ in 0..3 {
        ask(&chain).await.unwrap();
    }
    let began = Instant::now();
    let answer = ask(&chain).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert_eq!(told(&answer.failed), [("a", Class::Resting, 0)]);
    assert_eq!(answer.failed[0].text, "resting for 30 s more");
    assert_eq!(a.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failure_beside_a_slow_one_starts_the_third_at_once() {
    let a = fake("a", &[(0, Hangs)]);
    let b = fake("b", &[(2, Unavailable(Class::Unavailable))]);
    let c = fake("c", &[(1, Text("c"))]);
    let began = Instant::now();
    assert_eq!(answered(ask(&chain(&[&a, &b, &c])).await).0, "c");
    assert_eq!(began.elapsed(), Duration::from_secs(13));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_budget_ends_what_is_asked_over_the_network() {
    let (a, b) = (fake("a", &[(0, Hangs)]), fake("b", &[(0, Hangs)]));
    let began = Instant::now();
    let error = ask(&chain(&[&a, &b])).await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_secs(40));
    assert_eq!(error.class(), Class::Timeout);
    assert_eq!(
        error.to_string(),
        "a: no answer within 40 s; b: no answer within 27 s"
    );
    let ChainError::Failed { failed, outlook } = error else {
        panic!("another error")
    };
    assert_eq!(
        told(&failed),
        [("a", Class::Timeout, 400), ("b", Class::Timeout, 266)]
    );
    assert_eq!(outlook, Outlook::Again { after: None });
    tokio::task::yield_now().await;
    assert_eq!((a.stopped(), b.stopped()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_local_engine_goes_on_as_long_as_it_takes() {
    let a = fake("a", &[(0, Hangs)]);
    let b = local("b", &[(3_600, Text("an hour later"))]);
    let c = fake("c", &[(0, Hangs)]);
    let answer = ask(&chain(&[&a, &b, &c])).await.unwrap();
    assert_eq!(answer.recognised.text(), "an hour later");
    assert_eq!(
        told(&answer.failed),
        [("a", Class::Timeout, 400), ("c", Class::Timeout, 200)]
    );
    // Its own deadline holds, where there is one.
    let deadlines = BTreeMap::from([("b".to_owned(), Duration::from_secs(50))]);
    let policy = ChainPolicy {
        deadlines,
        ..policy()
    };
    let error = ask(&chain_with(policy, &[&b])).await.unwrap_err();
    assert_eq!(error.to_string(), "b: no answer within 50 s");
}

#[tokio::test(start_paused = true)]
async fn a_local_engine_never_rests() {
    let a = local("a", &[(0, Unavailable(Class::WorkerLost))]);
    let chain = chain(&[&a]);
    for _ in 0..10 {
        assert_eq!(outlook(ask(&chain).await), Outlook::Again { after: None });
    }
    assert_eq!(a.asked(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_its_own_ends_an_engine_before_its_share() {
    let a = fake("a", &[(0, Hangs)]);
    let b = fake("b", &[(1, Text("b"))]);
    let deadlines = BTreeMap::from([("a".to_owned(), Duration::from_secs(4))]);
    let policy = ChainPolicy {
        deadlines,
        ..policy()
    };
    let began = Instant::now();
    let answer = ask(&chain_with(policy, &[&a, &b])).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert_eq!(told(&answer.failed), [("a", Class::Timeout, 40)]);
}

#[tokio::test(start_paused = true)]
async fn longer_recordings_have_more_time() {
    let (a, b) = (fake("a", &[(0, Hangs)]), fake("b", &[(29, Text("b"))]));
    let deadlines = BTreeMap::from([("b".to_owned(), Duration::from_secs(1))]);
    let policy = ChainPolicy {
        per_audio_sec: 0.5,
        deadlines,
        ..policy()
    };
    // 40 s and half of 60 s; b: 1 s and half of 60 s.
    let began = Instant::now();
    let chain = chain_with(policy, &[&a, &b]);
    let answer = chain.transcribe(&seconds(60), None).await.unwrap();
    assert_eq!(answer.engine, "b");
    assert_eq!(began.elapsed().as_secs(), 23 + 29);
}

#[tokio::test(start_paused = true)]
async fn by_default_a_message_of_a_minute_has_its_card_in_time_with_the_last_of_three() {
    let hang = [(0, Hangs)];
    let (a, b) = (fake("a", &hang), fake("b", &hang));
    // Half of real time.
    let c = fake("c", &[(30, Text("c"))]);
    let began = Instant::now();
    let chain = chain_with(ChainPolicy::default(), &[&a, &b, &c]);
    let answer = chain.transcribe(&seconds(60), None).await.unwrap();
    assert_eq!(answer.engine, "c");
    assert_eq!(began.elapsed(), Duration::from_secs(70));
}

#[tokio::test(start_paused = true)]
async fn by_default_the_longest_message_waits_no_longer_for_an_engine_that_hangs() {
    let (a, b) = (fake("a", &[(0, Hangs)]), local("b", &[(60, Text("b"))]));
    let began = Instant::now();
    let chain = chain_with(ChainPolicy::default(), &[&a, &b]);
    let answer = chain.transcribe(&seconds(180), None).await.unwrap();
    assert_eq!(answer.engine, "b");
    assert_eq!(began.elapsed(), Duration::from_secs(20 + 60));
    // It had its whole share.
    assert_eq!(told(&answer.failed), [("a", Class::Overtaken, 800)]);
}

#[tokio::test(start_paused = true)]
async fn an_engine_is_not_asked_when_the_time_is_over() {
    let hang = [(0, Wishes(25)), (0, Hangs)];
    let (a, b) = (fake("a", &hang), fake("b", &hang));
    let slow = local("l", &[(60, Text("l"))]);
    let chain = chain(&[&slow, &a, &b]);
    let order = ["a".to_owned(), "b".to_owned()];
    chain.transcribe(&seconds(0), Some(&order)).await.unwrap_err();
    // Both work again when the local engine has had its share, which is half of the budget; a takes up the rest of it.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let answer = ask(&chain).await.unwrap();
    assert_eq!(answer.engine, "l");
    assert_eq!(
        told(&answer.failed),
        [("a", Class::Timeout, 200), ("b", Class::Timeout, 0)]
    );
    assert_eq!((a.asked(), b.asked()), (2, 1));
    assert_eq!(answer.failed[1].text, "the engines before it left it no time");
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_this_process_while_an_engine_is_tried_counts_as_an_attempt() {
    let a = fake("a", &[(0, Wishes(30)), (0, Unavailable(Class::Internal))]);
    let chain = chain(&[&a]);
    ask(&chain).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(31)).await;
    for _ in 0..3 {
        assert_eq!(outlook(ask(&chain).await), Outlook::Again { after: None });
    }
    assert_eq!(a.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_ended_meanwhile_is_still_an_outage() {
    let a = fake("a", &[(0, Wishes(5))]);
    let b = fake("b", &[(12, Wishes(30))]);
    let chain = chain(&[&a, &b]);
    assert_eq!(
        outlook(ask(&chain).await),
        Outlook::Resting {
            after: Duration::ZERO
        }
    );
    assert!(chain.resting(None).is_none(), "a may be tried");
}

#[tokio::test(start_paused = true)]
async fn that_all_rest_is_told_without_a_recording() {
    let a = fake("a", &[(0, Wishes(5))]);
    let b = fake("b", &[(0, Wishes(30))]);
    let chain = chain(&[&a, &b]);
    assert!(chain.resting(None).is_none());
    ask(&chain).await.unwrap_err();
    let error = chain.resting(None).unwrap();
    assert_eq!(
        error.to_string(),
        "a: resting for 5 s more; b: resting for 30 s more"
    );
    let only_b = ["b".to_owned()];
    for (order, secs) in [(None, 5), (Some(&only_b[..]), 30)] {
        let after = Duration::from_secs(secs);
        assert_eq!(
            outlook(Err(chain.resting(order).unwrap())),
            Outlook::Resting { after }
        );
    }
    let nobody = ["c".to_owned()];
    assert!(chain.resting(Some(&nobody)).is_none());
    let with_local = chain_with(policy(), &[&local("l", &[(0, Nothing)])]);
    assert!(with_local.resting(None).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_was_joined_before_its_share_was_over_is_not_slow() {
    let mut policy = policy();
    policy.breaker.failures = 1;
    // a fails just after b began beside it, and c begins at once.
    let a = fake("a", &[(11, Unavailable(Class::Network))]);
    let b = fake("b", &[(0, Hangs)]);
    let c = fake("c", &[(1, Text("c"))]);
    let chain = chain_with(policy, &[&a, &b, &c]);
    assert_eq!(answered(ask(&chain).await).0, "c");
    let states = chain.states();
    assert!(matches!(states[0].1, EngineState::Resting { .. }));
    assert_eq!(states[1], ("b".to_owned(), EngineState::Working));
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_this_process_is_no_engines_fault() {
    for class in [Class::Storage, Class::Internal] {
        let a = fake("a", &[(0, Unavailable(class))]);
        let chain = chain(&[&a]);
        for _ in 0..5 {
            assert_eq!(outlook(ask(&chain).await), Outlook::Again { after: None });
        }
        assert_eq!(chain.states()[0].1, EngineState::Working);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_hoped_for_after_all_failed() {
    let says = |name, says| fake(name, &[(0, says)]);
    let never = says("n", Rejected(Class::Invalid));
    let again = says("a", Unavailable(Class::Network));
    assert_eq!(outlook(ask(&chain(&[&never])).await), Outlook::Never);
    assert_eq!(
        outlook(ask(&chain(&[&never, &again])).await),
        Outlook::Again { after: None }
    );
    let error = ask(&chain(&[&again, &never])).await.unwrap_err();
    assert_eq!(error.to_string(), "a: a is out; n: n will not");
    assert_eq!(error.class(), Class::Invalid);
    // A wish counts as long as nobody may be asked before: all that may answer rest then.
    let wishes = says("w", Wishes(20));
    let resting = Outlook::Resting {
        after: Duration::from_secs(20),
    };
    assert_eq!(outlook(ask(&chain(&[&never, &wishes])).await), resting);
    assert_eq!(
        outlook(ask(&chain(&[&wishes, &again])).await),
        Outlook::Again { after: None }
    );
    // One that stops by itself, and one that panics, are failures like others.
    let odd = [&says("c", Cancelled), &says("p", Panics)];
    let error = ask(&chain(&odd)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "c: it stopped without an answer; p: the engine panicked"
    );
    assert_eq!(error.class(), Class::Internal);
    let helped = says("h", Text("h"));
    assert_eq!(answered(ask(&chain(&[odd[0], odd[1], &helped])).await).0, "h");
}

#[tokio::test(start_paused = true)]
async fn an_outage_counts_against_no_recording_once_it_is_known() {
    let a = fake(
        "a",
        &[
            (0, Unavailable(Class::Unavailable)),
            (0, Unavailable(Class::Unavailable)),
            (0, Unavailable(Class::Unavailable)),
            (0, Unavailable(Class::Unavailable)),
            (0, Text("again")),
        ],
    );
    let chain = chain(&[&a]);
    for _ in 0..2 {
        assert_eq!(outlook(ask(&chain).await), Outlook::Again { after: None });
    }
    let resting = |secs| Outlook::Resting {
        after: Duration::from_secs(secs),
    };
    assert_eq!(outlook(ask(&chain).await), resting(30), "the third in a row");
    let error = ask(&chain).await.unwrap_err();
    assert_eq!(
        (error.class(), error.to_string().as_str()),
        (Class::Resting, "a: resting for 30 s more")
    );
    assert_eq!(a.asked(), 3);
    // The trial fails: a longer rest.
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(outlook(ask(&chain).await), resting(60));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(answered(ask(&chain).await).1, "again");
    assert_eq!(answered(ask(&chain).await).1, "again");
    assert_eq!(a.asked(), 6);
}

#[tokio::test(start_paused = true)]
async fn one_recording_at_a_time_tries_an_engine_that_rested() {
    let out = (0, Unavailable(Class::Timeout));
    let a = fake("a", &[out, out, out, (5, Text("back"))]);
    let b = local("b", &[(0, Text("b"))]);
    let chain = chain(&[&a, &b]);
    for _ in 0..3 {
        ask(&chain).await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(30)).await;
    let five = futures::future::join_all((0..5).map(|_| ask(&chain))).await;
    let mut engines: Vec<String> = five.into_iter().map(|result| answered(result).0).collect();
    engines.sort();
    assert_eq!(engines, ["a", "b", "b", "b", "b"]);
    assert_eq!(a.asked(), 4);
    // It answered: all ask it again.
    assert_eq!(answered(ask(&chain).await).0, "a");
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_is_stopped_is_given_to_the_next_recording() {
    let out = (0, Unavailable(Class::Timeout));
    let a = fake("a", &[out, out, out, (0, Hangs), (0, Text("back"))]);
    let chain = chain(&[&a]);
    for _ in 0..3 {
        ask(&chain).await.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(30)).await;
    let request = seconds(0);
    let (stopped, ()) = tokio::join!(chain.transcribe(&request, None), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        request.cancel.cancel();
    });
    assert!(matches!(stopped, Err(ChainError::Cancelled)));
    assert_eq!(answered(ask(&chain).await).1, "back");
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_be_left_alone_is_heeded() {
    let a = fake("a", &[(0, Wishes(20)), (0, Text("a"))]);
    let b = local("b", &[(0, Text("b"))]);
    let chain = chain(&[&a, &b]);
    assert_eq!(answered(ask(&chain).await).0, "b");
    tokio::time::advance(Duration::from_secs(19)).await;
    assert_eq!(answered(ask(&chain).await).0, "b");
    assert_eq!(a.asked(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(answered(ask(&chain).await).0, "a");
}

#[tokio::test(start_paused = true)]
async fn what_concerns_every_recording_rests_an_engine_and_what_concerns_one_does_not() {
    let refuses = fake("r", &[(0, Rejected(Class::Refused))]);
    let b = local("b", &[(0, Text("b"))]);
    let with_refusal = chain(&[&refuses, &b]);
    for _ in 0..10 {
        ask(&with_refusal).await.unwrap();
    }
    assert_eq!(refuses.asked(), 10);
    for class in [Class::Credentials, Class::NotFound] {
        let locked = fake("l", &[(0, Rejected(class))]);
        let alone = chain(&[&locked]);
        let resting = Outlook::Resting {
            after: Duration::from_secs(600),
        };
        assert_eq!(outlook(ask(&alone).await), resting);
        assert_eq!(outlook(ask(&alone).await), resting);
        assert_eq!(locked.asked(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_stops_all_and_asks_nobody_else() {
    let (a, b) = (fake("a", &[(0, Hangs)]), local("b", &[(0, Hangs)]));
    let c = fake("c", &[(0, Text("c"))]);
    let chain = chain(&[&a, &b, &c]);
    let request = seconds(0);
    let (stopped, ()) = tokio::join!(chain.transcribe(&request, None), async {
        tokio::time::sleep(Duration::from_secs(15)).await;
        request.cancel.cancel();
    });
    assert!(matches!(stopped, Err(ChainError::Cancelled)));
    tokio::task::yield_now().await;
    assert_eq!((a.stopped(), b.stopped(), c.asked()), (1, 1, 0));
    // It says nothing about the engines.
    assert!(
        chain
            .states()
            .iter()
            .all(|(_, state)| *state == EngineState::Working)
    );
}

#[tokio::test(start_paused = true)]
async fn a_number_has_its_own_engines() {
    let (a, b) = (fake("a", &[(0, Text("a"))]), fake("b", &[(0, Text("b"))]));
    let absent = Arc::new(Fake {
        is_present: false,
        ..Arc::into_inner(fake("n", &[(0, Text("n"))])).unwrap()
    });
    let chain = chain(&[&absent, &a, &b]);
    let ask = async |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            chain.is_empty(Some(&names)),
            !names.iter().any(|name| name == "a" || name == "b")
        );
        let result = chain.transcribe(&seconds(0), Some(&names)).await;
        result.map(|answer| (answer.engine, answer.failed.len()))
    };
    assert_eq!(ask(&["b"]).await.unwrap(), ("b".to_owned(), 0));
    assert_eq!(ask(&["b", "a"]).await.unwrap().0, "b");
    assert_eq!(ask(&["google", "n", "a"]).await.unwrap(), ("a".to_owned(), 0));
    for nobody in [&["google"][..], &["n"], &[]] {
        let error = ask(nobody).await.unwrap_err();
        assert!(matches!(error, ChainError::NoEngine));
        assert_eq!(
            (error.class(), error.to_string().as_str()),
            (Class::NotYet, "no speech model")
        );
    }
    assert_eq!(absent.asked(), 0);
    assert_eq!(chain.engines().count(), 2);
    assert!(Chain::default().is_empty(None));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_configuration_ends_the_start_and_refused_credentials_do_not() {
    let good = fake("g", &[(0, Text("g"))]);
    let wrong = fake("w", &[(0, Rejected(Class::Refused))]);
    assert!(chain(&[&good, &wrong]).prepare().await.is_err());
    let broken = local("b", &[(0, Rejected(Class::Credentials))]);
    assert!(chain(&[&good, &broken]).prepare().await.is_err());
    let locked = fake("l", &[(0, Rejected(Class::Credentials))]);
    let chain = chain(&[&locked, &good]);
    chain.prepare().await.unwrap();
    let answer = ask(&chain).await.unwrap();
    assert_eq!(
        (answer.engine.as_str(), told(&answer.failed)),
        ("g", vec![("l", Class::Resting, 0)])
    );
    assert_eq!(locked.asked(), 0);
}
