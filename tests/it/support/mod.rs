//! The harness of the integration tests: a context of its own for every test, commands with strict expectations, and
//! services that end with their handle.

pub(crate) mod browser;
pub(crate) mod cloud_server;
pub(crate) mod command;
pub(crate) mod containers;
pub(crate) mod context;
pub(crate) mod cutting_proxy;
pub(crate) mod debian_mirror;
pub(crate) mod docker_engine;
pub(crate) mod docker_registry;
pub(crate) mod examples;
pub(crate) mod fake_server;
pub(crate) mod hub;
pub(crate) mod hub_client;
pub(crate) mod image;
pub(crate) mod iris;
pub(crate) mod parity;
pub(crate) mod peers;
pub(crate) mod registry;
pub(crate) mod sample_image;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod sockets;
pub(crate) mod sources;
pub(crate) mod storage;
pub(crate) mod upstream;
pub(crate) mod watch;
pub(crate) mod web;
