//! The tests' hub, proven by the hub's own client: what it downloads, what it asks for, and what it makes of faults.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use walkdir::WalkDir;

use crate::support::context::TestContext;
use crate::support::fake_server::Answer;
use crate::support::hub::{ALWAYS, Fault, Hub, LfsRule, Logged, SmallFiles};
use crate::support::hub_client::{HubClient, Refused, cache_tree};
use crate::support::sources::repository;
use crate::support::web;

const ID: &str = "acme/tiny";
const TOKEN: &str = "hf_the5ecret";

/// Larger than what the client keeps in memory before it writes: 10 MiB.
const LARGE: usize = 25 << 20;

const FILES: &[(&str, &[u8])] = &[
    (".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n"),
    ("config.json", b"{\"model_type\": \"tiny\"}\n"),
    ("empty.txt", b""),
    ("model.safetensors", b"not really tensors"),
    ("nested/deep/a b+c#dé%41.txt", b"a name to escape\n"),
    ("nested/weights.bin", b"other weights"),
];

/// A world with a client in a home of its own, against one hub.
struct World {
    context: TestContext,
    hub: Hub,
}

impl World {
    fn new() -> Self {
        Self { context: TestContext::new(), hub: Hub::start() }
    }

    fn client(&self, home: &str) -> HubClient<'_> {
        HubClient::new(&self.context, &self.hub, &self.context.work().join(home))
    }

    /// A repository with one large file and a small one; the bytes of the large one.
    fn large(&self) -> Vec<u8> {
        let bytes: Vec<u8> = (0..=250).cycle().take(LARGE).collect();
        self.hub.repository(ID).commit_files(&[("large.bin", &bytes), ("config.json", b"{}")]);
        bytes
    }
}

fn assert_snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(repository().join("testdata/hub/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn is_done(result: Result<PathBuf, Refused>) -> PathBuf {
    result.unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn refused(result: Result<PathBuf, Refused>) -> (String, Option<u64>) {
    let refused = result.expect_err("the client did not refuse");
    (refused.class, refused.status)
}

/// The files of a snapshot by name, with their bytes.
fn files_of(snapshot: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = WalkDir::new(snapshot).follow_links(true).sort_by_file_name();
    let files = entries.into_iter().map(|entry| entry.expect("the snapshot can be walked"));
    files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry.path().strip_prefix(snapshot).expect("the walk started there");
            (name.to_string_lossy().into_owned(), fs::read(entry.path()).expect("a file can be read"))
        })
        .collect()
}

fn names_of(snapshot: &Path) -> Vec<String> {
    files_of(snapshot).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_snapshot_is_downloaded_and_asked_for_once() {
    let world = World::new();
    let commit = world.hub.repository(ID).commit_files(FILES);
    let client = world.client("home");

    let snapshot = is_done(client.snapshot(ID, &json!({})));
    assert_eq!(snapshot, client.cache().join("models--acme--tiny/snapshots").join(&commit));
    let wanted: Vec<_> = FILES.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    assert_eq!(files_of(&snapshot), wanted);
    assert_snapshot("cache", &cache_tree(&client.cache()));

    let mut log = world.hub.take_log();
    log.sort();
    assert_snapshot("requests", &log.join("\n").replace(&commit, "COMMIT"));

    assert_eq!(is_done(client.snapshot(ID, &json!({}))), snapshot);
    assert_eq!(world.hub.take_log(), ["GET /api/models/acme/tiny/revision/main"]);
    assert_eq!(is_done(client.snapshot(ID, &json!({"revision": commit}))), snapshot);
    assert_eq!(world.hub.take_log(), Vec::<String>::new());
}

#[test]
fn branches_tags_and_commits_lead_to_their_files() {
    let world = World::new();
    let repository = world.hub.repository(ID);
    let first = repository.commit_files(&[("a.txt", b"first")]);
    let second = repository.commit_files(&[("a.txt", b"second")]);
    repository.tag("v1", &first).branch("feature/x", &first);
    let client = world.client("home");
    for (revision, bytes) in [
        ("main", "second"),
        ("v1", "first"),
        ("feature/x", "first"),
        (first.as_str(), "first"),
        (second.as_str(), "second"),
    ] {
        let snapshot = is_done(client.snapshot(ID, &json!({"revision": revision})));
        assert_eq!(files_of(&snapshot), [("a.txt".to_owned(), bytes.into())], "{revision}");
    }
    let references = client.cache().join("models--acme--tiny/refs");
    for (name, commit) in [("main", &second), ("v1", &first), ("feature/x", &first)] {
        assert_eq!(&fs::read_to_string(references.join(name)).unwrap(), commit, "{name}");
    }
    let refs = client.call("list_repo_refs", ID, &json!({})).expect("the references are listed");
    assert!(refs.as_str().is_some_and(|text| text.contains("feature/x") && text.contains(&first)), "{refs}");
}

#[test]
fn patterns_choose_files() {
    let world = World::new();
    world.hub.repository(ID).commit_files(FILES);
    let client = world.client("home");
    let chosen = |arguments: Value| names_of(&is_done(client.snapshot(ID, &arguments)));
    assert_eq!(chosen(json!({"allow_patterns": "*.json"})), ["config.json"]);
    assert_eq!(world.hub.sent("/lfs/"), 0);
    let arguments = json!({"allow_patterns": ["nested/*", "*.json"], "ignore_patterns": ["*.txt"]});
    assert_eq!(chosen(arguments), ["config.json", "nested/weights.bin"]);
    assert_eq!(world.hub.requests("GET", "/lfs/").len(), 1);
}

#[test]
fn repositories_without_organisation_and_renamed_ones_are_found() {
    let world = World::new();
    let commit = world.hub.repository("gpt2").commit_files(FILES);
    let snapshot = is_done(world.client("plain").snapshot("gpt2", &json!({})));
    assert!(snapshot.ends_with(format!("models--gpt2/snapshots/{commit}")), "{}", snapshot.display());
    assert_eq!(names_of(&snapshot).len(), FILES.len());

    world.hub.repository("openai-community/gpt2").commit_files(FILES);
    world.hub.rename("gpt2", "openai-community/gpt2");
    world.hub.set_page(2);
    world.hub.take_log();
    let snapshot = is_done(world.client("renamed").snapshot("gpt2", &json!({})));
    // Under the name that was asked for.
    assert!(snapshot.ends_with(format!("models--gpt2/snapshots/{commit}")), "{}", snapshot.display());
    assert_eq!(names_of(&snapshot).len(), FILES.len());
    let redirected = world.hub.log().into_iter().filter(|logged| logged.status == 307).count();
    assert!(redirected >= 2 + FILES.len(), "{redirected} redirects");
}

#[test]
fn names_lead_to_repositories_in_any_case() {
    let world = World::new();
    world.hub.repository("Acme/Tiny-V2").commit_files(FILES);
    let snapshot = is_done(world.client("home").snapshot("acme/tiny-v2", &json!({})));
    assert_eq!(names_of(&snapshot).len(), FILES.len());
    assert!(world.hub.log().iter().any(|logged| logged.status == 307));
}

#[test]
fn small_files_may_come_from_a_cache_on_the_same_host() {
    let world = World::new();
    let commit = world.hub.repository(ID).commit_files(FILES);
    world.hub.set_small_files(SmallFiles::Redirected);
    let client = world.client("home");
    let wanted: Vec<_> = FILES.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    assert_eq!(files_of(&is_done(client.snapshot(ID, &json!({})))), wanted);
    let cached = world.hub.requests("GET", &format!("/api/resolve-cache/models/acme/tiny/{commit}/"));
    // An empty file is made, not fetched.
    assert_eq!(cached.len(), 3, "{:?}", world.hub.take_log());
}

#[test]
fn small_files_may_come_compressed() {
    let world = World::new();
    let text = "a text that repeats itself\n".repeat(1000);
    world.hub.repository(ID).commit_files(&[("README.md", text.as_bytes())]);
    world.hub.compress_small_files(true);
    let snapshot = is_done(world.client("home").snapshot(ID, &json!({})));
    assert_eq!(fs::read_to_string(snapshot.join("README.md")).unwrap(), text);
    assert!(world.hub.sent("README.md") < 1000, "{}", world.hub.sent("README.md"));
}

#[test]
fn sizes_and_folders_are_told() {
    let world = World::new();
    world.hub.repository(ID).commit_files(FILES);
    let client = world.client("home");
    let info = client.call("model_info", ID, &json!({"files_metadata": true})).expect("the model is known");
    let info = info.as_str().expect("a text").to_owned();
    let weights = "53959fa102f31e51d8d1ee12fe89c2fd7cd556dbaf2c6102046d195a504850a0";
    for part in ["size=13", weights, "pointer_size=127", "blob_id='e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'"]
    {
        assert!(info.contains(part), "no {part} in {info}");
    }
    let listed = |arguments: Value| -> Vec<String> {
        let listed = client.call("list_repo_tree", ID, &arguments).expect("the tree is known");
        let items = listed.as_array().expect("a list").iter();
        items
            .map(|item| item.as_str().expect("a text").split('\'').nth(1).unwrap_or_default().to_owned())
            .collect()
    };
    let top = [".gitattributes", "config.json", "empty.txt", "model.safetensors", "nested"];
    assert_eq!(listed(json!({})), top);
    let nested = ["nested/deep", "nested/deep/a b+c#dé%41.txt", "nested/weights.bin"];
    assert_eq!(listed(json!({"path_in_repo": "nested", "recursive": true, "expand": true})), nested);
    let missing = client.call("list_repo_tree", ID, &json!({"path_in_repo": "nothing"}));
    assert_eq!(missing.expect_err("a folder that is not there").class, "RemoteEntryNotFoundError");
}

/// What a part of a file is, by the client's own session: status, `Content-Range` and bytes.
#[test]
fn ranges_are_parts_of_files() {
    const SCRIPT: &str = "
import json, sys
from huggingface_hub.utils import get_session
answers = []
for part in json.loads(sys.argv[2]):
    answer = get_session().get(sys.argv[1], headers={'Range': part}, follow_redirects=True)
    answers.append([answer.status_code, answer.headers.get('Content-Range'), answer.text])
json.dump(answers, sys.stdout)
";
    let world = World::new();
    world.hub.repository(ID).commit_files(&[("ten.txt", b"0123456789"), ("ten.bin", b"0123456789")]);
    let parts = [
        "bytes=2-4",
        "bytes=7-",
        "bytes=-3",
        "bytes=8-99",
        "bytes=10-",
        "bytes=4-2",
        "bytes=0-1,4-5",
        "lines=1-2",
    ];
    let wanted = json!([
        [206, "bytes 2-4/10", "234"],
        [206, "bytes 7-9/10", "789"],
        [206, "bytes 7-9/10", "789"],
        [206, "bytes 8-9/10", "89"],
        [416, "bytes */10", ""],
        [416, "bytes */10", ""],
        [200, null, "0123456789"],
        [200, null, "0123456789"],
    ]);
    for name in ["ten.txt", "ten.bin"] {
        let url = format!("{}/{ID}/resolve/main/{name}", world.hub.endpoint());
        let python = world.client("home").python();
        assert_eq!(
            python.args(["-c", SCRIPT, &url, &json!(parts).to_string()]).run().json(),
            wanted,
            "{name}"
        );
    }
    world.hub.fail("GET", "/lfs/", 1, Fault::Length(12));
    let url = format!("{}/{ID}/resolve/main/ten.bin", world.hub.endpoint());
    let longer = world.client("home").python().args(["-c", SCRIPT, &url, "[\"bytes=8-\"]"]).run().json();
    assert_eq!(longer, json!([[206, "bytes 8-11/12", "89\0\0"]]));
}

#[test]
fn listings_come_in_pages() {
    let world = World::new();
    let names: Vec<String> = (0..25).map(|index| format!("folder/{index:02}.txt")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    world.hub.repository(ID).commit_files(&files);
    world.hub.set_page(10);
    let snapshot = is_done(world.client("home").snapshot(ID, &json!({})));
    assert_eq!(names_of(&snapshot), names);
    // 25 files and their folder.
    assert_eq!(world.hub.requests("GET", "/tree/").len(), 3);
}

#[test]
fn gated_files_are_for_those_who_were_let_in() {
    let world = World::new();
    world.hub.repository(ID).gate().admit(TOKEN).commit_files(FILES);
    world.hub.add_token("hf_somebody");
    let ask = |home: &str, token: &str| {
        let client = world.client(home);
        let client = if token.is_empty() { client } else { client.with_token(token) };
        client.snapshot(ID, &json!({}))
    };
    assert_eq!(refused(ask("nobody", "")), ("GatedRepoError".to_owned(), Some(401)));
    assert_eq!(refused(ask("somebody", "hf_somebody")), ("GatedRepoError".to_owned(), Some(403)));
    assert_eq!(refused(ask("wrong", "hf_wrong")).1, Some(401));
    world.hub.take_log();
    assert_eq!(names_of(&is_done(ask("owner", TOKEN))).len(), FILES.len());

    let log = world.hub.log();
    let bearer = format!("Bearer {TOKEN}");
    let (storage, hub): (Vec<&Logged>, Vec<&Logged>) =
        log.iter().partition(|logged| logged.path.starts_with("/lfs/"));
    assert_eq!(storage.len(), 2);
    assert!(hub.iter().all(|logged| logged.authorization() == Some(&bearer)), "{hub:?}");
    assert_eq!(world.hub.token_leaks(), Vec::<String>::new());
}

#[test]
fn private_repositories_are_not_there_for_others() {
    let world = World::new();
    world.hub.repository(ID).hide().admit(TOKEN).commit_files(FILES);
    world.hub.add_token("hf_somebody");
    let missing = |status| ("RepositoryNotFoundError".to_owned(), Some(status));
    for id in [ID, "acme/nothing"] {
        assert_eq!(refused(world.client("nobody").snapshot(id, &json!({}))), missing(401), "{id}");
        let somebody = world.client("somebody").with_token("hf_somebody");
        assert_eq!(refused(somebody.snapshot(id, &json!({}))), missing(404), "{id}");
    }
    is_done(world.client("owner").with_token(TOKEN).snapshot(ID, &json!({})));
    let who = |token: &str| {
        let script = "import huggingface_hub as h, sys; sys.stdout.write(h.whoami()['name'])";
        world.client("who").with_token(token).python().args(["-c", script])
    };
    assert_eq!(who(TOKEN).run().stdout, "tester");
    let output = who("hf_wrong").status(1).stderr("401").run();
    assert_eq!(output.stdout, "");
}

#[test]
fn what_is_not_there_is_told_apart() {
    let world = World::new();
    world.hub.repository(ID).commit_files(FILES);
    let client = world.client("home");
    let revision = refused(client.snapshot(ID, &json!({"revision": "v9"})));
    assert_eq!(revision, ("RevisionNotFoundError".to_owned(), Some(404)));
    let file = refused(client.file(ID, &json!({"filename": "nothing.bin"})));
    assert_eq!(file, ("RemoteEntryNotFoundError".to_owned(), Some(404)));
    let file = refused(client.file(ID, &json!({"filename": "config.json", "revision": "v9"})));
    assert_eq!(file, ("RevisionNotFoundError".to_owned(), Some(404)));
    is_done(client.file(ID, &json!({"filename": "nested/weights.bin"})));
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let world = World::new();
    let bytes = world.large();
    world.hub.fail("GET", "/lfs/", 1, Fault::CutAfter(LARGE / 2));
    let snapshot = is_done(world.client("home").snapshot(ID, &json!({})));
    assert!(fs::read(snapshot.join("large.bin")).unwrap() == bytes, "other bytes arrived");
    assert_eq!(world.hub.faults_left(), 0);
    let requests = world.hub.requests("GET", "/lfs/");
    let seen: Vec<_> = requests.iter().map(|logged| (logged.status, logged.range())).collect();
    // The client keeps what it has by 10 MiB.
    assert_eq!(seen, [(200, None), (206, Some("bytes=10485760-"))]);
    assert_eq!(requests[0].sent(), (LARGE / 2) as u64);
    assert_eq!(world.hub.sent("large.bin"), (LARGE / 2 + LARGE - 10_485_760) as u64);
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let world = World::new();
    let bytes = world.large();
    world.hub.fail("GET", "/lfs/", 1, Fault::CutAfter(LARGE / 2));
    world.hub.fail("GET", "/lfs/", ALWAYS, Fault::IgnoreRange);
    let snapshot = is_done(world.client("home").snapshot(ID, &json!({})));
    assert!(fs::read(snapshot.join("large.bin")).unwrap() == bytes, "other bytes arrived");
    let statuses: Vec<_> = world.hub.requests("GET", "/lfs/").iter().map(|logged| logged.status).collect();
    assert_eq!(statuses, [200, 200]);
}

#[test]
fn a_stalled_connection_is_given_up() {
    let world = World::new();
    let bytes = world.large();
    let stall = Fault::Stall { after: LARGE as u64 / 2, during: Duration::from_mins(10) };
    world.hub.fail("GET", "/lfs/", 1, stall);
    let snapshot = is_done(world.client("home").snapshot(ID, &json!({})));
    assert!(fs::read(snapshot.join("large.bin")).unwrap() == bytes, "other bytes arrived");
    assert_eq!(world.hub.requests("GET", "/lfs/").len(), 2);
}

#[test]
fn busy_servers_are_asked_again() {
    let world = World::new();
    world.hub.repository(ID).commit_files(FILES);
    // Asking for the revision is the one thing that the client does not repeat.
    world.hub.fail("GET", "/revision/", 1, Fault::TooManyRequests { retry_after: 1 });
    let client = world.client("home");
    assert_eq!(refused(client.snapshot(ID, &json!({}))).0, "LocalEntryNotFoundError");

    world.hub.fail("GET", "/tree/", 1, Fault::Status(503));
    world.hub.fail("GET", "model.safetensors", 1, Fault::TooManyRequests { retry_after: 0 });
    world.hub.fail("GET", "weights.bin", 1, Fault::Silence);
    world.hub.fail("HEAD", "config.json", 1, Fault::Late(Duration::from_millis(100)));
    let snapshot = is_done(client.snapshot(ID, &json!({})));
    assert_eq!(names_of(&snapshot).len(), FILES.len());
    assert_eq!(world.hub.faults_left(), 0);
    let statuses = |path: &str| -> Vec<u16> {
        world.hub.requests("GET", path).iter().map(|logged| logged.status).collect()
    };
    assert_eq!(statuses("/revision/"), [429, 200]);
    assert_eq!(statuses("/tree/"), [503, 200]);
    assert_eq!(statuses("model.safetensors"), [429, 200]);
    assert_eq!(statuses("weights.bin"), [0, 200]);
}

#[test]
fn answers_may_be_slow_or_anything_at_all() {
    let world = World::new();
    world.hub.repository(ID).commit_files(&[("slow.bin", &vec![7; 100_000])]);
    world.hub.fail("GET", "/lfs/", 1, Fault::Slow { bytes_per_second: 100_000 });
    let start = Instant::now();
    is_done(world.client("home").snapshot(ID, &json!({})));
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());

    let address = world.hub.endpoint().trim_start_matches("http://").parse().unwrap();
    world.hub.fail("GET", "/tree/", 1, Fault::Huge(3_000_000));
    let huge = web::get(address, "/api/models/acme/tiny/tree/main").unwrap();
    assert_eq!((huge.body.len(), huge.json()), (3_000_000, json!([])));
    world.hub.fail("GET", "/tree/", 1, Fault::Answer(Answer::status(200).body("<html>")));
    assert_eq!(web::get(address, "/api/models/acme/tiny/tree/main").unwrap().body, "<html>");

    let redirect = web::get(address, "/acme/tiny/resolve/main/slow.bin").unwrap();
    let url = redirect.body.rsplit(' ').next().unwrap();
    let path = url.strip_prefix(&world.hub.storage_endpoint()).unwrap();
    let storage = world.hub.storage_endpoint().replace("http://localhost", "127.0.0.1").parse().unwrap();
    assert_eq!(web::get(storage, path).unwrap().status, 200);
    world.hub.expire_signatures();
    assert_eq!(web::get(storage, path).unwrap().status, 403);
}

#[test]
fn wrong_lengths_and_expired_urls_are_refused() {
    let world = World::new();
    world.large();
    // Its own tries are over: the next download starts with a new URL.
    world.hub.fail("GET", "/lfs/", 1, Fault::Expired);
    let client = world.client("home");
    assert_eq!(refused(client.snapshot(ID, &json!({}))), ("HfHubHTTPError".to_owned(), Some(403)));
    is_done(client.snapshot(ID, &json!({})));

    world.hub.fail("GET", "/lfs/", 1, Fault::Length(LARGE as u64 - 1));
    let refused = world.client("short").snapshot(ID, &json!({})).expect_err("a short file was taken");
    assert!(refused.message.contains("Consistency check failed"), "{refused:?}");
    world.hub.fail("GET", "/lfs/", 1, Fault::Missing);
    let refused = world.client("missing").snapshot(ID, &json!({})).expect_err("a missing file was taken");
    assert_eq!(refused.status, Some(404), "{refused:?}");
}

#[test]
fn bytes_that_changed_on_the_way_are_served_as_told() {
    let world = World::new();
    let mut bytes = world.large();
    world.hub.fail("GET", "/lfs/", 1, Fault::WrongByte { offset: 12_345_678 });
    // The client does not look: whoever verifies has to.
    let snapshot = is_done(world.client("home").snapshot(ID, &json!({})));
    bytes[12_345_678] = !bytes[12_345_678];
    assert!(fs::read(snapshot.join("large.bin")).unwrap() == bytes, "other bytes arrived");
}

#[test]
fn tampered_listings_and_headers_reach_the_client() {
    let world = World::new();
    let repository = world.hub.repository(ID);
    repository.commit_files(FILES);
    repository.list_also("config.json", "../outside");
    let refused = world.client("home").snapshot(ID, &json!({})).expect_err("a path outside was taken");
    assert!(refused.message.contains("../outside"), "{refused:?}");
    assert!(!world.context.work().join("home/hub/models--acme--tiny/snapshots/outside").exists());
    // Whoever is less careful gets what was promised, however the path is read.
    let address = world.hub.endpoint().trim_start_matches("http://").parse().unwrap();
    for path in ["main/../outside", "outside", "main/%2e%2e%2foutside"] {
        let answer = web::get(address, &format!("/{ID}/resolve/{path}")).unwrap();
        assert_eq!((answer.status, answer.body.as_bytes()), (200, FILES[1].1), "{path}");
    }

    let world = World::new();
    let repository = world.hub.repository(ID);
    repository.commit_files(FILES);
    repository.list_also("nested/weights.bin", "Nested/Weights.bin").tamper(|entries| {
        entries.retain(|entry| entry["path"] != "empty.txt");
        entries[0]["size"] = json!(7);
    });
    let names = names_of(&is_done(world.client("home").snapshot(ID, &json!({}))));
    assert_eq!(names.len(), FILES.len(), "{names:?}");
    assert!(names.contains(&"Nested/Weights.bin".to_owned()), "{names:?}");

    let world = World::new();
    world.hub.repository(ID).commit_files(&[("config.json", b"{}")]);
    world.hub.fail("HEAD", "config.json", ALWAYS, Fault::WithoutHeader("X-Repo-Commit"));
    let refused = world.client("home").snapshot(ID, &json!({})).expect_err("a file of no commit was taken");
    assert_eq!(refused.class, "LocalEntryNotFoundError", "{refused:?}");
    world.hub.heal();
    world.hub.fail("HEAD", "config.json", 1, Fault::Header("ETag", "\"another\"".to_owned()));
    let client = world.client("other");
    is_done(client.snapshot(ID, &json!({})));
    assert!(client.cache().join("models--acme--tiny/blobs/another").exists());
}

#[test]
fn xet_is_offered_and_need_not_be_used() {
    let world = World::new();
    world.hub.repository(ID).commit_files(FILES);
    world.hub.offer_xet(true);
    let client = world.client("home").without_xet();
    assert_eq!(names_of(&is_done(client.snapshot(ID, &json!({})))).len(), FILES.len());
    let tree = client.call("get_paths_info", ID, &json!({"paths": []}));
    assert!(tree.is_err(), "the server does not know this question");
    // Who does use it asks for a token, which this server does not have.
    let refused = world.client("xet").snapshot(ID, &json!({})).expect_err("there is no Xet server");
    assert!(!world.hub.requests("GET", "/xet-read-token/").is_empty(), "{refused:?}");
}

#[test]
fn rules_say_which_files_are_large() {
    let world = World::new();
    let folder = world.context.work().join("files");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("long.txt"), [b'x'; 100]).unwrap();
    fs::write(folder.join("short.bin"), b"x").unwrap();
    let rule = LfsRule { from: 100, kinds: Vec::new() };
    world.hub.repository(ID).commit_with(&folder, &rule);
    let snapshot = is_done(world.client("home").snapshot(ID, &json!({})));
    assert_eq!(names_of(&snapshot), ["long.txt", "short.bin"]);
    assert_eq!(world.hub.requests("GET", "/lfs/").len(), 1);
    assert_eq!(world.hub.sent("long.txt"), 100);
}
