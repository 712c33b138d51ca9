//! Twilio: credentials, the public address, and how the account's numbers are set up.

use callfold_gateway::GatewayConfig;
use callfold_twilio::rest::{IncomingPhoneNumber, RestClient, RestError};
use callfold_twilio::twiml::{recommended_status_callback, recommended_voice_url};
use callfold_twilio::{PublicUrl, path};
use url::Url;

use super::check::Check;

/// How many numbers are shown when none of them calls here.
const NUMBERS_SHOWN: usize = 5;

/// Everything about Twilio. `api` is the address of its REST API.
pub(super) async fn checks(
    http: &reqwest::Client,
    api: Url,
    gateway: &GatewayConfig,
    public_url_is_wrong: bool,
) -> Vec<Check> {
    let has_token = !gateway.tokens.is_empty();
    let mut checks = vec![credentials(gateway.account_sid.is_some(), gateway.tokens.len())];
    if !public_url_is_wrong {
        checks.extend(public_url(gateway.public_url.as_ref(), has_token));
    }
    let (true, Some(sid)) = (has_token, &gateway.account_sid) else {
        return checks;
    };
    let client = RestClient::new(http.clone(), api, sid.clone(), gateway.tokens.clone());
    match (client.incoming_phone_numbers().await, &gateway.public_url) {
        (Ok(numbers), Some(base)) => checks.extend(numbers_checks(&numbers, base)),
        (Ok(numbers), None) => checks.push(Check::unknown(
            "Twilio numbers",
            format!("the account has {}", numbers.len()),
            "with PUBLIC_URL set, their webhooks are checked",
        )),
        (Err(error), _) => checks.push(not_asked(&error)),
    }
    checks
}

fn credentials(has_account: bool, tokens: usize) -> Check {
    let name = "Twilio account";
    match (has_account, tokens) {
        (true, 1) => Check::ok(
            name,
            "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN are set; signatures are checked",
        ),
        (true, 2..) => Check::ok(
            name,
            format!("set, with {tokens} tokens; drop the old one when the rotation is over"),
        ),
        (true, 0) => Check::missing(
            name,
            "TWILIO_ACCOUNT_SID is set and TWILIO_AUTH_TOKEN is not",
            "set it: webhooks are unchecked, and recordings are fetched without credentials",
        ),
        (false, 0) => Check::note(
            name,
            "not set: webhooks are taken from anybody, so only loopback may be listened on",
            "fine for trying out; set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN before a real number",
        ),
        (false, _) => Check::missing(
            name,
            "TWILIO_AUTH_TOKEN is set and TWILIO_ACCOUNT_SID is not",
            "set it: without it recordings are fetched without credentials",
        ),
    }
}

fn public_url(base: Option<&PublicUrl>, has_token: bool) -> Option<Check> {
    let name = "PUBLIC_URL";
    let to_do = "set the https address under which Twilio reaches this machine: callbacks and signatures are made of it";
    match base {
        None if has_token => Some(Check::missing(name, "is not set", to_do)),
        // Without a token only loopback is listened on, and nobody calls from outside.
        None => None,
        Some(base) if base.is_loopback() && has_token => {
            Some(Check::wrong(name, "is this machine's own address", to_do))
        }
        Some(base) if !base.as_str().to_ascii_lowercase().starts_with("https://") && !base.is_loopback() => {
            Some(Check::wrong(
                name,
                "is not https: numbers and messages would cross the net unencrypted",
                to_do,
            ))
        }
        Some(_) => Some(Check::ok(name, "is set")),
    }
}

fn not_asked(error: &RestError) -> Check {
    let name = "Twilio numbers";
    match error {
        RestError::Unauthorized => Check::wrong(
            name,
            error.to_string(),
            "copy Account SID and Auth Token from the console again (an API key will not do: it signs nothing)",
        ),
        RestError::NoToken
        | RestError::Address
        | RestError::TooManyRequests { .. }
        | RestError::Status(_)
        | RestError::Send(_)
        | RestError::TooLarge
        | RestError::TooManyPages
        | RestError::Decode(_) => {
            Check::unknown(name, format!("could not ask Twilio: {error}"), "try again later")
        }
    }
}

/// The rows of the numbers that call here; of the others only how many there are, for an account may have numbers for
/// other purposes.
fn numbers_checks(numbers: &[IncomingPhoneNumber], base: &PublicUrl) -> Vec<Check> {
    let name = "Twilio numbers";
    let (ours, others): (Vec<_>, Vec<_>) = numbers.iter().partition(|number| {
        number
            .voice_url
            .as_deref()
            .is_some_and(|url| host(url).is_some() && host(url) == host(base.as_str()))
    });
    if numbers.is_empty() {
        return vec![Check::note(
            name,
            "the account has none",
            "buy one, then enter the webhooks as README.md says",
        )];
    }
    if ours.is_empty() {
        return others
            .iter()
            .take(NUMBERS_SHOWN)
            .map(|number| {
                let found = match number.voice_url.as_deref().and_then(host) {
                    Some(host) => format!("its voice URL leads to {host}"),
                    None => "it has no voice URL".to_owned(),
                };
                Check::wrong(
                    label(number),
                    found,
                    format!(
                        "enter {} (POST)",
                        shown(base, path::VOICE, &recommended_voice_url(base))
                    ),
                )
            })
            .collect();
    }
    let mut checks: Vec<Check> = ours
        .into_iter()
        .flat_map(|number| number_checks(number, base))
        .collect();
    if !others.is_empty() {
        let ends: Vec<String> = others
            .iter()
            .take(NUMBERS_SHOWN)
            .map(|number| label(number))
            .collect();
        let more = if others.len() > NUMBERS_SHOWN { ", …" } else { "" };
        let found = format!("{} more lead elsewhere: {}{more}", others.len(), ends.join(", "));
        checks.push(Check::note(
            name,
            found,
            "nothing, unless callfold should take their calls",
        ));
    }
    checks
}

fn number_checks(number: &IncomingPhoneNumber, base: &PublicUrl) -> Vec<Check> {
    let label = label(number);
    let voice = Webhook {
        name: format!("{label} voice URL"),
        is: number.voice_url.as_deref(),
        method: number.voice_method.as_deref(),
        should: recommended_voice_url(base),
        shown: shown(base, path::VOICE, &recommended_voice_url(base)),
    };
    let status = Webhook {
        name: format!("{label} status callback"),
        is: number.status_callback.as_deref(),
        method: number.status_callback_method.as_deref(),
        should: recommended_status_callback(base),
        shown: shown(base, path::STATUS, &recommended_status_callback(base)),
    };
    vec![
        voice.check(),
        fallback(&label, number.voice_fallback_url.as_deref(), base),
        status.check(),
    ]
}

/// One address of a number.
struct Webhook<'a> {
    name: String,
    is: Option<&'a str>,
    method: Option<&'a str>,
    should: String,
    shown: String,
}

impl Webhook<'_> {
    fn check(self) -> Check {
        let enter = format!("enter {} (POST)", self.shown);
        let Some(is) = self.is.filter(|url| !url.trim().is_empty()) else {
            return Check::missing(self.name, "is not set", enter);
        };
        if self
            .method
            .is_some_and(|method| !method.eq_ignore_ascii_case("POST"))
        {
            return Check::wrong(self.name, "is not asked by POST", enter);
        }
        let without_fragment = |url: &str| {
            url.split('#')
                .next()
                .unwrap_or_default()
                .trim_end_matches('/')
                .to_owned()
        };
        if is == self.should {
            Check::ok(self.name, "as recommended")
        } else if without_fragment(is) == without_fragment(&self.should) {
            Check::note(self.name, "is right, without the recommended retries", enter)
        } else {
            Check::wrong(self.name, "is another address", enter)
        }
    }
}

/// The fallback is what answers when this machine does not: elsewhere.
fn fallback(label: &str, is: Option<&str>, base: &PublicUrl) -> Check {
    let name = format!("{label} fallback URL");
    let to_do = "enter a TwiML bin that greets and records (README.md has one): it answers when this machine does not";
    match is.filter(|url| !url.trim().is_empty()) {
        None => Check::missing(
            name,
            "is not set: callers hear an error when this machine does not answer",
            to_do,
        ),
        Some(url) if host(url) == host(base.as_str()) => Check::wrong(
            name,
            "leads to this machine, which is what it should stand in for",
            to_do,
        ),
        Some(_) => Check::ok(name, "is set, and leads elsewhere"),
    }
}

/// `number …67`: the last two digits.
fn label(number: &IncomingPhoneNumber) -> String {
    let digits: Vec<char> = number.phone_number.chars().filter(char::is_ascii_digit).collect();
    // Of a short code two digits may be most of it.
    let shown: String = if digits.len() >= 6 {
        digits[digits.len() - 2..].iter().collect()
    } else {
        String::new()
    };
    format!("number …{shown}")
}

fn host(url: &str) -> Option<String> {
    Url::parse(url.trim()).ok()?.host_str().map(str::to_owned)
}

/// An address of ours to be entered. Where PUBLIC_URL is more than a host it may hold a secret, and is not repeated.
fn shown(base: &PublicUrl, path: &str, recommended: &str) -> String {
    let is_plain = Url::parse(base.as_str())
        .is_ok_and(|url| url.username().is_empty() && url.password().is_none() && url.path() == "/");
    if is_plain {
        return recommended.to_owned();
    }
    let fragment = recommended
        .split_once('#')
        .map(|(_, fragment)| fragment)
        .unwrap_or_default();
    format!("<PUBLIC_URL>{path}#{fragment}")
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::get;
    use callfold_twilio::AuthToken;
    use serde_json::{Value, json};

    use super::super::check::State;
    use super::*;

    const SID: &str = "AC00000000000000000000000000000001";
    const BASE: &str = "https://calls.example.com";

    fn base() -> PublicUrl {
        PublicUrl::parse(BASE).expect("a URL")
    }

    fn number(fields: Value) -> IncomingPhoneNumber {
        serde_json::from_value(fields).expect("a number")
    }

    fn good() -> Value {
        json!({
            "phone_number": "+97239990067",
            "voice_url": recommended_voice_url(&base()), "voice_method": "POST",
            "voice_fallback_url": "https://handler.twilio.com/twiml/EH1",
            "status_callback": recommended_status_callback(&base()), "status_callback_method": "POST",
        })
    }

    fn with(name: &str, value: Value) -> IncomingPhoneNumber {
        let mut fields = good();
        fields[name] = value;
        number(fields)
    }

    fn states(numbers: &[IncomingPhoneNumber]) -> Vec<State> {
        numbers_checks(numbers, &base())
            .iter()
            .map(|check| check.state)
            .collect()
    }

    #[test]
    fn a_number_is_compared_with_what_is_recommended() {
        use State::{Missing, Note, Ok, Wrong};
        assert_eq!(states(&[number(good())]), [Ok, Ok, Ok]);
        assert_eq!(
            states(&[with("voice_url", json!(format!("{BASE}{}", path::VOICE)))]),
            [Note, Ok, Ok]
        );
        assert_eq!(
            states(&[with("voice_url", json!(format!("{BASE}/voice")))]),
            [Wrong, Ok, Ok]
        );
        assert_eq!(states(&[with("voice_method", json!("GET"))]), [Wrong, Ok, Ok]);
        assert_eq!(
            states(&[with("voice_fallback_url", json!(""))]),
            [Ok, Missing, Ok]
        );
        assert_eq!(
            states(&[with("voice_fallback_url", json!(format!("{BASE}/x")))]),
            [Ok, Wrong, Ok]
        );
        assert_eq!(states(&[with("status_callback", json!(null))]), [Ok, Ok, Missing]);
        assert_eq!(
            states(&[with("status_callback", json!("https://other.example/s"))]),
            [Ok, Ok, Wrong]
        );
        assert_eq!(states(&[]), [Note]);
    }

    #[test]
    fn numbers_of_others_are_left_alone_unless_there_is_none_of_ours() {
        let other = with("voice_url", json!("https://demo.twilio.com/welcome/voice/"));
        assert_eq!(states(std::slice::from_ref(&other)), [State::Wrong]);
        assert_eq!(
            states(&[number(good()), other.clone(), other])[3..],
            [State::Note]
        );
    }

    #[test]
    fn the_table_shows_two_digits_and_no_address_with_a_secret() {
        let secret = PublicUrl::parse("https://user:hunter2@calls.example.com/s3cret").expect("a URL");
        let bad = with("voice_url", json!("https://calls.example.com/other-s3cret"));
        let rows = format!("{:?}", numbers_checks(&[bad], &secret));
        assert!(
            rows.contains("number …67") && rows.contains("<PUBLIC_URL>/webhook/twilio/voice#rc=2"),
            "{rows}"
        );
        for hidden in ["hunter2", "s3cret", "9990067", "EH1"] {
            assert!(!rows.contains(hidden), "{rows}");
        }
        assert_eq!(label(&number(json!({"phone_number": "12345"}))), "number …");
    }

    #[test]
    fn credentials_and_the_public_address_go_together() {
        assert_eq!(credentials(true, 1).state, State::Ok);
        assert_eq!(credentials(true, 0).state, State::Missing);
        assert_eq!(credentials(false, 1).state, State::Missing);
        assert_eq!(credentials(false, 0).state, State::Note);
        let of = |text: &str, token| {
            public_url(PublicUrl::parse(text).ok().as_ref(), token).map(|check| check.state)
        };
        assert_eq!(of(BASE, true), Some(State::Ok));
        assert_eq!(of("http://calls.example.com", true), Some(State::Wrong));
        assert_eq!(of("http://127.0.0.1:5000", true), Some(State::Wrong));
        assert_eq!(of("http://127.0.0.1:5000", false), Some(State::Ok));
        assert_eq!(of("", true), Some(State::Missing));
        assert_eq!(of("", false), None);
    }

    /// A double of the one resource that is asked for; `status` instead of an answer when it is not 200.
    async fn twilio(status: StatusCode) -> Url {
        let numbers = async move |headers: HeaderMap| {
            // user "AC…1", password "token"
            let expected = data_encoding::BASE64.encode(format!("{SID}:token").as_bytes());
            let sent = headers
                .get("authorization")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            if sent != format!("Basic {expected}") {
                return Err(StatusCode::UNAUTHORIZED);
            }
            if status != StatusCode::OK {
                return Err(status);
            }
            Ok(axum::Json(
                json!({"incoming_phone_numbers": [good()], "next_page_uri": null}),
            ))
        };
        let route = format!("/2010-04-01/Accounts/{SID}/IncomingPhoneNumbers.json");
        let router = axum::Router::new().route(&route, get(numbers));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Url::parse(&format!("http://{address}")).expect("a URL")
    }

    async fn asked(api: Url, token: &str) -> Vec<Check> {
        let http = callfold_kit::http::client_builder().build().expect("a client");
        let gateway = GatewayConfig {
            account_sid: Some(SID.to_owned()),
            tokens: vec![AuthToken::new(token)],
            public_url: Some(base()),
            ..GatewayConfig::default()
        };
        checks(&http, api, &gateway, false).await
    }

    #[tokio::test]
    async fn twilio_is_asked_for_the_numbers() {
        let rows = asked(twilio(StatusCode::OK).await, "token").await;
        assert_eq!(
            rows.iter().map(|check| check.state).collect::<Vec<_>>(),
            [State::Ok; 5],
            "{rows:?}"
        );
        let refused = asked(twilio(StatusCode::OK).await, "wrong-token").await;
        assert_eq!(refused[2].state, State::Wrong);
        assert!(!format!("{refused:?}").contains("wrong-token"));
        let down = asked(twilio(StatusCode::SERVICE_UNAVAILABLE).await, "token").await;
        assert_eq!(down[2].state, State::Unknown);
        // Nothing listens on port 1.
        let gone = asked(Url::parse("http://127.0.0.1:1").expect("a URL"), "token").await;
        assert_eq!(
            (gone[2].state, gone[2].found.starts_with("could not ask Twilio")),
            (State::Unknown, true)
        );
    }
}
