//! One client's connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::body::Body;
use super::front::Front;
use super::tls::socket::Socket;
use super::websocket::relay::{Relay, Takeover};
use crate::serve::worker::call::Origin;

/// Longest head of a request, and most that is read at once.
const BUFFER_LIMIT: usize = 256 * 1024;

/// Most headers of a request.
const HEADERS: usize = 256;

/// How long a client may take no byte of an answer.
const WRITE_STALL: Duration = Duration::from_mins(1);

/// How long a client that still sends may take to read its last answer.
const LINGER: Duration = Duration::from_secs(2);

/// How much of what it still sends is thrown away.
const LINGER_BYTES: usize = 64 << 20;

/// How long a request's head may take when connections are not kept, in place of the time they are.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// Who sends requests.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub is_secure: bool,
}

impl Peer {
    /// Returns what an application is told of it.
    pub fn origin(self) -> Origin {
        Origin { address: self.address, scheme: self.scheme() }
    }

    /// Returns the scheme of the URLs that it asks for.
    pub fn scheme(self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }
}

/// Serves a connection until it ends, or the port closes.
pub async fn serve(
    front: Arc<Front>,
    socket: Socket,
    address: SocketAddr,
    keep_alive: Duration,
    closing: impl Future<Output = ()>,
) {
    let peer = Peer { address, is_secure: socket.is_secure() };
    let (sender, taken_over) = mpsc::unbounded_channel();
    let service = service_fn(move |request| {
        let (front, sender) = (Arc::clone(&front), sender.clone());
        async move {
            let response = front.answer(peer, request).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS
                && let Some(relay) = response.extensions().get::<Takeover>().and_then(Takeover::take)
            {
                // The connection outlives its requests.
                let _ = sender.send(relay);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut closing = pin!(closing);
    let Talked { socket, has_failed, is_closing } = talk(socket, service, keep_alive, closing.as_mut()).await;
    if let Some(socket) = socket {
        linger(socket, has_failed).await;
    } else if let Some(socket) = relay(taken_over, closing, is_closing).await {
        linger(socket, true).await;
    }
}

/// What is left of a connection.
struct Talked {
    /// Its socket, unless it speaks something else from now on.
    socket: Option<Socket>,
    has_failed: bool,
    is_closing: bool,
}

async fn talk<S>(
    socket: Socket,
    service: S,
    keep_alive: Duration,
    closing: impl Future<Output = ()>,
) -> Talked
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    let is_kept = !keep_alive.is_zero();
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(if is_kept { keep_alive } else { HEAD_LIMIT })
        .keep_alive(is_kept)
        .max_buf_size(BUFFER_LIMIT)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Guarded::new(socket)), service)
        .with_upgrades();
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = closing => None,
    };
    let is_closing = ended.is_none();
    let ended = if let Some(ended) = ended {
        ended
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        (&mut connection).await
    };
    let socket = connection.into_parts().map(|parts| parts.io.into_inner().into_socket());
    Talked { socket, has_failed: ended.is_err(), is_closing }
}

/// Relays the messages of a WebSocket; gives its socket back.
async fn relay<C: Future<Output = ()>>(
    mut taken_over: mpsc::UnboundedReceiver<Relay>,
    closing: Pin<&mut C>,
    is_closing: bool,
) -> Option<Socket> {
    let relay = taken_over.try_recv().ok()?;
    relay.run((!is_closing).then_some(closing)).await
}

/// Lets a client read the last answer that has not yet sent all it meant to.
///
/// Closing a socket with unread bytes resets it, and the reset takes the answer away from the client.
async fn linger(mut socket: Socket, has_failed: bool) {
    let has_more = socket.tcp().try_read(&mut [0; 1]).is_ok_and(|read| read > 0);
    if !has_more && !has_failed {
        return;
    }
    let discard = async {
        let mut unread = vec![0; 16 * 1024];
        socket.shutdown().await?;
        let mut socket = socket.into_tcp();
        let mut left = LINGER_BYTES;
        while left > 0 {
            match socket.read(&mut unread).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, io::Error>(())
    };
    // The client has been answered: what becomes of the rest concerns nobody.
    let _ = tokio::time::timeout(LINGER, discard).await;
}

/// A socket whose writes fail when the client takes nothing for too long.
#[derive(Debug)]
pub struct Guarded {
    socket: Socket,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    fn new(socket: Socket) -> Self {
        Self { socket, stalled: None }
    }

    /// Gives the socket back.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    fn guard<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let sleep = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_STALL)));
        match sleep.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.guard(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, pieces);
        self.guard(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
