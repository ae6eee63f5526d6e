//! The one place that turns a transport's name into what reads and writes.

use std::path::Path;

use tokio::runtime::Handle;

use super::destination::unsupported;
use super::error::TransportError;
use super::name::{TransportName, familiar};
use super::receipt::Receipt;
use super::registry::Parcel;
use super::verified::Verified;
use super::{archive, destination, engine, layout, registry};
use crate::engine::{Engine, EngineError, EngineSettings};
use crate::oci::digest::Digest;
use crate::oci::image::Image;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::registry::{BlobCache, Client, Manifest};
use crate::report::Activity;

/// All transports, configured once. Its methods block.
pub struct Transports {
    /// Runs what is asynchronous.
    pub runtime: Handle,
    /// The client of all registries.
    pub registries: Client,
    /// Where a local engine is looked for.
    pub engine: EngineSettings,
    /// A directory for what has to be on disk for a while.
    pub scratch: std::path::PathBuf,
    /// What files at destinations were found to be.
    pub verified: Verified,
    /// Who is told what happens, and who may stop it.
    pub activity: Activity,
}

impl Transports {
    /// Reads an image for a platform.
    pub fn read(&self, name: &TransportName, platform: &Platform) -> Result<Image, TransportError> {
        match name {
            TransportName::Scratch => Ok(Image::scratch(platform)),
            TransportName::Registry(reference) => {
                self.runtime.block_on(registry::read(&self.registries, reference, platform, &self.activity))
            }
            TransportName::Engine(reference) => self.runtime.block_on(async {
                let engine = Engine::connect(&self.engine).await?;
                engine::read(&engine, reference, platform, &self.scratch, &self.activity).await
            }),
            TransportName::Layout { path, name } => layout::read(path, name.as_deref(), platform),
            TransportName::OciArchive { path, name } => archive::read_oci(path, name.as_deref(), platform),
            TransportName::DockerArchive { path, name } => {
                archive::read_docker(path, name.as_ref(), platform)
            }
            TransportName::Debian { .. } => Err(unsupported(name, "read as an image: it is assembled")),
        }
    }

    /// Makes sure, before any work, that an image can be written there, as far as that can be seen.
    pub fn check_destination(&self, name: &TransportName) -> Result<(), TransportError> {
        destination::check(name)
    }

    /// Writes an image; `names` are those that it has in files and layouts that name none themselves.
    pub fn write(
        &self,
        name: &TransportName,
        image: &Image,
        names: &[Reference],
    ) -> Result<Receipt, TransportError> {
        let activity = &self.activity;
        match name {
            TransportName::Registry(reference) => {
                self.runtime.block_on(registry::write(&self.registries, reference, image, activity))
            }
            TransportName::Engine(reference) => self.runtime.block_on(async {
                let engine = Engine::connect(&self.engine).await?;
                engine::write(&engine, reference, image, activity).await
            }),
            TransportName::Layout { path, name } => {
                let own = || names.iter().map(familiar).collect();
                let names = name.clone().map_or_else(own, |name| vec![name]);
                layout::write(path, &names, image, &self.verified, activity)
            }
            TransportName::OciArchive { path, name: named } => {
                let named = named.as_ref().map(|text| text.parse()).transpose();
                let named = named
                    .map_err(|_| unsupported(name, "written to: the image's name is not a reference"))?;
                self.write_archive(path, "oci-archive", image, named.as_ref(), names)
            }
            TransportName::DockerArchive { path, name } => {
                self.write_archive(path, "docker-archive", image, name.as_ref(), names)
            }
            TransportName::Debian { .. } | TransportName::Scratch => Err(unsupported(name, "written to")),
        }
    }

    /// Sends a manifest and its blobs to a registry.
    pub fn send(&self, reference: &Reference, parcel: Parcel) -> Result<Receipt, TransportError> {
        self.runtime.block_on(registry::send(&self.registries, reference, parcel, &self.activity))
    }

    /// Reads the manifest of one thing that is in a registry, whatever it is.
    pub fn manifest(&self, reference: &Reference) -> Result<Manifest, TransportError> {
        self.runtime.block_on(registry::manifest(&self.registries, reference, &self.activity))
    }

    /// Downloads blobs into `into`; those that are there already are left alone.
    pub fn fetch(
        &self,
        reference: &Reference,
        blobs: &[(Digest, u64)],
        into: &BlobCache,
    ) -> Result<(), TransportError> {
        self.runtime.block_on(registry::fetch(&self.registries, reference, blobs, into, &self.activity))
    }

    /// Whether a local engine answers; if not, why.
    pub fn engine_answers(&self) -> Result<(), EngineError> {
        self.runtime.block_on(Engine::connect(&self.engine)).map(drop)
    }

    fn write_archive(
        &self,
        path: &Path,
        scheme: &str,
        image: &Image,
        named: Option<&Reference>,
        names: &[Reference],
    ) -> Result<Receipt, TransportError> {
        let names = named.map_or(names, std::slice::from_ref);
        let place = archive::Place { path, scheme, verified: &self.verified };
        archive::write(&place, image, names, &self.activity)
    }
}
