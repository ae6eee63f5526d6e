//! A disk that is full in the middle of saving, importing or pulling: what is said, and that nothing is left.

use std::fs;

use crate::support::command::Command;
use crate::support::context::TestContext;
use crate::support::docker_registry::DockerRegistry;
use crate::support::peers;

/// The network, a registry or the disk is at fault.
const SURROUNDINGS: i32 = 3;

/// A home on a disk of its own, in a mount namespace: nothing to unmount, whatever happens. Something is stored there
/// before, and again afterwards, when there has to be room for it.
const SCRIPT: &str = "set -e; options=$1; shift; mount -t tmpfs -o $options tmpfs small
ekiben models create kept:v1 --from few >/dev/null
# Lock files stay; whoever had the lock before must not make the difference.
ekiben models create pull:v0 --from few >/dev/null; ekiben models delete pull:v0 -y >/dev/null
stat -f -c %f small >before
status=0; ekiben \"$@\" || status=$?
stat -f -c %f small >after
find small/tmp -type f -not -path 'small/tmp/locks/*' >left
find small/models small/bentos -mindepth 1 -maxdepth 2 | sort >items
ekiben models list -o json >list
ekiben models create again:v1 --from few >/dev/null
exit $status";

/// A disk with few bytes, one with 8 MiB above what has to stay free, and one with few files: that one is full although
/// there is room by what the system says.
const FEW_BYTES: &str = "size=8m";
const SOME_BYTES: &str = "size=72m";
const FEW_FILES: &str = "size=128m,nr_inodes=60";

fn context() -> TestContext {
    let context = TestContext::new();
    let work = context.work();
    for directory in ["small", "few", "large", "many"] {
        fs::create_dir(work.join(directory)).unwrap();
    }
    fs::write(work.join("few/a"), "weights").unwrap();
    for part in 0..4_u32 {
        // No part can be shared with another.
        let bytes: Vec<u8> =
            (0..1_000_000_u32).flat_map(|word| (word ^ (part << 24)).to_le_bytes()).collect();
        fs::write(work.join(format!("large/part-{part}.bin")), bytes).unwrap();
    }
    for number in 0..100 {
        fs::write(work.join(format!("many/{number}")), format!("{number}")).unwrap();
    }
    context
}

/// Runs ekiben on the small disk, where it has to fail for want of room.
fn fails(context: &TestContext, options: &str, arguments: &[&str], reasons: &[&str]) {
    let unshare = context.command(&peers::system("unshare"));
    let unshare = unshare.args(["--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh", options]);
    let mut command: Command =
        unshare.args(arguments).env("BENTOML_HOME", context.work().join("small")).status(SURROUNDINGS);
    for reason in reasons.iter().chain(&["error: cannot ", "hint: make room"]) {
        command = command.stderr(reason);
    }
    let output = command.run();
    assert!(!output.stdout.contains("uccess"), "{}", output.stdout);
    let read = |name: &str| fs::read_to_string(context.work().join(name)).unwrap();
    assert_eq!(read("left"), "", "{arguments:?}");
    assert_eq!(read("items"), "small/models/kept\nsmall/models/kept/latest\nsmall/models/kept/v1\n");
    assert_eq!(read("before"), read("after"), "{arguments:?}: space is not free again");
    let list: serde_json::Value = serde_json::from_str(&read("list")).unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["tag"]), (1, &"kept:v1".into()));
}

#[test]
fn a_model_that_does_not_fit_is_not_saved() {
    let context = context();
    let full = ["No space left on device", "small/tmp/"];
    fails(&context, FEW_BYTES, &["models", "create", "m:v1", "--from", "large"], &full);
    fails(&context, FEW_FILES, &["models", "create", "m:v1", "--from", "many"], &full);
}

#[test]
fn an_archive_that_does_not_fit_is_not_imported() {
    let context = context();
    for directory in ["large", "many"] {
        let tag = format!("{directory}:v1");
        let _created = context.ekiben(["models", "create", &tag, "--from", directory]).run();
        for form in ["tar", "zip"] {
            let archive = format!("{directory}.{form}");
            let _exported = context.ekiben(["models", "export", &tag, &archive]).run();
        }
    }
    for form in ["tar", "zip"] {
        let (large, many) = (format!("large.{form}"), format!("many.{form}"));
        let no_room = ["`large.", "the archive unpacks to more than the ", "small/tmp/"];
        fails(&context, FEW_BYTES, &["models", "import", &large], &no_room);
        fails(&context, SOME_BYTES, &["models", "import", &large], &no_room);
        let full = ["`many.", "No space left on device", "small/tmp/"];
        fails(&context, FEW_FILES, &["models", "import", &many], &full);
    }
}

#[test]
fn a_model_that_does_not_fit_is_not_pulled() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let context = context();
    // Its small files fit as a tar, and do not fit beside it.
    fs::create_dir(context.work().join("twice")).unwrap();
    for part in 0..6 {
        fs::write(context.work().join(format!("twice/{part}")), vec![part; 900_000]).unwrap();
    }
    let name = |directory: &str| format!("docker://{}/{directory}:1", registry.host());
    for directory in ["large", "many", "twice"] {
        let tag = format!("{directory}:v1");
        let _created = context.ekiben(["models", "create", &tag, "--from", directory]).run();
        let _pushed = context.ekiben(["models", "push", &tag, &name(directory)]).run();
    }
    let larger = ["bytes are more than the ", "free in `", "work/small`"];
    fails(&context, FEW_BYTES, &["models", "pull", &name("large")], &larger);
    let larger = ["cannot unpack a layer of", "the archive unpacks to more than the ", "small/tmp/"];
    fails(&context, SOME_BYTES, &["models", "pull", &name("twice")], &larger);
    let full = ["No space left on device", "small/tmp/"];
    fails(&context, FEW_FILES, &["models", "pull", &name("many")], &full);
    // Where there is room, the same artifact is good.
    let elsewhere = context.work().join("elsewhere");
    let _pulled = context.ekiben(["models", "pull", &name("many")]).env("BENTOML_HOME", &elsewhere).run();
    assert!(elsewhere.join("models/many/v1/99").is_file());
}
