//! The pages of `docs/examples` do what they say.

use std::fs;

use crate::support::context::TestContext;
use crate::support::docker::{DockerRegistry, Engine};
use crate::support::examples::execute;
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
fn class_level_models() {
    execute_example("class-level-models.md");
}

#[test]
fn from_project_to_container() {
    let context = TestContext::with_shared_cache();
    let engine = Engine::shared();
    let registry = DockerRegistry::open();
    let page = repository().join("docs/examples/from-project-to-container.md");
    let text = fs::read_to_string(page).expect("the page is there");
    // The page says 3000 as a reader would type it; on this machine that port may be taken.
    let port = free_port().to_string();
    let here = text.replace("127.0.0.1:3000:", &format!("127.0.0.1:{port}:"));
    let copy = context.work().join("page.md");
    fs::write(&copy, here.replace("localhost:3000", &format!("localhost:{port}"))).expect("a new file");
    let shell = context.command(&peers::system("bash"));
    let shell = shell.env("DOCKER_HOST", engine.host()).env("REGISTRY", registry.address());
    execute(&copy, &context.project("iris"), &shell);
}
