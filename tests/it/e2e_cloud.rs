//! Upstream's own client and ours with one login. What each pulls of what the other pushed is `e2e_matrix`.

use std::fs;

use crate::support::cloud_server::{CloudServer, TOKEN, Way};
use crate::support::context::TestContext;
use crate::support::peers::{Venv, program};

/// A model that upstream saved.
fn save_upstream(context: &TestContext) {
    let script = "import bentoml\n\
        with bentoml.models.create('m:v1') as m:\n    open(m.path_of('weights'), 'w').write('text')\n";
    let python = context.command(&program(Venv::Upstream, "python"));
    let _saved = python.arg("-c").arg(script).any_stderr().run();
}

#[test]
fn upstream_uses_the_login_of_ekiben_and_the_other_way_round() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    save_upstream(&context);
    let login = ["cloud", "login", "--api-token", TOKEN, "--endpoint"];
    let _said = context.ekiben(login).arg(server.endpoint()).run();
    let _pushed = context.bentoml(["models", "push", "m:v1"]).any_stderr().run();
    assert_eq!(server.status("models", "m:v1").0, "success");
    let file = context.bentoml_home().join(".yatai.yaml");
    let ours = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let _said = context.bentoml(login).arg(server.endpoint()).any_stderr().run();
    assert_eq!(fs::read_to_string(&file).unwrap(), ours);
    let said = context.ekiben(["models", "push", "m:v1"]).run().stdout;
    assert_eq!(said, "Model \"m:v1\" already exists in remote model store, skipping\n");
}
