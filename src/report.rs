//! How the library tells what it is doing; the command line decides how that is shown.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;

/// How often waiting code looks whether somebody asked to stop: faster than a person notices.
const GUARD_INTERVAL: Duration = Duration::from_millis(50);

/// Receives what an operation is doing. Implementations draw, print lines, or keep quiet.
pub trait Report: Send + Sync {
    /// A stage of the operation begins.
    fn stage(&self, message: &str);

    /// A piece of work begins, of `total` bytes where that is known; it ends when the returned value is dropped.
    fn task(&self, label: &str, total: Option<u64>) -> Box<dyn Progress>;

    /// Something that the user should know and may have to act on.
    fn warn(&self, message: &str);
}

/// The progress of one piece of work.
pub trait Progress: Send + Sync {
    /// So many bytes more are done.
    fn advance(&self, bytes: u64);
}

/// A report that shows nothing.
pub struct Silent;

impl Report for Silent {
    fn stage(&self, _: &str) {}

    fn task(&self, _: &str, _: Option<u64>) -> Box<dyn Progress> {
        Box::new(Self)
    }

    fn warn(&self, _: &str) {}
}

impl Progress for Silent {
    fn advance(&self, _: u64) {}
}

/// The user's wish to stop, shared by everything that takes long.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// The user asked to stop.
#[derive(Clone, Copy, Debug, Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Interrupt {
    /// Asks everything that shares this to stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if somebody asked: to be called between pieces of work.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.is_raised() { Err(Interrupted) } else { Ok(()) }
    }

    /// Awaits `future`, and drops it when somebody asks to stop.
    pub async fn guard<T>(&self, future: impl Future<Output = T>) -> Result<T, Interrupted> {
        let raised = async {
            while !self.is_raised() {
                tokio::time::sleep(GUARD_INTERVAL).await;
            }
        };
        tokio::select! {
            result = future => Ok(result),
            () = raised => Err(Interrupted),
        }
    }
}

/// The report of an operation and the wish to end it, which belong to everything that takes long.
#[derive(Clone)]
pub struct Activity {
    /// Is told what happens.
    pub report: Arc<dyn Report>,
    /// Is raised to make it stop.
    pub interrupt: Interrupt,
}

impl Activity {
    /// An activity that nobody watches or stops.
    pub fn silent() -> Self {
        Self { report: Arc::new(Silent), interrupt: Interrupt::default() }
    }
}

/// A reader that reports how far it is, and ends with an error when the user asks to stop.
pub struct Watched<'a, R> {
    inner: R,
    progress: &'a dyn Progress,
    interrupt: Interrupt,
}

impl<'a, R> Watched<'a, R> {
    /// Watches what is read from `inner`.
    pub fn new(inner: R, progress: &'a dyn Progress, interrupt: &Interrupt) -> Self {
        Self { inner, progress, interrupt: interrupt.clone() }
    }
}

impl<R: std::io::Read> std::io::Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.interrupt.check().map_err(std::io::Error::other)?;
        let count = self.inner.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_watched_reader_ends_when_asked() {
        let interrupt = Interrupt::default();
        let mut reader = Watched::new(std::io::repeat(1), &Silent, &interrupt);
        let mut buffer = [0; 8];
        reader.read_exact(&mut buffer).unwrap();
        interrupt.raise();
        assert_eq!(reader.read(&mut buffer).unwrap_err().to_string(), "interrupted");
    }
}
