//! A lead card as text, for the terminal.

use std::fmt::Write;

use serde_json::Value;

/// The card of a lead, with how long each stage took.
pub fn render(lead: &Value, story: &Value) -> String {
    let text = |pointer: &str| lead.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut card = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing into a String does not fail.
            let _ = writeln!(card, "  {name:<11} {value}");
        }
    };
    line("from", text("/phone"));
    line("to", text("/to"));
    line("status", text("/status"));
    line("name", text("/caller_name"));
    line("call back", text("/callback_number"));
    line("topic", text("/topic"));
    line("urgency", text("/urgency"));
    line("title", text("/summary_title"));
    for point in lead
        .pointer("/summary_points")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        line("", &format!("• {}", point.as_str().unwrap_or_default()));
    }
    line("transcript", text("/transcript"));
    for failed in lead
        .pointer("/failed_engines")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let of = |name: &str| failed.get(name).and_then(Value::as_str).unwrap_or_default();
        line(
            "no answer",
            &format!("{} ({}): {}", of("engine"), of("stage"), of("text")),
        );
    }
    line("speech by", text("/engines/transcribe"));
    line("summary by", text("/engines/summarize"));
    for (name, took) in stage_times(story) {
        line(&name, &took);
    }
    card
}

/// `download 12 ms`, …, and the time from the recording's callback to the summary.
fn stage_times(story: &Value) -> Vec<(String, String)> {
    let events = story
        .get("events")
        .or(Some(story))
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut times = Vec::new();
    let mut ready = None;
    let mut done = None;
    for event in &events {
        let kind = event.get("kind").and_then(Value::as_str).unwrap_or_default();
        let at = event
            .get("time")
            .and_then(Value::as_str)
            .and_then(callfold_schema::UnixMillis::parse_rfc3339)
            .map(|moment| moment.0);
        let elapsed = event.pointer("/data/elapsed_ms").and_then(Value::as_u64);
        let stage = match kind {
            "recording_ready" => {
                ready = ready.or(at);
                continue;
            }
            "recording_downloaded" => "download",
            "transcript_ready" => "transcribe",
            "summary_ready" => "summarize",
            _ => continue,
        };
        done = at.or(done);
        if let Some(elapsed) = elapsed {
            times.push((stage.to_owned(), format!("{elapsed} ms")));
        }
    }
    if let (Some(ready), Some(done)) = (ready, done) {
        times.push((
            "in all".to_owned(),
            format!("{} ms from the recording's callback to the summary", done - ready),
        ));
    }
    times
}
