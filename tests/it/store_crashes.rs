//! What the stores look like after a writer was killed at any point.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ekiben::store::{Home, Model};
use ekiben::tag::TagQuery;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::command::Command;
use crate::support::context::TestContext;

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

/// Every item is whole, `latest` is the newest, and nothing else can be seen.
fn assert_consistent(home: &Home, round: u64) {
    let listing = home.models().list(None).unwrap();
    assert!(listing.broken.is_empty(), "round {round}: {:?}", listing.broken);
    for model in &listing.items {
        assert_whole(model, round);
    }
    let Some(newest) = listing.items.first() else { return };
    let query: TagQuery = newest.info.tag.name().parse().unwrap();
    let latest = home.models().resolve(&query).unwrap();
    assert_eq!(latest, newest.info.tag, "round {round}");
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

#[test]
fn a_writer_that_is_killed_leaves_a_consistent_store() {
    let context = TestContext::new();
    let files = context.work().join("files");
    write_files(&files);
    let files = files.to_str().unwrap();
    // Every model is a second younger than the one before, so that there is one `latest`.
    let create = |tag: &str, age: u64| {
        let time = (1_800_000_000 + age).to_string();
        context.ekiben(["models", "create", tag, "--from", files]).env("SOURCE_DATE_EPOCH", time)
    };
    let within = timed(create("m:first", 0));
    let home = Home::open(context.bentoml_home()).unwrap();
    // Printed when the test fails, to be tried again.
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..ROUNDS {
        kill_during(&create(&format!("m:r{round}"), round + 1), within, &mut random);
        assert_consistent(&home, round);
    }
    let listed = home.models().list(None).unwrap().items.len();
    assert!(listed > 1 && listed < 201, "no kill met its mark: {listed} of {ROUNDS} models are there");
    let _ = create("m:last", ROUNDS + 1).run();
    assert_consistent(&home, ROUNDS);
    assert_nothing_staged(&home);
}

fn assert_nothing_staged(home: &Home) {
    let staged = fs::read_dir(home.scratch()).unwrap();
    let staged: Vec<_> =
        staged.map(|entry| entry.unwrap().file_name()).filter(|name| name != "locks").collect();
    assert!(staged.is_empty(), "the next writer sweeps what the killed ones left: {staged:?}");
}
