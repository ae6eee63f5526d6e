//! The Python packages of a bento: from its own lock, or locked now, and installed.

use std::path::Path;

use super::Context;
use super::error::ContainerizeError;
use crate::fs;
use crate::oci::platform::Platform;
use crate::pydeps::{
    self, Host, InstallRequest, Installation, Interpreter, LockRequest, LockedEnv, PythonVersion,
    Requirements, Target,
};
use crate::store::Bento;

/// What the SDK in every image needs.
pub(crate) const SDK_REQUIREMENTS: [&str; 4] = ["pydantic>=2", "numpy", "PyYAML", "cloudpickle"];
/// The lock that ekiben writes into bentos.
const OWN_LOCK: &str = "env/python/pylock.toml";
/// What the original tool locked, with itself in it.
const REQUIREMENTS: &str = "env/python/requirements.in";
/// The result of that.
const PINNED: &str = "env/python/requirements.txt";

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

pub(super) fn install(
    bento: &Bento,
    platform: &Platform,
    context: &Context,
) -> Result<Packages, ContainerizeError> {
    let host = context.python_host();
    let python = bento.info.image.as_ref().map(|image| image.python_version.as_str()).unwrap_or_default();
    let target = target(python, platform)?;
    let lock = lock(bento, &target, &host, context)?;
    context.report.stage(&format!("Installing {} Python packages", lock.packages.len()));
    let installation = pydeps::install(&lock, &InstallRequest::new(target), &host)?;
    for warning in &installation.warnings {
        context.report.warn(&warning.to_string());
    }
    let interpreter = Interpreter::find(target.python, &host)?;
    Ok(Packages { target, installation, host, interpreter })
}

fn target(python: &str, platform: &Platform) -> Result<Target, ContainerizeError> {
    let python: PythonVersion = python.parse()?;
    Ok(Target::new(python, platform.try_into()?))
}

/// The bento's own lock where it was made for this target; else one made now, at the versions that it was built with.
fn lock(
    bento: &Bento,
    target: &Target,
    host: &Host,
    context: &Context,
) -> Result<LockedEnv, ContainerizeError> {
    let directory = bento.path.join("env/python");
    if let Some(text) = fs::read_if_present(&bento.path.join(OWN_LOCK))? {
        let locked = LockedEnv::from_pylock(&String::from_utf8_lossy(&text), &directory)?;
        if locked.fits(target) {
            return Ok(locked);
        }
    }
    context.report.stage("Locking PyPI package versions.");
    let request = LockRequest {
        requirements: requirements(&bento.path)?,
        target: *target,
        directory: bento.path.join("src"),
        upgrade: false,
    };
    Ok(pydeps::lock(&request, host)?)
}

/// What a bento requires, without the original tool itself: the SDK takes its place.
fn requirements(bento: &Path) -> Result<Requirements, ContainerizeError> {
    let lines = |name: &str| -> Result<Vec<String>, ContainerizeError> {
        let text = fs::read_if_present(&bento.join(name))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(text.lines().map(str::to_owned).filter(|line| !names_original_tool(line)).collect())
    };
    let mut wanted = lines(REQUIREMENTS)?;
    if wanted.is_empty() {
        wanted = lines(PINNED)?;
    }
    wanted.extend(SDK_REQUIREMENTS.map(str::to_owned));
    let mut requirements = Requirements::default();
    requirements.add_lines(&wanted, &bento.join("src"))?;
    requirements.constraints = lines(PINNED)?;
    requirements.constraints.retain(|line| line.contains("=="));
    Ok(requirements)
}

/// Whether a requirement line is the original tool's own pin.
fn names_original_tool(line: &str) -> bool {
    let rest = line.trim().strip_prefix("bentoml");
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(['=', '<', '>', '~', '!', '[', ' ', '@', ';'])
    })
}

#[cfg(test)]
mod tests {
    use super::names_original_tool;

    #[test]
    fn only_the_tool_itself_is_left_out() {
        for line in ["bentoml==1.4.39", "bentoml", " bentoml[io]>=1", "bentoml @ file:///x"] {
            assert!(names_original_tool(line), "{line}");
        }
        for line in ["bentoml-extras==1", "numpy", "# bentoml", ""] {
            assert!(!names_original_tool(line), "{line}");
        }
    }
}
