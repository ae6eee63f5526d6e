//! A model's files in the order in which loaders read them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Up to this size a file is a configuration, a tokenizer or an index: read before any weights.
const SMALL: u64 = 1 << 20;

/// Most files of one model that are read ahead. A model of more is not large files, for which alone this is worth while.
const MOST_FILES: usize = 10_000;

/// What loaders prefer where there are several forms of the same weights.
const SAFETENSORS: &str = "safetensors";

/// Forms of weights that loaders pass over when safetensors stand beside them.
const PASSED_OVER: [&str; 7] = ["bin", "ckpt", "h5", "msgpack", "ot", "pt", "pth"];

/// A file to be read ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedFile {
    pub(super) path: PathBuf,
    pub(super) size: u64,
}

/// How early a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Small,
    Safetensors,
    Others,
}

/// Lists the files below a directory: small ones, then safetensors, then others, each by name.
///
/// Links are followed: snapshots of the hub are made of them. What cannot be listed is left out.
pub(super) fn in_reading_order(directory: &Path) -> Vec<PlannedFile> {
    let walk = WalkDir::new(directory).follow_links(true).into_iter().flatten();
    let files = walk.filter(|entry| entry.file_type().is_file()).filter_map(|entry| {
        let size = entry.metadata().ok()?.len();
        (size > 0).then(|| PlannedFile { path: entry.into_path(), size })
    });
    let mut files: Vec<PlannedFile> = files.take(MOST_FILES).collect();
    let preferring: BTreeSet<PathBuf> =
        files.iter().filter(|file| is_a(file, SAFETENSORS)).map(|file| parent(file).to_owned()).collect();
    files.retain(|file| {
        file.size <= SMALL
            || !PASSED_OVER.iter().any(|form| is_a(file, form))
            || !preferring.contains(parent(file))
    });
    files.sort_by(|a, b| (turn(a), &a.path).cmp(&(turn(b), &b.path)));
    files
}

fn turn(file: &PlannedFile) -> Turn {
    match file {
        file if file.size <= SMALL => Turn::Small,
        file if is_a(file, SAFETENSORS) => Turn::Safetensors,
        _ => Turn::Others,
    }
}

fn is_a(file: &PlannedFile, extension: &str) -> bool {
    file.path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn parent(file: &PlannedFile) -> &Path {
    file.path.parent().unwrap_or(Path::new(""))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    /// Makes files of a size without content.
    fn directory(files: &[(&str, u64)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, size) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(path).unwrap().set_len(*size).unwrap();
        }
        directory
    }

    fn order(directory: &Path) -> Vec<String> {
        let files = in_reading_order(directory);
        let name = |file: &PlannedFile| file.path.strip_prefix(directory).unwrap().display().to_string();
        files.iter().map(name).collect()
    }

    #[test]
    fn small_files_then_safetensors_then_others() {
        let large = SMALL + 1;
        let here = directory(&[
            ("model-00002-of-00002.safetensors", large),
            ("model-00001-of-00002.safetensors", large),
            ("a.onnx", large),
            ("tokenizer.json", SMALL),
            ("config.json", 10),
            ("empty", 0),
        ]);
        let expected = [
            "config.json",
            "tokenizer.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "a.onnx",
        ];
        assert_eq!(order(here.path()), expected);
    }

    #[test]
    fn older_forms_of_weights_are_passed_over_where_safetensors_are() {
        let large = SMALL + 1;
        let here = directory(&[
            ("model.safetensors", large),
            ("pytorch_model.bin", large),
            ("tf_model.H5", large),
            ("training_args.bin", 100),
            ("onnx/model.bin", large),
            ("weights.gguf", large),
        ]);
        let expected = ["training_args.bin", "model.safetensors", "onnx/model.bin", "weights.gguf"];
        assert_eq!(order(here.path()), expected);
    }

    #[test]
    fn a_snapshot_is_links_to_blobs() {
        let here = directory(&[("blobs/f00", SMALL + 1), ("snapshots/c0ffee/config.json", 2)]);
        let snapshot = here.path().join("snapshots/c0ffee");
        symlink("../../blobs/f00", snapshot.join("model.safetensors")).unwrap();
        symlink("../../blobs/missing", snapshot.join("gone.safetensors")).unwrap();
        symlink(".", snapshot.join("loop")).unwrap();
        assert_eq!(order(&snapshot), ["config.json", "model.safetensors"]);
        assert_eq!(in_reading_order(&snapshot)[1].size, SMALL + 1);
        assert_eq!(order(&here.path().join("absent")), Vec::<String>::new());
    }
}
