//! The work: which news, for whom, told once, again after a failure, and with an end.

use std::sync::Arc;
use std::time::Duration;

use callfold_kit::Bus;
use callfold_kit::backoff::Backoff;
use callfold_kit::bus::{BusError, Kv, Piece};
use callfold_kit::chain::chain;
use callfold_kit::clock::SharedClock;
use callfold_kit::health::Part;
use callfold_kit::lifecycle::{BoxError, Lifecycle};
use callfold_kit::metric::{CounterName, Metrics};
use callfold_people::{People, Person, PushSubscription};
use callfold_schema::event::SummaryReady;
use callfold_schema::subject::BUCKET_NOTIFICATIONS;
use callfold_schema::{CallSid, Event, EventKind, Key, Subject, UnixMillis};
use data_encoding::HEXLOWER;
use futures::StreamExt;
use sha2::{Digest, Sha256};

use crate::config::NotifierConfig;
use crate::mail::Smtp;
use crate::news::News;
use crate::push::{PushKey, Pusher, subject};

/// The durable consumer, shared by all notifiers.
const CONSUMER: &str = "notify";
/// First runs only.
const FILTER: &str = "calls.*.summary_ready.new.*";
/// A message that is not answered for so long comes again; between two people it is said that the work goes on.
const ACK_WAIT: Duration = Duration::from_secs(90);
/// News that are worked on at once: the time goes by waiting for other servers.
const WORKERS: usize = 2;
/// People who are told at once of the same news.
const TOLD_AT_ONCE: usize = 8;
/// What is older is no news, in milliseconds: one hour. Also why a new notifier does not tell the whole history.
pub const NEWS_MS_MAX: i64 = 60 * 60 * 1_000;
/// How often it is tried to tell somebody.
pub const ATTEMPTS_MAX: u64 = 8;
/// How long it is kept what was told; longer than anything is tried.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long an event of a newer release is left alone before it is offered again.
const NEWER_EVENT_DELAY: Duration = Duration::from_secs(60);

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The other side has it.
    Taken,
    /// Not now.
    Later {
        /// Why.
        why: &'static str,
        /// When the other side wants to be asked again.
        after: Option<Duration>,
    },
    /// Not ever.
    Refused(&'static str),
    /// There is nobody at that address any more.
    Gone,
}

/// How retries are put off.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// The delays.
    pub backoff: Backoff,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            backoff: Backoff {
                base: Duration::from_secs(10),
                max: Duration::from_secs(10 * 60),
                factor: 3.0,
                jitter: 0.2,
            },
        }
    }
}

/// What the notifier works with.
pub struct Deps {
    /// The broker.
    pub bus: Bus,
    /// The time of day.
    pub clock: SharedClock,
    /// Where to count.
    pub metrics: Metrics,
    /// Where to say how it is.
    pub health: Part,
    /// How retries are put off.
    pub retries: Retries,
}

/// Tells people of new leads.
pub struct Notifier {
    deps: Deps,
    people: Arc<People>,
    told: Kv,
    mail: Option<Smtp>,
    push: Pusher,
    public_url: Option<url::Url>,
}

/// Why it could not be built. A variant is an attempt.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The broker.
    #[error("could not open a bucket")]
    Bucket(#[source] BusError),
    /// People.
    #[error("could not read or keep the key of push messages")]
    People(#[source] callfold_people::PeopleError),
    /// The key.
    #[error("could not use the key of push messages")]
    Key(#[source] crate::push::PushError),
    /// `SMTP_URL`. The cause may hold the password, and is left out.
    #[error("SMTP_URL cannot be used: it is smtps://user:password@host or smtp://host:port?tls=required")]
    Smtp,
    /// The HTTP client.
    #[error("could not make an HTTP client")]
    Http(#[source] reqwest::Error),
}

/// Opens what is needed, makes the key of push messages where there is none, and lets the settings page know which ways of
/// telling there are.
///
/// # Errors
/// See [`BuildError`].
pub async fn build(config: &NotifierConfig, deps: Deps) -> Result<Notifier, BuildError> {
    let people = Arc::new(
        Box::pin(People::open(&deps.bus))
            .await
            .map_err(BuildError::Bucket)?,
    );
    let told = Box::pin(deps.bus.kv(BUCKET_NOTIFICATIONS, Some(KEPT)))
        .await
        .map_err(BuildError::Bucket)?;
    let kept = people
        .push_key(PushKey::generate)
        .await
        .map_err(BuildError::People)?
        .unwrap_or_default();
    let key = PushKey::from_pkcs8(&kept).map_err(BuildError::Key)?;
    people
        .set_ways(&key.public(), config.mail.is_some())
        .await
        .map_err(BuildError::People)?;
    let mail = match &config.mail {
        Some(mail) => Some(Smtp::new(mail).map_err(|_| BuildError::Smtp)?),
        None => None,
    };
    let from = config.mail.as_ref().map(|mail| mail.from.email.to_string());
    let push = Pusher {
        key,
        http: callfold_kit::http::client_builder()
            .build()
            .map_err(BuildError::Http)?,
        hosts: config.push_hosts.clone(),
        subject: subject(config.public_url.as_ref(), from),
    };
    Ok(Notifier {
        deps,
        people,
        told,
        mail,
        push,
        public_url: config.public_url.clone(),
    })
}

/// Works until the soft stop.
pub fn run(notifier: Notifier, lifecycle: &Lifecycle) {
    let notifier = Arc::new(notifier);
    notifier.people.watch(lifecycle);
    notifier.deps.health.ready();
    for worker in 0..WORKERS {
        let notifier = Arc::clone(&notifier);
        let soft = lifecycle.soft();
        lifecycle.spawn(format!("notifier_{worker}"), async move {
            let mut queue = notifier.deps.bus.queue(CONSUMER, FILTER, ACK_WAIT);
            while let Some(piece) = queue.next(&soft).await? {
                notifier.work(&piece).await;
            }
            Ok(())
        });
    }
}

/// A way to tell somebody.
enum Way<'a> {
    Mail(&'a str),
    Push(&'a PushSubscription),
}

impl Way<'_> {
    fn name(&self) -> &'static str {
        match self {
            Way::Mail(_) => "mail",
            Way::Push(_) => "push",
        }
    }

    /// What was told to whom, without saying it: a key of the bucket.
    fn key(&self, call_sid: &CallSid, person: &Person) -> String {
        let to = match self {
            // One mail a person, whatever their address is by then.
            Way::Mail(_) => "mail".to_owned(),
            Way::Push(subscription) => subscription.id(),
        };
        let hash = Sha256::digest(format!("{call_sid} {} {to}", person.key()));
        HEXLOWER.encode(&hash[..20])
    }
}

/// When to come again; `None`: nothing is left to do.
type Again = Option<Option<Duration>>;

impl Notifier {
    async fn work(&self, piece: &Piece) {
        let again = match self.tell(piece).await {
            Ok(again) => again,
            Err(error) => {
                self.deps.health.not_ready("who is to be told cannot be read");
                tracing::warn!(error = %chain(&*error), "a new lead is told later");
                Some(None)
            }
        };
        let answered = match again {
            None => {
                self.deps.health.ready();
                piece.done().await
            }
            Some(after) => {
                let attempt = u32::try_from(piece.delivery()).unwrap_or(u32::MAX);
                let delay = self.deps.retries.backoff.delay(attempt, &mut rand::rng());
                piece
                    .again_after(after.map_or(delay, |after| after.max(delay)))
                    .await
            }
        };
        if let Err(error) = answered {
            // It comes again by itself; who was told is not told again.
            tracing::debug!(error = %chain(&*error), "the broker did not hear the answer");
        }
    }

    async fn tell(&self, piece: &Piece) -> Result<Again, BoxError> {
        let stored = piece.event();
        let record = match stored.decode() {
            Ok(record) => record,
            Err(unreadable) if unreadable.is_newer() => return Ok(Some(Some(NEWER_EVENT_DELAY))),
            // The projector tells of it.
            Err(_) => return Ok(None),
        };
        let Event::SummaryReady(summary) = &record.event else {
            return Ok(None);
        };
        let now = self.deps.clock.now();
        if now.0 - record.envelope.time.0 > NEWS_MS_MAX {
            return Ok(None);
        }
        let call_sid = &record.envelope.subject.call_sid;
        let erased = Subject::new(call_sid.clone(), EventKind::CallErased, Key::single());
        if self.deps.bus.find(&erased).await?.is_some() {
            return Ok(None);
        }
        let everybody = self.people.everybody().await?;
        let mut left: Again = None;
        let tellings: Vec<_> = everybody
            .iter()
            .flat_map(|person| self.ways(person).into_iter().map(move |way| (person, way)))
            .map(|(person, way)| self.tell_one(call_sid, summary, person, way, piece.delivery(), now))
            .collect();
        let mut tellings = futures::stream::iter(tellings).buffer_unordered(TOLD_AT_ONCE);
        while let Some(told) = tellings.next().await {
            piece.progress().await?;
            if let Some(after) = told? {
                left = Some(left.flatten().max(after));
            }
        }
        Ok(left)
    }

    /// How a person wants to be told.
    fn ways<'a>(&self, person: &'a Person) -> Vec<Way<'a>> {
        let mut ways = Vec::new();
        if let (true, Some(email), Some(_)) = (person.notify_email, &person.email, &self.mail) {
            ways.push(Way::Mail(email));
        }
        if person.notify_push {
            ways.extend(person.subscriptions.iter().map(Way::Push));
        }
        ways
    }

    async fn tell_one(
        &self,
        call_sid: &CallSid,
        summary: &SummaryReady,
        person: &Person,
        way: Way<'_>,
        delivery: u64,
        now: UnixMillis,
    ) -> Result<Again, BoxError> {
        let key = way.key(call_sid, person);
        if self.told.get(&key).await?.is_some() {
            return Ok(None);
        }
        let news = News {
            call_sid,
            title: &summary.title,
            public_url: self.public_url.as_ref(),
        };
        let language = person.language.as_deref();
        let sent = match (&way, &self.mail) {
            (Way::Mail(to), Some(mail)) => {
                let (subject, text) = news.mail(language);
                mail.send(to, subject, text, &key).await
            }
            (Way::Mail(_), None) => return Ok(None),
            (Way::Push(to), _) => self.push.send(to, &news.push(language), now).await,
        };
        let (outcome, why) = match sent {
            Sent::Taken => ("taken", None),
            Sent::Gone => ("gone", Some("nobody is there any more")),
            Sent::Refused(why) => ("refused", Some(why)),
            Sent::Later { why, .. } if delivery >= ATTEMPTS_MAX => ("given_up", Some(why)),
            Sent::Later { why, .. } => ("later", Some(why)),
        };
        self.deps.metrics.count(
            CounterName::Notifications,
            &[("way", way.name()), ("outcome", outcome)],
        );
        if let Some(why) = why {
            tracing::warn!(call.id = %call_sid, way = way.name(), outcome, delivery, why, "somebody was not told of call {call_sid}");
        }
        if let (Sent::Later { after, .. }, "later") = (sent, outcome) {
            return Ok(Some(after));
        }
        if let (Sent::Gone, Way::Push(to)) = (sent, &way) {
            // Somebody who was removed meanwhile has no subscriptions left, either.
            match self.people.unsubscribe(&person.key(), &to.id()).await {
                Ok(_) | Err(callfold_people::PeopleError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.told.put(&key, outcome.to_owned().into()).await?;
        Ok(None)
    }
}
