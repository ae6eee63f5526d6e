//! Counts of what became of an API's batches, for the metrics page.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bounds of the time that the first call of a batch waited, in seconds.
pub const WAIT_BOUNDS: [f64; 8] = [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];

/// Why a batch was sent as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing else waited, and a worker was idle.
    Idle,
    /// More would have been too many, or too late.
    Full,
}

/// The counts of one API.
#[derive(Debug)]
pub struct Batches {
    /// Upper bounds of the sizes: powers of two up to the largest batch.
    pub bounds: Vec<u64>,
    counts: Mutex<Counts>,
}

/// How often what happened.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Batches of at most as many rows as the bound of the same place, and of more than the one before; the last are
    /// larger than all bounds.
    pub sizes: Vec<u64>,
    /// Rows of all batches.
    pub rows: u64,
    /// Batches sent because nothing else waited.
    pub idle: u64,
    /// Batches sent because there was no room for more.
    pub full: u64,
    /// Calls given up.
    pub shed: u64,
    /// Batches by how long their first call had waited, as `sizes`.
    pub waits: Vec<u64>,
    /// Seconds that the first calls have waited.
    pub waited: f64,
}

impl Batches {
    /// Begins to count batches of at most `max_rows`.
    pub fn new(max_rows: u64) -> Self {
        let powers = std::iter::successors(Some(1u64), |bound| bound.checked_mul(2));
        let bounds: Vec<u64> = powers.take_while(|bound| *bound < max_rows).chain([max_rows]).collect();
        let sizes = vec![0; bounds.len() + 1];
        let counts = Counts { sizes, waits: vec![0; WAIT_BOUNDS.len() + 1], ..Counts::default() };
        Self { bounds, counts: Mutex::new(counts) }
    }

    /// Counts a batch.
    pub fn dispatched(&self, rows: u64, waited: Duration, reason: Reason) {
        let seconds = waited.as_secs_f64();
        let mut counts = self.lock();
        counts.sizes[self.bounds.partition_point(|bound| *bound < rows)] += 1;
        counts.waits[WAIT_BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        counts.rows += rows;
        counts.waited += seconds;
        match reason {
            Reason::Idle => counts.idle += 1,
            Reason::Full => counts.full += 1,
        }
    }

    /// Counts a call that was given up.
    pub fn shed(&self) {
        self.lock().shed += 1;
    }

    /// Returns the counts as they are now.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics while the lock is held.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counted_below_powers_of_two() {
        let batches = Batches::new(100);
        assert_eq!(batches.bounds, [1, 2, 4, 8, 16, 32, 64, 100]);
        for rows in [1, 3, 4, 100, 5000] {
            batches.dispatched(rows, Duration::from_millis(2), Reason::Idle);
        }
        batches.shed();
        let counts = batches.counts();
        assert_eq!(counts.sizes, [1, 0, 2, 0, 0, 0, 0, 1, 1]);
        assert_eq!((counts.rows, counts.idle, counts.full, counts.shed), (5108, 5, 0, 1));
        assert_eq!(counts.waits[2], 5);
        assert_eq!(Batches::new(1).bounds, [1]);
    }
}
