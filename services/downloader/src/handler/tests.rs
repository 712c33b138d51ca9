//! The handler against media hosts that speak HTTP on loopback and misbehave on demand.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use callfold_kit::blob::BlobConfig;
use callfold_kit::clock::TestClock;
use callfold_kit::config::Settings;
use callfold_kit::health::Health;
use callfold_kit::stage::{StageDeps, StagePolicy};
use callfold_kit::testing::{TestNats, all_records, publish, wait_for};
use callfold_schema::{CallSid, Key, NewEvent, Record, RecordingSid, Run};
use callfold_twilio::AuthToken;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{Credentials, Limits};

const WAV: &[u8] = include_bytes!("../../../transcriber/assets/samples/message-1.wav");
const MP3: &[u8] = include_bytes!("../../../transcriber/assets/samples/message-1.mp3");
const AC: &str = "AC00000000000000000000000000000001";
const RE: &str = "RE00000000000000000000000000000001";
/// When the recording was announced.
const ANNOUNCED: UnixMillis = UnixMillis(1_800_000_000_000);

/// What a host does with one request.
enum Answer {
    Media(&'static str, &'static [u8]),
    Status(u16),
    With(u16, &'static str, String),
    /// Begins and then says nothing more.
    Stall,
    /// Without a length, and without an end.
    Endless,
    /// Answered by the token.
    NeedsToken(&'static str),
}

/// What was asked: path with query, and the authorization header.
type Asked = Vec<(String, Option<String>)>;

#[derive(Default)]
struct Host {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Asked>,
}

impl Host {
    fn asked(&self) -> Asked {
        self.asked.lock().unwrap().clone()
    }
}

fn basic(token: &str) -> String {
    format!(
        "Basic {}",
        data_encoding::BASE64.encode(format!("{AC}:{token}").as_bytes())
    )
}

async fn answer(State(host): State<Arc<Host>>, request: Request) -> Response<Body> {
    let authorization = request
        .headers()
        .get("authorization")
        .map(|value| value.to_str().unwrap().to_owned());
    host.asked
        .lock()
        .unwrap()
        .push((request.uri().to_string(), authorization.clone()));
    let answer = host
        .answers
        .lock()
        .unwrap()
        .pop_front()
        .unwrap_or(Answer::Status(500));
    let respond = |status: u16| Response::builder().status(StatusCode::from_u16(status).unwrap());
    match answer {
        Answer::Media(kind, bytes) => respond(200).header("content-type", kind).body(Body::from(bytes)),
        Answer::Status(status) => respond(status).body(Body::empty()),
        Answer::With(status, name, value) => respond(status).header(name, value).body(Body::from("<html>")),
        Answer::Stall => {
            let first =
                futures::stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from_static(&WAV[..100]))]);
            let body = futures::StreamExt::chain(first, futures::stream::pending());
            respond(200).body(Body::from_stream(body))
        }
        Answer::Endless => {
            let chunk = || Ok::<_, std::convert::Infallible>(Bytes::from_static(WAV));
            respond(200).body(Body::from_stream(futures::stream::repeat_with(chunk)))
        }
        Answer::NeedsToken(token) if authorization == Some(basic(token)) => respond(200)
            .header("content-type", "audio/x-wav")
            .body(Body::from(WAV)),
        Answer::NeedsToken(_) => respond(401).body(Body::empty()),
    }
    .unwrap()
}

async fn serve(answers: Vec<Answer>) -> (Arc<Host>, String) {
    let host = Arc::new(Host {
        answers: Mutex::new(answers.into()),
        asked: Mutex::default(),
    });
    let router = axum::Router::new().fallback(answer).with_state(host.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (host, address)
}

struct Bench {
    downloader: Downloader,
    clock: Arc<TestClock>,
    blobs: Blobs,
    metrics: Metrics,
    folder: tempfile::TempDir,
}

fn config(hosts: &str) -> DownloaderConfig {
    let tokens = ["new", "old"].map(AuthToken::new).to_vec();
    DownloaderConfig {
        credentials: Some(Credentials {
            account_sid: AC.to_owned(),
            tokens,
        }),
        allowed: AllowedHosts::parse(hosts).unwrap(),
        ..DownloaderConfig::default()
    }
}

fn bench(mut config: DownloaderConfig) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let work_dir = folder.path().join("work");
    std::fs::create_dir(&work_dir).unwrap();
    config.work_dir = Some(work_dir);
    let blobs = Blobs::open(&BlobConfig::folder(&folder.path().join("blobs")).unwrap()).unwrap();
    let clock = TestClock::at(ANNOUNCED);
    let metrics = Metrics::new();
    let downloader = crate::build(&config, blobs.clone(), clock.clone(), metrics.clone()).unwrap();
    Bench {
        downloader,
        clock,
        blobs,
        metrics,
        folder,
    }
}

impl Bench {
    /// Handles a recording at this host; checks that no temporary file is left.
    async fn handle(&self, url: &str, channels: Option<u8>) -> Outcome {
        let outcome = self.downloader.handle(&job(url, channels)).await;
        assert_eq!(
            std::fs::read_dir(self.folder.path().join("work"))
                .unwrap()
                .count(),
            0,
            "a file was left"
        );
        outcome
    }

    async fn stored(&self, extension: &str) -> Option<u64> {
        self.blobs.size(&format!("CA1/{RE}-0.{extension}")).await.unwrap()
    }
}

fn announcement(url: &str, channels: Option<u8>) -> NewEvent {
    let ready = RecordingReady {
        recording_sid: RecordingSid::parse(RE).unwrap(),
        account_sid: AC.to_owned(),
        media_url: url.to_owned(),
        duration_s: Some(9),
        channels,
        source: Some("RecordVerb".to_owned()),
        started_at: None,
        idempotency_token: None,
        form: Vec::new(),
    };
    let key = Key::recording(RecordingSid::parse(RE).unwrap());
    NewEvent::new(CallSid::parse("CA1").unwrap(), key, ANNOUNCED, ready)
}

fn job(url: &str, channels: Option<u8>) -> Job {
    let NewEvent { envelope, event } = announcement(url, channels);
    Job {
        record: Record { envelope, event },
        call_sid: CallSid::parse("CA1").unwrap(),
        recording: RecordingSid::parse(RE).unwrap(),
        run: Run::FIRST,
        request: None,
        attempt: 1,
        attempts_max: 8,
        accepted_at: ANNOUNCED,
        delivery: 1,
        cancel: CancellationToken::new(),
    }
}

fn downloaded(outcome: Outcome) -> RecordingDownloaded {
    match outcome {
        Outcome::Done(event) => match *event {
            Event::RecordingDownloaded(event) => event,
            other => panic!("{:?}", other.kind()),
        },
        other => panic!("{other:?}"),
    }
}

fn retried(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Retry(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn rejected(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Reject(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// One host with these answers, asked once; the outcome, the host and the bench.
async fn once(answers: Vec<Answer>) -> (Outcome, Arc<Host>, Bench) {
    let (host, address) = serve(answers).await;
    let bench = bench(config(&address));
    let outcome = bench.handle(&format!("http://{address}/whatever"), None).await;
    (outcome, host, bench)
}

#[tokio::test]
async fn a_recording_is_fetched_checked_and_stored() {
    let (host, address) = serve(vec![Answer::Media("audio/x-wav", WAV)]).await;
    let bench = bench(config(&address));
    let event = downloaded(bench.handle(&format!("http://{address}/whatever"), None).await);
    assert_eq!(event.blob_key, format!("CA1/{RE}-0.wav"));
    assert_eq!(event.bytes, WAV.len() as u64);
    assert_eq!(event.sha256, data_encoding::HEXLOWER.encode(&Sha256::digest(WAV)));
    assert_eq!(
        (event.content_type.as_str(), event.sample_rate_hz, event.channels),
        ("audio/x-wav", 8_000, 1)
    );
    assert!(event.duration_ms > 3_000, "{}", event.duration_ms);
    assert_eq!(bench.stored("wav").await, Some(WAV.len() as u64));
    let path = format!("/2010-04-01/Accounts/{AC}/Recordings/{RE}.wav");
    assert_eq!(host.asked(), [(path, Some(basic("new")))]);
    assert_eq!(
        bench.metrics.counted(CounterName::MediaBytes, &[]),
        WAV.len() as u64
    );

    // Again, as after a crash: the same blob.
    host.answers
        .lock()
        .unwrap()
        .push_back(Answer::Media("audio/x-wav", WAV));
    let again = downloaded(bench.handle(&format!("http://{address}/whatever"), None).await);
    assert_eq!((again.blob_key, again.sha256), (event.blob_key, event.sha256));
}

#[tokio::test]
async fn what_a_file_is_decides_not_what_it_is_called() {
    for kind in ["application/octet-stream", "audio/mpeg", "video/mp4"] {
        let (outcome, _, bench) = once(vec![Answer::Media(kind, WAV)]).await;
        assert_eq!(downloaded(outcome).content_type, "audio/x-wav");
        assert!(bench.stored("wav").await.is_some());
    }
    let (outcome, _, bench) = once(vec![Answer::Media("audio/x-wav", MP3)]).await;
    assert_eq!(downloaded(outcome).content_type, "audio/mpeg");
    assert_eq!(bench.stored("mp3").await, Some(MP3.len() as u64));
}

#[tokio::test]
async fn a_404_is_waited_for_at_first_and_final_later() {
    let (host, address) = serve((0..5).map(|_| Answer::Status(404)).collect()).await;
    let bench = bench(config(&address));
    let url = format!("http://{address}/x");
    let Outcome::Waiting { after, .. } = bench.handle(&url, None).await else {
        panic!("not waiting")
    };
    assert_eq!(after, Duration::from_millis(500));
    bench.clock.advance_ms(3_500);
    let Outcome::Waiting { after, .. } = bench.handle(&url, None).await else {
        panic!("not waiting")
    };
    assert_eq!(after, Duration::from_secs(4));
    // Old, which may be the clock's or an outage's doing: one 404 is not believed yet.
    bench.clock.advance_ms(120_000);
    let mut job = job(&url, None);
    let mut texts = Vec::new();
    for attempt in 1..=2 {
        job.attempt = attempt;
        let failure = retried(bench.downloader.handle(&job).await);
        assert_eq!(failure.class, FailureClass::NotFound);
        texts.push(failure.text);
    }
    job.attempt = 3;
    let failure = rejected(bench.downloader.handle(&job).await);
    assert_eq!(failure.class, FailureClass::NotFound);
    assert!(texts.iter().all(|text| *text == failure.text), "{texts:?}");
    host.answers
        .lock()
        .unwrap()
        .push_back(Answer::Media("audio/x-wav", WAV));
    downloaded(bench.handle(&url, None).await);
}

#[tokio::test]
async fn an_older_token_is_tried_when_the_first_is_refused() {
    let (outcome, host, _) = once(vec![Answer::NeedsToken("old"), Answer::NeedsToken("old")]).await;
    downloaded(outcome);
    let tokens: Vec<_> = host.asked().into_iter().map(|(_, token)| token).collect();
    assert_eq!(tokens, [Some(basic("new")), Some(basic("old"))]);

    let (outcome, host, _) = once((0..5).map(|_| Answer::NeedsToken("other")).collect()).await;
    assert_eq!(retried(outcome).class, FailureClass::Credentials);
    assert_eq!(host.asked().len(), 2);
    let (outcome, _, _) = once(vec![Answer::Status(403)]).await;
    assert_eq!(retried(outcome).class, FailureClass::Credentials);
}

#[tokio::test]
async fn a_redirect_is_followed_without_credentials() {
    let (store, store_address) = serve(vec![Answer::Media("audio/x-wav", WAV)]).await;
    let (host, address) = serve(vec![
        Answer::With(307, "location", "/elsewhere#part".to_owned()),
        Answer::With(
            302,
            "location",
            format!("http://{store_address}/blob?signature=1"),
        ),
    ])
    .await;
    let bench = bench(config(&format!("{address},{store_address}")));
    downloaded(bench.handle(&format!("http://{address}/x"), None).await);
    let asked = host.asked();
    assert_eq!(asked[1], ("/elsewhere".to_owned(), Some(basic("new"))));
    assert_eq!(store.asked(), [("/blob?signature=1".to_owned(), None)]);
}

#[tokio::test]
async fn redirects_to_forbidden_places_are_refused() {
    let (inner, inner_address) = serve(vec![]).await;
    for location in [
        format!("http://{inner_address}/admin"),
        format!("https://{inner_address}/admin"),
        "https://169.254.169.254/latest".to_owned(),
        "http://api.twilio.com/x".to_owned(),
        "https://localhost/x".to_owned(),
    ] {
        let (outcome, _, bench) = once(vec![Answer::With(302, "location", location.clone())]).await;
        let failure = rejected(outcome);
        assert_eq!(failure.class, FailureClass::NotAllowed, "{location}");
        assert!(
            !failure.text.contains("/admin") && !failure.text.contains("latest"),
            "{}",
            failure.text
        );
        assert_eq!(bench.metrics.counted(CounterName::MediaHostsRefused, &[]), 1);
    }
    assert!(inner.asked().is_empty());
    let endless = (0..9)
        .map(|_| Answer::With(302, "location", "/again".to_owned()))
        .collect();
    let (outcome, host, _) = once(endless).await;
    assert_eq!(retried(outcome).class, FailureClass::Invalid);
    assert_eq!(host.asked().len(), 4);
    let (outcome, _, _) = once(vec![Answer::Status(302)]).await;
    assert_eq!(retried(outcome).class, FailureClass::Invalid);
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_never_asked() {
    let (host, address) = serve(vec![]).await;
    let bench = bench(config(""));
    let failure = rejected(bench.handle(&format!("http://{address}/secret"), None).await);
    assert_eq!(failure.class, FailureClass::NotAllowed);
    assert!(
        failure.text.contains("127.0.0.1") && failure.text.contains("CALLFOLD_RECORDING_HOSTS"),
        "{}",
        failure.text
    );
    assert!(!failure.text.contains("secret"));
    assert!(host.asked().is_empty());
    assert_eq!(bench.metrics.counted(CounterName::MediaHostsRefused, &[]), 1);
    assert_eq!(
        rejected(bench.handle("http://example.com/x", None).await).class,
        FailureClass::NotAllowed
    );
    assert_eq!(
        rejected(bench.handle("nonsense", None).await).class,
        FailureClass::Invalid
    );
}

#[tokio::test]
async fn without_two_channels_one_is_taken() {
    let (host, address) = serve(vec![Answer::Status(400), Answer::Media("audio/x-wav", WAV)]).await;
    let bench = bench(config(&address));
    downloaded(bench.handle(&format!("http://{address}/x"), Some(2)).await);
    let paths: Vec<_> = host.asked().into_iter().map(|(path, _)| path).collect();
    assert!(
        paths[0].ends_with(".wav?RequestedChannels=2") && paths[1].ends_with(".wav?RequestedChannels=1"),
        "{paths:?}"
    );
}

#[tokio::test]
async fn statuses_have_their_outcomes() {
    for (status, class) in [
        (500, FailureClass::Unavailable),
        (503, FailureClass::Unavailable),
        (408, FailureClass::Timeout),
        (204, FailureClass::Invalid),
    ] {
        let (outcome, _, _) = once(vec![Answer::Status(status)]).await;
        assert_eq!(retried(outcome).class, class, "{status}");
    }
    for (status, class) in [
        (400, FailureClass::Refused),
        (405, FailureClass::Refused),
        (410, FailureClass::NotFound),
    ] {
        let (outcome, _, _) = once(vec![Answer::Status(status)]).await;
        assert_eq!(rejected(outcome).class, class, "{status}");
    }
    // The date is 17 s after the announcement.
    for wish in ["17", "Fri, 15 Jan 2027 08:00:17 GMT"] {
        let (outcome, _, _) = once(vec![Answer::With(429, "retry-after", wish.to_owned())]).await;
        let failure = retried(outcome);
        assert_eq!(
            (failure.class, failure.after),
            (FailureClass::RateLimited, Some(Duration::from_secs(17)))
        );
    }
}

#[tokio::test]
async fn what_is_no_audio_is_never_stored() {
    let page: &[u8] = b"<html>temporarily unavailable</html>";
    let table: Vec<(&str, &'static [u8], &str)> = vec![
        ("text/html", page, "a web page"),
        ("application/xml", WAV, "an XML document"),
        ("application/json", b"{\"code\": 20404}", "a JSON document"),
        ("audio/x-wav", page, "a web page"),
        ("audio/x-wav", b"", "empty"),
        ("audio/x-wav", &WAV[..44], "empty"),
        (
            "audio/x-wav",
            b"0123456789 not a sound at all, though long enough to look at, one would think",
            "",
        ),
    ];
    for (kind, bytes, says) in table {
        let (outcome, _, bench) = once(vec![Answer::Media(kind, bytes)]).await;
        let failure = retried(outcome);
        assert_eq!(failure.class, FailureClass::Invalid, "{kind}: {}", failure.text);
        assert!(failure.text.contains(says), "{kind}: {}", failure.text);
        assert_eq!(bench.stored("wav").await, None);
    }
}

#[tokio::test]
async fn size_and_length_are_bounded() {
    let (_host, address) = serve(vec![
        Answer::Media("audio/x-wav", WAV),
        Answer::Endless,
        Answer::Media("audio/x-wav", WAV),
    ])
    .await;
    let url = format!("http://{address}/x");
    let small = Limits {
        bytes_max: WAV.len() as u64 - 1,
        ..Limits::default()
    };
    let bench_small = bench(DownloaderConfig {
        limits: small,
        ..config(&address)
    });
    for _ in 0..2 {
        let failure = rejected(bench_small.handle(&url, None).await);
        assert_eq!(failure.class, FailureClass::NotAllowed);
        assert!(failure.text.contains("CALLFOLD_RECORDING_BYTES_MAX"));
    }
    let short = Limits {
        duration_max: Duration::from_secs(2),
        ..Limits::default()
    };
    let bench_short = bench(DownloaderConfig {
        limits: short,
        ..config(&address)
    });
    let failure = rejected(bench_short.handle(&url, None).await);
    assert_eq!(failure.class, FailureClass::NotAllowed);
    assert!(
        failure.text.contains("CALLFOLD_RECORDING_SECS_MAX"),
        "{}",
        failure.text
    );
    assert_eq!(bench_short.stored("wav").await, None);
}

#[tokio::test]
async fn silence_and_slowness_end() {
    let (_host, address) = serve(vec![Answer::Stall, Answer::Stall]).await;
    let url = format!("http://{address}/x");
    let stall = Limits {
        stall: Duration::from_millis(100),
        ..Limits::default()
    };
    let failure = retried(
        bench(DownloaderConfig {
            limits: stall,
            ..config(&address)
        })
        .handle(&url, None)
        .await,
    );
    assert_eq!(failure.class, FailureClass::Timeout);
    assert!(failure.text.contains("sent nothing"), "{}", failure.text);
    let total = Limits {
        total: Duration::from_millis(100),
        ..Limits::default()
    };
    let failure = retried(
        bench(DownloaderConfig {
            limits: total,
            ..config(&address)
        })
        .handle(&url, None)
        .await,
    );
    assert_eq!(failure.class, FailureClass::Timeout);
    assert!(failure.text.contains("took longer"), "{}", failure.text);
}

#[tokio::test]
async fn a_torn_answer_and_a_dead_host_are_network_failures() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let torn = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(socket.read(&mut request).await.unwrap() > 0);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: audio/x-wav\r\ncontent-length: {}\r\n\r\n",
            WAV.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&WAV[..1_000]).await.unwrap();
        // The listener goes with this task: from here on the host is dead.
    });
    let bench = bench(config(&address));
    let url = format!("http://{address}/x");
    let failure = retried(bench.handle(&url, None).await);
    assert_eq!(failure.class, FailureClass::Network);
    torn.await.unwrap();
    let failure = retried(bench.handle(&url, None).await);
    assert_eq!(failure.class, FailureClass::Network);
    assert!(failure.text.contains(&address), "{}", failure.text);
    assert_eq!(bench.stored("wav").await, None);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_retried() {
    let (_host, address) = serve(vec![Answer::Media("audio/x-wav", WAV)]).await;
    let bench = bench(config(&address));
    // A file stands where the call's folder has to be.
    std::fs::write(bench.folder.path().join("blobs/CA1"), b"").unwrap();
    let failure = retried(bench.handle(&format!("http://{address}/x"), None).await);
    assert_eq!(failure.class, FailureClass::Storage);
}

/// A process that is killed cleans nothing up: what has no name needs no cleaning.
#[tokio::test]
async fn while_a_download_is_in_progress_the_work_folder_lists_no_file() {
    let (_host, address) = serve(vec![Answer::Stall]).await;
    let bench = bench(config(&address));
    let work = bench.folder.path().join("work");
    let job = job(&format!("http://{address}/x"), None);
    let look = async {
        // Part of the recording is in the file, and the rest never comes.
        wait_for("the file to be written", async || {
            open_files(&work).iter().any(|bytes| *bytes > 0).then_some(())
        })
        .await;
        let listed = std::fs::read_dir(&work).unwrap().count();
        job.cancel.cancel();
        listed
    };
    let (outcome, listed) = tokio::join!(bench.downloader.handle(&job), look);
    assert!(matches!(outcome, Outcome::Waiting { .. }));
    assert_eq!(listed, 0);
    assert!(open_files(&work).is_empty());
}

/// The sizes of the files in a folder that this process has open, named or not.
fn open_files(folder: &std::path::Path) -> Vec<u64> {
    let handles = std::fs::read_dir("/proc/self/fd").unwrap();
    handles
        .filter_map(|handle| {
            // Other tests close theirs meanwhile.
            let handle = handle.ok()?.path();
            let to = std::fs::read_link(&handle).ok()?;
            let size = to.starts_with(folder).then(|| std::fs::metadata(&handle))?;
            Some(size.ok()?.len())
        })
        .collect()
}

#[tokio::test]
async fn a_hard_stop_ends_the_work_without_counting_it() {
    let (_host, address) = serve(vec![Answer::Stall]).await;
    let bench = bench(config(&address));
    let job = job(&format!("http://{address}/x"), None);
    let stop = async {
        tokio::task::yield_now().await;
        job.cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(bench.downloader.handle(&job), stop);
    assert!(matches!(outcome, Outcome::Waiting { .. }));
}

#[tokio::test]
async fn settings_reach_the_stage() {
    let source = std::collections::BTreeMap::from([
        ("CALLFOLD_RECORDING_HOSTS".to_owned(), "127.0.0.1:5001".to_owned()),
        ("CALLFOLD_RECORDING_BYTES_MAX".to_owned(), "4096".to_owned()),
    ]);
    let mut settings = Settings::new(&source);
    let config = DownloaderConfig::from_settings(&mut settings);
    settings.finish().unwrap();
    assert_eq!(config.limits.bytes_max, 4_096);
    assert_eq!(config.limits.duration_max, Duration::from_secs(14_460));
}

/// Through the broker: waiting, a failure, then the recording.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_comes_late_is_downloaded_by_the_stage() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    let (host, address) = serve(vec![
        Answer::Status(404),
        Answer::Status(503),
        Answer::Media("audio/x-wav", WAV),
    ])
    .await;
    let bench = bench(config(&address));
    let mut policy = StagePolicy::with_slots(2);
    policy.backoff.base = Duration::from_millis(20);
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let deps = StageDeps {
        clock: bench.clock.clone(),
        metrics: bench.metrics.clone(),
        health: Health::new().part("download", false),
        soft: soft.clone(),
        hard,
    };
    let config = DownloaderConfig {
        policy,
        work_dir: Some(bench.folder.path().join("work")),
        ..config(&address)
    };
    let stage = tokio::spawn(crate::run(bus.clone(), bench.blobs.clone(), config, deps));
    publish(&bus, &announcement(&format!("http://{address}/x"), None)).await;
    let records = wait_for("the recording", async || {
        let records = all_records(&bus).await;
        records
            .iter()
            .any(|record| matches!(record.event, Event::RecordingDownloaded(_)))
            .then_some(records)
    })
    .await;
    let keys: Vec<String> = records
        .iter()
        .map(|record| record.envelope.subject.key.to_string())
        .collect();
    assert_eq!(
        keys,
        [
            RE.to_owned(),
            format!("{RE}-0-download-0"),
            format!("{RE}-0-download-1"),
            format!("{RE}-0")
        ],
    );
    assert_eq!(
        records[3].envelope.cause,
        Some(format!("calls.CA1.recording_ready.new.{RE}"))
    );
    assert_eq!(bench.stored("wav").await, Some(WAV.len() as u64));
    assert_eq!(host.asked().len(), 3);
    soft.cancel();
    stage.await.unwrap().unwrap();
}
