//! What the API says that a commit holds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::content::{Content, git_name};
use super::repository::Stored;

/// The entries of a commit as `tree` lists them: every file, and every folder on the way to one, sorted.
pub(super) fn entries(
    repository: &Stored,
    files: &BTreeMap<String, Content>,
    offers_xet: bool,
) -> Vec<Value> {
    let mut folders = BTreeSet::new();
    let mut entries = Vec::new();
    for (path, file) in files {
        for (end, _) in path.match_indices('/') {
            if folders.insert(&path[..end]) {
                let oid = git_name("tree", &path.as_bytes()[..end]);
                entries.push(json!({"type": "directory", "oid": oid, "size": 0, "path": path[..end]}));
            }
        }
        entries.push(entry(path, file, offers_xet));
    }
    for (alias, own) in &repository.aliases {
        if let Some(file) = files.get(own) {
            entries.push(entry(alias, file, offers_xet));
        }
    }
    if let Some(tampering) = &repository.tampering {
        tampering(&mut entries);
    }
    entries
}

fn entry(path: &str, file: &Content, offers_xet: bool) -> Value {
    let mut entry = json!({"type": "file", "oid": file.oid, "size": file.size, "path": path});
    if let Some(large) = &file.large {
        entry["lfs"] = json!({"oid": large.sha256, "size": file.size, "pointerSize": large.pointer_size});
        if offers_xet {
            entry["xetHash"] = json!(large.sha256);
        }
    }
    entry
}

/// The files of a listing as `revision` names them.
pub(super) fn siblings(entries: &[Value], has_blobs: bool) -> Vec<Value> {
    let files = entries.iter().filter(|entry| entry["type"] == "file");
    let sibling = |entry: &Value| {
        let mut sibling = json!({"rfilename": entry["path"]});
        if has_blobs {
            sibling["size"] = entry["size"].clone();
            sibling["blobId"] = entry["oid"].clone();
            if let Some(lfs) = entry.get("lfs") {
                let (sha256, size, pointer_size) = (&lfs["oid"], &lfs["size"], &lfs["pointerSize"]);
                sibling["lfs"] = json!({"sha256": sha256, "size": size, "pointerSize": pointer_size});
            }
        }
        sibling
    };
    files.map(sibling).collect()
}
