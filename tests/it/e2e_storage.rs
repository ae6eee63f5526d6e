//! Archives to and from other machines: every kind of place, on loopback.

use std::fs;

use rustix::process::Signal;

use crate::support::command::Command;
use crate::support::context::TestContext;
use crate::support::service::Service;
use crate::support::storage::{ENCODED, PASSWORD, Storage, USER};

/// Larger than one part of an upload and one range of a download.
const LARGE: usize = 20 << 20;

/// A model `m:v1` of so many bytes that do not compress.
fn with_model(size: usize) -> TestContext {
    let context = TestContext::new();
    let files = context.work().join("files");
    fs::create_dir(&files).unwrap();
    let mut noise = vec![0; size];
    noise.chunks_mut(8).zip(0_u64..).for_each(|(chunk, number)| {
        let bytes = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    });
    fs::write(files.join("weights.bin"), noise).unwrap();
    let _created = context.ekiben(["models", "create", "m:v1", "--from", "files"]).run();
    context
}

/// Exports to `url`, deletes, imports from there, and compares; then a place where nothing is. What is printed never
/// has the password in it.
fn goes_there_and_back(context: &TestContext, url: &str, shown: &str, reach: impl Fn(Command) -> Command) {
    let weights = context.bentoml_home().join("models/m/v1/weights.bin");
    let original = fs::read(&weights).unwrap();
    let run = |arguments: &[&str]| {
        let output = reach(context.ekiben(arguments.iter().copied())).any_stderr().run();
        assert!(
            !format!("{output:?}").contains(ENCODED) && !format!("{output:?}").contains(PASSWORD),
            "{output:?}"
        );
        output
    };
    let output = run(&["models", "export", "m", url, "-o", "json"]);
    assert_eq!(output.json()["path"], shown);
    let _deleted = context.ekiben(["models", "delete", "m:v1", "-y"]).run();
    assert_eq!(run(&["models", "import", url, "-o", "json"]).json()["tag"], "m:v1");
    assert!(fs::read(&weights).unwrap() == original, "other bytes came back");
    let missing = format!("{url}.none");
    let output = reach(context.ekiben(["models", "import", &missing])).any_stderr().status(1).run();
    assert!(output.stderr.contains("there is nothing at"), "{}", output.stderr);
    assert!(!output.stderr.contains(ENCODED) && !output.stderr.contains(PASSWORD), "{}", output.stderr);
}

#[test]
fn s3() {
    let context = with_model(LARGE);
    let storage = Storage::s3(&context);
    let endpoint = format!("http://127.0.0.1:{}", storage.port);
    let reach = |command: Command| {
        let command = command.env("AWS_ENDPOINT_URL", &endpoint).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "key")
    };
    goes_there_and_back(&context, "s3://models/team a/m.tar", "models/team a/m.tar", reach);
    // A directory, and a key from the profile file.
    let profile = context.work().join("credentials");
    fs::write(&profile, "[team]\naws_access_key_id=id\naws_secret_access_key=key\n").unwrap();
    let profile_reach = |command: Command| {
        let command = command.env("AWS_ENDPOINT_URL_S3", &endpoint).env("AWS_PROFILE", "team");
        command.env("AWS_SHARED_CREDENTIALS_FILE", &profile)
    };
    let output =
        profile_reach(context.ekiben(["models", "export", "m", "s3://models/dir/", "--format", "zst"])).run();
    assert!(output.stdout.ends_with("exported to models/dir/m-v1.tar.zst.\n"), "{}", output.stdout);
    let _deleted = context.ekiben(["models", "delete", "m:v1", "-y"]).run();
    let _imported = reach(context.ekiben(["models", "import", "s3://models/dir/m-v1.tar.zst"])).run();
    let nowhere = reach(context.ekiben(["models", "export", "m", "s3://no-such-bucket/m.tar"]));
    let _output =
        nowhere.status(3).stderr("cannot write `s3://no-such-bucket/m.tar`").stderr("NoSuchBucket").run();
}

#[test]
fn ftp() {
    let context = with_model(LARGE);
    let storage = Storage::ftp(&context);
    let host = format!("127.0.0.1:{}", storage.port);
    let url = format!("ftp://{USER}:{ENCODED}@{host}/m.tar");
    goes_there_and_back(&context, &url, "/m.tar", |command| command);
    assert!(storage.file("m.tar").is_file());
    // User and password from the netrc file.
    let netrc = context.work().join("netrc");
    fs::write(&netrc, format!("machine 127.0.0.1 login {USER} password {PASSWORD}\n")).unwrap();
    let url = format!("ftp://{host}/n.zip");
    goes_there_and_back(&context, &url, "/n.zip", |command| command.env("NETRC", &netrc));
    let refused = context.ekiben(["models", "import", &format!("ftp://{USER}:wrong-Zq@{host}/m.tar")]);
    let output = refused.any_stderr().status(3).run();
    assert!(!output.stderr.contains("wrong-Zq"), "{}", output.stderr);
}

#[test]
fn ftp_with_tls() {
    let context = with_model(4000);
    let (storage, certificate) = Storage::ftps(&context);
    let host = format!("127.0.0.1:{}", storage.port);
    let url = format!("ftps://{USER}:{ENCODED}@{host}/m.tar");
    goes_there_and_back(&context, &url, "/m.tar", |command| command.env("SSL_CERT_FILE", &certificate));
    assert!(storage.file("m.tar").is_file());
    // What was cut off is not said to be there: the library closes connections with what a server of TLS 1.3 sent unread,
    // and a large file then loses its end, on most machines most of the time.
    let url_of = |name: &str| format!("ftps://{USER}:{ENCODED}@{host}/{name}");
    let large = with_model(LARGE);
    let _kept = large.ekiben(["models", "export", "m", "kept.tar"]).run();
    let export = large.ekiben(["models", "export", "m", &url_of("large.tar")]);
    let output = export.env("SSL_CERT_FILE", &certificate).spawn().wait_with_output().unwrap();
    if output.status.success() {
        let kept = fs::read(large.work().join("kept.tar")).unwrap();
        assert!(fs::read(storage.file("large.tar")).unwrap() == kept, "the end is missing");
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("bytes only") && !said.contains(ENCODED), "{said}");
        assert!(!storage.file("large.tar").exists());
    }
    // Whoever does not know the certificate sends no password.
    let import = |url: &str| context.ekiben(["models", "import", url]).any_stderr().status(3);
    let output = import(&url).run();
    assert!(output.stderr.contains("certificate") && !output.stderr.contains(ENCODED), "{}", output.stderr);
    let broken = context.work().join("broken.pem");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let output = import(&url).env("SSL_CERT_FILE", &broken).run();
    assert!(output.stderr.contains("certificates"), "{}", output.stderr);
}

#[test]
fn sftp() {
    let context = with_model(LARGE);
    let (storage, reach) = Storage::sftp(&context);
    let url = format!("sftp://{USER}@127.0.0.1:{}/m.tar", storage.port);
    goes_there_and_back(&context, &url, "/m.tar", &reach);
    // A second one takes the place of the first, and no part is left.
    let _exported = reach(context.ekiben(["models", "export", "m", &url])).any_stderr().run();
    let names: Vec<_> =
        fs::read_dir(&storage.directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["m.tar"]);
    // A name that cannot be given, because a directory has it: nothing stays of what was sent.
    fs::create_dir_all(storage.directory.join("taken.tar/sub")).unwrap();
    let taken = format!("sftp://{USER}@127.0.0.1:{}/taken.tar", storage.port);
    let unhappy = reach(context.ekiben(["models", "export", "m", &taken])).any_stderr().status(3).run();
    assert!(unhappy.stderr.contains("cannot write"), "{}", unhappy.stderr);
    assert!(storage.directory.join("taken.tar/sub").is_dir());
    fs::remove_dir_all(storage.directory.join("taken.tar")).unwrap();
    assert_eq!(fs::read_dir(&storage.directory).unwrap().count(), 1);
    let with_password = format!("sftp://{USER}:{ENCODED}@127.0.0.1:{}/m.tar", storage.port);
    let output = reach(context.ekiben(["models", "import", &with_password])).any_stderr().status(2).run();
    assert!(output.stderr.contains("use a key") && !output.stderr.contains(ENCODED), "{}", output.stderr);
    let without = context.ekiben(["models", "import", &url]).env("PATH", "/nonexistent");
    let _output = without.status(3).stderr("SFTP needs the program `ssh`").stderr("openssh-client").run();
}

#[test]
fn webdav_and_http() {
    let context = with_model(LARGE);
    let storage = Storage::webdav(&context);
    let host = format!("127.0.0.1:{}", storage.port);
    for (scheme, name) in [("webdav", "m.tar"), ("http", "n.zip")] {
        let url = format!("{scheme}://{USER}:{ENCODED}@{host}/{name}");
        goes_there_and_back(&context, &url, &format!("{scheme}://***@{host}/{name}"), |command| command);
        assert!(storage.file(name).is_file());
    }
    let refused = context.ekiben(["models", "import", &format!("http://{host}/m.tar")]);
    let _output = refused.status(3).stderr("status 401").stderr("~/.netrc").run();
    let refused =
        context.ekiben(["models", "export", "m", &format!("http://{USER}:{ENCODED}@{host}/no/dir/m.tar")]);
    let _output = refused.status(3).any_stderr().run();
}

/// Sends SIGINT when an export has begun.
fn interrupt(export: &Command) {
    let mut running = Service::start(export);
    running.line_with("exporting m:v1");
    running.signal(Signal::INT);
    let (status, output) = running.wait();
    assert_eq!(status.code(), Some(130), "{output}");
}

#[test]
fn whoever_stops_an_upload_leaves_nothing() {
    let context = with_model(64 << 20);
    let storage = Storage::s3(&context);
    let endpoint = format!("http://127.0.0.1:{}", storage.port);
    let export = context.ekiben(["models", "export", "m", "s3://models/m.zip"]);
    let export = export.env("AWS_ENDPOINT_URL", &endpoint).env("AWS_REGION", "us-east-1");
    interrupt(&export.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "key"));
    assert_eq!(storage.s3_remains(&context), "[] []\n");
    let (storage, reach) = Storage::sftp(&context);
    let url = format!("sftp://{USER}@127.0.0.1:{}/m.zip", storage.port);
    interrupt(&reach(context.ekiben(["models", "export", "m", &url])));
    assert_eq!(fs::read_dir(&storage.directory).unwrap().count(), 0);
}

#[test]
fn google_cloud_storage() {
    let context = with_model(LARGE);
    let mut storage = Storage::gcs(&context);
    let host = format!("127.0.0.1:{}", storage.port);
    let reach = |command: Command| command.env("STORAGE_EMULATOR_HOST", &host);
    goes_there_and_back(&context, "gs://models/dir/m.tar", "models/dir/m.tar", reach);
    // 20 MiB and what is around them, in parts of 8 MiB.
    let line = storage.line_with("parts");
    let parts: Vec<usize> = line.split(' ').skip(1).map(|size| size.parse().unwrap()).collect();
    assert_eq!(parts[..2], [8 << 20; 2]);
    assert_eq!(parts.len(), 3);
    goes_there_and_back(&context, "gcs://models/n.bentomodel", "models/n.bentomodel", reach);
}

#[test]
fn dropbox() {
    let context = with_model(LARGE);
    let storage = Storage::dropbox(&context);
    let url = format!("http://127.0.0.1:{}", storage.port);
    let reach = |token: &'static str| {
        let url = url.clone();
        move |command: Command| command.env("DROPBOX_API_URL", &url).env("DROPBOX_ACCESS_TOKEN", token)
    };
    goes_there_and_back(&context, "dropbox://team/m.tar", "/team/m.tar", reach("s3cret-token"));
    let refused = reach("wr0ng-token")(context.ekiben(["models", "import", "dropbox://team/m.tar"]));
    let output = refused.any_stderr().status(3).run();
    assert!(!output.stderr.contains("wr0ng-token"), "{}", output.stderr);
    let _output =
        context.ekiben(["models", "import", "dropbox://x"]).status(1).stderr("DROPBOX_ACCESS_TOKEN").run();
}

#[test]
fn what_cannot_be_reached_says_so_soon() {
    let context = with_model(1000);
    let _output = context
        .ekiben(["models", "export", "m", "s3:///m.tar"])
        .status(2)
        .stderr("names no host or bucket")
        .run();
    let _output = context
        .ekiben(["models", "export", "m", "az://models/m.tar"])
        .status(1)
        .stderr("AZURE_STORAGE_ACCOUNT")
        .run();
    let folder = context.ekiben(["models", "export", "m", "s3://models/m", "--format", "folder"]);
    let _output = folder.status(2).stderr("cannot write a directory to `s3://models/m`").run();
    // Nothing listens on port 1, which only root may use.
    for url in ["http://127.0.0.1:1/m.tar", "ftp://127.0.0.1:1/m.tar"] {
        let _output = context.ekiben(["models", "import", url]).status(3).any_stderr().run();
    }
}
