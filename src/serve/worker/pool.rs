//! Who gets which call: a free slot of the least busy worker takes the call that has waited longest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use hyper::http::request::Parts;
use thiserror::Error;
use tokio::sync::oneshot;

use super::link::Link;
use super::message::ResponseHead;
use super::queue::Queues;
use super::stream::Chunks;
use crate::serve::payload::Payload;

/// A call of an API, ready to be sent.
#[derive(Debug)]
pub struct Call {
    /// The API's place in the manifest.
    pub endpoint: usize,
    /// The API's name.
    pub name: Arc<str>,
    /// The request without its body.
    pub head: Parts,
    /// The request's body.
    pub body: Payload,
    /// When the client is told that it took too long.
    pub deadline: Option<Instant>,
    /// The request's identity, 16 hexadecimal digits.
    pub request_id: Arc<str>,
}

/// How a call was answered, and by which worker.
#[derive(Debug)]
pub struct Answered {
    /// The worker's number, from 1.
    pub worker: u32,
    /// The answer.
    pub outcome: Result<Outcome, CallError>,
}

/// A worker's answer.
#[derive(Debug)]
pub enum Outcome {
    /// All of it.
    Whole(ResponseHead, Bytes),
    /// The beginning; the body follows.
    Streamed(ResponseHead, Chunks),
}

/// A call without an answer that can be sent on.
#[derive(Debug, Error)]
pub enum CallError {
    /// The worker died, or its socket closed.
    #[error("worker {worker} died during the call")]
    WorkerLost {
        /// The worker's number.
        worker: u32,
    },
    /// The request does not fit into a message.
    #[error("cannot send the request to a worker")]
    Unsendable(#[source] super::message::MessageError),
    /// The answer's status or headers are not HTTP.
    #[error("cannot use the answer of the API")]
    Head(#[from] super::message::HeadError),
}

/// All workers that take calls, and the calls that wait for them.
#[derive(Debug)]
pub struct Pool {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seats: BTreeMap<u32, Seat>,
    slots: u32,
    queues: Queues<Pending>,
    incarnations: u64,
}

#[derive(Debug)]
struct Seat {
    link: Arc<Link>,
    busy: u32,
    incarnation: u64,
}

/// A call that waits for a slot.
#[derive(Debug)]
pub struct Pending {
    /// The call.
    pub call: Call,
    /// Where its answer goes; closed when nobody waits for it.
    pub answer: oneshot::Sender<Answered>,
    placement: Arc<Mutex<Option<Placement>>>,
}

#[derive(Debug)]
struct Placement {
    link: Arc<Link>,
    id: u64,
}

struct Assignment {
    number: u64,
    pending: Pending,
    link: Arc<Link>,
    id: u64,
    slot: Slot,
}

/// The capacity for one call on one worker; dropping it gives it to the next call.
///
/// It is held until the worker has answered, not until the client has its answer: a handler that runs on after
/// its deadline still has its slot.
#[derive(Debug)]
pub struct Slot {
    pool: Arc<Pool>,
    worker: u32,
    incarnation: u64,
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
    /// Makes a pool without workers for `endpoints` APIs, each worker taking `slots` calls at a time.
    pub fn new(endpoints: usize, slots: u32) -> Arc<Self> {
        let state = State { seats: BTreeMap::new(), slots, queues: Queues::new(endpoints), incarnations: 0 };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Adds a worker; calls are sent to it from now on.
    pub fn join(self: &Arc<Self>, worker: u32, link: Arc<Link>) {
        let mut state = self.lock();
        state.incarnations += 1;
        let incarnation = state.incarnations;
        state.seats.insert(worker, Seat { link, busy: 0, incarnation });
        drop(state);
        self.dispatch();
    }

    /// Takes a worker out; calls that wait stay for the others.
    pub fn leave(&self, worker: u32) {
        self.lock().seats.remove(&worker);
    }

    /// Hands in a call.
    pub fn submit(self: &Arc<Self>, call: Call) -> Ticket {
        let (sender, answer) = oneshot::channel();
        let placement = Arc::new(Mutex::new(None));
        let endpoint = call.endpoint;
        let pending = Pending { call, answer: sender, placement: Arc::clone(&placement) };
        let number = self.lock().queues.push(endpoint, pending);
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

    fn dispatch(self: &Arc<Self>) {
        while let Some(Assignment { number, pending, link, id, slot }) = self.assign() {
            if let Err(pending) = link.call(id, pending, slot) {
                place(&pending.placement, None);
                self.lock().queues.restore(pending.call.endpoint, number, *pending);
            }
        }
    }

    fn assign(self: &Arc<Self>) -> Option<Assignment> {
        let mut state = self.lock();
        let slots = state.slots;
        if state.queues.waiting() == 0 {
            return None;
        }
        let free = state.seats.iter().filter(|(_, seat)| seat.busy < slots && seat.link.is_open());
        let worker = free.min_by_key(|(_, seat)| seat.busy).map(|(worker, _)| *worker)?;
        let (number, pending) = state.queues.pop_oldest()?;
        let seat = state.seats.get_mut(&worker)?;
        seat.busy += 1;
        let link = Arc::clone(&seat.link);
        let slot = Slot { pool: Arc::clone(self), worker, incarnation: seat.incarnation };
        let id = link.next_id();
        place(&pending.placement, Some(Placement { link: Arc::clone(&link), id }));
        Some(Assignment { number, pending, link, id, slot })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held; a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if let Some(seat) = state.seats.get_mut(&self.worker)
            && seat.incarnation == self.incarnation
        {
            seat.busy -= 1;
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
