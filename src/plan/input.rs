//! Everything that a plan follows from.

use super::hub::HubInput;
use crate::oci::compress::Compression;
use crate::oci::digest::Digest;

/// The exact inputs of an image.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The bento.
    pub bento: BentoInput,
    /// Version of the interpreter, such as `3.11`.
    pub python: String,
    /// `PATH` of the base image, where it has one.
    pub base_path: Option<String>,
    /// Debian packages that make the base; `None` for a base image from elsewhere.
    pub base_packages: Option<PackagesInput>,
    /// Debian packages on top of the base; empty when there are none to add.
    pub system_packages: Option<PackagesInput>,
    /// Digest of the account files to be replaced in a base image from elsewhere.
    pub accounts: Option<Digest>,
    /// Python packages, in the lock's order.
    pub distributions: Vec<DistributionInput>,
    /// Digest of all that ekiben itself puts into the image.
    pub runtime: Digest,
    /// Models in the bento's order.
    pub models: Vec<ModelInput>,
    /// Repositories of the Hugging Face Hub, in the bento's order.
    pub hub: Vec<HubInput>,
    /// How code, dependencies and base are compressed.
    pub compression: Compression,
    /// When the image was made, RFC 3339.
    pub created: String,
}

/// What a plan needs to know of a bento.
#[derive(Clone, Debug)]
pub struct BentoInput {
    /// Name in the store.
    pub name: String,
    /// Version in the store.
    pub version: String,
    /// Name of the service that answers.
    pub service: String,
    /// Labels, for the image's own.
    pub labels: Vec<(String, String)>,
    /// Environment variables for all stages and for run time, with values.
    pub envs: Vec<EnvInput>,
    /// Fingerprint of the files, as they will be in the image.
    pub files: Digest,
}

/// An environment variable of a bento.
#[derive(Clone, Debug)]
pub struct EnvInput {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A set of locked Debian packages.
#[derive(Clone, Debug)]
pub struct PackagesInput {
    /// What people call it: a suite, or the packages' names.
    pub title: String,
    /// Digest of the lock and of everything else that the files follow from.
    pub lock: Digest,
}

/// A Python package, installed and normalised.
#[derive(Clone, Debug)]
pub struct DistributionInput {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Sum of its files' sizes.
    pub size: u64,
    /// Identity of its files.
    pub fingerprint: String,
}

/// A model of the bento.
#[derive(Clone, Debug)]
pub struct ModelInput {
    /// Name in the store.
    pub name: String,
    /// Version in the store.
    pub version: String,
    /// Fingerprint of its files.
    pub fingerprint: Digest,
}
