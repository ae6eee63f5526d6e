//! Decides what becomes of the calls that wait for a worker that is idle now: a pure function of what is known.
//!
//! `max_latency_ms` bounds how long a call may take from its arrival to the end of its batch, as far as that is known
//! (runtime contract 5.2, 5.4). Where upstream gives up the oldest call as soon as the whole queue would take too long,
//! the batch is made smaller first; a call is given up only when even alone it would come too late, though it would not
//! have, had it not waited. A model that is slower than the bound is not made faster by refusing calls: there the
//! bound has no meaning, and the batches are as large as they can be.

use std::time::Duration;

use super::estimate::Estimate;

/// How an API's calls may be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most rows of a batch; a single call may have more.
    pub max_rows: u64,
    /// How long a call may take, from its arrival to the end of its batch.
    pub max_latency: Duration,
}

/// A call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many rows of a batch it is.
    pub rows: u64,
    /// How long it has waited.
    pub waited: Duration,
}

/// What becomes of the calls that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// So many of the first ones are one batch now; at least one.
    Dispatch(usize),
    /// The first one is given up: it would be answered too late.
    Shed,
}

/// Decides about calls that may be merged, the longest waiting first; there is at least one.
pub fn decide(waiting: &[Waiting], limits: Limits, estimate: &Estimate) -> Decision {
    let Some(oldest) = waiting.first() else { return Decision::Dispatch(0) };
    // What is not known, and what no waiting could have changed, refuses nothing.
    let alone = estimate.duration(oldest.rows).filter(|alone| *alone <= limits.max_latency);
    let has_company = waiting.len() > 1;
    if has_company && alone.is_some_and(|alone| oldest.waited + alone > limits.max_latency) {
        return Decision::Shed;
    }
    let left = limits.max_latency.saturating_sub(oldest.waited);
    let is_in_time =
        |rows| alone.is_none() || estimate.duration(rows).is_none_or(|duration| duration <= left);
    let fits = |rows: u64| rows <= limits.max_rows && is_in_time(rows);
    let rows = waiting.iter().scan(0, |sum: &mut u64, call| {
        *sum = sum.saturating_add(call.rows);
        Some(*sum)
    });
    Decision::Dispatch(rows.take_while(|rows| fits(*rows)).count().max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { max_rows: 8, max_latency: Duration::from_millis(100) };

    fn waiting(calls: &[(u64, u64)]) -> Vec<Waiting> {
        calls.iter().map(|&(rows, ms)| Waiting { rows, waited: Duration::from_millis(ms) }).collect()
    }

    /// An estimate of `fixed` milliseconds and `each` per row.
    fn takes(fixed: u64, each: u64) -> Estimate {
        let mut estimate = Estimate::default();
        for rows in (1..40).map(|n| n % 8 + 1) {
            estimate.learn(rows, Duration::from_millis(fixed + each * rows));
        }
        estimate
    }

    #[test]
    fn all_that_fits_goes_at_once() {
        let unknown = Estimate::default();
        assert_eq!(decide(&waiting(&[(1, 0)]), LIMITS, &unknown), Decision::Dispatch(1));
        assert_eq!(decide(&waiting(&[(1, 5); 20]), LIMITS, &unknown), Decision::Dispatch(8));
        assert_eq!(decide(&waiting(&[(3, 0), (3, 0), (3, 0)]), LIMITS, &unknown), Decision::Dispatch(2));
        assert_eq!(decide(&waiting(&[(50, 0), (1, 0)]), LIMITS, &unknown), Decision::Dispatch(1));
    }

    #[test]
    fn the_batch_shrinks_before_a_call_is_given_up() {
        // Ten milliseconds a row: of the hundred, forty-five are gone.
        assert_eq!(decide(&waiting(&[(1, 45); 8]), LIMITS, &takes(0, 10)), Decision::Dispatch(5));
        assert_eq!(decide(&waiting(&[(1, 85); 8]), LIMITS, &takes(0, 10)), Decision::Dispatch(1));
        assert_eq!(decide(&waiting(&[(1, 95); 8]), LIMITS, &takes(0, 10)), Decision::Shed);
    }

    #[test]
    fn a_lone_call_is_never_given_up() {
        assert_eq!(decide(&waiting(&[(1, 5000)]), LIMITS, &takes(0, 10)), Decision::Dispatch(1));
    }

    /// A model of a second under a bound of a tenth: upstream answers one of six (runtime contract 5.5, 5).
    #[test]
    fn a_model_slower_than_the_bound_is_served_in_full_batches() {
        assert_eq!(decide(&waiting(&[(1, 900); 6]), LIMITS, &takes(1000, 0)), Decision::Dispatch(6));
    }

    proptest! {
        #[test]
        fn a_decision_keeps_the_limits(
            calls in prop::collection::vec((1u64..20, 0u64..300), 1..30),
            fixed in 0u64..200,
            each in 0u64..20,
        ) {
            let (calls, estimate) = (waiting(&calls), takes(fixed, each));
            match decide(&calls, LIMITS, &estimate) {
                Decision::Shed => prop_assert!(calls.len() > 1),
                Decision::Dispatch(count) => {
                    prop_assert!((1..=calls.len()).contains(&count));
                    let rows: u64 = calls[..count].iter().map(|call| call.rows).sum();
                    prop_assert!(count == 1 || rows <= LIMITS.max_rows);
                    // The bound is kept wherever it can be.
                    let ends = |rows| calls[0].waited + estimate.duration(rows).unwrap();
                    let can_be_kept = ends(calls[0].rows) <= LIMITS.max_latency;
                    let is_kept = ends(rows) <= LIMITS.max_latency;
                    prop_assert!(is_kept || !can_be_kept);
                }
            }
        }
    }
}
