//! Python packages from an index on loopback: normalised trees, and every way it can go wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::error::Error as _;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ekiben::pydeps::{
    Architecture, Error, Host, IndexOptions, InstallRequest, Installation, LockRequest, LockedEnv,
    PythonVersion, Requirements, Target, Warning, install, lock,
};

use crate::pydeps_support::{Index, Manners, Wheel, host, tree_of, wrapped_uv};

const TARGET: Target = Target::new(PythonVersion::new(3, 11), Architecture::Amd64);
const SITE: &str = "lib/python3.11/site-packages";

fn request(lines: &[&str], index_url: &str, directory: &Path) -> LockRequest {
    let index = IndexOptions { index_url: Some(index_url.to_owned()), ..IndexOptions::default() };
    let mut requirements = Requirements { index, ..Requirements::default() };
    requirements
        .add_lines(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(), directory, &|index| {
            format!("line {index}")
        })
        .unwrap();
    LockRequest { requirements, target: TARGET, directory: directory.to_owned(), upgrade: false }
}

fn installed(env: &LockedEnv, host: &Host) -> Result<Installation, Error> {
    install(env, &InstallRequest::new(TARGET), host)
}

/// The error with all its causes, in words and as a developer sees it.
fn in_full(error: &Error) -> String {
    let mut text = format!("{error:?} {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Nothing half-made may stay behind.
fn assert_no_leftovers(host: &Host) {
    let staging = host.cache_dir.join("python-1/staging");
    let left: Vec<_> = fs::read_dir(staging).map(|entries| entries.flatten().collect()).unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}

fn tool() -> Wheel {
    Wheel::new("Tiny_Tool")
        .file("tiny_tool/__init__.py", "def main():\n    return 0\n")
        .file_with_mode("tiny_tool/secret.txt", 0o600, "readable by all\n")
        .file_with_mode("tiny_tool/run.sh", 0o700, "#!/bin/sh\n")
        .file("tiny_tool/__pycache__/__init__.cpython-311.pyc", "stale")
        .file("tiny_tool/tests/test_it.py", "")
        .file("tiny_tool/bad.py", "print 'old'\n")
        .file("Tiny_Tool-1.0.data/scripts/tiny-script", "#!python\nprint(1)\n")
        .file("Tiny_Tool-1.0.data/scripts/tiny-shell", "#!/bin/sh\necho hi\n")
        .file("Tiny_Tool-1.0.data/data/share/tiny/data.txt", "data\n")
        .file("Tiny_Tool-1.0.data/headers/tiny.h", "int x;\n")
        .metadata("entry_points.txt", "[console_scripts]\ntiny = tiny_tool:main\n")
        .requires("helper")
}

fn helper() -> Wheel {
    Wheel::new("helper").file("helper.py", "x = 1\n")
}

#[test]
fn trees_are_normalised_and_equal_everywhere() {
    let index = Index::start(Manners::default());
    index.add(tool());
    index.add(helper());
    let one = tempfile::tempdir().unwrap();
    let host_one = host(one.path());
    let env = lock(&request(&["tiny-tool"], &index.url(), one.path()), &host_one).unwrap();
    let names: Vec<_> = env.packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["helper", "tiny-tool"]);
    let first = installed(&env, &host_one).unwrap();
    assert_eq!(first.warnings, [Warning::NotCompiled { count: 1 }]);
    let tree = tree_of(&first.distributions[1].root);
    let files: Vec<_> =
        tree.iter().filter(|(_, (mode, _))| *mode != 0o755).map(|(path, _)| path.as_str()).collect();
    let info = format!("{SITE}/tiny_tool-1.0.dist-info");
    assert_eq!(
        files,
        [
            "include/site/python3.11/tiny-tool/tiny.h",
            &format!("{SITE}/Tiny_Tool-1.0.dist-info/INSTALLER"),
            &format!("{SITE}/Tiny_Tool-1.0.dist-info/METADATA"),
            &format!("{SITE}/Tiny_Tool-1.0.dist-info/RECORD"),
            &format!("{SITE}/Tiny_Tool-1.0.dist-info/WHEEL"),
            &format!("{SITE}/Tiny_Tool-1.0.dist-info/entry_points.txt"),
            &format!("{SITE}/tiny_tool/__init__.py"),
            &format!("{SITE}/tiny_tool/__pycache__/__init__.cpython-311.pyc"),
            &format!("{SITE}/tiny_tool/bad.py"),
            &format!("{SITE}/tiny_tool/secret.txt"),
            "share/tiny/data.txt",
        ],
        "{info}"
    );
    assert!(tree.values().all(|(mode, _)| [0o644, 0o755].contains(mode)));
    let text = |path: &str| String::from_utf8(tree[path].1.clone()).unwrap();
    assert_eq!(text("bin/tiny-script"), "#!/app/.venv/bin/python\nprint(1)\n");
    assert_eq!(text("bin/tiny-shell"), "#!/bin/sh\necho hi\n");
    assert!(
        text("bin/tiny").starts_with("#!/app/.venv/bin/python\nimport sys\nfrom tiny_tool import main\n")
    );
    assert!(text(&format!("{SITE}/Tiny_Tool-1.0.dist-info/RECORD")).starts_with("../../../bin/tiny,sha256="));
    let bytecode = &tree[&format!("{SITE}/tiny_tool/__pycache__/__init__.cpython-311.pyc")].1;
    assert_eq!(bytecode[4..8], [1, 0, 0, 0], "never checked against its source");
    let shown = String::from_utf8_lossy(bytecode).into_owned();
    assert!(shown.contains("/app/.venv/lib/python3.11/site-packages/tiny_tool/__init__.py"), "{shown}");

    let two = tempfile::tempdir().unwrap();
    let mut host_two = host(&two.path().join("elsewhere"));
    let strict = wrapped_uv(two.path(), "umask 077", &host_two);
    let mut path = OsString::from(strict);
    path.push(":");
    path.push(&host_two.environment[&OsString::from("PATH")]);
    host_two.environment.insert("PATH".into(), path);
    let second = installed(&env, &host_two).unwrap();
    assert_eq!(tree_of(&second.distributions[1].root), tree);
    for (one, other) in first.distributions.iter().zip(&second.distributions) {
        assert_eq!(
            (&one.fingerprint, one.size, one.file_count),
            (&other.fingerprint, other.size, other.file_count)
        );
    }
    assert_no_leftovers(&host_one);
    assert_no_leftovers(&host_two);
}

#[test]
fn a_lock_is_asked_for_once_and_again_on_request() {
    let index = Index::start(Manners::default());
    index.add(helper());
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path());
    let mut asked = request(&["helper"], &index.url(), directory.path());
    let env = lock(&asked, &host).unwrap();
    let before = index.requests().len();
    assert_eq!(lock(&asked, &host).unwrap(), env);
    assert_eq!(index.requests().len(), before);
    asked.upgrade = true;
    assert_eq!(lock(&asked, &host).unwrap(), env);
    assert!(index.requests().len() > before);
    let text = env.to_pylock(directory.path());
    assert_eq!(LockedEnv::from_pylock(&text, directory.path()).unwrap(), env);
}

#[test]
fn files_that_two_wheels_claim_stay_with_both() {
    let index = Index::start(Manners::default());
    index.add(Wheel::new("one").file("shared/__init__.py", "who = 'one'\n").file("one.py", ""));
    index.add(Wheel::new("two").file("shared/__init__.py", "who = 'two'\n"));
    index.add(Wheel::new("three").unlisted("shared/hidden.py", "who = 'three'\n").file("three.py", ""));
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path());
    let env = lock(&request(&["one", "two", "three"], &index.url(), directory.path()), &host).unwrap();
    let installation = installed(&env, &host).unwrap();
    for distribution in &installation.distributions {
        let file = if distribution.name == "three" { "hidden.py" } else { "__init__.py" };
        let text = fs::read_to_string(distribution.root.join(SITE).join("shared").join(file)).unwrap();
        assert_eq!(text, format!("who = '{}'\n", distribution.name));
        let others = tree_of(&distribution.root.join(SITE).join("shared"));
        assert_eq!(
            others.values().filter(|(mode, bytes)| *mode == 0o644 && bytes.starts_with(b"who")).count(),
            1,
            "{others:?}"
        );
    }
}

#[test]
fn wheels_that_reach_out_are_refused() {
    let outside = "../../../../../../../../evil.py";
    for (wheel, message) in [
        (Wheel::new("bad").file(outside, "evil"), None),
        (Wheel::new("bad").row(&format!("{outside},,")), None),
        (
            Wheel::new("bad").file("bad-1.0.data/scripts/python", "#!/bin/sh\n"),
            Some("reserved name `python`"),
        ),
        (
            Wheel::new("bad").file("bad-1.0.data/data/bin/python3", "#!/bin/sh\n"),
            Some("reserved name `python3`"),
        ),
        (Wheel::new("bad").file("bad-1.0.data/data/pyvenv.cfg", "home = /evil\n"), Some("interpreter")),
    ] {
        let index = Index::start(Manners::default());
        index.add(wheel);
        let directory = tempfile::tempdir().unwrap();
        let host = host(&directory.path().join("a/b/c/d/e/f/g/h"));
        let env = lock(&request(&["bad"], &index.url(), directory.path()), &host);
        let result = env.and_then(|env| installed(&env, &host));
        match message {
            Some(message) => {
                let error = in_full(&result.unwrap_err());
                assert!(error.contains(message), "{error}");
            }
            // uv leaves such members and rows out, or refuses the wheel.
            None => drop(result),
        }
        let evil = walkdir::WalkDir::new(directory.path()).into_iter().flatten();
        let evil: Vec<_> = evil.filter(|entry| entry.file_name() == "evil.py").collect();
        assert!(evil.is_empty() && !directory.path().with_file_name("evil.py").exists(), "{evil:?}");
        assert_no_leftovers(&host);
    }
}

#[test]
fn credentials_open_an_index_and_are_written_nowhere() {
    const TOKEN: &str = "t0psecret-token";
    let index = Index::start(Manners { credentials: Some(format!("bot:{TOKEN}")), ..Manners::default() });
    index.add(helper());
    let directory = tempfile::tempdir().unwrap();
    let mut host = host(directory.path());
    let error = lock(&request(&["helper"], &index.url(), directory.path()), &host).unwrap_err();
    assert!(matches!(error, Error::Authentication { .. }), "{}", in_full(&error));
    let wrong = format!("http://bot:wr0ng-password@{}/simple", index.address);
    let error = lock(&request(&["helper"], &wrong, directory.path()), &host).unwrap_err();
    assert!(matches!(error, Error::Authentication { .. }), "{}", in_full(&error));
    assert!(!in_full(&error).contains("wr0ng-password"), "{}", in_full(&error));

    host.environment.insert("INDEX_TOKEN".into(), TOKEN.into());
    let with_variable = format!("http://bot:${{INDEX_TOKEN}}@{}/simple", index.address);
    let asked = request(&["helper"], &with_variable, directory.path());
    let env = lock(&asked, &host).unwrap();
    let settings = InstallRequest { index: asked.requirements.index.clone(), ..InstallRequest::new(TARGET) };
    assert_eq!(install(&env, &settings, &host).unwrap().made, 1);
    assert!(!env.to_pylock(directory.path()).contains("bot"));
    let lines = env.to_requirements(&asked.requirements.index, directory.path());
    assert!(!lines.contains(TOKEN), "{lines}");
    let mut looked_at = 0;
    for (path, (_, bytes)) in tree_of(&host.cache_dir) {
        looked_at += 1;
        assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()), "{path}");
    }
    assert!(looked_at > 5);

    let error = lock(&request(&["helper", "absent"], &with_variable, directory.path()), &host).unwrap_err();
    assert!(matches!(error, Error::Resolve { .. }), "{}", in_full(&error));
    assert!(!in_full(&error).contains(TOKEN), "{}", in_full(&error));
    host.environment.remove(&OsString::from("INDEX_TOKEN"));
    let error = lock(&request(&["helper", "x"], &with_variable, directory.path()), &host).unwrap_err();
    assert!(error.to_string().contains("`${INDEX_TOKEN}`, which is not set"), "{error}");
}

#[test]
fn failures_have_their_own_errors() {
    let index = Index::start(Manners::default());
    index.add(helper());
    index.add_file("sourceonly-1.0.tar.gz", b"not read".to_vec());
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path());
    let error = |lines: &[&str], url: &str| lock(&request(lines, url, directory.path()), &host).unwrap_err();

    let resolve = error(&["helper>=2"], &index.url());
    assert!(matches!(resolve, Error::Resolve { .. }), "{}", in_full(&resolve));
    assert!(in_full(&resolve).contains("helper"), "{}", in_full(&resolve));
    let no_wheel = error(&["sourceonly"], &index.url());
    assert!(matches!(no_wheel, Error::NoWheel { .. }), "{}", in_full(&no_wheel));
    assert!(in_full(&no_wheel).contains("sourceonly"), "{}", in_full(&no_wheel));
    let unreachable = error(&["helper"], "http://127.0.0.1:9/simple");
    assert!(matches!(unreachable, Error::Unreachable { .. }), "{}", in_full(&unreachable));
    assert!(unreachable.is_transient() && !resolve.is_transient());
    let invalid = error(&["helper >=> 1"], &index.url());
    assert!(
        matches!(&invalid, Error::Requirement { place, .. } if place == "line 0"),
        "{}",
        in_full(&invalid)
    );

    let env = lock(&request(&["helper"], &index.url(), directory.path()), &host).unwrap();
    index.add(Wheel::new("helper").file("helper.py", "x = 'changed'\n"));
    let other = tempfile::tempdir().unwrap();
    let other = crate::pydeps_support::host(other.path());
    let changed = installed(&env, &other).unwrap_err();
    assert!(matches!(changed, Error::HashMismatch { .. }), "{}", in_full(&changed));
    assert_no_leftovers(&host);
    assert_no_leftovers(&other);
    assert!(
        fs::read_dir(other.cache_dir.join("python-1/trees")).map_or(true, |mut trees| trees.next().is_none())
    );
}

#[test]
fn an_interrupt_ends_a_waiting_lock() {
    let index = Index::start(Manners { is_silent: true, ..Manners::default() });
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path());
    let interrupt = host.interrupt.clone();
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            while index.requests().is_empty() && begun.elapsed() < Duration::from_secs(20) {
                thread::yield_now();
            }
            interrupt.raise();
        });
        let error = lock(&request(&["helper"], &index.url(), directory.path()), &host).unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{}", in_full(&error));
    });
    assert!(!index.requests().is_empty() && begun.elapsed() < Duration::from_secs(30));
    assert_no_leftovers(&host);
}

#[test]
fn processes_that_install_at_once_agree() {
    let index = Index::start(Manners::default());
    index.add(tool());
    index.add(helper());
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path());
    let env = lock(&request(&["tiny-tool"], &index.url(), directory.path()), &host).unwrap();
    let results: Vec<Installation> = thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| installed(&env, &host).unwrap())).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for result in &results {
        assert_eq!(result.distributions, results[0].distributions);
    }
    assert_no_leftovers(&host);
}

#[test]
fn a_damaged_tree_is_made_again() {
    let index = Index::start(Manners::default());
    index.add(helper());
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path());
    let env = lock(&request(&["helper"], &index.url(), directory.path()), &host).unwrap();
    let first = installed(&env, &host).unwrap();
    let file = first.distributions[0].root.join(SITE).join("helper.py");
    fs::write(&file, "").unwrap();
    let second = installed(&env, &host).unwrap();
    assert_eq!((second.made, &second.distributions), (1, &first.distributions));
    assert_eq!(fs::read_to_string(file).unwrap(), "x = 1\n");
}

#[test]
fn without_a_fitting_python_there_is_a_warning_and_no_bytecode() {
    let index = Index::start(Manners::default());
    index.add(helper());
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path());
    let target = Target::new(PythonVersion::new(3, 8), Architecture::Arm64);
    let asked = LockRequest { target, ..request(&["helper"], &index.url(), directory.path()) };
    let env = lock(&asked, &host).unwrap();
    let installation = install(&env, &InstallRequest::new(target), &host).unwrap();
    assert_eq!(installation.warnings, [Warning::NoBytecode { wanted: target.python }]);
    let tree = tree_of(&installation.distributions[0].root);
    assert!(tree.contains_key("lib/python3.8/site-packages/helper.py"), "{:?}", tree.keys());
    assert!(!tree.keys().any(|path| path.contains("__pycache__")));
}

#[test]
fn a_machine_without_python_is_told_what_to_install() {
    let directory = tempfile::tempdir().unwrap();
    let mut host = host(directory.path());
    host.environment.insert("PATH".into(), directory.path().join("empty").into());
    let error =
        lock(&request(&["helper"], "http://127.0.0.1:9/simple", directory.path()), &host).unwrap_err();
    assert!(matches!(error, Error::NoPython), "{}", in_full(&error));
    assert!(error.to_string().contains("install `python3`"), "{error}");
}

#[test]
fn a_directory_of_wheels_needs_no_index() {
    let directory = tempfile::tempdir().unwrap();
    let wheels = directory.path().join("wheels");
    fs::create_dir(&wheels).unwrap();
    for wheel in [tool(), helper()] {
        fs::write(wheels.join(wheel.file_name()), wheel.bytes()).unwrap();
    }
    let host = host(directory.path());
    let mut requirements = Requirements::default();
    requirements.add_wheels(&wheels).unwrap();
    requirements.index.no_index = true;
    let asked =
        LockRequest { requirements, target: TARGET, directory: directory.path().to_owned(), upgrade: false };
    let env = lock(&asked, &host).unwrap();
    let text = env.to_pylock(directory.path());
    assert!(text.contains("archive = { path = \"wheels/helper-1.0-py3-none-any.whl\", size = "), "{text}");
    assert_eq!(installed(&env, &host).unwrap().made, 2);
    assert_eq!(lock(&asked, &host).unwrap(), env);
    fs::write(wheels.join("helper-1.0-py3-none-any.whl"), Wheel::new("helper").file("helper.py", "").bytes())
        .unwrap();
    assert_ne!(lock(&asked, &host).unwrap(), env, "a changed wheel is another lock");
}
