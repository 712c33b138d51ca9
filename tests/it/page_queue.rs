//! The queue in a real browser: what stands still, what moves, and what fingers and keys do.

use std::time::Duration;

use callfold::simulate::{HangUp, Script};
use callfold_kit::testing::wait_for;
use fantoccini::{Client, Locator};
use serde_json::{Value, json};

use crate::harness::{Browser, Spoken, System, World, tone};

/// What the first view of the queue may weigh over the wire, in bytes.
const FIRST_VIEW_BYTES_MAX: f64 = 100_000.0;

/// A caller who hangs up in the greeting: a lead at once, without work for the engines.
fn hangs_up(n: u32) -> Script {
    Script {
        from: format!("+97254{n:07}"),
        hang_up: HangUp::InGreeting,
        ..Script::leaves(tone())
    }
}

/// The world holds the broker and the files of the system.
async fn system() -> (World, System) {
    let world = World::sqlite().engine(Spoken(Spoken::TEXT)).build().await;
    let system = world.start().await;
    (world, system)
}

/// Signs in and waits for the queue.
async fn sign_in(page: &Client, system: &System) {
    let link = system.stack.api.as_ref().unwrap().issue_sign_in_link();
    page.goto(system.base.join(&link).unwrap().as_str())
        .await
        .unwrap();
    find(page, "form[action='/signin'] button").await;
    click(page, "form[action='/signin'] button").await;
    find(page, "[data-list]").await;
    // From here on the page must not be loaded again unless a test asks for it.
    page.execute("window.markedByTheTest = true", Vec::new())
        .await
        .unwrap();
}

async fn went_on(page: &Client) {
    assert_eq!(
        run(page, "return window.markedByTheTest === true").await,
        json!(true),
        "nothing was loaded again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_read_stays_where_it_is_while_fifty_calls_arrive() {
    let (_world, system) = system().await;
    for n in 0..14 {
        system.play(&hangs_up(n)).await;
    }
    let said = system.play(&Script::leaves(tone())).await;
    system.lead_at(&said.call_sid, "processed").await;
    let browser = Browser::start().await;
    let page = &browser.client;
    sign_in(page, &system).await;
    wait_for("the first calls", async || (rows(page).await == 15).then_some(())).await;

    // The tenth row is being read, on a desktop and then on a phone.
    let mut arrived = 15;
    for (width, height, calls) in [(1280, 800, 50), (360, 800, 5)] {
        page.set_window_size(width, height).await.unwrap();
        wait_for("the window to have its size", async || {
            let inner = run(page, "return matchMedia('(min-width: 64rem)').matches").await;
            (inner == json!(width >= 1024)).then_some(())
        })
        .await;
        run(
            page,
            "const row = document.querySelectorAll('[data-row]')[9]; window.read = row.dataset.row; \
             row.scrollIntoView({ block: 'start' })",
        )
        .await;
        let before = run(page, PLACE).await;
        for n in 0..calls {
            system.play(&hangs_up(1_000 + arrived + n)).await;
        }
        arrived += calls;
        wait_for("the pill to say how many there are", async || {
            // 50 rows are sent: more than that are not counted.
            let waiting = text(page, "[data-pill]").await;
            let number = waiting
                .split(' ')
                .next()
                .unwrap_or_default()
                .parse::<u32>()
                .ok()?;
            (number == calls.min(50)).then_some(())
        })
        .await;
        let after = run(page, PLACE).await;
        assert_eq!(before["row"], after["row"]);
        let moved = (before["top"].as_f64().unwrap() - after["top"].as_f64().unwrap()).abs();
        assert!(moved <= 1.0, "the row that is being read moved by {moved} px");
        // Nothing shifted by itself, and nothing reaches beyond the edge of the window.
        let shift = run(page, "return document.documentElement.scrollWidth - innerWidth").await;
        assert!(shift.as_i64().unwrap() <= 0, "{shift} px beyond the edge");
        click(page, "[data-pill]").await;
        wait_for("the new ones to be shown", async || {
            let at_top = run(
                page,
                "return Math.max(scrollY, document.querySelector('[data-queue]').scrollTop) < 48",
            )
            .await;
            (at_top == json!(true) && hidden(page, "[data-pill]").await).then_some(())
        })
        .await;
        let newest = format!("+97254{:07}", 1_000 + arrived - 1);
        wait_for("the newest call to stand first", async || {
            let shown = text(page, "[data-row] .who bdi").await;
            let digits: String = shown.chars().filter(char::is_ascii_digit).collect();
            newest.ends_with(&digits[1..]).then_some(())
        })
        .await;
    }
    went_on(page).await;
    quiet(&browser, &system).await;
    browser.close().await;
    system.stop().await;
}

/// Where the row that is being read stands.
const PLACE: &str = "const row = document.querySelector('[data-row=\"' + window.read + '\"]'); \
     return { row: row.dataset.row, top: row.getBoundingClientRect().top }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_worked_with_keys_alone_in_both_languages() {
    let (_world, system) = system().await;
    for n in 0..3 {
        system.play(&hangs_up(n)).await;
    }
    let said = system.play(&Script::leaves(tone())).await;
    system.lead_at(&said.call_sid, "processed").await;
    let browser = Browser::start().await;
    let page = &browser.client;
    sign_in(page, &system).await;
    wait_for("the calls", async || (rows(page).await == 4).then_some(())).await;

    // One round of requests: everything that the page needs is named in it, and little of it.
    let weight = run(
        page,
        "const parts = performance.getEntriesByType('resource').filter((part) => part.initiatorType !== 'fetch' && !part.name.includes('/api/')); \
         const page = performance.getEntriesByType('navigation')[0]; \
         return { bytes: parts.reduce((sum, part) => sum + part.transferSize, page.transferSize), \
                  named: parts.every((part) => document.querySelector(`[href=\"${new URL(part.name).pathname}\"], [src=\"${new URL(part.name).pathname}\"]`)), \
                  foreign: parts.filter((part) => new URL(part.name).origin !== location.origin).length, \
                  encoded: page.encodedBodySize < page.decodedBodySize }",
    )
    .await;
    assert!(
        weight["bytes"].as_f64().unwrap() < FIRST_VIEW_BYTES_MAX,
        "{weight}"
    );
    assert_eq!(
        (&weight["named"], &weight["foreign"], &weight["encoded"]),
        (&json!(true), &json!(0), &json!(true))
    );

    // Down, down, up; then the card beside the list, which goes on.
    for (key, at) in [("j", 0), ("j", 1), ("ArrowDown", 2), ("k", 1)] {
        press(page, key).await;
        assert_eq!(focused_row(page).await, json!(at), "{key}");
    }
    press(page, "?").await;
    assert_eq!(
        run(page, "return document.querySelector('[data-keys]').open").await,
        json!(true)
    );
    press(page, "Escape").await;
    assert_eq!(
        run(page, "return document.querySelector('[data-keys]').open").await,
        json!(false)
    );
    press(page, "/").await;
    assert_eq!(run(page, "return document.activeElement.id").await, json!("q"));
    run(page, "document.querySelector('[data-row] a').focus()").await;
    press(page, "Enter").await;
    let card = format!("[data-sid='{}']", said.call_sid);
    find(page, &card).await;
    let first = format!("[data-row='{}'] a[aria-current]", said.call_sid);
    find(page, &first).await;
    went_on(page).await;

    // A search is an address: it is loaded, marks what it found, and the way back leads back.
    let word = Spoken::TEXT
        .split_whitespace()
        .find(|word| word.chars().count() > 3)
        .unwrap();
    run(page, "document.getElementById('q').focus()").await;
    page.find(Locator::Css("#q"))
        .await
        .unwrap()
        .send_keys(word)
        .await
        .unwrap();
    press(page, "Enter").await;
    find(page, "[data-row] mark").await;
    assert_eq!(rows(page).await, 1);
    page.find(Locator::Css(".chips a:first-child"))
        .await
        .unwrap()
        .click()
        .await
        .unwrap();
    find(page, ".chips a:first-child[aria-current]").await;
    assert_eq!(
        run(page, "return document.getElementById('q').value").await,
        json!(word)
    );
    page.back().await.unwrap();
    find(page, ".chips a:nth-child(5)[aria-current]").await;
    find(page, "[data-row] mark").await;
    let marks_hit = run(
        page,
        "return [...document.querySelectorAll('mark')].every((mark) => mark.textContent.length > 0)",
    )
    .await;
    assert_eq!(marks_hit, json!(true));

    // Another language, and back to the same list.
    run(page, "document.querySelector('[data-menu]').open = true").await;
    click(page, "[name=language][value=en]").await;
    find(page, "html[lang=en][dir=ltr]").await;
    assert_eq!(rows(page).await, 1);
    assert!(text(page, ".chips").await.contains("Called back"));
    // Sound is off until it is switched on, and stays so in this browser.
    assert_eq!(
        run(
            page,
            "return document.querySelector('[data-sound]').getAttribute('aria-pressed')"
        )
        .await,
        json!("false")
    );
    run(page, "document.querySelector('[data-menu]').open = true").await;
    click(page, "[data-sound]").await;
    page.goto(system.base.as_str()).await.unwrap();
    find(page, "[data-sound][aria-pressed=true]").await;
    // A browser lets a page sound only after a person touched it.
    press(page, "j").await;
    let call = system.play(&hangs_up(77)).await;
    find(page, &format!("[data-row='{}']", call.call_sid)).await;
    wait_for("the new lead to ring", async || {
        (run(page, "return document.documentElement.dataset.rang ?? null").await != Value::Null).then_some(())
    })
    .await;
    // Every part that can be pressed can be hit with a finger on a phone, and nothing lies beyond the edge.
    page.set_window_size(360, 800).await.unwrap();
    let small = run(
        page,
        "return [...document.querySelectorAll('.top a, .top summary, .tools button, .tools summary, .row')] \
             .filter((part) => part.offsetParent && part.getBoundingClientRect().height < 43.5).map((part) => part.outerHTML)",
    )
    .await;
    assert_eq!(small, json!([]));
    assert!(
        run(page, "return document.documentElement.scrollWidth - innerWidth")
            .await
            .as_i64()
            .unwrap()
            <= 0
    );
    quiet(&browser, &system).await;
    browser.close().await;
    system.stop().await;
}

/// No script failed, and nothing offended against the content policy.
async fn quiet(browser: &Browser, system: &System) {
    let console = browser.console(&system.http).await;
    assert!(console.is_empty(), "{console:?}");
}

/// Waits for an element.
async fn find(page: &Client, css: &str) {
    let found = page
        .wait()
        .at_most(Duration::from_secs(60))
        .for_element(Locator::Css(css))
        .await;
    if let Err(error) = found {
        panic!(
            "no {css} on the page ({error}):\n{}",
            page.source().await.unwrap_or_default()
        );
    }
}

async fn click(page: &Client, css: &str) {
    page.find(Locator::Css(css)).await.unwrap().click().await.unwrap();
}

async fn run(page: &Client, script: &str) -> Value {
    page.execute(script, Vec::new()).await.unwrap()
}

/// The text of an element; empty while it is not there.
async fn text(page: &Client, css: &str) -> String {
    let script = "const e = document.querySelector(arguments[0]); return e ? e.textContent.trim() : ''";
    let answer = page.execute(script, vec![css.into()]).await.unwrap();
    answer.as_str().unwrap_or_default().to_owned()
}

async fn hidden(page: &Client, css: &str) -> bool {
    let script = "return document.querySelector(arguments[0]).hidden";
    page.execute(script, vec![css.into()]).await.unwrap() == json!(true)
}

async fn rows(page: &Client) -> usize {
    page.find_all(Locator::Css("[data-row]")).await.unwrap().len()
}

/// Presses a key where the focus is, as a person does.
async fn press(page: &Client, key: &str) {
    use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
    use fantoccini::key::Key;
    let value = match key {
        "Enter" => Key::Enter.into(),
        "Escape" => Key::Escape.into(),
        "ArrowDown" => Key::Down.into(),
        other => other.chars().next().unwrap(),
    };
    let keys = KeyActions::new("keyboard".to_owned())
        .then(KeyAction::Down { value })
        .then(KeyAction::Up { value });
    page.perform_actions(keys).await.unwrap();
}

/// The place of the row that has the focus, from 0.
async fn focused_row(page: &Client) -> Value {
    run(
        page,
        "return [...document.querySelectorAll('[data-row] a')].indexOf(document.activeElement)",
    )
    .await
}
