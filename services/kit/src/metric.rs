//! Prometheus metrics. Every name is a variant here; labels come from closed sets, never from what a stranger sent.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Label names and values.
pub type Labels = Vec<(&'static str, String)>;

type CounterFamily = Family<Labels, Counter>;
type GaugeFamily = Family<Labels, Gauge<f64, AtomicU64>>;
type HistogramFamily = Family<Labels, Histogram, fn() -> Histogram>;

fn seconds_histogram() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    ])
}

macro_rules! metrics {
    (
        counters { $($counter:ident = $counter_name:literal, $counter_help:literal;)* }
        gauges { $($gauge:ident = $gauge_name:literal, $gauge_help:literal;)* }
        histograms { $($histogram:ident = $histogram_name:literal, $histogram_help:literal;)* }
    ) => {
        /// Things that are counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CounterName { $(#[doc = $counter_help] $counter),* }
        /// Things that have a value now.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum GaugeName { $(#[doc = $gauge_help] $gauge),* }
        /// Durations, in seconds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum HistogramName { $(#[doc = $histogram_help] $histogram),* }

        const COUNTERS: &[(CounterName, &str, &str)] = &[$((CounterName::$counter, $counter_name, $counter_help)),*];
        const GAUGES: &[(GaugeName, &str, &str)] = &[$((GaugeName::$gauge, $gauge_name, $gauge_help)),*];
        const HISTOGRAMS: &[(HistogramName, &str, &str)] =
            &[$((HistogramName::$histogram, $histogram_name, $histogram_help)),*];
    };
}

metrics! {
    counters {
        Webhooks = "callfold_webhooks", "Webhook requests by route and outcome.";
        WebhookEventsLost = "callfold_webhook_events_lost", "Events of webhooks that could not be made durable.";
        EventsPublished = "callfold_events_published", "Events published by kind and outcome.";
        StageJobs = "callfold_stage_jobs", "Jobs of a stage by outcome.";
        StageFailures = "callfold_stage_failures", "Failed attempts of a stage by class.";
        PullErrors = "callfold_pull_errors", "Recoverable errors of the broker's pull requests.";
        EventsFolded = "callfold_events_folded", "Events folded into the lead table.";
        EventsUnreadable = "callfold_events_unreadable", "Events that could not be decoded.";
        EngineCalls = "callfold_engine_calls", "Calls of an engine by stage, engine and outcome.";
        MediaBytes = "callfold_media_bytes", "Bytes of recordings fetched.";
        MediaHostsRefused = "callfold_media_hosts_refused", "Recordings refused because of their host.";
        RecordingsMissing = "callfold_recordings_missing", "Recordings found missing by deadline.";
        Reconciled = "callfold_reconciled_events", "Events that Twilio's lists told of and no webhook did, by kind.";
        ReconcileFailures = "callfold_reconcile_failures", "Looks at Twilio's lists that failed.";
        CallsErased = "callfold_calls_erased", "Calls of which nothing is left.";
        EventsErased = "callfold_events_erased", "Events deleted because their call was erased.";
        ApiRequests = "callfold_api_requests", "API and page requests by route and status class.";
        Notifications = "callfold_notifications", "People told of new leads, by way and outcome.";
        SignIns = "callfold_sign_ins", "Sign-ins by outcome.";
    }
    gauges {
        ProjectorPosition = "callfold_projector_position", "Stream position of the lead table.";
        ProjectorLag = "callfold_projector_lag_events", "Events that the lead table does not have yet.";
        StageBusy = "callfold_stage_busy", "Jobs of a stage in hand.";
        StageHeld = "callfold_stage_held", "Retries of a stage that are due and wait for a free slot.";
        EngineState = "callfold_engine_state", "Speech engines: 0 working, 1 tried with one recording, 2 resting.";
        SummaryEngineState = "callfold_summary_engine_state", "Models for summaries: 0 working, 1 tried with one transcript, 2 resting.";
        OpenCalls = "callfold_open_calls", "Calls whose recording is still expected.";
        SseClients = "callfold_sse_clients", "Clients that follow live updates.";
        NumbersMistakes = "callfold_numbers_mistakes", "Mistakes because of which the file of the numbers' settings is not in force.";
        BrokerConnected = "callfold_broker_connected", "1 when the broker is connected.";
    }
    histograms {
        WebhookSeconds = "callfold_webhook_seconds", "Time to answer a webhook by route.";
        PublishSeconds = "callfold_publish_seconds", "Time to the broker's acknowledgement.";
        StageSeconds = "callfold_stage_seconds", "Time of one attempt of a stage.";
        EngineSeconds = "callfold_engine_seconds", "Time of one call of an engine by stage, engine and outcome.";
        ApplySeconds = "callfold_apply_seconds", "Time to write one batch into the lead table.";
        ApiSeconds = "callfold_api_seconds", "Time to answer an API or page request.";
        AgeAtProcessedSeconds = "callfold_age_at_processed_seconds", "Time from the end of the recording to the finished card.";
    }
}

/// The metrics of one process.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    counters: Arc<Vec<CounterFamily>>,
    gauges: Arc<Vec<GaugeFamily>>,
    histograms: Arc<Vec<HistogramFamily>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let counters = COUNTERS
            .iter()
            .map(|(_, name, help)| {
                let family = CounterFamily::default();
                registry.register(*name, help.trim_end_matches('.'), family.clone());
                family
            })
            .collect();
        let gauges = GAUGES
            .iter()
            .map(|(_, name, help)| {
                let family = GaugeFamily::default();
                registry.register(*name, help.trim_end_matches('.'), family.clone());
                family
            })
            .collect();
        let histograms = HISTOGRAMS
            .iter()
            .map(|(_, name, help)| {
                let family: HistogramFamily = Family::new_with_constructor(seconds_histogram);
                registry.register(*name, help.trim_end_matches('.'), family.clone());
                family
            })
            .collect();
        Self {
            registry: Arc::new(registry),
            counters: Arc::new(counters),
            gauges: Arc::new(gauges),
            histograms: Arc::new(histograms),
        }
    }
}

fn own(labels: &[(&'static str, &str)]) -> Labels {
    labels
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

impl Metrics {
    /// A registry with every metric at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one.
    pub fn count(&self, name: CounterName, labels: &[(&'static str, &str)]) {
        self.count_many(name, labels, 1);
    }

    /// Counts `n`.
    pub fn count_many(&self, name: CounterName, labels: &[(&'static str, &str)], n: u64) {
        self.counters[name as usize].get_or_create(&own(labels)).inc_by(n);
    }

    /// What was counted so far.
    pub fn counted(&self, name: CounterName, labels: &[(&'static str, &str)]) -> u64 {
        self.counters[name as usize].get_or_create(&own(labels)).get()
    }

    /// Sets a value.
    pub fn set(&self, name: GaugeName, labels: &[(&'static str, &str)], value: f64) {
        self.gauges[name as usize].get_or_create(&own(labels)).set(value);
    }

    /// Notes a duration in seconds.
    pub fn observe(&self, name: HistogramName, labels: &[(&'static str, &str)], seconds: f64) {
        self.histograms[name as usize]
            .get_or_create(&own(labels))
            .observe(seconds);
    }

    /// The text that `/metrics` answers (OpenMetrics).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail; an error of the encoder would be one of this program.
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("could not encode the metrics");
        }
        // The encoder writes `name{}` where there are no labels: allowed, but not what people search for.
        text.replace("{} ", " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_shows_up_under_its_name() {
        let metrics = Metrics::new();
        metrics.count(CounterName::Webhooks, &[("route", "voice"), ("outcome", "ok")]);
        metrics.set(GaugeName::ProjectorLag, &[], 3.0);
        metrics.observe(HistogramName::WebhookSeconds, &[("route", "voice")], 0.004);
        let text = metrics.render();
        assert!(
            text.contains("callfold_webhooks_total{route=\"voice\",outcome=\"ok\"} 1"),
            "{text}"
        );
        assert!(text.contains("callfold_projector_lag_events 3.0"), "{text}");
        assert!(
            text.contains("callfold_webhook_seconds_count{route=\"voice\"} 1"),
            "{text}"
        );
    }
}
