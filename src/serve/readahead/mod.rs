//! Reading models ahead: while Python still imports, the files that the service will load come into the page cache.
//!
//! A worker imports its libraries first and reads its weights afterwards; the disk could do both at once. The front knows
//! the declared models before any Python runs, so several of its threads ask the kernel for their files, in the order in
//! which loaders read them and no further than memory allows. Whatever goes wrong here costs time, never a start: it is a
//! line of the log at level debug.

mod budget;
mod files;
mod models;
mod priority;
mod reader;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::log::Log;
use super::worker::message::Level;
use crate::env::Environment;

pub use models::{DeclaredModel, Places};

/// Turns reading ahead off when it means no; workers inherit it, for the SDK's loader.
pub const VARIABLE: &str = "EKIBEN_READ_AHEAD";

/// What the log says wrote the lines.
const COMPONENT: &str = "read-ahead";

/// Models being read ahead; they no longer are once this is dropped.
#[derive(Debug)]
pub struct ReadAhead {
    is_stopped: Arc<AtomicBool>,
}

/// Tells whether the environment lets models be read ahead: it does unless it says no.
pub fn is_wanted(environment: &Environment) -> bool {
    !environment.is_off(VARIABLE)
}

impl ReadAhead {
    /// Begins to read `models` ahead, on threads of its own.
    pub fn start(models: Vec<DeclaredModel>, places: Places, log: Log) -> Self {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let reading = Self { is_stopped: Arc::clone(&is_stopped) };
        if models.is_empty() {
            return reading;
        }
        let refused = log.clone();
        let thread = thread::Builder::new().name(COMPONENT.to_owned());
        if let Err(error) = thread.spawn(move || run(&models, &places, &log, &is_stopped)) {
            refused.line(Level::Debug, &COMPONENT.into(), format!("no thread to read models ahead: {error}"));
        }
        reading
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

fn run(models: &[DeclaredModel], places: &Places, log: &Log, is_stopped: &AtomicBool) {
    let debug = |text: String| log.line(Level::Debug, &COMPONENT.into(), text);
    priority::yield_to_others();
    let mut plan = Vec::new();
    for model in models {
        match places.find(model) {
            Some(directory) => plan.extend(files::in_reading_order(&directory)),
            None => debug(format!("model `{model}` is not where it is looked for")),
        }
    }
    let Some(budget) = budget::for_reading(Path::new("/")) else {
        return debug("no model is read ahead: the system does not tell how much memory is free".to_owned());
    };
    let read = reader::read(plan, budget, is_stopped);
    for (path, error) in &read.failures {
        debug(format!("cannot read `{}` ahead: {error}", path.display()));
    }
    let rest = if read.is_cut { "; the rest does not fit into free memory" } else { "" };
    debug(format!("read {} bytes of {} files ahead in {:.1?}{rest}", read.bytes, read.files, read.elapsed));
}
