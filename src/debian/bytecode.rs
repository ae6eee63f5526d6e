//! Bytecode of Python's standard library, which its packages make in their scripts.
//!
//! The packages' own interpreter compiles it where it can run, so that the bytes depend on nothing but the lock;
//! it is started by the packages' own loader and never leaves the scratch directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use super::apt::tool_error;
use super::archive::Watch;
use super::assemble::Bytecode;
use super::command::Tool;
use super::error::Error;
use super::lock::Lock;
use super::request::Architecture;
use crate::oci::platform::Platform;
use crate::oci::tree::{Content, Entry, EntryKind, Owner, Tree, TreeError};

/// Directories that are not worth their bytecode: tests, and programs that nobody runs in a container.
const SKIPPED: [&str; 5] = ["idlelib", "lib2to3", "test", "tests", "turtledemo"];
/// Compilers at a time. Python's own way to run several starts the interpreter by a path that is no program here.
const PROCESSES: usize = 2;
/// Bytecode up to this size is kept in memory.
const INLINE_LIMIT: u64 = 32 << 10;

/// Adds the bytecode of the standard library, if the tree has one; warns if nobody can make it.
pub(super) fn compile(
    tree: &mut Tree,
    lock: &Lock,
    scratch: &Path,
    bytecode: &Bytecode,
    watch: Watch<'_>,
) -> Result<(), Error> {
    let Some(library) = standard_library(tree) else { return Ok(()) };
    let _task = watch.report.task("bytecode of the standard library", None);
    let root = scratch.join("bytecode");
    if root.exists() {
        fs::remove_dir_all(&root).map_err(Error::file("remove", &root))?;
    }
    materialise(tree, &library, lock.architecture, &root)?;
    let version = library.rsplit('/').next().unwrap_or_default();
    let Some(interpreter) =
        own(tree, version, lock.architecture, &root).or_else(|| host(version, bytecode, watch))
    else {
        let text =
            format!("there is no `{version}` here to make bytecode with: the image will start more slowly");
        watch.report.warn(&text);
        return Ok(());
    };
    let halves = share(modules(tree, &library));
    let results: Vec<_> = thread::scope(|scope| {
        let (interpreter, root, library) = (&interpreter, &root, &library);
        let numbered = halves.iter().enumerate();
        let compilers: Vec<_> = numbered
            .map(|(number, half)| {
                scope.spawn(move || interpreter.compile(root, library, number, half, watch))
            })
            .collect();
        compilers.into_iter().map(|compiler| compiler.join().expect("compiling never panics")).collect()
    });
    results.into_iter().collect::<Result<(), Error>>()?;
    collect(tree, &library, &root)
}

struct Interpreter {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
}

impl Interpreter {
    /// Compiles modules of the library that is laid out in `root`.
    fn compile(
        &self,
        root: &Path,
        library: &str,
        number: usize,
        modules: &[String],
        watch: Watch<'_>,
    ) -> Result<(), Error> {
        let list = root.join(format!("modules-{number}"));
        let paths: Vec<_> = modules.iter().map(|module| root.join(module).display().to_string()).collect();
        fs::write(&list, paths.join("\n")).map_err(Error::file("write", &list))?;
        let mut arguments = self.arguments.clone();
        arguments.extend(["-B", "-S", "-s", "-m", "compileall", "-q", "-f"].map(OsString::from));
        arguments.extend(["--invalidation-mode", "unchecked-hash", "-s"].map(OsString::from));
        arguments.extend([root.join(library).into(), "-p".into(), format!("/{library}").into()]);
        arguments.extend(["-i".into(), list.into()]);
        let tool = Tool { program: &self.program, arguments, environment: self.environment.clone() };
        tool.run(watch.interrupt, &mut || ())
            .map_err(tool_error("making bytecode of the standard library"))?;
        Ok(())
    }
}

/// The modules of the library that get bytecode, with their sizes.
fn modules(tree: &Tree, library: &str) -> Vec<(String, u64)> {
    let is_module = |path: &str| {
        let name = path.strip_prefix(library).and_then(|rest| rest.strip_prefix('/')?.strip_suffix(".py"));
        name.is_some_and(|name| !name.split('/').any(|part| SKIPPED.contains(&part)))
    };
    let size = |(path, entry): (&str, &Entry)| match &entry.kind {
        EntryKind::File(content) if is_module(path) => Some((path.to_owned(), content.size())),
        _ => None,
    };
    tree.iter().filter_map(size).collect()
}

/// Divides modules among the compilers, about evenly by size.
fn share(modules: Vec<(String, u64)>) -> [Vec<String>; PROCESSES] {
    let mut shares: [(u64, Vec<String>); PROCESSES] = Default::default();
    for (module, size) in modules {
        let lightest = shares.iter_mut().min_by_key(|(size, _)| *size).expect("there is a compiler");
        lightest.0 += size;
        lightest.1.push(module);
    }
    shares.map(|(_, modules)| modules)
}

/// The directory of the tree's standard library.
fn standard_library(tree: &Tree) -> Option<String> {
    let mut paths = tree.iter().map(|(path, _)| path);
    let module = paths.find(|path| path.starts_with("usr/lib/python3.") && path.ends_with("/os.py"))?;
    let directory = module.strip_suffix("/os.py")?;
    (directory.matches('/').count() == 2).then(|| directory.to_owned())
}

/// The packages' interpreter, if it can run here.
fn own(tree: &Tree, version: &str, architecture: Architecture, root: &Path) -> Option<Interpreter> {
    if Platform::host().architecture != architecture.name() {
        return None;
    }
    let is_loader = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with("ld-linux"));
    let mut loaders = tree.iter().map(|(path, _)| path).filter(|path| is_loader(path));
    let loader = loaders.find(|path| root.join(path).is_file())?;
    let program = root.join(format!("usr/bin/{version}"));
    if !program.exists() {
        return None;
    }
    let libraries = root.join("usr/lib").join(architecture.triplet());
    let environment = [("PYTHONHOME", root.join("usr").into()), ("PYTHONHASHSEED", OsString::from("0"))];
    Some(Interpreter {
        program: root.join(loader),
        arguments: vec!["--library-path".into(), libraries.into(), program.into()],
        environment: environment.map(|(name, value)| (name.into(), value)).into(),
    })
}

/// The host's interpreter, if it is of the same minor version: bytecode's form is the same within one.
fn host(version: &str, bytecode: &Bytecode, watch: Watch<'_>) -> Option<Interpreter> {
    let program = bytecode.host_python.clone()?;
    let mut environment = bytecode.environment.clone();
    environment.remove(&OsString::from("PYTHONDONTWRITEBYTECODE"));
    environment.insert("PYTHONHASHSEED".into(), "0".into());
    let code = "import sys; print('python%d.%d' % sys.version_info[:2])";
    let arguments = ["-I", "-c", code].map(OsString::from).to_vec();
    let asked = Tool { program: &program, arguments, environment: environment.clone() };
    let answer = asked.run(watch.interrupt, &mut || ()).ok()?;
    (answer.trim() == version).then_some(Interpreter { program, arguments: Vec::new(), environment })
}

/// Lays out a tree's Python as files below `root`, so that it can be run there with the tree's own loader; `false` if
/// the tree has none.
pub fn lay_out_python(tree: &Tree, architecture: Architecture, root: &Path) -> Result<bool, Error> {
    let Some(library) = standard_library(tree) else { return Ok(false) };
    materialise(tree, &library, architecture, root)?;
    Ok(true)
}

/// Lays out the standard library, the interpreter and the shared libraries as files.
fn materialise(tree: &Tree, library: &str, architecture: Architecture, root: &Path) -> Result<(), Error> {
    let below = format!("{library}/");
    let libraries = format!("usr/lib/{}/", architecture.triplet());
    let version = library.rsplit('/').next().unwrap_or_default();
    let program = format!("usr/bin/{version}");
    let is_wanted = |path: &str| {
        let is_shared = path.strip_prefix(&libraries).is_some_and(|name| !name.contains('/'));
        path.starts_with(&below) || is_shared || path == program || path.starts_with("usr/lib64/ld-linux")
    };
    for (path, entry) in tree.iter().filter(|(path, _)| is_wanted(path)) {
        let target = root.join(path);
        let written = |error| Error::file("write", &target)(error);
        let parent = target.parent().unwrap_or(root);
        match &entry.kind {
            EntryKind::Directory => fs::create_dir_all(&target).map_err(written)?,
            // Links to other places of the tree are of no use here.
            EntryKind::Symlink(to) if to.starts_with('/') || to.contains("..") => {}
            kind => {
                fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
                match kind {
                    EntryKind::File(Content::Bytes(bytes)) => {
                        fs::write(&target, bytes).map_err(written)?;
                        let mode = fs::Permissions::from_mode(entry.mode);
                        fs::set_permissions(&target, mode).map_err(Error::file("write", &target))?;
                    }
                    // A second name for the same bytes, where the file system has that.
                    EntryKind::File(Content::File { path, .. }) if fs::hard_link(path, &target).is_ok() => {}
                    EntryKind::File(Content::File { path, .. }) => {
                        fs::copy(path, &target).map_err(written)?;
                    }
                    EntryKind::Symlink(to) => symlink(to, &target).map_err(written)?,
                    EntryKind::HardLink(to) => symlink(root.join(to), &target).map_err(written)?,
                    EntryKind::Directory | EntryKind::File(Content::Blob(_)) => {}
                }
            }
        }
    }
    Ok(())
}

/// Takes the bytecode that was made into the tree.
fn collect(tree: &mut Tree, library: &str, root: &Path) -> Result<(), Error> {
    let walk = walkdir::WalkDir::new(root.join(library)).sort_by_file_name();
    for found in walk {
        let found = found.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            Error::File { action: "list", path, source: error.into() }
        })?;
        let path = found.path();
        let is_bytecode = path.extension().is_some_and(|extension| extension == "pyc");
        let name = path.strip_prefix(root).ok().and_then(Path::to_str).filter(|_| is_bytecode);
        let Some(name) = name else { continue };
        let size = fs::metadata(path).map_err(Error::file("read", path))?.len();
        let content = if size <= INLINE_LIMIT {
            Content::Bytes(fs::read(path).map_err(Error::file("read", path))?.into())
        } else {
            Content::File { path: path.to_owned(), size }
        };
        let inserted = tree.insert(name, Entry::file(content, 0o644, Owner::ROOT));
        inserted.map_err(|source: TreeError| Error::Unpack {
            package: "python3".to_owned(),
            source: source.into(),
        })?;
    }
    Ok(())
}
