//! A program that runs until it is told to stop: its lines can be waited for, and it ends with its handle.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::command::{Command, pid_of};

/// Longer than any service of the tests takes to start or to stop.
const DEADLINE: Duration = Duration::from_mins(2);

/// A running program.
#[must_use = "a service ends with its handle"]
pub(crate) struct Service {
    line: String,
    pid: Pid,
    lines: Receiver<String>,
    /// What it wrote so far, stdout and stderr in the order of arrival.
    seen: Vec<String>,
    ended: Receiver<ExitStatus>,
    status: Option<ExitStatus>,
}

impl Service {
    /// Starts the program.
    pub(crate) fn start(command: &Command) -> Self {
        let mut child = command.spawn();
        let pid = pid_of(&child);
        let (sender, lines) = mpsc::channel();
        forward(child.stdout.take().expect("stdout is piped"), sender.clone());
        forward(child.stderr.take().expect("stderr is piped"), sender);
        Self { line: command.line(), pid, lines, seen: Vec::new(), ended: wait_for(child), status: None }
    }

    /// Waits for a line that contains `part`, and returns it.
    pub(crate) fn line_with(&mut self, part: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line);
                    let line = self.seen.last().expect("it was just pushed");
                    if line.contains(part) {
                        return line.clone();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no line with `{part}` in time\n{}", self.describe())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended without a line with `{part}`\n{}", self.describe())
                }
            }
        }
    }

    /// The process id, for as long as the program runs.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("a running process can be signalled");
    }

    /// Waits until the program ends by itself or by a signal sent before; returns its status and everything it wrote.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.ended.recv_timeout(DEADLINE);
        let status =
            status.unwrap_or_else(|_| panic!("still running after {DEADLINE:?}\n{}", self.describe()));
        self.status = Some(status);
        self.seen.extend(self.lines.iter());
        (status, self.seen.join("\n"))
    }

    /// Asks the program to stop as an operator does, and waits for it.
    pub(crate) fn stop(self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        self.wait()
    }

    fn describe(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        format!("command: {}\noutput:\n{}", self.line, self.seen.join("\n"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Only what still runs: a number that was waited for may belong to somebody else by now.
        if self.status.is_none() && matches!(self.ended.try_recv(), Err(mpsc::TryRecvError::Empty)) {
            // Nobody but the program itself would end those that it has started.
            let started = descendants(self.pid);
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = self.ended.recv_timeout(DEADLINE);
            for process in started {
                let _ = kill_process(process, Signal::KILL);
            }
        }
    }
}

/// The processes that a process has started, and those that they have.
fn descendants(of: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("there is a /proc").flatten();
    let parents: Vec<(Pid, Pid)> = processes.filter_map(|entry| parent(&entry.path())).collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == process).map(|(child, _)| *child));
        next += 1;
    }
    found.split_off(1)
}

/// A process and its parent, from its directory in `/proc`; `None` for one that has ended meanwhile.
fn parent(directory: &Path) -> Option<(Pid, Pid)> {
    let number = |text: &str| Pid::from_raw(text.parse().ok()?);
    let process = number(directory.file_name()?.to_str()?)?;
    let stat = fs::read_to_string(directory.join("stat")).ok()?;
    // The program's name stands in parentheses, and may have anything in it.
    let (_, rest) = stat.rsplit_once(')')?;
    Some((process, number(rest.split_whitespace().nth(1)?)?))
}

fn forward(source: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
}

fn wait_for(mut child: Child) -> Receiver<ExitStatus> {
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait().expect("a started process can be waited for")));
    ended
}
