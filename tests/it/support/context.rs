//! A test's own world: home, stores, cache, build time, and an environment with nothing of the machine's but the least.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use ekiben::env::Environment;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::command::Command;
use super::peers::{self, Venv};
use super::sources::repository;

/// 2026-01-01: what images made by the tests bear as their time.
const BUILD_TIME: &str = "1767225600";

/// Relative to the root of a context.
const OWN_CACHE: &str = "cache";

/// Where a context keeps what ekiben could use again.
enum Cache {
    /// Nothing is there at the start, and nothing stays.
    Own,
    /// Below `target/`, shared with the other tests and kept between runs, so that packages are fetched once a machine.
    Shared,
}

/// A test's own world. Removed when dropped.
pub(crate) struct TestContext {
    root: TempDir,
    environment: BTreeMap<OsString, OsString>,
}

impl TestContext {
    /// A world with nothing in it.
    pub(crate) fn new() -> Self {
        Self::with(&Cache::Own)
    }

    /// A world whose cache of packages and layers is shared with the other tests.
    pub(crate) fn with_shared_cache() -> Self {
        Self::with(&Cache::Shared)
    }

    fn with(cache: &Cache) -> Self {
        let root = tempfile::Builder::new().prefix("ekiben-test-").tempdir().expect("a temporary directory");
        let target = repository().join("target");
        let cache = match cache {
            Cache::Own => root.path().join(OWN_CACHE),
            Cache::Shared => target.join("test-cache/ekiben"),
        };
        let mut environment: BTreeMap<OsString, OsString> = BTreeMap::new();
        let mut set = |name: &str, value: OsString| environment.insert(name.into(), value);
        set("BENTOML_HOME", root.path().join("bentoml").into());
        set("BENTOML_DO_NOT_TRACK", "true".into());
        set("EKIBEN_CACHE_DIR", cache.into());
        set("HOME", root.path().join("home").into());
        set("LANG", "C.UTF-8".into());
        set("PATH", search_path());
        set("SOURCE_DATE_EPOCH", BUILD_TIME.into());
        set("TMPDIR", root.path().join("tmp").into());
        set("UV_CACHE_DIR", target.join("test-cache/uv").into());
        // The machine's certificates: without them there may be no package registry.
        let machine = Environment::of_process();
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            if let Some(value) = machine.text(name) {
                set(name, value.into());
            }
        }
        for directory in ["home", "tmp", "work"] {
            fs::create_dir(root.path().join(directory)).expect("a directory in the temporary one");
        }
        Self { root, environment }
    }

    /// Where the test may put what it likes; commands start here.
    pub(crate) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// The directory of the stores.
    pub(crate) fn bentoml_home(&self) -> PathBuf {
        self.root.path().join("bentoml")
    }

    /// Where the cache of packages and layers is, unless it is shared.
    pub(crate) fn own_cache(&self) -> PathBuf {
        self.root.path().join(OWN_CACHE)
    }

    /// Where programs put temporary files.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.path().join("tmp")
    }

    /// Any program, in this world.
    pub(crate) fn command(&self, program: &Path) -> Command {
        Command::new(program, &self.work(), &self.environment).showing(self.root.path())
    }

    /// The `ekiben` under test.
    pub(crate) fn ekiben<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command(Path::new(env!("CARGO_BIN_EXE_ekiben"))).args(arguments)
    }

    /// Upstream's `bentoml`, on the same stores.
    pub(crate) fn bentoml<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command(&peers::program(Venv::Upstream, "bentoml")).args(arguments)
    }

    /// A Python program with the SDK as `bentoml`.
    pub(crate) fn python<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command(&peers::program(Venv::Sdk, "python")).args(arguments)
    }

    /// Every size and digest of the archive's image is what it says, by a program that shares nothing with ekiben.
    pub(crate) fn verify_image(&self, archive: &Path) {
        let script = repository().join("scripts/verify_image.py");
        let output = self.python([]).arg(script).arg(archive).run();
        assert!(output.stdout.contains("sha256:"), "{}", output.stdout);
    }

    /// A copy of `testdata/projects/<name>` to build in, and to change.
    pub(crate) fn project(&self, name: &str) -> PathBuf {
        let copy = self.work().join(name);
        copy_tree(&repository().join("testdata/projects").join(name), &copy);
        copy
    }
}

/// `ekiben` under test, then the peers' programs (`uv` among them), then the system's.
fn search_path() -> OsString {
    let ekiben = Path::new(env!("CARGO_BIN_EXE_ekiben")).parent().expect("a program is in a directory");
    let mut path = OsString::from(ekiben);
    for directory in [
        peers::programs(Venv::Sdk),
        peers::programs(Venv::Upstream),
        PathBuf::from("/usr/bin:/bin:/usr/sbin:/sbin"),
    ] {
        path.push(":");
        path.push(directory);
    }
    path
}

/// Copies a directory with everything in it.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for entry in WalkDir::new(from) {
        let entry = entry.expect("the directory can be walked");
        let target = to.join(entry.path().strip_prefix(from).expect("the walk started there"));
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target).expect("a directory can be made");
        } else {
            fs::copy(entry.path(), &target).expect("a file can be copied");
        }
    }
}
