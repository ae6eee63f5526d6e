//! What a server is told when it starts; what belongs to the service itself is in `config`.

use std::net::IpAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Number, Value};

use super::readahead::{self, DeclaredModel};
use super::reload::Watch;
use super::target::Target;
use super::worker::message::Level;
use crate::env::Environment;

/// How long an idle connection is kept by default.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Who the server runs for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Users: workers have no terminal.
    #[default]
    Production,
    /// A developer: one worker, which keeps the terminal for a debugger.
    Development,
}

/// What happens when a worker fails at its first start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstFailure {
    /// It is started again a few times.
    #[default]
    Retry,
    /// The server ends: whoever runs the container starts it again.
    Exit,
}

/// The settings of one server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is served.
    pub target: Target,
    /// The Python interpreter of the workers.
    pub python: PathBuf,
    /// A directory with the SDK, put first on the workers' `PYTHONPATH`; in images the environment has it.
    pub sdk_path: Option<PathBuf>,
    /// The address to listen on, over the configured one.
    pub host: Option<IpAddr>,
    /// The port to listen on, over the configured one; 0 lets the system choose.
    pub port: Option<u16>,
    /// Seconds until a request is answered with 504, over the configured ones.
    pub timeout: Option<Number>,
    /// How many workers a service of functions has, over the configured number.
    pub api_workers: Option<NonZero<u32>>,
    /// How long a shutdown waits for requests; without it as long as they take.
    pub graceful_shutdown: Option<Duration>,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// Connections the kernel keeps for us, over the configured number.
    pub backlog: Option<u32>,
    /// Who the server runs for.
    pub mode: Mode,
    /// What happens when a worker fails at its first start.
    pub first_failure: FirstFailure,
    /// The lowest level of the log.
    pub log_level: Level,
    /// The models that are read ahead while the workers start.
    pub read_ahead: Vec<DeclaredModel>,
    /// What the service reads as its arguments.
    pub arguments: Map<String, Value>,
    /// A file, or pipe, that gets the server's address once the service is described. In production the server then ends
    /// with its standard input.
    pub announce: Option<PathBuf>,
    /// What was given on the command line and has no effect.
    pub notes: Vec<&'static str>,
    /// Configuration from the command line, over all other.
    pub flags: Map<String, Value>,
    /// The files whose change loads the service again.
    pub reload: Option<Watch>,
    /// The environment: configuration is read from it, and workers inherit it.
    pub environment: Environment,
}

impl Settings {
    /// Makes the settings of a production server of `target`, everything else at its default.
    pub fn new(target: Target, environment: Environment) -> Self {
        let read_ahead = if readahead::is_wanted(&environment) { target.models() } else { Vec::new() };
        Self {
            target,
            read_ahead,
            python: PathBuf::from("python3"),
            sdk_path: None,
            host: None,
            port: None,
            timeout: None,
            api_workers: None,
            graceful_shutdown: None,
            keep_alive: KEEP_ALIVE,
            backlog: None,
            mode: Mode::default(),
            first_failure: FirstFailure::default(),
            log_level: Level::Info,
            arguments: Map::new(),
            announce: None,
            notes: Vec::new(),
            flags: Map::new(),
            reload: None,
            environment,
        }
    }
}
