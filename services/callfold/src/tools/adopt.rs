//! `callfold adopt`: which run of a campaign's calls is shown.
//!
//! Each choice is an event of its call, and can be reverted like any other. Done twice it changes nothing the second time.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use callfold_kit::bus::Published;
use callfold_kit::wer::{WordErrors, word_error_rate};
use callfold_kit::{Clock, SystemClock};
use callfold_lead::{Lead, LeadState, RerunState, RunResult, corrections, lead_view, run_result};
use callfold_reconciler::rerun::campaign::{Campaign, Campaigns, PART_TARGETS};
use callfold_schema::event::{LeadAction, LeadUpdated};
use callfold_schema::{CallSid, Key, NewEvent, Run};

use super::leads::Table;
use crate::cli::{AdoptArgs, AdoptRule};
use crate::up::say;

/// How long the broker may take.
const PUBLISH_WAIT: Duration = Duration::from_secs(10);

/// Goes through the campaign's calls.
pub async fn run(args: AdoptArgs) -> anyhow::Result<ExitCode> {
    let table = Box::pin(Table::open(&args.data)).await?;
    let adopted = adopt(&args, &table).await;
    table.access.close().await;
    adopted
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    chosen: u64,
    left: u64,
    not_complete: u64,
    changed_meanwhile: u64,
}

async fn adopt(args: &AdoptArgs, table: &Table) -> anyhow::Result<ExitCode> {
    let campaigns = Campaigns::open(&table.access.bus).await?;
    let Some(campaign) = campaigns.get(&args.campaign).await? else {
        say("there is no such campaign; `callfold reprocess list` prints them");
        return Ok(ExitCode::FAILURE);
    };
    let mut counts = Counts::default();
    let parts = usize::try_from(campaign.total)
        .unwrap_or(usize::MAX)
        .div_ceil(PART_TARGETS);
    for part in 0..parts {
        for target in campaigns.part(&campaign.id, part).await? {
            one(args, table, &campaign, &target.call_sid, &mut counts).await?;
        }
    }
    let did = if args.only_count {
        "would change"
    } else {
        "changed"
    };
    say(&format!(
        "{} calls {did}, {} are left as they are, of {} the run is not complete",
        counts.chosen, counts.left, counts.not_complete
    ));
    if counts.changed_meanwhile > 0 {
        say(&format!(
            "{} were changed by somebody else at the same moment: run the command again",
            counts.changed_meanwhile
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn one(
    args: &AdoptArgs,
    table: &Table,
    campaign: &Campaign,
    call_sid: &CallSid,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let state = table
        .leads
        .state(call_sid)
        .await
        .context("could not read the lead table")?;
    // Erased in the meantime.
    let Some(state) = state.filter(|state| !state.is_erased()) else {
        return Ok(());
    };
    let lead = lead_view(&state).context("could not fold a lead")?;
    let Some(choice) = choose(&state, campaign.run, args.rule)? else {
        if lead
            .runs
            .iter()
            .any(|run| run.run == campaign.run && is_complete(run.state))
        {
            counts.left += 1;
        } else {
            counts.not_complete += 1;
        }
        return Ok(());
    };
    if args.only_count {
        counts.chosen += 1;
        return Ok(());
    }
    let revision = lead.revision + 1;
    let update = LeadUpdated {
        revision,
        by: "cli".to_owned(),
        action: LeadAction::Adopt { run: choice },
        request: None,
    };
    let event = NewEvent::new(
        call_sid.clone(),
        Key::revision(revision),
        SystemClock.now(),
        update,
    );
    match table
        .access
        .bus
        .publish(&event, PUBLISH_WAIT)
        .await
        .context("could not record a choice")?
    {
        Published::Recorded { .. } => counts.chosen += 1,
        Published::AlreadyRecorded => counts.changed_meanwhile += 1,
    }
    Ok(())
}

fn is_complete(state: RerunState) -> bool {
    match state {
        RerunState::Done | RerunState::Held => true,
        RerunState::Running | RerunState::Failed => false,
    }
}

/// What is to be chosen for a call: `None` leaves it as it is.
fn choose(state: &LeadState, run: Run, rule: AdoptRule) -> anyhow::Result<Option<Option<Run>>> {
    let lead = lead_view(state)?;
    if rule == AdoptRule::Revert {
        return Ok(before(&lead, run));
    }
    let is_there = lead
        .runs
        .iter()
        .any(|known| known.run == run && is_complete(known.state));
    // Nothing to do where a person chose it, or where it is shown anyway.
    if !is_there || lead.run == run {
        return Ok(None);
    }
    let (Some(shown), Some(other)) = (run_result(state, lead.run)?, run_result(state, run)?) else {
        return Ok(None);
    };
    let better = match rule {
        AdoptRule::Always => true,
        AdoptRule::Longer => words(&other) > words(&shown),
        AdoptRule::LowerWer => {
            let said = corrections(state)?;
            let errors = |result: &RunResult| -> WordErrors {
                let of = |made: &callfold_lead::RunTranscript| {
                    said.get(&made.recording_sid)
                        .map(|said| word_error_rate(said, &made.text))
                };
                result.transcripts.iter().filter_map(of).sum()
            };
            errors(&other).words > 0 && errors(&other).rate() < errors(&shown).rate()
        }
        AdoptRule::Revert => false,
    };
    Ok(better.then_some(Some(run)))
}

/// What was shown before a run; `None` when it is not the one that is shown.
fn before(lead: &Lead, run: Run) -> Option<Option<Run>> {
    if lead.run != run {
        return None;
    }
    let held = lead.runs.iter().any(|known| known.run == run && known.hold);
    if held && lead.adopted == Some(run) {
        // It is shown only because it was chosen.
        return Some(None);
    }
    let earlier = lead
        .runs
        .iter()
        .filter(|known| known.run < run && known.state == RerunState::Done && !known.hold);
    Some(Some(earlier.map(|known| known.run).max().unwrap_or(Run::FIRST)))
}

fn words(result: &RunResult) -> usize {
    result.transcript.split_whitespace().count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

    use callfold_schema::event::{
        RecordingDownloaded, ReprocessRequested, RerunInput, SummaryReady, TranscriptReady,
    };
    use callfold_schema::{Event, Record, RecordingSid, Stage, UnixMillis};

    use super::*;

    const RUN: Run = Run(1_795_341_600_000_007);

    fn recording() -> RecordingSid {
        RecordingSid::parse("RE1").unwrap()
    }

    fn tell(state: &mut LeadState, key: Key, event: impl Into<Event>) {
        let position = state.position() + 1;
        let at = UnixMillis(1_795_341_600_000 + i64::try_from(position).unwrap());
        let new = NewEvent::new(CallSid::parse("CA1").unwrap(), key, at, event);
        let record = Record {
            envelope: new.envelope,
            event: new.event,
        };
        assert!(state.apply_record(position, &record).unwrap());
    }

    fn results(state: &mut LeadState, run: Run, text: &str) {
        let key = || Key::stage(recording(), run);
        let downloaded = RecordingDownloaded {
            blob_key: "CA1/RE1-0.wav".into(),
            bytes: 44,
            sha256: "0".repeat(64),
            content_type: "audio/x-wav".into(),
            duration_ms: 9_000,
            sample_rate_hz: 8_000,
            channels: 1,
            elapsed_ms: 1,
        };
        let transcript = TranscriptReady {
            text: text.into(),
            segments: vec![],
            language: "he".into(),
            engine: "whisper".into(),
            model: "m".into(),
            failed_engines: vec![],
            pieces: 1,
            audio_ms: 9_000,
            elapsed_ms: 1,
        };
        let summary = SummaryReady {
            title: text.into(),
            points: vec![],
            text: text.into(),
            caller_name: None,
            callback_number: None,
            topic: None,
            urgency: None,
            engine: "extractive".into(),
            model: String::new(),
            prompt_version: 1,
            failed_engines: vec![],
            parts: 1,
            tries: 0,
            tokens_in: None,
            tokens_out: None,
            elapsed_ms: 1,
        };
        tell(state, key(), downloaded);
        tell(state, key(), transcript);
        tell(state, key(), summary);
    }

    /// A call with a first run and a complete re-run of these texts.
    fn call(first: &str, second: &str, hold: bool) -> LeadState {
        let mut state = LeadState::new(CallSid::parse("CA1").unwrap());
        results(&mut state, Run::FIRST, first);
        let request = ReprocessRequested {
            run: RUN,
            from: Stage::Transcribe,
            by: "cli".into(),
            why: None,
            engine: None,
            model: None,
            prompt: None,
            campaign: Some("c1".into()),
            hold,
            inputs: vec![RerunInput {
                recording_sid: recording(),
                run: Run::FIRST,
                corrected: None,
            }],
        };
        tell(&mut state, Key::run(RUN), request);
        results(&mut state, RUN, second);
        state
    }

    fn update(state: &mut LeadState, revision: u64, action: LeadAction) {
        let update = LeadUpdated {
            revision,
            by: "cli".into(),
            action,
            request: None,
        };
        tell(state, Key::revision(revision), update);
    }

    #[test]
    fn each_rule_chooses_what_it_says() {
        let of = |state: &LeadState, rule| choose(state, RUN, rule).unwrap();
        let mut state = call("a b c", "a b d e", true);
        assert_eq!(of(&state, AdoptRule::Always), Some(Some(RUN)));
        assert_eq!(of(&state, AdoptRule::Longer), Some(Some(RUN)));
        assert_eq!(of(&call("a b c", "a", true), AdoptRule::Longer), None);
        // Nobody said what was said.
        assert_eq!(of(&state, AdoptRule::LowerWer), None);
        for (revision, said, choice) in [(1, "a b d e", Some(Some(RUN))), (2, "a b c", None)] {
            let action = LeadAction::Transcript {
                recording_sid: recording(),
                text: Some(said.into()),
            };
            update(&mut state, revision, action);
            assert_eq!(of(&state, AdoptRule::LowerWer), choice, "{said}");
        }
        assert_eq!(of(&state, AdoptRule::Revert), None, "it is not shown");
        assert_eq!(choose(&state, Run(5), AdoptRule::Always).unwrap(), None);
    }

    #[test]
    fn a_choice_is_reverted_and_so_is_a_run_that_replaced_what_was_shown() {
        let mut held = call("a", "b", true);
        update(&mut held, 1, LeadAction::Adopt { run: Some(RUN) });
        assert_eq!(lead_view(&held).unwrap().run, RUN);
        assert_eq!(
            choose(&held, RUN, AdoptRule::Always).unwrap(),
            None,
            "it is shown"
        );
        assert_eq!(choose(&held, RUN, AdoptRule::Revert).unwrap(), Some(None));
        let mut shown = call("a", "b", false);
        assert_eq!(lead_view(&shown).unwrap().run, RUN);
        let back = choose(&shown, RUN, AdoptRule::Revert).unwrap();
        assert_eq!(back, Some(Some(Run::FIRST)));
        update(
            &mut shown,
            1,
            LeadAction::Adopt {
                run: Some(Run::FIRST),
            },
        );
        assert_eq!(lead_view(&shown).unwrap().run, Run::FIRST);
        assert_eq!(choose(&shown, RUN, AdoptRule::Revert).unwrap(), None);
    }
}
