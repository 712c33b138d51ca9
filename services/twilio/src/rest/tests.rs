#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::*;

const AC: &str = "AC00000000000000000000000000000001";

/// Answers one request per entry of `answers` and reports each request's head.
fn serve(answers: Vec<String>) -> (Url, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let (heads, received) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut head).unwrap() > 2 {}
            // Not every test looks at what was asked.
            let _ = heads.send(head);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (base, received)
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn client(base: Url, tokens: &str) -> RestClient {
    // Another test of this process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(
        clippy::disallowed_methods,
        reason = "this crate may not use kit; the provider is installed above"
    )]
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    RestClient::new(http, base, AC.to_owned(), AuthToken::parse_list(tokens))
}

#[tokio::test]
async fn numbers_of_all_pages_are_listed() {
    let next =
        format!("/2010-04-01/Accounts/{AC}/IncomingPhoneNumbers.json?PageSize=100&Page=1&PageToken=P1");
    let (base, heads) = serve(vec![
        answer(
            "200 OK",
            &format!(
                r#"{{"incoming_phone_numbers":[{{"phone_number":"+9721","voice_url":"https://a/","voice_method":"POST",
                "voice_fallback_url":"","status_callback":null,"new_field":{{}}}}],"next_page_uri":"{next}"}}"#
            ),
        ),
        answer(
            "200 OK",
            r#"{"incoming_phone_numbers":[{"phone_number":"+9722"}],"next_page_uri":null}"#,
        ),
    ]);
    let numbers = client(base, "secret").incoming_phone_numbers().await.unwrap();
    assert_eq!(
        numbers
            .iter()
            .map(|n| n.phone_number.as_str())
            .collect::<Vec<_>>(),
        ["+9721", "+9722"]
    );
    assert_eq!(numbers[0].voice_url.as_deref(), Some("https://a/"));
    assert_eq!(numbers[0].status_callback, None);
    assert!(!format!("{numbers:?}").contains("9721"));
    let first = heads.recv().unwrap();
    assert!(first.starts_with(&format!(
        "GET /2010-04-01/Accounts/{AC}/IncomingPhoneNumbers.json?PageSize=100 "
    )));
    assert!(first.to_ascii_lowercase().contains("authorization: basic "));
    assert!(heads.recv().unwrap().starts_with(&format!("GET {next} ")));
}

#[tokio::test]
async fn the_next_token_is_tried_when_one_is_refused() {
    let (base, _) = serve(vec![
        answer("401 Unauthorized", "{}"),
        answer("200 OK", r#"{"incoming_phone_numbers":[]}"#),
    ]);
    assert_eq!(
        client(base, "old,new").incoming_phone_numbers().await.unwrap(),
        []
    );
    let (base, _) = serve(vec![answer("401 Unauthorized", "{}")]);
    assert!(matches!(
        client(base, "old").incoming_phone_numbers().await,
        Err(RestError::Unauthorized)
    ));
    let nowhere = Url::parse("http://127.0.0.1:9").unwrap();
    assert!(matches!(
        client(nowhere, "").incoming_phone_numbers().await,
        Err(RestError::NoToken)
    ));
}

#[tokio::test]
async fn failures_are_told_apart() {
    let (base, _) = serve(vec![answer("429 Too Many Requests\r\nretry-after: 7", "")]);
    let limited = client(base, "t").incoming_phone_numbers().await;
    assert!(
        matches!(limited, Err(RestError::TooManyRequests { retry_after: Some(wait) }) if wait.as_secs() == 7)
    );
    let (base, _) = serve(vec![answer("503 Service Unavailable", "")]);
    assert!(matches!(
        client(base, "t").incoming_phone_numbers().await,
        Err(RestError::Status(503))
    ));
    let (base, _) = serve(vec![answer("200 OK", "<html>")]);
    assert!(matches!(
        client(base, "t").incoming_phone_numbers().await,
        Err(RestError::Decode(_))
    ));
    let (base, _) = serve(vec![answer(
        "200 OK",
        r#"{"next_page_uri":"https://evil.example/x"}"#,
    )]);
    assert!(matches!(
        client(base, "t").incoming_phone_numbers().await,
        Err(RestError::Address)
    ));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unreachable = client(Url::parse(&format!("http://{closed}")).unwrap(), "t")
        .incoming_phone_numbers()
        .await;
    let Err(RestError::Send(error)) = unreachable else {
        panic!("nobody listens there")
    };
    assert!(!error.to_string().contains(AC));
}
