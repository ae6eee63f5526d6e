//! Where packages come from: index options, and how uv is told about them.
//!
//! URLs may hold credentials or name variables that do (`https://${USER}:${TOKEN}@host/simple`). They stay
//! unexpanded in memory and reach uv through its environment, which other users of the machine cannot see.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::Host;
use super::error::Error;
use crate::process::{Command, without_credentials};

/// The index uv asks when none is named.
const DEFAULT_INDEX: &str = "https://pypi.org/simple";

/// Index options, as a bentofile or a requirements file gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexOptions {
    /// The main index.
    pub index_url: Option<String>,
    /// Further indexes, asked first, in this order; `name=URL` gives one the name its credentials have.
    pub extra_index_urls: Vec<String>,
    /// Directories and pages with wheels.
    pub find_links: Vec<String>,
    /// Ask no index at all.
    pub no_index: bool,
    /// Hosts that need no valid certificate.
    pub trusted_hosts: Vec<String>,
}

impl IndexOptions {
    /// Adds options read later; their main index wins.
    pub fn extend(&mut self, later: Self) {
        self.index_url = later.index_url.or_else(|| self.index_url.take());
        self.extra_index_urls.extend(later.extra_index_urls);
        self.find_links.extend(later.find_links);
        self.trusted_hosts.extend(later.trusted_hosts);
        self.no_index |= later.no_index;
    }

    /// The option lines of a requirements file, as uv writes them and without credentials.
    pub fn lines(&self) -> Vec<String> {
        let index = self.index_url.as_deref().unwrap_or(DEFAULT_INDEX);
        let mut lines = Vec::new();
        if !self.no_index {
            lines.push(format!("--index-url {}", shown(index)));
        }
        lines.extend(self.extra_index_urls.iter().map(|url| format!("--extra-index-url {}", shown(url))));
        lines.extend(self.find_links.iter().map(|link| format!("--find-links {}", shown(link))));
        if self.no_index {
            lines.push("--no-index".to_owned());
        }
        lines
    }

    /// Gives a uv command these options.
    pub(super) fn apply(&self, host: &Host, mut command: Command) -> Result<Command, Error> {
        let mut secrets = Vec::new();
        let mut expand = |text: &String| -> Result<String, Error> {
            let expanded = expand(text, &host.environment)?;
            secrets.extend(credentials(&expanded));
            Ok(expanded)
        };
        if let Some(url) = &self.index_url {
            command = command.env("UV_DEFAULT_INDEX", expand(url)?).env_remove("UV_INDEX_URL");
        }
        let extra = self.extra_index_urls.iter().map(&mut expand).collect::<Result<Vec<_>, _>>()?;
        if !extra.is_empty() {
            let mut indexes = OsString::from(extra.join(" "));
            if let Some(more) = host.variable("UV_INDEX") {
                indexes.push(" ");
                indexes.push(more);
            }
            command = command.env("UV_INDEX", indexes);
        }
        let mut private_links = Vec::new();
        for link in &self.find_links {
            let link = expand(link)?;
            if credentials(&link).is_empty() {
                command = command.arg("--find-links").arg(link);
            } else {
                private_links.push(link);
            }
        }
        if !private_links.is_empty() {
            command = command.env("UV_FIND_LINKS", private_links.join(","));
        }
        if self.no_index {
            command = command.arg("--no-index");
        }
        for trusted in &self.trusted_hosts {
            command = command.arg("--allow-insecure-host").arg(trusted);
        }
        Ok(command.secrets(secrets).secrets(environment_secrets(host)))
    }
}

/// Whether a text can name an index: a URL, a directory, or a variable that holds one; `name=` may stand before it.
pub fn is_index(text: &str) -> bool {
    let place = match text.split_once('=') {
        Some((name, place)) if !name.contains(['/', ':', '$']) => place,
        _ => text,
    };
    place.contains("://") || place.starts_with(['$', '/', '.'])
}

/// A text that is no index, as people may see it: what stands where credentials do is masked.
pub fn shown_index(text: &str) -> String {
    without_credentials(&format!("://{text}")).split_off("://".len())
}

/// The URL as it may be stored: variables stay (they hold no secret), literal credentials go.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) if !only_variables(&rest[..at]) => format!("{scheme}://{}", &rest[at + 1..]),
        _ => url.to_owned(),
    }
}

/// Tells whether every part of `user:password` is a variable.
fn only_variables(userinfo: &str) -> bool {
    userinfo.split(':').all(|part| part.starts_with("${") && part.ends_with('}'))
}

/// Replaces `${NAME}` as pip does: capitals, digits and underscores only.
fn expand(text: &str, environment: &BTreeMap<OsString, OsString>) -> Result<String, Error> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let after = &rest[start + 2..];
        let Some(end) = after.find('}') else { break };
        let name = &after[..end];
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        expanded.push_str(&rest[..start]);
        if name.is_empty() || !name.chars().all(is_name) {
            expanded.push_str(&rest[start..start + end + 3]);
        } else {
            let value = environment.get(&OsString::from(name)).and_then(|value| value.to_str());
            expanded.push_str(value.ok_or_else(|| Error::UnsetVariable { name: name.to_owned() })?);
        }
        rest = &after[end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The user and password within a URL, each also percent-decoded.
fn credentials(url: &str) -> Vec<String> {
    let Some((_, rest)) = url.split_once("://") else { return Vec::new() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(at) = rest[..end].rfind('@') else { return Vec::new() };
    let mut found = Vec::new();
    for part in rest[..at].splitn(2, ':').filter(|part| !part.is_empty()) {
        found.push(part.to_owned());
        found.push(percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned());
    }
    found
}

/// Values of variables that carry credentials for uv.
fn environment_secrets(host: &Host) -> Vec<String> {
    let mut secrets = Vec::new();
    for (name, value) in &host.environment {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        if is_credential(name) {
            secrets.push(value.to_owned());
        }
        if name.starts_with("UV_") || name.starts_with("PIP_") {
            secrets.extend(value.split([' ', ',']).flat_map(credentials));
        }
    }
    secrets
}

/// Tells whether a variable of this name holds a secret.
pub(super) fn is_credential(name: &str) -> bool {
    ["_PASSWORD", "_TOKEN", "_API_KEY", "_SECRET"].iter().any(|end| name.ends_with(end))
}

/// The text of a variable's value as it may enter a cache key.
pub(super) fn keyed(value: &str) -> String {
    without_credentials(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn stored_lines_hold_variables_but_no_credentials() {
        let options = IndexOptions {
            index_url: Some("https://me:secret@host/simple".into()),
            extra_index_urls: vec!["https://${USER}:${TOKEN}@other/simple".into()],
            find_links: vec!["./wheels".into(), "https://tok@links/page".into()],
            ..IndexOptions::default()
        };
        assert_eq!(
            options.lines(),
            [
                "--index-url https://host/simple",
                "--extra-index-url https://${USER}:${TOKEN}@other/simple",
                "--find-links ./wheels",
                "--find-links https://links/page",
            ]
        );
        let offline = IndexOptions { no_index: true, ..IndexOptions::default() };
        assert_eq!(offline.lines(), ["--no-index"]);
    }

    #[test]
    fn variables_are_expanded_as_pip_does() {
        let environment = environment(&[("TOKEN", "t0k"), ("EMPTY", "")]);
        let expanded = |text| expand(text, &environment);
        assert_eq!(expanded("https://${TOKEN}@h/${EMPTY}x").unwrap(), "https://t0k@h/x");
        assert_eq!(expanded("$TOKEN ${token} ${} ${TOKEN").unwrap(), "$TOKEN ${token} ${} ${TOKEN");
        assert_eq!(
            expanded("${NOPE}").unwrap_err().to_string(),
            "index option names `${NOPE}`, which is not set in the environment"
        );
    }

    #[test]
    fn credentials_are_found_in_both_spellings() {
        assert_eq!(credentials("https://u%40x:p%3Aw@h/s"), ["u%40x", "u@x", "p%3Aw", "p:w"]);
        assert!(credentials("https://h/s@x").is_empty());
    }
}
