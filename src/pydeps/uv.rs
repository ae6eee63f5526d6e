//! Obtains uv, and tells its failures apart.

use std::path::{Path, PathBuf};

use super::Host;
use super::cache::{Cache, file_stamp, key};
use super::error::Error;
use super::target::Target;
use crate::process::{self, Command};

/// Oldest uv that is used: the tests pass with 0.12.0; 0.8.0 does not narrow a `pylock.toml` to one platform.
pub const MINIMUM_UV: &str = "0.12.0";

/// The uv that is installed where there is none.
pub const PINNED_UV: &str = "0.13.9";

/// Wheels of [`PINNED_UV`] as published, hashed after `pip download uv==0.13.9` per platform on 2026-11-22.
const PINNED_HASHES: [&str; 2] = [
    // uv-0.13.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl
    "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    // uv-0.13.9-py3-none-manylinux_2_28_aarch64.whl
    "ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375",
];

/// A usable uv.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uv {
    program: PathBuf,
    arguments: Vec<&'static str>,
    version: String,
}

impl Uv {
    /// Finds uv on the search path, as a module of `python3`, or installs the pinned one into the cache.
    ///
    /// # Errors
    /// There is no `python3`, or its pip cannot install uv.
    pub fn obtain(host: &Host) -> Result<Self, Error> {
        let cache = Cache::new(&host.cache_dir);
        if let Some(program) = process::find_program("uv", host.search_path())
            && let Some(uv) = Self::probed(program, vec![], host, &cache)?
        {
            return Ok(uv);
        }
        let installed = cache.entry("uv", PINNED_UV).join("bin/uv");
        if installed.is_file()
            && let Some(uv) = Self::probed(installed.clone(), vec![], host, &cache)?
        {
            return Ok(uv);
        }
        let python = process::find_program("python3", host.search_path()).ok_or(Error::NoPython)?;
        if let Some(uv) = Self::probed(python.clone(), vec!["-m", "uv"], host, &cache)? {
            return Ok(uv);
        }
        install_pinned(&python, host, &cache)?;
        Self::probed(installed, vec![], host, &cache)?.ok_or(Error::NoPython)
    }

    /// The program; `python3` where uv is a module of it.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its version, such as `0.13.9`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A command with the settings every call shares.
    pub(super) fn command(&self, host: &Host) -> Command {
        Command::new(&self.program)
            .args(self.arguments.iter().copied())
            .environment(&host.environment)
            .env("UV_NO_PROGRESS", "1")
            .env("NO_COLOR", "1")
            // The source of those is no package registry; a missing Python is reported instead.
            .env("UV_PYTHON_DOWNLOADS", "never")
            .env_remove("UV_COMPILE_BYTECODE")
            .env_remove("UV_TARGET")
            .env_remove("UV_PREFIX")
    }

    /// Asks for its version, once per program file; `None` when too old or unusable.
    fn probed(
        program: PathBuf,
        arguments: Vec<&'static str>,
        host: &Host,
        cache: &Cache,
    ) -> Result<Option<Self>, Error> {
        let mut uv = Self { program, arguments, version: String::new() };
        let entry = key([file_stamp(&uv.program).unwrap_or_default(), uv.arguments.join(" ")]);
        // A module can be installed at any time without changing the interpreter's file.
        let known = if uv.arguments.is_empty() { cache.read("tools", &entry) } else { None };
        let answer = if let Some(known) = known {
            known
        } else {
            let answer = match uv.command(host).arg("--version").run(&host.interrupt) {
                Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
                Err(process::Error::Interrupted { .. }) => return Err(Error::Interrupted),
                Err(_) => return Ok(None),
            };
            cache.write("tools", &entry, &answer)?;
            answer
        };
        let Some(version) = answer.strip_prefix("uv ").and_then(|rest| rest.split(' ').next()) else {
            return Ok(None);
        };
        version.clone_into(&mut uv.version);
        Ok((numbers(version) >= numbers(MINIMUM_UV)).then_some(uv))
    }
}

/// Installs the pinned uv with pip, hash checked, and moves it into place as a whole.
fn install_pinned(python: &Path, host: &Host, cache: &Cache) -> Result<(), Error> {
    let staging = cache.stage()?;
    let directory = staging.path().join("uv");
    let hashes = PINNED_HASHES.map(|hash| format!(" --hash=sha256:{hash}")).concat();
    let requirements = staging.path().join("requirements.txt");
    let line = format!("uv=={PINNED_UV}{hashes}\n");
    std::fs::write(&requirements, line).map_err(Error::file("write", &requirements))?;
    let installed = Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"])
        .args(["--disable-pip-version-check", "--require-hashes", "--no-compile", "--target"])
        .arg(&directory)
        .arg("--requirement")
        .arg(&requirements)
        .environment(&host.environment)
        .run(&host.interrupt);
    match installed {
        Ok(_) => {}
        Err(process::Error::Interrupted { .. }) => return Err(Error::Interrupted),
        Err(source) => {
            let python = python.display().to_string();
            return Err(Error::NoUv { minimum: MINIMUM_UV, pinned: PINNED_UV, python, source });
        }
    }
    let place = cache.directory("uv")?.join(PINNED_UV);
    match std::fs::rename(&directory, &place) {
        // Another process was faster.
        Err(_) if place.join("bin/uv").is_file() => Ok(()),
        result => result.map_err(Error::file("move uv to", &place)),
    }
}

/// Numeric parts of a version, to be compared; what follows them is ignored.
fn numbers(version: &str) -> Vec<u32> {
    let number = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    version.split('.').map_while(number).collect()
}

/// Gives a failure of uv its kind, by the words it uses (stable since 0.5; anything unknown stays `Uv`).
pub(super) fn explain(source: process::Error, action: &'static str, target: Target) -> Error {
    let process::Error::Failed { stderr, .. } = &source else {
        return match source {
            process::Error::Interrupted { .. } => Error::Interrupted,
            source => Error::Uv { action, source },
        };
    };
    // Long lines are wrapped in terminals only, but be safe.
    let text = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["No interpreter found", "No Python interpreter", "No virtual environment found"]) {
        Error::NoPython
    } else if says(&["Hash mismatch"]) {
        Error::HashMismatch { source }
    } else if says(&["401", "403", "Unauthorized", "Forbidden", "credentials"])
        && says(&[
            "401 Unauthorized",
            "403 Forbidden",
            "(401",
            "(403",
            "lack of valid authentication",
            "Unauthorized",
        ])
    {
        Error::Authentication { source }
    } else if says(&[
        "error sending request",
        "Failed to fetch",
        "Could not connect",
        "timed out",
        "dns error",
    ]) {
        Error::Unreachable { source }
    } else if says(&[
        "no usable wheels",
        "Wheels are required",
        "building from source is disabled",
        "no wheels with a matching",
        "no source distribution available",
        "is disabled for",
    ]) {
        Error::NoWheel { target: target.to_string(), source }
    } else if says(&["No solution found", "unsatisfiable", "was not found in the"]) {
        Error::Resolve { source }
    } else {
        Error::Uv { action, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("0.13.9") > numbers("0.9.22"));
        assert!(numbers("0.12.0rc1") >= numbers(MINIMUM_UV));
        assert!(numbers("0.11.33") < numbers(MINIMUM_UV));
        assert!(numbers("garbage") < numbers(MINIMUM_UV));
    }
}
