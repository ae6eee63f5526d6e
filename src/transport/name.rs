//! The table of transports: `scheme:reference`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::oci::reference::{ParseReferenceError, Reference, without_credentials};

/// A place that an image can be read from or written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportName {
    /// `scratch`: the image without layers; a base only.
    Scratch,
    /// `debian:SUITE`: a minimal system assembled from Debian packages; a base only.
    Debian {
        /// Name of the release, such as `bookworm`.
        suite: String,
    },
    /// `docker://HOST/REPOSITORY:TAG`: a registry.
    Registry(Reference),
    /// `docker-daemon:NAME:TAG`: a local engine.
    Engine(Reference),
    /// `oci:DIRECTORY[:REF]`: an image layout.
    Layout {
        /// The directory.
        path: PathBuf,
        /// The image's name in the layout's index.
        name: Option<String>,
    },
    /// `oci-archive:FILE[:REF]`: an image layout in a tar, which `docker load` takes too.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// The image's name in the layout's index.
        name: Option<String>,
    },
    /// `docker-archive:FILE[:REF]`: what `docker save` writes.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// The image's name in the archive.
        name: Option<Reference>,
    },
}

/// A text does not name a place for images.
#[derive(Debug, Error)]
pub enum ParseNameError {
    /// The part before the first colon is no scheme of ours.
    #[error("`{text}` does not begin with a known scheme")]
    Scheme {
        /// The text as given.
        text: String,
    },
    /// Nothing follows the scheme.
    #[error("`{text}` names no {wanted}")]
    Empty {
        /// The text as given.
        text: String,
        /// What should follow.
        wanted: &'static str,
    },
    /// The reference cannot be understood.
    #[error("`{text}` does not name an image")]
    Reference {
        /// The text as given.
        text: String,
        /// Why.
        #[source]
        source: ParseReferenceError,
    },
}

/// The schemes, for messages and help pages.
pub const SCHEMES: [&str; 7] =
    ["docker://", "docker-daemon:", "oci:", "oci-archive:", "docker-archive:", "debian:", "scratch"];

impl TransportName {
    /// The name that it gives the image, in the form that engines show.
    pub fn image_name(&self) -> Option<String> {
        let name = match self {
            Self::Scratch | Self::Debian { .. } => return None,
            Self::Registry(reference) | Self::Engine(reference) => return Some(familiar(reference)),
            Self::DockerArchive { name, .. } => return name.as_ref().map(familiar),
            Self::Layout { name, .. } | Self::OciArchive { name, .. } => name.as_ref()?,
        };
        Some(name.parse().map_or_else(|_| name.clone(), |reference| familiar(&reference)))
    }
}

impl FromStr for TransportName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        if text == "scratch" {
            return Ok(Self::Scratch);
        }
        let unknown = || ParseNameError::Scheme { text: without_credentials(text) };
        let (scheme, rest) = text.split_once(':').ok_or_else(unknown)?;
        let image = |name: &str| {
            name.parse()
                .map_err(|source| ParseNameError::Reference { text: without_credentials(text), source })
        };
        let filled = |wanted| match rest.trim_start_matches("//") {
            "" => Err(ParseNameError::Empty { text: without_credentials(text), wanted }),
            _ => Ok(rest),
        };
        match scheme {
            "docker" => image(filled("image")?.strip_prefix("//").ok_or_else(unknown)?).map(Self::Registry),
            "docker-daemon" => image(filled("image")?).map(Self::Engine),
            "debian" => Ok(Self::Debian { suite: filled("release")?.to_owned() }),
            "oci" => {
                let (path, name) = path_and_name(filled("directory")?);
                Ok(Self::Layout { path, name })
            }
            "oci-archive" => {
                let (path, name) = path_and_name(filled("file")?);
                Ok(Self::OciArchive { path, name })
            }
            "docker-archive" => {
                let (path, name) = path_and_name(filled("file")?);
                Ok(Self::DockerArchive { path, name: name.as_deref().map(image).transpose()? })
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for TransportName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |formatter: &mut fmt::Formatter<'_>, scheme, path: &PathBuf, name: &Option<String>| {
            write!(formatter, "{scheme}:{}", path.display())?;
            name.iter().try_for_each(|name| write!(formatter, ":{name}"))
        };
        match self {
            Self::Scratch => formatter.write_str("scratch"),
            Self::Debian { suite } => write!(formatter, "debian:{suite}"),
            Self::Registry(reference) => write!(formatter, "docker://{reference}"),
            Self::Engine(reference) => write!(formatter, "docker-daemon:{}", familiar(reference)),
            Self::Layout { path, name } => named(formatter, "oci", path, name),
            Self::OciArchive { path, name } => named(formatter, "oci-archive", path, name),
            Self::DockerArchive { path, name } => {
                named(formatter, "docker-archive", path, &name.as_ref().map(familiar))
            }
        }
    }
}

/// The short form in which engines show a reference: without Docker Hub's host and `library`.
pub fn familiar(reference: &Reference) -> String {
    let full = reference.to_string();
    let short = full.strip_prefix("docker.io/").unwrap_or(&full);
    short.strip_prefix("library/").unwrap_or(short).to_owned()
}

/// Splits `PATH[:NAME]`; a path keeps a colon that is followed by a slash.
fn path_and_name(text: &str) -> (PathBuf, Option<String>) {
    match text.split_once(':') {
        Some((path, name)) if !name.is_empty() && !name.starts_with('/') => {
            (path.into(), Some(name.to_owned()))
        }
        Some((path, "")) => (path.into(), None),
        _ => (text.into(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_is_parsed_and_shown() {
        for text in [
            "scratch",
            "debian:bookworm",
            "docker://127.0.0.1:5000/a/b:1",
            "docker-daemon:iris:1",
            "oci:some/dir",
            "oci:/dir:name:tag",
            "oci-archive:x.tar:name",
            "docker-archive:/x.tar",
            "docker-archive:/x.tar:iris:1",
        ] {
            assert_eq!(text.parse::<TransportName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_destination_names_the_image_or_leaves_it_to_others() {
        for (text, name) in [
            ("docker://docker.io/library/iris:1", Some("iris:1")),
            ("docker-daemon:iris", Some("iris:latest")),
            ("oci:dir:docker.io/library/iris:1", Some("iris:1")),
            ("oci:dir:Not A Reference", Some("Not A Reference")),
            ("docker-archive:x.tar:iris", Some("iris:latest")),
            ("oci-archive:x.tar", None),
            ("scratch", None),
        ] {
            assert_eq!(text.parse::<TransportName>().unwrap().image_name().as_deref(), name, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "iris", "docker:iris", "docker://", "oci:", "ftp:x", "docker-daemon:A B", "debian:"]
        {
            assert!(text.parse::<TransportName>().is_err(), "{text}");
        }
    }
}
