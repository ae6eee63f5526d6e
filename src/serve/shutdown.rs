//! The end of a server: signals, and the orphans a first process has to bury.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, getpid, kill_process, waitpid};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a zombie of ours may stand before it is an orphan's: workers are waited for at once.
const ORPHAN_AGE: Duration = Duration::from_secs(1);

/// The signals that end a server.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from their default, which is death.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Asks this process to end when its standard input does: the program that has started it holds the other end, and is
/// gone then, however it ended.
pub fn end_with_starter() {
    std::thread::spawn(|| {
        // An input that cannot be read has ended, too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        // Asking oneself does not fail.
        let _ = kill_process(getpid(), rustix::process::Signal::TERM);
    });
}

/// Buries orphans for as long as it is polled, if this is the first process of its container.
///
/// Orphans are told from workers by their age as zombies, so that no worker's exit status is taken away.
pub async fn reap_orphans() -> std::io::Result<()> {
    if !getpid().is_init() {
        return std::future::pending().await;
    }
    let mut deaths = signal(SignalKind::child())?;
    loop {
        let mut seen = zombies();
        while !seen.is_empty() {
            tokio::time::sleep(ORPHAN_AGE).await;
            let now = zombies();
            for pid in seen.intersection(&now).filter_map(|pid| Pid::from_raw(*pid)) {
                // One that is gone has been buried by someone else.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
            seen = now.difference(&seen).copied().collect();
        }
        deaths.recv().await;
    }
}

/// Lists the zombies among this process's children.
fn zombies() -> BTreeSet<i32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return BTreeSet::new() };
    let own = getpid().as_raw_nonzero().get();
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        parse_stat(&status) == Some(('Z', own))
    })
    .collect()
}

/// Reads state and parent of a line of `/proc/PID/stat`; the command in parentheses may have anything in it.
fn parse_stat(stat: &str) -> Option<(char, i32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_with_parentheses_do_not_confuse() {
        assert_eq!(parse_stat("12 (a) Z (b) Z 7 12 12 0"), Some(('Z', 7)));
        assert_eq!(parse_stat("12 (python3) S 1 12"), Some(('S', 1)));
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_child_that_was_not_waited_for_is_a_zombie() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        let appeared = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(2));
            zombies().contains(&pid)
        });
        assert!(appeared);
        child.wait().unwrap();
        assert!(!zombies().contains(&pid));
    }
}
