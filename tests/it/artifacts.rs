//! Models and bentos in registries: what goes there comes back, and nothing is sent twice.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ekiben::oci::artifact::{Artifact, ArtifactLayer, Description, Part, Purpose};
use ekiben::oci::blob::BytesBlob;
use ekiben::oci::compress::Compression;
use ekiben::oci::digest::Digest;
use ekiben::registry::{Client, Settings};
use ekiben::report::Activity;
use ekiben::transport::registry::{Parcel, send};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::support::command::Command;
use crate::support::context::TestContext;
use crate::support::docker_registry::DockerRegistry;
use crate::support::peers;
use crate::support::web::free_port;

const MODEL_YAML: &str = "name: m\nversion: v1\nmodule: ''\nlabels: {}\noptions: {}\nmetadata: {}\ncontext:\n  \
                          framework_name: ''\n  framework_versions: {}\nsignatures: {}\napi_version: v1\n\
                          creation_time: '2026-01-01T00:00:00+00:00'\n";

/// Everything below a directory: path, digest of the content or target, mode, time.
fn tree(root: &Path) -> Vec<(String, String, u32, (i64, i64))> {
    let entries = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.path().symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            fs::read_link(entry.path()).unwrap().display().to_string()
        } else if metadata.is_file() {
            Digest::of(&fs::read(entry.path()).unwrap()).to_string()
        } else {
            String::new()
        };
        let path = entry.path().strip_prefix(root).unwrap().display().to_string();
        (path, content, metadata.permissions().mode(), (metadata.mtime(), metadata.mtime_nsec()))
    });
    entries.collect()
}

/// A model with everything that an artifact has to keep.
fn model(context: &TestContext, tag: &str) -> PathBuf {
    let files = context.work().join("files");
    fs::create_dir_all(files.join("sub/empty")).unwrap();
    fs::create_dir_all(files.join("closed")).unwrap();
    fs::write(files.join("weights.safetensors"), vec![3; 3_000_000]).unwrap();
    fs::write(files.join("sub/twin.bin"), vec![3; 3_000_000]).unwrap();
    fs::write(files.join("closed/weights.bin"), vec![4; 2_000_000]).unwrap();
    fs::write(files.join("sub/run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(files.join("sub/run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(files.join("closed/weights.bin"), fs::Permissions::from_mode(0o640)).unwrap();
    let _created = context.ekiben(["models", "create", tag, "--from", "files"]).run();
    fs::remove_dir_all(&files).unwrap();
    let path = stored(context, tag);
    symlink("sub/run.sh", path.join("link")).unwrap();
    fs::set_permissions(path.join("closed"), fs::Permissions::from_mode(0o750)).unwrap();
    path
}

fn stored(context: &TestContext, tag: &str) -> PathBuf {
    context.bentoml_home().join("models").join(tag.replace(':', "/"))
}

/// Nothing unfinished is in the home.
fn assert_no_remains(context: &TestContext) {
    let mut remains = Vec::new();
    for entry in walkdir::WalkDir::new(context.bentoml_home().join("tmp")) {
        let entry = entry.unwrap();
        let is_lock = entry.path().components().any(|part| part.as_os_str() == "locks");
        if entry.file_type().is_file() && !is_lock {
            remains.push(entry.into_path());
        }
    }
    assert!(remains.is_empty(), "{remains:?}");
}

fn skopeo(context: &TestContext, arguments: &[&str]) -> String {
    let command = Command::new(&peers::system("skopeo"), &context.work(), &BTreeMap::new());
    command.arg("--insecure-policy").args(arguments).run().stdout
}

#[test]
fn a_model_comes_back_as_it_was() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let (here, there) = (TestContext::new(), TestContext::new());
    let path = model(&here, "m:v1");
    let name = format!("docker://{}/team/m:1", registry.host());
    let pushed = here.ekiben(["models", "push", "m", &name, "-o", "json"]).run().json();
    assert_eq!((&pushed["tag"], &pushed["was_there"]), (&"m:v1".into(), &false.into()));
    // The two equal files are one blob.
    let written = pushed["bytes_written"].as_u64().unwrap();
    assert!((5_000_000..5_100_000).contains(&written), "{written}");
    let again = here.ekiben(["models", "push", "m:v1", &name]).run().stdout;
    assert!(again.contains("Successfully pushed model \"m:v1\"") && again.contains("was there"), "{again}");

    let manifest: Value =
        serde_json::from_str(&skopeo(&here, &["inspect", "--raw", "--tls-verify=false", &name])).unwrap();
    assert_eq!(manifest["artifactType"], "application/vnd.cncf.model.manifest.v1+json");
    let layers = manifest["layers"].as_array().unwrap();
    let raw =
        layers.iter().find(|layer| layer["annotations"]["org.cncf.model.filepath"] == "weights.safetensors");
    assert_eq!(raw.unwrap()["digest"], Digest::of(&vec![3; 3_000_000]).to_string());

    let pulled = there.ekiben(["models", "pull", &name]).run().stdout;
    assert_eq!(pulled, "Successfully pulled model \"m:v1\"\n");
    assert_eq!(tree(&stored(&there, "m:v1")), tree(&path));
    assert_no_remains(&there);
    let listed = there.ekiben(["models", "list", "-o", "json"]).run().json();
    assert_eq!(listed[0]["tag"], "m:v1");
    let skipped = there.ekiben(["models", "pull", &name]).run().stdout;
    assert_eq!(skipped, "Model \"m:v1\" already exists locally, skipping\n");

    // The same model from another home is the same artifact, and its blobs are not sent again.
    let other = format!("docker://{}/team/m:2", registry.host());
    let second = there.ekiben(["models", "push", "m:v1", &other, "-o", "json"]).run().json();
    assert_eq!(second["digest"], pushed["digest"]);
    assert_eq!(second["bytes_written"], 0);
}

/// A bento `b:v1` that needs the model `m:v1`.
fn bento_with_model(context: &TestContext) -> PathBuf {
    let bento = context.bentoml_home().join("bentos/b/v1");
    fs::create_dir_all(bento.join("src")).unwrap();
    fs::write(bento.join("src/service.py"), "pass\n").unwrap();
    let yaml = "service: service:S\nname: b\nversion: v1\nbentoml_version: 1.4.39\n\
                creation_time: '2026-01-01T00:00:00+00:00'\nlabels: {}\nspec: 2\nmodels:\n- tag: m:v1\n  module: ''\n  \
                creation_time: '2026-01-01T00:00:00+00:00'\n";
    fs::write(bento.join("bento.yaml"), yaml).unwrap();
    bento
}

#[test]
fn a_bento_brings_its_models() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let (here, there) = (TestContext::new(), TestContext::new());
    let path = model(&here, "m:v1");
    let bento = bento_with_model(&here);
    let model_name = format!("docker://{}/team/b:model", registry.host());
    let _pushed = here.ekiben(["models", "push", "m:v1", &model_name]).run();
    let name = format!("docker://{}/team/b:1", registry.host());
    let pushed = here.ekiben(["push", "b:v1", &name, "-o", "json"]).run().json();
    // The weights are there since the model was pushed.
    assert!(pushed["bytes_written"].as_u64().unwrap() < 100_000, "{pushed}");
    let refused = there.ekiben(["models", "pull", &name]).status(1);
    let _output = refused.stderr("it holds a bento, not a model").run();
    let pulled = there.ekiben(["pull", &name, "-o", "json"]).run().json();
    assert_eq!((&pulled["tag"], &pulled["models"][0]), (&"b:v1".into(), &"m:v1".into()));
    assert_eq!(tree(&stored(&there, "m:v1")), tree(&path));
    assert_eq!(tree(&there.bentoml_home().join("bentos/b/v1")), tree(&bento));
    assert_no_remains(&there);
    let again = there.ekiben(["pull", &name]).run().stdout;
    assert_eq!(again, "Bento \"b:v1\" exists in local bento store\n");
}

fn layer(purpose: Purpose, part: Part, bytes: Vec<u8>) -> ArtifactLayer {
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    ArtifactLayer { purpose, part, digest, size, blob: Arc::new(BytesBlob(Bytes::from(bytes))) }
}

fn file(path: &str, text: &str) -> ArtifactLayer {
    let part = Part::File { path: path.to_owned(), mode: 0o644, modified: None };
    layer(Purpose::Weight, part, text.as_bytes().to_vec())
}

fn tar(files: &[(&str, &str)], links: &[(&str, &str)]) -> ArtifactLayer {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        // Written as a hostile hand would: the builder refuses names that go up.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, text.as_bytes()).unwrap();
    }
    for (name, target) in links {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_mode(0o777);
        header.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut header, name, target).unwrap();
    }
    layer(Purpose::WeightConfig, Part::Tar(Compression::None), builder.into_inner().unwrap())
}

/// Puts an artifact of these layers into the registry.
fn put(context: &TestContext, registry: &DockerRegistry, name: &str, layers: Vec<ArtifactLayer>) -> String {
    let description = Description {
        name: "x".to_owned(),
        version: "x".to_owned(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        format: None,
    };
    let reference = format!("{}/{name}", registry.host());
    let http = ekiben::http::Client::new(&ekiben::http::ClientSettings::default()).unwrap();
    let client = Client::new(http, Settings::new(context.work().join("client")));
    let parcel = Parcel::of_artifact(&Artifact::new(&description, layers));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(send(&client, &reference.parse().unwrap(), parcel, &Activity::silent())).unwrap();
    format!("docker://{reference}")
}

#[test]
fn an_artifact_of_another_tool_becomes_a_model() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let context = TestContext::new();
    let layers = vec![
        file("model.gguf", "weights"),
        tar(&[("docs/README.md", "read me")], &[]),
        tar(&[("docs/LICENSE", "licence"), ("src/run.py", "pass")], &[]),
    ];
    let name = put(&context, &registry, "other/Llama-3:8b".to_lowercase().as_str(), layers);
    let pulled = context.ekiben(["models", "pull", &name]).run().stdout;
    assert_eq!(pulled, "Successfully pulled model \"llama-3:8b\"\n");
    let path = stored(&context, "llama-3:8b");
    let names: Vec<_> = tree(&path).into_iter().map(|(name, ..)| name).collect();
    let expected =
        ["docs", "docs/LICENSE", "docs/README.md", "model.gguf", "model.yaml", "src", "src/run.py"];
    assert_eq!(names, expected);
    let got = context.ekiben(["models", "get", "llama-3:8b", "-o", "json"]).run().json();
    assert_eq!(got["module"], "");
    assert_no_remains(&context);
}

#[test]
fn artifacts_that_are_no_good_leave_nothing() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let context = TestContext::new();
    let yaml = ("model.yaml", MODEL_YAML);
    let outside = context.work().join("outside");
    fs::create_dir(&outside).unwrap();
    let cases = [
        (vec![tar(&[yaml, ("../evil", "x")], &[])], "leads out of the archive"),
        (vec![tar(&[yaml], &[("d", outside.to_str().unwrap())]), file("d/evil", "x")], "archive member `d`"),
        (vec![tar(&[yaml, ("sub/a", "x")], &[("d", "sub")]), file("d/b", "x")], "in the place of `d/b`"),
        (vec![tar(&[yaml, ("a", "x")], &[]), file("a", "y")], "in the place of `a`"),
        (vec![tar(&[yaml, ("a", "x")], &[]), file("a/b", "y")], "in the place of `a/b`"),
        (vec![tar(&[yaml], &[]), tar(&[yaml], &[])], "in the place of `model.yaml`"),
        (vec![file("model.yaml", "{unclosed")], "it holds no usable model"),
    ];
    for (number, (layers, message)) in cases.into_iter().enumerate() {
        let name = put(&context, &registry, &format!("bad/m:{number}"), layers);
        let _output = context.ekiben(["models", "pull", &name]).status(1).stderr(message).run();
        assert_no_remains(&context);
    }
    assert_eq!(context.ekiben(["models", "list", "-o", "json"]).run().stdout, "[]\n");
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
    let nobody = format!("docker://127.0.0.1:{}/m:1", free_port());
    let unreachable = context.ekiben(["models", "pull", &nobody]).status(3);
    let _output = unreachable.stderr("cannot reach registry").stderr("hint: ").run();
    let absent = context.ekiben(["models", "push", "absent", &nobody]).status(1);
    let _output = absent.stderr("hint: run `ekiben models list`").run();
    let image = format!("docker://{}/bad/none:1", registry.host());
    let _output = context.ekiben(["models", "pull", &image]).status(1).stderr("bad/none").run();
    let other = context.ekiben(["models", "pull", "s3://somewhere"]).status(2);
    let _output = other.stderr("s3://somewhere").run();
}

#[test]
fn force_replaces_what_is_here_by_what_is_whole() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let (here, there) = (TestContext::new(), TestContext::new());
    let path = model(&here, "m:v1");
    let name = format!("docker://{}/team/m:1", registry.host());
    let _pushed = here.ekiben(["models", "push", "m:v1", &name]).run();
    // Where there is nothing to replace, it is as without `--force`.
    let pull = || there.ekiben(["models", "pull", &name, "--force"]);
    assert_eq!(pull().run().stdout, "Successfully pulled model \"m:v1\"\n");
    assert_eq!(tree(&stored(&there, "m:v1")), tree(&path));
    fs::write(stored(&there, "m:v1").join("weights.safetensors"), "spoilt").unwrap();
    fs::write(stored(&there, "m:v1").join("more"), "").unwrap();
    let pulled = pull().args(["-o", "json"]).run().json();
    assert_eq!((&pulled["tag"], &pulled["was_there"]), (&"m:v1".into(), &false.into()));
    assert_eq!(tree(&stored(&there, "m:v1")), tree(&path));
    assert_eq!(fs::read_to_string(there.bentoml_home().join("models/m/latest")).unwrap(), "v1");
    assert_no_remains(&there);

    // What is no good replaces nothing; nor does what says that it is something else.
    let whole = tree(&stored(&there, "m:v1"));
    let bad = put(&here, &registry, "bad/m:1", vec![tar(&[("model.yaml", "{unclosed")], &[])]);
    let _output = there.ekiben(["models", "pull", &bad, "--force"]).status(1).stderr("no usable model").run();
    let sly = put(&here, &registry, "bad/m:2", vec![tar(&[("model.yaml", MODEL_YAML)], &[])]);
    let refused = there.ekiben(["models", "pull", &sly, "--force"]).status(1);
    let _output = refused.stderr("cannot replace `m:v1`").stderr("says that it is `x:x`").run();
    assert_eq!(tree(&stored(&there, "m:v1")), whole);
    assert_no_remains(&there);
}

#[test]
fn force_replaces_a_bento_and_keeps_its_models() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let (here, there) = (TestContext::new(), TestContext::new());
    let path = model(&here, "m:v1");
    let bento = bento_with_model(&here);
    let name = format!("docker://{}/team/b:1", registry.host());
    let _pushed = here.ekiben(["push", "b:v1", &name]).run();
    let _pulled = there.ekiben(["pull", &name]).run();
    let pulled_bento = there.bentoml_home().join("bentos/b/v1");
    fs::remove_file(pulled_bento.join("src/service.py")).unwrap();
    fs::write(stored(&there, "m:v1").join("mine"), "").unwrap();
    let again = there.ekiben(["pull", &name, "-f"]).stderr("Model m:v1 already exists").run().stdout;
    assert_eq!(again, "Successfully pulled bento \"b:v1\"\n");
    assert_eq!(tree(&pulled_bento), tree(&bento));
    assert_eq!(tree(&stored(&there, "m:v1")).len(), tree(&path).len() + 1);
    assert_no_remains(&there);
}

#[test]
fn gc_deletes_what_is_old_and_unused() {
    let context = TestContext::new();
    fs::create_dir(context.work().join("files")).unwrap();
    fs::write(context.work().join("files/a"), "weights").unwrap();
    for (tag, day) in [("m:v1", 1_u64), ("m:v2", 2), ("m:v3", 3), ("n:v1", 1)] {
        let time = (1_767_225_600 + day * 86400).to_string();
        let label = if tag == "m:v2" { "stage=prod" } else { "stage=dev" };
        let create = ["models", "create", tag, "--from", "files", "--label", label];
        let _created = context.ekiben(create).env("SOURCE_DATE_EPOCH", time).run();
    }
    let now = (1_767_225_600_u64 + 10 * 86400).to_string();
    let gc = |arguments: &[&str]| {
        let all = ["models", "gc"].into_iter().chain(arguments.iter().copied());
        context.ekiben(all).env("SOURCE_DATE_EPOCH", &now)
    };
    let tags = |arguments: &[&str]| -> Vec<String> {
        let found = gc(&[arguments, &["--dry-run", "-o", "json"]].concat()).run().json();
        found.as_array().unwrap().iter().map(|item| item["tag"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(tags(&["--keep", "1"]), ["m:v1", "m:v2"]);
    assert_eq!(tags(&["--keep", "0"]), ["m:v1", "m:v2", "m:v3", "n:v1"]);
    assert_eq!(tags(&["--older-than", "8d"]), ["m:v1", "m:v2", "n:v1"]);
    assert_eq!(tags(&["--older-than", "8d", "--keep", "2"]), ["m:v1"]);
    assert_eq!(tags(&["--label", "stage=prod"]), ["m:v2"]);
    assert_eq!(tags(&["--label", "stage", "--keep", "2"]), ["m:v1"]);
    assert_eq!(tags(&["--label", "nobody"]), Vec::<String>::new());
    let _output = gc(&["-y"]).status(2).stderr("nothing says which models may go").run();
    let _output = gc(&["--older-than", "soon"]).status(2).stderr("is no age").run();
    // What a bento needs stays.
    let bento = context.bentoml_home().join("bentos/b/v1");
    fs::create_dir_all(&bento).unwrap();
    let yaml = "service: service:S\nname: b\nversion: v1\nbentoml_version: 1.4.39\n\
                creation_time: '2026-01-01T00:00:00+00:00'\nlabels: {}\nspec: 2\nmodels:\n- tag: m:v1\n  module: ''\n  \
                creation_time: '2026-01-01T00:00:00+00:00'\n";
    fs::write(bento.join("bento.yaml"), yaml).unwrap();
    assert_eq!(tags(&["--keep", "1"]), ["m:v2"]);
    let output = gc(&["--keep", "1", "-y"]).run().stdout;
    assert!(output.starts_with("Model(tag=\"m:v2\") deleted, "), "{output}");
    assert!(output.ends_with(" freed.\n"), "{output}");
    assert_eq!(gc(&["--keep", "1", "-y"]).run().stdout, "Nothing to delete.\n");
    // What nobody went on with goes, too; what was begun lately stays.
    let scratch = context.bentoml_home().join("tmp");
    let unfinished = |name: &str, day: u64| {
        let path = scratch.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "half").unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + day * 86400);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        path
    };
    let old = [unfinished("ekiben-upload-ab.json", 1), unfinished("ekiben-pulls/blobs/sha256/cd", 2)];
    let young = unfinished("ekiben-download-ef.part", 8);
    let found = gc(&["--keep", "1", "--dry-run", "-o", "json"]).run().json();
    let path = |name: &str| scratch.join(name).display().to_string();
    assert_eq!(
        found,
        json!([
            {"path": path("ekiben-pulls/blobs/sha256"), "size": 4, "changed": "2026-01-03T00:00:00Z", "deleted": false},
            {"path": path("ekiben-upload-ab"), "size": 4, "changed": "2026-01-02T00:00:00Z", "deleted": false},
        ])
    );
    let output = gc(&["--keep", "1", "--dry-run"]).run().stdout;
    assert!(
        output.contains("ekiben-upload-ab would be deleted, 4.00 B.\n8.00 B would be freed."),
        "{output}"
    );
    assert!(old.iter().all(|path| path.exists()));
    let output = gc(&["--keep", "1", "-y"]).run().stdout;
    assert!(output.contains("Unfinished transfer ") && output.ends_with("8.00 B freed.\n"), "{output}");
    assert!(old.iter().all(|path| !path.exists()) && young.exists());
    // A bento that cannot be read could need any of them.
    fs::write(bento.join("bento.yaml"), "{unclosed").unwrap();
    let output = gc(&["--keep", "0", "-y"]).any_stderr().run();
    assert_eq!(output.stdout, "Nothing to delete.\n");
    assert!(output.stderr.contains("bento.yaml"), "{}", output.stderr);
}

#[test]
fn a_list_says_why_an_item_cannot_be_read() {
    let context = TestContext::new();
    let models = context.bentoml_home().join("models");
    for (name, bytes) in [("bytes", &b"\xff\xfe"[..]), ("syntax", b"a: [1"), ("cycle", b"a: &a [*a]\n")] {
        fs::create_dir_all(models.join(name).join("v1")).unwrap();
        fs::write(models.join(name).join("v1/model.yaml"), bytes).unwrap();
    }
    // More than memory has, and a pipe that nobody writes to.
    for name in ["huge", "pipe"] {
        fs::create_dir_all(models.join(name).join("v1")).unwrap();
    }
    File::create(models.join("huge/v1/model.yaml")).unwrap().set_len(10 << 30).unwrap();
    let pipe = models.join("pipe/v1/model.yaml");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let listed = context.ekiben(["models", "list", "-o", "json"]).any_stderr().run();
    assert_eq!(listed.stdout, "[]\n");
    assert!(listed.stderr.contains("huge/v1/model.yaml`: it is larger than 16 MiB"), "{}", listed.stderr);
    assert!(listed.stderr.contains("pipe/v1/model.yaml`: it is not a file"), "{}", listed.stderr);
    for line in listed.stderr.lines() {
        let (path, reason) = line.split_once("model.yaml`: ").unwrap_or_else(|| panic!("no reason: {line}"));
        assert!(path.starts_with("WARNING: cannot ") && !reason.is_empty(), "{line}");
    }
    assert_eq!(listed.stderr.lines().count(), 5);
    let got = context.ekiben(["models", "get", "huge:v1"]).status(1).stderr("larger than 16 MiB").run();
    assert_eq!(got.stdout, "");
    // A pointer of that size names nothing: the newest is the latest.
    let latest = File::create(models.join("huge/latest")).unwrap();
    latest.set_len(10 << 30).unwrap();
    let _ =
        context.ekiben(["models", "get", "huge"]).status(1).stderr("no Models with name 'huge' exist").run();
}
