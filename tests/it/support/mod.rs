//! The harness of the integration tests.

pub(crate) mod serve;
pub(crate) mod sources;
