//! Makes one distribution's tree the same bytes on every machine.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cache::hex;
use super::error::Error;
use super::locked::LockedPackage;
use super::record;
use super::scripts;
use super::split::{Claims, image_path};
use super::target::PythonVersion;

/// What stands in `INSTALLER`.
const INSTALLER: &str = "ekiben\n";

/// Metadata that tells about this machine, this moment or uv, or that no longer holds.
const DROPPED: [&str; 6] =
    ["direct_url.json", "uv_cache.json", "uv_build.json", "REQUESTED", "RECORD.jws", "RECORD.p7s"];

/// One file of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct TreeFile {
    pub(super) executable: bool,
    pub(super) size: u64,
    pub(super) sha256: String,
}

/// Files by path, relative to the environment's root.
pub(super) type TreeFiles = BTreeMap<String, TreeFile>;

/// Where a tree is made, and for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workshop<'a> {
    /// Where uv installed.
    pub(super) prefix: &'a Path,
    /// Where the tree goes.
    pub(super) tree: &'a Path,
    /// The image's Python.
    pub(super) python: PythonVersion,
    /// The environment's place in the image.
    pub(super) venv: &'a str,
}

/// How a tree came out.
#[derive(Debug)]
pub(super) enum Assembled {
    /// All of it, and its metadata directory.
    Tree { files: TreeFiles, dist_info: String },
    /// A file is not what its distribution lists: another distribution wrote it too.
    Overwritten,
}

/// Moves a distribution's files into its tree and normalises them; `RECORD` is left for [`write_record`].
pub(super) fn assemble(
    workshop: &Workshop<'_>,
    claims: &Claims,
    package: &LockedPackage,
) -> Result<Assembled, Error> {
    let dist_info = path_text(&image_path(&claims.dist_info, workshop.python));
    let python = format!("{}/bin/python", workshop.venv);
    let programs = fs::read_to_string(workshop.prefix.join(&claims.dist_info).join("entry_points.txt"))
        .map(|text| scripts::entry_points(&text, &python))
        .unwrap_or_default();
    let mut files = TreeFiles::new();
    for claim in &claims.files {
        let place = path_text(&image_path(&claim.path, workshop.python));
        refuse_own_names(&place, workshop.python, package)?;
        if is_dropped(&place, &dist_info) {
            continue;
        }
        let from = workshop.prefix.join(&claim.path);
        let to = workshop.tree.join(&place);
        let parent = to.parent().unwrap_or(workshop.tree);
        fs::create_dir_all(parent).map_err(Error::file("create directory", parent))?;
        let (sha256, size) = hash_file(&from).map_err(Error::file("read", &from))?;
        if claim.sha256.as_ref().is_some_and(|expected| *expected != sha256) {
            return Ok(Assembled::Overwritten);
        }
        let mode = fs::metadata(&from).map_err(Error::file("read", &from))?.permissions().mode();
        fs::rename(&from, &to).map_err(Error::file("move", &from))?;
        let mut file = TreeFile { executable: mode & 0o100 != 0, size, sha256 };
        if let Some(name) = place.strip_prefix("bin/") {
            file.executable = true;
            if let Some(text) = own_script(&to, programs.get(name), &python)? {
                file = replace(&to, &text, true)?;
            }
        }
        set_mode(&to, file.executable)?;
        files.insert(place, file);
    }
    let installer = format!("{dist_info}/INSTALLER");
    files.insert(installer.clone(), replace(&workshop.tree.join(&installer), INSTALLER.as_bytes(), false)?);
    Ok(Assembled::Tree { files, dist_info })
}

/// Writes `RECORD` for exactly the files of the tree.
pub(super) fn write_record(tree: &Path, dist_info: &str, files: &mut TreeFiles) -> Result<(), Error> {
    let own = format!("{dist_info}/RECORD");
    let site = dist_info.rsplit_once('/').map_or("", |(site, _)| site);
    let up = "../".repeat(site.split('/').count());
    let from_site = |path: &str| match path.strip_prefix(site).and_then(|rest| rest.strip_prefix('/')) {
        Some(inside) => inside.to_owned(),
        None => format!("{up}{path}"),
    };
    let mut rows: Vec<_> = files.iter().map(|(path, file)| (from_site(path), file)).collect();
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    let mut text = String::new();
    for (path, file) in rows {
        record::write_row(&mut text, &path, &unhex(&file.sha256), file.size);
    }
    record::write_own_row(&mut text, &from_site(&own));
    let file = replace(&tree.join(&own), text.as_bytes(), false)?;
    files.insert(own, file);
    Ok(())
}

/// Adds a file that was written into the tree.
pub(super) fn adopt(tree: &Path, path: &str, files: &mut TreeFiles) -> Result<(), Error> {
    files.insert(path.to_owned(), measured(&tree.join(path), false)?);
    Ok(())
}

/// Describes a file as it is now, and gives it its mode.
pub(super) fn measured(path: &Path, executable: bool) -> Result<TreeFile, Error> {
    let (sha256, size) = hash_file(path).map_err(Error::file("read", path))?;
    set_mode(path, executable)?;
    Ok(TreeFile { executable, size, sha256 })
}

/// Replaces a file's content.
pub(super) fn replace(path: &Path, bytes: &[u8], executable: bool) -> Result<TreeFile, Error> {
    fs::write(path, bytes).map_err(Error::file("write", path))?;
    set_mode(path, executable)?;
    Ok(TreeFile { executable, size: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) })
}

/// Gives directories the mode they have in the image.
pub(super) fn open_directories(tree: &Path) -> Result<(), Error> {
    for entry in walkdir::WalkDir::new(tree) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(tree).to_owned();
            Error::File { action: "read directory", path, source: error.into() }
        })?;
        if entry.file_type().is_dir() {
            set_mode(entry.path(), true)?;
        }
    }
    Ok(())
}

/// The text a script gets instead of its own.
fn own_script(path: &Path, declared: Option<&String>, python: &str) -> Result<Option<Vec<u8>>, Error> {
    if let Some(text) = declared {
        return Ok(Some(text.clone().into_bytes()));
    }
    let bytes = fs::read(path).map_err(Error::file("read", path))?;
    Ok(scripts::with_python(&bytes, python))
}

/// A distribution may not replace what makes the environment one.
fn refuse_own_names(place: &str, python: PythonVersion, package: &LockedPackage) -> Result<(), Error> {
    let own = ["pyvenv.cfg", "bin/python", "bin/python3", &format!("bin/{}", python.executable())];
    if !own.contains(&place) {
        return Ok(());
    }
    Err(Error::HostileWheel {
        wheel: package.wheel.clone(),
        entry: place.to_owned(),
        reason: "which would replace the environment's own interpreter",
    })
}

fn is_dropped(place: &str, dist_info: &str) -> bool {
    let metadata = place.strip_prefix(dist_info).and_then(|rest| rest.strip_prefix('/'));
    // Shipped bytecode is of another compiler and checked against times that trees do not keep.
    place.contains("/__pycache__/")
        || metadata.is_some_and(|name| DROPPED.contains(&name) || name == "RECORD" || name == "INSTALLER")
}

fn set_mode(path: &Path, executable: bool) -> Result<(), Error> {
    let mode = if executable { 0o755 } else { 0o644 };
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Error::file("set mode of", path))
}

fn hash_file(path: &Path) -> io::Result<(String, u64)> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hex(&hasher.finalize()), size));
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

/// Only given what [`hex`] wrote; a digit that is none counts as zero.
fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0)
        })
        .collect()
}

/// Paths here come from UTF-8 text, see `split`.
fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
