//! Which files of a repository are wanted, in the shell patterns of the hub's own client.

/// What a file's path has to fit, and what it must not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// One of these has to fit; `None` takes everything, and an empty list nothing.
    pub include: Option<Vec<String>>,
    /// None of these may fit.
    pub exclude: Option<Vec<String>>,
}

impl Patterns {
    /// Whether a file is wanted (`huggingface_hub`, `filter_repo_objects`): a pattern that ends with a slash means all
    /// that is below, and `*` takes slashes too.
    pub fn accept(&self, path: &str) -> bool {
        let fits = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, path));
        self.include.as_deref().is_none_or(fits) && !self.exclude.as_deref().is_some_and(fits)
    }
}

/// Whether a path fits a pattern (`*`, `?`, `[…]`), as in Python's `fnmatch.fnmatchcase`.
fn matches(pattern: &str, path: &str) -> bool {
    let whole = if pattern.ends_with('/') { format!("{pattern}*") } else { pattern.to_owned() };
    let letters = |text: &str| text.replace('\\', "/").chars().collect::<Vec<char>>();
    let (pattern, path) = (letters(&whole), letters(path));
    // Only the last star has to be tried with more letters, so that no pattern takes long.
    let (mut pattern, mut rest) = (&pattern[..], &path[..]);
    let mut last_star: Option<(&[char], &[char])> = None;
    loop {
        if let Some(('*', after)) = pattern.split_first().map(|(first, after)| (*first, after)) {
            last_star = Some((after, rest));
            pattern = after;
            continue;
        }
        match (rest.split_first(), take_one(pattern, rest.first().copied())) {
            (None, _) if pattern.is_empty() => return true,
            (Some((_, after)), Some(next)) => (pattern, rest) = (next, after),
            _ => match last_star {
                Some((after, [_, longer @ ..])) => {
                    last_star = Some((after, longer));
                    (pattern, rest) = (after, longer);
                }
                _ => return false,
            },
        }
    }
}

/// What is left of a pattern when its first element, which is no star, takes this letter.
fn take_one(pattern: &[char], letter: Option<char>) -> Option<&[char]> {
    let (letter, (first, rest)) = (letter?, pattern.split_first()?);
    match first {
        '?' => Some(rest),
        '[' => match set(rest) {
            Some((set, rest)) => set.contains(letter).then_some(rest),
            None => (letter == '[').then_some(rest),
        },
        first => (*first == letter).then_some(rest),
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
            ("onnx/", "onnx/model.onnx"),
            ("onnx\\*", "onnx/model.onnx"),
            ("*", ""),
            ("*a*b", "xaxbxab"),
            ("**", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.bin", "b.bin.x"),
            ("a?c", "ac"),
            ("[a-c]x", "dx"),
            ("[!a-c]x", "ax"),
            ("[x", "x"),
            ("", "x"),
            ("*a*b", "xbxa"),
            ("?", ""),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!matches(&"*a".repeat(50), &("a".repeat(49) + &"b".repeat(2000))));
    }

    #[test]
    fn nothing_included_is_not_everything() {
        let patterns = |include: Option<&[&str]>, exclude: Option<&[&str]>| {
            let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
            Patterns { include: include.map(owned), exclude: exclude.map(owned) }
        };
        assert!(Patterns::default().accept("a"));
        assert!(!patterns(Some(&[]), None).accept("a"));
        assert!(patterns(Some(&["*.json"]), Some(&["t*"])).accept("a.json"));
        assert!(!patterns(Some(&["*.json"]), Some(&["t*"])).accept("t.json"));
    }
}
