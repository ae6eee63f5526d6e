//! The stores and their YAML against the original tool and the library that it writes YAML with.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use ekiben::store::Home;
use ekiben::tag::TagQuery;
use ekiben::yaml::{self, Value};
use serde_json::Value as Json;

use crate::support::peers::{Venv, program};

/// Writes random documents: each as JSON with types marked, and as PyYAML dumps it.
const DOCUMENTS: &str = r##"
import base64, json, math, random, sys, yaml
random.seed(int(sys.argv[1]))
WORDS = ["a", "yes", "No", "on", "null", "~", "1", "1.5", "1e3", "0x1f", "017", "08", "1:30", "2026-01-01", "=", "<<", "-", "- a",
  "? b", ":", "a: b", "a:b", "#x", "a #b", "%x", "@x", "`x", "!x", "&x", "*x", "'q'", '"d"', "it's", "é", "日本", "\U0001F600", "\x07",
  "tab\tx", "\u2028", "\x85", "\xa0", "\ufeff", "x" * 90, "---", "...", "--- x", "[a]", "{a}", "a,b", "", " ", "\\", "longer words here", "\n", "\n\n", ".inf",
  ".nan", "-.5", "+1", "1_000", "0b101", "y", "n", "Infinity", "nan", "1.", ".", "..", "2026-11-21T22:41:49.651064+00:00", "2001-1-1 1:2:3", "0o7", "a\\b"]
def text():
    n = random.choice([0, 1, 1, 1, 2, 3, 8, 30])
    return random.choice(["", " ", " ", " ", "\n", "\n "]).join(random.choice(WORDS) for _ in range(n))
def scalar():
    k = random.random()
    if k < .6: return text()
    if k < .7: return random.choice([0, 1, -1, 10**12, -7, 2**63])
    if k < .85: return random.choice([0.0, -0.0, 1.5, 1e-7, 1e16, 1e15, 123456789.123, 1e300, 5e-324, math.inf, -math.inf, math.nan, random.random(), random.uniform(-1e20, 1e20)])
    if k < .9: return random.choice([True, False, None])
    return random.randbytes(random.choice([0, 1, 10, 57, 58, 200]))
def value(depth):
    k = random.random()
    if depth == 0 or k < .5: return scalar()
    if k < .75: return [value(depth - 1) for _ in range(random.randrange(4))]
    return mapping(depth)
def mapping(depth):
    def key():
        k = random.random()
        return text() if k < .8 else random.choice([1, 2.5, "k" * 125, "k" * 122, "k" * 123, "a b"])
    return {key(): value(depth - 1) for _ in range(random.randrange(5))}
def marked(v):
    if isinstance(v, bool) or v is None or isinstance(v, str): return v
    if isinstance(v, int): return {"int": str(v)}
    if isinstance(v, float): return {"float": repr(v)}
    if isinstance(v, bytes): return {"bytes": base64.b64encode(v).decode()}
    if isinstance(v, list): return {"list": [marked(i) for i in v]}
    return {"map": [[marked(k), marked(i)] for k, i in v.items()]}
docs = []
for _ in range(int(sys.argv[2])):
    v = mapping(4)
    docs.append({"value": marked(v), "yaml": yaml.safe_dump(v, sort_keys=False)})
json.dump(docs, sys.stdout)
"##;

fn python(script: &str, arguments: &[&str], home: Option<&Path>) -> String {
    let mut command = Command::new(program(Venv::Upstream, "python"));
    command.arg("-c").arg(script).args(arguments).env("BENTOML_DO_NOT_TRACK", "true");
    if let Some(home) = home {
        command.env("BENTOML_HOME", home);
    }
    let output = command.output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn unmarked(json: &Json) -> Value {
    let Json::Object(mark) = json else { return Value::from(json.clone()) };
    let (kind, inner) = mark.iter().next().expect("one mark");
    let text = || inner.as_str().expect("text");
    match kind.as_str() {
        "int" => Value::Int(text().parse().expect("a number")),
        "float" => Value::Float(text().parse().expect("a float")),
        "bytes" => Value::Bytes(base64::engine::general_purpose::STANDARD.decode(text()).expect("base64")),
        "list" => Value::List(inner.as_array().expect("a list").iter().map(unmarked).collect()),
        _ => {
            let entries = inner.as_array().expect("a list of pairs").iter();
            Value::Map(entries.map(|pair| (unmarked(&pair[0]), unmarked(&pair[1]))).collect())
        }
    }
}

#[test]
fn yaml_is_written_byte_for_byte_as_by_pyyaml() {
    for seed in ["1", "2", "3"] {
        let documents: Vec<Json> =
            serde_json::from_str(&python(DOCUMENTS, &[seed, "1500"], None)).expect("JSON");
        assert_eq!(documents.len(), 1500);
        for document in documents {
            let value = unmarked(&document["value"]);
            let expected = document["yaml"].as_str().expect("text");
            assert_eq!(value.to_yaml(), expected, "{value:?}");
        }
    }
}

/// Reads random scalars back: what PyYAML takes them for, and what we do.
const SCALARS: &str = r#"
import json, sys, yaml, datetime
texts = sys.argv[1:]
def mark(v):
    if isinstance(v, bool) or v is None: return v
    if isinstance(v, int): return "int " + str(v)
    if isinstance(v, float): return "float " + repr(v)
    if isinstance(v, (datetime.date, datetime.datetime)): return "time"
    return "text " + v
json.dump([mark(yaml.safe_load("a: " + t)["a"]) for t in texts], sys.stdout)
"#;

#[test]
fn scalars_are_read_as_by_pyyaml() {
    let texts = [
        "yes",
        "No",
        "ON",
        "y",
        "n",
        "true",
        "TRUE",
        "null",
        "~",
        "1",
        "-1",
        "+1",
        "0x1F",
        "017",
        "08",
        "0o17",
        "0b11",
        "1_000",
        "1:30",
        "1.5",
        "1e3",
        "1.0e+3",
        ".5",
        "-.5",
        "1.",
        ".inf",
        "-.INF",
        "2026-01-01",
        "2026-1-1",
        "2001-12-14 21:59:43.10 -5",
        "'yes'",
        "\"1\"",
        "3.10",
        "a b",
        "1.2.3",
        "0.1.0",
        "12e03",
        "1e-3",
        "190:20:30",
        "190:20:30.15",
        "0",
        "00",
        "0x",
        "1__0",
        "é",
    ];
    let expected: Vec<Json> = serde_json::from_str(&python(SCALARS, &texts, None)).expect("JSON");
    for (text, expected) in texts.iter().zip(expected) {
        let read = yaml::read(&format!("a: {text}\n")).expect("readable").into_value();
        let marked = match read.get("a").expect("a key") {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => format!("int {value}").into(),
            Value::Float(value) => {
                let theirs = expected.as_str().and_then(|text| text.strip_prefix("float ")).unwrap_or("nan");
                assert_eq!(theirs.parse::<f64>().ok(), Some(*value), "{text}");
                expected.clone()
            }
            Value::Timestamp(_) => "time".into(),
            Value::Text(text) => format!("text {text}").into(),
            other => panic!("{other:?}"),
        };
        assert_eq!(marked, expected, "{text}");
    }
}

#[test]
fn a_model_of_upstream_is_read_whole() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let home = Home::open(directory.path()).expect("opened");
    let script = "import bentoml, datetime\n\
        with bentoml.models.create('theirs:v1', module='m', labels={'a': 'b'}, metadata={'n': [1, 2.5], 'd': datetime.date(2024, 5, 6), 'b': b'raw'}, \
        signatures={'predict': {'batchable': True, 'batch_dim': 0}}) as model:\n    open(model.path_of('f'), 'w').write('x')\n";
    python(script, &[], Some(home.path()));
    let query: TagQuery = "theirs".parse().expect("valid");
    let model = home.models().get(&query).expect("found");
    assert_eq!(model.info.tag.to_string(), "theirs:v1");
    assert_eq!(model.info.labels, [("a".to_owned(), "b".to_owned())]);
    let written = fs::read_to_string(model.path.join("model.yaml")).expect("readable");
    assert_eq!(model.info.to_document().to_yaml(), written);
}
