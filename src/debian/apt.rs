//! The host's `apt-get` as archive: it knows the user's mirrors, proxies and keys, and verifies signatures.
//!
//! It runs in directories of its own, without root, and never looks at or changes what is installed on the host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::archive::{ARCHIVE_KEYRING, Archive, Watch, check_suite};
use super::cache;
use super::command::{CommandError, Stopped, Tool};
use super::error::Error;
use super::index;
use super::lock::LockedPackage;
use super::openpgp::SignatureError;
use super::request::Architecture;
use super::sources::{self, Source};
use crate::process;

/// Settings that hold whatever the host's configuration says: no hooks, no other architectures, plain lists, no unsigned
/// ones, and no cache of apt's own, which takes longer to make than ours. While it waits before another attempt, apt 2.6
/// hangs when the disk is full, and takes seven seconds to notice that there is no network: it does not wait. Run as
/// root, it would change to a user who cannot read the caller's directories.
const CONFIGURATION: &str = r#"#clear APT::Architectures;
#clear APT::Update;
#clear APT::Compressor;
#clear DPkg;
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::GzipIndexes "false";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "3";
Acquire::Retries::Delay "false";
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
pkgCacheFile::Generate "false";
"#;

/// The host's `apt-get`.
#[derive(Clone, Debug)]
pub struct AptGet {
    /// The program.
    pub program: PathBuf,
    /// Its companion `apt-helper`.
    pub helper: PathBuf,
    /// apt's configuration directory, `/etc/apt`.
    pub configuration: PathBuf,
    /// The environment it gets: a search path, and proxies where there are any.
    pub environment: BTreeMap<OsString, OsString>,
    /// A directory for its state.
    pub state: PathBuf,
}

impl AptGet {
    /// The usual one, if the host has it.
    pub fn find(environment: BTreeMap<OsString, OsString>, state: PathBuf) -> Option<Self> {
        let found = Self {
            program: "/usr/bin/apt-get".into(),
            helper: "/usr/lib/apt/apt-helper".into(),
            configuration: "/etc/apt".into(),
            environment,
            state,
        };
        (found.program.is_file() && found.helper.is_file()).then_some(found)
    }

    fn sources(&self, suite: &str) -> Result<Vec<Source>, Error> {
        check_suite(suite)?;
        sources::sources(&self.configuration, suite, &self.state.join("keyring.gpg"))
    }

    /// Makes the directories and files that apt works with.
    fn prepare(&self, configuration: &str) -> Result<(), Error> {
        for name in ["lists/partial", "archives/partial", "sources"] {
            let path = self.state.join(name);
            fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        }
        cache::write(&self.state.join("apt.conf"), configuration.as_bytes())?;
        cache::write(&self.state.join("status"), b"")
    }

    /// The same for package lists.
    fn prepare_lists(&self, suite: &str, architecture: Architecture) -> Result<Vec<Source>, Error> {
        let sources = self.sources(suite)?;
        let name = architecture.name();
        let configuration =
            format!("{CONFIGURATION}APT::Architecture \"{name}\";\nAPT::Architectures:: \"{name}\";\n");
        self.prepare(&configuration)?;
        cache::write(&self.state.join("keyring.gpg"), ARCHIVE_KEYRING)?;
        let text = sources::configuration(&sources, name);
        cache::write(&self.state.join("sources/debian.sources"), text.as_bytes())?;
        Ok(sources)
    }

    /// The package lists that apt has got and verified, by the archives' names. It keeps no others.
    fn lists(&self, sources: &[Source], architecture: Architecture) -> Result<Vec<(String, PathBuf)>, Error> {
        let directory = self.state.join("lists");
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory).map_err(Error::file("list", &directory))? {
            let path = entry.map_err(Error::file("list", &directory))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // As in `deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages`.
            let end = format!("_binary-{}_Packages", architecture.name());
            let Some(rest) = name.strip_suffix(&end) else { continue };
            let of_list = |source: &&Source| rest.contains(&format!("_dists_{}_", source.archive));
            if let Some(source) = sources.iter().find(of_list) {
                found.push((source.archive.clone(), path));
            }
        }
        found.sort();
        Ok(found)
    }

    fn tool<'a>(&self, program: &'a Path, arguments: impl IntoIterator<Item = OsString>) -> Tool<'a> {
        let state = &self.state;
        let setting = |name: &str, path: PathBuf| {
            let mut text = OsString::from(format!("{name}="));
            text.push(path);
            [OsString::from("-o"), text]
        };
        let settings = [
            setting("Dir::State", state.clone()),
            setting("Dir::State::lists", state.join("lists")),
            setting("Dir::State::status", state.join("status")),
            setting("Dir::Cache", state.clone()),
            setting("Dir::Cache::archives", state.join("archives")),
            setting("Dir::Etc::sourcelist", "/dev/null".into()),
            setting("Dir::Etc::sourceparts", state.join("sources")),
        ];
        let mut all = vec![OsString::from("-q=2"), "-c".into(), state.join("apt.conf").into()];
        all.extend(settings.into_iter().flatten());
        all.extend(arguments);
        let mut environment = self.environment.clone();
        environment.insert("LC_ALL".into(), "C".into());
        Tool { program, arguments: all, environment }
    }
}

impl Archive for AptGet {
    fn identity(&self, suite: &str) -> Result<String, Error> {
        let sources = sources::sources(&self.configuration, suite, Path::new("keyring.gpg"))?;
        Ok(format!("apt\n{}", sources::configuration(&sources, "any")))
    }

    fn update(&self, suite: &str, architecture: Architecture, watch: Watch<'_>) -> Result<String, Error> {
        let sources = self.prepare_lists(suite, architecture)?;
        let _task = watch.report.task(&format!("package lists of {suite}"), None);
        let update = self.tool(&self.program, ["update".into()]);
        let explain = |stopped| update_error(stopped, suite, &sources, &self.state);
        update.run(watch.interrupt, &mut || ()).map_err(explain)?;
        let mut kept = String::new();
        let mut has_suite = false;
        for (archive, path) in self.lists(&sources, architecture)? {
            watch.interrupt.check()?;
            let list = fs::read(&path).map_err(Error::file("read", &path))?;
            index::keep(&archive, &String::from_utf8_lossy(&list), &mut kept);
            has_suite |= archive == suite;
        }
        if has_suite { Ok(kept) } else { Err(unknown_suite(suite, &sources)) }
    }

    fn download(
        &self,
        suite: &str,
        packages: &[&LockedPackage],
        directory: &Path,
        watch: Watch<'_>,
    ) -> Result<(), Error> {
        let sources = self.sources(suite)?;
        let total = packages.iter().map(|package| package.size).sum();
        let task = watch.report.task(&format!("{} packages of {suite}", packages.len()), Some(total));
        let mut arguments = vec![OsString::from("download-file")];
        for package in packages {
            // The lock of another machine may name an archive that this one has no source for.
            let own = sources.iter().find(|source| source.archive == package.archive).cloned();
            let derived = || sources::derived(&sources, &package.archive, &self.state.join("keyring.gpg"));
            arguments.push(package.url(&own.unwrap_or_else(derived).uri).into());
            arguments.push(directory.join(package.cache_name()).into());
        }
        let mut done = 0;
        let mut look = || {
            let now = directory_size(directory);
            task.advance(now.saturating_sub(done));
            done = now.max(done);
        };
        let mirror = sources.first().map_or("", |source| &source.uri);
        // Lists may never have been got here: the lock of a bento says all. Beside them, for they may be now.
        let fetching = Self { state: self.state.join("fetching"), ..self.clone() };
        fetching.prepare(CONFIGURATION)?;
        let helper = fetching.tool(&self.helper, arguments);
        let explain = |stopped| download_error(stopped, mirror, packages, directory);
        helper.run(watch.interrupt, &mut look).map_err(explain)?;
        look();
        Ok(())
    }
}

/// Number of bytes of the files in a directory, as far as they can be seen: for progress only.
fn directory_size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Finds out from apt's words what kind of failure it was.
fn update_error(stopped: Stopped, suite: &str, sources: &[Source], state: &Path) -> Error {
    let error = match stopped {
        Stopped::Interrupted(interrupted) => return interrupted.into(),
        Stopped::Failed(error) => error,
    };
    if let Some(error) = disk_error(&error, state) {
        return error;
    }
    let mirror = mirror_of(suite, sources);
    if said(&error, &["is expired", "not valid yet"]) {
        let until = "the date in its release file".to_owned();
        return Error::Expired { subject: format!("{mirror}/dists/{suite}"), until };
    }
    if said(&error, &["NO_PUBKEY", "is not signed", "BADSIG", "EXPKEYSIG", "REVKEYSIG", "signature"]) {
        let subject = format!("{mirror}/dists/{suite}");
        return Error::Signature { subject, source: SignatureError::Apt { source: error } };
    }
    if said(&error, &["does not have a Release file", "404 "]) {
        return unknown_suite(suite, sources);
    }
    Error::Unreachable { url: mirror, source: Box::new(error) }
}

/// The same for packages: which of them the mirror has no longer, or whether the disk is full.
fn download_error(stopped: Stopped, mirror: &str, packages: &[&LockedPackage], directory: &Path) -> Error {
    let error = match stopped {
        Stopped::Interrupted(interrupted) => return interrupted.into(),
        Stopped::Failed(error) => error,
    };
    if let Some(error) = disk_error(&error, directory) {
        return error;
    }
    let mirror = process::without_credentials(mirror.trim_end_matches('/'));
    let gone: Vec<_> = packages.iter().filter(|package| is_gone(&error, package)).collect();
    if gone.is_empty() {
        return Error::Unreachable { url: mirror, source: Box::new(error) };
    }
    let packages = gone.iter().map(|package| (package.name.clone(), package.version.clone())).collect();
    Error::Gone { mirror, packages }
}

/// Whether apt says that the mirror has no such file, as in `E: Failed to fetch URL  404  Not Found [IP: …]`.
fn is_gone(error: &CommandError, package: &LockedPackage) -> bool {
    let file = format!("/{}", package.filename);
    said_lines(error).filter(|line| line.contains("  404  ") || line.contains("  410  ")).any(|line| {
        let url = line.split("  ").next().unwrap_or_default();
        percent_encoding::percent_decode_str(url).decode_utf8_lossy().ends_with(&file)
    })
}

/// A disk that is full, as apt says it: `write (28: No space left on device)`.
fn disk_error(error: &CommandError, path: &Path) -> Option<Error> {
    let full = [Errno::NOSPC, Errno::DQUOT].into_iter().find(|errno| {
        let said = format!("({}: ", errno.raw_os_error());
        said_lines(error).any(|line| line.contains(&said))
    })?;
    Some(Error::file("write", path)(full.into()))
}

fn said(error: &CommandError, words: &[&str]) -> bool {
    said_lines(error).any(|line| words.iter().any(|word| line.contains(word)))
}

fn said_lines(error: &CommandError) -> impl Iterator<Item = &str> {
    let text = match error {
        CommandError::Failed { stderr, .. } => stderr.as_str(),
        CommandError::Start { .. } => "",
    };
    text.lines()
}

pub(super) fn tool_error(purpose: &str) -> impl FnOnce(Stopped) -> Error {
    let purpose = purpose.to_owned();
    move |stopped| match stopped {
        Stopped::Interrupted(interrupted) => interrupted.into(),
        Stopped::Failed(source) => Error::Tool { purpose, source },
    }
}

fn unknown_suite(suite: &str, sources: &[Source]) -> Error {
    Error::UnknownSuite { suite: suite.to_owned(), mirror: mirror_of(suite, sources) }
}

fn mirror_of(suite: &str, sources: &[Source]) -> String {
    let source = sources.iter().find(|source| source.archive == suite);
    process::without_credentials(source.map_or("", |source| source.uri.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::digest::Digest;

    fn failed(stderr: &str) -> Stopped {
        let status = std::os::unix::process::ExitStatusExt::from_raw(100 << 8);
        Stopped::Failed(CommandError::Failed {
            program: "/usr/lib/apt/apt-helper".into(),
            status,
            stderr: stderr.to_owned(),
        })
    }

    fn package(name: &str) -> LockedPackage {
        LockedPackage {
            name: name.to_owned(),
            version: "1.2~a+b".to_owned(),
            architecture: "amd64".to_owned(),
            archive: "bookworm".to_owned(),
            filename: format!("pool/{name}_1.2~a+b_amd64.deb"),
            size: 1,
            digest: Digest::of(b"x"),
        }
    }

    fn explained(stderr: &str) -> Error {
        let (one, other) = (package("lib-a"), package("a"));
        download_error(failed(stderr), "http://m:p@host/debian/", &[&one, &other], Path::new("/cache/debs"))
    }

    #[test]
    fn a_package_that_is_gone_is_named() {
        let error = explained(
            "E: Failed to fetch http://host/debian/pool/a_1.2%7ea%2bb_amd64.deb  404  Not Found [IP: 127.0.0.1 80]\n\
             E: Failed to fetch http://host/debian/pool/lib-a_1.2%7ea%2bb_amd64.deb  503  Busy [IP: 127.0.0.1 80]\n\
             E: Download Failed",
        );
        assert_eq!(error.to_string(), "the archive at `http://****@host/debian` has no longer `a` 1.2~a+b");
        let error = explained("E: Failed to fetch http://host/x  Temporary failure resolving 'host'");
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }

    #[test]
    fn a_full_disk_is_no_matter_of_the_network() {
        let said = "E: Failed to fetch http://host/x  Error writing to file - write (28: No space left on device) [IP: ::1]";
        let is_full = |error: &Error| match error {
            Error::File { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        };
        let error = explained(said);
        assert!(is_full(&error), "{error:?}");
        assert_eq!(error.to_string(), "cannot write `/cache/debs`");
        let error = update_error(failed(said), "bookworm", &[], Path::new("/cache/apt"));
        assert!(is_full(&error), "{error:?}");
    }
}
