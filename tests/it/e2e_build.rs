//! Bentos of ours beside those that the original builds from the same project.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ekiben::bentofile;
use ekiben::debian::{self, Architecture, Archive, LockedPackage, Watch};
use ekiben::env::Environment;
use ekiben::ops::build::{BuildError, Outcome, Settings, Surroundings, build};
use ekiben::ops::hub::HubAccessError;
use ekiben::pydeps::Host;
use ekiben::report::{Interrupt, Silent};
use ekiben::store::{Error, Home};
use jiff::Timestamp;
use serde_json::Value as Json;
use tokio::runtime::Runtime;

use crate::support::peers::{Venv, program, programs};
use crate::support::sources::repository;

/// A home with the model that the project wants.
struct World {
    directory: tempfile::TempDir,
    home: Home,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = Home::open(directory.path().join("home")).expect("opened");
        let world = Self { directory, home };
        world.upstream("python", &["-c", "import bentoml\nwith bentoml.models.create('iris:v1') as m:\n    open(m.path_of('f'), 'w').write('x')"]);
        world
    }

    fn upstream(&self, name: &str, arguments: &[&str]) -> String {
        let search_path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs(Venv::Upstream).display());
        let output = Command::new(program(Venv::Upstream, name))
            .args(arguments)
            .env("BENTOML_HOME", self.home.path())
            .env("BENTOML_DO_NOT_TRACK", "true")
            .env("PATH", search_path)
            .current_dir(project())
            .output()
            .expect("upstream runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn build(&self, settings: &Settings) -> Result<Outcome, BuildError> {
        let interrupt = Interrupt::default();
        let search_path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs(Venv::Upstream).display());
        let machine = Environment::of_process();
        let mut environment: BTreeMap<OsString, OsString> = BTreeMap::from([
            ("PATH".into(), search_path.into()),
            ("HOME".into(), self.directory.path().into()),
            ("UV_CACHE_DIR".into(), repository().join("target/test-cache/uv").into()),
        ]);
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            environment.extend(machine.text(name).map(|value| (name.into(), value.into())));
        }
        let cache_dir = self.directory.path().join("cache");
        let python = Host { cache_dir, environment, interrupt: interrupt.clone() };
        build(
            settings,
            &Surroundings {
                home: self.home.clone(),
                environment: BTreeMap::new(),
                python,
                debian_archive: Box::new(NoArchive),
                debian_cache: debian::Cache::new(self.directory.path().join("debian")),
                hub: Box::new(|| Err(HubAccessError::NoCache)),
                runtime: &Runtime::new().expect("a runtime"),
                now: Timestamp::from_second(1_767_225_600).expect("a time"),
                report: &Silent,
                interrupt: &interrupt,
            },
        )
    }

    fn leftovers(&self) -> usize {
        fs::read_dir(self.home.scratch())
            .expect("readable")
            .filter(|entry| entry.as_ref().expect("readable").file_name() != "locks")
            .count()
    }
}

/// Debian's archive on a machine without a network.
struct NoArchive;

impl NoArchive {
    fn error() -> debian::Error {
        debian::Error::UnknownSuite { suite: "bookworm".to_owned(), mirror: "http://unreachable".to_owned() }
    }
}

impl Archive for NoArchive {
    fn identity(&self, _: &str) -> Result<String, debian::Error> {
        Ok("none".to_owned())
    }

    fn update(&self, _: &str, _: Architecture, _: Watch<'_>) -> Result<String, debian::Error> {
        Err(Self::error())
    }

    fn download(&self, _: &str, _: &[&LockedPackage], _: &Path, _: Watch<'_>) -> Result<(), debian::Error> {
        Err(Self::error())
    }
}

fn project() -> PathBuf {
    repository().join("testdata/projects/api-types")
}

fn settings(version: &str) -> Settings {
    Settings { context: project(), version: Some(version.to_owned()), ..Settings::default() }
}

fn json(path: &Path) -> Json {
    serde_json::from_str(&fs::read_to_string(path).expect("readable")).expect("JSON")
}

#[test]
fn the_description_of_a_service_is_the_one_that_the_original_makes() {
    let world = World::new();
    world.upstream("bentoml", &["build", "--version", "theirs"]);
    let ours = world.build(&settings("ours")).expect("built");
    let [unlocked] = &ours.warnings[..] else { panic!("{:?}", ours.warnings) };
    assert!(unlocked.starts_with("the base `debian:bookworm` is not locked: "), "{unlocked}");
    let theirs = world.home.bentos().get(&"my_classifier:theirs".parse().expect("valid")).expect("found");
    let (our_schema, their_schema) =
        (json(&ours.path.join("apis/schema.json")), json(&theirs.path.join("apis/schema.json")));
    let routes = |schema: &Json| schema["routes"].as_array().expect("routes").clone();
    for (ours, theirs) in routes(&our_schema).iter().zip(routes(&their_schema)) {
        assert_eq!(*ours, theirs, "{}", theirs["name"]);
    }
    assert_eq!(our_schema, their_schema);
    let bento = world.home.bentos().get(&"my_classifier:ours".parse().expect("valid")).expect("found").info;
    assert_eq!(bento.service, theirs.info.service);
    assert_eq!(bento.entry_service, theirs.info.entry_service);
    assert_eq!(bento.labels, theirs.info.labels);
    assert_eq!(bento.models, theirs.info.models);
    assert_eq!(bento.services, theirs.info.services);
    assert_eq!(bento.envs, theirs.info.envs);
    assert_eq!(bento.args, theirs.info.args);
    assert_eq!(bento.image, theirs.info.image);
}

#[test]
fn the_original_lists_gets_loads_and_renders_a_bento_of_ours() {
    let world = World::new();
    let built = world.build(&settings("ours")).expect("built");
    let listed: Json =
        serde_json::from_str(&world.upstream("bentoml", &["list", "-o", "json"])).expect("JSON");
    assert_eq!(listed[0]["tag"], "my_classifier:ours");
    let got: Json = serde_json::from_str(&world.upstream("bentoml", &["get", "my_classifier", "-o", "json"]))
        .expect("JSON");
    assert_eq!(got["services"][0]["models"][0]["tag"], "iris:v1");
    // Read by the original and written again, the file is the same.
    let again = world.upstream(
        "python",
        &["-c", "import sys, bentoml\nbentoml.get('my_classifier:ours').info.dump(sys.stdout)"],
    );
    let written = fs::read_to_string(built.path.join("bento.yaml")).expect("readable");
    assert_eq!(again, written);
    let loaded =
        world.upstream("python", &["-c", "import bentoml\nprint(bentoml.load('my_classifier:ours').name)"]);
    assert_eq!(loaded.trim(), "MyClassifier");
    let out = world.directory.path().join("Dockerfile");
    let render = format!(
        "import bentoml\nbentoml.container.get_containerfile('my_classifier:ours', output_path={:?})",
        out.display().to_string()
    );
    world.upstream("python", &["-c", &render]);
    let rendered = fs::read_to_string(out).expect("rendered");
    assert!(rendered.contains("FROM python:3.11-slim") && rendered.contains("curl"), "{rendered}");
}

#[test]
fn equal_inputs_give_equal_files() {
    let (one, other) = (World::new(), World::new());
    let other_model = fs::read(one.home.path().join("models/iris/v1/model.yaml")).expect("readable");
    fs::write(other.home.path().join("models/iris/v1/model.yaml"), other_model).expect("written");
    let files = |world: &World| -> Vec<(PathBuf, Vec<u8>)> {
        let built = world.build(&settings("v1")).expect("built");
        let walk = walkdir::WalkDir::new(&built.path).sort_by_file_name().into_iter();
        let files = walk.map(|entry| entry.expect("readable")).filter(|entry| entry.file_type().is_file());
        files
            .map(|entry| {
                let relative = entry.path().strip_prefix(&built.path).expect("below").to_owned();
                (relative, fs::read(entry.path()).expect("readable"))
            })
            .collect()
    };
    let (ours, others) = (files(&one), files(&other));
    assert!(ours.len() >= 10, "{ours:?}");
    assert_eq!(ours, others);
}

#[test]
fn a_failed_build_says_why_and_leaves_nothing() {
    let world = World::new();
    let project = world.directory.path().join("project");
    fs::create_dir(&project).expect("created");
    let with = |bentofile: &str, service: &str| {
        fs::write(project.join("bentofile.yaml"), bentofile).expect("written");
        fs::write(project.join("service.py"), service).expect("written");
        let settings =
            Settings { context: project.clone(), version: Some("v1".into()), ..Settings::default() };
        world.build(&settings).expect_err("refused").to_string()
    };
    let service = |body: &str| format!("import bentoml\n\n@bentoml.service\nclass S:\n    {body}\n");
    let unlocked = "python: {lock_packages: false}\n";
    assert_eq!(
        with(unlocked, &service("m = bentoml.models.BentoModel('nothing:v9')")),
        "service.py:5:9: model `nothing:v9` is not in the store"
    );
    assert_eq!(
        with("models: [nothing]\n", &service("pass")),
        "bentofile.yaml:1:10: model `nothing` is not in the store"
    );
    assert_eq!(
        with(unlocked, &service("m = bentoml.models.BentoModel(open('x').read())")),
        "service.py:5:35: the model of `S.m` cannot be known without running the code: the call of `open('x').read` is not followed"
    );
    assert_eq!(
        with(unlocked, &service("m = bentoml.models.HuggingFaceModel('a/b')")),
        "service.py:5:9: cannot ask the Hugging Face Hub"
    );
    assert_eq!(
        with("docker: {cuda_version: 12}\n", &service("pass")),
        "bentofile.yaml:1:24: `docker.cuda_version` is not supported yet"
    );
    let with_image =
        service("pass").replace("@bentoml.service", "@bentoml.service(image=bentoml.images.Image())");
    assert_eq!(
        with(unlocked, &with_image),
        "service.py:3:18: an image given in code is not supported yet, use `docker:` and `python:` in the bentofile"
    );
    assert_eq!(with("name: [x]\n", &service("pass")), "bentofile.yaml:1:7: `name` must be text, not a list");
    assert_eq!(fs::read_dir(world.home.bentos().path()).expect("readable").count(), 0);
    assert_eq!(world.leftovers(), 0);
}

#[test]
fn the_command_line_wins_and_a_taken_tag_is_refused_first() {
    let world = World::new();
    let settings = Settings {
        name: Some("Other".into()),
        service: Some("service:Embedder".into()),
        labels: vec![("team".into(), "y".into())],
        arguments: vec![("size".into(), "12".into()), ("size".into(), "13".into())],
        ..settings("v1")
    };
    let built = world.build(&settings).expect("built");
    assert_eq!(built.tag.to_string(), "other:v1");
    let bento = world.home.bentos().get(&"other".parse().expect("valid")).expect("found");
    assert_eq!(bento.info.entry_service, "Embedder");
    assert_eq!(bento.info.labels, [("team".to_owned(), "y".to_owned())]);
    assert_eq!(bento.info.args.get("size"), Some(&"13".into()));
    let again = world.build(&settings).expect_err("taken");
    let BuildError::Store(error) = again else { panic!("{again}") };
    assert!(matches!(*error, Error::AlreadyExists { .. }), "{error}");
}

#[test]
fn the_normalised_bentofile_is_read_back_as_it_was() {
    let world = World::new();
    let project = world.directory.path().join("project");
    fs::create_dir(&project).expect("created");
    fs::copy(self::project().join("service.py"), project.join("service.py")).expect("copied");
    let file = world.directory.path().join("other.yaml");
    fs::copy(self::project().join("bentofile.yaml"), &file).expect("copied");
    let settings = Settings { context: project, bentofile: Some(file), ..settings("v1") };
    let built = world.build(&settings).expect("built");
    let read = bentofile::load(&built.path.join("src"), None).expect("valid").bentofile;
    assert_eq!(read.docker.system_packages, ["curl"]);
    assert_eq!(read.python.packages, ["pydantic"]);
    assert_eq!(read.service.as_deref(), Some("service:MyClassifier"));
}

#[test]
fn a_lock_is_hashed_for_us_and_pinned_for_the_original() {
    let world = World::new();
    let project = world.directory.path().join("project");
    fs::create_dir(&project).expect("created");
    fs::copy(self::project().join("service.py"), project.join("service.py")).expect("copied");
    let bentofile = "service: service:MyClassifier\npython: {packages: [pydantic>=2]}\ndocker: {python_version: '3.11'}\n";
    fs::write(project.join("bentofile.yaml"), bentofile).expect("written");
    let settings = Settings { context: project, platform: Some("linux/arm64".into()), ..settings("v1") };
    let built = world.build(&settings).expect("built");
    let file = |name: &str| fs::read_to_string(built.path.join("env/python").join(name)).expect("readable");
    assert_eq!(file("requirements.in"), "pydantic>=2\nbentoml==1.4.39\n");
    let pinned = file("requirements.txt");
    assert!(pinned.contains("\nbentoml==1.4.39\n") && pinned.contains("\npydantic==2."), "{pinned}");
    let lock = file("pylock.toml");
    assert!(lock.contains("sha256") && lock.contains("aarch64") && !lock.contains("\"bentoml\""), "{lock}");
    for name in ["numpy", "pyyaml", "cloudpickle"] {
        assert!(lock.contains(&format!("name = \"{name}\"")), "{name} is not in {lock}");
    }
    assert_eq!(built.python_packages, Some(lock.matches("[[packages]]").count()));
}
