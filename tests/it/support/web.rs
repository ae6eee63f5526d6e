//! One HTTP request over a fresh connection: enough to ask a service on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// A service that takes longer to answer is broken.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);

/// Between two questions whether a service of others is ready, which has no other way to tell.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Response {
    /// The body as JSON, of a response that succeeded.
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}\n{}", self.body))
    }
}

/// Where a service listens.
pub(crate) type Address = SocketAddr;

/// A port of loopback.
pub(crate) fn loopback(port: u16) -> Address {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A port that was free a moment ago, for programs that cannot choose one themselves and tell.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// `GET`.
pub(crate) fn get(address: Address, path: &str) -> std::io::Result<Response> {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
}

/// `POST` of a JSON document.
pub(crate) fn post(address: Address, path: &str, body: &serde_json::Value) -> Response {
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    let entity = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    exchange(address, &format!("{head}{entity}")).unwrap_or_else(|error| panic!("POST {path}: {error}"))
}

/// Asks until `/readyz` answers 200.
pub(crate) fn wait_until_ready(address: Address, within: Duration) {
    let deadline = Instant::now() + within;
    loop {
        let answer = get(address, "/readyz");
        match &answer {
            Ok(response) if response.status == 200 => return,
            _ if Instant::now() > deadline => panic!("not ready within {within:?}: {answer:?}"),
            _ => thread::sleep(ASK_AGAIN_AFTER),
        }
    }
}

fn exchange(address: Address, request: &str) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(request.as_bytes())?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    parse(&String::from_utf8_lossy(&text))
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "not an HTTP response"))
}

fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some(Response { status, body: if is_chunked { unchunk(body)? } else { body.to_owned() } })
}

fn unchunk(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}
