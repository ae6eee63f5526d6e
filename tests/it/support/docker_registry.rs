//! Debian's docker-registry, one per test, on a free loopback port.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::command::Command;
use super::peers;
use super::service::Service;

/// Switches these tests off, for machines that cannot have the program.
const SWITCH: &str = "EKIBEN_TEST_WITHOUT_REGISTRY";
/// User `me` with the password `pw`: bcrypt is what the registry wants, and nothing here makes it.
const HTPASSWD: &str = "me:$2b$05$abcdefghijklmnopqrstuuHIrMEWpUCQe2YqFR3sXwQ75u4od..9q\n";
/// What a certificate for the loopback address says.
const CERTIFICATE: &str = "[req]\ndistinguished_name=name\nx509_extensions=more\nprompt=no\n[name]\nCN=ekiben test\n\
    [more]\nsubjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";

/// A running registry.
pub(crate) struct DockerRegistry {
    _service: Service,
    directory: TempDir,
    host: String,
}

impl DockerRegistry {
    /// Without encryption and passwords; nothing when these tests are switched off.
    pub(crate) fn plain() -> Option<Self> {
        Self::start("")
    }

    /// With a certificate that nobody knows, and the user `me` whose password is `pw`.
    pub(crate) fn secure() -> Option<Self> {
        Self::start(
            "  tls: {certificate: DIRECTORY/ca.pem, key: DIRECTORY/key.pem}\n\
             auth:\n  htpasswd: {realm: test, path: DIRECTORY/htpasswd}\n",
        )
    }

    fn start(more: &str) -> Option<Self> {
        if peers::is_switched_off(SWITCH) {
            return None;
        }
        let directory = TempDir::new().expect("a temporary directory can be made");
        let path = directory.path();
        fs::write(path.join("htpasswd"), HTPASSWD).expect("the file can be written");
        if more.contains("tls") {
            make_certificate(path);
        }
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: DIRECTORY/data}}\n  delete: {{enabled: true}}\n\
             http:\n  addr: 127.0.0.1:0\n{more}"
        );
        let config = config.replace("DIRECTORY", &path.display().to_string());
        fs::write(path.join("config.yml"), config).expect("the file can be written");
        let command = Command::new(&peers::system("docker-registry"), path, &BTreeMap::new());
        let mut service = Service::start(&command.args(["serve", "config.yml"]));
        let line = service.line_with("listening on ");
        let host = line.split("listening on ").nth(1).and_then(|rest| rest.split([',', '"']).next());
        let host = host.expect("the line names the address").trim().to_owned();
        Some(Self { _service: service, directory, host })
    }

    /// Host and port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The certificate that a client has to trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Changes a byte in the middle of every stored blob that is larger than any manifest.
    pub(crate) fn spoil_layers(&self) {
        const LARGER_THAN_MANIFESTS: u64 = 1 << 20;
        let mut spoiled = 0;
        for entry in walkdir::WalkDir::new(self.directory.path().join("data")) {
            let entry = entry.expect("the storage can be walked");
            let size = entry.metadata().expect("the file is there").len();
            if entry.file_type().is_file() && size > LARGER_THAN_MANIFESTS {
                let mut bytes = fs::read(entry.path()).expect("a blob can be read");
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(entry.path(), bytes).expect("a blob can be written");
                spoiled += 1;
            }
        }
        assert!(spoiled > 0, "the registry has no layer");
    }

    /// How many uploads to a repository have begun and are not complete.
    pub(crate) fn open_uploads(&self, repository: &str) -> usize {
        let path = format!("data/docker/registry/v2/repositories/{repository}/_uploads");
        fs::read_dir(self.directory.path().join(path)).map_or(0, Iterator::count)
    }
}

fn make_certificate(directory: &Path) {
    fs::write(directory.join("openssl.cnf"), CERTIFICATE).expect("the file can be written");
    let command = Command::new(&peers::system("openssl"), directory, &BTreeMap::new());
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -config openssl.cnf -keyout key.pem -out ca.pem";
    let _ = command.args(arguments.split_whitespace()).any_stderr().run();
}
