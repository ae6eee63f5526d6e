//! `ekiben serve --reload` with the real SDK: which files count, and services that change.

use std::fs;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::context::TestContext;
use crate::support::peers::{Venv, program};
use crate::support::serve::{PATIENCE, Reply, read_reply, request};
use crate::support::service::Service;

/// A service, and one that it calls; both say what they are told here.
fn source(outer: &str, inner: &str) -> String {
    format!(
        "import bentoml\n\n\n@bentoml.service\nclass Inner:\n    @bentoml.api\n    def say(self) -> str:\n        \
         return '{inner}'\n\n\n@bentoml.service\nclass Outer:\n    inner = bentoml.depends(Inner)\n\n    @bentoml.api\n    \
         def {outer}(self) -> str:\n        return '{outer} ' + self.inner.say()\n"
    )
}

struct Client {
    port: u16,
}

impl Client {
    fn post(&self, path: &str) -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(&request("POST", path, &[("content-type", "application/json")], b"{}")).unwrap();
        read_reply(&mut BufReader::new(stream), false).unwrap()
    }

    /// Waits until an API answers with a text; the port answers every time.
    fn wait_for(&self, path: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = self.post(path);
            if (reply.status, reply.text().as_str()) == (200, text) {
                return;
            }
            assert!(Instant::now() < deadline, "{path}: {} {}", reply.status, reply.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn write(project: &Path, name: &str, text: &str) {
    fs::write(project.join(name), text).unwrap();
}

#[test]
fn a_project_is_served_as_it_is_now() {
    let context = TestContext::new();
    let project = context.work().join("project");
    fs::create_dir(&project).unwrap();
    write(&project, "bentofile.yaml", "service: 'service:Outer'\ninclude: ['*.py']\n");
    write(&project, "service.py", &source("greet", "one"));
    let python = program(Venv::Sdk, "python");
    let command = context.ekiben(["serve", "project", "--reload", "--port", "0", "--python"]).arg(python);
    let mut server = Service::start(&command);
    let line = server.line_with("listening on");
    let port = line.split_once(" (Press").unwrap().0.rsplit(':').next().unwrap().parse().unwrap();
    let client = Client { port };
    client.wait_for("/greet", "greet one");
    // What the bento would not have is not watched.
    write(&project, "notes.txt", "nothing");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(client.post("/greet").text(), "greet one");
    // Both services change, and an API has another name.
    write(&project, "service.py", &source("hail", "two"));
    client.wait_for("/hail", "hail two");
    assert_eq!(client.post("/greet").status, 404);
    server.line_with("[observer] MODIFIED: 'service.py'");
    server.line_with("[observer] Detected changes. Reloading...");
    // A mistake is shown, and mended.
    write(&project, "service.py", "def broken(:\n");
    server.line_with("SyntaxError");
    server.line_with("waiting for a change");
    assert_eq!(client.post("/hail").status, 503);
    write(&project, "service.py", &source("hail", "three"));
    client.wait_for("/hail", "hail three");
    let (status, output) = server.stop();
    assert_eq!(status.code(), Some(0), "{output}");
}
