//! Integration tests: one binary, one module per subject. `tests/README.md` says how to write and run them.

mod house;
mod layering;
mod serve;
mod serve_faults;
mod serve_http;
mod serve_shutdown;
mod support;
