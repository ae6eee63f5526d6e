//! Compiles Python files ahead of time, so that a container does not do it at every start.
//!
//! Bytecode is `unchecked-hash`: Python never compares it with the source, and no time or machine path is in
//! it. It does depend on the compiler's exact version, hence [`Interpreter::version`] is in every cache key.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use super::Host;
use super::error::Error;
use super::interpreter::Interpreter;
use super::target::PythonVersion;
use super::venv::VENV;
use crate::process;

/// The program that compiles; runs on any Python that packages are locked for.
const COMPILER: &str = include_str!("compile.py");

/// Most compilers at once: each takes a core and about 30 MB.
const MOST_COMPILERS: usize = 8;

/// Fewer files than this are not worth a second compiler.
const LEAST_SHARE: usize = 50;

/// Parts of the standard library that services do not import: test suites, the editor, demos, and the
/// translator from Python 2.
const STDLIB_SKIPPED: [&str; 9] = [
    "test",
    "tests",
    "idlelib",
    "idle_test",
    "lib2to3",
    "turtledemo",
    "pydoc_data",
    "site-packages",
    "dist-packages",
];

/// One file to be compiled.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) source: PathBuf,
    pub(super) destination: PathBuf,
    /// Its name in the image, which tracebacks show.
    pub(super) shown: String,
}

impl Job {
    /// Prepares the job for the file at `path` below `root`, which is at `place` in the image.
    pub(super) fn new(root: &Path, path: &str, place: &str, python: PythonVersion) -> Option<Self> {
        // Tabs and line ends separate jobs; such names occur in test suites of archivers only.
        if path.contains(['\t', '\n', '\r']) {
            return None;
        }
        let shown = format!("{place}/{path}");
        Some(Self { source: root.join(path), destination: root.join(bytecode_path(path, python)?), shown })
    }
}

/// Where Python looks for the bytecode of a file.
pub(super) fn bytecode_path(path: &str, python: PythonVersion) -> Option<String> {
    let stem = path.strip_suffix(".py")?;
    let (directory, name) = stem.rsplit_once('/').map_or(("", stem), |(directory, name)| (directory, name));
    let slash = if directory.is_empty() { "" } else { "/" };
    Some(format!("{directory}{slash}__pycache__/{name}.{}.pyc", python.cache_tag()))
}

/// Runs the jobs; returns how many files were no valid Python.
pub(super) fn compile(jobs: &[Job], interpreter: &Interpreter, host: &Host) -> Result<usize, Error> {
    for directory in jobs.iter().filter_map(|job| job.destination.parent()) {
        fs::create_dir_all(directory).map_err(Error::file("create directory", directory))?;
    }
    let shares = shares(jobs);
    let results: Vec<Result<usize, Error>> = thread::scope(|scope| {
        let runs: Vec<_> =
            shares.iter().map(|share| scope.spawn(|| compile_share(share, interpreter, host))).collect();
        let joined =
            runs.into_iter().map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect()
    });
    results.into_iter().sum()
}

/// Divides jobs by the bytes of their sources, the longest first to the least loaded.
fn shares(jobs: &[Job]) -> Vec<Vec<&Job>> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let count = cores.min(MOST_COMPILERS).min(jobs.len().div_ceil(LEAST_SHARE)).max(1);
    let size = |job: &Job| fs::metadata(&job.source).map_or(0, |metadata| metadata.len());
    let mut sized: Vec<_> = jobs.iter().map(|job| (size(job), job)).collect();
    sized.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.shown.cmp(&other.1.shown)));
    let mut shares: Vec<(u64, Vec<&Job>)> = vec![(0, Vec::new()); count];
    for (bytes, job) in sized {
        if let Some(least) = shares.iter_mut().min_by_key(|(load, _)| *load) {
            least.0 += bytes.max(1);
            least.1.push(job);
        }
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

fn compile_share(share: &[&Job], interpreter: &Interpreter, host: &Host) -> Result<usize, Error> {
    if share.is_empty() {
        return Ok(0);
    }
    let mut input = String::new();
    for job in share {
        let line =
            [job.source.display().to_string(), job.destination.display().to_string(), job.shown.clone()];
        input.push_str(&line.join("\t"));
        input.push('\n');
    }
    let command = interpreter.command(host).args(["-c", COMPILER]).input(input);
    let failed = |source| Error::Compile { program: interpreter.shown(), source };
    match command.run(&host.interrupt) {
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0)),
        Err(process::Error::Interrupted { .. }) => Err(Error::Interrupted),
        Err(source) => Err(failed(source)),
    }
}

/// What compiling a standard library gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledStdlib {
    /// Bytecode files written, relative to the root, sorted.
    pub files: Vec<String>,
    /// Their bytes.
    pub size: u64,
}

/// Compiles the standard library below the root of a base image, at `usr/lib/pythonX.Y`.
///
/// # Errors
/// The library is absent, a file cannot be written, or the interpreter fails.
pub fn compile_stdlib(
    root: &Path,
    python: PythonVersion,
    interpreter: &Interpreter,
    host: &Host,
) -> Result<CompiledStdlib, Error> {
    let (jobs, written) = jobs_below(root, &format!("usr/lib/{}", python.executable()), "", python)?;
    compile(&jobs, interpreter, host)?;
    Ok(compiled(root, written))
}

/// Compiles the packages below a directory that is laid out as the image's virtual environment.
///
/// # Errors
/// There are no packages, a file cannot be written, or the interpreter fails.
pub fn compile_packages(
    root: &Path,
    python: PythonVersion,
    interpreter: &Interpreter,
    host: &Host,
) -> Result<(), Error> {
    let (jobs, _) = jobs_below(root, &python.site_packages(), VENV, python)?;
    compile(&jobs, interpreter, host).map(drop)
}

/// One job for each module below `directory`, and the bytecode files that they would write.
fn jobs_below(
    root: &Path,
    directory: &str,
    prefix: &str,
    python: PythonVersion,
) -> Result<(Vec<Job>, Vec<String>), Error> {
    let library = root.join(directory);
    let mut jobs = Vec::new();
    let mut written = Vec::new();
    let walk = walkdir::WalkDir::new(&library).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_skipped(entry.file_name().to_str())) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(&library).to_owned();
            Error::File { action: "read directory", path, source: error.into() }
        })?;
        let path = entry.path().strip_prefix(root).ok().and_then(Path::to_str);
        let Some(path) =
            path.filter(|path| entry.file_type().is_file() && bytecode_path(path, python).is_some())
        else {
            continue;
        };
        let Some(job) = Job::new(root, path, prefix, python) else { continue };
        written.extend(bytecode_path(path, python));
        jobs.push(job);
    }
    Ok((jobs, written))
}

fn compiled(root: &Path, mut written: Vec<String>) -> CompiledStdlib {
    let size_of = |path: &String| fs::metadata(root.join(path)).map(|metadata| metadata.len()).ok();
    // A file that is no valid Python has no bytecode.
    written.retain(|path| size_of(path).is_some());
    written.sort();
    let size = written.iter().filter_map(size_of).sum();
    CompiledStdlib { files: written, size }
}

fn is_skipped(name: Option<&str>) -> bool {
    name.is_none_or(|name| STDLIB_SKIPPED.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytecode_lies_where_python_looks() {
        let python = PythonVersion::new(3, 11);
        assert_eq!(bytecode_path("a/b.py", python).as_deref(), Some("a/__pycache__/b.cpython-311.pyc"));
        assert_eq!(bytecode_path("six.py", python).as_deref(), Some("__pycache__/six.cpython-311.pyc"));
        assert_eq!(bytecode_path("a/b.so", python), None);
        assert!(Job::new(Path::new("/r"), "a\tb.py", "/p", python).is_none());
    }
}
