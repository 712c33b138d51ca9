//! The time of day comes in as an argument, so that tests decide it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use callfold_schema::UnixMillis;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// As long as a day's text is.
const DAY_CHARS: usize = "2026-11-22".len();

/// What a person writes for a moment: RFC 3339, or a day of `zone` (`2026-11-22`), which is its beginning, or with `end`
/// the beginning of the next one, so that an end includes its day. `None`: it is neither.
pub fn moment(text: &str, zone: &TimeZone, end: bool) -> Option<UnixMillis> {
    let text = text.trim();
    // A day would also be read from a time without a zone, and the time be lost.
    if text.len() > DAY_CHARS {
        return UnixMillis::parse_rfc3339(text);
    }
    let day: Date = text.parse().ok()?;
    let day = if end { day.tomorrow().ok()? } else { day };
    let start = day.to_zoned(zone.clone()).ok()?;
    Some(UnixMillis(start.timestamp().as_millisecond()))
}

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixMillis;
}

/// A clock that parts of a process share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where the machine's clock is read"
        )]
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = match since {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        UnixMillis(millis)
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// A clock that shows `now`.
    pub fn at(now: UnixMillis) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now.0)))
    }

    /// Moves it by so many milliseconds.
    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_day_of_the_zone_or_a_time_with_its_own() {
        let jerusalem = TimeZone::get("Asia/Jerusalem").expect("it is bundled");
        let of = |text: &str, zone: &TimeZone, end| moment(text, zone, end).map(UnixMillis::rfc3339);
        let day = |end| of("2026-11-22", &jerusalem, end);
        assert_eq!(day(false).as_deref(), Some("2026-11-21T22:00:00.000Z"));
        assert_eq!(day(true).as_deref(), Some("2026-11-22T22:00:00.000Z"));
        let utc = of(" 2026-11-22 ", &TimeZone::UTC, false);
        assert_eq!(utc.as_deref(), Some("2026-11-22T00:00:00.000Z"));
        let time = of("2026-11-22T12:00:00+02:00", &jerusalem, true);
        assert_eq!(time.as_deref(), Some("2026-11-22T10:00:00.000Z"));
        for neither in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-11-22T10:00:00",
            "2026-11-22 10:00",
        ] {
            assert_eq!(of(neither, &jerusalem, false), None, "{neither}");
        }
    }
}
