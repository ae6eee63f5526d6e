//! The same inputs give the same digest, and what did not change is not done again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::context::{TestContext, copy_tree};
use crate::support::image::Written;
use crate::support::iris::IRIS;
use crate::support::peers;
use crate::support::sources::repository;
use crate::support::watch::ReadWatch;

/// The trained model, in the only layer that is as large as it.
const MODEL_FILE: &str = "saved_model.pkl";

/// Builds bento and image of a project in a process with that umask, and returns the manifest's digest.
fn image_digest(context: &TestContext, project: &Path, umask: &str) -> String {
    let script = format!("umask {umask}; exec ekiben \"$@\"");
    let with_umask = || context.command(&peers::system("sh")).args(["-c", &script, "sh"]);
    let built = with_umask().args(["build", "--version", "v1", "-o", "tag"]).arg(project).run();
    assert_eq!(built.stdout.trim(), format!("__tag__:{IRIS}"));
    let archive = context.work().join("image.tar");
    let to = format!("oci-archive:{}", archive.display());
    let written = Written::by(with_umask().args(["containerize", IRIS, "--to", &to]));
    context.verify_image(&archive);
    written.digest
}

fn set_modes(directory: &Path, file: u32, folder: u32) {
    for entry in walkdir::WalkDir::new(directory) {
        let entry = entry.expect("the directory can be walked");
        let mode = if entry.file_type().is_dir() { folder } else { file };
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).expect("modes can be set");
    }
}

#[test]
fn directories_umasks_times_and_caches_do_not_show_in_the_digest() {
    let first = TestContext::new();
    first.train_iris();
    let second = TestContext::new();
    copy_tree(&first.bentoml_home().join("models"), &second.bentoml_home().join("models"));
    let project = first.project("iris");
    let moved = second.work().join("some/where/else");
    copy_tree(&project, &moved);
    set_modes(&project, 0o600, 0o700);
    set_modes(&moved, 0o664, 0o775);
    assert_eq!(image_digest(&first, &project, "077"), image_digest(&second, &moved, "002"));
}

/// The locks of Debian packages that a cache has from other builds, with a package less in each.
fn spoil_locks(cache: &Path) {
    let mut spoilt = 0;
    for entry in fs::read_dir(cache.join("debian/debian")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let mut lock: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let packages = lock["packages"].as_array_mut().unwrap();
            let before = packages.len();
            packages.retain(|package| package["name"] != "netbase");
            spoilt += before - packages.len();
            fs::write(&path, lock.to_string()).unwrap();
        }
    }
    assert!(spoilt > 0, "no lock has the package");
}

/// `docs/formats/image-lock.md`.
#[test]
fn the_lock_in_the_bento_decides_and_not_what_a_machine_found_before() {
    let (here, there) = (TestContext::with_shared_cache(), TestContext::new());
    let project = here.work().join("project");
    fs::create_dir(&project).unwrap();
    let service = "import bentoml\n\n\n@bentoml.service\nclass Small:\n    @bentoml.api\n    def one(self) -> int:\n        return 1\n";
    fs::write(project.join("service.py"), service).unwrap();
    fs::write(project.join("bentofile.yaml"), "service: \"service:Small\"\n").unwrap();
    let _built = here.ekiben(["build", "--version", "v1"]).arg(&project).run();
    let image = |context: &TestContext| {
        Written::by(context.ekiben(["containerize", "small:v1", "--to", "oci:layout"]))
    };
    let first = image(&here);

    copy_tree(&here.bentoml_home(), &there.bentoml_home());
    copy_tree(&repository().join("target/test-cache/ekiben/debian"), &there.own_cache().join("debian"));
    spoil_locks(&there.own_cache());
    assert_eq!(image(&there).digest, first.digest);

    // Packages that the archive had at another time, until those of today are asked for.
    let lock = there.bentoml_home().join("bentos/small/v1/env/lock.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&lock).unwrap()).unwrap();
    let packages = document["base"]["lock"]["packages"].as_array_mut().unwrap();
    packages.retain(|package| package["name"] != "netbase");
    fs::write(&lock, document.to_string()).unwrap();
    let older = image(&there);
    assert_ne!(older.layers[0].1, first.layers[0].1);
    let refreshed = ["containerize", "small:v1", "--to", "oci:layout", "--refresh"];
    assert_ne!(Written::by(there.ekiben(refreshed)).layers[0].1, older.layers[0].1);
    assert_eq!(image(&there).digest, older.digest);
    // Packages of a request that this version does not make.
    document["base"]["request"] = format!("sha256:{}", "0".repeat(64)).into();
    fs::write(&lock, document.to_string()).unwrap();
    let other = there.ekiben(["containerize", "small:v1", "--to", "oci:layout"]);
    let other = Written::by(other.stderr("build the bento again to lock these"));
    assert_ne!(other.layers[0].1, older.layers[0].1);
    spoil_locks(&there.own_cache());

    // A bento of the original tool has no lock: there the machine's own decides.
    fs::remove_file(&lock).unwrap();
    assert_ne!(image(&there).layers[0].1, first.layers[0].1);
    // The platform that the bento was built for is the one of its images.
    fs::write(&lock, r#"{"format":1,"platform":"linux/arm64"}"#).unwrap();
    let refused = there.ekiben(["containerize", "small:v1", "--to", "oci:other", "--base", "oci:layout"]);
    let _output = refused.status(1).stderr("linux/arm64").run();
    fs::write(&lock, r#"{"format":1,"platform":"../x"}"#).unwrap();
    let refused = there.ekiben(["containerize", "small:v1", "--to", "oci:layout"]).status(1);
    let _output = refused.stderr("env/lock.json").run();
}

#[test]
fn an_unchanged_run_packs_nothing_and_reads_no_byte_of_the_model() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    let watch = ReadWatch::below(&context.bentoml_home().join("models"));
    let to = format!("oci:{}", context.work().join("layout").display());
    let containerize = || context.ekiben(["containerize", IRIS, "--to", &to]);
    let first = Written::by(containerize());
    assert!(first.packed.iter().any(|title| title.starts_with("model iris_clf:")), "{first:?}");
    assert!(watch.touched().iter().any(|path| path.ends_with(MODEL_FILE)), "the watch sees the first run");
    let second = Written::by(containerize());
    assert_eq!(second.packed, Vec::<String>::new());
    assert_eq!(second.digest, first.digest);
    let touched = watch.touched();
    assert!(!touched.iter().any(|path| path.ends_with(MODEL_FILE)), "{touched:?}");
}

#[test]
fn a_blob_that_was_damaged_at_the_destination_is_written_again_and_others_are_not_read() {
    let context = TestContext::with_shared_cache();
    context.build_iris();
    let (layout, archive) = (context.work().join("layout"), context.work().join("iris.tar"));
    let containerize =
        || context.ekiben(["containerize", IRIS, "--to", "oci:layout", "--to", "oci-archive:iris.tar"]);
    let first = Written::by(containerize());
    let blobs = layout.join("blobs/sha256");
    let is_large = |path: &Path| path.metadata().is_ok_and(|metadata| metadata.len() > 1 << 20);
    let large: Vec<_> = first
        .layers
        .iter()
        .map(|(_, digest)| blobs.join(digest.trim_start_matches("sha256:")))
        .filter(|path| is_large(path))
        .collect();
    assert!(large.len() > 1, "{first:?}");

    let watch = ReadWatch::below(&layout);
    assert_eq!(containerize().run().stdout.matches("  unchanged: ").count(), 2);
    let touched = watch.touched();
    assert!(!touched.iter().any(|path| is_large(path)), "{touched:?}");

    let whole = [&large[0], &archive].map(|path| fs::read(path).expect("it was written"));
    for (path, whole) in [&large[0], &archive].into_iter().zip(&whole) {
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(path, damaged).expect("it can be written to");
    }
    assert_eq!(containerize().run().stdout.matches("  written: ").count(), 2);
    for (path, whole) in [&large[0], &archive].into_iter().zip(&whole) {
        assert!(fs::read(path).expect("it was written") == *whole, "{}", path.display());
    }
    let touched = watch.touched();
    assert!(!touched.contains(&large[1]), "{touched:?}");
}

#[test]
fn a_changed_line_of_code_packs_the_source_layer_alone() {
    let context = TestContext::with_shared_cache();
    context.train_iris();
    let project = context.project("iris");
    let to = format!("oci:{}", context.work().join("layout").display());
    let containerize = |version: &str| {
        let built = context.ekiben(["build", "--version", version, "-o", "tag"]).arg(&project).run();
        let tag = built.stdout.trim().trim_start_matches("__tag__:").to_owned();
        Written::by(context.ekiben(["containerize", &tag, "--to", &to]))
    };
    let first = containerize("v1");
    let service = project.join("service.py");
    let text = fs::read_to_string(&service).expect("the service is there");
    fs::write(&service, text.replace("Classifies iris flowers.", "Classifies flowers."))
        .expect("it can be changed");
    let second = containerize("v2");
    assert_eq!(second.packed, ["bento iris_classifier"]);
    let changed: Vec<_> = second.layers.iter().filter(|layer| !first.layers.contains(layer)).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
}
