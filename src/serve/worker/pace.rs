//! Whether an API's calls are so short that a worker's way back to the front costs as much as they do.

use std::time::Duration;

/// Calls below this are short: one that waits behind another at a worker, while a second worker becomes free, loses no
/// more than that.
const SHORT: Duration = Duration::from_millis(2);

/// What the last call counts in the mean: one of a second makes a row of short ones long for the next fifty.
const WEIGHT: f64 = 0.1;

/// How long the calls of an API took lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    mean: Option<f64>,
}

impl Pace {
    /// Takes note of a call.
    pub fn learn(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let mean = self.mean.unwrap_or(seconds);
        self.mean = Some(mean + WEIGHT * (seconds - mean));
    }

    /// Tells whether calls are short; unknown ones are not.
    pub fn is_brisk(self) -> bool {
        self.mean.is_some_and(|mean| mean < SHORT.as_secs_f64())
    }

    /// Tells whether a call that has run for so long is no longer short.
    pub fn is_late(duration: Duration) -> bool {
        duration >= SHORT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_call_counts_for_many_short_ones() {
        let mut pace = Pace::default();
        assert!(!pace.is_brisk());
        pace.learn(Duration::from_millis(1));
        assert!(pace.is_brisk());
        pace.learn(Duration::from_secs(1));
        let calls = (0..100).take_while(|_| {
            pace.learn(Duration::from_millis(1));
            !pace.is_brisk()
        });
        assert!((30..60).contains(&calls.count()));
    }
}
