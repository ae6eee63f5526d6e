//! The Python packages of a bento: what the user asks for, and the exact versions found for it.

use super::error::BuildError;
use super::{Settings, Surroundings};
use crate::bentofile::{Bentofile, Places, Python, Reason};
use crate::ops::image_requirements::{for_our_images, names_original_tool};
use crate::process::without_credentials;
use crate::pydeps::{
    self, Architecture, IndexOptions, LockRequest, LockedEnv, PythonVersion, Requirements, Target, is_index,
    shown_index,
};
use crate::store::FORMAT_VERSION;

/// The Python of a bento that names none: that of Debian bookworm.
pub(super) const DEFAULT_PYTHON: PythonVersion = PythonVersion::new(3, 11);

/// The Python packages of a bento.
pub(super) struct PythonPackages {
    /// The wanted Python.
    pub(super) version: PythonVersion,
    /// `requirements.in`: options and requirements, the original tool's pin last.
    pub(super) wanted: String,
    /// `requirements.txt`: what the original tool installs.
    pub(super) pinned: String,
    /// The hashed lock for images of ours; none where locking is off.
    pub(super) locked: Option<LockedEnv>,
}

/// The Python and the platform that packages are locked for.
pub(super) fn target(bentofile: &Bentofile, settings: &Settings) -> Result<Target, BuildError> {
    let version = match &bentofile.docker.python_version {
        Some(version) => version.parse()?,
        None => DEFAULT_PYTHON,
    };
    target_of(version, settings.platform.as_deref())
}

pub(super) fn lock(
    bentofile: &Bentofile,
    settings: &Settings,
    target: Target,
    surroundings: &Surroundings<'_>,
) -> Result<PythonPackages, BuildError> {
    let version = target.python;
    let requirements = requirements(bentofile, settings)?;
    let has_default_index = requirements.index.index_url.is_none();
    let wanted = wanted(&requirements, has_default_index);
    if !bentofile.python.lock_packages {
        return Ok(PythonPackages { version, pinned: wanted.clone(), wanted, locked: None });
    }
    surroundings.report.stage("Locking PyPI package versions.");
    let index = requirements.index.clone();
    let own_pin = requirements.lines.iter().find(|line| names_original_tool(line)).cloned();
    let request = LockRequest {
        requirements: for_our_images(requirements),
        target,
        directory: settings.context.clone(),
        upgrade: false,
    };
    let locked = pydeps::lock(&request, &surroundings.python)?;
    let pinned = pinned(&locked, &index, own_pin, settings);
    Ok(PythonPackages { version, wanted, pinned, locked: Some(locked) })
}

/// What the build configuration asks for.
fn requirements(bentofile: &Bentofile, settings: &Settings) -> Result<Requirements, BuildError> {
    let Bentofile { python, places, .. } = bentofile;
    check_indexes(python, places)?;
    let mut requirements = Requirements {
        index: IndexOptions {
            index_url: python.index_url.clone(),
            extra_index_urls: python.extra_index_url.clone(),
            find_links: python.find_links.clone(),
            no_index: python.no_index,
            trusted_hosts: python.trusted_host.clone(),
        },
        ..Requirements::default()
    };
    if let Some(file) = &python.requirements_txt {
        requirements.add_file(&settings.context.join(file))?;
    } else {
        let place = |index| place_of_package(places, index);
        requirements.add_lines(&python.packages, &settings.context, &place)?;
    }
    Ok(requirements)
}

/// Where a package is written: under `python.packages`, and those that follow in `project.dependencies`.
fn place_of_package(places: &Places, index: usize) -> String {
    let own = |index| format!("python.packages[{index}]");
    let key = if places.has(&own(index)) {
        own(index)
    } else {
        let before = (0..index).filter(|&index| places.has(&own(index))).count();
        format!("project.dependencies[{}]", index - before)
    };
    format!("{}: `{key}`", places.of(&key))
}

/// An index without a scheme would be asked for as a directory, after everything else was done.
fn check_indexes(python: &Python, places: &Places) -> Result<(), BuildError> {
    let main = python.index_url.iter().map(|url| ("python.index_url".to_owned(), url));
    let extra = python.extra_index_url.iter().enumerate().map(|(index, url)| {
        let key = format!("python.extra_index_url[{index}]");
        (if places.has(&key) { key } else { "python.extra_index_url".to_owned() }, url)
    });
    for (key, url) in main.chain(extra) {
        if !is_index(url) {
            return Err(places.bad_value(&key, &shown_index(url), Reason::NotAnIndex).into());
        }
    }
    Ok(())
}

/// `requirements.in` in the order of the original: options, requirements, the tool itself.
fn wanted(requirements: &Requirements, has_default_index: bool) -> String {
    let index = &requirements.index;
    let mut lines = index.lines();
    if has_default_index {
        lines.retain(|line| !line.starts_with("--index-url"));
    }
    lines.extend(index.trusted_hosts.iter().map(|host| format!("--trusted-host {host}")));
    lines.extend(requirements.lines.iter().cloned());
    if !requirements.lines.iter().any(|line| names_original_tool(line)) {
        lines.push(format!("bentoml=={FORMAT_VERSION}"));
    }
    without_credentials(&lines.join("\n")) + "\n"
}

/// `requirements.txt`: the lock as text, with the original tool among the packages.
fn pinned(locked: &LockedEnv, index: &IndexOptions, own_pin: Option<String>, settings: &Settings) -> String {
    let text = locked.to_requirements(index, &settings.context);
    let is_option = |line: &&str| line.starts_with("--") || line.is_empty();
    let options = text.lines().take_while(is_option).map(str::to_owned);
    let mut packages: Vec<String> = text.lines().skip_while(is_option).map(str::to_owned).collect();
    packages.push(own_pin.unwrap_or_else(|| format!("bentoml=={FORMAT_VERSION}")));
    packages.sort();
    let hosts = index.trusted_hosts.iter().map(|host| format!("--trusted-host {host}"));
    let lines: Vec<String> = hosts.chain(options).chain(packages).collect();
    without_credentials(&lines.join("\n")) + "\n"
}

/// The platform that wheels are chosen for: an image platform, or one of uv's names for Linux.
fn target_of(version: PythonVersion, platform: Option<&str>) -> Result<Target, BuildError> {
    let Some(platform) = platform else {
        return Ok(Target::new(version, Architecture::host().unwrap_or(Architecture::Amd64)));
    };
    let unknown = || BuildError::Platform { platform: platform.to_owned() };
    if let Ok(architecture) = platform.parse() {
        return Ok(Target::new(version, architecture));
    }
    let of_machine = |machine: &str| match machine {
        "x86_64" => Some(Architecture::Amd64),
        "aarch64" => Some(Architecture::Arm64),
        _ => None,
    };
    match platform {
        "linux" | "x86_64-unknown-linux-gnu" => return Ok(Target::new(version, Architecture::Amd64)),
        "aarch64-unknown-linux-gnu" => return Ok(Target::new(version, Architecture::Arm64)),
        _ => {}
    }
    let (machine, level) = platform.split_once("-manylinux_2_").ok_or_else(unknown)?;
    let architecture = of_machine(machine).ok_or_else(unknown)?;
    Ok(Target::new(version, architecture).with_glibc(level.parse().map_err(|_| unknown())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_tool_is_pinned_unless_the_user_does() {
        let lines = |lines: &[&str]| Requirements {
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
            ..Requirements::default()
        };
        assert_eq!(wanted(&lines(&["numpy"]), true), "numpy\nbentoml==1.4.39\n");
        assert_eq!(wanted(&lines(&["bentoml[io]>=1.4", "numpy"]), true), "bentoml[io]>=1.4\nnumpy\n");
    }

    #[test]
    fn platforms_of_images_and_of_uv_are_known() {
        let name = |platform| target_of(DEFAULT_PYTHON, Some(platform)).map(|target| target.uv_platform());
        assert_eq!(name("linux/arm64").unwrap(), "aarch64-manylinux_2_28");
        assert_eq!(name("x86_64-manylinux_2_36").unwrap(), "x86_64-manylinux_2_36");
        assert!(matches!(name("windows"), Err(BuildError::Platform { platform }) if platform == "windows"));
    }
}
