//! Any bytes as an archive of a model: `fuzz/bodies/archive.rs` says what has to hold.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

#[path = "../bodies/archive.rs"]
mod archive;

fuzz_target!(|bytes: &[u8]| archive::run(bytes));

// Checksums are put right, so that what they guard is reached.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    archive::mend(&mut data[..size]);
    size
});
