//! Any bytes from a worker: `fuzz/bodies/worker_frames.rs` says what has to hold.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/worker_frames.rs"]
mod worker_frames;

fuzz_target!(|bytes: &[u8]| worker_frames::run(bytes));
