//! What a server is told about an item, in the form of the original tool.

use serde_json::{Map, Value as Json, json};

use crate::store::{Bento, CreationTime, Model, PinnedModel};
use crate::yaml::Value;

/// The registry of models that the server does not keep.
const HUGGING_FACE: &str = "huggingface";

/// The body that registers a model of the store.
pub fn model_body(model: &Model, size: u64) -> Json {
    let info = &model.info;
    let context = json!({
        "framework_name": info.context.framework_name,
        "framework_versions": map(&info.context.framework_versions),
        "bentoml_version": info.context.bentoml_version,
        "python_version": info.context.python_version,
    });
    json!({
        "description": "",
        "version": info.tag.version(),
        "manifest": {
            "module": info.module,
            "api_version": info.api_version,
            "bentoml_version": info.context.bentoml_version,
            "size_bytes": size,
            "metadata": info.metadata.to_json(),
            "context": context,
            "options": info.options.to_json(),
        },
        "build_at": time(&info.creation_time),
        "labels": labels(&info.labels),
    })
}

/// The body that registers a model whose contents are in another registry.
pub fn linked_model_body(model: &PinnedModel, bentoml_version: &str, size: u64) -> Json {
    let metadata = model.metadata.as_ref().map(Value::to_json).unwrap_or_default();
    let of = |key: &str| metadata[key].clone();
    let text = |key: &str| metadata[key].as_str().unwrap_or_default().to_owned();
    let url = format!("{}/{}/tree/{}", text("endpoint"), text("model_id"), text("revision"));
    json!({
        "description": "",
        "version": model.tag.version(),
        "manifest": {
            "module": "",
            "api_version": "v1",
            "bentoml_version": bentoml_version,
            "size_bytes": size,
            "metadata": {
                "registry": HUGGING_FACE,
                "model_id": of("model_id"),
                "revision": of("revision"),
                "endpoint": of("endpoint"),
                "include": of("include"),
                "exclude": of("exclude"),
                "url": url,
            },
            "context": {
                "framework_name": HUGGING_FACE,
                "framework_versions": {},
                "bentoml_version": bentoml_version,
                "python_version": "",
            },
            "options": {},
        },
        "build_at": time(&model.creation_time),
        "labels": [],
    })
}

/// The body that registers a bento. `size` is that of the bento and its models.
pub fn bento_body(bento: &Bento, readme: &str, size: u64) -> Json {
    json!({
        "description": readme,
        "version": bento.info.tag.version(),
        "manifest": manifest(bento, size),
        "build_at": time(&bento.info.creation_time),
        "labels": labels(&bento.info.labels),
    })
}

/// The body that changes what is known about a bento.
pub fn bento_update(bento: &Bento, readme: &str, size: u64) -> Json {
    json!({
        "description": readme,
        "manifest": manifest(bento, size),
        "labels": labels(&bento.info.labels),
    })
}

fn manifest(bento: &Bento, size: u64) -> Json {
    let info = &bento.info;
    let services = info.services.iter().map(|service| {
        let dependencies = service.dependencies.iter().map(|dependency| {
            json!({
                "service": dependency.service,
                "deployment": dependency.deployment,
                "cluster": dependency.cluster,
                "url": dependency.url,
            })
        });
        json!({
            "name": service.name,
            "service": service.service,
            "models": service.models.iter().map(model).collect::<Vec<_>>(),
            "dependencies": dependencies.collect::<Vec<_>>(),
            "config": service.config.to_json(),
        })
    });
    let envs = info.envs.iter();
    let envs = envs.map(|env| json!({"name": env.name, "value": env.value, "stage": env.stage}));
    let image = info.image.as_ref().map(|image| {
        json!({
            "base_image": image.base_image,
            "python_version": image.python_version,
            "commands": image.commands,
            "python_requirements": image.python_requirements,
            "post_commands": image.post_commands,
            "build_include": image.build_include,
        })
    });
    json!({
        "service": info.service,
        "bentoml_version": info.bentoml_version,
        "size_bytes": size,
        "entry_service": info.entry_service,
        "name": info.tag.name(),
        "apis": {},
        "models": info.all_models().iter().map(|model| model.tag.to_string()).collect::<Vec<_>>(),
        "runners": runners(&bento.document),
        "services": services.collect::<Vec<_>>(),
        "envs": envs.collect::<Vec<_>>(),
        "schema": info.schema.to_json(),
        "version": info.tag.version(),
        "dev": false,
        "image": image,
        "spec": info.spec,
    })
}

fn model(model: &PinnedModel) -> Json {
    json!({
        "tag": model.tag,
        "module": model.module,
        "creation_time": time(&model.creation_time),
        "alias": model.alias,
        "registry": model.registry,
        "metadata": model.metadata.as_ref().map(Value::to_json),
    })
}

/// The runners that old bentos have.
fn runners(document: &Value) -> Vec<Json> {
    let runners = document.get("runners").and_then(Value::as_list).unwrap_or_default();
    let runner = |runner: &Value| {
        let runner = runner.to_json();
        let config =
            runner["resource_config"].as_object().filter(|config| !config.is_empty()).map(|config| {
                json!({
                    "cpu": config.get("cpu"),
                    "nvidia_gpu": config.get("nvidia.com/gpu"),
                    "custom_resources": config.get("custom_resources"),
                })
            });
        json!({
            "name": runner["name"],
            "runnable_type": runner["runnable_type"],
            "models": runner["models"],
            "resource_config": config,
        })
    };
    runners.iter().map(runner).collect()
}

/// A time as servers take it: UTC, with microseconds and without a zone.
fn time(time: &CreationTime) -> String {
    time.timestamp().strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()
}

fn labels(labels: &[(String, String)]) -> Vec<Json> {
    labels.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}

fn map(pairs: &[(String, String)]) -> Json {
    Json::Object(pairs.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Item as _;

    #[test]
    fn a_model_is_described_as_the_original_tool_does() {
        let directory = tempfile::tempdir().unwrap();
        let text = "name: m\nversion: v1\nmodule: ''\nlabels: {a: b}\noptions: {}\nmetadata: {}\ncontext:\n  framework_name: ''\n  \
                    framework_versions: {}\n  bentoml_version: 1.4.39\n  python_version: 3.11.7\nsignatures: {}\napi_version: v1\n\
                    creation_time: '2026-11-21T23:23:26.294904+01:00'\n";
        std::fs::write(directory.path().join("model.yaml"), text).unwrap();
        let model = Model::load(directory.path()).unwrap();
        insta::assert_snapshot!(model_body(&model, 2313).to_string(), @r#"{"description":"","version":"v1","manifest":{"module":"","api_version":"v1","bentoml_version":"1.4.39","size_bytes":2313,"metadata":{},"context":{"framework_name":"","framework_versions":{},"bentoml_version":"1.4.39","python_version":"3.11.7"},"options":{}},"build_at":"2026-11-21 22:23:26.294904","labels":[{"key":"a","value":"b"}]}"#);
    }

    #[test]
    fn runners_of_old_bentos_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let text = "service: a:svc\nname: old\nversion: v1\ncreation_time: '2022-01-01T00:00:00+00:00'\nrunners:\n- name: r\n  \
                    runnable_type: X\n  models: ['m:v1']\n  resource_config: {cpu: 1.0}\n";
        std::fs::write(directory.path().join("bento.yaml"), text).unwrap();
        let body = bento_body(&Bento::load(directory.path()).unwrap(), "", 7);
        assert_eq!(body["manifest"]["image"], Json::Null);
        assert_eq!(
            body["manifest"]["runners"].to_string(),
            r#"[{"name":"r","runnable_type":"X","models":["m:v1"],"resource_config":{"cpu":1.0,"nvidia_gpu":null,"custom_resources":null}}]"#
        );
    }
}
