//! What a token is asked for (distribution, Token Scope Documentation).

use std::collections::BTreeSet;

/// The access that a request needs. A token is used for exactly the scopes that it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scopes(BTreeSet<String>);

impl Scopes {
    /// Reading a repository.
    pub(super) fn pull(repository: &str) -> Self {
        Self(BTreeSet::from([format!("repository:{repository}:pull")]))
    }

    /// Reading and writing a repository.
    pub(super) fn push(repository: &str) -> Self {
        Self(BTreeSet::from([format!("repository:{repository}:pull,push")]))
    }

    /// Writing a repository with blobs of another one.
    pub(super) fn mount(repository: &str, from: &str) -> Self {
        let mut scopes = Self::push(repository);
        scopes.0.extend(Self::pull(from).0);
        scopes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}
