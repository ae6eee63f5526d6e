//! The port: bound once, closed when the server drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};

use super::connection;
use super::front::Front;
use super::tls::Protection;
use super::tls::socket::Socket;
use crate::serve::error::ServeError;
use crate::serve::log::Log;
use crate::serve::worker::message::Level;

/// The pause after a connection could not be taken, for want of descriptors most of the time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long connections are read from after the port has closed: a request may have been sent and not yet been seen.
const LAST_CALL: Duration = Duration::from_millis(50);

/// Listens on an address.
pub fn listen(address: SocketAddr, backlog: u32) -> Result<TcpListener, ServeError> {
    bind(address, backlog).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortInUse { address },
        _ => ServeError::Listen { address, source },
    })
}

fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port whose last server has just ended can be used again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// A port that takes connections.
#[derive(Clone)]
pub struct Port {
    /// What answers.
    pub front: Arc<Front>,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// The server's log.
    pub log: Log,
    /// Whether the port is to close.
    pub closing: watch::Receiver<bool>,
    /// The keys, if the port has TLS; it may be the service that says so, once it is described.
    pub protection: watch::Receiver<Protection>,
}

impl Port {
    /// Takes connections until the port closes; returns when the last of them has ended.
    pub async fn accept(mut self, listener: TcpListener) {
        let (open, mut all_closed) = mpsc::channel::<()>(1);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                // A server that is gone closes too.
                _ = self.closing.wait_for(|closing| *closing) => break,
            };
            match accepted {
                Ok((socket, peer)) => self.welcome(socket, peer, &open),
                Err(error) => {
                    let text = format!("cannot take a connection: {error}");
                    self.log.line(Level::Warning, &"cli".into(), text);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Clients that have connected by now have reason to wait for an answer.
        while let Some(Ok((socket, peer))) = listener.accept().now_or_never() {
            self.welcome(socket, peer, &open);
        }
        drop((listener, open));
        // Nothing is sent: the channel closes with the last connection.
        let _ = all_closed.recv().await;
    }

    fn welcome(&self, socket: TcpStream, peer: SocketAddr, open: &mpsc::Sender<()>) {
        let (port, open) = (self.clone(), open.clone());
        tokio::spawn(async move {
            port.talk(socket, peer).await;
            drop(open);
        });
    }

    async fn talk(mut self, socket: TcpStream, peer: SocketAddr) {
        let acceptor = self.protection.borrow_and_update().clone();
        let agreed = tokio::select! {
            agreed = Socket::open(socket, acceptor.as_ref()) => agreed,
            () = over(&mut self.closing, &mut self.protection) => return,
        };
        match agreed {
            Ok(socket) => {
                let closing = over(&mut self.closing, &mut self.protection);
                connection::serve(self.front, socket, peer, self.keep_alive, closing).await;
            }
            Err(error) => {
                let text = format!("cannot agree on keys with {peer}: {error}");
                self.log.line(Level::Debug, &"cli".into(), text);
            }
        }
    }
}

/// Waits until connections are to end: the port has closed, after which what clients have sent by then can still be
/// read, or it has got keys since they were opened.
async fn over(closing: &mut watch::Receiver<bool>, protection: &mut watch::Receiver<Protection>) {
    let closed = async {
        // A server that is gone closes too.
        let _ = closing.wait_for(|closing| *closing).await;
        tokio::time::sleep(LAST_CALL).await;
    };
    tokio::select! {
        () = closed => {}
        _ = protection.changed() => {}
    }
}
