//! The operating system and processor that an image is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// `os/architecture[/variant]`, in the words of the image specification (`linux/amd64`, `linux/arm64`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system, `linux`.
    pub os: String,
    /// Processor architecture in Go's words: `amd64`, `arm64`.
    pub architecture: String,
    /// Architecture variant, such as `v8`, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A text does not name a platform.
#[derive(Debug, Error)]
#[error("`{text}` is not a platform of the form `os/architecture[/variant]`, such as `linux/amd64`")]
pub struct ParsePlatformError {
    /// The text as it was given.
    pub text: String,
}

impl Platform {
    /// Linux on the given architecture.
    pub fn linux(architecture: &str) -> Self {
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Linux on the architecture that ekiben itself was built for.
    pub fn host() -> Self {
        Self::linux(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        })
    }

    /// Whether an image for `other` runs here: same system and architecture, and the same variant where both name one.
    pub fn accepts(&self, other: &Self) -> bool {
        let same_variant = match (&self.variant, &other.variant) {
            (Some(wanted), Some(offered)) => wanted == offered,
            _ => true,
        };
        self.os == other.os && self.architecture == other.architecture && same_variant
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(formatter, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, ParsePlatformError> {
        let mut parts = text.split('/').map(str::to_owned);
        let (os, architecture, variant) = (parts.next(), parts.next(), parts.next());
        let is_word =
            |word: &String| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match (os, architecture, parts.next()) {
            (Some(os), Some(architecture), None)
                if is_word(&os) && is_word(&architecture) && variant.as_ref().is_none_or(is_word) =>
            {
                Ok(Self { os, architecture, variant })
            }
            _ => Err(ParsePlatformError { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_display_agree() {
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "linux/amd64/", "linux/arm/v7/x", "a b/c"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_missing_variant_accepts_any() {
        let arm: Platform = "linux/arm64".parse().unwrap();
        assert!(arm.accepts(&"linux/arm64/v8".parse().unwrap()));
        assert!(!arm.accepts(&"linux/amd64".parse().unwrap()));
    }
}
