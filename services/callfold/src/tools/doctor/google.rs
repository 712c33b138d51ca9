//! Google Speech: whether it takes the credentials, and offers what is configured.

use callfold_transcriber::engine::EngineError;
use callfold_transcriber::engine::google::{Google, GoogleConfig, setting};

use super::check::Check;

/// The settings of this part.
pub(super) const SETTINGS: [&str; 7] = [
    setting::CREDENTIALS,
    setting::PROJECT,
    setting::LOCATION,
    setting::MODEL,
    setting::LANGUAGE,
    setting::ENDPOINT,
    setting::PHRASES,
];

/// Asks the service. `None`: it is not configured, which is no mistake.
pub(super) async fn speech(config: Option<GoogleConfig>) -> Check {
    let name = "Google Speech";
    let Some(config) = config else {
        let to_do = format!(
            "to have it tried first set {} to a service account\'s key file",
            setting::CREDENTIALS
        );
        return Check::note(name, "off", to_do);
    };
    let what = format!("{} for {} in {}", config.model, config.language, config.location);
    match Google::new(config).check().await {
        Ok(()) => Check::ok(name, format!("{what}, the credentials are accepted")),
        Err(error @ EngineError::Unavailable { .. }) => Check::wrong(
            name,
            callfold_kit::chain(&error),
            "until it works recordings go to the next engine",
        ),
        Err(error) => Check::wrong(name, callfold_kit::chain(&error), ""),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use callfold_kit::config::Settings;
    use callfold_transcriber::testing::google::GoogleDouble;

    use super::super::check::State;
    use super::*;

    #[tokio::test]
    async fn google_is_asked_where_it_is_configured() {
        assert_eq!(speech(None).await.state, State::Note);
        let double = GoogleDouble::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut source: BTreeMap<String, String> = double.settings(folder.path()).into_iter().collect();
        let ask = async |source: &BTreeMap<String, String>| {
            speech(GoogleConfig::from_settings(&mut Settings::new(source))).await
        };
        let good = ask(&source).await;
        assert_eq!(good.state, State::Ok);
        assert_eq!(
            good.found,
            "chirp_3 for iw-IL in eu, the credentials are accepted"
        );
        source.insert(setting::MODEL.to_owned(), "telephony".to_owned());
        let refused = ask(&source).await;
        assert_eq!(refused.state, State::Wrong);
        assert!(refused.found.starts_with(setting::MODEL), "{refused:?}");
        drop(double);
        assert_eq!(ask(&source).await.state, State::Wrong);
    }
}
