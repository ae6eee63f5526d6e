//! Packs BentoML services into container images, and serves them.
//!
//! A **bentofile** is resolved into exact inputs, planned into layers, packed, assembled into an **image**, and
//! written to a **destination**. The map of the modules is `docs/architecture.md`.

pub mod debian;
pub mod oci;
pub mod report;
pub mod transport;
