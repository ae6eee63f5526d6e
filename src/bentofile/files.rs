//! The files that a build configuration names.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::error::Error;
use super::places::Places;
use super::{Bentofile, Description};
use crate::text;

impl Bentofile {
    /// Makes sure, before any work, that the files it names can be read.
    ///
    /// # Errors
    /// The first that cannot, with the place where it is named.
    pub fn check_files(&self, context: &Path) -> Result<(), Error> {
        let files = Files { context, places: &self.places };
        if let Some(Description::File(path)) = &self.description {
            files.check("description", path)?;
        }
        let named = [
            ("python.requirements_txt", &self.python.requirements_txt),
            ("docker.setup_script", &self.docker.setup_script),
        ];
        named.into_iter().try_for_each(|(key, path)| match path {
            Some(path) => files.check(key, path.as_ref()),
            None => Ok(()),
        })
    }
}

/// Where the files are that a build configuration names, and where it names them.
pub(super) struct Files<'a> {
    pub(super) context: &'a Path,
    pub(super) places: &'a Places,
}

impl Files<'_> {
    fn check(&self, key: &str, path: &Path) -> Result<(), Error> {
        let named = self.context.join(path);
        let is_file = |metadata: fs::Metadata| {
            let other = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a file");
            if metadata.is_file() { Ok(()) } else { Err(other()) }
        };
        // Looked at first: opening a pipe would wait for somebody to write to it.
        let checked = fs::metadata(&named).and_then(is_file).and_then(|()| File::open(named));
        checked.map(drop).map_err(|source| self.unreadable(key, path, source))
    }

    /// The text of the file that a key names.
    pub(super) fn read(&self, key: &str, path: &Path) -> Result<String, Error> {
        text::read(&self.context.join(path)).map_err(|error| self.unreadable(key, path, error.into_io()))
    }

    fn unreadable(&self, key: &str, path: &Path, source: io::Error) -> Error {
        Error::NamedFile { place: self.places.of(key), key: key.to_owned(), path: path.to_owned(), source }
    }
}
