//! Writing tars in the PAX form, as the original tool's library does: `./`, `./model.yaml`, … in order.

use std::io::Write;

use tar::{EntryType, Header};

use super::contents::{Contents, Node, NodeKind};
use super::error::ArchiveError;
use super::member::Moment;
use crate::report::{Interrupt, Progress};

/// What tars are made of.
const BLOCK: usize = 512;
/// What tars are filled up to, since the days of tapes.
const RECORD: u64 = 10_240;
/// Bytes of a name in a header.
const NAME_FIELD: usize = 100;
/// The largest size and time that eleven octal digits hold.
const OCTAL_LIMIT: u64 = 0o777_7777_7777;

/// Writes all members and the end.
pub(super) fn write(
    contents: &Contents,
    sink: &mut impl Write,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<(), ArchiveError> {
    let mut written = 0;
    for (path, node) in contents.members() {
        let headers = headers(&path, node);
        sink.write_all(&headers).map_err(ArchiveError::of_sink)?;
        node.copy_to(|bytes| {
            interrupt.check()?;
            progress.advance(bytes.len() as u64);
            sink.write_all(bytes).map_err(ArchiveError::of_sink)
        })?;
        let padding = padding(node.size());
        sink.write_all(&vec![0; padding]).map_err(ArchiveError::of_sink)?;
        written += headers.len() as u64 + node.size() + padding as u64;
    }
    let end = 2 * BLOCK as u64;
    let total = (written + end).next_multiple_of(RECORD);
    let tail = usize::try_from(total - written).expect("at most a record and a block");
    sink.write_all(&vec![0; tail]).map_err(ArchiveError::of_sink)
}

fn padding(size: u64) -> usize {
    usize::try_from(size.next_multiple_of(BLOCK as u64) - size).expect("less than a block")
}

/// The header of a member, and before it what does not fit into one.
fn headers(path: &str, node: &Node) -> Vec<u8> {
    let (kind, name) = match &node.kind {
        NodeKind::Directory if path.is_empty() => (EntryType::Directory, "./".to_owned()),
        NodeKind::Directory => (EntryType::Directory, format!("./{path}/")),
        NodeKind::Symlink { .. } => (EntryType::Symlink, format!("./{path}")),
        NodeKind::File { .. } | NodeKind::Bytes(_) => (EntryType::Regular, format!("./{path}")),
    };
    let target = match &node.kind {
        NodeKind::Symlink { target } => target.as_str(),
        _ => "",
    };
    let mut extensions = Vec::new();
    extend(&mut extensions, "path", &name, !fits(&name));
    extend(&mut extensions, "linkpath", target, !fits(target));
    extend(&mut extensions, "size", &node.size().to_string(), node.size() > OCTAL_LIMIT);
    extend(&mut extensions, "mtime", &seconds(node.modified), !is_plain(node.modified));
    let mut bytes = Vec::new();
    if !extensions.is_empty() {
        let base = path.rsplit('/').next().unwrap_or_default();
        let mut header = header(EntryType::XHeader, &format!("./PaxHeaders/{base}"), "");
        header.set_size(extensions.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&extensions);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    let mut header = header(kind, &name, target);
    header.set_mode(node.mode);
    header.set_size(if node.size() > OCTAL_LIMIT { 0 } else { node.size() });
    header.set_mtime(u64::try_from(node.modified.seconds).map_or(0, |seconds| seconds.min(OCTAL_LIMIT)));
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

/// A header that names nobody as the owner: who exports must not change the bytes.
fn header(kind: EntryType, name: &str, target: &str) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    put(&mut header.as_old_mut().name, name);
    put(&mut header.as_old_mut().linkname, target);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// As much of a text as the field holds.
fn put(field: &mut [u8; NAME_FIELD], text: &str) {
    let length = text.len().min(NAME_FIELD);
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}

fn fits(name: &str) -> bool {
    name.len() <= NAME_FIELD && name.is_ascii()
}

fn is_plain(moment: Moment) -> bool {
    moment.nanoseconds == 0 && u64::try_from(moment.seconds).is_ok_and(|seconds| seconds <= OCTAL_LIMIT)
}

/// Decimal seconds. Before 1970, fractions are left out.
fn seconds(moment: Moment) -> String {
    if moment.nanoseconds == 0 || moment.seconds < 0 {
        return moment.seconds.to_string();
    }
    let fraction = format!("{:09}", moment.nanoseconds);
    format!("{}.{}", moment.seconds, fraction.trim_end_matches('0'))
}

/// Adds a record, which begins with its own length.
fn extend(records: &mut Vec<u8>, key: &str, value: &str, is_needed: bool) {
    if !is_needed {
        return;
    }
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    records.extend_from_slice(format!("{length}{rest}").as_bytes());
}
