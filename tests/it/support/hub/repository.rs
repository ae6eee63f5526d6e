//! A repository as the server keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::content::{Content, git_name};

/// The branch that every repository has.
const MAIN: &str = "main";

/// Changes the entries of a listing.
pub(super) type Tampering = dyn Fn(&mut Vec<Value>) + Send + Sync;

#[derive(Default)]
pub(super) struct Stored {
    /// Hash and files of every commit.
    pub(super) commits: BTreeMap<String, Arc<BTreeMap<String, Content>>>,
    pub(super) branches: BTreeMap<String, String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) is_gated: bool,
    pub(super) is_private: bool,
    /// Tokens of those who were let in.
    pub(super) admitted: BTreeSet<String>,
    pub(super) tampering: Option<Arc<Tampering>>,
    /// Other names that files are listed and served under, and the files' own.
    pub(super) aliases: BTreeMap<String, String>,
}

impl Stored {
    /// Adds a commit to `main`. The same files have the same hash, wherever and whenever.
    pub(super) fn commit(&mut self, files: BTreeMap<String, Content>) -> String {
        let lines: Vec<String> = files.iter().map(|(path, file)| format!("{} {path}\n", file.oid)).collect();
        let hash = git_name("commit", lines.concat().as_bytes());
        self.commits.insert(hash.clone(), Arc::new(files));
        self.branches.insert(MAIN.to_owned(), hash.clone());
        hash
    }

    /// The commit that a branch, a tag, or a commit's own hash leads to, with its files.
    pub(super) fn resolve(&self, revision: &str) -> Option<(String, Arc<BTreeMap<String, Content>>)> {
        let name = revision.strip_prefix("refs/heads/").unwrap_or(revision);
        let named = self.branches.get(name).or_else(|| self.tags.get(name));
        let hash = named.map_or(revision, String::as_str);
        Some((hash.to_owned(), Arc::clone(self.commits.get(hash)?)))
    }

    /// The file that a path may mean, with its commit, when the hub is out to deceive: clients differ in what they make of
    /// `a/../b`, so that its end alone counts.
    pub(super) fn deception(&self, path: &str) -> Option<(&str, &Content)> {
        let last = path.rsplit('/').next();
        let own = self.aliases.iter().find(|(alias, _)| alias.rsplit('/').next() == last)?.1;
        self.commits.iter().find_map(|(commit, files)| Some((commit.as_str(), files.get(own)?)))
    }

    pub(super) fn large(&self, sha256: &str) -> Option<&Content> {
        let is_it = |file: &&Content| file.large.as_ref().is_some_and(|large| large.sha256 == sha256);
        self.commits.values().flat_map(|files| files.values()).find(is_it)
    }
}
