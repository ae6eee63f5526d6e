//! Large values between workers, in memory that they share, with the real SDK.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::peers::{Venv, program};
use crate::support::serve::{Plan, Server};

const SERVICE: &str = r#"
import os
import time

import bentoml
import numpy as np


def is_shared(array):
    """Tell whether an array lies in a file that has no name."""
    place = array.__array_interface__["data"][0]
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, _, end = line.split(" ")[0].partition("-")
            if int(start, 16) <= place < int(end, 16):
                return "memfd:ekiben-body" in line
    return False


@bentoml.service
class Inner:
    def __init__(self):
        self.kept = None

    @bentoml.api
    def double(self, data: np.ndarray) -> np.ndarray:
        data *= 2  # into what was sent
        return data

    @bentoml.api
    def look(self, data: np.ndarray) -> dict:
        return {"shared": is_shared(data), "writable": bool(data.flags.writeable), "sum": float(data.sum())}

    @bentoml.api
    def keep(self, data: np.ndarray) -> float:
        self.kept, before = data, self.kept
        return -1.0 if before is None else float(before.sum())

    @bentoml.api
    def rest(self, data: np.ndarray) -> float:
        time.sleep(30)
        return 0.0

    @bentoml.api
    def pid(self) -> int:
        return os.getpid()


@bentoml.service(threads=8)
class Outer:
    inner = bentoml.depends(Inner)

    @bentoml.api
    def double(self, n: int) -> list:
        data = np.arange(n, dtype="float64")
        answer = self.inner.double(data)
        answer += 1  # the answer is the caller's own
        return [bool((data == np.arange(n)).all()), bool((answer == 2 * data + 1).all()), is_shared(answer)]

    @bentoml.api
    def look(self, n: int) -> dict:
        return self.inner.look(np.ones(n))

    @bentoml.api
    def keep(self, n: int) -> list:
        return [self.inner.keep(np.full(n, float(i))) for i in range(3)]

    @bentoml.api
    def rest(self, n: int) -> float:
        return self.inner.rest(np.ones(n))

    @bentoml.api
    def pids(self) -> list:
        return [os.getpid(), self.inner.pid()]
"#;

fn plan(sharing: &str) -> Plan {
    let python = program(Venv::Sdk, "python").to_str().unwrap_or_default().to_owned();
    Plan::target(Some("service:Outer"))
        .file("service.py", SERVICE)
        .arguments(&["--python", &python])
        .env("EKIBEN_SHARED_MEMORY", sharing)
}

/// Shares values from 4000 bytes on.
fn start() -> Server {
    plan("4000").start_ready()
}

fn post(server: &Server, path: &str, n: u64) -> Value {
    let reply = server.post(path, &json!({ "n": n }).to_string());
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// The files that each of the server's processes has open.
fn descriptors(server: &Server) -> Vec<usize> {
    let pids = server.post("/pids", "{}").json();
    let workers = pids.as_array().expect("a list").iter().filter_map(Value::as_u64);
    let all = workers.chain([u64::from(server.pid())]);
    all.map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count()).collect()
}

#[test]
fn large_values_are_shared_and_belong_to_whoever_has_them() {
    let server = start();
    assert_eq!(
        post(&server, "/double", 100),
        json!([true, true, false]),
        "a small one goes through the socket"
    );
    assert_eq!(post(&server, "/double", 300_000), json!([true, true, true]));
    let found = post(&server, "/look", 2_000_000);
    assert_eq!(found, json!({"shared": true, "writable": true, "sum": 2_000_000.0}));
    // What a worker keeps stays as it was, whatever is sent later.
    assert_eq!(post(&server, "/keep", 10_000), json!([-1.0, 0.0, 10_000.0]));
}

#[test]
fn sharing_can_be_turned_off_and_is_for_large_values_alone() {
    let server = plan("off").start_ready();
    assert_eq!(post(&server, "/double", 4_000_000), json!([true, true, false]));
    let server = plan("").start_ready();
    assert_eq!(post(&server, "/look", 400_000)["shared"], json!(false));
    assert_eq!(post(&server, "/look", 4_000_000)["shared"], json!(true));
}

#[test]
fn no_descriptor_is_left_behind() {
    let server = start();
    let all_at_once = || {
        let calls: Vec<_> = (0..16).map(|_| server.post_later("/double", r#"{"n": 50000}"#)).collect();
        for call in calls {
            assert_eq!(call.join().expect("it lives").json()[1], json!(true));
        }
    };
    all_at_once();
    let before = descriptors(&server);
    for _ in 0..10 {
        all_at_once();
    }
    // The connections of the clients that have left may take a moment.
    server.wait_for("files to be closed", || {
        descriptors(&server).iter().zip(&before).all(|(after, before)| *after <= before + 2)
    });
}

/// The value goes to the grave with its worker; the front keeps nothing of it.
#[test]
fn a_worker_that_dies_with_a_shared_value_costs_its_call_alone() {
    let server = start();
    post(&server, "/double", 100_000);
    let before = descriptors(&server)[2];
    let inner = server.post("/pids", "{}").json()[1].as_i64().expect("a process number");
    let call = server.post_later("/rest", r#"{"n": 500000}"#);
    server.wait_for("the call", || {
        let page = server.get("/metrics").text();
        let series = "bentoml_service_request_in_progress{endpoint=\"/rest\",runner_name=\"Inner\"";
        page.lines().any(|line| line.starts_with(series) && line.ends_with(" 1.0"))
    });
    let pid = i32::try_from(inner).ok().and_then(Pid::from_raw).expect("a process number");
    kill_process(pid, Signal::KILL).expect("it lives");
    assert_eq!(call.join().expect("the client lives").status, 503);
    assert_eq!(post(&server, "/double", 100_000), json!([true, true, true]));
    assert_ne!(server.post("/pids", "{}").json()[1].as_i64(), Some(inner));
    server.wait_for("files to be closed", || descriptors(&server)[2] <= before + 2);
}
