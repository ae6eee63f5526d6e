//! Ctrl-C in the middle of each stage: exit status 130, a word on stderr, and nothing partial left behind.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use rustix::process::Signal;

use crate::support::command::Command;
use crate::support::context::TestContext;
use crate::support::iris::IRIS;
use crate::support::service::Service;

/// 128 and the number of the signal, as shells have it.
const INTERRUPTED: i32 = 130;

/// Takes seconds to hash and to copy in the build that tests use.
const LARGE_MODEL: usize = 1 << 30;

/// Sends SIGINT when the command says `stage`, and expects that it stops in good order.
fn interrupt_at(stage: &str, command: &Command) {
    let mut running = Service::start(command);
    running.line_with(stage);
    running.signal(Signal::INT);
    let (status, output) = running.wait();
    assert_eq!(status.code(), Some(INTERRUPTED), "interrupted at `{stage}`:\n{output}");
    assert!(output.contains("interrupted"), "{output}");
}

/// Regular files below a directory; of those that do not exist there are none.
fn files(directory: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(directory).into_iter().filter_map(Result::ok);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.path().display().to_string()).collect()
}

/// How the names of files begin that are not finished.
const STAGING_PREFIX: &str = ".ekiben-staging-";

/// Nothing at the destination, and nothing unfinished anywhere.
fn assert_no_remains(context: &TestContext) {
    assert_eq!(files(&context.work().join("out")), Vec::<String>::new(), "destination");
    assert_eq!(files(&context.temporary()), Vec::<String>::new(), "temporary directory");
    let staging = files(&context.bentoml_home().join("tmp"));
    assert_eq!(staging.iter().find(|path| !path.ends_with("lock")), None, "staging of the stores");
    let everywhere = [context.work(), context.bentoml_home(), context.own_cache()];
    let mut staged = everywhere.iter().flat_map(|place| files(place));
    assert_eq!(staged.find(|path| path.contains(STAGING_PREFIX)), None);
}

#[test]
fn ctrl_c_stops_each_stage_of_a_cold_containerize() {
    let context = TestContext::new();
    context.build_iris();
    fs::create_dir(context.work().join("out")).expect("the directory is there");
    let containerize = context.ekiben(["containerize", IRIS, "--to", "oci-archive:out/iris.tar"]);
    let stages = [
        "Building OCI-compliant image",
        "packages of bookworm",
        "unpacking",
        "bytecode of the standard library",
        "Installing",
        "pack base",
        "pack python package",
        "pack runtime",
        "Writing the image",
    ];
    let packed = context.own_cache().join("layers");
    for stage in stages {
        // A layer that was finished before the interrupt came is not packed again: forget which were.
        if stage.starts_with("pack ") && packed.exists() {
            fs::remove_dir_all(&packed).expect("the cache is this test's own");
        }
        interrupt_at(stage, &containerize);
        assert_no_remains(&context);
    }
    containerize
        .run()
        .stdout
        .contains("Successfully")
        .then_some(())
        .expect("what was left in the cache is whole");
    context.verify_image(&context.work().join("out/iris.tar"));
}

#[test]
fn ctrl_c_stops_packing_and_writing_a_large_model() {
    let context = TestContext::with_shared_cache();
    let large = context.work().join("large");
    fs::create_dir_all(context.work().join("out")).expect("the directory is there");
    fs::create_dir(&large).expect("the directory is there");
    write_noise(&large.join("weights.bin"));
    context.ekiben(["models", "create", "large:v1", "--from", "large", "-o", "json"]).run().json();
    let project = context.project("iris");
    context.train_iris();
    let bentofile = project.join("bentofile.yaml");
    let text = fs::read_to_string(&bentofile).expect("the bentofile is there");
    fs::write(&bentofile, format!("{text}models:\n  - large:v1\n")).expect("it can be changed");
    context.build_iris_in(&project);
    for to in ["oci-archive:out/iris.tar", "oci:out/layout", "docker-archive:out/docker.tar"] {
        let containerize = context.ekiben(["containerize", IRIS, "--to", to]);
        interrupt_at("pack model large:v1", &containerize);
        assert_no_remains(&context);
    }
    // Packed once, so that the next interrupts come while the destination is written.
    context.ekiben(["containerize", IRIS, "--to", "oci:packed", "-o", "json"]).run().json();
    for to in ["oci-archive:out/iris.tar", "oci:out/layout", "docker-archive:out/docker.tar"] {
        interrupt_at("Writing the image", &context.ekiben(["containerize", IRIS, "--to", to]));
        assert_no_remains(&context);
    }
}

#[test]
fn ctrl_c_stops_a_build_while_it_locks() {
    let context = TestContext::new();
    context.train_iris();
    let project = context.project("iris");
    for stage in ["Locking", "package lists of bookworm"] {
        interrupt_at(stage, &context.ekiben(["build"]).arg(&project));
        assert_no_remains(&context);
        assert_eq!(files(&context.bentoml_home().join("bentos")), Vec::<String>::new(), "no partial bento");
    }
    context.build_iris_in(&project);
}

/// Bytes that no compressor makes smaller, the same every time (xorshift64*).
fn write_noise(path: &Path) {
    let mut file =
        std::io::BufWriter::with_capacity(1 << 20, File::create(path).expect("a file can be made"));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..LARGE_MODEL / 8 {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        file.write_all(&word.to_le_bytes()).expect("the disk has room");
    }
    file.flush().expect("the disk has room");
}
