//! Outcomes as documents for programs.

use serde::Serialize;

use crate::yaml;

/// JSON with indentation, as the original tool prints it.
pub(super) fn json(outcome: &impl Serialize) -> String {
    serde_json::to_string_pretty(outcome).expect("outcomes are plain data") + "\n"
}

/// YAML in the style of the original tool, in the order of the fields.
pub(super) fn yaml(outcome: &impl Serialize) -> String {
    yaml::Value::from(serde_json::to_value(outcome).expect("outcomes are plain data")).to_yaml()
}
