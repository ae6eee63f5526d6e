//! `serve` on this machine: finds the target, provides the SDK, and runs the front.

use std::io;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use super::context::{ContextError, bentoml_home, cache_directory};
use super::discovery::walk;
use crate::bentofile::{self, Bentofile, Selector};
use crate::discover::{self, ModelSource};
use crate::env::Environment;
use crate::fs::FsError;
use crate::resolve::runtime;
use crate::serve::readahead::{self, DeclaredModel};
use crate::serve::reload::Watch;
use crate::serve::{self, ServeArgs, ServeError, Target};
use crate::store::{self, Home};
use crate::tag::TagQuery;

/// A service could not be served.
#[derive(Debug, Error)]
pub enum HostServeError {
    /// The surroundings are unusable.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The target is neither a directory, nor a module, nor a bento.
    #[error("cannot find `{target}`: it is no directory, no module of the working directory, and no bento")]
    NotFound {
        /// The target as typed.
        target: String,
        /// What the store says.
        #[source]
        source: store::Error,
    },
    /// The bento is in the store and cannot be used.
    #[error("cannot serve bento `{target}`")]
    Bento {
        /// The target as typed.
        target: String,
        /// What is wrong with it.
        #[source]
        source: store::Error,
    },
    /// The SDK could not be written to the cache.
    #[error(transparent)]
    Sdk(#[from] FsError),
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Serves until asked to stop.
pub fn serve(args: &ServeArgs, environment: &Environment) -> Result<(), HostServeError> {
    let target = find(args, environment)?;
    let mut inherited = environment.clone();
    if environment.text("BENTOML_HOME").is_some() {
        // Workers run in another directory, where a relative path would mean another home.
        inherited.set("BENTOML_HOME", bentoml_home(environment)?);
    }
    let mut settings = args.settings(target, inherited)?;
    if let Target::Import { import_string, working_dir, .. } = &settings.target
        && readahead::is_wanted(environment)
    {
        let declared = declared_models(import_string, working_dir, environment);
        settings.read_ahead.splice(..0, declared);
    }
    if settings.reload.is_some()
        && let Some(watch) = watched(&settings.target.sources())
    {
        settings.reload = Some(watch);
    }
    settings.sdk_path = Some(runtime::unpack_sdk(&cache_directory(environment)?.join("sdk/source"))?);
    Ok(serve::run(settings)?)
}

/// The files that a bento of the project would have; `None` when its bentofile is for a build to complain of.
fn watched(project: &Path) -> Option<Watch> {
    let Bentofile { include, exclude, .. } = bentofile::load(project, None).ok()?.bentofile;
    let selector = Selector::new(&include, &exclude);
    let listing = move |directory: &Path| {
        let selection = selector.select(directory).map_err(io::Error::other)?;
        Ok(selection.files.into_iter().map(|file| file.source).collect())
    };
    Some(Watch::new(project.to_owned(), Arc::new(listing)))
}

/// The class-level models of a service that is no bento yet. What is wrong with its source is for the worker to say.
fn declared_models(import_string: &str, working_dir: &Path, environment: &Environment) -> Vec<DeclaredModel> {
    let variables = environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
    let request = discover::Request {
        context: working_dir,
        target: Some(import_string),
        is_src_layout: working_dir.join("src").is_dir(),
        environment: &variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    };
    let Ok(Ok(discovery)) = walk(&request) else { return Vec::new() };
    let references = discovery.services.into_iter().flat_map(|service| service.models);
    references.filter_map(|reference| declared(reference.model, environment)).collect()
}

fn declared(model: ModelSource, environment: &Environment) -> Option<DeclaredModel> {
    match model {
        ModelSource::Store { tag } => {
            let query: TagQuery = tag.parse().ok()?;
            let home = Home::open(bentoml_home(environment).ok()?).ok()?;
            Some(DeclaredModel::Directory(home.models().get(&query).ok()?.path))
        }
        ModelSource::Hub(hub) => Some(DeclaredModel::Hub { id: hub.id, revision: hub.revision }),
    }
}

/// A directory or a module, as the original tool looks for them; else a bento of the store.
fn find(args: &ServeArgs, environment: &Environment) -> Result<Target, HostServeError> {
    let text = args.target.as_deref().unwrap_or(".");
    let working_dir = args.working_dir.as_deref();
    if let Some(target) = Target::locate(text, working_dir).map_err(ServeError::from)? {
        return Ok(target);
    }
    let Ok(query) = text.parse::<TagQuery>() else { return Ok(Target::import(text, working_dir)) };
    let found = Home::open(bentoml_home(environment)?).and_then(|home| home.bentos().get(&query));
    let bento = found.map_err(|source| {
        use store::Error as E;
        let target = text.to_owned();
        match source {
            E::NotFound { .. } | E::NameNotFound { .. } | E::NameNotListed { .. } => {
                HostServeError::NotFound { target, source }
            }
            source => HostServeError::Bento { target, source },
        }
    })?;
    let target = Target::locate(&bento.path.to_string_lossy(), None).map_err(ServeError::from)?;
    Ok(target.unwrap_or_else(|| Target::import(text, working_dir)))
}
