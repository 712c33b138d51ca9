//! The events of a call → its row.

mod person;
mod rerun;
mod result;

use std::collections::BTreeMap;

use callfold_schema::event::{
    CallEnded, CallStarted, Disposition, EngineFailure, LeadUpdated, RecordingDownloaded, RecordingMissing,
    RecordingReady, RecordingStarted, ReprocessRequested, StageFailed, SummaryReady, TranscriptReady,
};
use callfold_schema::{Event, PhoneNumber, RecordingSid, Run, Stage, UnixMillis};

use self::person::Person;
use self::rerun::{Shown, select_run};
pub use self::result::{PersonChange, RunResult, RunTranscript, changes_after, corrections, run_result};
use crate::lead::{
    CallInfo, CallerInfo, Engines, FailedEngine, Lead, LeadRecording, LeadSegment, NoMessage,
    NoMessageReason, OutputRuns, RecordingState, StageState, StageView, Stages, Status,
};
use crate::order::{Fact, NoMessageRank, settle};
use crate::state::{LeadState, StateError};

/// The lead of these events: a pure function of the map.
///
/// A state without events gives a lead that is `new` at the epoch; nobody stores one.
///
/// Two recordings of which one failed for good: `failed`, with the transcript and summary of the other one shown.
/// `processed` would hide that a part of what the caller said is lost.
pub fn lead_view(state: &LeadState) -> Result<Lead, StateError> {
    let facts = Facts::collect(state)?;
    let recordings = facts.recordings_in_order();
    let person = Person::of(&facts);
    let (shown, runs, rerun) = select_run(&facts, person.adopted);

    let mut lead = Lead {
        call_sid: state.call_sid().clone(),
        phone: PhoneNumber::default(),
        to: PhoneNumber::default(),
        status: Status::New,
        created_at: facts.first_time.unwrap_or_default().into(),
        updated_at: facts.last_time.unwrap_or_default().into(),
        call: CallInfo::default(),
        caller: CallerInfo::default(),
        recordings: Vec::with_capacity(recordings.len()),
        transcript: None,
        segments: Vec::new(),
        language: None,
        summary: None,
        summary_title: None,
        summary_points: Vec::new(),
        caller_name: None,
        callback_number: None,
        topic: None,
        urgency: None,
        engines: Engines::default(),
        failed_engines: Vec::new(),
        run: shown.run,
        runs,
        rerun,
        adopted: None,
        stages: Stages::all(StageState::Waiting),
        missing: None,
        disposition: Disposition::Open,
        seen: false,
        note: None,
        assignee: None,
        tags: Vec::new(),
        revision: 0,
        position: state.position(),
    };
    tell_call(&mut lead, &facts);
    tell_texts(&mut lead, &recordings, &shown, &person);
    person.tell(&mut lead);

    // The recording that decides the status; a missing one decides only when there is no other.
    let mut deciding: Option<(Progress, Stages)> = None;
    for (sid, recording) in &recordings {
        let outputs = shown.outputs(recording);
        let missing = facts.missing_of(recording);
        let stages = match &missing {
            Some(_) => Stages::all(StageState::Skipped),
            None => stages_of(recording, &outputs, recording.failures_in(outputs.run)),
        };
        if missing.is_none() {
            let progress = progress_of(recording, &outputs, &stages);
            if deciding.as_ref().is_none_or(|(held, _)| progress < *held) {
                deciding = Some((progress, stages.clone()));
            }
        }
        lead.recordings
            .push(recording.view(sid, &outputs, missing, stages, person.corrected(sid)));
    }
    match deciding {
        Some((progress, stages)) => {
            lead.status = progress.status();
            lead.stages = stages;
            if progress == Progress::Silent {
                lead.missing = Some(NoMessage {
                    reason: NoMessageReason::Silent,
                    error_code: None,
                });
            }
        }
        None => {
            if let Some(missing) = facts.no_message() {
                lead.status = Status::NoMessage;
                lead.stages = Stages::all(StageState::Skipped);
                lead.missing = Some(missing);
            }
        }
    }
    Ok(lead)
}

/// How far one recording is, in the order in which one of several decides for the lead: what is still under way
/// first, the least advanced in front; then what failed; then what is done; silence last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Recording,
    Recorded,
    Downloaded,
    Transcribed,
    Failed,
    Processed,
    Silent,
}

impl Progress {
    fn status(self) -> Status {
        match self {
            Progress::Recording => Status::Recording,
            Progress::Recorded => Status::Recorded,
            Progress::Downloaded => Status::Downloaded,
            Progress::Transcribed => Status::Transcribed,
            Progress::Failed => Status::Failed,
            Progress::Processed => Status::Processed,
            Progress::Silent => Status::NoMessage,
        }
    }
}

/// What the events say, sorted by what they say it of.
#[derive(Default)]
struct Facts {
    started: Option<Fact<CallStarted>>,
    ended: Option<Fact<CallEnded>>,
    recordings: BTreeMap<RecordingSid, RecordingFacts>,
    /// `recording_missing` without a recording.
    missing: Vec<Fact<RecordingMissing>>,
    /// The re-runs that were asked for.
    requests: BTreeMap<Run, Option<Fact<ReprocessRequested>>>,
    /// What people did, by revision.
    updates: BTreeMap<u64, Option<Fact<LeadUpdated>>>,
    first_time: Option<UnixMillis>,
    last_time: Option<UnixMillis>,
}

#[derive(Default)]
struct RecordingFacts {
    started: Option<Fact<RecordingStarted>>,
    ready: Option<Fact<RecordingReady>>,
    missing: Vec<Fact<RecordingMissing>>,
    runs: BTreeMap<Run, RunFacts>,
    /// Time and position of the first event heard of it.
    first: Option<(UnixMillis, u64)>,
}

/// What one run did with one recording.
#[derive(Default)]
struct RunFacts {
    downloaded: Option<Fact<RecordingDownloaded>>,
    transcript: Option<Fact<TranscriptReady>>,
    summary: Option<Fact<SummaryReady>>,
    failures: Failures,
}

type Failures = BTreeMap<(Stage, u32), Option<Fact<StageFailed>>>;

impl Facts {
    fn collect(state: &LeadState) -> Result<Self, StateError> {
        let mut facts = Facts::default();
        for stored in state.events() {
            let (position, time, reconciled) = (stored.position, stored.time, stored.key.reconciled);
            facts.first_time = Some(facts.first_time.map_or(time, |first| first.min(time)));
            facts.last_time = Some(facts.last_time.map_or(time, |last| last.max(time)));
            macro_rules! fact {
                ($data:expr) => {
                    Fact {
                        position,
                        time,
                        reconciled,
                        data: $data,
                    }
                };
            }
            let mut recording = stored.key.recording.as_ref().map(|sid| {
                let recording = facts.recordings.entry(sid.clone()).or_default();
                let first = recording.first.get_or_insert((time, position));
                *first = (*first).min((time, position));
                recording
            });
            let run = stored.key.run.unwrap_or(Run::FIRST);
            // Keys have the form of their kind (`Key::parse`), so `recording` is there wherever an arm asks for it.
            match (stored.event()?, &mut recording) {
                (Event::CallStarted(data), _) => settle(&mut facts.started, fact!(data)),
                (Event::CallEnded(data), _) => settle(&mut facts.ended, fact!(data)),
                (Event::RecordingStarted(data), Some(recording)) => {
                    settle(&mut recording.started, fact!(data))
                }
                // The work order of a re-run from the download on: says nothing new of the recording.
                (Event::RecordingReady(_), Some(recording)) if run != Run::FIRST => {
                    recording.runs.entry(run).or_default();
                }
                (Event::RecordingReady(data), Some(recording)) => settle(&mut recording.ready, fact!(data)),
                (Event::RecordingMissing(data), Some(recording)) => recording.missing.push(fact!(data)),
                (Event::RecordingMissing(data), None) => facts.missing.push(fact!(data)),
                (Event::RecordingDownloaded(data), Some(recording)) => {
                    settle(
                        &mut recording.runs.entry(run).or_default().downloaded,
                        fact!(data),
                    );
                }
                (Event::TranscriptReady(data), Some(recording)) => {
                    settle(
                        &mut recording.runs.entry(run).or_default().transcript,
                        fact!(data),
                    );
                }
                (Event::SummaryReady(data), Some(recording)) => {
                    settle(&mut recording.runs.entry(run).or_default().summary, fact!(data));
                }
                (Event::StageFailed(data), Some(recording)) => {
                    if let Some(attempt) = stored.key.attempt {
                        let failures = &mut recording.runs.entry(run).or_default().failures;
                        settle(failures.entry(attempt).or_default(), fact!(data));
                    }
                }
                (Event::ReprocessRequested(data), _) => {
                    settle(facts.requests.entry(run).or_default(), fact!(data));
                }
                (Event::LeadUpdated(data), _) => {
                    let revision = stored.key.revision.ok_or(StateError::Damaged)?;
                    settle(facts.updates.entry(revision).or_default(), fact!(data));
                }
                // Nothing else is left of the call.
                (Event::CallErased(_) | Event::EraseDone(_), _) => {}
                (
                    Event::RecordingStarted(_)
                    | Event::RecordingReady(_)
                    | Event::RecordingDownloaded(_)
                    | Event::TranscriptReady(_)
                    | Event::SummaryReady(_)
                    | Event::StageFailed(_),
                    None,
                ) => return Err(StateError::Damaged),
            }
        }
        Ok(facts)
    }

    fn recordings_in_order(&self) -> Vec<(&RecordingSid, &RecordingFacts)> {
        let mut recordings: Vec<_> = self.recordings.iter().collect();
        recordings.sort_by_key(|(sid, recording)| {
            let first = recording.first.unwrap_or_default();
            (recording.started_at().unwrap_or(first.0), first.1, *sid)
        });
        recordings
    }

    /// Why this recording is missing; `None` when it is not.
    fn missing_of(&self, recording: &RecordingFacts) -> Option<NoMessage> {
        if recording.is_ready() {
            return None;
        }
        earliest_reason(
            recording
                .missing
                .iter()
                .map(|fact| (fact, true))
                .chain(self.of_the_call()),
        )
    }

    /// Why there is no message, when no recording is left that is not missing.
    fn no_message(&self) -> Option<NoMessage> {
        if self.took_no_message() {
            return Some(NoMessage {
                reason: NoMessageReason::NotRecorded,
                error_code: None,
            });
        }
        let named = self
            .recordings
            .values()
            .flat_map(|recording| &recording.missing)
            .map(|fact| (fact, true));
        earliest_reason(named.chain(self.of_the_call()))
    }

    /// The number takes no messages, and the call is over as far as is known. Nothing is waited for then.
    fn took_no_message(&self) -> bool {
        let takes_none = self
            .started
            .as_ref()
            .is_some_and(|fact| fact.data.record_max_s == 0);
        takes_none && self.recordings.is_empty() && (self.ended.is_some() || !self.missing.is_empty())
    }

    fn of_the_call(&self) -> impl Iterator<Item = (&Fact<RecordingMissing>, bool)> {
        self.missing.iter().map(|fact| (fact, false))
    }
}

fn earliest_reason<'a>(facts: impl Iterator<Item = (&'a Fact<RecordingMissing>, bool)>) -> Option<NoMessage> {
    facts
        .min_by_key(|(fact, named)| NoMessageRank::of(fact, *named))
        .map(|(fact, _)| NoMessage {
            reason: fact.data.reason.into(),
            error_code: fact.data.error_code,
        })
}

impl RecordingFacts {
    fn is_ready(&self) -> bool {
        // What a stage made or tried says that there was something to make it of.
        self.ready.is_some() || !self.runs.is_empty()
    }

    fn started_at(&self) -> Option<UnixMillis> {
        self.ready
            .as_ref()
            .and_then(|fact| fact.data.started_at)
            .or_else(|| self.started.as_ref().and_then(|fact| fact.data.started_at))
    }

    fn failures_in(&self, run: Run) -> Option<&Failures> {
        self.runs.get(&run).map(|facts| &facts.failures)
    }

    fn view(
        &self,
        sid: &RecordingSid,
        outputs: &Outputs<'_>,
        missing: Option<NoMessage>,
        stages: Stages,
        corrected: Option<u64>,
    ) -> LeadRecording {
        let ready = self.ready.as_ref().map(|fact| &fact.data);
        let file = outputs.downloaded.map(|fact| &fact.data);
        let measured_s = file.map(|file| u32::try_from((file.duration_ms + 500) / 1000).unwrap_or(u32::MAX));
        LeadRecording {
            recording_sid: sid.clone(),
            state: match (self.is_ready(), &missing) {
                (true, _) => RecordingState::Ready,
                (false, Some(_)) => RecordingState::Missing,
                (false, None) => RecordingState::Recording,
            },
            started_at: self.started_at().map(Into::into),
            duration_s: ready.and_then(|ready| ready.duration_s).or(measured_s),
            duration_ms: file.map(|file| file.duration_ms),
            channels: file
                .map(|file| file.channels)
                .or(ready.and_then(|ready| ready.channels)),
            source: ready.and_then(|ready| ready.source.clone()),
            bytes: file.map(|file| file.bytes),
            content_type: file.map(|file| file.content_type.clone()),
            blob_key: file.map(|file| file.blob_key.clone()),
            missing,
            stages,
            runs: outputs.runs,
            corrected,
        }
    }
}

/// What the stages made of one recording, as far as it is shown.
#[derive(Default, Clone, Copy)]
struct Outputs<'a> {
    downloaded: Option<&'a Fact<RecordingDownloaded>>,
    transcript: Option<&'a Fact<TranscriptReady>>,
    summary: Option<&'a Fact<SummaryReady>>,
    /// The newest run of it in which this recording took part.
    run: Run,
    /// The run each of the three comes from.
    runs: OutputRuns,
}

impl<'a> Outputs<'a> {
    /// The same with what `run` made in place of what was there. What stands behind a replaced stage goes: a summary
    /// does not outlive its transcript.
    fn overlaid(self, run: Run, facts: &'a RunFacts) -> Self {
        let (summary, summarize) = match (&facts.summary, &facts.transcript, &facts.downloaded) {
            (Some(summary), _, _) => (Some(summary), Some(run)),
            (None, None, None) => (self.summary, self.runs.summarize),
            (None, _, _) => (None, None),
        };
        Self {
            downloaded: facts.downloaded.as_ref().or(self.downloaded),
            transcript: facts.transcript.as_ref().or(self.transcript),
            summary,
            run,
            runs: OutputRuns {
                download: facts.downloaded.as_ref().map(|_| run).or(self.runs.download),
                transcribe: facts.transcript.as_ref().map(|_| run).or(self.runs.transcribe),
                summarize,
            },
        }
    }

    fn is_silent(&self) -> bool {
        self.summary.is_none()
            && self
                .transcript
                .is_some_and(|fact| fact.data.text.trim().is_empty())
    }

    /// Time and length of a stage's work, where it did it.
    fn of(&self, stage: Stage) -> Option<(UnixMillis, u64)> {
        match stage {
            Stage::Download => self.downloaded.map(|fact| (fact.time, fact.data.elapsed_ms)),
            Stage::Transcribe => self.transcript.map(|fact| (fact.time, fact.data.elapsed_ms)),
            Stage::Summarize => self.summary.map(|fact| (fact.time, fact.data.elapsed_ms)),
        }
    }
}

fn progress_of(recording: &RecordingFacts, outputs: &Outputs<'_>, stages: &Stages) -> Progress {
    if Stage::ALL
        .into_iter()
        .any(|stage| stages.get(stage).state == StageState::Failed)
    {
        Progress::Failed
    } else if outputs.summary.is_some() {
        Progress::Processed
    } else if outputs.is_silent() {
        Progress::Silent
    } else if outputs.transcript.is_some() {
        Progress::Transcribed
    } else if outputs.downloaded.is_some() {
        Progress::Downloaded
    } else if recording.is_ready() {
        Progress::Recorded
    } else {
        Progress::Recording
    }
}

/// The stages of one recording that is not missing.
fn stages_of(recording: &RecordingFacts, outputs: &Outputs<'_>, failures: Option<&Failures>) -> Stages {
    // A re-run may begin in the middle: its first failure says that what stands before is done.
    let first_failed = failures.and_then(|failures| failures.keys().map(|(stage, _)| *stage).max());
    // Since when the stage at work can work: when its input was accepted.
    let mut input_at = recording.ready.as_ref().map(|fact| fact.time);
    let mut open = recording.is_ready();
    let mut blocked = false;
    let mut view = |stage: Stage| {
        let failure = failures.and_then(|failures| newest_failure(failures, stage));
        if let Some((done_at, elapsed_ms)) = outputs.of(stage) {
            input_at = Some(done_at);
            return StageView {
                attempt: failure
                    .map(|(attempt, _)| attempt)
                    .filter(|attempt| *attempt > 0)
                    .map(|attempt| attempt + 1),
                attempts_max: failure
                    .filter(|(attempt, _)| *attempt > 0)
                    .map(|(_, fact)| fact.data.attempts_max),
                since: Some(done_at.into()),
                elapsed_ms: Some(elapsed_ms),
                ..StageView::bare(StageState::Done)
            };
        }
        let later = Stage::ALL.into_iter().filter(|later| *later > stage);
        if later.into_iter().any(|later| outputs.of(later).is_some())
            || first_failed.is_some_and(|failed| failed > stage)
        {
            input_at = None;
            return StageView::bare(StageState::Done);
        }
        if blocked || (stage == Stage::Summarize && outputs.is_silent()) {
            return StageView::bare(StageState::Skipped);
        }
        if !std::mem::replace(&mut open, false) {
            return StageView::bare(StageState::Waiting);
        }
        match failure {
            None => StageView {
                since: input_at.map(Into::into),
                ..StageView::bare(StageState::Waiting)
            },
            Some((attempt, fact)) => {
                let state = match (attempt, fact.data.next_attempt_at) {
                    (0, _) => StageState::Waiting,
                    (_, Some(_)) => StageState::Retrying,
                    (_, None) => StageState::Failed,
                };
                blocked = state == StageState::Failed;
                StageView {
                    state,
                    attempt: Some(attempt).filter(|attempt| *attempt > 0),
                    attempts_max: Some(fact.data.attempts_max),
                    class: Some(fact.data.class),
                    text: Some(fact.data.text.clone()),
                    next_attempt_at: fact.data.next_attempt_at.map(Into::into),
                    since: Some(fact.time.into()),
                    elapsed_ms: None,
                }
            }
        }
    };
    Stages {
        download: view(Stage::Download),
        transcribe: view(Stage::Transcribe),
        summarize: view(Stage::Summarize),
    }
}

fn newest_failure(failures: &Failures, stage: Stage) -> Option<(u32, &Fact<StageFailed>)> {
    failures
        .range((stage, 0)..=(stage, u32::MAX))
        .next_back()
        .and_then(|((_, attempt), fact)| fact.as_ref().map(|fact| (*attempt, fact)))
}

fn tell_call(lead: &mut Lead, facts: &Facts) {
    if let Some(started) = facts.started.as_ref().map(|fact| &fact.data) {
        lead.phone = started.from.clone();
        lead.to = started.to.clone();
        lead.call.status = Some("in-progress".to_owned());
        lead.call.direction = Some(started.direction.clone()).filter(|direction| !direction.is_empty());
        let caller = started.caller.clone();
        lead.caller = CallerInfo {
            name: caller.name,
            city: caller.city,
            state: caller.state,
            zip: caller.zip,
            country: caller.country,
            forwarded_from: caller.forwarded_from,
            stir_verdict: caller.stir_verdict,
        };
    }
    if let Some(ended) = &facts.ended {
        lead.call.status = Some(ended.data.status.clone());
        lead.call.duration_s = ended.data.duration_s;
        lead.call.ended_at = Some(ended.data.ended_at.unwrap_or(ended.time).into());
    }
}

fn tell_texts(
    lead: &mut Lead,
    recordings: &[(&RecordingSid, &RecordingFacts)],
    shown: &Shown,
    person: &Person<'_>,
) {
    let mut transcripts: Vec<&str> = Vec::new();
    let mut summaries: Vec<&str> = Vec::new();
    let mut transcribers: Vec<String> = Vec::new();
    let mut summarizers: Vec<String> = Vec::new();
    let mut heard = false;
    for (sid, recording) in recordings {
        let outputs = shown.outputs(recording);
        // A person who listened is right, whatever an engine hears later.
        let text = person
            .text(sid)
            .or(outputs.transcript.map(|fact| fact.data.text.as_str()));
        if let Some(text) = text.map(str::trim) {
            heard = true;
            if !text.is_empty() {
                transcripts.push(text);
            }
        }
        if let Some(transcript) = outputs.transcript.map(|fact| &fact.data) {
            if !transcript.text.trim().is_empty() && lead.language.is_none() {
                lead.language = Some(transcript.language.clone()).filter(|language| !language.is_empty());
            }
            lead.segments
                .extend(transcript.segments.iter().map(|segment| LeadSegment {
                    recording_sid: (*sid).clone(),
                    start_ms: segment.start_ms,
                    end_ms: segment.end_ms,
                    channel: segment.channel,
                    speaker: segment.speaker,
                    text: segment.text.clone(),
                    // A number that is none has no JSON, and would not be equal to itself.
                    confidence: segment.confidence.filter(|confidence| confidence.is_finite()),
                }));
            name_engine(&mut transcribers, &transcript.engine, &transcript.model);
            tell_failed_engines(lead, sid, Stage::Transcribe, &transcript.failed_engines);
        }
        if let Some(summary) = outputs.summary.map(|fact| &fact.data) {
            summaries.push(summary.text.trim());
            if lead.summary_title.as_ref().is_none_or(String::is_empty) {
                lead.summary_title = Some(summary.title.clone());
            }
            lead.summary_points.extend(summary.points.iter().cloned());
            tell_said(lead, summary);
            name_engine(&mut summarizers, &summary.engine, &summary.model);
            tell_failed_engines(lead, sid, Stage::Summarize, &summary.failed_engines);
        }
    }
    lead.transcript = heard.then(|| transcripts.join("\n"));
    lead.summary = (!summaries.is_empty()).then(|| summaries.join("\n"));
    lead.engines.transcribe = (!transcribers.is_empty()).then(|| transcribers.join(", "));
    lead.engines.summarize = (!summarizers.is_empty()).then(|| summarizers.join(", "));
}

/// What the caller said besides; of several recordings, the first that has it.
fn tell_said(lead: &mut Lead, summary: &SummaryReady) {
    let said = |text: &Option<String>| {
        let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    if lead.caller_name.is_none() {
        lead.caller_name = said(&summary.caller_name);
    }
    if lead.callback_number.is_none() {
        lead.callback_number = said(&summary.callback_number).map(|number| number.as_str().into());
    }
    if lead.topic.is_none() {
        lead.topic = said(&summary.topic);
    }
    lead.urgency = lead.urgency.or(summary.urgency);
}

fn name_engine(names: &mut Vec<String>, engine: &str, model: &str) {
    let name = engine_name(engine, model);
    // A stage that heard nothing may have asked no engine.
    if !name.is_empty() && !names.contains(&name) {
        names.push(name);
    }
}

fn engine_name(engine: &str, model: &str) -> String {
    if model.is_empty() {
        engine.to_owned()
    } else {
        format!("{engine}:{model}")
    }
}

fn tell_failed_engines(lead: &mut Lead, sid: &RecordingSid, stage: Stage, failed: &[EngineFailure]) {
    lead.failed_engines
        .extend(failed.iter().map(|failure| FailedEngine {
            recording_sid: sid.clone(),
            stage,
            engine: failure.engine.clone(),
            model: failure.model.clone(),
            class: failure.class,
            text: failure.text.clone(),
            elapsed_ms: failure.elapsed_ms,
        }));
}
