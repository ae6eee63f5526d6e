//! `ekiben-serve` with the real SDK in its workers.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::support::context::TestContext;
use crate::support::peers::{Venv, program};
use crate::support::serve::{Plan, Server};
use crate::support::service::Service;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Starts the service in testdata.
fn demo() -> Server {
    plan(include_str!("../../testdata/services/demo/service.py")).start_ready()
}

fn plan(service: &str) -> Plan {
    let python = program(Venv::Sdk, "python");
    let python = python.to_str().unwrap_or_default().to_owned();
    Plan::target(None).file("service.py", service).arguments(&["--python", &python])
}

#[test]
fn apis_of_all_kinds_answer() {
    let server = demo();
    server.post("/greet", r#"{"name": "Bob"}"#).expect(200, TEXT, "Hello Bob");
    server.post("/v1/norm", r#"{"point": {"x": 3, "y": 4}}"#).expect(200, JSON, "5.0");
    server.post("/double", r#"{"a": [[1, 2], [3, 4]]}"#).expect(200, JSON, "[[2.0, 4.0], [6.0, 8.0]]");
    let stream = server.post("/count", r#"{"n": 3, "stop": 9}"#);
    assert_eq!((stream.status, stream.text(), stream.is_whole), (200, "0\n1\n2\n".to_owned(), true));
}

#[test]
fn errors_are_upstreams() {
    let server = demo();
    let missing = server.post("/greet", "{}");
    assert_eq!(missing.status, 400);
    assert_eq!(missing.json()["error"], "1 validation error for Input");
    assert_eq!(missing.json()["detail"][0]["loc"], json!(["name"]));
    let failed = server.post("/fail", "{}");
    failed.expect(500, JSON, r#"{"error":"An unexpected error has occurred, please check the server log."}"#);
    server.wait_for("traceback", || server.log().contains("ValueError: a detail for the log"));
    let cut = server.post("/count", r#"{"n": 3, "stop": 1}"#);
    assert_eq!((cut.status, cut.text(), cut.is_whole), (200, "0\n".to_owned(), false));
    assert_eq!(server.post("/die", "{}").status, 503);
    server.post("/greet", r#"{"name": "again"}"#).expect(200, TEXT, "Hello again");
}

#[test]
fn documents_describe_the_service() {
    let server = demo();
    let schema = server.get("/schema.json").json();
    assert_eq!((&schema["name"], &schema["type"]), (&json!("Demo"), &json!("service")));
    let routes = schema["routes"].as_array().map(|routes| routes.iter().map(|route| route["route"].clone()));
    let routes: Vec<_> = routes.into_iter().flatten().collect();
    assert_eq!(routes, ["/count", "/die", "/double", "/fail", "/greet", "/v1/norm"]);
    let docs = server.get("/docs.json").json();
    assert_eq!(docs["openapi"], "3.0.2");
    assert!(docs["paths"]["/v1/norm"]["post"].is_object(), "{docs}");
}

#[test]
fn hooks_decide_on_readiness_and_run_at_the_end() {
    let server = demo();
    std::fs::write(server.directory().join("busy"), "").expect("the directory is writable");
    server.get("/readyz").expect(503, TEXT, "Service is not ready because .__is_ready__() returns False.");
    let ended = server.stop(Signal::TERM).succeeded();
    let closed = std::fs::read_to_string(ended.directory.path().join("closed"));
    assert_eq!(closed.ok().as_deref(), Some("yes"));
}

#[test]
fn a_service_that_cannot_be_imported_says_why() {
    let ended = plan("import nothing_of_this_name\n").env("BENTOML_CONTAINERIZED", "true").run();
    assert!(ended.stdout.contains("Traceback (most recent call last)"), "{}", ended.stdout);
    let message = ended.failed(1);
    let reason = "the service cannot start (import): ";
    assert!(message.contains(reason) && message.contains("nothing_of_this_name"), "{message}");
}

/// The class-level models of a source directory are found without importing it; here they are the newest of the store.
#[test]
fn the_models_of_a_source_directory_are_read_ahead() {
    let context = TestContext::new();
    let (files, project) = (context.work().join("files"), context.work().join("project"));
    for directory in [&files, &project] {
        fs::create_dir(directory).expect("the directory is there");
    }
    fs::write(files.join("weights"), "12345").expect("the directory is there");
    let created = context.ekiben(["models", "create", "iris:v1", "--from", "files"]).run();
    assert!(created.stdout.contains("iris:v1"), "{}", created.stdout);
    let yaml =
        fs::metadata(context.bentoml_home().join("models/iris/v1/model.yaml")).expect("a stored model").len();
    let service = "import bentoml\n\n\n@bentoml.service\nclass Plain:\n    iris = bentoml.models.BentoModel('iris')\n\n    \
        @bentoml.api\n    def which(self) -> str:\n        return str(self.iris.tag)\n";
    fs::write(project.join("service.py"), service).expect("the directory is there");
    let python = program(Venv::Sdk, "python");
    let serve = context.ekiben(["serve", "project", "--port", "0", "--verbose", "--python"]).arg(python);
    let mut server = Service::start(&serve);
    let line = server.line_with("[read-ahead]");
    assert!(line.contains(&format!("read {} bytes of 2 files ahead in ", yaml + 5)), "{line}");
    let (status, output) = server.stop();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[test]
fn an_alias_of_the_bentofile_names_a_model_in_the_source_directory() {
    let service = "import bentoml\n\n\n@bentoml.service\nclass Plain:\n    def __init__(self):\n        \
        self.tag = str(bentoml.models.get('flower').tag)\n\n    @bentoml.api\n    def which(self) -> str:\n        return self.tag\n";
    let context = TestContext::new();
    let files = context.work().join("files");
    fs::create_dir(&files).expect("the directory is there");
    fs::write(files.join("weights"), "1").expect("the directory is there");
    let created = context.ekiben(["models", "create", "iris:v1", "--from", "files"]).run();
    assert!(created.stdout.contains("iris:v1"), "{}", created.stdout);
    let bentofile = "service: service:Plain\nmodels:\n- {tag: 'iris:latest', alias: flower}\n";
    let home = context.bentoml_home().display().to_string();
    let server = plan(service).file("bentofile.yaml", bentofile).env("BENTOML_HOME", &home).start_ready();
    server.post("/which", "{}").expect(200, TEXT, "iris:v1");
    // The build knows the alias too: nothing is missing in the container.
    let project = server.directory().to_str().expect("a plain path");
    assert!(context.ekiben(["build", project]).run().stdout.contains("model iris:v1"));
}
