//! Installs a lock as one tree per distribution, each made once per machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use super::Host;
use super::bytecode::{self, Job};
use super::cache::{Cache, key};
use super::error::{Error, Warning};
use super::index::IndexOptions;
use super::interpreter::Interpreter;
use super::locked::{LockedEnv, LockedPackage};
use super::normalize::{Assembled, TreeFiles, Workshop, adopt, assemble, open_directories, write_record};
use super::prune::{Policy, Pruned, prune};
use super::split::{Claims, split, whole};
use super::target::Target;
use super::uv::{Uv, explain};
use super::venv::VENV;
use crate::fs::Scratch;

/// Version of how trees are made; part of every key. Raise it when the same wheel gives other bytes.
const NORMALIZER: &str = "tree-1";

/// Kind of cache entries that hold trees.
const TREES: &str = "trees";

/// Directories whose modules get no bytecode: test suites that stayed are not what a service imports.
const NOT_COMPILED: [&str; 2] = ["/tests/", "/test/"];

/// Who compiles bytecode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compiler {
    /// A Python of the image's release on this machine, if there is one.
    #[default]
    Find,
    /// This one, such as the base image's own.
    Use(Interpreter),
    /// Nobody: the image compiles when it starts.
    Skip,
}

/// How a lock is installed.
#[derive(Clone, Debug)]
pub struct InstallRequest {
    /// The Python and platform that the lock was made for.
    pub target: Target,
    /// The index options of the lock, for their credentials.
    pub index: IndexOptions,
    /// Who compiles.
    pub compiler: Compiler,
    /// Whether files without use at run time are left out.
    pub prune: Policy,
}

impl InstallRequest {
    /// The usual request for a target.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            index: IndexOptions::default(),
            compiler: Compiler::default(),
            prune: Policy::default(),
        }
    }
}

/// An installed distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// The tree, relative to the environment's root; read only, shared by every process.
    pub root: PathBuf,
    /// Bytes of its files.
    pub size: u64,
    /// Number of its files.
    pub file_count: usize,
    /// SHA-256 over the paths, modes and contents of its files: equal fingerprints, equal trees.
    pub fingerprint: String,
    /// What was left out.
    pub pruned: Vec<Pruned>,
}

/// A lock, installed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Installation {
    /// In the lock's order.
    pub distributions: Vec<Distribution>,
    /// What is worth telling.
    pub warnings: Vec<Warning>,
    /// How many trees had to be made.
    pub made: usize,
}

/// What is kept beside a tree.
#[derive(Debug, Deserialize, Serialize)]
struct TreeManifest {
    files: TreeFiles,
    pruned: Vec<Pruned>,
}

/// Installs every package of a lock.
///
/// Trees made before are used again; nothing is run then.
///
/// # Errors
/// A download fails or is not what was locked, a wheel holds what has no place in an image, the compiler
/// fails, or the cache cannot be written.
pub fn install(env: &LockedEnv, request: &InstallRequest, host: &Host) -> Result<Installation, Error> {
    let mut warnings = Vec::new();
    let compiler = match &request.compiler {
        Compiler::Use(interpreter) => Some(interpreter.clone()),
        Compiler::Skip => None,
        Compiler::Find => {
            let found = Interpreter::find(request.target.python, host)?;
            if found.is_none() {
                warnings.push(Warning::NoBytecode { wanted: request.target.python });
            }
            found
        }
    };
    let installer = Installer { cache: Cache::new(&host.cache_dir), request, compiler, host };
    let mut found: Vec<_> = env.packages.iter().map(|package| installer.existing(package)).collect();
    let missing: Vec<&LockedPackage> = env
        .packages
        .iter()
        .zip(&found)
        .filter(|(_, found)| found.is_none())
        .map(|(package, _)| package)
        .collect();
    if !missing.is_empty() {
        let invalid = installer.make(&missing)?;
        if invalid > 0 {
            warnings.push(Warning::NotCompiled { count: invalid });
        }
        for (package, entry) in env.packages.iter().zip(&mut found) {
            if entry.is_none() {
                *entry = installer.existing(package);
            }
        }
    }
    let complete = env.packages.iter().zip(found).map(|(package, found)| {
        found.ok_or_else(|| Error::NotInstalled {
            package: package.name.clone(),
            version: package.version.clone(),
        })
    });
    Ok(Installation { distributions: complete.collect::<Result<_, _>>()?, warnings, made: missing.len() })
}

struct Installer<'a> {
    cache: Cache,
    request: &'a InstallRequest,
    compiler: Option<Interpreter>,
    host: &'a Host,
}

/// A tree on its way into the cache.
struct Making {
    tree: PathBuf,
    files: TreeFiles,
    pruned: Vec<Pruned>,
}

impl Installer<'_> {
    /// Identifies the tree of a package: everything that its bytes depend on.
    fn key(&self, package: &LockedPackage) -> String {
        let python = self.request.target.python.to_string();
        let compiler = self.compiler.as_ref().map_or("none", Interpreter::version);
        let prune = match self.request.prune {
            Policy::Prune => "prune",
            Policy::Keep => "keep",
        };
        key([NORMALIZER, &package.name, &package.wheel, &package.sha256, &python, VENV, compiler, prune])
    }

    /// The tree made before, if it is whole.
    fn existing(&self, package: &LockedPackage) -> Option<Distribution> {
        let key = self.key(package);
        let entry = self.cache.entry(TREES, &key);
        let text = self.cache.read(TREES, &format!("{key}/manifest.json"))?;
        let manifest: TreeManifest = serde_json::from_str(&text).ok()?;
        let root = entry.join("tree");
        // A crash of the machine can lose contents of files that were not yet on disk.
        let is_whole = |(path, size)| fs::symlink_metadata(root.join(path)).is_ok_and(|m| m.size() == size);
        if !manifest.files.iter().map(|(path, file)| (path, file.size)).all(is_whole) {
            let _ = fs::remove_dir_all(&entry);
            return None;
        }
        Some(Distribution {
            name: package.name.clone(),
            version: package.version.clone(),
            size: manifest.files.values().map(|file| file.size).sum(),
            file_count: manifest.files.len(),
            fingerprint: fingerprint(&manifest.files),
            pruned: manifest.pruned,
            root,
        })
    }

    /// Makes the trees of packages; returns how many Python files could not be compiled.
    fn make(&self, packages: &[&LockedPackage]) -> Result<usize, Error> {
        let staging = self.cache.stage()?;
        let prefix = staging.path().join("all");
        self.run_uv(packages, &prefix, &staging)?;
        let divided = split(&prefix, packages)?;
        let clear: Vec<usize> =
            (0..packages.len()).filter(|index| !divided.unclear.contains(index)).collect();
        let assembled = in_parallel(&clear, |index| {
            self.assemble(&staging, index, packages[index], &prefix, &divided.claims[index])
        })?;
        let mut made: BTreeMap<usize, Making> = BTreeMap::new();
        let mut alone: BTreeSet<usize> = divided.unclear;
        for (index, making) in clear.into_iter().zip(assembled) {
            match making {
                Some(making) => drop(made.insert(index, making)),
                None => drop(alone.insert(index)),
            }
        }
        for index in alone {
            made.insert(index, self.make_alone(&staging, index, packages[index])?);
        }
        let invalid = self.compile(&mut made)?;
        for (index, making) in made {
            self.finish(&staging, index, packages[index], making)?;
        }
        Ok(invalid)
    }

    /// Installs one package where no other can touch its files.
    fn make_alone(&self, staging: &Scratch, index: usize, package: &LockedPackage) -> Result<Making, Error> {
        let prefix = staging.path().join(format!("alone-{index}"));
        self.run_uv(&[package], &prefix, staging)?;
        let claims = whole(&prefix, package)?;
        let missing =
            || Error::NotInstalled { package: package.name.clone(), version: package.version.clone() };
        self.assemble(staging, index, package, &prefix, &claims)?.ok_or_else(missing)
    }

    fn run_uv(&self, packages: &[&LockedPackage], prefix: &Path, staging: &Scratch) -> Result<(), Error> {
        let uv = Uv::obtain(self.host)?;
        let env = LockedEnv { packages: packages.iter().map(|package| (*package).clone()).collect() };
        let lock = staging.path().join("pylock.toml");
        fs::write(&lock, env.to_pylock(Path::new(""))).map_err(Error::file("write", &lock))?;
        let target = self.request.target;
        let command = uv
            .command(self.host)
            .args(["pip", "install", "--quiet", "--no-deps", "--require-hashes", "--link-mode", "copy"])
            .args([
                "--only-binary",
                ":all:",
                "--no-compile-bytecode",
                "--python-platform",
                &target.uv_platform(),
            ])
            .args(["--python-version", &target.python.to_string(), "--prefix"])
            .arg(prefix)
            .arg("--requirements")
            .arg(&lock)
            .directory(staging.path());
        let command = self.request.index.apply(self.host, command)?;
        let ran = command.run(&self.host.interrupt);
        ran.map(drop).map_err(|error| explain(error, "install", target))
    }

    /// Makes the tree without bytecode; `None` when another distribution overwrote a file of it.
    fn assemble(
        &self,
        staging: &Scratch,
        index: usize,
        package: &LockedPackage,
        prefix: &Path,
        claims: &Claims,
    ) -> Result<Option<Making>, Error> {
        if self.host.interrupt.is_raised() {
            return Err(Error::Interrupted);
        }
        let python = self.request.target.python;
        let tree = staging.path().join(format!("entry-{index}/tree"));
        fs::create_dir_all(&tree).map_err(Error::file("create directory", &tree))?;
        let workshop = Workshop { prefix, tree: &tree, python, venv: VENV };
        let Assembled::Tree { mut files, dist_info } = assemble(&workshop, claims, package)? else {
            fs::remove_dir_all(&tree).map_err(Error::file("remove", &tree))?;
            return Ok(None);
        };
        let pruned = match self.request.prune {
            Policy::Prune => prune(&tree, &python.site_packages(), &mut files)?,
            Policy::Keep => Vec::new(),
        };
        write_record(&tree, &dist_info, &mut files)?;
        Ok(Some(Making { tree, files, pruned }))
    }

    /// Adds bytecode to all trees.
    fn compile(&self, made: &mut BTreeMap<usize, Making>) -> Result<usize, Error> {
        let Some(compiler) = &self.compiler else { return Ok(0) };
        let python = self.request.target.python;
        let site = format!("{}/", python.site_packages());
        let mut jobs = Vec::new();
        for making in made.values() {
            let sources = making.files.keys().filter(|path| path.starts_with(&site));
            let sources = sources.filter(|path| !NOT_COMPILED.iter().any(|part| path.contains(part)));
            jobs.extend(sources.filter_map(|path| Job::new(&making.tree, path, VENV, python)));
        }
        let invalid = bytecode::compile(&jobs, compiler, self.host)?;
        for making in made.values_mut() {
            let bytecode: Vec<String> =
                making.files.keys().filter_map(|path| bytecode::bytecode_path(path, python)).collect();
            for path in bytecode {
                if making.tree.join(&path).is_file() {
                    adopt(&making.tree, &path, &mut making.files)?;
                }
            }
        }
        Ok(invalid)
    }

    /// Moves a finished tree into the cache.
    fn finish(
        &self,
        staging: &Scratch,
        index: usize,
        package: &LockedPackage,
        making: Making,
    ) -> Result<(), Error> {
        let Making { tree, files, pruned } = making;
        open_directories(&tree)?;
        let entry = staging.path().join(format!("entry-{index}"));
        let manifest = entry.join("manifest.json");
        let text = serde_json::to_vec(&TreeManifest { files, pruned }).map_err(std::io::Error::from);
        text.and_then(|text| fs::write(&manifest, text)).map_err(Error::file("write", &manifest))?;
        self.cache.directory(TREES)?;
        let place = self.cache.entry(TREES, &self.key(package));
        match fs::rename(&entry, &place) {
            // Another process made the same tree meanwhile.
            Err(_) if place.join("manifest.json").is_file() => Ok(()),
            result => result.map_err(Error::file("move a tree to", &place)),
        }
    }
}

fn fingerprint(files: &TreeFiles) -> String {
    key(files.iter().flat_map(|(path, file)| {
        let mode = if file.executable { "755" } else { "644" };
        [path.clone(), mode.to_owned(), file.size.to_string(), file.sha256.clone()]
    }))
}

/// Does the work for each index on all cores; results are in the order given.
fn in_parallel<T: Send>(
    indexes: &[usize],
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Result<T, Error>>> = Mutex::default();
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(indexes.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(index) = indexes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(*index);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(*index, result);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    indexes.iter().filter_map(|index| done.remove(index)).collect()
}
