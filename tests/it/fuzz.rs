//! What fuzzing starts from and what it found, through the same functions that `scripts/fuzz` runs: the targets cannot
//! rot, and what was found stays mended.

use std::fs;
use std::path::PathBuf;

use crate::support::sources::repository;

#[path = "../../fuzz/bodies/archive.rs"]
mod archive;
#[path = "../../fuzz/bodies/json_array.rs"]
mod json_array;
#[path = "../../fuzz/bodies/model_yaml.rs"]
mod model_yaml;
#[path = "../../fuzz/bodies/worker_frames.rs"]
mod worker_frames;

/// The files of the folders of `testdata/` that a target starts from.
fn corpus(folders: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let entries = fs::read_dir(repository().join("testdata").join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    }
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn every_archive_of_the_corpus_is_taken_or_refused_well() {
    let files = corpus(&["fuzz/archive"]);
    assert!(files.len() > 15);
    for (path, bytes) in files {
        println!("{}", path.display());
        archive::run(&bytes);
    }
}

#[test]
fn every_model_yaml_of_the_corpus_is_read_alike() {
    let files = corpus(&["fuzz/model_yaml", "store/models"]);
    assert!(files.len() > 5);
    for (path, bytes) in files {
        println!("{}", path.display());
        model_yaml::run(&bytes);
    }
}

#[test]
fn every_array_of_the_corpus_is_read_as_it_is_written() {
    let files = corpus(&["fuzz/json_array"]);
    assert!(files.len() > 4);
    for (path, bytes) in files {
        println!("{}", path.display());
        json_array::run(&bytes);
    }
}

/// The vectors are hexadecimal; half of the bytes of each, too, and all of them in one stream.
#[test]
fn every_frame_of_the_corpus_is_read_or_refused() {
    let mut stream = Vec::new();
    for (path, text) in corpus(&["wire"]) {
        if path.extension().is_none_or(|extension| extension != "hex") {
            continue;
        }
        let digits: Vec<u8> = text.into_iter().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
        let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("a byte")).collect();
        worker_frames::run(&bytes);
        worker_frames::run(&bytes[..bytes.len() / 2]);
        stream.extend(bytes);
    }
    assert!(stream.len() > 1000);
    worker_frames::run(&stream);
}

#[test]
fn headers_are_mended_for_the_mutator() {
    let seed = fs::read(repository().join("testdata/fuzz/archive/honest-pax.tar")).unwrap();
    let mut broken = seed.clone();
    broken[148..154].fill(b'7');
    archive::mend(&mut broken);
    assert!(broken == seed, "the checksum that was there is not what comes back");
}
