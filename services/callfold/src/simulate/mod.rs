//! `callfold simulate`: plays Twilio against a running callfold, over HTTP, and tells how long everything took.

mod media;
mod player;
mod report;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use callfold_kit::lifecycle::Lifecycle;
use callfold_twilio::PublicUrl;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

pub use media::{Account, MediaHost};
pub use player::{Callback, HangUp, Message, PlayError, Played, Player, Script, Sent, What};
pub use report::Report;

use crate::client::{ApiClient, LeadChange};

/// Where the media host listens when nothing else is said.
pub const MEDIA_PORT: u16 = 5001;

/// What to play.
pub struct Plan {
    /// How many calls.
    pub calls: u32,
    /// How many calls begin in a second; `None`: one after another.
    pub rate: Option<f64>,
    /// The messages, used in turn.
    pub messages: Vec<Message>,
    /// The first caller; later ones count up.
    pub from: String,
    /// The number that is called.
    pub to: String,
    /// How often each webhook is sent.
    pub repeat: u32,
    /// When callers hang up.
    pub hang_up: HangUp,
    /// Whether speaking takes the time it takes.
    pub real_time: bool,
    /// Whether to wait for the cards, and how long at most.
    pub wait: Option<Duration>,
}

/// The messages that come with callfold: synthetic speech, known to the demonstration model.
pub fn demo_messages() -> Vec<Message> {
    macro_rules! message {
        ($n:literal) => {
            (
                concat!("message-", $n),
                include_bytes!(concat!(
                    "../../../transcriber/assets/samples/message-",
                    $n,
                    ".wav"
                ))
                .as_slice(),
            )
        };
    }
    [
        message!("1"),
        message!("2"),
        message!("3"),
        message!("4"),
        message!("5"),
        message!("6"),
    ]
    .into_iter()
    .filter_map(|(name, bytes)| message_from(name, Bytes::from_static(bytes)).ok())
    .collect()
}

/// A message from the bytes of a WAV or MP3 file.
pub fn message_from(name: &str, bytes: Bytes) -> anyhow::Result<Message> {
    let info =
        callfold_kit::audio::probe_reader(std::io::Cursor::new(bytes.clone()), Duration::from_secs(14_400))
            .with_context(|| format!("{name} is not a recording"))?;
    Ok(Message {
        name: name.to_owned(),
        audio: bytes,
        content_type: info.content_type,
        duration_ms: info.duration_ms,
    })
}

/// Reads messages from files.
pub fn messages_from(files: &[PathBuf]) -> anyhow::Result<Vec<Message>> {
    files
        .iter()
        .map(|file| {
            let bytes = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
            let name = file
                .file_stem()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            message_from(&name, bytes.into())
        })
        .collect()
}

/// Opens the media host's port on the loopback interface.
pub async fn open_media(port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpListener::bind(address).await.with_context(|| {
        format!("could not listen on {address} for the recordings; choose another with --media-port")
    })
}

/// Plays the plan. The media host lives as long as `lifecycle`.
pub async fn run(
    plan: &Plan,
    account: Account,
    public: PublicUrl,
    connect: &Url,
    listener: TcpListener,
    api: Option<&ApiClient>,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Report> {
    let media =
        MediaHost::start(listener, account.clone(), lifecycle).context("could not serve the recordings")?;
    let http = callfold_kit::http::client_builder()
        .build()
        .context("could not make an HTTP client")?;
    let player = Player::new(http, account, public, connect, media);
    let bar = ProgressBar::new(u64::from(plan.calls) * if plan.wait.is_some() { 2 } else { 1 });
    if let Ok(style) = ProgressStyle::with_template("{msg:12} {wide_bar} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message("calls");

    // Follow first, so that no change is missed.
    let (changes, mut changed) = mpsc::unbounded_channel::<(LeadChange, Instant)>();
    let mut followers = JoinSet::new();
    if let (Some(_), Some(api)) = (plan.wait, api) {
        let api = api.clone();
        followers.spawn(async move {
            api.follow(None, |change| changes.send((change, Instant::now())).is_ok())
                .await
        });
    }

    let began = Instant::now();
    let mut calls: JoinSet<Result<Played, PlayError>> = JoinSet::new();
    let mut report = Report::default();
    for n in 0..plan.calls {
        let script = Script {
            from: caller(&plan.from, n),
            to: plan.to.clone(),
            hang_up: plan.hang_up,
            repeat: plan.repeat,
            real_time: plan.real_time,
            ..Script::leaves(plan.messages[n as usize % plan.messages.len()].clone())
        };
        if let Some(rate) = plan.rate {
            tokio::time::sleep_until(began + Duration::from_secs_f64(f64::from(n) / rate)).await;
        }
        let player = player.clone();
        calls.spawn(async move { player.play(&script).await });
        if plan.rate.is_none() {
            report.take(calls.join_next().await, &bar);
        }
        while let Some(ended) = calls.try_join_next() {
            report.take(Some(ended), &bar);
        }
    }
    while let Some(ended) = calls.join_next().await {
        report.take(Some(ended), &bar);
    }
    report.played_for = began.elapsed();

    if let Some(patience) = plan.wait {
        let api = api.context("waiting for cards needs the API token (--api-token-file)")?;
        bar.set_message("cards");
        wait_for_cards(&mut report, api, &mut changed, &mut followers, patience, &bar).await?;
    }
    bar.finish_and_clear();
    Ok(report)
}

/// Waits until each call's card has come to an end.
async fn wait_for_cards(
    report: &mut Report,
    api: &ApiClient,
    changed: &mut mpsc::UnboundedReceiver<(LeadChange, Instant)>,
    followers: &mut JoinSet<Result<(), callfold_kit::lifecycle::BoxError>>,
    patience: Duration,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let hung_up: HashMap<String, Instant> = report
        .calls
        .iter()
        .map(|call| (call.call_sid.clone(), call.hung_up))
        .collect();
    let deadline = Instant::now() + patience;
    // A change between the first subscription and the first call cannot be ours; one that was missed is asked for here.
    let mut ask = tokio::time::interval(Duration::from_secs(2));
    while report.cards.len() < hung_up.len() {
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => break,
            Some((change, at)) = changed.recv() => {
                if change.is_final() && let Some(end) = hung_up.get(&change.call_sid) {
                    let took = at.saturating_duration_since(*end);
                    if report.cards.insert(change.call_sid, (change.status, took)).is_none() {
                        bar.inc(1);
                    }
                }
            }
            Some(ended) = followers.join_next() => {
                if let Ok(Err(error)) = ended {
                    return Err(anyhow::anyhow!("{}", callfold_kit::chain(&*error)));
                }
            }
            _ = ask.tick() => {
                let missing: Vec<String> =
                    hung_up.keys().filter(|sid| !report.cards.contains_key(*sid)).take(20).cloned().collect();
                for sid in missing {
                    let lead = api.lead(&sid).await.map_err(|error| anyhow::anyhow!("{}", callfold_kit::chain(&*error)))?;
                    let status = lead.as_ref().and_then(|lead| lead.get("status")?.as_str());
                    if let Some(status) = status.filter(|status| crate::client::is_final(status)) {
                        let took = hung_up.get(&sid).map_or(Duration::ZERO, |end| end.elapsed());
                        report.cards.insert(sid, (status.to_owned(), took));
                        bar.inc(1);
                    }
                }
            }
        }
    }
    Ok(())
}

/// The `n`th caller: an E.164 number counts up, anything else (`anonymous`) stays.
fn caller(first: &str, n: u32) -> String {
    let Some(digits) = first.strip_prefix('+') else {
        return first.to_owned();
    };
    match digits.parse::<u64>() {
        Ok(number) => format!("+{:0width$}", number + u64::from(n), width = digits.len()),
        Err(_) => first.to_owned(),
    }
}
