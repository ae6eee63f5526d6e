//! Images in registries, against a fake that speaks the protocol and fails on command.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ekiben::http;
use ekiben::oci::blob::{Blob, FileBlob};
use ekiben::oci::digest::Digest;
use ekiben::oci::image::Image;
use ekiben::oci::platform::Platform;
use ekiben::redact::Secret;
use ekiben::registry::{Backoff, Client, KeychainSettings, RegistryError, Settings};
use ekiben::report::{Activity, Interrupt, Progress, Report};
use ekiben::transport::{Receipt, TransportError, registry};
use serde_json::json;
use tempfile::TempDir;

use crate::support::fake_server::Answer;
use crate::support::registry::{Access, FakeRegistry, Fault, error};
use crate::support::sample_image::{bytes_of, image, layer};

/// A registry, and a client with an empty cache.
struct Context {
    registry: FakeRegistry,
    cache: TempDir,
    client: Client,
}

impl Context {
    fn new() -> Self {
        Self::with_credentials("{}")
    }

    /// `HOST` in the document stands for the registry's.
    fn with_credentials(document: &str) -> Self {
        let registry = FakeRegistry::start();
        let cache = TempDir::new().expect("a temporary directory can be made");
        let client = client(cache.path(), &document.replace("HOST", &registry.host()));
        Self { registry, cache, client }
    }

    async fn write(&self, name: &str, image: &Image) -> Result<Receipt, TransportError> {
        registry::write(&self.client, &self.registry.reference(name), image, &Activity::silent()).await
    }

    async fn read(&self, name: &str) -> Result<Image, TransportError> {
        let reference = self.registry.reference(name);
        registry::read(&self.client, &reference, &Platform::host(), &Activity::silent()).await
    }

    /// Names of all files in the cache.
    fn cached(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.cache.path().join("blobs/sha256")) else { return Vec::new() };
        let name = |file: std::io::Result<std::fs::DirEntry>| file.ok()?.file_name().into_string().ok();
        files.map(|file| name(file).expect("the cache can be listed")).collect()
    }
}

fn client(cache: &Path, credentials: &str) -> Client {
    let mut settings = Settings::new(cache.to_owned());
    // One after the other, so that a fault meets the request that it is meant for.
    settings.parallel_blobs = 1;
    settings.backoff =
        Backoff { attempts: 4, first: Duration::from_millis(1), longest: Duration::from_secs(2) };
    settings.keychain = KeychainSettings {
        docker_auth_config: Some(Secret::new(credentials)),
        ..KeychainSettings::default()
    };
    Client::new(http::Client::new(&http::ClientSettings::default()).expect("the settings are good"), settings)
}

/// Reads a layer as its users do: on a thread that may block.
async fn open(image: &Image, index: usize) -> std::io::Result<Vec<u8>> {
    let blob = Arc::clone(&image.layers()[index].blob);
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut blob.open_at(0)?, &mut bytes)?;
        Ok(bytes)
    })
    .await
    .expect("reading does not panic")
}

/// The messages of an error and all its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut last = error.source();
    while let Some(cause) = last {
        text = format!("{text} <- {cause}");
        last = cause.source();
    }
    text
}

fn registry_error(error: TransportError) -> RegistryError {
    match error {
        TransportError::Registry(error) => *error,
        other => panic!("not an error of the registry: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_pulled_again() {
    let context = Context::new();
    let image = image([layer("a", 300_000), layer("b", 10)]);
    let receipt = context.write("team/iris:1", &image).await.unwrap();
    assert_eq!(receipt.destination, format!("docker://{}/team/iris:1", context.registry.host()));
    assert_eq!((receipt.digest, receipt.config_digest), (image.digest(), image.config_digest()));
    let size: u64 = image.layers().iter().map(|layer| layer.size).sum::<u64>() + image.config().len() as u64;
    assert_eq!((receipt.was_there, receipt.bytes_written, receipt.bytes_skipped), (false, size, 0));

    let again = context.read("team/iris:1").await.unwrap();
    assert_eq!(again.digest(), image.digest());
    assert_eq!(context.registry.requests("GET", "/blobs/").len(), 1, "the configuration and no layer");
    assert_eq!(open(&again, 0).await.unwrap(), bytes_of(image.layers()[0].blob.as_ref()));
    assert_eq!(open(&again, 0).await.unwrap().len() as u64, image.layers()[0].size, "from the cache");
    assert_eq!(context.registry.requests("GET", "/blobs/").len(), 2);

    context.registry.forget_requests();
    context.read("team/iris:1").await.unwrap();
    assert_eq!(context.registry.requests("HEAD", "/manifests/1").len(), 1, "a tag is always asked for");
    assert_eq!(context.registry.requests("GET", "/").len(), 0, "nothing is read twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_sent() {
    let context = Context::new();
    let first = image([layer("a", 1000), layer("b", 1000)]);
    context.write("iris:1", &first).await.unwrap();
    let again = context.write("iris:1", &first).await.unwrap();
    assert_eq!((again.was_there, again.bytes_written), (true, 0));
    assert!(again.bytes_skipped > 2000);

    context.registry.forget_requests();
    let second = image([layer("a", 1000), layer("c", 1000)]);
    let receipt = context.write("iris:2", &second).await.unwrap();
    let (kept, changed) = (second.layers()[0].size, second.layers()[1].size + second.config().len() as u64);
    assert_eq!((receipt.bytes_skipped, receipt.bytes_written), (kept, changed));
    assert_eq!(context.registry.requests("PUT", "/manifests/").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_another_repository_are_mounted() {
    let document = r#"{"auths": {"HOST": {"username": "me", "password": "pw"}}}"#;
    let context = Context::with_credentials(document);
    context.registry.state().access = Access::Token("me", "pw");
    context.write("base/python:3", &image([layer("a", 5000)])).await.unwrap();
    let base = context.read("base/python:3").await.unwrap();
    let receipt = context.write("iris:1", &base.append([layer("b", 10)])).await.unwrap();
    assert!(receipt.bytes_mounted > 5000);
    let tokens = context.registry.requests("GET", "/token");
    let both = ["repository:base/python:pull", "repository:library/iris:pull,push"];
    let asked: Vec<_> = tokens.iter().map(|request| request.query["scope"].clone()).collect();
    let path = context.registry.requests("POST", "/blobs/uploads/").pop().unwrap().path;
    let own = path.trim_start_matches("/v2/").split("/blobs").next().unwrap().to_owned();
    let both = both.map(|scope| scope.replace("library/iris", &own));
    assert!(asked.iter().any(|scopes| *scopes == both), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_mount_is_an_upload_that_has_begun() {
    let context = Context::new();
    context.write("base/python:3", &image([layer("a", 5000)])).await.unwrap();
    let base = context.read("base/python:3").await.unwrap();
    context.registry.state().refuses_mounts = true;
    context.registry.forget_requests();
    let receipt = context.write("app/iris:1", &base).await.unwrap();
    assert_eq!(receipt.bytes_mounted, 0);
    assert!(receipt.bytes_written > 5000);
    let begun = context.registry.requests("POST", "/app/iris/blobs/uploads/");
    assert_eq!(begun.len(), 2, "one for the layer, one for the configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_credentials_is_understood() {
    for (access, document) in [
        (Access::Basic("me", "pw"), r#"{"auths": {"HOST": {"auth": "bWU6cHc="}}}"#),
        (Access::Token("me", "pw"), r#"{"auths": {"HOST": {"username": "me", "password": "pw"}}}"#),
        (Access::IdentityToken("id"), r#"{"auths": {"HOST": {"identitytoken": "id"}}}"#),
    ] {
        let context = Context::with_credentials(document);
        context.registry.state().access = access;
        for (method, path) in
            [("POST", "/blobs/uploads/"), ("PUT", "/blobs/uploads/"), ("PUT", "/manifests/")]
        {
            context.registry.fail(method, path, 1, Fault::ExpireTokens);
        }
        let image = image([layer("a", 100), layer("b", 100)]);
        context.write("iris:1", &image).await.unwrap();
        assert_eq!(context.read("iris:1").await.unwrap().digest(), image.digest());
        assert_eq!(context.registry.state().faults_left(), 0, "all of it happened");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_which_credentials_were_used() {
    let context = Context::new();
    context.registry.state().access = Access::Basic("me", "pw");
    let error = registry_error(context.read("iris:1").await.unwrap_err());
    let host = context.registry.host();
    assert_eq!(
        error.to_string(),
        format!(
            "registry `{host}` refuses access to `iris` without credentials (`docker login {host}` stores some)"
        )
    );
    let document = r#"{"auths": {"HOST": {"username": "me", "password": "hunter2"}}}"#;
    for access in [Access::Basic("me", "pw"), Access::Token("me", "pw")] {
        let context = Context::with_credentials(document);
        context.registry.state().access = access;
        let error = registry_error(context.write("iris:1", &image([])).await.unwrap_err());
        let text = chain(&error);
        assert!(
            text.contains("to user `me`, whose credentials are from `DOCKER_AUTH_CONFIG`")
                || text.contains("to user `me`"),
            "{text}"
        );
        assert!(text.contains("401 Unauthorized"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!error.is_transient());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_never_sees_the_credentials() {
    let document = r#"{"auths": {"HOST": {"username": "me", "password": "pw"}}}"#;
    let context = Context::with_credentials(document);
    context.registry.state().access = Access::Basic("me", "pw");
    let image = image([layer("a", 100)]);
    context.write("iris:1", &image).await.unwrap();
    context.registry.state().redirects_blobs = true;
    let again = context.read("iris:1").await.unwrap();
    assert_eq!(open(&again, 0).await.unwrap(), bytes_of(image.layers()[0].blob.as_ref()));
    let state = context.registry.state();
    assert_eq!(state.storage_log.len(), 2);
    assert!(state.storage_log.iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_goes_on_where_it_was() {
    for has_absolute_locations in [false, true] {
        let context = Context::new();
        context.registry.state().has_absolute_locations = has_absolute_locations;
        let image = image([layer("a", 3_000_000)]);
        let size = image.layers()[0].size;
        context.registry.fail("PUT", "/blobs/uploads/", 1, Fault::CutRequest(1_000_000));
        context.registry.fail("PATCH", "/blobs/uploads/", 2, Fault::CutRequest(500_000));
        // The configuration is too small to be cut at the same place; it is sent after the layer or whole.
        let receipt = context.write("iris:1", &image).await.unwrap();
        assert!(receipt.bytes_written >= size);
        let patches = context.registry.requests("PATCH", "/blobs/uploads/");
        let ranges: Vec<_> = patches.iter().filter_map(|patch| patch.header("content-range")).collect();
        let last = size - 1;
        assert_eq!(ranges, [1_000_000, 1_500_000, 2_000_000].map(|start| format!("{start}-{last}")));
        let received: usize = context
            .registry
            .state()
            .log
            .iter()
            .filter(|(request, _)| request.path.contains("/blobs/uploads/"))
            .map(|(request, _)| request.body.len())
            .sum();
        assert_eq!(received as u64, receipt.bytes_written, "no byte arrives twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_registry_forgot_begins_again() {
    let context = Context::new();
    context.registry.fail("PUT", "/blobs/uploads/", 1, Fault::CutRequest(1000));
    context.registry.fail("GET", "/blobs/uploads/", 1, Fault::Answer(error(404, "BLOB_UPLOAD_UNKNOWN")));
    let image = image([layer("a", 100_000)]);
    context.write("iris:1", &image).await.unwrap();
    assert_eq!(context.read("iris:1").await.unwrap().digest(), image.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_large_requests_gets_pieces() {
    let context = Context::new();
    let image = image([layer("a", 5_000_000)]);
    for method in ["PUT", "PATCH"] {
        context.registry.fail(method, "/blobs/uploads/", usize::MAX, Fault::LimitBody(1 << 20));
    }
    let receipt = context.write("iris:1", &image).await.unwrap();
    assert!(receipt.bytes_written > 5_000_000);
    let patches = context.registry.requests("PATCH", "/blobs/uploads/");
    let sizes: Vec<_> = patches.iter().map(|patch| patch.body.len()).collect();
    assert_eq!(sizes[..2], [2_501_120, 625_280], "half, then a quarter of that");
    assert_eq!(sizes[1..].iter().sum::<usize>() as u64, image.layers()[0].size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_download_goes_on_where_it_was() {
    for fault in [None, Some(Fault::IgnoreRange)] {
        let context = Context::new();
        let image = image([layer("a", 3_000_000)]);
        context.write("iris:1", &image).await.unwrap();
        let again = context.read("iris:1").await.unwrap();
        context.registry.fail("GET", "/blobs/", 1, Fault::CutAnswer(1_000_000));
        let ignores_ranges = fault.is_some();
        if let Some(fault) = fault {
            context.registry.fail("GET", "/blobs/", 1, fault);
        }
        context.registry.forget_requests();
        assert_eq!(open(&again, 0).await.unwrap(), bytes_of(image.layers()[0].blob.as_ref()));
        let ranges: Vec<_> = context
            .registry
            .requests("GET", "/blobs/")
            .iter()
            .map(|request| request.header("range").map(str::to_owned))
            .collect();
        assert_eq!(ranges, [None, Some("bytes=1000000-".to_owned())], "{ignores_ranges}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_never_kept() {
    let context = Context::new();
    let image = image([layer("a", 1000)]);
    context.write("iris:1", &image).await.unwrap();
    let again = context.read("iris:1").await.unwrap();
    let before = context.cached();
    context.registry.fail("GET", "/blobs/", 1, Fault::WrongBytes);
    let error = open(&again, 0).await.unwrap_err();
    let text = error.to_string();
    let digest = image.layers()[0].digest;
    assert!(text.contains(&format!("is said to be `{digest}`, and is `sha256:")), "{text}");
    assert_eq!(context.cached(), before, "nothing was kept");
    assert_eq!(open(&again, 0).await.unwrap(), bytes_of(image.layers()[0].blob.as_ref()), "and it heals");

    let other = Context::new();
    other.write("iris:1", &image).await.unwrap();
    other.registry.fail("GET", "/manifests/", 1, Fault::WrongBytes);
    let error = registry_error(other.read("iris:1").await.unwrap_err());
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error:?}");
    assert!(other.cached().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_another_size_is_refused() {
    let context = Context::new();
    let image = image([layer("a", 1000)]);
    context.write("iris:1", &image).await.unwrap();
    let again = context.read("iris:1").await.unwrap();
    for bytes in [vec![0; 10], vec![0; 100_000]] {
        let digest = image.layers()[0].digest;
        for ((_, own), stored) in &mut context.registry.state().blobs {
            if *own == digest {
                stored.clone_from(&bytes);
            }
        }
        let text = open(&again, 0).await.unwrap_err().to_string();
        assert!(text.contains("is said to have 3072 bytes, and has"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transient_errors_are_waited_out_and_others_are_not() {
    let context = Context::new();
    let busy = Answer::status(429).header("Retry-After", 0);
    context.registry.fail("HEAD", "/manifests/", 2, Fault::Answer(busy));
    context.registry.fail("POST", "/blobs/uploads/", 2, Fault::Answer(Answer::status(503)));
    context.registry.fail("PUT", "/manifests/", 3, Fault::Answer(Answer::status(502)));
    context.write("iris:1", &image([layer("a", 10)])).await.unwrap();

    context.registry.fail("PUT", "/manifests/", 9, Fault::Answer(Answer::status(500).body("boom")));
    context.registry.forget_requests();
    let error = registry_error(context.write("iris:2", &image([])).await.unwrap_err());
    assert_eq!(context.registry.requests("PUT", "/manifests/").len(), 1, "500 is not repeated");
    let host = context.registry.host();
    assert_eq!(
        chain(&error),
        format!(
            "registry `{host}` does not take manifest `iris:2` <- \
         `PUT http://{host}/v2/iris/manifests/2` is answered with 500 Internal Server Error: boom"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_wants_hours_is_not_waited_for() {
    let context = Context::new();
    let busy = Answer::status(429).header("Retry-After", 21600);
    context.registry.fail("HEAD", "/manifests/", 9, Fault::Answer(busy));
    let error = registry_error(context.read("iris:1").await.unwrap_err());
    assert!(error.to_string().ends_with("gets too many requests, and allows the next in 21600 s"), "{error}");
    assert_eq!(context.registry.requests("HEAD", "/manifests/").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_vanished_is_pushed_again() {
    let context = Context::new();
    let image = image([layer("a", 1000), layer("b", 1000)]);
    let vanished = &image.layers()[0];
    context.registry.state().pretends = [(vanished.digest, vanished.size)].into();
    context.write("iris:1", &image).await.unwrap();
    assert_eq!(context.registry.requests("PUT", "/manifests/").len(), 2);
    assert_eq!(context.read("iris:1").await.unwrap().digest(), image.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_searched_for_the_platform() {
    let context = Context::new();
    let image = image([layer("a", 10)]);
    context.write("iris:one", &image).await.unwrap();
    let entry = |platform: serde_json::Value| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.digest(),
            "size": image.manifest().len(), "platform": platform})
    };
    let put = |name: &str, platforms: &[serde_json::Value]| {
        let manifests: Vec<_> = platforms.iter().cloned().map(entry).collect();
        let media_type = "application/vnd.docker.distribution.manifest.list.v2+json";
        let document = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        let value = (media_type.to_owned(), document.to_string().into_bytes());
        let mut state = context.registry.state();
        let (repository, _) = state.manifests.keys().next().unwrap().clone();
        state.manifests.insert((repository.clone(), Digest::of(&value.1).to_string()), value.clone());
        state.manifests.insert((repository, name.to_owned()), value);
    };
    let own = Platform::host().architecture;
    put(
        "many",
        &[json!({"os": "windows", "architecture": own}), json!({"os": "linux", "architecture": own})],
    );
    assert_eq!(context.read("iris:many").await.unwrap().digest(), image.digest());
    put(
        "few",
        &[json!({"os": "linux", "architecture": "s390x"}), json!({"os": "windows", "architecture": own})],
    );
    let error = context.read("iris:few").await.unwrap_err();
    let reference = context.registry.reference("iris:few");
    assert_eq!(
        error.to_string(),
        format!("`{reference}` has no image for `linux/{own}`, only for linux/s390x, windows/{own}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_things_are_named() {
    let context = Context::new();
    let error = registry_error(context.read("iris:1").await.unwrap_err());
    let host = context.registry.host();
    assert_eq!(
        chain(&error),
        format!(
            "registry `{host}` has no manifest `iris:1` <- \
         `GET http://{host}/v2/iris/manifests/1` is answered with 404 Not Found: MANIFEST_UNKNOWN: manifest unknown"
        )
    );
    assert!(matches!(error, RegistryError::NotFound { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_manifest_is_refused() {
    let context = Context::new();
    let large = Answer::status(200).body(vec![b' '; 5 << 20]);
    context.registry.fail("HEAD", "/manifests/", 9, Fault::Answer(Answer::status(200)));
    context.registry.fail("GET", "/manifests/", 9, Fault::Answer(large));
    let error = registry_error(context.read("iris:1").await.unwrap_err());
    assert!(chain(&error).ends_with("answers with more than 4194304 bytes"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_port_is_said_with_host_and_port() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let cache = TempDir::new().unwrap();
    let client = client(cache.path(), "{}");
    let reference = format!("127.0.0.1:{port}/iris:1").parse().unwrap();
    let result = registry::write(&client, &reference, &image([]), &Activity::silent()).await;
    let error = registry_error(result.unwrap_err());
    let text = chain(&error);
    let start =
        format!("cannot reach registry `127.0.0.1:{port}` <- cannot connect to `127.0.0.1:{port}` <- ");
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
    assert!(!error.is_transient());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let settings =
        http::ClientSettings { stall_timeout: Duration::from_millis(100), ..http::ClientSettings::default() };
    let cache = TempDir::new().unwrap();
    let client = Client::new(http::Client::new(&settings).unwrap(), Settings::new(cache.path().to_owned()));
    let reference = format!("{host}/iris:1").parse().unwrap();
    let result = registry::read(&client, &reference, &Platform::host(), &Activity::silent()).await;
    let error = registry_error(result.unwrap_err());
    assert_eq!(
        chain(&error),
        format!("the exchange with registry `{host}` failed <- `GET http://{host}/v2/` got no answer in 0 s")
    );
    assert!(error.is_transient());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_changes_while_it_is_pushed_is_named() {
    let context = Context::new();
    let files = TempDir::new().unwrap();
    let path = files.path().join("layer");
    let mut layer = layer("a", 1_000_000);
    std::fs::write(&path, bytes_of(layer.blob.as_ref())).unwrap();
    layer.blob = Arc::new(FileBlob::whole(path.clone()).unwrap());
    let image = image([layer.clone()]);
    std::fs::remove_file(&path).unwrap();
    let error = registry_error(context.write("iris:1", &image).await.unwrap_err());
    assert_eq!(error.to_string(), format!("cannot read blob `{}`, which is to be pushed", layer.digest));
    std::fs::write(&path, vec![7; usize::try_from(layer.size).unwrap()]).unwrap();
    let error = registry_error(context.write("iris:1", &image).await.unwrap_err());
    assert!(chain(&error).ends_with("400 Bad Request: DIGEST_INVALID: digest invalid"), "{}", chain(&error));
    assert_eq!(context.registry.requests("PUT", "/manifests/").len(), 0);
    assert!(context.registry.state().uploads.is_empty(), "the uploads were given up");
}

/// Asks to stop once so many bytes have moved.
struct StopAfter {
    interrupt: Interrupt,
    left: Arc<AtomicU64>,
}

impl Report for StopAfter {
    fn stage(&self, _: &str) {}

    fn task(&self, _: &str, _: Option<u64>) -> Box<dyn Progress> {
        Box::new(Self { interrupt: self.interrupt.clone(), left: Arc::clone(&self.left) })
    }

    fn warn(&self, _: &str) {}
}

impl Progress for StopAfter {
    fn advance(&self, bytes: u64) {
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(bytes)));
        if before.is_ok_and(|before| before <= bytes) {
            self.interrupt.raise();
        }
    }
}

fn stopping(after: u64) -> Activity {
    let interrupt = Interrupt::default();
    let left = Arc::new(AtomicU64::new(after));
    let report = Arc::new(StopAfter { interrupt: interrupt.clone(), left });
    Activity { report, interrupt }
}

/// A blob whose reading takes a while, so that there is a middle to stop in.
#[derive(Debug)]
struct Slow(Arc<dyn Blob>);

impl Blob for Slow {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn open_at(&self, offset: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        struct Reader(Box<dyn std::io::Read + Send>);
        impl std::io::Read for Reader {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                std::thread::sleep(Duration::from_millis(2));
                let count = buffer.len().min(16 * 1024);
                self.0.read(&mut buffer[..count])
            }
        }
        Ok(Box::new(Reader(self.0.open_at(offset)?)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_leaves_no_half_of_anything() {
    let context = Context::new();
    let mut slow = layer("a", 8_000_000);
    slow.blob = Arc::new(Slow(Arc::clone(&slow.blob)));
    let image = image([slow, layer("b", 100)]);
    let reference = context.registry.reference("iris:1");
    let result = registry::write(&context.client, &reference, &image, &stopping(1_000_000)).await;
    assert!(matches!(result, Err(TransportError::Interrupted(_))), "{result:?}");
    assert_eq!(context.registry.requests("PUT", "/manifests/").len(), 0);
    assert_eq!(context.registry.requests("DELETE", "/blobs/uploads/").len(), 1);
    assert!(context.registry.state().uploads.is_empty());

    context.write("iris:1", &image).await.unwrap();
    let activity = stopping(1);
    let again = registry::read(&context.client, &reference, &Platform::host(), &activity).await.unwrap();
    let before = context.cached();
    activity.interrupt.raise();
    assert_eq!(open(&again, 0).await.unwrap_err().to_string(), "interrupted");
    assert_eq!(context.cached(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_readers_download_a_layer_once() {
    let context = Context::new();
    let image = image([layer("a", 2_000_000)]);
    context.write("iris:1", &image).await.unwrap();
    // Two clients on one cache are as two processes to each other: the lock is on the file.
    let other = client(context.cache.path(), "{}");
    let reference = context.registry.reference("iris:1");
    let one = context.read("iris:1").await.unwrap();
    let two = registry::read(&other, &reference, &Platform::host(), &Activity::silent()).await.unwrap();
    context.registry.forget_requests();
    let (one, two) = tokio::join!(open(&one, 0), open(&two, 0));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(context.registry.requests("GET", "/blobs/").len(), 1);
}
