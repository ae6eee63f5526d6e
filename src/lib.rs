//! Packs BentoML services into container images, and serves them.
//!
//! A **bentofile** is resolved into exact inputs, planned into layers, packed, assembled into an **image**, and
//! written to a **destination**. The map of the modules is `docs/architecture.md`.

pub mod archive;
pub mod bentofile;
pub mod blocking;
pub mod build_time;
pub mod cli;
pub mod cloud;
pub mod debian;
pub mod discover;
pub mod engine;
pub mod env;
pub mod fs;
pub mod http;
pub mod hub;
pub mod oci;
pub mod ops;
pub mod pack;
pub mod parallel;
pub mod plan;
pub mod process;
pub mod pydeps;
pub mod redact;
pub mod registry;
pub mod remote;
pub mod report;
pub mod resolve;
pub mod serve;
pub mod store;
pub mod tag;
pub mod text;
pub mod transport;
pub mod yaml;
