//! One client's connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::body::Body;
use super::front::Front;
use super::tls::socket::Socket;

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
    /// Returns the scheme of the URLs that it asks for.
    pub fn scheme(self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }
}

/// Serves a connection until it ends, or the port closes.
pub async fn serve(
    front: Arc<Front>,
    mut socket: Socket,
    address: SocketAddr,
    keep_alive: Duration,
    closing: impl Future<Output = ()>,
) {
    let peer = Peer { address, is_secure: socket.is_secure() };
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(peer, request).await) }
    });
    let has_failed = talk(&mut socket, service, keep_alive, closing).await.is_err();
    linger(socket, has_failed).await;
}

async fn talk<S>(
    socket: &mut Socket,
    service: S,
    keep_alive: Duration,
    closing: impl Future<Output = ()>,
) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    let is_kept = !keep_alive.is_zero();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(if is_kept { keep_alive } else { HEAD_LIMIT })
        .keep_alive(is_kept)
        .max_buf_size(BUFFER_LIMIT)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Guarded::new(socket)), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = closing => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
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
struct Guarded<'a> {
    socket: &'a mut Socket,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<'a> Guarded<'a> {
    fn new(socket: &'a mut Socket) -> Self {
        Self { socket, stalled: None }
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

impl AsyncRead for Guarded<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guarded<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.socket).poll_write(context, bytes);
        self.guard(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.socket).poll_write_vectored(context, pieces);
        self.guard(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_shutdown(context)
    }
}
