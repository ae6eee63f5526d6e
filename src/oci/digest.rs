//! Content digests: SHA-256 of bytes, and of a layer's uncompressed bytes.

mod pair;

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use pair::PairHasher;

/// Bytes read at a time when hashing a stream: large enough to hide the cost of a call, small enough for the cache.
const CHUNK: usize = 256 * 1024;

/// The SHA-256 digest of some bytes, written `sha256:<64 hex digits>` (image-spec, Digests).
///
/// Made by hashing or by parsing only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// A text is not a digest that ekiben can use.
#[derive(Debug, Error)]
#[error("`{text}` is not a digest of the form `sha256:<64 hex digits>`")]
pub struct ParseDigestError {
    /// The text as it was given.
    pub text: String,
}

impl Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Hashes everything that `reader` gives; returns the digest and the number of bytes.
    pub fn of_reader(mut reader: impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = Hasher::new(io::sink());
        let mut buffer = vec![0; CHUNK];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(hasher.finish().0),
                count => hasher.write_all(&buffer[..count])?,
            }
        }
    }

    /// The 64 hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string never fails");
            text
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let refuse = || ParseDigestError { text: text.to_owned() };
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64).ok_or_else(refuse)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().as_chunks::<2>().0) {
            let (high, low) = (nibble(pair[0]), nibble(pair[1]));
            *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(refuse)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl From<Digest> for oci_spec::image::Digest {
    fn from(digest: Digest) -> Self {
        digest.to_string().parse().expect("a SHA-256 digest is a digest")
    }
}

impl TryFrom<&oci_spec::image::Digest> for Digest {
    type Error = ParseDigestError;

    fn try_from(digest: &oci_spec::image::Digest) -> Result<Self, ParseDigestError> {
        digest.to_string().parse()
    }
}

/// The digest of a layer's *uncompressed* tar (image-spec, Layer `DiffID`): never to be mixed with its blob's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A writer that hashes and counts what passes through it.
pub struct Hasher<W> {
    hash: Sha256,
    size: u64,
    inner: W,
}

impl<W> Hasher<W> {
    /// Hashes what is written, then writes it to `inner`.
    pub fn new(inner: W) -> Self {
        Self { hash: Sha256::new(), size: 0, inner }
    }

    /// The digest and number of the bytes written, and the writer beneath.
    pub fn finish(self) -> ((Digest, u64), W) {
        ((Digest(self.hash.finalize().into()), self.size), self.inner)
    }
}

impl Hasher<io::Sink> {
    /// The digest and number of the bytes written.
    pub fn digest(self) -> (Digest, u64) {
        self.finish().0
    }
}

impl<W: Write> Write for Hasher<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn hashing_and_parsing_agree() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
        assert_eq!(Digest::of_reader(&b"abc"[..]).unwrap(), (Digest::of(b"abc"), 3));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "sha256:", &EMPTY[..70], &EMPTY.replace("sha256", "sha512"), &EMPTY.to_uppercase()] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
