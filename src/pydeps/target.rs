//! The Python and machine that wheels are chosen for.

use std::fmt;
use std::str::FromStr;

use super::error::Error;
use crate::oci::platform::Platform;

/// glibc minor versions that uv knows a manylinux platform for, ascending.
const MANYLINUX: [u8; 12] = [17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40];

/// glibc 2.28: older than that of every Debian release with a supported Python, and the newest level that
/// most projects publish wheels for.
const DEFAULT_GLIBC: u8 = 28;

/// A feature release of Python, such as 3.11.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PythonVersion {
    major: u8,
    minor: u8,
}

impl PythonVersion {
    /// Names a release.
    pub const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor }
    }

    /// The name of the interpreter, such as `python3.11`.
    pub fn executable(self) -> String {
        format!("python{self}")
    }

    /// The tag in the names of bytecode files, such as `cpython-311`.
    pub fn cache_tag(self) -> String {
        format!("cpython-{}{}", self.major, self.minor)
    }

    /// Where packages are, relative to the root of an environment.
    pub fn site_packages(self) -> String {
        format!("lib/python{self}/site-packages")
    }

    /// The major number alone, as in `python3`.
    pub fn major(self) -> u8 {
        self.major
    }
}

impl FromStr for PythonVersion {
    type Err = Error;

    /// Accepts `3.11` and `3.11.9`; the patch level is no part of a feature release.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let parts: Vec<u8> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
            match parts[..] {
                [major, minor] | [major, minor, _] => Some(Self { major, minor }),
                _ => None,
            }
        };
        parse().ok_or_else(|| Error::PythonVersion { given: text.to_owned() })
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// A processor architecture of Linux images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// `linux/amd64`
    Amd64,
    /// `linux/arm64`
    Arm64,
}

impl Architecture {
    /// The machine this program runs on, when images are made for its kind.
    pub const fn host() -> Option<Self> {
        if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            Some(Self::Amd64)
        } else if cfg!(all(target_os = "linux", target_arch = "aarch64")) {
            Some(Self::Arm64)
        } else {
            None
        }
    }

    /// The kernel's name, as in platform tags.
    pub const fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }
}

impl FromStr for Architecture {
    type Err = Error;

    /// Reads an image platform, such as `linux/amd64` or `linux/arm64/v8`.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "linux/amd64" => Ok(Self::Amd64),
            "linux/arm64" | "linux/arm64/v8" => Ok(Self::Arm64),
            _ => Err(Error::Platform { given: text.to_owned() }),
        }
    }
}

impl TryFrom<&Platform> for Architecture {
    type Error = Error;

    fn try_from(platform: &Platform) -> Result<Self, Error> {
        platform.to_string().parse()
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Amd64 => "linux/amd64",
            Self::Arm64 => "linux/arm64",
        })
    }
}

/// What wheels must run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The image's Python.
    pub python: PythonVersion,
    /// The image's architecture.
    pub architecture: Architecture,
    glibc: u8,
}

impl Target {
    /// A target with the default C library level.
    pub const fn new(python: PythonVersion, architecture: Architecture) -> Self {
        Self { python, architecture, glibc: DEFAULT_GLIBC }
    }

    /// Allows wheels that need the image's glibc 2.`minor`, rounded down to a level uv knows.
    #[must_use]
    pub fn with_glibc(mut self, minor: u8) -> Self {
        let fitting = MANYLINUX.iter().rev().find(|level| **level <= minor);
        self.glibc = *fitting.unwrap_or(&MANYLINUX[0]);
        self
    }

    /// uv's name of the platform, such as `x86_64-manylinux_2_28`.
    pub fn uv_platform(&self) -> String {
        format!("{}-manylinux_2_{}", self.architecture.machine(), self.glibc)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Python {} on {}", self.python, self.uv_platform())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_written() {
        for (given, shown) in [("3.11", "3.11"), ("3.9.18", "3.9"), ("3.14", "3.14")] {
            assert_eq!(given.parse::<PythonVersion>().unwrap().to_string(), shown);
        }
        for given in ["", "3", "three.ten", "3.11.", "3.11.2.1", "3.300", "-3.1"] {
            let error = given.parse::<PythonVersion>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{given}` is not a Python version like `3.11`"));
        }
        assert_eq!(PythonVersion::new(3, 9).cache_tag(), "cpython-39");
    }

    #[test]
    fn platforms_become_uv_names() {
        let target = Target::new(PythonVersion::new(3, 11), "linux/arm64/v8".parse().unwrap());
        assert_eq!(target.uv_platform(), "aarch64-manylinux_2_28");
        assert_eq!(target.with_glibc(30).uv_platform(), "aarch64-manylinux_2_28");
        assert_eq!(target.with_glibc(36).uv_platform(), "aarch64-manylinux_2_36");
        assert_eq!(target.with_glibc(5).uv_platform(), "aarch64-manylinux_2_17");
        assert_eq!(Architecture::try_from(&Platform::linux("amd64")).unwrap(), Architecture::Amd64);
        assert!("linux/s390x".parse::<Architecture>().is_err());
    }
}
