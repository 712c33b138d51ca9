//! How the system works: what waits, what failed and why, how long calls take, how full the stream is. Everything is bounded:
//! counts come from indexes, times and engines from the newest calls of the period only.

use std::collections::BTreeMap;
use std::sync::Arc;

use callfold_kit::bus::{BrokerState, ConsumerState};
use callfold_lead::{Lead, Moment, StageState, Status};
use callfold_schema::event::FailureClass;
use callfold_schema::subject::stage_consumer;
use callfold_schema::{Lane, Run, Stage, UnixMillis};
use callfold_store::{LIMIT_MAX, LeadFilter};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::app::AppState;
use crate::error::ApiError;

/// The period, in days, today included.
pub(crate) const PERIOD_DAYS: u32 = 30;
/// Of how many of its newest calls times and engines are drawn.
const SAMPLE_MAX: usize = 2_000;
/// How many failed calls of the period are looked at; a button runs no more than these again.
pub(crate) const FAILED_MAX: usize = 500;
/// How many unreadable events are shown.
const UNREADABLE_MAX: u32 = 20;
/// How long an answer is given again, in milliseconds.
const FRESH_MS: u64 = 10_000;
/// From which share of the stream's bound on it is warned of, in percent.
const NEARLY_FULL_PERCENT: u64 = 80;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// How the system works.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Operation {
    /// When this was found out.
    pub(crate) at: Moment,
    /// What somebody should do something about.
    pub(crate) warnings: Vec<Warning>,
    /// The stream of events.
    pub(crate) stream: StreamUse,
    /// The stages in their order.
    pub(crate) stages: Vec<StageWork>,
    /// Failed calls of the last 30 days (the newest 500) by stage and reason, the most first.
    pub(crate) failures: Vec<Failures>,
    /// Events that could not be read, newest first, 20 at most.
    pub(crate) unreadable: Vec<Unreadable>,
    /// Who answered, and who did not, among the newest calls of the period.
    pub(crate) engines: Vec<EngineUse>,
    /// Of how many calls `engines` and the times of `days` are drawn: the newest 2,000 at most.
    pub(crate) sample: u32,
    /// The last 30 days of `CALLFOLD_TIMEZONE`, the oldest first.
    pub(crate) days: Vec<Day>,
    /// Calls of the period by the hour of the day in which they began: 24 numbers.
    pub(crate) hours: Vec<u64>,
}

/// A warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Warning {
    /// The speech model is the demonstration model.
    DemonstrationModel,
    /// Signatures of webhooks are not checked.
    UnsignedWebhooks,
    /// The stream takes more than 80 % of what it may.
    StreamNearlyFull,
    /// Something waits at a stage, and no process works there.
    StageWithoutWorker,
    /// Events could not be read.
    UnreadableEvents,
}

/// The stream.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct StreamUse {
    /// Bytes it takes.
    pub(crate) bytes: u64,
    /// Bytes it may take: then no new call is accepted.
    pub(crate) bytes_max: u64,
    /// Events in it.
    pub(crate) events: u64,
    /// Positions that the lead table is behind.
    pub(crate) behind: u64,
}

/// A stage.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct StageWork {
    /// Which.
    pub(crate) stage: Stage,
    /// New calls.
    pub(crate) new: LaneWork,
    /// Re-runs.
    pub(crate) again: LaneWork,
    /// When the oldest call began that waits for this stage for the first time.
    pub(crate) oldest: Option<Moment>,
}

/// One lane of a stage.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub(crate) struct LaneWork {
    /// Pieces of work that nobody has taken.
    pub(crate) waiting: u64,
    /// Pieces that are worked on or wait for another attempt.
    pub(crate) in_hand: u64,
    /// A process is there to take them.
    pub(crate) at_work: bool,
}

/// Calls that failed for the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Failures {
    /// Where.
    pub(crate) stage: Stage,
    /// Why.
    pub(crate) class: FailureClass,
    /// How many.
    pub(crate) calls: u64,
}

/// An event that could not be read.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Unreadable {
    /// Where it stands in the stream.
    pub(crate) position: u64,
    /// Why.
    pub(crate) reason: String,
    /// When the stream took it.
    pub(crate) stored_at: Moment,
}

/// What an engine did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct EngineUse {
    /// Of which stage.
    pub(crate) stage: Stage,
    /// Its name; with the model where that is known.
    pub(crate) engine: String,
    /// Calls that it answered.
    pub(crate) answers: u64,
    /// Recordings that it gave no answer for, so that another engine was asked.
    pub(crate) failures: u64,
}

/// A day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Day {
    /// `2026-11-22`.
    pub(crate) day: String,
    /// Calls that began on it.
    pub(crate) calls: u64,
    /// Of how many of them the times are.
    pub(crate) measured: u64,
    /// Hang-up to card: half of them took no longer, in milliseconds.
    pub(crate) p50_ms: Option<u64>,
    /// Hang-up to card: 95 of 100 took no longer, in milliseconds.
    pub(crate) p95_ms: Option<u64>,
}

/// The last answer. Whoever asks while it is being made waits for it.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<Option<(UnixMillis, Arc<Operation>)>>);

impl Remembered {
    /// The answer of the last seconds, or a new one.
    pub(crate) async fn get(&self, app: &AppState) -> Result<Arc<Operation>, ApiError> {
        let mut last = self.0.lock().await;
        let now = app.clock.now();
        if let Some((at, known)) = &*last
            && now.0.abs_diff(at.0) < FRESH_MS
        {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(find_out(app, now).await?);
        *last = Some((now, Arc::clone(&made)));
        Ok(made)
    }

    /// What was asked for is to be seen at once.
    pub(crate) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

async fn find_out(app: &AppState, now: UnixMillis) -> Result<Operation, ApiError> {
    let zone = &app.timezone;
    let dates = last_days(now, zone);
    let from = dates.first().map_or(now, |day| start_of(*day, zone));
    let broker = app.bus.broker_state().await.map_err(ApiError::Stream)?;
    let projection = app.leads.projection().await.map_err(ApiError::Store)?;
    let quarters = app
        .leads
        .calls_per_quarter(from, UnixMillis(now.0.saturating_add(DAY_MS)))
        .await
        .map_err(ApiError::Store)?;
    let unreadable = app
        .leads
        .unreadable(UNREADABLE_MAX)
        .await
        .map_err(ApiError::Store)?;
    let sample = newest(app, from, &[], SAMPLE_MAX).await?;
    let failed = newest(app, from, &[Status::Failed], FAILED_MAX).await?;
    let mut stages = Vec::with_capacity(Stage::ALL.len());
    for stage in Stage::ALL {
        let before = match stage {
            Stage::Download => Status::Recorded,
            Stage::Transcribe => Status::Downloaded,
            Stage::Summarize => Status::Transcribed,
        };
        let oldest = app.leads.oldest(before).await.map_err(ApiError::Store)?;
        stages.push(StageWork {
            stage,
            new: lane(&broker, stage, Lane::New),
            again: lane(&broker, stage, Lane::Again),
            oldest: oldest.map(Moment),
        });
    }
    let (days, hours) = calendar(&dates, &quarters, &sample, zone);
    let stream = StreamUse {
        bytes: broker.bytes,
        bytes_max: broker.bytes_max,
        events: broker.messages,
        behind: broker.last.saturating_sub(projection.position),
    };
    let mut warnings = Vec::new();
    let told = (app.warnings)();
    let is_alone = |lane: &LaneWork| lane.waiting > 0 && !lane.at_work;
    for (is_so, warning) in [
        (told.demonstration_model, Warning::DemonstrationModel),
        (told.unsigned_webhooks, Warning::UnsignedWebhooks),
        (
            stream.bytes / 100 >= stream.bytes_max / 10_000 * NEARLY_FULL_PERCENT,
            Warning::StreamNearlyFull,
        ),
        (
            stages
                .iter()
                .any(|work| is_alone(&work.new) && work.new.in_hand == 0),
            Warning::StageWithoutWorker,
        ),
        (!unreadable.is_empty(), Warning::UnreadableEvents),
    ] {
        warnings.extend(is_so.then_some(warning));
    }
    Ok(Operation {
        at: Moment(now),
        warnings,
        stream,
        stages,
        failures: failures(&failed),
        unreadable: unreadable
            .into_iter()
            .map(|event| Unreadable {
                position: event.position,
                reason: event.reason,
                stored_at: Moment(event.stored_at),
            })
            .collect(),
        engines: engines(&sample),
        sample: u32::try_from(sample.len()).unwrap_or(u32::MAX),
        days,
        hours,
    })
}

/// The newest leads from a moment on.
async fn newest(
    app: &AppState,
    from: UnixMillis,
    status: &[Status],
    leads_max: usize,
) -> Result<Vec<Lead>, ApiError> {
    let filter = LeadFilter {
        status: status.to_vec(),
        from: Some(from),
        ..LeadFilter::default()
    };
    let mut leads: Vec<Lead> = Vec::new();
    let mut cursor: Option<String> = None;
    while leads.len() < leads_max {
        let page = app
            .leads
            .list(&filter, LIMIT_MAX, cursor.as_deref())
            .await
            .map_err(ApiError::Store)?;
        leads.extend(page.leads);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    leads.truncate(leads_max);
    Ok(leads)
}

/// Calls of the period that failed at this stage for this reason, the newest first.
pub(crate) async fn failed_calls(
    app: &AppState,
    stage: Stage,
    class: FailureClass,
) -> Result<Vec<Lead>, ApiError> {
    let dates = last_days(app.clock.now(), &app.timezone);
    let from = dates
        .first()
        .map_or(app.clock.now(), |day| start_of(*day, &app.timezone));
    let mut failed = newest(app, from, &[Status::Failed], FAILED_MAX).await?;
    failed.retain(|lead| failure_of(lead) == Some((stage, class)));
    Ok(failed)
}

fn lane(broker: &BrokerState, stage: Stage, lane: Lane) -> LaneWork {
    let name = stage_consumer(stage, lane);
    let of = |consumer: &ConsumerState| LaneWork {
        waiting: consumer.pending,
        in_hand: consumer.in_hand,
        at_work: consumer.at_work,
    };
    broker
        .consumers
        .iter()
        .find(|consumer| consumer.name == name)
        .map_or_else(LaneWork::default, of)
}

fn failure_of(lead: &Lead) -> Option<(Stage, FailureClass)> {
    Stage::ALL.into_iter().find_map(|stage| {
        let view = lead.stages.get(stage);
        (view.state == StageState::Failed).then(|| (stage, view.class.unwrap_or(FailureClass::Internal)))
    })
}

fn failures(failed: &[Lead]) -> Vec<Failures> {
    let mut counted: Vec<Failures> = Vec::new();
    for (stage, class) in failed.iter().filter_map(failure_of) {
        match counted
            .iter_mut()
            .find(|known| (known.stage, known.class) == (stage, class))
        {
            Some(known) => known.calls += 1,
            None => counted.push(Failures {
                stage,
                class,
                calls: 1,
            }),
        }
    }
    counted.sort_by_key(|known| (std::cmp::Reverse(known.calls), known.stage));
    counted
}

fn engines(sample: &[Lead]) -> Vec<EngineUse> {
    let mut counted: BTreeMap<(Stage, &str), (u64, u64)> = BTreeMap::new();
    for lead in sample {
        for (stage, engine) in [
            (Stage::Transcribe, &lead.engines.transcribe),
            (Stage::Summarize, &lead.engines.summarize),
        ] {
            if let Some(engine) = engine {
                counted.entry((stage, engine)).or_default().0 += 1;
            }
        }
        for failed in &lead.failed_engines {
            counted.entry((failed.stage, &failed.engine)).or_default().1 += 1;
        }
    }
    counted
        .into_iter()
        .map(|((stage, engine), (answers, failures))| EngineUse {
            stage,
            engine: engine.to_owned(),
            answers,
            failures,
        })
        .collect()
}

fn date_of(moment: UnixMillis, zone: &TimeZone) -> Option<jiff::Zoned> {
    let moment = jiff::Timestamp::from_millisecond(moment.0).ok()?;
    Some(moment.to_zoned(zone.clone()))
}

/// The days of the period, the oldest first.
fn last_days(now: UnixMillis, zone: &TimeZone) -> Vec<Date> {
    let Some(today) = date_of(now, zone).map(|now| now.date()) else {
        return Vec::new();
    };
    let mut days = vec![today];
    while days.len() < PERIOD_DAYS as usize
        && let Some(Ok(before)) = days.last().map(|day| day.yesterday())
    {
        days.push(before);
    }
    days.reverse();
    days
}

fn start_of(day: Date, zone: &TimeZone) -> UnixMillis {
    day.to_zoned(zone.clone()).map_or(UnixMillis(0), |start| {
        UnixMillis(start.timestamp().as_millisecond())
    })
}

/// Calls and times by day, and calls by hour.
fn calendar(
    dates: &[Date],
    quarters: &[(UnixMillis, u64)],
    sample: &[Lead],
    zone: &TimeZone,
) -> (Vec<Day>, Vec<u64>) {
    let mut calls: BTreeMap<Date, u64> = BTreeMap::new();
    let mut hours = vec![0_u64; 24];
    for (quarter, count) in quarters {
        let Some(begin) = date_of(*quarter, zone) else {
            continue;
        };
        *calls.entry(begin.date()).or_default() += count;
        if let Some(hour) = usize::try_from(begin.hour())
            .ok()
            .and_then(|hour| hours.get_mut(hour))
        {
            *hour += count;
        }
    }
    let mut times: BTreeMap<Date, Vec<u64>> = BTreeMap::new();
    for lead in sample {
        if let (Some(took), Some(day)) = (hang_up_to_card_ms(lead), date_of(lead.created_at.0, zone)) {
            times.entry(day.date()).or_default().push(took);
        }
    }
    let days = dates
        .iter()
        .map(|date| {
            let mut took = times.remove(date).unwrap_or_default();
            took.sort_unstable();
            Day {
                day: date.to_string(),
                calls: calls.get(date).copied().unwrap_or(0),
                measured: took.len() as u64,
                p50_ms: percentile(&took, 50),
                p95_ms: percentile(&took, 95),
            }
        })
        .collect();
    (days, hours)
}

/// From the end of the call to the summary of its first run; later runs begin when somebody asks for them.
fn hang_up_to_card_ms(lead: &Lead) -> Option<u64> {
    if lead.status != Status::Processed || lead.run != Run::FIRST {
        return None;
    }
    let done = lead.stages.summarize.since?;
    let ended = lead.call.ended_at?;
    u64::try_from(done.0.0 - ended.0.0).ok()
}

/// The smallest value that so many in a hundred do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 95), Some(7));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), Some(50));
        assert_eq!(percentile(&hundred, 95), Some(95));
        assert_eq!(percentile(&[1, 2, 3], 50), Some(2));
    }

    #[test]
    fn days_and_hours_are_those_of_the_zone() {
        let zone = TimeZone::get("Asia/Jerusalem").expect("it is bundled");
        let at = |text: &str| UnixMillis::parse_rfc3339(text).expect("a moment");
        let dates = last_days(at("2026-11-22T22:30:00Z"), &zone);
        assert_eq!(dates.len(), PERIOD_DAYS as usize);
        assert_eq!(
            dates.last().map(ToString::to_string).as_deref(),
            Some("2026-11-23")
        );
        assert_eq!(start_of(dates[29], &zone), at("2026-11-22T22:00:00Z"));
        let quarters = [(at("2026-11-22T21:45:00Z"), 3), (at("2026-11-22T22:00:00Z"), 2)];
        let (days, hours) = calendar(&dates, &quarters, &[], &zone);
        assert_eq!((days[28].calls, days[29].calls), (3, 2));
        assert_eq!((hours[23], hours[0]), (3, 2));
        assert_eq!(hours.iter().sum::<u64>(), 5);
    }
}
