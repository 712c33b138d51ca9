//! The card as people work on it: plain forms of a signed-in person, against a real broker and a table that is behind it.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use callfold_api::Warnings;
use callfold_kit::Clock;
use callfold_kit::testing::all_records;
use callfold_schema::event::LeadAction;
use callfold_schema::{Event, Record, UnixMillis};

use super::stage::{TestStage, bytes, get, json, send, text};
use super::{clock, cookie_of, header, use_link};

/// A processed call with a recording, and a person who signed in.
struct Desk {
    stage: TestStage,
    router: Router,
    cookie: String,
    /// What the page gives to its forms.
    form_token: String,
}

async fn desk() -> Desk {
    let clock = clock();
    let now = clock.now();
    let mut stage = TestStage::start(clock).await;
    let call = stage.call("one", "+972501234567", now).started().await;
    let call = call.recorded().await.downloaded(5).await;
    let call = call.transcribed(&["שלום יש נזילה גדולה", "במטבח"]).await;
    call.summarized("נזילה", &["במטבח"], "extractive").await;
    signed_in(stage).await
}

async fn signed_in(stage: TestStage) -> Desk {
    let api = stage.api(None, Warnings::default()).await;
    let router = api.router();
    let answer = use_link(&router, &api.issue_sign_in_link()).await;
    let mut desk = Desk {
        cookie: cookie_of(&answer),
        stage,
        router,
        form_token: String::new(),
    };
    let page = desk.page("/").await;
    let token = page.split_once("data-form-token=\"").unwrap().1;
    desk.form_token = token.split_once('"').unwrap().0.to_owned();
    desk
}

impl Desk {
    async fn open(&self, path: &str) -> Response<Body> {
        let request = Request::get(path)
            .header("cookie", &self.cookie)
            .body(Body::empty())
            .unwrap();
        send(&self.router, request).await
    }

    async fn page(&self, path: &str) -> String {
        let answer = self.open(path).await;
        let status = answer.status();
        let page = text(answer).await;
        assert_eq!(status, StatusCode::OK, "{path}\n{page}");
        page
    }

    /// Sends a form; with `part` as the script does.
    async fn send(&self, path: &str, fields: &[(&str, &str)], part: bool) -> Response<Body> {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let mut request = Request::post(path)
            .header("cookie", &self.cookie)
            .header("sec-fetch-site", "same-origin")
            .header("x-csrf-token", &self.form_token)
            .header("content-type", "application/x-www-form-urlencoded");
        if part {
            request = request.header("callfold-part", "card");
        }
        send(&self.router, request.body(Body::from(body)).unwrap()).await
    }

    /// A change as the script sends it: the status and the card.
    async fn change(&self, revision: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let mut all = vec![("revision", revision)];
        all.extend_from_slice(fields);
        let answer = self.send("/leads/CAone/change", &all, true).await;
        (answer.status().as_u16(), text(answer).await)
    }

    /// What people did, in order.
    async fn actions(&self) -> Vec<LeadAction> {
        let update = |record: Record| match record.event {
            Event::LeadUpdated(update) => Some(update.action),
            _ => None,
        };
        all_records(&self.stage.bus)
            .await
            .into_iter()
            .filter_map(update)
            .collect()
    }
}

/// The fields of the form that undoes.
fn undo(page: &str) -> Vec<(String, String)> {
    let notice = page.split_once("data-notice").expect("a notice").1;
    let form = notice.split_once("<form").expect("a way back").1;
    let form = form.split_once("</form>").unwrap().0;
    form.split("<input type=\"hidden\" name=\"")
        .skip(1)
        .map(|field| {
            let (name, rest) = field.split_once('"').unwrap();
            let value = rest.split_once("value=\"").unwrap().1.split_once('"').unwrap().0;
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

async fn undone(desk: &Desk, page: &str) -> String {
    let fields = undo(page);
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let answer = desk.send("/leads/CAone/change", &fields, true).await;
    assert_eq!(answer.status(), StatusCode::OK);
    text(answer).await
}

#[tokio::test]
async fn every_action_is_an_event_shows_at_once_and_is_undone_by_the_same_form() {
    let mut desk = desk().await;
    let card = desk.page("/leads/CAone").await;
    assert!(
        card.contains("data-unseen") && card.contains(">לטיפולי</button>"),
        "{card}"
    );

    let (status, page) = desk.change("0", &[("disposition", "done")]).await;
    assert_eq!(status, 200);
    assert!(
        page.contains("value=\"open\" aria-pressed=\"true\">טופל</button>"),
        "{page}"
    );
    assert!(page.contains("סומן: טופל"), "{page}");
    // The table knows nothing of it yet; undoing does not wait for it.
    let page = undone(&desk, &page).await;
    assert!(
        page.contains("value=\"done\" aria-pressed=\"false\">טופל</button>"),
        "{page}"
    );

    let (_, page) = desk.change("2", &[("note", "לחזור מחר\r\nאחרי שתיים ")]).await;
    assert!(page.contains(">\nלחזור מחר\nאחרי שתיים</textarea>"), "{page}");
    let page = undone(&desk, &page).await;
    assert!(page.contains("ההערה הוסרה"), "{page}");

    let (_, page) = desk.change("4", &[("take", "1")]).await;
    assert!(page.contains("aria-pressed=\"true\">בטיפולי</button>"), "{page}");
    let page = undone(&desk, &page).await;
    assert!(page.contains("aria-pressed=\"false\">לטיפולי</button>"), "{page}");

    let (_, page) = desk.change("6", &[("assignee", "דנה")]).await;
    assert!(page.contains("בטיפול: \u{2068}דנה\u{2069}"), "{page}");
    desk.stage.catch_up().await;
    let (_, page) = desk.change("7", &[("tag", "מטבח")]).await;
    assert!(page.contains("<bdi dir=\"auto\">מטבח</bdi>"), "{page}");
    let (_, page) = desk.change("8", &[("untag", "מטבח")]).await;
    assert!(!page.contains("<bdi dir=\"auto\">מטבח</bdi>"), "{page}");
    let page = undone(&desk, &page).await;
    assert!(page.contains("<bdi dir=\"auto\">מטבח</bdi>"), "{page}");

    let said = [("transcript", "שלום, יש נזילה קטנה"), ("recording", "REone")];
    let (_, page) = desk.change("10", &said).await;
    assert!(
        page.contains("תוקן ידנית")
            && page.contains("<p class=\"text\" dir=\"auto\">שלום, יש נזילה קטנה</p>")
    );
    let page = undone(&desk, &page).await;
    assert!(
        !page.contains("תוקן ידנית") && page.contains("נזילה גדולה"),
        "{page}"
    );

    // A name that was heard wrong: what the summary found stands there again when it is undone.
    let (_, page) = desk.change("12", &[("caller_name", "דנה לוי")]).await;
    assert!(
        page.contains("<strong><bdi dir=\"auto\">דנה לוי</bdi></strong>"),
        "{page}"
    );
    let (_, page) = desk.change("13", &[("caller_name", "דינה לוי")]).await;
    let page = undone(&desk, &page).await;
    assert!(
        page.contains("<strong><bdi dir=\"auto\">דנה לוי</bdi></strong>"),
        "{page}"
    );
    let (_, page) = desk.change("15", &[("callback_number", "0527654321")]).await;
    assert!(page.contains("href=\"tel:0527654321\""), "{page}");
    let page = undone(&desk, &page).await;
    assert!(!page.contains("href=\"tel:0527654321\""), "{page}");

    let (_, page) = desk.change("17", &[("seen", "false")]).await;
    assert!(!page.contains("data-notice"), "nothing changed: {page}");
    let tokens: Vec<&str> = desk.actions().await.iter().map(LeadAction::token).collect();
    assert_eq!(
        tokens,
        [
            "disposition",
            "disposition",
            "note",
            "note",
            "assignee",
            "assignee",
            "assignee",
            "tags",
            "tags",
            "tags",
            "transcript",
            "transcript",
            "caller_name",
            "caller_name",
            "caller_name",
            "callback_number",
            "callback_number"
        ]
    );
}

#[tokio::test]
async fn of_two_who_write_the_same_the_second_is_shown_the_first_and_keeps_what_was_typed() {
    let mut desk = desk().await;
    let (status, _) = desk.change("0", &[("note", "הראשון כתב")]).await;
    assert_eq!(status, 200);
    // Another value is another matter, and so is what the stages do.
    let (status, _) = desk.change("0", &[("disposition", "called_back")]).await;
    assert_eq!(status, 200);

    let (status, page) = desk.change("0", &[("note", "השנייה <כתבה>")]).await;
    assert_eq!(status, 412);
    assert!(
        page.contains("בינתיים: \u{2068}מישהו מהצוות\u{2069} · ההערה נשמרה"),
        "{page}"
    );
    assert!(page.contains("ההערה כרגע: הראשון כתב"), "{page}");
    assert!(
        page.contains("data-draft>\nהשנייה &#60;כתבה&#62;</textarea>"),
        "{page}"
    );
    // Without a script the same is a whole page.
    let fields = [("revision", "0"), ("note", "השנייה")];
    let answer = desk.send("/leads/CAone/change", &fields, false).await;
    assert_eq!(answer.status(), StatusCode::PRECONDITION_FAILED);
    let page = text(answer).await;
    assert!(
        page.contains("<html") && page.contains("data-draft>\nהשנייה</textarea>"),
        "{page}"
    );
    // Having seen it, the second one may go on.
    let (status, page) = desk.change("2", &[("note", "שניהם")]).await;
    assert_eq!(status, 200, "{page}");
    // Both want the same: that is no quarrel, and no event.
    let (status, page) = desk.change("0", &[("disposition", "called_back")]).await;
    assert_eq!(status, 200);
    assert!(!page.contains("data-notice"), "{page}");
    assert_eq!(desk.actions().await.len(), 3);
    desk.stage.catch_up().await;
    assert!(desk.page("/leads/CAone").await.contains(">\nשניהם</textarea>"));
}

#[tokio::test]
async fn without_a_script_a_form_leads_back_to_the_card_that_shows_it_and_the_way_back() {
    let desk = desk().await;
    let answer = desk
        .send(
            "/leads/CAone/change",
            &[("revision", "0"), ("disposition", "spam")],
            false,
        )
        .await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let to = header(&answer, "location").to_owned();
    // The table is behind: the page shows what was just done all the same.
    let page = desk.page(&to).await;
    assert!(
        page.contains("סומן: ספאם") && page.contains("aria-pressed=\"true\">ספאם"),
        "{page}"
    );
    let page = undone(&desk, &page).await;
    assert!(page.contains("aria-pressed=\"false\">ספאם"), "{page}");

    let answer = desk
        .send(
            "/leads/CAone/rerun",
            &[("from", "transcribe"), ("engine", "openai"), ("hold", "1")],
            false,
        )
        .await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let to = header(&answer, "location").to_owned();
    let page = desk.page(to.trim_end_matches("#stages")).await;
    let rerun = page.split_once("עיבוד מחדש, בעבודה").expect("its progress").1;
    assert!(
        rerun.contains("data-since="),
        "a spinner says since when: {rerun}"
    );
    let asked = all_records(&desk.stage.bus).await;
    let Some(Event::ReprocessRequested(asked)) = asked.last().map(|record| &record.event) else {
        panic!("a re-run was asked for");
    };
    assert_eq!(
        (asked.engine.as_deref(), asked.hold, asked.by.as_str()),
        (Some("openai"), true, "session")
    );

    let page = desk.page("/leads/CAone/erase").await;
    assert!(
        page.contains("למחוק את השיחה, ההקלטה והתמלול? אי אפשר לשחזר."),
        "{page}"
    );
    let answer = desk.send("/leads/CAone/erase", &[], false).await;
    assert_eq!(
        (answer.status(), header(&answer, "location")),
        (StatusCode::SEE_OTHER, "/")
    );
    let records = all_records(&desk.stage.bus).await;
    assert!(matches!(
        records.last().map(|record| &record.event),
        Some(Event::CallErased(_))
    ));
}

#[tokio::test]
async fn forms_that_make_no_sense_change_nothing() {
    let desk = desk().await;
    for fields in [
        &[("note", "x")][..],
        &[("revision", "0")],
        &[("revision", "x"), ("note", "x")],
        &[("revision", "0"), ("disposition", "lost")],
        &[("revision", "0"), ("transcript", "x")],
        &[("revision", "0"), ("transcript", "x"), ("recording", "R E")],
        &[("revision", "0"), ("adopt", "x")],
        &[("revision", "0"), ("seen", "yes")],
        &[("revision", "0"), ("tag", " ")],
    ] {
        let answer = desk.send("/leads/CAone/change", fields, true).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{fields:?}");
    }
    let unknown = [("revision", "0"), ("adopt", "5")];
    assert_eq!(
        desk.send("/leads/CAone/change", &unknown, true).await.status(),
        StatusCode::CONFLICT
    );
    let nothing = desk
        .send("/leads/CAone/rerun", &[("from", "nothing")], true)
        .await;
    assert_eq!(nothing.status(), StatusCode::BAD_REQUEST);
    let nobody = [("revision", "0"), ("seen", "true")];
    assert_eq!(
        desk.send("/leads/CAnone/change", &nobody, true).await.status(),
        StatusCode::NOT_FOUND
    );
    let foreign = Request::post("/leads/CAone/change")
        .header("cookie", &desk.cookie)
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("revision=0&disposition=spam"))
        .unwrap();
    assert_eq!(send(&desk.router, foreign).await.status(), StatusCode::FORBIDDEN);
    assert!(desk.actions().await.is_empty());
}

#[tokio::test]
async fn a_card_is_seen_once_and_by_people_only() {
    let mut desk = desk().await;
    // A program that opens pages with the token is nobody who has seen anything.
    let card = text(get(&desk.router, "/leads/CAone/card").await).await;
    assert!(!card.contains("data-unseen"), "{card}");
    let look = |router: Router| async move {
        let request = Request::post("/leads/CAone/change")
            .header("authorization", format!("Bearer {}", super::stage::TOKEN))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from("revision=0&seen=true"))
            .unwrap();
        send(&router, request).await.status()
    };
    assert_eq!(look(desk.router.clone()).await, StatusCode::OK);
    assert!(desk.actions().await.is_empty());

    for _ in 0..2 {
        let (status, page) = desk.change("0", &[("seen", "true")]).await;
        assert_eq!(status, 200);
        assert!(
            !page.contains("data-unseen") && !page.contains("data-notice"),
            "{page}"
        );
        desk.stage.catch_up().await;
    }
    assert_eq!(desk.actions().await.len(), 1);
    let (_, page) = desk.change("1", &[("seen", "false")]).await;
    assert!(
        page.contains("סומן כלא נקרא") && page.contains("data-unseen"),
        "{page}"
    );
}

#[tokio::test]
async fn the_story_tells_in_both_languages_and_shows_the_card_as_it_was() {
    let mut desk = desk().await;
    desk.change("0", &[("disposition", "done")]).await;
    desk.stage.catch_up().await;
    let story = desk.page("/leads/CAone/story").await;
    for part in [
        "נכנסה שיחה",
        "ההקלטה נשמרה, אורכה \u{2068}0:05\u{2069}",
        "תומלל באמצעות \u{2068}whisper\u{2069} בתוך 3.1 שנ׳",
        "סומן: טופל <span class=\"by\">· <bdi dir=\"auto\">מישהו מהצוות</bdi>",
        "data-positions=\"1,2,3,4,5,6\"",
        "כך היה הכרטיס ב־",
    ] {
        assert!(story.contains(part), "{part}\n{story}");
    }
    let past = story.split_once("data-past").unwrap().1;
    assert!(past.contains("<strong>טופל</strong>"), "{past}");
    // At the second event there was a recording and nothing that was said.
    let then = desk.page("/leads/CAone/story?at=2").await;
    assert!(
        then.contains("ההקלטה בדרך") && !then.contains("data-heard"),
        "{then}"
    );
    assert_eq!(desk.page("/leads/CAone/story?step=2").await, then);
    let past = then.split_once("data-past").unwrap().1;
    assert!(
        !past.contains("<form") && !past.contains("tel:"),
        "nothing to do in the past: {past}"
    );
    let answer = desk.open("/leads/CAone?at=2").await;
    assert_eq!(header(&answer, "location"), "/leads/CAone/story?at=2");

    let request = Request::get("/leads/CAone/story?at=4")
        .header("cookie", &desk.cookie)
        .header("callfold-part", "card")
        .header("accept-language", "en")
        .body(Body::empty())
        .unwrap();
    let part = text(send(&desk.router, request).await).await;
    assert!(
        part.contains("The card as it was at") && !part.contains("<html") && part.contains("נזילה גדולה"),
        "{part}"
    );
    for path in ["/leads/CAnone/story", "/leads/CAone/story?at=0"] {
        assert_eq!(desk.open(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn two_runs_stand_side_by_side_and_one_is_chosen_and_given_back() {
    let mut desk = desk().await;
    let asked = [("from", "transcribe"), ("engine", "openai"), ("hold", "1")];
    desk.send("/leads/CAone/rerun", &asked, true).await;
    desk.stage.catch_up().await;
    let records = all_records(&desk.stage.bus).await;
    let Some(Event::ReprocessRequested(request)) = records.last().map(|record| &record.event) else {
        panic!("a re-run was asked for");
    };
    let run = request.run;
    for event in super::changes::answers(&desk.stage, run, &records) {
        desk.stage.tell(event).await;
    }
    let card = desk.page("/leads/CAone").await;
    let compare = format!("/leads/CAone/compare?a=0&#38;b={run}");
    assert!(
        card.contains(&compare) && card.contains("ממתין להשוואה"),
        "{card}"
    );
    let page = desk.page(&compare.replace("&#38;", "&")).await;
    assert_eq!(
        desk.page("/leads/CAone/compare").await,
        page,
        "what is worth comparing is found by itself"
    );
    for part in [
        "<mark>גדולה</mark>",
        "<h3 dir=\"auto\"><mark>נזילה</mark></h3>",
        "<h3 dir=\"auto\"><mark>חדש</mark></h3>",
        "מוצג עכשיו",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let (status, page) = desk.change("0", &[("adopt", &run.to_string())]).await;
    assert_eq!(status, 200);
    assert!(
        page.contains(">חדש</h1>") && page.contains("נבחרה תוצאה להצגה"),
        "{page}"
    );
    let page = undone(&desk, &page).await;
    assert!(page.contains(">נזילה</h1>"), "{page}");
    assert_eq!(
        desk.open("/leads/CAone/compare?a=0&b=9").await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_waveform_is_small_kept_and_only_for_what_is_stored() {
    let desk = desk().await;
    let path = "/leads/CAone/recordings/REone/peaks";
    let answer = desk.open(path).await;
    let tag = header(&answer, "etag").to_owned();
    assert!(!tag.is_empty());
    let peaks = json(answer).await["peaks"].as_array().unwrap().clone();
    assert_eq!(peaks.len(), 200, "five seconds have more windows than are drawn");
    assert!(
        peaks
            .iter()
            .all(|peak| (0..=100).contains(&peak.as_u64().unwrap()))
    );
    assert!(peaks.iter().any(|peak| *peak == 100));
    let again = Request::get(path)
        .header("cookie", &desk.cookie)
        .header("if-none-match", tag)
        .body(Body::empty())
        .unwrap();
    let again = send(&desk.router, again).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(bytes(again).await.is_empty());
    for path in [
        "/leads/CAone/recordings/REother/peaks",
        "/leads/CAnone/recordings/REone/peaks",
    ] {
        assert_eq!(desk.open(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let stranger = Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(
        send(&desk.router, stranger).await.status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn earlier_calls_of_the_number_stand_on_the_card_but_not_those_of_withheld_numbers() {
    let clock = clock();
    let now = clock.now();
    let mut stage = TestStage::start(clock).await;
    let ago = |hours: i64| UnixMillis(now.0 - hours * 3_600_000);
    for n in 0..7_i64 {
        let call = stage
            .call(&format!("e{n}"), "+972501234567", ago(20 - n))
            .started()
            .await;
        call.recorded()
            .await
            .downloaded(1)
            .await
            .transcribed(&["x"])
            .await
            .summarized(&format!("שיחה {n} <b>"), &[], "extractive")
            .await;
    }
    stage.call("other", "+972509999999", ago(9)).started().await;
    stage.call("hidden1", "anonymous", ago(8)).started().await;
    stage.call("hidden2", "anonymous", ago(7)).started().await;
    let desk = signed_in(stage).await;
    let card = desk.page("/leads/CAe6").await;
    let earlier = card.split_once("data-part=\"earlier\"").expect("earlier calls").1;
    let earlier = earlier.split_once("</section>").unwrap().0;
    assert!(
        earlier.contains("שיחה 5 &#60;b&#62;") && earlier.contains("שיחה 1") && !earlier.contains("שיחה 0"),
        "{earlier}"
    );
    assert!(earlier.contains("href=\"/?phone=%2B972501234567\""), "{earlier}");
    assert!(!earlier.contains("CAother"), "{earlier}");
    let first = desk.page("/leads/CAe0").await;
    assert!(!first.contains("data-part=\"earlier\""), "{first}");
    let hidden = desk.page("/leads/CAhidden2").await;
    assert!(
        !hidden.contains("data-part=\"earlier\"") && !hidden.contains("tel:"),
        "{hidden}"
    );
}

#[tokio::test]
async fn a_long_transcript_is_folded_and_what_strangers_wrote_stays_text() {
    let clock = clock();
    let now = clock.now();
    let mut stage = TestStage::start(clock).await;
    let pieces: Vec<String> = (0..400)
        .map(|n| format!("משפט {n} </p><script>alert({n})</script>"))
        .collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let call = stage
        .call("long", "+972501234567", now)
        .named("<script>alert('name')</script>")
        .started()
        .await;
    let call = call
        .recorded()
        .await
        .downloaded(2)
        .await
        .transcribed(&pieces)
        .await;
    call.summarized(
        &"<img src=x onerror=alert(1)>".repeat(8),
        &["\"><script>"],
        "extractive",
    )
    .await;
    let desk = signed_in(stage).await;
    let card = desk.page("/leads/CAlong").await;
    let (open, folded) = card.split_once("<details class=\"rest\"").expect("it is folded");
    assert!(
        open.contains("משפט 39 ") && !open.contains("משפט 40 "),
        "forty stand open"
    );
    assert!(folded.contains("משפט 399 ") && folded.contains("הצגת כל התמלול (400 קטעים)"));
    let (status, conflict) = {
        let evil = "</textarea><script>alert(2)</script>";
        desk.send("/leads/CAlong/change", &[("revision", "0"), ("note", "x")], true)
            .await;
        let answer = desk
            .send("/leads/CAlong/change", &[("revision", "0"), ("note", evil)], true)
            .await;
        (answer.status(), text(answer).await)
    };
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    for page in [&card, &conflict, &desk.page("/leads/CAlong/story").await] {
        assert!(
            !page.contains("<script>alert") && !page.contains("<img"),
            "{page}"
        );
    }
}
