//! Old-style services: one project served by `ekiben-serve` and by upstream, which get the same requests.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use ekiben::store::{Bento, Item as _};
use serde_json::{Value, json};

use crate::support::containers::{Container, load};
use crate::support::context::TestContext;
use crate::support::docker_engine::DockerEngine;
use crate::support::image::Written;
use crate::support::peers::{Venv, program};
use crate::support::serve::{PATIENCE, Plan, Reply, Server, read_reply, request};
use crate::support::service::Service;
use crate::support::web::{free_port, loopback, post, wait_until_ready};

const SERVICE: &str = include_str!("../../testdata/services/legacy/service.py");
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const PNG_TYPE: &str = "image/png";
const FORM: &str = "multipart/form-data; boundary=cut";

/// Upstream starts an interpreter for every runner and worker, one after the other.
const STARTED_WITHIN: Duration = Duration::from_mins(2);

/// Headers that a client acts on; the others are the transport's.
const COMPARED: [&str; 5] = ["content-type", "content-disposition", "server", "set-cookie", "x-answer"];

/// A grey picture of one pixel.
const PNG: &[u8] = b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU\x00\x00\x00\x0aIDATx\x9cch\x00\x00\x00\x82\x00\x81w\xcdr\xb6\x00\x00\x00\x00IEND\xaeB`\x82";

/// What one server says to a request.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// The same service at both.
struct Pair {
    ours: Server,
    theirs: u16,
    _upstream: Service,
    _context: TestContext,
}

impl Pair {
    fn start() -> Self {
        let context = TestContext::new();
        let project = context.work().join("project");
        fs::create_dir(&project).expect("the directory is new");
        fs::write(project.join("service.py"), SERVICE).expect("the directory is there");
        let theirs = free_port();
        let serve = context
            .command(&program(Venv::Upstream, "bentoml"))
            .args(["serve", "service:svc", "--host", "127.0.0.1", "--api-workers", "1", "--port"])
            .arg(theirs.to_string())
            .directory(&project);
        let upstream = Service::start(&serve);
        let ours = plan().start_ready();
        wait_until_ready(loopback(theirs), STARTED_WITHIN);
        Self { ours, theirs, _upstream: upstream, _context: context }
    }

    /// Sends a request to both.
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (Reply, Reply) {
        let ours = self.ours.request(method, path, headers, body);
        let mut stream = TcpStream::connect(("127.0.0.1", self.theirs)).expect("upstream listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit above zero");
        stream.write_all(&request(method, path, headers, body)).expect("upstream reads");
        let theirs = read_reply(&mut BufReader::new(stream), false).expect("upstream answers");
        (ours, theirs)
    }

    /// Sends a call to both.
    fn post(&self, path: &str, content_type: &str, body: &[u8]) -> (Reply, Reply) {
        let headers = [("content-type", content_type), ("x-question", "why")];
        self.ask("POST", path, if content_type.is_empty() { &headers[1..] } else { &headers }, body)
    }
}

fn plan() -> Plan {
    let python = program(Venv::Sdk, "python");
    let python = python.to_str().expect("a plain path").to_owned();
    Plan::target(None).file("service.py", SERVICE).arguments(&["--python", &python, "--api-workers", "1"])
}

/// What stands before the types that are allowed, which upstream lists in any order.
const ALLOWED: &str = "allowed mime types are: ";

/// What of an answer a client can act on, without what is another each time: the boundary of a form, an address of
/// upstream's process, the order of a set.
fn said(reply: &Reply) -> Said {
    let boundary = reply.header("content-type").and_then(|kind| kind.split_once("boundary="));
    let unify = |text: &str| {
        let text = boundary.map_or(text.to_owned(), |(_, boundary)| text.replace(boundary, "BOUNDARY"));
        sorted(&without_address(&text))
    };
    let headers =
        COMPARED.iter().filter_map(|name| Some(((*name).to_owned(), unify(reply.header(name)?)))).collect();
    let body = reply.body.iter().map(|byte| char::from(*byte)).collect::<String>();
    Said { status: reply.status, headers, body: unify(&body) }
}

fn without_address(text: &str) -> String {
    match text.split_once(" <_io.BytesIO object at 0x") {
        Some((before, after)) => [before, after.split_once('>').map_or("", |(_, rest)| rest)].concat(),
        None => text.to_owned(),
    }
}

fn sorted(text: &str) -> String {
    let Some((before, after)) = text.split_once(ALLOWED) else { return text.to_owned() };
    let (list, rest) = after.split_at(after.find([')', '"']).unwrap_or(after.len()));
    let mut types: Vec<&str> = list.split(", ").collect();
    types.sort_unstable();
    [before, ALLOWED, &types.join(", "), rest].concat()
}

/// A form with parts `(head, content)`.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, content) in parts {
        body.extend_from_slice(format!("--cut\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--cut--\r\n");
    body
}

/// Calls with a plain body that both answer alike: path, content type and body.
const CALLS: &[(&str, &str, &[u8])] = &[
    // Text
    ("/text", TEXT, "grüße".as_bytes()),
    ("/text", JSON, b"\"quoted\""),
    ("/text", "", b""),
    ("/text", TEXT, b"\xff"),
    ("/v1/deep/text", TEXT, b"deep"),
    ("/events", TEXT, b"one two"),
    ("/pieces", TEXT, b"one two"),
    // JSON
    ("/json", JSON, "{\"a\": [1, 2.5, null, \"ä\"]}".as_bytes()),
    ("/json", TEXT, b"7"),
    ("/json", JSON, b"{"),
    ("/json", JSON, b""),
    ("/json", JSON, b"\xff"),
    ("/flower", JSON, b"{\"name\": \"iris\"}"),
    ("/flower", JSON, b"{\"petals\": \"many\"}"),
    ("/kinds", JSON, b"{}"),
    ("/odd", JSON, b"\"none\""),
    ("/odd", JSON, b"\"nan\""),
    ("/odd", JSON, b"\"flower\""),
    ("/odd", JSON, b"\"set\""),
    // NumpyNdarray
    ("/array", JSON, b"[[1.5, 3], [2, 4]]"),
    ("/array", TEXT, b"[1]"),
    ("/array", JSON, b"not json"),
    ("/array", JSON, b"[[1], [2, 3]]"),
    ("/strict_array", JSON, b"[[1, 2], [3, 4]]"),
    ("/strict_array", JSON, b"[[1, 2, 3]]"),
    ("/strict_array", JSON, b"[[\"a\", \"b\"]]"),
    ("/shaped_array", JSON, b"[1, 2, 3, 4]"),
    ("/shaped_array", JSON, b"[1.5, 2]"),
    ("/shaped_array", JSON, b"[\"a\"]"),
    // PandasDataFrame
    ("/frame", JSON, b"[{\"a\": 1, \"b\": \"x\"}, {\"a\": 2, \"b\": null}]"),
    ("/frame", "", b"[{\"a\": 1}]"),
    ("/frame", "text/csv", b"a,b\n1,2.5\n"),
    ("/frame", "application/whatever", b"[{\"a\": 1}]"),
    ("/frame", JSON, b"not json"),
    ("/frame", "application/vnd.apache.parquet", b"PAR1"),
    ("/frame", "application/octet-stream", b"PAR1"),
    ("/named_frame", JSON, b"[{\"x\": 1, \"y\": 2}]"),
    ("/named_frame", JSON, b"[{\"x\": 1}]"),
    ("/csv_frame", "text/csv", b"a,b\n1,2\n"),
    ("/csv_frame", JSON, b"{\"columns\": [\"a\"], \"index\": [0], \"data\": [[1]]}"),
    ("/csv_frame", "", b"a\n3\n"),
    ("/csv_frame", "text/csv", b"a\nx\n"),
    ("/no_frame", JSON, b"[{\"a\": 1}]"),
    // PandasSeries
    ("/series", JSON, b"[1, 2, 3]"),
    ("/series", JSON, b"x"),
    ("/strict_series", JSON, b"[1, 2]"),
    ("/strict_series", JSON, b"[1, 2, 3]"),
    // Image
    ("/picture", PNG_TYPE, PNG),
    ("/picture", TEXT, PNG),
    ("/picture", PNG_TYPE, b"no picture"),
    ("/png_size", PNG_TYPE, PNG),
    ("/png_size", "image/jpeg", PNG),
    ("/drawn", TEXT, b""),
    ("/drawn", TEXT, b"x"),
    // File
    ("/file", "application/whatever", b"\x00\xff"),
    ("/pdf", "application/pdf", b"%PDF"),
    ("/pdf", TEXT, b"%PDF"),
    // Multipart
    ("/form", JSON, b"{}"),
    // errors and context
    ("/headers?q=1", TEXT, b"here"),
    ("/fails", TEXT, b"argument"),
    ("/fails", TEXT, b"missing"),
    ("/fails", TEXT, b"unauthorized"),
    ("/fails", TEXT, b"unavailable"),
    ("/fails", TEXT, b"bug"),
];

/// Calls that both answer alike.
fn calls() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut calls: Vec<_> = CALLS.iter().map(|(path, kind, body)| (*path, *kind, body.to_vec())).collect();
    let picture = "name=\"picture\"; filename=\"p.png\"\r\nContent-Type: image/png";
    let flower: &[u8] = b"{\"name\": \"iris\"}";
    let forms: [(&str, Vec<u8>); 9] = [
        ("/form", form(&[("name=\"array\"", b"[1, 2]"), ("name=\"note\"", "grüße".as_bytes())])),
        ("/form", form(&[("name=\"note\"", b"x"), ("name=\"array\"", b"[1, 2]")])),
        ("/form", form(&[("name=\"one\"", b"[1, 2]"), ("name=\"two\"", b"by place")])),
        ("/form", form(&[("name=\"array\"", b"x"), ("name=\"note\"", b"x")])),
        ("/forms", form(&[(picture, PNG), ("name=\"flower\"", b"{}")])),
        ("/picture", form(&[(picture, PNG)])),
        ("/picture", form(&[("name=\"p\"; filename=\"p.txt\"\r\nContent-Type: text/plain", b"x")])),
        ("/file", form(&[("name=\"f\"; filename=\"f.txt\"\r\nContent-Type: text/plain", b"x")])),
        ("/pdf", form(&[("name=\"f\"; filename=\"f.txt\"\r\nContent-Type: text/plain", flower)])),
    ];
    calls.extend(forms.map(|(path, body)| (path, FORM, body)));
    calls
}

#[test]
fn every_descriptor_answers_as_upstream_does() {
    let pair = Pair::start();
    let mut differences = Vec::new();
    for (path, kind, body) in calls() {
        let (ours, theirs) = pair.post(path, kind, &body);
        if said(&ours) != said(&theirs) {
            let body = String::from_utf8_lossy(&body).into_owned();
            differences.push(format!("{path} {kind} {body:?}\n  {:?}\n  {:?}", said(&ours), said(&theirs)));
        }
    }
    assert!(differences.is_empty(), "ekiben, then upstream:\n{}", differences.join("\n"));
    a_runner_is_a_process_of_its_own(&pair);
    the_identity_of_a_request_is_a_decimal(&pair);
    a_form_comes_back_part_by_part(&pair);
    the_paths_are_the_same(&pair);
    documents_name_the_descriptors(&pair);
}

fn a_runner_is_a_process_of_its_own(pair: &Pair) {
    let (ours, theirs) = pair.post("/places", TEXT, b"");
    for reply in [ours, theirs] {
        let places = reply.json();
        assert!(places[0].is_u64() && places[1].is_u64() && places[0] != places[1], "{places}");
    }
    // Upstream would take a minute to say 504.
    let failed = pair.ours.request("POST", "/runner_fails", &[], b"");
    failed.expect(500, JSON, "\"\"");
    pair.ours.wait_for("traceback", || pair.ours.log().contains("ValueError: in the runner"));
}

fn the_identity_of_a_request_is_a_decimal(pair: &Pair) {
    let (ours, theirs) = pair.post("/text", TEXT, b"x");
    for reply in [ours, theirs] {
        let identity = reply.header("x-bentoml-request-id").expect("an answer of an API has one");
        assert!(identity.parse::<u64>().is_ok(), "{identity}");
    }
}

/// The parts' headers are compared one by one: upstream sends some of the response's own with every part.
fn a_form_comes_back_part_by_part(pair: &Pair) {
    let picture = "name=\"picture\"; filename=\"p.png\"\r\nContent-Type: image/png";
    let body = form(&[(picture, PNG), ("name=\"flower\"", b"{\"name\": \"iris\"}")]);
    let (ours, theirs) = pair.post("/forms", FORM, &body);
    let parts = |reply: &Reply| {
        let said = said(reply);
        assert_eq!(
            (said.status, said.headers["content-type"].as_str()),
            (200, "multipart/form-data; boundary=BOUNDARY")
        );
        let parts: Vec<(String, String)> = said
            .body
            .split("--BOUNDARY\r\n")
            .filter_map(|part| {
                let (head, content) = part.split_once("\r\n\r\n")?;
                Some((head.lines().next().unwrap_or_default().to_owned(), content.to_owned()))
            })
            .collect();
        assert_eq!(parts.len(), 4, "{}", said.body);
        parts
    };
    assert_eq!(parts(&ours), parts(&theirs));
}

fn the_paths_are_the_same(pair: &Pair) {
    for (method, path) in [
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/schema.json"),
        ("GET", "/text"),
        ("POST", "/nowhere"),
        ("GET", "/mounted/a/b?c=1"),
        ("POST", "/mounted/"),
    ] {
        let (ours, theirs) = pair.ask(method, path, &[], b"");
        let compared =
            |reply: &Reply| (reply.status, reply.text(), reply.header("content-type").map(str::to_owned));
        assert_eq!(compared(&ours), compared(&theirs), "{method} {path}");
    }
    let page = pair.ours.get("/metrics").text();
    let counted = "bentoml_api_server_request_total{endpoint=\"/text\",http_response_code=\"200\",service_name=\"every_descriptor\"";
    assert!(page.contains(counted), "{page}");
}

fn documents_name_the_descriptors(pair: &Pair) {
    let (ours, theirs) = pair.ask("GET", "/docs.json", &[], b"");
    let (ours, theirs) = (ours.json(), theirs.json());
    assert_eq!(keys(&ours["paths"]), keys(&theirs["paths"]));
    assert_eq!(keys(&ours["components"]["schemas"]), keys(&theirs["components"]["schemas"]));
    for path in keys(&theirs["paths"]).iter().filter(|path| !theirs["paths"][path.as_str()]["post"].is_null())
    {
        let (ours, theirs) =
            (comparable(&ours["paths"][path]["post"]), comparable(&theirs["paths"][path]["post"]));
        assert_eq!(ours, theirs, "{path}");
    }
}

fn keys(object: &Value) -> Vec<String> {
    let mut keys: Vec<String> =
        object.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
    keys.sort();
    keys
}

/// An operation without what is chosen otherwise: examples that are none, a class's name, the order of a set.
fn comparable(value: &Value) -> Value {
    match value {
        Value::String(text) if text == "None" => Value::Null,
        Value::String(text) => text.replace("BytesIOFile", "File").into(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), comparable(value)))
            .filter(|(key, value)| key != "example" || !value.is_null())
            .collect(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(comparable).collect();
            items.sort_by_key(Value::to_string);
            items.into()
        }
        other => other.clone(),
    }
}

const TRAIN: &str = r#"
import bentoml


class Loud:
    def __call__(self, text):
        return text.upper()


if __name__ == "__main__":
    bentoml.picklable_model.save_model("loud", Loud(), signatures={"__call__": {"batchable": False}})
    with bentoml.models.create("words"):
        pass
"#;

const LOUDER: &str = r#"
import bentoml
from bentoml.io import JSON, File, Multipart, NumpyNdarray, PandasDataFrame, Text


class Turned(bentoml.legacy.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = True

    @bentoml.legacy.Runnable.method
    def turn(self, text):
        return text[::-1]


loud = bentoml.models.get("loud")
runner = bentoml.picklable_model.get("loud:latest").to_runner()
inside = loud.to_runner(name="Inside", embedded=True)
turned = bentoml.legacy.Runner(Turned, models=[loud, bentoml.models.get("words:latest")])
second = bentoml.legacy.Runner(Turned, name="second")
svc = bentoml.legacy.Service(
    "louder", runners=[runner, inside, turned, second], models=[bentoml.models.get("words:latest")]
)


@svc.api(input=Text(), output=Text())
def shout(text):
    return inside.run(turned.turn.run(runner.run(text)))


@svc.api(input=File(), output=NumpyNdarray.from_sample([1, 2]), name="named", route="/a/route")
def size(file):
    """Not called here."""


@svc.api(input=Multipart(frame=PandasDataFrame(), text=Text()), output=JSON())
async def form(frame, text):
    """Not called here."""
"#;

/// What the older kind of bentos says of the image, and what the newer one does; and what is another each time.
const DIFFERENT: [&str; 7] = ["version", "creation_time", "spec", "docker", "python", "conda", "image"];

/// The model is found in the source, and is in the bento; who has built it makes no difference.
#[test]
fn either_tool_serves_the_bentos_of_the_other() {
    let context = TestContext::with_shared_cache();
    let project = context.work().join("project");
    fs::create_dir(&project).expect("the directory is new");
    let bentofile = "service: 'service:svc'\ninclude: ['service.py']\npython: {lock_packages: false}\n";
    for (name, text) in [("train.py", TRAIN), ("service.py", LOUDER), ("bentofile.yaml", bentofile)] {
        fs::write(project.join(name), text).expect("the directory is there");
    }
    assert_eq!(context.python(["project/train.py"]).any_stderr().run().stdout, "");
    let built = context.ekiben(["build", "project", "--version", "ours"]).run().stdout;
    assert!(built.contains("louder:ours"), "{built}");
    let built = context.bentoml(["build", "project", "--version", "theirs"]).any_stderr().run().stdout;
    assert!(built.contains("louder:theirs"), "{built}");
    let [described, theirs] = ["ours", "theirs"].map(|version| description(&context, version));
    assert_eq!(described, theirs);
    assert_eq!(described["runners"].as_array().map(Vec::len), Some(4), "{described:#?}");
    let (ours, theirs) = (free_port(), free_port());
    let ekiben = context.ekiben(["serve", "louder:theirs", "--api-workers", "1", "--port"]);
    let upstream = context.bentoml(["serve", "louder:ours", "--api-workers", "1", "--port"]);
    let _ekiben = Service::start(&ekiben.arg(ours.to_string()));
    let _upstream = Service::start(&upstream.arg(theirs.to_string()));
    for port in [ours, theirs] {
        wait_until_ready(loopback(port), STARTED_WITHIN);
        let answer = post(loopback(port), "/shout", &json!("hello"));
        assert_eq!((answer.status, answer.body.as_str()), (200, "\"OLLEH\""));
    }
    // The bento of upstream says in the older form how its image is made.
    let Some(engine) = DockerEngine::shared() else { return };
    let containerize = context.ekiben(["containerize", "louder:theirs", "-t", "louder:theirs"]);
    let written = Written::by(containerize.args(["--to", "oci-archive:louder.tar"]));
    assert!(written.layers.iter().any(|(title, _)| title.starts_with("model loud")), "{written:?}");
    load(&engine, &context.work().join("louder.tar"));
    let container = Container::run(&engine, &[], "louder:theirs");
    container.visit(|address| {
        wait_until_ready(address, STARTED_WITHIN);
        assert_eq!(post(address, "/shout", &json!("hello")).body, "\"OLLEH\"");
    });
}

/// What a bento's `bento.yaml` says, without [`DIFFERENT`].
fn description(context: &TestContext, version: &str) -> BTreeMap<String, Value> {
    let bento = Bento::load(&context.bentoml_home().join("bentos/louder").join(version));
    let Value::Object(entries) = bento.expect("a built bento").document.to_json() else { panic!("no map") };
    entries.into_iter().filter(|(key, _)| !DIFFERENT.contains(&key.as_str())).collect()
}

#[test]
fn an_old_style_service_has_a_worker_for_each_core_unless_told_otherwise() {
    let workers = |plan: Plan| {
        let server = plan.start_ready();
        let mut count = 0;
        server.wait_for("all workers", || {
            let page = server.get("/metrics").text();
            let of = |state: &str| {
                let line =
                    page.lines().find(|line| line.starts_with("ekiben_workers{") && line.contains(state));
                line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
            };
            count = of("\"ready\"").unwrap_or_default();
            count > 0 && of("\"unready\"") == Some(0)
        });
        count
    };
    let python = program(Venv::Sdk, "python");
    let plain = || {
        let source = "import bentoml\nsvc = bentoml.Service('plain', runners=[])\n@svc.api(input=bentoml.io.Text())\ndef f(x): return x\n";
        Plan::target(None)
            .file("service.py", source)
            .arguments(&["--python", python.to_str().expect("a plain path")])
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    assert_eq!(workers(plain()), cores);
    let configured = json!({"api_server": {"workers": 3}}).to_string();
    assert_eq!(workers(plain().env("BENTOML_CONFIG_OVERRIDES", &configured)), 3);
    assert_eq!(
        workers(plain().env("BENTOML_CONFIG_OVERRIDES", &configured).arguments(&["--api-workers", "1"])),
        1
    );
    assert_eq!(workers(plain().env("BENTOML_API_WORKERS", "2")), 2);
}
