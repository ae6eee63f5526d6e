//! What servers answer with. Unknown keys are ignored, and what is empty may be absent or null.

use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use crate::store::CreationTime;

/// The upload status of an item whose contents are there.
const UPLOADED: &str = "success";
/// The upload status of an item whose contents are on their way.
const UPLOADING: &str = "uploading";
/// The strategy that goes through the server itself.
const PROXY: &str = "proxy";
/// The registry of models that are registered but not kept by the server.
const HUGGING_FACE: &str = "huggingface";

/// A model or bento as the server has it.
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteItem {
    /// Its version.
    pub version: String,
    #[serde(default, deserialize_with = "text")]
    upload_status: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) presigned_upload_url: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) presigned_download_url: String,
    #[serde(default, deserialize_with = "text")]
    transmission_strategy: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) upload_id: String,
    #[serde(default, deserialize_with = "text")]
    build_at: String,
    #[serde(default)]
    manifest: Json,
}

/// How the server wants contents to travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Through the server.
    Proxy,
    /// To and from signed URLs.
    Presigned,
}

/// The account of a token.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// Its address.
    #[serde(default, deserialize_with = "text")]
    pub email: String,
}

/// The organization of an account.
#[derive(Clone, Debug, Deserialize)]
pub struct Organization {
    /// Its name.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
}

/// The items that a list begins with.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ItemList {
    #[serde(default)]
    pub(super) items: Vec<RemoteItem>,
}

/// A repository is there: nothing of it is needed.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Repository {}

impl RemoteItem {
    /// Whether its contents are there.
    pub fn is_uploaded(&self) -> bool {
        self.upload_status == UPLOADED
    }

    pub(super) fn is_uploading(&self) -> bool {
        self.upload_status == UPLOADING
    }

    /// How its contents travel, where the server says so.
    pub fn strategy(&self) -> Option<Strategy> {
        match self.transmission_strategy.as_str() {
            "" => None,
            PROXY => Some(Strategy::Proxy),
            _ => Some(Strategy::Presigned),
        }
    }

    /// When it was made.
    pub fn build_at(&self) -> Option<CreationTime> {
        CreationTime::parse(&self.build_at)
    }

    /// Whether it is only registered: its contents are in another registry.
    pub fn is_linked(&self) -> bool {
        self.manifest["metadata"]["registry"] == HUGGING_FACE
    }
}

/// Text, empty where there is none.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(json: Json) -> RemoteItem {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn nulls_and_unknown_keys_are_taken() {
        let item = item(json!({
            "version": "v1", "upload_status": "success", "presigned_upload_url": null, "uid": 7, "manifest": null,
            "transmission_strategy": null, "build_at": "2026-11-21 22:23:26.294904", "new": {}
        }));
        assert!(item.is_uploaded());
        assert_eq!(item.strategy(), None);
        assert!(!item.is_linked());
        assert_eq!(item.build_at().unwrap().to_string(), "2026-11-21T22:23:26.294904+00:00");
    }

    #[test]
    fn strategies_are_the_three_of_the_protocol() {
        for (text, strategy) in
            [("proxy", Some(Strategy::Proxy)), ("presigned_url", Some(Strategy::Presigned)), ("", None)]
        {
            assert_eq!(item(json!({"version": "1", "transmission_strategy": text})).strategy(), strategy);
        }
        let linked = json!({"version": "1", "manifest": {"metadata": {"registry": "huggingface"}}});
        assert!(item(linked).is_linked());
    }
}
