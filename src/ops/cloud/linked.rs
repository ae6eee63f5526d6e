//! Models whose contents a server does not keep: how large they are where they are.

use serde::Deserialize;

use super::Remote;
use crate::http::{Method, Request, StatusCode, Url};
use crate::store::PinnedModel;
use crate::yaml::Value;

/// Largest list of files: the largest repositories have some ten thousand.
const MAX_LIST: u64 = 64 << 20;

/// A repository of the Hugging Face Hub.
#[derive(Deserialize)]
struct Repository {
    #[serde(default)]
    siblings: Vec<Sibling>,
}

/// A file of it.
#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

/// The bytes of the files that the bento takes of a model on the Hugging Face Hub; 0 where the hub does not tell.
///
/// The server only shows the number, so that not knowing it is no reason to fail.
pub(super) async fn size(remote: &Remote, model: &PinnedModel) -> u64 {
    let asked = ask(remote, model).await;
    if asked.is_none() {
        let message = format!("the size of model {} is not known: its hub does not tell", model.tag);
        remote.activity.report.warn(&message);
    }
    asked.unwrap_or_default()
}

async fn ask(remote: &Remote, model: &PinnedModel) -> Option<u64> {
    let metadata = model.metadata.as_ref()?;
    let text = |key: &str| metadata.get(key).and_then(Value::as_text);
    let path =
        format!("{}/api/models/{}/revision/{}", text("endpoint")?, text("model_id")?, text("revision")?);
    let url: Url = format!("{path}?blobs=true").parse().ok()?;
    let response = remote.http.send(Request::new(Method::GET, url)).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    let list: Repository = serde_json::from_slice(&response.bytes(MAX_LIST).await.ok()?).ok()?;
    let (include, exclude) = (patterns(metadata, "include"), patterns(metadata, "exclude"));
    let is_taken = |file: &&Sibling| {
        let fits = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &file.rfilename));
        include.as_ref().is_none_or(|include| fits(include))
            && !exclude.as_ref().is_some_and(|exclude| fits(exclude))
    };
    Some(list.siblings.iter().filter(is_taken).filter_map(|file| file.size).sum())
}

/// The patterns under a key: one, or a list; a directory means everything in it.
fn patterns(metadata: &Value, key: &str) -> Option<Vec<String>> {
    let value = metadata.get(key)?;
    let texts: Vec<&str> = match value.as_list() {
        Some(items) => items.iter().filter_map(Value::as_text).collect(),
        None => vec![value.as_text()?],
    };
    let whole = |text: &str| if text.ends_with('/') { format!("{text}*") } else { text.to_owned() };
    Some(texts.into_iter().map(whole).collect())
}

/// Whether a name fits a shell pattern (`*`, `?`, `[…]`), of which `*` takes slashes too, as in Python's `fnmatch`.
fn matches(pattern: &str, name: &str) -> bool {
    wild(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
}

fn wild(pattern: &[char], name: &[char]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return name.is_empty() };
    match first {
        '*' => (0..=name.len()).any(|skipped| wild(rest, &name[skipped..])),
        '?' => name.split_first().is_some_and(|(_, after)| wild(rest, after)),
        '[' => match (set(rest), name.split_first()) {
            (Some((set, rest)), Some((letter, after))) => set.contains(*letter) && wild(rest, after),
            (None, Some(('[', after))) => wild(rest, after),
            _ => false,
        },
        letter => name.split_first().is_some_and(|(found, after)| found == letter && wild(rest, after)),
    }
}

/// The letters between brackets.
struct Set<'a> {
    is_negated: bool,
    letters: &'a [char],
}

/// The set that a pattern goes on with after `[`, and what follows it; a bracket that is never closed is a letter.
fn set(pattern: &[char]) -> Option<(Set<'_>, &[char])> {
    let is_negated = pattern.first() == Some(&'!');
    let begin = usize::from(is_negated);
    // A closing bracket that stands first is a letter of the set.
    let end = (begin + 1..pattern.len()).find(|index| pattern[*index] == ']')?;
    Some((Set { is_negated, letters: &pattern[begin..end] }, &pattern[end + 1..]))
}

impl Set<'_> {
    fn contains(&self, letter: char) -> bool {
        let mut letters = self.letters;
        let mut is_in = false;
        while let Some((first, rest)) = letters.split_first() {
            (is_in, letters) = match rest {
                ['-', last, rest @ ..] => (is_in || (*first..=*last).contains(&letter), rest),
                _ => (is_in || *first == letter, rest),
            };
        }
        is_in != self.is_negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_fnmatch() {
        for (pattern, name) in [
            ("*.bin", "a/b.bin"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[]]x", "]x"),
            ("[x", "[x"),
            ("onnx/*", "onnx/model.onnx"),
            ("*", ""),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.bin", "b.bin.x"), ("a?c", "ac"), ("[a-c]x", "dx"), ("[!a-c]x", "ax"), ("[x", "x")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn one_pattern_is_a_list_of_one_and_a_directory_means_what_is_in_it() {
        let metadata = Value::map([("include", "onnx/".into()), ("exclude", Value::list(["*.md".into()]))]);
        assert_eq!(patterns(&metadata, "include"), Some(vec!["onnx/*".to_owned()]));
        assert_eq!(patterns(&metadata, "exclude"), Some(vec!["*.md".to_owned()]));
        assert_eq!(patterns(&Value::map([("include", Value::Null)]), "include"), None);
    }
}
