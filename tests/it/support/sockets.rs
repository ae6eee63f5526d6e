//! Clients of WebSockets: `wsproto` carries out what a test says, and tells what it saw.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use super::peers::{Venv, program};

const CLIENT: &str = include_str!("socket_client.py");

/// A client at work; ended when dropped.
pub(crate) struct SocketClient {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

/// What a client saw.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) subprotocol: Option<String>,
    pub(crate) events: Vec<Value>,
}

impl SocketClient {
    /// Opens a WebSocket and does what the steps say.
    pub(crate) fn start(port: u16, path: &str, steps: &Value) -> Self {
        Self::start_with(port, path, steps, &json!({}))
    }

    /// Does the same with more members of the plan: `headers`, `subprotocols`.
    pub(crate) fn start_with(port: u16, path: &str, steps: &Value, more: &Value) -> Self {
        let mut plan = json!({"port": port, "path": path, "steps": steps});
        for (name, value) in more.as_object().expect("an object") {
            plan[name] = value.clone();
        }
        let mut child = Command::new(program(Venv::Upstream, "python"))
            .args(["-c", CLIENT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the interpreter runs");
        let mut input = child.stdin.take().expect("stdin is piped");
        input.write_all(plan.to_string().as_bytes()).expect("the client reads");
        let said = BufReader::new(child.stderr.take().expect("stderr is piped"));
        Self { child, said }
    }

    /// Waits until the client says something (`["say", …]`).
    pub(crate) fn heard(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("the client speaks UTF-8");
        line.trim_end().to_owned()
    }

    /// Waits for the end.
    pub(crate) fn seen(mut self) -> Seen {
        let mut text = String::new();
        self.child.stdout.take().expect("stdout is piped").read_to_string(&mut text).expect("it is UTF-8");
        let mut complaint = String::new();
        self.said.read_to_string(&mut complaint).expect("it is UTF-8");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("the client failed:\n{complaint}"))
    }
}

impl Drop for SocketClient {
    fn drop(&mut self) {
        // Most clients have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The closing frame's code and reason.
    pub(crate) fn close(&self) -> Option<(u64, &str)> {
        let close = self.events.iter().find(|event| event[0] == "close")?;
        Some((close[1].as_u64()?, close[2].as_str()?))
    }
}
