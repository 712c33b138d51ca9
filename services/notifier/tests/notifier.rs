//! The notifier against a real broker, a mail server's double that speaks SMTP, and a push service's double.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod doubles;

use std::sync::Arc;
use std::time::Duration;

use callfold_kit::backoff::Backoff;
use callfold_kit::clock::{Clock, TestClock};
use callfold_kit::testing::{TestNats, publish, wait_for};
use callfold_kit::{Bus, Health, Lifecycle, Metrics, Secret};
use callfold_notifier::{Deps, MailConfig, NEWS_MS_MAX, NotifierConfig, Retries, build, run};
use callfold_people::{NewPerson, People, Person, Role};
use callfold_schema::event::SummaryReady;
use callfold_schema::{CallSid, Key, NewEvent, RecordingSid, Run, UnixMillis};
use doubles::{MailServer, PushService};

const NOW: UnixMillis = UnixMillis(1_795_000_000_000);

struct World {
    _nats: TestNats,
    bus: Bus,
    clock: Arc<TestClock>,
    people: Box<People>,
    lifecycle: Lifecycle,
    mail: MailServer,
    push: PushService,
}

impl World {
    async fn start() -> Self {
        let nats = TestNats::start().await;
        let bus = nats.bus().await;
        Self {
            people: Box::new(Box::pin(People::open(&bus)).await.unwrap()),
            bus,
            clock: TestClock::at(NOW),
            lifecycle: Lifecycle::new(),
            mail: MailServer::start().await,
            push: PushService::start().await,
            _nats: nats,
        }
    }

    async fn notifier(&self) {
        let config = NotifierConfig {
            mail: Some(MailConfig {
                url: Secret::new(format!("smtp://{}", self.mail.address)),
                from: "callfold <leads@example.com>".parse().unwrap(),
            }),
            public_url: Some("https://leads.example.com".parse().unwrap()),
            push_hosts: vec![self.push.address.to_string()],
        };
        let deps = Deps {
            bus: self.bus.clone(),
            clock: Arc::clone(&self.clock) as _,
            metrics: Metrics::new(),
            health: Health::new().part("notifier", false),
            retries: Retries {
                backoff: Backoff {
                    base: Duration::from_millis(20),
                    max: Duration::from_millis(50),
                    factor: 2.0,
                    jitter: 0.2,
                },
            },
        };
        run(Box::pin(build(&config, deps)).await.unwrap(), &self.lifecycle);
    }

    async fn person(&self, name: &str) -> Person {
        let new = NewPerson {
            name: name.to_owned(),
            role: Role::Owner,
            password: None,
        };
        self.people.add(new, NOW).await.unwrap()
    }

    async fn wants_mail(&self, name: &str) -> Person {
        let person = self.person(name).await;
        let email = format!("{name}@example.com");
        self.people
            .set_choices(&person.key(), &email, true, false, Some("en".to_owned()))
            .await
            .unwrap()
    }

    /// A summary of a call, accepted so long ago.
    async fn summary(&self, call: &str, recording: &str, title: &str, ago_ms: i64) {
        let ready = SummaryReady {
            title: title.to_owned(),
            points: vec!["call back at +972501234567".to_owned()],
            text: "the whole text".to_owned(),
            caller_name: None,
            callback_number: Some("+972501234567".to_owned()),
            topic: None,
            urgency: None,
            engine: "extractive".to_owned(),
            model: String::new(),
            prompt_version: 1,
            failed_engines: Vec::new(),
            parts: 1,
            tries: 0,
            tokens_in: None,
            tokens_out: None,
            elapsed_ms: 1,
        };
        let event = NewEvent::new(
            CallSid::parse(call).unwrap(),
            Key::stage(RecordingSid::parse(recording).unwrap(), Run::FIRST),
            UnixMillis(self.clock.now().0 - ago_ms),
            ready,
        );
        publish(&self.bus, &event).await;
    }

    /// Waits until a mail with this word has come.
    async fn mail_about(&self, word: &str) -> String {
        wait_for("a mail", async || {
            self.mail.taken().into_iter().find(|mail| mail.contains(word))
        })
        .await
    }

    async fn stop(self) {
        self.lifecycle.stop();
        self.lifecycle.stopped(Duration::from_secs(20)).await.unwrap();
    }
}

#[tokio::test]
async fn a_new_lead_is_told_once_by_mail_with_its_headline_and_nothing_more() {
    let world = World::start().await;
    world.wants_mail("dana").await;
    world.person("noam").await;
    // What was there before the notifier came is no news.
    world.summary("CAold", "REold", "Long ago", NEWS_MS_MAX + 1).await;
    world.notifier().await;
    world.summary("CA1", "RE1", "Kitchen renovation", 0).await;
    let mail = world.mail_about("Kitchen").await;
    assert!(mail.contains("Subject: New lead: Kitchen renovation"), "{mail}");
    assert!(mail.contains("To: dana@example.com"), "{mail}");
    assert!(mail.contains("https://leads.example.com/leads/CA1"), "{mail}");
    assert!(mail.contains("@callfold>"), "{mail}");
    for private in ["972501234567", "the whole text", "call back at"] {
        assert!(!mail.contains(private), "{mail}");
    }
    // A second recording of the same call tells nobody again.
    world.summary("CA1", "RE2", "Kitchen, once more", 0).await;
    world.summary("CA2", "RE3", "Leaking tap", 0).await;
    world.mail_about("Leaking").await;
    let taken = world.mail.taken();
    assert_eq!(taken.len(), 2, "{taken:#?}");
    world.stop().await;
}

#[tokio::test]
async fn a_mail_server_in_trouble_is_asked_again_and_one_that_refuses_is_not() {
    let world = World::start().await;
    world.wants_mail("dana").await;
    world.wants_mail("gone").await;
    world
        .mail
        .answers("dana@example.com", &["451 4.7.1 later", "", "421 4.3.2 busy"]);
    world
        .mail
        .answers("gone@example.com", &["550 5.1.1 no such user"; 8]);
    world.notifier().await;
    world.summary("CA1", "RE1", "Kitchen renovation", 0).await;
    world.mail_about("Kitchen").await;
    world.summary("CA2", "RE2", "Leaking tap", 0).await;
    world.mail_about("Leaking").await;
    assert_eq!(world.mail.taken().len(), 2);
    wait_for("both refusals", async || {
        (world.mail.asked("gone@example.com") == 2).then_some(())
    })
    .await;
    assert_eq!(world.mail.asked("dana@example.com"), 4, "two in vain, two taken");
    world.stop().await;
}

#[tokio::test]
async fn trying_comes_to_an_end() {
    let world = World::start().await;
    world.wants_mail("dana").await;
    world.mail.answers("dana@example.com", &["451 4.7.1 later"; 8]);
    world.notifier().await;
    world.summary("CA1", "RE1", "Kitchen renovation", 0).await;
    wait_for("the last try", async || {
        (world.mail.asked("dana@example.com") == 8).then_some(())
    })
    .await;
    world.summary("CA2", "RE2", "Leaking tap", 0).await;
    world.mail_about("Leaking").await;
    assert_eq!(world.mail.taken().len(), 1, "the first one was given up");
    assert_eq!(world.mail.asked("dana@example.com"), 9);
    world.stop().await;
}

#[tokio::test]
async fn a_push_message_is_signed_and_only_the_browser_can_read_it() {
    let world = World::start().await;
    let dana = world.person("dana").await;
    let browser = world.push.browser("one");
    world
        .people
        .subscribe(&dana.key(), browser.subscription.clone())
        .await
        .unwrap();
    // In trouble at first: asked again.
    world.push.answers("one", &[503, 429]);
    world.notifier().await;
    let public = world.people.push_public_key().await.unwrap().unwrap();
    assert!(world.people.has_mail().await.unwrap());
    world.summary("CA1", "RE1", "שיפוץ מטבח", 0).await;
    let taken = wait_for("a push message", async || world.push.taken().pop()).await;
    assert_eq!(world.push.asked("one"), 3);
    taken.check_signature(&public, &world.push.origin(), world.clock.now());
    assert_eq!(taken.headers["content-encoding"], "aes128gcm");
    assert_eq!(taken.headers["ttl"], "14400");
    let told: serde_json::Value = serde_json::from_slice(&browser.decrypt(&taken.body)).unwrap();
    assert_eq!(told["body"], "שיפוץ מטבח");
    assert_eq!(told["path"], "/leads/CA1");
    assert_eq!(told["dir"], "rtl");
    assert!(!told.to_string().contains("972501234567"));
    world.stop().await;
}

#[tokio::test]
async fn a_browser_that_is_gone_is_forgotten_and_others_are_told() {
    let world = World::start().await;
    let dana = world.person("dana").await;
    for name in ["one", "two"] {
        let browser = world.push.browser(name);
        world
            .people
            .subscribe(&dana.key(), browser.subscription)
            .await
            .unwrap();
    }
    world.push.answers("one", &[410]);
    world.notifier().await;
    world.summary("CA1", "RE1", "Kitchen renovation", 0).await;
    wait_for("the browser to be forgotten", async || {
        let everybody = world.people.everybody().await.unwrap();
        (everybody[0].subscriptions.len() == 1).then_some(())
    })
    .await;
    wait_for("the other one to be told", async || {
        (world.push.asked("two") == 1).then_some(())
    })
    .await;
    world.summary("CA2", "RE2", "Leaking tap", 0).await;
    wait_for("the next news", async || {
        (world.push.asked("two") == 2).then_some(())
    })
    .await;
    assert_eq!(world.push.asked("one"), 1);
    world.stop().await;
}
