//! A real model: the example project computes what the package of the model computes, with files from the tests' hub.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::containers::{Container, load};
use crate::support::context::TestContext;
use crate::support::docker_engine::DockerEngine;
use crate::support::hub::Hub;
use crate::support::hub_client::HubClient;
use crate::support::image::Written;
use crate::support::peers::{self, Venv};
use crate::support::sources::repository;

const ID: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// Switches off what needs the frameworks' environment.
const SWITCH: &str = "EKIBEN_TEST_WITHOUT_FRAMEWORKS";

/// Of numbers of a vector of length 1, recorded with six digits and computed with 32 bits in another order.
const SAME_WITHIN: f64 = 5e-6;

/// Makes one instance of the service and lets it encode the texts on its input.
const ENCODE: &str = "
import json, sys
from service import MiniLM
vectors = MiniLM().encode(json.loads(sys.argv[1]))
assert str(vectors.dtype) == 'float32', vectors.dtype
json.dump(vectors.tolist(), sys.stdout)
";

fn recorded() -> Value {
    let path = repository().join("testdata/minilm/embeddings.json");
    serde_json::from_str(&fs::read_to_string(path).expect("the record is there")).expect("the record is JSON")
}

fn assert_same(computed: &Value, recorded: &Value) {
    let vectors = |value: &Value| -> Vec<Vec<f64>> {
        serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("no vectors: {error}\n{value}"))
    };
    let (computed, recorded) = (vectors(computed), vectors(recorded));
    assert_eq!(computed.len(), recorded.len());
    for (index, (computed, recorded)) in computed.iter().zip(&recorded).enumerate() {
        assert_eq!((computed.len(), recorded.len()), (384, 384));
        let differences = computed.iter().zip(recorded).map(|(left, right)| (left - right).abs());
        let largest = differences.fold(0.0, f64::max);
        assert!(largest <= SAME_WITHIN, "text {index} differs by {largest}");
    }
}

#[test]
fn upstream_serves_the_project_from_the_hub_and_computes_what_the_package_does() {
    if peers::is_switched_off(SWITCH) {
        return;
    }
    let (context, hub) = (TestContext::new(), Hub::start());
    let commit = hub.repository(ID).commit(&peers::minilm());
    let client = HubClient::new(&context, &hub, &context.work().join("home")).of(Venv::Frameworks);
    let project = context.project("minilm");
    let encode = |texts: &Value| {
        let python = client.python().directory(&project).any_stderr();
        python.args(["-c", ENCODE, &texts.to_string()]).run().json()
    };

    let recorded = recorded();
    let texts = recorded["texts"].as_array().expect("texts");
    assert!(texts.len() >= 5, "{texts:?}");
    assert_same(&encode(&recorded["texts"]), &recorded["embeddings"]);
    // Alone as together: padding changes nothing.
    assert_same(&encode(&json!([texts[0]])), &json!([recorded["embeddings"][0]]));
    assert_eq!(encode(&json!([])), json!([]));

    let snapshot =
        client.cache().join("models--sentence-transformers--all-MiniLM-L6-v2/snapshots").join(commit);
    assert_same_files(&snapshot, &peers::minilm());
    assert_eq!(hub.requests("GET", "model.safetensors").len(), 1);
    assert!(hub.sent("model.safetensors") > 90_000_000);
}

/// What a program in a container says of the model, and of its service.
const INSIDE: &str = "
import json, os, sys, time, urllib.request
from bentoml.models import HuggingFaceModel
from huggingface_hub import snapshot_download

identifier, texts = sys.argv[1], json.loads(sys.argv[2])
deadline = time.monotonic() + 90
while True:
    try:
        urllib.request.urlopen('http://127.0.0.1:3000/readyz', timeout=10)
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
body = json.dumps({'texts': texts}).encode()
request = urllib.request.Request(
    'http://127.0.0.1:3000/encode', data=body, headers={'content-type': 'application/json'}
)
embeddings = json.load(urllib.request.urlopen(request, timeout=60))
json.dump(
    {
        'embeddings': embeddings,
        'user': [os.getuid(), os.getgid()],
        'interfaces': sorted(os.listdir('/sys/class/net')),
        'named': sorted(name for name in os.environ if name.startswith('HF_')),
        'client': snapshot_download(identifier, local_files_only=True),
        'client_finds': snapshot_download(identifier),
        'sdk': HuggingFaceModel(identifier).resolve(),
    },
    sys.stdout,
)
";

/// Longer than 64 MiB: files of that size have a layer each.
const WEIGHTS: &str = "model sentence-transformers/all-MiniLM-L6-v2 (model.safetensors)";

#[test]
fn the_image_computes_what_the_package_does_without_a_network_as_any_user() {
    let (context, hub) = (TestContext::with_shared_cache(), Hub::start());
    let commit = hub.repository(ID).commit(&peers::minilm());
    let ekiben = |arguments: &[&str]| {
        let command = context.ekiben(arguments.iter().copied()).env("HF_ENDPOINT", hub.endpoint());
        command.env("HF_HOME", context.work().join("hf"))
    };
    let project = context.project("minilm");
    let _built = ekiben(&["build", project.to_str().unwrap(), "--version", "v1"]).run();
    let written = Written::by(ekiben(&["containerize", "minilm:v1", "--to", "oci-archive:minilm.tar"]));
    let archive = context.work().join("minilm.tar");
    context.verify_image(&archive);
    let layers = written.layers.iter().map(|(title, _)| title.as_str());
    let models: Vec<_> = layers.filter(|title| title.starts_with("model ")).collect();
    assert_eq!((models.len(), models[0]), (2, WEIGHTS), "{models:?}");

    let Some(engine) = DockerEngine::shared() else { return };
    load(&engine, &archive);
    let recorded = recorded();
    let texts = recorded["texts"].to_string();
    let snapshot = format!(
        "/home/bentoml/bento/hf-models/models--sentence-transformers--all-MiniLM-L6-v2/snapshots/{commit}"
    );
    for (options, user) in [
        (["--network", "none"].as_slice(), [1034, 1034]),
        (&["--network", "none", "--user", "123456:0"], [123_456, 0]),
        (&["--network", "none", "--user", "123456:0", "--env", "HF_HUB_OFFLINE=1"], [123_456, 0]),
    ] {
        let container = Container::run(&engine, options, "minilm:v1");
        let said = container.exec(&["python", "-c", INSIDE, ID, &texts]);
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}\n{said}"));
        assert_same(&said["embeddings"], &recorded["embeddings"]);
        assert_eq!((&said["user"], &said["interfaces"]), (&json!(user), &json!(["lo"])));
        let is_told = options.contains(&"HF_HUB_OFFLINE=1");
        let named = if is_told { json!(["HF_HUB_CACHE", "HF_HUB_OFFLINE"]) } else { json!(["HF_HUB_CACHE"]) };
        assert_eq!(said["named"], named);
        for finder in ["client", "client_finds", "sdk"] {
            assert_eq!(said[finder], json!(snapshot), "{finder}");
        }
        assert_eq!(container.stop(), "0", "{}", container.logs());
    }
}

#[test]
fn upstream_pins_the_commit_of_the_hub() {
    if peers::is_switched_off(SWITCH) {
        return;
    }
    let (context, hub) = (TestContext::with_shared_cache(), Hub::start());
    let commit = hub.repository(ID).commit(&peers::minilm());
    let client = HubClient::new(&context, &hub, &context.work().join("home")).of(Venv::Frameworks);
    let build = client.python().directory(&context.project("minilm")).any_stderr();
    let tag = build.args(["-m", "bentoml", "build", "--output", "tag"]).run().stdout;
    let (name, version) =
        tag.trim().strip_prefix("__tag__:").and_then(|tag| tag.split_once(':')).expect("a tag");
    let bento = context.bentoml_home().join("bentos").join(name).join(version);
    let document = fs::read_to_string(bento.join("bento.yaml")).expect("the bento is there");
    for line in [
        format!("revision: {commit}"),
        format!("endpoint: {}", hub.endpoint()),
        // Upstream's own: the hub has to know the name so, too.
        format!("model_id: {}", ID.to_lowercase()),
    ] {
        assert!(document.contains(&line), "no `{line}` in\n{document}");
    }
    let asked: Vec<String> = hub.take_log().into_iter().filter(|line| line.contains(ID)).collect();
    assert_eq!(asked, [format!("GET /api/models/{ID}/revision/main")]);
}

#[test]
fn close_meanings_have_close_vectors() {
    let recorded = recorded();
    let vector = |index: usize| -> Vec<f64> {
        serde_json::from_value(recorded["embeddings"][index].clone()).expect("a vector")
    };
    let closeness = |left: usize, right: usize| -> f64 {
        vector(left).iter().zip(vector(right)).map(|(left, right)| left * right).sum()
    };
    assert!((closeness(0, 0) - 1.0).abs() < 1e-4);
    assert!(closeness(0, 1) > 0.7, "{}", closeness(0, 1));
    assert!(closeness(0, 2) < 0.2, "{}", closeness(0, 2));
}

fn assert_same_files(left: &Path, right: &Path) {
    for entry in walkdir::WalkDir::new(right) {
        let entry = entry.expect("the directory can be walked");
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(right).expect("the walk started there");
            let same = fs::read(left.join(name)).unwrap() == fs::read(entry.path()).unwrap();
            assert!(same, "{} differs", name.display());
        }
    }
}
