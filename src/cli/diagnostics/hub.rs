//! What to do about models of the Hugging Face Hub.

use std::error::Error;

use super::{Diagnosis, Kind, diagnosis, file_system, input};
use crate::hub::{HubError, ParseRepositoryError, Refusal};
use crate::ops::hub::{HubAccessError, HubPruneError, HubPullError, LockError};

/// How a user becomes known to the hub.
const LOG_IN: &str =
    "set `HF_TOKEN`, or log in with `hf auth login`, as somebody who may read the repository";

/// What is known of an error, if it is about models of hubs.
pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<Diagnosis> {
    if let Some(error) = error.downcast_ref::<HubError>() {
        return Some(hub(error));
    }
    if let Some(error) = error.downcast_ref::<HubPullError>() {
        return match error {
            HubPullError::Access(error) => Some(access(error)),
            HubPullError::Hub { source, .. } => Some(hub(source)),
            HubPullError::Layers(error) => super::explain(error.as_ref()),
        };
    }
    if let Some(error) = error.downcast_ref::<LockError>() {
        return match error {
            LockError::Build(error) => super::explain(error.as_ref()),
            LockError::Access(error) => Some(access(error)),
            LockError::Layers(error) => super::explain(error.as_ref()),
            LockError::File(error) => Some(file_system(error)),
        };
    }
    if let Some(error) = error.downcast_ref::<HubPruneError>() {
        return match error {
            HubPruneError::Access(error) => Some(access(error)),
            HubPruneError::Store(error) => super::explain(error),
            HubPruneError::File(error) => Some(file_system(error)),
        };
    }
    let hint = "name it as the hub's page does: `hf://organisation/name`, with `@` and a revision if it is not `main`";
    error.is::<ParseRepositoryError>().then(|| diagnosis(Kind::CommandLine, hint))
}

pub(super) fn access(error: &HubAccessError) -> Diagnosis {
    match error {
        HubAccessError::NoCache => {
            diagnosis(Kind::Surroundings, "set `HF_HOME` to a directory for downloads")
        }
        HubAccessError::Http(_) => file_system(error),
    }
}

pub(super) fn hub(error: &HubError) -> Diagnosis {
    match error {
        HubError::Name(_) | HubError::RevisionName { .. } => {
            input("name it as the hub's page does: `organisation/name`, and a branch, tag or commit")
        }
        HubError::Endpoint { .. } => input("mend `endpoint` of the model, or `HF_ENDPOINT`"),
        HubError::Refused { refusal, with_token, .. } => refused(*refusal, *with_token),
        HubError::Status { status, .. } if status.as_u16() == 429 => diagnosis(
            Kind::Surroundings,
            "wait a while, or set `HF_TOKEN`: the hub allows more to those whom it knows",
        ),
        HubError::Status { .. } | HubError::Answer { .. } | HubError::Short { .. } => diagnosis(
            Kind::Surroundings,
            "try again: what has arrived is kept; look at `HF_ENDPOINT` where the hub is another than the public one",
        ),
        HubError::Listing { .. } => {
            input("use another revision of the repository: files with such names cannot be taken")
        }
        HubError::Http(_) => diagnosis(
            Kind::Surroundings,
            "check the network and `HF_ENDPOINT`, and start again: what has arrived is kept; with `HF_HUB_OFFLINE=1` \
             only what is here already is used",
        ),
        HubError::Offline { .. } => diagnosis(
            Kind::Surroundings,
            "fetch it with `ekiben models pull hf://ORGANISATION/NAME` where there is a network, or unset `HF_HUB_OFFLINE`",
        ),
        HubError::Damaged { .. } | HubError::Length { .. } => diagnosis(
            Kind::Surroundings,
            "try again; when that does not help, the hub or a proxy on the way gives wrong bytes",
        ),
        HubError::Space { .. } => {
            diagnosis(Kind::Surroundings, "make room, or set `HF_HUB_CACHE` to a directory on a larger disk")
        }
        HubError::Download { source, .. } => hub(source),
        // Whatever is wrong with the cache, another directory is the way out.
        HubError::File(_) => diagnosis(
            Kind::Surroundings,
            "set `HF_HUB_CACHE` to a directory that can be written to, on a disk with room",
        ),
        HubError::Interrupted(_) => diagnosis(Kind::Interrupted, ""),
    }
}

fn refused(refusal: Refusal, with_token: bool) -> Diagnosis {
    match refusal {
        Refusal::Gated if with_token => {
            input("ask for access on the repository's page, with the account that the token is of")
        }
        Refusal::NoRepository if with_token => input(
            "look at the name; if it is right, the account that the token is of may not read the repository",
        ),
        Refusal::NoRepository => {
            diagnosis(Kind::Input, &format!("look at the name; if the repository is private, {LOG_IN}"))
        }
        Refusal::Gated => input(LOG_IN),
        Refusal::Token => input("set `HF_TOKEN` to a valid token, or log in again with `hf auth login`"),
        Refusal::NoRevision => input("look at `revision`: it has to be a branch, a tag, or a whole commit"),
        Refusal::NoFile => input("try again: the repository lists a file that it does not have"),
        Refusal::Disabled => input("use another repository: this one was disabled"),
    }
}
