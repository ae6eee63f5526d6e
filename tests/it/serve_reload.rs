//! `ekiben-serve --reload`: the service follows its files.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::serve::{Plan, Server};

/// What the worker in testdata writes is not code.
const IGNORED: &str = "drained\ncancelled\n";

fn plan(target: &str) -> Plan {
    Plan::fake(target).file(".bentoignore", IGNORED).file("service.py", "1").arguments(&["--reload"])
}

fn write(server: &Server, name: &str, text: &str) {
    std::fs::write(server.directory().join(name), text).unwrap();
}

fn pid(server: &Server) -> u64 {
    server.post("/sleep", "0").json()["pid"].as_u64().unwrap()
}

#[test]
fn a_change_starts_the_workers_again_behind_the_same_port() {
    let server = plan("ok").start_ready();
    let before = pid(&server);
    write(&server, "service.py", "22");
    let mut refusals = 0;
    server.wait_for("other worker", || {
        // The port takes every connection, and answers.
        let reply = server.post("/sleep", "0");
        refusals += u32::from(reply.status == 503);
        reply.status == 200 && reply.json()["pid"].as_u64() != Some(before)
    });
    let log = server.log();
    let (_, rest) =
        log.split_once("[WARNING] [observer] MODIFIED: 'service.py'\n").expect("the change is told");
    assert!(
        rest.lines().next().is_some_and(|line| line.ends_with("[observer] Detected changes. Reloading..."))
    );
    assert!(refusals > 0, "a worker takes longer to start than an answer");
    let drained = std::fs::read_to_string(server.directory().join("drained"));
    assert_eq!(drained.unwrap(), "yes\n", "the first worker has ended as it should");
    let now = pid(&server);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(pid(&server), now, "nothing has changed since");
    let _ended = server.stop(Signal::TERM).succeeded();
}

#[test]
fn calls_that_run_may_end_and_those_that_wait_too_long_are_refused() {
    let server = plan("ok").start_ready();
    let short = server.post_later("/sleep", "1");
    write(&server, "service.py", "22");
    assert_eq!(short.join().unwrap().status, 200);
    server.wait_for("reload", || server.log().contains("Reloading..."));
    server.wait_ready();
    let endless = server.post_later("/sleep", "25");
    let waiting = server.post_later("/echo", "{}");
    server.wait_for("call", || {
        server.get("/metrics").text().contains("ekiben_calls_waiting{") && {
            let page = server.get("/metrics").text();
            page.lines().any(|line| line.starts_with("ekiben_calls_waiting{") && line.ends_with(" 1"))
        }
    });
    let begun = Instant::now();
    write(&server, "service.py", "333");
    assert_eq!(endless.join().unwrap().status, 503);
    assert_eq!(waiting.join().unwrap().status, 503);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    server.wait_ready();
    assert_eq!(server.post("/echo", "{}").status, 200);
}

#[test]
fn a_mistake_is_shown_and_mended() {
    let server = plan("file").start();
    let mistake = "the service cannot start (import): No module named 'nothing'; waiting for a change";
    write(&server, "service.py", "fail");
    server.wait_for("the mistake", || server.log().contains(mistake));
    assert_eq!(server.post("/echo", "{}").status, 503);
    assert!(server.log().contains("Traceback (most recent call last)"), "{}", server.log());
    assert_eq!(server.get("/livez").status, 200);
    write(&server, "service.py", "fine");
    server.wait_ready();
    assert_eq!(server.post("/echo", "{}").status, 200);
    write(&server, "service.py", "fail");
    server.wait_for("the second mistake", || server.log().matches(mistake).count() == 2);
    let _ended = server.stop(Signal::TERM).succeeded();
}

#[test]
fn a_service_that_changes_has_its_new_apis() {
    let server = plan("ok").start_ready();
    assert_eq!(server.post("/echo", "{}").status, 200);
    // The worker in testdata leaves out the APIs that this file names.
    write(&server, "without", "echo");
    server.wait_for("other APIs", || server.post("/echo", "{}").status == 404);
    assert_eq!(server.post("/headers", "{}").status, 200);
    std::fs::remove_file(server.directory().join("without")).unwrap();
    server.wait_for("the old APIs", || server.post("/echo", "{}").status == 200);
    assert!(server.log().contains("DELETED: 'without'"), "{}", server.log());
}
