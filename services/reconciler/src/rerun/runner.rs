//! Asks for the calls of campaigns, one campaign at a time, the oldest first, at its rate.
//!
//! **A kill** loses the progress of a second at most: those calls are asked for again under the same keys, which changes
//! nothing. A campaign has one runner at a time, for its rate; the next one takes it on 10 s after the last one's note.

use std::time::Duration;

use callfold_kit::bus::PublishError;
use callfold_kit::lifecycle::BoxError;
use callfold_kit::stage::StageDeps;
use callfold_kit::{Bus, chain};
use callfold_schema::{Key, NewEvent};
use rand::RngExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::campaign::{Campaign, CampaignError, Campaigns, Hold, PART_TARGETS, Progress, RATE_MAX, Wish};

/// How often it is looked what people want, and noted how far a campaign is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a publish may take.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);

/// Why a campaign did not go on.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Campaign(#[from] CampaignError),
    #[error("could not ask for a call of a campaign")]
    Publish(#[source] PublishError),
}

/// Runs campaigns until the soft stop.
///
/// # Errors
/// None; the broker's are logged, and it is tried again.
pub async fn run_campaigns(bus: Bus, deps: StageDeps) -> Result<(), BoxError> {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut campaigns: Option<Campaigns> = None;
    let runner: u64 = rand::rng().random();
    loop {
        // Both arms may be dropped without harm.
        tokio::select! {
            () = deps.soft.cancelled() => return Ok(()),
            _ = look.tick() => {}
        }
        let ran = async {
            let opened = match &campaigns {
                Some(opened) => opened.clone(),
                None => Campaigns::open(&bus).await?,
            };
            campaigns = Some(opened.clone());
            for campaign in opened.list().await? {
                if campaign.wish != Wish::Running {
                    continue;
                }
                if let Some((progress, hold)) = opened.take(&campaign.id, runner, deps.clock.now()).await? {
                    advance(&bus, &deps, &opened, &campaign, progress, hold).await?;
                    break;
                }
            }
            Ok::<(), RunError>(())
        }
        .await;
        match ran {
            Ok(()) => deps.health.ready(),
            Err(error) => {
                campaigns = None;
                tracing::warn!(error = %chain(&error), "a campaign goes on later");
            }
        }
    }
}

/// Asks for calls until the campaign is done, somebody wants otherwise, or the soft stop.
async fn advance(
    bus: &Bus,
    deps: &StageDeps,
    campaigns: &Campaigns,
    campaign: &Campaign,
    mut progress: Progress,
    mut hold: Hold,
) -> Result<(), RunError> {
    let id = &campaign.id;
    let rate = if campaign.rate.is_finite() {
        campaign.rate.clamp(0.001, RATE_MAX)
    } else {
        1.0
    };
    let mut pace = interval(Duration::from_secs_f64(1.0 / rate));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = Instant::now();
    let mut part = (usize::MAX, Vec::new());
    loop {
        let cursor = usize::try_from(progress.requested).unwrap_or(usize::MAX);
        if part.0 != cursor / PART_TARGETS {
            part = (
                cursor / PART_TARGETS,
                campaigns.part(id, cursor / PART_TARGETS).await?,
            );
        }
        let target = part.1.get(cursor % PART_TARGETS).cloned();
        let Some(target) = target.filter(|_| progress.requested < campaign.total) else {
            progress.done = true;
            campaigns.let_go(id, hold, &progress).await?;
            tracing::info!(campaign = %id, calls = progress.requested, "all calls of campaign {id} are asked for");
            return Ok(());
        };
        // Both arms may be dropped without harm.
        tokio::select! {
            () = deps.soft.cancelled() => {
                campaigns.let_go(id, hold, &progress).await?;
                return Ok(());
            }
            _ = pace.tick() => {}
        }
        let call_sid = target.call_sid.clone();
        let event = NewEvent::new(
            call_sid.clone(),
            Key::run(campaign.run),
            deps.clock.now(),
            campaign.request(target),
        );
        match bus.publish(&event, PUBLISH_WAIT).await {
            Ok(_) => {}
            Err(error) if error.is_transient() => {
                campaigns.let_go(id, hold, &progress).await?;
                return Err(RunError::Publish(error));
            }
            Err(error) => {
                tracing::error!(call.id = %call_sid, error = %chain(&error), "a call of campaign {id} is passed over");
            }
        }
        progress.requested += 1;
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            if !campaigns.note(id, &mut hold, &progress, deps.clock.now()).await? {
                return Ok(());
            }
            let now = campaigns.get(id).await?;
            if now.is_none_or(|now| now.wish != Wish::Running) {
                campaigns.let_go(id, hold, &progress).await?;
                return Ok(());
            }
        }
    }
}
