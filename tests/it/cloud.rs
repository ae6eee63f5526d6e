//! `cloud`, `push` and `pull` on the command line: logins, texts, statuses, what is skipped and what is replaced.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::cloud_server::{CloudServer, EMAIL, Fault, TOKEN, Way};
use crate::support::command::Command;
use crate::support::context::TestContext;
use crate::support::hub::{ALWAYS, Fault as HubFault, Hub};
use crate::support::peers;

/// The three ways in which contents travel.
pub(crate) const WAYS: [Way; 3] = [Way::Proxy, Way::Single, Way::Parts];

/// A model with modes and a link, in the store of a home.
pub(crate) fn model(context: &TestContext, tag: &str) -> PathBuf {
    let files = context.work().join("files");
    fs::create_dir_all(files.join("sub")).unwrap();
    fs::write(files.join("weights.bin"), vec![3; 200_000]).unwrap();
    fs::write(files.join("sub/run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(files.join("sub/run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    let _created = context.ekiben(["models", "create", tag, "--from", "files", "--label", "a=b"]).run();
    fs::remove_dir_all(&files).unwrap();
    let path = context.bentoml_home().join("models").join(tag.replace(':', "/"));
    symlink("sub/run.sh", path.join("link")).unwrap();
    path
}

/// Everything below a directory: path, content or target, mode.
pub(crate) fn tree(root: &Path) -> Vec<(String, Vec<u8>, u32)> {
    let entries = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name();
    let entries = entries.into_iter().map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.path().symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes()
        } else if metadata.is_file() {
            fs::read(entry.path()).unwrap()
        } else {
            Vec::new()
        };
        let name = entry.path().strip_prefix(root).unwrap().display().to_string();
        (name, content, metadata.permissions().mode() & 0o777)
    });
    entries.collect()
}

/// A command on another home of the same world.
pub(crate) fn elsewhere(context: &TestContext, command: Command) -> Command {
    command.env("BENTOML_HOME", other_home(context))
}

pub(crate) fn other_home(context: &TestContext) -> PathBuf {
    context.work().join("other")
}

/// A login whose token comes down a pipe.
fn login(context: &TestContext, token: &str, arguments: &str) -> Command {
    let script = format!("printf '%s\\n' '{token}' | ekiben cloud login --api-token-stdin {arguments}");
    context.command(&peers::system("bash")).arg("-c").arg(script)
}

#[test]
fn a_login_is_remembered_where_upstream_looks_for_it() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    let said = login(&context, TOKEN, &format!("--endpoint {}", server.endpoint())).run().stdout;
    assert_eq!(
        said,
        format!(
            "\u{2705} Configured BentoCloud credentials (current-context: default)\n\
             \u{2705} Logged in as {EMAIL} at team organization\n"
        )
    );
    let file = context.bentoml_home().join(".yatai.yaml");
    let expected = format!(
        "contexts:\n- api_token: {TOKEN}\n  email: {EMAIL}\n  endpoint: {}\n  name: default\n\
         current_context_name: default\n",
        server.endpoint()
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let shown = context.ekiben(["cloud", "current-context"]).run().json();
    let wanted =
        json!({"name": "default", "endpoint": server.endpoint(), "api_token": "***", "email": EMAIL});
    assert_eq!(shown, wanted);
    // And it is used.
    model(&context, "m:v1");
    let pushed = context.ekiben(["models", "push", "m"]).run();
    assert_eq!(pushed.stdout, "\u{2705} Successfully pushed model \"m:v1\"\n");
}

#[test]
fn contexts_have_names_and_one_is_current() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    let endpoint = format!("--endpoint {}", server.endpoint());
    assert_eq!(context.ekiben(["cloud", "list-context"]).run().stdout, "[]\n");
    for name in ["one", "two"] {
        let _said = login(&context, TOKEN, &format!("{endpoint} --context {name}")).run();
    }
    let _again = login(&context, TOKEN, &endpoint)
        .env("BENTOML_CLOUD_CONTEXT", "two")
        .stderr("WARNING: Overriding existing cloud context config: two")
        .run();
    assert_eq!(context.ekiben(["cloud", "list-context"]).run().json(), json!(["one", "two"]));
    let nobody = context.ekiben(["cloud", "current-context"]).status(1);
    let _said = nobody.stderr("error: No cloud context default found").run();
    let _said = context.ekiben(["cloud", "update-current-context", "three"]).status(1).any_stderr().run();
    let said = context.ekiben(["cloud", "update-current-context", "two"]).run().stdout;
    assert_eq!(said, "Successfully switched to context: two\n");
    assert_eq!(context.ekiben(["cloud", "current-context"]).run().json()["name"], "two");
    let named = context.ekiben(["cloud", "current-context", "--context", "one"]);
    assert_eq!(named.run().json()["name"], "one");
    let of_environment = server.env(context.ekiben(["cloud", "current-context"])).run().json();
    assert_eq!(of_environment["name"], "__env__");
}

#[test]
fn a_token_is_made_in_a_browser() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    let login = context.ekiben(["cloud", "login", "--web", "--endpoint", &server.endpoint()]);
    let said = login.run().stdout;
    let page = format!("Open {}/api_tokens?code=c0de in a browser", server.endpoint());
    assert!(said.starts_with(&page), "{said}");
    assert!(said.contains(&format!("Logged in as {EMAIL}")), "{said}");
    assert!(!said.contains(TOKEN));
    assert_eq!(server.count("GET", "/auth/token"), 2);
}

#[test]
fn a_login_that_fails_changes_nothing() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    let endpoint = format!("--endpoint {}", server.endpoint());
    let refused = login(&context, "wrong-token", &endpoint).status(1);
    let refused = refused.stderr("error: Error validating token: HTTP 401: Bad credentials").run();
    assert!(!refused.stderr.contains("wrong-token"));
    let _none = login(&context, "", &endpoint).status(2).stderr("--api-token-stdin").run();
    let _none = context.ekiben(["cloud", "login"]).status(2).stderr("error: there is no API token").run();
    let _bad = login(&context, TOKEN, "--endpoint nowhere").status(1).stderr("is not the address").run();
    let _bad = login(&context, "two words", &endpoint).status(1).stderr("error: the API token").run();
    let file = context.bentoml_home().join(".yatai.yaml");
    assert_eq!(fs::read_to_string(file).unwrap(), "contexts: []\ncurrent_context_name: default\n");
}

#[test]
fn models_travel_in_every_way_and_back() {
    for way in WAYS {
        let context = TestContext::new();
        let server = CloudServer::start(way);
        let pushed = model(&context, "m:v1");
        let push = || server.env(context.ekiben(["models", "push", "m:v1"]));
        let mark = if way == Way::Proxy { "\u{2705} " } else { "" };
        assert_eq!(push().run().stdout, format!("{mark}Successfully pushed model \"m:v1\"\n"));
        assert_eq!(server.status("models", "m:v1"), ("success".to_owned(), String::new()));
        let body = server.body("models", "m:v1");
        assert_eq!(body["labels"], json!([{"key": "a", "value": "b"}]));
        assert_eq!(body["build_at"], "2026-01-01 00:00:00.000000");
        let again = push().run().stdout;
        assert_eq!(again, "Model \"m:v1\" already exists in remote model store, skipping\n");
        let forced =
            server.env(context.ekiben(["models", "push", "m:v1", "--force", "-o", "json"])).run().json();
        assert_eq!(forced, json!([{"kind": "model", "tag": "m:v1", "outcome": "pushed", "path": null}]));
        for wanted in ["m:v1", "m", "m:latest"] {
            let pull = || elsewhere(&context, server.env(context.ekiben(["models", "pull", wanted])));
            let said = pull().run().stdout;
            let finished = "INFO: Finished downloading model \"m:v1\" files\n";
            assert_eq!(said, format!("{finished}Successfully pulled model \"m:v1\"\n"));
            assert_eq!(pull().run().stdout, "Model \"m:v1\" already exists locally, skipping\n");
            let pulled = other_home(&context).join("models/m/v1");
            assert_eq!(tree(&pulled), tree(&pushed));
            assert_eq!(fs::read_to_string(pulled.join("../latest")).unwrap(), "v1");
            fs::remove_dir_all(other_home(&context)).unwrap();
        }
        assert_eq!(server.token_leaks(), Vec::<String>::new());
    }
}

#[test]
fn what_was_asked_for_and_is_not_there_is_said() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    for (arguments, text) in [
        (&["models", "push", "m:v1"][..], "error: Model m:v1 not found in local store"),
        (&["push", "b:v1"], "error: Bento b:v1 not found in local store"),
        (&["models", "pull", "m:v1"], "error: Model \"m:v1\" not found on remote model store"),
        (
            &["models", "pull", "m"],
            "error: Model \"m\" not found on remote model store, you may need to specify a version",
        ),
        (&["pull", "b"], "error: Bento \"b\" version can not be None"),
        (&["pull", "b:v1"], "error: Bento \"b:v1\" not found on remote Bento store"),
        (
            &["models", "pull"],
            "error: No bentofile.yaml or pyproject.toml found, please provide a bentofile path",
        ),
        (&["models", "pull", "a/b"], "error: a/b is not a valid BentoML tag"),
    ] {
        let _said = server.env(context.ekiben(arguments.iter().copied())).status(1).stderr(text).run();
    }
    fs::write(context.work().join("bentofile.yaml"), "service: a:B\n").unwrap();
    let none = server.env(context.ekiben(["models", "pull"])).status(1);
    let _said = none.stderr("error: No model to pull, please provide a model tag or define models").run();
    let _said = context.ekiben(["models", "pull", "m"]).status(1).stderr("ekiben cloud login").run();
}

#[test]
fn the_models_of_a_bentofile_are_pulled() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Single);
    for tag in ["one:v1", "two:v2"] {
        model(&context, tag);
        let _pushed = server.env(context.ekiben(["models", "push", tag])).run();
    }
    let text = "service: a:B\nmodels:\n- one:latest\n- tag: two:v2\n  alias: second\n";
    fs::write(context.work().join("build.yaml"), text).unwrap();
    let pull = context.ekiben(["models", "pull", "-F", "build.yaml", "-o", "json"]);
    let pulled = elsewhere(&context, server.env(pull)).run().json();
    let tags: Vec<&Value> = pulled.as_array().unwrap().iter().map(|pulled| &pulled["tag"]).collect();
    assert_eq!(tags, ["one:v1", "two:v2"]);
    assert!(other_home(&context).join("models/two/v2/weights.bin").is_file());
}

#[test]
fn the_server_is_asked_for_the_newest_and_a_newer_one_here_stays() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    model(&context, "m:old");
    let _pushed = server.env(context.ekiben(["models", "push", "m:old"])).run();
    let pull = || elsewhere(&context, server.env(context.ekiben(["models", "pull", "m"])));
    let _pulled = pull().run();
    // A version that came later is found, although there is one here already.
    let files = context.work().join("files");
    fs::create_dir(&files).unwrap();
    let create = |tag: &str, time: &str| {
        let create = context.ekiben(["models", "create", tag, "--from", "files"]);
        create.env("SOURCE_DATE_EPOCH", time)
    };
    let _created = create("m:new", "1800000000").run();
    let _pushed = server.env(context.ekiben(["models", "push", "m:new"])).run();
    assert!(pull().run().stdout.contains("Successfully pulled model \"m:new\""));
    let _created = elsewhere(&context, create("m:newest", "1900000000")).run();
    assert_eq!(pull().run().stdout, "Newer version of model \"m\" exists locally, skipping\n");
}

#[test]
fn force_replaces_what_is_here_only_by_something_whole() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Single);
    let path = model(&context, "m:v1");
    let pull = || server.env(context.ekiben(["models", "pull", "m:v1", "--force"]));
    let _pushed = server.env(context.ekiben(["models", "push", "m:v1"])).run();
    let there = tree(&path);
    fs::write(path.join("weights.bin"), "mine").unwrap();
    let mine = tree(&path);
    // Nothing that fails touches it: neither a refusal, nor half of an archive, nor the archive of something else.
    let content = server.content("models", "m:v1");
    server.fail("GET", "/v1", Fault::Status(404));
    let _failed = pull().status(1).any_stderr().run();
    server.set_content("models", "m:v1", content[..content.len() / 2].to_vec());
    let _failed = pull().status(1).stderr("nothing of it was kept").run();
    let other = "name: m\nversion: v2\nmodule: ''\ncreation_time: '2026-01-01T00:00:00+00:00'\n";
    server.set_content("models", "m:v1", archive(&[("model.yaml", tar::EntryType::Regular, other)]));
    let _failed = pull().status(1).stderr("error: the server gives `m:v2` for `m:v1`").run();
    assert_eq!(tree(&path), mine);
    server.set_content("models", "m:v1", content);
    let said = pull().run().stdout;
    assert!(said.contains("Successfully pulled model \"m:v1\""), "{said}");
    assert_eq!(tree(&path), there);
    assert_eq!(fs::read_to_string(path.join("../latest")).unwrap(), "v1");
    let left: Vec<_> = fs::read_dir(context.bentoml_home().join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["locks"]);
}

/// A tar of members with a name, a type, and a content or target.
fn archive(members: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, text) in members {
        let mut header = tar::Header::new_gnu();
        let field = &mut header.as_gnu_mut().unwrap().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let is_file = *kind == tar::EntryType::Regular;
        header.set_size(if is_file { text.len() as u64 } else { 0 });
        if !is_file {
            header.set_link_name_literal(text).unwrap();
        }
        header.set_cksum();
        builder.append(&header, if is_file { text.as_bytes() } else { &[] }).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn hostile_archives_are_refused_whole() {
    use tar::EntryType::{Char, Regular, Symlink};
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    let yaml = "name: m\nversion: v1\nmodule: ''\ncreation_time: '2026-01-01T00:00:00+00:00'\n";
    let good = ("./model.yaml", Regular, yaml);
    for (index, bad) in [
        vec![("../escaped", Regular, "x")],
        vec![("/tmp/ekiben-escaped", Regular, "x")],
        vec![("link", Symlink, "../../../..")],
        vec![("link", Symlink, "/etc"), ("link/passwd", Regular, "x")],
        vec![("twice", Regular, "x"), ("twice", Regular, "y")],
        vec![("device", Char, "")],
    ]
    .into_iter()
    .enumerate()
    {
        let members: Vec<_> = std::iter::once(good).chain(bad).collect();
        server.put("models", "m:v1", json!({"manifest": {"metadata": {}}}), archive(&members));
        let refused = server.env(context.ekiben(["models", "pull", "m:v1"])).status(1);
        let _said = refused.stderr("hint: do not trust whoever made it; nothing of it was kept").run();
        assert_eq!(context.ekiben(["models", "list", "-o", "json"]).run().json(), json!([]), "{index}");
    }
    server.put("models", "m:v1", json!({"manifest": {"metadata": {}}}), archive(&[good]));
    let _pulled = server.env(context.ekiben(["models", "pull", "m:v1"])).run();
}

#[test]
fn models_that_the_server_does_not_keep_have_nothing_to_download() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    let body = json!({"manifest": {"metadata": {"registry": "huggingface"}}});
    server.put("models", "org--name:0123", body, Vec::new());
    let said = server.env(context.ekiben(["models", "pull", "org--name:0123"])).run().stdout;
    assert_eq!(said, "No content to download for model org--name:0123\n");
    assert_eq!(server.count("GET", "/download"), 0);
}

#[test]
fn a_bento_registers_the_models_that_are_elsewhere_and_brings_them_along() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    let hub = Hub::start();
    let files: [(&str, &[u8]); 4] =
        [("config.json", &[b' '; 10]), ("onnx/m.onnx", &[1; 200]), ("m.bin", &[2; 3000]), ("x/y", &[3; 7])];
    let commit = hub.repository("Org/Name").commit_files(&files);
    let bento = context.bentoml_home().join("bentos/b/v1");
    fs::create_dir_all(bento.join("src")).unwrap();
    fs::write(bento.join("src/service.py"), "").unwrap();
    fs::write(bento.join("README.md"), "# About").unwrap();
    let text = format!(
        "service: service:B\nname: b\nversion: v1\ncreation_time: '2026-01-01T00:00:00+00:00'\nspec: 2\nmodels:\n\
         - tag: org--name:0123\n  registry: huggingface\n  creation_time: '2026-01-01T00:00:00+00:00'\n  metadata:\n    \
         model_id: org/name\n    revision: {commit}\n    endpoint: {}\n    include: null\n    exclude: ['*.bin', 'x/']\n\
         - tag: gone:v1\n  creation_time: '2026-01-01T00:00:00+00:00'\n",
        hub.endpoint()
    );
    fs::write(bento.join("bento.yaml"), text).unwrap();
    let push = || server.env(context.ekiben(["push", "b:v1"])).stderr("Bento: b:v1: Missing model gone:v1");
    let said = push().run().stdout;
    let first = "Skip uploading non-bentoml model org--name:0123\n";
    assert_eq!(said, format!("{first}\u{2705} Successfully pushed bento \"b:v1\"\n"));
    let manifest = server.body("models", "org--name:0123")["manifest"].clone();
    assert_eq!(manifest["size_bytes"], 210);
    assert_eq!(manifest["metadata"]["url"], format!("{}/org/name/tree/{commit}", hub.endpoint()));
    assert_eq!(server.status("models", "org--name:0123").0, "pending");
    let body = server.body("bentos", "b:v1");
    assert_eq!(body["description"], "# About");
    assert_eq!(body["manifest"]["models"], json!(["org--name:0123", "gone:v1"]));
    // What changed since is told when it is pushed again; a README that is too long is not.
    fs::write(bento.join("README.md"), "a".repeat((3 << 20) + 1)).unwrap();
    let forced = server.env(context.ekiben(["push", "b:v1", "--force"]));
    let _said = forced.stderr("Bento README is too large (3145729 bytes > 3MB), skipping upload...").run();
    assert_eq!(server.body("bentos", "b:v1")["description"], "");
    let home = context.work().join("hf");
    let pull = || {
        let pull = context.ekiben(["pull", "b:v1", "--with-models"]);
        elsewhere(&context, server.env(pull)).env("HF_HOME", &home).status(1)
    };
    let said = pull().stderr("Model \"gone:v1\" not found").run().stdout;
    assert!(said.ends_with("Successfully pulled model \"org--name:0123\"\n"), "{said}");
    assert_eq!(tree(&other_home(&context).join("bentos/b/v1")), tree(&bento));
    // As the hub's own client would have it: the wanted files of the pinned commit, and nothing else.
    let snapshot = home.join("hub/models--Org--Name/snapshots").join(&commit);
    assert_eq!(fs::read(snapshot.join("onnx/m.onnx")).unwrap(), [1; 200]);
    let there: Vec<_> = tree(&snapshot).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(there, ["config.json", "onnx", "onnx/m.onnx"]);
    hub.take_log();
    let again = pull().stderr("Model \"gone:v1\" not found").run().stdout;
    assert!(again.ends_with("Model \"org--name:0123\" already exists locally, skipping\n"), "{again}");
    assert_eq!(hub.take_log(), Vec::<String>::new());
    // What the hub does not give is told with the model's tag.
    fs::remove_dir_all(&home).unwrap();
    hub.fail("GET", "/resolve/", ALWAYS, HubFault::Missing);
    let _refused = pull().stderr("Failed to download model \"org--name:0123\"").stderr("hint: ").run();
}

#[test]
fn the_token_is_in_no_output_and_no_file() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Parts);
    let said = login(&context, TOKEN, &format!("--endpoint {}", server.endpoint())).run();
    let mut outputs = vec![said.stdout, said.stderr];
    model(&context, "m:v1");
    for _ in 0..8 {
        server.fail("PATCH", "/start_upload", Fault::Status(500));
    }
    for (arguments, status) in [
        (&["cloud", "current-context"][..], 0),
        (&["models", "push", "m:v1", "--verbose"], 3),
        (&["models", "push", "m:v1", "-o", "json"], 0),
        (&["models", "pull", "m:v1", "--force", "--verbose"], 0),
        (&["models", "pull", "gone:v1"], 1),
    ] {
        let said = context.ekiben(arguments.iter().copied()).status(status).any_stderr().run();
        outputs.extend([said.stdout, said.stderr]);
    }
    assert!(outputs.iter().all(|output| !output.contains(TOKEN)), "{outputs:?}");
    assert!(outputs.concat().contains("trace ID <trace-7>"), "{outputs:?}");
    for (name, content, _) in tree(&context.bentoml_home()).into_iter().chain(tree(&context.work())) {
        let has_it = content.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
        assert_eq!(has_it, name == ".yatai.yaml", "{name}");
    }
    assert_eq!(server.token_leaks(), Vec::<String>::new());
}
