//! The package sources of the host, as apt is configured there (sources.list(5)).

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::archive::{DEFAULT_MIRROR, DEFAULT_SECURITY_MIRROR, archives};
use super::control::stanzas;
use super::error::Error;

/// The component that every Debian archive has.
const MAIN: &str = "main";
/// Options of an entry that say how its release file is checked, and are kept.
const KEPT_OPTIONS: [&str; 3] = ["Signed-By", "Check-Valid-Until", "Check-Date"];

/// One archive of one suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Its mirror.
    pub(super) uri: String,
    /// Its name on the mirror, such as `bookworm-updates`.
    pub(super) archive: String,
    components: Vec<String>,
    options: Vec<(&'static str, String)>,
}

/// An entry of the host's configuration: some archives with the same mirrors and options.
#[derive(Debug)]
struct HostEntry {
    uris: Vec<String>,
    archives: Vec<String>,
    components: Vec<String>,
    options: Vec<(&'static str, String)>,
}

/// The sources of a suite: the host's where it has the suite, else the host's mirrors with that suite.
///
/// Other software's sources are passed over, so that a broken one does no harm. `keyring` is a file with Debian's own
/// keys, which is added where the host was not configured for the suite.
pub(super) fn sources(configuration: &Path, suite: &str, keyring: &Path) -> Result<Vec<Source>, Error> {
    let entries: Vec<_> = read(configuration)?.into_iter().filter(HostEntry::is_debian).collect();
    let wanted = archives(suite);
    let mut found: Vec<Source> = Vec::new();
    for source in entries.iter().flat_map(HostEntry::sources) {
        if wanted.contains(&source.archive) && !found.iter().any(|known| known.archive == source.archive) {
            found.push(source);
        }
    }
    if found.iter().any(|source| source.archive == suite) {
        return Ok(found);
    }
    let all: Vec<_> = entries.iter().flat_map(HostEntry::sources).collect();
    Ok(wanted.iter().map(|archive| derived(&all, archive, keyring)).collect())
}

/// The configuration of apt for these sources.
pub(super) fn configuration(sources: &[Source], architecture: &str) -> String {
    sources.iter().fold(String::new(), |mut text, source| {
        let Source { uri, archive, components, options } = source;
        let components = components.join(" ");
        let written = writeln!(
            text,
            "Types: deb\nURIs: {uri}\nSuites: {archive}\nComponents: {components}\n\
             Architectures: {architecture}\nTargets: Packages"
        );
        written.expect("writing to a string never fails");
        for (name, value) in options {
            writeln!(text, "{name}: {value}").expect("writing to a string never fails");
        }
        text.push('\n');
        text
    })
}

/// The source of an archive that the host has none for.
pub(super) fn derived(host: &[Source], archive: &str, keyring: &Path) -> Source {
    let is_security = |name: &str| name.ends_with("-security");
    let alike = host.iter().find(|source| is_security(&source.archive) == is_security(archive));
    let default = if is_security(archive) { DEFAULT_SECURITY_MIRROR } else { DEFAULT_MIRROR };
    let mut options = alike.map(|source| source.options.clone()).unwrap_or_default();
    let keyring = keyring.display();
    match options.iter_mut().find(|(name, _)| *name == "Signed-By") {
        // A key in the entry itself is the mirror's own.
        Some((_, keys)) if keys.contains('\n') => {}
        Some((_, keys)) => *keys = format!("{keys} {keyring}"),
        None => options.push(("Signed-By", keyring.to_string())),
    }
    Source {
        uri: alike.map_or_else(|| default.to_owned(), |source| source.uri.clone()),
        archive: archive.to_owned(),
        components: vec![MAIN.to_owned()],
        options,
    }
}

impl HostEntry {
    /// Whether this is an archive of Debian, by its key or its path: other software uses Debian's names of suites too.
    fn is_debian(&self) -> bool {
        let last = |uri: &String| uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        let by_path = self.uris.iter().any(|uri| last(uri).starts_with("debian"));
        let by_key =
            self.options.iter().any(|(name, value)| *name == "Signed-By" && value.contains("debian-archive"));
        (by_path || by_key) && self.components.iter().any(|component| component == MAIN)
    }

    fn sources(&self) -> impl Iterator<Item = Source> {
        self.archives.iter().filter_map(|archive| {
            let uri = self.uris.iter().find(|uri| !uri.starts_with("cdrom:"))?.clone();
            let (components, options) = (self.components.clone(), self.options.clone());
            Some(Source { uri, archive: archive.clone(), components, options })
        })
    }
}

fn read(configuration: &Path) -> Result<Vec<HostEntry>, Error> {
    let mut entries = Vec::new();
    for path in files(configuration)? {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        let text = String::from_utf8_lossy(&bytes);
        if path.extension().is_some_and(|extension| extension == "sources") {
            entries.extend(stanza_entries(&text));
        } else {
            entries.extend(text.lines().filter_map(line_entry));
        }
    }
    Ok(entries)
}

/// The files that apt reads, in its order.
fn files(configuration: &Path) -> Result<Vec<PathBuf>, Error> {
    let directory = configuration.join("sources.list.d");
    let mut parts = Vec::new();
    match fs::read_dir(&directory) {
        Ok(listing) => {
            for entry in listing {
                parts.push(entry.map_err(Error::file("list", &directory))?.path());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::file("list", &directory)(error)),
    }
    parts.retain(|path| {
        path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
    });
    parts.sort();
    parts.insert(0, configuration.join("sources.list"));
    Ok(parts)
}

/// The entries of a file in the deb822 form.
fn stanza_entries(text: &str) -> Vec<HostEntry> {
    let entry = |stanza: super::control::Stanza<'_>| {
        let words = |name| -> Vec<String> {
            stanza.field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let is_disabled = stanza.field("Enabled").is_some_and(|value| matches!(value, "no" | "false" | "0"));
        let options = KEPT_OPTIONS.iter().filter_map(|name| Some((*name, stanza.field(name)?.to_owned())));
        (!is_disabled && words("Types").iter().any(|word| word == "deb")).then(|| HostEntry {
            uris: words("URIs"),
            archives: words("Suites"),
            components: words("Components"),
            options: options.collect(),
        })
    };
    stanzas(text).filter_map(entry).collect()
}

/// The entry of a line in the one-line form: `deb [OPTION=VALUE ...] URI ARCHIVE COMPONENT...`.
fn line_entry(line: &str) -> Option<HostEntry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let options = options.split_whitespace().filter_map(|option| option.split_once('='));
    let options = options.filter_map(|(name, value)| {
        let kept = KEPT_OPTIONS.iter().find(|kept| kept.eq_ignore_ascii_case(name))?;
        Some((*kept, value.replace(',', " ")))
    });
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(HostEntry {
        options: options.collect(),
        uris: vec![words.next()?],
        archives: vec![words.next()?],
        components: words.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    fn shown(host: &tempfile::TempDir, suite: &str) -> Vec<String> {
        let sources = sources(host.path(), suite, Path::new("/builtin.gpg")).unwrap();
        let signed = |source: &Source| {
            source
                .options
                .iter()
                .find(|(name, _)| *name == "Signed-By")
                .map_or("-", |(_, keys)| keys)
                .to_owned()
        };
        sources.iter().map(|source| format!("{} {} {}", source.uri, source.archive, signed(source))).collect()
    }

    const DEBIAN: &str = "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\n\
                          Components: main\nSigned-By: /keys/debian-archive-keyring.gpg\n\n\
                          Types: deb\nEnabled: no\nURIs: http://off.test/debian\nSuites: bookworm-security\n\
                          Components: main\n";

    #[test]
    fn the_hosts_entries_are_used_where_they_have_the_suite() {
        let host = host(&[
            ("sources.list.d/debian.sources", DEBIAN),
            ("sources.list.d/cloud.list", "deb https://cloud.test/apt bookworm main\n"),
            (
                "sources.list.d/docker.list",
                "deb [arch=amd64] https://docker.test/linux/debian bookworm stable\n",
            ),
            (
                "sources.list",
                "# deb http://x.test/debian bookworm main\n\
                 deb [signed-by=/k.gpg trusted=yes] http://sec.test/debian-security bookworm-security main\n",
            ),
        ]);
        assert_eq!(
            shown(&host, "bookworm"),
            [
                "http://sec.test/debian-security bookworm-security /k.gpg",
                "http://mirror.test/debian bookworm /keys/debian-archive-keyring.gpg",
                "http://mirror.test/debian bookworm-updates /keys/debian-archive-keyring.gpg",
            ]
        );
    }

    #[test]
    fn other_suites_come_from_the_hosts_mirror() {
        let host = host(&[("sources.list.d/debian.sources", DEBIAN)]);
        assert_eq!(
            shown(&host, "trixie"),
            [
                "http://mirror.test/debian trixie /keys/debian-archive-keyring.gpg /builtin.gpg",
                "http://mirror.test/debian trixie-updates /keys/debian-archive-keyring.gpg /builtin.gpg",
                "http://deb.debian.org/debian-security trixie-security /builtin.gpg",
            ]
        );
    }

    #[test]
    fn a_host_without_sources_uses_debians_own() {
        let host = host(&[]);
        assert_eq!(shown(&host, "trixie")[0], "http://deb.debian.org/debian trixie /builtin.gpg");
    }

    #[test]
    fn the_configuration_keeps_checks_and_drops_trust() {
        let line = "deb [trusted=yes check-valid-until=no] http://snap.test/debian bookworm main contrib";
        let host = host(&[("sources.list", line)]);
        let sources = sources(host.path(), "bookworm", Path::new("/builtin.gpg")).unwrap();
        assert_eq!(
            configuration(&sources, "arm64"),
            "Types: deb\nURIs: http://snap.test/debian\nSuites: bookworm\nComponents: main contrib\n\
             Architectures: arm64\nTargets: Packages\nCheck-Valid-Until: no\n\n"
        );
    }
}
