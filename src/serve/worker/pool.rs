//! Who gets which call: a free slot of the least busy worker takes the call that has waited longest, and with it those
//! that it may be merged with.
//!
//! A worker with one slot would stand still between its answer and the next call. Where calls are short, it is sent one
//! ahead, or a batch that need not grow any more: it begins when the first is answered, and goes back
//! into the queue when the worker dies before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::batches::{Batches, Reason};
use super::call::{Answered, Call, CallError, Outcome};
use super::link::Link;
use super::pace::Pace;
use super::queue::Queues;
use crate::serve::batch::estimate::Estimate;
use crate::serve::batch::policy::{Decision, Limits, Waiting, decide};

/// How often is looked whether calls have ended.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

/// Most waiting calls that are looked at for one batch: a queue of strangers must not be walked to its end each time.
const SIGHT: usize = 4096;

/// All workers that take calls, and the calls that wait for them.
#[derive(Debug)]
pub struct Pool {
    state: Mutex<State>,
    /// What became of the batches of each API that has any.
    pub batches: Vec<Option<Batches>>,
}

/// How many calls each worker takes at a time.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// How many it is given.
    pub slots: u32,
    /// Whether it computes one after the other, in the order in which they were sent, however many it is given.
    pub is_serial: bool,
}

#[derive(Debug)]
struct State {
    seats: BTreeMap<u32, Seat>,
    capacity: Capacity,
    queues: Queues<Pending>,
    limits: Vec<Option<Limits>>,
    estimates: Vec<Estimate>,
    paces: Vec<Pace>,
    incarnations: u64,
}

#[derive(Debug)]
struct Seat {
    link: Arc<Link>,
    busy: u32,
    /// Endpoints of which a batch is being computed: the next one grows meanwhile.
    batching: BTreeSet<usize>,
    /// What it computes, and since when, if it computes one call after the other.
    current: Option<(Load, Instant)>,
    /// What was sent ahead.
    ahead: Option<Load>,
    incarnation: u64,
}

/// A call that waits for a slot.
#[derive(Debug)]
pub struct Pending {
    /// The call.
    pub call: Call,
    /// Where its answer goes; closed when nobody waits for it.
    pub answer: oneshot::Sender<Answered>,
    /// Its place in the queue, for when it comes back.
    number: u64,
    arrived: Instant,
    placement: Arc<Mutex<Option<Placement>>>,
}

#[derive(Debug)]
struct Placement {
    link: Arc<Link>,
    id: u64,
}

struct Assignment {
    calls: Vec<Pending>,
    link: Arc<Link>,
    id: u64,
    slot: Slot,
}

/// The capacity for one call or batch on one worker; dropping it gives it to the next.
///
/// It is held until the worker has answered, not until the client has its answer: a handler that runs on after
/// its deadline still has its slot.
#[derive(Debug)]
pub struct Slot {
    pool: Arc<Pool>,
    worker: u32,
    incarnation: u64,
    load: Load,
    /// Whether the worker had another call when this one was sent.
    pub is_ahead: bool,
}

/// What a slot computes.
#[derive(Clone, Copy, Debug)]
struct Load {
    endpoint: usize,
    rows: u64,
    sent: Instant,
    is_batch: bool,
}

/// A submitted call; dropping it before its answer cancels the call.
#[derive(Debug)]
pub struct Ticket {
    answer: oneshot::Receiver<Answered>,
    hold: Hold,
}

/// The client's interest in a call; dropping it cancels the call unless it is over.
#[derive(Debug)]
pub struct Hold {
    pool: Arc<Pool>,
    endpoint: usize,
    number: u64,
    placement: Arc<Mutex<Option<Placement>>>,
    is_over: bool,
}

impl Pool {
    /// Makes a pool without workers for APIs with these limits of their batches.
    pub fn new(limits: Vec<Option<Limits>>, capacity: Capacity) -> Arc<Self> {
        let batches =
            limits.iter().map(|limits| limits.map(|limits| Batches::new(limits.max_rows))).collect();
        let state = State {
            seats: BTreeMap::new(),
            capacity,
            queues: Queues::new(limits.len()),
            estimates: vec![Estimate::default(); limits.len()],
            paces: vec![Pace::default(); limits.len()],
            limits,
            incarnations: 0,
        };
        Arc::new(Self { state: Mutex::new(state), batches })
    }

    /// Adds a worker; calls are sent to it from now on.
    pub fn join(self: &Arc<Self>, worker: u32, link: Arc<Link>) {
        let mut state = self.lock();
        state.incarnations += 1;
        let incarnation = state.incarnations;
        let (batching, current, ahead) = (BTreeSet::new(), None, None);
        state.seats.insert(worker, Seat { link, busy: 0, batching, current, ahead, incarnation });
        drop(state);
        self.dispatch();
    }

    /// Takes a worker out, unless another one has its seat by now; calls that wait stay for the others.
    pub fn leave(&self, worker: u32, link: &Arc<Link>) {
        let mut state = self.lock();
        if state.seats.get(&worker).is_some_and(|seat| Arc::ptr_eq(&seat.link, link)) {
            state.seats.remove(&worker);
        }
    }

    /// Hands in a call.
    pub fn submit(self: &Arc<Self>, call: Call) -> Ticket {
        let (sender, answer) = oneshot::channel();
        let placement = Arc::new(Mutex::new(None));
        let endpoint = call.endpoint;
        let (arrived, placed) = (Instant::now(), Arc::clone(&placement));
        let number = self.lock().queues.push(endpoint, |number| Pending {
            call,
            answer: sender,
            number,
            arrived,
            placement: placed,
        });
        self.dispatch();
        let pool = Arc::clone(self);
        Ticket { answer, hold: Hold { pool, endpoint, number, placement, is_over: false } }
    }

    /// Returns the links of all workers that take calls.
    pub fn links(&self) -> Vec<Arc<Link>> {
        self.lock().seats.values().map(|seat| Arc::clone(&seat.link)).collect()
    }

    /// Tells whether any worker takes calls.
    pub fn is_staffed(&self) -> bool {
        !self.lock().seats.is_empty()
    }

    /// Returns how many calls wait and how many run.
    pub fn load(&self) -> (usize, u32) {
        let state = self.lock();
        (state.queues.waiting(), state.seats.values().map(|seat| seat.busy).sum())
    }

    /// Waits until no call waits or runs.
    pub async fn settle(&self) {
        while self.is_staffed() && self.load() != (0, 0) {
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }

    /// Gives up the calls that wait: no worker will come any more.
    pub fn abandon(&self) {
        while let Some(pending) = self.take_waiting() {
            let outcome = Err(CallError::Abandoned);
            // A client that is gone needs no answer.
            let _ = pending.answer.send(Answered { worker: 0, outcome });
        }
    }

    fn take_waiting(&self) -> Option<Pending> {
        let mut state = self.lock();
        let oldest = *state.queues.by_age().first()?;
        state.queues.pop(oldest)
    }

    fn dispatch(self: &Arc<Self>) {
        while let Some(Assignment { calls, link, id, slot }) = self.assign() {
            if let Err(calls) = link.call(id, calls, slot) {
                self.take_back(calls);
            }
        }
    }

    /// Puts calls that no worker has begun back into the queue.
    fn take_back(&self, calls: Vec<Pending>) {
        let mut state = self.lock();
        for pending in calls {
            place(&pending.placement, None);
            state.queues.restore(pending.call.endpoint, pending.number, pending);
        }
    }

    fn assign(self: &Arc<Self>) -> Option<Assignment> {
        let mut state = self.lock();
        loop {
            if state.queues.waiting() == 0 {
                return None;
            }
            let (endpoint, worker) = state.next()?;
            let calls = match state.limits[endpoint] {
                None => vec![state.queues.pop(endpoint)?],
                Some(limits) => match self.gather(&mut state, endpoint, limits) {
                    Some(calls) => calls,
                    None => continue,
                },
            };
            let is_batch = state.limits[endpoint].is_some();
            let rows = calls.iter().map(|pending| pending.call.rows).sum();
            let load = Load { endpoint, rows, sent: Instant::now(), is_batch };
            let is_serial = state.capacity.is_serial;
            let seat = state.seats.get_mut(&worker)?;
            seat.busy += 1;
            let is_ahead = is_serial && seat.busy > 1;
            if is_ahead {
                seat.ahead = Some(load);
            } else {
                seat.current = Some((load, load.sent));
            }
            if is_batch {
                seat.batching.insert(endpoint);
            }
            let link = Arc::clone(&seat.link);
            let slot = Slot { pool: Arc::clone(self), worker, incarnation: seat.incarnation, load, is_ahead };
            let id = link.next_id();
            // One call of several is not stopped: the others go on.
            if let [alone] = calls.as_slice() {
                place(&alone.placement, Some(Placement { link: Arc::clone(&link), id }));
            }
            return Some(Assignment { calls, link, id, slot });
        }
    }

    /// Takes the calls of the next batch out of the queue; `None` when the first was given up instead.
    fn gather(&self, state: &mut State, endpoint: usize, limits: Limits) -> Option<Vec<Pending>> {
        let now = Instant::now();
        let first = state.queues.calls(endpoint).next().map(|pending| &pending.call.kinship)?;
        let mut rows = 0;
        let kin = state.queues.calls(endpoint).take(SIGHT).filter(|pending| {
            std::ptr::eq(&raw const pending.call.kinship, first) || pending.call.kinship.is_kin(first)
        });
        let (numbers, waiting): (Vec<u64>, Vec<Waiting>) = kin
            .map(|pending| {
                let waited = now.saturating_duration_since(pending.arrived);
                (pending.number, Waiting { rows: pending.call.rows, waited })
            })
            // One more than fits: the policy sees that there is more.
            .take_while(|(_, call)| {
                let has_room = rows <= limits.max_rows;
                rows += call.rows;
                has_room
            })
            .unzip();
        let batches = self.batches[endpoint].as_ref();
        match decide(&waiting, limits, &state.estimates[endpoint]) {
            Decision::Shed => {
                let pending = state.queues.pop(endpoint)?;
                let outcome = Err(CallError::Overloaded { api: Arc::clone(&pending.call.name) });
                let _ = pending.answer.send(Answered { worker: 0, outcome });
                if let Some(batches) = batches {
                    batches.shed();
                }
                None
            }
            Decision::Dispatch(count) => {
                if let Some(batches) = batches {
                    let rows = waiting[..count].iter().map(|call| call.rows).sum();
                    let reason = if count < waiting.len() { Reason::Full } else { Reason::Idle };
                    batches.dispatched(rows, waiting[0].waited, reason);
                }
                numbers[..count].iter().map(|number| state.queues.withdraw(endpoint, *number)).collect()
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held; a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Finds the call that has waited longest of those that a worker is free for.
    fn next(&self) -> Option<(usize, u32)> {
        self.queues.by_age().into_iter().find_map(|endpoint| {
            let is_free = |seat: &Seat| {
                seat.busy < self.capacity.slots && seat.link.is_open() && !seat.batching.contains(&endpoint)
            };
            let free = self.seats.iter().filter(|(_, seat)| is_free(seat));
            let worker = free.min_by_key(|(_, seat)| seat.busy).or_else(|| {
                self.seats.iter().find(|(_, seat)| seat.link.is_open() && self.may_send_ahead(seat, endpoint))
            });
            Some((endpoint, *worker?.0))
        })
    }

    /// Tells whether a busy worker may have more: what it computes and what comes then are both short.
    fn may_send_ahead(&self, seat: &Seat, endpoint: usize) -> bool {
        let Some((current, since)) = seat.current else { return false };
        let is_brisk = |endpoint: usize| self.paces[endpoint].is_brisk();
        self.capacity.is_serial
            && seat.ahead.is_none()
            && is_brisk(endpoint)
            && is_brisk(current.endpoint)
            && !Pace::is_late(since.elapsed())
            && self.limits[endpoint].is_none_or(|limits| self.is_batch_ready(current, endpoint, limits))
    }

    /// Tells whether a batch need not grow any more while another is computed: it is full, or so much larger than that
    /// that batches go on growing with the load.
    fn is_batch_ready(&self, current: Load, endpoint: usize, limits: Limits) -> bool {
        let larger = current.rows.saturating_add(current.rows / 2);
        current.endpoint == endpoint && self.has_rows(endpoint, larger.min(limits.max_rows))
    }

    /// Tells whether the waiting calls of an API have so many rows together.
    fn has_rows(&self, endpoint: usize, wanted: u64) -> bool {
        let mut rows = 0;
        self.queues.calls(endpoint).any(|pending| {
            rows += pending.call.rows;
            rows >= wanted
        })
    }
}

impl Slot {
    /// Takes note of how long the calls took that were answered just now.
    pub fn learn(&self) {
        let Load { endpoint, rows, sent, is_batch } = self.load;
        let mut state = self.pool.lock();
        let current = state.seats.get(&self.worker).and_then(|seat| seat.current);
        let current = current.filter(|_| state.capacity.is_serial);
        let begun = current.map_or(sent, |(_, begun)| begun);
        if is_batch {
            state.estimates[endpoint].learn(rows, begun.elapsed());
        }
        if current.is_some() {
            state.paces[endpoint].learn(begun.elapsed());
        }
    }

    /// Puts calls back into the queue that the worker had not begun when it died.
    pub fn take_back(self, calls: Vec<Pending>) {
        self.pool.take_back(calls);
        // Dropping the slot gives the calls to another worker.
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if let Some(seat) = state.seats.get_mut(&self.worker)
            && seat.incarnation == self.incarnation
        {
            seat.busy -= 1;
            seat.current = seat.ahead.take().map(|load| (load, Instant::now()));
            if self.load.is_batch {
                seat.batching.remove(&self.load.endpoint);
            }
        }
        drop(state);
        self.pool.dispatch();
    }
}

impl Ticket {
    /// Waits for the answer; of a stream, the hold must be kept until its end.
    pub async fn answer(mut self) -> (Answered, Hold) {
        let answered = (&mut self.answer)
            .await
            .unwrap_or(Answered { worker: 0, outcome: Err(CallError::WorkerLost { worker: 0 }) });
        let is_stream = matches!(answered.outcome, Ok(Outcome::Streamed(..)));
        self.hold.is_over = !is_stream;
        (answered, self.hold)
    }
}

impl Hold {
    /// Takes note that the call has come to its end.
    pub fn release(&mut self) {
        self.is_over = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let withdrawn = self.pool.lock().queues.withdraw(self.endpoint, self.number);
        drop(withdrawn);
        if let Some(placement) = place(&self.placement, None) {
            placement.link.cancel(placement.id);
        }
    }
}

fn place(cell: &Mutex<Option<Placement>>, placement: Option<Placement>) -> Option<Placement> {
    std::mem::replace(&mut *cell.lock().unwrap_or_else(PoisonError::into_inner), placement)
}
