//! One store, two tools: what ekiben builds is upstream's too, and the other way round.

use std::time::Duration;

use crate::support::context::TestContext;
use crate::support::image::Written;
use crate::support::iris::{IRIS, assert_serves};
use crate::support::service::Service;
use crate::support::web::{free_port, loopback, wait_until_ready};

/// Upstream's server starts several interpreters, one after the other.
const STARTS_WITHIN: Duration = Duration::from_secs(90);

#[test]
fn upstream_lists_and_gets_a_bento_of_ekiben() {
    let context = TestContext::with_shared_cache();
    let model = context.build_iris();
    let listed = context.bentoml(["list", "-o", "json"]).any_stderr().run().json();
    let tags: Vec<_> = listed.as_array().expect("a list").iter().map(|bento| &bento["tag"]).collect();
    assert_eq!(tags, [IRIS]);
    let bento = context.bentoml(["get", IRIS, "-o", "json"]).any_stderr().run().json();
    assert_eq!(bento["services"][0]["models"][0]["tag"], model);
    assert_eq!(bento["labels"], serde_json::json!({"owner": "examples", "stage": "demo"}));
    assert_eq!(bento["entry_service"], "IrisClassifier");
}

#[test]
fn upstream_serves_a_bento_of_ekiben() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    let port = free_port();
    let serve = context.bentoml(["serve", IRIS, "--port"]).arg(port.to_string());
    let service = Service::start(&serve);
    wait_until_ready(loopback(port), STARTS_WITHIN);
    assert_serves(loopback(port), &context.predict_in_process());
    let (status, output) = service.stop();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[test]
fn ekiben_lists_and_gets_a_bento_and_a_model_of_upstream() {
    let context = TestContext::with_shared_cache();
    let model = context.train_iris_upstream();
    let tag = context.build_iris_upstream();
    assert_eq!(context.ekiben(["list", "-o", "json"]).run().json()[0]["tag"], tag);
    assert_eq!(context.ekiben(["models", "list", "-o", "json"]).run().json()[0]["tag"], model);
    let stored = context.ekiben(["models", "get", &model, "-o", "json"]).run().json();
    assert_eq!(stored["module"], "bentoml.sklearn");
    let bento = context.ekiben(["get", &tag, "-o", "json"]).run().json();
    assert_eq!(bento["services"][0]["models"][0]["tag"], model);
}

#[test]
fn ekiben_serves_a_bento_of_upstream() {
    let context = TestContext::with_shared_cache();
    context.train_iris_upstream();
    let tag = context.build_iris_upstream();
    let port = free_port();
    let service = Service::start(&context.ekiben(["serve", &tag, "--port"]).arg(port.to_string()));
    wait_until_ready(loopback(port), STARTS_WITHIN);
    assert_serves(loopback(port), &context.predict_in_process());
    let (status, output) = service.stop();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[test]
fn ekiben_containerizes_a_bento_of_upstream() {
    let context = TestContext::with_shared_cache();
    context.train_iris_upstream();
    let tag = context.build_iris_upstream();
    let archive = context.work().join("upstream.tar");
    let to = format!("oci-archive:{}", archive.display());
    assert!(Written::by(context.ekiben(["containerize", &tag, "--to", &to])).digest.starts_with("sha256:"));
    context.verify_image(&archive);
}

#[test]
fn each_deletes_what_the_other_made() {
    let context = TestContext::with_shared_cache();
    let ours = context.build_iris();
    let our_model_in_use = format!("Model {ours} is being used by the following bentos and can't be deleted");
    let refused = context.bentoml(["models", "delete", &ours, "-y"]).status(1);
    let _output = refused.stderr(&our_model_in_use).run();
    let deleted = context.bentoml(["delete", IRIS, "-y"]).any_stderr().run();
    assert!(deleted.stdout.contains("deleted."), "{}", deleted.stdout);
    let deleted = context.bentoml(["models", "delete", &ours, "-y"]).any_stderr().run();
    assert!(deleted.stdout.contains("deleted."), "{}", deleted.stdout);
    assert_eq!(context.ekiben(["list", "-o", "json"]).run().stdout, "[]\n");
    assert_eq!(context.ekiben(["models", "list", "-o", "json"]).run().stdout, "[]\n");

    let model = context.train_iris_upstream();
    let bento = context.build_iris_upstream();
    let in_use = format!("Model {model} is being used by the following bentos and can't be deleted");
    let _output = context.ekiben(["models", "delete", &model, "-y"]).status(1).stderr(&in_use).run();
    assert_eq!(
        context.ekiben(["delete", &bento, "-y"]).run().stdout,
        format!("Bento(tag=\"{bento}\") deleted.\n")
    );
    assert_eq!(
        context.ekiben(["models", "delete", &model, "-y"]).run().stdout,
        format!("Model(tag=\"{model}\") deleted.\n")
    );
    for list in [&["list", "-o", "json"][..], &["models", "list", "-o", "json"]] {
        let listed = context.bentoml(list.iter().copied()).any_stderr().run();
        assert_eq!(listed.json(), serde_json::json!([]));
    }
}
