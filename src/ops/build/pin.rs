//! Pinning: from the models that are asked for to exact versions.

use std::fmt::Display;

use super::error::BuildError;
use super::hub::HubPins;
use crate::bentofile::Bentofile;
use crate::discover::{Discovery, ModelReference, ModelSource, Subject, Unresolved};
use crate::store::{Home, Model, PinnedModel, STORE_REGISTRY, Store};
use crate::tag::{Tag, TagQuery, lowercase_warning};

/// The models of a bento.
pub(super) struct Pinned {
    /// Those that the bentofile lists.
    pub(super) listed: Vec<PinnedModel>,
    /// Those of each service, in the order of the services.
    pub(super) services: Vec<Vec<PinnedModel>>,
    pub(super) warnings: Vec<String>,
}

impl Pinned {
    /// The exact tags of all models.
    pub(super) fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.listed.iter().chain(self.services.iter().flatten()).map(|model| &model.tag)
    }

    /// All models, each once: those that the bentofile lists come first.
    pub(super) fn all(&self) -> Vec<PinnedModel> {
        let mut all: Vec<PinnedModel> = Vec::new();
        for model in self.listed.iter().chain(self.services.iter().flatten()) {
            if !all.iter().any(|known| known.tag == model.tag) {
                all.push(model.clone());
            }
        }
        all
    }

    /// The other names that the bentofile gives to models.
    pub(super) fn aliases(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().filter_map(|model| model.alias.as_deref())
    }
}

pub(super) fn pin(
    bentofile: &Bentofile,
    discovery: &Discovery,
    home: &Home,
    hub: &mut HubPins<'_>,
) -> Result<Pinned, BuildError> {
    let mut warnings = accept_unresolved(&discovery.unresolved, bentofile)?;
    warnings.extend(discovery.services.iter().flat_map(|service| &service.models).filter_map(|model| {
        match &model.model {
            ModelSource::Store { tag } => lowercase_warning(tag),
            ModelSource::Hub(_) => None,
        }
    }));
    let store = home.models();
    let mut listed: Vec<PinnedModel> = Vec::new();
    for (index, model) in bentofile.models.iter().enumerate() {
        let place = bentofile.places.of(&format!("models[{index}]"));
        let pinned = find(&store, &model.tag, &place, model.alias.clone())?;
        match listed.iter_mut().find(|known| known.tag == pinned.tag) {
            Some(known) => known.alias = known.alias.take().or(pinned.alias),
            None => listed.push(pinned),
        }
    }
    let mut services = Vec::new();
    for service in &discovery.services {
        let pinned = service.models.iter().map(|model| pin_reference(&store, model, hub));
        services.push(pinned.collect::<Result<Vec<_>, _>>()?);
    }
    warnings.append(&mut hub.warnings);
    Ok(Pinned { listed, services, warnings })
}

/// An unknown model is an error, unless the bentofile lists models: then it says which.
fn accept_unresolved(unresolved: &[Unresolved], bentofile: &Bentofile) -> Result<Vec<String>, BuildError> {
    let is_accepted = |unresolved: &&Unresolved| {
        matches!(unresolved.subject, Subject::Model { .. }) && !bentofile.models.is_empty()
    };
    let refused: Vec<Unresolved> = unresolved.iter().filter(|item| !is_accepted(item)).cloned().collect();
    if !refused.is_empty() {
        return Err(BuildError::Unresolved { found: refused });
    }
    let warnings = unresolved.iter().map(|unresolved| {
        format!("{unresolved}; the models under `models:` in the bentofile have to include it")
    });
    Ok(warnings.collect())
}

fn pin_reference(
    store: &Store<Model>,
    reference: &ModelReference,
    hub: &mut HubPins<'_>,
) -> Result<PinnedModel, BuildError> {
    match &reference.model {
        ModelSource::Hub(model) => hub.pin(reference, model),
        ModelSource::Store { tag } => {
            let query = tag.parse().map_err(|source| BuildError::ModelTag {
                place: reference.place.clone(),
                text: tag.clone(),
                source,
            })?;
            find(store, &query, &reference.place, None)
        }
    }
}

fn find(
    store: &Store<Model>,
    query: &TagQuery,
    place: &dyn Display,
    alias: Option<String>,
) -> Result<PinnedModel, BuildError> {
    use crate::store::Error;
    let model = store.get(query).map_err(|error| match error {
        Error::NotFound { .. } | Error::NameNotFound { .. } => BuildError::MissingModel {
            place: place.to_string(),
            query: query.clone(),
            source: Box::new(error),
        },
        other => other.into(),
    })?;
    Ok(PinnedModel {
        tag: model.info.tag,
        module: Some(model.info.module),
        creation_time: model.info.creation_time,
        alias,
        registry: STORE_REGISTRY.to_owned(),
        metadata: None,
    })
}
