//! The buckets together, and what may be done with them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callfold_kit::Secret;
use callfold_kit::bus::{Bus, BusError, Kv, KvChange};
use callfold_kit::chain::chain;
use callfold_kit::lifecycle::Lifecycle;
use callfold_schema::UnixMillis;
use callfold_schema::subject::{BUCKET_KEYS, BUCKET_LINKS, BUCKET_SESSIONS, BUCKET_TOKENS, BUCKET_USERS};

use crate::bucket::{Bucket, Changed};
use crate::error::{PeopleError, Refusal};
use crate::hashing::{self, Hashing};
use crate::link::{LINK_MS, Link};
use crate::person::{
    NewPerson, PEOPLE_MAX, Person, PushSubscription, Role, SUBSCRIPTIONS_MAX, checked_email, checked_name,
    key_of_name,
};
use crate::session::{AGENT_CHARS_MAX, Opened, SESSION_SECONDS, SESSIONS_PER_PERSON, Session, Via};
use crate::token::{Scope, TOKENS_MAX, Token, TokenHash, new_secret};

/// How long it is believed whether there is an owner, in milliseconds.
const OWNER_FRESH_MS: u64 = 10_000;
/// The keys of the bucket `keys`.
const PUSH_KEY: &str = "push";
const PUSH_PUBLIC: &str = "push_public";
const MAIL: &str = "mail";
/// How long after a broken watch the next one begins.
const WATCH_AGAIN: Duration = Duration::from_secs(1);
/// How exactly the last use of a token is kept, in milliseconds: one write an hour.
const USED_EVERY_MS: i64 = 60 * 60 * 1_000;

/// Who works here.
pub struct People {
    users: Bucket<Person>,
    sessions: Bucket<Session>,
    links: Bucket<Link>,
    tokens: Bucket<Token>,
    hashing: Hashing,
    keys: Kv,
    /// Whether there is an owner, and when that was found out.
    owner: Mutex<Option<(bool, UnixMillis)>>,
}

impl People {
    /// Opens the buckets, creating those that are missing.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let seconds = |seconds: i64| Some(Duration::from_secs(seconds.unsigned_abs()));
        // Boxed: each is large, and made once.
        let open = |bucket, ttl| Box::pin(bus.kv(bucket, ttl));
        Ok(Self {
            users: Bucket::new(open(BUCKET_USERS, None).await?),
            sessions: Bucket::new(open(BUCKET_SESSIONS, seconds(SESSION_SECONDS)).await?),
            links: Bucket::new(open(BUCKET_LINKS, seconds(LINK_MS / 1_000)).await?),
            tokens: Bucket::new(open(BUCKET_TOKENS, None).await?),
            hashing: Hashing::default(),
            keys: open(BUCKET_KEYS, None).await?,
            owner: Mutex::new(None),
        })
    }

    /// Hears of what other processes change, so that an ended session and a lesser role hold everywhere at once.
    pub fn watch(self: &Arc<Self>, lifecycle: &Lifecycle) {
        /// One of the buckets, and what hears of its changes (`None`: anything may have changed).
        type Part = (fn(&People) -> &Kv, fn(&People, Option<&KvChange>));
        let parts: [(&str, Part); 3] = [
            (
                "users",
                (
                    |people| people.users.kv(),
                    |people, change| {
                        people.forget_owner();
                        people.users.heard(change);
                    },
                ),
            ),
            (
                "sessions",
                (
                    |people| people.sessions.kv(),
                    |people, change| {
                        people.sessions.heard(change);
                    },
                ),
            ),
            (
                "tokens",
                (
                    |people| people.tokens.kv(),
                    |people, change| {
                        people.tokens.heard(change);
                    },
                ),
            ),
        ];
        for (name, (bucket, heard)) in parts {
            let people = Arc::clone(self);
            let soft = lifecycle.soft();
            lifecycle.spawn(format!("watch_{name}"), async move {
                loop {
                    // Safe to cancel: nothing is kept of a change but that it was.
                    let broken = tokio::select! {
                        () = soft.cancelled() => return Ok(()),
                        broken = follow(&people, bucket, heard) => broken,
                    };
                    heard(&people, None);
                    if let Err(error) = broken {
                        tracing::debug!(error = %chain(&error), "changes of {name} are not heard; asked again");
                    }
                    tokio::select! {
                        () = soft.cancelled() => return Ok(()),
                        () = tokio::time::sleep(WATCH_AGAIN) => {}
                    }
                }
            });
        }
    }

    // People

    /// Everybody, by name.
    pub async fn everybody(&self) -> Result<Vec<Person>, PeopleError> {
        let mut everybody: Vec<Person> = self
            .users
            .all()
            .await?
            .into_iter()
            .map(|(_, person)| person)
            .collect();
        everybody.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(everybody)
    }

    /// Somebody, by the key of the name.
    pub async fn person(&self, key: &str, now: UnixMillis) -> Result<Option<Person>, PeopleError> {
        self.users.get(key, now).await
    }

    /// Whether there is an owner. Until there is one, whoever looks after the installation is.
    pub async fn has_owner(&self, now: UnixMillis) -> Result<bool, PeopleError> {
        let known = *self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((has, at)) = known
            && now.0.abs_diff(at.0) < OWNER_FRESH_MS
        {
            return Ok(has);
        }
        let has = self
            .everybody()
            .await?
            .iter()
            .any(|person| person.role == Role::Owner);
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some((has, now));
        Ok(has)
    }

    /// Adds somebody. The first one has to be an owner: nobody else could add a second one.
    pub async fn add(&self, new: NewPerson, now: UnixMillis) -> Result<Person, PeopleError> {
        let name = checked_name(&new.name)?;
        if let Some(password) = &new.password {
            hashing::check(password.expose(), &name)?;
        }
        let everybody = self.everybody().await?;
        if everybody.len() >= PEOPLE_MAX {
            return Err(Refusal::TooMany.into());
        }
        let key = key_of_name(&name);
        if everybody.iter().any(|person| person.key() == key) {
            return Err(Refusal::NameTaken.into());
        }
        if new.role != Role::Owner && !everybody.iter().any(|person| person.role == Role::Owner) {
            return Err(Refusal::FirstIsOwner.into());
        }
        let password = match new.password {
            Some(password) => Some(self.hashing.hash(password).await?),
            None => None,
        };
        let person = Person {
            name,
            role: new.role,
            password,
            email: None,
            notify_email: false,
            notify_push: false,
            language: None,
            subscriptions: Vec::new(),
            created_at: now,
        };
        if !self.users.create(&key, &person, now).await? {
            return Err(Refusal::NameTaken.into());
        }
        self.forget_owner();
        Ok(person)
    }

    /// Gives somebody another role.
    pub async fn set_role(&self, name: &str, role: Role) -> Result<Person, PeopleError> {
        if role != Role::Owner {
            self.not_the_last_owner(name).await?;
        }
        self.change(&key_of_name(name), |person| {
            person.role = role;
            Ok(())
        })
        .await
    }

    /// Gives somebody another password, or none: then they sign in by links. Ends their sessions but `keep`.
    pub async fn set_password(
        &self,
        name: &str,
        password: Option<Secret>,
        keep: Option<&TokenHash>,
    ) -> Result<Person, PeopleError> {
        let key = key_of_name(name);
        let hash = match password {
            Some(password) => {
                hashing::check(password.expose(), &checked_name(name)?)?;
                Some(self.hashing.hash(password).await?)
            }
            None => None,
        };
        let person = self
            .change(&key, |person| {
                person.password.clone_from(&hash);
                Ok(())
            })
            .await?;
        self.end_all(&key, keep).await?;
        Ok(person)
    }

    /// Whether it is this person's password. Takes as long for a person without one.
    pub async fn is_password_of(
        &self,
        person: Option<&Person>,
        password: Secret,
    ) -> Result<bool, PeopleError> {
        let hash = person.and_then(|person| person.password.clone());
        self.hashing.verify(password, hash).await
    }

    /// What somebody chose for themselves.
    pub async fn set_choices(
        &self,
        key: &str,
        email: &str,
        notify_email: bool,
        notify_push: bool,
        language: Option<String>,
    ) -> Result<Person, PeopleError> {
        let email = checked_email(email)?;
        if notify_email && email.is_none() {
            return Err(Refusal::Email.into());
        }
        self.change(key, |person| {
            person.email.clone_from(&email);
            person.notify_email = notify_email;
            person.notify_push = notify_push;
            person.language.clone_from(&language);
            Ok(())
        })
        .await
    }

    /// A browser of theirs is to be told; the oldest makes room.
    pub async fn subscribe(&self, key: &str, subscription: PushSubscription) -> Result<Person, PeopleError> {
        self.change(key, |person| {
            person
                .subscriptions
                .retain(|known| known.endpoint != subscription.endpoint);
            while person.subscriptions.len() >= SUBSCRIPTIONS_MAX {
                person.subscriptions.remove(0);
            }
            person.subscriptions.push(subscription.clone());
            person.notify_push = true;
            Ok(())
        })
        .await
    }

    /// A browser is no longer to be told, or is gone.
    pub async fn unsubscribe(&self, key: &str, id: &str) -> Result<Person, PeopleError> {
        self.change(key, |person| {
            person.subscriptions.retain(|known| known.id() != id);
            Ok(())
        })
        .await
    }

    /// Removes somebody and ends their sessions.
    pub async fn remove(&self, name: &str) -> Result<(), PeopleError> {
        self.not_the_last_owner(name).await?;
        let key = key_of_name(name);
        if self
            .users
            .kv()
            .get(&key)
            .await
            .map_err(PeopleError::Bucket)?
            .is_none()
        {
            return Err(Refusal::Nobody.into());
        }
        self.users.remove(&key).await?;
        self.forget_owner();
        self.end_all(&key, None).await
    }

    async fn not_the_last_owner(&self, name: &str) -> Result<(), PeopleError> {
        let key = key_of_name(name);
        let everybody = self.everybody().await?;
        let Some(person) = everybody.iter().find(|person| person.key() == key) else {
            return Err(Refusal::Nobody.into());
        };
        let owners = everybody
            .iter()
            .filter(|person| person.role == Role::Owner)
            .count();
        if person.role == Role::Owner && owners == 1 {
            return Err(Refusal::LastOwner.into());
        }
        Ok(())
    }

    async fn change(
        &self,
        key: &str,
        change: impl Fn(&mut Person) -> Result<(), PeopleError>,
    ) -> Result<Person, PeopleError> {
        let changed = self.users.change(key, change).await?;
        self.forget_owner();
        match changed {
            Changed::Now(person) => Ok(person),
            Changed::Missing => Err(Refusal::Nobody.into()),
        }
    }

    fn forget_owner(&self) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    // Links

    /// Makes a link for somebody (the key of the name), or for whoever looks after the installation. A secret.
    pub async fn issue_link(&self, person: Option<String>, now: UnixMillis) -> Result<Secret, PeopleError> {
        let token = new_secret();
        let link = Link {
            person,
            expires_at: UnixMillis(now.0.saturating_add(LINK_MS)),
            used: false,
        };
        self.links
            .create(&TokenHash::of(token.expose()).hex(), &link, now)
            .await?;
        Ok(token)
    }

    /// The link behind a token, if it is still good.
    pub async fn link(&self, hash: &TokenHash, now: UnixMillis) -> Result<Option<Link>, PeopleError> {
        let found = self
            .links
            .kv()
            .get(&hash.hex())
            .await
            .map_err(PeopleError::Bucket)?;
        let link = found.and_then(|bytes| serde_json::from_slice::<Link>(&bytes).ok());
        Ok(link.filter(|link| !link.used && now < link.expires_at))
    }

    /// Uses a link up: of two at once, in whichever processes, one gets it.
    pub async fn take_link(&self, hash: &TokenHash, now: UnixMillis) -> Result<Option<Link>, PeopleError> {
        let hex = hash.hex();
        let Some((bytes, revision)) = self.links.kv().entry(&hex).await.map_err(PeopleError::Bucket)? else {
            return Ok(None);
        };
        let Ok(link) = serde_json::from_slice::<Link>(&bytes) else {
            return Ok(None);
        };
        if link.used || now >= link.expires_at {
            return Ok(None);
        }
        let used = serde_json::to_vec(&Link {
            used: true,
            ..link.clone()
        })
        .map_err(PeopleError::Encode)?;
        let is_ours = self
            .links
            .kv()
            .update(&hex, used.into(), revision)
            .await
            .map_err(PeopleError::Bucket)?;
        Ok(is_ours.map(|_| link))
    }

    // Sessions

    /// Opens a session for somebody; the oldest of too many ends.
    pub async fn open_session(
        &self,
        person: Option<&Person>,
        via: Via,
        address: Option<IpAddr>,
        agent: Option<&str>,
        now: UnixMillis,
    ) -> Result<Opened, PeopleError> {
        let key = person.map(Person::key);
        let token = new_secret();
        let session = Session {
            person: key.clone(),
            created_at: now,
            expires_at: UnixMillis(now.0.saturating_add(SESSION_SECONDS * 1_000)),
            via,
            address: address.map(|address| address.to_canonical().to_string()),
            agent: agent.map(|agent| {
                agent
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(AGENT_CHARS_MAX)
                    .collect()
            }),
        };
        let hash = TokenHash::of(token.expose());
        let mut open = self.sessions_of(key.as_deref(), now).await?;
        self.sessions.create(&hash.hex(), &session, now).await?;
        open.sort_by_key(|(_, session)| session.created_at);
        let beyond = (open.len() + 1).saturating_sub(SESSIONS_PER_PERSON);
        for (id, _) in open.iter().take(beyond) {
            self.sessions.remove(id).await?;
        }
        Ok(Opened { token, session })
    }

    /// The session behind a token, with the person as they are now. `None`: there is none, or nobody (any more).
    pub async fn session(
        &self,
        hash: &TokenHash,
        now: UnixMillis,
    ) -> Result<Option<(Session, Option<Person>)>, PeopleError> {
        let session = self.sessions.get(&hash.hex(), now).await?;
        let Some(session) = session.filter(|session| now < session.expires_at) else {
            return Ok(None);
        };
        let Some(key) = &session.person else {
            return Ok(Some((session, None)));
        };
        let person = self.users.get(key, now).await?;
        // Somebody of the same name who was added later is somebody else.
        Ok(person
            .filter(|person| person.created_at <= session.created_at)
            .map(|person| (session, Some(person))))
    }

    /// Open sessions with their ids, the newest first: everybody's.
    pub async fn all_sessions(&self, now: UnixMillis) -> Result<Vec<(String, Session)>, PeopleError> {
        let mut open = self.sessions.all().await?;
        open.retain(|(_, session)| now < session.expires_at);
        open.sort_by_key(|(_, session)| std::cmp::Reverse(session.created_at));
        Ok(open)
    }

    /// Open sessions of one person (`None`: those that belong to nobody by name), the newest first.
    pub async fn sessions_of(
        &self,
        person: Option<&str>,
        now: UnixMillis,
    ) -> Result<Vec<(String, Session)>, PeopleError> {
        let mut open = self.all_sessions(now).await?;
        open.retain(|(_, session)| session.person.as_deref() == person);
        Ok(open)
    }

    /// Ends a session by its id, here and everywhere.
    pub async fn end_session(&self, id: &str) -> Result<(), PeopleError> {
        self.sessions.remove(id).await
    }

    /// Ends the sessions of a person but `keep`.
    async fn end_all(&self, person: &str, keep: Option<&TokenHash>) -> Result<(), PeopleError> {
        let keep = keep.map(TokenHash::hex);
        // Also those that have ended by their time: their entries are still there.
        for (id, session) in self.sessions.all().await? {
            if session.person.as_deref() == Some(person) && Some(&id) != keep.as_ref() {
                self.sessions.remove(&id).await?;
            }
        }
        Ok(())
    }

    // The key of push messages

    /// The key pair that push messages are signed with (PKCS#8), made once for the installation by `make`: of two processes
    /// that make one at the same time both use the first.
    pub async fn push_key<E>(
        &self,
        make: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Option<Vec<u8>>, PeopleError> {
        let read = async || {
            let found = self.keys.get(PUSH_KEY).await.map_err(PeopleError::Bucket)?;
            Ok::<_, PeopleError>(found.map(|key| key.to_vec()))
        };
        if let Some(key) = read().await? {
            return Ok(Some(key));
        }
        let Ok(key) = make() else { return Ok(None) };
        self.keys
            .create(PUSH_KEY, key.into())
            .await
            .map_err(PeopleError::Bucket)?;
        read().await
    }

    /// The public half of that key, base64url, once a notifier has made it known: what a browser signs up with.
    pub async fn push_public_key(&self) -> Result<Option<String>, PeopleError> {
        let found = self.keys.get(PUSH_PUBLIC).await.map_err(PeopleError::Bucket)?;
        Ok(found.and_then(|key| String::from_utf8(key.to_vec()).ok()))
    }

    /// Whether mails can be sent, as far as a notifier has made it known.
    pub async fn has_mail(&self) -> Result<bool, PeopleError> {
        let found = self.keys.get(MAIL).await.map_err(PeopleError::Bucket)?;
        Ok(found.as_deref() == Some(b"yes"))
    }

    /// A notifier makes known how people can be told: the public half of the key, and whether mails can be sent.
    pub async fn set_ways(&self, push_public: &str, has_mail: bool) -> Result<(), PeopleError> {
        let has_mail = if has_mail { "yes" } else { "no" };
        for (key, value) in [(PUSH_PUBLIC, push_public), (MAIL, has_mail)] {
            self.keys
                .put(key, value.to_owned().into())
                .await
                .map_err(PeopleError::Bucket)?;
        }
        Ok(())
    }

    // Tokens of programs

    /// Makes an API token. A secret: it is told once and never again.
    pub async fn add_token(&self, name: &str, scope: Scope, now: UnixMillis) -> Result<Secret, PeopleError> {
        let name = checked_name(name).map_err(|_| Refusal::TokenName)?;
        let all = self.tokens.all().await?;
        if all.len() >= TOKENS_MAX {
            return Err(Refusal::TooManyTokens.into());
        }
        if all.iter().any(|(_, token)| token.name == name) {
            return Err(Refusal::TokenName.into());
        }
        let secret = new_secret();
        let token = Token {
            name,
            scope,
            created_at: now,
            used_at: None,
        };
        self.tokens
            .create(&TokenHash::of(secret.expose()).hex(), &token, now)
            .await?;
        Ok(secret)
    }

    /// All API tokens, by name.
    pub async fn tokens(&self) -> Result<Vec<Token>, PeopleError> {
        let mut tokens: Vec<Token> = self
            .tokens
            .all()
            .await?
            .into_iter()
            .map(|(_, token)| token)
            .collect();
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tokens)
    }

    /// Ends an API token; `false` when there is none of that name.
    pub async fn revoke_token(&self, name: &str) -> Result<bool, PeopleError> {
        let all = self.tokens.all().await?;
        let Some((key, _)) = all.into_iter().find(|(_, token)| token.name == name.trim()) else {
            return Ok(false);
        };
        self.tokens.remove(&key).await?;
        Ok(true)
    }

    /// The API token behind a hash. Its use is noted once an hour.
    pub async fn token(&self, hash: &TokenHash, now: UnixMillis) -> Result<Option<Token>, PeopleError> {
        let hex = hash.hex();
        let Some(token) = self.tokens.get(&hex, now).await? else {
            return Ok(None);
        };
        let hour = UnixMillis(now.0 - now.0.rem_euclid(USED_EVERY_MS));
        if token.used_at.is_none_or(|used| used < hour) {
            let noted = self.tokens.change(&hex, |token| {
                token.used_at = Some(hour);
                Ok(())
            });
            match noted.await {
                // Revoked this very moment.
                Ok(Changed::Missing) => return Ok(None),
                Ok(Changed::Now(_)) => {}
                // A note, and no reason to refuse.
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "the use of a token could not be noted")
                }
            }
        }
        Ok(Some(token))
    }
}

async fn follow(
    people: &People,
    bucket: fn(&People) -> &Kv,
    heard: fn(&People, Option<&KvChange>),
) -> Result<(), callfold_kit::bus::ReadError> {
    use futures::StreamExt;
    let mut changes = std::pin::pin!(bucket(people).changes().await?);
    // What changed before the watch began.
    heard(people, None);
    while let Some(change) = changes.next().await {
        heard(people, Some(&change?));
    }
    Ok(())
}
