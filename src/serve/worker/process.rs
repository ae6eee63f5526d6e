//! Starts worker processes, each with its end of a socket pair.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::process::Child;

use super::memory::Memory;
use super::placement::Placement;
use super::sealed::Passage;
use crate::env::Environment;
use crate::serve::config::runner::BatchConfig;
use crate::serve::descriptors;
use crate::serve::settings::Mode;
use crate::serve::target::Target;

/// The descriptor number a worker finds its socket at.
const SOCKET: i32 = 3;

/// The descriptor number of its second socket.
const SHARED_SOCKET: i32 = 4;

/// A worker that could not be started.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// No socket pair.
    #[error("cannot make a socket pair for a worker")]
    Socket(#[source] std::io::Error),
    /// The interpreter could not be run.
    #[error("cannot run the Python interpreter `{}`", python.display())]
    Run {
        /// The interpreter.
        python: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl SpawnError {
    /// Whether the interpreter is nothing that can be run, now or later.
    pub fn is_no_program(&self) -> bool {
        use std::io::ErrorKind as K;
        let Self::Run { source, .. } = self else { return false };
        matches!(source.kind(), K::NotFound | K::NotADirectory | K::PermissionDenied)
    }
}

/// How workers are started.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The interpreter.
    pub python: PathBuf,
    /// What is served.
    pub target: Target,
    /// A directory with the SDK, put first on `PYTHONPATH`.
    pub sdk_path: Option<PathBuf>,
    /// The workers' environment.
    pub environment: Environment,
    /// Whether a person develops the service.
    pub mode: Mode,
    /// What the service reads as its arguments.
    pub arguments: Map<String, Value>,
    /// What the configuration says of runners, which the description depends on where they have strategies.
    pub runners: Map<String, Value>,
    /// What it says of monitoring, for all services and for each under its name.
    pub monitoring: Map<String, Value>,
    /// The unit that the workers run, by its id; `None` is the service that clients call.
    pub unit: Option<String>,
    /// What is configured for the batches of a runner.
    pub batching: Option<BatchConfig>,
    /// Whether the worker is to wait for its devices once it has described the service.
    pub awaits_place: bool,
    /// Variables of each worker: which devices it uses, and how many threads. Of the service that clients call they are
    /// known once its first worker has described it.
    pub placement: Arc<OnceLock<Placement>>,
}

/// The front's ends of a worker's sockets.
#[derive(Debug)]
pub struct Ends {
    /// The one with the frames.
    pub frames: UnixStream,
    /// The one with the bodies that are not in them.
    pub passage: Passage,
}

/// A worker process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Option<Pid>,
    /// The service's own program, which the worker has started.
    adopted: Option<Pid>,
}

impl WorkerCommand {
    /// Starts worker number `index`, from 1.
    pub fn spawn(&self, index: u32) -> Result<(Process, Ends), SpawnError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(SpawnError::Socket)?;
        ours.set_nonblocking(true).map_err(SpawnError::Socket)?;
        let frames = UnixStream::from_std(ours).map_err(SpawnError::Socket)?;
        let (passage, their_passage) = Passage::pair().map_err(SpawnError::Socket)?;
        let mut command = std::process::Command::new(&self.python);
        command.args(["-m", "ekiben.worker", "--fd", &SOCKET.to_string(), "--worker-id", &index.to_string()]);
        command.args(["--shared-fd", &SHARED_SOCKET.to_string()]);
        command.args(self.target.worker_arguments());
        if let Some(unit) = &self.unit {
            command.args(["--unit", unit]);
        }
        if let Some(Ok(batching)) = self.batching.map(|batching| serde_json::to_string(&batching)) {
            command.args(["--batching", &batching]);
        }
        if self.awaits_place(index) {
            command.arg("--await-place");
        }
        if self.mode == Mode::Development {
            command.arg("--in-process");
        }
        command.env_clear().envs(self.environment.iter()).envs(self.variables());
        // Not among the arguments, which everybody may read: there may be secrets in them.
        for (name, options) in [
            ("EKIBEN_WORKER_ARGUMENTS", &self.arguments),
            ("EKIBEN_WORKER_RUNNERS", &self.runners),
            ("EKIBEN_WORKER_MONITORING", &self.monitoring),
        ] {
            if !options.is_empty() {
                command.env(name, Value::Object(options.clone()).to_string());
            }
        }
        if let Some(placement) = self.placement.get() {
            command.envs(placement.variables(index));
        }
        if self.mode == Mode::Production {
            // A debugger wants the terminal, and Ctrl-C with it. Otherwise both are the front's.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            command.stdin(Stdio::null());
        }
        let mappings = vec![
            FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: SOCKET },
            FdMapping { parent_fd: their_passage, child_fd: SHARED_SOCKET },
        ];
        let run = |source| SpawnError::Run { python: self.python.clone(), source };
        command.fd_mappings(mappings).map_err(|error| run(std::io::Error::other(error)))?;
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn().map_err(run)?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            descriptors::restore(pid);
        }
        let group = pid.filter(|_| self.mode == Mode::Production);
        Ok((Process { child, group, adopted: None }, Ends { frames, passage }))
    }

    /// Whether worker number `index`, started now, is told its devices only when it has described the service.
    pub fn awaits_place(&self, index: u32) -> bool {
        self.awaits_place && index == 1 && self.placement.get().is_none()
    }

    fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = Vec::new();
        if self.environment.text("PYTHONUNBUFFERED").is_none() {
            variables.push(("PYTHONUNBUFFERED", "1".into()));
        }
        if let Some(sdk) = &self.sdk_path {
            let mut path = sdk.clone().into_os_string();
            if let Some(rest) = self.environment.path("PYTHONPATH") {
                path.push(":");
                path.push(rest);
            }
            variables.push(("PYTHONPATH", path));
        }
        variables
    }
}

impl Process {
    /// Waits for the end of the process.
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Returns what the process holds in memory; `None` when it has ended.
    pub fn memory(&self) -> Option<Memory> {
        self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).and_then(Memory::of)
    }

    /// Asks the process to end.
    pub fn terminate(&self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // A process that is gone has ended.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }

    /// Takes note of a group of processes that the worker has started, and that must not outlive it.
    pub fn adopt(&mut self, group: i32) {
        // A worker that says that it is the first process of all means nobody.
        self.adopted = Pid::from_raw(group).filter(|group| group.as_raw_nonzero().get() > 1);
    }

    /// Ends what is left of that group, once the worker is gone.
    pub fn end_adopted(&mut self) {
        if let Some(group) = self.adopted.take() {
            // Usually nothing is left: the worker ends it before itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Ends the process, and those it has started, at once.
    pub async fn kill(&mut self) {
        // Once the process has been waited for, its number may be another's.
        if let Some(group) = self.group.filter(|_| self.child.id().is_some()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill().await;
    }
}
