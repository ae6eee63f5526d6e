//! The image that is written is accepted by the tools of others, runs without a network, and predicts as the model does.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::support::containers::{Container, load};
use crate::support::context::TestContext;
use crate::support::docker_engine::DockerEngine;
use crate::support::docker_registry::DockerRegistry;
use crate::support::image::Written;
use crate::support::iris::{IRIS, assert_serves, predict_at};
use crate::support::peers;
use crate::support::web::wait_until_ready;

/// A container starts an interpreter and imports scikit-learn, on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(90);

/// A user that no image knows, in the group of the superuser, as `OpenShift` runs containers.
const RANDOM_USER: &str = "123456:0";

/// The image that these tests look at, each in its own way; it goes with the last of them.
static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());

struct Shared {
    context: TestContext,
    written: Written,
}

/// A context with the bento, and its image in `iris.tar` and `layout`.
fn with_image() -> Arc<Shared> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let context = TestContext::with_shared_cache();
        context.build_iris();
        let to = ["--to", "oci-archive:iris.tar", "--to", "oci:layout:v1"];
        let written = Written::by(context.ekiben(["containerize", IRIS]).args(to));
        let image = Arc::new(Shared { context, written });
        *shared = Arc::downgrade(&image);
        image
    })
}

#[test]
fn skopeo_reads_the_archive_and_the_layout_with_the_same_digest() {
    let image = with_image();
    let Shared { context, written } = &*image;
    for source in ["oci-archive:iris.tar", "oci:layout:v1"] {
        let skopeo = context.command(&peers::system("skopeo"));
        let inspected = skopeo.args(["inspect", source]).any_stderr().run().json();
        assert_eq!(inspected["Digest"], written.digest.as_str(), "{source}");
        assert_eq!(inspected["Os"], "linux");
        assert_eq!(inspected["Layers"].as_array().map(Vec::len), Some(written.layers.len()));
    }
    let copy = ["copy", "oci-archive:iris.tar", "dir:copy"];
    let copied = context.command(&peers::system("skopeo")).args(copy).any_stderr().run();
    assert!(
        copied.stdout.contains("Writing manifest"),
        "skopeo verifies every blob it copies: {}",
        copied.stdout
    );
}

#[test]
fn a_receipt_says_the_whole_name_and_the_destinations_own_wins() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    let to = ["--to", "oci:layout:v1", "--to", "oci:layout", "--to", "oci-archive:iris.tar"];
    let warning =
        "the image at `oci:layout:v1` is called `v1:latest`, as the destination says, and not `me/iris:2`";
    let command = context.ekiben(["containerize", IRIS, "-t", "me/iris:2", "-o", "json"]).args(to);
    let document = command.stderr(warning).run().json();
    let receipts: Vec<_> = document["receipts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|receipt| &receipt["destination"])
        .collect();
    assert_eq!(receipts, ["oci:layout:v1", "oci:layout:me/iris:2", "oci-archive:iris.tar:me/iris:2"]);
    for source in ["oci:layout:v1", "oci:layout:me/iris:2", "oci-archive:iris.tar:me/iris:2"] {
        let skopeo = context.command(&peers::system("skopeo"));
        let inspected = skopeo.args(["inspect", source]).any_stderr().run().json();
        assert_eq!(inspected["Digest"], document["digest"], "{source}");
    }
    let both = ["-t", "me/iris:2", "--to", "oci:layout:me/iris:2"];
    let again = context.ekiben(["containerize", IRIS]).args(both).run();
    assert!(again.stdout.contains("  unchanged: oci:layout:me/iris:2"), "{}", again.stdout);
}

#[test]
fn umoci_unpacks_the_layout_with_the_files_where_the_contract_wants_them() {
    let image = with_image();
    let context = &image.context;
    let unpack = ["unpack", "--rootless", "--image", "layout:v1", "bundle"];
    let unpacked = context.command(&peers::system("umoci")).args(unpack).any_stderr().run();
    assert!(!unpacked.stdout.contains("error"), "{}", unpacked.stdout);
    let root = context.work().join("bundle/rootfs");
    for path in [
        "app/bin/ekiben-serve",
        "app/.venv/bin/python",
        "home/bentoml/bento/bento.yaml",
        "home/bentoml/bento/src/service.py",
        "home/bentoml/bento/models/iris_clf/latest",
        "etc/ssl/certs/ca-certificates.crt",
    ] {
        assert!(root.join(path).symlink_metadata().is_ok(), "{path} is not in the image");
    }
    for path in ["home/bentoml/bento/src/train.py", "usr/bin/gcc"] {
        assert!(!root.join(path).exists(), "{path} is in the image");
    }
}

#[test]
fn the_loaded_image_serves_without_a_network_as_any_user() {
    let image = with_image();
    let context = &image.context;
    let expected = context.predict_in_process();
    let Some(engine) = DockerEngine::shared() else { return };
    load(&engine, &context.work().join("iris.tar"));
    for user in [&[][..], &["--user", RANDOM_USER]] {
        let container = Container::run(&engine, user, IRIS);
        container.visit(|address| {
            wait_until_ready(address, STARTS_WITHIN);
            assert_serves(address, &expected);
        });
        assert_eq!(container.stop(), "0", "{}", container.logs());
    }
}

#[test]
fn the_container_keeps_the_contract_of_users_paths_and_variables() {
    let image = with_image();
    let context = &image.context;
    let Some(engine) = DockerEngine::shared() else { return };
    load(&engine, &context.work().join("iris.tar"));
    let container = Container::run(&engine, &["--env", "PORT=3000"], IRIS);
    container.visit(|address| wait_until_ready(address, STARTS_WITHIN));
    let program = "import getpass, os, json, bentoml, numpy; print(json.dumps([os.getuid(), os.getgid(), \
        getpass.getuser(), os.getcwd(), os.environ['BENTO_PATH'], os.access('/home/bentoml', os.W_OK), bentoml.__name__]))";
    let seen: serde_json::Value =
        serde_json::from_str(&container.exec(&["python", "-c", program])).expect("JSON");
    let path = "/home/bentoml/bento";
    assert_eq!(seen, serde_json::json!([1034, 1034, "bentoml", path, path, true, "ekiben"]));
}

#[test]
fn an_image_written_into_the_engine_is_the_image_of_the_archive() {
    let image = with_image();
    let context = &image.context;
    let Some(engine) = DockerEngine::shared() else { return };
    let to = format!("docker-daemon:{IRIS}");
    let containerize = context.ekiben(["containerize", IRIS, "--to", &to]).env("DOCKER_HOST", engine.host());
    let written = Written::by(containerize);
    assert_eq!(written.packed, Vec::<String>::new());
    let container = Container::run(&engine, &[], IRIS);
    let expected = context.predict_in_process();
    container.visit(|address| {
        wait_until_ready(address, STARTS_WITHIN);
        assert_eq!(predict_at(address), expected);
    });
}

#[test]
fn an_image_in_a_registry_is_not_sent_again_and_can_be_a_base() {
    let image = with_image();
    let Shared { context, written: local } = &*image;
    let Some(registry) = DockerRegistry::plain() else { return };
    let to = format!("docker://{}/team/iris:v1", registry.host());
    let pushed = Written::by(context.ekiben(["containerize", IRIS, "--to", &to]));
    assert_eq!(pushed.digest, local.digest);
    let inspect = ["inspect", "--tls-verify=false", &to];
    let skopeo = context.command(&peers::system("skopeo"));
    let inspected = skopeo.args(inspect).any_stderr().run().json();
    assert_eq!(inspected["Digest"], local.digest.as_str());
    let again = context.ekiben(["containerize", IRIS, "--to", &to, "-o", "json"]).run().json();
    assert_eq!(again["receipts"][0]["bytes_written"], 0, "{again}");
    let from = context.ekiben(["containerize", IRIS, "--base", &to, "--to", "oci:from-registry"]);
    assert!(Written::by(from).layers.len() > local.layers.len());
}

#[test]
fn an_image_of_an_upstream_bento_serves() {
    let context = TestContext::with_shared_cache();
    context.train_iris_upstream();
    let tag = context.build_iris_upstream();
    let Some(engine) = DockerEngine::shared() else { return };
    let image = "iris:upstream";
    let containerize = context.ekiben(["containerize", &tag, "-t", image, "--to", "oci-archive:iris.tar"]);
    assert!(Written::by(containerize).digest.starts_with("sha256:"));
    load(&engine, &context.work().join("iris.tar"));
    let container = Container::run(&engine, &[], image);
    let expected = context.predict_in_process();
    container.visit(|address| {
        wait_until_ready(address, STARTS_WITHIN);
        assert_serves(address, &expected);
    });
}
