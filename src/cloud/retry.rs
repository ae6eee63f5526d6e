//! Trying again what failed by chance.

use super::error::CloudError;
use crate::http::Backoff;

/// Attempts with a fresh signed URL before a refusal counts: clocks differ, and a URL may expire while it is used.
const FRESH_URLS: u32 = 3;

/// Repeats an attempt until it succeeds, or fails in a way that time does not heal.
pub(super) async fn repeat<T>(
    backoff: &Backoff,
    mut attempt: impl AsyncFnMut() -> Result<T, CloudError>,
) -> Result<T, CloudError> {
    let mut failed = 0;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        failed += 1;
        let is_worth_it = if error.is_expired() { failed < FRESH_URLS } else { error.is_transient() };
        if !is_worth_it || failed >= backoff.attempts {
            return Err(error);
        }
        tokio::time::sleep(backoff.pause(failed)).await;
    }
}
