//! Models of the Hugging Face Hub on the command line: fetched, listed, pruned, pinned, locked, and in images.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use walkdir::WalkDir;

use crate::support::command::{Command, Output};
use crate::support::context::{TestContext, copy_tree};
use crate::support::docker_registry::DockerRegistry;
use crate::support::hub::{ALWAYS, Fault, Hub};
use crate::support::hub_client::{HubClient, cache_tree};
use crate::support::image::Written;
use crate::support::peers;

pub(crate) const ID: &str = "Acme/Tiny-V1.5";
const TOKEN: &str = "hf_the5ecretThatNobodySees";

/// Large enough for a layer of its own.
const LARGE: usize = (64 << 20) + 4321;

/// A hub and a user.
pub(crate) struct World {
    pub(crate) context: TestContext,
    pub(crate) hub: Hub,
}

impl World {
    fn new() -> Self {
        Self { context: TestContext::with_shared_cache(), hub: Hub::start() }
    }

    /// A user whose caches are empty, too.
    pub(crate) fn alone() -> Self {
        Self { context: TestContext::new(), hub: Hub::start() }
    }

    pub(crate) fn large(&self) -> String {
        let bytes: Vec<u8> = (0..=250).cycle().take(LARGE).collect();
        let files: [(&str, &[u8]); 4] = [
            ("config.json", b"{\"model_type\": \"tiny\"}\n"),
            ("model.safetensors", &bytes),
            ("nested/tokenizer.json", b"{}"),
            ("pytorch_model.bin", b"the same in another form"),
        ];
        self.hub.repository(ID).commit_files(&files)
    }

    pub(crate) fn ekiben<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.on(&self.context, arguments)
    }

    /// `ekiben` on some machine, with this hub and a cache of its own.
    pub(crate) fn on<'a>(
        &self,
        machine: &TestContext,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Command {
        let home = machine.work().join("hf");
        machine.ekiben(arguments).env("HF_ENDPOINT", self.hub.endpoint()).env("HF_HOME", home)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.context.work().join("hf/hub")
    }

    pub(crate) fn theirs(&self, home: &str) -> HubClient<'_> {
        HubClient::new(&self.context, &self.hub, &self.context.work().join(home))
    }
}

/// A project whose service declares the model.
pub(crate) fn project(context: &TestContext, arguments: &str) -> PathBuf {
    let project = context.work().join("project");
    fs::create_dir_all(&project).unwrap();
    let service = format!(
        "import bentoml\nfrom bentoml.models import HuggingFaceModel\n\n\n@bentoml.service\nclass Tiny:\n    \
         weights = HuggingFaceModel(\"{ID}\"{arguments})\n\n    @bentoml.api\n    def where(self) -> str:\n        \
         return self.weights\n"
    );
    fs::write(project.join("service.py"), service).unwrap();
    let bentofile = "service: \"service:Tiny\"\npython: {lock_packages: false}\n";
    fs::write(project.join("bentofile.yaml"), bentofile).unwrap();
    project
}

fn titles(written: &Written) -> Vec<&str> {
    let models = written.layers.iter().filter(|(title, _)| title.starts_with("model "));
    models.map(|(title, _)| title.as_str()).collect()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A machine that has nothing but the project.
fn machine_with(project: &Path) -> TestContext {
    let machine = TestContext::new();
    copy_tree(project, &machine.work().join("project"));
    machine
}

/// The entry of the only model of a bento.
fn entry(bento: &Path) -> Value {
    let document = ekiben::yaml::read(&text(&bento.join("bento.yaml"))).unwrap().into_value().to_json();
    document["services"][0]["models"][0].clone()
}

#[test]
fn a_model_is_fetched_listed_and_pruned() {
    let world = World::new();
    let commit = world.large();
    world.hub.repository(ID).tag("v1", &commit);
    let name = format!("hf://{ID}@v1");
    let pulled = world.ekiben(["models", "pull", &name, "-o", "json"]).run().json();
    let path = world.cache().join("models--Acme--Tiny-V1.5/snapshots").join(&commit);
    assert_eq!(pulled["path"], path.to_str().unwrap());
    assert_eq!((&pulled["commit"], &pulled["files"]), (&json!(commit), &json!(4)));
    assert_eq!(pulled["downloaded"], pulled["size"]);
    world.theirs("theirs").snapshot(ID, &json!({"revision": "v1"})).unwrap();
    assert_eq!(cache_tree(&world.cache()), cache_tree(&world.context.work().join("theirs/hub")));

    let again = world.ekiben(["models", "pull", &name]).run().stdout;
    assert!(again.contains("4 files") && again.contains("0.00 B of them new"), "{again}");

    let listed = world.ekiben(["models", "list", "--hf", "-o", "json"]).run().json();
    assert_eq!(listed[0]["repository"], ID);
    assert_eq!((&listed[0]["references"], &listed[0]["files"]), (&json!("v1"), &json!("4")));

    let gc = |more: &[&'static str]| {
        world.ekiben(["models", "gc", "--hf", "--keep", "0"].into_iter().chain(more.iter().copied()))
    };
    let dry = gc(&["--dry-run"]).run().stdout;
    assert!(dry.contains(&format!("{ID}@{commit} would be deleted")), "{dry}");
    assert!(path.exists());
    let _gone = gc(&["--yes"]).run();
    assert_eq!(cache_tree(&world.cache()), "");
    let nothing = gc(&["--yes"]).run().stdout;
    assert_eq!(nothing, "Nothing to delete.\n");
}

#[test]
fn pruning_keeps_what_bentos_and_other_commits_need() {
    let world = World::new();
    let repository = world.hub.repository(ID);
    let old = repository.commit_files(&[("same", b"same"), ("other", b"old")]);
    let new = repository.commit_files(&[("same", b"same"), ("other", b"new")]);
    for revision in [&old, &new] {
        let _pulled = world.ekiben(["models", "pull", &format!("hf://{ID}@{revision}")]).run();
    }
    let built = project(&world.context, &format!(", revision=\"{old}\""));
    let _built = world.ekiben(["build", "--version", "v1"]).arg(&built).run();
    let gone = world.ekiben(["models", "gc", "--hf", "--keep", "0", "--yes", "-o", "json"]).run().json();
    assert_eq!(gone.as_array().unwrap().len(), 1, "{gone}");
    assert_eq!(gone[0]["commit"], json!(new));
    let root = world.cache().join("models--Acme--Tiny-V1.5");
    assert_eq!(text(&root.join("snapshots").join(&old).join("same")), "same");
    assert!(!root.join("snapshots").join(&new).exists());
    assert_eq!(fs::read_dir(root.join("blobs")).unwrap().count(), 2);
}

#[test]
fn a_bento_pins_what_the_original_tool_pins() {
    let world = World::new();
    let commit = world.large();
    for (number, arguments) in
        ["", ", include=[\"*.json\"]", ", revision=\"main\", exclude=[\"*.bin\", \"é*\"]"]
            .into_iter()
            .enumerate()
    {
        let project = project(&world.context, arguments);
        world.hub.take_log();
        let version = format!("ours{number}");
        let _built = world.ekiben(["build", "--version", &version]).arg(&project).run();
        assert_eq!(
            world.hub.take_log(),
            [format!("GET /api/models/{ID}/revision/main")],
            "nothing else is asked"
        );
        let theirs = format!("theirs{number}");
        let build = world.context.bentoml(["build", "--version", &theirs]).arg(&project);
        let _built = world.theirs("upstream").env(build).any_stderr().run();
        let bentos = world.context.bentoml_home().join("bentos/tiny");
        let (mut ours, mut theirs) = (entry(&bentos.join(version)), entry(&bentos.join(theirs)));
        assert_eq!(ours["metadata"]["revision"], json!(commit));
        for entry in [&mut ours, &mut theirs] {
            assert!(entry["creation_time"].take().is_string());
        }
        assert_eq!(ours, theirs, "{arguments}");
    }
}

#[test]
fn an_image_has_the_pinned_snapshot_in_layers_that_others_share() {
    let world = World::new();
    let commit = world.large();
    // What else the cache has of the repository stays out.
    let _other = world.hub.repository(ID).commit_files(&[("unrelated.json", b"{}")]);
    let project = project(&world.context, &format!(", revision=\"{commit}\", exclude=[\"*.bin\"]"));
    let _pulled = world.ekiben(["models", "pull", &format!("hf://{ID}")]).run();
    let _built = world.ekiben(["build", "--version", "v1"]).arg(&project).run();
    let archive = world.context.work().join("image.tar");
    let to = format!("oci-archive:{}", archive.display());
    let first = Written::by(world.ekiben(["containerize", "tiny:v1", "--to", &to]));
    world.context.verify_image(&archive);
    let own = format!("model {ID} (model.safetensors)");
    assert_eq!(titles(&first), [own.as_str(), &format!("model {ID} (2 files)")]);
    assert!(first.packed.iter().all(|title| !title.starts_with("model ")), "digests came with the download");

    // Another image with the same weights shares the layer.
    let all = self::project(&world.context, &format!(", revision=\"{commit}\""));
    let _built = world.ekiben(["build", "--version", "v2"]).arg(&all).run();
    let second = Written::by(world.ekiben(["containerize", "tiny:v2", "--to", &to]));
    let digest =
        |written: &Written| written.layers.iter().find(|(title, _)| *title == own).unwrap().1.clone();
    assert_eq!(digest(&first), digest(&second));
    assert_eq!(titles(&second)[1], format!("model {ID} (3 files)"));
}

#[test]
fn a_locked_project_is_built_without_a_byte_of_its_weights() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let world = World::new();
    world.large();
    let project = project(&world.context, "");
    let locked = world.ekiben(["lock"]).arg(&project).run().stdout;
    assert!(locked.contains(&format!("{ID}@main is ")) && locked.contains("1 model in 2 layers"), "{locked}");
    let to = format!("docker://{}/tiny:1", registry.host());
    let write = |machine: &TestContext, more: &[&str]| {
        let project = machine.work().join("project");
        let _built = world.on(machine, ["build", "--version", "v1"]).arg(&project).run();
        let command = ["containerize", "tiny:v1", "--to", &to];
        Written::by(world.on(machine, command.into_iter().chain(more.iter().copied())))
    };
    let first = write(&world.context, &[]);

    // The branch moves on, and the hub is gone: neither matters to who has the lock.
    world.hub.repository(ID).commit_files(&[("config.json", b"{}")]);
    world.hub.fail("GET", "/", ALWAYS, Fault::Status(503));
    world.hub.take_log();
    let other = machine_with(&project);
    let second = write(&other, &[]);
    assert_eq!(second.digest, first.digest);
    assert_eq!(world.hub.take_log(), Vec::<String>::new());
    assert!(!other.work().join("hf/hub").exists(), "nothing was downloaded");

    // Made from the files themselves it is the same; another than the locked digest is told.
    world.hub.heal();
    let verified = write(&machine_with(&project), &["--verify"]);
    assert_eq!(verified.digest, first.digest);
    assert!(world.hub.sent("/lfs/") > 0);
    let spoilt = machine_with(&project);
    let lock = spoilt.work().join("project/ekiben.lock");
    let mut document: Value = serde_json::from_str(&text(&lock)).unwrap();
    for layer in document["layers"].as_object_mut().unwrap().values_mut() {
        layer["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    }
    fs::write(&lock, document.to_string()).unwrap();
    let _built = world.on(&spoilt, ["build", "--version", "v1"]).arg(spoilt.work().join("project")).run();
    let refused = world.on(&spoilt, ["containerize", "tiny:v1", "--to", &to, "--verify"]);
    let _refused = refused.status(1).stderr("should have been sha256:000000").run();
}

#[test]
fn a_model_that_is_looked_up_late_is_told_unless_it_is_declared_too() {
    let world = World::new();
    world.large();
    let project = project(&world.context, "");
    let path = project.join("service.py");
    let declared = text(&path);
    let late = format!(
        "\n    def __init__(self) -> None:\n        self.late = HuggingFaceModel(\"{ID}\").resolve()\n"
    );
    fs::write(&path, format!("{declared}{late}")).unwrap();
    let _built = world.ekiben(["build", "--version", "v1"]).arg(&project).run();
    fs::write(&path, declared.replace("    weights = ", "    # ").replace("self.weights", "\"\"") + &late)
        .unwrap();
    let warned = world.ekiben(["build", "--version", "v2"]).arg(&project).any_stderr().run().stderr;
    let fix =
        format!("declare it in the service class, `model = bentoml.models.HuggingFaceModel(\"{ID}\")`\n");
    assert!(warned.ends_with(&fix), "{warned}");
}

#[test]
fn a_lock_that_lacks_a_model_is_told_and_a_broken_one_refused() {
    let world = World::new();
    world.large();
    let project = project(&world.context, "");
    let _locked = world.ekiben(["lock"]).arg(&project).run();
    let _other = self::project(&world.context, ", include=[\"*.json\"]");
    let built = world.ekiben(["build", "--version", "v1"]).arg(&project);
    let _built = built.stderr("is not in `ekiben.lock`, so today's `main` is taken").run();
    fs::write(project.join("ekiben.lock"), "{\"format\": 9}").unwrap();
    let refused = world.ekiben(["build", "--version", "v2"]).arg(&project);
    let _refused = refused.status(1).stderr("has format 9").run();
}

#[test]
fn what_a_hub_refuses_is_told_with_place_and_remedy() {
    let world = World::new();
    let project = project(&world.context, "");
    let build = || world.ekiben(["build", "--version", "v1"]).arg(&project);
    let says = |output: &Output, parts: &[&str]| {
        for part in parts {
            assert!(output.stderr.contains(part), "{part} is not in {}", output.stderr);
        }
    };
    let missing = build().status(1).any_stderr().run();
    says(
        &missing,
        &["service.py:7:15: cannot find the Hugging Face model `Acme/Tiny-V1.5`", "hint: look at the name"],
    );
    world.hub.repository(ID).gate().admit(TOKEN).commit_files(&[("a", world.hub.endpoint().as_bytes())]);
    let _built = build().run();
    let archive = format!("oci-archive:{}", world.context.work().join("image.tar").display());
    let write = || world.ekiben(["containerize", "tiny:v1", "--to", &archive]);
    let gated = write().status(1).any_stderr().run();
    says(&gated, &["cannot download model `Acme/Tiny-V1.5`", "hint: set `HF_TOKEN`"]);
    let offline = write().env("HF_HUB_OFFLINE", "1").status(3).any_stderr().run();
    says(&offline, &["nothing may be downloaded", "hint: fetch it with `ekiben models pull"]);
    let _written = write().env("HF_TOKEN", TOKEN).run();
    // The digests are known by now, so that the contents are missed only when the image is written.
    fs::remove_dir_all(world.context.work().join("hf")).unwrap();
    fs::remove_file(world.context.work().join("image.tar")).unwrap();
    let late = write().status(1).any_stderr().run();
    says(&late, &["cannot write `", "says no to `Acme/Tiny-V1.5` (a)", "hint: set `HF_TOKEN`"]);
    let endpoint = world.ekiben(["models", "pull", "hf://a/b"]).env("HF_ENDPOINT", "ftp://hub").status(1);
    let _refused = endpoint.stderr("`ftp://hub` is no hub").run();
    let name = world.ekiben(["models", "pull", "hf://a/b/c"]).status(2);
    let _refused = name.stderr("it is neither `name` nor `organisation/name`").run();
}

/// The command lines of all processes that there are while something is done.
fn command_lines_during(work: impl FnOnce()) -> BTreeSet<String> {
    let is_over = AtomicBool::new(false);
    let mut lines = BTreeSet::new();
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut lines = BTreeSet::new();
            while !is_over.load(Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    // Others' processes end meanwhile.
                    let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    lines.insert(String::from_utf8_lossy(&line).replace('\0', " "));
                }
                thread::sleep(Duration::from_millis(5));
            }
            lines
        });
        // Also when the work fails, so that the watcher ends.
        let outcome = catch_unwind(AssertUnwindSafe(work));
        is_over.store(true, Ordering::Relaxed);
        lines = watcher.join().unwrap();
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    });
    lines
}

/// The environment and the history of the only image of a layout, as text.
fn configuration(layout: &Path) -> Value {
    let read = |digest: &Value| -> Value {
        let name = digest.as_str().unwrap().replace("sha256:", "blobs/sha256/");
        serde_json::from_str(&text(&layout.join(name))).unwrap()
    };
    let index: Value = serde_json::from_str(&text(&layout.join("index.json"))).unwrap();
    read(&read(&index["manifests"][0]["digest"])["config"]["digest"])
}

/// The token is in no file, in no layer, in nothing that was said, and in no command line.
#[test]
fn the_token_is_nowhere() {
    let world = World::new();
    let machine = TestContext::new();
    world.large();
    world.hub.repository(ID).gate().admit(TOKEN);
    let project = project(&machine, "");
    let run = |arguments: &[&str]| {
        let command = world.on(&machine, arguments.iter().copied()).env("HF_TOKEN", TOKEN);
        let lines = command_lines_during(|| {
            let output = command.any_stderr().run();
            assert!(!output.stdout.contains(TOKEN) && !output.stderr.contains(TOKEN), "{arguments:?}");
        });
        let shown = lines.iter().find(|line| line.contains(TOKEN));
        assert_eq!(shown, None);
        lines.iter().any(|line| line.contains(&arguments.join(" ")))
    };
    let layout = machine.work().join("layout");
    let archive = format!("oci:{}", layout.display());
    let path = project.to_str().unwrap();
    world.hub.fail("GET", "/lfs/", ALWAYS, Fault::Slow { bytes_per_second: 32 << 20 });
    assert!(run(&["lock", path, "-o", "json"]), "the process was not seen");
    fs::remove_dir_all(machine.work().join("hf")).unwrap();
    assert!(run(&["models", "pull", &format!("hf://{ID}")]), "the process was not seen");
    run(&["build", path, "--version", "v1", "-o", "json"]);
    let containerize = ["containerize", "tiny:v1", "--to", &archive, "--compression", "none", "-o", "json"];
    assert!(run(&containerize), "the process was not seen");
    let configuration = configuration(&layout);
    assert!(configuration["config"]["Env"].is_array() && configuration["history"].is_array());
    assert!(!configuration.to_string().contains("HF_TOKEN"), "{configuration}");
    world.hub.fail("GET", "/", ALWAYS, Fault::Status(401));
    let refused = world.on(&machine, ["lock", path]).env("HF_TOKEN", TOKEN).status(1).any_stderr().run();
    assert!(!refused.stderr.contains(TOKEN));
    let everything = machine.work().parent().unwrap().to_owned();
    let files =
        WalkDir::new(&everything).into_iter().flatten().filter(|entry| entry.file_type().is_file()).count();
    // As a program, because some hundred MiB are many for tests without optimisation; 1 means that nothing was found.
    let search = machine.command(&peers::system("grep")).args(["-rlaF", TOKEN]).arg(&everything);
    assert_eq!(search.status(1).run().stdout, "");
    assert!(files > 50, "{files}");
}
