//! The page in a real browser.

use std::time::Duration;

use callfold::simulate::Script;
use callfold_kit::testing::wait_for;
use fantoccini::{Client, Locator};
use serde_json::Value;

use crate::harness::{Browser, Gate, GatedSpeech, Spoken, World, tone};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_appears_and_is_worked_on_before_the_readers_eyes() {
    let gate = Gate::closed();
    let world = World::sqlite()
        .engine(GatedSpeech {
            speech: Spoken(Spoken::TEXT),
            gate: gate.clone(),
        })
        .build()
        .await;
    let system = world.start().await;
    let browser = Browser::start().await;
    let page = &browser.client;

    // Without a session there is nothing to see.
    page.goto(system.base.as_str()).await.unwrap();
    assert!(page.find(Locator::Css("[data-list]")).await.is_err());
    // The link opens one, once.
    let link = system
        .base
        .join(&system.stack.api.as_ref().unwrap().issue_sign_in_link())
        .unwrap();
    page.goto(link.as_str()).await.unwrap();
    page.find(Locator::Css("form[action='/signin'] button"))
        .await
        .unwrap()
        .click()
        .await
        .unwrap();
    find(page, "[data-list]").await;
    assert_eq!(attribute(page, "html", "dir").await, "rtl");
    assert_eq!(attribute(page, "html", "lang").await, "he");
    // From here on the page must not be loaded again.
    page.execute("window.markedByTheTest = true", Vec::new())
        .await
        .unwrap();

    let played = system.play(&Script::leaves(tone())).await;
    gate.began(1).await;
    let row = format!("[data-row='{}']", played.call_sid);
    find(page, &row).await;
    assert_eq!(
        text(page, &format!("{row} .who bdi[dir=ltr]")).await,
        "050-123-4567"
    );
    // A spinner says what is happening.
    wait_for("the row to say that it transcribes", async || {
        text(page, &format!("{row} .state"))
            .await
            .contains("מתמלל")
            .then_some(())
    })
    .await;
    page.find(Locator::Css(&format!("{row} a")))
        .await
        .unwrap()
        .click()
        .await
        .unwrap();
    let card = format!("[data-sid='{}']", played.call_sid);
    find(page, &card).await;
    assert!(text(page, &format!("{card} .progress")).await.contains("מתמלל"));
    assert!(
        page.find(Locator::Css(&format!("{card} [data-part=transcript]")))
            .await
            .is_err()
    );

    gate.open();
    find(page, &format!("{card} [data-part=transcript]")).await;
    find(page, &format!("{card} h1.headline")).await;
    let said = format!("{card} [data-part=transcript] .text");
    assert_eq!(text(page, &said).await, Spoken::TEXT);
    assert_eq!(attribute(page, &said, "dir").await, "auto");
    let lead = system.lead_at(&played.call_sid, "processed").await;
    assert_eq!(
        text(page, &format!("{card} h1.headline")).await,
        lead["summary_title"].as_str().unwrap()
    );
    assert_eq!(
        attribute(page, &format!("{card} h1.headline"), "dir").await,
        "auto"
    );
    let points = page
        .find_all(Locator::Css(&format!("{card} .points li")))
        .await
        .unwrap();
    assert_eq!(points.len(), 2);
    assert!(
        page.find(Locator::Css(&format!("{card} .progress")))
            .await
            .is_err(),
        "an end does not spin"
    );
    // Numbers stand left to right in the middle of Hebrew; one tap calls back.
    assert_eq!(
        attribute(page, &format!("{card} .actions a.main"), "href").await,
        "tel:+972501234567"
    );
    assert_eq!(
        text(page, &format!("{card} .actions a.main bdi[dir=ltr]")).await,
        "050-123-4567"
    );
    // The browser itself can play the recording.
    let seconds = wait_for("the recording to be loaded", async || {
        let script = format!("const a = document.querySelector(\"{card} audio\"); return a && a.readyState > 0 ? a.duration : null");
        page.execute(&script, Vec::new()).await.unwrap().as_f64()
    })
    .await;
    assert!((2.9..3.1).contains(&seconds), "{seconds}");
    // The row followed, too.
    wait_for("the row to show the headline", async || {
        (text(page, &format!("{row} .what")).await == lead["summary_title"].as_str().unwrap()).then_some(())
    })
    .await;
    let marked = page
        .execute("return window.markedByTheTest === true", Vec::new())
        .await
        .unwrap();
    assert_eq!(marked, Value::Bool(true), "nothing was loaded again");

    // The link is used up: what is left is a name and a password.
    page.goto(link.as_str()).await.unwrap();
    find(page, "form[action='/signin'] input[name='password']").await;
    assert!(
        page.find(Locator::Css("form[action='/signin'] input[name='token']"))
            .await
            .is_err()
    );
    // No script failed, and nothing offended against the content policy. The refusals above are meant.
    let console: Vec<String> = browser
        .console(&system.http)
        .await
        .into_iter()
        .filter(|line| !line.contains("status of 401") && !line.contains("status of 410"))
        .collect();
    assert!(console.is_empty(), "{console:?}");
    browser.close().await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lead_that_leaves_the_filter_leaves_the_list() {
    let gate = Gate::closed();
    let world = World::sqlite()
        .engine(GatedSpeech {
            speech: Spoken(Spoken::TEXT),
            gate: gate.clone(),
        })
        .build()
        .await;
    let system = world.start().await;
    let browser = Browser::start().await;
    let page = &browser.client;
    let link = system.stack.api.as_ref().unwrap().issue_sign_in_link();
    page.goto(system.base.join(&link).unwrap().as_str())
        .await
        .unwrap();
    find(page, "form[action='/signin'] button").await;
    page.find(Locator::Css("form[action='/signin'] button"))
        .await
        .unwrap()
        .click()
        .await
        .unwrap();
    find(page, "[data-list]").await;
    let running = "/?status=new,recording,recorded,downloaded,transcribed";
    page.goto(system.base.join(running).unwrap().as_str())
        .await
        .unwrap();
    page.execute("window.markedByTheTest = true", Vec::new())
        .await
        .unwrap();

    let played = system.play(&Script::leaves(tone())).await;
    gate.began(1).await;
    let row = format!("[data-row='{}']", played.call_sid);
    find(page, &row).await;
    gate.open();
    system.lead_at(&played.call_sid, "processed").await;
    wait_for("the row to go", async || {
        page.find(Locator::Css(&row)).await.is_err().then_some(())
    })
    .await;
    let marked = page
        .execute("return window.markedByTheTest === true", Vec::new())
        .await
        .unwrap();
    assert_eq!(marked, Value::Bool(true), "nothing was loaded again");
    browser.close().await;
    system.stop().await;
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

/// The text of an element; empty while it is not there: the page may just be exchanging it.
async fn text(page: &Client, css: &str) -> String {
    let script = "const e = document.querySelector(arguments[0]); return e ? e.textContent.trim() : ''";
    let answer = page.execute(script, vec![css.into()]).await.unwrap();
    answer.as_str().unwrap().to_owned()
}

async fn attribute(page: &Client, css: &str, name: &str) -> String {
    let script =
        "const e = document.querySelector(arguments[0]); return e ? e.getAttribute(arguments[1]) : null";
    let answer = page.execute(script, vec![css.into(), name.into()]).await.unwrap();
    answer.as_str().unwrap_or_default().to_owned()
}
