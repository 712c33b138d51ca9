#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use callfold_kit::audio::{Limits, decode_reader};
use callfold_kit::config::Settings;
use callfold_kit::testing::{Fault, wait_for};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::RecognisedSegment;
use crate::testing::google::{Answer, Asked, GoogleDouble, PROJECT, key_file};

const RATE: usize = crate::audio::SAMPLE_RATE_HZ as usize;

async fn configured(double: &GoogleDouble, more: &[(&str, &str)]) -> GoogleConfig {
    let folder = tempfile::tempdir().unwrap();
    let mut source: BTreeMap<String, String> = double.settings(folder.path()).into_iter().collect();
    for (name, value) in more {
        source.insert((*name).to_owned(), (*value).to_owned());
    }
    let mut settings = Settings::new(&source);
    let config = GoogleConfig::from_settings(&mut settings);
    settings.finish().unwrap();
    config.unwrap()
}

async fn engine(double: &GoogleDouble) -> Google {
    Google::new(configured(double, &[]).await)
}

fn sample(name: &str) -> Vec<f32> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("assets/samples")
        .join(name);
    let pcm = decode_reader(std::fs::File::open(path).unwrap(), &Limits::default()).unwrap();
    let audio = Audio16k::from_pcm(pcm).unwrap();
    audio.read(0, 0..audio.frames()).unwrap()
}

/// Messages one after the other, with half a second between them.
fn speech(secs: usize) -> Vec<f32> {
    let mut samples = Vec::new();
    for number in (1..=6).cycle() {
        samples.extend(sample(&format!("message-{number}.wav")));
        samples.extend(vec![0.0; RATE / 2]);
        if samples.len() >= secs * RATE {
            break;
        }
    }
    samples.truncate(secs * RATE);
    samples
}

fn request(channels: Vec<Vec<f32>>) -> Request {
    Request::new(Arc::new(Audio16k::from_samples(channels)))
}

/// Where somebody speaks: stretches without a pause of 300 ms, in milliseconds.
fn spoken(samples: &[f32]) -> Vec<(u64, u64)> {
    let mut found: Vec<(u64, u64)> = Vec::new();
    for (at, step) in samples.chunks(RATE / 50).enumerate() {
        if step.iter().any(|sample| sample.abs() > 0.02) {
            let (from, to) = (at as u64 * 20, (at as u64 + 1) * 20);
            match found.last_mut() {
                Some(last) if from - last.1 < 300 => last.1 = to,
                _ => found.push((from, to)),
            }
        }
    }
    found
}

/// Says something at the end of every stretch that it hears.
fn hears_stretches(asked: &Asked) -> Answer {
    let stretches = spoken(&asked.channels[0]);
    Answer::Results(
        stretches
            .iter()
            .map(|(_, end)| ("מילה".to_owned(), *end))
            .collect(),
    )
}

/// Nothing of the service's words, of the project or of addresses may be seen.
fn assert_discreet(error: &EngineError) {
    let shown = format!("{error} {error:?} {}", callfold_kit::chain(error));
    for secret in [
        PROJECT,
        "iam.gserviceaccount",
        "127.0.0.1",
        "message",
        "Sign in",
        "half",
        "סוד",
    ] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_message_is_sent_as_the_service_wants_it_and_comes_back_as_it_was_said() {
    let double = GoogleDouble::start().await;
    let text = "שלום, מדבר יוסי כהן. \u{200f}אפשר לחזור אליי ל-054-1234567?";
    double.always(Answer::Results(vec![
        ("שלום,".to_owned(), 1_500),
        (format!(" {text} "), 4_000),
    ]));
    let samples = sample("message-1.wav");
    let google = engine(&double).await;
    let recognised = google.transcribe(request(vec![samples.clone()])).await.unwrap();
    // What is before and behind the speech is not sent.
    let audio = Audio16k::from_samples(vec![samples.clone()]);
    let [piece] = &audible_plan(&audio, WHOLE_MAX, &|| true).unwrap().unwrap().pieces[..] else {
        panic!("one piece")
    };
    let segment = |start_ms, end_ms, text: &str| RecognisedSegment {
        start_ms: piece.start_ms() + start_ms,
        end_ms: piece.start_ms() + end_ms,
        channel: 0,
        text: text.to_owned(),
        confidence: Some(0.9),
    };
    assert_eq!(
        recognised,
        Recognised {
            language: "he".to_owned(),
            model: "chirp_3".to_owned(),
            pieces: 1,
            segments: vec![segment(0, 1_500, "שלום,"), segment(1_500, 4_000, text)],
        }
    );
    let asked = double.requests();
    assert_eq!((asked.len(), double.request_count()), (1, 1));
    assert_eq!(
        asked[0].config,
        json!({
            "autoDecodingConfig": {}, "languageCodes": ["iw-IL"], "model": "chirp_3",
            "features": {"enableAutomaticPunctuation": true},
        })
    );
    assert_eq!((asked[0].sample_rate_hz, asked[0].channels.len()), (16_000, 1));
    let spoken = &samples[piece.frames.start as usize..piece.frames.end as usize];
    assert_eq!(asked[0].channels[0].len(), spoken.len());
    let same = asked[0].channels[0].iter().zip(spoken);
    assert!(
        same.into_iter()
            .all(|(sent, wanted)| (sent - wanted).abs() < 1e-3)
    );
}

#[tokio::test]
async fn long_audio_is_cut_and_its_pieces_come_back_at_their_times() {
    let double = GoogleDouble::start().await;
    double.script(hears_stretches);
    let samples = speech(150);
    let recognised = engine(&double)
        .await
        .transcribe(request(vec![samples.clone()]))
        .await
        .unwrap();
    let asked = double.requests();
    assert_eq!(
        (asked.len(), recognised.pieces),
        (asked.len(), asked.len() as u32)
    );
    assert!((3..=6).contains(&asked.len()), "{asked:?}");
    assert!(asked.iter().all(|asked| asked.seconds() <= 55.0), "{asked:?}");
    let sent: f64 = asked.iter().map(Asked::seconds).sum();
    assert!((120.0..=150.0).contains(&sent), "{sent}");
    let ends: Vec<u64> = recognised.segments.iter().map(|segment| segment.end_ms).collect();
    let wanted: Vec<u64> = spoken(&samples).iter().map(|(_, end)| *end).collect();
    assert!(wanted.len() > 20);
    assert_eq!(ends.len(), wanted.len(), "{ends:?} {wanted:?}");
    for (end, wanted) in ends.iter().zip(&wanted) {
        assert!(end.abs_diff(*wanted) <= 60, "{ends:?} {wanted:?}");
    }
    let in_order = recognised
        .segments
        .windows(2)
        .all(|pair| pair[0].end_ms <= pair[1].start_ms);
    assert!(in_order);
}

#[tokio::test]
async fn what_fits_is_sent_whole() {
    let double = GoogleDouble::start().await;
    double.always(Answer::says("א"));
    let google = engine(&double).await;
    for (secs, pieces) in [(57, 1), (58, 1), (59, 2), (61, 2)] {
        let recognised = google.transcribe(request(vec![speech(secs)])).await.unwrap();
        assert_eq!(recognised.pieces, pieces, "{secs}");
    }
    assert_eq!(double.request_count(), 6);
}

#[tokio::test]
async fn channels_are_sent_apart_and_merged_by_time() {
    let double = GoogleDouble::start().await;
    double.script(hears_stretches);
    let mut first = vec![0.0; 40 * RATE];
    let mut second = first.clone();
    let words = &sample("message-2.wav")[..2 * RATE];
    for at in [2, 20] {
        first[at * RATE..(at + 2) * RATE].copy_from_slice(words);
        second[(at + 8) * RATE..(at + 10) * RATE].copy_from_slice(words);
    }
    let google = engine(&double).await;
    let recognised = google.transcribe(request(vec![first, second])).await.unwrap();
    let mut channels: Vec<u8> = recognised
        .segments
        .iter()
        .map(|segment| segment.channel)
        .collect();
    channels.dedup();
    assert_eq!(channels, [0, 1, 0, 1]);
    // A piece for each stretch of speech: the silence between them is not sent.
    assert_eq!((recognised.pieces, double.request_count()), (4, 4));
    assert!(double.requests().iter().all(|asked| asked.channels.len() == 1));
}

#[tokio::test]
async fn silence_is_not_sent_and_no_error() {
    let double = GoogleDouble::start().await;
    double.always(Answer::says("שלום"));
    let google = engine(&double).await;
    let quiet: Vec<f32> = (0..3 * RATE)
        .map(|at| if at % 2 == 0 { 4e-4 } else { -4e-4 })
        .collect();
    for audio in [
        vec![],
        vec![vec![]],
        vec![vec![0.0; 5 * RATE]],
        vec![quiet.clone(), quiet],
    ] {
        let recognised = google.transcribe(request(audio)).await.unwrap();
        assert_eq!(
            (recognised.segments.len(), recognised.language.as_str()),
            (0, "he")
        );
    }
    assert_eq!(double.request_count(), 0);
    // One side of a call says nothing: it is not paid for.
    let recognised = google
        .transcribe(request(vec![vec![0.0; 5 * RATE], speech(5)]))
        .await
        .unwrap();
    assert_eq!(recognised.segments[0].channel, 1);
    assert_eq!(double.request_count(), 1);
}

#[tokio::test]
async fn answers_that_say_less_are_understood() {
    let double = GoogleDouble::start().await;
    let google = engine(&double).await;
    let metadata = json!({"totalBilledDuration": "5s"});
    let text = |body: Value| {
        double.always(Answer::Json(body));
        let asked = google.transcribe(request(vec![speech(5)]));
        async { asked.await.unwrap().text() }
    };
    for nothing in [
        json!({"metadata": metadata}),
        json!({}),
        json!({"results": []}),
        json!({"results": [{"resultEndOffset": "5s", "languageCode": "iw-IL"}], "metadata": metadata}),
        json!({"results": [{"alternatives": []}], "metadata": metadata}),
        json!({"results": [{"alternatives": [{}]}, {"alternatives": [{"transcript": " "}]}]}),
    ] {
        assert_eq!(text(nothing).await, "");
    }
    let quirks = json!({
        "results": [
            {"alternatives": [{"transcript": "שלום", "newField": {"a": 1}}], "languageCode": "iw-il", "speaker": "x"},
            {"alternatives": [{"transcript": "תודה", "confidence": 0.5,
                "words": [{"word": "תודה", "startOffset": "1s", "endOffset": "2s"}]}],
             "channelTag": 1, "resultEndOffset": "4.300s"},
        ],
        "metadata": {"totalBilledDuration": "5s", "requestId": "7"}, "unknown": [1, 2],
    });
    assert_eq!(text(quirks).await, "שלום תודה");
}

#[tokio::test]
async fn every_failure_has_its_class_and_costs_one_request() {
    use callfold_schema::event::FailureClassV2::{
        Credentials, Invalid, Network, NotFound, RateLimited, Refused, Timeout, Unavailable,
    };
    let double = GoogleDouble::start().await;
    let google = engine(&double).await;
    let retry_info = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12s"}]);
    let broke = "the connection to Google Speech broke";
    let nonsense = "the answer of Google Speech makes no sense";
    let secret = json!({"results": [{"alternatives": [{"transcript": ["סוד"]}]}]});
    let rows: Vec<(Answer, bool, FailureClass, &str, Option<u64>)> = vec![
        (
            Answer::status(400, "INVALID_ARGUMENT"),
            false,
            Refused,
            "HTTP 400 from Google Speech (INVALID_ARGUMENT)",
            None,
        ),
        (
            Answer::status(401, "UNAUTHENTICATED"),
            false,
            Credentials,
            "HTTP 401 from Google Speech (UNAUTHENTICATED)",
            None,
        ),
        (
            Answer::status(403, "PERMISSION_DENIED"),
            false,
            Credentials,
            "HTTP 403 from Google Speech (PERMISSION_DENIED)",
            None,
        ),
        (
            Answer::status(404, "NOT_FOUND"),
            false,
            NotFound,
            "HTTP 404 from Google Speech (NOT_FOUND)",
            None,
        ),
        (
            Answer::html(404),
            false,
            NotFound,
            "HTTP 404 from Google Speech",
            None,
        ),
        (
            Answer::Http(413, vec![], "too large".to_owned()),
            false,
            Refused,
            "HTTP 413 from Google Speech",
            None,
        ),
        (
            Answer::status(429, "RESOURCE_EXHAUSTED"),
            true,
            RateLimited,
            "HTTP 429 from Google Speech (RESOURCE_EXHAUSTED)",
            None,
        ),
        (
            Answer::busy("7"),
            true,
            RateLimited,
            "HTTP 429 from Google Speech (RESOURCE_EXHAUSTED)",
            Some(7),
        ),
        (
            Answer::busy("Sat, 06 Nov 2094 08:49:37 GMT"),
            true,
            RateLimited,
            "HTTP 429 from Google Speech (RESOURCE_EXHAUSTED)",
            Some(3_600),
        ),
        (
            Answer::Status(429, "RESOURCE_EXHAUSTED", retry_info),
            true,
            RateLimited,
            "HTTP 429 from Google Speech (RESOURCE_EXHAUSTED)",
            Some(12),
        ),
        (
            Answer::status(500, "INTERNAL"),
            true,
            Unavailable,
            "HTTP 500 from Google Speech (INTERNAL)",
            None,
        ),
        (
            Answer::status(503, "UNAVAILABLE"),
            true,
            Unavailable,
            "HTTP 503 from Google Speech (UNAVAILABLE)",
            None,
        ),
        (
            Answer::html(502),
            true,
            Unavailable,
            "HTTP 502 from Google Speech",
            None,
        ),
        (
            Answer::status(504, "DEADLINE_EXCEEDED"),
            true,
            Unavailable,
            "HTTP 504 from Google Speech (DEADLINE_EXCEEDED)",
            None,
        ),
        (
            Answer::Silent.with(Fault::CutBeforeHead),
            true,
            Network,
            broke,
            None,
        ),
        (
            Answer::says("half").with(Fault::CutInBody),
            true,
            Network,
            broke,
            None,
        ),
        (Answer::half_json(), true, Invalid, nonsense, None),
        (Answer::html(200), true, Invalid, nonsense, None),
        (
            Answer::Http(200, vec![], String::new()),
            true,
            Invalid,
            nonsense,
            None,
        ),
        (Answer::Json(secret), true, Invalid, nonsense, None),
        (Answer::Json(json!([])), true, Invalid, nonsense, None),
        (
            Answer::Json(json!({"object": "list", "data": []})),
            true,
            Invalid,
            "the answer of Google Speech holds nothing of what was asked",
            None,
        ),
    ];
    for (answer, may_pass, class, text, after_secs) in rows {
        let row = format!("{answer:?}");
        double.always(answer);
        let before = double.request_count();
        let error = google.transcribe(request(vec![speech(3)])).await.unwrap_err();
        assert_eq!(double.request_count(), before + 1, "{row}");
        assert_discreet(&error);
        assert_eq!(error.to_string(), text, "{row}");
        match error {
            EngineError::Unavailable {
                class: got, after, ..
            } => {
                assert_eq!(
                    (may_pass, got, after.map(|after| after.as_secs())),
                    (true, class, after_secs),
                    "{row}"
                );
            }
            EngineError::Rejected { class: got, .. } => assert_eq!((may_pass, got), (false, class), "{row}"),
            EngineError::Cancelled => panic!("{row}"),
        }
    }
    let impatient = Google::new(GoogleConfig {
        request_timeout: Duration::from_millis(50),
        ..configured(&double, &[]).await
    });
    for answer in [Answer::hang(), Answer::says("half").with(Fault::StallInBody)] {
        double.always(answer);
        let error = impatient.transcribe(request(vec![speech(3)])).await.unwrap_err();
        assert!(
            matches!(&error, EngineError::Unavailable { class: Timeout, .. }),
            "{error:?}"
        );
        assert_discreet(&error);
    }
    // What was wrong is over: the same engine goes on.
    double.always(Answer::says("שלום"));
    assert_eq!(
        google.transcribe(request(vec![speech(3)])).await.unwrap().text(),
        "שלום"
    );
    drop(double);
    let error = google.transcribe(request(vec![speech(3)])).await.unwrap_err();
    assert!(
        matches!(&error, EngineError::Unavailable { class: Network, .. }),
        "{error:?}"
    );
    assert_discreet(&error);
}

#[tokio::test]
async fn four_pieces_are_sent_at_once() {
    let double = GoogleDouble::start().await;
    let release = CancellationToken::new();
    double.always(Answer::says("א").with(Fault::Held(release.clone())));
    let google = engine(&double).await;
    let both = vec![speech(150), speech(150)];
    let working = tokio::spawn(async move { google.transcribe(request(both)).await });
    wait_for("four requests", async || {
        (double.at_once_max() == 4).then_some(())
    })
    .await;
    release.cancel();
    let recognised = working.await.unwrap().unwrap();
    assert!(recognised.pieces > 4);
    assert_eq!(double.request_count(), recognised.pieces as usize);
    assert_eq!(double.at_once_max(), 4);
}

#[tokio::test]
async fn a_piece_that_fails_ends_the_others_and_the_whole() {
    let double = GoogleDouble::start().await;
    double.script(|asked| match asked.number {
        2 => Answer::status(503, "UNAVAILABLE"),
        _ => Answer::hang(),
    });
    let error = engine(&double)
        .await
        .transcribe(request(vec![speech(250)]))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        EngineError::Unavailable {
            class: FailureClass::Unavailable,
            ..
        }
    ));
    wait_for("the end of the others", async || {
        (double.in_flight() == 0).then_some(())
    })
    .await;
    assert!(double.request_count() <= REQUESTS_MAX);
}

#[tokio::test]
async fn work_that_is_not_wanted_any_more_ends() {
    let double = GoogleDouble::start().await;
    double.always(Answer::hang());
    let google = Arc::new(engine(&double).await);
    for cancelled in [true, false] {
        let request = request(vec![speech(150)]);
        let (engine, cancel) = (Arc::clone(&google), request.cancel.clone());
        let working = tokio::spawn(async move { engine.transcribe(request).await });
        wait_for("the requests", async || (double.in_flight() > 0).then_some(())).await;
        if cancelled {
            cancel.cancel();
            assert!(matches!(working.await.unwrap(), Err(EngineError::Cancelled)));
        } else {
            working.abort();
        }
        wait_for("the end of them", async || {
            (double.in_flight() == 0).then_some(())
        })
        .await;
    }
    let request = request(vec![speech(3)]);
    request.cancel.cancel();
    let before = double.request_count();
    assert!(matches!(
        google.transcribe(request).await,
        Err(EngineError::Cancelled)
    ));
    assert_eq!(double.request_count(), before);
}

#[tokio::test]
async fn a_call_has_its_own_language_and_phrases() {
    let double = GoogleDouble::start().await;
    let google = Google::new(configured(&double, &[(setting::PHRASES, "קולפולד, Acme")]).await);
    let many = (0..2_000).map(|n| format!("p{n}"));
    let own: Vec<Vec<String>> = vec![
        vec![],
        vec![
            " רחוב הרצל ".to_owned(),
            "Acme".to_owned(),
            String::new(),
            "x".repeat(101),
        ],
        many.collect(),
    ];
    for phrases in own {
        let asked = Request {
            phrases: phrases.into(),
            ..request(vec![speech(2)])
        };
        google.transcribe(asked).await.unwrap();
    }
    let names = |at: usize| -> Vec<String> {
        let asked = double.requests();
        assert!(asked[at].phrases.iter().all(|(_, boost)| *boost == 10.0));
        asked[at]
            .phrases
            .iter()
            .map(|(phrase, _)| phrase.clone())
            .collect()
    };
    assert_eq!(names(0), ["קולפולד", "Acme"]);
    assert_eq!(names(1), ["רחוב הרצל", "Acme", "קולפולד"]);
    assert_eq!(names(2).len(), 1_000);
    double.always(Answer::says("hello"));
    for (language, sent, told) in [
        (Some("he-IL"), "iw-IL", "he"),
        (Some("he"), "iw-IL", "he"),
        (Some("en-US"), "en-US", "he"),
        (None, "iw-IL", "he"),
    ] {
        let asked = Request {
            language: language.map(str::to_owned),
            ..request(vec![speech(2)])
        };
        // The double says of every text that it is Hebrew.
        assert_eq!(google.transcribe(asked).await.unwrap().language, told);
        assert_eq!(double.requests().last().unwrap().language, sent);
    }
    double.always(Answer::Silent);
    let english = Request {
        language: Some("en-US".to_owned()),
        ..request(vec![speech(2)])
    };
    assert_eq!(google.transcribe(english).await.unwrap().language, "en-US");
}

#[tokio::test]
async fn the_settings_are_checked_against_the_service_once() {
    let double = GoogleDouble::start().await;
    for good in [
        &[][..],
        &[(setting::LOCATION, "us")],
        &[(setting::MODEL, "chirp_2")],
        &[(setting::LANGUAGE, "auto")],
        &[(setting::LANGUAGE, "en-US"), (setting::MODEL, "telephony")],
        &[(setting::LOCATION, "global"), (setting::MODEL, "long")],
    ] {
        let google = Google::new(configured(&double, good).await);
        let before = double.question_count();
        google.prepare().await.unwrap();
        google.prepare().await.unwrap();
        assert_eq!(double.question_count(), before + 1, "{good:?}");
    }
    assert_eq!(double.request_count(), 0);
}

#[tokio::test]
async fn a_setting_that_the_service_refuses_is_named_at_the_start() {
    let double = GoogleDouble::start().await;
    for (settings, class, text) in [
        (
            vec![(setting::LANGUAGE, "xx-XX")],
            FailureClass::Refused,
            "GOOGLE_SPEECH_LANGUAGE: there is no language `xx-XX` in the location `eu` (Hebrew is `iw-IL`)",
        ),
        (
            vec![(setting::MODEL, "chirp_9")],
            FailureClass::Refused,
            "GOOGLE_SPEECH_MODEL: there is no model `chirp_9` in the location `eu`, but `chirp_2`, `chirp_3`, `long`, \
             `telephony`",
        ),
        (
            vec![(setting::MODEL, "telephony")],
            FailureClass::Refused,
            "GOOGLE_SPEECH_MODEL: the model `telephony` does not know `iw-IL` in the location `eu`; those that do: \
             `chirp_2`, `chirp_3`",
        ),
        (
            vec![(setting::LOCATION, "mars")],
            FailureClass::NotFound,
            "HTTP 404 from Google Speech (NOT_FOUND): GOOGLE_SPEECH_LOCATION or GOOGLE_SPEECH_PROJECT names nothing \
             that is there",
        ),
        (
            vec![(setting::PROJECT, "somebody-else")],
            FailureClass::Credentials,
            "HTTP 403 from Google Speech (PERMISSION_DENIED): the credentials of GOOGLE_APPLICATION_CREDENTIALS are \
             refused, or may not use Speech-to-Text in the project",
        ),
    ] {
        let google = Google::new(configured(&double, &settings).await);
        let error = google.prepare().await.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(matches!(error, EngineError::Rejected { class: got, .. } if got == class));
        assert_discreet(&error);
    }
    // A key that the service does not know.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    let mut key = key_file();
    key["private_key_id"] = json!("older");
    std::fs::write(&path, key.to_string()).unwrap();
    let path = path.display().to_string();
    let google = Google::new(configured(&double, &[(setting::CREDENTIALS, &path)]).await);
    let error = google.prepare().await.unwrap_err();
    assert!(
        error.to_string().starts_with("HTTP 401 from Google Speech"),
        "{error}"
    );
}

#[tokio::test]
async fn a_service_that_cannot_be_asked_now_is_asked_again() {
    let double = GoogleDouble::start().await;
    let google = engine(&double).await;
    for answer in [
        Answer::status(503, "UNAVAILABLE"),
        Answer::busy("5"),
        Answer::Silent.with(Fault::CutBeforeHead),
        Answer::half_json(),
        Answer::html(200),
    ] {
        let before = double.question_count();
        double.location(Some(answer));
        google.prepare().await.unwrap();
        assert_eq!(double.question_count(), before + 1);
    }
    double.location(None);
    google.prepare().await.unwrap();
    // A stand-in on this machine that knows the one call only, and answers that tell nothing, are no reason to stop.
    for answer in [Answer::html(404), Answer::Json(json!({"name": "x"}))] {
        double.location(Some(answer));
        engine(&double).await.prepare().await.unwrap();
    }
    drop(double);
    google.prepare().await.unwrap();
}

#[tokio::test]
async fn the_client_of_the_real_service_is_made_without_asking_it() {
    let double = GoogleDouble::start().await;
    let config = GoogleConfig {
        endpoint: "https://eu-speech.googleapis.com".to_owned(),
        ..configured(&double, &[]).await
    };
    assert!(Google::new(config).client().await.is_ok());
}
