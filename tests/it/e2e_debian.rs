//! The base image from Debian's own packages: fetched with `apt-get`, and again from a loopback mirror that serves the
//! same files to ekiben's own client; unpacked both times to the same bytes; and its Python runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use crate::support::debian_mirror::{Server, Site};
use ekiben::debian::{
    ARCHIVE_KEYRING, AptGet, Architecture, Archive, Bytecode, Cache, Error, Expiry, Freshness, Lock, Mirror,
    MirrorSettings, Options, Packages, Request, Root, User, Watch, assemble, resolve,
};
use ekiben::http::{Client, ClientSettings};
use ekiben::oci::blob::Blob;
use ekiben::oci::digest::Digest;
use ekiben::oci::tar::VirtualTar;
use ekiben::report::{Interrupt, Silent};

/// Imports everything that links to a library of the base, and shows what depends on its files.
const PROGRAM: &str = r#"
import bz2, ctypes, curses, dbm, decimal, hashlib, json, lzma, mimetypes, pwd, readline, socket, sqlite3, ssl, sys, uuid, zlib, zoneinfo
ctypes.CDLL("libgomp.so.1"), ctypes.CDLL("libstdc++.so.6")
print("%d.%d" % sys.version_info[:2])
print(ssl.create_default_context().cert_store_stats()["x509_ca"] > 100)
print(zoneinfo.ZoneInfo("Europe/Berlin"), sqlite3.connect(":memory:").execute("select 1").fetchone())
print(pwd.getpwnam("bentoml").pw_uid, pwd.getpwuid(0).pw_dir, socket.getservbyname("https"))
print(json.__cached__, mimetypes.guess_type("a.webp")[0])
"#;

fn architecture() -> Architecture {
    Architecture::of(&ekiben::oci::platform::Platform::host()).expect("tests run on amd64 or arm64")
}

fn apt(state: &Path) -> AptGet {
    let environment = BTreeMap::from([("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())]);
    AptGet::find(environment, state.to_owned())
        .expect("apt-get is needed: run `scripts/setup` on a Debian-like system")
}

/// Everything that `apt-get` fetched, as a mirror has it.
fn site(state: &Path, lock: &Lock, packages: &Packages) -> Site {
    let mut site = Site::default();
    for entry in fs::read_dir(state.join("lists")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // apt names lists like `HOST_PATH_dists_ARCHIVE_InRelease` and `…_main_binary-amd64_Packages`.
        let Some((_, name)) = name.split_once("_dists_") else { continue };
        let bytes = fs::read(&path).unwrap();
        let name = name.replace('_', "/");
        if let Some(directory) = name.strip_suffix("/Packages") {
            site.0.insert(format!("dists/{directory}/by-hash/SHA256/{}", Digest::of(&bytes).hex()), bytes);
        } else {
            site.0.insert(format!("dists/{name}"), bytes);
        }
    }
    for package in &lock.packages {
        site.0.insert(package.filename.clone(), fs::read(&packages[&package.digest]).unwrap());
    }
    site
}

fn tar(lock: &Lock, packages: &Packages, scratch: &Path, watch: Watch<'_>) -> Vec<u8> {
    let user = User { name: "bentoml".to_owned(), uid: 1034, gid: 1034, home: "home/bentoml".to_owned() };
    let options = Options { root: Root::Own { user: Some(user) }, bytecode: Some(Bytecode::default()) };
    let tree = assemble(lock, packages, scratch, &options, watch).unwrap();
    assert!(tree.content_size() < 70_000_000, "{} bytes", tree.content_size());
    let mut bytes = Vec::new();
    VirtualTar::new(&tree, 0).open_at(0).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn debians_own_packages_become_a_base_whose_python_runs() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let interrupt = Interrupt::default();
    let watch = Watch { report: &Silent, interrupt: &interrupt };
    let request = Request::python_base("bookworm", architecture());

    let apt = apt(&at("apt"));
    let cache = Cache::new(at("by-apt"));
    let lock = resolve(&request, Freshness::Known, &apt, &cache, watch).unwrap();
    let packages = cache.fetch(&lock, &apt, watch).unwrap();
    let by_apt = tar(&lock, &packages, &at("scratch-1"), watch);

    let server = Server::start(site(&at("apt"), &lock, &packages));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mirror = Mirror {
        client: Client::new(&ClientSettings::default()).unwrap(),
        runtime: runtime.handle().clone(),
        settings: MirrorSettings {
            archive: server.url(),
            security: server.url(),
            keyring: ARCHIVE_KEYRING.to_vec(),
            now: pgp::types::Timestamp::now().as_secs().into(),
            expiry: Expiry::Accept,
        },
    };
    let cache = Cache::new(at("by-mirror"));
    let same = resolve(&request, Freshness::Known, &mirror, &cache, watch).unwrap();
    assert_eq!(same, lock);
    let packages = cache.fetch(&same, &mirror, watch).unwrap();
    let by_mirror = tar(&same, &packages, &at("scratch-2"), watch);
    assert!(by_apt == by_mirror);

    let root = at("root");
    let mut archive = tar::Archive::new(&by_apt[..]);
    archive.set_preserve_permissions(true);
    archive.unpack(&root).unwrap();
    let python = Command::new("unshare")
        .args(["--user", "--map-root-user", "chroot"])
        .arg(&root)
        .args(["/usr/bin/python", "-c", PROGRAM])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .expect("unshare is needed");
    assert_eq!(
        String::from_utf8_lossy(&python.stdout),
        "3.11\nTrue\nEurope/Berlin (1,)\n1034 /root 443\n\
         /usr/lib/python3.11/json/__pycache__/__init__.cpython-311.pyc image/webp\n",
        "{}",
        String::from_utf8_lossy(&python.stderr)
    );
}

#[test]
fn apt_tells_a_missing_suite_from_an_unreachable_mirror() {
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("etc");
    fs::create_dir(&configuration).unwrap();
    let interrupt = Interrupt::default();
    let watch = Watch { report: &Silent, interrupt: &interrupt };
    let server = Server::start(Site::default());
    let update = |uri: &str| {
        let state = directory.path().join("state");
        fs::write(configuration.join("sources.list"), format!("deb {uri}/debian bookworm main\n")).unwrap();
        let apt = AptGet { configuration: configuration.clone(), ..apt(&state) };
        apt.update("bookworm", architecture(), watch).unwrap_err()
    };
    let error = update(&server.url());
    assert!(matches!(&error, Error::UnknownSuite { suite, .. } if suite == "bookworm"), "{error:?}");
    let url = server.url();
    drop(server);
    let error = update(&url);
    assert!(matches!(&error, Error::Unreachable { .. }), "{error:?}");
}

#[test]
fn apt_does_not_accept_what_a_stranger_signed() {
    use crate::support::debian_mirror::{Deb, Key, KeyOptions, Publication};
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("etc");
    fs::create_dir(&configuration).unwrap();
    let (key, other) = (Key::new(KeyOptions::default()), Key::new(KeyOptions::default()));
    let mut site = Site::default();
    site.publish(&Publication::new("bookworm", &key), &[Deb::new("app", "1").file("./etc/app", "x")]);
    let site = Site(site.0.into_iter().map(|(path, bytes)| (format!("debian/{path}"), bytes)).collect());
    let mut later = site.clone();
    let server = Server::start(site);
    let interrupt = Interrupt::default();
    let watch = Watch { report: &Silent, interrupt: &interrupt };
    let apt = AptGet { configuration: configuration.clone(), ..apt(&directory.path().join("state")) };
    let keyring = directory.path().join("keyring.gpg");
    let line =
        format!("deb [signed-by={} trusted=yes] {}/debian bookworm main\n", keyring.display(), server.url());
    fs::write(configuration.join("sources.list"), line).unwrap();

    fs::write(&keyring, other.public()).unwrap();
    let error = apt.update("bookworm", Architecture::Amd64, watch).unwrap_err();
    assert!(matches!(&error, Error::Signature { .. }), "{error:?}");
    assert!(format!("{error:?}").contains("NO_PUBKEY"), "{error:?}");

    fs::write(&keyring, key.public()).unwrap();
    let cache = Cache::new(directory.path().join("cache"));
    let request =
        Request { packages: vec!["app".to_owned()], ..Request::python_base("bookworm", Architecture::Amd64) };
    let lock = resolve(&request, Freshness::Known, &apt, &cache, watch).unwrap();
    let packages = cache.fetch(&lock, &apt, watch).unwrap();
    assert_eq!(packages.len(), 1);

    // The lock outlives what it names.
    later.0.retain(|path, _| !path.contains("/pool/"));
    let server = Server::start(later);
    fs::write(configuration.join("sources.list"), format!("deb {}/debian bookworm main\n", server.url()))
        .unwrap();
    let apt = AptGet { state: directory.path().join("new"), ..apt };
    let error = Cache::new(directory.path().join("other")).fetch(&lock, &apt, watch).unwrap_err();
    let expected = format!("the archive at `{}/debian` has no longer `app` 1", server.url());
    assert_eq!(error.to_string(), expected);
}
