//! Learns how long a batch takes: a fixed part and one for each row, from the batches seen lately.

use std::time::Duration;

/// The first batches of a worker load and compile things: they say nothing about later ones (upstream skips as many).
const SKIPPED: u32 = 2;

/// What a batch still counts after each further one: the last fifty make up most of the estimate.
const DECAY: f64 = 0.98;

/// The most by which one batch can exceed what was expected: a pause of the machine is no new truth.
const OUTLIER: f64 = 4.0;

/// Below this spread of sizes, their squared deviation, no line can be drawn through the durations.
const SPREAD: f64 = 0.05;

/// How long batches take, as far as they have been seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    seen: u32,
    weight: f64,
    rows: f64,
    seconds: f64,
    rows_squared: f64,
    rows_seconds: f64,
}

impl Estimate {
    /// Takes note of a batch.
    pub fn learn(&mut self, rows: u64, duration: Duration) {
        self.seen = self.seen.saturating_add(1);
        if self.seen <= SKIPPED {
            return;
        }
        let (rows, mut seconds) = (as_number(rows), duration.as_secs_f64());
        if self.weight > 1.0 {
            seconds = seconds.min(OUTLIER * self.seconds(rows).max(f64::EPSILON));
        }
        let add = |sum: &mut f64, value: f64| *sum = *sum * DECAY + value;
        add(&mut self.weight, 1.0);
        add(&mut self.rows, rows);
        add(&mut self.seconds, seconds);
        add(&mut self.rows_squared, rows * rows);
        add(&mut self.rows_seconds, rows * seconds);
    }

    /// Returns how long a batch of `rows` will take; `None` before some have been seen.
    pub fn duration(&self, rows: u64) -> Option<Duration> {
        let is_known = self.weight > 0.0;
        is_known.then(|| Duration::try_from_secs_f64(self.seconds(as_number(rows))).unwrap_or(Duration::MAX))
    }

    fn seconds(&self, rows: f64) -> f64 {
        let (mean_rows, mean_seconds) = (self.rows / self.weight, self.seconds / self.weight);
        let spread = self.rows_squared / self.weight - mean_rows * mean_rows;
        if spread < SPREAD {
            // All were of one size: smaller ones take as long at most, larger ones longer in proportion.
            return mean_seconds * (rows / mean_rows.max(1.0)).max(1.0);
        }
        let together = self.rows_seconds / self.weight - mean_rows * mean_seconds;
        let each = (together / spread).max(0.0);
        let fixed = (mean_seconds - each * mean_rows).max(0.0);
        fixed + each * rows
    }
}

#[expect(clippy::cast_precision_loss, reason = "a batch has fewer than 2^52 rows")]
fn as_number(rows: u64) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taught(batches: impl IntoIterator<Item = (u64, f64)>) -> Estimate {
        let mut estimate = Estimate::default();
        for (rows, seconds) in batches {
            estimate.learn(rows, Duration::from_secs_f64(seconds));
        }
        estimate
    }

    #[test]
    fn a_line_is_found() {
        let estimate =
            taught((0..60).map(|n| (n % 7 + 1, 0.01 + 0.002 * f64::from(u32::try_from(n % 7 + 1).unwrap()))));
        for (rows, expected) in [(1, 0.012), (10, 0.03), (100, 0.21)] {
            assert!((estimate.duration(rows).unwrap().as_secs_f64() - expected).abs() < 1e-3, "{rows}");
        }
    }

    #[test]
    fn the_first_batches_and_single_pauses_do_not_count() {
        assert_eq!(taught([(1, 9.0), (1, 9.0)]).duration(1), None);
        let steady = (0..30).map(|_| (1, 0.01));
        let estimate = taught([(1, 9.0), (1, 9.0)].into_iter().chain(steady).chain([(1, 5.0)]));
        assert!(estimate.duration(1).unwrap() < Duration::from_millis(15));
    }

    #[test]
    fn sizes_never_seen_are_guessed_with_care() {
        let estimate = taught((0..20).map(|_| (4, 0.02)));
        assert_eq!(estimate.duration(1).unwrap().as_millis(), 20);
        assert_eq!(estimate.duration(8).unwrap().as_millis(), 40);
    }
}
