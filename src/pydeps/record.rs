//! `RECORD`: the list of files that every installed distribution carries.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// One line: a path relative to the packages directory, and the content's hash where it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) path: String,
    /// SHA-256 in lower-case hexadecimal digits.
    pub(super) sha256: Option<String>,
}

/// Reads the rows; a hash of another kind counts as none.
pub(super) fn parse(text: &str) -> Vec<Row> {
    let rows = text.lines().map(fields).filter(|fields| !fields[0].is_empty());
    rows.map(|mut fields| {
        let sha256 = fields.get(1).and_then(|hash| hash.strip_prefix("sha256="));
        let sha256 = sha256.and_then(|hash| URL_SAFE_NO_PAD.decode(hash.trim_end_matches('=')).ok());
        Row { path: fields.swap_remove(0), sha256: sha256.map(|bytes| super::cache::hex(&bytes)) }
    })
    .collect()
}

/// Adds a row with hash and size.
pub(super) fn write_row(text: &mut String, path: &str, sha256: &[u8], size: u64) {
    let _ = writeln!(text, "{},sha256={},{size}", quoted(path), URL_SAFE_NO_PAD.encode(sha256));
}

/// Adds the row of `RECORD` itself, which has neither.
pub(super) fn write_own_row(text: &mut String, path: &str) {
    let _ = writeln!(text, "{},,", quoted(path));
}

fn quoted(path: &str) -> String {
    if path.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", path.replace('"', "\"\""))
    } else {
        path.to_owned()
    }
}

/// Splits a line of comma-separated values; always at least one field.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let last = fields.len() - 1;
        match c {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                fields[last].push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            c => fields[last].push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_with_and_without_hash() {
        let empty = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        let rows = parse(&format!("a/__init__.py,{empty},0\r\n\"b,\"\"c\"\"\",md5=x,1\n\nRECORD,,\n"));
        let paths: Vec<_> = rows.iter().map(|row| row.path.as_str()).collect();
        assert_eq!(paths, ["a/__init__.py", "b,\"c\"", "RECORD"]);
        assert_eq!(rows[0].sha256.as_deref().map(|hash| &hash[..8]), Some("e3b0c442"));
        assert_eq!(rows[1].sha256, None);
    }

    #[test]
    fn rows_are_written_as_they_are_read() {
        let mut text = String::new();
        write_row(&mut text, "a,b", &[0; 32], 3);
        write_own_row(&mut text, "x/RECORD");
        assert_eq!(text, "\"a,b\",sha256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA,3\nx/RECORD,,\n");
        assert_eq!(parse(&text)[0].path, "a,b");
    }
}
