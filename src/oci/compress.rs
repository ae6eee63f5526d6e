//! Layer compression: which forms there are, and whether one would gain anything.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use flate2::Compression as GzipLevel;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::blob::Blob;

/// Level of gzip. Level 1 packs at 215 MB/s a core for a third more bytes than level 6, which does 73 MB/s; it is part
/// of every plan key by way of [`RECIPE`].
const GZIP_LEVEL: u32 = 1;
/// Level of zstd: level 3 packs a tenth smaller than gzip's best at several times its speed.
const ZSTD_LEVEL: i32 = 3;
/// Names the implementations and levels above; changes whenever the compressed bytes may.
pub const RECIPE: &str = "gzip=zlib-rs/1 zstd=zstd/3";
/// Windows that are tried to see whether compression gains anything, and their size.
const SAMPLES: u64 = 16;
const SAMPLE_SIZE: u64 = 64 * 1024;
/// Compression that gains less than a twentieth is not worth its time.
const WORTHWHILE: (u64, u64) = (95, 100);

/// How the bytes of a layer are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// A plain tar: its digest is its diff ID.
    None,
    /// Understood by every engine and registry.
    Gzip,
    /// Smaller and faster, refused by engines before Docker 23.
    Zstd,
}

/// How a layer's bytes are to be kept until they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// In the cache, in that form.
    Kept(Compression),
    /// A plain tar that is made of its contents each time it is read.
    Virtual,
    /// In the cache, in that form, if that gains anything; else virtual.
    IfWorthwhile(Compression),
}

/// A word is not the name of a compression.
#[derive(Debug, Error)]
#[error("`{text}` is not a compression: choose `gzip`, `zstd` or `none`")]
pub struct ParseCompressionError {
    /// The word as it was given.
    pub text: String,
}

impl Compression {
    /// The media type of a layer so stored (image-spec, media-types.md).
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// The compression that a layer's media type names, Docker's types included.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
                Some(Self::None)
            }
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Some(Self::Gzip),
            "application/vnd.oci.image.layer.v1.tar+zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Tells the compression of a stream from its first bytes.
    pub fn sniff(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// Copies `from` to `to`, compressed; the bytes depend on the input alone.
    pub fn compress(self, mut from: impl Read, to: impl Write) -> io::Result<()> {
        match self {
            Self::None => copy(&mut from, to).map(drop),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(to, GzipLevel::new(GZIP_LEVEL));
                copy(&mut from, &mut encoder)?;
                encoder.finish()?.flush()
            }
            Self::Zstd => {
                let mut encoder = zstd::stream::Encoder::new(to, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                copy(&mut from, &mut encoder)?;
                encoder.finish()?.flush()
            }
        }
    }

    /// Reads the uncompressed bytes of a stream so stored.
    pub fn decompress<'a>(self, from: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(from),
            Self::Gzip => Box::new(MultiGzDecoder::new(from)),
            Self::Zstd => Box::new(zstd::stream::Decoder::new(from)?),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, ParseCompressionError> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(ParseCompressionError { text: text.to_owned() }),
        }
    }
}

/// Whether compressing `blob` would save a twentieth or more, judged by windows spread evenly over it.
pub fn is_worthwhile(blob: &dyn Blob) -> io::Result<bool> {
    let (mut plain, mut packed) = (0, 0);
    let windows = SAMPLES.min(blob.size().div_ceil(SAMPLE_SIZE)).max(1);
    for window in 0..windows {
        let mut sample = Vec::new();
        let offset = blob.size() / windows * window;
        blob.open_at(offset)?.take(SAMPLE_SIZE).read_to_end(&mut sample)?;
        let mut output = Vec::new();
        Compression::Gzip.compress(&sample[..], &mut output)?;
        plain += sample.len() as u64;
        packed += output.len() as u64;
    }
    Ok(packed * WORTHWHILE.1 < plain * WORTHWHILE.0)
}

/// Copies everything with a buffer that keeps system calls rare; returns the number of bytes.
pub fn copy(from: &mut impl Read, mut to: impl Write) -> io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return to.flush().map(|()| total),
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::blob::BytesBlob;
    use bytes::Bytes;

    /// Bytes that no compressor can shrink: a multiplicative generator, the same each time.
    fn noise(size: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        std::iter::repeat_with(&mut next).flatten().take(size).collect()
    }

    #[test]
    fn each_form_gives_the_bytes_back_and_is_recognised() {
        let bytes = [noise(100_000), vec![0; 100_000]].concat();
        for form in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut packed = Vec::new();
            form.compress(&bytes[..], &mut packed).unwrap();
            let mut again = Vec::new();
            form.compress(&bytes[..], &mut again).unwrap();
            assert!(packed == again, "{form}: the same input gives the same bytes");
            assert_eq!(Compression::sniff(&packed), form);
            assert_eq!(Compression::of_media_type(form.media_type()), Some(form));
            let mut unpacked = Vec::new();
            form.decompress(&packed[..]).unwrap().read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == bytes, "{form}: nothing is lost");
        }
    }

    #[test]
    fn gzip_has_no_time_name_or_system_in_its_header() {
        let mut packed = Vec::new();
        Compression::Gzip.compress(&b"x"[..], &mut packed).unwrap();
        assert_eq!(packed[3..8], [0; 5], "no flags, time zero");
        assert_eq!(packed[9], 255, "unknown operating system");
    }

    #[test]
    fn noise_is_stored_and_text_is_compressed() {
        let text = "weights ".repeat(100_000);
        assert!(!is_worthwhile(&BytesBlob(Bytes::from(noise(3_000_000)))).unwrap());
        assert!(is_worthwhile(&BytesBlob(Bytes::from(text))).unwrap());
    }
}
