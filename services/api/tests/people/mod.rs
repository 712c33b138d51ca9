//! Who is let in, and to do what: roles, passwords, sessions, links, form tokens, API tokens.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use callfold_api::{Api, Warnings};
use callfold_kit::Secret;
use callfold_kit::clock::{Clock, TestClock};
use callfold_kit::testing::{all_records, wait_for};
use callfold_people::{NewPerson, People, Person, Role, Scope, key_of_name};
use callfold_schema::Event;
use serde_json::{Value, json};

use super::stage::{TestStage, every_state, json as body_of, send, text};
use super::{clock, cookie_of, header, use_link};

const PASSWORD: &str = "four words on a line";

/// A browser: its cookie, and the token of its forms.
struct Browser {
    router: Router,
    cookie: String,
    form_token: String,
}

impl Browser {
    /// From the answer to a sign-in.
    async fn of(router: &Router, response: &Response<Body>) -> Self {
        assert_eq!(response.status(), 303);
        let mut browser = Self {
            router: router.clone(),
            cookie: cookie_of(response),
            form_token: String::new(),
        };
        let page = text(browser.get("/settings").await).await;
        let token = page.split_once("data-form-token=\"").unwrap().1;
        browser.form_token = token.split_once('"').unwrap().0.to_owned();
        browser
    }

    async fn by_link(router: &Router, link: &str) -> Self {
        Self::of(router, &use_link(router, link).await).await
    }

    async fn by_password(router: &Router, name: &str) -> Self {
        Self::of(router, &sign_in(router, name, PASSWORD).await).await
    }

    async fn get(&self, path: &str) -> Response<Body> {
        let request = Request::get(path)
            .header("cookie", &self.cookie)
            .header("accept-language", "en");
        send(&self.router, request.body(Body::empty()).unwrap()).await
    }

    /// Sends a form of a page.
    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Response<Body> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        form.append_pair("form_token", &self.form_token);
        let request = Request::post(path)
            .header("cookie", &self.cookie)
            .header("accept-language", "en")
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded");
        send(&self.router, request.body(Body::from(form.finish())).unwrap()).await
    }

    /// Sends what a script sends.
    async fn write(&self, method: &str, path: &str, body: &Value) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("cookie", &self.cookie)
            .header("sec-fetch-site", "same-origin")
            .header("x-csrf-token", &self.form_token)
            .header("if-match", "*")
            .header("content-type", "application/json");
        send(&self.router, request.body(Body::from(body.to_string())).unwrap()).await
    }
}

async fn sign_in(router: &Router, name: &str, password: &str) -> Response<Body> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("name", name).append_pair("password", password);
    let request = Request::post("/signin")
        .header("sec-fetch-site", "same-origin")
        .header("accept-language", "en")
        .header(
            "user-agent",
            "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Firefox/140.0",
        )
        .header("content-type", "application/x-www-form-urlencoded");
    send(router, request.body(Body::from(form.finish())).unwrap()).await
}

struct Office {
    stage: TestStage,
    api: Api,
    router: Router,
    people: People,
    clock: Arc<TestClock>,
}

impl Office {
    /// Somebody, as they stand in the broker.
    async fn person(&self, name: &str) -> Person {
        let everybody = self.people.everybody().await.unwrap();
        everybody.into_iter().find(|person| person.name == name).unwrap()
    }
}

/// One processed call, and an owner, an agent and a viewer with passwords.
async fn office() -> Office {
    let clock = clock();
    let now = clock.now();
    let mut stage = TestStage::start(Arc::clone(&clock) as _).await;
    let call = stage.call("one", "+972501234567", now).started().await;
    let call = call.recorded().await.downloaded(5).await;
    let call = call.transcribed(&["שלום יש נזילה גדולה במטבח"]).await;
    call.summarized("נזילה", &["במטבח"], "extractive").await;
    let api = stage.api(None, Warnings::default()).await;
    let people = People::open(&stage.bus).await.unwrap();
    for (name, role) in [
        ("Olga", Role::Owner),
        ("דנה", Role::Agent),
        ("Vera", Role::Viewer),
    ] {
        let new = NewPerson {
            name: name.to_owned(),
            role,
            password: Some(Secret::new(PASSWORD)),
        };
        people.add(new, now).await.unwrap();
    }
    Office {
        router: api.router(),
        stage,
        api,
        people,
        clock,
    }
}

#[tokio::test]
async fn an_owner_adds_an_agent_who_signs_in_by_password_and_acts_by_name() {
    let clock = clock();
    let now = clock.now();
    let mut stage = TestStage::start(Arc::clone(&clock) as _).await;
    let call = stage.call("one", "+972501234567", now).started().await;
    call.recorded().await;
    let api = stage.api(None, Warnings::default()).await;
    let router = api.router();
    let first = Browser::by_link(&router, &api.issue_sign_in_link()).await;

    // The first person has to be an owner, and an easy password is refused: what was given stays in the form.
    let refused = first
        .post(
            "/people/add",
            &[("name", "דנה לוי"), ("role", "agent"), ("password", PASSWORD)],
        )
        .await;
    assert_eq!(refused.status(), 409);
    let page = text(refused).await;
    assert!(page.contains("The first person has to be an owner."), "{page}");
    assert!(page.contains("value=\"דנה לוי\"") && !page.contains(PASSWORD));
    let easy = [("name", "Olga"), ("role", "owner"), ("password", "password1234")];
    let refused = first.post("/people/add", &easy).await;
    assert!(text(refused).await.contains("easy to guess"));
    for fields in [
        [("name", "Olga"), ("role", "owner"), ("password", PASSWORD)],
        [("name", " דנה  לוי "), ("role", "agent"), ("password", PASSWORD)],
        [
            ("name", "<script>x</script>"),
            ("role", "viewer"),
            ("password", ""),
        ],
    ] {
        let added = first.post("/people/add", &fields).await;
        assert_eq!(added.status(), 303);
        assert_eq!(header(&added, "location"), "/people?told=added");
    }
    let page = text(first.get("/people").await).await;
    assert!(page.contains("דנה לוי") && !page.contains("<script>x"), "escaped");

    // Now there is an owner: the link of the installation is over.
    let link = api.issue_sign_in_link();
    assert_eq!(use_link(&router, &link).await.status(), 410);
    assert!(api.has_owner().await.unwrap());

    let dana = Browser::by_password(&router, "דנה לוי").await;
    let changed = dana
        .write(
            "PATCH",
            "/api/v1/leads/CAone",
            &json!({ "disposition": "called_back" }),
        )
        .await;
    assert_eq!(changed.status(), 200, "{}", text(changed).await);
    let asked = dana
        .write(
            "POST",
            "/api/v1/leads/CAone/reprocess",
            &json!({ "from": "download" }),
        )
        .await;
    assert_eq!(asked.status(), 202);
    let by: Vec<String> = all_records(&stage.bus)
        .await
        .into_iter()
        .filter_map(|record| match record.event {
            Event::LeadUpdated(update) => Some(update.by),
            Event::ReprocessRequested(asked) => Some(asked.by),
            _ => None,
        })
        .collect();
    assert_eq!(by, ["דנה לוי", "דנה לוי"]);

    // Erasing is the owner's, and carries the name, too.
    let refused = dana.write("DELETE", "/api/v1/leads/CAone", &json!({})).await;
    assert_eq!(refused.status(), 403);
    let olga = Browser::by_password(&router, "olga").await;
    let erased = olga.write("DELETE", "/api/v1/leads/CAone", &json!({})).await;
    assert_eq!(erased.status(), 202);
    let records = all_records(&stage.bus).await;
    let by = records.iter().find_map(|record| match &record.event {
        Event::CallErased(erased) => Some(erased.by.as_str()),
        _ => None,
    });
    assert_eq!(by, Some("Olga"));
}

#[tokio::test]
async fn a_role_sees_and_does_what_is_its_own() {
    let office = office().await;
    let vera = Browser::by_password(&office.router, "Vera").await;
    let dana = Browser::by_password(&office.router, "דנה").await;
    let olga = Browser::by_password(&office.router, "Olga").await;

    for path in ["/", "/leads/CAone", "/api/v1/leads", "/settings"] {
        assert_eq!(vera.get(path).await.status(), 200, "{path}");
    }
    for (method, path, body) in [
        ("PATCH", "/api/v1/leads/CAone", json!({ "seen": true })),
        (
            "POST",
            "/api/v1/leads/CAone/reprocess",
            json!({ "from": "download" }),
        ),
        ("DELETE", "/api/v1/leads/CAone", json!({})),
    ] {
        let refused = vera.write(method, path, &body).await;
        assert_eq!(refused.status(), 403, "{method} {path}");
        assert_eq!(body_of(refused).await["type"], "/problems/forbidden");
    }
    let seen = dana
        .write("PATCH", "/api/v1/leads/CAone", &json!({ "seen": true }))
        .await;
    assert_eq!(seen.status(), 200);

    for browser in [&vera, &dana] {
        assert_eq!(browser.get("/people").await.status(), 403);
        let add = [("name", "Eve"), ("role", "owner"), ("password", PASSWORD)];
        assert_eq!(browser.post("/people/add", &add).await.status(), 403);
        // Not even a word of it.
        assert!(!text(browser.get("/").await).await.contains("href=\"/people\""));
    }
    assert_eq!(olga.get("/people").await.status(), 200);
    assert!(text(olga.get("/").await).await.contains("href=\"/people\""));
    assert_eq!(office.people.everybody().await.unwrap().len(), 3);

    // A lesser role holds from the next request on, without signing in again.
    let set = olga
        .post("/people/role", &[("name", "דנה"), ("role", "viewer")])
        .await;
    assert_eq!(set.status(), 303);
    let seen = dana
        .write("PATCH", "/api/v1/leads/CAone", &json!({ "seen": false }))
        .await;
    assert_eq!(seen.status(), 403);
    // The last owner stays one.
    for path in ["/people/role", "/people/remove"] {
        let refused = olga.post(path, &[("name", "Olga"), ("role", "agent")]).await;
        assert_eq!(refused.status(), 409, "{path}");
        assert!(text(refused).await.contains("last owner"));
    }
}

#[tokio::test]
async fn an_ended_session_is_over_in_every_process_though_no_time_passes() {
    let office = office().await;
    let dana = Browser::by_password(&office.router, "דנה").await;
    let other = office.stage.api(None, Warnings::default()).await.router();
    let there = Browser {
        router: other.clone(),
        cookie: dana.cookie.clone(),
        form_token: dana.form_token.clone(),
    };
    // Both have the session in their caches.
    for browser in [&dana, &there] {
        assert_eq!(browser.get("/").await.status(), 200);
    }
    let olga = Browser::by_password(&office.router, "Olga").await;
    let key = key_of_name("דנה");
    let sessions = office
        .people
        .sessions_of(Some(&key), office.clock.now())
        .await
        .unwrap();
    let [(id, session)] = sessions.as_slice() else {
        panic!("{} sessions", sessions.len());
    };
    assert!(session.agent.as_ref().unwrap().contains("Firefox"));
    let page = text(olga.get("/people").await).await;
    assert!(page.contains("Firefox · Android") && page.contains(id.as_str()));
    // An agent ends no session but their own.
    let vera = Browser::by_password(&office.router, "Vera").await;
    vera.post("/settings/sessions/end", &[("session", id)]).await;
    assert_eq!(there.get("/").await.status(), 200);

    let ended = olga.post("/people/sessions/end", &[("session", id)]).await;
    assert_eq!(header(&ended, "location"), "/people?told=ended");
    assert_eq!(dana.get("/").await.status(), 401);
    wait_for("the other process to hear of it", async || {
        (there.get("/").await.status() == 401).then_some(())
    })
    .await;

    // Who is removed is out, too; somebody of the same name later is somebody else.
    let vera_there = Browser {
        router: other,
        ..vera
    };
    assert_eq!(vera_there.get("/").await.status(), 200);
    let removed = olga.post("/people/remove", &[("name", "Vera")]).await;
    assert_eq!(removed.status(), 303);
    wait_for("the other process to hear of it", async || {
        (vera_there.get("/").await.status() == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn wrong_passwords_make_wait_and_do_not_tell_who_there_is() {
    let office = office().await;
    let wrong = async |name: &str| {
        let response = sign_in(&office.router, name, "five words on a line").await;
        let status = response.status().as_u16();
        let wait: Option<i64> = header(&response, "retry-after").parse().ok();
        (status, wait, text(response).await.replace(name, "NAME"))
    };
    let (status, _, known) = wrong("Vera").await;
    assert_eq!(status, 403);
    assert!(known.contains("The name or the password is wrong."));
    let (_, _, unknown) = wrong("Nobody").await;
    assert_eq!(known, unknown);
    for name in ["Vera", "Nobody"] {
        for _ in 1..5 {
            assert_eq!(wrong(name).await.0, 403);
        }
        let (status, wait, page) = wrong(name).await;
        assert_eq!((status, wait), (429, Some(10)), "{name}");
        assert!(
            page.contains("Too many tries. Try again in 10 seconds."),
            "{page}"
        );
    }
    // The right one waits as well, and others do not.
    assert_eq!(sign_in(&office.router, "Vera", PASSWORD).await.status(), 429);
    assert_eq!(sign_in(&office.router, "דנה", PASSWORD).await.status(), 303);
    office.clock.advance_ms(10_000);
    assert_eq!(sign_in(&office.router, "Vera", PASSWORD).await.status(), 303);
    // Nothing at all, and too much, is wrong like everything else.
    assert_eq!(sign_in(&office.router, "", "").await.status(), 403);
    assert_eq!(
        sign_in(&office.router, "Olga", &"x".repeat(300)).await.status(),
        403
    );
}

#[tokio::test]
async fn what_a_page_sends_carries_the_form_token_of_its_session() {
    let office = office().await;
    let dana = Browser::by_password(&office.router, "דנה").await;
    let vera = Browser::by_password(&office.router, "Vera").await;
    for form_token in [String::new(), "x".to_owned(), vera.form_token.clone()] {
        let forged = Browser {
            router: dana.router.clone(),
            cookie: dana.cookie.clone(),
            form_token,
        };
        let refused = forged.post("/signout", &[]).await;
        assert_eq!(refused.status(), 403);
        assert!(text(refused).await.contains("too old"));
        let refused = forged
            .write("PATCH", "/api/v1/leads/CAone", &json!({ "seen": true }))
            .await;
        assert_eq!(refused.status(), 403);
        assert_eq!(body_of(refused).await["type"], "/problems/form-token");
    }
    // Without a form and without the header.
    let bare = Request::builder()
        .method("PATCH")
        .uri("/api/v1/leads/CAone")
        .header("cookie", &dana.cookie)
        .header("sec-fetch-site", "same-origin")
        .header("if-match", "*")
        .body(Body::from(json!({ "seen": true }).to_string()))
        .unwrap();
    assert_eq!(send(&office.router, bare).await.status(), 403);
    assert_eq!(dana.get("/").await.status(), 200, "nobody was signed out");
    let page = text(dana.get("/").await).await;
    assert!(page.contains(&format!("name=\"form_token\" value=\"{}\"", dana.form_token)));
    assert!(!page.contains(dana.cookie.split_once('=').unwrap().1));
    assert_eq!(dana.post("/signout", &[]).await.status(), 303);
    assert_eq!(dana.get("/").await.status(), 401);
}

#[tokio::test]
async fn a_persons_link_works_once_in_any_process() {
    let office = office().await;
    let other = office.stage.api(None, Warnings::default()).await.router();
    let olga = Browser::by_password(&office.router, "Olga").await;
    let page = text(olga.post("/people/link", &[("name", "דנה")]).await).await;
    assert!(page.contains("Sign-in link for דנה"));
    let link = page.split_once("/signin?token=").unwrap().1;
    let link = format!("/signin?token={}", link.split_once('"').unwrap().0);
    let looked = send(&other, Request::get(&link).body(Body::empty()).unwrap()).await;
    assert_eq!(looked.status(), 200);
    let dana = Browser::by_link(&other, &link).await;
    assert_eq!(dana.get("/people").await.status(), 403, "an agent");
    assert_eq!(use_link(&office.router, &link).await.status(), 410);

    let late = office
        .people
        .issue_link(Some(key_of_name("Vera")), office.clock.now())
        .await
        .unwrap();
    office.clock.advance_ms(15 * 60 * 1_000);
    let late = format!("/signin?token={}", late.expose());
    assert_eq!(use_link(&office.router, &late).await.status(), 410);
    let missing = olga.post("/people/link", &[("name", "Eve")]).await;
    assert_eq!(missing.status(), 409);
    drop(office.api);
}

#[tokio::test]
async fn behind_https_only_a_cookie_of_this_very_host_counts() {
    let clock = clock();
    let stage = TestStage::start(Arc::clone(&clock) as _).await;
    let api = stage
        .api(Some("https://leads.example.com"), Warnings::default())
        .await;
    let router = api.router();
    let response = use_link(&router, &api.issue_sign_in_link()).await;
    let cookie = cookie_of(&response);
    assert!(cookie.starts_with("__Host-callfold_session="), "{cookie}");
    let visit = async |cookie: &str| {
        let request = Request::get("/")
            .header("host", "leads.example.com")
            .header("cookie", cookie);
        send(&router, request.body(Body::empty()).unwrap())
            .await
            .status()
            .as_u16()
    };
    assert_eq!(visit(&cookie).await, 200);
    assert_eq!(visit(cookie.trim_start_matches("__Host-")).await, 401);
}

#[tokio::test]
async fn everybody_changes_their_own_settings() {
    let office = office().await;
    let (here, there) = (
        Browser::by_password(&office.router, "Vera").await,
        Browser::by_password(&office.router, "Vera").await,
    );
    let choices = async |email: &str| {
        let fields = [("email", email), ("notify_email", "yes"), ("language", "en")];
        here.post("/settings/choices", &fields).await
    };
    let refused = choices("vera@").await;
    assert_eq!(refused.status(), 409);
    assert!(text(refused).await.contains("no e-mail address"));
    let saved = choices("vera@example.com").await;
    assert_eq!(saved.status(), 303);
    assert!(header(&saved, "set-cookie").starts_with("callfold_language=en"));
    let vera = office.person("Vera").await;
    assert_eq!(vera.email.as_deref(), Some("vera@example.com"));
    assert!(vera.notify_email && !vera.notify_push);

    // Browsers that are told: ten at most, the oldest makes room.
    let key64 = data_encoding::BASE64URL_NOPAD.encode(&[4; 65]);
    let auth = data_encoding::BASE64URL_NOPAD.encode(&[1; 16]);
    let subscription = |endpoint: &str| json!({ "endpoint": endpoint, "expirationTime": null, "keys": { "p256dh": key64, "auth": auth } });
    for n in 0..11 {
        let body = subscription(&format!("https://push.example/{n}"));
        assert_eq!(here.write("POST", "/settings/push", &body).await.status(), 204);
    }
    let bad = here
        .write("POST", "/settings/push", &subscription("http://push.example/x"))
        .await;
    assert_eq!(bad.status(), 400);
    let vera = office.person("Vera").await;
    assert_eq!(vera.subscriptions.len(), 10);
    assert_eq!(vera.subscriptions[0].endpoint, "https://push.example/1");
    let id = vera.subscriptions[0].id();
    here.post("/settings/push/remove", &[("id", &id)]).await;
    assert!(!text(here.get("/settings").await).await.contains(&id));

    // Another password: the current one is asked for, and other sessions end.
    let change = async |current: &str, new: &str| {
        here.post("/settings/password", &[("current", current), ("password", new)])
            .await
    };
    let refused = change("wrong", "another four words").await;
    assert!(text(refused).await.contains("The current password is wrong."));
    let refused = change(PASSWORD, "short").await;
    assert!(text(refused).await.contains("12 characters"));
    assert_eq!(there.get("/").await.status(), 200);
    assert_eq!(change(PASSWORD, "another four words").await.status(), 303);
    assert_eq!(here.get("/").await.status(), 200);
    assert_eq!(there.get("/").await.status(), 401);
    assert_eq!(sign_in(&office.router, "Vera", PASSWORD).await.status(), 403);
}

#[tokio::test]
async fn a_token_does_what_its_scope_says_until_it_is_revoked() {
    let office = office().await;
    let now = office.clock.now();
    let ask = async |token: &Secret, method: &str, path: &str, body: Value| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", token.expose()))
            .header("if-match", "*");
        send(
            &office.router,
            request.body(Body::from(body.to_string())).unwrap(),
        )
        .await
        .status()
        .as_u16()
    };
    let lead = "/api/v1/leads/CAone";
    for (scope, expected) in [
        (Scope::Read, [200, 403, 403]),
        (Scope::Write, [200, 200, 403]),
        (Scope::Erase, [200, 200, 202]),
    ] {
        let token = office.people.add_token(scope.name(), scope, now).await.unwrap();
        let given = [
            ask(&token, "GET", lead, json!({})).await,
            ask(&token, "PATCH", lead, json!({ "seen": true })).await,
            ask(&token, "DELETE", lead, json!({})).await,
        ];
        assert_eq!(given, expected, "{}", scope.name());
        assert!(office.people.revoke_token(scope.name()).await.unwrap());
        wait_for("the api to hear of it", async || {
            (ask(&token, "GET", lead, json!({})).await == 401).then_some(())
        })
        .await;
    }
    let again = office.people.add_token("crm", Scope::Read, now).await.unwrap();
    assert!(office.people.add_token("crm", Scope::Read, now).await.is_err());
    ask(&again, "GET", lead, json!({})).await;
    let tokens = office.people.tokens().await.unwrap();
    assert_eq!(tokens.len(), 1);
    assert!(tokens[0].used_at.is_some_and(|at| at <= now));
}

#[tokio::test]
async fn operation_tells_what_failed_and_a_button_runs_it_again_once() {
    let clock = clock();
    let now = clock.now();
    let mut stage = TestStage::start(Arc::clone(&clock) as _).await;
    every_state(&mut stage, now).await;
    let api = stage.api(None, Warnings::default()).await;
    let router = api.router();
    let owner = Browser::by_link(&router, &api.issue_sign_in_link()).await;
    let told = body_of(owner.get("/api/v1/operation").await).await;
    let calls: u64 = told["days"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| day["calls"].as_u64().unwrap())
        .sum();
    let leads = body_of(owner.get("/api/v1/leads?limit=100").await).await;
    assert_eq!(calls, leads["leads"].as_array().unwrap().len() as u64);
    let hours = told["hours"].as_array().unwrap();
    assert_eq!(hours.len(), 24);
    assert_eq!(
        hours.iter().map(|calls| calls.as_u64().unwrap()).sum::<u64>(),
        calls
    );
    assert_eq!(told["days"].as_array().unwrap().len(), 30);
    assert_eq!(told["days"][29]["day"], "2026-11-22");
    assert!(
        told["days"]
            .as_array()
            .unwrap()
            .iter()
            .any(|day| day["p95_ms"].is_u64())
    );
    assert!(told["stream"]["bytes"].as_u64().unwrap() < told["stream"]["bytes_max"].as_u64().unwrap());
    let engines = told["engines"].as_array().unwrap();
    let answers: u64 = engines
        .iter()
        .filter(|engine| engine["stage"] == "summarize")
        .map(|engine| engine["answers"].as_u64().unwrap())
        .sum();
    let summarized = leads["leads"].as_array().unwrap().iter();
    let summarized = summarized.filter(|lead| lead["engines"]["summarize"].is_string());
    assert_eq!(answers, summarized.count() as u64);
    assert!(answers > 0);
    let failure = told["failures"][0].clone();
    assert_eq!(failure["calls"], 1, "{told}");

    // The page says the same, in both languages, without anything inline.
    let page = text(owner.get("/operation").await).await;
    assert!(page.contains("What failed in the last 30 days") && page.contains("<svg"));
    assert!(!page.contains("style=\"") && !page.contains(" onclick"));
    let (stage_token, class) = (
        failure["stage"].as_str().unwrap(),
        failure["class"].as_str().unwrap(),
    );
    assert!(page.contains(&format!("data-failure=\"{stage_token}-{class}\"")));

    // Pressed twice it asks once: the table has not heard of the first time yet.
    let fields = [("stage", stage_token), ("class", class)];
    let first = owner.post("/operation/rerun", &fields).await;
    assert_eq!(header(&first, "location"), "/operation?asked=1");
    let second = owner.post("/operation/rerun", &fields).await;
    assert_eq!(header(&second, "location"), "/operation?asked=0");
    let records = all_records(&stage.bus).await;
    let asked: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.event {
            Event::ReprocessRequested(asked) => Some((asked.from.token(), asked.by.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [(stage_token, "session")]);
    let wrong = owner
        .post("/operation/rerun", &[("stage", "x"), ("class", class)])
        .await;
    assert_eq!(wrong.status(), 400);
}

#[tokio::test]
async fn operation_is_for_those_who_act() {
    let office = office().await;
    let vera = Browser::by_password(&office.router, "Vera").await;
    let dana = Browser::by_password(&office.router, "דנה").await;
    for path in ["/operation", "/api/v1/operation"] {
        assert_eq!(vera.get(path).await.status(), 403, "{path}");
        assert_eq!(dana.get(path).await.status(), 200, "{path}");
    }
}
