//! Models of the Hugging Face Hub: how bentos name them, and what is done with them outside of images.

mod entry;
mod lock;
mod project;
mod prune;
mod pull;

pub use entry::{HUB_REGISTRY, HubEntryError};
pub(super) use entry::{pinned, wanted};
pub(super) use lock::{LockedLayer, LockedModel, ModelLock, SIZE_LIMIT};
pub use lock::{MODEL_LOCK, ModelLockError};
pub use project::{LockError, Locked, LockedItem, lock};
pub use prune::{HubItem, HubPlan, HubPruneError, list, plan, remove};
pub use pull::{HubName, HubPullError, Pulled, SCHEME, pull};

use std::time::Duration;

use super::Context;
use crate::http::{Client, ClientSettings, HttpError};
use crate::hub::{Hub, HubSettings};

/// How long a hub may send nothing: it has what it sends, and a connection that went silent is better made anew.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// There is no way to a hub.
#[derive(Debug, thiserror::Error)]
pub enum HubAccessError {
    /// Nothing says where downloads go.
    #[error("there is no directory for models of the Hugging Face Hub: neither `HF_HOME` nor `HOME` is set")]
    NoCache,
    /// The client cannot be made.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Context {
    /// Access to hubs, as the user's environment describes it.
    pub fn hub(&self) -> Result<Hub, HubAccessError> {
        let settings = HubSettings::of(&self.environment).ok_or(HubAccessError::NoCache)?;
        let http = ClientSettings { stall_timeout: STALL_TIMEOUT, ..self.http_settings() };
        Ok(Hub::new(Client::new(&http)?, settings, self.activity()))
    }
}
