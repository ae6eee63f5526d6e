//! Any bytes as a `model.yaml`.
//!
//! The two readers agree; what is written is read as what was written; a model that is read is written and read as the
//! same model. Nothing panics.

use std::collections::BTreeSet;
use std::fs;

use ekiben::store::{Item as _, Model};
use ekiben::yaml::{self, Node, Value};

/// Runs the bytes through everything that reads and writes the file.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        document(text);
    }
    model(bytes);
}

fn document(text: &str) {
    let fast = yaml::read_value(text).ok();
    let general = yaml::read(text).map(Node::into_value).ok();
    // `NaN` is not equal to itself; what is compared is how a value is written.
    let written = |value: &Option<Value>| value.as_ref().map(Value::to_yaml);
    assert_eq!(written(&fast), written(&general), "the readers do not agree on {text:?}");
    let Some(once) = written(&general) else { return };
    if general.as_ref().is_some_and(has_lookalikes) {
        return;
    }
    let again = yaml::read(&once).map(Node::into_value);
    let again = again.unwrap_or_else(|error| panic!("{text:?} is written as {once:?}: {error}"));
    assert_eq!(again.to_yaml(), once, "{text:?}");
}

/// Whether keys of a map differ by their type alone, as `on` and `'true'`: written as `true` and `'true'`, the library under
/// the general reader takes them for the same key, and refuses what `PyYAML` reads.
fn has_lookalikes(value: &Value) -> bool {
    match value {
        Value::Map(entries) => {
            let texts: BTreeSet<String> = entries.iter().map(|(key, _)| spelled(key)).collect();
            texts.len() < entries.len()
                || entries.iter().any(|(key, value)| has_lookalikes(key) || has_lookalikes(value))
        }
        Value::List(items) => items.iter().any(has_lookalikes),
        _ => false,
    }
}

/// A key without its quotes.
fn spelled(key: &Value) -> String {
    key.as_text().map_or_else(|| key.to_yaml().trim_end().to_owned(), str::to_owned)
}

fn model(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("model.yaml");
    fs::write(&file, bytes).expect("a new file");
    let Ok(model) = Model::load(directory.path()) else { return };
    let once = model.info.to_document().to_yaml();
    fs::write(&file, &once).expect("its own file");
    let again = Model::load(directory.path()).unwrap_or_else(|error| panic!("{once:?}: {error}"));
    assert_eq!(again.info.to_document().to_yaml(), once);
}
