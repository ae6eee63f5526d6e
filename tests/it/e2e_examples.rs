//! The pages of `docs/examples` do what they say.

use crate::support::context::TestContext;
use crate::support::examples::execute;
use crate::support::peers;
use crate::support::sources::repository;

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
