//! Runs child processes: arguments as a list, never a shell, and no secret in an error.
//!
//! A child gets its own process group, so that an interrupt ends it together with what it started.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::report::Interrupt;

/// How often a running child is looked at for its end and for an interrupt.
const POLL: Duration = Duration::from_millis(20);

/// Looks granted to a pipe that a grandchild keeps open after the child has ended (about a second).
const LOOKS_AFTER_END: u32 = 50;

/// Most bytes of standard output kept: a resolver's answer for thousands of packages is under 4 MiB.
const OUTPUT_LIMIT: usize = 64 << 20;

/// Most bytes of standard error kept, counted from its end, where tools say what went wrong.
const ERROR_TAIL: usize = 64 << 10;

/// Shortest text treated as a secret: shorter ones would blank out ordinary words.
const SHORTEST_SECRET: usize = 4;

/// What stands in a message where a secret was.
const MASK: &str = "****";

/// What can go wrong with a child process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("cannot start `{program}`")]
    Start {
        /// The program as it was asked for.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program ended with a failure.
    #[error("`{command}` failed ({status}){}", said(stderr))]
    Failed {
        /// The command line, without secrets.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its standard error, without secrets.
        stderr: String,
    },
    /// The child was ended because a stop was asked for.
    #[error("interrupted while running `{command}`")]
    Interrupted {
        /// The command line, without secrets.
        command: String,
    },
    /// The child could not be talked to or waited for.
    #[error("cannot follow `{command}`")]
    Follow {
        /// The command line, without secrets.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a child that succeeded wrote.
#[derive(Debug)]
#[must_use]
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// The end of its standard error, without secrets.
    pub stderr: String,
}

/// A child process to be run.
#[derive(Clone, Debug)]
pub struct Command {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    directory: Option<PathBuf>,
    input: Vec<u8>,
    secrets: Vec<String>,
}

impl Command {
    /// Names the program; it starts with an empty environment.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            directory: None,
            input: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Gives the child these variables.
    #[must_use]
    pub fn environment(mut self, variables: &BTreeMap<OsString, OsString>) -> Self {
        let copies = variables.iter().map(|(name, value)| (name.clone(), value.clone()));
        self.environment.extend(copies);
        self
    }

    /// Gives the child one variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Takes a variable away from the child.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.remove(name.as_ref());
        self
    }

    /// Starts the child in this directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Feeds these bytes to the child's standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Keeps these texts out of every error and output of this command.
    #[must_use]
    pub fn secrets(mut self, secrets: impl IntoIterator<Item = String>) -> Self {
        self.secrets.extend(secrets);
        self
    }

    /// Runs the child to its end.
    ///
    /// # Errors
    /// It cannot be started, it fails, or `interrupt` is set meanwhile (the child is then killed).
    pub fn run(&self, interrupt: &Interrupt) -> Result<Output, Error> {
        if interrupt.is_raised() {
            return Err(Error::Interrupted { command: self.shown() });
        }
        let mut child = self.spawn()?;
        let (finished, ends) = channel();
        let stdin = child.stdin.take();
        let input = self.input.clone();
        // Written from a thread: a child that fills its output before reading would block us.
        thread::spawn(move || {
            if let Some(mut stdin) = stdin {
                // A child that ends without reading all of its input reports that itself.
                let _ = stdin.write_all(&input);
            }
        });
        let stdout = collect(child.stdout.take(), Keep::First(OUTPUT_LIMIT), finished.clone());
        let stderr = collect(child.stderr.take(), Keep::Last(ERROR_TAIL), finished);
        let status = self.wait(&mut child, &ends, interrupt)?;
        let stdout = std::mem::take(&mut *stdout.lock().unwrap_or_else(PoisonError::into_inner));
        let stderr = std::mem::take(&mut *stderr.lock().unwrap_or_else(PoisonError::into_inner));
        let stderr = self.scrub(&String::from_utf8_lossy(&stderr));
        if status.success() {
            return Ok(Output { stdout, stderr });
        }
        Err(Error::Failed { command: self.shown(), status, stderr: stderr.trim().to_owned() })
    }

    fn spawn(&self) -> Result<Child, Error> {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
            .spawn()
            .map_err(|source| Error::Start { program: self.scrub(&self.program.to_string_lossy()), source })
    }

    fn wait(
        &self,
        child: &mut Child,
        ends: &Receiver<()>,
        interrupt: &Interrupt,
    ) -> Result<ExitStatus, Error> {
        let follow = |source| Error::Follow { command: self.shown(), source };
        let mut open = 2;
        let mut looks_after_end = 0;
        loop {
            match ends.recv_timeout(POLL) {
                Ok(()) => open -= 1,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL / 10),
            }
            if interrupt.is_raised() {
                end(child);
                return Err(Error::Interrupted { command: self.shown() });
            }
            if let Some(status) = child.try_wait().map_err(follow)? {
                looks_after_end += 1;
                if open == 0 || looks_after_end > LOOKS_AFTER_END {
                    return Ok(status);
                }
            }
        }
    }

    /// The command line for people, without secrets.
    fn shown(&self) -> String {
        let mut words = vec![self.program.to_string_lossy().into_owned()];
        words.extend(self.arguments.iter().map(|word| word.to_string_lossy().into_owned()));
        self.scrub(&words.join(" "))
    }

    fn scrub(&self, text: &str) -> String {
        let mut text = without_credentials(text);
        for secret in self.secrets.iter().filter(|secret| secret.len() >= SHORTEST_SECRET) {
            text = text.replace(secret.as_str(), MASK);
        }
        text
    }
}

/// Finds a program by name in the directories of `path`, as a shell would.
pub fn find_program(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
}

/// Replaces the user and password in every URL within `text`.
pub fn without_credentials(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        shown.push_str(before);
        let authority = after
            .find(|c: char| matches!(c, '/' | '?' | '#' | '"' | '\'' | '`' | '<' | '>') || c.is_whitespace())
            .unwrap_or(after.len());
        rest = match after[..authority].rfind('@') {
            Some(at) => {
                shown.push_str(MASK);
                &after[at..]
            }
            None => after,
        };
    }
    shown.push_str(rest);
    shown
}

enum Keep {
    First(usize),
    Last(usize),
}

/// Reads a pipe to its end in a thread; says so through `finished`.
fn collect(
    pipe: Option<impl Read + Send + 'static>,
    keep: Keep,
    finished: Sender<()>,
) -> Arc<Mutex<Vec<u8>>> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&kept);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let Some(mut pipe) = pipe else { return };
        loop {
            let count = match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
            match keep {
                Keep::First(limit) => {
                    let room = limit.saturating_sub(kept.len());
                    kept.extend_from_slice(&buffer[..count.min(room)]);
                }
                Keep::Last(limit) => {
                    kept.extend_from_slice(&buffer[..count]);
                    let excess = kept.len().saturating_sub(limit);
                    kept.drain(..excess);
                }
            }
        }
        // Nobody listens any more once the child was interrupted.
        let _ = finished.send(());
    });
    kept
}

/// Ends a child and its descendants, and waits for the child so that no zombie stays.
fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // The group may be gone already, which is what is wanted.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn is_executable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shell(script: &str) -> Command {
        Command::new("/bin/sh").arg("-c").arg(script).env("PATH", "/usr/bin:/bin")
    }

    #[test]
    fn output_input_and_environment_are_passed() {
        let output = shell("cat; printf ' %s %s' \"$GREETING\" \"${HOME-none}\"; echo note >&2")
            .env("GREETING", "hello")
            .input("in")
            .run(&Interrupt::default())
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "in hello none");
        assert_eq!(output.stderr, "note\n");
    }

    #[test]
    fn a_failure_says_what_failed_without_its_secrets() {
        let error = shell("echo https://me:s3cr3t@host/x and token=abcdef >&2; exit 3")
            .arg("https://you:0ther@host/simple")
            .secrets(["abcdef".to_owned()])
            .run(&Interrupt::default())
            .unwrap_err();
        let Error::Failed { status, stderr, .. } = &error else { panic!("{error:?}") };
        assert_eq!(status.code(), Some(3));
        assert_eq!(stderr, "https://****@host/x and token=****");
        let text = format!("{error} {error:?}");
        for secret in ["s3cr3t", "0ther", "abcdef"] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Command::new("/nonexistent/tool").run(&Interrupt::default()).unwrap_err();
        assert_eq!(error.to_string(), "cannot start `/nonexistent/tool`");
    }

    #[test]
    fn an_interrupt_kills_the_child_and_its_children() {
        let interrupt = Interrupt::default();
        let setter = interrupt.clone();
        let begun = Instant::now();
        let handle = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            setter.raise();
        });
        let error = shell("sleep 60 & sleep 60").run(&interrupt).unwrap_err();
        handle.join().unwrap();
        assert!(matches!(error, Error::Interrupted { .. }), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_does_not_block() {
        let begun = Instant::now();
        let output = shell("sleep 30 & echo done").run(&Interrupt::default()).unwrap();
        assert_eq!(output.stdout, b"done\n");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn much_output_on_both_pipes_is_read() {
        let output = shell("head -c 300000 /dev/zero; head -c 300000 /dev/zero | tr '\\0' e >&2")
            .run(&Interrupt::default())
            .unwrap();
        assert_eq!(output.stdout.len(), 300_000);
        assert_eq!(output.stderr.len(), ERROR_TAIL);
    }

    #[test]
    fn credentials_leave_urls_only() {
        for (given, shown) in [
            ("https://u:p@h/x", "https://****@h/x"),
            ("a https://u:p@w@h b ftp://h/@x", "a https://****@h b ftp://h/@x"),
            ("git+ssh://git@host/r", "git+ssh://****@host/r"),
            ("nobody@example.org", "nobody@example.org"),
            ("https://h/a?x=y@z", "https://h/a?x=y@z"),
        ] {
            assert_eq!(without_credentials(given), shown);
        }
    }
}
