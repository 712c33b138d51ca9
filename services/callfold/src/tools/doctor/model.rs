//! The models: speech, and summaries.

use std::path::Path;
use std::time::Duration;

use callfold_schema::UnixMillis;
use callfold_summarizer::ModelConfig;
use callfold_transcriber::engine::whisper::ModelSource;
use callfold_transcriber::model_choice::{FileKind, ModelChoice};
use reqwest::header::DATE;
use serde_json::Value;
use url::Url;

use super::super::model::store::Folder;
use super::super::model::{Standing, standing};
use super::check::Check;

/// How long the server may take to list its models.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Where a model for Hebrew comes from.
const GET_A_MODEL: &str = "`callfold model fetch ivrit-turbo` brings one for Hebrew (1.6 GB), `callfold model list` tells of others";

/// The speech model, and the one that tells speech from silence. Whether files that settings name are there was checked
/// with the settings. `has_others`: other engines recognise speech as well. Reads the whole model where its hash is
/// known: seconds for a large one.
pub(super) async fn speech(choice: &ModelChoice, has_others: bool, data_dir: &Path) -> Vec<Check> {
    let (choice, folder) = (choice.clone(), Folder::of(data_dir));
    let looked =
        tokio::task::spawn_blocking(move || [in_use(&choice, has_others, &folder), vad(&choice, &folder)])
            .await;
    looked.map_or_else(
        |_| {
            vec![Check::unknown(
                "speech model",
                "looking at it did not end well",
                "",
            )]
        },
        Vec::from,
    )
}

fn in_use(choice: &ModelChoice, has_others: bool, folder: &Folder) -> Check {
    let name = "speech model";
    let chosen = match choice.choose() {
        Ok(Some(chosen)) => chosen,
        Ok(None) if has_others => {
            let found = "none: while the other engines are away recordings wait";
            return Check::note(name, found, GET_A_MODEL);
        }
        Ok(None) => return Check::missing(name, "transcription waits: no speech model", GET_A_MODEL),
        Err(error) => {
            let to_do = "choose one that is there: `callfold model list`, `callfold model use NAME-or-PATH`";
            return Check::wrong(name, callfold_kit::chain(&error), to_do);
        }
    };
    let path = match chosen.source {
        ModelSource::Demo => {
            let found = "the demonstration model: 181 words of synthetic Hebrew, no human voice";
            return Check::note(name, found, format!("for real calls: {GET_A_MODEL}"));
        }
        ModelSource::File(path) => path,
    };
    let size = match std::fs::metadata(&path) {
        Ok(meta) => meta.len(),
        Err(error) => {
            return Check::wrong(name, format!("{}: {}", path.display(), error.kind()), GET_A_MODEL);
        }
    };
    let found = format!(
        "{} ({:.0} MB), because {}",
        path.display(),
        size as f64 / 1e6,
        chosen.reason
    );
    match FileKind::of(&path) {
        Err(error) => {
            return Check::wrong(name, format!("{found}; it cannot be read: {}", error.kind()), "");
        }
        Ok(FileKind::English) => {
            return Check::wrong(name, format!("{found}; it knows English only"), GET_A_MODEL);
        }
        Ok(FileKind::Vad) => {
            let found = format!("{found}; it tells speech from silence and writes nothing down");
            return Check::wrong(name, found, GET_A_MODEL);
        }
        Ok(FileKind::Other) => {
            let found =
                format!("{found}; it is no model of whisper.cpp (ggml), or only the beginning of one");
            return Check::wrong(name, found, GET_A_MODEL);
        }
        Ok(FileKind::Speech) => {}
    }
    checked(name, &found, &path, folder)
}

/// A file as far as something is known to hold it against.
fn checked(name: &'static str, found: &str, path: &Path, folder: &Folder) -> Check {
    let file = path.file_name().map(|file| file.to_string_lossy().into_owned());
    let stands = match file {
        Some(file) if folder.file(&file) == path => standing(folder, &file),
        _ => Ok(Standing::Unknown),
    };
    let to_do = "fetch it again: `callfold model fetch NAME`";
    match stands {
        Ok(Standing::AsFetched(sha256)) => {
            Check::ok(name, format!("{found}; as it was fetched (sha256 {sha256})"))
        }
        Ok(Standing::AsBuiltIn(sha256)) => {
            Check::ok(name, format!("{found}; the file that is known (sha256 {sha256})"))
        }
        Ok(Standing::Unknown) => Check::ok(name, format!("{found}; no hash of it is known")),
        Ok(Standing::NotAsFetched(sha256)) => Check::wrong(
            name,
            format!("{found}; not the file that was fetched (sha256 {sha256})"),
            to_do,
        ),
        Ok(Standing::NotAsBuiltIn(sha256)) => Check::wrong(
            name,
            format!("{found}; not the model of this name (sha256 {sha256})"),
            to_do,
        ),
        Err(error) => Check::wrong(
            name,
            format!("{found}; {}", callfold_kit::chain(error.as_ref())),
            "",
        ),
    }
}

fn vad(choice: &ModelChoice, folder: &Folder) -> Check {
    let name = "VAD model";
    match choice.vad() {
        Some(path) => checked(name, &path.display().to_string(), &path, folder),
        None => Check::note(
            name,
            "none: noise is told from speech by its loudness only",
            "`callfold model fetch vad` (1 MB) keeps words out of transcripts that nobody said",
        ),
    }
}

/// The summary model, and what its server's clock shows.
pub(super) async fn summary(
    http: &reqwest::Client,
    model: Option<&ModelConfig>,
) -> (Option<Check>, Option<UnixMillis>) {
    let name = "summary model";
    let Some(model) = model else {
        let found = "none: summaries are made offline from the message's own sentences";
        return (
            Some(Check::note(
                name,
                found,
                "for worded ones set OPENAI_API_KEY (and OPENAI_BASE_URL)",
            )),
            None,
        );
    };
    let host = Url::parse(&model.base_url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    let asked = http
        .get(format!("{}/models", model.base_url))
        .bearer_auth(model.api_key.expose())
        .timeout(ASK_TIMEOUT)
        .send()
        .await;
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => {
            let found = format!(
                "{host} does not answer: {}",
                callfold_kit::chain(&error.without_url())
            );
            let to_do = "see that OPENAI_BASE_URL is right and its server runs; until then summaries are made offline";
            return (Some(Check::wrong(name, found, to_do)), None);
        }
    };
    let date = answer
        .headers()
        .get(DATE)
        .and_then(|date| http_date(date.to_str().ok()?));
    let status = answer.status().as_u16();
    // A list that does not read is one that is not known to lack the model.
    let list: Option<Value> = if answer.status().is_success() {
        answer.json().await.ok()
    } else {
        None
    };
    (Some(judge(&host, &model.model, status, list.as_ref())), date)
}

fn judge(host: &str, model: &str, status: u16, list: Option<&Value>) -> Check {
    let name = "summary model";
    let answered = format!("{host} answered {status}");
    match status {
        200..300 => {
            let models = list.and_then(|list| list.get("data")?.as_array());
            let is_listed = |models: &Vec<Value>| {
                models
                    .iter()
                    .any(|entry| entry.get("id").and_then(Value::as_str) == Some(model))
            };
            if models.is_none_or(is_listed) {
                Check::ok(name, format!("{model} at {host}, the key is accepted"))
            } else {
                let found = format!("{host} accepts the key and does not list {model}");
                Check::note(name, found, "see that CALLFOLD_SUMMARY_MODEL is right")
            }
        }
        401 | 403 => Check::wrong(
            name,
            format!("{answered}: the key is refused"),
            "correct OPENAI_API_KEY",
        ),
        404 | 405 => Check::note(
            name,
            format!("{answered}: it does not list its models"),
            "see that OPENAI_BASE_URL ends as the server wants it (mostly /v1)",
        ),
        429 => Check::note(
            name,
            format!("{answered}: too many requests"),
            "see the account's limits and balance",
        ),
        _ => Check::wrong(name, answered, "until it works summaries are made offline"),
    }
}

/// `Sun, 22 Nov 2026 10:00:00 GMT`
fn http_date(text: &str) -> Option<UnixMillis> {
    let moment = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    Some(UnixMillis(moment.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::get;
    use callfold_kit::Secret;
    use serde_json::json;

    use sha2::{Digest as _, Sha256};

    use super::super::super::model::store::{CheckedBy, Record, Sha256Hex};
    use super::super::check::State;
    use super::*;

    #[tokio::test]
    async fn a_speech_model_is_looked_into() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = Folder::of(data.path());
        folder.make().expect("makes it");
        let choice = ModelChoice {
            folder: Some(folder.path().to_owned()),
            ..ModelChoice::default()
        };
        let state = async |choice: &ModelChoice| speech(choice, false, data.path()).await[0].state;
        assert_eq!(state(&choice).await, State::Note);
        let waiting = ModelChoice {
            real_calls: true,
            ..choice.clone()
        };
        assert_eq!(state(&waiting).await, State::Missing);
        assert_eq!(speech(&waiting, true, data.path()).await[0].state, State::Note);
        let of = async |name: &str, bytes: &[u8]| {
            let path = folder.file(name);
            std::fs::write(&path, bytes).expect("writes");
            let named = ModelChoice {
                setting: Some(path.display().to_string()),
                ..choice.clone()
            };
            state(&named).await
        };
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transcriber/assets/ggml-micro-he.bin");
        let demo = std::fs::read(demo).expect("reads");
        assert_eq!(of("ggml-model.bin", &demo).await, State::Ok);
        let mut english = demo.clone();
        english[4..8].copy_from_slice(&51_864_u32.to_le_bytes());
        assert_eq!(of("ggml-small.en.bin", &english).await, State::Wrong);
        assert_eq!(of("model.gguf.bin", b"GGUFrest").await, State::Wrong);
        assert_eq!(of("empty.bin", b"").await, State::Wrong);
        assert_eq!(of("silero.bin", b"lmgg\x0a\0\0\0silero-16k").await, State::Wrong);
        assert_eq!(
            speech(&choice, false, data.path()).await[1].state,
            State::Ok,
            "the VAD model is there now"
        );

        // As it was fetched, and then no longer.
        let record = Record {
            sha256: Sha256Hex::finish(Sha256::new_with_prefix(&demo)),
            bytes: demo.len() as u64,
            source: "here".to_owned(),
            checked_by: CheckedBy::Hub,
            fetched_at: "2026-11-22T10:00:00.000Z".to_owned(),
        };
        folder.set_record("ggml-model.bin", &record).expect("writes");
        assert_eq!(of("ggml-model.bin", &demo).await, State::Ok);
        let silero = b"lmgg\x0a\0\0\0silero-16k";
        let fetched = Record {
            sha256: Sha256Hex::finish(Sha256::new_with_prefix(silero)),
            bytes: silero.len() as u64,
            ..record.clone()
        };
        folder.set_record("silero.bin", &fetched).expect("writes");
        let vad = async || speech(&choice, false, data.path()).await[1].state;
        assert_eq!(vad().await, State::Ok);
        std::fs::write(folder.file("silero.bin"), b"lmgg\x0a\0\0\0silero-16K").expect("writes");
        assert_eq!(vad().await, State::Wrong, "the VAD model is checked as well");
        let mut damaged = demo.clone();
        damaged[1_000_000] ^= 1;
        assert_eq!(of("ggml-model.bin", &damaged).await, State::Wrong);
        folder.set_in_use("gone.bin").expect("writes");
        assert_eq!(state(&choice).await, State::Wrong);
    }

    #[test]
    fn a_date_header_is_a_moment() {
        assert_eq!(
            http_date("Thu, 01 Jan 1970 00:00:05 GMT"),
            Some(UnixMillis(5_000))
        );
        assert_eq!(http_date("yesterday"), None);
    }

    async fn server() -> String {
        let models = async |headers: HeaderMap| {
            if headers
                .get("authorization")
                .is_some_and(|value| value == "Bearer sk-good")
            {
                Ok(axum::Json(json!({"data": [{"id": "small"}, {"id": "large"}]})))
            } else {
                Err(StatusCode::UNAUTHORIZED)
            }
        };
        let router = axum::Router::new().route("/v1/models", get(models));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn the_model_s_server_is_asked() {
        let base = server().await;
        let http = callfold_kit::http::client_builder().build().expect("a client");
        let ask = async |path: &str, key: &str, model: &str| {
            let config = ModelConfig {
                base_url: format!("{base}{path}"),
                api_key: Secret::new(key),
                model: model.to_owned(),
                budget: ASK_TIMEOUT,
                retry_pause: Duration::ZERO,
                input_tokens: 6_000,
            };
            let (check, date) = summary(&http, Some(&config)).await;
            let check = check.expect("a row");
            assert!(!format!("{check:?}").contains(key), "{check:?}");
            (check.state, date.is_some())
        };
        assert_eq!(ask("/v1", "sk-good", "small").await, (State::Ok, true));
        assert_eq!(ask("/v1", "sk-good", "other").await, (State::Note, true));
        assert_eq!(ask("/v1", "sk-bad", "small").await, (State::Wrong, true));
        assert_eq!(ask("", "sk-good", "small").await, (State::Note, true));
        let closed = ModelConfig {
            // Nothing listens on port 1.
            base_url: "http://127.0.0.1:1/v1".to_owned(),
            api_key: Secret::new("sk-good"),
            model: "small".to_owned(),
            budget: ASK_TIMEOUT,
            retry_pause: Duration::ZERO,
            input_tokens: 6_000,
        };
        assert_eq!(
            summary(&http, Some(&closed)).await.0.map(|check| check.state),
            Some(State::Wrong)
        );
        assert_eq!(
            summary(&http, None).await.0.map(|check| check.state),
            Some(State::Note)
        );
        assert_eq!(judge("h", "m", 503, None).state, State::Wrong);
    }
}
