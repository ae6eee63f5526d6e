//! Finds Pythons that can run on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Host;
use super::cache::{Cache, file_stamp, key};
use super::error::Error;
use super::target::{Architecture, PythonVersion};
use crate::process::{self, Command};

/// Prints the full version and, where it has one, the real path of the interpreter.
const ASK: &str = "import sys; print('.'.join(map(str, sys.version_info[:3])), sys.executable or '-')";

/// A Python that can be run, and its exact version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    version: String,
}

impl Interpreter {
    /// Finds one of a feature release on the search path.
    ///
    /// # Errors
    /// A stop was asked for, or the cache cannot be written.
    pub fn find(python: PythonVersion, host: &Host) -> Result<Option<Self>, Error> {
        let name = python.executable();
        let candidates = [Path::new("/usr/bin").join(&name), Path::new("/usr/local/bin").join(&name)];
        let on_path = process::find_program(&name, host.search_path());
        let general = process::find_program("python3", host.search_path());
        for program in candidates.into_iter().chain(on_path).chain(general) {
            if !program.is_file() {
                continue;
            }
            let bare = Self { program, arguments: vec![], environment: vec![], version: String::new() };
            if let Some(found) = bare.probed(python, host)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Uses the interpreter inside an unpacked base image, run with that image's own loader and libraries.
    ///
    /// Bytecode then comes from the image's own compiler, whatever is on this machine.
    ///
    /// # Errors
    /// The image is for another architecture, or holds no such interpreter that runs.
    pub fn in_tree(
        root: &Path,
        python: PythonVersion,
        architecture: Architecture,
        host: &Host,
    ) -> Result<Self, Error> {
        let program = root.join("usr/bin").join(python.executable());
        let machine = architecture.machine();
        let loader = match architecture {
            Architecture::Amd64 => root.join("usr/lib64/ld-linux-x86-64.so.2"),
            Architecture::Arm64 => root.join("usr/lib/ld-linux-aarch64.so.1"),
        };
        let refused =
            || Error::Interpreter { program: program.display().to_string(), wanted: python, source: None };
        // The usual entry is an absolute link within the image, which here would leave it.
        let library = root.join("usr/lib").join(format!("{machine}-linux-gnu"));
        let in_libraries = loader.file_name().map(|name| library.join(name));
        let loader = in_libraries.filter(|path| path.is_file()).unwrap_or(loader);
        if Architecture::host() != Some(architecture) || !loader.is_file() || !program.is_file() {
            return Err(refused());
        }
        let bare = Self {
            arguments: vec!["--library-path".into(), library.into(), program.clone().into()],
            program: loader,
            environment: vec![("PYTHONHOME".into(), root.join("usr").into())],
            version: String::new(),
        };
        bare.probed(python, host)?.ok_or_else(refused)
    }

    /// Its exact version, such as `3.11.7`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The file that is run: the interpreter itself, or the loader of the tree it is in.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The program, for messages.
    pub(super) fn shown(&self) -> String {
        self.arguments.last().map_or_else(
            || self.program.display().to_string(),
            |program| program.to_string_lossy().into_owned(),
        )
    }

    /// A command that runs it apart from the user's own site and variables.
    pub(super) fn command(&self, host: &Host) -> Command {
        let mut command = Command::new(&self.program)
            .args(self.arguments.clone())
            .environment(&host.environment)
            // Own site directories and settings would change what gets compiled, and how.
            .env_remove("PYTHONDONTWRITEBYTECODE")
            .env_remove("PYTHONOPTIMIZE")
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .env_remove("PYTHONSTARTUP");
        for (name, value) in &self.environment {
            command = command.env(name, value);
        }
        command.args(["-s", "-S", "-B", "-W", "ignore"])
    }

    /// Asks for its version, once per program file; `None` when it is another release or does not run.
    fn probed(mut self, python: PythonVersion, host: &Host) -> Result<Option<Self>, Error> {
        let cache = Cache::new(&host.cache_dir);
        let program = self.arguments.last().map_or(self.program.clone(), PathBuf::from);
        let stamp = file_stamp(&program).unwrap_or_default();
        let entry = key([stamp, python.to_string()]);
        let answer = if let Some(known) = cache.read("interpreters", &entry) {
            known
        } else {
            let asked = match self.command(host).args(["-c", ASK]).run(&host.interrupt) {
                Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
                Err(process::Error::Interrupted { .. }) => return Err(Error::Interrupted),
                Err(_) => return Ok(None),
            };
            cache.write("interpreters", &entry, &asked)?;
            asked
        };
        let Some((version, executable)) = answer.split_once(' ') else { return Ok(None) };
        if !version.starts_with(&format!("{python}.")) {
            return Ok(None);
        }
        version.clone_into(&mut self.version);
        if self.arguments.is_empty() && Path::new(executable).is_file() {
            // A version manager's shim costs a shell each time, and follows the current directory.
            self.program = PathBuf::from(executable);
        }
        Ok(Some(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Interrupt;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    fn host(directory: &Path, path: &Path) -> Host {
        Host {
            cache_dir: directory.to_owned(),
            environment: BTreeMap::from([("PATH".into(), path.into())]),
            interrupt: Interrupt::default(),
        }
    }

    #[test]
    fn a_program_that_is_no_python_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let fake = directory.path().join("python9.9");
        std::fs::write(&fake, "#!/bin/sh\necho 9.8.7 -\n").unwrap();
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
        let host = host(directory.path(), directory.path());
        assert_eq!(Interpreter::find(PythonVersion::new(9, 9), &host).unwrap(), None);
        let found = Interpreter::find(PythonVersion::new(9, 8), &host).unwrap();
        assert_eq!(found, None, "its name says otherwise");
    }

    #[test]
    fn a_tree_without_python_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), directory.path());
        let python = PythonVersion::new(3, 11);
        for architecture in [Architecture::Amd64, Architecture::Arm64] {
            let error = Interpreter::in_tree(directory.path(), python, architecture, &host).unwrap_err();
            assert!(error.to_string().ends_with("is not Python 3.11"), "{error}");
        }
    }
}
