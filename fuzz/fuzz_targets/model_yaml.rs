//! Any bytes as a `model.yaml`: `fuzz/bodies/model_yaml.rs` says what has to hold.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/model_yaml.rs"]
mod model_yaml;

fuzz_target!(|bytes: &[u8]| model_yaml::run(bytes));
