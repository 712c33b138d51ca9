//! The api against a real broker, a real table and real files.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod card;
mod changes;
mod people;
mod queue;
mod stage;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use callfold_api::{Api, Warnings};
use callfold_kit::Clock;
use callfold_kit::clock::TestClock;
use callfold_schema::UnixMillis;
use futures::StreamExt;
use serde_json::Value;
use stage::{
    PATIENCE, TestStage, bytes, every_state, get, json, send, text, tone, with_more_said, with_token,
};

const NOW: &str = "2026-11-22T12:05:00Z";

fn clock() -> Arc<TestClock> {
    TestClock::at(UnixMillis::parse_rfc3339(NOW).unwrap())
}

async fn with_leads() -> (TestStage, Router) {
    let clock = clock();
    let now = clock.now();
    let mut stage = TestStage::start(clock).await;
    every_state(&mut stage, now).await;
    let api = stage
        .api(
            None,
            Warnings {
                demonstration_model: true,
                unsigned_webhooks: true,
            },
        )
        .await;
    (stage, api.router())
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap())
        .unwrap_or_default()
}

async fn problem(response: Response<Body>) -> (u16, Value) {
    assert_eq!(header(&response, "content-type"), "application/problem+json");
    let status = response.status().as_u16();
    let problem = json(response).await;
    assert_eq!(problem["status"], status);
    (status, problem)
}

fn sids(list: &Value) -> Vec<&str> {
    list["leads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lead| lead["call_sid"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn leads_are_listed_newest_first_filtered_and_in_pages() {
    let (_stage, router) = with_leads().await;
    let list = json(get(&router, "/api/v1/leads").await).await;
    let all: Vec<String> = sids(&list).into_iter().map(str::to_owned).collect();
    assert_eq!(all.first().map(String::as_str), Some("CAnew"));
    assert_eq!(all.last().map(String::as_str), Some("CAold"));
    assert_eq!(list["next_cursor"], Value::Null);

    // Pages join to the whole.
    let mut paged = Vec::new();
    let mut path = "/api/v1/leads?limit=4".to_owned();
    loop {
        let page = json(get(&router, &path).await).await;
        paged.extend(sids(&page).into_iter().map(str::to_owned));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/leads?limit=4&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(paged, all);

    for (query, expected) in [
        ("status=failed", vec!["CAfailed"]),
        ("status=new,recording", vec!["CArecording", "CAnew"]),
        ("q=%D7%9E%D7%98%D7%91%D7%97", vec!["CAdone"]),
        ("phone=050-1234567", vec!["CAdone"]),
        ("phone=%2B972501234567", vec!["CAdone"]),
        ("to=2026-11-20", vec!["CAold"]),
        ("from=2026-11-22T12:04:30Z&status=new", vec!["CAnew"]),
    ] {
        let list = json(get(&router, &format!("/api/v1/leads?{query}")).await).await;
        let mut found = sids(&list);
        found.sort_unstable_by_key(|sid| std::cmp::Reverse(*sid));
        assert_eq!(found, expected, "{query}");
    }
    for query in ["status=x", "limit=0", "cursor=x", "from=x"] {
        let (status, told) = problem(get(&router, &format!("/api/v1/leads?{query}")).await).await;
        assert_eq!(
            (status, &told["type"]),
            (400, &Value::from("/problems/bad-query")),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_lead_has_an_etag_and_is_not_sent_twice() {
    let (_stage, router) = with_leads().await;
    let response = get(&router, "/api/v1/leads/CAdone").await;
    assert_eq!(response.status(), StatusCode::OK);
    let tag = header(&response, "etag").to_owned();
    let lead = json(response).await;
    assert_eq!(tag, format!("\"{}\"", lead["position"]));
    assert_eq!(lead["status"], "processed");
    assert_eq!(lead["phone"], "+972501234567");
    assert_eq!(lead["summary_title"], "הצעת מחיר לשיפוץ מטבח בתל אביב");
    assert_eq!(lead["stages"]["transcribe"]["state"], "done");
    for known in [tag.clone(), format!("\"1\", W/{tag}"), "*".to_owned()] {
        let request = with_token("/api/v1/leads/CAdone")
            .header("if-none-match", known)
            .body(Body::empty())
            .unwrap();
        let response = send(&router, request).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&response, "etag"), tag);
        assert!(bytes(response).await.is_empty());
    }
    for path in [
        "/api/v1/leads/CAnone",
        "/api/v1/leads/not-an-id",
        "/api/v1/nothing",
    ] {
        assert_eq!(problem(get(&router, path).await).await.0, 404, "{path}");
    }
    let request = Request::post("/api/v1/leads/CAdone").body(Body::empty()).unwrap();
    assert_eq!(problem(send(&router, request).await).await.0, 405);
}

#[tokio::test]
async fn a_story_tells_every_event_in_order() {
    let (mut stage, router) = with_leads().await;
    let story = json(get(&router, "/api/v1/leads/CAfailed/events").await).await;
    let events = story["events"].as_array().unwrap();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "call_started",
            "recording_started",
            "call_ended",
            "recording_ready",
            "stage_failed",
            "stage_failed"
        ]
    );
    let positions: Vec<u64> = events
        .iter()
        .map(|event| event["position"].as_u64().unwrap())
        .collect();
    assert!(positions.is_sorted());
    let last = events.last().unwrap();
    assert_eq!(last["key"], "REfailed-0-download-8");
    assert_eq!(
        (&last["version"], &last["lane"], &last["run"]),
        (&2.into(), &"new".into(), &0.into())
    );
    assert_eq!(last["data"]["text"], "HTTP 404 from the media host");
    assert_eq!(story["next_after"], Value::Null);
    // In plain words, and as a message that a page words itself.
    assert_eq!(last["told"]["message"], "stage_failed");
    assert_eq!(
        last["told"]["text"],
        "download of recording REfailed failed, attempt 8 of 8: HTTP 404 from the media host; no further try"
    );
    assert_eq!(last["told"]["arguments"]["attempt"], 8);
    let told: String = events.iter().map(|event| event["told"].to_string()).collect();
    assert!(!told.contains("+972"), "{told}");

    // Behind a position.
    let after = positions[3];
    let story = json(get(&router, &format!("/api/v1/leads/CAfailed/events?after={after}")).await).await;
    assert_eq!(story["events"].as_array().unwrap().len(), 2);

    assert_eq!(
        problem(get(&router, "/api/v1/leads/CAnone/events").await).await.0,
        404
    );
    assert_eq!(
        problem(get(&router, "/api/v1/leads/CAdone/events?after=x").await)
            .await
            .0,
        400
    );

    // Long stories come in parts.
    let began = UnixMillis::parse_rfc3339(NOW).unwrap();
    let mut call = stage
        .call("long", "+972501234567", began)
        .started()
        .await
        .recorded()
        .await;
    for attempt in 1..=205 {
        let class = callfold_schema::event::FailureClass::Timeout;
        call = call
            .failed(
                callfold_schema::Stage::Download,
                attempt,
                class,
                "no answer",
                Some(1000),
            )
            .await;
    }
    let story = json(get(&router, "/api/v1/leads/CAlong/events").await).await;
    assert_eq!(story["events"].as_array().unwrap().len(), 200);
    let after = story["next_after"].as_u64().unwrap();
    let story = json(get(&router, &format!("/api/v1/leads/CAlong/events?after={after}")).await).await;
    assert_eq!(story["events"].as_array().unwrap().len(), 7);
    assert_eq!(story["next_after"], Value::Null);
}

#[tokio::test]
async fn a_lead_is_shown_as_it_was_at_a_position_and_at_a_time() {
    let (_stage, router) = with_leads().await;
    let now = json(get(&router, "/api/v1/leads/CAdone").await).await;
    let story = json(get(&router, "/api/v1/leads/CAdone/events").await).await;
    let events = story["events"].as_array().unwrap();
    let mut statuses = Vec::new();
    for event in events {
        let (position, time) = (
            event["position"].as_u64().unwrap(),
            event["time"].as_str().unwrap(),
        );
        let response = get(&router, &format!("/api/v1/leads/CAdone?at={position}")).await;
        assert_eq!(header(&response, "etag"), format!("\"{position}\""));
        let then = json(response).await;
        assert_eq!(then["updated_at"], time);
        // Each step of this call has a time of its own, so both ways lead to the same moment.
        assert_eq!(
            json(get(&router, &format!("/api/v1/leads/CAdone?at={time}")).await).await,
            then
        );
        statuses.push(then["status"].as_str().unwrap().to_owned());
    }
    statuses.dedup();
    assert_eq!(
        statuses,
        [
            "new",
            "recording",
            "recorded",
            "downloaded",
            "transcribed",
            "processed"
        ]
    );
    let last = events.last().unwrap()["position"].as_u64().unwrap();
    for moment in [
        last.to_string(),
        (last + 1_000).to_string(),
        "2999-01-01T00:00:00Z".to_owned(),
    ] {
        assert_eq!(
            json(get(&router, &format!("/api/v1/leads/CAdone?at={moment}")).await).await,
            now
        );
    }
    // Nothing was known of it then: before its first event, by position and by time.
    let first = events[0]["position"].as_u64().unwrap();
    for (moment, status, kind) in [
        ((first - 1).to_string(), 404, "/problems/not-found"),
        ("1999-01-01T00:00:00Z".to_owned(), 404, "/problems/not-found"),
        ("yesterday".to_owned(), 400, "/problems/bad-query"),
        ("-3".to_owned(), 400, "/problems/bad-query"),
    ] {
        let (code, body) = problem(get(&router, &format!("/api/v1/leads/CAdone?at={moment}")).await).await;
        assert_eq!((code, &body["type"]), (status, &Value::from(kind)), "{moment}");
    }
    assert_eq!(
        problem(get(&router, "/api/v1/leads/CAnone?at=1").await).await.0,
        404
    );
}

#[tokio::test]
async fn recordings_are_sent_whole_and_in_parts() {
    let (_stage, router) = with_leads().await;
    let path = "/api/v1/leads/CAdone/recordings/REdone";
    let audio = tone(24);
    let response = get(&router, path).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "content-type"), "audio/x-wav");
    assert_eq!(header(&response, "accept-ranges"), "bytes");
    assert_eq!(header(&response, "content-length"), audio.len().to_string());
    assert_eq!(
        header(&response, "content-disposition"),
        "inline; filename=\"REdone.wav\""
    );
    let tag = header(&response, "etag").to_owned();
    assert!(bytes(response).await == audio);

    let ranged = async |range: &str, if_range: Option<&str>| {
        let mut request = with_token(path).header("range", range);
        if let Some(tag) = if_range {
            request = request.header("if-range", tag);
        }
        send(&router, request.body(Body::empty()).unwrap()).await
    };
    let response = ranged("bytes=44-143", None).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        header(&response, "content-range"),
        format!("bytes 44-143/{}", audio.len())
    );
    assert_eq!(header(&response, "content-length"), "100");
    assert!(bytes(response).await == audio[44..144]);
    let response = ranged("bytes=-10", Some(&tag)).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert!(bytes(response).await == audio[audio.len() - 10..]);
    assert_eq!(
        ranged("bytes=0-9", Some("\"another\"")).await.status(),
        StatusCode::OK
    );
    let response = ranged("bytes=99999999-", None).await;
    assert_eq!(
        header(&response, "content-range"),
        format!("bytes */{}", audio.len())
    );
    assert_eq!(problem(response).await.0, 416);
    let request = with_token(path)
        .header("if-none-match", &tag)
        .body(Body::empty())
        .unwrap();
    assert_eq!(send(&router, request).await.status(), StatusCode::NOT_MODIFIED);

    for missing in [
        "/api/v1/leads/CAdone/recordings/REother",
        "/api/v1/leads/CAfailed/recordings/REfailed",
    ] {
        assert_eq!(problem(get(&router, missing).await).await.0, 404, "{missing}");
    }
}

#[tokio::test]
async fn nothing_is_told_to_strangers() {
    let (_stage, router) = with_leads().await;
    for path in [
        "/api/v1/leads",
        "/api/v1/leads/CAdone",
        "/api/v1/leads/CAdone/events",
        "/api/v1/leads/CAdone/recordings/REdone",
        "/api/v1/events",
        "/api/openapi.json",
        "/api/v1/nothing",
    ] {
        for credentials in [
            None,
            Some("Bearer "),
            Some("Bearer a-token-for-tests-onlx"),
            Some("Basic YTpi"),
        ] {
            let mut request = Request::get(path).header("cookie", "callfold_session=made-up");
            if let Some(credentials) = credentials {
                request = request.header("authorization", credentials);
            }
            let response = send(&router, request.body(Body::empty()).unwrap()).await;
            assert_eq!(header(&response, "www-authenticate"), "Bearer realm=\"callfold\"");
            assert_eq!(problem(response).await.0, 401, "{path} {credentials:?}");
        }
    }
    for path in ["/", "/leads/CAdone", "/leads/CAdone/card", "/fragments/list"] {
        let response = send(&router, Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(header(&response, "content-type").starts_with("text/html"));
        let page = text(response).await;
        assert!(page.contains("callfold\u{a0}up"), "says how to get in");
        assert!(!page.contains("דוד") && !page.contains("מודל הדגמה"), "{path}");
    }
    let response = send(&router, Request::get("/nothing").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(text(response).await.contains("lang=\"he\""));
}

/// Signs in with a link; gives the answer to the form.
async fn use_link(router: &Router, link: &str) -> Response<Body> {
    use_link_at(router, link, "https://leads.example.com").await
}

async fn use_link_at(router: &Router, link: &str, origin: &str) -> Response<Body> {
    let token = link.split_once("token=").unwrap().1;
    let request = Request::post("/signin")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .header("origin", origin)
        .body(Body::from(format!("token={token}")))
        .unwrap();
    send(router, request).await
}

fn cookie_of(response: &Response<Body>) -> String {
    header(response, "set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

async fn visit(router: &Router, cookie: &str) -> StatusCode {
    let request = Request::get("/")
        .header("cookie", format!("other=1; {cookie}"))
        .body(Body::empty())
        .unwrap();
    send(router, request).await.status()
}

#[tokio::test]
async fn a_link_signs_in_once_and_looking_at_it_does_not_use_it_up() {
    let clock = clock();
    let stage = TestStage::start(Arc::clone(&clock) as _).await;
    let api: Api = stage
        .api(Some("https://calls.example.com"), Warnings::default())
        .await;
    let router = api.router();
    let link = api.issue_sign_in_link();

    // A preview fetches the link, several times.
    for _ in 0..3 {
        let response = send(&router, Request::get(&link).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, "set-cookie"), "");
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert!(
            text(response)
                .await
                .contains("method=\"post\" action=\"/signin\"")
        );
    }
    let response = use_link(&router, &link).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(header(&response, "location"), "/");
    let set = header(&response, "set-cookie").to_owned();
    for part in ["Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Lax", "Secure"] {
        assert!(set.contains(part), "{set}");
    }
    let cookie = cookie_of(&response);
    assert_eq!(visit(&router, &cookie).await, StatusCode::OK);

    // On the machine itself there is no https: a cookie for https only would be dropped, and the link used up.
    let response = use_link_at(&router, &api.issue_sign_in_link(), "http://127.0.0.1:5000").await;
    let set = header(&response, "set-cookie");
    assert!(set.contains("HttpOnly") && !set.contains("Secure"), "{set}");

    // Not a second time.
    assert_eq!(use_link(&router, &link).await.status(), StatusCode::GONE);
    let response = send(&router, Request::get(&link).body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::GONE);

    // Another process of the same broker knows the session; after its end nobody does.
    let other = stage
        .api(Some("https://calls.example.com"), Warnings::default())
        .await
        .router();
    assert_eq!(visit(&other, &cookie).await, StatusCode::OK);
    clock.advance_ms(12 * 60 * 60 * 1000 - 1);
    assert_eq!(visit(&router, &cookie).await, StatusCode::OK);
    clock.advance_ms(1);
    assert_eq!(visit(&router, &cookie).await, StatusCode::UNAUTHORIZED);

    // A link that was not used in time.
    let link = api.issue_sign_in_link();
    clock.advance_ms(15 * 60 * 1000);
    assert_eq!(use_link(&router, &link).await.status(), StatusCode::GONE);
}

#[tokio::test]
async fn signing_out_ends_the_session_and_other_sites_cannot_do_it() {
    let clock = clock();
    let stage = TestStage::start(Arc::clone(&clock) as _).await;
    let api = stage.api(None, Warnings::default()).await;
    let router = api.router();
    let response = use_link(&router, &api.issue_sign_in_link()).await;
    assert!(
        !header(&response, "set-cookie").contains("Secure"),
        "the address is not https"
    );
    let cookie = cookie_of(&response);

    let page = Request::get("/").header("cookie", &cookie);
    let page = text(send(&router, page.body(Body::empty()).unwrap()).await).await;
    let form_token = page.split_once("data-form-token=\"").unwrap().1;
    let form_token = form_token.split_once('"').unwrap().0;
    let sign_out = async |name: &str, value: &str| {
        let request = Request::post("/signout")
            .header("cookie", &cookie)
            .header("host", "127.0.0.1:5000")
            .header("content-type", "application/x-www-form-urlencoded")
            .header(name, value)
            .body(Body::from(format!("form_token={form_token}")))
            .unwrap();
        send(&router, request).await
    };
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:5001"),
    ] {
        let response = sign_out(name, value).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    assert_eq!(visit(&router, &cookie).await, StatusCode::OK);
    let response = sign_out("origin", "http://127.0.0.1:5000").await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert!(header(&response, "set-cookie").contains("Max-Age=0"));
    assert_eq!(visit(&router, &cookie).await, StatusCode::UNAUTHORIZED);
    // Another process finds out when it asks again.
    let other = stage.api(None, Warnings::default()).await.router();
    assert_eq!(visit(&other, &cookie).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_known_session_outlives_the_broker_for_a_while() {
    let clock = clock();
    let stage = TestStage::start(Arc::clone(&clock) as _).await;
    let api = stage.api(None, Warnings::default()).await;
    let router = api.router();
    let cookie = cookie_of(&use_link(&router, &api.issue_sign_in_link()).await);
    let link = api.issue_sign_in_link();
    assert_eq!(visit(&router, &cookie).await, StatusCode::OK);
    drop(stage.nats);
    // The cached look-up is old by now, and cannot be renewed.
    clock.advance_ms(60_000);
    assert_eq!(visit(&router, &cookie).await, StatusCode::OK);
    let response = use_link(&router, &link).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&response, "retry-after"), "5");
    assert!(text(response).await.contains("לא זמין כרגע"));
    // The link was not the person's fault.
    let response = send(&router, Request::get(&link).body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_table_away_is_said_without_inner_words() {
    let (stage, router) = with_leads().await;
    stage.store.close().await;
    let response = get(&router, "/api/v1/leads").await;
    assert_eq!(header(&response, "retry-after"), "5");
    let (status, told) = problem(response).await;
    assert_eq!(status, 503);
    let told = told.to_string().to_lowercase();
    assert!(
        !told.contains("sql") && !told.contains("pool") && !told.contains("closed"),
        "{told}"
    );
    let response = get(&router, "/").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(text(response).await.contains("לא זמין כרגע"));
}

/// Reads server-sent events until `count` leads have come; gives (id, data).
async fn lead_events(response: Response<Body>, count: usize) -> Vec<(u64, Value)> {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "content-type"), "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let mut told = String::new();
    let mut events = Vec::new();
    while events.len() < count {
        let chunk = tokio::time::timeout(PATIENCE, stream.next())
            .await
            .expect("an event comes")
            .unwrap()
            .unwrap();
        told.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((event, rest)) = told.split_once("\n\n") {
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
            };
            if field("event").as_deref() == Some("lead") {
                let data = serde_json::from_str(&field("data").unwrap()).unwrap();
                events.push((field("id").unwrap().parse().unwrap(), data));
            }
            told = rest.to_owned();
        }
    }
    events
}

async fn follow(router: &Router, after: Option<u64>) -> Response<Body> {
    let mut request = with_token("/api/v1/events");
    if let Some(after) = after {
        request = request.header("last-event-id", after.to_string());
    }
    send(router, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn live_updates_come_at_once_and_take_up_where_they_ended() {
    let (mut stage, router) = with_leads().await;
    let now = UnixMillis::parse_rfc3339(NOW).unwrap();
    let following = follow(&router, None).await;
    stage.call("live", "+972501234567", now).started().await;
    let events = lead_events(following, 1).await;
    let (first, data) = &events[0];
    assert_eq!(
        (&data["call_sid"], &data["status"]),
        (&"CAlive".into(), &"new".into())
    );
    assert_eq!(data["position"], *first);

    // While nobody listens, two leads change, one of them twice.
    stage
        .call("missed", "+972501234567", now)
        .started()
        .await
        .recording()
        .await;
    stage.call("also", "+972501234567", now).started().await;
    let events = lead_events(follow(&router, Some(*first)).await, 2).await;
    let told: Vec<_> = events
        .iter()
        .map(|(_, data)| (data["call_sid"].clone(), data["status"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            ("CAmissed".into(), "recording".into()),
            ("CAalso".into(), "new".into())
        ]
    );
    assert!(events[0].0 < events[1].0 && *first < events[0].0);

    // By the address, as a page begins; the header of a browser that comes back goes first.
    let path = format!("/api/v1/events?last_event_id={first}");
    assert_eq!(lead_events(get(&router, &path).await, 2).await.len(), 2);
    let request = with_token(&path)
        .header("last-event-id", events[0].0.to_string())
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        lead_events(send(&router, request).await, 1).await[0].1["call_sid"],
        "CAalso"
    );

    // A position of another table.
    let following = follow(&router, Some(u64::MAX)).await;
    stage.call("beyond", "+972501234567", now).started().await;
    assert_eq!(lead_events(following, 1).await[0].1["call_sid"], "CAbeyond");
    let request = with_token("/api/v1/events")
        .header("last-event-id", "x")
        .body(Body::empty())
        .unwrap();
    assert_eq!(problem(send(&router, request).await).await.0, 400);
}

#[tokio::test]
async fn a_slow_follower_misses_nothing() {
    let (mut stage, router) = with_leads().await;
    let now = UnixMillis::parse_rfc3339(NOW).unwrap();
    let slow = follow(&router, None).await;
    // More than wait for anybody: the slow one is sent to the table.
    let count = 300;
    for n in 0..count {
        stage
            .call(&format!("burst{n}"), "+972501234567", now)
            .started()
            .await;
    }
    let events = lead_events(slow, count).await;
    let told: Vec<String> = events
        .iter()
        .map(|(_, data)| data["call_sid"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<String> = (0..count).map(|n| format!("CAburst{n}")).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn followers_are_bounded_and_let_go_when_the_process_stops() {
    let (stage, router) = with_leads().await;
    let mut following = Vec::new();
    let refused = loop {
        let response = follow(&router, None).await;
        if response.status() != StatusCode::OK {
            break response;
        }
        following.push(response);
        assert!(following.len() < 10_000, "there is no bound");
    };
    assert_eq!(header(&refused, "retry-after"), "5");
    assert_eq!(problem(refused).await.0, 503);
    following.pop();
    let last = follow(&router, None).await;
    assert_eq!(last.status(), StatusCode::OK);
    stage.lifecycle.stop();
    tokio::time::timeout(PATIENCE, bytes(last))
        .await
        .expect("the stream ends");
    stage.lifecycle.stopped(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn pages_are_hebrew_escaped_and_say_every_state() {
    let (_stage, router) = with_leads().await;
    let page = text(get(&router, "/").await).await;
    assert!(page.contains("<html lang=\"he\" dir=\"rtl\">"));
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;") && !page.contains("<script>alert"));
    for word in [
        "בשיחה עכשיו",
        "מקליט הודעה",
        "מתמלל…",
        "מסכם…",
        "ניתק לפני הצפצוף",
        "הודעה ללא דיבור",
        "לא התקבלה הקלטה",
        "העיבוד נכשל",
        "מספר חסוי",
        "הצעת מחיר לשיפוץ מטבח בתל אביב",
        "מודל הדגמה",
        "החתימות של Twilio",
    ] {
        assert!(page.contains(word), "{word}");
    }
    assert!(page.contains("<bdi dir=\"ltr\" class=\"num\">050-123-4567</bdi>"));
    assert!(page.contains("היום 13:53") && page.contains("19.11.2026"));

    let card = text(get(&router, "/leads/CAdone").await).await;
    for part in [
        "href=\"tel:+972501234567\"",
        "src=\"/api/v1/leads/CAdone/recordings/REdone\"",
        "dir=\"auto\">הצעת מחיר לשיפוץ מטבח בתל אביב</h1>",
        "סיכום אוטומטי ללא מודל שפה",
        "whisper:ggml-micro-he",
        "בוצע · 3.1 שנ׳",
        "מודל הדגמה",
    ] {
        assert!(card.contains(part), "{part}");
    }
    let card = text(get(&router, "/leads/CAretrying/card").await).await;
    assert!(
        card.contains("ניסיון 3 מתוך 8 · הבא ב־14:04:") && card.contains("no answer within 30 s"),
        "{card}"
    );
    assert!(!card.contains("<html"), "a fragment");
    let card = text(get(&router, "/leads/CAfailed").await).await;
    assert!(card.contains("אחרי 8 ניסיונות") && card.contains("HTTP 404 from the media host"));
    let card = text(get(&router, "/leads/CAyesterday").await).await;
    assert!(!card.contains("tel:") && card.contains("מספר חסוי"));
    let card = text(get(&router, "/leads/CAhungup").await).await;
    assert!(!card.contains("<script>alert") && !card.contains("<audio"));

    let response = get(&router, "/leads/CAnone").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(text(response).await.contains("הליד לא נמצא"));
    let response = get(&router, "/?cursor=x").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_the_caller_said_and_who_gave_no_answer_are_shown() {
    let (mut stage, router) = with_leads().await;
    let now = stage.clock.now();
    with_more_said(&mut stage, now).await;

    let card = text(get(&router, "/leads/CAtwo/card").await).await;
    for part in [
        // The name that was said goes before the network's, which stands in the details.
        "<strong><bdi dir=\"auto\">דנה &#60;b&#62;לוי&#60;/b&#62;</bdi></strong>",
        "<bdi dir=\"auto\">LEVI DANA</bdi>",
        "<a href=\"tel:0527654321\"><bdi dir=\"ltr\" class=\"num\">052-765-4321</bdi></a>",
        "<span class=\"urgent\">דחוף</span>",
        "<bdi dir=\"auto\">תיקון מזגן</bdi>",
        "<bdi class=\"voice\">המתקשר</bdi>המזגן לא עובד",
        "<bdi class=\"voice\">העסק</bdi>מאיפה",
        // Call back where the call came from: what was said may have been misheard.
        "class=\"button main\" href=\"tel:+972501234567\"",
        "<bdi dir=\"ltr\">google</bdi> לא נתן תשובה: השירות לא היה זמין · <span class=\"num\">8.2 שנ׳</span> · <bdi dir=\"auto\">HTTP 503</bdi>",
        "<bdi dir=\"ltr\">openai</bdi> לא נתן תשובה: נח אחרי כישלונות חוזרים ולא נשאל · <bdi dir=\"auto\">failed 5",
    ] {
        assert!(card.contains(part), "{part}\n{card}");
    }
    // Unless that number is withheld.
    let card = text(get(&router, "/leads/CAhidden/card").await).await;
    assert!(
        card.contains("class=\"button main\" href=\"tel:+97231234567\"")
            && card.contains("https://wa.me/97231234567"),
        "{card}"
    );
    assert!(card.contains("<strong>מספר חסוי</strong>"), "{card}");
    assert!(!card.contains("class=\"topic\""), "{card}");

    let rows = text(get(&router, "/fragments/list").await).await;
    for part in [
        "דנה &#60;b&#62;לוי",
        "<span class=\"urgent\">דחוף</span> <bdi dir=\"auto\">מזגן שהתקלקל",
        "<bdi dir=\"auto\">תיקון מזגן</bdi>",
    ] {
        assert!(rows.contains(part), "{part}\n{rows}");
    }
    // דנה, as a query.
    let list = json(get(&router, "/api/v1/leads?q=%D7%93%D7%A0%D7%94").await).await;
    let lead = &list["leads"][0];
    assert_eq!(
        (&lead["call_sid"], &lead["caller_name"], &lead["callback_number"]),
        (&"CAtwo".into(), &"דנה <b>לוי</b>".into(), &"0527654321".into())
    );
    assert_eq!(
        (&lead["topic"], &lead["urgency"], &lead["segments"][1]["speaker"]),
        (&"תיקון מזגן".into(), &"high".into(), &"callee".into())
    );
    assert_eq!(lead["failed_engines"][1]["class"], "resting");
}

#[tokio::test]
async fn a_call_that_is_over_is_not_said_to_be_on_the_line() {
    let (mut stage, router) = with_leads().await;
    let began = stage.clock.now();
    stage
        .call("over", "+97235551235", began)
        .started()
        .await
        .ended()
        .await;
    let card = text(get(&router, "/leads/CAover/card").await).await;
    assert!(
        card.contains("השיחה הסתיימה, ממתין להקלטה") && !card.contains("בשיחה עכשיו"),
        "{card}"
    );
}

#[tokio::test]
async fn a_search_keeps_its_words_and_finds() {
    let (_stage, router) = with_leads().await;
    let page = text(get(&router, "/?q=%22%3E%3Cscript%3E&status=failed").await).await;
    assert!(page.contains("value=\"&#34;&#62;&#60;script&#62;\""), "{page}");
    assert!(page.contains("לא נמצאו לידים מתאימים"));
    let rows = text(get(&router, "/fragments/list?q=4471").await).await;
    assert!(rows.contains("CAold") && !rows.contains("CAdone") && !rows.contains("<html"));
}

#[tokio::test]
async fn every_answer_is_guarded_and_assets_are_kept() {
    let (_stage, router) = with_leads().await;
    let page = get(&router, "/").await;
    let policy = header(&page, "content-security-policy").to_owned();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "media-src 'self'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"));
    let html = text(page).await;
    assert!(
        !html.contains("style=\"") && !html.contains("<style") && !html.contains(" onclick"),
        "nothing inline"
    );
    for response in [
        get(&router, "/").await,
        get(&router, "/api/v1/leads").await,
        get(&router, "/api/v1/leads/CAdone/recordings/REdone").await,
        send(&router, Request::get("/").body(Body::empty()).unwrap()).await,
    ] {
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "content-security-policy"), policy);
    }
    let mut assets: Vec<&str> = html
        .split('"')
        .filter(|part| part.starts_with("/assets/"))
        .collect();
    assets.sort_unstable();
    // The icon; a style sheet and a script of every page, and those of the card.
    assert_eq!(assets.len(), 5, "{assets:?}");
    for asset in assets {
        // Without signing in.
        let response = send(&router, Request::get(asset).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK, "{asset}");
        assert_eq!(
            header(&response, "cache-control"),
            "public, max-age=31536000, immutable"
        );
    }
    let response = send(
        &router,
        Request::get("/assets/app-0.js").body(Body::empty()).unwrap(),
    )
    .await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_api_describes_itself() {
    let (_stage, router) = with_leads().await;
    let document = json(get(&router, "/api/openapi.json").await).await;
    assert_eq!(document["openapi"], "3.1.0");
    let lead = json(get(&router, "/api/v1/leads/CAdone").await).await;
    let described = document["components"]["schemas"]["Lead"]["properties"]
        .as_object()
        .unwrap();
    for name in lead.as_object().unwrap().keys() {
        assert!(
            described.contains_key(name),
            "{name} is answered and not described"
        );
    }
}
