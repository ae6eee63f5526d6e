//! Starts `ekiben-serve` and speaks HTTP with it.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take on a busy machine before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server about to be started.
pub(crate) struct Plan {
    directory: TempDir,
    target: Option<String>,
    arguments: Vec<String>,
    variables: BTreeMap<String, String>,
    descriptors: Option<u32>,
}

/// A server that runs; killed when dropped.
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<String>>,
    port: u16,
}

/// What is left of a server.
#[must_use]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) directory: TempDir,
}

/// An answer as it came over the wire.
#[derive(Clone, Debug)]
#[must_use]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether a chunked body had its last chunk, or a counted one all its bytes.
    pub(crate) is_whole: bool,
}

impl Plan {
    /// Serves with the worker in testdata, which begins with `start`.
    pub(crate) fn fake(start: &str) -> Self {
        Self::fake_in(&format!("fake:{start}"))
    }

    /// Serves any target with the worker in testdata.
    pub(crate) fn fake_in(target: &str) -> Self {
        Self::fake_anywhere().with_target(target)
    }

    /// Serves what the environment says with the worker in testdata.
    pub(crate) fn fake_anywhere() -> Self {
        let workers = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/workers");
        let plan = Self::target(None);
        plan.env("PYTHONPATH", workers.to_str().unwrap()).env("PYTHONDONTWRITEBYTECODE", "1")
    }

    /// Serves a target in an empty directory with an empty environment.
    pub(crate) fn target(target: Option<&str>) -> Self {
        let plan = Self {
            directory: tempfile::tempdir().unwrap(),
            target: target.map(str::to_owned),
            arguments: Vec::new(),
            variables: BTreeMap::new(),
            descriptors: None,
        };
        let path = ekiben::env::Environment::of_process().text("PATH").unwrap().to_owned();
        let home = plan.directory.path().to_str().unwrap().to_owned();
        plan.env("PATH", &path).env("HOME", &home)
    }

    fn with_target(mut self, target: &str) -> Self {
        self.target = Some(target.to_owned());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn config(self, config: &Value) -> Self {
        self.env("FAKE_CONFIG", &config.to_string())
    }

    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Starts the server with a lower limit of open files, which it may raise.
    pub(crate) fn descriptors(mut self, limit: u32) -> Self {
        self.descriptors = Some(limit);
        self
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Starts the server on a free port and waits for its banner.
    pub(crate) fn start(self) -> Server {
        let mut server = self.arguments(&["--port", "0"]).spawn();
        let deadline = Instant::now() + PATIENCE;
        while server.port == 0 {
            assert!(Instant::now() < deadline, "no banner in:\n{}", server.log());
            std::thread::sleep(Duration::from_millis(5));
            server.port = banner_port(&server.log()).unwrap_or(0);
            assert!(server.child.try_wait().unwrap().is_none(), "the server ended:\n{}", server.log());
        }
        server
    }

    /// Starts the server and waits until it says that it is ready.
    pub(crate) fn start_ready(self) -> Server {
        let server = self.start();
        server.wait_ready();
        server
    }

    /// Starts a server whose standard output is a pipe that nobody reads.
    pub(crate) fn start_unread(self) -> Server {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut server = self.arguments(&["--port", &port.to_string()]).spawn_with(false);
        server.port = port;
        server.wait_for("port", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server.wait_ready();
        server
    }

    /// Runs the program until it ends by itself.
    pub(crate) fn run(self) -> Ended {
        self.spawn().wait()
    }

    pub(crate) fn spawn(self) -> Server {
        self.spawn_with(true)
    }

    fn spawn_with(self, is_read: bool) -> Server {
        let program = env!("CARGO_BIN_EXE_ekiben-serve");
        let mut command = match self.descriptors {
            None => Command::new(program),
            Some(limit) => {
                let script = format!("ulimit -S -n {limit} && exec \"$0\" \"$@\"");
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &script, program]);
                shell
            }
        };
        let mut child = command
            .args(self.target.iter())
            .args(&self.arguments)
            .env_clear()
            .envs(&self.variables)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let mut readers = Vec::new();
        if is_read {
            readers.push(collect(child.stdout.take().unwrap(), Some(Arc::clone(&output))));
            readers.push(collect(child.stderr.take().unwrap(), None));
        }
        Server { child, directory: self.directory, output, readers, port: 0 }
    }
}

impl Server {
    /// Waits until `/readyz` says yes.
    pub(crate) fn wait_ready(&self) {
        self.wait_for("readiness", || self.get("/readyz").status == 200);
    }

    /// Waits until something is true.
    pub(crate) fn wait_for(&self, what: &str, mut is_true: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_true() {
            assert!(Instant::now() < deadline, "no {what}; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns what the server has written to standard output.
    pub(crate) fn log(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Returns the directory the server runs in.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the server's process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the server's port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        self.request("POST", path, &[("content-type", "application/json")], body.as_bytes())
    }

    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut stream = self.connect();
        stream.write_all(&request(method, path, headers, body)).unwrap();
        read_reply(&mut BufReader::new(stream), method == "HEAD").unwrap()
    }

    /// Sends a call that will take a while; the answer comes when the thread is joined.
    pub(crate) fn post_later(&self, path: &str, body: &str) -> JoinHandle<Reply> {
        let mut stream = self.connect();
        stream.write_all(&request("POST", path, &[], body.as_bytes())).unwrap();
        std::thread::spawn(move || read_reply(&mut BufReader::new(stream), false).unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn stop(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.wait()
    }

    /// Waits for the end of a server whose output is not read.
    pub(crate) fn wait_code(mut self) -> Option<i32> {
        self.end()
    }

    fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the server does not end; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Ended {
        let code = self.end();
        let mut texts = std::mem::take(&mut self.readers).into_iter().map(|reader| reader.join().unwrap());
        let (stdout, stderr) = (texts.next().unwrap(), texts.next().unwrap());
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        Ended { code, stdout, stderr, directory }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort: most servers have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Expects exit status 0 and nothing on standard error.
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.stdout);
        self
    }

    /// Expects an exit status, and returns standard error.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self.stderr
    }
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The beginning of a body that may be anything.
    pub(crate) fn text_lossy(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(200)]).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Expects a status, a content type and a body.
    pub(crate) fn expect(&self, status: u16, content_type: &str, body: &str) {
        let found = (self.status, self.header("content-type").unwrap_or_default(), self.text());
        assert_eq!(found, (status, content_type, body.to_owned()));
    }
}

/// Writes a request that asks for the connection to be kept.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    let is_counted =
        !headers.iter().any(|(name, _)| *name == "transfer-encoding" || *name == "content-length");
    if is_counted && (!body.is_empty() || method == "POST") {
        write!(head, "content-length: {}\r\n", body.len()).unwrap();
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// Reads one answer; an interim answer is skipped. `None` means that the server closed without one.
pub(crate) fn read_reply(stream: &mut impl BufRead, is_head: bool) -> Option<Reply> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() && lines.first().is_some_and(|first: &String| first.contains(" 100 ")) {
            lines.clear();
        } else if line.is_empty() {
            break;
        } else {
            lines.push(line);
        }
    }
    let status = lines[0].split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut reply = Reply { status, headers, body: Vec::new(), is_whole: true };
    if is_head {
        return Some(reply);
    }
    if reply.header("transfer-encoding") == Some("chunked") {
        reply.is_whole = read_chunks(stream, &mut reply.body).is_some();
    } else if let Some(length) = reply.header("content-length").map(|length| length.parse().unwrap()) {
        reply.is_whole =
            stream.take(length).read_to_end(&mut reply.body).is_ok_and(|read| read as u64 == length);
    }
    Some(reply)
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let length = u64::from_str_radix(line.trim_end(), 16).ok()?;
        let read = stream.take(length).read_to_end(body).ok()?;
        let mut end = [0; 2];
        stream.read_exact(&mut end).ok()?;
        if read as u64 != length {
            return None;
        }
        if length == 0 {
            return Some(());
        }
    }
}

fn banner_port(log: &str) -> Option<u16> {
    let rest = log.split_once("listening on http")?.1.split_once(" (Press CTRL+C to quit)")?.0;
    rest.rsplit(':').next()?.parse().ok()
}

fn collect(stream: impl Read + Send + 'static, shared: Option<Arc<Mutex<String>>>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        let mut reader = BufReader::new(stream);
        while reader.read_line(&mut text).unwrap() > 0 {
            if let Some(shared) = &shared {
                shared.lock().unwrap().clone_from(&text);
            }
        }
        text
    })
}
