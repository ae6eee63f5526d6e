//! The programs that every image gets: the static `ekiben-serve`, and the Python SDK that is part of this binary.

use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};

use super::error::ResolveError;
use crate::fs::{self, FsError};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;

/// The SDK's sources, as they are in `site-packages`.
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/python/src");
/// Offsets of the ELF header's fields (System V ABI, ELF header, 64-bit).
const ELF_MACHINE: usize = 18;
const ELF_PROGRAM_HEADERS: usize = 32;
const ELF_PROGRAM_HEADER_SIZE: usize = 54;
const ELF_PROGRAM_HEADER_COUNT: usize = 56;
/// The program header that names a dynamic linker.
const PT_INTERP: u32 = 3;

/// The `ekiben-serve` that goes into images.
#[derive(Clone, Debug)]
pub struct Server {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// Digest of its bytes.
    pub digest: Digest,
}

impl Server {
    /// Finds the program for a platform: beside this one as `ekiben-serve-ARCH`, or as `ekiben-serve` for the
    /// platform that this one runs on. It must be static, for an image may have any C library.
    pub fn find(own_directory: &Path, platform: &Platform) -> Result<Self, ResolveError> {
        let named = own_directory.join(format!("ekiben-serve-{}", platform.architecture));
        let path = if named.exists() { named } else { own_directory.join("ekiben-serve") };
        let bytes = fs::read_if_present(&path)?
            .ok_or_else(|| ResolveError::NoServer { path: path.clone(), platform: platform.to_string() })?;
        match refusal(&bytes, platform) {
            Some(reason) => Err(ResolveError::BadServer { path, reason }),
            None => Ok(Self { path, size: bytes.len() as u64, digest: Digest::of(&bytes) }),
        }
    }
}

/// Why a program does not run in every image of the platform, if so.
fn refusal(program: &[u8], platform: &Platform) -> Option<String> {
    let wanted = match platform.architecture.as_str() {
        "amd64" => 62,
        "arm64" => 183,
        _ => return Some(format!("ekiben does not know programs for `{platform}`")),
    };
    if !program.starts_with(b"\x7fELF\x02\x01") || program.len() < 64 {
        return Some("it is not a 64-bit ELF program".to_owned());
    }
    let number = |offset: usize, size: usize| {
        let bytes = program.get(offset..offset + size)?;
        Some(bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)))
    };
    if number(ELF_MACHINE, 2) != Some(wanted) {
        return Some(format!("it is for another processor than that of `{platform}`"));
    }
    let start = number(ELF_PROGRAM_HEADERS, 8)?;
    let (size, count) = (number(ELF_PROGRAM_HEADER_SIZE, 2)?, number(ELF_PROGRAM_HEADER_COUNT, 2)?);
    let kind = |index: u64| number(usize::try_from(start + index * size).ok()?, 4);
    let is_dynamic = (0..count).any(|index| kind(index) == Some(PT_INTERP.into()));
    is_dynamic.then(|| {
        "it is not linked statically, so it needs a C library that the image may not have".to_owned()
    })
}

/// The SDK's files by path relative to `site-packages`, sorted.
pub fn sdk_files() -> Vec<(String, &'static [u8])> {
    let mut files = Vec::new();
    collect(&SDK, &mut files);
    files.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    files
}

fn collect(directory: &'static Dir<'_>, files: &mut Vec<(String, &'static [u8])>) {
    for entry in directory.entries() {
        match entry {
            DirEntry::Dir(directory) => collect(directory, files),
            DirEntry::File(file) => {
                let path = file.path().to_string_lossy().into_owned();
                let is_source = !path.contains("__pycache__") && !path.contains(".egg-info");
                if is_source {
                    files.push((path, file.contents()));
                }
            }
        }
    }
}

/// Digest of the SDK's files and their names.
pub fn sdk_digest() -> Digest {
    let mut all = Vec::new();
    for (path, contents) in sdk_files() {
        all.extend_from_slice(format!("{path}\n{}\n", Digest::of(contents)).as_bytes());
    }
    Digest::of(&all)
}

/// Writes the SDK's files below `directory`.
pub fn write_sdk(directory: &Path) -> Result<(), FsError> {
    for (path, contents) in sdk_files() {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, contents).map_err(FsError::of("write", &path))?;
    }
    Ok(())
}

/// Writes the SDK's files below a directory of their own in `directory`, once: for workers on this machine, which find it by `PYTHONPATH`.
pub fn unpack_sdk(directory: &Path) -> Result<PathBuf, FsError> {
    let target = directory.join(sdk_digest().hex());
    if target.exists() {
        return Ok(target);
    }
    let staged = fs::StagedDirectory::beside(&target)?;
    write_sdk(staged.path())?;
    match staged.publish() {
        // Another process was faster: its files are the same.
        Err(_) if target.exists() => Ok(target),
        published => published.map(|()| target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_static_programs_of_the_platform_are_taken() {
        let own = std::env::current_exe().unwrap();
        let program = std::fs::read(own).unwrap();
        assert_eq!(refusal(&program, &Platform::host()), None, "test binaries are linked like the product");
        let arm = Platform::linux("arm64");
        assert!(refusal(&program, &arm).unwrap().contains("another processor"));
        let python = std::fs::read("/usr/bin/env").unwrap();
        assert!(refusal(&python, &Platform::host()).unwrap().contains("not linked statically"));
        assert!(refusal(b"#!/bin/sh", &Platform::host()).unwrap().contains("not a 64-bit ELF"));
    }

    #[test]
    fn the_sdk_is_unpacked_once_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let first = unpack_sdk(directory.path()).unwrap();
        assert_eq!(unpack_sdk(directory.path()).unwrap(), first);
        for (path, contents) in sdk_files() {
            assert_eq!(std::fs::read(first.join(&path)).unwrap(), contents, "{path}");
        }
    }
}
