//! From exact inputs to what the image will be: its layers in order, and its configuration. Pure: nothing is read.
//!
//! Every layer follows from its own inputs alone, so that none is made again because another changed (design, image
//! layout): base, system packages, Python packages, ekiben's runtime, one for each model, some for each model of the hub, the bento's sources.

mod commands;
mod config;
mod hub;
mod input;
mod layers;

pub use commands::{CommandError, is_package, system_packages};
pub use hub::{HubContentInput, HubInput, HubSnapshotInput, hub_layers};
pub use input::{BentoInput, DistributionInput, EnvInput, Inputs, ModelInput, PackagesInput};
pub use layers::{LayerContent, LayerPlan};

use crate::oci::config::ConfigPatch;

/// Directory of the bento in the image.
pub const BENTO_PATH: &str = "/home/bentoml/bento";
/// Home of the user who runs the service: the model and bento stores are below it.
pub const HOME: &str = "/home/bentoml";
/// The virtual environment of the Python packages.
pub const VENV: &str = "/app/.venv";
/// The front, and entrypoint, of every image.
pub const SERVER: &str = "/app/bin/ekiben-serve";
/// Name of the user who runs the service.
pub const USER_NAME: &str = "bentoml";
/// Number of that user and of its group.
pub const USER_ID: u32 = 1034;

/// What an image will be made of.
#[derive(Clone, Debug)]
pub struct BuildPlan {
    /// The layers above the base image, bottom first. The first may be the base itself.
    pub layers: Vec<LayerPlan>,
    /// Changes to the base's configuration.
    pub config: ConfigPatch,
}

/// Plans the image of a bento.
pub fn plan(inputs: &Inputs) -> BuildPlan {
    BuildPlan { layers: layers::plan(inputs), config: config::plan(inputs) }
}
