use std::fs;

use super::*;

fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

fn found(files: &[(&str, &str)], target: Option<&str>) -> Result<Discovery, Error> {
    let environment = BTreeMap::from([("STAGE".to_owned(), "prod".to_owned())]);
    let directory = project(files);
    let context = directory.path();
    discover(&Request { context, target, is_src_layout: false, environment: &environment })
}

/// The models of the entry service: attribute and tag.
fn models(discovery: &Discovery) -> Vec<(String, String)> {
    let models = discovery.entry().models.iter();
    models
        .map(|model| match &model.model {
            ModelSource::Store { tag } => (model.attribute.clone(), tag.clone()),
            ModelSource::Hub(hub) => (model.attribute.clone(), format!("{}@{}", hub.id, hub.revision)),
        })
        .collect()
}

#[test]
fn models_are_found_through_aliases_bases_and_constants() {
    let service = r#"
import os
import bentoml as b
from bentoml import service as svc
from bentoml.models import BentoModel, HuggingFaceModel as HF
from config import NAME, Settings, settings as s
import pkg.versions
import pkg.versions as v

PREFIX = "team"
MODEL = BentoModel(f"{PREFIX}-{NAME}:{v.VERSION}")

class Base:
    inherited = BentoModel("base:" + Settings.version)

@svc
class S(Base):
    version = "v9"
    a = BentoModel("%s:%s" % (NAME, pkg.versions.VERSION))
    b = BentoModel("{}:{}".format(NAME, "x") if os.getenv("STAGE") == "prod" else "other")
    c: str = HF("org/model", revision=os.environ.get("MISSING", "main"))
    d = MODEL
    e = b.models.get("old:1") if False else BentoModel(tag=s["tag"])
    f = BentoModel("own:" + version)
"#;
    let files = [
        ("service.py", service),
        (
            "config.py",
            "NAME = 'iris'\nsettings = {'tag': NAME.upper().lower()}\nclass Settings:\n    version = 'v1'\n",
        ),
        ("pkg/__init__.py", ""),
        ("pkg/versions.py", "VERSION = 'v2'\n"),
    ];
    let discovery = found(&files, None).unwrap();
    assert_eq!(discovery.unresolved, []);
    let expected = [
        ("a", "iris:v2"),
        ("b", "iris:x"),
        ("c", "org/model@main"),
        ("d", "team-iris:v2"),
        ("e", "iris"),
        ("f", "own:v9"),
        ("inherited", "base:v1"),
    ];
    assert_eq!(models(&discovery), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(discovery.target, "service:S");
    assert_eq!(discovery.late_loads, []);
    assert_eq!(discovery.warnings, ["the environment variable `STAGE` decides what is built"]);
}

#[test]
fn what_cannot_be_known_is_said_with_its_place_and_reason() {
    let service = r#"
import bentoml, os
from bentoml.models import BentoModel
from other_package import TAG

@bentoml.service(workers=os.cpu_count())
class S:
    a = BentoModel(TAG)
    b = BentoModel(os.environ["UNSET"])
    c = BentoModel(open("tag").read())
    d = BentoModel(undefined)
    e = BentoModel(x := "y")
"#;
    let discovery = found(&[("service.py", service)], None).unwrap();
    let messages: Vec<String> = discovery.unresolved.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(messages.join("\n"), @"
    service.py:6:26: the value of `S(workers=…)` cannot be known without running the code: the call of `os.cpu_count` is not followed
    service.py:8:20: the model of `S.a` cannot be known without running the code: `other_package.TAG` is not defined in the project's files
    service.py:9:20: the model of `S.b` cannot be known without running the code: the environment variable `UNSET` is not set
    service.py:10:20: the model of `S.c` cannot be known without running the code: the call of `open(\"tag\").read` is not followed
    service.py:11:20: the model of `S.d` cannot be known without running the code: `undefined` is not defined in the project's files
    service.py:12:20: the model of `S.e` cannot be known without running the code: this expression is not a constant
    ");
}

#[test]
fn late_loads_are_found_wherever_they_hide() {
    let service = r#"
import bentoml
from bentoml import sklearn
from bentoml.models import BentoModel
import helpers

MODEL = bentoml.models.get("module:v1")

@bentoml.service
class S:
    fine = BentoModel("fine:v1")

    def __init__(self):
        self.model = sklearn.load_model("constructor:latest")

    @bentoml.api
    def predict(self, x: int) -> int:
        return helpers.load()

if __name__ == "__main__":
    bentoml.sklearn.load_model("only-when-run")
"#;
    let helpers = "import bentoml\ndef load():\n    return bentoml.pytorch.get('helper').load()\n";
    let discovery = found(&[("service.py", service), ("helpers.py", helpers)], None).unwrap();
    let loads: Vec<_> = discovery
        .late_loads
        .iter()
        .map(|load| (load.place.to_string(), load.model.clone().unwrap(), load.is_at_module_level))
        .collect();
    let expected = [
        ("helpers.py:3:12", "helper", false),
        ("service.py:7:9", "module:v1", true),
        ("service.py:14:22", "constructor:latest", false),
    ];
    assert_eq!(loads, expected.map(|(place, model, top)| (place.to_owned(), model.to_owned(), top)));
    assert_eq!(
        discovery.late_loads[2].fix(),
        "declare it in the service class, `model = bentoml.models.BentoModel(\"constructor:latest\")`, or list it under \
         `models:` in the bentofile"
    );
}

const TWO: &str = r#"
import bentoml

@bentoml.service(name="inner-one", traffic={"timeout": 30})
class Inner:
    pass

@bentoml.service
class Outer:
    inner = bentoml.depends(Inner)
    remote = bentoml.depends(url="http://x")
"#;

#[test]
fn the_service_nobody_depends_on_is_the_entry() {
    let discovery = found(&[("service.py", TWO)], None).unwrap();
    let names: Vec<_> = discovery.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["Outer", "inner-one"]);
    let dependencies: Vec<_> =
        discovery.entry().dependencies.iter().map(|on| (on.service.as_deref(), on.url.as_deref())).collect();
    assert_eq!(dependencies, [(Some("inner-one"), None), (None, Some("http://x"))]);
}

#[test]
fn a_target_selects_the_service() {
    let files = [("pkg/svc.py", TWO), ("pkg/__init__.py", "")];
    for (target, expected, entry) in [
        ("pkg.svc:Inner", "pkg.svc:Inner", "inner-one"),
        ("pkg/svc.py:Outer", "pkg.svc:Outer", "Outer"),
        ("pkg/svc.py", "pkg.svc:Outer", "Outer"),
        ("pkg.svc:Outer.inner", "pkg.svc:Outer.inner", "inner-one"),
    ] {
        let discovery = found(&files, Some(target)).unwrap();
        assert_eq!((discovery.target.as_str(), discovery.entry().name.as_str()), (expected, entry));
    }
}

#[test]
fn errors_name_what_is_there_and_what_is_not() {
    let error = |files: &[(&str, &str)], target| found(files, target).unwrap_err().to_string();
    let several = "import bentoml\n@bentoml.service\nclass A: pass\n@bentoml.service\nclass B: pass\n";
    let messages = [
        error(&[], None),
        error(&[], Some("nothing.here:X")),
        error(&[("service.py", "x = 1\n")], None),
        error(&[("service.py", several)], None),
        error(&[("service.py", several)], Some("service:C")),
        error(&[("service.py", several)], Some("service:")),
        error(&[("service.py", "x = 1\n")], Some("service:x")),
        error(&[("service.py", "def f(:\n  pass\n")], None),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r"
    no service is named, and there is no `service.py` in the project
    no module `nothing.here` in the project: expected `nothing/here.py`
    no service found in the module `service`: no class in it is decorated with `@bentoml.service`
    the module `service` has several services, name one: service:A, service:B
    no `C` in the module `service`, its services are A, B
    `service:` does not name a service: expected `module:attribute` or `file.py:attribute`
    service.py:1:1: `x` is neither a class decorated with `@bentoml.service` nor a `bentoml.Service`
    service.py:1:7: cannot parse the file: Expected a parameter or the end of the parameter list
    ");
}

#[test]
fn definitions_in_circles_end() {
    let circle = "import bentoml\nfrom other import B as A\n@bentoml.service\nclass S:\n    m = bentoml.models.BentoModel(A)\nX = Y\nY = X\n";
    let discovery =
        found(&[("service.py", circle), ("other.py", "from service import A as B\n")], None).unwrap();
    assert_eq!(discovery.unresolved.len(), 1);
    assert_eq!(discovery.unresolved[0].reason, Reason::TooDeep);
}

#[test]
fn a_service_of_functions_has_its_runners_models() {
    let service = r#"
import bentoml
from bentoml.io import Image, JSON, NumpyNdarray, Text
from bentoml import legacy
from models import reader

VERSION = "v2"
iris = bentoml.sklearn.get(f"iris:{VERSION}").to_runner()
mood = bentoml.picklable_model.load_runner("mood")
model = bentoml.models.get("own:latest").with_options(x=1)
own = bentoml.Runner(object, models=[model, bentoml.models.get("second")])
class Turned(bentoml.Runnable): ...
turned = legacy.Runner(Turned, name="turned", embedded=True)
again = legacy.Runner(bentoml.sklearn.get("iris:v2").with_options(y=1).to_runnable(), name="again")
RUNNERS = [iris, mood, reader, own, iris, turned, again, unknown()]
svc = legacy.Service("Iris_Clf", runners=RUNNERS, models=[bentoml.models.get("extra")])
lost = bentoml.sklearn.get("lost")

@svc.api(input=NumpyNdarray.from_sample([1]), output=Text())
def predict(x):
    """Predict."""

spec = Image()

@svc.api(input=spec, output=JSON(), route="/v1/look", name="look")
async def other(x): ...

def helper(): ...
"#;
    let reader =
        "import bentoml\nreader = bentoml.picklable_model.get('reader:latest').to_runner(name='r')\n";
    let files = [("service.py", service), ("models.py", reader)];
    let discovery = found(&files, None).unwrap();
    assert_eq!((discovery.target.as_str(), &discovery.unresolved[..]), ("service:svc", &[][..]));
    let entry = discovery.entry();
    assert_eq!(
        (entry.name.as_str(), entry.style, discovery.schema()),
        ("iris_clf", Style::Functions, json!({}))
    );
    let tags: Vec<String> = models(&discovery).into_iter().map(|(_, tag)| tag).collect();
    assert_eq!(tags, ["extra", "iris:v2", "mood", "reader:latest", "own:latest", "second", "iris:v2"]);
    let runners: Vec<_> = entry
        .runners
        .iter()
        .map(|runner| (runner.name.as_deref(), runner.class.as_deref(), runner.models.join(" ")))
        .collect();
    let of = |name, class, models: &str| (name, class, models.to_owned());
    let expected = [
        of(None, None, "iris:v2"),
        of(None, None, "mood"),
        of(Some("r"), None, "reader:latest"),
        of(None, Some("object"), "own:latest second"),
        of(None, None, "iris:v2"),
        of(Some("turned"), Some("Turned"), ""),
        of(Some("again"), None, "iris:v2"),
    ];
    assert_eq!(runners, expected);
    assert!(
        entry.runners.iter().all(|runner| runner.is_embedded == (runner.class.as_deref() == Some("Turned")))
    );
    let descriptors: Vec<_> = entry.apis.iter().filter_map(|api| api.descriptors.clone()).collect();
    assert_eq!(descriptors[0], ("NumpyNdarray".to_owned(), "Text".to_owned()));
    assert_eq!(descriptors[1], ("Image".to_owned(), "JSON".to_owned()));
    let apis: Vec<(&str, &str)> =
        entry.apis.iter().map(|api| (api.name.as_str(), api.route.as_str())).collect();
    assert_eq!(apis, [("predict", "/predict"), ("look", "/v1/look")]);
    assert_eq!(entry.apis[0].doc.as_deref(), Some("Predict."));
    let late: Vec<_> = discovery.late_loads.iter().map(|load| load.model.as_deref()).collect();
    assert_eq!(late, [Some("lost")]);
    let paths = openapi(entry, "");
    let look = &paths["paths"]["/v1/look"]["post"]["requestBody"]["content"];
    assert_eq!(look, &json!({"image/*": {"schema": {"format": "binary", "type": "string"}}}));
}

#[test]
fn classes_come_before_services_of_functions() {
    let old = "import bentoml\na = bentoml.Service('a', runners=[])\nb = bentoml.Service('b')\n";
    let new = format!("{old}@bentoml.service\nclass New: ...\n");
    assert_eq!(found(&[("service.py", &new)], None).unwrap().target, "service:New");
    assert_eq!(found(&[("service.py", &new)], Some("service:b")).unwrap().entry().name, "b");
    let several = found(&[("service.py", old)], None).unwrap_err().to_string();
    assert_eq!(several, "the module `service` has several services, name one: service:a, service:b");
    let inner = found(&[("service.py", old)], Some("service:a.b")).unwrap_err().to_string();
    assert_eq!(inner, "no `a.b` in the module `service`, its services are a, b");
    let unknown = found(&[("service.py", "import bentoml\nsvc = bentoml.Service(input())\n")], None).unwrap();
    assert_eq!(unknown.unresolved.len(), 1, "{:?}", unknown.unresolved);
}
