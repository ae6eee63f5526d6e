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

/// Where a page goes on in a container.
const CONTAINER: &str = "\n## In a container\n";

/// Executes a page that serves on port 3000, here and then in a container, on a free one: several pages do so at the same
/// time. Without an engine the page ends before its container.
fn execute_served(page: &str) {
    let context = TestContext::with_shared_cache();
    let text = fs::read_to_string(repository().join("docs/examples").join(page)).expect("the page is there");
    let (local, contained) = text.split_once(CONTAINER).unwrap_or((&text, ""));
    let port = free_port();
    let mut page = local
        .replace("localhost:3000", &format!("localhost:{port}"))
        .replace("--port 3000", &format!("--port {port}"));
    let mut shell = context.command(&peers::system("bash")).env("BENTOML_PORT", port.to_string());
    let engine = if contained.is_empty() { None } else { DockerEngine::shared() };
    if let Some(engine) = &engine {
        page.extend([CONTAINER, &visiting(contained, engine, port)]);
        shell = shell.env("DOCKER_HOST", engine.host());
    }
    let copy = context.work().join("page.md");
    fs::write(&copy, page).expect("a new file");
    execute(&copy, &context.work(), &shell);
}

/// A page whose containers publish another port, and whose clients are where it can be reached: the engine's network is
/// not the machine's.
fn visiting(page: &str, engine: &DockerEngine, port: u16) -> String {
    let page = page.replace("localhost:3000", &format!("localhost:{port}"));
    let mut page = page.replace(" 127.0.0.1:3000:3000", &format!(" 127.0.0.1:{port}:3000"));
    for client in ["curl ", "bash ask.sh"] {
        page = page.replace(client, &format!("nsenter --net={} {client}", engine.network()));
    }
    page
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
    execute_served("class-level-models.md");
}

#[test]
fn large_models() {
    execute_served("large-models.md");
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
    let page = repository().join("docs/examples/hugging-face.md");
    let text = fs::read_to_string(page).expect("the page is there");
    let copy = context.work().join("page.md");
    fs::write(&copy, visiting(&text, &engine, free_port())).expect("a new file");
    execute(&copy, &context.work(), &shell);
}

#[test]
fn from_project_to_container() {
    let context = TestContext::with_shared_cache();
    let (Some(engine), Some(registry)) = (DockerEngine::shared(), DockerRegistry::plain()) else { return };
    let page = repository().join("docs/examples/from-project-to-container.md");
    let text = fs::read_to_string(page).expect("the page is there");
    let copy = context.work().join("page.md");
    fs::write(&copy, visiting(&text, &engine, free_port())).expect("a new file");
    let shell = context.command(&peers::system("bash"));
    let shell = shell.env("DOCKER_HOST", engine.host()).env("REGISTRY", registry.host());
    execute(&copy, &context.project("iris"), &shell);
}
