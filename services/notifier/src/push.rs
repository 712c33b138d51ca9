//! Push messages: encrypted for the browser (RFC 8291, with the coding of RFC 8188) and signed for its push service (VAPID,
//! RFC 8292). The primitives are those of `ring`, which the TLS stack brings anyway.

use std::time::Duration;

use callfold_kit::chain::chain;
use callfold_people::PushSubscription;
use callfold_schema::UnixMillis;
use data_encoding::BASE64URL_NOPAD;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;
use url::Url;

use crate::config::PUSH_HOSTS;
use crate::notifier::Sent;

/// How long a push service may take.
const PUSH_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a push service keeps a message for a browser that is off, in seconds: after that it is no news.
const TTL_SECONDS: u32 = 4 * 60 * 60;
/// How long a signature is good for, in seconds; 24 hours are allowed.
const SIGNATURE_SECONDS: i64 = 12 * 60 * 60;
/// The size of the one record, as it is announced; the messages are far smaller.
const RECORD_BYTES: u32 = 4_096;
/// The longest wait that a push service may ask for.
const AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// What push services call the one who signs, when there is no public address.
const NOBODY: &str = "mailto:callfold@localhost";

/// A ring error tells nothing; what was tried does.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The key of the installation.
    #[error("the key that push messages are signed with does not read")]
    Key,
    /// The keys of a browser.
    #[error("the keys of the browser do not read")]
    Browser,
    /// Random numbers, or an operation of the library.
    #[error("the message could not be encrypted or signed")]
    Crypto,
}

/// The key pair that push messages are signed with.
pub struct PushKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl PushKey {
    /// A new key, as it is kept (PKCS#8).
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn generate() -> Result<Vec<u8>, PushError> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        made.map(|made| made.as_ref().to_vec())
            .map_err(|_| PushError::Crypto)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// It is none.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, PushError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes, &random)
            .map_err(|_| PushError::Key)?;
        Ok(Self { pair, random })
    }

    /// The public half, base64url: what a browser signs up with.
    pub fn public(&self) -> String {
        BASE64URL_NOPAD.encode(self.pair.public_key().as_ref())
    }

    /// The header `Authorization` for a push service.
    fn authorization(&self, endpoint: &Url, subject: &str, now: UnixMillis) -> Result<String, PushError> {
        let header = json!({ "typ": "JWT", "alg": "ES256" }).to_string();
        let claims = json!({
            "aud": endpoint.origin().ascii_serialization(),
            "exp": now.0 / 1_000 + SIGNATURE_SECONDS,
            "sub": subject,
        })
        .to_string();
        let signed = format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(header.as_bytes()),
            BASE64URL_NOPAD.encode(claims.as_bytes())
        );
        let signature = self
            .pair
            .sign(&self.random, signed.as_bytes())
            .map_err(|_| PushError::Crypto)?;
        let signature = BASE64URL_NOPAD.encode(signature.as_ref());
        Ok(format!("vapid t={signed}.{signature}, k={}", self.public()))
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(salt: &[u8], secret: &[u8], info: &[&[u8]], bytes: usize) -> Result<Vec<u8>, PushError> {
    let mut out = vec![0; bytes];
    Salt::new(HKDF_SHA256, salt)
        .extract(secret)
        .expand(info, Length(bytes))
        .and_then(|derived| derived.fill(&mut out))
        .map_err(|_| PushError::Crypto)?;
    Ok(out)
}

/// Key and nonce of a message, from what both sides know (RFC 8291, section 3.4).
fn content_key(
    shared: &[u8],
    auth: &[u8],
    browser: &[u8],
    server: &[u8],
    salt: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), PushError> {
    let ikm = derive(auth, shared, &[b"WebPush: info\0", browser, server], 32)?;
    let key = derive(salt, &ikm, &[b"Content-Encoding: aes128gcm\0"], 16)?;
    let nonce = derive(salt, &ikm, &[b"Content-Encoding: nonce\0"], 12)?;
    Ok((key, nonce))
}

/// Header, and the one record (RFC 8188).
fn seal(key: &[u8], nonce: &[u8], salt: &[u8], server: &[u8], plain: &[u8]) -> Result<Vec<u8>, PushError> {
    let key = UnboundKey::new(&AES_128_GCM, key).map_err(|_| PushError::Crypto)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| PushError::Crypto)?;
    let mut record = plain.to_vec();
    // The delimiter of the last record.
    record.push(2);
    LessSafeKey::new(key)
        .seal_in_place_append_tag(nonce, Aad::empty(), &mut record)
        .map_err(|_| PushError::Crypto)?;
    let mut message = salt.to_vec();
    message.extend(RECORD_BYTES.to_be_bytes());
    message.push(u8::try_from(server.len()).map_err(|_| PushError::Crypto)?);
    message.extend(server);
    message.extend(record);
    Ok(message)
}

/// Encrypts a message for a browser, with a key pair and a salt of its own.
///
/// # Errors
/// The browser's keys are none.
pub fn encrypt(subscription: &PushSubscription, plain: &[u8]) -> Result<Vec<u8>, PushError> {
    let decode = |text: &str| {
        BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| PushError::Browser)
    };
    let (browser, auth) = (decode(&subscription.p256dh)?, decode(&subscription.auth)?);
    let random = SystemRandom::new();
    let mut salt = [0_u8; 16];
    random.fill(&mut salt).map_err(|_| PushError::Crypto)?;
    let private = EphemeralPrivateKey::generate(&ECDH_P256, &random).map_err(|_| PushError::Crypto)?;
    let server = private.compute_public_key().map_err(|_| PushError::Crypto)?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, &browser);
    let shared = agree_ephemeral(private, &theirs, <[u8]>::to_vec).map_err(|_| PushError::Browser)?;
    let (key, nonce) = content_key(&shared, &auth, &browser, server.as_ref(), &salt)?;
    seal(&key, &nonce, &salt, server.as_ref(), plain)
}

/// Sends push messages.
pub(crate) struct Pusher {
    pub(crate) key: PushKey,
    pub(crate) http: reqwest::Client,
    pub(crate) hosts: Vec<String>,
    pub(crate) subject: String,
}

/// Who push services may turn to.
pub(crate) fn subject(public_url: Option<&Url>, from: Option<String>) -> String {
    match (from, public_url) {
        (Some(address), _) => format!("mailto:{address}"),
        (None, Some(url)) if url.scheme() == "https" => url.as_str().to_owned(),
        _ => NOBODY.to_owned(),
    }
}

impl Pusher {
    fn is_allowed(&self, endpoint: &Url) -> bool {
        let Some(host) = endpoint.host_str() else {
            return false;
        };
        let own = match endpoint.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        if self.hosts.contains(&own) {
            return true;
        }
        endpoint.scheme() == "https"
            && endpoint.port().is_none()
            && PUSH_HOSTS.iter().any(|known| {
                if known.starts_with('.') {
                    host.ends_with(known)
                } else {
                    host == *known
                }
            })
    }

    /// Sends one message.
    pub(crate) async fn send(&self, to: &PushSubscription, plain: &[u8], now: UnixMillis) -> Sent {
        let Ok(endpoint) = Url::parse(&to.endpoint) else {
            return Sent::Gone;
        };
        if !self.is_allowed(&endpoint) {
            return Sent::Refused(
                "the push service is none of those that are known; CALLFOLD_PUSH_HOSTS allows others",
            );
        }
        let made = encrypt(to, plain).and_then(|body| {
            let authorization = self.key.authorization(&endpoint, &self.subject, now)?;
            Ok((body, authorization))
        });
        let (body, authorization) = match made {
            Ok(made) => made,
            Err(PushError::Browser) => return Sent::Gone,
            Err(error) => {
                tracing::error!(error = %chain(&error), "a push message could not be made");
                return Sent::Refused("no message could be made");
            }
        };
        let answer = self
            .http
            .post(endpoint)
            .timeout(PUSH_TIMEOUT)
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_ENCODING, "aes128gcm")
            .header("TTL", TTL_SECONDS)
            .header("Urgency", "high")
            .body(body)
            .send()
            .await;
        // The error's own text holds the address.
        let Ok(answer) = answer else {
            return Sent::Later {
                why: "the push service cannot be reached",
                after: None,
            };
        };
        match answer.status() {
            status if status.is_success() => Sent::Taken,
            StatusCode::NOT_FOUND | StatusCode::GONE => Sent::Gone,
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => Sent::Later {
                why: "the push service refuses it for now",
                after: answer
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                    .map(|seconds| Duration::from_secs(seconds).min(AFTER_MAX)),
            },
            _ => Sent::Refused("the push service refuses it for good"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url")
    }

    /// The values of RFC 8291, appendix A.
    #[test]
    fn the_example_of_the_standard_comes_out() {
        let browser =
            bytes("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4");
        let server =
            bytes("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8");
        let shared = bytes("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs");
        let auth = bytes("BTBZMqHH6r4Tts7J_aSIgg");
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw");
        let (key, nonce) = content_key(&shared, &auth, &browser, &server, &salt).expect("keys");
        assert_eq!(BASE64URL_NOPAD.encode(&key), "oIhVW04MRdy2XN9CiKLxTg");
        assert_eq!(BASE64URL_NOPAD.encode(&nonce), "4h_95klXJ5E_qnoN");
        let plain = b"When I grow up, I want to be a watermelon";
        let sealed = seal(&key, &nonce, &salt, &server, plain).expect("sealed");
        assert_eq!(
            BASE64URL_NOPAD.encode(&sealed),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }

    #[test]
    fn only_known_push_services_are_asked() {
        let pusher = Pusher {
            key: PushKey::from_pkcs8(&PushKey::generate().expect("a key")).expect("the key"),
            http: callfold_kit::http::client_builder().build().expect("a client"),
            hosts: vec!["127.0.0.1:8080".to_owned()],
            subject: NOBODY.to_owned(),
        };
        let allowed = |url: &str| pusher.is_allowed(&Url::parse(url).expect("a URL"));
        for good in [
            "https://fcm.googleapis.com/fcm/send/x",
            "https://updates.push.services.mozilla.com/wpush/v2/x",
            "https://web.push.apple.com/x",
            "https://wns2-db5p.notify.windows.com/w/?token=x",
            "http://127.0.0.1:8080/x",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "https://10.0.0.1/x",
            "https://fcm.googleapis.com:8443/x",
            "http://fcm.googleapis.com/x",
            "https://evil-fcm.googleapis.com.example/x",
            "https://notify.windows.com.example/x",
            "http://127.0.0.1:8081/x",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }
}
