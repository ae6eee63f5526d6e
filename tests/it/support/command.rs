//! A program run to its end, with strict expectations: unless told otherwise, exit status 0 and nothing on stderr.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use walkdir::WalkDir;

/// Longer than any command of the tests takes on a slow and busy machine; one that hangs fails instead of blocking.
const DEADLINE: Duration = Duration::from_mins(10);

/// Lines of the tree that a failure shows.
const TREE_LINES: usize = 200;

/// What a run is expected to write to stderr.
#[derive(Clone, Debug)]
enum Stderr {
    Empty,
    Any,
    Contains(Vec<String>),
}

/// A program about to be run.
#[must_use = "a command does nothing until it is run"]
#[derive(Clone)]
pub(crate) struct Command {
    program: PathBuf,
    arguments: Vec<OsString>,
    directory: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    /// Shown when an expectation fails.
    shown: PathBuf,
    status: i32,
    stderr: Stderr,
}

/// What a program that met its expectations wrote.
#[must_use = "what a command printed is part of what it does"]
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The whole of stdout as one JSON document.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is no JSON document: {error}\n{}", self.stdout))
    }
}

impl Command {
    /// A program with exactly this environment, in this directory.
    pub(crate) fn new(program: &Path, directory: &Path, environment: &BTreeMap<OsString, OsString>) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            directory: directory.to_owned(),
            environment: environment.clone(),
            shown: directory.to_owned(),
            status: 0,
            stderr: Stderr::Empty,
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// The directory whose tree a failure shows.
    pub(crate) fn showing(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.shown);
        self
    }

    /// Expects another exit status than 0.
    pub(crate) fn status(mut self, status: i32) -> Self {
        self.status = status;
        self
    }

    /// Expects that stderr contains this; may be said several times.
    pub(crate) fn stderr(mut self, part: &str) -> Self {
        let mut parts = match self.stderr {
            Stderr::Contains(parts) => parts,
            Stderr::Empty | Stderr::Any => Vec::new(),
        };
        parts.push(part.to_owned());
        self.stderr = Stderr::Contains(parts);
        self
    }

    /// Expects nothing of stderr: progress and peers' chatter go there.
    pub(crate) fn any_stderr(mut self) -> Self {
        self.stderr = Stderr::Any;
        self
    }

    /// Runs to the end and checks the expectations.
    pub(crate) fn run(self) -> Output {
        let (status, output) = self.finish();
        if let Err(reason) = self.check(status, &output) {
            panic!("{}", self.describe(&reason, status, &output));
        }
        output
    }

    /// Starts the program with its output piped.
    pub(crate) fn spawn(&self) -> Child {
        std::process::Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.directory)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()))
    }

    fn finish(&self) -> (ExitStatus, Output) {
        let mut child = self.spawn();
        let pid = pid_of(&child);
        let stdout = read_on_thread(child.stdout.take().expect("stdout is piped"));
        let stderr = read_on_thread(child.stderr.take().expect("stderr is piped"));
        let (sender, ended) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait()));
        let status = ended.recv_timeout(DEADLINE).unwrap_or_else(|_| {
            // The process may have ended just now; either way it is gone afterwards.
            let _ = kill_process(pid, Signal::KILL);
            panic!("{}: not done after {DEADLINE:?}", self.line())
        });
        let text = |reader: thread::JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&reader.join().expect("a reader does not panic")).into_owned()
        };
        (
            status.expect("a started process can be waited for"),
            Output { stdout: text(stdout), stderr: text(stderr) },
        )
    }

    fn check(&self, status: ExitStatus, output: &Output) -> Result<(), String> {
        if status.code() != Some(self.status) {
            return Err(format!("expected exit status {}", self.status));
        }
        match &self.stderr {
            Stderr::Any => Ok(()),
            Stderr::Empty if output.stderr.is_empty() => Ok(()),
            Stderr::Empty => Err("expected nothing on stderr".to_owned()),
            Stderr::Contains(parts) => match parts.iter().find(|part| !output.stderr.contains(*part)) {
                Some(part) => Err(format!("expected on stderr: {part}")),
                None => Ok(()),
            },
        }
    }

    /// The command line as one would type it.
    pub(super) fn line(&self) -> String {
        let words =
            std::iter::once(self.program.as_os_str()).chain(self.arguments.iter().map(OsString::as_os_str));
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }

    fn describe(&self, reason: &str, status: ExitStatus, output: &Output) -> String {
        format!(
            "{reason}\ncommand: {}\nin: {}\nstatus: {status}\nstdout:\n{}\nstderr:\n{}\ntree:\n{}",
            self.line(),
            self.directory.display(),
            output.stdout,
            output.stderr,
            tree(&self.shown)
        )
    }
}

/// The process id of a child that has not been waited for.
pub(super) fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn read_on_thread(mut source: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

/// The files below a directory, one a line, with their sizes.
fn tree(root: &Path) -> String {
    let mut text = String::new();
    for entry in WalkDir::new(root)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .take(TREE_LINES)
    {
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        writeln!(text, "{size:>12}  {}", path.display()).expect("a string can be written to");
    }
    text
}
