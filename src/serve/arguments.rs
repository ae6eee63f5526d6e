//! Template arguments, `--arg` and `--arg-file`, which a service reads with `bentoml.use_arguments`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use thiserror::Error;

use crate::text::{self, TextError};
use crate::yaml::{self, ReadError};

/// Arguments that cannot be read.
#[derive(Debug, Error)]
pub enum ArgumentsError {
    /// The file cannot be read.
    #[error("cannot read arguments from `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is no YAML.
    #[error("cannot understand the arguments in `{}`", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ReadError,
    },
    /// The file has something else than names and values.
    #[error("the arguments in `{}` are no map from names to values", path.display())]
    NoMap {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the arguments of a command line; those that stand on it win over those of the file.
pub fn read(file: Option<&Path>, given: &[(String, String)]) -> Result<Map<String, Value>, ArgumentsError> {
    let mut arguments = file.map(read_file).transpose()?.unwrap_or_default();
    arguments.extend(given.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))));
    Ok(arguments)
}

/// Takes a word of the form `NAME=VALUE` apart.
pub fn parse(word: &str) -> Result<(String, String), String> {
    let (name, value) =
        word.split_once('=').ok_or_else(|| format!("`{word}` is not of the form `NAME=VALUE`"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn read_file(path: &Path) -> Result<Map<String, Value>, ArgumentsError> {
    let text = text::read(path)
        .map_err(TextError::into_io)
        .map_err(|source| ArgumentsError::Read { path: path.to_owned(), source })?;
    let node =
        yaml::read(&text).map_err(|source| ArgumentsError::Syntax { path: path.to_owned(), source })?;
    match node.into_value().to_json() {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(ArgumentsError::NoMap { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_command_line_wins_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("arguments.yaml");
        std::fs::write(&file, "size: 3\nmodel: a\ndeep: {x: [1, 2.5]}\n").unwrap();
        let given = [("model".to_owned(), "b=c".to_owned())];
        let found = read(Some(&file), &given).unwrap();
        assert_eq!(Value::Object(found), json!({"size": 3, "model": "b=c", "deep": {"x": [1, 2.5]}}));
        assert_eq!(read(None, &[]).unwrap(), Map::new());
        std::fs::write(&file, "").unwrap();
        assert_eq!(read(Some(&file), &[]).unwrap(), Map::new());
    }

    #[test]
    fn files_of_something_else_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("arguments.yaml");
        assert!(matches!(read(Some(&file), &[]), Err(ArgumentsError::Read { .. })));
        std::fs::write(&file, "- 1\n").unwrap();
        let message = read(Some(&file), &[]).unwrap_err().to_string();
        assert!(message.ends_with("arguments.yaml` are no map from names to values"), "{message}");
        std::fs::write(&file, "a: [").unwrap();
        assert!(matches!(read(Some(&file), &[]), Err(ArgumentsError::Syntax { .. })));
        assert_eq!(parse("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(parse("a").unwrap_err(), "`a` is not of the form `NAME=VALUE`");
    }
}
