//! The WebSockets that a worker has: how they are opened, what the application sends, and how much is on its way.
//!
//! A WebSocket has no slot: it may stay open for days, and calls need the slots. What it may fill is bounded on both
//! sides instead: whoever sends waits until less than a window of bytes has not been taken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};

use super::call::CallError;
use super::link::Link;
use super::message::{ResponseHead, ToWorker};
use super::socket_message::{Acceptance, ConnectHeader, FromSocket, Kind};
use crate::serve::payload::Payload;

/// Bytes of messages that may be on their way in one direction. A longer message passes when nothing else is.
pub const WINDOW: u64 = 1 << 20;

/// The code that tells an application that its client is gone without a word.
pub const VANISHED: u16 = 1006;

/// What became of the request for a WebSocket.
#[derive(Debug)]
pub enum Opening {
    /// The application takes it.
    Accepted(Acceptance),
    /// The application refuses it with an answer.
    Denied(ResponseHead, Bytes),
}

/// What comes from the application at an open WebSocket. A channel that closes means that the worker is gone.
#[derive(Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// A message for the client.
    Message(Kind, Bytes),
    /// The application ends it.
    Close(u16, String),
    /// The worker is about to end.
    Drain,
}

/// The WebSockets of one worker.
#[derive(Debug, Default)]
pub struct Sockets {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<u64, End>,
    is_draining: bool,
}

/// The end at which the worker's messages arrive.
#[derive(Debug)]
struct End {
    opening: Option<oneshot::Sender<Result<Opening, CallError>>>,
    events: mpsc::UnboundedSender<SocketEvent>,
    flow: Arc<Flow>,
}

/// How much of what the client sent has not been taken by the application.
#[derive(Debug, Default)]
struct Flow {
    bytes: AtomicU64,
    taken: Notify,
}

/// The client's side of a WebSocket, towards the worker; dropping it tells the application that the client is gone.
#[derive(Debug)]
pub struct Outbox {
    id: u64,
    link: Arc<Link>,
    flow: Arc<Flow>,
    unsaid: AtomicU64,
    is_over: bool,
}

/// What a WebSocket is, from the request for it on.
#[derive(Debug)]
pub struct Opened {
    /// Told once: whether it is taken.
    pub opening: oneshot::Receiver<Result<Opening, CallError>>,
    /// What the application sends.
    pub events: mpsc::UnboundedReceiver<SocketEvent>,
    /// The way to the application.
    pub outbox: Outbox,
}

impl Sockets {
    /// Asks a worker's application for a WebSocket; `None` when the worker takes none any more.
    pub fn open(link: &Arc<Link>, mut head: ConnectHeader<'_>) -> Option<Opened> {
        let id = link.next_id();
        head.id = id;
        let (sender, opening) = oneshot::channel();
        let (events, received) = mpsc::unbounded_channel();
        let flow = Arc::new(Flow::default());
        {
            let mut table = link.sockets.lock();
            if table.is_draining || !link.is_open() {
                return None;
            }
            table.open.insert(id, End { opening: Some(sender), events, flow: Arc::clone(&flow) });
        }
        link.send(&ToWorker::Connect(head), Payload::default());
        let outbox = Outbox { id, link: Arc::clone(link), flow, unsaid: AtomicU64::new(0), is_over: false };
        Some(Opened { opening, events: received, outbox })
    }

    /// Returns how many are open, or about to be.
    pub fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// Tells all clients that the worker is about to end; it takes no more.
    pub fn drain(&self) {
        let mut table = self.lock();
        table.is_draining = true;
        for end in table.open.values() {
            // A client that is gone needs no word.
            let _ = end.events.send(SocketEvent::Drain);
        }
    }

    /// Takes a message of the worker; gives its name back when there is no such WebSocket.
    pub fn receive(&self, id: u64, message: FromSocket) -> Result<(), &'static str> {
        let mut table = self.lock();
        match message {
            FromSocket::Accept(acceptance) => {
                let opening = table.open.get_mut(&id).and_then(|end| end.opening.take()).ok_or("accept")?;
                // A client that is gone needs no word: the application is told that it is.
                let _ = opening.send(acceptance.map(Opening::Accepted).map_err(CallError::from));
            }
            FromSocket::Deny(head, body) => {
                let opening = table.open.remove(&id).and_then(|end| end.opening).ok_or("deny")?;
                let denied = head.map(|head| Opening::Denied(head, body));
                let _ = opening.send(denied.map_err(CallError::from));
            }
            FromSocket::Send(kind, body) => {
                let end = table.open.get(&id).ok_or("send")?;
                let _ = end.events.send(SocketEvent::Message(kind, body));
            }
            FromSocket::Received(bytes) => {
                let flow = &table.open.get(&id).ok_or("received")?.flow;
                // A worker that has taken more than there was has taken all.
                let _ = flow.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |sent| {
                    Some(sent.saturating_sub(bytes))
                });
                flow.taken.notify_one();
            }
            FromSocket::Close(code, reason) => {
                let end = table.open.remove(&id).ok_or("close")?;
                let _ = end.events.send(SocketEvent::Close(code, reason));
            }
        }
        Ok(())
    }

    /// Gives all of them up: the worker is gone.
    pub fn lose(&self, worker: u32) {
        let mut table = self.lock();
        table.is_draining = true;
        for end in std::mem::take(&mut table.open).into_values() {
            if let Some(opening) = end.opening {
                let _ = opening.send(Err(CallError::WorkerLost { worker }));
            }
            // Nobody waits for room any more: what is sent from now on goes nowhere.
            end.flow.bytes.store(0, Ordering::Release);
            end.flow.taken.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while the lock is held; a poisoned table is still whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Returns the number of the worker whose application it is.
    pub fn worker(&self) -> u32 {
        self.link.worker()
    }

    /// Waits until the application has taken enough for more to be sent. Cancelling it loses nothing.
    pub async fn room(&self) {
        while self.flow.bytes.load(Ordering::Acquire) >= WINDOW {
            self.flow.taken.notified().await;
        }
    }

    /// Whether the application has yet to take what was sent before.
    pub fn is_full(&self) -> bool {
        self.flow.bytes.load(Ordering::Acquire) >= WINDOW
    }

    /// Sends a message of the client.
    pub fn send(&self, kind: Kind, message: Bytes) {
        self.flow.bytes.fetch_add(weight(&message), Ordering::AcqRel);
        self.link.send(&ToWorker::Receive { id: self.id, kind }, message.into());
    }

    /// Takes note that a message of the application is with the client; the worker is told of several at once.
    pub fn delivered(&self, length: usize) {
        let unsaid = self.unsaid.fetch_add(length as u64 + 1, Ordering::AcqRel) + length as u64 + 1;
        if unsaid >= WINDOW / 2 {
            self.unsaid.fetch_sub(unsaid, Ordering::AcqRel);
            self.link.send(&ToWorker::Sent { id: self.id, bytes: unsaid }, Payload::default());
        }
    }

    /// Says no more: the application has ended it.
    pub fn forget(&mut self) {
        self.is_over = true;
    }

    /// Tells the application that it is over.
    pub fn disconnect(&mut self, code: u16, reason: &str) {
        if !self.is_over {
            self.is_over = true;
            // The worker need not answer: what crosses this is for nobody.
            self.link.sockets.lock().open.remove(&self.id);
            let message = ToWorker::Disconnect { id: self.id, code, reason: reason.into() };
            self.link.send(&message, Payload::default());
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.disconnect(VANISHED, "");
    }
}

/// What a message takes of the window: an empty one takes something, too.
fn weight(message: &Bytes) -> u64 {
    message.len() as u64 + 1
}
