//! Images in a real Docker Engine.

use std::sync::Arc;

use bytes::Bytes;
use ekiben::oci::blob::BytesBlob;
use ekiben::oci::compress::Compression;
use ekiben::oci::digest::Digest;
use ekiben::oci::image::Image;
use ekiben::oci::layer::Layer;
use ekiben::oci::platform::Platform;
use ekiben::oci::reference::Reference;
use ekiben::oci::validate::validate;
use ekiben::report::Activity;
use ekiben::transport::{TransportError, engine};
use tempfile::TempDir;

use crate::support::docker_engine::DockerEngine;
use crate::support::sample_image::{bytes_of, image, layer};

fn reference(name: &str) -> Reference {
    name.parse().expect("the name is a reference")
}

/// The same layer, stored in another form.
fn compressed(layer: &Layer, form: Compression) -> Layer {
    let mut bytes = Vec::new();
    form.compress(&bytes_of(layer.blob.as_ref())[..], &mut bytes).expect("memory takes all");
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    let blob = Arc::new(BytesBlob(Bytes::from(bytes)));
    Layer { media_type: form.media_type().to_owned(), digest, size, blob, ..layer.clone() }
}

fn ids(image: &Image) -> String {
    image.config_digest().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_loaded_once_and_read_back() {
    let Some(docker) = DockerEngine::shared() else { return };
    let engine = docker.connect().await;
    let image = image([compressed(&layer("once-a", 300_000), Compression::Gzip), layer("once-b", 10)]);
    let name = reference("ekiben-test/once:1");
    let receipt = engine::write(&engine, &name, &image, &Activity::silent()).await.unwrap();
    assert_eq!(receipt.destination, "docker-daemon:ekiben-test/once:1");
    let size: u64 = image.layers().iter().map(|layer| layer.size).sum();
    assert_eq!((receipt.was_there, receipt.bytes_written, receipt.bytes_skipped), (false, size, 0));
    assert_eq!(docker.docker(["image", "inspect", "--format", "{{.Id}}", "ekiben-test/once:1"]), ids(&image));
    let again = engine::write(&engine, &name, &image, &Activity::silent()).await.unwrap();
    assert_eq!((again.was_there, again.bytes_written), (true, 0));

    engine.tag("ekiben-test/once:1", "ekiben-test/once", "2").await.unwrap();
    let files = TempDir::new().unwrap();
    let name = reference("ekiben-test/once:2");
    let read =
        engine::read(&engine, &name, &Platform::host(), files.path(), &Activity::silent()).await.unwrap();
    assert_eq!(read.config_digest(), image.config_digest());
    assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 1);
    assert!(validate(&read).is_empty());
    drop(read);
    assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 0, "the file lasts as long as the image");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_the_engine_has_are_not_sent() {
    let Some(docker) = DockerEngine::shared() else { return };
    let engine = docker.connect().await;
    let (below, above, top) = (layer("omit-a", 2_000_000), layer("omit-b", 100_000), layer("omit-c", 100));
    let first = image([below.clone(), above.clone()]);
    engine::write(&engine, &reference("ekiben-test/omit:1"), &first, &Activity::silent()).await.unwrap();
    let second = image([below.clone(), above.clone(), top.clone()]);
    let receipt =
        engine::write(&engine, &reference("ekiben-test/omit:2"), &second, &Activity::silent()).await.unwrap();
    assert_eq!((receipt.bytes_written, receipt.bytes_skipped), (top.size, below.size + above.size));
    assert_eq!(
        docker.docker(["image", "inspect", "--format", "{{.Id}}", "ekiben-test/omit:2"]),
        ids(&second)
    );
    // The same layers above another one are other layers to the engine.
    let third = image([top.clone(), below.clone(), above.clone()]);
    let receipt =
        engine::write(&engine, &reference("ekiben-test/omit:3"), &third, &Activity::silent()).await.unwrap();
    assert_eq!(receipt.bytes_skipped, 0);
    assert_eq!(docker.docker(["image", "inspect", "--format", "{{.Id}}", "ekiben-test/omit:3"]), ids(&third));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_does_not_know_zstd_gets_plain_layers() {
    let Some(docker) = DockerEngine::shared() else { return };
    let engine = docker.connect().await;
    let image = image([compressed(&layer("zstd-a", 300_000), Compression::Zstd)]);
    let name = reference("ekiben-test/zstd:1");
    engine::write(&engine, &name, &image, &Activity::silent()).await.unwrap();
    assert_eq!(docker.docker(["image", "inspect", "--format", "{{.Id}}", "ekiben-test/zstd:1"]), ids(&image));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_layer_loads_nothing() {
    let Some(docker) = DockerEngine::shared() else { return };
    let engine = docker.connect().await;
    let mut gone = layer("gone-a", 1000);
    let path = std::path::PathBuf::from("/nonexistent/layer");
    gone.blob = Arc::new(ekiben::oci::blob::FileBlob { path, start: 0, size: gone.size });
    let name = reference("ekiben-test/gone:1");
    let error = engine::write(&engine, &name, &image([gone]), &Activity::silent()).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot read the image that `unix://"), "{error}");
    assert_eq!(engine.inspect("ekiben-test/gone:1").await.unwrap(), None);
    let files = TempDir::new().unwrap();
    let read = engine::read(&engine, &name, &Platform::host(), files.path(), &Activity::silent()).await;
    assert!(matches!(read, Err(TransportError::NotFound { .. })), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_load_leaves_no_image() {
    let Some(docker) = DockerEngine::shared() else { return };
    let engine = docker.connect().await;
    let activity = Activity::silent();
    activity.interrupt.raise();
    let name = reference("ekiben-test/stop:1");
    let result = engine::write(&engine, &name, &image([layer("stop-a", 1000)]), &activity).await;
    assert!(matches!(result, Err(TransportError::Interrupted(_))), "{result:?}");
    assert_eq!(engine.inspect("ekiben-test/stop:1").await.unwrap(), None);
}
