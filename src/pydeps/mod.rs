//! Turns Python requirements into installed trees that are the same bytes every time.
//!
//! `lock` stands in the resolve stage: requirement lines → [`LockedEnv`], one hashed wheel per package.
//! `install` stands in the pack stage: [`LockedEnv`] → one [`Distribution`] tree each, relative to the root
//! of the image's virtual environment, normalised, with bytecode, cached by content.
//!
//! `uv` does the resolving and downloading; this module decides what it is told, checks what it gives, and
//! removes everything from its trees that depends on the machine, the time or uv's own version.

mod blame;
mod bytecode;
mod cache;
mod elf;
mod error;
mod index;
mod install;
mod interpreter;
mod lock;
mod locked;
mod normalize;
mod prune;
mod record;
mod requirements;
mod scripts;
mod split;
mod target;
mod uv;
mod venv;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::report::Interrupt;

pub use bytecode::{CompiledStdlib, compile_packages, compile_stdlib};
pub use error::{Error, Warning};
pub use index::{IndexOptions, is_index, shown_index};
pub use install::{Compiler, Distribution, InstallRequest, Installation, install};
pub use interpreter::Interpreter;
pub use lock::{LockRequest, lock};
pub use locked::{LockedEnv, LockedPackage, WheelSource};
pub use prune::{Policy as PrunePolicy, Pruned, Rule as PruneRule};
pub use requirements::Requirements;
pub use target::{Architecture, PythonVersion, Target};
pub use uv::{MINIMUM_UV, PINNED_UV, Uv};
pub use venv::{Skeleton, VENV, skeleton};

/// What the operations of this module need from the machine they run on.
#[derive(Clone, Debug)]
pub struct Host {
    /// Directory for everything worth keeping between runs; shared by concurrent processes.
    pub cache_dir: PathBuf,
    /// The variables uv and Python are to see, all of them: search path, home, certificates, index
    /// credentials.
    pub environment: BTreeMap<OsString, OsString>,
    /// Stops running children.
    pub interrupt: Interrupt,
}

impl Host {
    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    fn search_path(&self) -> &OsStr {
        self.variable("PATH").unwrap_or_default()
    }
}
