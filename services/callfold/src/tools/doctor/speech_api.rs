//! The OpenAI-compatible speech server: whether it answers, takes the key, and has the model.

use callfold_transcriber::engine::openai::{Listing, SpeechApi, SpeechApiConfig, setting};
use url::Url;

use super::check::Check;

/// The settings of this part.
pub(super) const SETTINGS: [&str; 5] = [
    setting::OPENAI_API_KEY,
    setting::OPENAI_BASE_URL,
    setting::MODEL,
    setting::BASE_URL,
    setting::API_KEY,
];

/// Asks the server. `None`: none is configured, which is no mistake.
pub(super) async fn speech(config: Option<SpeechApiConfig>) -> Check {
    let name = "speech server";
    let Some(config) = config else {
        let to_do = format!(
            "to have one tried last set {} to a server with /audio/transcriptions, or {}",
            setting::BASE_URL,
            setting::OPENAI_API_KEY
        );
        return Check::note(name, "off", to_do);
    };
    let url = Url::parse(&config.base_url).ok();
    let host = url.and_then(|url| url.host_str().map(str::to_owned));
    let what = format!("{} at {}", config.model, host.unwrap_or_default());
    let server = match SpeechApi::new(config) {
        Ok(server) => server,
        Err(error) => return Check::wrong(name, callfold_kit::chain(&error.without_url()), ""),
    };
    match server.check().await {
        Ok(Listing::Good) => Check::ok(name, what),
        Ok(Listing::Lacks) => Check::note(
            name,
            format!("{what}: the server does not list this model"),
            format!("see that {} is right", setting::MODEL),
        ),
        Ok(Listing::Untold(why)) => Check::note(
            name,
            format!("{what}: {why} when it is asked for its models"),
            format!(
                "see that it runs and that {} or {} ends as it wants it (mostly /v1)",
                setting::BASE_URL,
                setting::OPENAI_BASE_URL
            ),
        ),
        Err(error) => Check::wrong(
            name,
            callfold_kit::chain(&error),
            format!("correct {} or {}", setting::API_KEY, setting::OPENAI_API_KEY),
        ),
    }
}

#[cfg(test)]
mod tests {
    use callfold_transcriber::testing::speech_api::SpeechApiDouble;

    use super::super::check::State;
    use super::*;

    #[tokio::test]
    async fn the_server_is_asked_where_it_is_configured() {
        assert_eq!(speech(None).await.state, State::Note);
        let double = SpeechApiDouble::start().await;
        let ask = async |key: Option<&str>, model: &str| {
            let key = key.map(callfold_kit::secret::Secret::new);
            speech(Some(SpeechApiConfig::new(&double.base_url(), key, model))).await
        };
        double.know_models(&["whisper-1"]);
        assert_eq!(ask(None, "whisper-1").await.state, State::Ok);
        let lacking = ask(None, "whisper-2").await;
        assert_eq!(lacking.state, State::Note);
        assert!(lacking.found.contains("does not list"), "{lacking:?}");
        double.require_key("sk-good");
        assert_eq!(ask(Some("sk-good"), "whisper-1").await.state, State::Ok);
        let refused = ask(Some("sk-bad"), "whisper-1").await;
        assert_eq!(refused.state, State::Wrong);
        assert!(!format!("{refused:?}").contains("sk-bad"), "{refused:?}");
        let gone = SpeechApiConfig::new(&double.base_url(), None, "whisper-1");
        drop(double);
        assert_eq!(speech(Some(gone)).await.state, State::Note);
    }
}
