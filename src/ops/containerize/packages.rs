//! The Python packages of a bento: from its own lock, or locked now, and installed.

use std::path::Path;

use super::super::image_requirements::for_our_images;
use super::error::ContainerizeError;
use super::{Context, Job, older};
use crate::fs;
use crate::oci::platform::Platform;
use crate::pydeps::{
    self, Compiler, Host, IndexOptions, InstallRequest, Installation, Interpreter, LockRequest, LockedEnv,
    PythonVersion, Requirements, Target,
};
use crate::store::Bento;

/// The lock that ekiben writes into bentos.
const OWN_LOCK: &str = "env/python/pylock.toml";
/// What the original tool locked, with itself in it.
const REQUIREMENTS: &str = "env/python/requirements.in";
/// The result of that; in the older form what was asked for.
const PINNED: &str = "env/python/requirements.txt";
/// The result in the older form.
const OLDER_PINNED: &str = "env/python/requirements.lock.txt";

/// The installed packages, and what they were installed for.
pub(super) struct Packages {
    pub(super) target: Target,
    pub(super) installation: Installation,
    host: Host,
    interpreter: Option<Interpreter>,
}

impl Packages {
    /// Exact version of the Python that made the bytecode, or `none`.
    pub(super) fn compiler_version(&self) -> &str {
        self.interpreter.as_ref().map_or("none", Interpreter::version)
    }

    /// Makes the bytecode of modules below `root`, which is laid out as the virtual environment.
    pub(super) fn compile(&self, root: &Path) -> Result<(), ContainerizeError> {
        if let Some(interpreter) = &self.interpreter {
            pydeps::compile_packages(root, self.target.python, interpreter, &self.host)?;
        }
        Ok(())
    }
}

/// The exact packages of an image.
pub(super) struct Locked {
    target: Target,
    environment: LockedEnv,
    index: IndexOptions,
    host: Host,
}

/// Finds the exact packages.
pub(super) fn lock(job: &Job<'_>, context: &Context) -> Result<Locked, ContainerizeError> {
    let bento = job.bento;
    let host = context.python_host();
    let target = target(&job.described.python_version, &job.platform)?;
    let requirements = requirements(bento)?;
    let index = requirements.index.clone();
    let environment = if let Some(environment) = own_lock(bento, target)? {
        environment
    } else {
        context.report.stage("Locking PyPI package versions.");
        let directory = bento.path.join("src");
        pydeps::lock(&LockRequest { requirements, target, directory, upgrade: false }, &host)?
    };
    Ok(Locked { target, environment, index, host })
}

/// Installs the packages; `compiler` is the image's own Python, where it can be run.
pub(super) fn install(
    locked: Locked,
    compiler: Option<&Interpreter>,
    context: &Context,
) -> Result<Packages, ContainerizeError> {
    let Locked { target, environment, index, host } = locked;
    context.report.stage(&format!("Installing {} Python packages", environment.packages.len()));
    let compiler = match compiler {
        Some(own) => Some(own.clone()),
        None => Interpreter::find(target.python, &host)?,
    };
    let request = InstallRequest {
        index,
        compiler: compiler.clone().map_or(Compiler::Find, Compiler::Use),
        ..InstallRequest::new(target)
    };
    let installation = pydeps::install(&environment, &request, &host)?;
    for warning in &installation.warnings {
        context.report.warn(&warning.to_string());
    }
    Ok(Packages { target, installation, host, interpreter: compiler })
}

fn target(python: &str, platform: &Platform) -> Result<Target, ContainerizeError> {
    let python: PythonVersion = python.parse()?;
    Ok(Target::new(python, platform.try_into()?))
}

/// The lock that the bento was built with, if it was made for this target.
fn own_lock(bento: &Bento, target: Target) -> Result<Option<LockedEnv>, ContainerizeError> {
    let Some(text) = fs::read_if_present(&bento.path.join(OWN_LOCK))? else { return Ok(None) };
    let locked = LockedEnv::from_pylock(&String::from_utf8_lossy(&text), &bento.path.join("env/python"))?;
    Ok(Some(locked).filter(|locked| locked.fits(&target)))
}

/// What a bento requires of an image of ours, at the versions that the original tool locked.
fn requirements(bento: &Bento) -> Result<Requirements, ContainerizeError> {
    let lines = |name: &str| -> Result<Vec<String>, ContainerizeError> {
        let text = fs::read_if_present(&bento.path.join(name))?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
    };
    let pinned = lines(PINNED)?;
    let (mut name, mut wanted) = (REQUIREMENTS, lines(REQUIREMENTS)?);
    if wanted.is_empty() {
        (name, wanted) = (PINNED, pinned.clone());
    }
    let mut requirements = Requirements::default();
    let place = |index| format!("{}:{}", bento.path.join(name).display(), index + 1);
    requirements.add_lines(&wanted, &bento.path.join("src"), &place)?;
    let options = older::index_lines(bento);
    let place = |_| format!("{}: python", bento.path.join("bento.yaml").display());
    requirements.add_lines(&options, &bento.path, &place)?;
    requirements.constraints = [pinned, lines(OLDER_PINNED)?].concat();
    requirements.constraints.retain(|line| line.contains("=="));
    Ok(for_our_images(requirements))
}
