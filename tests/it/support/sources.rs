//! The project's own Rust sources, as the rules about them see them: code only, and the paths it names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One file below `src/`.
pub(crate) struct Source {
    /// Relative to the repository.
    pub(crate) path: PathBuf,
    /// `src/serve/http/mod.rs` is `["serve", "http"]`; the roots of the library and the binaries are empty.
    pub(crate) module: Vec<String>,
    /// The text with comments, literals and unit tests blanked out; line numbers stay.
    pub(crate) code: String,
}

/// A path of this crate that a source names, such as `crate::oci::digest::Digest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NamedPath {
    /// From the crate's root: `["oci", "digest", "Digest"]`.
    pub(crate) segments: Vec<String>,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl Source {
    /// Reads every source of the package, sorted by path.
    pub(crate) fn all() -> Vec<Self> {
        let mut sources: Vec<Self> = WalkDir::new(repository().join("src"))
            .sort_by_file_name()
            .into_iter()
            .map(|entry| entry.expect("src/ can be walked").into_path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| Self::read(&path))
            .collect();
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(sources.len() > 20, "the walk over src/ found only {} files", sources.len());
        sources
    }

    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("sources are UTF-8");
        let path = path.strip_prefix(repository()).expect("sources are in the repository").to_path_buf();
        let code = without_tests(&without_comments_and_literals(&text));
        Self { module: module_of(&path), path, code }
    }

    /// Tells whether the file holds nothing but unit tests.
    pub(crate) fn is_tests(&self) -> bool {
        self.module.last().is_some_and(|name| name == "tests")
    }

    /// The module directly below the root that the file belongs to; `None` for the roots themselves.
    pub(crate) fn room(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }

    /// Every path of this crate the code names: `crate::…`, `super::…`, and `ekiben::…` in the binaries.
    pub(crate) fn named_paths(&self) -> BTreeSet<NamedPath> {
        let mut found = BTreeSet::new();
        let words = words(&self.code);
        for (index, word) in words.iter().enumerate() {
            let after_path = index > 0 && words[index - 1].text == "::";
            if after_path || words.get(index + 1).is_none_or(|next| next.text != "::") {
                continue;
            }
            let base = match word.text {
                "crate" => Vec::new(),
                "ekiben" if self.module.is_empty() => Vec::new(),
                "super" => self.module[..self.module.len().saturating_sub(1)].to_vec(),
                _ => continue,
            };
            follow(&words, index + 2, &base, &mut found);
        }
        found
    }

    /// The lines of the code on which `needle` stands, not as a part of a longer name.
    pub(crate) fn lines_with(&self, needle: &str) -> Vec<usize> {
        let part_of_name =
            |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
        self.code
            .match_indices(needle)
            .filter(|(start, _)| {
                let before = self.code[..*start].chars().next_back();
                let after = self.code[start + needle.len()..].chars().next();
                let open_end = needle.ends_with(|c: char| c.is_alphanumeric() || c == '_');
                !(part_of_name(before) || open_end && part_of_name(after))
            })
            .map(|(start, _)| line_of(&self.code, start))
            .collect()
    }
}

fn module_of(path: &Path) -> Vec<String> {
    let relative = path.strip_prefix("src").expect("the walk started at src/").with_extension("");
    let mut module: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.first().is_some_and(|first| first == "bin") || module == ["lib"] || module == ["main"] {
        module.clear();
    }
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

fn line_of(text: &str, position: usize) -> usize {
    text[..position].matches('\n').count() + 1
}

struct Word<'a> {
    text: &'a str,
    line: usize,
}

/// Splits code into names, `::`, and single punctuation characters.
fn words(code: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if first == '\n' {
            line += 1;
        }
        if !first.is_whitespace() {
            words.push(Word { text: &rest[..length], line });
        }
        rest = &rest[length..];
    }
    words
}

/// Follows a path from `start`, into its braces, and returns the index after it.
fn follow(words: &[Word<'_>], start: usize, base: &[String], found: &mut BTreeSet<NamedPath>) -> usize {
    let mut segments = base.to_vec();
    let mut index = start;
    while let Some(word) = words.get(index) {
        if word.text == "{" {
            return follow_group(words, index, &segments, found);
        }
        if word.text == "super" {
            segments.pop();
        } else if word.text != "self" {
            segments.push(word.text.to_owned());
        }
        if words.get(index + 1).is_none_or(|next| next.text != "::") {
            break;
        }
        index += 2;
    }
    let line = words.get(index).map_or(0, |word| word.line);
    found.insert(NamedPath { segments, line });
    index + 1
}

fn follow_group(words: &[Word<'_>], open: usize, base: &[String], found: &mut BTreeSet<NamedPath>) -> usize {
    let mut index = open + 1;
    while let Some(word) = words.get(index) {
        match word.text {
            "}" => return index + 1,
            "," => index += 1,
            "as" => index += 2,
            _ => index = follow(words, index, base, found),
        }
    }
    index
}

/// Blanks out comments, string and character literals; newlines stay, so that line numbers do.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let length = skipped_length(rest, code.chars().next_back());
        if length == 0 {
            let first = rest.chars().next().expect("the rest is not empty");
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// How many bytes a comment or literal at the start of `rest` takes; 0 if there is none.
fn skipped_length(rest: &str, before: Option<char>) -> usize {
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_length(rest);
    }
    if rest.starts_with('"') {
        return quoted_length(rest, '"');
    }
    if !in_name {
        let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'));
        if let Some(raw) = raw {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            if raw[hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let prefix = rest.len() - raw.len() + hashes + 1;
                return rest[prefix..].find(&end).map_or(rest.len(), |found| prefix + found + end.len());
            }
        }
    }
    if let Some(quoted) = rest.strip_prefix('\'') {
        let mut characters = quoted.chars();
        let first = characters.next();
        let is_character = first == Some('\\') || characters.next() == Some('\'');
        return if is_character { quoted_length(rest, '\'') } else { 0 };
    }
    0
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut position = 0;
    while position < rest.len() {
        let here = &rest[position..];
        if here.starts_with("/*") {
            depth += 1;
            position += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            position += 2;
            if depth == 0 {
                return position;
            }
        } else {
            position += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (position, character) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == quote {
            return position + quote.len_utf8();
        }
    }
    rest.len()
}

/// Blanks out `#[cfg(test)]` items that have a body.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        kept.push_str(&rest[..start]);
        let item = &rest[start..];
        let end = item_length(item);
        kept.extend(item[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

/// How many bytes an item takes: to its semicolon, or to the brace that closes its body.
fn item_length(item: &str) -> usize {
    let mut depth = 0_usize;
    for (position, character) in item.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return position + 1;
                }
            }
            ';' if depth == 0 => return position + 1,
            _ => {}
        }
    }
    item.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(module: &[&str], text: &str) -> Source {
        let code = without_tests(&without_comments_and_literals(text));
        let module = module.iter().map(|&part| part.to_owned()).collect();
        Source { path: PathBuf::from("src/x.rs"), module, code }
    }

    fn paths(source: &Source) -> Vec<String> {
        source.named_paths().into_iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn paths_are_found_in_groups_inline_and_through_super() {
        let text = "use crate::{oci::{digest::Digest, tar}, tag as t};\nfn f() { crate::fs::read(super::super::env::x()) }";
        assert_eq!(
            paths(&source(&["serve", "http"], text)),
            ["env::x", "fs::read", "oci::digest::Digest", "oci::tar", "tag"]
        );
    }

    #[test]
    fn comments_literals_and_unit_tests_name_nothing() {
        let text = "// crate::a::b\nconst A: &str = \"crate::c\";\nconst B: &str = r#\"crate::\"d\"#;\nfn f<'a>(c: char) -> bool { c == '\"' }\n#[cfg(test)]\nmod tests { use crate::e; }\nuse crate::real;";
        assert_eq!(paths(&source(&["x"], text)), ["real"]);
    }

    #[test]
    fn a_needle_is_no_part_of_a_longer_name() {
        let source = source(&[], "println!(1);\neprintln!(2);\nlet my_clap = clap::Parser;");
        assert_eq!(source.lines_with("println!"), [1]);
        assert_eq!(source.lines_with("clap"), [3]);
    }
}
