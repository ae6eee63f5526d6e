//! The socket to one worker: messages out, messages in, and the table of what the worker still owes.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::call::{Answered, Call, CallError, Caller, Origin, Outcome, TaskId};
use super::frame::{Decoder, Encoded};
use super::message::{
    Answer, BatchHeader, BatchedCall, CallHeader, CallState, Encoding, Failure, FromWorker, HeadError,
    Invoke, Level, MessageError, Probe, Probed, ResponseHead, Results, ToWorker, header_text,
};
use super::pool::{Pending, Slot};
use super::process::Ends;
use super::sealed::Passage;
use super::sockets::Sockets;
use super::stream::{ChunkSender, Refusal, stream};
use super::switchboard::Switchboard;
use crate::serve::batch::array::ArrayHead;
use crate::serve::manifest::ServiceManifest;
use crate::serve::payload::Payload;

/// Most pieces in one write; the kernel takes 1024.
const WRITE_PIECES: usize = 64;

/// What a worker tells besides answers.
#[derive(Debug)]
pub enum Event {
    /// What it serves.
    Described(Box<ServiceManifest>),
    /// It has started the service's own program, with this group of processes.
    Command(i32),
    /// It takes calls.
    Ready,
    /// It cannot serve.
    Failed(Failure),
    /// A line for the log.
    Log(Level, String),
    /// The socket is closed, by the worker or because of what it sent.
    Closed(Option<LinkError>),
}

/// Why a socket to a worker was given up.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The worker broke the protocol.
    #[error("the worker broke the protocol")]
    Message(#[from] MessageError),
    /// The socket failed.
    #[error("cannot read from the worker's socket")]
    Read(#[source] std::io::Error),
    /// The socket closed in the middle of a frame.
    #[error("the worker's socket closed in the middle of a message")]
    Truncated,
}

/// The front's end of a worker's socket.
#[derive(Debug)]
pub struct Link {
    worker: u32,
    ids: AtomicU64,
    is_open: AtomicBool,
    has_answered: AtomicBool,
    table: Mutex<Table>,
    switchboard: Arc<Switchboard>,
    /// The WebSockets that the worker has.
    pub sockets: Sockets,
}

#[derive(Debug)]
struct Table {
    outgoing: Option<mpsc::UnboundedSender<Encoded>>,
    owed: BTreeMap<u64, Owed>,
    /// What the worker has asked of other units.
    asked: BTreeMap<u64, AbortHandle>,
}

#[derive(Debug)]
enum Owed {
    Answer(oneshot::Sender<Answered>, Slot),
    /// What was sent while the worker had something else, whole: it may go to another worker.
    Ahead(Vec<Pending>, Slot),
    Answers(Vec<Share>, Slot),
    Chunks(ChunkSender, Slot),
    Probed(oneshot::Sender<Probed>),
    Measured(oneshot::Sender<Bytes>),
}

/// A call's share of a batch.
#[derive(Debug)]
struct Share {
    answer: oneshot::Sender<Answered>,
    rows: u64,
    is_client: bool,
}

impl Share {
    /// The one share of a call that is no batch.
    fn alone(answer: oneshot::Sender<Answered>) -> Self {
        Self { answer, rows: 1, is_client: true }
    }

    fn of(Pending { call, answer, .. }: Pending) -> Self {
        Self { answer, rows: call.rows, is_client: call.caller.is_client() }
    }
}

impl Owed {
    /// What is owed for calls that the worker has begun.
    fn for_calls(calls: Vec<Pending>, slot: Slot) -> Self {
        let is_batch = is_batch(&calls);
        let mut shares: Vec<Share> = calls.into_iter().map(Share::of).collect();
        match shares.pop() {
            Some(Share { answer, .. }) if !is_batch => Self::Answer(answer, slot),
            last => {
                shares.extend(last);
                Self::Answers(shares, slot)
            }
        }
    }

    /// Takes what was sent ahead for begun.
    fn begun(self) -> Self {
        match self {
            Self::Ahead(calls, slot) => Self::for_calls(calls, slot),
            other => other,
        }
    }
}

impl Link {
    /// Begins to read and write; events of the worker arrive at the receiver, `Closed` last. What the worker asks of
    /// others goes through the switchboard.
    pub fn open(
        worker: u32,
        ends: Ends,
        switchboard: Arc<Switchboard>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Event>) {
        let (outgoing, queued) = mpsc::unbounded_channel();
        let (events, received) = mpsc::unbounded_channel();
        let table = Table { outgoing: Some(outgoing), owed: BTreeMap::new(), asked: BTreeMap::new() };
        let (ids, is_open) = (AtomicU64::new(1), AtomicBool::new(true));
        let (table, has_answered) = (Mutex::new(table), AtomicBool::new(false));
        let sockets = Sockets::default();
        let link = Arc::new(Self { worker, ids, is_open, has_answered, table, switchboard, sockets });
        let Ends { frames, passage } = ends;
        let (read, write) = frames.into_split();
        let passage = Arc::new(passage);
        tokio::spawn(write_frames(write, queued, Arc::clone(&passage)));
        let reader = Arc::clone(&link);
        tokio::spawn(async move {
            let error = reader.read_frames(read, &passage, &events).await.err();
            reader.close();
            // A supervisor that is gone needs no news.
            let _ = events.send(Event::Closed(error));
        });
        (link, received)
    }

    /// Returns the worker's number.
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Gives an identity for a call that will be sent to this worker.
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells whether the worker has answered any call.
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// Tells whether the worker can be sent calls.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Sends a call, or several of one API as a batch; their slot is free again when the worker has answered. A closed
    /// link gives the calls back.
    pub fn call(&self, id: u64, mut calls: Vec<Pending>, slot: Slot) -> Result<(), Vec<Pending>> {
        let mut table = self.lock();
        // One that drains takes no more.
        if table.outgoing.is_none() || !self.is_open() {
            return Err(calls);
        }
        calls.retain(|pending| !pending.answer.is_closed());
        if calls.is_empty() {
            drop(table);
            return Ok(());
        }
        // One that overtook the call that it was to follow is the one that the worker begins.
        let is_ahead = slot.is_ahead && table.is_computing();
        let body_of = |pending: &mut Pending| {
            let body = &mut pending.call.body;
            if is_ahead { body.clone() } else { std::mem::take(body) }
        };
        let bodies = calls.iter_mut().map(body_of).collect();
        let sent = encode(id, &calls, bodies).map_err(CallError::Unsendable);
        if let Err(error) = sent.and_then(|frame| self.write(&table, frame)) {
            drop(table);
            drop(slot);
            self.fail(calls.into_iter().map(Share::of).collect(), error);
            return Ok(());
        }
        let owed = if is_ahead { Owed::Ahead(calls, slot) } else { Owed::for_calls(calls, slot) };
        table.owed.insert(id, owed);
        Ok(())
    }

    fn write(&self, table: &Table, frame: Encoded) -> Result<(), CallError> {
        let lost = CallError::WorkerLost { worker: self.worker };
        match &table.outgoing {
            Some(outgoing) => outgoing.send(frame).map_err(|_| lost),
            None => Err(lost),
        }
    }

    /// Sends a message, if the worker is still there.
    pub fn send(&self, message: &ToWorker<'_>, body: Payload) {
        self.lock().send(message, body);
    }

    /// Tells the worker that no one waits for a call's answer.
    pub fn cancel(&self, id: u64) {
        let table = self.lock();
        if table.owed.contains_key(&id) {
            table.send(&ToWorker::Cancel { id }, Payload::default());
        }
    }

    /// Runs a health hook; `None` when the worker is gone.
    pub async fn probe(&self, what: Probe) -> Option<Probed> {
        let (sender, probed) = oneshot::channel();
        let id = self.next_id();
        let frame = ToWorker::Probe { id, what }.encode(Payload::default()).ok()?;
        self.ask(id, frame, Owed::Probed(sender)).ok()?;
        probed.await.ok()
    }

    /// Asks for the user's metrics; `None` when the worker is gone.
    pub async fn measure(&self) -> Option<Bytes> {
        let (sender, measured) = oneshot::channel();
        let id = self.next_id();
        let frame = ToWorker::Metrics { id }.encode(Payload::default()).ok()?;
        self.ask(id, frame, Owed::Measured(sender)).ok()?;
        measured.await.ok()
    }

    /// Tells the worker to finish what it has begun and to exit; it is sent no more calls.
    pub fn drain(&self) {
        self.sockets.drain();
        let table = self.lock();
        self.is_open.store(false, Ordering::Release);
        table.send(&ToWorker::Drain, Payload::default());
    }

    /// Gives the worker up: everything it owes is lost, and it reads end-of-file.
    pub fn close(&self) {
        self.is_open.store(false, Ordering::Release);
        let mut table = self.lock();
        table.outgoing = None;
        let owed = std::mem::take(&mut table.owed);
        let asked = std::mem::take(&mut table.asked);
        drop(table);
        self.sockets.lose(self.worker);
        for task in asked.into_values() {
            task.abort();
        }
        let mut is_computing = false;
        for owed in owed.into_values() {
            // Calls are begun in the order in which they were sent.
            if is_computing && let Owed::Ahead(calls, slot) = owed {
                slot.take_back(calls);
                continue;
            }
            let (shares, slot) = match owed.begun() {
                Owed::Answer(answer, slot) => (vec![Share::alone(answer)], slot),
                Owed::Answers(shares, slot) => (shares, slot),
                Owed::Chunks(..) => {
                    is_computing = true;
                    continue;
                }
                Owed::Probed(_) | Owed::Measured(_) | Owed::Ahead(..) => continue,
            };
            is_computing = true;
            drop(slot);
            self.fail(shares, CallError::WorkerLost { worker: self.worker });
        }
    }

    /// Answers the calls of a batch that has no answer: the first with the error itself, the others with what it is for
    /// them.
    fn fail(&self, shares: Vec<Share>, error: CallError) {
        let calls = shares.len();
        let is_lost = matches!(error, CallError::WorkerLost { .. });
        let mut error = Some(error);
        for Share { answer, .. } in shares {
            let error = error.take().unwrap_or(if is_lost {
                CallError::WorkerLost { worker: self.worker }
            } else {
                CallError::Indivisible { calls }
            });
            // A client that is gone needs no answer.
            let _ = answer.send(Answered { worker: self.worker, outcome: Err(error) });
        }
    }

    fn ask(&self, id: u64, frame: Encoded, owed: Owed) -> Result<(), Owed> {
        let mut table = self.lock();
        let Some(outgoing) = &table.outgoing else { return Err(owed) };
        if outgoing.send(frame).is_err() {
            return Err(owed);
        }
        table.owed.insert(id, owed);
        Ok(())
    }

    async fn read_frames(
        self: &Arc<Self>,
        mut read: OwnedReadHalf,
        passage: &Passage,
        events: &mpsc::UnboundedSender<Event>,
    ) -> Result<(), LinkError> {
        let mut decoder = Decoder::default();
        loop {
            while let Some(frame) = decoder.decode().map_err(MessageError::from)? {
                let shared = frame.shared.map(|length| passage.take(length)).transpose();
                let mut message = FromWorker::decode(frame)?;
                if let Some(shared) = shared.map_err(MessageError::from)? {
                    message = message.with_shared(shared)?;
                }
                if let Some(event) = self.receive(message).await {
                    let _ = events.send(event);
                }
            }
            let buffer = decoder.room().map_err(MessageError::from)?;
            let is_partial = !buffer.is_empty();
            match read.read_buf(buffer).await {
                Ok(0) if is_partial => return Err(LinkError::Truncated),
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(source) => return Err(LinkError::Read(source)),
            }
        }
    }

    async fn receive(self: &Arc<Self>, message: FromWorker) -> Option<Event> {
        match message {
            FromWorker::Reply(id, answer) => self.reply(id, answer),
            FromWorker::Results(id, results) => self.results(id, results),
            FromWorker::Invoke(invoke, body) => {
                self.invoke(*invoke, body);
                None
            }
            FromWorker::Withdraw(id) => {
                // An answer that has been sent cannot be withdrawn.
                if let Some(task) = self.lock().asked.remove(&id) {
                    task.abort();
                }
                None
            }
            FromWorker::Stream(id, head) => self.begin_stream(id, head),
            FromWorker::Chunk(id, chunk) => self.chunk(id, chunk).await,
            FromWorker::End(id, error) => match self.take(id) {
                Some(Owed::Chunks(chunks, slot)) => {
                    drop(slot);
                    chunks.end(error);
                    None
                }
                _ => Some(unasked("end", id)),
            },
            FromWorker::Probed(id, probed) => match self.take(id) {
                Some(Owed::Probed(waiting)) => waiting.send(probed).err().and(None),
                _ => Some(unasked("probed", id)),
            },
            FromWorker::Measured(id, text) => match self.take(id) {
                Some(Owed::Measured(waiting)) => waiting.send(text).err().and(None),
                _ => Some(unasked("measured", id)),
            },
            FromWorker::Socket(id, message) => {
                // One that is over may have crossed the word that it is.
                let _ = self.sockets.receive(id, message);
                None
            }
            FromWorker::Describe(manifest) => Some(Event::Described(manifest)),
            FromWorker::Command(group) => Some(Event::Command(group)),
            FromWorker::Ready => Some(Event::Ready),
            FromWorker::Failed(failure) => Some(Event::Failed(failure)),
            FromWorker::Log(level, text) => Some(Event::Log(level, text)),
        }
    }

    fn reply(&self, id: u64, answer: Answer) -> Option<Event> {
        let Some(Owed::Answer(waiting, slot)) = self.take(id) else { return Some(unasked("reply", id)) };
        slot.learn();
        self.has_answered.store(true, Ordering::Relaxed);
        // The answer goes first: the client has waited longer than the next call.
        let _ = waiting.send(Answered { worker: self.worker, outcome: outcome(answer) });
        drop(slot);
        None
    }

    fn results(&self, id: u64, results: Results) -> Option<Event> {
        let Some(Owed::Answers(shares, slot)) = self.take(id) else { return Some(unasked("results", id)) };
        slot.learn();
        self.has_answered.store(true, Ordering::Relaxed);
        let outcomes = match results {
            Results::Each(answers) => {
                (answers.len() == shares.len()).then(|| answers.into_iter().map(outcome).collect())
            }
            Results::Merged(head, elements) => divide(&head, &elements, &shares),
        };
        let calls = shares.len();
        let outcomes: Vec<Result<Outcome, CallError>> =
            outcomes.unwrap_or_else(|| (0..calls).map(|_| Err(CallError::Indivisible { calls })).collect());
        for (share, outcome) in shares.into_iter().zip(outcomes) {
            let _ = share.answer.send(Answered { worker: self.worker, outcome });
        }
        drop(slot);
        None
    }

    /// Begins a call of another unit.
    fn invoke(self: &Arc<Self>, invoke: Invoke, body: Payload) {
        let id = invoke.id;
        let (link, switchboard) = (Arc::clone(self), Arc::clone(&self.switchboard));
        // The table is locked until the task stands in it: it takes itself out at its end.
        let mut table = self.lock();
        let task = tokio::spawn(async move {
            switchboard.invoke(Arc::clone(&link), invoke, body).await;
            link.lock().asked.remove(&id);
        });
        table.asked.insert(id, task.abort_handle());
    }

    fn begin_stream(&self, id: u64, head: Result<ResponseHead, HeadError>) -> Option<Event> {
        let mut table = self.lock();
        let (waiting, slot) = match table.owed.remove(&id).map(Owed::begun) {
            Some(Owed::Answer(waiting, slot)) => (waiting, slot),
            other => {
                // What it holds may want this link when it goes.
                drop(table);
                drop(other);
                return Some(unasked("stream", id));
            }
        };
        self.has_answered.store(true, Ordering::Relaxed);
        let (sender, chunks) = stream();
        table.owed.insert(id, Owed::Chunks(sender, slot));
        if head.is_err() {
            table.send(&ToWorker::Cancel { id }, Payload::default());
        }
        drop(table);
        let outcome = head.map(|head| Outcome::Streamed(head, chunks)).map_err(CallError::from);
        let _ = waiting.send(Answered { worker: self.worker, outcome });
        None
    }

    async fn chunk(&self, id: u64, chunk: Bytes) -> Option<Event> {
        let sender = match self.lock().owed.get(&id) {
            Some(Owed::Chunks(sender, _)) => sender.clone(),
            _ => return Some(unasked("chunk", id)),
        };
        match sender.send(chunk).await {
            // The client's side has cancelled the call when it went.
            Ok(()) | Err(Refusal::Gone) => None,
            Err(Refusal::Stalled) => {
                sender.end(Some("the client reads too slowly".to_owned()));
                self.cancel(id);
                Some(Event::Log(Level::Warning, "a stream was cut: its client reads too slowly".to_owned()))
            }
        }
    }

    fn take(&self, id: u64) -> Option<Owed> {
        self.lock().owed.remove(&id).map(Owed::begun)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while the lock is held; a poisoned table is still whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether the worker has anything to compute.
    fn is_computing(&self) -> bool {
        self.owed.values().any(|owed| !matches!(owed, Owed::Probed(_) | Owed::Measured(_)))
    }

    fn send(&self, message: &ToWorker<'_>, body: Payload) {
        if let (Some(outgoing), Ok(frame)) = (&self.outgoing, message.encode(body)) {
            // A socket that is gone is reported by its reader.
            let _ = outgoing.send(frame);
        }
    }
}

fn unasked(what: &str, id: u64) -> Event {
    Event::Log(Level::Warning, format!("the worker sent `{what}` for {id}, which it does not owe"))
}

/// Takes a worker's answer for what it is.
fn outcome(answer: Answer) -> Result<Outcome, CallError> {
    let Answer { head, body, encoding, shared } = answer;
    match encoding {
        Some(encoding) => Ok(Outcome::Value(encoding, shared.map_or_else(|| body.into(), Payload::from))),
        None => head.map(|head| Outcome::Whole(head, body)).map_err(CallError::from),
    }
}

/// Gives every call its rows of an array; `None` when the rows are not the whole of it.
fn divide(head: &ArrayHead, elements: &Bytes, shares: &[Share]) -> Option<Vec<Result<Outcome, CallError>>> {
    let rows: Vec<u64> = shares.iter().map(|share| share.rows).collect();
    let parts = head.split(elements, &rows)?;
    let outcomes = shares.iter().zip(parts).map(|(share, part)| {
        let head = head.with_rows(share.rows);
        if !share.is_client {
            return Ok(Outcome::Value(Encoding::Array(head), part.into()));
        }
        let json = head.to_json(&part).ok_or(CallError::Indivisible { calls: shares.len() })?;
        Ok(Outcome::Whole(ResponseHead::json(), json.into()))
    });
    Some(outcomes.collect())
}

/// Whether calls are sent as a batch: several, or one that the front has read.
fn is_batch(calls: &[Pending]) -> bool {
    calls.len() > 1 || calls.first().is_some_and(|first| first.call.is_client_array())
}

/// Writes calls of one API with their bodies.
fn encode(id: u64, calls: &[Pending], mut bodies: Vec<Payload>) -> Result<Encoded, MessageError> {
    match (calls, bodies.pop()) {
        ([Pending { call, .. }], Some(body)) if !is_batch(calls) => encode_call(id, call, body),
        (_, last) => {
            bodies.extend(last);
            encode_batch(id, calls, bodies)
        }
    }
}

fn encode_call(id: u64, call: &Call, body: Payload) -> Result<Encoded, MessageError> {
    let Call { name, caller, encoding, deadline, request_id, .. } = call;
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).as_millis());
    let mut header = CallHeader {
        id,
        endpoint: Cow::Borrowed(name),
        method: Cow::Borrowed("POST"),
        path: Cow::Borrowed(""),
        query: Cow::Borrowed(""),
        headers: Vec::new(),
        timeout_ms: left.map(|left| u64::try_from(left).unwrap_or(u64::MAX)),
        request_id: Cow::Borrowed(request_id),
        encoding: encoding.clone(),
        client: None,
        scheme: None,
        state: None,
    };
    if let Caller::Client(head) = caller {
        header.method = Cow::Borrowed(head.method.as_str());
        header.path = Cow::Borrowed(head.uri.path());
        header.query = Cow::Borrowed(head.uri.query().unwrap_or_default());
        let pairs =
            head.headers.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), header_text(value)));
        header.headers = pairs.collect();
        if let Some(Origin { address, scheme }) = head.extensions.get() {
            header.client = Some((address.ip().to_string().into(), address.port()));
            header.scheme = Some(Cow::Borrowed(scheme));
        }
        if let Some(TaskId(id)) = head.extensions.get() {
            header.state = Some(CallState { task_id: Cow::Borrowed(id) });
        }
    }
    ToWorker::Call(header).encode(body)
}

/// Writes several calls of one API; arrays that are kin become one.
fn encode_batch(id: u64, calls: &[Pending], bodies: Vec<Payload>) -> Result<Encoded, MessageError> {
    let Some(Pending { call: first, .. }) = calls.first() else { return Err(MessageError::NoCall) };
    let rows = calls.iter().map(|pending| pending.call.rows).sum();
    let array = match &first.encoding {
        Some(Encoding::Array(head)) => Some(head.with_rows(rows)),
        _ => None,
    };
    let mut body = Payload::default();
    let mut batched = Vec::with_capacity(calls.len());
    for (Pending { call, .. }, part) in calls.iter().zip(bodies) {
        let Call { caller, encoding, rows, request_id, .. } = call;
        let content_type = caller.content_type();
        let encoding = if array.is_some() { None } else { encoding.clone() };
        let (request_id, length) = (Cow::Borrowed(request_id.as_ref()), part.length());
        batched.push(BatchedCall { request_id, length, rows: *rows, content_type, encoding });
        for piece in part.unshared()?.into_parts() {
            body.push(piece);
        }
    }
    let header = BatchHeader { id, endpoint: Cow::Borrowed(&first.name), calls: batched, array };
    ToWorker::Batch(header).encode(body)
}

async fn write_frames(
    mut write: OwnedWriteHalf,
    mut queued: mpsc::UnboundedReceiver<Encoded>,
    passage: Arc<Passage>,
) {
    let mut frames: VecDeque<Encoded> = VecDeque::new();
    loop {
        if frames.is_empty() {
            let Some(frame) = queued.recv().await else { return };
            frames.push_back(frame);
        }
        while let Ok(frame) = queued.try_recv() {
            frames.push_back(frame);
        }
        for frame in &mut frames {
            // What cannot be read any more is lost with its worker.
            let Ok(()) = frame.share(&passage) else { return };
        }
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(8);
        for frame in &frames {
            if slices.len() >= WRITE_PIECES {
                break;
            }
            frame.gather(&mut slices, WRITE_PIECES);
        }
        // A worker that cannot be written to is gone; its reader says so.
        let Ok(mut written) = write.write_vectored(&slices).await else { return };
        drop(slices);
        while let Some(frame) = frames.front_mut() {
            written = frame.advance(written);
            if !frame.is_done() {
                break;
            }
            frames.pop_front();
        }
    }
}
