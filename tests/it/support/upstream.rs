//! Upstream's package running many steps in one process: its start takes longer than most of what it does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::cloud_server::{CloudServer, TOKEN};
use super::context::TestContext;
use super::peers::{Venv, program};
use super::sources::repository;

/// What became of a step.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Steps to be run in one process, each with a name of its own.
#[derive(Default)]
pub(crate) struct Steps {
    names: Vec<String>,
    steps: Vec<Value>,
}

/// The answers of steps by their names.
#[derive(Default)]
pub(crate) struct Answers(BTreeMap<String, Answer>);

impl Steps {
    /// One of upstream's own command lines.
    pub(crate) fn cli(&mut self, name: &str, arguments: &[&str]) {
        self.push(name, json!({ "cli": arguments }));
    }

    /// A command line that talks to a server.
    pub(crate) fn cli_at(&mut self, name: &str, arguments: &[&str], server: &CloudServer) {
        let variables = json!({"BENTO_CLOUD_API_KEY": TOKEN, "BENTO_CLOUD_API_ENDPOINT": server.endpoint()});
        self.push(name, json!({ "cli": arguments, "env": variables }));
    }

    /// A program.
    pub(crate) fn python(&mut self, name: &str, text: &str) {
        self.push(name, json!({ "python": text }));
    }

    /// Moves a directory away.
    pub(crate) fn move_away(&mut self, name: &str, from: &Path, to: &Path) {
        self.push(name, json!({ "move": [from, to] }));
    }

    fn push(&mut self, name: &str, step: Value) {
        assert!(!self.names.iter().any(|known| known == name), "two steps are called {name}");
        self.names.push(name.to_owned());
        self.steps.push(step);
    }

    /// Runs the steps on a home.
    pub(crate) fn run(self, context: &TestContext, home: &Path) -> Answers {
        let script = repository().join("tests/it/support/upstream_steps.py");
        let file = context.temporary().join("steps.json");
        fs::write(&file, Value::from(self.steps).to_string()).expect("a new file");
        let python = context.command(&program(Venv::Upstream, "python")).arg(script).arg(&file);
        let output = python.env("BENTOML_HOME", home).any_stderr().run();
        let answers: Vec<Answer> = serde_json::from_str(&output.stdout).expect("a list of answers");
        assert_eq!(answers.len(), self.names.len());
        Answers(self.names.into_iter().zip(answers).collect())
    }
}

impl Answers {
    /// The answer of a step, whatever its status.
    pub(crate) fn any(&self, name: &str) -> &Answer {
        self.0.get(name).unwrap_or_else(|| panic!("no step is called {name}"))
    }

    /// What a step printed that succeeded.
    pub(crate) fn stdout(&self, name: &str) -> &str {
        let answer = self.any(name);
        assert_eq!(answer.status, 0, "upstream, {name}:\n{}\n{}", answer.stdout, answer.stderr);
        &answer.stdout
    }

    /// The JSON document that a step printed.
    pub(crate) fn json(&self, name: &str) -> Value {
        let text = self.stdout(name);
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"))
    }
}
