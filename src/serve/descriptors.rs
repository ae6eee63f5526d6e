//! How many files the front may have open: as many as the system allows, since every client is one.
//!
//! Workers keep the limit that the server was started with: Python programs may still call `select`, which cannot
//! count beyond 1024.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// What the process was started with, once it has been raised.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Raises the limit of this process; a system that refuses leaves it as it is.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, most).is_ok() {
        // A second server in this process was started with what the first one has raised.
        let _ = INHERITED.set(limit);
    }
}

/// Gives a process that was just started the limit that this one was started with.
pub fn restore(process: Pid) {
    if let Some(limit) = INHERITED.get() {
        // One that has ended needs no limit.
        let _ = prlimit(Some(process), Resource::Nofile, *limit);
    }
}
