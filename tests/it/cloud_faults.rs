//! Servers that fail, connections that break, and processes that are killed: what is repeated, what goes on where it
//! broke off, and what the server is told.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ekiben::cloud::{Client, CloudContext, Settings};
use ekiben::http::{self, Backoff, ClientSettings};
use ekiben::ops::cloud::{PullSettings, PushSettings, Remote, Transferred, pull_model, push_model};
use ekiben::report::{Activity, Interrupt};
use ekiben::store::{Home, Model};
use ekiben::tag::TagQuery;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::Signal;

use crate::cloud::{WAYS, elsewhere, model, other_home, tree};
use crate::support::cloud_server::{CloudServer, Fault, TOKEN, Way};
use crate::support::command::Command;
use crate::support::context::TestContext;
use crate::support::service::Service;

/// Small enough that the models of these tests have several parts.
const PART: u64 = 32 * 1024;

/// Parts of the model of these tests.
const PARTS: usize = 7;

/// Kills of a process that pulls.
const ROUNDS: u64 = 30;

/// A remote without pauses and with small parts, and the runtime to use it.
struct Direct {
    remote: Remote,
    runtime: tokio::runtime::Runtime,
}

impl Direct {
    fn new(context: &TestContext, server: &CloudServer) -> Self {
        let home = Home::open(context.bentoml_home()).unwrap();
        let moment = Duration::from_millis(1);
        let backoff = Backoff { attempts: 4, first: moment, longest: moment };
        let settings = Settings { backoff, part_size: PART, scratch: home.scratch() };
        let http = http::Client::new(&ClientSettings::default()).unwrap();
        let account = CloudContext::of_environment(TOKEN, Some(&server.endpoint()));
        let client = Client::new(http.clone(), &account, settings).unwrap();
        let activity = Activity { interrupt: Interrupt::default(), ..Activity::silent() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { remote: Remote::new(client, http, home, activity), runtime: runtime.unwrap() }
    }

    fn push(&self, force: bool) -> Result<(), String> {
        let query: TagQuery = "m:v1".parse().unwrap();
        let settings = PushSettings { force, threads: 3 };
        let pushing = push_model(&self.remote, &query, settings, &|_: &Transferred| {});
        self.runtime.block_on(pushing).map_err(|error| chain(&error))
    }

    fn pull(&self) -> Result<(), String> {
        let query: TagQuery = "m:v1".parse().unwrap();
        let settings = PullSettings { force: true, with_models: false };
        let pulling = pull_model(&self.remote, &query, None, settings, &|_: &Transferred| {});
        self.runtime.block_on(pulling).map_err(|error| chain(&error))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn uploads_are_repeated_until_they_arrive() {
    for way in WAYS {
        let context = TestContext::new();
        let server = CloudServer::start(way);
        let there = tree(&model(&context, "m:v1"));
        let put = match way {
            Way::Proxy => "/upload",
            Way::Single => "/v1",
            Way::Parts => "/3",
        };
        server.fail("GET", "/model_repositories/m", Fault::Status(503));
        server.fail("POST", "/model_repositories", Fault::Silence);
        server.fail("POST", "/models", Fault::Silence);
        server.fail("PATCH", "/start_upload", Fault::Silence);
        server.fail("PUT", put, Fault::CutRequest(20_000));
        server.fail("PUT", put, Fault::Status(502));
        server.fail("PUT", put, Fault::Silence);
        let direct = Direct::new(&context, &server);
        direct.push(false).unwrap();
        assert_eq!(server.faults_left(), 0);
        assert_eq!(server.status("models", "m:v1").0, "success");
        if way == Way::Parts {
            assert_eq!(server.count("PATCH", "/presign_multipart_upload_url"), PARTS + 3);
        }
        fs::remove_dir_all(context.bentoml_home().join("models/m")).unwrap();
        direct.pull().unwrap();
        assert_eq!(tree(&context.bentoml_home().join("models/m/v1")), there);
        assert_eq!(server.token_leaks(), Vec::<String>::new());
    }
}

#[test]
fn a_signed_url_that_is_too_old_is_replaced() {
    let context = TestContext::new();
    for (way, suffix) in [(Way::Single, "/v1"), (Way::Parts, "/2")] {
        let server = CloudServer::start(way);
        fs::remove_dir_all(context.bentoml_home()).ok();
        model(&context, "m:v1");
        let direct = Direct::new(&context, &server);
        server.fail("PUT", suffix, Fault::Status(403));
        direct.push(false).unwrap();
        server.fail("GET", "/storage/models/m/v1", Fault::Status(403));
        direct.pull().unwrap();
        assert_eq!(server.faults_left(), 0);
        // One that stays refused is an error, and the server is told.
        for _ in 0..3 {
            server.fail("PUT", suffix, Fault::Status(403));
        }
        let error = direct.push(true).unwrap_err();
        assert!(
            error.starts_with(
                "Failed to upload model \"m:v1\": the storage of the server answers with status code 403: "
            ),
            "{error}"
        );
        assert!(!error.contains(TOKEN), "{error}");
        let (status, reason) = server.status("models", "m:v1");
        assert_eq!(status, "failed");
        assert!(reason.contains("403") && !reason.contains(TOKEN), "{reason}");
    }
}

#[test]
fn an_upload_in_parts_goes_on_where_it_broke_off() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Parts);
    let there = tree(&model(&context, "m:v1"));
    let direct = Direct::new(&context, &server);
    let fail = || (0..3).for_each(|_| server.fail("PUT", "/5", Fault::Status(403)));
    fail();
    direct.push(false).unwrap_err();
    let sent = |log: &[String]| log.iter().filter(|line| line.starts_with("PUT")).count();
    let first = sent(&server.take_log()) - 3;
    assert!((1..PARTS).contains(&first), "{first}");
    direct.push(false).unwrap();
    let log = server.take_log();
    // Those that were under way when the fifth failed may have been lost.
    assert!((1..PARTS).contains(&sent(&log)), "{log:?}");
    assert!(!log.iter().any(|line| line.ends_with("/start_multipart_upload")), "{log:?}");
    fs::remove_dir_all(context.bentoml_home().join("models/m")).unwrap();
    direct.pull().unwrap();
    assert_eq!(tree(&context.bentoml_home().join("models/m/v1")), there);
    // A server that forgot it gets everything again, and so does one that would mix two models.
    fail();
    direct.push(true).unwrap_err();
    server.forget_uploads();
    server.take_log();
    direct.push(true).unwrap();
    assert_eq!(sent(&server.take_log()), PARTS);
    fail();
    direct.push(true).unwrap_err();
    fs::write(context.bentoml_home().join("models/m/v1/weights.bin"), vec![4; 200_000]).unwrap();
    server.take_log();
    direct.push(true).unwrap();
    assert_eq!(sent(&server.take_log()), PARTS);
}

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Single);
    let there = tree(&model(&context, "m:v1"));
    let direct = Direct::new(&context, &server);
    direct.push(false).unwrap();
    let item = context.bentoml_home().join("models/m/v1");
    for way in [Way::Single, Way::Proxy] {
        server.set_way(way);
        let path = if way == Way::Proxy { "/download" } else { "/storage/models/m/v1" };
        fs::remove_dir_all(context.bentoml_home().join("models/m")).unwrap();
        server.take_log();
        for _ in 0..6 {
            server.fail("GET", path, Fault::CutAnswer(30_000));
        }
        direct.pull().unwrap();
        assert_eq!(tree(&item), there);
        assert_eq!(server.count("GET", path), 7);
    }
    // Even in another process; unless it has changed in the meantime.
    for change in [false, true] {
        let cut = |times: usize| {
            server.fail("GET", "/download", Fault::CutAnswer(90_000));
            (0..times).for_each(|_| server.fail("GET", "/download", Fault::Status(500)));
        };
        cut(4);
        direct.pull().unwrap_err();
        assert_eq!(server.faults_left(), 0);
        if change {
            fs::write(item.join("weights.bin"), vec![5; 200_000]).unwrap();
            server.set_way(Way::Proxy);
            direct.push(true).unwrap();
        }
        let there = tree(&item);
        server.take_log();
        Direct::new(&context, &server).pull().unwrap();
        assert_eq!(server.count("GET", "/download"), 1);
        assert_eq!(tree(&item), there);
    }
}

#[test]
fn what_cannot_be_repeated_is_said_at_once() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Proxy);
    model(&context, "m:v1");
    let direct = Direct::new(&context, &server);
    server.fail("PUT", "/upload", Fault::Status(401));
    let error = direct.push(false).unwrap_err();
    assert_eq!(
        error,
        "Failed to upload model \"m:v1\": request failed with status code 401: fault, and your token is ***"
    );
    assert_eq!(server.count("PUT", "/upload"), 1);
    fs::remove_file(context.bentoml_home().join("models/m/v1/link")).unwrap();
    std::os::unix::fs::symlink("/etc", context.bentoml_home().join("models/m/v1/link")).unwrap();
    let error = direct.push(false).unwrap_err();
    assert!(error.contains("link`: is a link that leads out, to `/etc`"), "{error}");
    let direct = Direct::new(&context, &server);
    drop(server);
    let error = direct.push(false).unwrap_err();
    assert!(error.starts_with("cannot talk to `http://127.0.0.1:"), "{error}");
}

#[test]
fn whoever_asks_to_stop_is_heard_while_nothing_moves() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Single);
    let there = tree(&model(&context, "m:v1"));
    let stop = |command: &Command| {
        let service = Service::start(command);
        server.wait_until_stuck();
        service.signal(Signal::INT);
        let (status, output) = service.wait();
        assert_eq!(status.code(), Some(130), "{output}");
        assert!(output.contains("run the command again to go on"), "{output}");
    };
    let push = server.env(context.ekiben(["models", "push", "m:v1"]));
    server.fail("PUT", "/v1", Fault::Stuck);
    stop(&push);
    assert_eq!(server.status("models", "m:v1").0, "uploading");
    let _pushed = push.run();
    let pull = elsewhere(&context, server.env(context.ekiben(["models", "pull", "m:v1"])));
    server.fail("GET", "/storage/models/m/v1", Fault::Stuck);
    stop(&pull);
    let home = Home::open(other_home(&context)).unwrap();
    assert!(home.models().list(None).unwrap().items.is_empty());
    let _pulled = pull.run();
    assert_eq!(tree(&other_home(&context).join("models/m/v1")), there);
}

#[test]
fn a_pull_that_is_killed_leaves_a_consistent_store() {
    let context = TestContext::new();
    let server = CloudServer::start(Way::Single);
    let first = tree(&model(&context, "m:v1"));
    let _pushed = server.env(context.ekiben(["models", "push", "m:v1"])).run();
    let contents = server.content("models", "m:v1");
    let pull = elsewhere(&context, server.env(context.ekiben(["models", "pull", "m:v1", "--force"])));
    let started = Instant::now();
    let _pulled = pull.clone().run();
    let within = started.elapsed();
    // Another content under the same tag: whatever is there is one of both, whole.
    let path = context.bentoml_home().join("models/m/v1/weights.bin");
    fs::write(path, vec![9; 300_000]).unwrap();
    let second = tree(&context.bentoml_home().join("models/m/v1"));
    let _pushed = server.env(context.ekiben(["models", "push", "m:v1", "--force"])).run();
    let others = server.content("models", "m:v1");
    let home = Home::open(other_home(&context)).unwrap();
    // Printed when the test fails, to be tried again.
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..ROUNDS {
        let is_odd = round % 2 == 1;
        server.set_content("models", "m:v1", if is_odd { contents.clone() } else { others.clone() });
        let mut child = pull.spawn();
        thread::sleep(within.mul_f64(random.gen_range(0.0..1.2)));
        child.kill().unwrap();
        child.wait().unwrap();
        let listing = home.models().list(None).unwrap();
        assert!(listing.broken.is_empty(), "round {round}: {:?}", listing.broken);
        assert_eq!(listing.items.len(), 1, "round {round}");
        let found: Model = home.models().get(&"m".parse().unwrap()).unwrap();
        let found = tree(&found.path);
        assert!(found == first || found == second, "round {round}");
    }
    let _pulled = pull.run();
    let left = fs::read_dir(home.scratch()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(
        left.collect::<Vec<_>>(),
        ["locks"],
        "the next pull takes up or sweeps what the killed ones left"
    );
}

#[test]
fn readers_see_a_whole_model_while_it_is_replaced() {
    let context = TestContext::new();
    let first = tree(&model(&context, "m:v1"));
    let home = Home::open(context.bentoml_home()).unwrap();
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reader = {
        let (home, is_over) = (home.clone(), Arc::clone(&is_over));
        thread::spawn(move || {
            let mut reads = 0_u32;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let found: Model = home.models().get(&"m".parse().unwrap()).unwrap();
                assert_eq!(found.info.tag.to_string(), "m:v1");
                reads += 1;
            }
            reads
        })
    };
    for _ in 0..50 {
        let staging = home.models().stage("m").unwrap();
        for (name, content, mode) in &first {
            let path = staging.path().join(name);
            match mode {
                _ if content.is_empty() => fs::create_dir(&path).unwrap(),
                0o777 => {
                    std::os::unix::fs::symlink(String::from_utf8(content.clone()).unwrap(), &path).unwrap();
                }
                _ => fs::write(&path, content).unwrap(),
            }
        }
        home.models().replace(staging).unwrap();
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
}
