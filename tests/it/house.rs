//! The rules of the house that no compiler and no linter checks: sizes, names, words, versions, licences.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ignore::WalkBuilder;

use crate::support::sources::{Source, repository};

/// A file longer than this holds more than one concept.
const LINES_OF_A_FILE: usize = 800;

/// `main` is a table of contents.
const LINES_OF_A_BINARY: usize = 30;

/// One page.
const LINES_OF_A_DECISION: usize = 60;

/// Names that say nothing about what a module holds.
const EMPTY_NAMES: &[&str] =
    &["common", "core", "helper", "helpers", "manager", "misc", "types", "util", "utils"];

/// Packages in `Cargo.lock`. Raise it in a commit of its own that says which dependency is worth it.
const LOCKED_PACKAGES: usize = 520;

/// What `.cargo/config.toml` builds for; dependencies of other platforms need not be on this machine.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Files of the repository that are not ignored by git, sorted, relative to its root.
fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = WalkBuilder::new(repository())
        .hidden(false)
        .require_git(false)
        .filter_entry(|entry| entry.file_name() != ".git" && entry.file_name() != "target")
        .build()
        .map(|entry| entry.expect("the repository can be walked").into_path())
        .filter(|path| path.is_file())
        .map(|path| path.strip_prefix(repository()).expect("the walk started there").to_path_buf())
        .collect();
    files.sort();
    assert!(files.contains(&PathBuf::from("Cargo.toml")), "the walk missed Cargo.toml");
    files
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
}

/// Tests grow with what they test.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn toml(path: &str) -> toml::Table {
    read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_file_of_tests_is_a_module() {
    for (folder, root) in [("tests/it", "tests/it/main.rs"), ("tests/it/support", "tests/it/support/mod.rs")]
    {
        let declared: BTreeSet<String> = read(root)
            .lines()
            .filter_map(|line| line.trim_start_matches("pub(crate) ").strip_prefix("mod ")?.strip_suffix(';'))
            .map(str::to_owned)
            .collect();
        let present: BTreeSet<String> = fs::read_dir(repository().join(folder))
            .expect("the folder is there")
            .map(|entry| entry.expect("the folder can be read").path())
            .filter(|path| path.is_dir() || has_extension(path, &["rs"]))
            .map(|path| path.file_stem().expect("a file has a name").to_string_lossy().into_owned())
            .filter(|name| name != "main" && name != "mod")
            .collect();
        assert_eq!(declared, present, "left: modules of {root}; right: files beside it");
    }
}

#[test]
fn no_file_holds_more_than_one_concept() {
    let long: Vec<String> = files()
        .into_iter()
        .filter(|path| has_extension(path, &["rs", "py", "sh"]) && !is_test(path))
        .map(|path| (read(&path).lines().count(), path))
        .filter(|(lines, _)| *lines > LINES_OF_A_FILE)
        .map(|(lines, path)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn binaries_only_call_the_library() {
    for path in ["src/main.rs", "src/bin/ekiben-serve.rs"] {
        let lines = read(path).lines().count();
        assert!(lines <= LINES_OF_A_BINARY, "{path} has {lines} lines");
    }
}

#[test]
fn modules_are_named_after_what_they_hold() {
    let empty: Vec<String> = Source::all()
        .iter()
        .filter(|source| source.module.iter().any(|name| EMPTY_NAMES.contains(&name.as_str())))
        .map(|source| source.path.display().to_string())
        .collect();
    assert_eq!(empty, Vec::<String>::new());
}

#[test]
fn forbidden_words_stand_nowhere() {
    const LIST: &str = "docs/glossary.md";
    let glossary = read(LIST);
    let words = glossary.split_once("```text never\n").expect("the glossary has a list").1;
    let words: Vec<&str> = words.split_once("```").expect("the list ends").0.split_whitespace().collect();
    assert!(!words.is_empty());
    let mut found = Vec::new();
    for path in files().iter().filter(|path| *path != Path::new(LIST) && *path != Path::new("LICENSE")) {
        let Ok(text) = fs::read_to_string(repository().join(path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn crate_sdk_and_changelog_have_one_version() {
    let version = |table: &toml::Table, section: &str| {
        table[section]["version"].as_str().expect("a version is a string").to_owned()
    };
    let crate_version = version(&toml("Cargo.toml"), "package");
    assert_eq!(version(&toml("python/pyproject.toml"), "project"), crate_version);
    let changelog = read("CHANGELOG.md");
    let headings: Vec<&str> = changelog.lines().filter_map(|line| line.strip_prefix("## [")).collect();
    assert_eq!(headings.first(), Some(&"Unreleased]"));
    if let Some(released) = headings.get(1) {
        assert!(released.starts_with(&format!("{crate_version}]")), "the newest release is `{released}`");
    }
}

#[test]
fn dependencies_are_listed_alphabetically() {
    let manifest = read("Cargo.toml");
    for section in ["dependencies", "dev-dependencies"] {
        let start = format!("\n[{section}]\n");
        let block = manifest.split_once(&start).unwrap_or_else(|| panic!("no section `{section}`")).1;
        let names: Vec<&str> = block
            .lines()
            .take_while(|line| !line.starts_with('['))
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| Some(line.split_once(" = ")?.0))
            .collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted, "[{section}]");
    }
}

#[test]
fn the_lockfile_does_not_grow_unseen() {
    let packages = read("Cargo.lock").matches("[[package]]").count();
    assert!(packages <= LOCKED_PACKAGES, "{packages} packages are locked, more than {LOCKED_PACKAGES}");
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let policy = toml("deny.toml");
    let allowed = policy["licenses"]["allow"].as_array().expect("a list of licences");
    let allowed: BTreeSet<&str> = allowed.iter().filter_map(toml::Value::as_str).collect();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", TARGET])
        .current_dir(repository())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(packages.len() > 100, "cargo named only {} packages", packages.len());
    let refused: BTreeMap<&str, &str> = packages
        .iter()
        .map(|package| {
            (package["name"].as_str().unwrap_or("?"), package["license"].as_str().unwrap_or("none"))
        })
        .filter(|(_, licence)| !is_allowed(licence, &allowed))
        .collect();
    assert_eq!(refused, BTreeMap::new(), "see [licenses] in deny.toml");
}

/// Tells whether an SPDX expression can be met with the allowed licences alone. `/` is an old spelling of `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced =
        expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "+WITH+");
    let mut words = spaced.split_whitespace();
    any_of(&mut words, allowed)
}

/// `term (OR term)*`, up to a closing parenthesis or the end; a term is `licence (AND licence)*`.
fn any_of<'a>(words: &mut impl Iterator<Item = &'a str>, allowed: &BTreeSet<&str>) -> bool {
    let (mut any, mut all) = (false, true);
    while let Some(word) = words.next() {
        match word {
            "(" => all &= any_of(words, allowed),
            ")" => break,
            "AND" => {}
            "OR" => {
                any |= all;
                all = true;
            }
            licence => all &= allowed.contains(licence.replace("+WITH+", " WITH ").as_str()),
        }
    }
    any | all
}

#[test]
fn licence_expressions_are_read() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]);
    for (expression, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0 OR MIT", true),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("(GPL-2.0 OR GPL-3.0) AND MIT", false),
        ("none", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn every_format_is_named_by_a_test() {
    let tests: Vec<String> = files()
        .iter()
        .filter(|path| path.starts_with("tests") || path.starts_with("src") || path.starts_with("python"))
        .filter(|path| has_extension(path, &["rs", "py"]))
        .map(read)
        .filter(|text| {
            text.contains("#[test]") || text.contains("#[tokio::test]") || text.contains("def test_")
        })
        .collect();
    let formats: Vec<PathBuf> = files().into_iter().filter(|path| path.starts_with("docs/formats")).collect();
    assert!(!formats.is_empty());
    for format in formats {
        let name = format.to_string_lossy().into_owned();
        assert!(tests.iter().any(|text| text.contains(&name)), "no test names {name}");
    }
}

#[test]
fn decisions_are_numbered_and_fit_on_a_page() {
    let decisions: Vec<PathBuf> = files().into_iter().filter(|path| path.starts_with("docs/adr")).collect();
    assert!(!decisions.is_empty());
    for (index, path) in decisions.iter().enumerate() {
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        assert!(name.starts_with(&format!("{:04}-", index + 1)), "{name} is not number {}", index + 1);
        let text = read(path);
        for heading in ["## Context", "## Decision", "## Consequences", "## Alternatives"] {
            assert!(text.contains(heading), "{name} has no heading `{heading}`");
        }
        assert!(text.lines().count() <= LINES_OF_A_DECISION, "{name} is longer than a page");
    }
}

#[test]
fn scripts_are_executable_and_stop_at_the_first_failure() {
    // Templates are scripts of bentos and images, which have their own rules.
    let scripts: Vec<PathBuf> = files()
        .into_iter()
        .filter(|path| !path.starts_with("templates"))
        .filter(|path| {
            fs::read(repository().join(path)).is_ok_and(|bytes| bytes.starts_with(b"#!/usr/bin/env bash"))
        })
        .collect();
    assert!(scripts.contains(&PathBuf::from(".ci/run")), "the walk missed .ci/run: {scripts:?}");
    for script in scripts {
        let mode = fs::metadata(repository().join(&script)).expect("it was just read").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{} is not executable", script.display());
        assert!(read(&script).contains("set -euo pipefail"), "{} goes on after a failure", script.display());
    }
}
