//! `ekiben-serve`: models read ahead while the workers start.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

use std::fs::{self, File};

use rustix::process::Signal;

use crate::support::serve::Plan;

/// More than what counts as a small file.
const LARGE: u64 = 3 << 20;

/// The image of a bento with a model of its store and one of the hub, of which it has the files.
fn image() -> Plan {
    let plan = Plan::fake_anywhere();
    let bento = plan.path().join("bento");
    let entries = "- name: Iris\n  models:\n  - {tag: 'iris:v1', registry: bentoml}\n  - tag: org--name:f00\n    registry: \
        huggingface\n    metadata: {model_id: org/name, revision: c0ffee}\n";
    let yaml = format!("name: iris\nversion: v7\nservice: service:Iris\nservices:\n{entries}");
    let plan = plan
        .file("bento/bento.yaml", &yaml)
        .file("bento/src/service.py", "")
        .file("bento/models/iris/v1/model.yaml", "12345")
        .file("bento/hf-models/models--org--name/snapshots/c0ffee/config.json", "12")
        .env("BENTO_PATH", bento.to_str().unwrap())
        .env("BENTOML_HF_CACHE_DIR", bento.join("hf-models").to_str().unwrap())
        .env("BENTOML_CONTAINERIZED", "true")
        .arguments(&["--verbose"]);
    File::create(bento.join("models/iris/v1/weights.bin")).unwrap().set_len(LARGE).unwrap();
    plan
}

#[test]
fn the_models_of_a_bento_are_read_ahead() {
    let server = image().start_ready();
    let line = format!("[DEBUG] [read-ahead] read {} bytes of 3 files ahead in ", LARGE + 7);
    server.wait_for("the log's line", || server.log().contains(&line));
    let _ended = server.stop(Signal::TERM).succeeded();
}

#[test]
fn reading_ahead_can_be_turned_off() {
    let server = image().env("EKIBEN_READ_AHEAD", "off").start_ready();
    let ended = server.stop(Signal::TERM).succeeded();
    assert!(!ended.stdout.contains("read-ahead"), "{}", ended.stdout);
}

#[test]
fn models_that_are_missing_or_odd_do_not_hold_the_start() {
    let plan = image();
    let models = plan.path().join("bento/models/iris");
    fs::rename(models.join("v1"), models.join("v2")).unwrap();
    let hub = plan.path().join("bento/hf-models/models--org--name/snapshots/c0ffee");
    std::os::unix::fs::symlink("nowhere", hub.join("model.safetensors")).unwrap();
    std::os::unix::fs::symlink(".", hub.join("loop")).unwrap();
    let server = plan.start_ready();
    server.wait_for("the log's lines", || {
        let log = server.log();
        log.contains("[DEBUG] [read-ahead] model `iris:v1` is not where it is looked for")
            && log.contains("[DEBUG] [read-ahead] read 2 bytes of 1 files ahead in ")
    });
    let _ended = server.stop(Signal::TERM).succeeded();
}
