//! Tells which installed file belongs to which distribution.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::error::Error;
use super::locked::LockedPackage;
use super::record;

/// A file of a distribution, where uv put it.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// Relative to the directory that uv installed into.
    pub(super) path: String,
    /// What its content must hash to, where `RECORD` tells.
    pub(super) sha256: Option<String>,
}

/// The files of one distribution.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// Its own metadata directory, relative to the directory that uv installed into.
    pub(super) dist_info: String,
    /// Its files.
    pub(super) files: Vec<Claim>,
}

/// How an installation of several distributions divides.
#[derive(Debug)]
pub(super) struct Split {
    /// In the order of the packages asked for.
    pub(super) claims: Vec<Claims>,
    /// Packages whose files cannot be told from another's: they must be installed alone.
    pub(super) unclear: BTreeSet<usize>,
}

/// Divides what uv installed below `prefix` by the distributions' `RECORD` files.
pub(super) fn split(prefix: &Path, packages: &[&LockedPackage]) -> Result<Split, Error> {
    let dist_infos = dist_infos(prefix)?;
    let mut claims = Vec::new();
    let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, package) in packages.iter().enumerate() {
        let claimed = recorded(prefix, package, &dist_infos)?;
        for claim in &claimed.files {
            owners.entry(claim.path.clone()).or_default().push(index);
        }
        claims.push(claimed);
    }
    let mut unclear = BTreeSet::new();
    let present = files_below(prefix, packages)?;
    for path in &present {
        match owners.get(path).map(Vec::as_slice) {
            Some([_]) => {}
            Some(several) => unclear.extend(several),
            None => unclear.extend(neighbours(path, &owners, packages.len())),
        }
    }
    for claimed in &mut claims {
        claimed.files.retain(|claim| present.contains(&claim.path));
    }
    Ok(Split { claims, unclear })
}

/// Everything below `prefix`, as the files of the only distribution installed there.
pub(super) fn whole(prefix: &Path, package: &LockedPackage) -> Result<Claims, Error> {
    let dist_info = dist_info_of(package, &dist_infos(prefix)?)?;
    let files = files_below(prefix, &[package])?.into_iter();
    Ok(Claims { dist_info, files: files.map(|path| Claim { path, sha256: None }).collect() })
}

fn recorded(
    prefix: &Path,
    package: &LockedPackage,
    dist_infos: &BTreeMap<String, String>,
) -> Result<Claims, Error> {
    let dist_info = dist_info_of(package, dist_infos)?;
    let site = dist_info.rsplit_once('/').map_or("", |(site, _)| site);
    let path = prefix.join(&dist_info).join("RECORD");
    let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let mut files = BTreeMap::new();
    for row in record::parse(&text) {
        let place = inside(site, &row.path).ok_or_else(|| Error::HostileWheel {
            wheel: package.wheel.clone(),
            entry: row.path.clone(),
            reason: "which leads out of the environment",
        })?;
        files.insert(place, row.sha256);
    }
    let files = files.into_iter().map(|(path, sha256)| Claim { path, sha256 }).collect();
    Ok(Claims { dist_info, files })
}

/// Metadata directories below `prefix`, by normalised distribution name.
fn dist_infos(prefix: &Path) -> Result<BTreeMap<String, String>, Error> {
    let mut found = BTreeMap::new();
    // Some systems keep compiled packages in `lib64`.
    for library in ["lib", "lib64"] {
        for version in names(&prefix.join(library))? {
            let site = format!("{library}/{version}/site-packages");
            for name in names(&prefix.join(&site))? {
                let Some(stem) = name.strip_suffix(".dist-info") else { continue };
                let distribution = stem.rsplit_once('-').map_or(stem, |(distribution, _)| distribution);
                found.insert(normalized(distribution), format!("{site}/{name}"));
            }
        }
    }
    Ok(found)
}

fn dist_info_of(package: &LockedPackage, dist_infos: &BTreeMap<String, String>) -> Result<String, Error> {
    let missing = || Error::NotInstalled { package: package.name.clone(), version: package.version.clone() };
    dist_infos.get(&normalized(&package.name)).cloned().ok_or_else(missing)
}

/// Names within a directory; none when it is absent.
fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::file("read directory", directory)(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file("read directory", directory))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Paths of all files below `prefix`, except uv's own lock.
fn files_below(prefix: &Path, packages: &[&LockedPackage]) -> Result<BTreeSet<String>, Error> {
    let hostile = |path: &Path, reason| Error::HostileWheel {
        wheel: packages.iter().map(|package| package.wheel.as_str()).collect::<Vec<_>>().join("`, `"),
        entry: path.display().to_string(),
        reason,
    };
    let mut files = BTreeSet::new();
    for entry in walkdir::WalkDir::new(prefix).min_depth(1) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(prefix).to_owned();
            Error::File { action: "read directory", path, source: error.into() }
        })?;
        if entry.file_type().is_dir() {
            continue;
        }
        let path = entry.path().strip_prefix(prefix).unwrap_or(entry.path());
        if !entry.file_type().is_file() {
            return Err(hostile(path, "which is not a regular file"));
        }
        let text = path.to_str().ok_or_else(|| hostile(path, "whose name is not UTF-8"))?;
        if text != ".lock" {
            files.insert(text.to_owned());
        }
    }
    Ok(files)
}

/// Packages that may own a file nobody lists: those with files under the same first name, else all.
fn neighbours(path: &str, owners: &BTreeMap<String, Vec<usize>>, count: usize) -> BTreeSet<usize> {
    let depth = if path.contains("/site-packages/") { 4 } else { 2 };
    let parts: Vec<&str> = path.split('/').collect();
    let found: BTreeSet<usize> = if parts.len() > depth {
        let directory = format!("{}/", parts[..depth].join("/"));
        let near = owners.range(directory.clone()..).take_while(|(owned, _)| owned.starts_with(&directory));
        near.flat_map(|(_, owners)| owners.iter().copied()).collect()
    } else {
        BTreeSet::new()
    };
    if found.is_empty() { (0..count).collect() } else { found }
}

/// Joins without leaving the root, by name only.
fn inside(directory: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// The name that all spellings of a distribution's name share (PEP 503).
pub(super) fn normalized(name: &str) -> String {
    let mut normalized = String::new();
    for c in name.chars() {
        let c = if matches!(c, '-' | '_' | '.') { '-' } else { c.to_ascii_lowercase() };
        if c != '-' || !normalized.ends_with('-') {
            normalized.push(c);
        }
    }
    normalized
}

/// The place in the image of what uv put at `path`: one library directory, the image's Python version.
pub(super) fn image_path(path: &str, python: super::target::PythonVersion) -> PathBuf {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["lib" | "lib64", version, "site-packages", ref rest @ ..] if version.starts_with("python") => {
            Path::new(&python.site_packages()).join(rest.join("/"))
        }
        ["include", "site", version, ref rest @ ..] if version.starts_with("python") => {
            Path::new("include/site").join(python.executable()).join(rest.join("/"))
        }
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pydeps::{PythonVersion, WheelSource};

    const SITE: &str = "lib/python3.11/site-packages";

    fn package(name: &str) -> LockedPackage {
        LockedPackage {
            name: name.into(),
            version: "1".into(),
            wheel: format!("{name}-1-py3-none-any.whl"),
            source: WheelSource::Url { url: "https://h/x.whl".into() },
            size: None,
            sha256: "0".repeat(64),
        }
    }

    /// Lays out a distribution; files are listed unless they start with `!`.
    fn install(prefix: &Path, name: &str, files: &[&str], extra_rows: &str) {
        let mut record = String::new();
        let info = format!("{name}-1.dist-info/METADATA");
        for file in files.iter().copied().chain([info.as_str()]) {
            let listed = file.strip_prefix('!');
            let path = prefix.join(SITE).join(listed.unwrap_or(file));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
            if listed.is_none() {
                record.extend([file, ",,\n"]);
            }
        }
        record.extend([name, "-1.dist-info/RECORD,,\n", extra_rows]);
        fs::write(prefix.join(SITE).join(format!("{name}-1.dist-info/RECORD")), record).unwrap();
    }

    fn divide(prefix: &Path, names: &[&str]) -> Result<Split, Error> {
        let packages: Vec<_> = names.iter().map(|name| package(name)).collect();
        split(prefix, &packages.iter().collect::<Vec<_>>())
    }

    #[test]
    fn listed_files_belong_to_their_distribution() {
        let prefix = tempfile::tempdir().unwrap();
        install(prefix.path(), "one", &["one/a.py", "../../../bin/tool", "ns/one.py"], "one/gone.py,,\n");
        install(prefix.path(), "Two_x", &["ns/two.py"], "");
        fs::write(prefix.path().join(".lock"), "").unwrap();
        let split = divide(prefix.path(), &["one", "two-x"]).unwrap();
        assert!(split.unclear.is_empty());
        let paths: Vec<_> = split.claims[0].files.iter().map(|claim| claim.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "bin/tool",
                "lib/python3.11/site-packages/ns/one.py",
                "lib/python3.11/site-packages/one-1.dist-info/METADATA",
                "lib/python3.11/site-packages/one-1.dist-info/RECORD",
                "lib/python3.11/site-packages/one/a.py",
            ]
        );
        assert_eq!(split.claims[1].dist_info, format!("{SITE}/Two_x-1.dist-info"));
    }

    #[test]
    fn shared_and_unlisted_files_make_their_distributions_unclear() {
        let prefix = tempfile::tempdir().unwrap();
        install(prefix.path(), "one", &["shared/a.py", "one/a.py"], "");
        install(prefix.path(), "two", &["shared/a.py"], "");
        install(prefix.path(), "three", &["three/a.py", "!three/b.py"], "");
        install(prefix.path(), "four", &["four.py"], "");
        let split = divide(prefix.path(), &["one", "two", "three", "four"]).unwrap();
        assert_eq!(split.unclear, BTreeSet::from([0, 1, 2]));
        install(prefix.path(), "four", &["four.py", "!lost.py"], "");
        let split = divide(prefix.path(), &["one", "two", "three", "four"]).unwrap();
        assert_eq!(split.unclear, BTreeSet::from([0, 1, 2, 3]));
    }

    #[test]
    fn rows_that_lead_outside_are_refused() {
        for row in ["../../../../etc/passwd", "/etc/passwd", "a/../../../../../x", "../../.."] {
            let prefix = tempfile::tempdir().unwrap();
            install(prefix.path(), "bad", &["bad.py"], &format!("{row},,\n"));
            let error = divide(prefix.path(), &["bad"]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "wheel `bad-1-py3-none-any.whl` contains `{row}`, which leads out of the environment"
                )
            );
        }
    }

    #[test]
    fn links_and_missing_distributions_are_refused() {
        let prefix = tempfile::tempdir().unwrap();
        install(prefix.path(), "bad", &["bad.py"], "");
        let error = divide(prefix.path(), &["bad", "absent"]).unwrap_err();
        assert_eq!(error.to_string(), "`absent` 1 is missing from what uv installed");
        std::os::unix::fs::symlink("/etc", prefix.path().join("etc")).unwrap();
        let error = divide(prefix.path(), &["bad"]).unwrap_err().to_string();
        assert!(error.contains("`etc`, which is not a regular file"), "{error}");
    }

    #[test]
    fn paths_move_to_the_images_python() {
        let python = PythonVersion::new(3, 12);
        for (given, mapped) in [
            ("lib64/python3.11/site-packages/a/b.so", "lib/python3.12/site-packages/a/b.so"),
            ("include/site/python3.11/greenlet/g.h", "include/site/python3.12/greenlet/g.h"),
            ("share/man/x.1", "share/man/x.1"),
            ("lib/other/x", "lib/other/x"),
        ] {
            assert_eq!(image_path(given, python), Path::new(mapped));
        }
    }
}
