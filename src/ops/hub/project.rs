//! `ekiben lock`: what a project declares of the hub, written down beside its bentofile, so that other machines build the
//! same image, and need not download what its destination has.

use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error;

use super::{HubAccessError, LockedModel, MODEL_LOCK, ModelLock};
use crate::fs::{FsError, write_atomically};
use crate::ops::Context;
use crate::ops::build::{self, BuildError, Surroundings};
use crate::ops::containerize::{ContainerizeError, lock_layers};

/// A project cannot be locked.
#[derive(Debug, Error)]
pub enum LockError {
    /// The project cannot be read.
    #[error(transparent)]
    Build(Box<BuildError>),
    /// There is no way to the hub.
    #[error(transparent)]
    Access(#[from] HubAccessError),
    /// The layers cannot be made.
    #[error(transparent)]
    Layers(Box<ContainerizeError>),
    /// The lock cannot be written.
    #[error(transparent)]
    File(#[from] FsError),
}

impl From<BuildError> for LockError {
    fn from(error: BuildError) -> Self {
        Self::Build(Box::new(error))
    }
}

/// What was locked.
#[derive(Clone, Debug, Serialize)]
pub struct Locked {
    /// The lock.
    pub path: PathBuf,
    /// The models.
    pub models: Vec<LockedItem>,
    /// How many layers they become.
    pub layers: usize,
}

/// A model that was locked.
#[derive(Clone, Debug, Serialize)]
pub struct LockedItem {
    /// The repository, as the hub writes its name.
    pub repository: String,
    /// What the service asks for.
    pub revision: String,
    /// The commit that it means.
    pub commit: String,
    /// How many files are wanted of it.
    pub files: usize,
    /// Their bytes.
    pub size: u64,
}

/// Writes the lock of a project: today's commits of its models, their files, and the digests of their layers.
pub fn lock(settings: &build::Settings, context: &Context) -> Result<Locked, LockError> {
    let hub = context.hub()?;
    let endpoint = &hub.settings().endpoint;
    let declared = build::hub_models(settings, &Surroundings::of(context)?, endpoint)?;
    let mut lock = ModelLock::default();
    let (mut snapshots, mut models) = (Vec::new(), Vec::new());
    for (reference, wanted) in &declared {
        context.report.stage(&format!("Looking for {}@{}", wanted.repository, wanted.revision));
        let found = context.runtime.block_on(hub.resolve(wanted));
        let snapshot = found.map_err(|source| build::hub_error(reference, source))?;
        lock.models.push(LockedModel::new(wanted, &snapshot));
        models.push(LockedItem {
            repository: snapshot.repository.id.to_string(),
            revision: wanted.revision.clone(),
            commit: snapshot.commit.to_string(),
            files: snapshot.files.len(),
            size: snapshot.size(),
        });
        snapshots.push(snapshot);
    }
    lock.layers =
        lock_layers(&hub, snapshots, context).map_err(|error| LockError::Layers(Box::new(error)))?;
    let path = settings.context.join(MODEL_LOCK);
    write_atomically(&path, &lock.to_json())?;
    Ok(Locked { path, models, layers: lock.layers.len() })
}
