//! The queue: its lists, its search, its languages, what it weighs, and its table for spreadsheets.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use callfold_api::Warnings;
use callfold_schema::event::{Disposition, LeadAction, LeadUpdated};
use callfold_schema::{CallSid, Key, NewEvent, UnixMillis};
use serde_json::Value;

use super::stage::{TestStage, bytes, get, json, send, text, with_token};
use super::{clock, header, problem, sids, use_link, with_leads};

/// What the first view of the queue may weigh over the wire, in bytes.
const FIRST_VIEW_BYTES_MAX: usize = 100_000;

impl TestStage {
    /// What a person did with a call.
    async fn person(&mut self, call: &str, revision: u64, action: LeadAction) {
        let updated = LeadUpdated {
            revision,
            by: "dana".to_owned(),
            action,
            request: None,
        };
        let call = CallSid::parse(call).unwrap();
        let now = self.clock.now();
        self.tell(NewEvent::new(call, Key::revision(revision), now, updated))
            .await;
    }
}

fn disposition(disposition: Disposition) -> LeadAction {
    LeadAction::Disposition { disposition }
}

async fn page(router: &Router, path: &str) -> String {
    let response = get(router, path).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    text(response).await
}

/// The calls in the order of their rows.
fn rows(html: &str) -> Vec<&str> {
    html.split("data-row=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

/// The row of a call.
fn row<'a>(html: &'a str, call: &str) -> &'a str {
    let (_, rest) = html.split_once(&format!("data-row=\"{call}\"")).unwrap();
    rest.split("</li>").next().unwrap()
}

#[tokio::test]
async fn lists_show_what_people_did_and_what_nobody_looked_at() {
    let (mut stage, router) = with_leads().await;
    let new = page(&router, "/").await;
    let all = rows(&page(&router, "/?tab=all").await).len();
    assert_eq!(rows(&new).len(), all, "at first everything is open");
    assert!(new.contains(&format!("data-unread=\"{all}\"")));
    assert!(row(&new, "CAdone").contains("לא נקרא"));

    stage.person("CAdone", 1, LeadAction::Seen { seen: true }).await;
    stage.person("CAfailed", 1, disposition(Disposition::Done)).await;
    stage.person("CAhungup", 1, disposition(Disposition::Spam)).await;
    stage
        .person("CAold", 1, disposition(Disposition::CalledBack))
        .await;
    let assignee = Some("session".to_owned());
    stage.person("CAold", 2, LeadAction::Assignee { assignee }).await;

    let new = page(&router, "/").await;
    assert_eq!(rows(&new).len(), all - 3);
    assert!(new.contains(&format!("data-unread=\"{}\"", all - 4)));
    assert!(!row(&new, "CAdone").contains("לא נקרא"));
    for (path, expected) in [
        ("/?tab=done", vec!["CAfailed"]),
        ("/?tab=spam", vec!["CAhungup"]),
        ("/?tab=called_back", vec!["CAold"]),
        ("/?tab=failed", vec!["CAfailed"]),
        ("/?status=failed", vec!["CAfailed"]),
        ("/?tab=mine", vec![]),
    ] {
        assert_eq!(rows(&page(&router, path).await), expected, "{path}");
    }
    assert!(
        page(&router, "/?tab=mine")
            .await
            .contains("אין לידים פתוחים שמשויכים אליך.")
    );
    let row_of_old = page(&router, "/?tab=called_back").await;
    assert!(row(&row_of_old, "CAold").contains("חזרתי"));
    assert!(row(&row_of_old, "CAold").contains("אצל <bdi dir=\"auto\">session</bdi>"));
    // The card is opened from its list, and leads back to it.
    assert!(row_of_old.contains("href=\"/leads/CAold?tab=called_back\""));
    let card = page(&router, "/leads/CAold?tab=called_back").await;
    assert!(card.contains("class=\"back\" href=\"/?tab=called_back\""));
    assert_eq!(rows(&card), ["CAold"]);
    // What is not a list is said, as a page.
    let response = get(&router, "/?tab=other").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(text(response).await.contains("הקישור לרשימה אינו תקין"));

    // The same for programs.
    for (query, expected) in [
        ("disposition=spam,done", vec!["CAhungup", "CAfailed"]),
        ("assignee=session", vec!["CAold"]),
        ("assignee=nobody", vec![]),
        ("seen=true", vec!["CAdone"]),
        ("seen=true&disposition=spam", vec![]),
        ("disposition=done&status=failed&q=2233", vec!["CAfailed"]),
    ] {
        let list = json(get(&router, &format!("/api/v1/leads?{query}")).await).await;
        let mut found = sids(&list);
        found.sort_unstable_by_key(|sid| std::cmp::Reverse(*sid));
        assert_eq!(found, expected, "{query}");
    }
    for query in ["disposition=closed", "seen=maybe"] {
        let (status, told) = problem(get(&router, &format!("/api/v1/leads?{query}")).await).await;
        assert_eq!(
            (status, &told["type"]),
            (400, &Value::from("/problems/bad-query")),
            "{query}"
        );
    }
}

#[tokio::test]
async fn mine_is_what_is_assigned_to_who_is_signed_in() {
    let mut stage = TestStage::start(clock()).await;
    let now = stage.clock.now();
    for call in ["one", "two"] {
        stage.call(call, "+972501234567", now).started().await;
    }
    let assignee = Some("session".to_owned());
    stage.person("CAtwo", 1, LeadAction::Assignee { assignee }).await;
    let api = stage.api(None, Warnings::default()).await;
    let router = api.router();
    let cookie = super::cookie_of(&use_link(&router, &api.issue_sign_in_link()).await);
    let request = Request::get("/?tab=mine")
        .header("cookie", cookie)
        .body(Body::empty())
        .unwrap();
    let mine = text(send(&router, request).await).await;
    assert_eq!(rows(&mine), ["CAtwo"]);
    assert!(mine.contains("aria-current=\"page\">שלי<"));
    // Who comes with a token is nobody to whom something could be assigned.
    assert!(!page(&router, "/").await.contains(">שלי<"));
}

#[tokio::test]
async fn a_search_looks_everywhere_marks_what_it_found_and_shows_where() {
    let (mut stage, router) = with_leads().await;
    let now = stage.clock.now();
    let call = stage
        .call("script", "+972501234567", UnixMillis(now.0 - 1_000))
        .started()
        .await;
    let call = call.recorded().await.downloaded(3).await;
    let call = call
        .transcribed(&["<script>alert('נזילה')</script> & יש נזילה גדולה במקלחת"])
        .await;
    call.summarized("תקלה בבית", &["דחוף"], "openai").await;
    stage.person("CAscript", 1, disposition(Disposition::Done)).await;

    // In the transcript only: what stands around it, escaped.
    let html = page(&router, "/?q=%D7%A0%D7%96%D7%99%D7%9C").await;
    assert_eq!(rows(&html), ["CAscript"], "done leads are found too");
    let found = row(&html, "CAscript");
    assert!(
        found.contains("&#60;script&#62;alert(&#39;<mark>נזילה</mark>&#39;)&#60;/script&#62;"),
        "{found}"
    );
    assert!(found.contains("יש <mark>נזילה</mark> גדולה"), "{found}");
    assert!(!html.contains("<script>alert"));
    // In the headline: marked there, and no snippet.
    let html = page(&router, "/?q=%D7%AA%D7%A7%D7%9C%D7%94").await;
    assert!(row(&html, "CAscript").contains("<mark>תקלה</mark> בבית"));
    assert!(!row(&html, "CAscript").contains("said-here"));
    // A number, however it is written.
    for query in ["050-123", "+972501234567", "972501234567"] {
        let html = page(&router, &format!("/?q={}", query.replace('+', "%2B"))).await;
        assert_eq!(rows(&html), ["CAscript", "CAdone"], "{query}");
    }
    assert!(row(&page(&router, "/?q=4567").await, "CAscript").contains("050-123-<mark>4567</mark>"));
    // How often it called before.
    assert!(row(&page(&router, "/?q=4567").await, "CAscript").contains("שיחה קודמת אחת"));
    assert!(!row(&page(&router, "/?q=4567").await, "CAdone").contains("קודמת"));
    // Words and days stay when another list is chosen.
    let html = page(&router, "/?q=4567&from=2026-11-22&to=2026-11-22").await;
    assert!(
        html.contains("href=\"/?tab=new&#38;q=4567&#38;from=2026-11-22&#38;to=2026-11-22\""),
        "{html}"
    );
    assert!(html.contains("name=\"from\" value=\"2026-11-22\""));
    assert_eq!(
        rows(&page(&router, "/?q=4567&to=2026-11-21").await),
        Vec::<&str>::new()
    );
    let none = page(&router, "/?q=%22%3Cb%3E").await;
    assert!(none.contains("לא נמצאו לידים מתאימים.") && none.contains("value=\"&#34;&#60;b&#62;\""));
}

#[tokio::test]
async fn the_page_speaks_the_language_that_was_chosen() {
    let (_stage, router) = with_leads().await;
    let ask = async |headers: &[(&str, &str)]| {
        let mut request = with_token("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        text(send(&router, request.body(Body::empty()).unwrap()).await).await
    };
    assert!(ask(&[]).await.contains("<html lang=\"he\" dir=\"rtl\">"));
    let english = ask(&[("accept-language", "en-GB,he;q=0.5")]).await;
    assert!(english.contains("<html lang=\"en\" dir=\"ltr\">"));
    assert!(english.contains(">New<") && english.contains("Transcribing…") && english.contains("Today "));
    assert!(!english.contains("חיפוש"), "only what callers said is in Hebrew");

    let choose = async |language: &str, referer: &str| -> Response<Body> {
        let request = Request::post("/language")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .header("referer", referer)
            .body(Body::from(format!("language={language}")))
            .unwrap();
        send(&router, request).await
    };
    let response = choose("en", "http://127.0.0.1:5000/?tab=all&q=x").await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(header(&response, "location"), "/?tab=all&q=x");
    let cookie = super::cookie_of(&response);
    assert_eq!(cookie, "callfold_language=en");
    assert!(
        ask(&[("cookie", &cookie), ("accept-language", "he")])
            .await
            .contains("lang=\"en\"")
    );
    assert_eq!(
        header(&choose("he", "https://h//evil.example").await, "location"),
        "/"
    );
    assert_eq!(
        choose("fr", "http://127.0.0.1:5000/").await.status(),
        StatusCode::BAD_REQUEST
    );
    // Another site cannot choose, and who is not signed in can.
    let request = Request::post("/language")
        .header("sec-fetch-site", "cross-site")
        .body(Body::from("language=en"))
        .unwrap();
    assert_eq!(send(&router, request).await.status(), StatusCode::FORBIDDEN);
    let request = Request::get("/signin")
        .header("cookie", cookie)
        .body(Body::empty())
        .unwrap();
    assert!(text(send(&router, request).await).await.contains("dir=\"ltr\""));
}

#[tokio::test]
async fn the_first_view_is_light_and_what_is_known_is_not_sent_again() {
    let (mut stage, router) = with_leads().await;
    let now = stage.clock.now();
    for n in 0..50 {
        let sid = format!("many{n}");
        let call = stage
            .call(
                &sid,
                &format!("+9725012345{n:02}"),
                UnixMillis(now.0 - n * 60_000),
            )
            .started()
            .await;
        let call = call.recorded().await.downloaded(1).await;
        let call = call
            .transcribed(&[&format!("שלום, מדבר מספר {n}, אשמח להצעת מחיר לשיפוץ הבית כולו.")])
            .await;
        let title = format!("בקשה להצעת מחיר לשיפוץ דירה בת {n} חדרים בעיר");
        call.summarized(&title, &["לחזור מחר בבוקר"], "openai").await;
    }
    let compressed = async |path: &str| {
        let request = with_token(path).header("accept-encoding", "gzip, deflate, br");
        send(&router, request.body(Body::empty()).unwrap()).await
    };
    let html = page(&router, "/").await;
    assert_eq!(rows(&html).len(), 50);
    let mut parts: Vec<&str> = html
        .split('"')
        .filter(|part| part.starts_with("/assets/"))
        .collect();
    parts.push("/");
    let mut weight = 0;
    for part in &parts {
        let response = compressed(part).await;
        assert_eq!(header(&response, "content-encoding"), "gzip", "{part}");
        assert!(header(&response, "vary").contains("accept-encoding"), "{part}");
        weight += bytes(response).await.len();
    }
    // The page, two style sheets, two scripts and the icon: all named in the page, so asked for at once.
    assert_eq!(parts.len(), 6, "{parts:?}");
    assert!(weight < FIRST_VIEW_BYTES_MAX, "{weight} bytes");

    // Neither sound nor live updates are held in a compressor.
    for path in ["/api/v1/leads/CAdone/recordings/REdone", "/api/v1/events"] {
        assert_eq!(header(&compressed(path).await, "content-encoding"), "", "{path}");
    }
    let first = get(&router, "/fragments/list").await;
    let tag = header(&first, "etag").to_owned();
    let known = async || {
        let request = with_token("/fragments/list").header("if-none-match", &tag);
        send(&router, request.body(Body::empty()).unwrap()).await
    };
    let same = known().await;
    assert_eq!(
        (same.status(), header(&same, "etag")),
        (StatusCode::NOT_MODIFIED, tag.as_str())
    );
    assert!(bytes(same).await.is_empty());
    stage.person("CAdone", 1, LeadAction::Seen { seen: true }).await;
    assert_eq!(known().await.status(), StatusCode::OK);
}

/// Rows of a table as a spreadsheet reads them.
fn table(csv: &[u8]) -> Vec<Vec<String>> {
    assert!(csv.starts_with("\u{feff}".as_bytes()), "a mark at the beginning");
    assert!(csv.ends_with(b"\r\n"));
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv);
    let record = |record: csv::Result<csv::StringRecord>| record.unwrap().iter().map(str::to_owned).collect();
    reader.records().map(record).collect()
}

#[tokio::test]
async fn a_list_is_exported_whole_and_opens_as_it_was_said() {
    let (mut stage, router) = with_leads().await;
    let now = stage.clock.now();
    // More than one page is read for it.
    for n in 0..130 {
        stage
            .call(
                &format!("x{n}"),
                "+972501234567",
                UnixMillis(now.0 - 3_600_000 - n),
            )
            .named("=HYPERLINK(\"http://evil.example\")")
            .started()
            .await;
    }
    stage
        .person(
            "CAdone",
            1,
            LeadAction::Note {
                text: "-1 שורה\nשנייה, \"כן\"".to_owned(),
            },
        )
        .await;
    let response = get(&router, "/leads.csv?tab=all").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        header(&response, "content-type"),
        "text/csv; charset=utf-8; header=present"
    );
    assert_eq!(
        header(&response, "content-disposition"),
        "attachment; filename=\"leads-2026-11-22.csv\""
    );
    assert_eq!(header(&response, "cache-control"), "no-store");
    let rows = table(&bytes(response).await);
    let every = json(get(&router, "/api/v1/leads?limit=100").await).await;
    assert_eq!(every["leads"].as_array().unwrap().len(), 100, "there are more");
    assert_eq!(rows.len(), 1 + 130 + 11);
    assert_eq!(&rows[0][..4], ["התקבל", "שם", "מספר", "מספר בינלאומי"]);
    let of = |call: &str| {
        rows.iter()
            .find(|row| row.last().is_some_and(|sid| sid == call))
            .unwrap()
    };
    assert_eq!(
        &of("CAdone")[..5],
        [
            "2026-11-22 13:53:00",
            "דוד כהן",
            "050-123-4567",
            "'+972501234567",
            "מוכן"
        ]
    );
    assert!(of("CAdone").contains(&"'-1 שורה\nשנייה, \"כן\"".to_owned()));
    assert_eq!(of("CAx7")[1], "'=HYPERLINK(\"http://evil.example\")");
    assert_eq!(&of("CAyesterday")[2..4], ["מספר חסוי", ""]);
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
    }
    // Only the list that is shown.
    let done = table(&bytes(get(&router, "/leads.csv?tab=failed").await).await);
    assert_eq!(done.len(), 2);

    // For programs: names and values of the API.
    let rows = table(&bytes(get(&router, "/api/v1/leads.csv?status=processed").await).await);
    assert_eq!(&rows[0][..4], ["call_sid", "created_at", "updated_at", "phone"]);
    let listed = json(get(&router, "/api/v1/leads?status=processed").await).await;
    let calls: Vec<&str> = rows[1..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(calls, sids(&listed));
    assert_eq!(
        problem(get(&router, "/api/v1/leads.csv?status=x").await).await.0,
        400
    );
    let request = Request::get("/leads.csv").body(Body::empty()).unwrap();
    assert_eq!(send(&router, request).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn tables_that_are_sent_at_once_are_bounded() {
    let (_stage, router) = with_leads().await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(get(&router, "/api/v1/leads.csv").await);
    }
    let (status, told) = problem(get(&router, "/api/v1/leads.csv").await).await;
    assert_eq!(
        (status, &told["type"]),
        (503, &Value::from("/problems/too-many-exports"))
    );
    // One that has arrived, or was given up, makes room.
    drop(open.pop());
    assert_eq!(get(&router, "/api/v1/leads.csv").await.status(), StatusCode::OK);
}
