//! Takes the symbol tables for linkers and debuggers off shared libraries.
//!
//! Loading needs what program headers name, and so does `dlsym`. Symbols for debuggers and static linkers lie
//! behind that, in sections that are never loaded (System V ABI, chapter 4). The section table itself stays
//! for the loaded sections, so that programs can still be linked against the library.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Size of the ELF header of 64-bit files.
const HEADER: usize = 64;

/// Size of a section header of 64-bit files.
const SECTION: usize = 64;

/// Size of a program header of 64-bit files.
const SEGMENT: usize = 56;

/// Flag of sections that are part of the loaded image.
const SHF_ALLOC: u64 = 2;

/// Object type of shared libraries.
const ET_DYN: u64 = 3;

/// Longest table of section names that is copied: real ones have some hundred bytes.
const LONGEST_NAMES: u64 = 1 << 20;

/// What remains of a library.
struct Plan {
    /// Bytes from the start that loading needs.
    loaded: u64,
    /// Section headers that stay, then that of the names.
    headers: Vec<u8>,
    /// Contents of the table of section names.
    names: Vec<u8>,
}

/// Shortens the library in place; returns whether it did.
///
/// Files that are no 64-bit little-endian shared library, or are laid out unusually, stay as they are.
pub(super) fn shorten(path: &Path) -> io::Result<bool> {
    let file = File::options().read(true).write(true).open(path)?;
    let size = file.metadata()?.len();
    let Some(plan) = plan(&file, size)? else { return Ok(false) };
    let names_at = plan.loaded.next_multiple_of(8);
    let headers_at = (names_at + plan.names.len() as u64).next_multiple_of(8);
    let after = headers_at + plan.headers.len() as u64;
    if after >= size {
        return Ok(false);
    }
    let Ok(count) = u16::try_from(plan.headers.len() / SECTION) else { return Ok(false) };
    let mut headers = plan.headers;
    let last = headers.len() - SECTION;
    headers[last + 0x18..last + 0x20].copy_from_slice(&names_at.to_le_bytes());
    file.set_len(plan.loaded)?;
    file.set_len(after)?;
    file.write_all_at(&plan.names, names_at)?;
    file.write_all_at(&headers, headers_at)?;
    file.write_all_at(&headers_at.to_le_bytes(), 0x28)?;
    file.write_all_at(&count.to_le_bytes(), 0x3c)?;
    file.write_all_at(&(count - 1).to_le_bytes(), 0x3e)?;
    Ok(true)
}

fn plan(file: &File, size: u64) -> io::Result<Option<Plan>> {
    let mut header = [0; HEADER];
    if size < HEADER as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut header, 0)?;
    let is_known = header.starts_with(b"\x7fELF\x02\x01\x01")
        && number(&header, 0x10, 2) == ET_DYN
        && number(&header, 0x36, 2) == SEGMENT as u64
        && number(&header, 0x3a, 2) == SECTION as u64;
    let (segment_count, section_count) = (number(&header, 0x38, 2), number(&header, 0x3c, 2));
    let names_index = number(&header, 0x3e, 2);
    if !is_known || segment_count == 0 || names_index >= section_count {
        return Ok(None);
    }
    let Some(segments) = table(file, size, number(&header, 0x20, 8), segment_count * SEGMENT as u64)? else {
        return Ok(None);
    };
    let Some(sections) = table(file, size, number(&header, 0x28, 8), section_count * SECTION as u64)? else {
        return Ok(None);
    };
    let Some(loaded) = loaded_end(&header, &segments).filter(|end| *end <= size) else { return Ok(None) };
    let Some(kept) = kept_sections(&sections) else { return Ok(None) };
    let names_header = &sections.as_chunks::<SECTION>().0[usize::try_from(names_index).unwrap_or_default()];
    let (names_at, names_size) = (number(names_header, 0x18, 8), number(names_header, 0x20, 8));
    if names_size > LONGEST_NAMES {
        return Ok(None);
    }
    let Some(names) = table(file, size, names_at, names_size)? else { return Ok(None) };
    let mut headers = sections[..kept * SECTION].to_vec();
    headers.extend_from_slice(names_header);
    Ok(Some(Plan { loaded, headers, names }))
}

/// The end of the last byte that a program header names.
fn loaded_end(header: &[u8; HEADER], segments: &[u8]) -> Option<u64> {
    let mut end = number(header, 0x20, 8) + segments.len() as u64;
    for segment in segments.as_chunks::<SEGMENT>().0 {
        end = end.max(number(segment, 0x08, 8).checked_add(number(segment, 0x20, 8))?);
    }
    Some(end)
}

/// How many sections from the first stay; `None` unless the loaded ones come first, since dynamic symbols
/// refer to sections by number.
fn kept_sections(sections: &[u8]) -> Option<usize> {
    let is_loaded = |section: &[u8; SECTION]| number(section, 0x08, 8) & SHF_ALLOC != 0;
    let rest = &sections.as_chunks::<SECTION>().0[1..];
    let loaded = rest.iter().take_while(|section| is_loaded(section)).count();
    (loaded > 0 && !rest[loaded..].iter().any(is_loaded)).then_some(loaded + 1)
}

/// Reads a part of the file; `None` when it is not within it.
fn table(file: &File, size: u64, at: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
    if at.checked_add(length).is_none_or(|end| end > size) {
        return Ok(None);
    }
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)?;
    Ok(Some(bytes))
}

/// A little-endian number; callers know that it is within `bytes`.
fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    bytes[at..at + width].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A library with one loaded section of 16 bytes, a symbol table of 4096 and the names.
    fn library() -> Vec<u8> {
        let names = b"\0.text\0.symtab\0.shstrtab\0";
        let mut bytes = vec![0; HEADER + SEGMENT];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let mut put = |at: usize, width: usize, value: u64| {
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        };
        put(0x10, 2, ET_DYN);
        put(0x20, 8, 64);
        put(0x36, 2, 56);
        put(0x38, 2, 1);
        put(0x3a, 2, 64);
        put(0x3c, 2, 4);
        put(0x3e, 2, 3);
        put(64, 4, 1);
        put(64 + 0x20, 8, 136);
        let mut file = bytes;
        file.extend([7; 16]);
        let symbols_at = file.len() as u64;
        file.extend([9; 4096]);
        let names_at = file.len() as u64;
        file.extend(names);
        let sections_at = file.len() as u64;
        for (name, flags, at, size) in [
            (0_u32, 0_u64, 0_u64, 0_u64),
            (1, SHF_ALLOC, 120, 16),
            (7, 0, symbols_at, 4096),
            (15, 0, names_at, names.len() as u64),
        ] {
            let mut section = [0; SECTION];
            section[..4].copy_from_slice(&name.to_le_bytes());
            section[0x08..0x10].copy_from_slice(&flags.to_le_bytes());
            section[0x18..0x20].copy_from_slice(&at.to_le_bytes());
            section[0x20..0x28].copy_from_slice(&size.to_le_bytes());
            file.extend(section);
        }
        file[0x28..0x30].copy_from_slice(&sections_at.to_le_bytes());
        file
    }

    fn shortened(bytes: &[u8]) -> (bool, Vec<u8>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        (shorten(file.path()).unwrap(), fs::read(file.path()).unwrap())
    }

    #[test]
    fn what_is_loaded_stays_and_symbols_go() {
        let before = library();
        let (did, after) = shortened(&before);
        assert!(did);
        assert_eq!(after.len(), 136 + 32 + 3 * SECTION);
        assert_eq!((&after[..0x28], &after[0x40..136]), (&before[..0x28], &before[0x40..136]));
        assert_eq!((number(&after, 0x3c, 2), number(&after, 0x3e, 2)), (3, 2));
        let names = usize::try_from(number(&after, after.len() - SECTION + 0x18, 8)).unwrap();
        assert_eq!(&after[names..names + 6], b"\0.text");
        assert_eq!(shortened(&after), (false, after), "a second time changes nothing");
    }

    #[test]
    fn anything_unusual_stays_as_it_is() {
        let library = library();
        for (at, value) in [
            (0, 0),
            (4, 1),
            (5, 2),
            (0x10, 2),
            (0x3e, 9),
            (0x3c, 255),
            (0x3c, 0),
            (0x2f, 255),
            (0x27, 255),
            (64 + 0x0f, 255),
            (64 + 0x27, 127),
        ] {
            let mut odd = library.clone();
            odd[at] = value;
            let (did, after) = shortened(&odd);
            assert!(!did && after == odd, "byte {at} as {value}");
        }
        let mut loaded_last = library.clone();
        let flags = library.len() - SECTION + 0x08;
        loaded_last[flags] = 2;
        assert!(!shortened(&loaded_last).0);
        for length in [0, 10, 64, 130, 4000, library.len() - 1] {
            assert!(!shortened(&library[..length]).0, "cut at {length}");
        }
    }
}
