//! Downloads from the tests' hub: the same cache that the hub's own client makes, whatever goes wrong on the way.

use std::path::Path;
use std::time::Duration;

use ekiben::env::Environment;
use ekiben::http::{Backoff, Client, ClientSettings};
use ekiben::hub::{Examine, Hub, HubError, HubSettings, Patterns, Refusal, Repository, Snapshot, Wanted};
use ekiben::oci::digest::Digest;
use ekiben::report::Activity;
use serde_json::json;

use crate::support::context::TestContext;
use crate::support::fake_server::Answer;
use crate::support::hub::{self as server, ALWAYS, Fault, Logged, SmallFiles};
use crate::support::hub_client::{HubClient, cache_tree};

const ID: &str = "Acme/Tiny-V1.5";
const TOKEN: &str = "hf_the5ecret";

/// Several of our chunks, of which the last is not whole.
const LARGE: usize = (40 << 20) + 12345;

const FILES: &[(&str, &[u8])] = &[
    (".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n"),
    ("config.json", b"{\"model_type\": \"tiny\"}\n"),
    ("copy of config.json", b"{\"model_type\": \"tiny\"}\n"),
    ("empty.txt", b""),
    ("model.safetensors", b"not really tensors"),
    ("nested/deep/a b+c#dé%41.txt", b"a name to escape\n"),
    ("nested/weights.bin", b"other weights"),
];

/// A hub and a user with an empty cache.
struct World {
    context: TestContext,
    hub: server::Hub,
}

impl World {
    fn new() -> Self {
        Self { context: TestContext::new(), hub: server::Hub::start() }
    }

    /// A repository with one large file and a small one; the bytes of the large one.
    fn large(&self) -> Vec<u8> {
        let bytes: Vec<u8> = (0..=250).cycle().take(LARGE).collect();
        self.hub.repository(ID).commit_files(&[("large.bin", &bytes), ("config.json", b"{}")]);
        bytes
    }

    fn home(&self, name: &str) -> std::path::PathBuf {
        self.context.work().join(name)
    }

    /// Our own client, with the cache `hub` of a home.
    fn ours(&self, home: &str, token: Option<&str>) -> Hub {
        self.with(home, token, |_| {})
    }

    fn with(&self, home: &str, token: Option<&str>, change: impl FnOnce(&mut HubSettings)) -> Hub {
        let home = self.home(home);
        let endpoint = self.hub.endpoint();
        let mut variables = vec![("HF_HOME", home.to_str().unwrap()), ("HF_ENDPOINT", &endpoint)];
        variables.extend(token.map(|token| ("HF_TOKEN", token)));
        let environment: Environment = variables.into_iter().collect();
        let mut settings = HubSettings::of(&environment).unwrap();
        settings.backoff =
            Backoff { attempts: 4, first: Duration::from_millis(5), longest: Duration::from_millis(50) };
        change(&mut settings);
        let http = ClientSettings { stall_timeout: Duration::from_secs(2), ..ClientSettings::default() };
        Hub::new(Client::new(&http).unwrap(), settings, Activity::silent())
    }

    fn wanted(&self, id: &str, revision: &str) -> Wanted {
        let repository = Repository { endpoint: self.hub.endpoint(), id: id.parse().unwrap() };
        Wanted { repository, revision: revision.to_owned(), patterns: Patterns::default() }
    }

    async fn pull(&self, hub: &Hub, revision: &str) -> Result<Snapshot, HubError> {
        let snapshot = hub.resolve(&self.wanted(ID, revision)).await?;
        hub.fetch(&snapshot, &|_| Examine::Nothing).await?;
        hub.remember(&snapshot, revision)?;
        Ok(snapshot)
    }

    fn theirs(&self, home: &str) -> HubClient<'_> {
        HubClient::new(&self.context, &self.hub, &self.home(home))
    }

    fn cache(&self, home: &str) -> std::path::PathBuf {
        self.home(home).join("hub")
    }
}

fn large_file(world: &World, home: &str, snapshot: &Snapshot) -> Vec<u8> {
    let path = world.ours(home, None).cache().snapshot(&snapshot.repository.id, &snapshot.commit);
    std::fs::read(path.join("large.bin")).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_the_one_that_the_hubs_own_client_makes() {
    let world = World::new();
    let repository = world.hub.repository(ID);
    let first = repository.commit_files(FILES);
    repository.commit_files(&[("config.json", b"{}"), ("model.safetensors", b"not really tensors")]);
    repository.tag("v1", &first).branch("feature/x", &first);
    let hub = world.ours("ours", None);
    for revision in ["main", "v1", "feature/x", first.as_str()] {
        world.pull(&hub, revision).await.unwrap();
        world.theirs("theirs").snapshot(ID, &json!({"revision": revision})).unwrap();
    }
    assert_eq!(cache_tree(&world.cache("ours")), cache_tree(&world.cache("theirs")));
    for file in [".locks/models--Acme--Tiny-V1.5", "models--Acme--Tiny-V1.5/trees"] {
        assert_eq!(
            names(&world.cache("ours").join(file)),
            names(&world.cache("theirs").join(file)),
            "{file}"
        );
    }
    let tree = format!("models--Acme--Tiny-V1.5/trees/{first}.json");
    let text = |home: &str| std::fs::read_to_string(world.cache(home).join(&tree)).unwrap();
    assert_eq!(text("ours"), text("theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_finds_and_uses_what_the_other_downloaded() {
    let world = World::new();
    let commit = world.hub.repository(ID).commit_files(FILES);
    let hub = world.ours("shared", None);
    world.pull(&hub, "main").await.unwrap();
    world.hub.take_log();
    let theirs = world.theirs("shared").snapshot(ID, &json!({"revision": commit})).unwrap();
    assert!(theirs.join("nested/weights.bin").exists());
    assert_eq!(world.hub.take_log(), Vec::<String>::new());

    world.theirs("other").snapshot(ID, &json!({})).unwrap();
    world.hub.take_log();
    let hub = world.ours("other", None);
    world.pull(&hub, "main").await.unwrap();
    assert_eq!(world.hub.take_log(), ["GET /api/models/Acme/Tiny-V1.5/revision/main"]);

    let offline = world.with("other", None, |settings| settings.is_offline = true);
    world.pull(&offline, "main").await.unwrap();
    let error = world.pull(&offline, "v9").await.unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert_eq!(world.hub.take_log(), Vec::<String>::new());
    // An older client leaves no listing.
    std::fs::remove_dir_all(world.cache("other").join("models--Acme--Tiny-V1.5/trees")).unwrap();
    assert_eq!(world.pull(&offline, &commit).await.unwrap().files.len(), FILES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_downloaded_to_find_out_what_there_is() {
    let world = World::new();
    world.large();
    let hub = world.ours("home", None);
    let mut wanted = world.wanted("acme/tiny-v1.5", "main");
    wanted.patterns = Patterns { include: Some(vec!["*.bin".to_owned()]), exclude: None };
    let snapshot = hub.resolve(&wanted).await.unwrap();
    assert_eq!(snapshot.repository.id.as_str(), ID, "as the hub writes it");
    assert_eq!((snapshot.files.len(), snapshot.size()), (1, LARGE as u64));
    assert_eq!(world.hub.sent("/resolve/") + world.hub.sent("/lfs/"), 0);
    assert_eq!(hub.missing(&snapshot), LARGE as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_come_in_ranges_and_their_digests_with_them() {
    let world = World::new();
    let bytes = world.large();
    let hub = world.ours("home", None);
    let snapshot = hub.resolve(&world.wanted(ID, "main")).await.unwrap();
    let around = |file: &ekiben::hub::HubFile| match file.path.as_str() {
        "large.bin" => {
            Examine::Enveloped(ekiben::hub::Envelope { before: vec![b'<'; 512].into(), after: ">".into() })
        }
        _ => Examine::Nothing,
    };
    let fetched = hub.fetch(&snapshot, &around).await.unwrap();
    assert_eq!(large_file(&world, "home", &snapshot), bytes);
    let whole = [[b'<'; 512].as_slice(), &bytes, b">"].concat();
    let content = snapshot.files.iter().find(|file| file.path == "large.bin").unwrap().content;
    assert_eq!(fetched.enveloped[&content], (Digest::of(&whole), whole.len() as u64));
    assert_eq!(fetched.downloaded, LARGE as u64 + 2);
    let ranges: Vec<_> =
        world.hub.requests("GET", "/lfs/").iter().map(|logged| logged.range().map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert!(ranges.iter().all(Option::is_some), "{ranges:?}");

    // Once more, from what is here; and nothing is asked for.
    world.hub.take_log();
    let again = hub.fetch(&snapshot, &around).await.unwrap();
    assert_eq!((again.enveloped, again.downloaded), (fetched.enveloped, 0));
    assert_eq!(world.hub.take_log(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_by_chance_is_tried_again() {
    for (method, fragment, times, fault) in [
        ("GET", "/revision/", 2, Fault::Status(503)),
        ("GET", "/tree/", 2, Fault::TooManyRequests { retry_after: 0 }),
        ("GET", "/resolve/", 3, Fault::Status(500)),
        ("GET", "/resolve/", 2, Fault::Silence),
        ("GET", "/lfs/", 3, Fault::Status(502)),
        ("GET", "/lfs/", 3, Fault::CutAfter(5 << 20)),
        ("GET", "/lfs/", 2, Fault::CutAfter(0)),
        ("GET", "/lfs/", 2, Fault::Expired),
        ("GET", "/lfs/", 1, Fault::Stall { after: 1 << 20, during: Duration::from_secs(4) }),
    ] {
        let world = World::new();
        let bytes = world.large();
        world.hub.fail(method, fragment, times, fault);
        let hub = world.ours("home", None);
        let snapshot = world.pull(&hub, "main").await.unwrap();
        assert_eq!(large_file(&world, "home", &snapshot), bytes, "{fragment}");
        assert_eq!(world.hub.faults_left(), 0, "{fragment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_costs_only_what_was_on_its_way() {
    let world = World::new();
    world.large();
    world.hub.fail("GET", "/lfs/", 2, Fault::CutAfter(9 << 20));
    let hub = world.ours("home", None);
    world.pull(&hub, "main").await.unwrap();
    // What the system's buffers held when the connection broke is lost.
    let sent = world.hub.sent("/lfs/");
    assert!(sent < LARGE as u64 + (4 << 20), "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_without_ranges_give_everything_once() {
    let world = World::new();
    let bytes = world.large();
    world.hub.fail("GET", "/lfs/", ALWAYS, Fault::IgnoreRange);
    let hub = world.ours("home", None);
    let snapshot = world.pull(&hub, "main").await.unwrap();
    assert_eq!(large_file(&world, "home", &snapshot), bytes);
    assert_eq!(world.hub.requests("GET", "/lfs/").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_may_be_redirected_and_repositories_renamed() {
    let world = World::new();
    world.hub.repository(ID).commit_files(FILES);
    world.hub.rename("old-name", ID);
    world.hub.set_small_files(SmallFiles::Redirected);
    world.hub.set_page(2);
    let hub = world.ours("home", None);
    let snapshot = hub.resolve(&world.wanted("old-name", "main")).await.unwrap();
    assert_eq!(snapshot.files.len(), FILES.len());
    let fetched = hub.fetch(&snapshot, &|_| Examine::Nothing).await.unwrap();
    for (name, bytes) in FILES {
        assert_eq!(std::fs::read(fetched.path.join(name)).unwrap(), *bytes, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_are_never_kept() {
    let world = World::new();
    world.large();
    world.hub.fail("GET", "/lfs/", ALWAYS, Fault::WrongByte { offset: 20 << 20 });
    let hub = world.ours("home", None);
    let error = world.pull(&hub, "main").await.unwrap_err();
    assert!(matches!(&error, HubError::Damaged { path, .. } if path == "large.bin"), "{error}");
    let blobs = world.cache("home").join("models--Acme--Tiny-V1.5/blobs");
    assert!(names(&blobs).iter().all(|name| name.len() == 40), "{:?}", names(&blobs));
    world.hub.heal();
    world.pull(&hub, "main").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_was_damaged_on_the_disk_is_found_when_it_is_looked_at() {
    let world = World::new();
    let bytes = world.large();
    let hub = world.ours("home", None);
    let snapshot = world.pull(&hub, "main").await.unwrap();
    let large = snapshot.files.iter().find(|file| file.path == "large.bin").unwrap();
    let path = hub.cache().content(&snapshot.repository.id, large.content);
    let mut spoilt = bytes.clone();
    spoilt[7] ^= 1;
    std::fs::write(&path, spoilt).unwrap();
    hub.fetch(&snapshot, &|_| Examine::Content).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_download_left_beside_a_whole_content_is_removed() {
    let world = World::new();
    world.large();
    let hub = world.ours("home", None);
    let snapshot = world.pull(&hub, "main").await.unwrap();
    let content = hub.cache().content(&snapshot.repository.id, snapshot.files[0].content);
    let blobs = content.parent().unwrap();
    let whole = names(blobs);
    // It was killed after the content had got its name.
    std::fs::write(content.with_added_extension("ekiben.incomplete.chunks.incomplete"), "ekiben 1").unwrap();
    // Somebody else's is still on its way.
    let other = ["e.ekiben.incomplete", "e.ekiben.incomplete.chunks.incomplete"];
    for name in other {
        std::fs::write(blobs.join(name), "").unwrap();
    }
    world.pull(&hub, "main").await.unwrap();
    let mut expected: Vec<_> = whole.into_iter().chain(other.map(str::to_owned)).collect();
    expected.sort();
    assert_eq!(names(blobs), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_lengths_than_the_listed_are_refused() {
    for (fragment, fault) in [
        ("/lfs/", Fault::Length(17)),
        ("/lfs/", Fault::Length(LARGE as u64 + 1)),
        ("/resolve/", Fault::Length(1)),
    ] {
        let world = World::new();
        world.large();
        world.hub.fail("GET", fragment, ALWAYS, fault);
        let hub = world.ours("home", None);
        let error = world.pull(&hub, "main").await.unwrap_err();
        let is_expected = matches!(error, HubError::Length { .. } | HubError::Download { .. });
        assert!(is_expected, "{fragment}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gated_and_private_repositories_are_for_those_with_a_token() {
    let refusal = |result: Result<Snapshot, HubError>| match result {
        Err(HubError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    };
    let world = World::new();
    world.hub.repository(ID).gate().admit(TOKEN).commit_files(FILES);
    world.hub.add_token("hf_somebody");
    for (home, token, expected) in [
        ("nobody", None, Refusal::Gated),
        ("somebody", Some("hf_somebody"), Refusal::Gated),
        ("wrong", Some("hf_wrong"), Refusal::Token),
    ] {
        let hub = world.ours(home, token);
        assert_eq!(refusal(world.pull(&hub, "main").await), expected, "{home}");
    }
    world.hub.take_log();
    let hub = world.ours("owner", Some(TOKEN));
    world.pull(&hub, "main").await.unwrap();
    let bearer = format!("Bearer {TOKEN}");
    let of_hub = |logged: &&Logged| logged.host == server::Host::Hub;
    assert!(world.hub.log().iter().filter(of_hub).all(|logged| logged.authorization() == Some(&bearer)));
    assert_eq!(world.hub.token_leaks(), Vec::<String>::new());

    let world = World::new();
    world.hub.repository(ID).hide().admit(TOKEN).commit_files(FILES);
    let hub = world.ours("nobody", None);
    assert_eq!(refusal(world.pull(&hub, "main").await), Refusal::NoRepository);
    let hub = world.ours("owner", Some(TOKEN));
    world.pull(&hub, "main").await.unwrap();
    assert_eq!(refusal(world.pull(&hub, "v9").await), Refusal::NoRevision);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_never_shows_the_token() {
    let world = World::new();
    world.hub.repository(ID).admit(TOKEN).commit_files(FILES);
    let body = format!("{{\"error\": \"bad token {TOKEN}\"}}");
    let answer = || Answer::status(400).body(body.clone());
    world.hub.fail("GET", "/revision/", ALWAYS, Fault::Answer(answer()));
    let hub = world.ours("home", Some(TOKEN));
    let error = world.pull(&hub, "main").await.unwrap_err();
    assert!(error.to_string().contains("bad token") && !format!("{error:?}").contains(TOKEN), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_no_hub_gives_are_refused() {
    let world = World::new();
    world.hub.repository(ID).commit_files(FILES);
    for (fragment, fault) in [
        ("/revision/", Fault::Answer(Answer::status(200).body("nonsense"))),
        ("/revision/", Fault::Answer(Answer::status(200).body("{\"sha\": \"../../etc\"}"))),
        (
            "/revision/",
            Fault::Answer(
                Answer::status(200).body(format!("{{\"sha\": \"{}\", \"id\": \"../x\"}}", "0".repeat(40))),
            ),
        ),
        ("/tree/", Fault::Answer(Answer::status(200).body("{}"))),
        ("/tree/", Fault::Header("link", "<http://localhost:1/next>; rel=\"next\"".to_owned())),
        ("/tree/", Fault::Huge(100 << 20)),
    ] {
        world.hub.heal();
        world.hub.fail("GET", fragment, ALWAYS, fault);
        let hub = world.ours("home", None);
        let error = world.pull(&hub, "main").await.unwrap_err();
        let is_expected = matches!(&error, HubError::Answer { .. })
            || matches!(&error, HubError::Http(error) if !error.is_transient());
        assert!(is_expected, "{fragment}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_lead_out_of_the_repository_are_refused() {
    for path in ["../x", "/etc/x", "a/../../x", "", "a//b", "config.json/x", "empty.txt"] {
        let world = World::new();
        let repository = world.hub.repository(ID);
        repository.commit_files(FILES);
        let hostile = json!({"type": "file", "path": path, "size": 1, "oid": "0".repeat(40)});
        repository.tamper(move |entries| entries.push(hostile.clone()));
        let hub = world.ours("home", None);
        let error = world.pull(&hub, "main").await.unwrap_err();
        assert!(matches!(error, HubError::Listing { .. }), "{path}: {error}");
        assert!(!world.cache("home").join("models--Acme--Tiny-V1.5/snapshots").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_second_waits_and_downloads_nothing() {
    let world = World::new();
    world.large();
    world.hub.fail("GET", "/lfs/", ALWAYS, Fault::Slow { bytes_per_second: 40 << 20 });
    let (one, other) = (world.ours("home", None), world.ours("home", None));
    let (one, other) = tokio::join!(world.pull(&one, "main"), world.pull(&other, "main"));
    assert_eq!(one.unwrap(), other.unwrap());
    let sent = world.hub.sent("/lfs/");
    assert!(sent <= LARGE as u64 + (4 << 20), "{sent}");
}
