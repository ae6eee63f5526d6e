//! Which base the image of a bento has where the user names none.

use thiserror::Error;

use crate::debian;
use crate::oci::reference::{ParseReferenceError, without_credentials};
use crate::store::ImageInfo;
use crate::transport::TransportName;

/// Repository of the images that the original tool bases its own on.
const PYTHON_REPOSITORY: &str = "python";

/// A bento names a base that is no image.
#[derive(Debug, Error)]
#[error("`{text}` cannot be the name of a base image")]
pub struct BaseImageError {
    /// The name.
    pub text: String,
    /// Why.
    #[source]
    pub source: ParseReferenceError,
}

/// The bento's base: the one that it names; else Debian's where that has the wanted Python; else the official image.
pub(super) fn choose(described: &ImageInfo) -> Result<TransportName, BaseImageError> {
    let python = &described.python_version;
    let default = format!("{PYTHON_REPOSITORY}:{python}-slim");
    let named = Some(described.base_image.as_str()).filter(|image| !image.is_empty() && *image != default);
    if let (None, Some(suite)) = (named, debian::suite_of_python(python)) {
        return Ok(TransportName::Debian { suite: suite.to_owned() });
    }
    let text = named.unwrap_or(&default);
    if let Ok(name) = text.parse() {
        return Ok(name);
    }
    let explain = |source| BaseImageError { text: without_credentials(text), source };
    Ok(TransportName::Registry(text.parse().map_err(explain)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(base_image: &str, python: &str) -> Result<String, BaseImageError> {
        let described = ImageInfo {
            base_image: base_image.to_owned(),
            python_version: python.to_owned(),
            commands: Vec::new(),
            python_requirements: String::new(),
            post_commands: Vec::new(),
            build_include: Vec::new(),
        };
        choose(&described).map(|name| name.to_string())
    }

    #[test]
    fn debian_is_chosen_where_it_has_the_python_and_nothing_else_is_named() {
        for (base_image, python, name) in [
            ("python:3.11-slim", "3.11", "debian:bookworm"),
            ("", "3.13", "debian:trixie"),
            ("debian:bookworm", "3.11", "debian:bookworm"),
            ("python:3.12-slim", "3.12", "docker://docker.io/library/python:3.12-slim"),
            ("oci:base", "3.11", "oci:base"),
            ("me/base:1", "3.11", "docker://docker.io/me/base:1"),
        ] {
            assert_eq!(chosen(base_image, python).unwrap(), name);
        }
        let error = chosen("me:pw@host/ Base", "3.11").unwrap_err();
        assert!(error.to_string().ends_with("cannot be the name of a base image"), "{error}");
    }
}
