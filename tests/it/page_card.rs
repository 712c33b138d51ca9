//! The card in a real browser: what people do on it, with calls that were really played.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use callfold::simulate::{Message, Script, demo_messages};
use callfold_kit::testing::wait_for;
use callfold_transcriber::engine::{Engine, EngineError, Recognised, RecognisedSegment, Request};
use fantoccini::{Client, Locator};
use serde_json::{Value, json};

use crate::harness::{Browser, System, World};

/// What is said in a call, sentence by sentence.
const SAID: [&str; 4] = [
    "שלום, מדבר דוד כהן מחיפה.",
    "אני מעוניין לקבל הצעת מחיר לשיפוץ מטבח.",
    "התקציב שלנו שלושים אלף שקל.",
    "תחזרו אליי מחר בבוקר.",
];

/// Hears the sentences one after the other in equal parts of the recording, and from the second recognition on the
/// budget otherwise.
#[derive(Default)]
struct Sentences(AtomicUsize);

#[async_trait]
impl Engine for Sentences {
    fn name(&self) -> &str {
        "double"
    }

    fn model(&self) -> String {
        "sentences".to_owned()
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn transcribe(&self, request: Request) -> Result<Recognised, EngineError> {
        let is_again = self.0.fetch_add(1, Ordering::Relaxed) > 0;
        let part_ms = request.audio.duration_ms() / 4;
        let segments = SAID.iter().zip(0_u64..).map(|(text, n)| RecognisedSegment {
            start_ms: n * part_ms,
            end_ms: (n + 1) * part_ms,
            channel: 0,
            text: if is_again {
                text.replace("שלושים", "ארבעים")
            } else {
                (*text).to_owned()
            },
            confidence: None,
        });
        Ok(Recognised {
            language: "he".to_owned(),
            model: self.model(),
            pieces: 1,
            segments: segments.collect(),
        })
    }
}

fn message() -> Message {
    demo_messages().remove(0)
}

/// A browser with its own session.
struct Window {
    browser: Browser,
    http: reqwest::Client,
}

impl Window {
    async fn signed_in(system: &System, language: &str) -> Self {
        let browser = Browser::start().await;
        let window = Self {
            browser,
            http: system.http.clone(),
        };
        let link = system.stack.api.as_ref().unwrap().issue_sign_in_link();
        window.goto(system, &link).await;
        window.click("form[action='/signin'] button").await;
        window.find("[data-list]").await;
        window.speak(language).await;
        window
    }

    /// Chooses the language of the page, as a person does.
    async fn speak(&self, language: &str) {
        self.click("[data-menu] summary").await;
        self.click(&format!("[data-menu] [name=language][value={language}]"))
            .await;
        self.find(&format!("html[lang={language}]")).await;
    }

    fn page(&self) -> &Client {
        &self.browser.client
    }

    async fn goto(&self, system: &System, path: &str) {
        self.page()
            .goto(system.base.join(path).unwrap().as_str())
            .await
            .unwrap();
    }

    async fn find(&self, css: &str) {
        let found = self
            .page()
            .wait()
            .at_most(Duration::from_secs(60))
            .for_element(Locator::Css(css))
            .await;
        if let Err(error) = found {
            panic!(
                "no {css} ({error}):\n{}",
                self.page().source().await.unwrap_or_default()
            );
        }
    }

    /// Clicks as a person does: on what can be seen, wherever it is by now.
    async fn click(&self, css: &str) {
        self.find(css).await;
        wait_for(&format!("a click on {css}"), async || {
            // The driver itself takes what stands under a bar for seen.
            let script = "document.querySelector(arguments[0])?.scrollIntoView({ block: 'center', behavior: 'instant' })";
            self.run(script, vec![css.into()]).await;
            let found = self.page().find(Locator::Css(css)).await.ok()?;
            found.click().await.ok()
        })
        .await;
    }

    /// Types into a field that is empty.
    async fn type_into(&self, css: &str, text: &str) {
        self.find(css).await;
        let field = self.page().find(Locator::Css(css)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.page().execute(script, arguments).await.unwrap()
    }

    /// The text of an element; empty while it is not there.
    async fn text(&self, css: &str) -> String {
        let script = "const e = document.querySelector(arguments[0]); return e ? e.textContent.trim() : ''";
        self.run(script, vec![css.into()])
            .await
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn value(&self, css: &str) -> String {
        let script = "const e = document.querySelector(arguments[0]); return e ? e.value : ''";
        self.run(script, vec![css.into()])
            .await
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits until an element says something.
    async fn says(&self, css: &str, part: &str) {
        wait_for(&format!("{css} to say {part}"), async || {
            self.text(css).await.contains(part).then_some(())
        })
        .await;
    }

    /// Nothing reaches over the side of the screen.
    async fn fits(&self) {
        let script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(
            self.run(script, Vec::new()).await,
            json!(0),
            "the page is wider than the screen"
        );
    }

    /// Ends it, unless a script failed or something offended against the content policy. A status that a test asks for is
    /// named by it.
    async fn close(self, meant: &str) {
        let console: Vec<String> = self
            .browser
            .console(&self.http)
            .await
            .into_iter()
            .filter(|line| meant.is_empty() || !line.contains(meant))
            .collect();
        assert!(console.is_empty(), "{console:?}");
        self.browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_hears_follows_acts_changes_her_mind_and_erases() {
    let world = World::sqlite().engine(Sentences::default()).build().await;
    let system = world.start().await;
    let earlier = system.play(&Script::leaves(message())).await;
    system.lead_at(&earlier.call_sid, "processed").await;
    let played = system.play(&Script::leaves(message())).await;
    system.lead_at(&played.call_sid, "processed").await;
    let sid = played.call_sid.as_str();
    let desk = Window::signed_in(&system, "he").await;
    desk.goto(&system, &format!("/leads/{sid}")).await;
    desk.run("window.markedByTheTest = true", Vec::new()).await;
    system.lead_when(sid, "seen", |lead| lead["seen"] == true).await;

    // The waveform is drawn from the sound.
    wait_for("the waveform", async || {
        let script = "const p = document.querySelector('.wave path.played'); return p ? new Set(p.getAttribute('d').match(/V[\\d.]+/g)).size : 0";
        (desk.run(script, Vec::new()).await.as_u64()? > 5).then_some(())
    })
    .await;
    // A sentence that is clicked is heard, marked, and the next one after it.
    desk.click("[data-heard] li:nth-child(2) .text").await;
    desk.find("[data-heard] li:nth-child(2).hear[aria-current]").await;
    desk.find("[data-heard] li:nth-child(3).hear").await;
    desk.click(".player .fast").await;
    desk.says(".player .fast", "1.5×").await;
    let rate = desk
        .run("return document.querySelector('audio').playbackRate", Vec::new())
        .await;
    assert_eq!(rate, json!(1.5));
    desk.click(".player .play").await;
    wait_for("the sound to pause", async || {
        let paused = desk
            .run("return document.querySelector('audio').paused", Vec::new())
            .await;
        (paused == true).then_some(())
    })
    .await;
    let heard_to = desk
        .run("return document.querySelector('audio').currentTime", Vec::new())
        .await;

    // Done, and not done after all.
    desk.click("[name=disposition][value=done]").await;
    desk.says(".toast", "סומן: טופל").await;
    system
        .lead_when(sid, "done", |lead| lead["disposition"] == "done")
        .await;
    let focused = desk.run("return document.activeElement.id", Vec::new()).await;
    assert_eq!(focused, json!("mark-1"), "the keyboard stays where it was");
    desk.click(".toast form button").await;
    system
        .lead_when(sid, "open again", |lead| lead["disposition"] == "open")
        .await;
    desk.find("[name=disposition][value=done][aria-pressed=false]")
        .await;
    // A note, a tag, mine.
    desk.type_into("#note", "לחזור אחרי שתיים").await;
    desk.click("[data-part=note] button").await;
    system
        .lead_when(sid, "noted", |lead| lead["note"] == "לחזור אחרי שתיים")
        .await;
    desk.type_into("#tag", "מטבח").await;
    desk.click("form:has(#tag) button").await;
    desk.says(".tags", "מטבח").await;
    desk.click("#take").await;
    desk.says("#take", "בטיפולי").await;
    // What was heard wrong is put right; the sound stands where it stood.
    desk.click("[data-heard] details.edit summary").await;
    desk.type_into("[data-heard] textarea", "התקציב שלושים וחמישה אלף")
        .await;
    desk.click("[data-heard] details.edit form button").await;
    desk.says("[data-heard] .said", "התקציב שלושים וחמישה אלף").await;
    let corrected = system
        .lead_when(sid, "corrected", |lead| {
            lead["transcript"] == "התקציב שלושים וחמישה אלף"
        })
        .await;
    assert_eq!(
        (&corrected["tags"], &corrected["disposition"]),
        (&json!(["מטבח"]), &json!("open"))
    );
    let now = desk
        .run("return document.querySelector('audio').currentTime", Vec::new())
        .await;
    assert_eq!(now, heard_to, "the player was left alone");
    assert_eq!(
        desk.run("return window.markedByTheTest", Vec::new()).await,
        json!(true)
    );

    desk.find(&format!(
        "[data-part=earlier] a[href='/leads/{}']",
        earlier.call_sid
    ))
    .await;
    // Erasing asks; whoever thinks better of it keeps the call.
    desk.click("[data-ask]").await;
    desk.says("dialog[open]", "אי אפשר לשחזר").await;
    desk.click("dialog[open] [data-keep]").await;
    assert!(system.lead(sid).await.is_some(), "nothing was erased");
    desk.click("[data-ask]").await;
    desk.click("dialog[open] form .danger").await;
    desk.find("[data-list]").await;
    wait_for("the lead to be gone", async || {
        let answer = system.get(&format!("/api/v1/leads/{sid}")).await;
        (answer.status() == 410).then_some(())
    })
    .await;
    desk.close("").await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_phone_in_english_two_people_meet_a_call_is_run_again_compared_and_its_story_told() {
    let world = World::sqlite().engine(Sentences::default()).build().await;
    let system = world.start().await;
    let played = system.play(&Script::leaves(message())).await;
    system.lead_at(&played.call_sid, "processed").await;
    let sid = played.call_sid.as_str();
    let phone = Window::signed_in(&system, "en").await;
    phone.browser.be_a_phone(&system.http).await;
    phone.goto(&system, &format!("/leads/{sid}")).await;
    phone.says(".actions .main", "Call back").await;
    phone.fits().await;

    // Somebody at a desk writes the note while it is written here too; the phone hears of nothing before it sends.
    phone.type_into("#note", "from the phone").await;
    let desk = Window::signed_in(&system, "he").await;
    desk.goto(&system, &format!("/leads/{sid}")).await;
    desk.type_into("#note", "from the desk").await;
    desk.click("[data-part=note] button").await;
    system
        .lead_when(sid, "noted", |lead| lead["note"] == "from the desk")
        .await;
    desk.close("").await;
    phone.click("[data-part=note] button").await;
    phone.says(".toast .bad", "Meanwhile").await;
    phone.says("[data-part=note]", "from the desk").await;
    assert_eq!(
        phone.value("#note").await,
        "from the phone",
        "what was typed is kept"
    );
    phone.click("[data-part=note] button").await;
    system
        .lead_when(sid, "noted again", |lead| lead["note"] == "from the phone")
        .await;
    phone.click(".toast .close").await;

    // Run again, held, compared, chosen, and given back.
    phone.click("#rerun summary").await;
    phone.click("#rerun-hold").await;
    phone.click("#rerun form button").await;
    system
        .lead_when(sid, "run again and held", |lead| lead["rerun"]["state"] == "held")
        .await;
    phone.click(".links a[href*=compare]").await;
    phone.find("[data-run='0']").await;
    phone.says("[data-run='0'] .text mark", "שלושים").await;
    phone
        .says(".side-by:not([data-run='0']) .text mark", "ארבעים")
        .await;
    phone.fits().await;
    phone
        .click(".side-by:not([data-run='0']) button[name=adopt]")
        .await;
    phone.says("[data-heard]", "ארבעים").await;
    phone.says(".toast", "chosen").await;
    phone.click(".toast form button").await;
    phone.says("[data-heard]", "שלושים").await;
    system.lead_when(sid, "as before", |lead| lead["run"] == 0).await;

    // The story, and the card as it was.
    phone.click(".links a[href$=story]").await;
    phone.says(".entries", "A call came in").await;
    phone.says(".entries", "The note was saved").await;
    phone.fits().await;
    let script = "const s = document.querySelector('#step'); s.value = 1; s.dispatchEvent(new Event('input', { bubbles: true }))";
    phone.run(script, Vec::new()).await;
    phone.says("[data-past] .progress", "On the line now").await;
    assert_eq!(
        phone.text("[data-past] form").await,
        "",
        "nothing can be done in the past"
    );
    phone.close("status of 412").await;
    system.stop().await;
}
