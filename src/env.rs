//! The process's environment, read once and passed down as a value.
//!
//! Nothing else reads environment variables, so that two servers or two builds can run in one test process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Most rounds of expansion: variables that name each other would go on for ever.
const MAX_EXPANSIONS: usize = 8;

/// The environment variables a run was started with.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// Reads the variables of this process.
    pub fn of_process() -> Self {
        Self { variables: std::env::vars_os().collect() }
    }

    /// Returns a variable's value; unset, empty and not UTF-8 are all `None`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variables
            .get(OsStr::new(name))
            .and_then(|value| value.to_str())
            .filter(|value| !value.is_empty())
    }

    /// Returns a variable's value as a path; unset and empty are `None`.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Tells whether a variable is set to something that means yes (`1`, `true`, `yes`, `on`).
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|value| ["1", "true", "yes", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes)))
    }

    /// A text with `~` at its beginning and variables expanded, until nothing is left to expand.
    pub fn expand(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for _ in 0..MAX_EXPANSIONS {
            let next = expand_once(&text, self);
            if next == text {
                break;
            }
            text = next;
        }
        text
    }

    /// Tells whether a variable is set to something that means no (`0`, `false`, `no`, `off`).
    pub fn is_off(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|value| ["0", "false", "no", "off"].iter().any(|no| value.eq_ignore_ascii_case(no)))
    }

    /// Sets a variable in this value; the process's own environment is not touched.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.variables.insert(name.into(), value.into());
    }

    /// Iterates over all variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self { variables: pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

/// Replaces a leading `~`, and every `$NAME` and `${NAME}` that is set.
fn expand_once(text: &str, environment: &Environment) -> String {
    let home = environment.text("HOME").filter(|_| text == "~" || text.starts_with("~/"));
    let text = home.map_or_else(|| text.to_owned(), |home| format!("{home}{}", &text[1..]));
    let mut expanded = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, end) = braced.map_or_else(
            || {
                let end = after.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                let end = end.unwrap_or(after.len());
                (&after[..end], end)
            },
            |(name, _)| (name, name.len() + 2),
        );
        if let Some(value) = environment.text(name) {
            expanded.push_str(value);
        } else {
            expanded.push('$');
            expanded.push_str(&after[..end]);
        }
        rest = &after[end..];
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_unset_and_yes_has_several_spellings() {
        let environment: Environment = [("EMPTY", ""), ("A", "True"), ("B", "0")].into_iter().collect();
        assert_eq!(environment.text("EMPTY"), None);
        assert_eq!(environment.text("ABSENT"), None);
        assert!(environment.is_on("A"));
        assert!(!environment.is_on("B"));
        assert!(environment.is_off("B") && !environment.is_off("A") && !environment.is_off("ABSENT"));
        assert_eq!(environment.path("A"), Some(PathBuf::from("True")));
    }

    #[test]
    fn homes_are_expanded_until_stable() {
        let environment: Environment =
            [("HOME", "/home/me"), ("STORE", "~/${NAME}"), ("NAME", "models")].into_iter().collect();
        for (text, path) in [
            ("/x", "/x"),
            ("$STORE", "/home/me/models"),
            ("~", "/home/me"),
            ("~you", "~you"),
            ("/a/$NAME/b/$UNSET", "/a/models/b/$UNSET"),
        ] {
            assert_eq!(environment.expand(text), path);
        }
    }
}
