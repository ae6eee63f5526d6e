//! Which devices workers are given, and what is configured for runners and dependencies, with the fake worker and the
//! real SDK.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::peers::{Venv, program};
use crate::support::serve::{Plan, Server};

const SERVICE: &str = r#"
import os

import bentoml

AT_IMPORT = os.environ.get("CUDA_VISIBLE_DEVICES")


@bentoml.service(resources={"gpu": 1})
class Inner:
    @bentoml.api
    def devices(self) -> str:
        return os.environ["CUDA_VISIBLE_DEVICES"]


@bentoml.service(resources={"gpu": 2})
class Outer:
    inner = bentoml.depends(Inner)

    def __init__(self) -> None:
        self.at_start = os.environ.get("CUDA_VISIBLE_DEVICES")

    @bentoml.api
    def devices(self) -> list:
        return [self.at_start, self.inner.devices()]
"#;

fn sdk(target: &str, service: &str) -> Plan {
    let python = program(Venv::Sdk, "python").to_str().unwrap_or_default().to_owned();
    Plan::target(Some(target)).file("service.py", service).arguments(&["--python", &python])
}

/// The first worker is started before anybody knows what the service asks for: it is told before it makes the service.
#[test]
fn the_first_worker_is_told_its_devices_before_the_service_is_made() {
    let server = sdk("service:Outer", SERVICE).env("EKIBEN_DEVICES", "0,1,2").start_ready();
    assert_eq!(server.post("/devices", "{}").json(), json!(["0,1", "2"]));
    let plan = sdk("service:Outer", SERVICE).env("EKIBEN_DEVICES", "0,1,2");
    let server = plan.env("CUDA_VISIBLE_DEVICES", "2").start_ready();
    assert_eq!(server.post("/devices", "{}").json(), json!(["2", "2"]), "the user has decided");
}

#[test]
fn workers_that_are_started_again_have_their_devices_from_the_beginning() {
    let config = json!({"resources": {"gpu": 1}, "workers": 1});
    let server = Plan::fake("ok").env("EKIBEN_DEVICES", "5,6").config(&config).start_ready();
    let seen = |server: &Server| {
        let told = server.post("/headers", "{}").json();
        (told["place"].clone(), told["devices"].clone())
    };
    assert_eq!(seen(&server), (json!({"CUDA_VISIBLE_DEVICES": "5"}), Value::Null));
    assert_eq!(server.post("/die", "").status, 503);
    assert_eq!(seen(&server), (json!({}), json!("5")));
}

const RUNNERS: &str = include_str!("../../testdata/services/runners.py");

fn runners(config: &Value) -> Server {
    sdk("service:svc", RUNNERS)
        .env("BENTOML_CONFIG_OVERRIDES", &json!({ "runners": config }).to_string())
        .arguments(&["--api-workers", "2"])
        .start_ready()
}

fn sizes(server: &Server, path: &str, runner: &str) -> Vec<u64> {
    let calls: Vec<_> = (0..12).map(|n| server.post_later(path, &format!("[[{n}]]"))).collect();
    for call in calls {
        assert_eq!(call.join().expect("the client lives").status, 200);
    }
    serde_json::from_value(server.post("/seen", "").json()[runner].clone()).expect("a list of sizes")
}

/// What the code says wins over the configuration, and that over the defaults.
#[test]
fn batches_of_runners_are_configured() {
    let server = runners(&json!({"batching": {"max_batch_size": 3}}));
    let found = sizes(&server, "/scale", "model");
    assert!(found.contains(&3) && found.iter().all(|size| *size <= 3), "{found:?}");
    let found = sizes(&server, "/both", "other");
    assert!(found.contains(&4), "its code says 4: {found:?}");
    // One call with more rows than that is computed in parts.
    assert_eq!(server.post("/scale", "[[1], [2], [3], [4]]").json(), json!([[2], [4], [6], [8]]));
    let last: Vec<u64> =
        serde_json::from_value(server.post("/seen", "").json()["model"].clone()).expect("sizes");
    assert!(last.ends_with(&[3, 1]), "{last:?}");
    let server = runners(&json!({"model": {"batching": {"enabled": false}}}));
    let found = sizes(&server, "/scale", "model");
    assert_eq!(found, [1; 12]);
}

#[test]
fn calls_of_runners_are_limited() {
    let server = runners(&json!({"model": {"traffic": {"timeout": 0.02}}}));
    // As upstream: what a runner does not answer is an error of the server, and the log says which.
    assert_eq!(server.post("/scale", "[[1]]").status, 500);
    server.wait_for("reason", || server.log().contains("`runner:model.scale` took longer than 0.02 seconds"));
    let server =
        runners(&json!({"model": {"traffic": {"max_concurrency": 1}, "batching": {"enabled": false}}}));
    let calls: Vec<_> = (0..4).map(|_| server.post_later("/scale", "[[1]]")).collect();
    let mut statuses: Vec<u16> =
        calls.into_iter().map(|call| call.join().expect("it lives").status).collect();
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[3]), (200, 429), "{statuses:?}");
    let wrong = sdk("service:svc", RUNNERS)
        .env("BENTOML_CONFIG_OVERRIDES", r#"{"runners": {"model": {"resources": {"nvidia.com/gpu": 64}}}}"#);
    let wrong = wrong.run().failed(1);
    assert!(wrong.contains("`resources.nvidia.com/gpu` of the runner `model` is 64"), "{wrong}");
}

/// Readiness asks what the service calls, unless it is told not to.
#[test]
fn readiness_without_units_can_be_configured() {
    let broken = SERVICE.replace(
        "class Inner:",
        "class Inner:\n    def __init__(self):\n        import time; time.sleep(600)\n",
    );
    let server = sdk("service:Outer", &broken).start();
    server.wait_for("Outer", || server.log().contains("Service Outer initialized"));
    server.get("/readyz").expect(503, "text/plain; charset=utf-8", "Runners are not ready.");
    let _ended = server.stop(Signal::TERM);
    let plan = sdk("service:Outer", &broken);
    let server = plan.env("BENTOML_CONFIG_OPTIONS", "services.runner_probe.enabled=false").start();
    server.wait_for("Outer", || server.log().contains("Service Outer initialized"));
    assert_eq!(server.get("/readyz").status, 200);
    let _ended = server.stop(Signal::TERM);
}

/// Calls of dependencies and runners are counted under upstream's names.
#[test]
fn calls_of_units_are_counted() {
    let server = sdk("service:Outer", SERVICE).env("CUDA_VISIBLE_DEVICES", "").start_ready();
    assert_eq!(server.post("/devices", "{}").status, 200);
    let page = server.get("/metrics").text();
    let labels = |name: &str| {
        format!("runner_name=\"{name}\",service_name=\"{name}\",service_version=\"not available\"")
    };
    for name in ["Outer", "Inner"] {
        let labels = labels(name);
        for line in [
            format!(
                "bentoml_service_request_total{{endpoint=\"/devices\",http_response_code=\"200\",{labels}}} 1.0"
            ),
            format!(
                "bentoml_service_request_total{{endpoint=\"/devices\",http_response_code=\"500\",{labels}}} 0.0"
            ),
            format!("bentoml_service_request_in_progress{{endpoint=\"/devices\",{labels}}} 0.0"),
            format!(
                "bentoml_service_request_duration_seconds_count{{endpoint=\"/devices\",http_response_code=\"200\",{labels}}} 1.0"
            ),
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\nin\n{page}");
        }
    }
    let server = runners(&json!({}));
    assert_eq!(server.post("/scale", "[[1]]").status, 200);
    let page = server.get("/metrics").text();
    let line = "bentoml_runner_request_total{endpoint=\"/scale\",http_response_code=\"200\",runner_name=\"model\",service_name=\"";
    assert!(page.lines().any(|found| found.starts_with(line) && found.ends_with(" 1.0")), "{page}");
}
