//! Archives between ekiben and upstream, in every form that both have, in both directions.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::command::Output;
use crate::support::context::TestContext;
use crate::support::iris::IRIS;
use crate::support::peers::{Venv, program};

/// File names by which upstream chooses its forms, and by which it finds them again.
const FORMS: [&str; 6] = ["a.bentomodel", "a.tar", "a.gz", "a.xz", "a.bz2", "a.zip"];

/// Upstream's package, on the home `other`.
fn upstream(context: &TestContext, script: &str, arguments: &[&str]) -> Output {
    let python = context.command(&program(Venv::Upstream, "python")).arg("-c").arg(script).args(arguments);
    python.env("BENTOML_HOME", context.work().join("other")).any_stderr().run()
}

/// Files with their contents, without modes and links, which upstream drops.
fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    let named = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    files.map(|entry| (named(entry.path()), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn upstream_imports_the_models_that_ekiben_exports() {
    let context = TestContext::new();
    let source = context.work().join("files/sub/h\u{e9}llo");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("x".repeat(120)), vec![1; 300_000]).unwrap();
    fs::write(context.work().join("files/empty"), "").unwrap();
    let _created = context.ekiben(["models", "create", "m:v1", "--from", "files", "--label", "a=b"]).run();
    for form in FORMS {
        let _exported = context.ekiben(["models", "export", "m", form]).run();
    }
    let script = "import os, sys, bentoml\n\
        for path in sys.argv[1:]:\n\
        \x20   model = bentoml.models.import_model(os.path.abspath(path))\n\
        \x20   os.rename(model.path, os.path.abspath(path) + '.found')\n\
        \x20   print(model.tag, model.info.labels)\n";
    let output = upstream(&context, script, &FORMS);
    assert_eq!(output.stdout, "m:v1 {'a': 'b'}\n".repeat(FORMS.len()));
    let expected = files(&context.bentoml_home().join("models/m/v1"));
    assert_eq!(expected.len(), 3);
    for form in FORMS {
        assert_eq!(files(&context.work().join(format!("{form}.found"))), expected, "{form}");
    }
}

#[test]
fn ekiben_imports_the_models_that_upstream_exports() {
    let context = TestContext::new();
    let script = "import os, pathlib, sys, bentoml\n\
        with bentoml.models.create('m:v1', labels={'a': 'b'}, metadata={'acc': 0.5}) as m:\n\
        \x20   root = pathlib.Path(m.path)\n\
        \x20   (root / 'sub').mkdir()\n\
        \x20   (root / 'sub' / 'run.sh').write_text('#!/bin/sh')\n\
        \x20   (root / 'sub' / 'run.sh').chmod(0o755)\n\
        \x20   (root / ('n' * 150)).write_bytes(bytes(100000))\n\
        for path in sys.argv[1:]:\n\
        \x20   bentoml.models.export_model('m:v1', os.path.abspath(path))\n\
        bentoml.models.export_model('m:v1', os.path.abspath('folder'), output_format='folder')\n";
    let _exported = upstream(&context, script, &FORMS);
    let expected = files(&context.work().join("other/models/m/v1"));
    assert_eq!(expected.len(), 3);
    for form in FORMS.into_iter().chain(["folder"]) {
        assert_eq!(
            context.ekiben(["models", "import", form]).run().stdout,
            "Model(tag=\"m:v1\") imported.\n"
        );
        let found = context.bentoml_home().join("models/m/v1");
        assert_eq!(files(&found), expected, "{form}");
        if form != "folder" {
            let mode = std::os::unix::fs::MetadataExt::mode(&found.join("sub/run.sh").metadata().unwrap());
            assert_eq!(mode & 0o777, 0o755, "{form}");
        }
        let model = context.ekiben(["models", "get", "m", "-o", "json"]).run().json();
        assert_eq!(model["metadata"], serde_json::json!({"acc": 0.5}));
        assert_eq!(
            context.ekiben(["models", "delete", "m:v1", "-y"]).run().stdout,
            "Model(tag=\"m:v1\") deleted.\n"
        );
    }
}

fn tags(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["tag"].as_str().unwrap()).collect()
}

#[test]
fn bentos_with_their_models_go_both_ways() {
    let context = TestContext::with_shared_cache();
    let model = context.build_iris();
    let expected = (
        files(&context.bentoml_home().join("bentos/iris_classifier/v1")),
        files(&context.bentoml_home().join("models/iris_clf")),
    );
    let other = context.work().join("other");
    for form in ["a.bento", "a.tar", "a.gz", "a.xz", "a.bz2", "a.zip"] {
        let _exported = context.ekiben(["export", IRIS, form]).run();
        assert!(!context.bentoml_home().join("bentos/iris_classifier/v1/models").exists());
        let script = "import os, sys, bentoml\n\
            bento = bentoml.bentos.import_bento(os.path.abspath(sys.argv[1]))\n\
            bento.export(os.path.abspath('back-' + sys.argv[1]))\n";
        let _imported = upstream(&context, script, &[form]);
        assert_eq!(files(&other.join("models/iris_clf")), expected.1, "{form}");
        assert_eq!(files(&other.join("bentos/iris_classifier/v1")), expected.0, "{form}");
        let _deleted = context.ekiben(["delete", IRIS, "-y"]).run();
        let _deleted = context.ekiben(["models", "delete", &model, "-y"]).run();
        let imported = context.ekiben(["import", &format!("back-{form}"), "-o", "json"]).run().json();
        assert_eq!(imported["tag"], IRIS);
        assert_eq!(imported["models"], serde_json::json!([model]));
        assert_eq!(files(&context.bentoml_home().join("bentos/iris_classifier/v1")), expected.0, "{form}");
        assert_eq!(files(&context.bentoml_home().join("models/iris_clf")), expected.1, "{form}");
        fs::remove_dir_all(&other).unwrap();
    }
    let list = context.bentoml(["list", "-o", "json"]).any_stderr().run().json();
    assert_eq!(tags(&list), [IRIS]);
    // Each deletes what the other made.
    let _deleted = context.bentoml(["delete", IRIS, "-y"]).any_stderr().run();
    let _deleted = context.bentoml(["models", "delete", &model, "-y"]).any_stderr().run();
    assert_eq!(context.ekiben(["list", "-o", "json"]).run().stdout, "[]\n");
    assert_eq!(context.ekiben(["models", "list", "-o", "json"]).run().stdout, "[]\n");
}
