//! `callfold reprocess`: campaigns of re-runs.

use std::process::ExitCode;

use anyhow::Context;
use callfold_kit::{Clock, SystemClock};
use callfold_lead::{Lead, StageState, Status};
use callfold_reconciler::rerun::campaign::{
    Campaign, CampaignError, Campaigns, Progress, RATE_MAX, TARGETS_MAX, Target, Wish,
};
use callfold_schema::{Run, Stage};
use callfold_store::LeadFilter;

use super::leads::Table;
use super::moment;
use super::{Access, prepare};
use crate::cli::{CampaignArgs, ReprocessArgs, ReprocessCommand};
use crate::up::say;

/// Starts a campaign, or does something with those that are there.
pub async fn run(args: ReprocessArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        None => Box::pin(start(&args)).await,
        Some(ReprocessCommand::List(list)) => {
            let access = Access::open(&prepare(&list.data.data_dir)?).await?;
            let listed = print_all(&access).await;
            access.close().await;
            listed
        }
        Some(ReprocessCommand::Show(one)) => with(one, None).await,
        Some(ReprocessCommand::Pause(one)) => with(one, Some(Wish::Paused)).await,
        Some(ReprocessCommand::Resume(one)) => with(one, Some(Wish::Running)).await,
        Some(ReprocessCommand::Abort(one)) => with(one, Some(Wish::Aborted)).await,
    }
}

async fn print_all(access: &Access) -> anyhow::Result<ExitCode> {
    let campaigns = Campaigns::open(&access.bus).await?;
    let all = campaigns.list().await?;
    if all.is_empty() {
        say("there are no campaigns");
    }
    for campaign in all {
        let progress = campaigns.progress(&campaign.id).await?;
        say(&line(&campaign, &progress));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(campaign: &Campaign, progress: &Progress) -> String {
    format!(
        "{}  {:<7}  {} of {} calls asked for, from {} on{}{}; {}",
        campaign.id,
        campaign.state(progress),
        progress.requested,
        campaign.total,
        campaign.from,
        campaign
            .engine
            .as_ref()
            .map_or(String::new(), |engine| format!(" with {engine}")),
        if campaign.hold { ", held" } else { "" },
        campaign.selection,
    )
}

async fn with(args: &CampaignArgs, wish: Option<Wish>) -> anyhow::Result<ExitCode> {
    let access = Access::open(&prepare(&args.data.data_dir)?).await?;
    let told = async {
        let campaigns = Campaigns::open(&access.bus).await?;
        if let Some(wish) = wish {
            let before = campaigns.get(&args.id).await?;
            anyhow::ensure!(
                before.is_none_or(|before| before.wish != Wish::Aborted || wish == Wish::Aborted),
                "the campaign was aborted: start another one"
            );
            campaigns.wish(&args.id, wish).await?;
        }
        let Some(campaign) = campaigns.get(&args.id).await? else {
            say("there is no such campaign; `callfold reprocess list` prints them");
            return Ok(ExitCode::FAILURE);
        };
        let progress = campaigns.progress(&args.id).await?;
        say(&line(&campaign, &progress));
        say(&format!(
            "run {}, made {} by {}, {} calls a second at most",
            campaign.run, campaign.created_at, campaign.by, campaign.rate
        ));
        if let Some(why) = &campaign.why {
            say(&format!("why: {why}"));
        }
        Ok(ExitCode::SUCCESS)
    }
    .await;
    access.close().await;
    told
}

async fn start(args: &ReprocessArgs) -> anyhow::Result<ExitCode> {
    let from = args
        .from
        .as_deref()
        .and_then(Stage::from_token)
        .context("say with --from which stage works again first: download, transcribe or summarize")?;
    anyhow::ensure!(
        args.rate.is_finite() && args.rate > 0.0 && args.rate <= RATE_MAX,
        "--rate is a number above 0, {RATE_MAX} at most"
    );
    let status = args
        .status
        .iter()
        .map(|token| {
            Status::from_token(token).with_context(|| {
                let known: Vec<&str> = Status::ALL.iter().map(|status| status.token()).collect();
                format!("{token} is no status; there are {}", known.join(", "))
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let table = Box::pin(Table::open(&args.data)).await?;
    let started = select(args, from, status, &table).await;
    table.access.close().await;
    started
}

async fn select(
    args: &ReprocessArgs,
    from: Stage,
    status: Vec<Status>,
    table: &Table,
) -> anyhow::Result<ExitCode> {
    let bound = |text: &Option<String>, end| {
        text.as_deref()
            .map(|text| moment(text, &table.timezone, end))
            .transpose()
    };
    let filter = LeadFilter {
        status,
        from: bound(&args.since, false)?,
        to: bound(&args.until, true)?,
        ..LeadFilter::default()
    };
    let mut targets: Vec<Target> = Vec::new();
    let mut estimate = Estimate::default();
    let mut without_input = 0_u64;
    table
        .each(&filter, |lead| {
            if args
                .number
                .as_ref()
                .is_some_and(|number| lead.to.as_str() != number)
            {
                return Ok(());
            }
            let inputs = lead.rerun_inputs(from);
            if inputs.is_empty() {
                without_input += 1;
                return Ok(());
            }
            anyhow::ensure!(
                targets.len() < TARGETS_MAX,
                "more than {TARGETS_MAX} calls: narrow the selection"
            );
            estimate.add(&lead, from);
            targets.push(Target {
                call_sid: lead.call_sid,
                inputs,
            });
            Ok(())
        })
        .await?;
    say(&format!("{} calls{}", targets.len(), estimate.words(from)));
    if without_input > 0 {
        say(&format!(
            "{without_input} more are left out: there is nothing for the stage {from} to begin with"
        ));
    }
    if args.only_count || targets.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let now = SystemClock.now();
    let campaign = Campaign {
        id: format!("c{}", now.0),
        run: Run::mint(now, rand::random()),
        created_at: now,
        by: "cli".to_owned(),
        why: args.why.clone(),
        from,
        engine: args.engine.clone(),
        model: args.model.clone(),
        prompt: args.prompt.clone(),
        hold: args.hold,
        selection: selection(args),
        rate: args.rate,
        total: targets.len() as u64,
        wish: Wish::Running,
    };
    let campaigns = Campaigns::open(&table.access.bus).await?;
    match campaigns.create(&campaign, &targets).await {
        Ok(()) => {}
        Err(CampaignError::Taken) => anyhow::bail!("another campaign began this very moment: try again"),
        Err(error) => return Err(error.into()),
    }
    say(&format!(
        "campaign {} begins as soon as a reconciler runs: `callfold reprocess show {}`",
        campaign.id, campaign.id
    ));
    Ok(ExitCode::SUCCESS)
}

/// How calls were selected; our own number and no caller's stands in it.
fn selection(args: &ReprocessArgs) -> String {
    let mut words = Vec::new();
    let mut add =
        |name: &str, value: Option<&str>| words.extend(value.map(|value| format!("{name} {value}")));
    add("since", args.since.as_deref());
    add("until", args.until.as_deref());
    add("to", args.number.as_deref());
    let status = args.status.join(",");
    add(
        "status",
        Some(status.as_str()).filter(|status| !status.is_empty()),
    );
    if words.is_empty() {
        return "all calls".to_owned();
    }
    words.join(", ")
}

/// What a campaign takes, by what the same stages took for the same calls.
#[derive(Debug, Default)]
struct Estimate {
    audio_ms: u64,
    /// Audio of recordings whose stages are measured, and what they took.
    measured_ms: u64,
    elapsed_ms: u64,
}

impl Estimate {
    fn add(&mut self, lead: &Lead, from: Stage) {
        for recording in &lead.recordings {
            let audio_ms = recording
                .duration_ms
                .or(recording.duration_s.map(|s| u64::from(s) * 1_000))
                .unwrap_or(0);
            self.audio_ms += audio_ms;
            let again = Stage::ALL.into_iter().filter(|stage| *stage >= from);
            let stages: Vec<_> = again.map(|stage| recording.stages.get(stage)).collect();
            if stages.iter().all(|stage| stage.state == StageState::Done) {
                self.measured_ms += audio_ms;
                self.elapsed_ms += stages.iter().filter_map(|stage| stage.elapsed_ms).sum::<u64>();
            }
        }
    }

    fn words(&self, from: Stage) -> String {
        let audio = format!(" with {} of audio", length(self.audio_ms));
        if self.measured_ms == 0 {
            return format!("{audio}; how long the stages from {from} on take was never measured");
        }
        let work_ms = u128::from(self.elapsed_ms) * u128::from(self.audio_ms) / u128::from(self.measured_ms);
        format!(
            "{audio}; about {} of work by what these calls took before",
            length(u64::try_from(work_ms).unwrap_or(u64::MAX))
        )
    }
}

fn length(ms: u64) -> String {
    match ms / 1_000 {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s => format!("{:.1} h", s as f64 / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_drawn_from_what_was_measured() {
        let estimate = Estimate {
            audio_ms: 600_000,
            measured_ms: 60_000,
            elapsed_ms: 30_000,
        };
        assert_eq!(
            estimate.words(Stage::Transcribe),
            " with 10 min of audio; about 5 min of work by what these calls took before"
        );
        assert!(
            Estimate::default()
                .words(Stage::Transcribe)
                .contains("never measured")
        );
        assert_eq!(
            (length(119_999), length(7_200_000)),
            ("119 s".to_owned(), "2.0 h".to_owned())
        );
    }
}
