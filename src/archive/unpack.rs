//! Unpacking, so that nothing lands outside and nothing is left out unseen.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD};

use super::contents::{Contents, LinksOut, NodeKind};
use super::error::{ArchiveError, Fault, is_interrupt};
use super::format::Format;
use super::member::{Member, MemberKind, Moment};
use super::{decode, links, tar_read, zip_read};
use crate::report::{Interrupt, Interrupted, Progress};

/// More files and directories than any model has; each takes an inode and a name in memory.
const MOST_MEMBERS: u64 = 1_000_000;
/// Bytes of all names and of where links lead, which are kept in memory: a million ordinary ones take half of it.
const MOST_NAMES: u64 = 256 << 20;
/// Linux takes no longer target of a link.
const LONGEST_TARGET: usize = 4095;
/// What is left free on the disk, for everybody else.
const RESERVE: u64 = 64 << 20;
/// Weights of zeros compress well, up to here without question.
const UNSUSPECTED: u64 = 16 << 30;
/// Beyond that, real models do not compress even tenfold.
const MOST_RATIO: u64 = 1000;
/// What the store must be able to do with its own directories and files.
const OWN_DIRECTORY: u32 = 0o700;
const OWN_FILE: u32 = 0o400;

/// Where an archive is.
pub enum Input {
    /// In a file.
    File(File),
    /// In something that can be read once: a pipe, a connection.
    Stream(Box<dyn Read + Send>),
    /// It is a directory.
    Directory(PathBuf),
}

/// How much an archive may unpack to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Members, and the directories around them that none of them is.
    pub members: u64,
    /// Bytes of their names, and of where links lead.
    pub names: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that may come out of each that went in, once there are more than `unsuspected`.
    pub ratio: u64,
    /// Bytes up to which the ratio does not matter.
    pub unsuspected: u64,
}

impl Limits {
    /// What fits on the disk of a directory.
    pub fn of_disk(directory: &Path) -> Result<Self, ArchiveError> {
        let disk = rustix::fs::statvfs(directory);
        let disk = disk.map_err(|error| ArchiveError::read(directory)(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(Self {
            members: MOST_MEMBERS,
            names: MOST_NAMES,
            bytes: free.saturating_sub(RESERVE),
            ratio: MOST_RATIO,
            unsuspected: UNSUSPECTED,
        })
    }
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// The number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Unpacks into an empty directory. What is refused may leave a part there: the directory is the caller's to remove.
///
/// Modes, times and links are kept; owners are not. `scratch` is where a zip is kept that comes down a pipe.
pub fn unpack(
    input: Input,
    into: &Path,
    limits: Limits,
    scratch: &Path,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Unpacked, ArchiveError> {
    let state = SourceState::default();
    let source = Source { state: &state, progress, interrupt };
    let mut unpacker = Unpacker::new(into, limits, source);
    match input {
        Input::Directory(path) => {
            unpacker.contents(&Contents::of_directory(&path, LinksOut::Refused, interrupt)?)?;
        }
        Input::File(file) => unpacker.stream(file, |rest| {
            let mut file = rest.into_inner().1.inner;
            file.rewind().map_err(ArchiveError::Source)?;
            // A zip is read here and there: all of it counts at once.
            let size = file.metadata().map_err(ArchiveError::Source)?.len();
            source.progress.advance(size.saturating_sub(source.state.read.replace(size)));
            Ok(file)
        })?,
        Input::Stream(stream) => unpacker.stream(stream, |rest| spool(rest, scratch, limits))?,
    }
    unpacker.finish()
}

/// Copies contents into an empty directory: an archive without a container.
pub fn copy_contents(
    contents: &Contents,
    into: &Path,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<(), ArchiveError> {
    let state = SourceState::default();
    let source = Source { state: &state, progress, interrupt };
    let mut unpacker = Unpacker::new(into, Limits::of_disk(into)?, source);
    unpacker.contents(contents)?;
    unpacker.finish().map(drop)
}

/// Keeps what comes down a pipe in a file without a name.
fn spool(mut rest: impl Read, scratch: &Path, limits: Limits) -> Result<File, ArchiveError> {
    let mut file = tempfile::tempfile_in(scratch).map_err(ArchiveError::write(scratch))?;
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let count = match rest.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(ArchiveError::Source)?,
        };
        total += count as u64;
        if total > limits.bytes {
            return Err(ArchiveError::NoRoom { directory: scratch.to_owned(), limit: limits.bytes });
        }
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).map_err(ArchiveError::write(scratch))?;
    }
    file.rewind().map_err(ArchiveError::write(scratch))?;
    Ok(file)
}

/// Whether a link can lead there.
fn is_target(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_TARGET && !text.contains('\0')
}

/// What is known of the bytes that come in.
#[derive(Default)]
struct SourceState {
    read: Cell<u64>,
    has_failed: Cell<bool>,
}

/// Who looks at them.
#[derive(Clone, Copy)]
struct Source<'a> {
    state: &'a SourceState,
    progress: &'a dyn Progress,
    interrupt: &'a Interrupt,
}

impl Source<'_> {
    /// Tells the archive's faults from those of where it comes from.
    fn blame(&self, error: ArchiveError) -> ArchiveError {
        match error {
            ArchiveError::Damaged(source) | ArchiveError::Source(source) if is_interrupt(&source) => {
                ArchiveError::Interrupted(Interrupted)
            }
            _ if self.interrupt.is_raised() => ArchiveError::Interrupted(Interrupted),
            ArchiveError::Damaged(source) if self.state.has_failed.get() => ArchiveError::Source(source),
            error => error,
        }
    }
}

/// A reader that counts.
struct Counted<'a, R> {
    inner: R,
    source: Source<'a>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.interrupt.check().map_err(io::Error::other)?;
        let state = self.source.state;
        let count = self.inner.read(buffer).inspect_err(|error| {
            state.has_failed.set(error.kind() != io::ErrorKind::Interrupted);
        })?;
        state.read.set(state.read.get() + count as u64);
        self.source.progress.advance(count as u64);
        Ok(count)
    }
}

/// What is already there under a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A directory that something else needed.
    Implied,
    Directory,
    Other,
}

struct Unpacker<'a> {
    root: &'a Path,
    limits: Limits,
    source: Source<'a>,
    places: BTreeMap<String, Place>,
    members: u64,
    names: u64,
    unpacked: Unpacked,
    /// Made at the end, so that nothing is written through them.
    links: Vec<(String, String, Moment)>,
    /// Finished at the end, when nothing is put into them any more.
    directories: BTreeMap<String, (u32, Moment)>,
    buffer: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    fn new(root: &'a Path, limits: Limits, source: Source<'a>) -> Self {
        Self {
            root,
            limits,
            source,
            places: BTreeMap::from([(String::new(), Place::Implied)]),
            members: 0,
            names: 0,
            unpacked: Unpacked::default(),
            links: Vec::new(),
            directories: BTreeMap::new(),
            buffer: vec![0; 256 << 10],
        }
    }

    /// Copies contents as if they came out of an archive: what is refused there is refused here.
    fn contents(&mut self, contents: &Contents) -> Result<(), ArchiveError> {
        for (path, node) in contents.members() {
            let kind = match &node.kind {
                NodeKind::Directory => MemberKind::Directory,
                NodeKind::Symlink { target } => MemberKind::Symlink { target: target.clone() },
                NodeKind::File { .. } | NodeKind::Bytes(_) => MemberKind::File { size: node.size() },
            };
            let member = Member { path, kind, mode: node.mode, modified: node.modified };
            let source = self.source;
            let mut bytes: Box<dyn Read> = match &node.kind {
                NodeKind::File { path, .. } => {
                    let file = File::open(path).map_err(ArchiveError::read(path))?;
                    Box::new(Counted { inner: file, source })
                }
                NodeKind::Bytes(bytes) => Box::new(bytes.as_slice()),
                NodeKind::Directory | NodeKind::Symlink { .. } => Box::new(io::empty()),
            };
            self.add(member, &mut bytes).map_err(|error| source.blame(error))?;
        }
        Ok(())
    }

    /// Unpacks what can be read; `whole` makes a file of it where that has to be.
    fn stream<R: Read>(
        &mut self,
        input: R,
        whole: impl FnOnce(decode::Sniffed<Counted<'a, R>>) -> Result<File, ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let source = self.source;
        let input = Counted { inner: input, source };
        let (format, input) =
            decode::sniff(input).map_err(|error| source.blame(ArchiveError::Source(error)))?;
        let unpacked = match format {
            None => Err(ArchiveError::UnknownForm),
            Some(Format::Zip) => {
                whole(input).and_then(|file| zip_read::read(file, |member, bytes| self.add(member, bytes)))
            }
            Some(format) => match decode::decoder(format, input) {
                Ok(decoder) => self.tar(decoder),
                Err(error) => Err(ArchiveError::Damaged(error)),
            },
        };
        unpacked.map_err(|error| source.blame(error))
    }

    fn tar(&mut self, input: impl Read) -> Result<(), ArchiveError> {
        let mut reader = tar_read::TarReader::new(input);
        while let Some(member) = reader.next()? {
            self.add(member, &mut reader.data())?;
        }
        Ok(())
    }

    fn add(&mut self, member: Member, bytes: &mut dyn Read) -> Result<(), ArchiveError> {
        self.source.interrupt.check()?;
        let Member { path, kind, mode, modified } = member;
        self.count(&path)?;
        self.make_parents(&path)?;
        let there = self.places.get(&path).copied();
        let is_directory = kind == MemberKind::Directory;
        match there {
            None => {}
            Some(Place::Implied) if is_directory => {}
            Some(_) => return Err(ArchiveError::Member { path, fault: Fault::Duplicate }),
        }
        let place = if is_directory { Place::Directory } else { Place::Other };
        self.places.insert(path.clone(), place);
        match kind {
            MemberKind::Directory => {
                if there.is_none() {
                    self.make_directory(&path)?;
                }
                self.directories.insert(path, (mode, modified));
            }
            MemberKind::File { size } => self.file(&path, size, (mode, modified), bytes)?,
            MemberKind::Symlink { target } if !is_target(&target) => {
                return Err(ArchiveError::Member { path, fault: Fault::Target });
            }
            MemberKind::Symlink { target } => {
                self.count_name(&target)?;
                self.links.push((path, target, modified));
            }
        }
        Ok(())
    }

    /// Counts what takes an inode and memory, announced by a member or not.
    fn count(&mut self, name: &str) -> Result<(), ArchiveError> {
        self.members += 1;
        if self.members > self.limits.members {
            return Err(ArchiveError::TooMany { limit: self.limits.members });
        }
        self.count_name(name)
    }

    fn count_name(&mut self, name: &str) -> Result<(), ArchiveError> {
        self.names += name.len() as u64;
        if self.names > self.limits.names {
            return Err(ArchiveError::LongNames { limit: self.limits.names });
        }
        Ok(())
    }

    /// Makes the directories that no member has announced.
    fn make_parents(&mut self, path: &str) -> Result<(), ArchiveError> {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            match self.places.get(parent) {
                Some(Place::Directory | Place::Implied) => {}
                Some(Place::Other) => {
                    return Err(ArchiveError::Member { path: path.to_owned(), fault: Fault::BelowFile });
                }
                None => {
                    self.count(parent)?;
                    self.make_directory(parent)?;
                    self.places.insert(parent.to_owned(), Place::Implied);
                }
            }
        }
        Ok(())
    }

    fn make_directory(&self, path: &str) -> Result<(), ArchiveError> {
        let path = self.root.join(path);
        fs::create_dir(&path).map_err(ArchiveError::write(&path))
    }

    fn file(
        &mut self,
        path: &str,
        size: u64,
        (mode, modified): (u32, Moment),
        bytes: &mut dyn Read,
    ) -> Result<(), ArchiveError> {
        let total = self.unpacked.bytes.saturating_add(size);
        if total > self.limits.bytes {
            let directory = self.root.to_owned();
            return Err(ArchiveError::NoRoom { directory, limit: self.limits.bytes });
        }
        let target = self.root.join(path);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&target);
        let mut file = file.map_err(ArchiveError::write(&target))?;
        let mut written = 0;
        loop {
            let count = match bytes.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(tar_read::failed)?,
            };
            written += count as u64;
            if written > size {
                return Err(ArchiveError::Malformed { what: "a file is longer than its header says" });
            }
            if count == 0 {
                break;
            }
            self.check_ratio(self.unpacked.bytes + written)?;
            file.write_all(&self.buffer[..count]).map_err(ArchiveError::write(&target))?;
        }
        if written < size {
            return Err(ArchiveError::Truncated);
        }
        self.unpacked = Unpacked { files: self.unpacked.files + 1, bytes: total };
        file.set_permissions(fs::Permissions::from_mode(mode | OWN_FILE))
            .map_err(ArchiveError::write(&target))?;
        rustix::fs::futimens(&file, &modified.timestamps())
            .map_err(|error| ArchiveError::write(&target)(error.into()))
    }

    fn check_ratio(&self, unpacked: u64) -> Result<(), ArchiveError> {
        let Limits { ratio, unsuspected, .. } = self.limits;
        if unpacked > unsuspected && unpacked / self.source.state.read.get().max(1) > ratio {
            return Err(ArchiveError::Bomb { ratio });
        }
        Ok(())
    }

    /// Makes the links, looks where they lead, and finishes the directories, the deepest first.
    fn finish(self) -> Result<Unpacked, ArchiveError> {
        let stamp = |path: &Path, moment: Moment| {
            rustix::fs::utimensat(CWD, path, &moment.timestamps(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| ArchiveError::write(path)(error.into()))
        };
        for (path, target, modified) in &self.links {
            let path = self.root.join(path);
            symlink(target, &path).map_err(ArchiveError::write(&path))?;
            stamp(&path, *modified)?;
        }
        if !self.links.is_empty() {
            links::check_links(self.root)?;
        }
        for (path, (mode, modified)) in self.directories.iter().rev() {
            let path = self.root.join(path);
            let permissions = fs::Permissions::from_mode(mode | OWN_DIRECTORY);
            fs::set_permissions(&path, permissions).map_err(ArchiveError::write(&path))?;
            stamp(&path, *modified)?;
        }
        Ok(self.unpacked)
    }
}
