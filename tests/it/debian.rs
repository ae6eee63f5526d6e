//! Debian packages from an archive on loopback: what is resolved, fetched and unpacked, and what is refused.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;

use crate::support::debian_mirror::{
    Deb, Fault, Key, KeyOptions, MADE, NOW, Packing, Publication, Server, Site,
};
use ekiben::debian::{
    Architecture, Bytecode, Cache, DebError, Error, Expiry, Freshness, Lock, Mirror, MirrorSettings, Options,
    Request, Root, SignatureError, User, UsrLayout, Watch, assemble, installed, resolve,
};
use ekiben::http::{Client, ClientSettings};
use ekiben::oci::blob::Blob;
use ekiben::oci::tar::VirtualTar;
use ekiben::oci::tree::{Content, EntryKind, Tree};
use ekiben::report::{Interrupt, Progress, Report, Silent};
use pgp::crypto::hash::HashAlgorithm;

/// Keeps what is reported.
#[derive(Default)]
struct Heard {
    warnings: Mutex<Vec<String>>,
}

impl Report for Heard {
    fn stage(&self, _: &str) {}

    fn task(&self, _: &str, _: Option<u64>) -> Box<dyn Progress> {
        Box::new(Silent)
    }

    fn warn(&self, message: &str) {
        self.warnings.lock().unwrap().push(message.to_owned());
    }
}

/// A cache, a client and a runtime of the test's own.
struct Context {
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    interrupt: Interrupt,
    heard: Heard,
}

impl Context {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            interrupt: Interrupt::default(),
            heard: Heard::default(),
        }
    }

    fn mirror(&self, server: &Server, key: &Key) -> Mirror {
        Mirror {
            client: Client::new(&ClientSettings::default()).unwrap(),
            runtime: self.runtime.handle().clone(),
            settings: MirrorSettings {
                archive: server.url(),
                security: server.url(),
                keyring: key.public(),
                now: NOW,
                expiry: Expiry::Refuse,
            },
        }
    }

    fn cache(&self) -> Cache {
        Cache::new(self.directory.path().join("cache"))
    }

    fn watch(&self) -> Watch<'_> {
        Watch { report: &self.heard, interrupt: &self.interrupt }
    }

    fn resolve(&self, packages: &[&str], mirror: &Mirror) -> Result<Lock, Error> {
        resolve(&request(packages), Freshness::Known, mirror, &self.cache(), self.watch())
    }

    fn assemble(&self, packages: &[&str], mirror: &Mirror, options: &Options) -> Result<Tree, Error> {
        let lock = self.resolve(packages, mirror)?;
        let debs = self.cache().fetch(&lock, mirror, self.watch())?;
        assemble(&lock, &debs, &self.directory.path().join("scratch"), options, self.watch())
    }

    /// The files below the cache, without its lock file.
    fn cached(&self) -> Vec<String> {
        let root = self.directory.path().join("cache");
        let mut names = Vec::new();
        for directory in ["debs", "debian"].map(|name| root.join(name)).iter().filter(|path| path.exists()) {
            names.extend(fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()));
        }
        let mut names: Vec<_> = names.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        names.retain(|name| name != "lock");
        names.sort();
        names
    }
}

fn request(packages: &[&str]) -> Request {
    Request {
        suite: "stable".to_owned(),
        architecture: Architecture::Amd64,
        packages: packages.iter().map(ToString::to_string).collect(),
        installed: Vec::new(),
    }
}

fn key() -> Key {
    Key::new(KeyOptions::default())
}

fn on_top(layout: UsrLayout) -> Options {
    Options { root: Root::OnTop { layout, status: String::new() }, bytecode: None }
}

fn own() -> Options {
    let user = User { name: "bentoml".to_owned(), uid: 1034, gid: 1034, home: "home/bentoml".to_owned() };
    Options { root: Root::Own { user: Some(user) }, bytecode: None }
}

/// A site with one archive of these packages.
fn site(key: &Key, debs: &[Deb]) -> Site {
    let mut site = Site::default();
    site.publish(&Publication::new("stable", key), debs);
    site
}

fn application() -> Vec<Deb> {
    vec![
        Deb::new("app", "1.0-1")
            .field("Depends", "lib-a (>= 1), virtual")
            .program("./usr/bin/app", "#!/bin/sh\n"),
        Deb::new("lib-a", "1.2+b1").packed(Packing::Gzip).file("./lib/x/lib-a.so", vec![7; 100_000]),
        Deb::new("prov", "1").field("Provides", "virtual").packed(Packing::Zstd).file("./etc/prov", "x"),
        Deb::new("plain", "1").packed(Packing::Plain).file("./etc/plain", "x"),
    ]
}

fn names(lock: &Lock) -> Vec<String> {
    lock.packages.iter().map(|one| format!("{} {} {}", one.name, one.version, one.archive)).collect()
}

fn content(tree: &Tree, path: &str) -> Vec<u8> {
    match &tree.get(path).unwrap_or_else(|| panic!("no `{path}`")).kind {
        EntryKind::File(Content::Bytes(bytes)) => bytes.to_vec(),
        EntryKind::File(Content::File { path, .. }) => fs::read(path).unwrap(),
        other => panic!("`{path}` is {other:?}"),
    }
}

fn paths(tree: &Tree) -> Vec<&str> {
    tree.iter().map(|(path, _)| path).filter(|path| !path.starts_with("var/lib/dpkg")).collect()
}

/// The tree's tar: all that a layer's digest depends on.
fn tar(tree: &Tree) -> Vec<u8> {
    let mut bytes = Vec::new();
    VirtualTar::new(tree, 0).open_at(0).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn packages_are_resolved_fetched_and_unpacked() {
    let (context, key) = (Context::new(), key());
    let server = Server::start(site(&key, &application()));
    let mirror = context.mirror(&server, &key);
    let tree = context.assemble(&["app", "plain"], &mirror, &on_top(UsrLayout::Merged)).unwrap();
    assert_eq!(
        paths(&tree),
        [
            "etc",
            "etc/plain",
            "etc/prov",
            "usr",
            "usr/bin",
            "usr/bin/app",
            "usr/lib",
            "usr/lib/x",
            "usr/lib/x/lib-a.so",
            "var",
            "var/lib"
        ]
    );
    assert_eq!(content(&tree, "usr/lib/x/lib-a.so"), vec![7; 100_000]);
    assert_eq!(tree.get("usr/bin/app").unwrap().mode, 0o755);
    let status = String::from_utf8(content(&tree, "var/lib/dpkg/status")).unwrap();
    let found: Vec<_> = installed(&status).into_iter().map(|one| one.name).collect();
    assert_eq!(found, ["app", "lib-a", "plain", "prov"]);
    assert_eq!(content(&tree, "var/lib/dpkg/info/prov.list"), b"/.\n/etc/prov\n");
}

#[test]
fn what_was_resolved_is_used_until_something_newer_is_wanted() {
    let (context, key) = (Context::new(), key());
    let server = Server::start(site(&key, &application()));
    let mirror = context.mirror(&server, &key);
    let lock = context.resolve(&["app"], &mirror).unwrap();
    assert_eq!(names(&lock), ["app 1.0-1 stable", "lib-a 1.2+b1 stable", "prov 1 stable"]);
    context.cache().fetch(&lock, &mirror, context.watch()).unwrap();
    let asked = server.requests().len();
    assert_eq!(context.resolve(&["app"], &mirror).unwrap(), lock);
    context.cache().fetch(&lock, &mirror, context.watch()).unwrap();
    // Another request of the same suite needs no new lists either.
    context.resolve(&["plain"], &mirror).unwrap();
    assert_eq!(server.requests().len(), asked);
    let again =
        resolve(&request(&["app"]), Freshness::Current, &mirror, &context.cache(), context.watch()).unwrap();
    assert_eq!(again, lock);
    assert!(server.requests().len() > asked);
}

#[test]
fn security_fixes_win_and_say_where_they_are_from() {
    let (context, key) = (Context::new(), key());
    let mut site = site(&key, &[Deb::new("app", "1.0")]);
    site.publish(&Publication::new("stable-security", &key), &[Deb::new("app", "1.0+deb1")]);
    let server = Server::start(site);
    let lock = context.resolve(&["app"], &context.mirror(&server, &key)).unwrap();
    assert_eq!(names(&lock), ["app 1.0+deb1 stable-security"]);
}

#[test]
fn the_same_lock_gives_the_same_bytes_in_another_place_and_umask() {
    let key = key();
    let server = Server::start(site(&key, &application()));
    let make = || {
        let context = Context::new();
        let tree = context.assemble(&["app"], &context.mirror(&server, &key), &own()).unwrap();
        tar(&tree)
    };
    let first = make();
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let second = make();
    rustix::process::umask(umask);
    assert!(first == second);
}

#[test]
fn only_what_the_base_lacks_is_added() {
    let (context, key) = (Context::new(), key());
    let server = Server::start(site(&key, &application()));
    let mirror = context.mirror(&server, &key);
    let base = "Package: lib-a\nStatus: install ok installed\nVersion: 1.1\nArchitecture: amd64\n\n\
                Package: prov\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nProvides: virtual\n";
    let request = Request { installed: installed(base), ..request(&["app"]) };
    let lock = resolve(&request, Freshness::Known, &mirror, &context.cache(), context.watch()).unwrap();
    assert_eq!(names(&lock), ["app 1.0-1 stable"]);
    let debs = context.cache().fetch(&lock, &mirror, context.watch()).unwrap();
    let root = Root::OnTop { layout: UsrLayout::Merged, status: base.to_owned() };
    let scratch = context.directory.path().join("scratch");
    let tree = assemble(&lock, &debs, &scratch, &Options { root, bytecode: None }, context.watch()).unwrap();
    let status = String::from_utf8(content(&tree, "var/lib/dpkg/status")).unwrap();
    let found: Vec<_> = installed(&status).into_iter().map(|one| one.name).collect();
    assert_eq!(found, ["app", "lib-a", "prov"]);
}

#[test]
fn links_into_usr_are_made_for_a_base_and_never_touched_on_top_of_one() {
    let (context, key) = (Context::new(), key());
    let deb = Deb::new("libc6", "1")
        .directory("./lib", 0o755)
        .directory("./lib64/", 0o755)
        .file("./lib/a", "a")
        .symlink("./lib64/ld", "/lib/a")
        .symlink("./bin", "usr/bin")
        .directory("./var/run/", 0o755)
        .file("./var/run/x", "x");
    let server = Server::start(site(&key, &[deb]));
    let mirror = context.mirror(&server, &key);
    let tree = context.assemble(&["libc6"], &mirror, &on_top(UsrLayout::Merged)).unwrap();
    assert_eq!(
        paths(&tree),
        ["run", "run/x", "usr", "usr/lib", "usr/lib/a", "usr/lib64", "usr/lib64/ld", "var", "var/lib"]
    );
    let split = context.assemble(&["libc6"], &mirror, &on_top(UsrLayout::Split)).unwrap();
    assert!(split.get("lib/a").is_some() && split.get("usr").is_none());
    let base = context.assemble(&["libc6"], &mirror, &own()).unwrap();
    for (path, target) in
        [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")]
    {
        assert!(matches!(&base.get(path).unwrap().kind, EntryKind::Symlink(to) if to == target), "{path}");
    }
    assert!(base.get("lib32").is_none());
}

#[test]
fn a_base_is_completed_as_its_scripts_would() {
    let (context, key) = (Context::new(), key());
    let certificate = |name: &str| format!("./usr/share/ca-certificates/mozilla/{name}.crt");
    let debs = [
        Deb::new("base-passwd", "1")
            .file("./usr/share/base-passwd/passwd.master", "root:*:0:0:root:/root:/bin/bash\n")
            .file("./usr/share/base-passwd/group.master", "root:*:0:\n"),
        Deb::new("ca-certificates", "1")
            .field("Depends", "openssl, debconf (>= 1) | debconf-2.0")
            .file(&certificate("b"), "BBB\n")
            .file(&certificate("a"), "AAA"),
        Deb::new("tzdata", "1").file("./usr/share/zoneinfo/Etc/UTC", "TZif"),
        Deb::new("libblas3", "1")
            .script("update-alternatives --install /usr/lib/libblas.so.3 libblas.so.3 /usr/lib/blas/libblas.so.3 10\n")
            .file("./usr/lib/blas/libblas.so.3", "elf"),
        Deb::new("daemon", "1").script("#!/bin/sh\nadduser --system daemon\n# setcap x\n"),
        Deb::new("docs", "1")
            .file("./usr/share/doc/docs/copyright", "free")
            .file("./usr/share/doc/docs/changelog.gz", "x")
            .file("./usr/share/man/man1/x.1.gz", "x")
            .symlink("./usr/share/doc/other", "docs"),
    ];
    let server = Server::start(site(&key, &debs));
    let all = ["base-passwd", "ca-certificates", "daemon", "docs", "libblas3", "tzdata"];
    let tree = context.assemble(&all, &context.mirror(&server, &key), &own()).unwrap();
    let text = |path: &str| String::from_utf8(content(&tree, path)).unwrap();
    assert_eq!(
        text("etc/passwd"),
        "root:*:0:0:root:/root:/bin/bash\nbentoml:x:1034:1034::/home/bentoml:/bin/sh\n"
    );
    assert_eq!(text("etc/group"), "root:*:0:\nbentoml:x:1034:\n");
    assert_eq!(text("etc/ssl/certs/ca-certificates.crt"), "AAA\nBBB\n");
    assert_eq!(text("etc/ca-certificates.conf"), "mozilla/a.crt\nmozilla/b.crt\n");
    assert!(text("etc/nsswitch.conf").contains("hosts:          files dns"));
    let links = [
        ("usr/lib/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt"),
        ("usr/lib/libblas.so.3", "/etc/alternatives/libblas.so.3"),
        ("etc/alternatives/libblas.so.3", "/usr/lib/blas/libblas.so.3"),
        ("etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
        ("var/run", "/run"),
        ("usr/share/doc/other", "docs"),
    ];
    for (path, target) in links {
        assert!(matches!(&tree.get(path).unwrap().kind, EntryKind::Symlink(to) if to == target), "{path}");
    }
    assert_eq!(tree.get("tmp").unwrap().mode, 0o1777);
    assert_eq!(tree.get("home/bentoml").unwrap().owner.uid, 1034);
    assert!(tree.get("usr/share/doc/docs/copyright").is_some());
    for path in ["usr/share/doc/docs/changelog.gz", "usr/share/man/man1/x.1.gz", "usr/share/man"] {
        assert!(tree.get(path).is_none(), "{path}");
    }
    let warnings = context.heard.warnings.lock().unwrap().clone();
    assert_eq!(warnings, ["package `daemon` uses `adduser` when it is installed; this was not done"]);
}

#[test]
fn hard_links_follow_the_first_of_their_names() {
    let (context, key) = (Context::new(), key());
    let deb =
        Deb::new("perl", "1").file("./usr/bin/perl5", "elf").hard_link("./usr/bin/perl", "./usr/bin/perl5");
    let server = Server::start(site(&key, &[deb]));
    let tree = context.assemble(&["perl"], &context.mirror(&server, &key), &own()).unwrap();
    assert_eq!(content(&tree, "usr/bin/perl"), b"elf");
    assert!(
        matches!(&tree.get("usr/bin/perl5").unwrap().kind, EntryKind::HardLink(to) if to == "usr/bin/perl")
    );
}

#[test]
fn packages_cannot_escape_the_tree() {
    let (context, key) = (Context::new(), key());
    let device = tar::EntryType::Char;
    let hostile = [
        Deb::new("dots", "1").file("../../etc/passwd", "x"),
        Deb::new("inner", "1").file("./usr/../../x", "x"),
        Deb::new("absolute", "1").file("/etc/passwd", "x"),
        Deb::new("whiteout", "1").file("./etc/.wh.passwd", "x"),
        Deb::new("link", "1").hard_link("./a", "/etc/shadow"),
        Deb::new("device", "1").entry("./dev/x", device, 0o666, "", b""),
        Deb::new("circle", "1").symlink("./a", "b").symlink("./b", "a").file("./a/x", "x"),
        Deb::new("below", "1").file("./a", "x").file("./a/x", "x"),
    ];
    let server = Server::start(site(&key, &hostile));
    let mirror = context.mirror(&server, &key);
    for deb in &hostile {
        let error = context.assemble(&[&deb.name], &mirror, &own()).unwrap_err();
        let Error::Unpack { package, source } = &error else { panic!("{}: {error}", deb.name) };
        assert_eq!(package, &deb.name);
        let is_expected = match deb.name.as_str() {
            "link" => matches!(source, DebError::Path(_) | DebError::HardLink { .. }),
            "device" => matches!(source, DebError::Kind { .. }),
            "circle" => matches!(source, DebError::LinkLoop { .. }),
            _ => matches!(source, DebError::Path(_)),
        };
        assert!(is_expected, "{}: {source:?}", deb.name);
    }
    // A link out of the tree leads to its root: the file is in the tree, and nowhere else.
    let link = Deb::new("outside", "1").symlink("./out", "/../../srv").file("./out/x", "x");
    let server = Server::start(site(&key, &[link]));
    let tree = context.assemble(&["outside"], &context.mirror(&server, &key), &own()).unwrap();
    assert_eq!(content(&tree, "srv/x"), b"x");
}

#[test]
fn files_that_are_no_packages_are_refused() {
    let (context, key) = (Context::new(), key());
    let good = Deb::new("good", "1").file("./x", vec![1; 5000]).build();
    let mut renamed = good.clone();
    let start = renamed.windows(8).position(|window| window == b"data.tar").unwrap();
    renamed[start..start + 8].copy_from_slice(b"date.tar");
    let cases = [
        ("text", b"not a package".to_vec()),
        ("empty", Vec::new()),
        ("short", good[..good.len() / 2].to_vec()),
        ("renamed", renamed),
        ("other", good.clone()),
    ];
    let mut site = Site::default();
    let mut list = Vec::new();
    for (name, bytes) in cases {
        let path = format!("pool/{name}.deb");
        let head = format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n");
        list.push(head + &crate::support::debian_mirror::listed(&path, &bytes));
        site.0.insert(path, bytes);
    }
    site.publish_list(&Publication::new("stable", &key), &list.join("\n"));
    let server = Server::start(site);
    let mirror = context.mirror(&server, &key);
    let source = |name: &str| match context.assemble(&[name], &mirror, &own()).unwrap_err() {
        Error::Unpack { source, .. } => source,
        other => panic!("{name}: {other}"),
    };
    assert!(matches!(source("text"), DebError::Read(_) | DebError::Format));
    assert!(matches!(source("empty"), DebError::Read(_)));
    assert!(matches!(source("short"), DebError::Format | DebError::Read(_)));
    assert!(matches!(source("renamed"), DebError::Member("data.tar")));
    assert!(matches!(source("other"), DebError::Identity { found } if found == "good 1"));
}

#[test]
fn wrong_packages_leave_nothing_behind() {
    let (context, key) = (Context::new(), key());
    let mut site = site(&key, &application());
    for (path, bytes) in &mut site.0 {
        if path.starts_with("pool/lib-a") {
            *bytes.last_mut().unwrap() ^= 1;
        }
    }
    let server = Server::start(site);
    let mirror = context.mirror(&server, &key);
    let lock = context.resolve(&["app"], &mirror).unwrap();
    let before = context.cached();
    let error = context.cache().fetch(&lock, &mirror, context.watch()).unwrap_err();
    assert!(matches!(&error, Error::PackageMismatch { name, .. } if name == "lib-a"), "{error}");
    let good =
        lock.packages.iter().filter(|one| one.name == "app").map(ekiben::debian::LockedPackage::cache_name);
    let expected: Vec<_> = before.into_iter().chain(good).collect();
    let found = context.cached();
    assert!(found.iter().all(|name| expected.contains(name)), "{found:?}");
}

#[test]
fn a_damaged_cache_is_repaired() {
    let (context, key) = (Context::new(), key());
    let server = Server::start(site(&key, &application()));
    let mirror = context.mirror(&server, &key);
    let lock = context.resolve(&["plain"], &mirror).unwrap();
    let debs = context.cache().fetch(&lock, &mirror, context.watch()).unwrap();
    let path = &debs[&lock.packages[0].digest];
    let good = fs::read(path).unwrap();
    fs::write(path, vec![0; good.len()]).unwrap();
    context.cache().fetch(&lock, &mirror, context.watch()).unwrap();
    assert!(fs::read(path).unwrap() == good);
}

#[test]
fn transient_failures_are_tried_again_and_downloads_go_on() {
    let (context, key) = (Context::new(), key());
    let server = Server::start(site(&key, &application()));
    let mirror = context.mirror(&server, &key);
    server.fail_once("stable/InRelease", Fault::Status(503));
    let lock = context.resolve(&["lib-a"], &mirror).unwrap();
    server.fail_once("amd64.deb", Fault::Cut(100));
    context.cache().fetch(&lock, &mirror, context.watch()).unwrap();
    let requests = server.requests();
    assert_eq!(requests.iter().filter(|path| path.ends_with("stable/InRelease")).count(), 2);
    assert!(requests.contains(&"pool/lib-a_1.2+b1_amd64.deb from 100".to_owned()), "{requests:?}");
}

#[test]
fn other_failures_are_not_tried_again() {
    let (context, key) = (Context::new(), key());
    let server = Server::start(site(&key, &application()));
    server.fail_once("stable/InRelease", Fault::Status(403));
    let error = context.resolve(&["app"], &context.mirror(&server, &key)).unwrap_err();
    let expected = format!("`GET {}/dists/stable/InRelease` was answered with status 403", server.url());
    assert_eq!(error.to_string(), expected);
    assert_eq!(server.requests().len(), 1);
    assert!(context.cached().is_empty());
}

#[test]
fn what_does_not_exist_is_named() {
    let (context, key) = (Context::new(), key());
    let server = Server::start(site(&key, &application()));
    let mirror = context.mirror(&server, &key);
    let error = context.resolve(&["zzzz"], &mirror).unwrap_err();
    assert_eq!(error.to_string(), "there is no package `zzzz` in `stable` for `amd64`");
    let error = context.resolve(&["plaim"], &mirror).unwrap_err();
    assert_eq!(error.to_string(), "there is no package `plaim` in `stable` for `amd64`; there is `plain`");
    let gone = Request { suite: "gone".to_owned(), ..request(&["app"]) };
    let error = resolve(&gone, Freshness::Known, &mirror, &context.cache(), context.watch()).unwrap_err();
    assert_eq!(error.to_string(), format!("there is no Debian suite `gone` at `{}`", server.url()));
    let hostile = Request { suite: "../x".to_owned(), ..request(&["app"]) };
    let error = resolve(&hostile, Freshness::Known, &mirror, &context.cache(), context.watch()).unwrap_err();
    assert!(matches!(error, Error::UnknownSuite { .. }), "{error}");
    let other = Request { architecture: Architecture::Arm64, ..request(&["app"]) };
    let error = resolve(&other, Freshness::Known, &mirror, &context.cache(), context.watch()).unwrap_err();
    assert!(error.to_string().ends_with("has no usable list of packages for this architecture"), "{error}");
}

#[test]
fn a_mirror_that_is_down_is_named_without_credentials() {
    let (context, key) = (Context::new(), key());
    let server = Server::start(Site::default());
    let url = server.url().replace("http://", "http://me:secret@");
    let mut mirror = context.mirror(&server, &key);
    mirror.settings.archive = url;
    drop(server);
    let error = context.resolve(&["app"], &mirror).unwrap_err();
    assert!(matches!(&error, Error::Unreachable { url, .. } if url.contains("****@127.0.0.1")), "{error}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    assert!(context.cached().is_empty());
}

/// The reason why a release signed so is refused.
fn refusal(key: &Key, trusted: &Key, change: impl FnOnce(&mut Publication<'_>)) -> SignatureError {
    let context = Context::new();
    let mut publication = Publication::new("stable", key);
    change(&mut publication);
    let mut site = Site::default();
    site.publish(&publication, &application());
    let server = Server::start(site);
    let error = context.resolve(&["app"], &context.mirror(&server, trusted)).unwrap_err();
    assert!(context.cached().is_empty());
    match error {
        Error::Signature { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn only_good_signatures_by_good_keys_count() {
    let (good, other) = (key(), key());
    let with = |options| Key::new(options);
    let expired = with(KeyOptions { lifetime: Some(3600), ..KeyOptions::default() });
    let revoked = with(KeyOptions { is_revoked: true, ..KeyOptions::default() });
    let certifier = with(KeyOptions { cannot_sign: true, ..KeyOptions::default() });
    let unusable = |error: &SignatureError| matches!(error, SignatureError::UnusableKey { .. });
    let outdated = |error: &SignatureError| matches!(error, SignatureError::UnusableSignature { .. });
    for (name, key) in [("expired", &expired), ("revoked", &revoked), ("certifier", &certifier)] {
        let error = refusal(key, key, |_| ());
        assert!(unusable(&error), "{name}: {error:?}");
    }
    let error = refusal(&good, &other, |_| ());
    assert!(matches!(error, SignatureError::UnknownKey { .. }), "{error:?}");
    let error = refusal(&good, &good, |publication| publication.made = MADE + 10 * 86_400);
    assert!(outdated(&error), "{error:?}");
    let error = refusal(&good, &good, |publication| publication.made = MADE - 1);
    assert!(outdated(&error), "{error:?}");
    let rsa = with(KeyOptions { is_rsa: true, ..KeyOptions::default() });
    let error = refusal(&rsa, &rsa, |publication| publication.hash = HashAlgorithm::Sha1);
    assert!(
        matches!(error, SignatureError::UnusableSignature { .. } | SignatureError::Mismatch { .. }),
        "{error:?}"
    );
}

#[test]
fn changed_releases_are_refused() {
    let key = key();
    let change = |from: &str, to: &str| {
        let mut site = site(&key, &application());
        let document = site.0.get_mut("dists/stable/InRelease").unwrap();
        *document = String::from_utf8(document.clone()).unwrap().replace(from, to).into_bytes();
        let server = Server::start(site);
        let context = Context::new();
        match context.resolve(&["app"], &context.mirror(&server, &key)).unwrap_err() {
            Error::Signature { source, .. } => source,
            other => panic!("{other}"),
        }
    };
    assert!(matches!(change("Components: main", "Components: mine"), SignatureError::Mismatch { .. }));
    assert!(matches!(change("-----BEGIN PGP SIGNED MESSAGE-----", "x"), SignatureError::Form(_)));
}

#[test]
fn what_stands_outside_the_signed_text_is_not_read() {
    let (context, key) = (Context::new(), key());
    let mut site = site(&key, &application());
    let document = site.0.get_mut("dists/stable/InRelease").unwrap();
    let evil = format!("SHA256:\n {} 1 main/binary-amd64/Packages\n\n", "0".repeat(64));
    *document = [evil.as_bytes(), document.as_slice(), evil.as_bytes()].concat();
    let server = Server::start(site);
    match context.resolve(&["app"], &context.mirror(&server, &key)) {
        Ok(lock) => assert_eq!(lock.packages.len(), 3),
        Err(error) => assert!(matches!(error, Error::Signature { .. }), "{error}"),
    }
}

#[test]
fn old_releases_are_refused_unless_that_is_wanted() {
    let (context, key) = (Context::new(), key());
    let mut publication = Publication::new("stable", &key);
    publication.fields = "Valid-Until: Thu, 01 Jan 2026 12:00:00 UTC\n";
    let mut site = Site::default();
    site.publish(&publication, &application());
    let server = Server::start(site);
    let mut mirror = context.mirror(&server, &key);
    let error = context.resolve(&["app"], &mirror).unwrap_err();
    let expected = format!(
        "`{}/dists/stable/InRelease` was valid only until Thu, 01 Jan 2026 12:00:00 UTC",
        server.url()
    );
    assert_eq!(error.to_string(), expected);
    mirror.settings.expiry = Expiry::Accept;
    assert_eq!(context.resolve(&["app"], &mirror).unwrap().packages.len(), 3);
}

#[test]
fn a_release_of_another_suite_is_refused() {
    let (context, key) = (Context::new(), key());
    let mut site = Site::default();
    site.publish(&Publication::new("oldstable", &key), &application());
    let document = site.0["dists/oldstable/InRelease"].clone();
    site.0.insert("dists/stable/InRelease".to_owned(), document);
    let server = Server::start(site);
    let error = context.resolve(&["app"], &context.mirror(&server, &key)).unwrap_err();
    assert!(error.to_string().ends_with("has no usable name of the suite asked for"), "{error}");
}

#[test]
fn a_changed_package_list_is_refused() {
    let (context, key) = (Context::new(), key());
    for fields in ["", "Acquire-By-Hash: yes\n"] {
        let mut site = Site::default();
        let publication = Publication { fields, packing: Packing::Gzip, ..Publication::new("stable", &key) };
        site.publish(&publication, &application());
        for (path, bytes) in &mut site.0 {
            if path.contains("binary-amd64") {
                bytes.push(0);
            }
        }
        let server = Server::start(site);
        let error = context.resolve(&["app"], &context.mirror(&server, &key)).unwrap_err();
        assert!(matches!(error, Error::IndexMismatch { .. }), "{error}");
        assert!(context.cached().is_empty());
    }
}

#[test]
fn a_locked_package_that_is_gone_is_named_with_its_version() {
    let (context, key) = (Context::new(), key());
    let mut site = site(&key, &application());
    let server = Server::start(site.clone());
    let lock = context.resolve(&["app"], &context.mirror(&server, &key)).unwrap();
    site.0.retain(|path, _| !path.starts_with("pool/lib-a_"));
    let server = Server::start(site);
    let mirror = context.mirror(&server, &key);
    let error = context.cache().fetch(&lock, &mirror, context.watch()).unwrap_err();
    let expected = format!("the archive at `{}` has no longer `lib-a` 1.2+b1", server.url());
    assert_eq!(error.to_string(), expected);
    assert!(!error.is_transient());
    let is_package = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "deb");
    assert!(!context.cached().iter().any(is_package), "{:?}", context.cached());
}

#[test]
fn an_interrupt_stops_everything_and_leaves_nothing() {
    let (context, key) = (Context::new(), key());
    let server = Server::start(site(&key, &application()));
    let mirror = context.mirror(&server, &key);
    let lock = context.resolve(&["app"], &mirror).unwrap();
    let debs = context.cache().fetch(&lock, &mirror, context.watch()).unwrap();
    let before = context.cached();
    context.interrupt.raise();
    let scratch = context.directory.path().join("scratch");
    let stopped = [
        resolve(&request(&["plain"]), Freshness::Current, &mirror, &context.cache(), context.watch()).err(),
        context.cache().fetch(&lock, &mirror, context.watch()).err(),
        assemble(&lock, &debs, &scratch, &own(), context.watch()).err(),
    ];
    for error in stopped {
        assert!(matches!(error, Some(Error::Interrupted(_))), "{error:?}");
    }
    assert_eq!(context.cached(), before);
}

#[test]
fn a_missing_interpreter_is_a_warning() {
    let (context, key) = (Context::new(), key());
    let deb = Deb::new("libpython3.11-minimal", "1").file("./usr/lib/python3.11/os.py", "x = 1\n");
    let server = Server::start(site(&key, &[deb]));
    let options = Options { bytecode: Some(Bytecode::default()), ..own() };
    let tree =
        context.assemble(&["libpython3.11-minimal"], &context.mirror(&server, &key), &options).unwrap();
    assert!(
        tree.iter().all(|(path, _)| Path::new(path).extension().is_none_or(|extension| extension != "pyc"))
    );
    let warnings = context.heard.warnings.lock().unwrap().clone();
    let expected = "there is no `python3.11` here to make bytecode with: the image will start more slowly";
    assert_eq!(warnings, [expected]);
}
