//! A WebSocket from the handshake to its end: messages go to and fro between the client and the application.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

use super::counts::SocketCounts;
use crate::serve::http::connection::Guarded;
use crate::serve::http::exchange::Exchange;
use crate::serve::http::front::Service;
use crate::serve::http::tls::socket::Socket;
use crate::serve::worker::message::Level;
use crate::serve::worker::socket_message::Kind;
use crate::serve::worker::sockets::{Outbox, SocketEvent, VANISHED};

/// Longest message of a client, all of its fragments together; upstream's.
const MESSAGE_LIMIT: usize = 16 << 20;

/// Kept for each direction of each WebSocket: there may be many that say nothing.
const BUFFER: usize = 8 * 1024;

/// How long a client may say nothing before it is asked whether it is there, and again until it is given up; upstream's.
const PING_PAUSE: Duration = Duration::from_secs(20);

/// How long a client may take to close, too.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// The same when the server is about to end.
const LAST_CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Longest reason in a closing frame.
const REASON_LIMIT: usize = 123;

/// A client's closing frame without a code.
const NO_CODE: u16 = 1005;

type Client = WebSocketStream<Guarded>;

/// A WebSocket that was taken, and waits for its connection.
#[derive(Debug)]
pub struct Relay {
    service: Arc<Service>,
    upgrade: OnUpgrade,
    events: mpsc::UnboundedReceiver<SocketEvent>,
    outbox: Outbox,
    label: usize,
    line: Option<String>,
    opened: Instant,
    _permit: Option<OwnedSemaphorePermit>,
}

/// The way of a relay from the answer to the connection that it takes over.
#[derive(Clone, Debug)]
pub struct Takeover(Arc<Mutex<Option<Relay>>>);

/// Why a WebSocket ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The client closes it.
    Client(u16, String),
    /// The client is gone without a word.
    Vanished,
    /// The front closes it: what the client sent is wrong, or the worker is gone, or about to be.
    Front(u16, &'static str),
    /// The application closes it.
    Application(u16, String),
}

impl Takeover {
    /// Keeps a relay.
    pub fn new(relay: Relay) -> Self {
        Self(Arc::new(Mutex::new(Some(relay))))
    }

    /// Gives the relay to the connection.
    pub fn take(&self) -> Option<Relay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Relay {
    /// Makes a relay between a connection and an application.
    pub fn new(
        service: &Arc<Service>,
        exchange: &Exchange,
        upgrade: OnUpgrade,
        (events, outbox): (mpsc::UnboundedReceiver<SocketEvent>, Outbox),
        (permit, label, opened): (Option<OwnedSemaphorePermit>, usize, Instant),
    ) -> Self {
        let service = Arc::clone(service);
        Self { service, upgrade, events, outbox, label, line: exchange.line(), opened, _permit: permit }
    }

    /// Relays until one side ends it, or the port closes; gives the connection back that is to be closed.
    pub async fn run<C: Future<Output = ()>>(self, closing: Option<Pin<&mut C>>) -> Option<Socket> {
        let Self { service, upgrade, mut events, mut outbox, label, line, opened, _permit } = self;
        // Without a connection nobody is there.
        let parts = upgrade.await.ok()?.downcast::<TokioIo<Guarded>>().ok()?;
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_message_size(Some(MESSAGE_LIMIT))
            .max_frame_size(Some(MESSAGE_LIMIT));
        let (io, early) = (parts.io.into_inner(), parts.read_buf.to_vec());
        let client = Client::from_partially_read(io, early, Role::Server, Some(config)).await;
        let (mut sink, mut stream) = client.split();
        service.count_sockets(label, SocketCounts::opened);
        let is_alive = AtomicBool::new(true);
        let end = {
            let reading = pin!(read(&service, label, &mut stream, &outbox, &is_alive));
            let writing = pin!(write(&service, label, &mut sink, &mut events, &outbox, &is_alive));
            tokio::select! {
                end = reading => end,
                end = writing => end,
                () = closed(closing) => End::Front(1012, ""),
            }
        };
        let (code, reason) = end.told();
        match &end {
            End::Application(..) => outbox.forget(),
            _ => outbox.disconnect(code, reason),
        }
        finish(&end, &mut sink, &mut stream).await;
        service.count_sockets(label, SocketCounts::closed);
        if let Some(line) = line {
            let micros = opened.elapsed().as_micros();
            let text = format!("{line}101,close={code}) {}.{:03}ms", micros / 1000, micros % 1000);
            service.log.line(Level::Info, service.component(outbox.worker()), text);
        }
        Some(sink.reunite(stream).ok()?.into_inner().into_socket())
    }
}

impl End {
    /// What the application is told.
    fn told(&self) -> (u16, &str) {
        match self {
            Self::Client(code, reason) | Self::Application(code, reason) => (*code, reason),
            Self::Vanished => (VANISHED, ""),
            Self::Front(code, reason) => (*code, reason),
        }
    }

    /// What the client is told; `None` when it spoke first, or is not there.
    fn last_word(&self) -> Option<Message> {
        let (code, reason) = match self {
            Self::Client(..) | Self::Vanished => return None,
            Self::Front(code, reason) => (*code, *reason),
            Self::Application(code, reason) => (*code, reason.as_str()),
        };
        let code = CloseCode::from(code);
        // A frame without a code is what is left of one that may not be sent.
        let frame = code.is_allowed().then(|| CloseFrame { code, reason: shortened(reason).into() });
        Some(Message::Close(frame))
    }
}

/// Waits until the port closes.
async fn closed<C: Future<Output = ()>>(closing: Option<Pin<&mut C>>) {
    if let Some(closing) = closing {
        closing.await;
    }
}

/// Takes messages of the client to the application.
async fn read(
    service: &Service,
    label: usize,
    stream: &mut SplitStream<Client>,
    outbox: &Outbox,
    is_alive: &AtomicBool,
) -> End {
    loop {
        outbox.room().await;
        let message = match stream.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return broken(&error),
            None => return End::Vanished,
        };
        is_alive.store(true, Ordering::Relaxed);
        let (kind, data): (Kind, Bytes) = match message {
            Message::Text(text) => (Kind::Text, text.into()),
            Message::Binary(data) => (Kind::Bytes, data),
            Message::Close(None) => return End::Client(NO_CODE, String::new()),
            Message::Close(Some(frame)) => {
                return End::Client(frame.code.into(), frame.reason.as_str().to_owned());
            }
            // A ping is answered by the one who reads it.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        service.count_sockets(label, |counts| counts.received(data.len()));
        outbox.send(kind, data);
    }
}

/// Takes messages of the application to the client, and asks now and then whether the client is there.
async fn write(
    service: &Service,
    label: usize,
    sink: &mut SplitSink<Client, Message>,
    events: &mut mpsc::UnboundedReceiver<SocketEvent>,
    outbox: &Outbox,
    is_alive: &AtomicBool,
) -> End {
    let mut pings = interval_at(tokio::time::Instant::now() + PING_PAUSE, PING_PAUSE);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = pings.tick() => {
                // Nothing is read from a client that the application does not listen to: its answer cannot be seen.
                if !is_alive.swap(false, Ordering::Relaxed) && !outbox.is_full() {
                    return End::Front(1011, "keepalive ping timeout");
                }
                if sink.send(Message::Ping(Bytes::new())).await.is_err() {
                    return End::Vanished;
                }
                continue;
            }
        };
        let (kind, data) = match event {
            Some(SocketEvent::Message(kind, data)) => (kind, data),
            Some(SocketEvent::Close(code, reason)) => return End::Application(code, reason),
            Some(SocketEvent::Drain) => return End::Front(1012, ""),
            None => return End::Front(1011, "the worker died"),
        };
        let length = data.len();
        let message = match kind {
            Kind::Bytes => Message::Binary(data),
            Kind::Text => match Utf8Bytes::try_from(data) {
                Ok(text) => Message::Text(text),
                Err(_) => return End::Front(1011, "the application's text is no UTF-8"),
            },
        };
        let sent = if events.is_empty() { sink.send(message).await } else { sink.feed(message).await };
        if sent.is_err() {
            return End::Vanished;
        }
        service.count_sockets(label, |counts| counts.sent(length));
        outbox.delivered(length);
    }
}

/// What a client did that cannot be read on from.
fn broken(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Front(1009, "Message exceeds the maximum size (16777216 bytes)"),
        Error::Utf8(_) => End::Front(1007, "invalid UTF-8"),
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => End::Vanished,
        Error::Protocol(_) => End::Front(1002, "protocol error"),
        _ => End::Vanished,
    }
}

/// Says the last word, and waits for the client's.
async fn finish(end: &End, sink: &mut SplitSink<Client, Message>, stream: &mut SplitStream<Client>) {
    let limit = if *end == End::Front(1012, "") { LAST_CLOSE_LIMIT } else { CLOSE_LIMIT };
    let last_words = async {
        match end.last_word() {
            Some(frame) => sink.send(frame).await?,
            // The answer to the client's own is with those who read it.
            None => sink.flush().await?,
        }
        while let Some(message) = stream.next().await {
            message?;
        }
        Ok::<(), Error>(())
    };
    if *end != End::Vanished {
        // A client that does not answer has been told.
        let _ = timeout(limit, last_words).await;
    }
}

/// Cuts a reason where a character ends.
fn shortened(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_LIMIT)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_what_may_be_told() {
        let frame = |code, reason: &str| match End::Application(code, reason.to_owned()).last_word() {
            Some(Message::Close(frame)) => frame,
            other => panic!("{other:?}"),
        };
        assert_eq!(frame(4001, "bye").map(|frame| u16::from(frame.code)), Some(4001));
        assert_eq!(frame(1005, ""), None);
        assert_eq!(frame(12, ""), None);
        let long = frame(1000, &"ü".repeat(100)).unwrap();
        assert_eq!(long.reason.len(), 122);
        assert_eq!(End::Vanished.last_word(), None);
        assert_eq!(End::Vanished.told(), (1006, ""));
    }
}
