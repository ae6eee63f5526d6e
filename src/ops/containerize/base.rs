//! The base image: chosen, read or assembled, and looked into.

use super::error::ContainerizeError;
use super::unpacked::{self, Unpacked};
use super::{Context, Job};
use crate::debian::{self, Freshness, Lock, Request};
use crate::oci::config::env_value;
use crate::oci::image::Image;
use crate::ops::base_choice;
use crate::ops::image_lock::{IMAGE_LOCK, ImageLock};
use crate::plan;
use crate::pydeps::Interpreter;
use crate::resolve::base::BaseFacts;
use crate::transport::{TransportName, Transports};

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
    job: &Job<'_>,
    transports: &Transports,
    context: &Context,
) -> Result<Base, ContainerizeError> {
    let described = &job.described;
    if let Some(command) = described.post_commands.first() {
        return Err(plan::CommandError { command: command.clone() }.into());
    }
    let wanted = plan::system_packages(&described.commands)?;
    let name = job.settings.base.clone().map_or_else(|| base_choice::choose(described), Ok)?;
    let mut base = match &name {
        TransportName::Debian { suite } => assemble(suite, &described.python_version, job, context)?,
        _ => read(&name, &described.python_version, job, transports, context)?,
    };
    if !wanted.is_empty() {
        base.system_packages = Some((wanted.join(" "), lock_system_packages(&base, wanted, job, context)?));
    }
    Ok(base)
}

fn assemble(suite: &str, python: &str, job: &Job<'_>, context: &Context) -> Result<Base, ContainerizeError> {
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
    let request = Request::python_base(suite, debian::Architecture::of(&job.platform)?);
    warn_of_other_base(&request, job, context);
    let lock = lock(&request, job, context)?;
    let (interpreter, unpacked) = unpacked::interpreter(&lock, python.parse()?, context)?;
    Ok(Base {
        unpacked,
        interpreter,
        title,
        image: Image::scratch(&job.platform),
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
    job: &Job<'_>,
    transports: &Transports,
    context: &Context,
) -> Result<Base, ContainerizeError> {
    let title = name.to_string();
    context.report.stage(&format!("Reading the base image {title}"));
    let image = transports.read(name, &job.platform)?;
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
    job: &Job<'_>,
    context: &Context,
) -> Result<Lock, ContainerizeError> {
    let architecture = debian::Architecture::of(&job.platform)?;
    let not_debian = || ContainerizeError::NotDebian { base: base.title.clone(), packages: packages.clone() };
    let request = match (&base.packages, &base.facts) {
        (Some(lock), _) => Request::on_top(lock, packages),
        (None, Some(facts)) => {
            let suite = facts.debian_suite().ok_or_else(not_debian)?;
            let status = facts.dpkg_status().ok_or_else(not_debian)?;
            Request { suite, architecture, packages, installed: debian::installed(&status) }
        }
        (None, None) => return Err(not_debian()),
    };
    lock(&request, job, context)
}

/// A bento whose base was locked by a version with other packages in its bases.
fn warn_of_other_base(request: &Request, job: &Job<'_>, context: &Context) {
    let is_other = |lock: &ImageLock| lock.has_base_for(request) && lock.find(request).is_none();
    if !job.settings.refresh && job.lock.as_ref().is_some_and(is_other) {
        context.report.warn(&format!(
            "`{IMAGE_LOCK}` of the bento locks other base packages than this version of ekiben wants, so they are \
             resolved now: build the bento again to lock these"
        ));
    }
}

/// The exact packages of a request: the bento's own, else those found before, unless newer ones are asked for.
fn lock(request: &Request, job: &Job<'_>, context: &Context) -> Result<Lock, ContainerizeError> {
    let own = job.lock.as_ref().filter(|_| !job.settings.refresh);
    if let Some(lock) = own.and_then(|own| own.find(request)) {
        return Ok(lock.clone());
    }
    context.report.stage(&format!("Resolving Debian packages of {}", request.suite));
    let archive = context.debian_archive()?;
    let freshness = if job.settings.refresh { Freshness::Current } else { Freshness::Known };
    let cache = context.debian_cache();
    Ok(debian::resolve(request, freshness, archive.as_ref(), &cache, context.watch())?)
}
