//! A proxy that cuts connections, to see how real servers take it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Forwards connections, and cuts the first ones that carry much.
pub(crate) struct CuttingProxy {
    host: String,
    cuts_left: Arc<AtomicUsize>,
}

impl CuttingProxy {
    /// Cuts `cuts` connections to `target` after `bytes` bytes towards it; all others are left alone.
    pub(crate) fn start(target: &str, bytes: usize, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let host = listener.local_addr().expect("a bound socket has an address").to_string();
        let cuts_left = Arc::new(AtomicUsize::new(cuts));
        let (target, left) = (target.to_owned(), Arc::clone(&cuts_left));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&target) else { return };
                let (client_copy, server_copy) = (client.try_clone(), server.try_clone());
                let (Ok(client_copy), Ok(server_copy)) = (client_copy, server_copy) else { return };
                let left = Arc::clone(&left);
                thread::spawn(move || forward(client_copy, server_copy, Some((bytes, &left))));
                thread::spawn(move || forward(server, client, None));
            }
        });
        Self { host, cuts_left }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn cuts_left(&self) -> usize {
        self.cuts_left.load(Ordering::Relaxed)
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, cut: Option<(usize, &AtomicUsize)>) {
    let (mut buffer, mut total) = (vec![0; 64 * 1024], 0);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        total += count;
        let is_over = cut.is_some_and(|(bytes, left)| {
            let take = |left: usize| left.checked_sub(1);
            total > bytes && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
        });
        if is_over || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
