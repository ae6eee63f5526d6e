//! Inputs, outputs, errors and tasks: one project served by ekiben and by upstream, the same requests to both, the same
//! answers. Where ekiben means to answer otherwise, the case names the difference, and `docs/sdk/differences.md` explains it.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::parity::{Answers, Both};
use crate::support::peers::{Venv, program};
use crate::support::serve::{Plan, Reply, Server};

const IO: &str = include_str!("../../testdata/services/io/service.py");
const MOUNTS: &str = include_str!("../../testdata/services/mounts/service.py");
const JOBS: &str = include_str!("../../testdata/services/jobs/service.py");
const DIFFERENCES: &str = include_str!("../../docs/sdk/differences.md");

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=xx-yy";

/// The headers that clients act on. Those of the transport, of time and of identity differ for every answer.
const COMPARED: &[&str] = &[
    "content-type",
    "content-disposition",
    "accept-ranges",
    "etag",
    "last-modified",
    "x-made",
    "x-own",
    "x-name",
    "server",
];

/// One request, and what is said about its answers.
struct Case {
    name: &'static str,
    path: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
    /// The difference's name, upstream's status, ours, and a part of our body.
    difference: Option<(&'static str, u16, u16, &'static str)>,
}

impl Case {
    /// Expects the two answers to differ in a way that is explained.
    fn differs(mut self, name: &'static str, theirs: u16, ours: u16, part: &'static str) -> Self {
        self.difference = Some((name, theirs, ours, part));
        self
    }
}

fn case(
    name: &'static str,
    path: &'static str,
    content_type: &'static str,
    body: impl Into<Vec<u8>>,
) -> Case {
    Case { name, path, content_type, body: body.into(), difference: None }
}

fn json_case(name: &'static str, path: &'static str, body: &str) -> Case {
    case(name, path, JSON, body)
}

fn form(name: &'static str, path: &'static str, parts: &[Vec<u8>]) -> Case {
    case(name, path, MULTIPART, [parts.concat(), b"--xx-yy--\r\n".to_vec()].concat())
}

fn field(name: &str, value: &str) -> Vec<u8> {
    format!("--xx-yy\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes()
}

fn file(name: &str, filename: &str, media_type: &str, content: &[u8]) -> Vec<u8> {
    let mut head =
        format!("--xx-yy\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\n");
    if !media_type.is_empty() {
        write!(head, "Content-Type: {media_type}\r\n").unwrap();
    }
    [head.as_bytes(), b"\r\n", content, b"\r\n"].concat()
}

fn note(name: &str, filename: &str) -> Vec<u8> {
    file(name, filename, "text/plain", b"hello")
}

fn path_cases() -> Vec<Case> {
    vec![
        form("path", "/path", &[note("f", "notes.txt")]),
        form("path, asynchronous", "/path_async", &[note("f", "notes.txt")]),
        form("path without a type", "/path", &[file("f", "notes.txt", "", b"hello")]),
        form("path with directories", "/path", &[note("f", "../../etc/notes.txt")]),
        form("path, twice", "/path", &[note("f", "one12.txt"), note("f", "two12.txt")]),
        form("path, empty", "/path", &[file("f", "empty.txt", "text/plain", b"")]),
        form("path, missing", "/path", &[note("g", "notes.txt")]),
        json_case("path in JSON", "/path", r#"{"f": "/etc/passwd"}"#),
        json_case("path in no JSON", "/path", "{}"),
        form("path as text", "/path", &[field("f", "no URL")]).differs(
            "text-for-a-file",
            500,
            400,
            "path_type",
        ),
        form("path as private URL", "/path", &[field("f", "http://127.0.0.1:1/x")]).differs(
            "url-inputs",
            500,
            400,
            r#"[{"error":"Connection blocked due to insecure input URL"}]"#,
        ),
        case("path as private URL in a form", "/path", FORM, "f=http%3A%2F%2F169.254.169.254%2Fx").differs(
            "url-inputs",
            500,
            400,
            "insecure input URL",
        ),
        form("typed path", "/path_typed", &[file("f", "sound.mp3", "audio/mpeg", b"x")]),
        form("typed path of another type", "/path_typed", &[note("f", "notes.txt")]),
        form("paths", "/path_list", &[note("files", "one12.txt"), note("files", "two12.txt")]),
        form("one path of many", "/path_list", &[note("files", "one12.txt")]),
        case("root path", "/path_root", "text/plain", "hello"),
        case("root path, octets", "/path_root", "application/octet-stream", b"\x00\xff".as_slice()),
        case("root path, JSON", "/path_root", JSON, "{\"a\": 1}"),
        case("root path, empty", "/path_root", "text/plain", "").differs(
            "empty-root",
            200,
            200,
            "\"content\": \"\"",
        ),
        case("root path, form", "/path_root", FORM, "a=1").differs(
            "root-forms",
            400,
            200,
            "\"content\": \"a=1\"",
        ),
        form("root path, multipart", "/path_root", &[note("whatever", "notes.txt")]).differs(
            "root-forms",
            400,
            200,
            "\"content\": \"hello\"",
        ),
        case("root path, URL", "/path_root", "text/plain", "http://10.0.0.1/").differs(
            "url-inputs",
            500,
            400,
            "insecure input URL",
        ),
        case("typed root path", "/path_root_typed", "text/plain", "hello"),
        form(
            "mixed",
            "/mixed",
            &[
                note("f", "notes.txt"),
                field("n", "7"),
                field("text", "some text"),
                field("tags", r#"["a", "b"]"#),
                field("note", r#"{"a": 1}"#),
            ],
        ),
        form("mixed, missing", "/mixed", &[note("f", "notes.txt"), field("n", "x")]),
        form("model with a file", "/letter", &[note("attachment", "notes.txt"), field("text", "t")]),
        form("model with a missing file", "/letter", &[field("text", "t")]),
    ]
}

fn image_cases(png: &[u8], jpeg: &[u8]) -> Vec<Case> {
    let image = |media_type: &str, content: &[u8]| file("image", "i.bin", media_type, content);
    vec![
        form("image", "/image", &[image("image/png", png)]),
        form("image without a type", "/image", &[image("", jpeg)]),
        form("image of octets", "/image", &[image("application/octet-stream", jpeg)]),
        form("image of another type", "/image", &[image("image/jpeg", png)]).differs(
            "undecodable-images",
            500,
            400,
            "not an image of type image/jpeg",
        ),
        form("no image", "/image", &[image("image/png", b"hello")]).differs(
            "undecodable-images",
            500,
            400,
            "image_parsing",
        ),
        form("broken image", "/image", &[image("image/png", &png[..png.len() - 30])]).differs(
            "undecodable-images",
            500,
            400,
            "Cannot decode the image",
        ),
        json_case("image in JSON", "/image", r#"{"image": "x"}"#).differs(
            "undecodable-images",
            500,
            400,
            "image_type",
        ),
        json_case("image, missing", "/image", "{}"),
        form(
            "images",
            "/image_list",
            &[file("images", "a", "image/png", png), file("images", "b", "image/jpeg", jpeg)],
        ),
        form("optional image", "/image_optional", &[image("image/png", png)]),
        json_case("optional image, absent", "/image_optional", "{}"),
        case("root image", "/image_root", "image/png", png),
        case("root image of another type", "/image_root", "image/jpeg", png),
        case("no root image", "/image_root", "image/png", "hello").differs(
            "undecodable-images",
            500,
            400,
            "image_parsing",
        ),
        form("root image, multipart", "/image_root", &[image("image/png", png)]).differs(
            "root-forms",
            500,
            200,
            "\"PNG\"",
        ),
        form("image to image", "/flipped", &[image("image/jpeg", jpeg)]),
    ]
}

fn value_cases() -> Vec<Case> {
    vec![
        json_case("bytes", "/raw", r#"{"data": "abc"}"#),
        form("bytes, part", "/raw", &[field("data", "abc")]),
        case("bytes, root", "/raw_root", "application/octet-stream", b"\x00\x01\xff".as_slice()),
        case("text, root", "/text_root", "text/plain", "\"quoted\""),
        json_case("text of another type", "/text_root", "1"),
        json_case("model", "/note", r#"{"note": {"a": 1.5}}"#),
        json_case("model, unknown type", "/note", r#"{"note": {"a": 1.5}, "extra": 1}"#),
        case("JSON without saying so", "/note", "text/csv", r#"{"note": {"a": 1.5}}"#),
        json_case("model, root", "/note_root", r#"{"a": 1.5, "b": "4"}"#),
        json_case("model, root, empty", "/note_root", ""),
        json_case("dataclass", "/point", r#"{"point": {"x": 1, "y": 2}}"#),
        json_case("dataclass, wrong", "/point", r#"{"point": {"x": "a"}}"#),
        json_case("default of a root", "/default_root", "{}"),
        json_case("default of a root, given", "/default_root", "7"),
        json_case("keywords", "/keywords", r#"{"a": 1, "kwargs": {"z": 2}}"#),
        json_case("limits", "/limits", r#"{"n": 11, "kind": "z"}"#),
        case("limits, form", "/limits", FORM, "n=4&kind=y"),
        json_case("array", "/array", r#"{"x": [1, 2, 3, 4]}"#),
        json_case("array, ragged", "/array", r#"{"x": [[1], [2, 3]]}"#),
        json_case("frame of rows", "/frame", r#"{"df": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}"#),
        json_case("frame of columns", "/frame", r#"{"df": {"a": [1, 2], "b": [3, 4]}}"#),
        json_case("frame, wrong", "/frame", r#"{"df": {"a": [1, 2], "b": [3]}}"#),
        json_case("declared frame", "/frame_columns", r#"{"df": {"a": [1, 2], "b": [3, 4]}}"#),
        json_case("root frame", "/frame_root", r#"[{"a": 1}]"#),
        json_case("no JSON", "/note", "{a"),
        json_case("no object", "/note", "[1]"),
        json_case("empty", "/note", ""),
        case("pickle", "/note", "application/vnd.bentoml+pickle", "x"),
    ]
}

fn output_cases() -> Vec<Case> {
    let plain = |name, path| json_case(name, path, "{}");
    vec![
        plain("text file", "/out_text"),
        plain("picture file", "/out_picture"),
        plain("file without a type", "/out_nameless"),
        plain("file of a declared type", "/out_declared"),
        plain("file of a foreign name", "/out_foreign"),
        plain("large file", "/out_large"),
        plain("file without annotation", "/out_unannotated"),
        plain("file with context", "/out_context"),
        plain("missing file", "/out_missing").differs("missing-files", 500, 500, "check the server log"),
        plain("new image", "/out_image"),
        json_case("new image of a format", "/out_image", r#"{"form": "JPEG"}"#),
        form("model with a file as output", "/out_letter", &[note("f", "notes.txt")]),
        plain("HTML", "/out_html"),
        plain("response", "/out_response"),
        plain("JSON response", "/out_json_response"),
        plain("file response", "/out_file_response"),
        plain("streaming response", "/out_streaming_response"),
        plain("items", "/out_items"),
        plain("lines", "/out_lines"),
        plain("value of another type", "/out_wrong").differs(
            "invalid-outputs",
            400,
            500,
            "check the server log",
        ),
        plain("late", "/slow"),
        json_case("fails: bad", "/fail", r#"{"how": "bad"}"#),
        json_case("fails: forbidden", "/fail", r#"{"how": "forbidden"}"#),
        json_case("fails: busy", "/fail", r#"{"how": "busy"}"#),
        json_case("fails: value", "/fail", r#"{"how": "value"}"#),
        json_case("fails: HTTP", "/fail", r#"{"how": "http"}"#),
    ]
}

/// What of an answer has to be the same.
fn facts(reply: &Reply) -> Vec<String> {
    let mut facts = vec![reply.status.to_string()];
    let headers = COMPARED.iter().map(|name| format!("{name}: {}", reply.header(name).unwrap_or("-")));
    facts.extend(headers);
    // A set of methods has no order.
    facts.push(
        reply
            .header("allow")
            .map(|methods| methods.split(", ").collect::<BTreeSet<_>>())
            .map_or_else(String::new, |methods| format!("{methods:?}")),
    );
    facts.push(String::from_utf8_lossy(&reply.body).chars().take(2000).collect());
    facts.push(format!("{} bytes", reply.body.len()));
    facts
}

fn check(case: &Case, Answers { ours, theirs }: &Answers, failures: &mut Vec<String>) {
    let as_meant = match case.difference {
        None => facts(ours) == facts(theirs),
        Some((_, their_status, our_status, part)) => {
            let is_other = facts(ours) != facts(theirs);
            is_other
                && (theirs.status, ours.status) == (their_status, our_status)
                && String::from_utf8_lossy(&ours.body).contains(part)
        }
    };
    if !as_meant {
        failures.push(format!("{}:\n  ours   {:?}\n  theirs {:?}", case.name, facts(ours), facts(theirs)));
    }
}

#[test]
fn every_kind_of_input_and_output_is_answered_as_upstream_does() {
    let both = Both::serve(IO, "service:Io");
    let image = |form: &str| both.upstream("POST", "/out_image", &[("content-type", JSON)], form.as_bytes());
    let (png, jpeg) = (image("{}"), image(r#"{"form": "JPEG"}"#));
    assert_eq!(
        (png.header("content-type"), jpeg.header("content-type")),
        (Some("image/png"), Some("image/jpeg"))
    );
    let mut failures = Vec::new();
    let cases = [path_cases(), image_cases(&png.body, &jpeg.body), value_cases(), output_cases()];
    for case in cases.iter().flatten() {
        let answers = both.ask("POST", case.path, &[("content-type", case.content_type)], &case.body);
        check(case, &answers, &mut failures);
    }
    assert!(failures.is_empty(), "{} of them:\n{}", failures.len(), failures.join("\n"));
    files_of_a_request_are_removed(&both);
    assert_eq!(by_route(&both, "/schema.json", "routes"), [Value::Null, Value::Null]);
    documents_agree(&both, &[]);
}

fn files_of_a_request_are_removed(both: &Both) {
    let body = [note("f", "notes.txt"), b"--xx-yy--\r\n".to_vec()].concat();
    let kept = both.ask("POST", "/kept", &[("content-type", MULTIPART)], &body);
    for (server, paths) in [("ours", kept.ours.json()), ("theirs", kept.theirs.json())] {
        let question = json!({ "paths": paths }).to_string();
        let answers = both.ask("POST", "/exist", &[("content-type", JSON)], question.as_bytes());
        assert_eq!(answers.ours.text(), "[false, false]", "{server}: {paths}");
    }
}

/// The two documents, or null where they agree; a list is compared by the names of its members.
fn by_route(both: &Both, path: &str, list: &str) -> [Value; 2] {
    let answers = both.ask("GET", path, &[], b"");
    let documents = [answers.ours.json(), answers.theirs.json()];
    if documents[0] == documents[1] {
        return [Value::Null, Value::Null];
    }
    let [ours, theirs] = documents.map(|document| document[list].as_array().cloned().unwrap_or_default());
    let differing: Vec<usize> =
        (0..ours.len().max(theirs.len())).filter(|&i| ours.get(i) != theirs.get(i)).collect();
    [ours, theirs].map(|routes| differing.iter().filter_map(|&i| routes.get(i).cloned()).collect())
}

/// Compares `/docs.json`, operation by operation, leaving out the paths that differ by intention.
fn documents_agree(both: &Both, except: &[&str]) {
    let answers = both.ask("GET", "/docs.json", &[], b"");
    let (ours, theirs) = (answers.ours.json(), answers.theirs.json());
    for (path, item) in theirs["paths"].as_object().unwrap() {
        // Pages about the service itself are described in each tool's own words.
        if item["get"]["tags"] == json!(["Infrastructure"]) || except.contains(&path.as_str()) {
            continue;
        }
        assert_eq!(&ours["paths"][path], item, "{path}");
    }
    for (name, schema) in theirs["components"]["schemas"].as_object().unwrap() {
        if name != "TaskStatusResponse" {
            assert_eq!(&ours["components"]["schemas"][name], schema, "{name}");
        }
    }
}

#[test]
fn differences_are_explained_and_tested() {
    let cases = [path_cases(), image_cases(&[0; 40], &[]), value_cases(), output_cases()];
    let tested: BTreeSet<&str> = cases.iter().flatten().filter_map(|case| Some(case.difference?.0)).collect();
    let tested: BTreeSet<&str> = tested.into_iter().chain(TASK_DIFFERENCES.iter().copied()).collect();
    let rows = DIFFERENCES.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    // Other tables of the page are about other tests.
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let explained: BTreeSet<&str> = rows.map(|(name, _)| name).filter(is_name).collect();
    assert_eq!(tested, explained, "left: what the tests know; right: what docs/sdk/differences.md explains");
}

/// What the tests below expect to be otherwise.
const TASK_DIFFERENCES: [&str; 3] = ["task-cancel", "task-retry", "task-times"];

/// Submits a task to both, and waits for its end.
fn submit(both: &Both, route: &str, body: &str) -> [String; 2] {
    let answers = both.ask(
        "POST",
        &format!("{route}/submit"),
        &[("content-type", JSON), ("x-sent", "me")],
        body.as_bytes(),
    );
    [&answers.ours, &answers.theirs].map(|reply| {
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(JSON)), "{}", reply.text());
        assert_eq!(reply.header("server"), Some("BentoML Service/Jobs"));
        let task = reply.json();
        let keys: Vec<_> = task.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            (keys, &task["status"]),
            (vec!["task_id".to_owned(), "status".to_owned()], &json!("in_progress"))
        );
        let id = task["task_id"].as_str().unwrap().to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        id
    })
}

/// Asks each server about its own task.
fn ask_each(both: &Both, method: &str, path: &str, ids: &[String; 2]) -> Answers {
    let path = |id: &str| format!("{path}?task_id={id}");
    Answers {
        ours: both.ekiben.request(method, &path(&ids[0]), &[], b""),
        theirs: both.upstream(method, &path(&ids[1]), &[], b""),
    }
}

fn wait_for_end(both: &Both, route: &str, ids: &[String; 2]) {
    both.ekiben.wait_for("end of both tasks", || {
        let states = ask_each(both, "GET", &format!("{route}/status"), ids);
        [states.ours, states.theirs].iter().all(|state| state.json()["status"] != "in_progress")
    });
}

/// Replaces each server's identity of a task, which nothing else can have in common.
fn without_ids(answers: &Answers, ids: &[String; 2]) -> [Vec<String>; 2] {
    let clean =
        |reply: &Reply, id: &str| facts(reply).into_iter().map(|fact| fact.replace(id, "ID")).collect();
    [clean(&answers.ours, &ids[0]), clean(&answers.theirs, &ids[1])]
}

#[test]
fn tasks_are_kept_and_answered_as_upstream_does() {
    let both = Both::serve(JOBS, "service:Jobs");
    let cases = [
        ("/double", r#"{"n": 21}"#, "completed"),
        ("/double", r#"{"n": "x"}"#, "failed"),
        ("/double", "{", "failed"),
        ("/reversed", "abc", "completed"),
        ("/v1/fail", r#"{"how": "bad"}"#, "failed"),
        ("/v1/fail", r#"{"how": "value"}"#, "failed"),
        ("/named", r#"{"name": "n"}"#, "completed"),
    ];
    for (route, body, status) in cases {
        let ids = submit(&both, route, body);
        wait_for_end(&both, route, &ids);
        let states = ask_each(&both, "GET", &format!("{route}/status"), &ids);
        for state in [states.ours.json(), states.theirs.json()] {
            let keys: Vec<_> = state.as_object().unwrap().keys().cloned().collect();
            assert_eq!(keys, ["task_id", "status", "created_at", "executed_at"], "{route}");
            assert_eq!(state["status"], status, "{route} {body}: {state}");
            let created = state["created_at"].as_str().unwrap();
            assert_eq!((created.len(), &created[10..11]), (19, "T"), "{state}");
        }
        let [ours, theirs] = without_ids(&ask_each(&both, "GET", &format!("{route}/get"), &ids), &ids);
        assert_eq!(ours, theirs, "{route} {body}");
        let retried = ask_each(&both, "POST", &format!("{route}/retry"), &ids);
        let again = [retried.ours.json(), retried.theirs.json()]
            .map(|task| task["task_id"].as_str().unwrap().to_owned());
        assert_ne!(again, ids);
        wait_for_end(&both, route, &again);
        let second = ask_each(&both, "GET", &format!("{route}/get"), &again);
        if route == "/named" {
            // `task-retry`: upstream's context is that of the request for the retry.
            assert_eq!((second.ours.text(), second.theirs.text()), ("me".to_owned(), "nothing".to_owned()));
        } else {
            let [ours, theirs] = without_ids(&second, &again);
            assert_eq!(ours, theirs, "{route} {body}, again");
        }
        let now = both.ask("POST", route, &[("content-type", JSON), ("x-sent", "me")], body.as_bytes());
        assert_eq!(facts(&now.ours), facts(&now.theirs), "{route} {body}, at once");
    }
    errors_of_tasks_agree(&both);
    assert_eq!(by_route(&both, "/schema.json", "routes"), [Value::Null, Value::Null]);
    documents_agree(
        &both,
        &[
            "/double/cancel",
            "/reversed/cancel",
            "/v1/fail/cancel",
            "/named/cancel",
            "/wait/cancel",
            "/hold/cancel",
        ],
    );
}

fn errors_of_tasks_agree(both: &Both) {
    for (method, path) in [
        ("GET", "/double/status"),
        ("GET", "/double/get"),
        ("POST", "/double/retry"),
        ("PUT", "/double/cancel"),
        ("GET", "/double/status?task_id=0"),
        ("GET", "/double/get?task_id="),
        ("POST", "/double/retry?task_id=0"),
        ("GET", "/double/submit"),
        ("DELETE", "/double/retry?task_id=0"),
        ("POST", "/plain/submit"),
        ("GET", "/plain/status?task_id=0"),
    ] {
        let answers = both.ask(method, path, &[], b"");
        let facts = [&answers.ours, &answers.theirs].map(|reply| (reply.status, reply.text()));
        assert_eq!(facts[0], facts[1], "{method} {path}");
    }
    let directory = both.context().work();
    let body = json!({ "directory": directory }).to_string();
    let ids = submit(both, "/wait", &body);
    let early = ask_each(both, "GET", "/wait/get", &ids);
    let [ours, theirs] = without_ids(&early, &ids);
    assert_eq!((early.ours.status, ours), (400, theirs));
    let early = ask_each(both, "POST", "/wait/retry", &ids);
    let [ours, theirs] = without_ids(&early, &ids);
    assert_eq!((early.ours.status, ours), (400, theirs));
    std::fs::write(directory.join("go"), "").unwrap();
    wait_for_end(both, "/wait", &ids);
    let [ours, theirs] = without_ids(&ask_each(both, "GET", "/wait/get", &ids), &ids);
    assert_eq!(ours, theirs);
}

fn jobs() -> Server {
    let python = program(Venv::Sdk, "python");
    Plan::target(Some("service:Jobs"))
        .file("service.py", JOBS)
        .arguments(&["--python", python.to_str().unwrap()])
        .start_ready()
}

fn submit_to(server: &Server, route: &str) -> String {
    let body = json!({ "directory": server.directory() }).to_string();
    let task = server.post(&format!("{route}/submit"), &body);
    task.json()["task_id"].as_str().unwrap().to_owned()
}

fn state(server: &Server, id: &str) -> Value {
    server.get(&format!("/wait/status?task_id={id}")).json()["status"].clone()
}

/// Upstream refuses every cancellation.
#[test]
fn a_task_that_runs_on_the_loop_is_stopped() {
    let server = jobs();
    let id = submit_to(&server, "/wait");
    server.wait_for("task", || server.directory().join("begun").exists());
    let canceled = server.request("PUT", &format!("/wait/cancel?task_id={id}"), &[], b"");
    assert_eq!((canceled.status, &canceled.json()["status"]), (200, &json!("canceled")));
    server.wait_for("end of the task", || server.directory().join("stopped").exists());
    let answer = server.get(&format!("/wait/get?task_id={id}"));
    answer.expect(400, JSON, &format!(r#"{{"error":"task {id} was canceled"}}"#));
    let again = server.request("POST", &format!("/wait/cancel?task_id={id}"), &[], b"");
    assert_eq!(again.status, 400);
    let unknown = server.request("PUT", "/wait/cancel?task_id=0", &[], b"");
    unknown.expect(404, JSON, r#"{"error":"task_id not found"}"#);
    std::fs::write(server.directory().join("go"), "").unwrap();
    let retried = server.request("PUT", &format!("/wait/retry?task_id={id}"), &[], b"");
    let id = retried.json()["task_id"].as_str().unwrap().to_owned();
    server.wait_for("second try", || state(&server, &id) == "completed");
    let cancel = server.request("PUT", &format!("/wait/cancel?task_id={id}"), &[], b"");
    cancel.expect(400, JSON, &format!(r#"{{"error":"task {id} is completed already"}}"#));
    server.wait_for("log", || server.log().contains(&format!("Task({id}) wait is completed")));
    let page = server.get("/metrics").text();
    assert!(
        page.contains(r#"bentoml_service_request_total{endpoint="/wait/submit",http_response_code="200""#),
        "{page}"
    );
}

#[test]
fn a_task_that_waits_never_begins_when_it_is_canceled() {
    let server = jobs();
    let first = submit_to(&server, "/hold");
    server.wait_for("first task", || server.directory().join("held").exists());
    std::fs::remove_file(server.directory().join("held")).unwrap();
    let second = submit_to(&server, "/hold");
    let canceled = server.request("PUT", &format!("/hold/cancel?task_id={second}"), &[], b"");
    assert_eq!(canceled.status, 200);
    // The worker's loop reads in order: when it answers this, it knows of the cancellation.
    assert_eq!(server.post("/named", r#"{"name": "x"}"#).status, 201);
    std::fs::write(server.directory().join("go"), "").unwrap();
    server.wait_for("first task's end", || state(&server, &first) == "completed");
    assert_eq!(state(&server, &second), "canceled");
    server.post("/plain", "{}").expect(200, "text/plain; charset=utf-8", "plain");
    assert!(!server.directory().join("held").exists(), "the second task has begun");
}

#[test]
fn large_tasks_are_kept_in_files_that_end_with_the_server() {
    let temporary = tempfile::tempdir().unwrap();
    let python = program(Venv::Sdk, "python");
    let server = Plan::target(Some("service:Jobs"))
        .file("service.py", JOBS)
        .env("TMPDIR", temporary.path().to_str().unwrap())
        .arguments(&["--python", python.to_str().unwrap()])
        .start_ready();
    let text = "abcdefgh".repeat(64 * 1024);
    let task = server.request("POST", "/reversed/submit", &[("content-type", "text/plain")], text.as_bytes());
    let id = task.json()["task_id"].as_str().unwrap().to_owned();
    server.wait_for("task", || state(&server, &id) == "completed");
    let kept = || {
        walkdir::WalkDir::new(temporary.path())
            .into_iter()
            .flatten()
            .filter(|entry| entry.file_type().is_file())
    };
    assert_eq!(kept().count(), 2, "the request and the answer");
    let reversed: String = text.chars().rev().collect();
    assert!(server.get(&format!("/reversed/get?task_id={id}")).text() == reversed, "another text came back");
    let _ = server.stop(Signal::TERM).succeeded();
    assert_eq!(kept().count(), 0);
}

#[test]
fn mounted_applications_answer_as_they_do_at_upstream() {
    let both = Both::serve(MOUNTS, "service:Mounts");
    let cases = [
        ("GET", "/seen/a%20b?x=1&y=%20", ""),
        ("POST", "/seen/x", "some text"),
        ("HEAD", "/seen/x", ""),
        ("DELETE", "/seen/x", ""),
        ("GET", "/pieces", ""),
        ("GET", "/fails", ""),
        ("GET", "/fast/items/7?q=a", ""),
        ("GET", "/fast/items/x", ""),
        ("POST", "/fast/items", r#"{"price": 1.5}"#),
        ("POST", "/fast/items", "{}"),
        ("GET", "/fast/greeting/you", ""),
        ("GET", "/fast/nothing", ""),
        ("GET", "/fast/openapi.json", ""),
        ("GET", "/wsgi/a/b%20c?x=%20", ""),
        ("POST", "/wsgi/", "text"),
        ("GET", "/nothing", ""),
        ("POST", "/echo", r#"{"text": "t"}"#),
        ("GET", "/livez", ""),
    ];
    let headers = [("content-type", JSON), ("x-sent", "me")];
    for (method, path, body) in cases {
        let answers = both.ask(method, path, &headers, body.as_bytes());
        assert_eq!(facts(&answers.ours), facts(&answers.theirs), "{method} {path}");
    }
    for path in ["/slashed", "/echo/", "/wsgi"] {
        let answers = both.ask("GET", path, &[], b"");
        // Upstream names the host that the client has named.
        let place = |reply: &Reply| {
            let location = reply.header("location").unwrap_or_default();
            (reply.status, location.trim_start_matches("http://localhost").to_owned())
        };
        assert_eq!(place(&answers.ours), place(&answers.theirs), "{path}");
    }
    let index = both.ekiben.get("/");
    assert!(index.text().contains("<title>Mounts</title>"), "{}", index.text());
    assert_eq!(by_route(&both, "/schema.json", "routes"), [Value::Null, Value::Null]);
    documents_agree(&both, &[]);
}
