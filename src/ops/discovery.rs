//! Discovery with the stack that it needs.

use std::{io, panic, thread};

use crate::discover::{self, Discovery, Request};

/// Stack of the thread that reads the source: a nesting that Python's own parser accepts needs a part of this.
const DISCOVERY_STACK: usize = 256 << 20;

/// Reads a project. Deeply nested source is walked by recursion, as deep as its parser allows.
///
/// The outer error is that there is no thread.
pub(super) fn walk(request: &Request<'_>) -> io::Result<Result<Discovery, discover::Error>> {
    let walk = || discover::discover(request);
    thread::scope(|scope| {
        let walker = thread::Builder::new().stack_size(DISCOVERY_STACK).spawn_scoped(scope, walk)?;
        Ok(walker.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
    })
}
