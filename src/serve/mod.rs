//! Serving: a request is admitted, queued, sent to a worker slot, and answered.
//!
//! The front is the only process that listens. It starts the Python workers, gives each one end of a socket pair,
//! and owns routing, admission, timeouts, health, metrics, the log and shutdown. Nothing of the build side is used
//! here. One request passes `http::front` (its place) → `http::api` (admitted) → `worker::pool` (queued, given a
//! slot) → `worker::link` (sent, answered) → `http::api`.

pub mod arguments;
pub mod batch;
pub mod command;
pub mod config;
pub mod crew;
pub mod descriptors;
pub mod error;
pub mod http;
pub mod log;
pub mod manifest;
pub mod payload;
pub mod readahead;
pub mod reload;
pub mod server;
pub mod settings;
pub mod shutdown;
pub mod target;
pub mod tasks;
pub mod tracing;
pub mod units;
pub mod worker;

pub use command::ServeArgs;
pub use error::ServeError;
pub use server::run;
pub use settings::Settings;
pub use target::Target;
