//! Resolves requirements to a lock, or finds the lock of an equal request.

use std::fs;
use std::path::{Path, PathBuf};

use super::Host;
use super::blame::blame;
use super::cache::{Cache, file_stamp, key};
use super::error::Error;
use super::index::{is_credential, keyed};
use super::locked::{LockedEnv, WheelSource};
use super::requirements::Requirements;
use super::target::Target;
use super::uv::{Uv, explain};

/// Version of how a lock is made from its inputs; part of its cache key.
const LOCKER: &str = "lock-1";

/// What is to be locked.
#[derive(Clone, Debug)]
pub struct LockRequest {
    /// Packages, constraints and index options.
    pub requirements: Requirements,
    /// What the wheels must run on.
    pub target: Target,
    /// The project's directory: relative paths in requirement lines start here.
    pub directory: PathBuf,
    /// Ask the indexes again although an equal request was answered before.
    pub upgrade: bool,
}

/// Chooses one wheel of every package needed, with its hash.
///
/// An equal request is answered from the cache, without running uv, unless `upgrade` is set.
///
/// # Errors
/// The requirements have no solution, a package has no wheel, an index is out of reach or refuses access,
/// there is no uv and none can be had, or the cache cannot be written.
pub fn lock(request: &LockRequest, host: &Host) -> Result<LockedEnv, Error> {
    if request.requirements.lines.is_empty() {
        return Ok(LockedEnv::default());
    }
    let cache = Cache::new(&host.cache_dir);
    let uv = Uv::obtain(host)?;
    let key = request_key(request, &uv, host);
    if let Some(key) = &key
        && !request.upgrade
        && let Some(locked) = cached(&cache, key)
    {
        return Ok(locked);
    }
    let locked = resolve(request, &uv, host, &cache)?;
    if let Some(key) = &key {
        cache.write("locks", key, &locked.to_pylock(Path::new("")))?;
    }
    Ok(locked)
}

/// A lock made before, if every wheel file that it names is still there.
fn cached(cache: &Cache, key: &str) -> Option<LockedEnv> {
    let text = cache.read("locks", key)?;
    let locked = LockedEnv::from_pylock(&text, Path::new("")).ok()?;
    let is_there = |source: &WheelSource| match source {
        WheelSource::File { path } => path.is_file(),
        WheelSource::Index { .. } | WheelSource::Url { .. } => true,
    };
    locked.packages.iter().all(|package| is_there(&package.source)).then_some(locked)
}

fn resolve(request: &LockRequest, uv: &Uv, host: &Host, cache: &Cache) -> Result<LockedEnv, Error> {
    let staging = cache.stage()?;
    let mut command = uv
        .command(host)
        .args(["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--format", "pylock.toml"])
        .args(["--only-binary", ":all:", "--python-platform"])
        .arg(request.target.uv_platform())
        .args(["--python-version", &request.target.python.to_string()])
        .directory(&request.directory)
        .input(lines(&request.requirements.lines));
    if request.upgrade {
        command = command.arg("--refresh");
    }
    if !request.requirements.constraints.is_empty() {
        let constraints = staging.path().join("constraints.txt");
        let text = lines(&request.requirements.constraints);
        fs::write(&constraints, text).map_err(Error::file("write", &constraints))?;
        command = command.arg("--constraints").arg(constraints);
    }
    command = request.requirements.index.apply(host, command)?.arg("-");
    let output = command.run(&host.interrupt).map_err(|error| {
        blame(&request.requirements, &error).unwrap_or_else(|| explain(error, "lock", request.target))
    })?;
    let directory = absolute(&request.directory)?;
    LockedEnv::from_pylock(&String::from_utf8_lossy(&output.stdout), &directory)
}

/// Identifies everything a resolution depends on; `None` when it depends on a local source tree.
fn request_key(request: &LockRequest, uv: &Uv, host: &Host) -> Option<String> {
    let requirements = &request.requirements;
    let mut parts = vec![LOCKER.to_owned(), uv.version().to_owned(), request.target.to_string()];
    for (kind, lines) in [("requirement", &requirements.lines), ("constraint", &requirements.constraints)] {
        for line in lines {
            parts.push(format!("{kind} {}", keyed(line)));
            parts.extend(local_stamp(line, &request.directory)?);
        }
    }
    parts.extend(requirements.index.lines());
    parts.extend(requirements.index.trusted_hosts.iter().cloned());
    for link in &requirements.index.find_links {
        parts.extend(directory_stamp(&request.directory.join(link)));
    }
    for (name, value) in &host.environment {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        if name.starts_with("UV_") && !is_credential(&name) && name != "UV_CACHE_DIR" {
            parts.push(format!("{name}={}", keyed(&value)));
        }
    }
    parts.extend(configuration(&request.directory, host));
    Some(key(parts))
}

/// The state of the file that a requirement line names, if it names one; `None` for a source tree.
fn local_stamp(line: &str, directory: &Path) -> Option<Vec<String>> {
    let named = line.split_once(" @ ").map_or(line, |(_, place)| place);
    let named = named.split(" ;").next().unwrap_or_default().trim();
    let named = named.strip_prefix("file://").unwrap_or(named);
    let path = directory.join(named);
    if !named.contains(['/', '.']) || !path.exists() {
        return Some(Vec::new());
    }
    if path.is_dir() {
        return None;
    }
    Some(file_stamp(&path).into_iter().collect())
}

/// The wheels of a directory; nothing for a page.
fn directory_stamp(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut stamps: Vec<String> = entries.flatten().filter_map(|entry| file_stamp(&entry.path())).collect();
    stamps.sort();
    stamps
}

/// Contents of the files that configure uv for this project, user and machine.
fn configuration(directory: &Path, host: &Host) -> Vec<String> {
    let mut candidates = Vec::new();
    for ancestor in directory.ancestors() {
        candidates.push(ancestor.join("uv.toml"));
        candidates.push(ancestor.join("pyproject.toml"));
    }
    let home = host.variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = home.or_else(|| host.variable("HOME").map(|home| Path::new(home).join(".config")));
    candidates.extend(home.map(|home| home.join("uv/uv.toml")));
    candidates.push(PathBuf::from("/etc/uv/uv.toml"));
    candidates.into_iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
}

fn lines(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(path).map_err(Error::file("read directory", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_files_enter_the_key_and_source_trees_forbid_one() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("project")).unwrap();
        fs::write(root.join("x-1-py3-none-any.whl"), "1").unwrap();
        let stamp = |line: &str| local_stamp(line, root);
        let first = stamp("./x-1-py3-none-any.whl").unwrap();
        assert_eq!(first.len(), 1);
        fs::write(root.join("x-1-py3-none-any.whl"), "12").unwrap();
        assert_ne!(stamp("x @ ./x-1-py3-none-any.whl").unwrap(), first);
        assert_eq!(stamp("numpy>=1.2 ; python_version > '3'"), Some(vec![]));
        assert_eq!(stamp("./project"), None);
    }
}
