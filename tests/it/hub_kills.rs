//! Downloads from the tests' hub that are killed at any point: nothing is lost but what was on its way, and the cache ends
//! as the one that the hub's own client makes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::e2e_hub::{ID, World, project};
use crate::support::hub::{ALWAYS, Fault, Host, Logged};
use crate::support::hub_client::cache_tree;

const ROUNDS: usize = 50;

/// What ekiben asks for at a time, and over how many connections.
const CHUNK: u64 = 16 << 20;
const CONNECTIONS: u64 = 8;

/// Of the time that a whole download takes, how long a round lasts at most: a download is killed several times, at points
/// that lie all over it, before it is done.
const LONGEST_ROUND: f64 = 0.25;

/// Bytes that are written at once; each is marked with its place, so that no two parts of a file are the same.
const BLOCK: usize = 1 << 20;

/// Longer than a download may take until it has arrived at a certain point.
const DEADLINE: Duration = Duration::from_mins(2);

/// 1 GiB: a large file, a middling one, and small ones, of which some are in the storage.
const GIBIBYTE: &[(&str, u64)] = &[
    ("config.json", 700),
    ("model-00001-of-00002.safetensors", 700 << 20),
    ("model-00002-of-00002.safetensors", (300 << 20) + 4321),
    ("nested/tokenizer.json", 3 << 20),
    ("nested/vocabulary.txt", 230_000),
    ("onnx/model.onnx", 20 << 20),
];

/// The bytes of files that were asked for, in pieces of this size: no request for a part begins within one.
type Pieces = BTreeSet<(String, u64)>;

/// A repository with files of these sizes.
fn serve(world: &World, sizes: &[(&str, u64)]) {
    let folder = world.context.work().join("repository");
    let mut block = vec![0; BLOCK];
    for (number, (name, size)) in sizes.iter().enumerate() {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = File::create(path).unwrap();
        for start in (0..*size).step_by(BLOCK) {
            block[..16].copy_from_slice(&[number as u64, start].map(u64::to_le_bytes).concat());
            let length = usize::try_from(size - start).unwrap().min(BLOCK);
            file.write_all(&block[..length]).unwrap();
        }
    }
    world.hub.repository(ID).commit(&folder);
}

/// What the hub was asked for since the last call, chunk by chunk.
fn asked(world: &World, sizes: &[(&str, u64)]) -> Pieces {
    let mut pieces = Pieces::new();
    for logged in world.hub.take_requests().iter().filter(|logged| is_content(logged)) {
        let (name, size) = sizes.iter().find(|(name, _)| logged.path.ends_with(name)).unwrap();
        let (start, end) = match logged.range() {
            Some(range) => {
                let (start, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                (start.parse::<u64>().unwrap(), last.parse::<u64>().unwrap() + 1)
            }
            None => (0, *size),
        };
        assert!(start % CHUNK == 0 && (end % CHUNK == 0 || end == *size), "{start}..{end} of {name}");
        pieces.extend((start / CHUNK..end.div_ceil(CHUNK)).map(|chunk| ((*name).to_owned(), chunk)));
    }
    pieces
}

/// Whether a request was answered with contents, and not with the way to them.
fn is_content(logged: &Logged) -> bool {
    logged.host == Host::Storage || (logged.path.contains("/resolve/") && logged.status != 302)
}

fn kill(mut child: Child) -> bool {
    child.kill().unwrap();
    child.wait().unwrap().success()
}

/// Names of files that are not finished, anywhere.
fn unfinished(cache: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(cache).into_iter().map(Result::unwrap);
    let names = entries.map(|entry| entry.path().display().to_string());
    names.filter(|name| name.contains("incomplete") || name.contains("staging")).collect()
}

/// Seeds a generator; the seed is shown when the test fails, to be tried again.
#[expect(clippy::print_stdout, reason = "shown when the test fails")]
fn random() -> StdRng {
    let seed = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

#[test]
fn a_gibibyte_arrives_whatever_is_killed_and_each_kill_costs_a_chunk_a_connection() {
    let world = World::alone();
    serve(&world, GIBIBYTE);
    world.theirs("theirs").snapshot(ID, &json!({})).unwrap();
    let expected = cache_tree(&world.context.work().join("theirs/hub"));
    fs::remove_dir_all(world.context.work().join("theirs")).unwrap();
    world.hub.take_log();
    let pull = world.ekiben(["models", "pull", &format!("hf://{ID}")]);
    let forget = || {
        fs::remove_dir_all(world.context.work().join("hf")).unwrap();
        fs::remove_dir_all(world.context.own_cache()).unwrap();
        asked(&world, GIBIBYTE);
    };
    let start = Instant::now();
    let _pulled = pull.clone().run();
    let within = start.elapsed().mul_f64(LONGEST_ROUND);
    assert_eq!(cache_tree(&world.cache()), expected);
    forget();

    let mut random = random();
    let (mut kills, mut again, mut seen) = (0, 0, Pieces::new());
    // How much may be asked for once more, of what was killed since the cache was empty.
    let mut allowed = 0;
    let mut take = |allowed: &mut u64, seen: &mut Pieces, round: usize| {
        let asked = asked(&world, GIBIBYTE);
        let repeated = asked.intersection(seen).count() as u64;
        assert!(repeated <= *allowed, "round {round}: {repeated} chunks again, where {allowed} may be");
        *allowed -= repeated;
        again += repeated;
        seen.extend(asked);
    };
    for round in 0..ROUNDS {
        let child = pull.spawn();
        thread::sleep(within.mul_f64(random.gen_range(0.0..1.0)));
        let is_done = kill(child);
        take(&mut allowed, &mut seen, round);
        if is_done {
            forget();
            (allowed, seen) = (0, Pieces::new());
        } else {
            kills += 1;
            allowed += CONNECTIONS;
        }
    }
    let _pulled = pull.run();
    take(&mut allowed, &mut seen, ROUNDS);
    assert_eq!(cache_tree(&world.cache()), expected);
    assert_eq!(unfinished(&world.cache()), Vec::<String>::new());
    assert!(kills > ROUNDS / 2 && again > 0, "{kills} kills, and {again} chunks once more");
}

#[test]
fn a_killed_lock_or_containerize_goes_on_where_it_was() {
    const SIZES: &[(&str, u64)] = &[("config.json", 700), ("model.safetensors", 256 << 20)];
    let chunks = (256 << 20) / CHUNK;
    for (command, needs_bento) in
        [(["lock", "project"].as_slice(), false), (&["containerize", "tiny:v1", "--to", "oci:layout"], true)]
    {
        let world = World::alone();
        serve(&world, SIZES);
        project(&world.context, "");
        if needs_bento {
            let _built = world.ekiben(["build", "project", "--version", "v1"]).run();
        }
        let command = world.ekiben(command.iter().copied());
        world.hub.fail("GET", "/lfs/", ALWAYS, Fault::Slow { bytes_per_second: 48 << 20 });
        let child = command.spawn();
        // The first chunk comes alone; of so many bytes another must be whole.
        let enough = (CONNECTIONS + 3) * CHUNK;
        let start = Instant::now();
        while world.hub.sent("/lfs/") < enough {
            assert!(start.elapsed() < DEADLINE, "{} bytes came", world.hub.sent("/lfs/"));
            thread::sleep(Duration::from_millis(10));
        }
        assert!(!kill(child), "it was done already");
        world.hub.heal();
        let first = asked(&world, SIZES);
        let _done = command.run();
        let second = asked(&world, SIZES);
        let repeated = first.intersection(&second).count() as u64;
        assert!(repeated <= CONNECTIONS, "{repeated} chunks again");
        assert!(second.len() as u64 <= chunks - 2, "{} of {chunks} chunks: begun anew", second.len());
        assert_eq!(first.union(&second).count() as u64, chunks + 1);
        assert_eq!(unfinished(&world.cache()), Vec::<String>::new());
    }
}
