//! The models: speech, and summaries.

use std::time::Duration;

use callfold_schema::UnixMillis;
use callfold_summarizer::ModelConfig;
use callfold_transcriber::engine::whisper::ModelSource;
use reqwest::header::DATE;
use serde_json::Value;
use url::Url;

use super::check::Check;
use super::machine::head;

/// How long the server may take to list its models.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How a ggml file begins: the number 0x67676d6c, little endian.
const GGML_MAGIC: &[u8] = b"lmgg";
/// Where a model for Hebrew comes from.
const GET_A_MODEL: &str = "fetch ggml-model.bin of ivrit-ai/whisper-large-v3-turbo-ggml (huggingface.co, 1.5 GB) and put it \
                           into models/ of the data folder, or name it in WHISPER_MODEL";

/// The speech model that the settings lead to. Whether a named file is there was checked with the settings.
pub(super) fn speech(source: Option<&ModelSource>) -> Check {
    let name = "speech model";
    let path = match source {
        None => return Check::missing(name, "transcription waits: no speech model", GET_A_MODEL),
        Some(ModelSource::Demo) => {
            let found = "the demonstration model: 181 words of synthetic Hebrew, no human voice";
            return Check::note(name, found, format!("for real calls {GET_A_MODEL}"));
        }
        Some(ModelSource::File(path)) => path,
    };
    let file = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let size = match std::fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) => {
            return Check::wrong(name, format!("{}: {}", path.display(), error.kind()), GET_A_MODEL);
        }
    };
    let found = format!("{} ({:.0} MB)", path.display(), size as f64 / 1e6);
    match head(path) {
        Err(error) => Check::wrong(name, format!("{found} cannot be read: {}", error.kind()), ""),
        Ok(bytes) if bytes != GGML_MAGIC => Check::wrong(
            name,
            format!("{found} is no model of whisper.cpp (ggml)"),
            GET_A_MODEL,
        ),
        Ok(_) if file.contains(".en.") || file.contains(".en-") => {
            Check::wrong(name, format!("{found} knows English only"), GET_A_MODEL)
        }
        Ok(_) => Check::ok(name, found),
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

    use super::super::check::State;
    use super::*;

    #[test]
    fn a_speech_model_is_looked_into() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("writes");
            speech(Some(&ModelSource::File(path))).state
        };
        assert_eq!(of("ggml-model.bin", b"lmggrest"), State::Ok);
        assert_eq!(of("ggml-small.en.bin", b"lmggrest"), State::Wrong);
        assert_eq!(of("model.gguf.bin", b"GGUFrest"), State::Wrong);
        assert_eq!(of("empty.bin", b""), State::Wrong);
        assert_eq!(
            speech(Some(&ModelSource::File(folder.path().join("gone.bin")))).state,
            State::Wrong
        );
        assert_eq!(speech(Some(&ModelSource::Demo)).state, State::Note);
        assert_eq!(speech(None).state, State::Missing);
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
