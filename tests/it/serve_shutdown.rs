//! `ekiben-serve`: the end of a server, and its duties as the entrypoint of an image.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::serve::{Plan, read_reply, request};

#[test]
fn a_server_finishes_what_it_has_begun() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Plan::fake("ok").start_ready();
        let port = server.port();
        // One runs and the others wait for its slot; all of them have been taken.
        let calls: Vec<_> = (0..4).map(|_| server.post_later("/sleep", "0.3")).collect();
        server.wait_for("calls", || {
            let page = server.get("/metrics").text();
            page.lines().any(|line| line.starts_with("ekiben_calls_waiting") && line.ends_with(" 3"))
        });
        let ended = server.stop(signal).succeeded();
        for call in calls {
            let reply = call.join().unwrap();
            assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        }
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        let drained = std::fs::read_to_string(ended.directory.path().join("drained")).unwrap();
        assert_eq!(drained, "yes\n");
    }
}

#[test]
fn idle_connections_do_not_hold_the_server() {
    let server = Plan::fake("ok").arguments(&["--timeout-keep-alive", "60"]).start_ready();
    let mut used = BufReader::new(server.connect());
    used.get_mut().write_all(&request("POST", "/echo", &[], b"1")).unwrap();
    assert_eq!(read_reply(&mut used, false).unwrap().text(), "1");
    let begun = Instant::now();
    let _ended = server.stop(Signal::TERM).succeeded();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(used.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn no_call_is_lost_while_the_server_ends_under_load() {
    let server = Plan::fake("ok").env("FAKE_SLOTS", "4").start_ready();
    let port = server.port();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut answered = 0;
                // Each call has its own connection: one that was taken must be answered.
                while let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    if stream.write_all(&request("POST", "/sleep", &[], b"0.01")).is_err() {
                        break;
                    }
                    match read_reply(&mut BufReader::new(stream), false) {
                        Some(reply) => {
                            assert_eq!((reply.status, reply.is_whole), (200, true));
                            answered += 1;
                        }
                        // The kernel had taken the connection, but the server had closed its port.
                        None => break,
                    }
                }
                answered
            })
        })
        .collect();
    let done = |line: &str| {
        let count = line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
        line.starts_with("bentoml_service_request_total{endpoint=\"/sleep\",http_response_code=\"200\"")
            && count.is_some_and(|count| count > 50.0)
    };
    server.wait_for("load", || server.get("/metrics").text().lines().any(done));
    let ended = server.stop(Signal::TERM).succeeded();
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let logged =
        ended.stdout.lines().filter(|line| line.contains("path=/sleep") && line.contains("(status=200"));
    assert_eq!(logged.count(), answered, "{}", ended.stdout);
    assert!(!ended.stdout.contains("(status=499"), "{}", ended.stdout);
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let server = Plan::fake("ok").start_ready();
    let call = server.post_later("/sleep", "20");
    server.wait_for("call", || {
        let page = server.get("/metrics").text();
        page.lines().any(|line| line.starts_with("ekiben_calls_running") && line.ends_with(" 1"))
    });
    server.signal(Signal::INT);
    let port = server.port();
    server.wait_for("closed port", || TcpStream::connect(("127.0.0.1", port)).is_err());
    let begun = Instant::now();
    let message = server.stop(Signal::INT).failed(1);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(message.contains("stopped by a second signal before all requests were finished"), "{message}");
    assert_eq!(call.join().unwrap().status, 503);
}

#[test]
fn a_graceful_shutdown_has_a_limit_when_given_one() {
    let server = Plan::fake("ok").arguments(&["--timeout-graceful-shutdown", "1"]).start_ready();
    let call = server.post_later("/sleep", "20");
    server.wait_for("call", || {
        let page = server.get("/metrics").text();
        page.lines().any(|line| line.starts_with("ekiben_calls_running") && line.ends_with(" 1"))
    });
    let begun = Instant::now();
    let ended = server.stop(Signal::TERM).succeeded();
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(8), "{took:?}");
    assert!(ended.stdout.contains("the time for a graceful shutdown is over"), "{}", ended.stdout);
    assert_eq!(call.join().unwrap().status, 503);
}

#[test]
fn workers_end_with_a_server_that_was_killed() {
    let server = Plan::fake("ok").start_ready();
    let pid = server.post("/sleep", "0").json()["pid"].as_u64().unwrap();
    let ended = server.stop(Signal::KILL);
    assert_eq!(ended.code, None);
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "the worker still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_log_that_nobody_reads_holds_neither_calls_nor_the_end() {
    let server = Plan::fake("ok").start_unread();
    let long = "x".repeat(8000);
    for _ in 0..60 {
        assert_eq!(server.post(&format!("/echo?{long}"), "{}").status, 200);
        assert_eq!(server.get(&format!("/{long}")).status, 404);
    }
    let begun = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.wait_code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// A plan with the environment of an image.
fn image(target: Option<&str>) -> Plan {
    let plan = match target {
        Some(target) => Plan::fake_in(target),
        None => Plan::fake_anywhere(),
    };
    let bento = plan.path().join("bento");
    plan.file("bento/bento.yaml", "name: iris\nversion: v7\nservice: service:Iris\n")
        .file("bento/src/service.py", "")
        .env("BENTO_PATH", bento.to_str().unwrap())
        .env("BENTOML_CONTAINERIZED", "true")
}

#[test]
fn an_image_serves_its_bento() {
    for words in [None, Some("serve"), Some("serve-http")] {
        let server = image(words).start_ready();
        assert!(server.log().contains("from \"iris:v7\" listening on http://localhost:"), "{}", server.log());
        let _ended = server.stop(Signal::TERM).succeeded();
    }
}

#[test]
fn an_image_runs_other_commands() {
    let ended = image(None).arguments(&["sh", "-c", "echo $BENTO_PATH; exit 7"]).run();
    assert_eq!(ended.code, Some(7));
    assert!(ended.stdout.ends_with("/bento\n"), "{}", ended.stdout);
    let message = image(None).arguments(&["no-such-command"]).run().failed(1);
    assert!(message.contains("cannot run `no-such-command`: No such file or directory"), "{message}");
}

#[test]
fn platforms_choose_the_port() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let server =
        image(None).env("PORT", &port).env("BENTOML_PORT", "1").env("BENTOML_HOST", "127.0.0.1").spawn();
    server.wait_for("banner", || server.log().contains(&format!("listening on http://127.0.0.1:{port} ")));
    let _ended = server.stop(Signal::TERM).succeeded();
}
