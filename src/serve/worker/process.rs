//! Starts worker processes, each with its end of a socket pair.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::process::Child;

use super::placement::Placement;
use crate::env::Environment;
use crate::serve::descriptors;
use crate::serve::settings::Mode;
use crate::serve::target::Target;

/// The descriptor number a worker finds its socket at.
const SOCKET: i32 = 3;

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
    /// The unit that the workers run, by its id; `None` is the service that clients call.
    pub unit: Option<String>,
    /// Variables of each worker: which devices it uses, and how many threads. Of the service that clients call they are
    /// known once its first worker has described it.
    pub placement: Arc<OnceLock<Placement>>,
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
    pub fn spawn(&self, index: u32) -> Result<(Process, UnixStream), SpawnError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(SpawnError::Socket)?;
        ours.set_nonblocking(true).map_err(SpawnError::Socket)?;
        let ours = UnixStream::from_std(ours).map_err(SpawnError::Socket)?;
        let mut command = std::process::Command::new(&self.python);
        command.args(["-m", "ekiben.worker", "--fd", &SOCKET.to_string(), "--worker-id", &index.to_string()]);
        command.args(self.target.worker_arguments());
        if let Some(unit) = &self.unit {
            command.args(["--unit", unit]);
        }
        if self.mode == Mode::Development {
            command.arg("--in-process");
        }
        command.env_clear().envs(self.environment.iter()).envs(self.variables());
        if let Some(placement) = self.placement.get() {
            command.envs(placement.variables(index));
        }
        if self.mode == Mode::Production {
            // A debugger wants the terminal, and Ctrl-C with it. Otherwise both are the front's.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            command.stdin(Stdio::null());
        }
        let mapping = FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: SOCKET };
        let run = |source| SpawnError::Run { python: self.python.clone(), source };
        command.fd_mappings(vec![mapping]).map_err(|error| run(std::io::Error::other(error)))?;
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn().map_err(run)?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            descriptors::restore(pid);
        }
        let group = pid.filter(|_| self.mode == Mode::Production);
        Ok((Process { child, group, adopted: None }, ours))
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
