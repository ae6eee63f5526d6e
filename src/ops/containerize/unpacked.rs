//! Debian packages as files, and the Python among them.

use super::Context;
use super::error::ContainerizeError;
use crate::debian::{self, Bytecode, Lock, Options, Root, User};
use crate::fs::{Scratch, StagedDirectory};
use crate::oci::tree::Tree;
use crate::plan::{HOME, USER_ID, USER_NAME};
use crate::pydeps::{Architecture, Interpreter, PythonVersion};

/// The files of Debian packages, which are there as long as this is.
pub(super) struct Unpacked {
    /// The files, placed as in the image.
    pub(super) tree: Tree,
    /// Where the large ones are.
    _scratch: Scratch,
}

/// What a base of its own is: a system with the service's user.
pub(super) fn own_root() -> Root {
    Root::Own {
        user: Some(User {
            name: USER_NAME.to_owned(),
            uid: USER_ID,
            gid: USER_ID,
            home: HOME.trim_start_matches('/').to_owned(),
        }),
    }
}

/// Fetches the packages of a lock and unpacks them.
pub(super) fn unpack(lock: &Lock, root: Root, context: &Context) -> Result<Unpacked, ContainerizeError> {
    let archive = context.debian_archive()?;
    let packages = context.debian_cache().fetch(lock, archive.as_ref(), context.watch())?;
    let scratch = context.cache.scratch()?;
    let bytecode = matches!(root, Root::Own { .. }).then(Bytecode::default);
    let tree =
        debian::assemble(lock, &packages, scratch.path(), &Options { root, bytecode }, context.watch())?;
    Ok(Unpacked { tree, _scratch: scratch })
}

/// The Python of a base, run outside of it with its own loader and libraries: bytecode differs between patch releases,
/// so the image's own compiler makes the same bytes on every machine. With it the base's files, if they had to be
/// unpacked now. A base for another processor has none that runs here.
pub(super) fn interpreter(
    lock: &Lock,
    python: PythonVersion,
    context: &Context,
) -> Result<(Option<Interpreter>, Option<Unpacked>), ContainerizeError> {
    let architecture = match lock.architecture {
        debian::Architecture::Amd64 => Architecture::Amd64,
        debian::Architecture::Arm64 => Architecture::Arm64,
    };
    if Architecture::host() != Some(architecture) {
        return Ok((None, None));
    }
    let directory = context.cache.root().join("interpreters").join(lock.digest().hex());
    let mut unpacked = None;
    if !directory.exists() {
        let files = unpack(lock, own_root(), context)?;
        let staged = StagedDirectory::beside(&directory)?;
        debian::lay_out_python(&files.tree, lock.architecture, staged.path())?;
        unpacked = Some(files);
        match staged.publish() {
            // Another process was faster: its files are the same.
            Err(_) if directory.exists() => {}
            published => published?,
        }
    }
    let interpreter = Interpreter::in_tree(&directory, python, architecture, &context.python_host())?;
    Ok((Some(interpreter), unpacked))
}
