//! The Debian packages of the image's base, locked while the bento is built.

use super::error::BuildError;
use super::{Surroundings, image};
use crate::bentofile::Docker;
use crate::debian::{self, Architecture, Freshness, Lock, Request, Watch};
use crate::ops::base_choice;
use crate::ops::image_lock::ImageLock;
use crate::plan;
use crate::pydeps::{self, Target};
use crate::transport::TransportName;

/// Locks what can be known of the base now: its packages where it is assembled from Debian's, and those that the user
/// adds to it. With it a warning where they should be known, and are not: an archive that cannot be used must not keep
/// anybody from building a bento.
pub(super) fn lock(
    docker: &Docker,
    target: Target,
    surroundings: &Surroundings<'_>,
) -> Result<(ImageLock, Option<String>), BuildError> {
    let architecture = match target.architecture {
        pydeps::Architecture::Amd64 => Architecture::Amd64,
        pydeps::Architecture::Arm64 => Architecture::Arm64,
    };
    let lock = ImageLock::new(architecture);
    let Some((base, packages)) = wanted(docker, target, architecture) else { return Ok((lock, None)) };
    match resolve(&base, packages, surroundings) {
        Ok((packages, on_top)) => {
            let lock = lock.with_base(&base, packages);
            let lock = on_top
                .into_iter()
                .fold(lock, |lock, (request, more)| lock.with_system_packages(&request, more));
            Ok((lock, None))
        }
        Err(debian::Error::Interrupted(interrupted)) => Err(interrupted.into()),
        Err(error @ debian::Error::File { .. }) => Err(BuildError::Base(Box::new(error))),
        Err(error) => Ok((lock, Some(warning(&base, &error)))),
    }
}

/// The packages of the base, and the names of those to add; nothing where another base is wanted, or what
/// `containerize` refuses.
fn wanted(docker: &Docker, target: Target, architecture: Architecture) -> Option<(Request, Vec<String>)> {
    let python = target.python.to_string();
    let described = image::describe(docker, &python, "", None);
    if docker.setup_script.is_some() {
        return None;
    }
    let packages = plan::system_packages(&described.commands).ok()?;
    match base_choice::choose(&described) {
        Ok(TransportName::Debian { suite }) if debian::python_of_suite(&suite) == Some(python.as_str()) => {
            Some((Request::python_base(&suite, architecture), packages))
        }
        _ => None,
    }
}

/// The packages of the base, and those on top of it where any are wanted.
fn resolve(
    base: &Request,
    packages: Vec<String>,
    surroundings: &Surroundings<'_>,
) -> Result<(Lock, Option<(Request, Lock)>), debian::Error> {
    surroundings.report.stage(&format!("Resolving Debian packages of {}", base.suite));
    let watch = Watch { report: surroundings.report, interrupt: surroundings.interrupt };
    let (archive, cache) = (surroundings.debian_archive.as_ref(), &surroundings.debian_cache);
    let resolve = |request: &Request| debian::resolve(request, Freshness::Known, archive, cache, watch);
    let lock = resolve(base)?;
    if packages.is_empty() {
        return Ok((lock, None));
    }
    let request = Request::on_top(&lock, packages);
    let on_top = resolve(&request)?;
    Ok((lock, Some((request, on_top))))
}

fn warning(base: &Request, error: &debian::Error) -> String {
    format!(
        "the base `debian:{}` is not locked: {error}; `containerize` will take the packages that it finds then, so the \
         image may differ from one made elsewhere or later: build again when that is mended",
        base.suite
    )
}
