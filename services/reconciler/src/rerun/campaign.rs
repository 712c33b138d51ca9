//! A campaign: one re-run of many calls, kept in the bucket `campaigns`.
//!
//! - `<id>`: what is asked for and what a person wants of it (go on, pause, stop). Written by people's tools.
//! - `<id>_progress`: how far it is. Written by one runner at a time, which holds the campaign while it does.
//! - `<id>_<part>`: whom it is about, [`PART_TARGETS`] calls each. Written before the campaign itself and never again.
//!
//! All calls of a campaign share one run number, minted when it is made. So the request of a call has one subject, and asking
//! again after a kill changes nothing.

use callfold_kit::Bus;
use callfold_kit::bus::{BusError, Kv, ReadError};
use callfold_schema::event::{ReprocessRequested, RerunInput};
use callfold_schema::subject::BUCKET_CAMPAIGNS;
use callfold_schema::{CallSid, Run, Stage, UnixMillis};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How many calls one part names.
pub const PART_TARGETS: usize = 500;
/// Most calls of one campaign.
pub const TARGETS_MAX: usize = 1_000_000;
/// How many campaigns are kept; the oldest ones that are over are forgotten when new ones come.
pub const KEPT_MAX: usize = 200;
/// How long a runner has a campaign after it last noted how far it is, in milliseconds.
const HOLD_MS: i64 = 10_000;
/// The fastest rate, in calls a second.
pub const RATE_MAX: f64 = 1_000.0;

/// Why a campaign could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// The bucket could not be opened.
    #[error("could not open the campaigns")]
    Open(#[source] BusError),
    /// The bucket could not be read or written.
    #[error("could not read or write the campaigns")]
    Bucket(#[source] ReadError),
    /// An entry has another form.
    #[error("an entry of the campaigns does not read: a newer release may have written it")]
    Entry(#[source] serde_json::Error),
    /// Two were made in the same millisecond.
    #[error("there is such a campaign already")]
    Taken,
}

/// What a person wants of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Go on.
    Running,
    /// Ask for no further calls until told otherwise.
    Paused,
    /// Ask for no further calls, ever. What was asked for goes on.
    Aborted,
}

/// A campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    /// `c` and the moment it was made, in milliseconds.
    pub id: String,
    /// The run of all its calls.
    pub run: Run,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Who made it.
    pub by: String,
    /// Why.
    pub why: Option<String>,
    /// The first stage that works again.
    pub from: Stage,
    /// Its engine; `None`: as the settings say.
    pub engine: Option<String>,
    /// The engine's model; `None`: as the settings say.
    pub model: Option<String>,
    /// What the model that summarises is told besides.
    pub prompt: Option<String>,
    /// Whether results are held for comparison.
    pub hold: bool,
    /// How calls were selected, in words.
    pub selection: String,
    /// Calls a second.
    pub rate: f64,
    /// How many calls.
    pub total: u64,
    /// What a person wants of it.
    pub wish: Wish,
}

/// How far a campaign is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Calls that were asked for, from the first one on.
    pub requested: u64,
    /// Whether all were.
    pub done: bool,
    /// Who asks: another one leaves the campaign alone until `held_until`.
    #[serde(default)]
    pub runner: u64,
    /// Until when it is that one's. In the past: nobody's.
    #[serde(default)]
    pub held_until: UnixMillis,
}

/// The right to go on with a campaign, renewed with each note of how far it is.
#[derive(Debug)]
pub struct Hold {
    revision: u64,
    runner: u64,
}

/// One call of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The call.
    pub call_sid: CallSid,
    /// What is run again.
    pub inputs: Vec<RerunInput>,
}

impl Campaign {
    /// The request for one of its calls.
    #[must_use]
    pub fn request(&self, target: Target) -> ReprocessRequested {
        ReprocessRequested {
            run: self.run,
            from: self.from,
            by: self.by.clone(),
            why: self.why.clone(),
            engine: self.engine.clone(),
            model: self.model.clone(),
            prompt: self.prompt.clone(),
            campaign: Some(self.id.clone()),
            hold: self.hold,
            inputs: target.inputs,
        }
    }

    /// `running`, `paused`, `aborted` or `done`.
    #[must_use]
    pub fn state(&self, progress: &Progress) -> &'static str {
        match (progress.done, self.wish) {
            (true, _) => "done",
            (false, Wish::Running) => "running",
            (false, Wish::Paused) => "paused",
            (false, Wish::Aborted) => "aborted",
        }
    }
}

/// All campaigns.
#[derive(Clone)]
pub struct Campaigns {
    bucket: Kv,
}

impl Campaigns {
    /// Opens the bucket.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn open(bus: &Bus) -> Result<Self, CampaignError> {
        let bucket = bus
            .kv(BUCKET_CAMPAIGNS, None)
            .await
            .map_err(CampaignError::Open)?;
        Ok(Self { bucket })
    }

    /// Keeps a new campaign, and forgets the oldest of more than [`KEPT_MAX`]. Its calls are there before it is, so that a
    /// runner never sees half of them.
    ///
    /// # Errors
    /// See [`CampaignError`].
    pub async fn create(&self, campaign: &Campaign, targets: &[Target]) -> Result<(), CampaignError> {
        for (part, targets) in targets.chunks(PART_TARGETS).enumerate() {
            self.put(&part_key(&campaign.id, part), &targets).await?;
        }
        let value = serde_json::to_vec(campaign).map_err(CampaignError::Entry)?;
        match self.bucket.create(&campaign.id, value.into()).await {
            Ok(true) => self.forget_old().await,
            Ok(false) => Err(CampaignError::Taken),
            Err(error) => Err(CampaignError::Bucket(error)),
        }
    }

    /// A campaign.
    ///
    /// # Errors
    /// See [`CampaignError`].
    pub async fn get(&self, id: &str) -> Result<Option<Campaign>, CampaignError> {
        // An id is a key of its own: parts and progress are none.
        if id.contains('_') {
            return Ok(None);
        }
        self.read(id).await
    }

    /// All of them, the oldest first.
    ///
    /// # Errors
    /// See [`CampaignError`].
    pub async fn list(&self) -> Result<Vec<Campaign>, CampaignError> {
        let keys = self.bucket.keys().await.map_err(CampaignError::Bucket)?;
        let mut campaigns = Vec::new();
        for key in keys.iter().filter(|key| !key.contains('_')) {
            campaigns.extend(self.read(key).await?);
        }
        Ok(campaigns)
    }

    /// Says what a person wants of it; `false` when there is no such campaign.
    ///
    /// # Errors
    /// See [`CampaignError`].
    pub async fn wish(&self, id: &str, wish: Wish) -> Result<bool, CampaignError> {
        let Some(campaign) = self.get(id).await? else {
            return Ok(false);
        };
        self.put(id, &Campaign { wish, ..campaign }).await?;
        Ok(true)
    }

    /// How far it is.
    ///
    /// # Errors
    /// See [`CampaignError`].
    pub async fn progress(&self, id: &str) -> Result<Progress, CampaignError> {
        Ok(self.read(&progress_key(id)).await?.unwrap_or_default())
    }

    /// Takes a campaign on for 10 s; `None`: another runner has it, or it is done.
    ///
    /// # Errors
    /// See [`CampaignError`].
    pub async fn take(
        &self,
        id: &str,
        runner: u64,
        now: UnixMillis,
    ) -> Result<Option<(Progress, Hold)>, CampaignError> {
        let entry = self.bucket.entry(&progress_key(id)).await;
        let (progress, revision) = match entry.map_err(CampaignError::Bucket)? {
            Some((value, revision)) => {
                let progress: Progress = serde_json::from_slice(&value).map_err(CampaignError::Entry)?;
                (progress, revision)
            }
            None => (Progress::default(), 0),
        };
        if progress.done || (progress.runner != runner && progress.held_until > now) {
            return Ok(None);
        }
        let mut hold = Hold { revision, runner };
        let is_taken = self.note(id, &mut hold, &progress, now).await?;
        Ok(is_taken.then_some((progress, hold)))
    }

    /// Says how far it is, and holds it for another 10 s; `false`: another runner has it by now.
    ///
    /// # Errors
    /// See [`CampaignError`].
    pub async fn note(
        &self,
        id: &str,
        hold: &mut Hold,
        progress: &Progress,
        now: UnixMillis,
    ) -> Result<bool, CampaignError> {
        self.write(id, hold, progress, UnixMillis(now.0.saturating_add(HOLD_MS)))
            .await
    }

    /// As [`Campaigns::note`], and lets it go.
    ///
    /// # Errors
    /// See [`CampaignError`].
    pub async fn let_go(&self, id: &str, mut hold: Hold, progress: &Progress) -> Result<(), CampaignError> {
        // Where another one has it, that one knows better.
        self.write(id, &mut hold, progress, UnixMillis::default())
            .await
            .map(drop)
    }

    async fn write(
        &self,
        id: &str,
        hold: &mut Hold,
        progress: &Progress,
        held_until: UnixMillis,
    ) -> Result<bool, CampaignError> {
        let progress = Progress {
            runner: hold.runner,
            held_until,
            ..*progress
        };
        let value = serde_json::to_vec(&progress).map_err(CampaignError::Entry)?;
        let written = self
            .bucket
            .update(&progress_key(id), value.into(), hold.revision)
            .await
            .map_err(CampaignError::Bucket)?;
        if let Some(revision) = written {
            hold.revision = revision;
        }
        Ok(written.is_some())
    }

    /// Forgets the oldest campaigns that are over, so that [`KEPT_MAX`] stay.
    async fn forget_old(&self) -> Result<(), CampaignError> {
        let campaigns = self.list().await?;
        let mut surplus = campaigns.len().saturating_sub(KEPT_MAX);
        for campaign in campaigns {
            if surplus == 0 {
                break;
            }
            if campaign.wish != Wish::Aborted && !self.progress(&campaign.id).await?.done {
                continue;
            }
            surplus -= 1;
            // The campaign itself last: a half of it is forgotten at the next time.
            let parts = usize::try_from(campaign.total)
                .unwrap_or(usize::MAX)
                .div_ceil(PART_TARGETS);
            let keys = (0..parts).map(|part| part_key(&campaign.id, part));
            for key in keys.chain([progress_key(&campaign.id), campaign.id.clone()]) {
                self.bucket.remove(&key).await.map_err(CampaignError::Bucket)?;
            }
        }
        Ok(())
    }

    /// The calls of one part, from 0.
    ///
    /// # Errors
    /// See [`CampaignError`].
    pub async fn part(&self, id: &str, part: usize) -> Result<Vec<Target>, CampaignError> {
        Ok(self.read(&part_key(id, part)).await?.unwrap_or_default())
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, CampaignError> {
        let value = self.bucket.get(key).await.map_err(CampaignError::Bucket)?;
        value
            .map(|value| serde_json::from_slice(&value).map_err(CampaignError::Entry))
            .transpose()
    }

    async fn put<T: Serialize>(&self, key: &str, value: &T) -> Result<(), CampaignError> {
        let value = serde_json::to_vec(value).map_err(CampaignError::Entry)?;
        self.bucket
            .put(key, value.into())
            .await
            .map_err(CampaignError::Bucket)
    }
}

fn part_key(id: &str, part: usize) -> String {
    format!("{id}_{part:06}")
}

fn progress_key(id: &str) -> String {
    format!("{id}_progress")
}
