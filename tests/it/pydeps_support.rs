//! What the Python package tests need: a machine of their own, wheels made by hand, and an index to serve them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use base64::Engine as _;
use ekiben::oci::digest::Digest;
use ekiben::pydeps::{Host, Uv};
use ekiben::report::Interrupt;
use sha2::{Digest as _, Sha256};

/// Variables of this process that uv needs: where programs and certificates are.
const PASSED: [&str; 3] = ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A host whose caches, also uv's, are below `directory`.
pub(crate) fn host(directory: &Path) -> Host {
    let variables = std::env::vars_os().filter(|(name, _)| PASSED.iter().any(|passed| name == passed));
    let mut environment: BTreeMap<OsString, OsString> = variables.collect();
    let mut path = shared_uv(&environment);
    if let Some(more) = environment.get(&OsString::from("PATH")) {
        path.push(":");
        path.push(more);
    }
    environment.insert("PATH".into(), path);
    environment.insert("HOME".into(), directory.join("home").into());
    environment.insert("UV_CACHE_DIR".into(), directory.join("uv").into());
    environment.insert("UV_HTTP_RETRIES".into(), "0".into());
    Host { cache_dir: directory.join("cache"), environment, interrupt: Interrupt::default() }
}

/// The directory of a uv: obtained once for all tests, and kept with the build.
fn shared_uv(environment: &BTreeMap<OsString, OsString>) -> OsString {
    static UV: OnceLock<PathBuf> = OnceLock::new();
    let program = UV.get_or_init(|| {
        let cache_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pydeps");
        let host = Host { cache_dir, environment: environment.clone(), interrupt: Interrupt::default() };
        Uv::obtain(&host).unwrap().program().to_owned()
    });
    program.parent().unwrap().into()
}

/// Paths, modes and contents below a directory.
pub(crate) fn tree_of(root: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let entry = entry.unwrap();
        let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        let bytes =
            if entry.file_type().is_file() { std::fs::read(entry.path()).unwrap() } else { Vec::new() };
        files.insert(name, (mode, bytes));
    }
    files
}

/// A wheel in the making.
pub(crate) struct Wheel {
    name: String,
    files: Vec<(String, u32, Vec<u8>)>,
    requires: Vec<String>,
    record: String,
}

impl Wheel {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), files: Vec::new(), requires: Vec::new(), record: String::new() }
    }

    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        self.file_with_mode(path, 0o644, text)
    }

    pub(crate) fn file_with_mode(mut self, path: &str, mode: u32, text: &str) -> Self {
        let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(text));
        writeln!(self.record, "{path},sha256={hash},{}", text.len()).unwrap();
        self.files.push((path.to_owned(), mode, text.into()));
        self
    }

    /// Adds a file that `RECORD` does not list.
    pub(crate) fn unlisted(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), 0o644, text.into()));
        self
    }

    /// Adds a file to the wheel's metadata.
    pub(crate) fn metadata(self, name: &str, text: &str) -> Self {
        let path = format!("{}-1.0.dist-info/{name}", self.name);
        self.file(&path, text)
    }

    pub(crate) fn requires(mut self, requirement: &str) -> Self {
        self.requires.push(requirement.to_owned());
        self
    }

    pub(crate) fn row(mut self, row: &str) -> Self {
        self.record.extend([row, "\n"]);
        self
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{}-1.0-py3-none-any.whl", self.name)
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut metadata = format!("Metadata-Version: 2.1\nName: {}\nVersion: 1.0\n", self.name);
        for requirement in &self.requires {
            writeln!(metadata, "Requires-Dist: {requirement}").unwrap();
        }
        let info = format!("{}-1.0.dist-info", self.name);
        let kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
        let wheel = self.metadata("METADATA", &metadata).metadata("WHEEL", kind);
        let record = format!("{}{info}/RECORD,,\n", wheel.record);
        zip(&wheel.unlisted(&format!("{info}/RECORD"), &record).files)
    }
}

/// A zip archive of stored members.
fn zip(files: &[(String, u32, Vec<u8>)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, mode, bytes) in files {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let offset = u32::try_from(archive.len()).unwrap();
        let (size, name_size) = (u32::try_from(bytes.len()).unwrap(), u16::try_from(name.len()).unwrap());
        let mut common = Vec::new();
        for half in [20_u16, 0x0800, 0, 0, 0x5821] {
            common.extend(half.to_le_bytes());
        }
        for word in [crc.sum(), size, size] {
            common.extend(word.to_le_bytes());
        }
        common.extend(name_size.to_le_bytes());
        common.extend([0, 0]);
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(name.as_bytes());
        archive.extend(bytes);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&common);
        directory.extend([0; 6]);
        directory.extend(((0o100_000 | mode) << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, size) = (u32::try_from(archive.len()).unwrap(), u32::try_from(directory.len()).unwrap());
    let count = u16::try_from(files.len()).unwrap();
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    archive.extend(size.to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

/// How the index treats its visitors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manners {
    /// `user:password` that every request must show.
    pub(crate) credentials: Option<String>,
    /// Accept connections and never answer.
    pub(crate) is_silent: bool,
}

/// A package index on loopback (PEP 503).
pub(crate) struct Index {
    pub(crate) address: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Index {
    pub(crate) fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let index = Self { address, files: Arc::default(), requests: Arc::default() };
        let (files, requests) = (Arc::clone(&index.files), Arc::clone(&index.requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (manners, files, requests) = (manners.clone(), Arc::clone(&files), Arc::clone(&requests));
                thread::spawn(move || answer(&stream, &manners, &files, &requests));
            }
        });
        index
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/simple", self.address)
    }

    pub(crate) fn add(&self, wheel: Wheel) {
        self.add_file(&wheel.file_name(), wheel.bytes());
    }

    pub(crate) fn add_file(&self, name: &str, bytes: Vec<u8>) {
        self.files.lock().unwrap().insert(name.to_owned(), bytes);
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(
    stream: &TcpStream,
    manners: &Manners,
    files: &Mutex<BTreeMap<String, Vec<u8>>>,
    requests: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let first = lines.next()?.ok()?;
        let headers: Vec<String> =
            lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let mut words = first.split(' ');
        let (method, path) = (words.next()?, words.next()?.to_owned());
        requests.lock().unwrap().push(path.clone());
        if manners.is_silent {
            thread::sleep(std::time::Duration::from_mins(1));
        }
        let shown = headers.iter().find_map(|header| {
            let (name, value) = header.split_once(": ")?;
            name.eq_ignore_ascii_case("authorization").then_some(value)
        });
        let wanted = manners.credentials.as_ref().map(|credentials| {
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(credentials))
        });
        let (status, kind, body) = if wanted.is_some() && wanted.as_deref() != shown {
            ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"index\"", "text/plain", b"no".to_vec())
        } else {
            page(&path, &files.lock().unwrap())
        };
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut stream = stream;
        stream.write_all(head.as_bytes()).ok()?;
        if method != "HEAD" {
            stream.write_all(&body).ok()?;
        }
    }
}

fn page(path: &str, files: &BTreeMap<String, Vec<u8>>) -> (&'static str, &'static str, Vec<u8>) {
    if let Some(bytes) = path.strip_prefix("/files/").and_then(|name| files.get(name)) {
        return ("200 OK", "application/octet-stream", bytes.clone());
    }
    let Some(project) = path.strip_prefix("/simple/").map(|rest| rest.trim_end_matches('/')) else {
        return ("404 Not Found", "text/plain", Vec::new());
    };
    let mut links = String::new();
    for (name, bytes) in files {
        if name.split('-').next().unwrap().to_lowercase().replace('_', "-") == project {
            let hash = Digest::of(bytes);
            let hash = hash.hex();
            writeln!(links, "<a href=\"/files/{name}#sha256={hash}\">{name}</a><br>").unwrap();
        }
    }
    if links.is_empty() {
        return ("404 Not Found", "text/plain", Vec::new());
    }
    ("200 OK", "text/html", format!("<!DOCTYPE html><html><body>{links}</body></html>").into_bytes())
}

/// A directory with one program: uv, run by a shell that first does `preparation`.
pub(crate) fn wrapped_uv(directory: &Path, preparation: &str, host: &Host) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = host.environment.get(std::ffi::OsStr::new("PATH")).unwrap();
    let uv = ekiben::process::find_program("uv", path).expect("uv on the search path");
    let bin = directory.join("wrapped");
    std::fs::create_dir_all(&bin).unwrap();
    let script = format!("#!/bin/sh\n{preparation}\nexec '{}' \"$@\"\n", uv.display());
    std::fs::write(bin.join("uv"), script).unwrap();
    std::fs::set_permissions(bin.join("uv"), std::fs::Permissions::from_mode(0o755)).unwrap();
    bin
}
