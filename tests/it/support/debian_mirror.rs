//! A Debian archive on loopback: small packages, signed indexes, and a server that can fail on request.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use ekiben::oci::digest::Digest;
use pgp::composed::{
    CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{Duration, KeyDetails, Password, Tag, Timestamp};

/// When keys and signatures of the tests are made, unless they say otherwise: 2026-01-01.
pub(crate) const MADE: u32 = 1_767_225_600;
/// A day later: the time by which the tests judge.
pub(crate) const NOW: u64 = MADE as u64 + 86_400;

/// A key that signs archives.
pub(crate) struct Key(SignedSecretKey);

/// What a key is like.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyOptions {
    /// Seconds until it expires.
    pub(crate) lifetime: Option<u32>,
    /// Whether its owner has revoked it.
    pub(crate) is_revoked: bool,
    /// Whether it is for something else than signing.
    pub(crate) cannot_sign: bool,
    /// Whether it is one with which weak digests can be signed.
    pub(crate) is_rsa: bool,
}

impl Key {
    pub(crate) fn new(options: KeyOptions) -> Self {
        let mut parameters = SecretKeyParamsBuilder::default();
        let kind = if options.is_rsa { KeyType::Rsa(2048) } else { KeyType::Ed25519Legacy };
        parameters.key_type(kind).can_certify(true).can_sign(true);
        parameters
            .created_at(Timestamp::from_secs(MADE))
            .primary_user_id("Tests <tests@example.org>".to_owned());
        let parameters = parameters.build().expect("the parameters are complete");
        let mut secret = parameters.generate(rand::thread_rng()).expect("keys can be made");
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(!options.cannot_sign);
        let mut about = vec![SubpacketData::KeyFlags(flags)];
        about
            .extend(options.lifetime.map(|time| SubpacketData::KeyExpirationTime(Duration::from_secs(time))));
        let config = config(&secret, SignatureType::CertPositive, MADE, HashAlgorithm::Sha256, about);
        let user = &secret.details.users[0].id;
        let public = secret.primary_key.public_key();
        let certified =
            config.sign_certification(&secret.primary_key, public, &Password::empty(), Tag::UserId, user);
        secret.details.users[0].signatures = vec![certified.expect("keys can certify")];
        if options.is_revoked {
            let config = config_of(&secret, SignatureType::KeyRevocation);
            let public = secret.primary_key.public_key();
            let revoked = config.sign_key(&secret.primary_key, &Password::empty(), public);
            secret.details.revocation_signatures.push(revoked.expect("keys can be revoked"));
        }
        Self(secret)
    }

    pub(crate) fn public(&self) -> Vec<u8> {
        SignedPublicKey::from(self.0.clone()).to_bytes().expect("keys can be written")
    }

    pub(crate) fn sign(&self, text: &str, made: u32, hash: HashAlgorithm) -> String {
        let config = config(&self.0, SignatureType::Text, made, hash, Vec::new());
        let message = CleartextSignedMessage::new(text, config, &self.0.primary_key, &Password::empty());
        let message = message.expect("keys can sign");
        message.to_armored_string(pgp::composed::ArmorOptions::default()).expect("messages can be written")
    }
}

fn config_of(key: &SignedSecretKey, kind: SignatureType) -> SignatureConfig {
    config(key, kind, MADE, HashAlgorithm::Sha256, Vec::new())
}

fn config(
    key: &SignedSecretKey,
    kind: SignatureType,
    made: u32,
    hash: HashAlgorithm,
    about: Vec<SubpacketData>,
) -> SignatureConfig {
    let mut config = SignatureConfig::v4(kind, key.primary_key.algorithm(), hash);
    let always = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(made)),
        SubpacketData::IssuerFingerprint(key.primary_key.fingerprint()),
    ];
    let packets =
        always.into_iter().chain(about).map(|data| Subpacket::regular(data).expect("subpackets fit"));
    config.hashed_subpackets = packets.collect();
    // GnuPG finds a key's own signatures by this.
    let issuer = Subpacket::regular(SubpacketData::IssuerKeyId(key.primary_key.legacy_key_id()));
    config.unhashed_subpackets = vec![issuer.expect("subpackets fit")];
    config
}

/// How the members of a package are compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Xz,
    Gzip,
    Zstd,
    Plain,
}

/// A package to be built.
#[derive(Clone)]
pub(crate) struct Deb {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    /// Further fields, one a line.
    pub(crate) fields: String,
    pub(crate) postinst: Option<String>,
    pub(crate) packing: Packing,
    entries: Vec<(tar::Header, String, String, Vec<u8>)>,
}

impl Deb {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            fields: String::new(),
            postinst: None,
            packing: Packing::Xz,
            entries: Vec::new(),
        }
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        writeln!(self.fields, "{name}: {value}").expect("strings grow");
        self
    }

    pub(crate) fn packed(mut self, packing: Packing) -> Self {
        self.packing = packing;
        self
    }

    pub(crate) fn script(mut self, text: &str) -> Self {
        self.postinst = Some(text.to_owned());
        self
    }

    pub(crate) fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(path, tar::EntryType::Directory, mode, "", b"")
    }

    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, tar::EntryType::Regular, 0o644, "", content.as_ref())
    }

    pub(crate) fn program(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, tar::EntryType::Regular, 0o755, "", content.as_ref())
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, tar::EntryType::Symlink, 0o777, target, b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(path, tar::EntryType::Link, 0o644, target, b"")
    }

    /// Any entry, with names that may be hostile: they are written into the header as they are.
    pub(crate) fn entry(
        mut self,
        path: &str,
        kind: tar::EntryType,
        mode: u32,
        target: &str,
        content: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        self.entries.push((header, path.to_owned(), target.to_owned(), content.to_vec()));
        self
    }

    fn control(&self) -> String {
        let Self { name, version, architecture, fields, .. } = self;
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: Tests <tests@example.org>\n{fields}Description: a test\n of more than one line\n"
        )
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut control = tar::Builder::new(Vec::new());
        let scripts = self.postinst.iter().map(|text| ("./postinst", text.clone()));
        for (name, text) in [("./control", self.control())].into_iter().chain(scripts) {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_size(text.len() as u64);
            control.append_data(&mut header, name, text.as_bytes()).expect("tars grow in memory");
        }
        let mut data = tar::Builder::new(Vec::new());
        for (header, path, target, content) in &self.entries {
            let mut header = header.clone();
            let fields = header.as_gnu_mut().expect("headers are made as gnu");
            fields.name[..path.len()].copy_from_slice(path.as_bytes());
            fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
            header.set_cksum();
            data.append(&header, content.as_slice()).expect("tars grow in memory");
        }
        let finish = |tar: tar::Builder<Vec<u8>>| tar.into_inner().expect("tars end");
        let mut bytes = b"!<arch>\n".to_vec();
        member(&mut bytes, "debian-binary", b"2.0\n");
        for (name, tar) in [("control.tar", finish(control)), ("data.tar", finish(data))] {
            let (extension, packed) = pack(self.packing, &tar);
            member(&mut bytes, &format!("{name}{extension}"), &packed);
        }
        bytes
    }
}

fn member(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    writeln!(archive, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, content.len())
        .expect("vectors grow");
    archive.extend_from_slice(content);
    if !content.len().is_multiple_of(2) {
        archive.push(b'\n');
    }
}

fn pack(packing: Packing, bytes: &[u8]) -> (&'static str, Vec<u8>) {
    let mut packed = Vec::new();
    let extension = match packing {
        Packing::Xz => {
            liblzma::read::XzEncoder::new(bytes, 1).read_to_end(&mut packed).expect("memory can be read");
            ".xz"
        }
        Packing::Gzip => {
            let level = flate2::Compression::fast();
            flate2::read::GzEncoder::new(bytes, level).read_to_end(&mut packed).expect("memory can be read");
            ".gz"
        }
        Packing::Zstd => {
            packed = zstd::bulk::compress(bytes, 1).expect("memory can be compressed");
            ".zst"
        }
        Packing::Plain => {
            packed = bytes.to_vec();
            ""
        }
    };
    (extension, packed)
}

/// What a mirror has, by path.
#[derive(Clone, Default)]
pub(crate) struct Site(pub(crate) BTreeMap<String, Vec<u8>>);

/// How an archive is published.
#[derive(Clone)]
pub(crate) struct Publication<'a> {
    pub(crate) archive: &'a str,
    pub(crate) architecture: &'a str,
    pub(crate) key: &'a Key,
    /// When it is signed.
    pub(crate) made: u32,
    pub(crate) hash: HashAlgorithm,
    /// Further fields of the release file, one a line.
    pub(crate) fields: &'a str,
    pub(crate) packing: Packing,
}

impl<'a> Publication<'a> {
    pub(crate) fn new(archive: &'a str, key: &'a Key) -> Self {
        Self {
            archive,
            architecture: "amd64",
            key,
            made: MADE,
            hash: HashAlgorithm::Sha256,
            fields: "Acquire-By-Hash: yes\n",
            packing: Packing::Xz,
        }
    }
}

impl Site {
    /// Publishes packages as one archive, and signs it.
    pub(crate) fn publish(&mut self, publication: &Publication<'_>, debs: &[Deb]) {
        let mut stanzas = Vec::new();
        for deb in debs {
            let path = format!("pool/{}_{}_{}.deb", deb.name, deb.version, deb.architecture);
            let bytes = deb.build();
            stanzas.push(deb.control() + &listed(&path, &bytes));
            self.0.insert(path, bytes);
        }
        self.publish_list(publication, &stanzas.join("\n"));
    }

    /// Publishes a package list whose packages are there already.
    pub(crate) fn publish_list(&mut self, publication: &Publication<'_>, list: &str) {
        let Publication { archive, architecture, key, made, hash, fields, packing } = publication;
        let directory = format!("main/binary-{architecture}");
        let (extension, packed) = pack(*packing, list.as_bytes());
        let digest = Digest::of(&packed).hex();
        let path = format!("{directory}/Packages{extension}");
        let release = format!(
            "Origin: Tests\nSuite: {archive}\nCodename: {archive}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n\
             Architectures: {architecture}\nComponents: main\n{fields}SHA256:\n {digest} {} {path}\n \
             {} {} {directory}/Packages\n",
            packed.len(),
            Digest::of(list.as_bytes()).hex(),
            list.len()
        );
        let root = format!("dists/{archive}");
        self.0.insert(format!("{root}/{path}"), packed.clone());
        self.0.insert(format!("{root}/{directory}/by-hash/SHA256/{digest}"), packed);
        self.0.insert(format!("{root}/InRelease"), key.sign(&release, *made, *hash).into_bytes());
    }
}

/// The fields by which a package list names a package's file.
pub(crate) fn listed(path: &str, bytes: &[u8]) -> String {
    format!("Filename: {path}\nSize: {}\nSHA256: {}\n", bytes.len(), Digest::of(bytes).hex())
}

/// What a server does instead of answering well.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// Answers with a status.
    Status(u16),
    /// Ends the connection after so many bytes.
    Cut(usize),
}

/// A running mirror; it ends with its handle.
pub(crate) struct Server {
    port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    site: Site,
    faults: Mutex<Vec<(String, Fault)>>,
    requests: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Server {
    pub(crate) fn start(site: Site) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let state = Arc::new(State {
            site,
            faults: Mutex::default(),
            requests: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&shared);
                // A client that goes away is part of the tests.
                thread::spawn(move || drop(answer(&state, &stream)));
            }
        });
        Self { port, state, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Fails the next request for a path that ends so.
    pub(crate) fn fail_once(&self, path: &str, fault: Fault) {
        self.state.faults.lock().unwrap().push((path.to_owned(), fault));
    }

    /// The paths asked for, with the first byte wanted where that is not 0.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; if that fails, it has ended.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(state: &State, stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').replace("%2b", "+");
        let mut from = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(range) = header.strip_prefix("range: bytes=") {
                from = range.trim_end_matches('-').parse().unwrap_or(0);
            }
        }
        let noted = if from > 0 { format!("{path} from {from}") } else { path.clone() };
        state.requests.lock().unwrap().push(noted);
        if !respond(state, stream, &path, from)? {
            return Ok(());
        }
    }
}

/// Writes one response; whether the connection goes on.
fn respond(state: &State, mut stream: &TcpStream, path: &str, from: usize) -> std::io::Result<bool> {
    let fault = {
        let mut faults = state.faults.lock().unwrap();
        let found = faults.iter().position(|(end, _)| path.ends_with(end));
        found.map(|index| faults.remove(index).1)
    };
    let (status, body, from) = match (fault, state.site.0.get(path)) {
        (Some(Fault::Status(status)), _) => (status, &b""[..], 0),
        (_, None) => (404, &b""[..], 0),
        (_, Some(body)) if from > 0 && from < body.len() => (206, &body[from..], from),
        (_, Some(body)) => (200, &body[..], 0),
    };
    let end = from + body.len();
    write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len())?;
    if status == 206 {
        write!(stream, "content-range: bytes {from}-{}/{end}\r\n", end - 1)?;
    }
    write!(stream, "\r\n")?;
    match fault {
        Some(Fault::Cut(count)) => stream.write_all(&body[..count.min(body.len())]).map(|()| false),
        _ => stream.write_all(body).map(|()| true),
    }
}
