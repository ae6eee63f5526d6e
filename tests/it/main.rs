//! Integration tests: one binary, one module per subject. `tests/README.md` says how to write and run them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod archives;
mod artifacts;
mod bentofile;
mod cloud;
mod cloud_faults;
mod debian;
mod e2e_bad_input;
mod e2e_bentofile;
mod e2e_build;
mod e2e_cloud;
mod e2e_debian;
mod e2e_engine;
mod e2e_examples;
mod e2e_hub;
mod e2e_hub_peer;
mod e2e_image;
mod e2e_interop;
mod e2e_interrupts;
mod e2e_io;
mod e2e_legacy;

mod e2e_matrix;
mod e2e_minilm;
mod e2e_registry;
mod e2e_reproducible;
mod e2e_serve;
mod e2e_storage;
mod e2e_store;
mod fuzz;
mod house;
mod hub;
mod hub_faults;
mod hub_kills;
mod layering;
mod pydeps_index;
mod pydeps_registry;
mod pydeps_support;
mod registry;
mod serve;
mod serve_faults;
mod serve_http;
mod serve_readahead;
mod serve_shutdown;
mod serve_units;
mod store;
mod store_crashes;
mod store_crowd;
mod store_full_disk;
mod store_vectors;
mod support;
