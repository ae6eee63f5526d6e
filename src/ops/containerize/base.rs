//! The base image: chosen, read or assembled, and looked into.

use super::error::ContainerizeError;
use super::unpacked::{self, Unpacked};
use super::{Context, Settings};
use crate::debian::{self, Freshness, Installed, Lock};
use crate::oci::config::env_value;
use crate::oci::image::Image;
use crate::oci::reference::without_credentials;
use crate::plan;
use crate::pydeps::Interpreter;
use crate::resolve::base::BaseFacts;
use crate::store::{Bento, ImageInfo};
use crate::transport::{TransportName, Transports};

/// Repository of the images that the original tool bases its own on.
const PYTHON_REPOSITORY: &str = "python";

/// A base image, and what is to be added right above it.
pub(super) struct Base {
    /// What the user calls it.
    pub(super) title: String,
    /// The image; without layers where it is assembled from packages.
    pub(super) image: Image,
    /// Absolute path of the interpreter.
    pub(super) python: String,
    /// `PATH`, where the image has one.
    pub(super) path: Option<String>,
    /// The packages that make the base, where it is assembled.
    pub(super) packages: Option<Lock>,
    /// Their files, where they had to be unpacked to run the base's Python.
    pub(super) unpacked: Option<Unpacked>,
    /// The base's own Python, which compiles for it, where it can be run here.
    pub(super) interpreter: Option<Interpreter>,
    /// The packages to add, and what people call them.
    pub(super) system_packages: Option<(String, Lock)>,
    /// What is in an image from elsewhere.
    pub(super) facts: Option<BaseFacts>,
}

pub(super) fn resolve(
    settings: &Settings,
    bento: &Bento,
    transports: &Transports,
    context: &Context,
) -> Result<Base, ContainerizeError> {
    let described = bento
        .info
        .image
        .as_ref()
        .ok_or_else(|| ContainerizeError::OldBento { tag: bento.info.tag.clone() })?;
    if let Some(command) = described.post_commands.first() {
        return Err(plan::CommandError { command: command.clone() }.into());
    }
    let wanted = plan::system_packages(&described.commands)?;
    let name = settings.base.clone().map_or_else(|| choose(described), Ok)?;
    let mut base = match &name {
        TransportName::Debian { suite } => assemble(suite, &described.python_version, settings, context)?,
        _ => read(&name, &described.python_version, settings, transports, context)?,
    };
    if !wanted.is_empty() {
        base.system_packages =
            Some((wanted.join(" "), lock_system_packages(&base, wanted, settings, context)?));
    }
    Ok(base)
}

/// The bento's base: the one that it names; else Debian's where that has the wanted Python; else the official image.
fn choose(described: &ImageInfo) -> Result<TransportName, ContainerizeError> {
    let python = &described.python_version;
    let default = format!("{PYTHON_REPOSITORY}:{python}-slim");
    let named = Some(described.base_image.as_str()).filter(|image| !image.is_empty() && *image != default);
    if let (None, Some(suite)) = (named, debian::suite_of_python(python)) {
        return Ok(TransportName::Debian { suite: suite.to_owned() });
    }
    let text = named.unwrap_or(&default);
    if let Ok(name) = text.parse() {
        return Ok(name);
    }
    let explain = |source| ContainerizeError::BaseImage { text: without_credentials(text), source };
    Ok(TransportName::Registry(text.parse().map_err(explain)?))
}

fn assemble(
    suite: &str,
    python: &str,
    settings: &Settings,
    context: &Context,
) -> Result<Base, ContainerizeError> {
    let title = format!("debian:{suite}");
    let Some(other) = debian::python_of_suite(suite) else {
        let mirror = debian::DEFAULT_MIRROR.to_owned();
        return Err(debian::Error::UnknownSuite { suite: suite.to_owned(), mirror }.into());
    };
    if other != python {
        let others = vec![other.to_owned()];
        return Err(crate::resolve::ResolveError::NoPython {
            base: title,
            wanted: python.to_owned(),
            others,
        }
        .into());
    }
    let request = debian::Request::python_base(suite, debian::Architecture::of(&settings.platform)?);
    let lock = lock(&request, settings, context)?;
    let (interpreter, unpacked) = unpacked::interpreter(&lock, python.parse()?, context)?;
    Ok(Base {
        unpacked,
        interpreter,
        title,
        image: Image::scratch(&settings.platform),
        python: format!("/usr/bin/python{python}"),
        path: None,
        packages: Some(lock),
        system_packages: None,
        facts: None,
    })
}

fn read(
    name: &TransportName,
    python: &str,
    settings: &Settings,
    transports: &Transports,
    context: &Context,
) -> Result<Base, ContainerizeError> {
    let title = name.to_string();
    context.report.stage(&format!("Reading the base image {title}"));
    let image = transports.read(name, &settings.platform)?;
    let facts = BaseFacts::of(&image, &title, context.cache.root())?;
    Ok(Base {
        python: facts.python(python, &title)?.to_owned(),
        path: env_value(image.document(), "PATH").map(str::to_owned),
        title,
        image,
        unpacked: None,
        interpreter: None,
        packages: None,
        system_packages: None,
        facts: Some(facts),
    })
}

/// Locks the packages to add to a base, without those that it has.
fn lock_system_packages(
    base: &Base,
    packages: Vec<String>,
    settings: &Settings,
    context: &Context,
) -> Result<Lock, ContainerizeError> {
    let architecture = debian::Architecture::of(&settings.platform)?;
    let not_debian = || ContainerizeError::NotDebian { base: base.title.clone(), packages: packages.clone() };
    let (suite, installed) = match (&base.packages, &base.facts) {
        (Some(lock), _) => (lock.suite.clone(), installed_by(lock)),
        (None, Some(facts)) => {
            let suite = facts.debian_suite().ok_or_else(not_debian)?;
            let status = facts.dpkg_status().ok_or_else(not_debian)?;
            (suite, debian::installed(&status))
        }
        (None, None) => return Err(not_debian()),
    };
    let request = debian::Request { suite, architecture, packages, installed };
    lock(&request, settings, context)
}

/// The exact packages of a request: those found before, unless newer ones are asked for.
fn lock(
    request: &debian::Request,
    settings: &Settings,
    context: &Context,
) -> Result<Lock, ContainerizeError> {
    context.report.stage(&format!("Resolving Debian packages of {}", request.suite));
    let archive = context.debian_archive()?;
    let freshness = if settings.refresh { Freshness::Current } else { Freshness::Known };
    let cache = context.debian_cache();
    Ok(debian::resolve(request, freshness, archive.as_ref(), &cache, context.watch())?)
}

/// The packages of a base assembled here, as a request for more of them takes them.
fn installed_by(lock: &Lock) -> Vec<Installed> {
    let installed = |package: &debian::LockedPackage| Installed {
        name: package.name.clone(),
        version: package.version.clone(),
        provides: Vec::new(),
    };
    lock.packages.iter().map(installed).collect()
}
