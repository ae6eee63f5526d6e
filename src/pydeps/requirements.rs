//! Requirement lines as pip reads them, flattened: nested files read, options separated.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::index::{IndexOptions, is_index, shown_index};
use crate::text;

/// Requirements gathered from lines and files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// One requirement each, and the pip options that stay among them.
    pub lines: Vec<String>,
    /// One constraint each.
    pub constraints: Vec<String>,
    /// Where to look.
    pub index: IndexOptions,
    /// Where each line is written, for errors; lines that nobody wrote have no place.
    pub places: BTreeMap<String, String>,
}

/// What a nested file adds to.
#[derive(Clone, Copy)]
enum Role {
    Requirement,
    Constraint,
}

impl Requirements {
    /// Adds the lines of a bentofile's `packages`; files they name are relative to `directory`, and `place` says where
    /// the line with that index is written.
    ///
    /// # Errors
    /// A nested file cannot be read or includes itself, an option lacks its value, a line is editable.
    pub fn add_lines(
        &mut self,
        lines: &[String],
        directory: &Path,
        place: &dyn Fn(usize) -> String,
    ) -> Result<(), Error> {
        let text = lines.join("\n");
        let mut reader = Reader { into: self, open: Vec::new() };
        reader.read(&text, Role::Requirement, directory, &|number| place(number - 1))
    }

    /// Adds a requirements file; files it names are relative to it.
    ///
    /// # Errors
    /// As [`Requirements::add_lines`].
    pub fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        Reader { into: self, open: Vec::new() }.read_file(path, Role::Requirement, None)
    }

    /// Adds a wheel, or every wheel of a directory, to be installed.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn add_wheels(&mut self, path: &Path) -> Result<(), Error> {
        if !path.is_dir() {
            self.lines.push(path.display().to_string());
            return Ok(());
        }
        let mut wheels = Vec::new();
        for entry in fs::read_dir(path).map_err(Error::file("read directory", path))? {
            let file = entry.map_err(Error::file("read directory", path))?.path();
            if file.extension().is_some_and(|extension| extension == "whl") {
                wheels.push(file.display().to_string());
            }
        }
        wheels.sort();
        self.lines.extend(wheels);
        Ok(())
    }
}

struct Reader<'a> {
    into: &'a mut Requirements,
    open: Vec<PathBuf>,
}

impl Reader<'_> {
    /// Reads a file that is named at `place`.
    fn read_file(&mut self, path: &Path, role: Role, place: Option<&str>) -> Result<(), Error> {
        let explain = |source| Error::RequirementsFile {
            path: path.to_owned(),
            place: place.map(str::to_owned),
            source,
        };
        let real = fs::canonicalize(path).map_err(explain)?;
        if self.open.contains(&real) {
            let by = self.open.last().cloned().unwrap_or_default();
            return Err(Error::RequirementsCycle { path: path.to_owned(), by });
        }
        let text = text::read(&real).map_err(|error| explain(error.into_io()))?;
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        self.open.push(real);
        let shown = path.strip_prefix(".").unwrap_or(path).display().to_string();
        self.read(&text, role, &directory, &|number| format!("{shown}:{number}"))?;
        self.open.pop();
        Ok(())
    }

    fn read(
        &mut self,
        text: &str,
        role: Role,
        directory: &Path,
        place: &dyn Fn(usize) -> String,
    ) -> Result<(), Error> {
        for (number, line) in logical_lines(text) {
            self.line(&line, role, directory, &place(number))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, role: Role, directory: &Path, place: &str) -> Result<(), Error> {
        let Some((option, value)) = split_option(line) else {
            self.into.places.entry(line.to_owned()).or_insert_with(|| place.to_owned());
            match role {
                Role::Requirement => self.into.lines.push(line.to_owned()),
                Role::Constraint => self.into.constraints.push(line.to_owned()),
            }
            return Ok(());
        };
        let needed = || {
            let missing = Error::OptionValue { option: option.to_owned(), place: place.to_owned() };
            if value.is_empty() { Err(missing) } else { Ok(value.to_owned()) }
        };
        let index = || {
            let url = needed()?;
            let bad = || Error::Index { url: shown_index(&url), place: place.to_owned() };
            if is_index(&url) { Ok(url) } else { Err(bad()) }
        };
        match option {
            "-r" | "--requirement" | "-c" | "--constraint" => {
                let nested = needed()?;
                let role = if option.starts_with("-c") || option == "--constraint" {
                    Role::Constraint
                } else {
                    role
                };
                if nested.contains("://") {
                    // A page of requirements: uv fetches it.
                    self.into.lines.push(line.to_owned());
                } else {
                    self.read_file(&directory.join(nested), role, Some(place))?;
                }
            }
            "-i" | "--index-url" | "--pypi-url" => self.into.index.index_url = Some(index()?),
            "--extra-index-url" => self.into.index.extra_index_urls.push(index()?),
            "-f" | "--find-links" => {
                let named = needed()?;
                let local = directory.join(&named);
                let is_local = !named.contains("://") && local.exists();
                let place = if is_local { local.display().to_string() } else { named };
                self.into.index.find_links.push(place);
            }
            "--no-index" => self.into.index.no_index = true,
            "--trusted-host" => self.into.index.trusted_hosts.push(needed()?),
            "-e" | "--editable" => {
                return Err(Error::Editable { line: line.to_owned(), place: place.to_owned() });
            }
            _ => self.into.lines.push(line.to_owned()),
        }
        Ok(())
    }
}

/// Joins continued lines, drops comments and blanks; the number is that of the first physical line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    for (index, physical) in text.lines().enumerate() {
        let (number, mut line) = pending.take().unwrap_or((index + 1, String::new()));
        match physical.strip_suffix('\\') {
            Some(part) if !physical.trim_start().starts_with('#') => {
                line.push_str(part);
                pending = Some((number, line));
            }
            _ => {
                line.push_str(physical);
                lines.push((number, line));
            }
        }
    }
    lines.extend(pending);
    let cleaned = lines.into_iter().map(|(number, line)| (number, without_comment(&line).trim().to_owned()));
    cleaned.filter(|(_, line)| !line.is_empty()).collect()
}

/// A `#` starts a comment at the line's beginning or after a blank; others belong to URLs.
fn without_comment(line: &str) -> &str {
    let mut before_is_blank = true;
    for (index, c) in line.char_indices() {
        if c == '#' && before_is_blank {
            return &line[..index];
        }
        before_is_blank = c.is_whitespace();
    }
    line
}

/// Splits `--option value`, `--option=value` and `-rvalue`.
fn split_option(line: &str) -> Option<(&str, &str)> {
    if !line.starts_with('-') {
        return None;
    }
    if !line.starts_with("--") && line.len() > 2 && line.is_char_boundary(2) {
        let (option, value) = line.split_at(2);
        return Some((option, value.trim_start_matches('=').trim()));
    }
    let end = line.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(line.len());
    let (option, value) = line.split_at(end);
    let value = value.trim();
    Some((option, value.strip_prefix('=').unwrap_or(value).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn nested_files_are_read_relative_to_their_file() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("sub/links")).unwrap();
        fs::write(root.join("top.txt"), "# head\n-r sub/more.txt\nflask[async] \\\n  >=2  # why\n--pre\n")
            .unwrap();
        fs::write(
            root.join("sub/more.txt"),
            "-c pins.txt\n--find-links=links\n-fhttps://h/p\nx @ https://h/x.whl#sha256=1\n",
        )
        .unwrap();
        fs::write(root.join("sub/pins.txt"), "numpy<3\n-r deeper.txt\n").unwrap();
        fs::write(root.join("sub/deeper.txt"), "scipy<2\n-i https://one/simple\n--extra-index-url https://two/simple\n--trusted-host two\n--no-index\n").unwrap();
        let mut requirements = Requirements::default();
        requirements.add_file(&root.join("top.txt")).unwrap();
        assert_eq!(requirements.lines, ["x @ https://h/x.whl#sha256=1", "flask[async]   >=2", "--pre"]);
        assert_eq!(requirements.constraints, ["numpy<3", "scipy<2"]);
        let links = root.join("sub/links").display().to_string();
        assert_eq!(requirements.index.find_links, [links, "https://h/p".to_owned()]);
        assert_eq!(requirements.index.index_url.as_deref(), Some("https://one/simple"));
        assert_eq!(requirements.index.extra_index_urls, ["https://two/simple"]);
        assert!(requirements.index.no_index);
    }

    #[test]
    fn a_cycle_is_an_error_and_two_uses_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join("a.txt"), "-r b.txt\n-r b.txt\n").unwrap();
        fs::write(root.join("b.txt"), "six\n").unwrap();
        let mut requirements = Requirements::default();
        requirements.add_file(&root.join("a.txt")).unwrap();
        assert_eq!(requirements.lines, ["six", "six"]);
        fs::write(root.join("b.txt"), "-r a.txt\n").unwrap();
        let error = Requirements::default().add_file(&root.join("a.txt")).unwrap_err();
        assert!(matches!(error, Error::RequirementsCycle { .. }), "{error:?}");
    }

    #[test]
    fn bad_lines_name_their_place() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("r.txt");
        fs::write(&file, "six\n\n-e ./local\n").unwrap();
        let error = Requirements::default().add_file(&file).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:3: `-e ./local` is an editable", file.display())), "{error}");
        let error = |line: &str| {
            let place = |index: usize| format!("packages[{index}]");
            let added =
                Requirements::default().add_lines(&strings(&["six", line]), Path::new("/none"), &place);
            added.unwrap_err().to_string()
        };
        assert_eq!(error("--index-url"), "packages[1]: option `--index-url` needs a value");
        assert_eq!(error("-r gone.txt"), "packages[1]: cannot read requirements file `/none/gone.txt`");
        assert_eq!(error("-i pypi.org"), "packages[1]: `pypi.org` is not a package index");
    }

    #[test]
    fn odd_text_does_not_panic() {
        for text in ["-", "--", "-é", "\\", "#", "a\\\n", "-r", "\u{feff}six", "-e"] {
            let _ =
                Requirements::default().add_lines(&strings(&[text]), Path::new("/none"), &|_| String::new());
        }
    }
}
