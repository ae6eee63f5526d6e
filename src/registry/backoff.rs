//! When to try again, and how long to wait before.

use super::error::RegistryError;
pub use crate::http::Backoff;

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
        tokio::time::sleep(self.backoff.pause(self.failed).max(wanted.unwrap_or_default())).await;
        Ok(())
    }
}
