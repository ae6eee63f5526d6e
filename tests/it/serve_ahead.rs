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

/// Asks for doubles until told to stop; returns how many answers were right, and the statuses of the others.
fn ask(server: &Server, first: usize, is_over: &AtomicBool) -> (usize, Vec<u16>) {
    let (mut right, mut others) = (0, Vec::new());
    for x in first.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let reply = server.post("/double", &format!("{{\"x\": {x}}}"));
        if reply.status == 200 {
            assert_eq!(reply.text(), (2 * x).to_string());
            right += 1;
        } else {
            others.push(reply.status);
        }
    }
    (right, others)
}

/// The call that was sent ahead had not begun: it is computed by the next worker, and nobody is told.
#[test]
fn a_worker_that_dies_takes_one_call_with_it() {
    let server = start();
    let pid: i32 = server.post("/pid", "{}").text().parse().expect("a number");
    let is_over = AtomicBool::new(false);
    let found: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (server, is_over) = (&server, &is_over);
                scope.spawn(move || ask(server, client * 1_000_000, is_over))
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
    let right: usize = found.iter().map(|(right, _)| right).sum();
    let others: Vec<u16> = found.into_iter().flat_map(|(_, others)| others).collect();
    assert!(others.len() <= 1 && others.iter().all(|status| *status == 503), "{others:?}");
    assert!(right > 100, "{right} calls were answered");
}
