//! Models whose contents a server does not keep: how large they are where they are.

use serde::Deserialize;

use super::Remote;
use crate::http::{Method, Request, StatusCode, Url};
use crate::hub::Wanted;
use crate::ops::hub;
use crate::store::PinnedModel;

/// Largest list of files: the largest repositories have some ten thousand.
const MAX_LIST: u64 = 64 << 20;

/// A repository of the Hugging Face Hub.
#[derive(Deserialize)]
struct Repository {
    #[serde(default)]
    siblings: Vec<Sibling>,
}

/// A file of it.
#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

/// The bytes of the files that the bento takes of a model on the Hugging Face Hub; 0 where the hub does not tell.
///
/// The server only shows the number, so that not knowing it is no reason to fail.
pub(super) async fn size(remote: &Remote, model: &PinnedModel) -> u64 {
    let asked = ask(remote, model).await;
    if asked.is_none() {
        let message = format!("the size of model {} is not known: its hub does not tell", model.tag);
        remote.activity.report.warn(&message);
    }
    asked.unwrap_or_default()
}

async fn ask(remote: &Remote, model: &PinnedModel) -> Option<u64> {
    let Wanted { repository, revision, patterns } = hub::wanted(model).ok()?;
    let path = format!("{}/api/models/{}/revision/{revision}", repository.endpoint, repository.id);
    let url: Url = format!("{path}?blobs=true").parse().ok()?;
    let response = remote.http.send(Request::new(Method::GET, url)).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    let list: Repository = serde_json::from_slice(&response.bytes(MAX_LIST).await.ok()?).ok()?;
    let is_taken = |file: &&Sibling| patterns.accept(&file.rfilename);
    Some(list.siblings.iter().filter(is_taken).filter_map(|file| file.size).sum())
}
