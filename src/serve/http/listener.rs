//! The port: bound once, closed when the server drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};

use super::connection;
use super::front::Front;
use crate::serve::error::ServeError;
use crate::serve::log::Log;
use crate::serve::worker::message::Level;

/// The pause after a connection could not be taken, for want of descriptors most of the time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
#[derive(Debug)]
pub struct Port {
    /// What answers.
    pub front: Arc<Front>,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// The server's log.
    pub log: Log,
    /// Whether the port is to close.
    pub closing: watch::Receiver<bool>,
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
                Ok((socket, peer)) => {
                    let (front, closing) = (Arc::clone(&self.front), self.closing.clone());
                    let (keep_alive, open) = (self.keep_alive, open.clone());
                    tokio::spawn(async move {
                        connection::serve(front, socket, peer, keep_alive, closing).await;
                        drop(open);
                    });
                }
                Err(error) => {
                    let text = format!("cannot take a connection: {error}");
                    self.log.line(Level::Warning, &"cli".into(), text);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop((listener, open));
        // Nothing is sent: the channel closes with the last connection.
        let _ = all_closed.recv().await;
    }
}
