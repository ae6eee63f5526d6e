//! Any bytes as an array in JSON: `fuzz/bodies/json_array.rs` says what has to hold.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/json_array.rs"]
mod json_array;

fuzz_target!(|bytes: &[u8]| json_array::run(bytes));
