//! A small HTTP server for fakes: real sockets, one thread per connection, and full control over when it hangs up.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How much of a file is handed to the system at once.
const PIECE: u64 = 1 << 20;

/// Pieces in which a second's worth of a slow answer is sent.
const PIECES_PER_SECOND: u64 = 20;

/// A request as it arrived, its body as far as it arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, Vec<String>>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Whether the connection was cut before the body's end, on purpose or not.
    pub(crate) is_cut: bool,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name)?.first().map(String::as_str)
    }
}

/// A part of an answer's body that is not in memory.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Bytes as they are.
    Bytes(Vec<u8>),
    /// Bytes of a file.
    File { path: PathBuf, start: u64, length: u64 },
    /// One byte so many times.
    Repeat { byte: u8, length: u64 },
}

impl Part {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } | Self::Repeat { length, .. } => *length,
        }
    }
}

/// How fast a body is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Pace {
    /// As fast as it is taken.
    #[default]
    Full,
    /// Not more than this.
    BytesPerSecond(u64),
    /// After so many bytes nothing for so long, then the rest.
    Pause { after: u64, during: Duration },
}

/// An answer to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Follow the body, and belong to it.
    pub(crate) parts: Vec<Part>,
    /// Hang up after so many bytes of the body, although its length was promised.
    pub(crate) cut_after: Option<usize>,
    pub(crate) pace: Pace,
    /// Counts the bytes of the body while they are sent.
    pub(crate) sent: Arc<AtomicU64>,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            parts: Vec::new(),
            cut_after: None,
            pace: Pace::default(),
            sent: Arc::default(),
        }
    }

    /// The bytes of the body and the parts that follow it.
    pub(crate) fn length(&self) -> u64 {
        self.body.len() as u64 + self.parts.iter().map(Part::length).sum::<u64>()
    }

    pub(crate) fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// What decides about requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Bytes of the body after which to hang up, decided from the head alone.
    fn cut(&self, head: &Received) -> Option<usize>;

    /// The answer; none to hang up without one.
    fn answer(&self, request: Received) -> Option<Answer>;
}

/// A listening server, which ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(handler: Arc<dyn Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let handler = Arc::clone(&handler);
                thread::spawn(move || {
                    // A peer that hangs up is what many tests are about.
                    let _ = serve(&connection, handler.as_ref());
                    let _ = connection.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, is_over }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(connection: &TcpStream, handler: &dyn Handler) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    while let Some((mut request, length)) = read_head(&mut reader)? {
        let cut = handler.cut(&request);
        let wanted = cut.map_or(length, |cut| length.min(cut));
        request.body = vec![0; wanted];
        let arrived = read_body(&mut reader, &mut request.body);
        request.body.truncate(arrived);
        request.is_cut = cut.is_some() || arrived < length;
        let (is_cut, is_head) = (request.is_cut, request.method == "HEAD");
        let is_last = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let answer = handler.answer(request);
        let Some(answer) = answer.filter(|_| !is_cut) else { return Ok(()) };
        if !write_answer(connection, &answer, is_head)? || is_last {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads as much of the body as comes.
fn read_body(reader: &mut impl Read, body: &mut [u8]) -> usize {
    let mut arrived = 0;
    while arrived < body.len() {
        match reader.read(&mut body[arrived..]) {
            Ok(0) | Err(_) => break,
            Ok(count) => arrived += count,
        }
    }
    arrived
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<(Received, usize)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut request = Received { method, path: path.to_owned(), ..Received::default() };
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        request.query.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(Some((request, length)))
}

/// Whether the connection can be used again.
fn write_answer(mut connection: &TcpStream, answer: &Answer, is_head: bool) -> io::Result<bool> {
    let mut lines = vec![format!("HTTP/1.1 {} x", answer.status)];
    lines.extend(answer.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let says_its_length = |name: &str| matches!(name, "Content-Length" | "Transfer-Encoding");
    if !answer.headers.iter().any(|(name, _)| says_its_length(name)) && answer.status != 204 {
        lines.push(format!("Content-Length: {}", answer.length()));
    }
    connection.write_all((lines.join("\r\n") + "\r\n\r\n").as_bytes())?;
    if is_head {
        return Ok(true);
    }
    let mut sender = Sender {
        connection,
        pace: answer.pace,
        sent: &answer.sent,
        done: 0,
        left: answer.cut_after.map_or(u64::MAX, |cut| cut as u64),
    };
    sender.bytes(&answer.body)?;
    for part in &answer.parts {
        sender.part(part)?;
    }
    connection.flush()?;
    Ok(answer.cut_after.is_none())
}

/// Sends a body at its pace.
struct Sender<'a> {
    connection: &'a TcpStream,
    pace: Pace,
    sent: &'a AtomicU64,
    done: u64,
    /// Until the connection is to be cut.
    left: u64,
}

impl Sender<'_> {
    fn part(&mut self, part: &Part) -> io::Result<()> {
        match part {
            Part::Bytes(bytes) => self.bytes(bytes),
            Part::File { path, start, length } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*start))?;
                self.copy(&mut file, *length)
            }
            Part::Repeat { byte, length } => self.copy(&mut io::repeat(*byte), *length),
        }
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.pieces(bytes.len() as u64, |mut connection, piece| {
            let count = usize::try_from(piece).map_or(bytes.len(), |piece| piece.min(bytes.len()));
            let (now, later) = bytes.split_at(count);
            bytes = later;
            connection.write_all(now)?;
            Ok(count as u64)
        })
    }

    /// Of a file, the standard library lets the system copy from descriptor to descriptor.
    fn copy(&mut self, from: &mut impl Read, length: u64) -> io::Result<()> {
        self.pieces(length, |mut connection, piece| io::copy(&mut from.take(piece), &mut connection))
    }

    fn pieces(
        &mut self,
        length: u64,
        mut send: impl FnMut(&TcpStream, u64) -> io::Result<u64>,
    ) -> io::Result<()> {
        let mut wanted = length.min(self.left);
        while wanted > 0 {
            let count = send(self.connection, self.next_piece(wanted))?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.done += count;
            self.left -= count;
            wanted -= count;
            self.sent.fetch_add(count, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits as the pace wants, and tells how much may be sent then.
    fn next_piece(&self, wanted: u64) -> u64 {
        match self.pace {
            Pace::Full => wanted.min(PIECE),
            Pace::BytesPerSecond(bytes) => {
                if self.done > 0 {
                    thread::sleep(Duration::from_secs(1) / u32::try_from(PIECES_PER_SECOND).unwrap_or(1));
                }
                wanted.min((bytes / PIECES_PER_SECOND).max(1))
            }
            Pace::Pause { after, during } => {
                if self.done == after {
                    thread::sleep(during);
                }
                if self.done < after { wanted.min(PIECE).min(after - self.done) } else { wanted.min(PIECE) }
            }
        }
    }
}
