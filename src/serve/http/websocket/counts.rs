//! The counts of WebSockets on the page of metrics, in upstream's names.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::serve::http::metrics::head;

/// The counts of one path below which applications are mounted.
#[derive(Debug, Default)]
pub struct SocketCounts {
    open: AtomicI64,
    received: Traffic,
    sent: Traffic,
    has_any: AtomicU64,
}

/// Messages in one direction.
#[derive(Debug, Default)]
pub struct Traffic {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl SocketCounts {
    /// Counts a WebSocket as open.
    pub fn opened(&self) {
        self.has_any.store(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts it as closed.
    pub fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a message of a client.
    pub fn received(&self, length: usize) {
        self.received.count(length);
    }

    /// Counts a message of the application.
    pub fn sent(&self, length: usize) {
        self.sent.count(length);
    }

    fn is_used(&self) -> bool {
        self.has_any.load(Ordering::Relaxed) > 0
    }
}

impl Traffic {
    fn count(&self, length: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Writes the series of the paths that have had a WebSocket; without any, nothing.
pub fn write<'a>(
    page: &mut String,
    space: &str,
    labels: &str,
    counts: impl Iterator<Item = (&'a str, &'a SocketCounts)> + Clone,
) -> std::fmt::Result {
    let counts = counts.filter(|(_, counts)| counts.is_used());
    if counts.clone().next().is_none() {
        return Ok(());
    }
    let name = "websocket_connections";
    head(page, space, name, "Total number of websocket connections", "gauge")?;
    for (endpoint, counts) in counts.clone() {
        let open = counts.open.load(Ordering::Relaxed);
        writeln!(page, "{space}_{name}{{endpoint=\"{endpoint}\",{labels}}} {open}.0")?;
    }
    let received = ("websocket_data_received", "Total number of bytes received from websocket");
    let sent = ("websocket_data_sent", "Total number of bytes sent to websocket");
    for ((name, help), is_sent) in [(received, false), (sent, true)] {
        head(page, space, name, help, "summary")?;
        for (endpoint, counts) in counts.clone() {
            let traffic = if is_sent { &counts.sent } else { &counts.received };
            let (messages, bytes) =
                (traffic.messages.load(Ordering::Relaxed), traffic.bytes.load(Ordering::Relaxed));
            writeln!(page, "{space}_{name}_count{{endpoint=\"{endpoint}\",{labels}}} {messages}.0")?;
            writeln!(page, "{space}_{name}_sum{{endpoint=\"{endpoint}\",{labels}}} {bytes}.0")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_without_any_are_not_on_the_page() {
        let (used, unused) = (SocketCounts::default(), SocketCounts::default());
        let all = || [("/a", &used), ("/b", &unused)].into_iter();
        let mut page = String::new();
        write(&mut page, "s", "l=\"1\"", all()).unwrap();
        assert_eq!(page, "");
        used.opened();
        used.received(3);
        used.received(4);
        used.sent(5);
        write(&mut page, "s", "l=\"1\"", all()).unwrap();
        let series: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            series,
            [
                "s_websocket_connections{endpoint=\"/a\",l=\"1\"} 1.0",
                "s_websocket_data_received_count{endpoint=\"/a\",l=\"1\"} 2.0",
                "s_websocket_data_received_sum{endpoint=\"/a\",l=\"1\"} 7.0",
                "s_websocket_data_sent_count{endpoint=\"/a\",l=\"1\"} 1.0",
                "s_websocket_data_sent_sum{endpoint=\"/a\",l=\"1\"} 5.0",
            ]
        );
    }
}
