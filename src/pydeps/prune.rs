//! Leaves out files that no program run from an image can use.
//!
//! The rules look at one distribution at a time and at nothing outside it, so that its tree does not depend
//! on its company. When in doubt a file stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::elf;
use super::error::Error;
use super::normalize::{TreeFiles, measured};

/// Names of directories that may hold a test suite.
const SUITE_NAMES: [&str; 2] = ["tests", "test"];

/// Ends of sources that were compiled into an extension module of the same name.
const COMPILED_SOURCES: [&str; 6] = [".pyx", ".pyx.tp", ".pyx.in", ".c", ".cpp", ".cc"];

/// Words of code that reads stub files at run time.
const STUB_READERS: [&str; 3] = ["attach_stub", ".pyi\"", ".pyi'"];

/// Whether files are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Leave out what [`Rule`] lists.
    #[default]
    Prune,
    /// Keep every file.
    Keep,
}

/// Why a file is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A directory `tests` or `test` with `test_*.py` in it, which nothing outside it in the distribution
    /// imports or names.
    TestSuite,
    /// Static library `*.a`: for linking only.
    StaticLibrary,
    /// C or Cython source of an extension module that is there, compiled, beside it.
    CompiledSource,
    /// Type stub `*.pyi` of a distribution whose code never reads stubs.
    TypeStub,
    /// Symbol table of a shared library, for debuggers and static linkers; the file stays.
    Symbols,
}

/// What one rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Pruned {
    /// The rule.
    pub rule: Rule,
    /// Number of files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes what the rules name from the tree and its list; returns what each rule saved.
pub(super) fn prune(tree: &Path, packages: &str, files: &mut TreeFiles) -> Result<Vec<Pruned>, Error> {
    let sources = Sources::read(tree, packages, files)?;
    let suites = sources.unused_suites(files, packages);
    let mut saved: BTreeMap<Rule, Pruned> = BTreeMap::new();
    let mut removed = Vec::new();
    for (path, file) in files.iter() {
        let Some(rule) = rule_for(path, files, &suites, &sources) else { continue };
        let entry = saved.entry(rule).or_insert(Pruned { rule, files: 0, bytes: 0 });
        entry.files += 1;
        entry.bytes += file.size;
        removed.push(path.clone());
    }
    for path in removed {
        let place = tree.join(&path);
        fs::remove_file(&place).map_err(Error::file("remove", &place))?;
        files.remove(&path);
        remove_empty_parents(tree, &place);
    }
    if let Some(symbols) = remove_symbols(tree, files)? {
        saved.insert(symbols.rule, symbols);
    }
    Ok(saved.into_values().collect())
}

fn remove_symbols(tree: &Path, files: &mut TreeFiles) -> Result<Option<Pruned>, Error> {
    let mut saved = Pruned { rule: Rule::Symbols, files: 0, bytes: 0 };
    for (path, file) in files.iter_mut().filter(|(path, _)| ends_with(path, ".so") || path.contains(".so.")) {
        let place = tree.join(path);
        if elf::shorten(&place).map_err(Error::file("shorten", &place))? {
            let before = file.size;
            *file = measured(&place, file.executable)?;
            saved.files += 1;
            saved.bytes += before - file.size;
        }
    }
    Ok((saved.files > 0).then_some(saved))
}

fn rule_for(path: &str, files: &TreeFiles, suites: &BTreeSet<String>, sources: &Sources) -> Option<Rule> {
    if path.contains(".dist-info/") {
        return None;
    }
    let is_in_suite = ancestors(path).any(|directory| suites.contains(directory));
    if is_in_suite {
        return Some(Rule::TestSuite);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    if ends_with(name, ".a") {
        return Some(Rule::StaticLibrary);
    }
    if ends_with(name, ".pyi") && !sources.reads_stubs {
        return Some(Rule::TypeStub);
    }
    // The longest end first: `.pyx.tp` is also no `.tp`.
    let stem =
        COMPILED_SOURCES.iter().filter_map(|end| path.strip_suffix(end)).min_by_key(|stem| stem.len())?;
    let module = format!("{stem}.");
    let siblings = files.range(module.clone()..).take_while(|(path, _)| path.starts_with(&module));
    siblings.into_iter().any(|(path, _)| ends_with(path, ".so")).then_some(Rule::CompiledSource)
}

fn ends_with(name: &str, end: &str) -> bool {
    name.len() > end.len() && name.ends_with(end)
}

/// Directories above a path, longest first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        rest = rest.rsplit_once('/')?.0;
        Some(rest)
    })
}

fn remove_empty_parents(tree: &Path, place: &Path) {
    for directory in place.ancestors().skip(1).take_while(|directory| *directory != tree) {
        // Fails when something is left in it, which ends the climb.
        if fs::remove_dir(directory).is_err() {
            return;
        }
    }
}

/// What the distribution's own modules, outside its test suites, import and name.
#[derive(Default)]
struct Sources {
    /// Dotted names that import statements reach.
    imported: BTreeSet<String>,
    /// Texts of modules that contain the word `test`, by path.
    mentioning: BTreeMap<String, String>,
    reads_stubs: bool,
}

impl Sources {
    fn read(tree: &Path, packages: &str, files: &TreeFiles) -> Result<Self, Error> {
        let mut sources = Self::default();
        let has_stubs = files.keys().any(|path| ends_with(path, ".pyi"));
        let has_suites = files.keys().any(|path| suite_of(path, packages).is_some());
        if !has_stubs && !has_suites {
            return Ok(sources);
        }
        let prefix = format!("{packages}/");
        for path in files.keys().filter(|path| ends_with(path, ".py") && suite_of(path, packages).is_none()) {
            let Some(module) = path.strip_prefix(&prefix) else { continue };
            if module.rsplit('/').next() == Some("conftest.py") {
                continue;
            }
            let place = tree.join(path);
            let bytes = fs::read(&place).map_err(Error::file("read", &place))?;
            let text = String::from_utf8_lossy(&bytes);
            sources.reads_stubs |= STUB_READERS.iter().any(|word| text.contains(word));
            if has_suites && text.contains("test") {
                sources.imported.extend(imports(&text, module));
                sources.mentioning.insert(path.clone(), text.into_owned());
            }
        }
        Ok(sources)
    }

    /// Test-suite directories that nothing outside them needs.
    fn unused_suites(&self, files: &TreeFiles, packages: &str) -> BTreeSet<String> {
        let mut suites: BTreeMap<&str, bool> = BTreeMap::new();
        for path in files.keys() {
            let Some(suite) = suite_of(path, packages) else { continue };
            let name = path.rsplit('/').next().unwrap_or(path);
            let is_test = name.starts_with("test_") && ends_with(name, ".py") || ends_with(name, "_test.py");
            *suites.entry(suite).or_default() |= is_test;
        }
        let unused =
            suites.into_iter().filter(|(suite, has_tests)| *has_tests && !self.needs(suite, packages));
        unused.map(|(suite, _)| suite.to_owned()).collect()
    }

    fn needs(&self, suite: &str, packages: &str) -> bool {
        let inside = suite.strip_prefix(packages).unwrap_or(suite).trim_start_matches('/');
        let dotted = inside.replace('/', ".");
        let below = format!("{dotted}.");
        if self.imported.iter().any(|name| *name == dotted || name.starts_with(&below)) {
            return true;
        }
        let (parent, name) = suite.rsplit_once('/').unwrap_or(("", suite));
        self.mentioning.iter().any(|(path, text)| {
            let is_beside = path.rsplit_once('/').is_some_and(|(directory, _)| directory == parent);
            quotes(text, &dotted) || quotes(text, inside) || is_beside && quotes(text, name)
        })
    }
}

/// Tells whether a string in the code starts with these words.
fn quotes(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let after = text[at + words.len()..].chars().next();
        let ends_word = after.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        ends_word && text[..at].ends_with(['"', '\''])
    })
}

/// The outermost test-suite directory of a path below the packages directory.
fn suite_of<'a>(path: &'a str, packages: &str) -> Option<&'a str> {
    let inside = path.strip_prefix(packages)?.strip_prefix('/')?;
    let mut end = path.len() - inside.len();
    for part in inside.split('/') {
        let start = end;
        end += part.len() + 1;
        if SUITE_NAMES.contains(&part) && end <= path.len() {
            return Some(&path[..start + part.len()]);
        }
    }
    None
}

/// Dotted names that the import statements of a module reach; `module` is its path below the packages
/// directory.
fn imports(text: &str, module: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        if !start.starts_with("from ") && !start.starts_with("import ") && !start.starts_with("from.") {
            continue;
        }
        let mut statement = uncommented(start).to_owned();
        while statement.ends_with('\\') || statement.contains('(') && !statement.contains(')') {
            let Some(more) = lines.next() else { break };
            statement = format!("{} {}", statement.trim_end_matches('\\'), uncommented(more.trim()));
        }
        reach(&statement, module, &mut names);
    }
    names
}

fn uncommented(line: &str) -> &str {
    line.split('#').next().unwrap_or(line).trim_end()
}

/// Adds what one import statement reaches.
fn reach(statement: &str, module: &str, names: &mut BTreeSet<String>) {
    let first_word = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    if let Some(list) = statement.strip_prefix("import ") {
        names.extend(list.split(',').map(first_word));
        return;
    }
    let Some((from, list)) = statement.strip_prefix("from").and_then(|rest| rest.split_once(" import"))
    else {
        return;
    };
    let from = absolute(from.trim(), module);
    for name in list.trim().trim_matches(['(', ')']).split(',').map(first_word) {
        names.insert(format!("{from}.{}", name.trim_matches(['(', ')'])).trim_matches('.').to_owned());
    }
    names.insert(from);
}

/// Resolves a relative module name.
fn absolute(from: &str, module: &str) -> String {
    let level = from.len() - from.trim_start_matches('.').len();
    if level == 0 {
        return from.to_owned();
    }
    let mut package: Vec<&str> = module.split('/').collect();
    package.truncate(package.len().saturating_sub(level));
    package.extend(from[level..].split('.').map(str::trim).filter(|part| !part.is_empty()));
    package.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pydeps::normalize::replace;

    const SITE: &str = "lib/python3.11/site-packages";

    fn pruned(files: &[(&str, &str)]) -> (Vec<String>, Vec<Pruned>) {
        let tree = tempfile::tempdir().unwrap();
        let mut list = TreeFiles::new();
        for (path, text) in files {
            let path = format!("{SITE}/{path}");
            let place = tree.path().join(&path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            list.insert(path, replace(&place, text.as_bytes(), false).unwrap());
        }
        let report = prune(tree.path(), SITE, &mut list).unwrap();
        for path in list.keys() {
            assert!(tree.path().join(path).is_file(), "{path}");
        }
        (list.into_keys().map(|path| path[SITE.len() + 1..].to_owned()).collect(), report)
    }

    const SUITE: [(&str, &str); 3] = [
        ("p/sub/tests/__init__.py", ""),
        ("p/sub/tests/test_a.py", "import p"),
        ("p/sub/tests/data/d.csv", "1,2"),
    ];

    fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        SUITE.iter().chain(more).copied().collect()
    }

    #[test]
    fn unused_suites_go_with_their_data() {
        let (left, report) = pruned(&with(&[
            ("p/__init__.py", "import p.sub.testing  # test"),
            ("p/sub/conftest.py", "import p.sub.tests"),
        ]));
        assert_eq!(left, ["p/__init__.py", "p/sub/conftest.py"]);
        assert_eq!(report, [Pruned { rule: Rule::TestSuite, files: 3, bytes: 11 }]);
    }

    #[test]
    fn used_suites_stay() {
        for (path, text) in [
            ("p/a.py", "from p.sub.tests.test_a import x"),
            ("p/a.py", "def f():\n    from .sub import (\n        other,  # (test)\n        tests,\n    )\n"),
            ("p/sub/a.py", "from . import tests"),
            ("p/sub/deep/a.py", "from ..tests import test_a"),
            ("p/a.py", "import os, p.sub.tests as t"),
            ("p/a.py", "from p.sub \\\n  import tests"),
            ("p/a.py", "load('p.sub.tests.data')"),
            ("p/a.py", "open(\"p/sub/tests/data/d.csv\")"),
            ("p/sub/__init__.py", "__all__ = ['tests']"),
        ] {
            let (left, report) = pruned(&with(&[(path, text)]));
            assert_eq!(left.len(), 4, "{path}: {text}: {report:?}");
        }
    }

    #[test]
    fn a_directory_named_test_without_tests_stays() {
        let (left, _) = pruned(&[
            ("django/test/__init__.py", ""),
            ("django/test/client.py", ""),
            ("x/test/test_x.py", ""),
        ]);
        assert_eq!(left, ["django/test/__init__.py", "django/test/client.py"]);
    }

    #[test]
    fn build_leftovers_go_only_when_they_are() {
        let (left, report) = pruned(&[
            ("p/lib/libnpymath.a", "!<arch>"),
            ("p/_x.pyx", "c"),
            ("p/_x.pyx.tp", "c"),
            ("p/_x.cpython-311-x86_64-linux-gnu.so", "elf"),
            ("p/kernel.c", "read at run time"),
            ("p/_x.pxd", "for cimport"),
            ("p/a.pyi", ""),
            (".a", "odd name"),
        ]);
        assert_eq!(left, [".a", "p/_x.cpython-311-x86_64-linux-gnu.so", "p/_x.pxd", "p/kernel.c"]);
        let rules: Vec<_> = report.iter().map(|pruned| (pruned.rule, pruned.files)).collect();
        assert_eq!(rules, [(Rule::StaticLibrary, 1), (Rule::CompiledSource, 2), (Rule::TypeStub, 1)]);
        let (left, _) =
            pruned(&[("p/__init__.py", "lazy.attach_stub(__name__, __file__)"), ("p/__init__.pyi", "")]);
        assert_eq!(left.len(), 2);
    }
}
