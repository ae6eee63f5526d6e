//! The one form in which documents are serialised before they are hashed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// Serialises a document with sorted keys and without white space, so that equal documents give equal bytes.
///
/// # Panics
/// When `document` has a map with keys that are not strings; the types of this crate have none.
pub fn canonical(document: &impl Serialize) -> Vec<u8> {
    let value = serde_json::to_value(document).expect("documents of this crate have string keys");
    serde_json::to_vec(&Sorted(&value)).expect("a JSON value can be written to memory")
}

struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => serializer.collect_map(
                members.iter().map(|(key, value)| (key, Sorted(value))).collect::<BTreeMap<_, _>>(),
            ),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn keys_are_sorted_at_every_level() {
        let document = json!({"b": [{"z": 1, "a": null}], "a": "x"});
        assert_eq!(super::canonical(&document), br#"{"a":"x","b":[{"a":null,"z":1}]}"#);
    }
}
