//! Any bytes as an archive of a model.
//!
//! Nothing is written outside the directory, no link in it leads out, no limit is passed, and nothing panics. A file and
//! a stream with the same bytes unpack to the same. What was unpacked can be packed, and unpacks to the same again.

use std::fs;
use std::io::{Cursor, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ekiben::archive::{self, ArchiveError, Contents, Format, Input, Limits, LinksOut, Unpacked};
use ekiben::report::{Interrupt, Silent};

/// Small, so that they are reached.
const LIMITS: Limits =
    Limits { members: 200, names: 20_000, bytes: 1 << 20, ratio: 50, unsuspected: 64 << 10 };

/// What tars are made of, and where a header has its mark and its checksum.
const BLOCK: usize = 512;
const MARK: (usize, &[u8]) = (257, b"ustar");
const CHECKSUM: usize = 148;

/// A tree: path, mode, and content or target.
type Tree = Vec<(String, u32, Vec<u8>)>;

/// Runs the bytes through everything that unpacks, and what comes out through everything that packs.
pub(crate) fn run(bytes: &[u8]) {
    let streamed = unpacked(Input::Stream(Box::new(Cursor::new(bytes.to_vec()))));
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("its own file");
    file.rewind().expect("its own file");
    let from_file = unpacked(Input::File(file));
    match (streamed, from_file) {
        (Ok(streamed), Ok(from_file)) => {
            assert!(streamed == from_file, "a stream and a file unpack to different trees");
        }
        (Err(streamed), Err(from_file)) => assert_eq!(streamed.to_string(), from_file.to_string()),
        (streamed, from_file) => panic!(
            "one is taken, the other refused: {:?}, {:?}",
            streamed.map(drop).map_err(|error| error.to_string()),
            from_file.map(drop).map_err(|error| error.to_string())
        ),
    }
}

/// Gives every block that has the mark of a tar's header the right checksum.
pub(crate) fn mend(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(BLOCK) {
        if block[MARK.0..].starts_with(MARK.1) {
            block[CHECKSUM..CHECKSUM + 8].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[CHECKSUM..CHECKSUM + 8].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

/// Unpacks in a place of its own, and looks at what is there afterwards.
fn unpacked(input: Input) -> Result<Tree, ArchiveError> {
    let around = tempfile::tempdir().expect("a temporary directory");
    let into = around.path().join("into");
    let scratch = around.path().join("scratch");
    for directory in [&into, &scratch] {
        fs::create_dir(directory).expect("a new directory");
    }
    fs::write(around.path().join("beside"), "as it was").expect("a new file");
    let result = archive::unpack(input, &into, LIMITS, &scratch, &Silent, &Interrupt::default());
    let mut beside: Vec<_> = fs::read_dir(around.path())
        .expect("its own directory")
        .map(|entry| entry.expect("its own directory").file_name())
        .collect();
    beside.sort();
    assert_eq!(beside, ["beside", "into", "scratch"], "something was written outside");
    assert_eq!(fs::read(around.path().join("beside")).expect("its own file"), b"as it was");
    assert_eq!(
        fs::read_dir(&scratch).expect("its own directory").count(),
        0,
        "something stays in the scratch"
    );
    let tree = tree(&into);
    check_limits(&tree);
    let unpacked = result?;
    let files = tree.iter().filter(|(_, mode, _)| mode & 0o170_000 == 0o100_000);
    let found = files.fold(Unpacked::default(), |sum, (_, _, content)| Unpacked {
        files: sum.files + 1,
        bytes: sum.bytes + content.len() as u64,
    });
    assert_eq!(found, unpacked, "not what was said to be unpacked");
    archive::check_links(&into).expect("no link leads out");
    there_and_back(&into, &tree, &scratch);
    Ok(tree)
}

fn check_limits(tree: &Tree) {
    let bytes: u64 = tree.iter().map(|(_, _, content)| content.len() as u64).sum();
    // A link's target is counted here, too, but is no longer than a path.
    let links = tree.iter().filter(|(_, mode, _)| mode & 0o170_000 == 0o120_000).count() as u64;
    assert!(bytes <= LIMITS.bytes + links * 4096, "{bytes} bytes were written");
}

/// Packs the tree and unpacks that.
fn there_and_back(root: &Path, expected: &Tree, scratch: &Path) {
    let interrupt = Interrupt::default();
    let contents =
        Contents::of_directory(root, LinksOut::Refused, &interrupt).expect("what was unpacked is fit");
    let bytes =
        archive::write(&contents, Format::Tar, Vec::new(), &Silent, &interrupt).expect("memory takes all");
    let copy = tempfile::tempdir_in(scratch).expect("a temporary directory");
    let input = Input::Stream(Box::new(Cursor::new(bytes)));
    let limits = Limits { members: u64::MAX, names: u64::MAX, bytes: u64::MAX, ..LIMITS };
    archive::unpack(input, copy.path(), limits, scratch, &Silent, &interrupt)
        .expect("our own archive is taken");
    assert!(tree(copy.path()) == *expected, "another tree comes back");
}

fn tree(root: &Path) -> Tree {
    let entries = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().map(|entry| {
        let entry = entry.expect("what was unpacked can be read");
        let path = entry.path();
        let metadata = path.symlink_metadata().expect("it was just seen");
        let content = if metadata.is_symlink() {
            fs::read_link(path).expect("it is a link").into_os_string().into_encoded_bytes()
        } else if metadata.is_file() {
            fs::read(path).expect("it is readable by its owner")
        } else {
            assert!(metadata.is_dir(), "{} is none of the three", path.display());
            Vec::new()
        };
        let name = path.strip_prefix(root).expect("the walk started there");
        (name.to_string_lossy().into_owned(), metadata.permissions().mode(), content)
    });
    entries.collect()
}
