//! What the stores look like to sixteen writers and readers at once: threads of one process, and processes of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ekiben::ops::models::{CreateSettings, create, delete};
use ekiben::report::Interrupt;
use ekiben::store::{Home, Model, tree_size};
use ekiben::tag::TagQuery;
use jiff::Timestamp;

use crate::support::command::Command;
use crate::support::context::TestContext;

/// What each writer does, again and again.
const ROUNDS: i64 = 12;

/// Before every time at which something of these tests is made.
const EARLIEST: i64 = 1_800_000_000;

/// The parts of each model; a model is whole when all have this length.
const PARTS: usize = 8;
const LENGTH: usize = 3000;

fn write_files(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    for part in 0..PARTS {
        fs::write(directory.join(format!("part-{part}.bin")), vec![7; LENGTH]).unwrap();
    }
}

/// Whether all of a model is there; of one that was deleted meanwhile nothing can be said.
fn assert_whole(model: &Model) {
    let found: Vec<_> = (0..PARTS)
        .map(|part| fs::metadata(model.path.join(format!("part-{part}.bin"))).ok().map(|file| file.len()))
        .collect();
    let is_whole = found.iter().all(|length| *length == Some(LENGTH as u64));
    assert!(is_whole || !model.path.exists(), "{}: {found:?}", model.info.tag);
}

fn query(text: &str) -> TagQuery {
    text.parse().unwrap()
}

/// Runs a command that may do its work, or say one of these things because another was faster.
fn run_or(command: &Command, excuses: &[&str]) -> String {
    let output = command.spawn().wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let is_excused = excuses.iter().any(|excuse| stderr.contains(excuse));
    match output.status.code() {
        Some(0) => assert_eq!(stderr, ""),
        Some(1) if is_excused => {}
        other => panic!("{other:?}: {stderr}\n{stdout}"),
    }
    stdout.into_owned()
}

/// A crowd and what it works with.
struct Crowd {
    context: TestContext,
    home: Home,
    files: PathBuf,
    is_over: AtomicBool,
}

impl Crowd {
    fn gather() -> Self {
        let context = TestContext::new();
        let files = context.work().join("files");
        write_files(&files);
        let home = Home::open(context.bentoml_home()).unwrap();
        let crowd = Self { context, home, files, is_over: AtomicBool::new(false) };
        crowd.create("m:first", 0);
        crowd.create("imported:v1", 1);
        let _ = crowd.context.ekiben(["models", "export", "imported:v1", "imported.tar"]).run();
        let _ = crowd.context.ekiben(["models", "delete", "imported:v1", "-y"]).run();
        crowd
    }

    fn create(&self, tag: &str, second: i64) {
        let settings = CreateSettings {
            tag: query(tag),
            directory: self.files.clone(),
            labels: Vec::new(),
            metadata: Vec::new(),
        };
        let time = Timestamp::from_second(EARLIEST + second).unwrap();
        create(&settings, &self.home, time, &Interrupt::default()).unwrap();
    }

    /// Adds versions to the one name, and takes every second away again.
    fn write_in_a_thread(&self, writer: i64) {
        for round in 0..ROUNDS {
            let (tag, second) = version(writer, round);
            self.create(&tag, second);
            if round % 2 == 1 {
                delete(&tag.parse().unwrap(), &self.home).unwrap();
            }
        }
    }

    fn write_in_processes(&self, writer: i64) {
        for round in 0..ROUNDS {
            let (tag, second) = version(writer, round);
            let create =
                self.context.ekiben(["models", "create", &tag, "--from", self.files.to_str().unwrap()]);
            let _ = create.env("SOURCE_DATE_EPOCH", (EARLIEST + second).to_string()).run();
            if round % 2 == 1 {
                let _ = self.context.ekiben(["models", "delete", &tag, "-y"]).run();
            }
        }
    }

    /// Imports the one model that all importers import.
    fn import(&self) {
        for _ in 0..ROUNDS {
            let import = self.context.ekiben(["models", "import", "imported.tar"]);
            run_or(&import, &["already exists"]);
        }
    }

    fn delete_imported(&self) {
        for _ in 0..ROUNDS {
            let delete = self.context.ekiben(["models", "delete", "imported:v1", "-y"]);
            run_or(&delete, &["is not found", "exist in BentoML store"]);
        }
    }

    fn read_in_a_thread(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let listing = self.home.models().list(None).unwrap();
            assert!(listing.broken.is_empty(), "{:?}", listing.broken);
            listing.items.iter().for_each(assert_whole);
            // The first is there all the time, so that there is always a latest.
            assert_whole(&self.home.models().get(&query("m")).unwrap());
            let sizes =
                self.home.models().list_views(None, |model, size| (model.path.clone(), size)).unwrap();
            assert!(sizes.broken.is_empty(), "{:?}", sizes.broken);
        }
    }

    fn read_in_processes(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let listed = self.context.ekiben(["models", "list", "-o", "json"]).run().json();
            let tags: BTreeSet<_> =
                listed.as_array().unwrap().iter().map(|model| model["tag"].to_string()).collect();
            assert!(tags.contains("\"m:first\""), "{tags:?}");
            let got = self.context.ekiben(["models", "get", "m", "-o", "json"]).run().json();
            assert_eq!(got["name"], "m");
        }
    }

    /// Every item is whole, `latest` is the newest of its name, and nothing else is left.
    fn assert_consistent(&self) {
        let listing = self.home.models().list(None).unwrap();
        assert!(listing.broken.is_empty(), "{:?}", listing.broken);
        let mut newest = BTreeMap::new();
        for model in &listing.items {
            assert!(tree_size(&model.path).unwrap().bytes > (PARTS * LENGTH) as u64);
            newest.entry(model.info.tag.name()).or_insert(&model.info.tag);
        }
        for (name, tag) in newest {
            let pointer = self.home.models().path().join(name).join("latest");
            assert_eq!(fs::read_to_string(pointer).unwrap(), tag.version(), "{name}");
            assert_eq!(self.home.models().resolve(&query(name)).unwrap(), *tag);
        }
        let kept = listing.items.iter().filter(|model| model.info.tag.name() == "m").count();
        let per_writer = usize::try_from(ROUNDS - ROUNDS / 2).unwrap();
        assert_eq!(kept, 1 + 6 * per_writer);
        let staged = fs::read_dir(self.home.scratch()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(staged.filter(|name| name != "locks").count(), 0);
    }
}

/// The tag of a writer's version, and when it is made: all at different times, in no order of the writers.
fn version(writer: i64, round: i64) -> (String, i64) {
    (format!("m:w{writer}-{round}"), 10 + round * 7919 % 97 * 100 + writer)
}

#[test]
fn sixteen_writers_and_readers_see_whole_items() {
    let crowd = Crowd::gather();
    let writers: [&(dyn Fn() + Sync); 10] = [
        &|| crowd.write_in_a_thread(0),
        &|| crowd.write_in_a_thread(1),
        &|| crowd.write_in_a_thread(2),
        &|| crowd.write_in_processes(3),
        &|| crowd.write_in_processes(4),
        &|| crowd.write_in_processes(5),
        &|| crowd.import(),
        &|| crowd.import(),
        &|| crowd.delete_imported(),
        &|| crowd.delete_imported(),
    ];
    let readers: [&(dyn Fn() + Sync); 6] = [
        &|| crowd.read_in_a_thread(),
        &|| crowd.read_in_a_thread(),
        &|| crowd.read_in_a_thread(),
        &|| crowd.read_in_processes(),
        &|| crowd.read_in_processes(),
        &|| crowd.read_in_processes(),
    ];
    let start = Barrier::new(writers.len() + readers.len());
    let failures = thread::scope(|scope| {
        let begin = |work: &'_ (dyn Fn() + Sync)| {
            start.wait();
            work();
        };
        let reading: Vec<_> = readers.map(|work| scope.spawn(move || begin(work))).into();
        let writing: Vec<_> = writers.map(|work| scope.spawn(move || begin(work))).into();
        let written = writing.into_iter().filter_map(|writer| writer.join().err()).count();
        // Readers that failed have ended; the others end now, whatever the writers did.
        crowd.is_over.store(true, Ordering::Relaxed);
        written + reading.into_iter().filter_map(|reader| reader.join().err()).count()
    });
    assert_eq!(failures, 0, "what went wrong is above");
    crowd.assert_consistent();
}
