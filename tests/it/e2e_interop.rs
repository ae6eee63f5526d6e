//! One store, two tools: what one builds, the other serves and puts into images. What else they do with it is
//! `e2e_matrix`.

use std::time::Duration;

use crate::support::context::TestContext;
use crate::support::image::Written;
use crate::support::iris::{IRIS, assert_serves};
use crate::support::service::Service;
use crate::support::web::{free_port, loopback, wait_until_ready};

/// Upstream's server starts several interpreters, one after the other.
const STARTS_WITHIN: Duration = Duration::from_secs(90);

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
