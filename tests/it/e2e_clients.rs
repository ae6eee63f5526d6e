//! Clients: upstream's and ours, each against upstream's server and ours. The same calls give the same values and errors.

use serde_json::{Value, json};

use crate::support::context::TestContext;
use crate::support::parity::Both;
use crate::support::peers::{Venv, program};

const SERVICE: &str = include_str!("../../testdata/services/clients/service.py");
const CALLS: &str = include_str!("../../testdata/services/clients/calls.py");
const OLD_SERVICE: &str = include_str!("../../testdata/services/old_clients/service.py");
const OLD_CALLS: &str = include_str!("../../testdata/services/old_clients/calls.py");

/// What both clients print.
const COMPARED: &[(&str, &[&str])] = &[
    ("sync", &["ready", "calls", "attributes"]),
    ("async", &["before", "ready", "calls", "attributes", "tasks"]),
];

/// Runs the calls with the client of an environment.
fn calls(context: &TestContext, script: &str, venv: Venv, url: &str) -> Value {
    std::fs::write(context.work().join("calls.py"), script).expect("the directory is there");
    // Upstream warns of what it will remove.
    context.command(&program(venv, "python")).args(["calls.py", url]).any_stderr().run().json()
}

#[test]
fn clients_and_servers_can_be_exchanged() {
    let both = Both::serve(SERVICE, "service:Clients");
    let url = |port| format!("http://127.0.0.1:{port}");
    let (upstream, ekiben) = (url(both.upstream_port()), url(both.ekiben.port()));
    let calls = |venv, url: &str| calls(both.context(), CALLS, venv, url);
    let expected = calls(Venv::Upstream, &upstream);
    let same_client = calls(Venv::Upstream, &ekiben);
    let same_server = calls(Venv::Sdk, &upstream);
    let ours = calls(Venv::Sdk, &ekiben);
    for (style, sections) in COMPARED {
        for section in *sections {
            let expected = &expected[style][section];
            assert!(!expected.is_null(), "{style} {section}");
            for (name, found) in
                [("upstream's client", &same_client), ("upstream's server", &same_server), ("ours", &ours)]
            {
                expect_same(expected, &found[style][section], &format!("{name}: {style} {section}"));
            }
        }
    }
    for (style, section) in [("sync", "tasks"), ("sync", "ours"), ("async", "ours")] {
        expect_same(&same_server[style][section], &ours[style][section], section);
    }
    // Both servers are equal; a few values, so that they are not equally wrong.
    let ours = &ours["sync"];
    assert_eq!(ours["calls"]["array"], json!(["array", "float32", [[2.0, 3.0], [4.0, 5.0]]]));
    assert_eq!(ours["calls"]["dict stream"], json!(["list", "[{'i': 0}, {'i': 1}]"]));
    assert_eq!(ours["calls"]["token"], json!(["str", "'Bearer s3cret'"]));
    assert_eq!(ours["ours"]["made image"], json!(["Image", "PNG", [1, 3], [0, 0, 0]]));
    assert_eq!(ours["tasks"]["done"], json!(["COMPLETED", ["array", "int64", [4, 16]]]));
}

#[test]
fn the_older_clients_and_servers_can_be_exchanged() {
    let both = Both::serve(OLD_SERVICE, "service:svc");
    let url = |port| format!("127.0.0.1:{port}");
    let (upstream, ekiben) = (url(both.upstream_port()), url(both.ekiben.port()));
    let calls = |venv, url: &str| calls(both.context(), OLD_CALLS, venv, url);
    let expected = calls(Venv::Upstream, &upstream);
    assert_eq!(expected, calls(Venv::Upstream, &ekiben), "upstream's client, our server");
    assert_eq!(expected, calls(Venv::Sdk, &upstream), "our client, upstream's server");
    assert_eq!(expected, calls(Venv::Sdk, &ekiben), "our client, our server");
    assert_eq!(expected["sync"]["calls"]["image"], json!(["Image", [2, 4], [255, 0, 0]]));
    assert_eq!(expected["async"]["calls"]["form"], json!(["dict", "{'l': [1, 2]}"]));
}

/// Compares what upstream's client printed with what another did, which may have more.
fn expect_same(expected: &Value, found: &Value, what: &str) {
    let Some(members) = expected.as_object() else {
        assert_eq!(expected, found, "{what}");
        return;
    };
    assert!(!members.is_empty(), "{what}");
    for (name, expected) in members {
        assert_eq!(expected, &found[name], "{what}: {name}");
    }
}
