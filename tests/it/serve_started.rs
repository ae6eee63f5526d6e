//! What the command line says to a service and its runners, with the real SDK.

use std::io::BufRead as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::context::TestContext;
use crate::support::peers::{Venv, program};
use crate::support::serve::{PATIENCE, Plan};

const SERVICE: &str = "
import bentoml

class Settings(__import__('pydantic').BaseModel):
    size: int
    name: str = 'none'

settings = bentoml.use_arguments(Settings)

@bentoml.service
class Svc:
    @bentoml.api
    def given(self) -> dict:
        return {**settings.model_dump(), 'all': vars(bentoml.use_arguments())}
";

const RUNNERS: &str = "
import os
import time
import bentoml
from bentoml.io import JSON, Text

class Spread(bentoml.Strategy):
    @classmethod
    def get_worker_count(cls, runnable_class, resource_request, workers_per_resource):
        return resource_request['slices'] * workers_per_resource

    @classmethod
    def get_worker_env(cls, runnable_class, resource_request, workers_per_resource, worker_index):
        return {'SLICE': worker_index % resource_request['slices'], 'CUDA_VISIBLE_DEVICES': '-1'}

class Placed(bentoml.Runnable):
    SUPPORTED_RESOURCES = ('cpu',)
    SUPPORTS_CPU_MULTI_THREADING = True

    @bentoml.Runnable.method(batchable=False)
    def where(self):
        time.sleep(0.05)
        return [os.environ['SLICE'], os.getpid()]

    @bentoml.Runnable.method(batchable=False)
    def sleep(self):
        time.sleep(20)

runner = bentoml.Runner(Placed, name='placed', scheduling_strategy=Spread)
svc = bentoml.Service('svc', runners=[runner])

@svc.api(input=Text(), output=JSON())
async def where(text):
    import asyncio
    return await asyncio.gather(*(runner.where.async_run() for _ in range(40)))

@svc.api(input=Text(), output=Text())
async def sleep(text):
    await runner.sleep.async_run()
    return 'slept'
";

fn plan(target: &str, service: &str) -> Plan {
    let python = program(Venv::Sdk, "python").to_str().unwrap_or_default().to_owned();
    Plan::target(Some(target)).file("service.py", service).arguments(&["--python", &python])
}

#[test]
fn services_read_their_arguments() {
    let plan =
        plan("service:Svc", SERVICE).file("arguments.yaml", "size: 3\nname: of the file\nextra: [1]\n");
    let file = plan.path().join("arguments.yaml");
    let file = file.to_str().expect("a plain path");
    let server = plan.arguments(&["--arg-file", file, "--arg", "name=a=b"]).start_ready();
    let all = json!({"size": 3, "name": "a=b", "extra": [1]});
    assert_eq!(server.post("/given", "{}").json(), json!({"size": 3, "name": "a=b", "all": all}));
}

/// A server from Python ends with it, even if Python had no time to say so.
#[test]
fn servers_do_not_outlive_who_has_started_them() {
    let context = TestContext::new();
    let script = "import bentoml, os, signal\nserver = bentoml.serve('service:Svc', port=0, args={'size': 1})\n\
        print(server.url, server.client.given()['size'], server._process.pid, flush=True)\n\
        os.kill(os.getpid(), signal.SIGKILL)\n";
    std::fs::write(context.work().join("service.py"), SERVICE).expect("the directory is there");
    std::fs::write(context.work().join("script.py"), script).expect("the directory is there");
    let python = context.command(&program(Venv::Sdk, "python")).env("BENTOML_QUIET", "1").arg("script.py");
    let mut child = python.spawn();
    let mut printed = String::new();
    let stdout = child.stdout.take().expect("it is read here");
    std::io::BufReader::new(stdout).read_line(&mut printed).expect("text");
    assert!(child.wait().expect("it ends").code().is_none(), "it kills itself");
    let words: Vec<&str> = printed.split_whitespace().collect();
    assert_eq!(words.get(1), Some(&"1"), "{printed}");
    let stat = format!("/proc/{}/stat", words[2]);
    // Whoever inherits the process may not bury it.
    let is_alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    let deadline = Instant::now() + PATIENCE;
    while is_alive() {
        assert!(Instant::now() < deadline, "the server is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn wrong_arguments_end_the_start() {
    let exits = [("BENTOML_CONTAINERIZED", "1")];
    let start = |arguments: &[&str]| {
        let plan = plan("service:Svc", SERVICE).arguments(arguments).arguments(&["--port", "0"]);
        exits.iter().fold(plan, |plan, (name, value)| plan.env(name, value)).run().failed(1)
    };
    let message = start(&["--arg", "size=large"]);
    assert!(message.contains("Please provide correct arguments via --arg option"), "{message}");
    let message = start(&["--arg-file", "nowhere.yaml"]);
    assert!(message.contains("cannot read arguments from `nowhere.yaml`"), "{message}");
    let message = start(&["--env", "conda"]);
    assert!(message.contains("give its interpreter with `--python`"), "{message}");
}

#[test]
fn strategies_of_runners_decide_on_their_workers() {
    let config = "runners:\n  resources: {slices: 9}\n  placed:\n    resources: {slices: 2}\n    workers_per_resource: 2\n";
    let plan = plan("service:svc", RUNNERS).file("config.yaml", config);
    let path = plan.path().join("config.yaml");
    let plan = plan.env("BENTOML_CONFIG", path.to_str().expect("a plain path"));
    let server = plan.arguments(&["--timeout", "5", "--api-workers", "1"]).start_ready();
    let found = server.post("/where", "x").json();
    let mut seen: Vec<_> = found.as_array().expect("a list").iter().map(ToString::to_string).collect();
    seen.sort();
    seen.dedup();
    let slices: Vec<&str> = seen.iter().filter_map(|seen| seen.get(1..4)).collect();
    assert_eq!(slices, ["\"0\"", "\"0\"", "\"1\"", "\"1\""], "two workers in each slice: {seen:?}");
    // `--timeout` is for the calls of runners too: 900 seconds otherwise.
    let begin = Instant::now();
    let reply = server.post("/sleep", "x");
    assert!(reply.status >= 500 && begin.elapsed().as_secs() < 18, "{}: {}", reply.status, reply.text());
}

#[test]
fn development_of_functions_is_for_this_machine() {
    let service = "import bentoml\nfrom bentoml.io import Text\nsvc = bentoml.Service('svc')\n\
        @svc.api(input=Text(), output=Text())\ndef echo(text): return text\n";
    let server = plan("service:svc", service).arguments(&["--development"]).start_ready();
    assert!(server.log().contains(" listening on http://127.0.0.1:"), "{}", server.log());
    let server = plan("service:svc", service).arguments(&["--production"]).start_ready();
    assert!(server.log().contains(" listening on http://localhost:"), "{}", server.log());
    server.wait_for("the warning", || {
        server.log().contains("[WARNING] [cli] `--production` has no effect: it is the default")
    });
    let chosen = ["--development", "--host", "0.0.0.0"];
    let server = plan("service:svc", service).arguments(&chosen).start_ready();
    assert!(server.log().contains(" listening on http://localhost:"), "{}", server.log());
}
