//! `ekiben-serve` for long: workers that are killed at random, workers that leak, and memory that must not grow.
//!
//! How long each goes on is an environment variable (tests/README.md).

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ekiben::env::Environment;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::peers::{Venv, program};
use crate::support::serve::{PATIENCE, Plan, Server, read_reply, request};

/// How long workers are killed, and its variable.
const KILLING: (&str, u64) = ("EKIBEN_TEST_KILL_SECONDS", 10);

/// How long memory is watched, and its variable.
const WATCHING: (&str, u64) = ("EKIBEN_TEST_LOAD_SECONDS", 10);

/// The longest time between two kills, in milliseconds; half a second on average.
const KILL_WITHIN: u64 = 1000;

/// The longest that any answer may take while workers are started again.
const NO_HANG: Duration = Duration::from_secs(10);

/// How many clients call.
const CLIENTS: u64 = 6;

/// How long speed is measured.
const SPELL: Duration = Duration::from_secs(2);

/// Memory that may be added without being a leak, in KiB.
const BREATHING: u64 = 12 * 1024;

fn seconds((variable, default): (&str, u64)) -> Duration {
    let environment = Environment::of_process();
    let found = environment.text(variable).map(|text| text.parse().unwrap());
    Duration::from_secs(found.unwrap_or(default))
}

/// The server's workers; children of theirs are not among them.
fn workers(server: &Server) -> Vec<Pid> {
    let pid = server.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// What a process holds in memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What came of the calls of one client.
#[derive(Default)]
struct Tally {
    statuses: BTreeMap<u16, u64>,
    slowest: Duration,
    /// Answers that were not those of their calls.
    wrong: Vec<String>,
}

/// Clients that call again and again, each on a connection of its own for as long as that holds.
struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    fn start(
        server: &Server,
        path: &'static str,
        body: impl Fn(u64) -> String + Clone + Send + 'static,
    ) -> Self {
        let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let port = server.port();
        let client = |client| {
            let (is_over, answered, body) = (Arc::clone(&is_over), Arc::clone(&answered), body.clone());
            std::thread::spawn(move || {
                let mut tally = Tally::default();
                let mut stream: Option<BufReader<TcpStream>> = None;
                let mut number = client;
                while !is_over.load(Ordering::Relaxed) {
                    number += CLIENTS;
                    let (begun, text) = (Instant::now(), body(number));
                    let connection = stream.take().unwrap_or_else(|| connect(port));
                    let (status, answer) = call(connection, path, &text, &mut stream);
                    *tally.statuses.entry(status).or_default() += 1;
                    tally.slowest = tally.slowest.max(begun.elapsed());
                    if status == 200 {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    if status == 200 && path == "/echo" && answer != text.as_bytes() {
                        tally.wrong.push(format!("{text} -> {}", String::from_utf8_lossy(&answer)));
                    }
                }
                tally
            })
        };
        Self { clients: (0..CLIENTS).map(client).collect(), is_over, answered }
    }

    /// Answers in a second, measured now.
    fn speed(&self) -> f64 {
        let (before, begun) = (self.answered.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(SPELL);
        let count = self.answered.load(Ordering::Relaxed) - before;
        f64::from(u32::try_from(count).unwrap()) / begun.elapsed().as_secs_f64()
    }

    fn end(self) -> Tally {
        self.is_over.store(true, Ordering::Relaxed);
        self.clients.into_iter().fold(Tally::default(), |mut all, client| {
            let one = client.join().unwrap();
            for (status, count) in one.statuses {
                *all.statuses.entry(status).or_default() += count;
            }
            all.slowest = all.slowest.max(one.slowest);
            all.wrong.extend(one.wrong);
            all
        })
    }
}

fn connect(port: u16) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

/// Makes a call, and keeps the connection when it can be used again; 0 is no answer.
fn call(
    mut connection: BufReader<TcpStream>,
    path: &str,
    body: &str,
    keep: &mut Option<BufReader<TcpStream>>,
) -> (u16, Vec<u8>) {
    let message = request("POST", path, &[("content-type", "application/json")], body.as_bytes());
    if connection.get_mut().write_all(&message).is_err() {
        return (0, Vec::new());
    }
    match read_reply(&mut connection, false) {
        Some(reply) => {
            *keep = Some(connection);
            (reply.status, reply.body)
        }
        None => (0, Vec::new()),
    }
}

/// Kills a worker now and then for as long as is said; returns how many.
fn kill_at_random(server: &Server, duration: Duration) -> u64 {
    let random = RandomState::new();
    let (begun, mut kills) = (Instant::now(), 0);
    while begun.elapsed() < duration {
        std::thread::sleep(Duration::from_millis(random.hash_one((kills, "when")) % KILL_WITHIN));
        let workers = workers(server);
        if workers.is_empty() {
            continue;
        }
        let which = usize::try_from(random.hash_one((kills, "which")) % workers.len() as u64).unwrap();
        // One that has died since then is as good as killed.
        let _ = kill_process(workers[which], Signal::KILL);
        kills += 1;
    }
    kills
}

/// No answer is late, wrong, or an error that no kill accounts for, and the speed comes back.
#[test]
fn workers_that_are_killed_at_random_cost_their_own_calls_alone() {
    let server = Plan::fake("ok")
        .env("FAKE_SLOTS", "4")
        .config(&json!({"workers": 2, "logging": {"access": {"enabled": false}}}))
        .start_ready();
    let both = |server: &Server| server.get("/metrics").text().contains("state=\"ready\"} 2");
    server.wait_for("both workers", || both(&server));
    let load = Load::start(&server, "/echo", |number| format!("{{\"number\": {number}}}"));
    let before = load.speed();
    let kills = kill_at_random(&server, seconds(KILLING));
    server.wait_for("both workers", || both(&server));
    let mut after = 0.0_f64;
    server.wait_for("full speed", || {
        after = after.max(load.speed());
        after > before * 0.6
    });
    let Tally { statuses, slowest, wrong } = load.end();
    let report =
        format!("{kills} kills, {statuses:?}, slowest {slowest:?}, {before:.0}/s before, {after:.0}/s after");
    tell(&server, &report);
    assert_eq!(wrong, [""; 0], "{report}");
    assert!(statuses.keys().all(|status| [200, 503].contains(status)), "{report}");
    assert!(kills >= 5 && statuses[&200] > 500, "{report}");
    assert!(slowest < NO_HANG, "{report}");
    // A kill costs at most what runs on its worker: every client has one call.
    let lost = statuses.get(&503).copied().unwrap_or(0);
    assert!(lost <= kills * CLIENTS, "{report}");
    let _ended = server.stop(Signal::TERM).succeeded();
}

/// Writes a line that `--nocapture` shows.
fn tell(server: &Server, text: &str) {
    let mut line = String::new();
    let _ = writeln!(line, "server {}: {text}", server.pid());
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[test]
fn a_worker_that_leaks_is_replaced_and_no_call_is_lost() {
    let config = json!({"workers": 1, "worker_memory_limit": "80Mi"});
    let server = Plan::fake("ok").env("FAKE_SLOTS", "2").config(&config).start_ready();
    let first = workers(&server);
    let load = Load::start(&server, "/leak", |_| {
        std::thread::sleep(Duration::from_millis(50));
        "1".to_owned()
    });
    let replaced = |count: u64| {
        let page = server.get("/metrics").text();
        let line = page.lines().find(|line| line.starts_with("ekiben_worker_replacements_total")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap() >= count
    };
    let mut seen: BTreeSet<i32> = BTreeSet::new();
    server.wait_for("replacements", || {
        seen.extend(workers(&server).iter().map(|pid| pid.as_raw_nonzero().get()));
        replaced(3)
    });
    let Tally { statuses, wrong, .. } = load.end();
    assert_eq!(wrong, [""; 0]);
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
    assert!(seen.len() >= 3, "{seen:?}");
    let log = server.log();
    let line = "[entry_service:Fake:1] the worker holds ";
    assert!(
        log.contains(line) && log.contains("more than `worker_memory_limit` (80 MiB): it is being replaced"),
        "{log}"
    );
    assert!(!log.contains("the worker died"), "{log}");
    // Those that were replaced have finished and ended.
    server.wait_for("one worker", || workers(&server).len() == 1);
    assert_ne!(workers(&server), first);
    let drained = server.directory().join("drained");
    assert!(std::fs::read_to_string(drained).unwrap().lines().count() >= 2);
    let _ended = server.stop(Signal::TERM).succeeded();
}

/// A limit that no worker can keep must not be a reason to start workers for ever.
#[test]
fn a_limit_that_every_worker_breaks_is_told_and_left_alone() {
    let server = Plan::fake("ok").arguments(&["--worker-memory-limit", "1Mi"]).start_ready();
    server.wait_for("warning", || server.log().contains("it is left alone"));
    let before = workers(&server);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(workers(&server), before);
    assert_eq!(server.post("/echo", "{}").status, 200);
    let wrong = Plan::fake("ok").env("EKIBEN_WORKER_MEMORY_LIMIT", "much").run().failed(1);
    assert!(wrong.contains("`worker_memory_limit` must be an amount of memory"), "{wrong}");
}

/// A worker that its successor cannot follow serves on.
#[test]
fn a_worker_is_kept_while_its_successor_fails() {
    let server = Plan::fake("once").config(&json!({"worker_memory_limit": "60Mi"})).start_ready();
    let before = workers(&server);
    assert_eq!(server.post("/leak", "80").status, 200);
    server.wait_for("failure", || server.log().matches("No module named 'nothing'").count() >= 2);
    assert_eq!(server.post("/echo", "{}").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    assert!(workers(&server).contains(&before[0]), "{before:?}");
    let _ended = server.stop(Signal::TERM).succeeded();
}

const SERVICE: &str = r#"
import bentoml
import numpy as np


@bentoml.service(threads=2)
class Mixed:
    @bentoml.api
    def repeat(self, number: int, text: str = "") -> dict:
        if number % 7 == 0:
            raise bentoml.exceptions.InvalidArgument("a seventh")
        return {"number": number, "text": text}

    @bentoml.api
    def sums(self, data: np.ndarray) -> np.ndarray:
        return data.sum(axis=1)
"#;

/// What a front and its worker hold after a tenth of the time is what they hold at its end.
#[test]
fn memory_is_flat_under_load() {
    let python = program(Venv::Sdk, "python").to_str().unwrap().to_owned();
    let server = Plan::target(Some("service:Mixed"))
        .file("service.py", SERVICE)
        .arguments(&["--python", &python])
        .start_ready();
    let worker = workers(&server)[0].as_raw_nonzero().get().unsigned_abs();
    let repeats = Load::start(&server, "/repeat", |number| {
        format!(
            "{{\"number\":{number},\"text\":\"{}\"}}",
            "x".repeat(usize::try_from(number % 5000).unwrap())
        )
    });
    let sums = Load::start(&server, "/sums", |number| {
        let row = format!("[{}]", vec!["0.5"; 64].join(","));
        format!("{{\"data\":[{}]}}", vec![row; usize::try_from(1 + number % 100).unwrap()].join(","))
    });
    let duration = seconds(WATCHING);
    std::thread::sleep(duration / 10 + Duration::from_secs(2));
    let held = || (resident(server.pid()), resident(worker));
    let (front_before, worker_before) = held();
    std::thread::sleep(duration * 9 / 10);
    let (front_after, worker_after) = held();
    let (repeated, summed) = (repeats.end(), sums.end());
    let report = format!(
        "front {front_before} -> {front_after} KiB, worker {worker_before} -> {worker_after} KiB, {:?}, {:?}",
        repeated.statuses, summed.statuses
    );
    tell(&server, &report);
    assert!(summed.statuses.keys().all(|status| *status == 200), "{report}");
    assert!(repeated.statuses.keys().all(|status| [200, 400].contains(status)), "{report}");
    assert!(front_after < front_before + BREATHING, "{report}");
    assert!(worker_after < worker_before + BREATHING, "{report}");
    let _ended = server.stop(Signal::TERM).succeeded();
}
