//! Services that call one another, each in workers of its own, with the real SDK.

use std::collections::BTreeSet;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::peers::{Venv, program};
use crate::support::serve::{Plan, Server};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HIDDEN: &str = r#"{"error":"An unexpected error has occurred, please check the server log."}"#;

/// Starts one of the services in testdata.
fn start(name: &str) -> Server {
    plan(name).start_ready()
}

fn plan(name: &str) -> Plan {
    let python = program(Venv::Sdk, "python").to_str().unwrap_or_default().to_owned();
    let service = include_str!("../../testdata/services/units.py");
    Plan::target(Some(&format!("service:{name}")))
        .file("service.py", service)
        .arguments(&["--python", &python])
}

#[test]
fn a_dependency_is_called_in_either_style() {
    let server = start("Outer");
    server.post("/plus_one", r#"{"x": 4}"#).expect(200, JSON, "9");
    server.post("/in_other_style", r#"{"x": 4}"#).expect(200, JSON, "8");
    server.post("/shout", r#"{"texts": ["a", "b", "c"]}"#).expect(200, JSON, r#"["A", "B", "C"]"#);
    let stream = server.post("/count", r#"{"n": 3}"#);
    assert_eq!((stream.status, stream.text(), stream.is_whole), (200, "0\n1\n2\n".to_owned(), true));
    // Thirty-two megabytes there and back.
    server.post("/large", r#"{"n": 4000000}"#).expect(200, JSON, "4000000.0");
    server.wait_for("the second worker", || {
        server.log().contains("[service:Inner:2] Service Inner initialized")
    });
}

/// The caller's client is told what the dependency said, once, and nothing of what only the log should have.
#[test]
fn errors_of_a_dependency_are_told_once() {
    let server = start("Outer");
    server.post("/missing", "{}").expect(404, JSON, r#"[{"error":"no such thing"}]"#);
    server.post("/broken", "{}").expect(500, JSON, HIDDEN);
    server.wait_for("cause", || server.log().contains("ValueError: a detail of the inner service"));
    let wrong = server.post("/wrong", "{}");
    assert_eq!((wrong.status, wrong.json()["detail"][0]["type"].as_str()), (400, Some("int_parsing")));
    server.post("/no_api", "{}").expect(500, JSON, HIDDEN);
    server.wait_for("cause", || server.log().contains("calling non-api method nothing is not allowed"));
    server.post("/would_block", r#"{"x": 1}"#).expect(500, JSON, HIDDEN);
    server.wait_for("advice", || server.log().contains("await its asynchronous form"));
}

#[test]
fn a_dependency_that_dies_is_started_again() {
    let server = start("Outer");
    let pid: i32 = server.post("/pid", "{}").text().parse().expect("a process number");
    let pid = Pid::from_raw(pid).expect("a process number");
    kill_process(pid, Signal::KILL).expect("the worker lives");
    server.wait_for("new workers", || server.log().matches("Service Inner initialized").count() >= 3);
    server.post("/plus_one", r#"{"x": 1}"#).expect(200, JSON, "3");
}

#[test]
fn the_entry_ends_before_what_it_calls() {
    let server = start("Outer");
    let call = server.post_later("/large", r#"{"n": 20000000}"#);
    server.wait_for("the call", || server.get("/metrics").text().contains("ekiben_calls_running"));
    let ended = server.stop(Signal::TERM).succeeded();
    assert_eq!(call.join().expect("the client lives").status, 200, "{}", ended.stdout);
}

#[test]
fn calls_at_the_same_time_are_one_batch() {
    let server = start("Merging");
    let calls: Vec<_> =
        (0..12).map(|n| server.post_later("/rows", &format!("{{\"data\": [[{n}, 0.5]]}}"))).collect();
    for (n, call) in calls.into_iter().enumerate() {
        call.join().expect("the client lives").expect(200, JSON, &format!("[{n}.5]"));
    }
    let sizes: Vec<u64> = serde_json::from_value(server.post("/seen", "{}").json()).expect("sizes");
    assert_eq!(sizes.iter().sum::<u64>(), 12, "{sizes:?}");
    assert!(sizes.len() < 8 && sizes.iter().all(|size| *size <= 8), "{sizes:?}");
    let page = server.get("/metrics").text();
    let sum = page
        .lines()
        .find(|line| line.starts_with("bentoml_service_adaptive_batch_size_sum{method_name=\"rows\""));
    assert!(sum.is_some_and(|line| line.ends_with(" 12.0")), "{page}");
}

/// Runtime contract 5.5, 4: upstream fails all calls of the batch.
#[test]
fn an_error_stays_with_the_call_that_caused_it() {
    let server = start("Merging");
    let calls: Vec<_> = [r#"["a"]"#, r#"["b", "c"]"#, r#"["bad"]"#, "[1]", r#"["d"]"#]
        .map(|texts| server.post_later("/texts", &format!("{{\"texts\": {texts}}}")))
        .into_iter()
        .map(|call| call.join().expect("the client lives"))
        .collect();
    calls[0].expect(200, JSON, r#"["A"]"#);
    calls[1].expect(200, JSON, r#"["B", "C"]"#);
    calls[2].expect(400, JSON, r#"[{"error":"a bad text"}]"#);
    assert_eq!(
        (calls[3].status, calls[3].json()["error"].as_str()),
        (400, Some("1 validation error for Input"))
    );
    calls[4].expect(200, JSON, r#"["D"]"#);
    let calls: Vec<_> = [1, -1, 2, 3]
        .map(|n| server.post_later("/rows", &format!("{{\"data\": [[{n}, 0]]}}")))
        .into_iter()
        .map(|call| call.join().expect("the client lives").status)
        .collect();
    assert_eq!(calls, [200, 500, 200, 200]);
}

/// Runtime contract 5.5, 3: upstream answers with the rows of others.
#[test]
fn a_batch_that_comes_back_short_is_an_error() {
    let server = start("Merging");
    server.post("/loses_rows", r#"{"data": [[1], [2]]}"#).expect(500, JSON, HIDDEN);
    server.wait_for("cause", || server.log().contains("got 2 items and returned 1"));
}

#[test]
fn more_rows_than_a_batch_has_are_computed_in_parts() {
    let server = start("Merging");
    let rows: Vec<String> = (0..20).map(|n| format!("[{n}, 1]")).collect();
    let expected: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
    let reply = server.post("/rows", &format!("{{\"data\": [{}]}}", rows.join(", ")));
    reply.expect(200, JSON, &format!("[{}]", expected.join(", ")));
    assert_eq!(server.post("/seen", "{}").text(), "[8, 8, 4]");
}

#[test]
fn other_dimensions_merge_too() {
    let server = start("Merging");
    let calls: Vec<_> = (1..5)
        .map(|n| server.post_later("/columns", &format!("{{\"data\": [[{n}, {n}], [1, 2]]}}")))
        .collect();
    for (n, call) in (1..5).zip(calls) {
        call.join().expect("the client lives").expect(200, JSON, &format!("[{}, {}]", n + 1, n + 2));
    }
}

/// Runtime contract 5.5, 5: upstream answers one call of six.
#[test]
fn a_model_slower_than_its_bound_still_answers_everybody() {
    let server = start("Merging");
    let calls: Vec<_> = (0..6).map(|n| server.post_later("/slow", &format!("{{\"data\": [{n}]}}"))).collect();
    let statuses: BTreeSet<u16> =
        calls.into_iter().map(|call| call.join().expect("the client lives").status).collect();
    assert_eq!(statuses, BTreeSet::from([200]));
}

/// A function may write into its rows; the calls of a batch that fails get theirs as they were.
#[test]
fn rows_may_be_written_into() {
    let server = start("Merging");
    server.post("/in_place", r#"{"data": [[1, 2]]}"#).expect(200, JSON, "[[2, 4]]");
    let calls: Vec<_> = [1, 2, -1, 3, 4]
        .map(|n| (n, server.post_later("/in_place", &format!("{{\"data\": [[{n}, 0]]}}"))))
        .into_iter()
        .map(|(n, call)| (n, call.join().expect("the client lives")))
        .collect();
    for (n, answer) in calls {
        if n < 0 {
            answer.expect(400, JSON, r#"[{"error":"negative"}]"#);
        } else {
            answer.expect(200, JSON, &format!("[[{}, 0]]", 2 * n));
        }
    }
}

/// The front writes an array as JSON only where the output would be just that.
#[test]
fn outputs_that_the_front_does_not_write_are_the_worker_s() {
    let server = start("Merging");
    let (read, unread) = (r#"{"data": [[1, 2]]}"#, r#"{"data": [[1, 2]], "other": 1}"#);
    server.post("/halves", read).expect(200, JSON, "[[1.0, 2.0]]");
    server.post("/declared", read).expect(200, "application/x-rows", "[[1, 2]]");
    server.post("/undeclared", read).expect(500, JSON, HIDDEN);
    for api in ["/halves", "/declared", "/undeclared"] {
        let (one, other) = (server.post(api, read), server.post(api, unread));
        assert_eq!((one.status, one.text()), (other.status, other.text()), "{api}");
    }
}

/// What the front reads by itself and what it leaves to the worker give the same answers.
#[test]
fn every_form_of_an_array_is_answered_alike() {
    let server = start("Merging");
    for (body, expected) in [
        (r#"{"data": [[1, 2]]}"#, "[3]"),
        (r#"{"data": [[1, 2.5]]}"#, "[3.5]"),
        (r#"{"data": [[1, 2]], "other": 1}"#, "[3]"),
        (r#"{ "data" : [ [ 1e3 , 2 ] ] }"#, "[1002.0]"),
        (r#"{"data": [[true, false]]}"#, "[1]"),
        (r#"{"data": [[9007199254740993, 0]]}"#, "[9007199254740993]"),
        (r#"{"data": [[0.1, 0.2]]}"#, "[0.30000000000000004]"),
        (r#"{"data": [[1e16, 0]]}"#, "[1e+16]"),
    ] {
        server.post("/rows", body).expect(200, JSON, expected);
    }
    let text = server.post("/rows", r#"{"data": [["a"]]}"#);
    assert_eq!(text.status, 500, "an array of texts is not less than a number");
    assert_eq!(server.post("/rows", r#"{"data": [[1], [2, 3]]}"#).status, 400);
    assert_eq!(server.post("/rows", r#"{"data": "#).status, 400);
    server.post("/plus", "{}").expect(404, TEXT, "Not Found");
}
