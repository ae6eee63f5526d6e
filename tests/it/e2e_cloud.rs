//! Upstream's own client and ours at one server: upstream's proves the server, then each pulls what the other pushed.

use std::fs;
use std::path::Path;

use crate::cloud::{WAYS, elsewhere, other_home};
use crate::support::cloud_server::{CloudServer, Way};
use crate::support::command::Command;
use crate::support::context::TestContext;
use crate::support::iris::IRIS;
use crate::support::peers::{Venv, program};

/// More than one part of an upload in parts, which have 100 MiB in both tools.
const MORE_THAN_A_PART: u64 = (100 << 20) + 12_345;

/// Files with their contents, without modes, which upstream drops.
fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    let named = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    let files: Vec<_> = files.map(|entry| (named(entry.path()), fs::read(entry.path()).unwrap())).collect();
    assert!(!files.is_empty(), "nothing is in {}", root.display());
    files
}

/// A model that upstream saved: with a directory, a long name, labels and metadata.
fn save_upstream(context: &TestContext) {
    let script = "import pathlib, bentoml\n\
        with bentoml.models.create('m:v1', labels={'a': 'b'}, metadata={'acc': 0.5, 'tags': [1, 'x']}) as m:\n\
        \x20   root = pathlib.Path(m.path)\n\
        \x20   (root / 'sub').mkdir()\n\
        \x20   (root / 'sub' / ('x' * 120)).write_bytes(bytes(range(256)) * 500)\n\
        \x20   (root / 'h\u{e9}llo').write_text('text')\n";
    let python = context.command(&program(Venv::Upstream, "python"));
    let _saved = python.arg("-c").arg(script).any_stderr().run();
}

/// Both clients: upstream's first.
fn clients(context: &TestContext, arguments: &[&str]) -> [Command; 2] {
    [context.bentoml(arguments.iter().copied()).any_stderr(), context.ekiben(arguments.iter().copied())]
}

#[test]
fn each_pulls_the_models_that_the_other_pushed() {
    for way in WAYS {
        let context = TestContext::new();
        save_upstream(&context);
        let pushed = files(&context.bentoml_home().join("models/m/v1"));
        let mut bodies = Vec::new();
        for push in clients(&context, &["models", "push", "m:v1"]) {
            let server = CloudServer::start(way);
            let said = server.env(push).run().stdout;
            assert!(said.contains("Successfully pushed model \"m:v1\""), "{said}");
            assert_eq!(server.status("models", "m:v1").0, "success");
            assert_eq!(server.token_leaks(), Vec::<String>::new());
            bodies.push(server.body("models", "m:v1"));
            for pull in clients(&context, &["models", "pull", "m"]) {
                let said = elsewhere(&context, server.env(pull)).run().stdout;
                assert!(said.contains("Successfully pulled model \"m"), "{said}");
                assert_eq!(files(&other_home(&context).join("models/m/v1")), pushed);
                fs::remove_dir_all(other_home(&context)).unwrap();
            }
        }
        assert_eq!(bodies[0].to_string(), bodies[1].to_string(), "left: what upstream says of a model");
    }
}

#[test]
fn each_pulls_the_bentos_that_the_other_pushed() {
    let context = TestContext::with_shared_cache();
    let model = context.build_iris();
    let bento = files(&context.bentoml_home().join("bentos/iris_classifier/v1"));
    let model_path = format!("models/{}", model.replace(':', "/"));
    let model_files = files(&context.bentoml_home().join(&model_path));
    for way in [Way::Proxy, Way::Single] {
        let mut bodies = Vec::new();
        for push in clients(&context, &["push", IRIS]) {
            let server = CloudServer::start(way);
            let said = server.env(push).run().stdout.to_lowercase();
            for text in [
                format!("successfully pushed model \"{model}\""),
                format!("successfully pushed bento \"{IRIS}\""),
            ] {
                assert!(said.contains(&text), "{said}");
            }
            bodies.push(server.body("bentos", IRIS));
            for pull in clients(&context, &["pull", IRIS, "--with-models"]) {
                let _pulled = elsewhere(&context, server.env(pull)).run();
                assert_eq!(files(&other_home(&context).join("bentos/iris_classifier/v1")), bento);
                assert_eq!(files(&other_home(&context).join(&model_path)), model_files);
                fs::remove_dir_all(other_home(&context)).unwrap();
            }
            let again = server.env(context.ekiben(["push", IRIS])).run().stdout;
            assert!(again.ends_with(&format!(
                "Push skipped: Bento \"{IRIS}\" already exists in remote Bento store\n"
            )));
            let forced = server.env(context.ekiben(["push", IRIS, "--force", "-o", "json"])).run().json();
            assert_eq!(forced[1]["outcome"], "pushed");
        }
        assert_eq!(bodies[0].to_string(), bodies[1].to_string(), "left: what upstream says of a bento");
    }
}

#[test]
fn each_pulls_what_the_other_pushed_in_parts() {
    let context = TestContext::new();
    let source = context.work().join("files");
    fs::create_dir(&source).unwrap();
    let large = fs::File::create(source.join("weights")).unwrap();
    large.set_len(MORE_THAN_A_PART).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, b"end", MORE_THAN_A_PART - 3).unwrap();
    let _created = context.ekiben(["models", "create", "m:v1", "--from", "files"]).run();
    let pushed = files(&context.bentoml_home().join("models/m/v1"));
    for (push, pull) in clients(&context, &["models", "push", "m:v1"])
        .into_iter()
        .zip(clients(&context, &["models", "pull", "m:v1"]).into_iter().rev())
    {
        let server = CloudServer::start(Way::Parts);
        let _pushed = server.env(push).run();
        assert_eq!(server.count("PATCH", "/presign_multipart_upload_url"), 2);
        let _pulled = elsewhere(&context, server.env(pull)).run();
        assert!(files(&other_home(&context).join("models/m/v1")) == pushed, "the contents differ");
        fs::remove_dir_all(other_home(&context)).unwrap();
    }
}

#[test]
fn upstream_uses_the_login_of_ekiben_and_the_other_way_round() {
    use crate::support::cloud_server::TOKEN;
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    save_upstream(&context);
    let login = ["cloud", "login", "--api-token", TOKEN, "--endpoint"];
    let _said = context.ekiben(login).arg(server.endpoint()).run();
    let _pushed = context.bentoml(["models", "push", "m:v1"]).any_stderr().run();
    assert_eq!(server.status("models", "m:v1").0, "success");
    let file = context.bentoml_home().join(".yatai.yaml");
    let ours = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let _said = context.bentoml(login).arg(server.endpoint()).any_stderr().run();
    assert_eq!(fs::read_to_string(&file).unwrap(), ours);
    let said = context.ekiben(["models", "push", "m:v1"]).run().stdout;
    assert_eq!(said, "Model \"m:v1\" already exists in remote model store, skipping\n");
}
