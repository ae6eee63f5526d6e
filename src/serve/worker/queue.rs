//! Calls that wait for a slot: one queue per endpoint, served in order of arrival.

use std::collections::VecDeque;

/// The waiting calls of all endpoints.
#[derive(Debug)]
pub struct Queues<T> {
    endpoints: Vec<VecDeque<(u64, T)>>,
    next: u64,
    waiting: usize,
}

impl<T> Queues<T> {
    /// Makes a queue for each of `endpoints`.
    pub fn new(endpoints: usize) -> Self {
        Self { endpoints: (0..endpoints).map(|_| VecDeque::new()).collect(), next: 0, waiting: 0 }
    }

    /// Returns how many calls wait, over all endpoints.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Adds a call, which is given its number, at the end of its endpoint's queue; returns the number.
    pub fn push(&mut self, endpoint: usize, call: impl FnOnce(u64) -> T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        self.endpoints[endpoint].push_back((number, call(number)));
        number
    }

    /// Returns the endpoints that have calls, the one whose first call has waited longest first.
    pub fn by_age(&self) -> Vec<usize> {
        let heads = self.endpoints.iter().enumerate().filter_map(|(i, queue)| Some((queue.front()?.0, i)));
        let mut heads: Vec<(u64, usize)> = heads.collect();
        heads.sort_unstable();
        heads.into_iter().map(|(_, endpoint)| endpoint).collect()
    }

    /// Returns an endpoint's calls, the longest waiting first.
    pub fn calls(&self, endpoint: usize) -> impl Iterator<Item = &T> {
        self.endpoints[endpoint].iter().map(|(_, call)| call)
    }

    /// Takes an endpoint's first call.
    pub fn pop(&mut self, endpoint: usize) -> Option<T> {
        let (_, first) = self.endpoints[endpoint].pop_front()?;
        self.waiting -= 1;
        Some(first)
    }

    /// Puts a call back into the place that its number gives it.
    pub fn restore(&mut self, endpoint: usize, number: u64, call: T) {
        let queue = &mut self.endpoints[endpoint];
        let place = queue.partition_point(|(other, _)| *other < number);
        queue.insert(place, (number, call));
        self.waiting += 1;
    }

    /// Takes a call out that no one waits for any more.
    pub fn withdraw(&mut self, endpoint: usize, number: u64) -> Option<T> {
        let queue = &mut self.endpoints[endpoint];
        let place = queue.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.waiting -= 1;
        queue.remove(place).map(|(_, call)| call)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pop_oldest<T>(queues: &mut Queues<T>) -> Option<T> {
        let oldest = *queues.by_age().first()?;
        queues.pop(oldest)
    }

    #[test]
    fn calls_leave_in_order_of_arrival_over_all_endpoints() {
        let mut queues = Queues::new(2);
        queues.push(1, |number| (number, 'a'));
        queues.push(0, |number| (number, 'b'));
        let withdrawn = queues.push(0, |number| (number, 'c'));
        queues.push(1, |number| (number, 'd'));
        assert_eq!(queues.withdraw(0, withdrawn), Some((withdrawn, 'c')));
        assert_eq!(queues.withdraw(0, withdrawn), None);
        let first = queues.pop(1).unwrap();
        queues.restore(1, first.0, first);
        assert_eq!(queues.calls(1).map(|(_, call)| *call).collect::<Vec<_>>(), ['a', 'd']);
        let left: Vec<char> = std::iter::from_fn(|| pop_oldest(&mut queues)).map(|(_, call)| call).collect();
        assert_eq!(left, ['a', 'b', 'd']);
        assert_eq!(queues.waiting(), 0);
    }

    proptest! {
        #[test]
        fn every_call_leaves_once(steps in proptest::collection::vec((0usize..3, 0u8..3), 0..60)) {
            let mut queues = Queues::new(3);
            let (mut pushed, mut left, mut places) = (0u64, Vec::new(), Vec::new());
            for (endpoint, step) in steps {
                match step {
                    0 | 1 => { places.push((endpoint, queues.push(endpoint, |number| number))); pushed += 1; }
                    _ => if let Some((endpoint, number)) = places.pop() {
                        left.extend(queues.withdraw(endpoint, number));
                    },
                }
                prop_assert_eq!(queues.waiting() as u64 + left.len() as u64, pushed);
            }
            let rest: Vec<u64> = std::iter::from_fn(|| pop_oldest(&mut queues)).collect();
            prop_assert!(rest.is_sorted());
            left.extend(rest);
            left.sort_unstable();
            prop_assert_eq!(left, (0..pushed).collect::<Vec<_>>());
        }
    }
}
