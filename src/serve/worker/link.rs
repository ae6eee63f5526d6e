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
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::frame::{Decoder, Encoded};
use super::message::{
    Answer, CallHeader, Failure, FromWorker, HeadError, Level, MessageError, Probe, Probed, ResponseHead,
    ToWorker, header_text,
};
use super::pool::{Answered, Call, CallError, Outcome, Pending, Slot};
use super::stream::{ChunkSender, Refusal, stream};
use crate::serve::manifest::ServiceManifest;
use crate::serve::payload::Payload;

/// Most pieces in one write; the kernel takes 1024.
const WRITE_PIECES: usize = 64;

/// What a worker tells besides answers.
#[derive(Debug)]
pub enum Event {
    /// What it serves.
    Described(Box<ServiceManifest>),
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
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    outgoing: Option<mpsc::UnboundedSender<Encoded>>,
    owed: BTreeMap<u64, Owed>,
}

#[derive(Debug)]
enum Owed {
    Answer(oneshot::Sender<Answered>, Slot),
    Chunks(ChunkSender, Slot),
    Probed(oneshot::Sender<Probed>),
    Measured(oneshot::Sender<Bytes>),
}

impl Link {
    /// Begins to read and write; events of the worker arrive at the receiver, `Closed` last.
    pub fn open(worker: u32, socket: UnixStream) -> (Arc<Self>, mpsc::UnboundedReceiver<Event>) {
        let (outgoing, queued) = mpsc::unbounded_channel();
        let (events, received) = mpsc::unbounded_channel();
        let table = Mutex::new(Table { outgoing: Some(outgoing), owed: BTreeMap::new() });
        let link = Arc::new(Self { worker, ids: AtomicU64::new(1), is_open: AtomicBool::new(true), table });
        let (read, write) = socket.into_split();
        tokio::spawn(write_frames(write, queued));
        let reader = Arc::clone(&link);
        tokio::spawn(async move {
            let error = reader.read_frames(read, &events).await.err();
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

    /// Tells whether the worker can be sent anything.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Sends a call; its slot is free again when the worker has answered. A closed link gives the call back.
    pub fn call(&self, id: u64, pending: Pending, slot: Slot) -> Result<(), Box<Pending>> {
        let mut table = self.lock();
        let Some(outgoing) = &table.outgoing else { return Err(Box::new(pending)) };
        let Pending { call, answer, .. } = pending;
        if answer.is_closed() {
            drop(table);
            return Ok(());
        }
        let lost = |_| CallError::WorkerLost { worker: self.worker };
        let sent = encode_call(id, call).map_err(CallError::Unsendable);
        let sent = sent.and_then(|frame| outgoing.send(frame).map_err(lost));
        let Err(error) = sent else {
            table.owed.insert(id, Owed::Answer(answer, slot));
            return Ok(());
        };
        drop(table);
        drop(slot);
        // A client that is gone needs no answer.
        let _ = answer.send(Answered { worker: self.worker, outcome: Err(error) });
        Ok(())
    }

    /// Tells the worker that no one waits for a call's answer.
    pub fn cancel(&self, id: u64) {
        let table = self.lock();
        if table.owed.contains_key(&id) {
            table.send(&ToWorker::Cancel { id });
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

    /// Tells the worker to finish what it has begun and to exit.
    pub fn drain(&self) {
        self.lock().send(&ToWorker::Drain);
    }

    /// Gives the worker up: everything it owes is lost, and it reads end-of-file.
    pub fn close(&self) {
        self.is_open.store(false, Ordering::Release);
        let mut table = self.lock();
        table.outgoing = None;
        let owed = std::mem::take(&mut table.owed);
        drop(table);
        for owed in owed.into_values() {
            if let Owed::Answer(answer, slot) = owed {
                drop(slot);
                let outcome = Err(CallError::WorkerLost { worker: self.worker });
                let _ = answer.send(Answered { worker: self.worker, outcome });
            }
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
        &self,
        mut read: OwnedReadHalf,
        events: &mpsc::UnboundedSender<Event>,
    ) -> Result<(), LinkError> {
        let mut decoder = Decoder::default();
        loop {
            while let Some(frame) = decoder.decode().map_err(MessageError::from)? {
                if let Some(event) = self.receive(FromWorker::decode(frame)?).await {
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

    async fn receive(&self, message: FromWorker) -> Option<Event> {
        match message {
            FromWorker::Reply(id, answer) => self.reply(id, answer),
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
            FromWorker::Describe(manifest) => Some(Event::Described(manifest)),
            FromWorker::Ready => Some(Event::Ready),
            FromWorker::Failed(failure) => Some(Event::Failed(failure)),
            FromWorker::Log(level, text) => Some(Event::Log(level, text)),
        }
    }

    fn reply(&self, id: u64, answer: Answer) -> Option<Event> {
        let Some(Owed::Answer(waiting, slot)) = self.take(id) else { return Some(unasked("reply", id)) };
        let outcome = answer.head.map(|head| Outcome::Whole(head, answer.body)).map_err(CallError::from);
        // The answer goes first: the client has waited longer than the next call.
        let _ = waiting.send(Answered { worker: self.worker, outcome });
        drop(slot);
        None
    }

    fn begin_stream(&self, id: u64, head: Result<ResponseHead, HeadError>) -> Option<Event> {
        let mut table = self.lock();
        let Some(Owed::Answer(waiting, slot)) = table.owed.remove(&id) else {
            return Some(unasked("stream", id));
        };
        let (sender, chunks) = stream();
        table.owed.insert(id, Owed::Chunks(sender, slot));
        if head.is_err() {
            table.send(&ToWorker::Cancel { id });
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
        self.lock().owed.remove(&id)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while the lock is held; a poisoned table is still whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn send(&self, message: &ToWorker<'_>) {
        if let (Some(outgoing), Ok(frame)) = (&self.outgoing, message.encode(Payload::default())) {
            // A socket that is gone is reported by its reader.
            let _ = outgoing.send(frame);
        }
    }
}

fn unasked(what: &str, id: u64) -> Event {
    Event::Log(Level::Warning, format!("the worker sent `{what}` for {id}, which it does not owe"))
}

fn encode_call(id: u64, call: Call) -> Result<Encoded, MessageError> {
    let Call { name, head, body, deadline, request_id, .. } = call;
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).as_millis());
    let headers =
        head.headers.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), header_text(value))).collect();
    let header = CallHeader {
        id,
        endpoint: Cow::Borrowed(&name),
        method: Cow::Borrowed(head.method.as_str()),
        path: Cow::Borrowed(head.uri.path()),
        query: Cow::Borrowed(head.uri.query().unwrap_or_default()),
        headers,
        timeout_ms: left.map(|left| u64::try_from(left).unwrap_or(u64::MAX)),
        request_id: Cow::Borrowed(&request_id),
    };
    ToWorker::Call(header).encode(body)
}

async fn write_frames(mut write: OwnedWriteHalf, mut queued: mpsc::UnboundedReceiver<Encoded>) {
    let mut frames: VecDeque<Encoded> = VecDeque::new();
    loop {
        if frames.is_empty() {
            let Some(frame) = queued.recv().await else { return };
            frames.push_back(frame);
        }
        while let Ok(frame) = queued.try_recv() {
            frames.push_back(frame);
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
