//! When to try again, and how long to wait before.

use std::time::Duration;

use super::error::RegistryError;

/// How transient errors are repeated.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// Attempts in all that end without any progress.
    pub attempts: u32,
    /// Pause after the first failure; each further one is twice as long.
    pub first: Duration,
    /// Longest pause. A registry that asks for more is not waited for.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { attempts: 6, first: Duration::from_millis(500), longest: Duration::from_mins(1) }
    }
}

/// The state of one repeated operation.
pub(super) struct Attempts<'a> {
    backoff: &'a Backoff,
    failed: u32,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(backoff: &'a Backoff) -> Self {
        Self { backoff, failed: 0 }
    }

    /// Something was achieved: the next failure counts as the first.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits for the next attempt; gives the error back when there is none.
    pub(super) async fn after(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.failed += 1;
        let wanted = error.retry_after();
        let is_too_long = wanted.is_some_and(|wanted| wanted > self.backoff.longest);
        if !error.is_transient() || self.failed >= self.backoff.attempts || is_too_long {
            return Err(error);
        }
        tokio::time::sleep(self.pause().max(wanted.unwrap_or_default())).await;
        Ok(())
    }

    /// Half of the pause is fixed, half is random, so that clients that failed together do not return together.
    fn pause(&self) -> Duration {
        let doubled = self.backoff.first.saturating_mul(1 << (self.failed - 1).min(16));
        let pause = doubled.min(self.backoff.longest);
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
            let pause = Attempts { backoff: &backoff, failed }.pause();
            let most = Duration::from_secs(most);
            assert!(pause <= most && pause >= most / 2, "{failed}: {pause:?}");
        }
    }
}
