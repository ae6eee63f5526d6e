//! What the stores look like after a writer was killed at any point.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ekiben::store::{Home, Model};
use ekiben::tag::{Tag, TagQuery};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::command::Command;
use crate::support::context::TestContext;
use crate::support::docker_registry::DockerRegistry;

const ROUNDS: u64 = 200;

/// Files of a model: enough that a kill often meets the copying.
const FILES: usize = 40;

/// What every model of these tests holds.
fn contents() -> BTreeMap<String, Vec<u8>> {
    (0..FILES).map(|number| (format!("part-{number}.bin"), vec![7; 100 * number])).collect()
}

/// Starts a command and kills it after a part of the time that it would take.
fn kill_during(command: &Command, within: Duration, random: &mut StdRng) {
    let delay = within.mul_f64(random.gen_range(0.0..1.1));
    let mut child = command.spawn();
    thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Every item is whole, `latest` is the newest of its name, and nothing else can be seen.
fn assert_consistent(home: &Home, round: u64) {
    let listing = home.models().list(None).unwrap();
    assert!(listing.broken.is_empty(), "round {round}: {:?}", listing.broken);
    let mut newest = BTreeMap::new();
    for model in &listing.items {
        assert_whole(model, round);
        newest.entry(model.info.tag.name()).or_insert(&model.info.tag);
    }
    for (name, tag) in newest {
        let query: TagQuery = name.parse().unwrap();
        let latest = home.models().resolve(&query).unwrap();
        assert_eq!(latest, *tag, "round {round}");
    }
}

fn assert_whole(model: &Model, round: u64) {
    for (name, content) in contents() {
        let path = model.path.join(&name);
        assert_eq!(fs::read(&path).ok(), Some(content), "round {round}: {}", path.display());
    }
}

fn timed(command: Command) -> Duration {
    let started = Instant::now();
    let _ = command.run();
    started.elapsed()
}

fn write_files(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    for (name, content) in contents() {
        fs::write(directory.join(name), content).unwrap();
    }
}

/// Seeds a generator; the seed is shown when the test fails, to be tried again.
#[expect(clippy::print_stdout, reason = "shown when the test fails")]
fn random() -> StdRng {
    let seed = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

/// Every model is a second younger than the one before, so that there is one `latest`.
fn create(context: &TestContext, files: &Path, tag: &str, age: u64) -> Command {
    let time = (1_800_000_000 + age).to_string();
    let create = context.ekiben(["models", "create", tag, "--from", files.to_str().unwrap()]);
    create.env("SOURCE_DATE_EPOCH", time)
}

#[test]
fn a_writer_that_is_killed_leaves_a_consistent_store() {
    let context = TestContext::new();
    let files = context.work().join("files");
    write_files(&files);
    let within = timed(create(&context, &files, "m:first", 0));
    let home = Home::open(context.bentoml_home()).unwrap();
    let mut random = random();
    for round in 0..ROUNDS {
        kill_during(&create(&context, &files, &format!("m:r{round}"), round + 1), within, &mut random);
        assert_consistent(&home, round);
    }
    let listed = home.models().list(None).unwrap().items.len();
    assert!(listed > 1 && listed < 201, "no kill met its mark: {listed} of {ROUNDS} models are there");
    let _ = create(&context, &files, "m:last", ROUNDS + 1).run();
    assert_consistent(&home, ROUNDS);
    assert_nothing_staged(&home);
}

#[test]
fn a_killed_import_pull_or_delete_leaves_a_consistent_store() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let context = TestContext::new();
    let files = context.work().join("files");
    write_files(&files);
    let name = format!("docker://{}/m:1", registry.host());
    let _ = create(&context, &files, "imported:v1", 0).run();
    let _ = create(&context, &files, "pulled:v1", 0).run();
    let _ = context.ekiben(["models", "export", "imported:v1", "m.tar"]).run();
    let _ = context.ekiben(["models", "push", "pulled:v1", &name]).run();
    let delete = |tag: &str| context.ekiben(["models", "delete", tag, "-y"]);
    let import = || context.ekiben(["models", "import", "m.tar"]);
    let pull = || context.ekiben(["models", "pull", &name]);
    let times = (timed(delete("imported:v1")), timed(import()), {
        let _ = delete("pulled:v1").run();
        timed(pull())
    });
    let home = Home::open(context.bentoml_home()).unwrap();
    let (mut random, mut changes) = (random(), 0);
    for round in 0..ROUNDS {
        let (tag, add, within) = match round % 2 {
            0 => ("imported:v1", import(), times.1),
            _ => ("pulled:v1", pull(), times.2),
        };
        let tag: Tag = tag.parse().unwrap();
        let was_there = home.models().contains(&tag);
        if was_there {
            kill_during(&delete(&tag.to_string()), times.0, &mut random);
        } else {
            kill_during(&add, within, &mut random);
        }
        assert_consistent(&home, round);
        changes += usize::from(home.models().contains(&tag) != was_there);
    }
    assert!(changes > 0 && changes < 200, "no kill met its mark: {changes} of {ROUNDS} were done");
    let _ = create(&context, &files, "m:last", 1).run();
    assert_nothing_staged(&home);
}

#[test]
fn a_killed_replacement_loses_nothing() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let context = TestContext::new();
    let files = context.work().join("files");
    write_files(&files);
    let name = format!("docker://{}/m:1", registry.host());
    let _ = create(&context, &files, "replaced:v1", 0).run();
    let _ = context.ekiben(["models", "push", "replaced:v1", &name]).run();
    let home = Home::open(context.bentoml_home()).unwrap();
    let pull = || context.ekiben(["models", "pull", &name, "--force"]);
    let within = timed(pull());
    let tag: Tag = "replaced:v1".parse().unwrap();
    // Every round leaves a mark in the old one: where it is gone, the new one is there.
    let mark = home.models().item_path(&tag).join("mark");
    let (mut random, mut replaced) = (random(), 0);
    for round in 0..ROUNDS / 2 {
        fs::write(&mark, "").unwrap();
        kill_during(&pull(), within, &mut random);
        assert!(home.models().contains(&tag), "round {round}");
        assert_consistent(&home, round);
        replaced += usize::from(!mark.exists());
    }
    assert!(replaced > 0 && replaced < 100, "no kill met its mark: {replaced} were replaced");
    let _ = create(&context, &files, "m:last", 1).run();
    assert_nothing_staged(&home);
}

fn assert_nothing_staged(home: &Home) {
    let staged = fs::read_dir(home.scratch()).unwrap();
    let staged: Vec<_> = staged
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "locks" && name != "ekiben-pulls")
        .collect();
    assert!(staged.is_empty(), "the next writer sweeps what the killed ones left: {staged:?}");
}
