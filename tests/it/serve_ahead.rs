//! Short calls, of which a worker is sent one ahead: with the real SDK, whose synchronous services have one slot.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::peers::{Venv, program};
use crate::support::serve::{Plan, Server};

const SERVICE: &str = r"
import os, time
import bentoml

@bentoml.service
class Short:
    @bentoml.api
    def double(self, x: int) -> int:
        time.sleep(0.0005)
        return 2 * x

    @bentoml.api(batchable=True, max_batch_size=4)
    def doubles(self, x: list[int]) -> list[int]:
        time.sleep(0.0005)
        return [2 * n for n in x]

    @bentoml.api
    def pid(self) -> int:
        return os.getpid()
";

fn start() -> Server {
    let python = program(Venv::Sdk, "python").to_str().unwrap_or_default().to_owned();
    Plan::target(Some("service:Short"))
        .file("service.py", SERVICE)
        .arguments(&["--python", &python])
        .start_ready()
}

/// Asks for doubles until told to stop, alone or as a row of a batch; returns how many answers were right, and the
/// statuses of the others.
fn ask(server: &Server, path: &str, first: usize, is_over: &AtomicBool) -> (usize, Vec<u16>) {
    let (mut right, mut others) = (0, Vec::new());
    for x in first.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let (sent, expected) = if path == "/doubles" {
            (format!("{{\"x\": [{x}]}}"), format!("[{}]", 2 * x))
        } else {
            (format!("{{\"x\": {x}}}"), (2 * x).to_string())
        };
        let reply = server.post(path, &sent);
        if reply.status == 200 {
            assert_eq!(reply.text(), expected);
            right += 1;
        } else {
            others.push(reply.status);
        }
    }
    (right, others)
}

/// Kills the worker under the load of many clients; returns how many answers were right, and the statuses of the others.
fn kill_under_load(path: &str, clients: usize) -> (usize, Vec<u16>) {
    let server = start();
    let pid: i32 = server.post("/pid", "{}").text().parse().expect("a number");
    let is_over = AtomicBool::new(false);
    let found: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                let (server, is_over) = (&server, &is_over);
                scope.spawn(move || ask(server, path, client * 1_000_000, is_over))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(700));
        kill_process(Pid::from_raw(pid).expect("a process"), Signal::KILL).expect("it runs");
        server.wait_for("the next worker", || {
            let page = server.get("/metrics").text();
            page.lines().any(|line| line.starts_with("ekiben_worker_restarts_total") && line.ends_with(" 1"))
                && page.contains("state=\"ready\"} 1")
        });
        std::thread::sleep(Duration::from_millis(300));
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("the client lives")).collect()
    });
    let right = found.iter().map(|(right, _)| right).sum();
    (right, found.into_iter().flat_map(|(_, others)| others).collect())
}

/// The call that was sent ahead had not begun: it is computed by the next worker, and nobody is told.
#[test]
fn a_worker_that_dies_takes_one_call_with_it() {
    let (right, others) = kill_under_load("/double", 8);
    assert!(others.len() <= 1 && others.iter().all(|status| *status == 503), "{others:?}");
    assert!(right > 100, "{right} calls were answered");
}

/// So with batches of four.
#[test]
fn a_worker_that_dies_takes_one_batch_with_it() {
    let (right, others) = kill_under_load("/doubles", 16);
    assert!(others.len() <= 4 && others.iter().all(|status| *status == 503), "{others:?}");
    assert!(right > 100, "{right} calls were answered");
}
