//! Writing a bento: every file of its layout, prepared beside the store and then registered.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::error::BuildError;
use super::{Resolved, Settings, Surroundings, image, info, readme};
use crate::bentofile::{BENTOFILE, Description, SelectedFile, Selection};
use crate::discover;
use crate::oci::digest::Digest;
use crate::ops::image_lock::IMAGE_LOCK;
use crate::process::without_credentials;
use crate::report::Interrupt;
use crate::store::{Bento, ImageInfo, copy_file};
use crate::yaml::Value;

/// The README of a project, which becomes the bento's.
const README: &str = "README.md";

/// What the container starts; the same for every bento.
const ENTRYPOINT: &str = include_str!("../../../templates/bento/entrypoint.sh");

/// Where the user's files are in a bento.
const SOURCES: &str = "src";

pub(super) fn write(
    resolved: &Resolved,
    settings: &Settings,
    selection: &Selection,
    surroundings: &Surroundings<'_>,
) -> Result<Bento, BuildError> {
    let store = surroundings.home.bentos();
    let staging = store.stage(resolved.tag.name())?;
    let tree = BentoTree { root: staging.path().to_owned() };
    write_sources(&tree, resolved, selection, surroundings.interrupt)?;
    let readme = readme_text(resolved, settings)?;
    tree.file("README.md", &readme)?;
    let schema = resolved.discovery.schema();
    tree.file("apis/schema.json", format!("{schema:#}").as_bytes())?;
    let described = discover::openapi(resolved.discovery.entry(), &String::from_utf8_lossy(&readme));
    tree.file("apis/openapi.yaml", Value::from(described).sorted().to_yaml().as_bytes())?;
    write_python(&tree, resolved)?;
    tree.file(IMAGE_LOCK, &resolved.image_lock.to_json())?;
    let image = write_image(&tree, resolved, settings, selection)?;
    let info = info(resolved, settings, image, surroundings.now);
    tree.file("env/docker/Dockerfile", dockerfile(&info).as_bytes())?;
    tree.file("bento.yaml", info.to_document().to_yaml().as_bytes())?;
    tree.normalise_directories()?;
    surroundings.interrupt.check()?;
    Ok(store.register(staging)?)
}

fn dockerfile(info: &crate::store::BentoInfo) -> String {
    info.image.as_ref().map(|described| image::dockerfile(described, &info.envs)).unwrap_or_default()
}

/// The user's files, and the build configuration with everything filled in where the user has none.
fn write_sources(
    tree: &BentoTree,
    resolved: &Resolved,
    selection: &Selection,
    interrupt: &Interrupt,
) -> Result<(), BuildError> {
    let mut normalised = resolved.bentofile.clone();
    normalised.service = Some(resolved.discovery.target.clone());
    normalised.docker.python_version = Some(resolved.packages.version.to_string());
    if normalised.docker.base_image.is_none() {
        normalised.docker.distro.get_or_insert_with(|| "debian".to_owned());
    }
    let text = without_credentials(&normalised.to_document().to_yaml());
    tree.file(&format!("{SOURCES}/{BENTOFILE}"), text.as_bytes())?;
    for file in &selection.files {
        interrupt.check()?;
        // A bentofile with a password in it is not copied: the normalised one, which has none, stays.
        if file.path == BENTOFILE && has_credentials(&file.source) {
            continue;
        }
        let is_moved = resolved.bentofile.python.is_src_layout;
        let path = file.path.strip_prefix("src/").filter(|_| is_moved).unwrap_or(&file.path);
        tree.copy(&format!("{SOURCES}/{path}"), file)?;
    }
    Ok(())
}

/// Whether a text file has user and password in a URL.
fn has_credentials(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| without_credentials(&text) != text)
}

fn readme_text(resolved: &Resolved, settings: &Settings) -> Result<Vec<u8>, BuildError> {
    let entry = resolved.discovery.entry();
    let read = |path: PathBuf| fs::read(&path).map_err(|source| BuildError::Read { path, source });
    let default = settings.context.join(README);
    let text = match &resolved.bentofile.description {
        Some(Description::File(path)) => return read(settings.context.join(path)),
        Some(Description::Text(text)) => Some(text),
        None => entry.description.as_ref(),
    };
    match text {
        Some(text) => Ok(text.clone().into_bytes()),
        None if default.is_file() => read(default),
        None => Ok(readme::generated(entry, settings.version.as_deref()).into_bytes()),
    }
}

fn write_python(tree: &BentoTree, resolved: &Resolved) -> Result<(), BuildError> {
    let packages = &resolved.packages;
    tree.file("env/python/requirements.in", packages.wanted.as_bytes())?;
    tree.file("env/python/requirements.txt", packages.pinned.as_bytes())?;
    if let Some(locked) = &packages.locked {
        let lock = locked.to_pylock(&tree.root.join("env/python"));
        tree.file("env/python/pylock.toml", lock.as_bytes())?;
    }
    Ok(())
}

/// The entrypoint and the script that the image runs.
fn write_image(
    tree: &BentoTree,
    resolved: &Resolved,
    settings: &Settings,
    selection: &Selection,
) -> Result<ImageInfo, BuildError> {
    tree.executable("env/docker/entrypoint.sh", ENTRYPOINT.as_bytes())?;
    let docker = &resolved.bentofile.docker;
    let script = match &docker.setup_script {
        None => None,
        Some(script) => {
            let path = settings.context.join(script);
            let content = fs::read(&path).map_err(|source| BuildError::Read { path, source })?;
            let digest = Digest::of(&content).to_string();
            let hex = digest.rsplit(':').next().unwrap_or_default();
            let name = format!("env/docker/script__{}", &hex[..32.min(hex.len())]);
            tree.executable(&name, &content)?;
            Some(name)
        }
    };
    let packages = &resolved.packages;
    let mut described =
        image::describe(docker, &packages.version.to_string(), &packages.pinned, script.as_deref());
    let has_wheels = selection.files.iter().any(|file| file.path.starts_with("wheels/"));
    if has_wheels && packages.pinned.lines().any(|line| line.trim_start_matches("./").starts_with("wheels/"))
    {
        described.build_include.push("wheels".to_owned());
    }
    Ok(described)
}

/// A bento under preparation.
struct BentoTree {
    root: PathBuf,
}

impl BentoTree {
    fn file(&self, path: &str, content: &[u8]) -> Result<(), BuildError> {
        self.with_mode(path, content, 0o644)
    }

    fn executable(&self, path: &str, content: &[u8]) -> Result<(), BuildError> {
        self.with_mode(path, content, 0o755)
    }

    fn with_mode(&self, path: &str, content: &[u8], mode: u32) -> Result<(), BuildError> {
        let target = self.place(path)?;
        let written = fs::write(&target, content)
            .and_then(|()| fs::set_permissions(&target, Permissions::from_mode(mode)));
        written.map_err(|source| BuildError::Write { path: path.to_owned(), source })
    }

    /// Copies a file of the user's, or makes the same link.
    fn copy(&self, path: &str, file: &SelectedFile) -> Result<(), BuildError> {
        let target = self.place(path)?;
        let failed = |source: io::Error| BuildError::Write { path: path.to_owned(), source };
        // The user's own bentofile takes the place of the normalised one.
        match fs::remove_file(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        match &file.link {
            Some(link) => symlink(link, &target).map_err(failed),
            None => copy_file(&file.source, &target).map_err(failed),
        }
    }

    fn place(&self, path: &str) -> Result<PathBuf, BuildError> {
        let target = self.root.join(path);
        let parent = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(|source| BuildError::Write { path: path.to_owned(), source })?;
        Ok(target)
    }

    /// Gives every directory the same mode, whatever the user's umask is.
    fn normalise_directories(&self) -> Result<(), BuildError> {
        let relative = |path: &Path| path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        for entry in walkdir::WalkDir::new(&self.root) {
            let entry = entry.map_err(|error| BuildError::Write {
                path: error.path().map(relative).unwrap_or_default(),
                source: error.into(),
            })?;
            if entry.file_type().is_dir() {
                fs::set_permissions(entry.path(), Permissions::from_mode(0o755))
                    .map_err(|source| BuildError::Write { path: relative(entry.path()), source })?;
            }
        }
        Ok(())
    }
}
