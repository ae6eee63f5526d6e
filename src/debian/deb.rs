//! The format of Debian packages (deb(5)): an `ar` archive of two tars, control data and files.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;

use super::error::DebError;

/// Size of the headers of `ar` members.
const HEADER: usize = 60;
/// What an `ar` archive begins with.
const MAGIC: &[u8; 8] = b"!<arch>\n";
/// Most bytes of control data; those of the largest packages, with digests of 100,000 files, have a tenth of it.
const CONTROL_LIMIT: u64 = 64 << 20;
/// Most bytes of files of a package; the largest of Debian has 2 GiB, vendors' have more.
const DATA_LIMIT: u64 = 16 << 30;

/// An open package.
pub(super) struct Deb {
    file: File,
    control: Member,
    data: Member,
}

struct Member {
    name: String,
    start: u64,
    size: u64,
}

/// The control data that is of use without running scripts.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// The file `control`.
    pub(super) stanza: String,
    /// The file `md5sums`.
    pub(super) md5sums: Option<String>,
    /// The script `postinst`.
    pub(super) postinst: Option<String>,
}

impl Deb {
    pub(super) fn open(path: &Path) -> Result<Self, DebError> {
        let mut file = File::open(path)?;
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(DebError::Format);
        }
        let version = next_member(&mut file)?.ok_or(DebError::Format)?;
        if version.name != "debian-binary" || !read_text(&mut file, &version)?.starts_with("2.") {
            return Err(DebError::Format);
        }
        let (mut control, mut data) = (None, None);
        while let Some(member) = next_member(&mut file)? {
            file.seek(SeekFrom::Start(member.start + member.size.next_multiple_of(2)))?;
            if member.name.starts_with("control.tar") {
                control.get_or_insert(member);
            } else if member.name.starts_with("data.tar") {
                data.get_or_insert(member);
            }
        }
        let control = control.ok_or(DebError::Member("control.tar"))?;
        let data = data.ok_or(DebError::Member("data.tar"))?;
        Ok(Self { file, control, data })
    }

    pub(super) fn control(&self) -> Result<Control, DebError> {
        let mut archive = tar::Archive::new(self.tar(&self.control)?.take(CONTROL_LIMIT));
        let mut control = Control::default();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let text = |entry: &mut dyn Read| -> io::Result<String> {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            };
            match name.trim_start_matches("./") {
                "control" => control.stanza = text(&mut entry)?,
                "md5sums" => control.md5sums = Some(text(&mut entry)?),
                "postinst" => control.postinst = Some(text(&mut entry)?),
                _ => {}
            }
        }
        if control.stanza.is_empty() { Err(DebError::Member("control")) } else { Ok(control) }
    }

    /// The files, as a tar.
    pub(super) fn data(&self) -> Result<Take<Box<dyn Read>>, DebError> {
        Ok(self.tar(&self.data)?.take(DATA_LIMIT))
    }

    fn tar(&self, member: &Member) -> Result<Box<dyn Read>, DebError> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(member.start))?;
        let bytes = BufReader::with_capacity(64 << 10, file.take(member.size));
        match member.name.rsplit('.').next() {
            Some("xz") => Ok(Box::new(XzDecoder::new_multi_decoder(bytes))),
            Some("gz") => Ok(Box::new(MultiGzDecoder::new(bytes))),
            Some("zst") => Ok(Box::new(zstd::Decoder::with_buffer(bytes)?)),
            Some("tar") => Ok(Box::new(bytes)),
            _ => Err(DebError::Compression(member.name.clone())),
        }
    }
}

/// Reads the header of the next member, and stops where its bytes begin.
fn next_member(file: &mut File) -> Result<Option<Member>, DebError> {
    let mut header = [0; HEADER];
    match file.read(&mut header[..1])? {
        0 => return Ok(None),
        _ => file.read_exact(&mut header[1..])?,
    }
    let text = std::str::from_utf8(&header).map_err(|_| DebError::Format)?;
    let (Some(name), Some(size), Some("`\n")) = (text.get(..16), text.get(48..58), text.get(58..)) else {
        return Err(DebError::Format);
    };
    let size = size.trim_end().parse().map_err(|_| DebError::Format)?;
    let start = file.stream_position()?;
    if start.checked_add(size).is_none_or(|end| file.metadata().is_ok_and(|metadata| metadata.len() < end)) {
        return Err(DebError::Format);
    }
    Ok(Some(Member { name: name.trim_end().trim_end_matches('/').to_owned(), start, size }))
}

fn read_text(file: &mut File, member: &Member) -> Result<String, DebError> {
    let mut text = String::new();
    let next = member.start + member.size.next_multiple_of(2);
    file.by_ref().take(member.size.min(64)).read_to_string(&mut text)?;
    file.seek(SeekFrom::Start(next))?;
    Ok(text)
}
