//! What can go wrong on the way to or from a server.

use crate::archive::ArchiveError;
use crate::bentofile;
use crate::cloud::CloudError;
use crate::http::HttpError;
use crate::hub::HubError;
use crate::ops::archives::ArchivesError;
use crate::ops::hub::{HubAccessError, HubEntryError};
use crate::report::Interrupted;
use crate::store::{self, Kind};
use crate::tag::{self, Tag};

use super::word;

/// An item could not be pushed or pulled, or nobody is logged in.
///
/// The texts are those that scripts know from the original tool, where it has one.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// What is to be pushed is not there.
    #[error("{kind} {tag} not found in local store")]
    NotHere {
        /// Model or bento.
        kind: Kind,
        /// As typed.
        tag: String,
        /// What the store says.
        source: Box<store::Error>,
    },
    /// The server does not have a version.
    #[error("{kind} \"{tag}\" not found on remote {} store", store_word(*.kind))]
    NotThere {
        /// Model or bento.
        kind: Kind,
        /// As asked for.
        tag: String,
    },
    /// The server has no newest version.
    #[error("Model \"{tag}\" not found on remote model store, you may need to specify a version")]
    NoneThere {
        /// As asked for.
        tag: String,
    },
    /// Bentos are pulled by version.
    #[error("Bento \"{tag}\" version can not be None")]
    NoVersion {
        /// As typed.
        tag: String,
    },
    /// There is no build file to take models from.
    #[error("No bentofile.yaml or pyproject.toml found, please provide a bentofile path")]
    NoBentofile,
    /// The build file names no model.
    #[error("No model to pull, please provide a model tag or define models in bentofile.yaml")]
    NoModels,
    /// The build file cannot be used.
    #[error(transparent)]
    Bentofile(#[from] bentofile::Error),
    /// The contents did not get there.
    #[error("Failed to upload {} \"{tag}\"", word(*.kind))]
    Upload {
        /// Model or bento.
        kind: Kind,
        /// Its tag.
        tag: Tag,
        /// Why.
        source: Box<CloudError>,
    },
    /// The contents cannot be put into an archive.
    #[error("Failed to upload {} \"{tag}\"", word(*.kind))]
    Pack {
        /// Model or bento.
        kind: Kind,
        /// Its tag.
        tag: Tag,
        /// Why.
        source: Box<ArchiveError>,
    },
    /// The contents did not get here.
    #[error("Failed to download {} \"{tag}\"", word(*.kind))]
    Download {
        /// Model or bento.
        kind: Kind,
        /// Its tag.
        tag: Tag,
        /// Why.
        source: Box<CloudError>,
    },
    /// The contents are not those of the item that was asked for.
    #[error("the server gives `{found}` for `{wanted}`")]
    OtherItem {
        /// The tag that was asked for.
        wanted: Tag,
        /// The tag that the contents have.
        found: Tag,
    },
    /// The contents are no item, or not one that can be trusted.
    #[error(transparent)]
    Contents(#[from] ArchivesError),
    /// There is no way to the hub of a model.
    #[error(transparent)]
    HubAccess(#[from] HubAccessError),
    /// A bento does not say which model of a hub it means.
    #[error(transparent)]
    HubEntry(#[from] HubEntryError),
    /// A hub does not give a model.
    #[error("Failed to download model \"{tag}\"")]
    HubModel {
        /// Its tag.
        tag: Tag,
        /// Why.
        source: Box<HubError>,
    },
    /// A tag is none: the user's, or the server's.
    #[error(transparent)]
    Tag(#[from] tag::Error),
    /// The server refused, or could not be asked.
    #[error(transparent)]
    Cloud(Box<CloudError>),
    /// Requests cannot be made at all.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The store refused.
    #[error(transparent)]
    Store(Box<store::Error>),
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl ExchangeError {
    /// An error of listing what is to be pushed.
    pub(super) fn of_contents(kind: Kind, tag: &Tag, error: ArchiveError) -> Self {
        match error {
            ArchiveError::Interrupted(interrupted) => interrupted.into(),
            source => Self::Pack { kind, tag: tag.clone(), source: Box::new(source) },
        }
    }
}

/// How the original tool calls the stores of servers.
fn store_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Model => "model",
        Kind::Bento => "Bento",
    }
}
