//! Who works here, in real browsers: each person has one of their own.

use std::time::Duration;

use callfold::simulate::Script;
use callfold_kit::testing::wait_for;
use fantoccini::{Client, Locator};

use crate::harness::{Browser, Gate, GatedSpeech, Spoken, World, tone};

const PASSWORD: &str = "four words on a line";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_adds_an_agent_who_signs_in_acts_by_name_and_is_signed_out_again() {
    let world = World::sqlite().engine(Spoken(Spoken::TEXT)).build().await;
    let system = world.start().await;
    let (first, second) = (Browser::start().await, Browser::start().await);
    let (owner, agent) = (&first.client, &second.client);
    let address = |path: &str| system.base.join(path).unwrap().to_string();

    // The installation's link lets the first owner in, who adds a person for herself and one for an agent.
    let link = system.stack.api.as_ref().unwrap().issue_sign_in_link();
    owner.goto(&address(&link)).await.unwrap();
    click(owner, "form[action='/signin'] button").await;
    find(owner, "[data-list]").await;
    owner.goto(&address("/people")).await.unwrap();
    for (name, role) in [("אולגה", "owner"), ("דנה", "agent"), ("Vera", "viewer")] {
        type_into(owner, "#add-name", name).await;
        let choose = format!("document.querySelector('#add-role').value = '{role}'");
        owner.execute(&choose, Vec::new()).await.unwrap();
        type_into(owner, "#add-password", PASSWORD).await;
        click(owner, "form[action='/people/add'] button").await;
        find(owner, &format!("[data-person='{name}']")).await;
    }

    // A wrong password is refused in words, the right one lets her in.
    agent.goto(&address("/")).await.unwrap();
    for password in ["five words on a line", PASSWORD] {
        clear(agent, "#name").await;
        type_into(agent, "#name", "דנה").await;
        type_into(agent, "#password", password).await;
        click(agent, "form.fields[action='/signin'] button").await;
        if password != PASSWORD {
            find(agent, "[role=alert]").await;
        }
    }
    find(agent, "[data-list]").await;
    assert_eq!(
        agent
            .find_all(Locator::Css("a[href='/people']"))
            .await
            .unwrap()
            .len(),
        0,
        "not hers"
    );

    // What she does carries her name.
    let played = system.play(&Script::leaves(tone())).await;
    system.lead_at(&played.call_sid, "processed").await;
    let script = "const done = arguments[arguments.length - 1];
        fetch('/api/v1/leads/' + arguments[0], { method: 'PATCH', body: JSON.stringify({ seen: true }),
          headers: { 'Content-Type': 'application/json', 'If-Match': '*', 'X-CSRF-Token': document.body.dataset.formToken } })
          .then((answer) => done(answer.status));";
    let sid = serde_json::Value::from(played.call_sid.as_str());
    let status = agent.execute_async(script, vec![sid.clone()]).await.unwrap();
    assert_eq!(status, 200);
    let update = wait_for("the story to have it", async || {
        let story = system.story(&played.call_sid).await;
        story.into_iter().find(|event| event["kind"] == "lead_updated")
    })
    .await;
    assert!(update.to_string().contains("דנה"), "{update}");

    // The owner makes her a viewer: from then on she cannot act.
    let form = "[data-person='דנה'] form[action='/people/role']";
    let choose = format!("document.querySelector(\"{form} select\").value = 'viewer'");
    owner.execute(&choose, Vec::new()).await.unwrap();
    click(owner, &format!("{form} button")).await;
    find(owner, "[role=status]").await;
    wait_for("the role to hold", async || {
        let status = agent.execute_async(script, vec![sid.clone()]).await.unwrap();
        (status == 403).then_some(())
    })
    .await;

    // And ends her session: the next page asks her to sign in.
    click(owner, "[data-person='דנה'] summary").await;
    click(
        owner,
        "[data-person='דנה'] form[action='/people/sessions/end'] button",
    )
    .await;
    wait_for("the session to be over", async || {
        agent.goto(&address("/")).await.unwrap();
        agent.find(Locator::Css("#password")).await.is_ok().then_some(())
    })
    .await;

    // In English, on a phone, without an inline script or style on the way.
    agent.set_window_size(360, 800).await.unwrap();
    click(agent, "[data-menu] summary").await;
    click(agent, "button[name=language][value=en]").await;
    find(agent, "html[lang=en] #password").await;
    let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(agent.execute(wide, Vec::new()).await.unwrap(), 0);
    for browser in [&first, &second] {
        let said = browser.console(&system.http).await;
        let violations: Vec<_> = said
            .iter()
            .filter(|line| line.contains("Content Security"))
            .collect();
        assert!(violations.is_empty(), "{violations:?}");
    }
    first.close().await;
    second.close().await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operation_page_shows_what_is_stuck_and_how_long_calls_took() {
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
    let address = |path: &str| system.base.join(path).unwrap().to_string();
    let link = system.stack.api.as_ref().unwrap().issue_sign_in_link();
    page.goto(&address(&link)).await.unwrap();
    click(page, "form[action='/signin'] button").await;
    find(page, "[data-list]").await;

    // The speech engine does not answer: the page says that a piece of work is in hand, and since when.
    let played = system.play(&Script::leaves(tone())).await;
    gate.began(1).await;
    wait_for("the page to show it", async || {
        page.goto(&address("/operation")).await.unwrap();
        let row = "[data-stage=transcribe]";
        find(page, row).await;
        let in_hand = page
            .find(Locator::Css(&format!("{row} [data-in-hand]")))
            .await
            .unwrap();
        let oldest = page
            .find(Locator::Css(&format!("{row} td:last-child")))
            .await
            .unwrap();
        let told = (in_hand.text().await.unwrap(), oldest.text().await.unwrap());
        (told.0 == "1" && told.1 != "–").then_some(())
    })
    .await;
    gate.open();
    system.lead_at(&played.call_sid, "processed").await;
    wait_for("the times to be drawn", async || {
        page.goto(&address("/operation")).await.unwrap();
        find(page, "#times-by-day").await;
        let script = "return document.querySelectorAll('[aria-labelledby=times-by-day] rect.outer').length";
        (page.execute(script, Vec::new()).await.unwrap() == 1).then_some(())
    })
    .await;
    // Nothing is wider than a phone.
    page.set_window_size(360, 800).await.unwrap();
    let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(page.execute(wide, Vec::new()).await.unwrap(), 0);
    let said = browser.console(&system.http).await;
    assert!(said.is_empty(), "{said:?}");
    browser.close().await;
    system.stop().await;
}

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
    find(page, css).await;
    page.find(Locator::Css(css)).await.unwrap().click().await.unwrap();
}

async fn type_into(page: &Client, css: &str, text: &str) {
    find(page, css).await;
    let field = page.find(Locator::Css(css)).await.unwrap();
    field.send_keys(text).await.unwrap();
}

async fn clear(page: &Client, css: &str) {
    find(page, css).await;
    page.find(Locator::Css(css)).await.unwrap().clear().await.unwrap();
}
