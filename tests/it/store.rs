//! The stores: what several writers, failures and damaged items do to them.

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use ekiben::ops::models::{CreateSettings, ModelsError, create, delete};
use ekiben::report::Interrupt;
use ekiben::store::{Error, Home};
use ekiben::tag::{Tag, TagQuery};
use jiff::Timestamp;

fn home() -> (tempfile::TempDir, Home) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(directory.path().join("files")).expect("created");
    fs::write(directory.path().join("files/a.bin"), "weights").expect("written");
    let home = Home::open(directory.path().join("home")).expect("opened");
    (directory, home)
}

fn settings(directory: &Path, tag: &str) -> CreateSettings {
    CreateSettings {
        tag: tag.parse().expect("valid"),
        directory: directory.join("files"),
        labels: vec![("owner".into(), "me".into())],
        metadata: vec![("acc".into(), ekiben::yaml::Value::Float(0.5))],
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

fn add(directory: &Path, home: &Home, tag: &str, seconds: i64) -> Tag {
    create(&settings(directory, tag), home, at(seconds), &Interrupt::default()).expect("created").tag
}

fn query(text: &str) -> TagQuery {
    text.parse().expect("valid")
}

/// What is left of work in progress: everything in `tmp/` but the lock files.
fn leftovers(home: &Home) -> Vec<String> {
    let names = fs::read_dir(home.scratch()).expect("readable");
    let names = names.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"));
    names.filter(|name| name != "locks").collect()
}

#[test]
fn latest_is_the_newest_and_has_no_line_feed() {
    let (directory, home) = home();
    add(directory.path(), &home, "m:b", 100);
    add(directory.path(), &home, "m:a", 200);
    add(directory.path(), &home, "m:old", 50);
    let latest = home.models().path().join("m/latest");
    assert_eq!(fs::read_to_string(&latest).expect("readable"), "a");
    let tags = |query: Option<&TagQuery>| -> Vec<String> {
        let listing = home.models().list(query).expect("listed");
        listing.items.iter().map(|model| model.info.tag.to_string()).collect()
    };
    assert_eq!(tags(None), ["m:a", "m:b", "m:old"]);
    assert_eq!(tags(Some(&query("m:old"))), ["m:old"]);
    assert_eq!(tags(Some(&query("m:ol"))), Vec::<String>::new());
    delete(&"m:a".parse().expect("valid"), &home).expect("deleted");
    assert_eq!(fs::read_to_string(&latest).expect("readable"), "b");
    fs::write(&latest, "gone").expect("written");
    assert_eq!(home.models().resolve(&query("m")).expect("found").to_string(), "m:b");
    fs::write(&latest, "").expect("written");
    assert_eq!(home.models().resolve(&query("m:latest")).expect("found").to_string(), "m:b");
    delete(&"m:b".parse().expect("valid"), &home).expect("deleted");
    delete(&"m:old".parse().expect("valid"), &home).expect("deleted");
    assert!(!home.models().path().join("m").exists());
    assert_eq!(leftovers(&home), Vec::<String>::new());
}

#[test]
fn the_start_of_a_version_is_enough_if_it_is_the_only_one() {
    let (directory, home) = home();
    add(directory.path(), &home, "m:abc", 1);
    add(directory.path(), &home, "m:abd", 2);
    let models = home.models();
    assert_eq!(models.resolve(&query("m:abc")).expect("found").version(), "abc");
    let several = models.get(&query("m:ab")).expect_err("ambiguous");
    assert_eq!(several.to_string(), "Multiple m versions found: abc, abd");
    let store = models.path().display().to_string();
    let texts = [models.get(&query("m:x")), models.get(&query("n"))]
        .map(|found| found.expect_err("none").to_string());
    assert_eq!(
        texts,
        [
            format!(
                "Model 'm:x' is not found in BentoML store {store}, you may need to run `bentoml models pull` first"
            ),
            format!("no Models with name 'n' exist in BentoML store {store}"),
        ]
    );
    let unlisted = models.list(Some(&query("n"))).expect_err("none").to_string();
    assert_eq!(unlisted, "no Models with name 'n' found");
}

#[test]
fn a_damaged_item_is_reported_and_hides_no_other() {
    let (directory, home) = home();
    add(directory.path(), &home, "m:good", 1);
    let store = home.models().path();
    fs::create_dir_all(store.join("m/empty")).expect("created");
    fs::create_dir_all(store.join("Bad Name/.tmp")).expect("created");
    fs::create_dir_all(store.join("n/odd")).expect("created");
    fs::write(store.join("n/odd/model.yaml"), "- not\n- a map\n").expect("written");
    let listing = home.models().list(None).expect("listed");
    assert_eq!(listing.items.len(), 1);
    let messages: Vec<String> = listing.broken.iter().map(ToString::to_string).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(
        messages[0].contains("Bad Name/.tmp` : it does not")
            || messages[0].contains("Bad Name/.tmp`: it does not")
    );
    assert!(messages[2].contains("Missing field 'name'"), "{}", messages[2]);
    assert_eq!(home.models().resolve(&query("m")).expect("found").version(), "good");
}

#[test]
fn of_many_writers_of_one_tag_exactly_one_wins() {
    const WRITERS: usize = 8;
    let (directory, home) = home();
    let start = Barrier::new(WRITERS);
    let results: Vec<Result<_, ModelsError>> = thread::scope(|scope| {
        let writer = || {
            start.wait();
            create(&settings(directory.path(), "m:v1"), &home, at(1), &Interrupt::default())
        };
        let threads: Vec<_> = (0..WRITERS).map(|_| scope.spawn(writer)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        let ModelsError::Store(error) = error else { panic!("{error}") };
        assert!(matches!(*error, Error::AlreadyExists { .. }), "{error}");
    }
    assert_eq!(leftovers(&home), Vec::<String>::new());
}

#[test]
fn many_writers_of_one_name_leave_the_newest_as_latest() {
    let (directory, home) = home();
    thread::scope(|scope| {
        for number in 0..12_i64 {
            let (directory, home) = (&directory, &home);
            // Starts with the newest, so that a lost update would show.
            scope.spawn(move || add(directory.path(), home, &format!("m:v{number}"), 100 - number));
        }
    });
    assert_eq!(home.models().list(None).expect("listed").items.len(), 12);
    assert_eq!(fs::read_to_string(home.models().path().join("m/latest")).expect("readable"), "v0");
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let (directory, home) = home();
    let nothing = |home: &Home| {
        assert_eq!(fs::read_dir(home.models().path()).expect("readable").count(), 0);
        assert_eq!(leftovers(home), Vec::<String>::new());
    };
    std::os::unix::fs::symlink(".", directory.path().join("files/loop")).expect("linked");
    create(&settings(directory.path(), "m:v1"), &home, at(1), &Interrupt::default()).expect_err("a loop");
    nothing(&home);
    fs::remove_file(directory.path().join("files/loop")).expect("removed");
    let interrupt = Interrupt::default();
    interrupt.raise();
    let error =
        create(&settings(directory.path(), "m:v1"), &home, at(1), &interrupt).expect_err("interrupted");
    assert!(matches!(error, ModelsError::Interrupted(_)), "{error}");
    nothing(&home);
    fs::write(directory.path().join("files/model.yaml"), "").expect("written");
    let error = create(&settings(directory.path(), "m:v1"), &home, at(1), &Interrupt::default());
    assert!(matches!(error, Err(ModelsError::ReservedFile { .. })));
    let error = create(&settings(directory.path(), "m:latest"), &home, at(1), &Interrupt::default());
    assert!(matches!(error, Err(ModelsError::ReservedFile { .. } | ModelsError::Name(_))));
    nothing(&home);
}

#[test]
fn a_copy_in_the_store_does_not_follow_later_edits() {
    let (directory, home) = home();
    let tag = add(directory.path(), &home, "m:v1", 1);
    fs::write(directory.path().join("files/a.bin"), "edited!").expect("written");
    let stored = home.models().item_path(&tag).join("a.bin");
    assert_eq!(fs::read_to_string(stored).expect("readable"), "weights");
}
