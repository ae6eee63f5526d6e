//! A server of one API in miniature: arrivals, workers and a clock of numbers, driven by the real policy.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::estimate::Estimate;
use super::policy::{Decision, Limits, Waiting, decide};

/// A call that will arrive.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: Duration,
    rows: u64,
}

/// How long a batch really takes.
#[derive(Clone, Copy, Debug)]
struct Model {
    fixed: Duration,
    each: Duration,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Answered { begun: Duration, ended: Duration, batch: usize },
    Shed { at: Duration },
}

/// What became of all calls, and the rows of every batch.
struct Outcome {
    fates: Vec<Fate>,
    batches: Vec<Vec<usize>>,
}

impl Model {
    fn duration(self, rows: u64) -> Duration {
        self.fixed + self.each * u32::try_from(rows).unwrap()
    }
}

fn simulate(arrivals: &[Arrival], model: Model, limits: Limits, workers: usize) -> Outcome {
    let mut fates: Vec<Option<Fate>> = vec![None; arrivals.len()];
    let mut batches = Vec::new();
    let mut queue: VecDeque<usize> = VecDeque::new();
    let mut busy: Vec<Option<(Duration, u64, Duration)>> = vec![None; workers];
    let mut estimate = Estimate::default();
    let mut next = 0;
    loop {
        let ends = busy.iter().flatten().map(|(end, ..)| *end);
        let arrives = arrivals.get(next).map(|arrival| arrival.at);
        let Some(now) = ends.chain(arrives).min() else { break };
        for worker in &mut busy {
            if let Some((end, rows, took)) = *worker
                && end == now
            {
                estimate.learn(rows, took);
                *worker = None;
            }
        }
        while arrivals.get(next).is_some_and(|arrival| arrival.at == now) {
            queue.push_back(next);
            next += 1;
        }
        while !queue.is_empty()
            && let Some(worker) = busy.iter().position(Option::is_none)
        {
            let waiting: Vec<Waiting> = queue
                .iter()
                .map(|call| Waiting {
                    rows: arrivals[*call].rows,
                    waited: now.saturating_sub(arrivals[*call].at),
                })
                .collect();
            match decide(&waiting, limits, &estimate) {
                Decision::Shed => fates[queue.pop_front().unwrap()] = Some(Fate::Shed { at: now }),
                Decision::Dispatch(count) => {
                    let calls: Vec<usize> = queue.drain(..count).collect();
                    let rows = calls.iter().map(|call| arrivals[*call].rows).sum();
                    let took = model.duration(rows);
                    for call in &calls {
                        assert!(fates[*call].is_none(), "a call is computed once");
                        let answered = Fate::Answered { begun: now, ended: now + took, batch: batches.len() };
                        fates[*call] = Some(answered);
                    }
                    busy[worker] = Some((now + took, rows, took));
                    batches.push(calls);
                }
            }
        }
    }
    Outcome { fates: fates.into_iter().map(|fate| fate.expect("no call is lost")).collect(), batches }
}

fn arrivals(gaps: &[(u64, u64)]) -> Vec<Arrival> {
    let mut at = Duration::ZERO;
    gaps.iter()
        .map(|&(gap, rows)| {
            at += Duration::from_millis(gap);
            Arrival { at, rows }
        })
        .collect()
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

proptest! {
    #[test]
    fn no_call_is_lost_doubled_or_out_of_order(
        gaps in prop::collection::vec((0u64..30, 1u64..12), 1..120),
        (fixed, each) in (0u64..60, 0u64..10),
        workers in 1usize..4,
        max_latency in 20u64..2000,
    ) {
        let arrivals = arrivals(&gaps);
        let limits = Limits { max_rows: 8, max_latency: millis(max_latency) };
        let model = Model { fixed: millis(fixed), each: millis(each) };
        let outcome = simulate(&arrivals, model, limits, workers);
        let mut begun = vec![Duration::ZERO];
        for (number, batch) in outcome.batches.iter().enumerate() {
            prop_assert!(batch.is_sorted(), "in the order of arrival: {batch:?}");
            let rows: u64 = batch.iter().map(|call| arrivals[*call].rows).sum();
            prop_assert!(batch.len() == 1 || rows <= limits.max_rows);
            for call in batch {
                let Fate::Answered { begun: at, batch, .. } = outcome.fates[*call] else { panic!("shed") };
                prop_assert_eq!(batch, number);
                prop_assert!(at >= arrivals[*call].at);
                begun.push(at);
            }
        }
        prop_assert!(begun.is_sorted(), "the one that waited longest goes first");
    }

    /// Work-conserving: a call that finds an idle worker is computed at once, alone or not.
    #[test]
    fn no_call_waits_for_an_idle_worker(
        gaps in prop::collection::vec((0u64..200, 1u64..4), 1..80),
        fixed in 1u64..50,
    ) {
        let arrivals = arrivals(&gaps);
        let limits = Limits { max_rows: 100, max_latency: millis(60_000) };
        let outcome = simulate(&arrivals, Model { fixed: millis(fixed), each: millis(1) }, limits, 1);
        let mut free = Duration::ZERO;
        for batch in &outcome.batches {
            let Fate::Answered { begun, ended, .. } = outcome.fates[batch[0]] else { panic!("shed") };
            prop_assert_eq!(begun, arrivals[batch[0]].at.max(free));
            free = ended;
        }
    }

    /// Once durations are known, whoever is answered late was so by no more than one batch's error.
    #[test]
    fn the_latency_bound_is_kept_where_it_can_be(
        gaps in prop::collection::vec(0u64..12, 60..160),
        (fixed, each) in (2u64..15, 1u64..4),
    ) {
        let gaps: Vec<(u64, u64)> = gaps.into_iter().map(|gap| (gap, 1)).collect();
        let (arrivals, bound) = (arrivals(&gaps), millis(80));
        let limits = Limits { max_rows: 16, max_latency: bound };
        let outcome = simulate(&arrivals, Model { fixed: millis(fixed), each: millis(each) }, limits, 1);
        // The first batches teach; before that nothing is promised.
        let taught: Vec<usize> = outcome.batches.iter().take(8).flatten().copied().collect();
        for (call, fate) in outcome.fates.iter().enumerate() {
            if let Fate::Answered { ended, batch, .. } = fate
                && !taught.contains(&call)
            {
                let is_alone_at_the_end = outcome.batches[*batch].len() == 1;
                let latency = ended.saturating_sub(arrivals[call].at);
                prop_assert!(latency <= bound + bound / 4 || is_alone_at_the_end, "{call}: {latency:?}");
            }
        }
    }
}

/// Six at once for a model of a second, bound 0.3 s, at most four: upstream answers one (runtime contract 5.5, 5).
#[test]
fn a_slow_model_answers_everybody() {
    let limits = Limits { max_rows: 4, max_latency: millis(300) };
    let outcome =
        simulate(&arrivals(&[(0, 1); 6]), Model { fixed: millis(1000), each: millis(0) }, limits, 1);
    assert!(outcome.fates.iter().all(|fate| matches!(fate, Fate::Answered { .. })));
    assert_eq!(outcome.batches, [vec![0, 1, 2, 3], vec![4, 5]]);
}

/// Twice the load that the worker can take: some are refused, early, and the others are in time.
#[test]
fn an_overload_is_shed_and_the_rest_served_in_time() {
    let limits = Limits { max_rows: 4, max_latency: millis(200) };
    let model = Model { fixed: millis(0), each: millis(10) };
    let outcome = simulate(&arrivals(&[(5, 1); 400]), model, limits, 1);
    let (mut answered, mut late) = (0, 0);
    for (call, fate) in outcome.fates.iter().enumerate() {
        if let Fate::Answered { ended, .. } = fate {
            answered += 1;
            late += usize::from(
                ended.saturating_sub(millis(5 * (call as u64 + 1))) > limits.max_latency + millis(5),
            );
        }
    }
    // The worker is never idle: of two seconds' calls it answers one second's.
    assert!((190..=230).contains(&answered), "{answered}");
    assert!(late <= 4, "{late}");
}
