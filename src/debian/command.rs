//! The host's own package tools.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::process;
use crate::report::{Interrupt, Interrupted};

/// How often a running tool's progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A tool did not do what it was asked for. Its arguments are not shown: they are the URLs of all packages.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It could not be started or followed.
    #[error("cannot run `{}`", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("`{}` failed ({status}): {stderr}", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote, without credentials.
        stderr: String,
    },
}

/// A tool to be run, in exactly this environment.
pub(super) struct Tool<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: BTreeMap<OsString, OsString>,
}

/// Why a run gave no output.
pub(super) enum Stopped {
    Interrupted(Interrupted),
    Failed(CommandError),
}

impl Tool<'_> {
    /// Runs the tool to its end, calling `look` now and then; gives its standard output.
    pub(super) fn run(
        &self,
        interrupt: &Interrupt,
        look: &mut (dyn FnMut() + Send),
    ) -> Result<String, Stopped> {
        let command = process::Command::new(self.program).args(self.arguments.clone());
        let command = command.environment(&self.environment);
        let result = thread::scope(|scope| {
            let (running, ended) = channel::<()>();
            scope.spawn(move || {
                while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    look();
                }
            });
            let result = command.run(interrupt);
            drop(running);
            result
        });
        match result {
            Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Err(error) => Err(self.stopped(error)),
        }
    }

    fn stopped(&self, error: process::Error) -> Stopped {
        let program = self.program.to_owned();
        Stopped::Failed(match error {
            process::Error::Interrupted { .. } => return Stopped::Interrupted(Interrupted),
            process::Error::Failed { status, stderr, .. } => CommandError::Failed { program, status, stderr },
            process::Error::Start { source, .. } | process::Error::Follow { source, .. } => {
                CommandError::Start { program, source }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Tool<'static> {
        let arguments = vec!["-c".into(), script.into()];
        let environment = BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]);
        Tool { program: Path::new("/bin/sh"), arguments, environment }
    }

    #[test]
    fn a_failure_shows_what_was_said_without_credentials_and_arguments() {
        let Err(Stopped::Failed(error)) =
            shell("echo no http://me:secret@host/x >&2; exit 3").run(&Interrupt::default(), &mut || ())
        else {
            panic!("it succeeded")
        };
        assert_eq!(error.to_string(), "`/bin/sh` failed (exit status: 3): no http://****@host/x");
    }

    #[test]
    fn a_look_may_ask_to_stop() {
        let interrupt = Interrupt::default();
        let asked = interrupt.clone();
        let result = shell("sleep 60 & sleep 60").run(&interrupt, &mut || asked.raise());
        assert!(matches!(result, Err(Stopped::Interrupted(_))));
    }
}
