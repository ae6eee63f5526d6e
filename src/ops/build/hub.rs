//! Models of the Hugging Face Hub, pinned to commits: as the lock beside the bentofile has them, else as the hub says.

use std::cell::OnceCell;

use super::error::BuildError;
use super::{Settings, Surroundings};
use crate::discover::{Discovery, HubSource, ModelReference, ModelSource};
use crate::hub::{Commit, Hub, HubError, Patterns, Repository, Wanted};
use crate::ops::hub::{LockedModel, MODEL_LOCK, ModelLock, pinned};
use crate::store::{CreationTime, PinnedModel};

/// Pins models of hubs. The hub's client is made when it is first needed.
pub(super) struct HubPins<'a> {
    surroundings: &'a Surroundings<'a>,
    hub: OnceCell<Hub>,
    lock: Option<ModelLock>,
    used: Vec<LockedModel>,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

impl<'a> HubPins<'a> {
    pub(super) fn new(settings: &Settings, surroundings: &'a Surroundings<'a>) -> Result<Self, BuildError> {
        let lock = ModelLock::read(&settings.context.join(MODEL_LOCK))?;
        Ok(Self { surroundings, hub: OnceCell::new(), lock, used: Vec::new(), warnings: Vec::new() })
    }

    /// The entry of a declared model at an exact commit.
    pub(super) fn pin(
        &mut self,
        reference: &ModelReference,
        model: &HubSource,
    ) -> Result<PinnedModel, BuildError> {
        let wanted = wanted(reference, model, &self.hub(reference)?.settings().endpoint)?;
        let commit = self.commit(reference, &wanted)?;
        pinned(&wanted, &commit, CreationTime::new(self.surroundings.now)).map_err(BuildError::Name)
    }

    /// What the lock says of the models that were pinned, and of their layers.
    pub(super) fn into_lock(self) -> ModelLock {
        match self.lock {
            Some(lock) if !self.used.is_empty() => ModelLock { layers: lock.layers, models: self.used },
            _ => ModelLock::default(),
        }
    }

    fn commit(&mut self, reference: &ModelReference, wanted: &Wanted) -> Result<Commit, BuildError> {
        if let Some(lock) = &self.lock {
            if let Some(model) = lock.find(wanted) {
                let commit = model.commit().clone();
                if !self.used.contains(model) {
                    self.used.push(model.clone());
                }
                return Ok(commit);
            }
            self.warnings.push(format!(
                "{}: `{}` is not in `{MODEL_LOCK}`, so today's `{}` is taken; run `ekiben lock` to lock it",
                reference.place, wanted.repository, wanted.revision
            ));
        }
        let pin = self.hub(reference)?.pin(wanted);
        let (_, commit) =
            self.surroundings.runtime.block_on(pin).map_err(|source| explain(reference, source))?;
        Ok(commit)
    }

    fn hub(&self, reference: &ModelReference) -> Result<&Hub, BuildError> {
        if let Some(hub) = self.hub.get() {
            return Ok(hub);
        }
        let access = |source| BuildError::HubAccess { place: reference.place.clone(), source };
        let hub = (self.surroundings.hub)().map_err(access)?;
        Ok(self.hub.get_or_init(|| hub))
    }
}

/// All models of hubs that a project declares, each once.
pub(super) fn declared<'d>(
    discovery: &'d Discovery,
    endpoint: &str,
) -> Result<Vec<(&'d ModelReference, Wanted)>, BuildError> {
    let mut found: Vec<(&ModelReference, Wanted)> = Vec::new();
    for reference in discovery.services.iter().flat_map(|service| &service.models) {
        let ModelSource::Hub(model) = &reference.model else { continue };
        let wanted = wanted(reference, model, endpoint)?;
        if !found.iter().any(|(_, known)| *known == wanted) {
            found.push((reference, wanted));
        }
    }
    Ok(found)
}

fn wanted(reference: &ModelReference, model: &HubSource, endpoint: &str) -> Result<Wanted, BuildError> {
    let HubSource { id, revision, endpoint: own, include, exclude } = model;
    let id = id.parse().map_err(|error| explain(reference, HubError::Name(error)))?;
    let endpoint = own.as_deref().unwrap_or(endpoint).trim_end_matches('/').to_owned();
    Ok(Wanted {
        repository: Repository { endpoint, id },
        revision: revision.clone(),
        patterns: Patterns { include: include.clone(), exclude: exclude.clone() },
    })
}

pub(super) fn explain(reference: &ModelReference, source: HubError) -> BuildError {
    let id = match &reference.model {
        ModelSource::Hub(model) => model.id.clone(),
        ModelSource::Store { tag } => tag.clone(),
    };
    BuildError::HubModel { place: reference.place.clone(), id, source: Box::new(source) }
}
