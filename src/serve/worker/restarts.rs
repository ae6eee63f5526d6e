//! When a worker that has ended is started again.
//!
//! One that has answered calls is started at once: it could serve, and what has ended it may not come again. One that
//! has not is waited for longer each time. So that a worker that every other call ends does not do nothing but start,
//! the starts at once are counted: a few can come one after another, many only one each second.

use std::time::{Duration, Instant};

/// The pause after the first failure; it doubles with each further one.
const BACKOFF: Duration = Duration::from_millis(100);

/// The longest pause.
const BACKOFF_LIMIT: Duration = Duration::from_secs(10);

/// A worker that has run for this long could serve, though nobody has called it.
const SETTLED: Duration = Duration::from_secs(10);

/// How many starts at once may follow one another.
const BURST: u32 = 10;

/// How soon there may be one more.
const REFILL: Duration = Duration::from_secs(1);

/// How a worker's life was.
#[derive(Clone, Copy, Debug)]
pub struct Lived {
    /// How long it took calls.
    pub served: Duration,
    /// Whether it has answered any.
    pub has_answered: bool,
}

/// What is remembered of the lives of one worker.
#[derive(Debug)]
pub struct Restarts {
    failures: u32,
    budget: u32,
    /// Up to when the budget has been filled.
    filled: Instant,
}

impl Restarts {
    /// Begins at `now`, with nothing to remember.
    pub fn new(now: Instant) -> Self {
        Self { failures: 0, budget: BURST, filled: now }
    }

    /// Returns how many starts have failed one after another.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes note of an end; returns the pause before the next start.
    pub fn ended(&mut self, lived: Lived, now: Instant) -> Duration {
        if !(lived.has_answered || lived.served >= SETTLED) {
            self.failures += 1;
            return BACKOFF.saturating_mul(2u32.saturating_pow(self.failures - 1)).min(BACKOFF_LIMIT);
        }
        self.failures = 0;
        self.refill(now);
        if let Some(left) = self.budget.checked_sub(1) {
            self.budget = left;
            return Duration::ZERO;
        }
        // The next piece of the budget is used up before it comes.
        self.filled += REFILL;
        self.filled.saturating_duration_since(now)
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        let pieces = u32::try_from(passed.as_millis() / REFILL.as_millis()).unwrap_or(u32::MAX);
        self.filled += REFILL.saturating_mul(pieces.min(BURST));
        self.budget = self.budget.saturating_add(pieces).min(BURST);
        if self.budget == BURST {
            self.filled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEVER_READY: Lived = Lived { served: Duration::ZERO, has_answered: false };
    const USEFUL: Lived = Lived { served: Duration::from_millis(300), has_answered: true };

    #[test]
    fn a_worker_that_cannot_start_is_waited_for_longer_each_time() {
        let now = Instant::now();
        let mut restarts = Restarts::new(now);
        let pauses: Vec<u128> = (0..9).map(|_| restarts.ended(NEVER_READY, now).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(restarts.failures(), 9);
        assert_eq!(restarts.ended(USEFUL, now), Duration::ZERO);
        assert_eq!(restarts.failures(), 0);
        let idle = Lived { served: SETTLED, has_answered: false };
        assert_eq!(restarts.ended(idle, now), Duration::ZERO);
    }

    #[test]
    fn a_useful_worker_starts_at_once_until_it_ends_all_the_time() {
        let begun = Instant::now();
        let mut restarts = Restarts::new(begun);
        for _ in 0..BURST {
            assert_eq!(restarts.ended(USEFUL, begun), Duration::ZERO);
        }
        assert_eq!(restarts.ended(USEFUL, begun), REFILL);
        assert_eq!(restarts.ended(USEFUL, begun + REFILL), REFILL);
        // One each second is always within the budget.
        let mut restarts = Restarts::new(begun);
        for second in 1..1000 {
            assert_eq!(restarts.ended(USEFUL, begun + REFILL * second), Duration::ZERO);
        }
    }

    proptest! {
        /// However they end, there are never more starts than the budget allows.
        #[test]
        fn starts_at_once_are_bounded(steps in proptest::collection::vec(0u64..3000, 1..200)) {
            let begun = Instant::now();
            let (mut now, mut restarts) = (begun, Restarts::new(begun));
            for (count, step) in (1u32..).zip(steps) {
                now += Duration::from_millis(step);
                now += restarts.ended(USEFUL, now);
                let allowed = u128::from(BURST) + now.duration_since(begun).as_millis() / REFILL.as_millis();
                prop_assert!(u128::from(count) <= allowed, "{count} of {allowed}");
            }
        }
    }
}
