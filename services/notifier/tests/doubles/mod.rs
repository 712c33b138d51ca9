//! A mail server and a push service that can be told to misbehave.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use callfold_people::PushSubscription;
use callfold_schema::UnixMillis;
use data_encoding::BASE64URL_NOPAD;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::ECDSA_P256_SHA256_FIXED;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Answers that were laid down for an address, and how often it was asked for.
#[derive(Default)]
struct Script<T> {
    answers: HashMap<String, VecDeque<T>>,
    asked: HashMap<String, usize>,
}

impl<T> Script<T> {
    fn next(&mut self, to: &str) -> Option<T> {
        *self.asked.entry(to.to_owned()).or_default() += 1;
        self.answers.get_mut(to)?.pop_front()
    }
}

#[derive(Default)]
struct Mails {
    script: Script<String>,
    taken: Vec<String>,
}

/// Speaks SMTP on loopback.
pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    mails: Arc<Mutex<Mails>>,
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mails = Arc::new(Mutex::new(Mails::default()));
        let kept = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // A client that goes away in the middle is no matter.
                tokio::spawn(speak(connection, Arc::clone(&kept)));
            }
        });
        Self { address, mails }
    }

    /// What `RCPT TO` is answered, one after the other; then and for an empty text the recipient is taken.
    pub(crate) fn answers(&self, to: &str, answers: &[&str]) {
        let answers = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let mut mails = self.mails.lock().unwrap();
        mails.script.answers.insert(to.to_owned(), answers);
    }

    pub(crate) fn asked(&self, to: &str) -> usize {
        let mails = self.mails.lock().unwrap();
        mails.script.asked.get(to).copied().unwrap_or_default()
    }

    pub(crate) fn taken(&self) -> Vec<String> {
        self.mails.lock().unwrap().taken.clone()
    }
}

async fn speak(connection: TcpStream, mails: Arc<Mutex<Mails>>) -> std::io::Result<()> {
    let (read, mut write) = connection.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 double ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let upper = line.to_ascii_uppercase();
        let answer = if upper.starts_with("RCPT TO:") {
            let to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            let answer = mails.lock().unwrap().script.next(&to);
            answer
                .filter(|answer| !answer.is_empty())
                .unwrap_or_else(|| "250 ok".to_owned())
        } else if upper == "DATA" {
            write.write_all(b"354 go on\r\n").await?;
            let mut mail = String::new();
            while let Some(line) = lines.next_line().await? {
                if line == "." {
                    break;
                }
                mail.push_str(&line);
                mail.push('\n');
            }
            mails.lock().unwrap().taken.push(mail);
            "250 taken".to_owned()
        } else if upper.starts_with("EHLO") {
            "250-double\r\n250 8BITMIME".to_owned()
        } else if upper == "QUIT" {
            write.write_all(b"221 bye\r\n").await?;
            return Ok(());
        } else {
            "250 ok".to_owned()
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// A push message as it arrived.
#[derive(Clone)]
pub(crate) struct Pushed {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Pushed {
    /// Checks `Authorization: vapid t=…, k=…` (RFC 8292).
    pub(crate) fn check_signature(&self, public: &str, origin: &str, now: UnixMillis) {
        let header = self.headers["authorization"].to_str().unwrap();
        let (token, key) = header
            .strip_prefix("vapid t=")
            .unwrap()
            .split_once(", k=")
            .unwrap();
        assert_eq!(key, public);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        ring::signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(public))
            .verify(signed.as_bytes(), &decode(signature))
            .expect("the signature is that of the key");
        let (head, claims) = signed.split_once('.').unwrap();
        let head: Value = serde_json::from_slice(&decode(head)).unwrap();
        assert_eq!(head["alg"], "ES256");
        let claims: Value = serde_json::from_slice(&decode(claims)).unwrap();
        assert_eq!(claims["aud"], origin);
        assert_eq!(claims["sub"], "mailto:leads@example.com");
        let good_for = claims["exp"].as_i64().unwrap() - now.0 / 1_000;
        assert!((1..=24 * 3_600).contains(&good_for), "{good_for}");
    }
}

#[derive(Default)]
struct Pushes {
    script: Script<u16>,
    taken: Vec<Pushed>,
}

/// Takes push messages over HTTP.
pub(crate) struct PushService {
    pub(crate) address: SocketAddr,
    pushes: Arc<Mutex<Pushes>>,
}

impl PushService {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pushes = Arc::new(Mutex::new(Pushes::default()));
        let router = Router::new()
            .route("/{name}", post(take))
            .with_state(Arc::clone(&pushes));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, pushes }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn answers(&self, name: &str, answers: &[u16]) {
        let mut pushes = self.pushes.lock().unwrap();
        let answers = answers.iter().copied().collect();
        pushes.script.answers.insert(name.to_owned(), answers);
    }

    pub(crate) fn asked(&self, name: &str) -> usize {
        let pushes = self.pushes.lock().unwrap();
        pushes.script.asked.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn taken(&self) -> Vec<Pushed> {
        self.pushes.lock().unwrap().taken.clone()
    }

    /// A browser that has signed up here.
    pub(crate) fn browser(&self, name: &str) -> Browser {
        let random = SystemRandom::new();
        let private = EphemeralPrivateKey::generate(&ECDH_P256, &random).unwrap();
        let public = private.compute_public_key().unwrap();
        let mut auth = [0_u8; 16];
        random.fill(&mut auth).unwrap();
        let subscription = PushSubscription::checked(
            &format!("{}/{name}", self.origin()),
            &BASE64URL_NOPAD.encode(public.as_ref()),
            &BASE64URL_NOPAD.encode(&auth),
            UnixMillis(0),
        );
        Browser {
            subscription: subscription.unwrap(),
            private,
            public: public.as_ref().to_vec(),
            auth,
        }
    }
}

async fn take(
    State(pushes): State<Arc<Mutex<Pushes>>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut pushes = pushes.lock().unwrap();
    match pushes.script.next(&name) {
        Some(status) => StatusCode::from_u16(status).unwrap(),
        None => {
            pushes.taken.push(Pushed { headers, body });
            StatusCode::CREATED
        }
    }
}

/// A browser with its private key, which is good for one message.
pub(crate) struct Browser {
    pub(crate) subscription: PushSubscription,
    private: EphemeralPrivateKey,
    public: Vec<u8>,
    auth: [u8; 16],
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(salt: &[u8], secret: &[u8], info: &[&[u8]], bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    let derived = Salt::new(HKDF_SHA256, salt).extract(secret);
    derived
        .expand(info, Length(bytes))
        .unwrap()
        .fill(&mut out)
        .unwrap();
    out
}

impl Browser {
    /// Reads a message as RFC 8291 says.
    pub(crate) fn decrypt(self, message: &[u8]) -> Vec<u8> {
        let (salt, rest) = message.split_at(16);
        let (size, rest) = rest.split_at(4);
        assert_eq!(u32::from_be_bytes(size.try_into().unwrap()), 4_096);
        let (server, record) = rest[1..].split_at(usize::from(rest[0]));
        let theirs = UnparsedPublicKey::new(&ECDH_P256, server);
        let shared = agree_ephemeral(self.private, &theirs, <[u8]>::to_vec).unwrap();
        let info: [&[u8]; 3] = [b"WebPush: info\0", &self.public, server];
        let ikm = derive(&self.auth, &shared, &info, 32);
        let key = derive(salt, &ikm, &[b"Content-Encoding: aes128gcm\0"], 16);
        let nonce = derive(salt, &ikm, &[b"Content-Encoding: nonce\0"], 12);
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&nonce).unwrap();
        let mut record = record.to_vec();
        let plain = key.open_in_place(nonce, Aad::empty(), &mut record).unwrap();
        let (delimiter, plain) = plain.split_last().unwrap();
        assert_eq!(*delimiter, 2, "the last record");
        plain.to_vec()
    }
}
