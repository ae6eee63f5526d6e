//! Services of functions with runners in workers of their own, with the real SDK.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::peers::{Venv, program};
use crate::support::serve::{Plan, Server};

const JSON: &str = "application/json";

fn plan() -> Plan {
    let python = program(Venv::Sdk, "python").to_str().unwrap_or_default().to_owned();
    let service = include_str!("../../testdata/services/runners.py");
    Plan::target(Some("service:svc")).file("service.py", service).arguments(&["--python", &python])
}

/// Starts the service with two workers for its functions, whose calls meet in the workers of the runners.
fn start() -> Server {
    plan().arguments(&["--api-workers", "2"]).start_ready()
}

/// Sends calls at the same time, and gives their answers in order.
fn at_once(server: &Server, path: &str, bodies: &[String]) -> Vec<Value> {
    let calls: Vec<_> = bodies.iter().map(|body| server.post_later(path, body)).collect();
    let replies = calls.into_iter().map(|call| call.join().expect("the client lives"));
    replies
        .map(|reply| {
            assert_eq!(reply.status, 200, "{}", reply.text());
            reply.json()
        })
        .collect()
}

fn sizes(server: &Server, runner: &str) -> Vec<u64> {
    serde_json::from_value(server.post("/seen", "").json()[runner].clone()).expect("a list of sizes")
}

#[test]
fn calls_of_all_workers_are_merged_and_split() {
    let server = start();
    let bodies: Vec<String> = (1..=10).map(|n| format!("[[{n}, 0.5], [0, {n}]]")).collect();
    let answers = at_once(&server, "/scale", &bodies);
    for (n, answer) in (1..=10).zip(answers) {
        assert_eq!(answer, json!([[f64::from(2 * n), 1.0], [0.0, f64::from(2 * n)]]));
    }
    let sizes = sizes(&server, "model");
    assert_eq!(sizes.iter().sum::<u64>(), 20, "{sizes:?}");
    let page = server.get("/metrics").text();
    let sum = "bentoml_runner_adaptive_batch_size_sum{method_name=\"scale\",runner_name=\"model\",";
    assert!(page.lines().any(|line| line.starts_with(sum) && line.ends_with(" 20.0")), "{page}");
    assert!(sizes.len() < 8, "hardly anything was merged: {sizes:?}");
}

/// Scenario 14: columns are merged, rows are split.
#[test]
fn the_dimensions_of_input_and_output_may_differ() {
    let server = start();
    let bodies: Vec<String> = (1..=6).map(|n| format!("[[{n}, 0], [1, {n}]]")).collect();
    for (n, answer) in (1..=6).zip(at_once(&server, "/columns", &bodies)) {
        assert_eq!(answer, json!([n + 1, n]));
    }
    let sizes = sizes(&server, "model");
    assert!(sizes.iter().sum::<u64>() == 12 && sizes.len() < 6, "{sizes:?}");
}

/// Scenario 16: one runner prepares, two compute side by side.
#[test]
fn runners_work_side_by_side() {
    let server = start();
    let bodies: Vec<String> = (1..=8).map(|n| format!("[[{n}]]")).collect();
    for (n, answer) in (1..=8).zip(at_once(&server, "/both", &bodies)) {
        assert_eq!(answer, json!([[2 * n * 2 + 2 * n * 10]]));
    }
    assert!(sizes(&server, "other").iter().all(|size| *size <= 4), "its `max_batch_size` is 4");
}

#[test]
fn several_arguments_share_the_dimension_and_several_results_are_split() {
    let server = start();
    let bodies: Vec<String> = (1..=5).map(|n| format!("[{n}, {}]", n + 1)).collect();
    for (n, answer) in (1..=5).zip(at_once(&server, "/pairs", &bodies)) {
        let texts = json!([n.to_string(), (n + 1).to_string()]);
        assert_eq!(answer, json!({"total": [2 * n, 2 * n + 2], "texts": texts}));
    }
}

#[test]
fn every_runner_has_its_own_processes_and_threads() {
    let server = start();
    let where_ = server.post("/where", "").json();
    let pids: BTreeSet<u64> = ["model", "other"]
        .map(|name| where_[name]["pid"].as_u64().expect("a process number"))
        .into_iter()
        .chain([where_["api"].as_u64().expect("a process number")])
        .collect();
    assert_eq!(pids.len(), 3, "{where_}");
    assert_eq!(
        where_["inside"]["pid"], where_["api"],
        "an embedded runner is in the process of the function"
    );
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).to_string();
    assert_eq!(where_["model"]["threads"], json!(cores));
    assert_eq!(where_["single"], json!("1"));
    assert_eq!((&where_["model"]["factor"], &where_["other"]["factor"]), (&json!(2), &json!(10)));
}

#[test]
fn what_fails_in_a_runner_is_told_at_once() {
    let server = start();
    let missing = r#""BentoService error handling API request: nothing of that name""#;
    server.post("/fail", "missing").expect(404, JSON, missing);
    assert_eq!(server.post("/fail", "this").status, 500);
    server.wait_for("cause", || server.log().contains("ValueError: cannot use this"));
    let lost = server.post("/die", "");
    assert_eq!(lost.status, 503);
    server.wait_for("new worker", || server.get("/readyz").status == 200);
    assert_eq!(server.post("/scale", "[[1]]").json(), json!([[2]]));
}

#[test]
fn asynchronous_and_streaming_methods_are_called() {
    let server = start();
    assert_eq!(server.post("/later", "abc").text(), "ABC");
    let stream = server.post("/letters", "abc");
    assert_eq!((stream.text(), stream.is_whole), ("abc".to_owned(), true));
}

#[test]
fn the_configuration_says_how_many_workers_a_runner_has() {
    let file = "runners:\n  single:\n    resources: {cpu: 3}\n    workers_per_resource: 2\n";
    let plan = plan().file("bentoml.yaml", file);
    let path = plan.path().join("bentoml.yaml").to_str().expect("a plain path").to_owned();
    let server = plan.env("BENTOML_CONFIG", &path).start_ready();
    server.wait_for("six workers", || server.log().contains("[runner:single:6] Runner single initialized"));
}

/// In development everything is in one process.
#[test]
fn development_keeps_runners_in_the_process() {
    let server = plan().arguments(&["--development"]).start_ready();
    let where_ = server.post("/where", "").json();
    assert_eq!(where_["model"]["pid"], where_["api"]);
    assert_eq!(server.post("/both", "[[1]]").json(), json!([[24]]));
}
