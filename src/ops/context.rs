//! What every operation needs from the machine and the user.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use thiserror::Error;
use tokio::runtime::Runtime;

use crate::build_time::{BuildTime, BuildTimeError, item_time};
use crate::debian::{AptGet, Archive, Mirror, MirrorSettings, Watch};
use crate::engine::EngineSettings;
use crate::env::Environment;
use crate::http::{ClientSettings, HttpError};
use crate::pack::Cache;
use crate::pydeps::Host;
use crate::redact::Secret;
use crate::registry::{self, Client, KeychainSettings};
use crate::remote::Remotes;
use crate::report::{Activity, Interrupt, Report};
use crate::transport::{Transports, Verified};
use crate::{build_time, debian, http};

/// The surroundings of an operation, made once by the command line.
pub struct Context {
    /// The environment variables.
    pub environment: Environment,
    /// Directory of the model and bento stores.
    pub home: PathBuf,
    /// What earlier operations left for later ones.
    pub cache: Cache,
    /// The time that everything written bears.
    pub time: BuildTime,
    /// Where the running program and its companion `ekiben-serve` are.
    pub program_directory: PathBuf,
    /// Who is told what is going on.
    pub report: Arc<dyn Report>,
    /// The user's wish to stop.
    pub interrupt: Interrupt,
    /// Runs what is asynchronous: registries and engines. Operations themselves block.
    pub runtime: Runtime,
}

/// The surroundings are unusable.
#[derive(Debug, Error)]
pub enum ContextError {
    /// `SOURCE_DATE_EPOCH` is no time.
    #[error(transparent)]
    Time(#[from] BuildTimeError),
    /// Neither a home directory nor the variable that replaces it is known.
    #[error("there is no directory for {purpose}: neither `{variable}` nor `HOME` is set")]
    NoHome {
        /// What the directory is for.
        purpose: &'static str,
        /// The variable that would name it.
        variable: &'static str,
    },
    /// The system refused threads.
    #[error("cannot start the threads that talk to registries and engines")]
    Runtime(#[source] std::io::Error),
    /// The system does not say where the program is.
    #[error("cannot tell where `ekiben` itself is")]
    Program(#[source] std::io::Error),
}

impl Context {
    /// Takes everything from the environment.
    pub fn new(
        environment: Environment,
        report: Arc<dyn Report>,
        interrupt: Interrupt,
    ) -> Result<Self, ContextError> {
        let time = BuildTime::new(environment.text("SOURCE_DATE_EPOCH"))?;
        let program = std::env::current_exe().map_err(ContextError::Program)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Ok(Self {
            home: bentoml_home(&environment)?,
            cache: Cache::new(cache_directory(&environment)?),
            time,
            program_directory: program.parent().unwrap_or(Path::new("/")).to_owned(),
            report,
            interrupt,
            runtime: runtime.map_err(ContextError::Runtime)?,
            environment,
        })
    }

    /// The time that something new in a store bears.
    pub fn now(&self) -> Result<Timestamp, ContextError> {
        Ok(item_time(self.environment.text("SOURCE_DATE_EPOCH"))?)
    }

    /// Who is told what happens, and who may stop it.
    pub fn activity(&self) -> Activity {
        Activity { report: Arc::clone(&self.report), interrupt: self.interrupt.clone() }
    }

    /// The same, in the form that Debian packages take it.
    pub fn watch(&self) -> Watch<'_> {
        Watch { report: self.report.as_ref(), interrupt: &self.interrupt }
    }

    /// What the Python tools need from the machine.
    pub fn python_host(&self) -> Host {
        Host {
            cache_dir: self.cache.root().join("python"),
            environment: self.variables(),
            interrupt: self.interrupt.clone(),
        }
    }

    /// Who has Debian packages: the host's `apt-get`, which knows the user's mirrors and keys; where there is none,
    /// Debian's own mirrors.
    pub fn debian_archive(&self) -> Result<Box<dyn Archive>, HttpError> {
        if let Some(apt) = AptGet::find(self.variables(), self.cache.root().join("apt")) {
            return Ok(Box::new(apt));
        }
        Ok(Box::new(Mirror {
            client: self.http()?,
            runtime: self.runtime.handle().clone(),
            settings: MirrorSettings::debian(build_time::seconds_now()),
        }))
    }

    /// The client of everything that is spoken to over HTTP.
    pub(super) fn http(&self) -> Result<http::Client, HttpError> {
        http::Client::new(&self.http_settings())
    }

    /// How that client behaves.
    pub(super) fn http_settings(&self) -> ClientSettings {
        let extra_roots = self.environment.path("SSL_CERT_FILE").into_iter().collect();
        ClientSettings { extra_roots, ..ClientSettings::default() }
    }

    /// What is kept of Debian packages.
    pub fn debian_cache(&self) -> debian::Cache {
        debian::Cache::new(self.cache.root().join("debian"))
    }

    /// Places on other machines; `scratch` is where is kept what has to be known whole before it is sent.
    pub fn remotes(&self, scratch: PathBuf) -> Remotes {
        Remotes {
            environment: self.environment.clone(),
            runtime: self.runtime.handle().clone(),
            scratch,
            interrupt: self.interrupt.clone(),
        }
    }

    /// All transports of images.
    pub fn transports(&self) -> Result<Transports, HttpError> {
        let environment = &self.environment;
        let keychain = KeychainSettings {
            docker_auth_config: environment
                .text("DOCKER_AUTH_CONFIG")
                .map(|text| Secret::new(text.to_owned())),
            registry_auth_file: environment.path("REGISTRY_AUTH_FILE"),
            docker_config: environment.path("DOCKER_CONFIG"),
            runtime_directory: environment.path("XDG_RUNTIME_DIR"),
            home: environment.path("HOME"),
            search_path: environment.path("PATH").map(PathBuf::into_os_string),
        };
        let settings =
            registry::Settings { keychain, ..registry::Settings::new(self.cache.root().to_owned()) };
        Ok(Transports {
            runtime: self.runtime.handle().clone(),
            registries: Client::new(self.http()?, settings),
            engine: EngineSettings {
                host: environment.text("DOCKER_HOST").map(str::to_owned),
                runtime_directory: environment.path("XDG_RUNTIME_DIR"),
            },
            scratch: self.cache.root().join("tmp"),
            verified: Verified::new(self.cache.root().join("verified")),
            activity: self.activity(),
        })
    }

    fn variables(&self) -> BTreeMap<OsString, OsString> {
        self.environment.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// The directory of the stores: `BENTOML_HOME`, with `~` and variables expanded until nothing is left to expand.
pub(super) fn bentoml_home(environment: &Environment) -> Result<PathBuf, ContextError> {
    let no_home = || ContextError::NoHome { purpose: "the model store", variable: "BENTOML_HOME" };
    match environment.text("BENTOML_HOME") {
        Some(home) => {
            let path = PathBuf::from(environment.expand(home));
            Ok(std::path::absolute(&path).unwrap_or(path))
        }
        None => environment.path("HOME").map(|home| home.join("bentoml")).ok_or_else(no_home),
    }
}

/// The directory of what can be made again: `EKIBEN_CACHE_DIR`, else `ekiben` in the user's cache directory.
pub(super) fn cache_directory(environment: &Environment) -> Result<PathBuf, ContextError> {
    let no_home = || ContextError::NoHome { purpose: "the cache", variable: "EKIBEN_CACHE_DIR" };
    let named = environment.path("EKIBEN_CACHE_DIR");
    let standard = || environment.path("XDG_CACHE_HOME").map(|cache| cache.join("ekiben"));
    let home = || environment.path("HOME").map(|home| home.join(".cache/ekiben"));
    let path = named.or_else(standard).or_else(home).ok_or_else(no_home)?;
    Ok(std::path::absolute(&path).unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_variables_say() {
        let pairs = [("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("EKIBEN_CACHE_DIR", "/e")];
        let cache = |count: usize| cache_directory(&pairs[..count].iter().copied().collect()).unwrap();
        assert_eq!(cache(1), Path::new("/h/.cache/ekiben"));
        assert_eq!(cache(2), Path::new("/x/ekiben"));
        assert_eq!(cache(3), Path::new("/e"));
        assert!(cache_directory(&Environment::default()).is_err());
    }
}
