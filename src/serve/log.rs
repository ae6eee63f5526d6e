//! The server log: lines on standard output, written by one thread so that a slow reader never stops a request.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use jiff::Zoned;

use super::worker::message::Level;

/// Lines kept for a reader that is slow; more are counted and dropped.
const BACKLOG: usize = 4096;

/// Most bytes that are gathered into one write.
const BATCH: usize = 64 * 1024;

/// Where lines of the log go, and which of them.
#[derive(Clone, Debug)]
pub struct Log {
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    least: Level,
}

/// The thread that writes; closing it writes what is left.
#[derive(Debug)]
pub struct LogWriter {
    log: Log,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Line { level: Level, component: Arc<str>, text: String },
    Close,
}

impl Log {
    /// Starts the log of a server, on standard output.
    pub fn to_stdout(least: Level) -> (Self, LogWriter) {
        Self::start(std::io::stdout(), least)
    }

    /// Starts a log of lines at `least` or above.
    pub fn start(out: impl Write + Send + 'static, least: Level) -> (Self, LogWriter) {
        let (lines, received) = sync_channel(BACKLOG);
        let log = Self { lines, dropped: Arc::default(), least };
        let dropped = Arc::clone(&log.dropped);
        let thread = std::thread::spawn(move || write_lines(&received, out, &dropped));
        (log.clone(), LogWriter { log, thread: Mutex::new(Some(thread)) })
    }

    /// Tells whether lines of this level are written.
    pub fn writes(&self, level: Level) -> bool {
        level >= self.least
    }

    /// Adds a line; a text of several lines is written as it is.
    pub fn line(&self, level: Level, component: &Arc<str>, text: impl Into<String>) {
        if !self.writes(level) {
            return;
        }
        let line = Message::Line { level, component: Arc::clone(component), text: text.into() };
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes a line to standard error, for a server that cannot start or go on.
pub fn complain(text: &str) {
    // There is nowhere to report that this cannot be written.
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl LogWriter {
    /// Writes what is left and ends the thread.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A thread that is gone has nothing left to write.
            let _ = self.log.lines.send(Message::Close);
            let _ = thread.join();
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.close();
    }
}

fn write_lines(received: &Receiver<Message>, mut out: impl Write, dropped: &AtomicU64) {
    let mut stamp = Stamp::default();
    let mut batch = Vec::new();
    let mut is_open = true;
    while is_open {
        let Ok(mut message) = received.recv() else { return };
        batch.clear();
        loop {
            match message {
                Message::Line { level, component, text } => {
                    append(&mut batch, stamp.now(), level, &component, &text);
                }
                Message::Close => is_open = false,
            }
            match received.try_recv() {
                Ok(next) if is_open && batch.len() < BATCH => message = next,
                Ok(next) => {
                    if let Message::Line { level, component, text } = next {
                        append(&mut batch, stamp.now(), level, &component, &text);
                    }
                    break;
                }
                Err(_) => break,
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} log lines were dropped because standard output is read too slowly");
            append(&mut batch, stamp.now(), Level::Warning, "cli", &text);
        }
        // There is nowhere to report a log that cannot be written.
        let _ = out.write_all(&batch).and_then(|()| out.flush());
    }
}

fn append(batch: &mut Vec<u8>, stamp: &str, level: Level, component: &str, text: &str) {
    let level = match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    };
    for piece in [stamp, " [", level, "] [", component, "] ", text, "\n"] {
        batch.extend_from_slice(piece.as_bytes());
    }
}

/// The time of a line, formatted once a second.
#[derive(Default)]
struct Stamp {
    second: i64,
    text: String,
}

impl Stamp {
    fn now(&mut self) -> &str {
        let now = Zoned::now();
        let second = now.timestamp().as_second();
        if self.text.is_empty() || second != self.second {
            self.second = second;
            self.text = now.strftime("%Y-%m-%dT%H:%M:%S%z").to_string();
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_have_time_level_and_component() {
        let out = Shared::default();
        let (log, writer) = Log::start(out.clone(), Level::Info);
        let component: Arc<str> = "entry_service:Main:1".into();
        log.line(Level::Debug, &component, "hidden");
        log.line(Level::Info, &component, "shown");
        log.line(Level::Error, &component, "also");
        writer.close();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(&lines[0][24..], " [INFO] [entry_service:Main:1] shown");
        assert_eq!(&lines[1][24..], " [ERROR] [entry_service:Main:1] also");
        assert!(lines[0][..24].contains('T') && &lines[0][10..11] == "T", "{text}");
    }
}
