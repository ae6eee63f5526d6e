//! The forms of archives.

use std::fmt;

/// How an archive is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A tar in xz, in blocks: what `.bento` and `.bentomodel` are, too.
    Xz,
    /// A tar in gzip.
    Gzip,
    /// A tar in bzip2.
    Bzip2,
    /// A tar in zstd.
    Zstd,
    /// A plain tar.
    Tar,
    /// A zip.
    Zip,
}

/// What each form begins with; a tar has its mark further behind, or none.
const MAGICS: [(&[u8], Format); 6] = [
    (b"\xfd7zXZ\0", Format::Xz),
    (b"\x1f\x8b", Format::Gzip),
    (b"BZh", Format::Bzip2),
    (b"\x28\xb5\x2f\xfd", Format::Zstd),
    (b"PK\x03\x04", Format::Zip),
    // A zip with nothing in it.
    (b"PK\x05\x06", Format::Zip),
];

impl Format {
    /// The form that the last extension of a file name asks for; none asks for the native one.
    pub fn of_name(name: &str) -> Option<Self> {
        let (stem, extension) = name.rsplit('/').next().unwrap_or(name).rsplit_once('.')?;
        // `.tar` alone is a name, not an extension.
        if stem.is_empty() {
            return None;
        }
        Some(match extension {
            "xz" => Self::Xz,
            "gz" => Self::Gzip,
            "bz2" => Self::Bzip2,
            "zst" => Self::Zstd,
            "tar" => Self::Tar,
            "zip" => Self::Zip,
            _ => return None,
        })
    }

    /// The form that bytes from the beginning of an archive show; 512 of them are enough.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let by_magic = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic));
        by_magic.map(|(_, format)| *format).or_else(|| super::tar_read::is_header(bytes).then_some(Self::Tar))
    }

    /// What file names of this form end in.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Xz => "tar.xz",
            Self::Gzip => "tar.gz",
            Self::Bzip2 => "tar.bz2",
            Self::Zstd => "tar.zst",
            Self::Tar => "tar",
            Self::Zip => "zip",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xz => "xz",
            Self::Gzip => "gz",
            Self::Bzip2 => "bz2",
            Self::Zstd => "zst",
            Self::Tar => "tar",
            Self::Zip => "zip",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_extension_counts() {
        for (name, format) in [
            ("a/x.tar.gz", Some(Format::Gzip)),
            ("x.gz", Some(Format::Gzip)),
            ("x.zip", Some(Format::Zip)),
            ("x.tar.zst", Some(Format::Zstd)),
            ("x.tgz", None),
            ("x.bento", None),
            ("dir.zip/x", None),
            (".tar", None),
        ] {
            assert_eq!(Format::of_name(name), format, "{name}");
        }
    }
}
