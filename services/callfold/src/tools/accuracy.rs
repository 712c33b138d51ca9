//! `callfold accuracy`: how far engines are from what people heard.
//!
//! Every transcript that an engine made itself of a recording that a person corrected counts, in every run; one that a re-run
//! took over does not count twice, and neither does what a person wrote.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;
use callfold_kit::wer::{WordErrors, word_error_rate};
use callfold_lead::{LeadState, corrections, lead_view, run_result};
use callfold_reconciler::rerun::PERSON;
use callfold_schema::Run;
use callfold_store::LeadFilter;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::leads::Table;
use super::moment;
use crate::cli::{AccuracyArgs, AccuracyBy};
use crate::up::say;

/// Most words of a text that is compared: the comparison takes the product of both.
const WORDS_MAX: usize = 20_000;

/// What is counted in one line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Line {
    transcripts: u64,
    errors: WordErrors,
}

/// Prints the table.
pub async fn run(args: AccuracyArgs) -> anyhow::Result<ExitCode> {
    let table = Box::pin(Table::open(&args.data)).await?;
    let printed = print(&args, &table).await;
    table.access.close().await;
    printed
}

async fn print(args: &AccuracyArgs, table: &Table) -> anyhow::Result<ExitCode> {
    let filter = LeadFilter {
        from: args
            .since
            .as_deref()
            .map(|since| moment(since, &table.timezone, false))
            .transpose()?,
        ..LeadFilter::default()
    };
    let mut corrected = Vec::new();
    table
        .each(&filter, |lead| {
            if lead
                .recordings
                .iter()
                .any(|recording| recording.corrected.is_some())
            {
                corrected.push(lead.call_sid);
            }
            Ok(())
        })
        .await?;
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    for call_sid in corrected {
        let state = table
            .leads
            .state(&call_sid)
            .await
            .context("could not read the lead table")?;
        if let Some(state) = state {
            count(&state, args.by, &table.timezone, &mut lines)?;
        }
    }
    if args.json {
        let lines: Vec<_> = lines
            .iter()
            .map(|(name, line)| {
                json!({
                    "of": name, "transcripts": line.transcripts, "words": line.errors.words,
                    "errors": line.errors.errors, "rate": line.errors.rate(),
                })
            })
            .collect();
        say(&serde_json::to_string(&lines)?);
    } else if lines.is_empty() {
        say("no transcript was corrected: a person's text of a recording is what engines are held against");
    } else {
        say(&format!(
            "{:<48} {:>11} {:>9} {:>7}",
            "", "transcripts", "words", "WER"
        ));
        for (name, line) in &lines {
            say(&format!(
                "{name:<48} {:>11} {:>9} {:>6.1}%",
                line.transcripts,
                line.errors.words,
                line.errors.rate() * 100.0
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn count(
    state: &LeadState,
    by: AccuracyBy,
    zone: &TimeZone,
    lines: &mut BTreeMap<String, Line>,
) -> anyhow::Result<()> {
    let said = corrections(state)?;
    let lead = lead_view(state)?;
    let runs = std::iter::once(Run::FIRST).chain(lead.runs.iter().map(|run| run.run));
    for run in runs {
        let Some(result) = run_result(state, run)? else {
            continue;
        };
        for made in result.transcripts {
            let Some(said) = said.get(&made.recording_sid) else {
                continue;
            };
            let is_long = |text: &str| text.split_whitespace().count() > WORDS_MAX;
            if !made.own
                || made.engine.is_empty()
                || made.engine == PERSON
                || is_long(said)
                || is_long(&made.text)
            {
                continue;
            }
            let name = match by {
                AccuracyBy::Engine => made.engine.clone(),
                AccuracyBy::Model => format!("{}:{}", made.engine, made.model),
                AccuracyBy::Number => format!("{}  {}", lead.to.as_str(), made.engine),
                AccuracyBy::Month => format!("{}  {}", month(lead.created_at.0.0, zone), made.engine),
            };
            let line = lines.entry(name).or_default();
            line.transcripts += 1;
            line.errors = line.errors + word_error_rate(said, &made.text);
        }
    }
    Ok(())
}

fn month(at_ms: i64, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(at_ms) {
        Ok(moment) => moment.to_zoned(zone.clone()).strftime("%Y-%m").to_string(),
        Err(_) => "?".to_owned(),
    }
}
