//! The pages of `docs/examples` do what they say.

use std::fs;

use crate::support::cloud_server::{CloudServer, TOKEN, Way};
use crate::support::context::TestContext;
use crate::support::docker_engine::DockerEngine;
use crate::support::docker_registry::DockerRegistry;
use crate::support::examples::execute;
use crate::support::hub::Hub;
use crate::support::peers;
use crate::support::sources::repository;
use crate::support::web::free_port;

fn execute_example(name: &str) {
    let context = TestContext::with_shared_cache();
    let shell = context.command(&peers::system("bash"));
    execute(&repository().join("docs/examples").join(name), &context.work(), &shell);
}

#[test]
fn models() {
    execute_example("models.md");
}

#[test]
fn runners() {
    execute_example("runners.md");
}

#[test]
fn services_old_style() {
    execute_served("services-old-style.md");
}

#[test]
fn runners_together() {
    execute_served("runners-together.md");
}

#[test]
fn clients() {
    execute_served("clients.md");
}

/// Executes a page that serves on port 3000, on a free one.
fn execute_served(page: &str) {
    let context = TestContext::with_shared_cache();
    let page = repository().join("docs/examples").join(page);
    let text = fs::read_to_string(page).expect("the page is there");
    let port = free_port().to_string();
    let copy = context.work().join("page.md");
    fs::write(
        &copy,
        text.replace("localhost:3000", &format!("localhost:{port}"))
            .replace("--port 3000", &format!("--port {port}")),
    )
    .expect("a new file");
    let shell = context.command(&peers::system("bash")).env("BENTOML_PORT", port);
    execute(&copy, &context.work(), &shell);
}

#[test]
fn archives() {
    execute_example("archives.md");
}

#[test]
fn registries() {
    let context = TestContext::new();
    let Some(registry) = DockerRegistry::plain() else { return };
    let shell = context.command(&peers::system("bash")).env("REGISTRY", registry.host());
    execute(&repository().join("docs/examples/registries.md"), &context.work(), &shell);
}

#[test]
fn push_and_pull() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Single);
    let shell = context.command(&peers::system("bash"));
    let shell = shell.env("TOKEN", TOKEN).env("SERVER", server.endpoint());
    execute(&repository().join("docs/examples/push-and-pull.md"), &context.work(), &shell);
}

#[test]
fn class_level_models() {
    execute_example("class-level-models.md");
}

#[test]
fn large_models() {
    execute_example("large-models.md");
}

#[test]
fn hugging_face() {
    let context = TestContext::with_shared_cache();
    let (Some(engine), Some(registry)) = (DockerEngine::shared(), DockerRegistry::plain()) else { return };
    let hub = Hub::start();
    let greetings = br#"{"en": "Hello", "fr": "Bonjour"}"#;
    let files: [(&str, &[u8]); 3] =
        [("README.md", b"# Greetings"), ("greetings.json", greetings), ("model.safetensors", b"weights")];
    hub.repository("acme/greetings").commit_files(&files);
    hub.repository("acme/secrets").gate().admit("hf_example").commit_files(&[("secret.json", b"{}")]);
    let shell = context.command(&peers::system("bash"));
    let shell = shell.env("HF_ENDPOINT", hub.endpoint()).env("TOKEN", "hf_example");
    let shell = shell.env("DOCKER_HOST", engine.host()).env("REGISTRY", registry.host());
    execute(&repository().join("docs/examples/hugging-face.md"), &context.work(), &shell);
}

#[test]
fn from_project_to_container() {
    let context = TestContext::with_shared_cache();
    let (Some(engine), Some(registry)) = (DockerEngine::shared(), DockerRegistry::plain()) else { return };
    let page = repository().join("docs/examples/from-project-to-container.md");
    let text = fs::read_to_string(page).expect("the page is there");
    // The engine is not on the machine's network, so that the page's port is free.
    let visit = format!("nsenter --net={} curl ", engine.network());
    let copy = context.work().join("page.md");
    fs::write(&copy, text.replace("curl ", &visit)).expect("a new file");
    let shell = context.command(&peers::system("bash"));
    let shell = shell.env("DOCKER_HOST", engine.host()).env("REGISTRY", registry.host());
    execute(&copy, &context.project("iris"), &shell);
}
