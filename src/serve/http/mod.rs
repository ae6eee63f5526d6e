//! The front: connections, routes, admission, and the answers that need no worker.

pub mod access_log;
pub mod api;
pub mod application;
pub mod batch_metrics;
pub mod body;
pub mod compression;
pub mod connection;
pub mod cors;
pub mod exchange;
pub mod front;
pub mod health;
pub mod identity;
pub mod listener;
pub mod metrics;
pub mod mounts;
pub mod pages;
pub mod proxy;
pub mod reply;
pub mod routes;
pub mod tasks;
pub mod tls;
pub mod traced;
pub mod user_metrics;
pub mod websocket;
