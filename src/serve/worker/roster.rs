//! How the workers are, for those who ask before calls can be sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// After this many starts without success a worker counts as failing: calls are refused, not queued for it.
pub const FAILING_AFTER: u32 = 3;

/// How one worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// The process runs and imports the service.
    Importing,
    /// The service is imported; its models are loaded and its instance is made.
    Initializing,
    /// It takes calls.
    Ready,
    /// It is gone and will be started again.
    Waiting {
        /// How many starts have failed one after another.
        failures: u32,
    },
}

/// How all workers are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No worker has been ready yet.
    Starting(WorkerState),
    /// At least one worker takes calls.
    Ready,
    /// All workers are gone, and being started again.
    Restarting,
    /// All workers are gone, and starting them fails again and again.
    Failing,
}

/// The state of every worker.
#[derive(Debug, Default)]
pub struct Roster {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    workers: BTreeMap<u32, WorkerState>,
    proven: BTreeSet<u32>,
    restarts: u64,
    replacements: u64,
}

impl Roster {
    /// Takes note of a worker's state.
    pub fn set(&self, worker: u32, state: WorkerState) {
        let mut inner = self.lock();
        let before = inner.workers.insert(worker, state);
        if state == WorkerState::Ready {
            inner.proven.insert(worker);
        }
        if matches!(before, Some(WorkerState::Waiting { .. })) {
            inner.restarts += 1;
        }
    }

    /// Tells whether this worker has ever been ready.
    pub fn is_proven(&self, worker: u32) -> bool {
        self.lock().proven.contains(&worker)
    }

    /// Tells whether this worker takes calls.
    pub fn is_ready(&self, worker: u32) -> bool {
        self.lock().workers.get(&worker) == Some(&WorkerState::Ready)
    }

    /// Returns how many workers take calls, and how many there should be.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        let ready = inner.workers.values().filter(|state| **state == WorkerState::Ready).count();
        (ready, inner.workers.len())
    }

    /// Returns how many times a worker was started again.
    pub fn restarts(&self) -> u64 {
        self.lock().restarts
    }

    /// Takes note that a worker is being replaced.
    pub fn replaced(&self) {
        self.lock().replacements += 1;
    }

    /// Returns how many times a worker was replaced for the memory that it held.
    pub fn replacements(&self) -> u64 {
        self.lock().replacements
    }

    /// Sums the workers up.
    pub fn health(&self) -> Health {
        let inner = self.lock();
        let mut states = inner.workers.values().copied();
        if inner.workers.values().any(|state| *state == WorkerState::Ready) {
            return Health::Ready;
        }
        if inner.proven.is_empty() {
            return Health::Starting(states.next().unwrap_or(WorkerState::Importing));
        }
        let fails = |state| matches!(state, WorkerState::Waiting { failures } if failures >= FAILING_AFTER);
        if states.all(fails) { Health::Failing } else { Health::Restarting }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while the lock is held; a poisoned roster is still whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting(WorkerState::Importing) => "importing the service",
            Self::Starting(WorkerState::Initializing | WorkerState::Ready) => "initializing the service",
            Self::Starting(WorkerState::Waiting { .. }) => "starting the service again after a failure",
            Self::Ready => "ready",
            Self::Restarting => "restarting the workers",
            Self::Failing => "the workers fail to start",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ready_worker_is_enough() {
        let roster = Roster::default();
        roster.set(1, WorkerState::Importing);
        assert_eq!(roster.health(), Health::Starting(WorkerState::Importing));
        roster.set(1, WorkerState::Initializing);
        roster.set(2, WorkerState::Importing);
        assert_eq!(roster.health(), Health::Starting(WorkerState::Initializing));
        roster.set(2, WorkerState::Ready);
        assert_eq!((roster.health(), roster.counts()), (Health::Ready, (1, 2)));
        assert!(roster.is_proven(2) && !roster.is_proven(1));
    }

    #[test]
    fn failing_is_when_every_worker_fails_again_and_again() {
        let roster = Roster::default();
        roster.set(1, WorkerState::Ready);
        roster.set(1, WorkerState::Waiting { failures: 1 });
        assert_eq!(roster.health(), Health::Restarting);
        roster.set(1, WorkerState::Importing);
        assert_eq!((roster.health(), roster.restarts()), (Health::Restarting, 1));
        roster.set(1, WorkerState::Waiting { failures: FAILING_AFTER });
        assert_eq!(roster.health(), Health::Failing);
    }
}
