//! Adaptive batching: which of the waiting calls of an API are computed together, and when.
//!
//! A queue is emptied as fast as its workers allow: calls that arrive while a batch is computed are the next batch. So
//! a lone call on an idle worker never waits, and batches grow with the load by themselves. `policy` decides, from
//! plain values; `estimate` learns how long batches take; `array` and `json_array` are the contents that the front can
//! merge and split itself, without Python.

pub mod array;
pub mod estimate;
pub mod json_array;
pub mod policy;
#[cfg(test)]
mod simulator;
