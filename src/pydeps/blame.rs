//! From uv's complaint about a requirement to the line that somebody wrote.
//!
//! uv reads requirements from its standard input, which nobody but ekiben has seen: its positions there mean nothing to
//! people. What it says is wrong does.

use super::error::Error;
use super::requirements::Requirements;
use crate::process::{self, without_credentials};

/// Words that stand before a position among all requirement lines, counted in bytes (uv 0.5 to 0.13).
const POSITION: &str = "Couldn't parse requirement in `";
/// Words that stand before the path of a file that is not there.
const MISSING: &str = "Distribution not found at: ";
/// Words that stand before the name of a wheel that is none.
const WHEEL: &str = "The wheel filename `";
/// The name that uv has for its standard input, with what precedes a line number.
const INPUT: &str = ": -:";

/// The requirement that uv could not use, if it is one that somebody wrote.
pub(super) fn blame(requirements: &Requirements, error: &process::Error) -> Option<Error> {
    let process::Error::Failed { stderr, .. } = error else { return None };
    let (line, reason) = find(requirements, stderr)?;
    let place = requirements.places.get(line)?.clone();
    Some(Error::Requirement { place, line: without_credentials(line), reason })
}

/// The line that a complaint is about, and why.
fn find<'a>(requirements: &'a Requirements, stderr: &str) -> Option<(&'a str, String)> {
    if let Some((_, rest)) = stderr.split_once(POSITION) {
        let (file, rest) = rest.split_once("` at position ")?;
        let position = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        let lines = if file == "-" { &requirements.lines } else { &requirements.constraints };
        return Some((line_at(lines, position)?, cause(rest)));
    }
    if let Some((_, rest)) = stderr.split_once(MISSING) {
        let path = rest.lines().next()?.trim();
        let name = path.trim_end_matches('/').rsplit('/').next()?;
        return Some((
            line_naming(&requirements.lines, name)?,
            "there is no such file or directory".to_owned(),
        ));
    }
    if let Some((_, rest)) = stderr.split_once(WHEEL) {
        let (name, reason) = rest.split_once('`')?;
        let reason = reason.lines().next()?.trim();
        return Some((line_naming(&requirements.lines, name)?, format!("the wheel's name {reason}")));
    }
    let (before, rest) = stderr.split_once(INPUT)?;
    let number: usize = rest.split(':').next()?.parse().ok()?;
    let reason = before.lines().last()?.trim_start_matches("error: ").trim();
    Some((requirements.lines.get(number.checked_sub(1)?)?, reason.to_owned()))
}

/// What the resolver gives as the cause, without its picture of the place.
fn cause(rest: &str) -> String {
    let mut lines = rest.lines().skip(1).map(str::trim);
    let first = lines.next().unwrap_or_default();
    let text = ["cause:", "Caused by:"].iter().find_map(|word| first.strip_prefix(word)).unwrap_or(first);
    text.trim().to_owned()
}

/// The line that a byte of all lines, each with its line end, belongs to.
fn line_at(lines: &[String], position: usize) -> Option<&str> {
    let mut end = 0;
    lines.iter().map(String::as_str).find(|line| {
        end += line.len() + 1;
        position < end
    })
}

fn line_naming<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines.iter().map(String::as_str).find(|line| line.contains(name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn found(stderr: &str) -> Option<(String, String)> {
        let lines =
            ["six", "numpy=>1", "./gone-1.0-py3-none-any.whl", "[x]", "x @ ./x.whl"].map(str::to_owned);
        let mut requirements = Requirements::default();
        let place = |index: usize| format!("packages[{index}]");
        requirements.add_lines(&lines, Path::new("/none"), &place).unwrap();
        requirements.lines.push("numpy".to_owned());
        let (line, reason) = find(&requirements, stderr)?;
        Some((requirements.places.get(line)?.clone(), reason))
    }

    #[test]
    fn complaints_of_the_resolver_are_about_a_line() {
        let cases = [
            (
                "error: Couldn't parse requirement in `-` at position 4\n  cause: no such operator \"=>\"\n    ^^\n",
                "packages[1]",
                "no such operator \"=>\"",
            ),
            (
                "error: Distribution not found at: file:///p/gone-1.0-py3-none-any.whl\n",
                "packages[2]",
                "there is no such file or directory",
            ),
            (
                "error: Unexpected '[', expected the start of a requirement: -:4:1\n",
                "packages[3]",
                "Unexpected '[', expected the start of a requirement",
            ),
            (
                "error: The wheel filename `x.whl` is invalid: Must have a version\n",
                "packages[4]",
                "the wheel's name is invalid: Must have a version",
            ),
        ];
        for (stderr, place, reason) in cases {
            assert_eq!(found(stderr), Some((place.to_owned(), reason.to_owned())), "{stderr}");
        }
    }

    #[test]
    fn other_complaints_are_about_no_line() {
        for stderr in [
            "",
            "error: No solution found when resolving dependencies: numpy",
            "error: Couldn't parse requirement in `-` at position 4000\n",
            "error: Couldn't parse requirement in `-` at position \n",
            "error: x: -:0:0",
        ] {
            assert_eq!(found(stderr), None, "{stderr}");
        }
    }
}
