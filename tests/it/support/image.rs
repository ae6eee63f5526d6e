//! What `ekiben containerize` says it wrote.

use serde_json::Value;

use super::command::Command;

/// An image that was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The manifest's digest.
    pub(crate) digest: String,
    /// Titles and digests of the layers, bottom first.
    pub(crate) layers: Vec<(String, String)>,
    /// Titles of the layers whose contents were read and packed.
    pub(crate) packed: Vec<String>,
}

impl Written {
    /// Runs a `containerize` command with a JSON document as its output.
    pub(crate) fn by(command: Command) -> Self {
        let document = command.args(["-o", "json"]).run().json();
        let text = |layer: &Value, key: &str| layer[key].as_str().expect("a layer has texts").to_owned();
        let layers = document["layers"].as_array().expect("a list of layers");
        assert!(!layers.is_empty(), "{document}");
        let is_packed =
            |layer: &&Value| layer["packed"].as_bool().expect("a layer says whether it was packed");
        Self {
            digest: text(&document, "digest"),
            layers: layers.iter().map(|layer| (text(layer, "title"), text(layer, "digest"))).collect(),
            packed: layers.iter().filter(is_packed).map(|layer| text(layer, "title")).collect(),
        }
    }
}
