//! Bentofiles: every file below `testdata/bentofiles/` is a test. One in `valid/` has the snapshot of its completed form,
//! one in `invalid/` that of its error.

use std::fs;
use std::path::{Path, PathBuf};

use ekiben::bentofile;

use crate::support::sources::repository;

/// The files of a folder; TOML files stand for `pyproject.toml`.
fn cases(folder: &str) -> Vec<PathBuf> {
    let directory = repository().join("testdata/bentofiles").join(folder);
    let entries = fs::read_dir(&directory).expect("the folder is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    assert!(paths.len() > 5, "only {} files in {}", paths.len(), directory.display());
    paths
}

/// A project with nothing but the file, under the name that it is looked for.
fn project(case: &Path) -> tempfile::TempDir {
    let project = tempfile::tempdir().expect("a temporary directory");
    let is_toml = case.extension().is_some_and(|extension| extension == "toml");
    let name = if is_toml { bentofile::PYPROJECT } else { bentofile::BENTOFILE };
    fs::copy(case, project.path().join(name)).expect("copied");
    project
}

fn assert_snapshot(folder: &str, case: &Path, content: &str) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(repository().join("testdata/bentofiles/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let file = case.file_name().expect("a file").to_string_lossy();
    settings.bind(|| insta::assert_snapshot!(format!("{folder}-{file}"), content));
}

#[test]
fn valid_files_are_completed() {
    for case in cases("valid") {
        let project = project(&case);
        let loaded = bentofile::load(project.path(), None)
            .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        let mut completed = String::new();
        for warning in &loaded.warnings {
            completed.extend(["# warning: ", warning, "\n"]);
        }
        completed.push_str(&loaded.bentofile.to_document().to_yaml());
        assert_snapshot("valid", &case, &completed);
    }
}

#[test]
fn invalid_files_are_refused_with_place_and_reason() {
    for case in cases("invalid") {
        let project = project(&case);
        match bentofile::load(project.path(), None) {
            Ok(_) => panic!("{} is accepted", case.display()),
            Err(error) => assert_snapshot("invalid", &case, &error.to_string()),
        }
    }
}

#[test]
fn every_snapshot_has_its_file() {
    let root = repository().join("testdata/bentofiles");
    for entry in fs::read_dir(root.join("snapshots")).expect("snapshots") {
        let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
        let case = name.trim_end_matches(".snap").replacen('-', "/", 1);
        assert!(root.join(&case).is_file(), "the snapshot {name} belongs to no file");
    }
}

#[test]
fn the_files_are_looked_for_in_order() {
    let project = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| fs::write(project.path().join(name), text).expect("written");
    let load = |file: Option<&Path>| bentofile::load(project.path(), file).expect("valid");
    assert_eq!(load(None).path, None);
    write("pyproject.toml", "[project]\nname = 'from-project'\n");
    assert_eq!(load(None).bentofile.name.as_deref(), Some("from-project"));
    write("bentofile.yaml", "name: from-bentofile\n");
    assert_eq!(load(None).bentofile.name.as_deref(), Some("from-bentofile"));
    write("other.yml", "name: from-other\n");
    let other = project.path().join("other.yml");
    assert_eq!(load(Some(&other)).bentofile.name.as_deref(), Some("from-other"));
    let missing = bentofile::load(project.path(), Some(Path::new("none.yaml"))).expect_err("refused");
    assert_eq!(missing.to_string(), "bentofile \"none.yaml\" not found");
}

#[test]
fn a_project_with_a_src_directory_has_the_src_layout() {
    let project = tempfile::tempdir().expect("a temporary directory");
    fs::write(project.path().join("pyproject.toml"), "[project]\nname = 'x'\n").expect("written");
    let is_src_layout =
        || bentofile::load(project.path(), None).expect("valid").bentofile.python.is_src_layout;
    assert!(!is_src_layout());
    fs::create_dir(project.path().join("src")).expect("created");
    assert!(is_src_layout());
}
