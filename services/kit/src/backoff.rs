//! How long to wait before the next attempt.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Exponential delays with jitter, bounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first delay.
    pub base: Duration,
    /// The longest delay.
    pub max: Duration,
    /// What each delay is multiplied with for the next one.
    pub factor: f64,
    /// The share of a delay that is random: 0.2 means 80 to 120 %.
    pub jitter: f64,
}

impl Backoff {
    /// The delay after the `attempt`th failure, from 1.
    pub fn delay(&self, attempt: u32, rng: &mut impl Rng) -> Duration {
        let exponent = f64::from(attempt.saturating_sub(1).min(64));
        let plain = (self.base.as_secs_f64() * self.factor.powf(exponent)).min(self.max.as_secs_f64());
        let spread = 1.0 + self.jitter * (rng.random::<f64>() * 2.0 - 1.0);
        Duration::from_secs_f64(plain * spread)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn delays_grow_up_to_the_bound_and_spread_by_the_jitter() {
        let backoff = Backoff {
            base: Duration::from_secs(1),
            max: Duration::from_secs(60),
            factor: 3.0,
            jitter: 0.2,
        };
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        for (attempt, middle) in [(1, 1.0), (2, 3.0), (3, 9.0), (9, 60.0), (u32::MAX, 60.0)] {
            let delay = backoff.delay(attempt, &mut rng).as_secs_f64();
            assert!(
                (middle * 0.8..=middle * 1.2).contains(&delay),
                "attempt {attempt}: {delay}"
            );
        }
    }
}
