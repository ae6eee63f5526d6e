//! What a bento says of a service of functions: its runners, with their models at exact versions, and its APIs.

use crate::discover::{Discovery, ModelSource, RunnerReference, Style};
use crate::store::{FunctionInfo, FunctionsInfo, PinnedModel, RunnerInfo};

use super::pin::Pinned;

/// The classes of the runners of each framework's models, by the names that upstream writes.
const RUNNABLE_TYPES: &[(&str, &str)] = &[
    ("bentoml.catboost", "CatBoostRunnable"),
    ("bentoml.detectron", "Detectron2Runnable"),
    ("bentoml.diffusers", "DiffusersRunnable"),
    ("bentoml.easyocr", "EasyOCRRunnable"),
    ("bentoml.fastai", "FastAIRunnable"),
    ("bentoml.flax", "FlaxRunnable"),
    ("bentoml.keras", "KerasRunnable"),
    ("bentoml.lightgbm", "LightGBMRunnable"),
    ("bentoml.mlflow", "MLflowPyfuncRunnable"),
    ("bentoml.onnx", "ONNXRunnable"),
    ("bentoml.picklable_model", "PicklableRunnable"),
    // Upstream makes these three with a class within a function.
    ("bentoml.pytorch", "NewClass"),
    ("bentoml.pytorch_lightning", "NewClass"),
    ("bentoml.sklearn", "SklearnRunnable"),
    ("bentoml.tensorflow", "TensorflowRunnable"),
    ("bentoml.torchscript", "NewClass"),
    ("bentoml.transformers", "TransformersRunnable"),
    ("bentoml.xgboost", "XGBoostRunnable"),
];

/// Describes the entry service, if it is one of functions.
pub(super) fn functions(discovery: &Discovery, pinned: &Pinned) -> Option<FunctionsInfo> {
    let entry = discovery.entry();
    if entry.style != Style::Functions {
        return None;
    }
    // The models of a service are pinned in the order in which it declares them.
    let models: Vec<(&str, &PinnedModel)> = entry
        .models
        .iter()
        .zip(pinned.services.first().map(Vec::as_slice).unwrap_or_default())
        .filter_map(|(reference, pinned)| match &reference.model {
            ModelSource::Store { tag } => Some((tag.as_str(), pinned)),
            ModelSource::Hub(_) => None,
        })
        .collect();
    let apis = entry.apis.iter().filter_map(|api| {
        let (input_type, output_type) = api.descriptors.clone()?;
        Some(FunctionInfo {
            name: api.name.clone(),
            input_type: written(input_type),
            output_type: written(output_type),
        })
    });
    let runners = entry.runners.iter().filter_map(|reference| runner(reference, &models));
    Some(FunctionsInfo { runners: runners.collect(), apis: apis.collect() })
}

/// A runner whose name is known.
fn runner(reference: &RunnerReference, pinned: &[(&str, &PinnedModel)]) -> Option<RunnerInfo> {
    let find = |tag: &String| pinned.iter().find(|(written, _)| written == tag).map(|(_, model)| *model);
    let models: Vec<&PinnedModel> = reference.models.iter().filter_map(find).collect();
    let of_framework = || {
        let module = models.first()?.module.as_deref()?;
        RUNNABLE_TYPES.iter().find(|(name, _)| *name == module).map(|(_, class)| (*class).to_owned())
    };
    let own = reference.class.as_deref().map(str::to_lowercase);
    let name = reference.name.clone().or(own).or_else(|| Some(models.first()?.tag.name().to_owned()))?;
    Some(RunnerInfo {
        name: name.to_lowercase(),
        runnable_type: reference.class.clone().or_else(of_framework).unwrap_or_default(),
        is_embedded: reference.is_embedded,
        models: models.iter().map(|model| model.tag.to_string()).collect(),
    })
}

/// `File()` gives one of its kinds.
fn written(descriptor: String) -> String {
    if descriptor == "File" { "BytesIOFile".to_owned() } else { descriptor }
}
