//! `/operation` and `GET /api/v1/operation`: how the system works, and one button to run what failed again.

use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::{RawForm, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use callfold_schema::event::{FailureClass, ReprocessRequested};
use callfold_schema::{Key, NewEvent, Run, Stage};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::people::Fields;
use super::state::{class_name, stage_name};
use super::{Frame, Viewer, html};
use crate::app::{App, AppState};
use crate::auth::{SignedIn, Who};
use crate::error::ApiError;
use crate::operation::{LaneWork, Operation, Warning, failed_calls};
use crate::show;
use crate::words::{Words, fill};

/// How long the broker may take.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);
/// Width and height of a chart, in its own units; the style sheet gives it the room there is.
const CHART: (u32, u32) = (600, 120);

/// A bar of a chart, in the chart's units.
struct Bar {
    x: u32,
    width: u32,
    y: u32,
    height: u32,
    /// The part of it that stands for half of the calls, where it is one of times.
    inner: Option<(u32, u32)>,
    /// What it says, for who points at it.
    title: String,
}

/// A chart and the table that says the same.
struct Chart {
    id: &'static str,
    heading: &'static str,
    bars: Vec<Bar>,
    /// What stands below its two ends, in reading order.
    ends: [String; 2],
    /// The highest value.
    top: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// One value of a chart.
struct Point {
    value: u64,
    inner: Option<u64>,
    title: String,
}

/// Bars in reading order: from right to left where the page is read so.
fn bars(points: &[Point], is_rtl: bool) -> Vec<Bar> {
    let (width, height) = CHART;
    let highest = points.iter().map(|point| point.value).max().unwrap_or(0).max(1);
    let step = width / u32::try_from(points.len().max(1)).unwrap_or(1);
    let tall = |value: u64| {
        let share = u128::from(value) * u128::from(height) / u128::from(highest);
        let share = u32::try_from(share).unwrap_or(height);
        // What is there is seen, however small.
        if value > 0 { share.max(2) } else { 0 }
    };
    points
        .iter()
        .zip(0_u32..)
        .map(|(point, n)| {
            let at = n * step;
            let bar = tall(point.value);
            Bar {
                x: if is_rtl { width - at - step } else { at },
                width: step.saturating_sub(3).max(1),
                y: height - bar,
                height: bar,
                inner: point.inner.map(|inner| {
                    let inner = tall(inner).min(bar);
                    (height - inner, inner)
                }),
                title: point.title.clone(),
            }
        })
        .collect()
}

struct StageRow {
    token: &'static str,
    name: &'static str,
    new: LaneRow,
    again: LaneRow,
    oldest: Option<String>,
}

struct LaneRow {
    waiting: u64,
    in_hand: u64,
    idle: bool,
}

impl LaneRow {
    fn of(lane: LaneWork) -> Self {
        Self {
            waiting: lane.waiting,
            in_hand: lane.in_hand,
            idle: !lane.at_work && lane.waiting > 0,
        }
    }
}

struct FailureRow {
    stage: &'static str,
    stage_token: &'static str,
    class: &'static str,
    class_token: &'static str,
    calls: u64,
}

struct EngineRow {
    stage: &'static str,
    engine: String,
    answers: u64,
    /// Of the stage's answers, in percent.
    share: u64,
    failures: u64,
}

struct UnreadableRow {
    position: u64,
    when: String,
    reason: String,
}

#[derive(Template)]
#[template(path = "operation.html")]
struct OperationPage {
    f: Frame,
    done: Option<String>,
    warnings: Vec<&'static str>,
    stages: Vec<StageRow>,
    failures: Vec<FailureRow>,
    engines: Vec<EngineRow>,
    sample: String,
    unreadable: Vec<UnreadableRow>,
    charts: Vec<Chart>,
    stream: String,
    stream_percent: u64,
    events: u64,
    behind: u64,
    chart_width: u32,
    chart_height: u32,
}

/// `GET /api/v1/operation`
pub(crate) async fn json(State(app): State<App>) -> Result<Json<Operation>, ApiError> {
    Ok(Json(Operation::clone(&*app.operation.get(&app).await?)))
}

/// `GET /operation`
pub(crate) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let operation = app.operation.get(&app).await?;
    let f = Frame::still(&app, &viewer);
    let w = f.w;
    let asked = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "asked")
        .and_then(|(_, value)| value.parse::<u64>().ok());
    let total = |stage: Stage| -> u64 {
        let of_stage = operation.engines.iter().filter(|known| known.stage == stage);
        of_stage.map(|known| known.answers).sum::<u64>().max(1)
    };
    let page = OperationPage {
        done: asked.map(|calls| fill(w.operation.asked, calls)),
        warnings: operation
            .warnings
            .iter()
            .filter_map(|warning| warning_words(*warning, w))
            .collect(),
        stages: operation
            .stages
            .iter()
            .map(|work| StageRow {
                token: work.stage.token(),
                name: stage_name(work.stage, w),
                new: LaneRow::of(work.new),
                again: LaneRow::of(work.again),
                oldest: work
                    .oldest
                    .map(|at| show::day_and_time(at.0, f.now(), &f.timezone, w)),
            })
            .collect(),
        failures: operation
            .failures
            .iter()
            .map(|known| FailureRow {
                stage: stage_name(known.stage, w),
                stage_token: known.stage.token(),
                class: class_name(known.class, w),
                class_token: known.class.token(),
                calls: known.calls,
            })
            .collect(),
        engines: operation
            .engines
            .iter()
            .map(|known| EngineRow {
                stage: stage_name(known.stage, w),
                engine: known.engine.clone(),
                answers: known.answers,
                share: known.answers * 100 / total(known.stage),
                failures: known.failures,
            })
            .collect(),
        sample: fill(w.operation.sample, operation.sample),
        unreadable: operation
            .unreadable
            .iter()
            .map(|event| UnreadableRow {
                position: event.position,
                when: show::full(event.stored_at.0, &f.timezone),
                reason: event.reason.clone(),
            })
            .collect(),
        charts: charts(&operation, w),
        stream: format!(
            "{} / {}",
            bytes(operation.stream.bytes),
            bytes(operation.stream.bytes_max)
        ),
        stream_percent: u64::try_from(
            u128::from(operation.stream.bytes) * 100 / u128::from(operation.stream.bytes_max.max(1)),
        )
        .unwrap_or(100),
        events: operation.stream.events,
        behind: operation.stream.behind,
        chart_width: CHART.0,
        chart_height: CHART.1,
        f,
    };
    Ok(html(&page)?.into_response())
}

/// `None` for those that stand above every page.
fn warning_words(warning: Warning, w: &Words) -> Option<&'static str> {
    match warning {
        Warning::DemonstrationModel | Warning::UnsignedWebhooks => None,
        Warning::StreamNearlyFull => Some(w.operation.warning_full),
        Warning::StageWithoutWorker => Some(w.operation.warning_no_worker),
        Warning::UnreadableEvents => Some(w.operation.warning_unreadable),
    }
}

fn charts(operation: &Operation, w: &Words) -> Vec<Chart> {
    let is_rtl = w.direction == "rtl";
    let short = |day: &str| day.split('-').rev().take(2).collect::<Vec<_>>().join(".");
    let ends = [
        operation
            .days
            .first()
            .map_or(String::new(), |day| short(&day.day)),
        operation.days.last().map_or(String::new(), |day| short(&day.day)),
    ];
    let calls: Vec<Point> = operation
        .days
        .iter()
        .map(|day| Point {
            value: day.calls,
            inner: None,
            title: format!("{}: {}", short(&day.day), day.calls),
        })
        .collect();
    let hours: Vec<Point> = operation
        .hours
        .iter()
        .zip(0_u8..)
        .map(|(calls, hour)| Point {
            value: *calls,
            inner: None,
            title: format!("{hour:02}:00: {calls}"),
        })
        .collect();
    let took = |ms: Option<u64>| ms.map_or_else(|| "–".to_owned(), |ms| duration(ms, w));
    let times: Vec<Point> = operation
        .days
        .iter()
        .map(|day| Point {
            value: day.p95_ms.unwrap_or(0),
            inner: day.p50_ms,
            title: format!("{}: {} · {}", short(&day.day), took(day.p50_ms), took(day.p95_ms)),
        })
        .collect();
    let highest = |points: &[Point]| points.iter().map(|point| point.value).max().unwrap_or(0);
    let newest_first = |rows: Vec<Vec<String>>| rows.into_iter().rev().collect();
    vec![
        Chart {
            id: "calls-by-day",
            heading: w.operation.calls_by_day,
            top: highest(&calls).to_string(),
            ends: ends.clone(),
            columns: vec![w.operation.day, w.operation.calls],
            rows: newest_first(
                operation
                    .days
                    .iter()
                    .map(|day| vec![short(&day.day), day.calls.to_string()])
                    .collect(),
            ),
            bars: bars(&calls, is_rtl),
        },
        Chart {
            id: "calls-by-hour",
            heading: w.operation.calls_by_hour,
            top: highest(&hours).to_string(),
            ends: ["00:00".to_owned(), "23:00".to_owned()],
            columns: vec![w.operation.hour, w.operation.calls],
            rows: operation
                .hours
                .iter()
                .zip(0_u8..)
                .map(|(calls, hour)| vec![format!("{hour:02}:00"), calls.to_string()])
                .collect(),
            bars: bars(&hours, is_rtl),
        },
        Chart {
            id: "times-by-day",
            heading: w.operation.times_by_day,
            top: duration(highest(&times), w),
            ends,
            columns: vec![
                w.operation.day,
                w.operation.half,
                w.operation.most,
                w.operation.measured,
            ],
            rows: newest_first(
                operation
                    .days
                    .iter()
                    .map(|day| {
                        vec![
                            short(&day.day),
                            took(day.p50_ms),
                            took(day.p95_ms),
                            day.measured.to_string(),
                        ]
                    })
                    .collect(),
            ),
            bars: bars(&times, is_rtl),
        },
    ]
}

fn duration(ms: u64, w: &Words) -> String {
    let seconds = ms.div_ceil(1_000);
    if seconds < 120 {
        fill(w.time.seconds, seconds)
    } else {
        fill(w.time.minutes, seconds.div_ceil(60))
    }
}

fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let of = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..1_000_000 => format!("{:.0} kB", of(1_000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", of(1_000_000)),
        1_000_000_000..1_000_000_000_000 => format!("{:.1} GB", of(1_000_000_000)),
        _ => format!("{:.1} TB", of(1_000_000_000_000)),
    }
}

/// `POST /operation/rerun`: stage, class. Every call of the period that failed so is run again from the stage that failed.
/// A call that was asked for in the same state is not asked for a second time, however often the button is pressed.
pub(crate) async fn rerun(
    State(app): State<App>,
    SignedIn(who): SignedIn,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let fields = Fields::of(&form);
    let stage = Stage::from_token(fields.get("stage"))
        .ok_or(ApiError::BadBody("stage is download, transcribe or summarize"))?;
    let class = FailureClass::ALL
        .into_iter()
        .find(|class| class.token() == fields.get("class"))
        .ok_or(ApiError::BadBody("class is the class of a failure"))?;
    let mut asked = 0_u32;
    for lead in failed_calls(&app, stage, class).await? {
        let inputs = lead.rerun_inputs(stage);
        if inputs.is_empty() || !is_first(&app, lead.call_sid.as_str(), lead.position).await? {
            continue;
        }
        request(&app, &who, stage, lead.call_sid, inputs).await?;
        asked += 1;
    }
    app.operation.forget().await;
    tracing::info!(
        stage = stage.token(),
        class = class.token(),
        asked,
        "failed calls are run again"
    );
    Ok((
        StatusCode::SEE_OTHER,
        [(header::LOCATION, format!("/operation?asked={asked}"))],
    )
        .into_response())
}

async fn request(
    app: &AppState,
    who: &Who,
    stage: Stage,
    call_sid: callfold_schema::CallSid,
    inputs: Vec<callfold_schema::event::RerunInput>,
) -> Result<(), ApiError> {
    let run = Run::mint(app.clock.now(), rand::random());
    let event = ReprocessRequested {
        run,
        from: stage,
        by: who.name.clone(),
        why: None,
        engine: None,
        model: None,
        prompt: None,
        campaign: None,
        hold: false,
        inputs,
    };
    let event = NewEvent::new(call_sid, Key::run(run), app.clock.now(), event);
    app.bus
        .publish(&event, PUBLISH_WAIT)
        .await
        .map_err(ApiError::Publish)?;
    Ok(())
}

/// Whether nobody asked for this call in this state before.
async fn is_first(app: &AppState, call_sid: &str, position: u64) -> Result<bool, ApiError> {
    let key = Sha256::digest(format!("operation {call_sid} {position}").as_bytes());
    app.requests
        .create(&HEXLOWER.encode(&key), bytes::Bytes::from_static(b"0"))
        .await
        .map_err(ApiError::Stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_run_in_the_direction_of_reading_and_stay_inside() {
        let points: Vec<Point> = [0, 1, 50, 100]
            .into_iter()
            .map(|value| Point {
                value,
                inner: Some(value / 2),
                title: String::new(),
            })
            .collect();
        let (ltr, rtl) = (bars(&points, false), bars(&points, true));
        assert!(ltr.windows(2).all(|pair| pair[0].x < pair[1].x));
        assert!(rtl.windows(2).all(|pair| pair[0].x > pair[1].x));
        assert_eq!(ltr[0].height, 0);
        assert_eq!(ltr[1].height, 2, "what is there is seen");
        assert_eq!((ltr[3].y, ltr[3].height), (0, CHART.1));
        for bar in ltr.iter().chain(&rtl) {
            assert!(bar.x + bar.width <= CHART.0 && bar.y + bar.height <= CHART.1);
            assert!(bar.inner.is_some_and(|(y, height)| y + height <= CHART.1));
        }
        assert!(bars(&[], true).is_empty());
    }

    #[test]
    fn sizes_are_said_in_the_unit_that_fits() {
        assert_eq!(bytes(0), "0 kB");
        assert_eq!(bytes(1_500_000), "1.5 MB");
        assert_eq!(bytes(10_000_000_000), "10.0 GB");
        assert_eq!(bytes(1_000_000_000_000), "1.0 TB");
    }
}
