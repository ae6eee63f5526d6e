//! How long to wait before a request is tried again.

use std::time::Duration;

/// How transient errors are repeated.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// Attempts in all that end without any progress.
    pub attempts: u32,
    /// Pause after the first failure; each further one is twice as long.
    pub first: Duration,
    /// Longest pause. A server that asks for more is not waited for.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { attempts: 6, first: Duration::from_millis(500), longest: Duration::from_mins(1) }
    }
}

impl Backoff {
    /// The pause after so many failures, at least one. Half of it is fixed, half is random, so that clients that failed
    /// together do not return together.
    pub fn pause(&self, failed: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failed.saturating_sub(1).min(16));
        let pause = doubled.min(self.longest);
        // Without randomness the pause is still right, only not spread.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0 + 0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff { attempts: 9, first: Duration::from_secs(1), longest: Duration::from_secs(5) };
        for (failed, most) in [(1, 1), (2, 2), (3, 4), (4, 5), (40, 5)] {
            let pause = backoff.pause(failed);
            let most = Duration::from_secs(most);
            assert!(pause <= most && pause >= most / 2, "{failed}: {pause:?}");
        }
    }
}
