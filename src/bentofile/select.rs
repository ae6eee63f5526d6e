//! Which files of a project go into a bento.
//!
//! A file is taken when `include` matches it and neither `exclude`, nor the built-in list, nor a
//! `.bentoignore` above it does. Patterns are those of `.gitignore` as the original reads them; in
//! a few corners that differs from the matcher used here, and [`Patterns`] makes up for it. One corner
//! stays: `?` and `[…]` stand for one byte, so they do not match a letter outside of ASCII.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// The file that leaves things out of its directory and those below.
const IGNORE_FILE: &str = ".bentoignore";

/// Never taken.
const BUILT_IN: [&str; 5] = [".git/", ".venv/", "venv/", "__pycache__/", ".DS_Store"];

/// Files larger than this are probably models, which belong into the model store.
const LARGE_FILE: u64 = 10 * 1024 * 1024;

/// The files of a project could not be selected.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// A directory or file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is no pattern.
    #[error("{}:{line}: the pattern `{pattern}` cannot be understood", path.display())]
    Pattern {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The pattern.
        pattern: String,
    },
}

/// A file that goes into the bento.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedFile {
    /// Its path in the project, with `/`.
    pub path: String,
    /// Where it is.
    pub source: PathBuf,
    /// Its bytes; of a link, those of the link.
    pub size: u64,
    /// The permission bits.
    pub mode: u32,
    /// Where it points, if it is a symbolic link.
    pub link: Option<PathBuf>,
}

/// The files of a project that go into its bento, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The files.
    pub files: Vec<SelectedFile>,
    /// What may surprise.
    pub warnings: Vec<String>,
}

/// The rules for one project.
#[derive(Debug)]
pub struct Selector {
    include: Patterns,
    exclude: Patterns,
    built_in: Patterns,
}

/// A `.bentoignore` and the directory it speaks about (empty for the root).
#[derive(Debug)]
struct LocalRules {
    directory: String,
    patterns: Patterns,
}

impl Selector {
    /// Prepares the rules; every pattern has passed `is_pattern`.
    pub fn new(include: &[String], exclude: &[String]) -> Self {
        Self {
            include: Patterns::new(include.iter().map(String::as_str)),
            exclude: Patterns::new(exclude.iter().map(String::as_str)),
            built_in: Patterns::new(BUILT_IN),
        }
    }

    /// Walks a project. Directories that cannot contain anything to take are not entered.
    pub fn select(&self, context: &Path) -> Result<Selection, SelectError> {
        let mut selection = Selection::default();
        self.walk(context, "", &mut Vec::new(), &mut selection)?;
        selection.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(selection)
    }

    /// Whether a file is taken, as far as that does not depend on `.bentoignore` files.
    pub fn includes(&self, path: &str) -> bool {
        self.takes(path, &[])
    }

    fn walk(
        &self,
        context: &Path,
        directory: &str,
        rules: &mut Vec<LocalRules>,
        selection: &mut Selection,
    ) -> Result<(), SelectError> {
        let absolute = context.join(directory);
        let known = rules.len();
        rules.extend(local_rules(&absolute, directory)?);
        for entry in sorted_entries(&absolute)? {
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let shown = entry.path().display().to_string();
                selection.warnings.push(format!("`{shown}` is left out: its name is not UTF-8"));
                continue;
            };
            let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            let read = |source| SelectError::Read { path: entry.path(), source };
            let kind = entry.file_type().map_err(read)?;
            if kind.is_dir() {
                if !self.rules_out(&path, rules) {
                    self.walk(context, &path, rules, selection)?;
                }
            } else if kind.is_symlink() && entry.path().is_dir() {
                // The original leaves them out too, and says nothing.
                if self.takes_from(&entry.path(), &path, rules) {
                    selection.warnings.push(format!(
                        "`{path}` is left out: it is a link to a directory; put the directory itself in its place"
                    ));
                }
            } else if self.takes(&path, rules) {
                take(path, &entry, selection)?;
            }
        }
        rules.truncate(known);
        Ok(())
    }

    /// Whether a file is taken.
    fn takes(&self, path: &str, rules: &[LocalRules]) -> bool {
        self.include.matches(path, false)
            && !self.exclude.matches(path, false)
            && !self.built_in.matches(path, false)
            && !rules.iter().any(|rules| rules.patterns.matches(rules.relative(path), false))
    }

    /// Whether the rules would take anything that is right inside of a directory, if that can be known.
    fn takes_from(&self, directory: &Path, path: &str, rules: &[LocalRules]) -> bool {
        if self.rules_out(path, rules) {
            return false;
        }
        let Ok(entries) = sorted_entries(directory) else { return true };
        let mut inside =
            entries.iter().map(|entry| format!("{path}/{}", entry.file_name().to_string_lossy()));
        inside.any(|path| self.takes(&path, rules))
    }

    /// Whether nothing below a directory can be taken.
    fn rules_out(&self, path: &str, rules: &[LocalRules]) -> bool {
        self.built_in.matches_all_below(path)
            || self.exclude.matches_all_below(path)
            || rules.iter().any(|rules| rules.patterns.matches_all_below(rules.relative(path)))
    }
}

impl LocalRules {
    /// A path below the directory, seen from there.
    fn relative<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix(&self.directory).map_or(path, |rest| rest.trim_start_matches('/'))
    }
}

fn local_rules(directory: &Path, relative: &str) -> Result<Option<LocalRules>, SelectError> {
    let path = directory.join(IGNORE_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let text =
        fs::read_to_string(&path).map_err(|source| SelectError::Read { path: path.clone(), source })?;
    if let Some((line, pattern)) = text.lines().enumerate().find(|(_, line)| !is_pattern(line)) {
        return Err(SelectError::Pattern { path, line: line + 1, pattern: pattern.to_owned() });
    }
    Ok(Some(LocalRules { directory: relative.to_owned(), patterns: Patterns::new(text.lines()) }))
}

fn sorted_entries(directory: &Path) -> Result<Vec<fs::DirEntry>, SelectError> {
    let read = |source| SelectError::Read { path: directory.to_owned(), source };
    let entries = fs::read_dir(directory).map_err(read)?;
    let mut entries: Vec<_> = entries.collect::<Result<_, _>>().map_err(read)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

/// Takes a file or a link to a file.
fn take(path: String, entry: &fs::DirEntry, selection: &mut Selection) -> Result<(), SelectError> {
    let source = entry.path();
    let read = |error| SelectError::Read { path: source.clone(), source: error };
    let metadata = entry.metadata().map_err(read)?;
    let mut link = None;
    if metadata.is_symlink() {
        match fs::metadata(&source) {
            Ok(_) => {}
            Err(_) => selection.warnings.push(format!("`{path}` is a link that leads nowhere")),
        }
        let target = fs::read_link(&source).map_err(read)?;
        if leaves_project(&path, &target) {
            let shown = target.display();
            selection.warnings.push(format!("`{path}` links to `{shown}`, which is not in the project"));
        }
        link = Some(target);
    } else if !metadata.is_file() {
        selection.warnings.push(format!("`{path}` is left out: it is neither a file nor a link"));
        return Ok(());
    }
    if metadata.len() > LARGE_FILE {
        selection.warnings.push(format!("File size is larger than 10MiB: {path}"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    selection.files.push(SelectedFile { path, size: metadata.len(), mode, link, source });
    Ok(())
}

/// Whether a link at `path` leads out of the project.
fn leaves_project(path: &str, target: &Path) -> bool {
    use std::path::Component;
    let mut depth = path.matches('/').count();
    target.components().any(|part| match part {
        Component::Normal(_) => {
            depth += 1;
            false
        }
        Component::ParentDir => match depth.checked_sub(1) {
            Some(up) => {
                depth = up;
                false
            }
            None => true,
        },
        Component::CurDir => false,
        Component::RootDir | Component::Prefix(_) => true,
    })
}

/// Whether a line can be understood as a pattern.
pub(super) fn is_pattern(line: &str) -> bool {
    let body = line.trim_end();
    let trailing_backslashes = body.len() - body.trim_end_matches('\\').len();
    body != "!" && (trailing_backslashes.is_multiple_of(2) || body.len() != line.len())
}

/// A list of patterns in which the last match counts, whether it is the file itself that matches or
/// a directory above it. The matcher used here would let the file's own matches go first, so each
/// pattern is a matcher of its own.
#[derive(Debug)]
struct Patterns {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    matcher: Gitignore,
    is_exception: bool,
}

impl Patterns {
    fn new<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self { rules: lines.into_iter().filter_map(Rule::new).collect() }
    }

    fn matches(&self, path: &str, is_directory: bool) -> bool {
        let last = self.rules.iter().rev().find(|rule| rule.matches(path, is_directory));
        last.is_some_and(|rule| !rule.is_exception)
    }

    /// Whether everything below a directory is matched, and no exception can undo that.
    fn matches_all_below(&self, directory: &str) -> bool {
        !self.rules.iter().any(|rule| rule.is_exception) && self.matches(directory, true)
    }
}

impl Rule {
    fn new(line: &str) -> Option<Self> {
        let (body, is_exception) = match line.strip_prefix('!') {
            Some(body) => (body, true),
            None => (line, false),
        };
        let mut builder = GitignoreBuilder::new("");
        // What the matcher cannot compile matches nothing, as an unclosed bracket does there.
        builder.add_line(None, &translate(body)?).ok()?;
        Some(Self { matcher: builder.build().ok()?, is_exception })
    }

    /// Whether the path or a directory above it is matched; the root itself, whose path is empty,
    /// does not count.
    fn matches(&self, path: &str, is_directory: bool) -> bool {
        let mut ancestors = Path::new(path).ancestors().filter(|path| !path.as_os_str().is_empty());
        ancestors.next().is_some_and(|path| self.matcher.matched(path, is_directory).is_ignore())
            || ancestors.any(|directory| self.matcher.matched(directory, true).is_ignore())
    }
}

/// Spells a pattern so that the matcher understands by it what the original does: braces are
/// ordinary characters, `**/` alone means directories, `a/**/` means all below `a`, and an unclosed
/// bracket matches nothing.
fn translate(body: &str) -> Option<String> {
    match body.trim_end() {
        "/" => return None,
        "**/" | "/**/" => return Some("*/".to_owned()),
        _ => {}
    }
    let body = body.strip_suffix("/**/").map_or_else(|| body.to_owned(), |start| format!("{start}/**"));
    let mut spelled = String::new();
    let mut rest = body.chars().peekable();
    while let Some(ch) = rest.next() {
        match ch {
            '\\' => {
                spelled.push(ch);
                spelled.extend(rest.next());
            }
            '{' | '}' => {
                spelled.push('\\');
                spelled.push(ch);
            }
            '[' => {
                let class: String = rest.clone().collect();
                let end = class_end(&class)?;
                spelled.push('[');
                spelled.extend(rest.by_ref().take(end + 1));
            }
            _ => spelled.push(ch),
        }
    }
    Some(spelled)
}

/// The index (in characters) of the bracket that closes a class; the first character may be one.
fn class_end(class: &str) -> Option<usize> {
    let negation = usize::from(class.starts_with(['!', '^']));
    let mut chars = class.chars().enumerate().skip(negation);
    chars.next()?;
    let mut escaped = false;
    for (at, ch) in chars {
        match ch {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }

    fn selected(directory: &Path, include: &[&str], exclude: &[&str]) -> Vec<String> {
        let owned = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>();
        let selection = Selector::new(&owned(include), &owned(exclude)).select(directory).unwrap();
        selection.files.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn includes_less_excludes_less_ignore_files() {
        let files = [
            ("service.py", ""),
            (".env", "S=1"),
            ("data/a.csv", ""),
            ("data/keep.csv", ""),
            ("data/deep/b.csv", ""),
            ("data/.bentoignore", "deep/\n/a.csv\n"),
            (".git/config", ""),
            ("pkg/__pycache__/x.pyc", ""),
            ("notes/n.md", ""),
        ];
        let directory = project(&files);
        let all = selected(directory.path(), &["*"], &["notes/"]);
        assert_eq!(all, [".env", "data/.bentoignore", "data/keep.csv", "service.py"]);
        let python = selected(directory.path(), &["*.py", "data/**", "!data/keep.csv"], &[]);
        assert_eq!(python, ["data/.bentoignore", "service.py"]);
    }

    #[test]
    fn an_excluded_directory_is_not_entered() {
        let directory = project(&[("service.py", ""), ("big/x", "")]);
        // Entering the directory would find this file and fail on it.
        fs::write(directory.path().join("big/.bentoignore"), "\\").unwrap();
        assert_eq!(selected(directory.path(), &["*"], &["big"]), ["service.py"]);
        let error = Selector::new(&["*".into()], &[]).select(directory.path()).unwrap_err();
        assert!(matches!(error, SelectError::Pattern { line: 1, .. }), "{error:?}");
    }

    #[test]
    fn an_exception_can_bring_back_a_file_of_an_excluded_directory() {
        let directory = project(&[("a/x", ""), ("a/y", "")]);
        assert_eq!(selected(directory.path(), &["*"], &["a/", "!a/y"]), ["a/y"]);
    }

    #[test]
    fn links_stay_links_and_odd_ones_are_mentioned() {
        let directory = project(&[("a", "x"), ("d/b", "")]);
        symlink("a", directory.path().join("good")).unwrap();
        symlink("d", directory.path().join("to_directory")).unwrap();
        symlink("nowhere", directory.path().join("dangling")).unwrap();
        symlink("../../etc/passwd", directory.path().join("d/out")).unwrap();
        let selection = Selector::new(&["*".into()], &[]).select(directory.path()).unwrap();
        let links: Vec<_> = selection
            .files
            .iter()
            .filter_map(|file| Some((file.path.as_str(), file.link.as_ref()?.to_str()?)))
            .collect();
        assert_eq!(links, [("d/out", "../../etc/passwd"), ("dangling", "nowhere"), ("good", "a")]);
        assert!(
            selection
                .warnings
                .iter()
                .any(|warning| warning.contains("`dangling` is a link that leads nowhere"))
        );
        assert!(selection.warnings.iter().any(|warning| warning.contains("which is not in the project")));
        let directory_links = |include: &[&str], exclude: &[&str]| {
            let lists =
                [include, exclude].map(|list| list.iter().map(|&item| item.to_owned()).collect::<Vec<_>>());
            let warnings = Selector::new(&lists[0], &lists[1]).select(directory.path()).unwrap().warnings;
            warnings
                .iter()
                .filter(|warning| warning.starts_with("`to_directory` is left out: it is a link"))
                .count()
        };
        for include in ["*", "to_directory/", "to_directory/**"] {
            assert_eq!(directory_links(&[include], &[]), 1, "{include}");
            assert_eq!(directory_links(&[include], &["to_directory/"]), 0, "{include}");
        }
        assert_eq!(directory_links(&["*.py"], &[]), 0);
    }

    #[test]
    fn patterns_are_spelled_for_the_matcher() {
        assert_eq!(translate("*.{py,txt}").as_deref(), Some("*.\\{py,txt\\}"));
        assert_eq!(translate("[{]a").as_deref(), Some("[{]a"));
        assert_eq!(translate("**/").as_deref(), Some("*/"));
        assert_eq!(translate("a/**/").as_deref(), Some("a/**"));
        assert_eq!(translate("a["), None);
        assert_eq!(translate("[]a]").as_deref(), Some("[]a]"));
        assert!(!is_pattern("a\\") && !is_pattern("!") && is_pattern("a\\\\") && is_pattern(""));
    }
}
