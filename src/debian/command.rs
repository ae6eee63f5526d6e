//! Runs the host's own package tools: arguments as a list, never a shell, ended together with what they started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::report::Interrupt;

/// How often a running tool is looked at for its end and for an interrupt.
const POLL: Duration = Duration::from_millis(15);
/// Most bytes kept of what a tool writes.
const OUTPUT_LIMIT: u64 = 1 << 20;

/// A tool did not do what it was asked for.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot start `{}`", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("`{}` failed ({status}): {}", program.display(), stderr.trim())]
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
    Interrupted(crate::report::Interrupted),
    Failed(CommandError),
}

impl Tool<'_> {
    /// Runs the tool to its end, calling `look` now and then; gives its standard output.
    pub(super) fn run(&self, interrupt: &Interrupt, look: &mut dyn FnMut()) -> Result<String, Stopped> {
        let mut child = self.spawn().map_err(Stopped::Failed)?;
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        thread::scope(|scope| {
            let stdout = scope.spawn(|| collect(stdout.as_mut()));
            let stderr = scope.spawn(|| collect(stderr.as_mut()));
            let status = wait(&mut child, interrupt, look);
            let stdout = stdout.join().unwrap_or_default();
            let stderr = stderr.join().unwrap_or_default();
            match status {
                Ok(status) if status.success() => Ok(stdout),
                Ok(status) => {
                    let stderr = without_credentials(&stderr);
                    Err(Stopped::Failed(CommandError::Failed {
                        program: self.program.to_owned(),
                        status,
                        stderr,
                    }))
                }
                Err(stopped) => Err(stopped),
            }
        })
    }

    fn spawn(&self) -> Result<Child, CommandError> {
        let mut command = Command::new(self.program);
        command.args(&self.arguments).env_clear().envs(&self.environment).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|source| CommandError::Start { program: self.program.to_owned(), source })
    }
}

fn wait(child: &mut Child, interrupt: &Interrupt, look: &mut dyn FnMut()) -> Result<ExitStatus, Stopped> {
    loop {
        if let Err(interrupted) = interrupt.check() {
            end(child);
            return Err(Stopped::Interrupted(interrupted));
        }
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(source) => {
                end(child);
                let program = PathBuf::from("child process");
                return Err(Stopped::Failed(CommandError::Start { program, source }));
            }
        }
        look();
        thread::sleep(POLL);
    }
}

/// Ends a child and what it started, and waits for it so that no zombie stays.
fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // The group may be gone already, which is what is wanted.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

/// Reads a pipe to its end and keeps what fits.
fn collect(pipe: Option<&mut impl Read>) -> String {
    let Some(pipe) = pipe else { return String::new() };
    let mut kept = Vec::new();
    // A pipe that breaks ends like one that is closed: the tool's status says what became of it.
    let _ = pipe.by_ref().take(OUTPUT_LIMIT).read_to_end(&mut kept);
    let _ = io::copy(pipe, &mut io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

/// Replaces the user and password in every URL within `text`.
pub(super) fn without_credentials(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        shown.push_str(before);
        let is_end = |letter: char| matches!(letter, '/' | '?' | '#' | '"' | '\'') || letter.is_whitespace();
        let authority = after.find(is_end).unwrap_or(after.len());
        rest = after[..authority].rfind('@').map_or(after, |at| {
            shown.push_str("****");
            &after[at..]
        });
    }
    shown.push_str(rest);
    shown
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
    fn a_failure_shows_what_was_said_without_credentials() {
        let Err(Stopped::Failed(error)) =
            shell("echo no http://me:secret@host/x >&2; exit 3").run(&Interrupt::default(), &mut || ())
        else {
            panic!("it succeeded")
        };
        assert_eq!(error.to_string(), "`/bin/sh` failed (exit status: 3): no http://****@host/x");
    }

    #[test]
    fn an_interrupt_ends_the_tool_and_its_children() {
        let interrupt = Interrupt::default();
        let mut looks = 0;
        let asked = interrupt.clone();
        let result = shell("sleep 60 & sleep 60").run(&interrupt, &mut || {
            looks += 1;
            asked.raise();
        });
        assert!(matches!(result, Err(Stopped::Interrupted(_))));
        assert_eq!(looks, 1);
    }
}
