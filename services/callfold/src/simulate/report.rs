//! How long everything took, as a table.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::ProgressBar;

use super::player::{PlayError, Played, What};

/// What happened.
#[derive(Debug, Default)]
pub struct Report {
    /// Calls that were played to their end.
    pub calls: Vec<Played>,
    /// Calls that were not, and why.
    pub failed: Vec<PlayError>,
    /// Call → how its card ended, and how long after hang-up.
    pub cards: HashMap<String, (String, Duration)>,
    /// How long the calls took altogether.
    pub played_for: Duration,
}

impl Report {
    pub(super) fn take(
        &mut self,
        ended: Option<Result<Result<Played, PlayError>, tokio::task::JoinError>>,
        bar: &ProgressBar,
    ) {
        bar.inc(1);
        match ended {
            Some(Ok(Ok(played))) => self.calls.push(played),
            Some(Ok(Err(error))) => self.failed.push(error),
            Some(Err(_)) => self
                .failed
                .push(PlayError::NotTwiml("the player panicked".to_owned())),
            None => {}
        }
    }

    /// Whether every request was answered 2xx and, where cards were waited for, each came to an end.
    pub fn is_clean(&self, waited: bool) -> bool {
        self.failed.is_empty()
            && self
                .calls
                .iter()
                .flat_map(|call| &call.sent)
                .all(|sent| matches!(sent.status, Some(200..300)))
            && (!waited || self.cards.len() == self.calls.len())
    }

    fn times(&self, voice: bool) -> Times {
        Times::of(
            self.calls
                .iter()
                .flat_map(|call| &call.sent)
                .filter(|sent| (sent.what == What::Voice) == voice)
                .map(|sent| sent.took),
        )
    }
}

/// Percentiles of durations, kept with three significant digits.
struct Times(Histogram<u64>);

impl Times {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        // From 1 µs to an hour; longer times count as an hour.
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order");
        for time in times {
            histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
        Self(histogram)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "{:>7}", 0);
        }
        let at = |quantile: f64| millis(Duration::from_micros(self.0.value_at_quantile(quantile)));
        write!(
            f,
            "{:>7}   p50 {:>10}   p90 {:>10}   p99 {:>10}   max {:>10}",
            self.0.len(),
            at(0.5),
            at(0.9),
            at(0.99),
            millis(Duration::from_micros(self.0.max()))
        )
    }
}

fn millis(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.calls.len() as f64 / self.played_for.as_secs_f64().max(0.001);
        writeln!(
            f,
            "calls            {:>7}   {rate:.1}/s in {:.1} s",
            self.calls.len(),
            self.played_for.as_secs_f64()
        )?;
        writeln!(f, "voice webhook    {}", self.times(true))?;
        writeln!(f, "callbacks        {}", self.times(false))?;
        let refused = self
            .calls
            .iter()
            .flat_map(|call| &call.sent)
            .filter(|sent| !matches!(sent.status, Some(200..300)))
            .count();
        let retried = self
            .calls
            .iter()
            .flat_map(|call| &call.sent)
            .filter(|sent| sent.tries > 1)
            .count();
        if refused + retried > 0 {
            writeln!(f, "not answered 2xx {refused:>7}   tried again {retried}")?;
        }
        if !self.failed.is_empty() {
            writeln!(
                f,
                "calls broken off {:>7}   {}",
                self.failed.len(),
                callfold_kit::chain(&self.failed[0])
            )?;
        }
        if !self.cards.is_empty() {
            writeln!(
                f,
                "hang-up to card  {}",
                Times::of(self.cards.values().map(|(_, took)| *took))
            )?;
            let mut ends: HashMap<&str, usize> = HashMap::new();
            for (status, _) in self.cards.values() {
                *ends.entry(status).or_default() += 1;
            }
            let mut ends: Vec<_> = ends.into_iter().collect();
            ends.sort_unstable();
            for (status, count) in ends {
                writeln!(f, "  {status:<14} {count:>7}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_they_were() {
        let text = Times::of([2, 2, 2, 9_500].map(Duration::from_millis).into_iter()).to_string();
        assert!(text.contains("p50     2.0 ms"), "{text}");
        assert!(
            text.contains("max  9502.7 ms") || text.contains("max  9500.0 ms"),
            "{text}"
        );
    }
}
