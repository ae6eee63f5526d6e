//! The selection of files against the original's, which uses the Python package `pathspec`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use ekiben::bentofile::Selector;
use serde_json::Value as Json;

use crate::support::peers::{Venv, program};

/// Makes random patterns and paths, and says which paths the original takes.
const CASES: &str = r##"
import json, random, sys
from bentoml._internal.bento.build_config import BentoPathSpec
random.seed(7)
PARTS = ["a", "b", "c.py", "d.txt", "e", ".env", "x y", "{a}", "f[1]", "src", "data", "é", "#c", "!d", "a-b", "A", "venv", "__pycache__", ".git"]
GLOBS = PARTS + ["*", "**", "*.py", "*.{py,txt}", "?", "[ab]", "[!a]", "[]a]", "a[", "\\*", "\\#c", "\\!d", "[a-c]*", "*.txt", "d*", "**/", "{", "}"]
def pattern():
    p = "/".join(random.choice(GLOBS) for _ in range(random.choice([1, 1, 2, 3])))
    if random.random() < .2: p = "/" + p
    if random.random() < .3 and not p.endswith("/"): p += "/"
    if random.random() < .2: p = "!" + p
    if random.random() < .05: p += "  "
    return p
def path():
    return "/".join(random.choice(PARTS) for _ in range(random.choice([1, 2, 3, 4])))
cases = []
while len(cases) < 4000:
    include = [pattern() for _ in range(random.choice([1, 1, 2, 3]))] if random.random() < .6 else ["*"]
    exclude = [pattern() for _ in range(random.choice([0, 1, 2, 3]))]
    try:
        spec = BentoPathSpec(include, exclude, "/nonexistent")
    except Exception:
        continue
    # `?` and classes match one byte here, one character there (select.rs says so).
    single = any(c in q for q in include + exclude for c in "?[")
    for p in sorted({path() for _ in range(8)}):
        if single and "é" in p:
            continue
        cases.append([include, exclude, p, bool(spec.includes(p))])
json.dump(cases, sys.stdout)
"##;

#[test]
fn the_same_files_are_taken_as_by_the_original() {
    let mut python = Command::new(program(Venv::Upstream, "python"))
        .arg("-")
        .env("BENTOML_DO_NOT_TRACK", "true")
        .env("BENTOML_HOME", tempfile::tempdir().expect("a temporary directory").path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    python.stdin.take().expect("piped").write_all(CASES.as_bytes()).expect("written");
    let output = python.wait_with_output().expect("python ends");
    let cases: Vec<(Vec<String>, Vec<String>, String, bool)> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(cases.len() >= 4000);
    let taken = cases.iter().filter(|(.., taken)| *taken).count();
    assert!(taken > 500 && taken < cases.len() - 500, "{taken} of {} are taken: a poor test", cases.len());
    let mut different = Vec::new();
    for (include, exclude, path, expected) in cases {
        if Selector::new(&include, &exclude).includes(&path) != expected {
            different.push(Json::from(vec![
                format!("{include:?}"),
                format!("{exclude:?}"),
                path,
                expected.to_string(),
            ]));
        }
    }
    assert!(
        different.is_empty(),
        "{} differ: {}",
        different.len(),
        Json::from(different[..10.min(different.len())].to_vec())
    );
}
