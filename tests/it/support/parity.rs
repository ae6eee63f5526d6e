//! One project served by ekiben and by upstream, and the same requests to both.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::context::TestContext;
use super::peers::{Venv, program};
use super::serve::{PATIENCE, Plan, Reply, Server, read_reply, request};
use super::service::Service;
use super::web::{free_port, loopback, wait_until_ready};

/// Upstream's server starts several interpreters, one after the other.
const STARTS_WITHIN: Duration = Duration::from_secs(90);

/// The two servers; both end with this.
pub(crate) struct Both {
    pub(crate) ekiben: Server,
    upstream_port: u16,
    _upstream: Service,
    context: TestContext,
}

/// Two answers to one request.
pub(crate) struct Answers {
    pub(crate) ours: Reply,
    pub(crate) theirs: Reply,
}

impl Both {
    /// Serves `service.py` with both.
    pub(crate) fn serve(service: &str, target: &str) -> Self {
        let context = TestContext::new();
        std::fs::write(context.work().join("service.py"), service).expect("the directory is there");
        let python = program(Venv::Sdk, "python");
        let plan = Plan::target(Some(target)).file("service.py", service);
        let plan = plan.arguments(&["--python", python.to_str().expect("a plain path")]);
        let port = free_port();
        let upstream = Service::start(&context.bentoml(["serve", target, "--port"]).arg(port.to_string()));
        let ekiben = plan.start_ready();
        wait_until_ready(loopback(port), STARTS_WITHIN);
        Self { ekiben, upstream_port: port, _upstream: upstream, context }
    }

    /// Sends a request to both.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answers {
        let theirs = self.upstream(method, path, headers, body);
        Answers { ours: self.ekiben.request(method, path, headers, body), theirs }
    }

    /// Sends a request to upstream.
    pub(crate) fn upstream(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", self.upstream_port)).expect("upstream listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
        stream.write_all(&request(method, path, headers, body)).expect("upstream reads");
        read_reply(&mut BufReader::new(stream), method == "HEAD").expect("upstream answers")
    }

    /// Upstream's port.
    pub(crate) fn upstream_port(&self) -> u16 {
        self.upstream_port
    }

    /// The world that upstream runs in.
    pub(crate) fn context(&self) -> &TestContext {
        &self.context
    }
}
