//! What is said when a hub, the way to it, or the place for its files fails: what failed, with which model and file, and
//! what to do about it.

use std::fs;

use serde_json::json;

use crate::e2e_hub::{ID, World};
use crate::support::command::Command;
use crate::support::hub::{ALWAYS, Fault};
use crate::support::peers;

/// What the user gave is at fault; the network, the hub or the disk is.
const INPUT: i32 = 1;
const SURROUNDINGS: i32 = 3;

/// Two chunks, of which the second is small.
const LARGE: usize = (16 << 20) + 54_321;

const FILE: &str = "cannot download `model.safetensors` of `Acme/Tiny-V1.5`";

fn world() -> World {
    let world = World::alone();
    let bytes: Vec<u8> = (0..=250).cycle().take(LARGE).collect();
    world.hub.repository(ID).commit_files(&[("config.json", b"{}"), ("model.safetensors", &bytes)]);
    world
}

fn pull(world: &World) -> Command {
    world.ekiben(["models", "pull", &format!("hf://{ID}")])
}

/// The model cannot be pulled, for this reason and with this hint; once what went wrong is over, it can.
fn fails(world: &World, status: i32, parts: &[&str], hint: &str) {
    refused(pull(world), status, parts, hint);
    world.hub.heal();
    let again = pull(world).run().stdout;
    assert!(again.contains(&format!("Successfully pulled {ID}@main")), "{again}");
}

fn refused(command: Command, status: i32, parts: &[&str], hint: &str) {
    let output = command.status(status).any_stderr().run();
    let stderr = &output.stderr;
    assert!(stderr.starts_with(&format!("error: cannot pull `hf://{ID}@main`\n")), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "`{part}` is not in\n{stderr}");
    }
    let last = stderr.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("hint: ") && last.contains(hint), "`{hint}` is not the hint of\n{stderr}");
    assert!(!output.stdout.contains("Success"), "{}", output.stdout);
}

#[test]
fn a_hub_that_is_too_busy() {
    let world = world();
    world.hub.fail("GET", "/revision/", ALWAYS, Fault::TooManyRequests { retry_after: 0 });
    fails(&world, SURROUNDINGS, &["/revision/main` answers with status 429"], "wait a while");
    // A server that wants to be left alone for an hour is not waited for.
    let world = self::world();
    world.hub.fail("GET", "/lfs/", ALWAYS, Fault::TooManyRequests { retry_after: 3600 });
    fails(&world, SURROUNDINGS, &[FILE, "answers with status 429"], "wait a while");
}

#[test]
fn a_hub_that_fails_again_and_again() {
    let world = world();
    world.hub.fail("GET", "/tree/", ALWAYS, Fault::Status(500));
    fails(&world, SURROUNDINGS, &["answers with status 500", "the hub answers 500"], "try again");
}

#[test]
fn a_storage_that_fails_again_and_again() {
    let world = world();
    world.hub.fail("GET", "/lfs/", ALWAYS, Fault::Status(503));
    fails(&world, SURROUNDINGS, &[FILE, "answers with status 503"], "what has arrived is kept");
}

#[test]
fn a_connection_that_always_breaks() {
    let world = world();
    world.hub.fail("GET", "/lfs/", ALWAYS, Fault::CutAfter(0));
    fails(&world, SURROUNDINGS, &[FILE, "broke off"], "check the network");
}

#[test]
fn a_server_that_never_answers() {
    let world = world();
    world.hub.fail("GET", "/resolve/", ALWAYS, Fault::Silence);
    fails(
        &world,
        SURROUNDINGS,
        &["cannot download `", "` of `Acme/Tiny-V1.5`", "broke off"],
        "check the network",
    );
}

#[test]
fn a_hub_that_is_not_there() {
    let world = world();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pull = pull(&world).env("HF_ENDPOINT", format!("http://{nobody}"));
    refused(pull, SURROUNDINGS, &[&format!("cannot connect to `{nobody}`")], "`HF_ENDPOINT`");
}

#[test]
fn bytes_that_are_damaged_on_the_way() {
    let world = world();
    world.hub.fail("GET", "/lfs/", ALWAYS, Fault::WrongByte { offset: 12_345 });
    let parts = ["`model.safetensors` of `Acme/Tiny-V1.5` arrived damaged: it should have been ", " and is "];
    fails(&world, SURROUNDINGS, &parts, "a proxy on the way gives wrong bytes");
}

#[test]
fn a_file_with_another_length() {
    let world = world();
    world.hub.fail("GET", "/lfs/", ALWAYS, Fault::Length(LARGE as u64 + 7));
    let found = format!("has {} bytes where {LARGE} were promised", LARGE + 7);
    fails(
        &world,
        SURROUNDINGS,
        &["`model.safetensors` of `Acme/Tiny-V1.5` ", &found],
        "a proxy on the way gives wrong bytes",
    );
}

#[test]
fn signatures_that_are_never_good() {
    let world = world();
    world.hub.fail("GET", "/lfs/", ALWAYS, Fault::Expired);
    refused(pull(&world), SURROUNDINGS, &[FILE, "answers with status 403"], "try again");
    // A fresh URL was asked for, several times, and none of the signatures is shown.
    assert!(world.hub.requests("GET", "/resolve/").len() > 3);
    let shown = pull(&world).status(SURROUNDINGS).any_stderr().run().stderr;
    assert!(!shown.contains("signature-"), "{shown}");
}

#[test]
fn listings_that_lead_elsewhere() {
    let world = world();
    world.hub.repository(ID).list_also("config.json", "../outside");
    let parts = ["`Acme/Tiny-V1.5` has a file `../outside` that cannot be taken"];
    refused(pull(&world), INPUT, &parts, "use another revision");
    assert!(!world.cache().join("models--Acme--Tiny-V1.5/snapshots").exists());
}

#[test]
fn answers_that_have_no_end() {
    let world = world();
    world.hub.fail("GET", "/tree/", ALWAYS, Fault::Huge(100 << 20));
    fails(&world, SURROUNDINGS, &["/tree/", "answers with more than 67108864 bytes"], "`HF_ENDPOINT`");
    let world = self::world();
    world.hub.repository(ID).tamper(|entries| entries[0]["oid"] = json!("none"));
    refused(
        pull(&world),
        SURROUNDINGS,
        &["does not answer as a hub does: `config.json` has no digest"],
        "try again",
    );
}

/// Pulls into a directory of its own mount namespace: nothing to unmount, whatever happens.
fn pull_onto(world: &World, options: &str) -> Command {
    fs::create_dir(world.context.work().join("small")).unwrap();
    let script = "options=$1; shift; mount -t tmpfs -o $options tmpfs small && exec ekiben \"$@\"";
    let unshare = world.context.command(&peers::system("unshare"));
    let unshare = unshare.args(["--map-root-user", "--mount", "sh", "-c", script, "sh", options]);
    let pull = unshare.args(["models", "pull", &format!("hf://{ID}")]);
    let cache = world.context.work().join("small/hub");
    pull.env("HF_ENDPOINT", world.hub.endpoint()).env("HF_HUB_CACHE", cache)
}

#[test]
fn a_disk_with_too_little_room() {
    let world = world();
    let needed = format!("needs {} bytes more in `", LARGE + 2);
    refused(pull_onto(&world, "size=8m"), SURROUNDINGS, &[&needed, "which has room for"], "make room");
    assert_eq!(world.hub.sent("/lfs/"), 0, "it was known before the first byte");
}

#[test]
fn a_disk_that_is_full_against_expectation() {
    let world = world();
    let parts = ["small/hub", "No space left on device"];
    refused(pull_onto(&world, "size=128m,nr_inodes=8"), SURROUNDINGS, &parts, "`HF_HUB_CACHE`");
}

#[test]
fn a_disk_that_nothing_can_be_written_to() {
    let world = world();
    let parts = ["small/hub", "Read-only file system"];
    refused(pull_onto(&world, "ro"), SURROUNDINGS, &parts, "`HF_HUB_CACHE`");
}

#[test]
fn a_cache_that_is_a_file() {
    let world = world();
    let cache = world.context.work().join("file");
    fs::write(&cache, "").unwrap();
    let pull = pull(&world).env("HF_HUB_CACHE", &cache);
    let name = cache.display().to_string();
    refused(pull, SURROUNDINGS, &[&name], "`HF_HUB_CACHE`");
    assert!(cache.is_file());
}
