//! One repository of a registry: what manifests, blobs and uploads have in common.

use std::fmt;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::refusal::Refusal;
use super::scopes::Scopes;
use crate::http::{Response, Url};
use crate::oci::reference::Repository as Name;

/// A repository that can be read and written. Clones share everything.
#[derive(Clone)]
pub struct Repository {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) name: Name,
    pub(super) scopes: Scopes,
}

impl Repository {
    pub(super) fn new(endpoint: Arc<Endpoint>, name: Name) -> Self {
        let scopes = Scopes::pull(&name.path);
        Self { endpoint, name, scopes }
    }

    /// The same repository, with the right to write asked for from the beginning: registries answer questions about a
    /// repository that does not exist yet only to those who may make it.
    #[must_use]
    pub fn for_pushing(mut self) -> Self {
        self.scopes = Scopes::push(&self.name.path);
        self
    }

    /// Registry and path.
    pub fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn url(&self, rest: &str) -> Result<Url, RegistryError> {
        self.endpoint.url(&format!("{}/{rest}", self.name.path))
    }

    /// The error for a 404.
    pub(super) async fn not_found(&self, what: String, response: Response) -> RegistryError {
        let refusal = Refusal::read(response).await;
        let is_repository = refusal.has_code("NAME_UNKNOWN");
        let what = if is_repository { format!("repository `{}`", self.name.path) } else { what };
        RegistryError::NotFound { registry: self.endpoint.registry().to_owned(), what, refusal }
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Repository({})", self.name)
    }
}
