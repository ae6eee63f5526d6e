//! Tasks: calls that are submitted now and whose answers are asked for later.
//!
//! The front keeps them, one server's tasks in one store: request and answer, small ones in memory, large ones in a
//! directory that ends with the server. `http::tasks` answers requests about them and runs them.

pub mod bodies;
pub mod store;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use bodies::Bodies;
use store::Store;

/// The tasks of one server.
#[derive(Debug)]
pub struct Tasks {
    /// What is known of every task.
    pub store: Store,
    /// Where their bodies are.
    pub bodies: Bodies,
    places: Arc<Semaphore>,
}

impl Tasks {
    /// Makes a store whose tasks run `places` at a time. The others wait here: not in the queue of the workers, where
    /// calls that somebody waits for would stand behind them, and with their bodies where they are kept.
    pub fn new(places: usize) -> Self {
        let places = Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)));
        Self { store: Store::default(), bodies: Bodies::default(), places }
    }

    /// Waits for a place, in order of arrival.
    pub async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes the semaphore.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }
}
