//! Images in docker-registry, which skopeo sees as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ekiben::http;
use ekiben::oci::image::Image;
use ekiben::oci::platform::Platform;
use ekiben::oci::reference::Reference;
use ekiben::oci::validate::validate;
use ekiben::redact::Secret;
use ekiben::registry::{Backoff, Client, KeychainSettings, RegistryError, Settings};
use ekiben::report::Activity;
use ekiben::transport::{TransportError, registry};
use tempfile::TempDir;

use crate::support::command::Command;
use crate::support::cutting_proxy::CuttingProxy;
use crate::support::docker_registry::DockerRegistry;
use crate::support::peers;
use crate::support::sample_image::{image, layer};

fn client(cache: &Path, credentials: &str, extra_roots: Vec<PathBuf>) -> Client {
    let mut settings = Settings::new(cache.to_owned());
    settings.backoff =
        Backoff { attempts: 5, first: Duration::from_millis(50), longest: Duration::from_secs(2) };
    settings.keychain = KeychainSettings {
        docker_auth_config: Some(Secret::new(credentials)),
        ..KeychainSettings::default()
    };
    let http = http::ClientSettings { extra_roots, ..http::ClientSettings::default() };
    Client::new(http::Client::new(&http).expect("the settings are good"), settings)
}

fn reference(host: &str, name: &str) -> Reference {
    format!("{host}/{name}").parse().expect("the name is a reference")
}

fn skopeo(directory: &Path, arguments: &[&str]) -> String {
    let command = Command::new(&peers::system("skopeo"), directory, &BTreeMap::new());
    command.arg("--insecure-policy").args(arguments).run().stdout
}

async fn read(client: &Client, reference: &Reference) -> Result<Image, TransportError> {
    registry::read(client, reference, &Platform::host(), &Activity::silent()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_sees_what_was_pushed() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let files = TempDir::new().unwrap();
    let client = client(files.path(), "{}", Vec::new());
    let image = image([layer("a", 2_000_000), layer("b", 10)]);
    let name = reference(registry.host(), "team/iris:1");
    let receipt = registry::write(&client, &name, &image, &Activity::silent()).await.unwrap();
    assert_eq!((receipt.was_there, receipt.digest), (false, image.digest()));
    let address = format!("docker://{name}");
    let seen = skopeo(files.path(), &["inspect", "--raw", "--tls-verify=false", &address]);
    assert_eq!(seen.as_bytes(), &image.manifest()[..]);
    skopeo(files.path(), &["copy", "--quiet", "--src-tls-verify=false", &address, "oci:layout:1"]);
    let again = registry::write(&client, &name, &image, &Activity::silent()).await.unwrap();
    assert_eq!((again.was_there, again.bytes_written), (true, 0));

    let base = read(&client, &name).await.unwrap();
    let other = reference(registry.host(), "team/other:1");
    let receipt = registry::write(&client, &other, &base, &Activity::silent()).await.unwrap();
    assert_eq!(receipt.bytes_mounted, image.layers().iter().map(|layer| layer.size).sum::<u64>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_skopeo_pushed_in_dockers_form_is_read_in_ocis() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let files = TempDir::new().unwrap();
    let image = image([layer("a", 200_000), layer("b", 10)]);
    let directory = files.path().join("layout");
    let verified = ekiben::transport::Verified::new(files.path().join("verified"));
    let names = ["1".to_owned()];
    ekiben::transport::layout::write(&directory, &names, &image, &verified, &Activity::silent()).unwrap();
    let name = reference(registry.host(), "iris:1");
    let target = format!("docker://{name}");
    let copy = ["copy", "--quiet", "--format", "v2s2", "--dest-tls-verify=false", "oci:layout:1", &target];
    skopeo(files.path(), &copy);
    let client = client(files.path(), "{}", Vec::new());
    let read = read(&client, &name).await.unwrap();
    assert!(
        read.layers().iter().all(|layer| layer.media_type.starts_with("application/vnd.oci.image.layer"))
    );
    let diff_ids = |image: &Image| image.layers().iter().map(|layer| layer.diff_id).collect::<Vec<_>>();
    assert_eq!(diff_ids(&read), diff_ids(&image));
    let violations = tokio::task::spawn_blocking(move || validate(&read)).await.unwrap();
    assert!(violations.is_empty(), "{violations:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_goes_on() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let files = TempDir::new().unwrap();
    let client = client(files.path(), "{}", Vec::new());
    let proxy = CuttingProxy::start(registry.host(), 4_000_000, 2);
    let image = image([layer("a", 20_000_000)]);
    let name = reference(proxy.host(), "iris:1");
    registry::write(&client, &name, &image, &Activity::silent()).await.unwrap();
    assert_eq!(proxy.cuts_left(), 0);
    let read = read(&client, &reference(registry.host(), "iris:1")).await.unwrap();
    assert_eq!(read.digest(), image.digest());
    let violations = tokio::task::spawn_blocking(move || validate(&read)).await.unwrap();
    assert!(violations.is_empty(), "{violations:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_leaves_no_image_behind() {
    let Some(registry) = DockerRegistry::plain() else { return };
    let files = TempDir::new().unwrap();
    let client = client(files.path(), "{}", Vec::new());
    let image = image([layer("a", 60_000_000)]);
    let name = reference(registry.host(), "iris:1");
    let activity = Activity::silent();
    let push = registry::write(&client, &name, &image, &activity);
    let stop = async {
        while registry.open_uploads("iris") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        activity.interrupt.raise();
    };
    let (result, ()) = tokio::join!(push, stop);
    assert!(matches!(result, Err(TransportError::Interrupted(_))), "{result:?}");
    let error = read(&client, &name).await.unwrap_err();
    assert!(
        matches!(&error, TransportError::Registry(error) if matches!(**error, RegistryError::NotFound { .. }))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_passwords_are_demanded() {
    let Some(registry) = DockerRegistry::secure() else { return };
    let files = TempDir::new().unwrap();
    let credentials = |password: &str| {
        format!(r#"{{"auths": {{"{}": {{"username": "me", "password": "{password}"}}}}}}"#, registry.host())
    };
    let image = image([layer("a", 1000)]);
    let name = reference(registry.host(), "iris:1");
    let fails = async |credentials: &str, roots| {
        let client = client(files.path(), credentials, roots);
        match registry::write(&client, &name, &image, &Activity::silent()).await {
            Err(TransportError::Registry(error)) => *error,
            other => panic!("{other:?}"),
        }
    };
    let error = fails(&credentials("pw"), Vec::new()).await;
    assert!(matches!(error, RegistryError::Tls { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("registry `{}` cannot be trusted", registry.host()));
    for (document, part) in [("{}".to_owned(), "without credentials"), (credentials("no"), "to user `me`")] {
        let error = fails(&document, vec![registry.certificate()]).await;
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let client = client(files.path(), &credentials("pw"), vec![registry.certificate()]);
    registry::write(&client, &name, &image, &Activity::silent()).await.unwrap();
    assert_eq!(read(&client, &name).await.unwrap().digest(), image.digest());
}
