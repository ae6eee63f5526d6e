//! Reading tars of every form: old, ustar, GNU, PAX. What follows a member's header is never taken on trust.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::error::{ArchiveError, Fault};
use super::member::{MODE_MASK, Member, MemberKind, Moment, checked_path};

/// What tars are made of.
const BLOCK: usize = 512;
/// The most that extended headers of one member may hold: names and times, no more.
const MOST_EXTENSIONS: u64 = 1 << 20;
/// Zeros that may follow the end: tapes were filled up to their record.
const MOST_PADDING: u64 = 64 << 20;

/// Whether bytes begin with the header of a tar.
pub(super) fn is_header(bytes: &[u8]) -> bool {
    bytes.len() >= BLOCK && bytes[0] != 0 && has_checksum(Header::from_byte_slice(&bytes[..BLOCK]))
}

fn has_checksum(header: &Header) -> bool {
    let field = 148..156;
    let sum = |(at, byte): (usize, &u8)| u32::from(if field.contains(&at) { b' ' } else { *byte });
    let sum = header.as_bytes().iter().enumerate().map(sum).sum::<u32>();
    header.cksum().is_ok_and(|written| written == sum)
}

/// A tar that is read from front to back.
pub(super) struct TarReader<R> {
    inner: R,
    /// Bytes of the current member that nobody has read, and the padding behind them.
    left: u64,
    padding: u64,
}

/// What extended headers say of the next member.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<Moment>,
    is_sparse: bool,
}

impl<R: Read> TarReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0 }
    }

    /// The next member; none after the end, which has to be there, with nothing behind it.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        let mut extensions = Extensions::default();
        self.skip(self.left.saturating_add(self.padding))?;
        (self.left, self.padding) = (0, 0);
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|_| malformed("a size is not a number"))?;
            match header.entry_type() {
                EntryType::XHeader => extensions.read(&self.small(size)?)?,
                // It speaks of all members: what the tool that made it wanted to say.
                EntryType::XGlobalHeader => drop(self.small(size)?),
                EntryType::GNULongName => extensions.path = Some(text(self.small(size)?)),
                EntryType::GNULongLink => extensions.target = Some(text(self.small(size)?)),
                _ => {
                    let member = member(&header, extensions, size)?;
                    if let MemberKind::File { size } = member.kind {
                        self.left = size;
                        self.padding = padding(size);
                    }
                    return Ok(Some(member));
                }
            }
        }
    }

    /// The bytes of the current member.
    pub(super) fn data(&mut self) -> impl Read + '_ {
        MemberData(self)
    }

    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let block = self.block()?;
        if block.iter().any(|byte| *byte != 0) {
            let header = Header::from_byte_slice(&block).clone();
            return if has_checksum(&header) {
                Ok(Some(header))
            } else {
                Err(malformed("a header has a wrong checksum"))
            };
        }
        if self.block()?.iter().any(|byte| *byte != 0) {
            return Err(malformed("its end is not one"));
        }
        self.end()?;
        Ok(None)
    }

    fn block(&mut self) -> Result<[u8; BLOCK], ArchiveError> {
        let mut block = [0; BLOCK];
        self.inner.read_exact(&mut block).map_err(failed)?;
        Ok(block)
    }

    /// Reads to the end of the file: only then have checksums of the compressed form been looked at.
    fn end(&mut self) -> Result<(), ArchiveError> {
        let mut buffer = [0; 8192];
        let mut seen = 0;
        loop {
            match self.inner.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    seen += count as u64;
                    if seen > MOST_PADDING || buffer[..count].iter().any(|byte| *byte != 0) {
                        return Err(ArchiveError::Trailing);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The end of the tar has been seen: what cannot be decompressed lies behind it, or is its checksum.
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// The contents of an extended header.
    fn small(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > MOST_EXTENSIONS {
            return Err(malformed("an extended header is too large"));
        }
        let mut bytes = Vec::new();
        let read = Read::by_ref(&mut self.inner).take(size).read_to_end(&mut bytes).map_err(failed)?;
        if (read as u64) < size {
            return Err(ArchiveError::Truncated);
        }
        self.skip(padding(size))?;
        Ok(bytes)
    }

    fn skip(&mut self, count: u64) -> Result<(), ArchiveError> {
        let skipped =
            io::copy(&mut Read::by_ref(&mut self.inner).take(count), &mut io::sink()).map_err(failed)?;
        if skipped < count { Err(ArchiveError::Truncated) } else { Ok(()) }
    }
}

/// The bytes of the current member, no more.
struct MemberData<'a, R>(&'a mut TarReader<R>);

impl<R: Read> Read for MemberData<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = Read::by_ref(&mut self.0.inner).take(self.0.left).read(buffer)?;
        self.0.left -= count as u64;
        Ok(count)
    }
}

impl Extensions {
    /// Reads `LENGTH KEY=VALUE` records.
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), ArchiveError> {
        let wrong = || malformed("an extended header cannot be read");
        while !bytes.is_empty() {
            let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
            let length =
                std::str::from_utf8(&bytes[..space]).ok().and_then(|digits| digits.parse::<usize>().ok());
            let length =
                length.filter(|length| *length > space + 1 && *length <= bytes.len()).ok_or_else(wrong)?;
            let record = bytes[space + 1..length].strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
            self.set(&record[..equals], &record[equals + 1..])?;
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        let wrong = || malformed("an extended header cannot be read");
        let text = || std::str::from_utf8(value).map_err(|_| wrong());
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.target = Some(value.to_vec()),
            b"size" => self.size = Some(text()?.parse().map_err(|_| wrong())?),
            b"mtime" => self.modified = Some(Moment::parse(text()?).ok_or_else(wrong)?),
            _ if key.starts_with(b"GNU.sparse") => self.is_sparse = true,
            _ => {}
        }
        Ok(())
    }
}

fn member(header: &Header, extensions: Extensions, size: u64) -> Result<Member, ArchiveError> {
    let name = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let path = checked_path(&name)?;
    let target = || {
        let target = extensions.target.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        String::from_utf8(target.unwrap_or_default()).map_err(|_| Fault::NotUtf8)
    };
    let size = extensions.size.unwrap_or(size);
    let kind = match header.entry_type() {
        _ if extensions.is_sparse => Err(Fault::Sparse),
        // Before there were directories in tars, a name told them.
        EntryType::Regular if name.ends_with(b"/") => Ok(MemberKind::Directory),
        EntryType::Regular | EntryType::Continuous => Ok(MemberKind::File { size }),
        EntryType::Directory => Ok(MemberKind::Directory),
        EntryType::Symlink => target().map(|target| MemberKind::Symlink { target }),
        EntryType::Link => Err(Fault::HardLink),
        EntryType::Char | EntryType::Block => Err(Fault::Device),
        EntryType::Fifo => Err(Fault::Pipe),
        EntryType::GNUSparse => Err(Fault::Sparse),
        _ => Err(Fault::Kind),
    };
    let shown = String::from_utf8_lossy(&name).into_owned();
    let kind = kind.map_err(|fault| ArchiveError::Member { path: shown, fault })?;
    // Readers do not agree whether such bytes follow.
    if !matches!(kind, MemberKind::File { .. }) && size != 0 {
        return Err(malformed("a directory or link has a size"));
    }
    let mode = header.mode().map_err(|_| malformed("a mode is not a number"))? & MODE_MASK;
    let seconds = header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or_default();
    let modified = extensions.modified.unwrap_or(Moment { seconds, nanoseconds: 0 });
    Ok(Member { path, kind, mode, modified })
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// A GNU long name ends with a zero.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn malformed(what: &'static str) -> ArchiveError {
    ArchiveError::Malformed { what }
}

/// What a reader's error says of the archive; whether its source is to blame is known further up.
pub(super) fn failed(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
        _ => ArchiveError::Damaged(error),
    }
}
