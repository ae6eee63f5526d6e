//! What `bento.yaml` says of a service of functions: its runners and its APIs.

use super::fields::scalar_text;
use crate::yaml::Value;

/// The runners and APIs of a service of functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionsInfo {
    /// In the order of `runners=[…]`.
    pub runners: Vec<RunnerInfo>,
    /// In the order of the source.
    pub apis: Vec<FunctionInfo>,
}

/// A runner of a bento.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerInfo {
    /// Its name.
    pub name: String,
    /// The class that computes.
    pub runnable_type: String,
    /// Whether it is in the process of whoever calls it.
    pub is_embedded: bool,
    /// The exact tags of its models.
    pub models: Vec<String>,
}

/// An API of a bento, with the descriptors of what it takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Its name.
    pub name: String,
    /// `NumpyNdarray` and the like.
    pub input_type: String,
    /// `NumpyNdarray` and the like.
    pub output_type: String,
}

impl FunctionsInfo {
    /// The entries of `bento.yaml`.
    pub(super) fn entries(&self) -> [(&'static str, Value); 2] {
        [
            ("runners", Value::list(self.runners.iter().map(RunnerInfo::to_value))),
            ("apis", Value::list(self.apis.iter().map(FunctionInfo::to_value))),
        ]
    }

    /// Reads a document; most have none of it.
    pub(super) fn read(document: &Value) -> Option<Self> {
        let items = |key: &str| document.get(key).and_then(Value::as_list).unwrap_or_default();
        let runners: Vec<_> = items("runners").iter().filter_map(RunnerInfo::read).collect();
        let apis: Vec<_> = items("apis").iter().filter_map(FunctionInfo::read).collect();
        (!runners.is_empty() || !apis.is_empty()).then_some(Self { runners, apis })
    }
}

impl RunnerInfo {
    fn to_value(&self) -> Value {
        Value::map([
            ("name", self.name.as_str().into()),
            ("runnable_type", self.runnable_type.as_str().into()),
            ("embedded", Value::Bool(self.is_embedded)),
            ("models", Value::list(self.models.iter().map(|tag| tag.as_str().into()))),
            // Of the configuration, which belongs to the machine that serves.
            ("resource_config", Value::Null),
        ])
    }

    fn read(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(scalar_text);
        let models = value.get("models").and_then(Value::as_list).unwrap_or_default();
        Some(Self {
            name: text("name")?,
            // The second name is that of the first releases.
            runnable_type: text("runnable_type").or_else(|| text("runner_type")).unwrap_or_default(),
            is_embedded: matches!(value.get("embedded"), Some(Value::Bool(true))),
            models: models.iter().filter_map(scalar_text).collect(),
        })
    }
}

impl FunctionInfo {
    fn to_value(&self) -> Value {
        Value::map([
            ("name", self.name.as_str().into()),
            ("input_type", self.input_type.as_str().into()),
            ("output_type", self.output_type.as_str().into()),
        ])
    }

    fn read(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(scalar_text);
        Some(Self {
            name: text("name")?,
            input_type: text("input_type").unwrap_or_default(),
            output_type: text("output_type").unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn what_is_written_is_read_again() {
        let runner = |name: &str, is_embedded| RunnerInfo {
            name: name.to_owned(),
            runnable_type: "SklearnRunnable".to_owned(),
            is_embedded,
            models: vec!["iris:v1".to_owned()],
        };
        let api = FunctionInfo {
            name: "classify".to_owned(),
            input_type: "NumpyNdarray".to_owned(),
            output_type: "Text".to_owned(),
        };
        let info =
            FunctionsInfo { runners: vec![runner("one", false), runner("two", true)], apis: vec![api] };
        let text = Value::map(info.entries()).to_yaml();
        assert!(text.contains("  embedded: true\n") && text.contains("  resource_config: null\n"), "{text}");
        let document = yaml::read(&text).unwrap().into_value();
        assert_eq!(FunctionsInfo::read(&document), Some(info));
        assert_eq!(FunctionsInfo::read(&Value::Null), None);
    }
}
