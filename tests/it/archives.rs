//! `export`, `import` and `delete` on the command line: forms, pipes, refusals, prompts, and what a killed one leaves.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ekiben::store::{Item as _, Model};
use proptest::prelude::*;
use rustix::process::Signal;

use crate::support::command::Command;
use crate::support::context::TestContext;
use crate::support::peers;
use crate::support::service::Service;

/// What people and scripts call the forms by.
const NAMES: [&str; 9] = [
    "m.bentomodel",
    "m.tar",
    "m.gz",
    "m.tar.gz",
    "m.tar.xz",
    "m.tar.bz2",
    "m.tar.zst",
    "m.zip",
    "m.weird.bentomodel",
];

/// Longer than a process takes to start on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_mins(1);

fn shell(context: &TestContext, script: &str) -> Command {
    context.command(&peers::system("bash")).arg("-c").arg(format!("set -euo pipefail; {script}"))
}

/// A model with everything that an archive has to keep.
fn model(context: &TestContext, tag: &str) -> PathBuf {
    let files = context.work().join("files");
    fs::create_dir_all(files.join("sub")).unwrap();
    fs::write(files.join("weights.bin"), vec![3; 200_000]).unwrap();
    fs::write(files.join("sub/run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(files.join("sub/run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    let _created = context.ekiben(["models", "create", tag, "--from", "files"]).run();
    fs::remove_dir_all(&files).unwrap();
    let path = stored(context, tag);
    symlink("sub/run.sh", path.join("link")).unwrap();
    path
}

fn stored(context: &TestContext, tag: &str) -> PathBuf {
    context.bentoml_home().join("models").join(tag.replace(':', "/"))
}

/// Everything below a directory: path, content or target, mode.
fn tree(root: &Path) -> Vec<(String, Vec<u8>, u32)> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.path().symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned().into_bytes()
        } else if metadata.is_file() {
            fs::read(entry.path()).unwrap()
        } else {
            Vec::new()
        };
        let path = entry.path().strip_prefix(root).unwrap().display().to_string();
        (path, content, metadata.permissions().mode())
    });
    entries.collect()
}

/// Nothing unfinished is in the home.
fn assert_no_remains(context: &TestContext) {
    let names = fs::read_dir(context.bentoml_home().join("tmp")).unwrap();
    let names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name()).filter(|name| name != "locks").collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn every_form_goes_out_and_comes_back() {
    let context = TestContext::new();
    let original = tree(&model(&context, "m:v1"));
    for name in NAMES {
        let path = context.work().join(name);
        let output = context.ekiben(["models", "export", "m", name]).run();
        assert_eq!(output.stdout, format!("Model(tag=\"m:v1\") exported to {}.\n", path.display()));
        assert_eq!(
            context.ekiben(["models", "delete", "m", "-y"]).run().stdout,
            "Model(tag=\"m:v1\") deleted.\n"
        );
        assert!(!stored(&context, "m:v1").exists());
        let output = context.ekiben(["models", "import"]).arg(&path).run();
        assert_eq!(output.stdout, "Model(tag=\"m:v1\") imported.\n");
        assert_eq!(tree(&stored(&context, "m:v1")), original, "{name}");
        assert_no_remains(&context);
    }
}

#[test]
fn what_is_written_is_named_as_by_the_original_tool() {
    let context = TestContext::new();
    let original = tree(&model(&context, "m:v1"));
    fs::create_dir(context.work().join("out")).unwrap();
    for (arguments, name) in [
        (&[][..], "m-v1.bentomodel"),
        (&["out"], "out/m-v1.bentomodel"),
        (&["out/"], "out/m-v1.bentomodel"),
        (&["x.tgz"], "x.tgz.bentomodel"),
        (&["plain"], "plain.bentomodel"),
        (&["out", "--format", "zst"], "out/m-v1.tar.zst"),
        (&["file://./y.zip"], "y.zip"),
        (&["folder", "--format", "folder"], "folder"),
    ] {
        let output = context.ekiben(["models", "export", "m:v1", "-o", "json"]).args(arguments).run().json();
        assert_eq!(output["tag"], "m:v1");
        assert_eq!(Path::new(output["path"].as_str().unwrap()), context.work().join(name));
        assert!(context.work().join(name).exists(), "{name}");
    }
    assert_eq!(tree(&context.work().join("folder")), original);
    // In a directory that is there it is one more.
    let again = context.ekiben(["models", "export", "m", "out", "--format", "folder"]);
    let _output = again.clone().run();
    assert_eq!(tree(&context.work().join("out/m-v1")), original);
    let _output = again.status(1).stderr("it exists").run();
    let _output = context.ekiben(["models", "delete", "m:v1", "--assume-yes"]).run();
    // By content, whatever the name says.
    fs::rename(context.work().join("out/m-v1.tar.zst"), context.work().join("really.zip")).unwrap();
    let imported = context.ekiben(["models", "import", "really.zip", "-o", "json"]).run().json();
    assert_eq!(imported["path"], stored(&context, "m:v1").display().to_string());
    assert_eq!(imported["models"], serde_json::json!([]));
    assert_eq!(tree(&stored(&context, "m:v1")), original);
    let _output = context.ekiben(["models", "delete", "m", "-y"]).run();
    let _output = context.ekiben(["models", "import", "folder"]).run();
    assert_eq!(tree(&stored(&context, "m:v1")), original);
}

#[test]
fn archives_go_through_pipes() {
    let context = TestContext::new();
    let original = tree(&model(&context, "m:v1"));
    let other = context.work().join("other");
    for format in ["native", "tar", "gz", "bz2", "zst", "zip"] {
        let script =
            format!("ekiben models export m - --format {format} | BENTOML_HOME=other ekiben models import -");
        let output = shell(&context, &script).stderr("Model(tag=\"m:v1\") exported to -.").run();
        assert!(output.stdout.ends_with("Model(tag=\"m:v1\") imported.\n"), "{format}: {}", output.stdout);
        assert_eq!(tree(&other.join("models/m/v1")), original, "{format}");
        fs::remove_dir_all(&other).unwrap();
    }
    let folder = context.ekiben(["models", "export", "m", "-", "--format", "folder"]).status(2);
    let _output = folder.stderr("cannot write a directory to `-`").run();
    // A reader that goes away is no success.
    let _output =
        shell(&context, "ekiben models export m - --format tar | true; exit 9").any_stderr().status(3).run();
}

#[test]
fn wrong_paths_and_taken_tags_say_so() {
    let context = TestContext::new();
    model(&context, "m:v1");
    let _output = context.ekiben(["models", "export", "m", "m.tar"]).run();
    let store = context.bentoml_home().join("models");
    let taken = format!("Item 'm:v1' already exists in the store {}", store.display());
    let _output = context.ekiben(["models", "import", "m.tar"]).status(1).stderr(&taken).run();
    let wrong = "it holds a model, not a bento";
    let _output = context.ekiben(["import", "m.tar"]).status(1).stderr(wrong).stderr("models import").run();
    let _output =
        context.ekiben(["models", "import", "none.tar"]).status(1).stderr("cannot open `none.tar`").run();
    fs::write(context.work().join("text.bentomodel"), "no archive").unwrap();
    let _output = context
        .ekiben(["models", "import", "text.bentomodel"])
        .status(1)
        .stderr("no archive of a known form")
        .run();
    let unknown =
        "Unknown or unsupported protocol gopher. Some supported protocols are 'ftp', 's3', and 'file'.";
    let _output = context.ekiben(["models", "import", "gopher://host/m"]).status(2).stderr(unknown).run();
    let _output = context
        .ekiben(["models", "export", "m", "no/where/m.tar"])
        .status(1)
        .stderr("there is no directory")
        .run();
    let missing = "Model 'n:v2' is not found in BentoML store";
    let _output = context.ekiben(["models", "export", "n:v2"]).status(1).stderr(missing).run();
    assert_no_remains(&context);
}

/// Names and contents.
type Files<'a> = &'a [(&'a str, &'a [u8])];

/// A tar of these files.
fn tar(files: Files<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn yaml(name: &str, version: &str) -> String {
    format!(
        "name: {name}\nversion: {version}\nmodule: ''\nlabels: {{}}\noptions: {{}}\nmetadata: {{}}\ncontext:\n  \
         framework_name: ''\n  framework_versions: {{}}\nsignatures: {{}}\napi_version: v1\n\
         creation_time: '2026-01-01T00:00:00+00:00'\n"
    )
}

#[test]
fn archives_that_are_no_good_leave_nothing() {
    let context = TestContext::new();
    let good = yaml("m", "v1");
    let huge = vec![b'#'; (16 << 20) + 1];
    let no_name = good.replace("name: m\n", "");
    let cases: [(Files<'_>, &str); 12] = [
        (
            &[("model.yaml", good.as_bytes()), ("../evil", b"x")],
            "archive member `../evil` leads out of the archive",
        ),
        (&[("model.yaml", good.as_bytes()), ("/evil", b"x")], "archive member `/evil` has an absolute name"),
        (
            &[("model.yaml", good.as_bytes()), ("./model.yaml", b"x")],
            "archive member `model.yaml` is there more than once",
        ),
        (&[("wrapped/model.yaml", good.as_bytes())], "does not contain a 'model.yaml'"),
        (&[("a", b"x")], "does not contain a 'model.yaml'"),
        (&[("bento.yaml", b"x")], "it holds a bento, not a model"),
        (&[("model.yaml", b"{unclosed")], "it holds no usable model"),
        (&[("model.yaml", b"a list of nothing")], "Missing field 'name'"),
        (&[("model.yaml", b"\xff\xfe")], "it holds no usable model"),
        (&[("model.yaml", no_name.as_bytes())], "Missing field 'name'"),
        (&[("model.yaml/x", b"x")], "its 'model.yaml' is not a file of at most"),
        (&[("model.yaml", &huge)], "its 'model.yaml' is not a file of at most"),
    ];
    for (files, message) in cases {
        fs::write(context.work().join("bad.tar"), tar(files)).unwrap();
        let _output = context.ekiben(["models", "import", "bad.tar"]).status(1).stderr(message).run();
        assert_no_remains(&context);
    }
    for (name, version) in [("../up", "v1"), ("m", "latest"), ("m", "a/b"), ("m", "'..'")] {
        fs::write(context.work().join("bad.tar"), tar(&[("model.yaml", yaml(name, version).as_bytes())]))
            .unwrap();
        let _output =
            context.ekiben(["models", "import", "bad.tar"]).status(1).stderr("does not name an item").run();
    }
    assert_eq!(context.ekiben(["models", "list", "-o", "json"]).run().stdout, "[]\n");
    assert!(!context.work().join("evil").exists());
}

#[test]
fn a_bento_brings_its_models() {
    let context = TestContext::new();
    let bento = "service: service:S\nname: b\nversion: v1\nbentoml_version: 1.4.39\n\
                 creation_time: '2026-01-01T00:00:00+00:00'\nlabels: {}\nspec: 2\nmodels:\n- tag: m:v1\n  module: ''\n  \
                 creation_time: '2026-01-01T00:00:00+00:00'\n- tag: m:v2\n  module: ''\n  \
                 creation_time: '2026-01-01T00:00:00+00:00'\n";
    let (one, two) = (yaml("m", "v1"), yaml("m", "v2").replace("2026-01-01T", "2026-01-02T"));
    let files: [(&str, &[u8]); 5] = [
        ("bento.yaml", bento.as_bytes()),
        ("src/service.py", b"pass\n"),
        ("models/m/latest", b"v2"),
        ("models/m/v1/model.yaml", one.as_bytes()),
        ("models/m/v2/model.yaml", two.as_bytes()),
    ];
    fs::write(context.work().join("b.bento"), tar(&files)).unwrap();
    let _output = context.ekiben(["models", "import", "b.bento"]).status(1).stderr("it holds a bento").run();
    let imported = context.ekiben(["import", "b.bento", "-o", "json"]).run().json();
    assert_eq!(imported["models"], serde_json::json!(["m:v1", "m:v2"]));
    let home = context.bentoml_home();
    assert!(!home.join("bentos/b/v1/models").exists());
    assert_eq!(fs::read_to_string(home.join("models/m/latest")).unwrap(), "v2");
    assert_no_remains(&context);
    // Models in use stay, and those that are there are not copied again.
    let used = "Model m:v1 is being used by the following bentos and can't be deleted:\n  b:v1";
    let _output = context.ekiben(["models", "delete", "m:v1", "-y"]).status(1).stderr(used).run();
    let output = context.ekiben(["export", "b", "again.zip"]).run();
    assert!(output.stdout.starts_with("Bento(tag=\"b:v1\") exported to "), "{}", output.stdout);
    assert!(!home.join("bentos/b/v1/models").exists());
    assert_eq!(context.ekiben(["delete", "b:v1", "-y"]).run().stdout, "Bento(tag=\"b:v1\") deleted.\n");
    let _output = context.ekiben(["models", "delete", "m:v1", "-y"]).run();
    let skipped = "Model m:v2 already exists in the global model store, skipping copy.";
    let output = context.ekiben(["import", "again.zip"]).stderr(skipped).run();
    assert_eq!(output.stdout, "Bento(tag=\"b:v1\") imported.\n");
    assert_eq!(fs::read_to_string(home.join("models/m/v1/model.yaml")).unwrap(), one);
    // A model that is not there cannot be packed.
    fs::remove_dir_all(home.join("models/m/v1")).unwrap();
    let _output =
        context.ekiben(["export", "b"]).status(1).stderr("its model `m:v1` is not in the model store").run();
    // One that is not what its directory says spoils the bento, and the others are not taken either.
    let _output = context.ekiben(["delete", "b", "-y"]).run();
    let swapped: [(&str, &[u8]); 3] = [
        ("bento.yaml", bento.as_bytes()),
        ("models/m/v1/model.yaml", one.as_bytes()),
        ("models/m/v3/model.yaml", two.as_bytes()),
    ];
    fs::write(context.work().join("b.bento"), tar(&swapped)).unwrap();
    let _output = context
        .ekiben(["import", "b.bento"])
        .status(1)
        .stderr("has model `m:v2` in the directory `models/m/v3`")
        .run();
    // A description that would fill the memory is not read.
    let huge = [one.as_bytes(), &vec![b'#'; 16 << 20]].concat();
    let files: [(&str, &[u8]); 2] = [("bento.yaml", bento.as_bytes()), ("models/m/v1/model.yaml", &huge)];
    fs::write(context.work().join("b.bento"), tar(&files)).unwrap();
    let import = context.ekiben(["import", "b.bento"]).status(1);
    let _output = import.stderr("its 'model.yaml' is not a file of at most").run();
    assert!(!home.join("models/m/v1").exists());
    assert!(!home.join("bentos/b").exists());
}

#[test]
fn delete_asks() {
    let context = TestContext::new();
    for version in ["v1", "v2", "v3"] {
        model(&context, &format!("m:{version}"));
    }
    model(&context, "n:v1");
    let left = || {
        let rows = context.ekiben(["models", "list", "-o", "json"]).run().json();
        let mut tags: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["tag"].to_string()).collect();
        tags.sort();
        tags.join(" ").replace('"', "")
    };
    let output = shell(&context, "printf 'n\\nmaybe\\nYes\\n\\n' | ekiben models delete m").run();
    assert_eq!(
        output.stdout,
        "delete model m:v1? [y/N]: delete model m:v2? [y/N]: Error: invalid input\ndelete model m:v2? [y/N]: \
         Model(tag=\"m:v2\") deleted.\ndelete model m:v3? [y/N]: "
    );
    assert_eq!(left(), "m:v1 m:v3 n:v1");
    let output = shell(&context, "ekiben models delete m < /dev/null").status(1).stderr("Aborted!").run();
    assert_eq!(output.stdout, "delete model m:v1? [y/N]: \n");
    let json = context.ekiben(["models", "delete", "m:v1,", "n", "-y", "-o", "json"]).run().json();
    assert_eq!(json, serde_json::json!([{"tag": "m:v1", "deleted": true}, {"tag": "n:v1", "deleted": true}]));
    assert_eq!(left(), "m:v3");
    let _output = context
        .ekiben(["models", "delete", "none", "-y"])
        .status(1)
        .stderr("no Models with name 'none' found")
        .run();
    let _output = context
        .ekiben(["models", "delete", "m:v3", "Bad/Name", "-y"])
        .status(2)
        .stderr("Bad formatting")
        .run();
    assert_eq!(left(), "m:v3");
    let _output = context.ekiben(["delete"]).status(2).stderr("DELETE_TARGETS").run();
}

#[test]
fn a_killed_import_leaves_nothing() {
    let context = TestContext::new();
    model(&context, "m:v1");
    let _output = context.ekiben(["models", "export", "m", "m.tar"]).run();
    let _output = context.ekiben(["models", "delete", "m", "-y"]).run();
    let bytes = fs::read(context.work().join("m.tar")).unwrap();
    let _output = shell(&context, "mkfifo pipe").run();
    // Each time, it has unpacked something and waits for more.
    for part in [600, 5000, 100_000, bytes.len() - 1] {
        let import = Service::start(&context.ekiben(["models", "import", "pipe"]));
        let mut pipe = fs::File::options().write(true).open(context.work().join("pipe")).unwrap();
        pipe.write_all(&bytes[..part]).unwrap();
        pipe.flush().unwrap();
        wait_for_staging(&context);
        import.signal(Signal::KILL);
        let (status, _) = import.wait();
        assert_eq!(status.code(), None);
        assert_eq!(context.ekiben(["models", "list", "-o", "json"]).run().stdout, "[]\n");
    }
    let _output = context.ekiben(["models", "import", "m.tar"]).run();
    assert_no_remains(&context);
}

/// Waits until an import has begun.
fn wait_for_staging(context: &TestContext) {
    let deadline = Instant::now() + STARTS_WITHIN;
    loop {
        let entries = fs::read_dir(context.bentoml_home().join("tmp")).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        if names.any(|name| name.starts_with("ekiben-staging")) {
            return;
        }
        assert!(Instant::now() < deadline, "no import began within {STARTS_WITHIN:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ctrl_c_leaves_nothing_half_written() {
    let context = TestContext::new();
    let files = context.work().join("files");
    fs::create_dir(&files).unwrap();
    let mut noise = vec![0; 64 << 20];
    noise.chunks_mut(8).zip(0_u64..).for_each(|(chunk, number)| {
        chunk.copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    });
    fs::write(files.join("weights"), noise).unwrap();
    let _output = context.ekiben(["models", "create", "m:v1", "--from", "files"]).run();
    for name in ["out.bentomodel", "out.zip", "out.bz2"] {
        let mut export = Service::start(&context.ekiben(["models", "export", "m", name]));
        export.line_with("exporting m:v1");
        export.signal(Signal::INT);
        let (status, output) = export.wait();
        assert_eq!(status.code(), Some(130), "{output}");
        let names: Vec<_> =
            fs::read_dir(context.work()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["files"], "{output}");
    }
    assert_no_remains(&context);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// A description with bytes changed, cut or doubled is read or refused; what is read stays in the store.
    #[test]
    fn spoilt_descriptions_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        doubled in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        // Enough of them for the few runs that the slow test beside allows.
        for round in 0..changes.len() {
            let mut bytes = yaml("m", "v1").into_bytes();
            for (at, byte) in &changes[..=round] {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let again = bytes[doubled.index(bytes.len())..].to_vec();
            bytes.extend(again);
            bytes.truncate(cut.index(bytes.len()).max(bytes.len() / 2));
            fs::write(directory.path().join("model.yaml"), bytes).unwrap();
            match Model::load(directory.path()) {
                Ok(model) => prop_assert!(!model.info.tag.to_string().contains('/')),
                Err(error) => prop_assert!(error.to_string().contains("model.yaml")),
            }
        }
    }

    /// Whatever name a model has, it comes back under it.
    #[test]
    fn tags_come_back(name in "[a-z0-9]([-._a-z0-9]{0,20}[a-z0-9])?", version in "[a-z0-9]([-._a-z0-9]{0,20}[a-z0-9])?") {
        prop_assume!(version != "latest");
        let context = TestContext::new();
        let tag = format!("{name}:{version}");
        model(&context, &tag);
        let exported = context.ekiben(["models", "export", &tag, "-o", "json"]).run().json();
        let _output = context.ekiben(["models", "delete", &tag, "-y"]).run();
        let path = exported["path"].as_str().unwrap();
        let expected = format!("/{name}-{version}.bentomodel");
        prop_assert!(path.ends_with(&expected));
        let imported = context.ekiben(["models", "import", path, "-o", "json"]).run().json();
        prop_assert_eq!(&imported["tag"], &serde_json::json!(tag));
    }
}
