//! Documentation that is executed: the fenced blocks of a page, in order.
//!
//! `file=PATH` in a block's info string writes the block to that file; `sh` runs it; `text` is what the `sh` block before
//! it printed. `[..]` stands for anything within a line, `[VERSION]` for a generated version.

use std::fs;
use std::path::Path;

use super::command::Command;

/// A fenced block of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The words after the fence: the language first.
    pub(crate) info: String,
    pub(crate) text: String,
    /// Of the fence, counted from 1.
    pub(crate) line: usize,
}

impl Block {
    /// The file that the block is to be written to.
    fn file(&self) -> Option<&str> {
        self.info.split_whitespace().find_map(|word| word.strip_prefix("file="))
    }

    fn is(&self, language: &str) -> bool {
        self.info.split_whitespace().next() == Some(language)
    }
}

/// The fenced blocks of a page.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (index, line) in page.lines().enumerate() {
        if let Some(info) = line.strip_prefix("```") {
            if !is_open {
                blocks.push(Block { info: info.to_owned(), text: String::new(), line: index + 1 });
            }
            is_open = !is_open;
        } else if let Some(block) = blocks.last_mut().filter(|_| is_open) {
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    assert!(!is_open, "a block of the page does not end");
    blocks
}

/// Executes the page's blocks in `directory`; `shell` is the shell to which `-c` and a script are added.
pub(crate) fn execute(page: &Path, directory: &Path, shell: &Command) {
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let mut printed = None;
    let mut executed = 0;
    for block in blocks(&text) {
        let place = format!("{}:{}", page.display(), block.line);
        if let Some(file) = block.file() {
            let path = directory.join(file);
            fs::create_dir_all(path.parent().expect("a file is in a directory"))
                .expect("a directory can be made");
            fs::write(&path, &block.text).unwrap_or_else(|error| panic!("{place}: {error}"));
        } else if block.is("sh") {
            let script = format!("set -euo pipefail\n# {place}\n{}", block.text);
            printed =
                Some(shell.clone().directory(directory).arg("-c").arg(script).any_stderr().run().stdout);
            executed += 1;
        } else if block.is("text") {
            let printed = printed.take().unwrap_or_else(|| panic!("{place}: no command before this output"));
            assert!(matches(&block.text, &printed), "{place}: expected\n{}\nprinted\n{printed}", block.text);
        }
    }
    assert!(executed > 0, "{}: nothing was executed", page.display());
}

/// Compares line by line.
fn matches(expected: &str, printed: &str) -> bool {
    expected.lines().count() == printed.lines().count()
        && expected.lines().zip(printed.lines()).all(|(expected, printed)| line_matches(expected, printed))
}

fn line_matches(expected: &str, printed: &str) -> bool {
    if let Some((before, after)) = expected.split_once("[..]") {
        return printed.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().any(|(at, _)| line_matches(after, &rest[at..])) || line_matches(after, "")
        });
    }
    if let Some((before, after)) = expected.split_once("[VERSION]") {
        const LENGTH: usize = 16;
        let version = printed
            .strip_prefix(before)
            .filter(|rest| rest.len() >= LENGTH)
            .map(|rest| rest.split_at(LENGTH));
        return version.is_some_and(|(version, rest)| {
            version.bytes().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte))
                && line_matches(after, rest)
        });
    }
    expected == printed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_lines() {
        let page = "text\n\n```sh\nls\n```\n```text\na\n\nb\n```\n";
        let found = blocks(page);
        assert_eq!(found[0], Block { info: "sh".to_owned(), text: "ls\n".to_owned(), line: 3 });
        assert_eq!(found[1].text, "a\n\nb\n");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn placeholders_match_what_they_stand_for() {
        assert!(matches("iris:[VERSION]\n", "iris:f4ub4rhf7gzyuax4\n"));
        assert!(!matches("iris:[VERSION]\n", "iris:latest\n"));
        assert!(!matches("iris:[VERSION]\n", "iris:f4ub4rhf7gzyuax4x\n"));
        assert!(matches("took [..] s", "took 3.5 s"));
        assert!(matches("[..]\n", "\n"));
        assert!(!matches("took [..] s", "took 3.5"));
        assert!(!matches("one\n", "one\ntwo\n"));
    }
}
