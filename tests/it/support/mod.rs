//! The harness of the integration tests.

pub(crate) mod sources;
