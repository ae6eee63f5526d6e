//! A server that speaks BentoCloud's protocol, with a storage for signed URLs beside it: all three ways of transfer, and
//! the faults of real ones. `e2e_matrix` has upstream's own client push to it and pull from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use ekiben::oci::digest::Digest;
use serde_json::{Value, json};

use super::command::Command;
use super::fake_server::{Answer, Handler, Received, Server};

/// The token of the only account.
pub(crate) const TOKEN: &str = "tok-5ecret-5ecret";

/// The address of the only account.
pub(crate) const EMAIL: &str = "me@example.com";

/// A time as real servers write it.
const SOME_TIME: &str = "2026-01-01T00:00:00Z";

/// Longer than a client takes to come on a busy machine.
const STUCK_WITHIN: Duration = Duration::from_mins(1);

/// How contents travel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Proxy,
    Single,
    Parts,
}

/// What goes wrong with a request.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// An answer with this status, and nothing done.
    Status(u16),
    /// The connection ends after so many bytes of the request's body.
    CutRequest(usize),
    /// The connection ends after so many bytes of the answer's body.
    CutAnswer(usize),
    /// The connection ends instead of an answer, although everything was done.
    Silence,
    /// No answer ever comes.
    Stuck,
}

/// A listening server.
pub(crate) struct CloudServer {
    server: Server,
    cloud: Arc<Cloud>,
}

#[derive(Default)]
struct State {
    base: String,
    way: Option<Way>,
    repositories: BTreeSet<(String, String)>,
    items: BTreeMap<Key, Item>,
    signatures: BTreeSet<String>,
    signed: u32,
    faults: Vec<(String, String, Fault)>,
    log: Vec<(String, String)>,
    token_leaks: Vec<String>,
    asked_for_token: u32,
    is_stuck: bool,
}

/// `models` or `bentos`, name, version.
type Key = (String, String, String);

#[derive(Default)]
struct Item {
    body: Value,
    status: &'static str,
    reason: String,
    upload_id: String,
    parts: BTreeMap<u64, Vec<u8>>,
    content: Vec<u8>,
}

struct Cloud {
    state: Mutex<State>,
    /// Is told when a request got stuck.
    got_stuck: Condvar,
}

impl CloudServer {
    pub(crate) fn start(way: Way) -> Self {
        let cloud = Arc::new(Cloud {
            state: Mutex::new(State { way: Some(way), ..State::default() }),
            got_stuck: Condvar::new(),
        });
        let server = Server::start(Arc::clone(&cloud) as Arc<dyn Handler>);
        cloud.state().base = format!("http://{}", server.address);
        Self { server, cloud }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// A command that is logged in by its environment.
    pub(crate) fn env(&self, command: Command) -> Command {
        command.env("BENTO_CLOUD_API_KEY", TOKEN).env("BENTO_CLOUD_API_ENDPOINT", self.endpoint())
    }

    /// From now on contents travel in another way.
    pub(crate) fn set_way(&self, way: Way) {
        self.cloud.state().way = Some(way);
    }

    /// The next request of this method whose path ends so meets a fault; may be said several times.
    pub(crate) fn fail(&self, method: &str, suffix: &str, fault: Fault) {
        self.cloud.state().faults.push((method.to_owned(), suffix.to_owned(), fault));
    }

    /// The faults that nobody has met yet.
    pub(crate) fn faults_left(&self) -> usize {
        self.cloud.state().faults.len()
    }

    /// Waits until a request has got stuck.
    pub(crate) fn wait_until_stuck(&self) {
        let wait = self.cloud.got_stuck.wait_timeout_while(self.cloud.state(), STUCK_WITHIN, |state| {
            !std::mem::take(&mut state.is_stuck)
        });
        assert!(!wait.expect("no request panics").1.timed_out(), "no request got stuck");
    }

    /// How many requests of a method came for a path that ends so.
    pub(crate) fn count(&self, method: &str, suffix: &str) -> usize {
        let state = self.cloud.state();
        state.log.iter().filter(|(had, path)| had == method && path.ends_with(suffix)).count()
    }

    /// All requests since the last call, without the ends of their paths' queries.
    pub(crate) fn take_log(&self) -> Vec<String> {
        let log = std::mem::take(&mut self.cloud.state().log);
        log.into_iter().map(|(method, path)| format!("{method} {path}")).collect()
    }

    /// Requests to the storage that brought the token along.
    pub(crate) fn token_leaks(&self) -> Vec<String> {
        self.cloud.state().token_leaks.clone()
    }

    /// The server forgets every upload in parts that is under way.
    pub(crate) fn forget_uploads(&self) {
        for item in self.cloud.state().items.values_mut() {
            item.upload_id.clear();
            item.parts.clear();
        }
    }

    pub(crate) fn content(&self, kind: &str, tag: &str) -> Vec<u8> {
        self.cloud.state().items[&key(kind, tag)].content.clone()
    }

    /// What was said when the item was created or last changed.
    pub(crate) fn body(&self, kind: &str, tag: &str) -> Value {
        self.cloud.state().items[&key(kind, tag)].body.clone()
    }

    pub(crate) fn status(&self, kind: &str, tag: &str) -> (String, String) {
        let state = self.cloud.state();
        let item = &state.items[&key(kind, tag)];
        (item.status.to_owned(), item.reason.clone())
    }

    /// An item that nobody pushed.
    pub(crate) fn put(&self, kind: &str, tag: &str, body: Value, content: Vec<u8>) {
        let item = Item { body, status: "success", content, ..Item::default() };
        self.cloud.state().items.insert(key(kind, tag), item);
    }

    /// Replaces the contents of an item.
    pub(crate) fn set_content(&self, kind: &str, tag: &str, content: Vec<u8>) {
        self.cloud.state().items.get_mut(&key(kind, tag)).unwrap().content = content;
    }
}

fn key(kind: &str, tag: &str) -> Key {
    let (name, version) = tag.split_once(':').expect("a tag has a version");
    (kind.to_owned(), name.to_owned(), version.to_owned())
}

impl Cloud {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no request panics")
    }
}

impl Handler for Cloud {
    fn cut(&self, head: &Received) -> Option<usize> {
        let mut state = self.state();
        let is_cut = |fault: &Fault| matches!(fault, Fault::CutRequest(_));
        match state.take_fault(head, is_cut) {
            Some(Fault::CutRequest(bytes)) => Some(bytes),
            _ => None,
        }
    }

    fn answer(&self, request: Received) -> Option<Answer> {
        let mut state = self.state();
        state.log.push((request.method.clone(), request.path.clone()));
        if request.is_cut {
            return None;
        }
        let fault = state.take_fault(&request, |fault| !matches!(fault, Fault::CutRequest(_)));
        if let Some(Fault::Status(status)) = fault {
            let trace = Answer::status(status).header("x-trace-id", "trace-7");
            return Some(trace.body(format!("fault, and your token is {TOKEN}")));
        }
        if let Some(Fault::Stuck) = fault {
            state.is_stuck = true;
            self.got_stuck.notify_all();
            drop(state);
            loop {
                thread::park();
            }
        }
        let answer = state.route(&request);
        match fault {
            Some(Fault::Silence) => None,
            Some(Fault::CutAnswer(bytes)) => Some(Answer { cut_after: Some(bytes), ..answer }),
            _ => Some(answer),
        }
    }
}

impl State {
    fn take_fault(&mut self, request: &Received, is_wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let found = self.faults.iter().position(|(method, suffix, fault)| {
            *method == request.method && request.path.ends_with(suffix) && is_wanted(fault)
        });
        found.map(|index| self.faults.remove(index).2)
    }

    fn route(&mut self, request: &Received) -> Answer {
        let path = request.path.clone();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        if segments[0] == "storage" {
            return self.storage(request, &segments);
        }
        match segments.as_slice() {
            // A hub of models that the server itself does not keep.
            ["api", "v1", "auth", "code"] => return ok(&json!({"code": "c0de"})),
            ["api", "v1", "auth", "token"] => {
                self.asked_for_token += 1;
                let is_made = self.asked_for_token > 1 && request.parameter("code") == Some("c0de");
                return if is_made { ok(&json!({"token": TOKEN})) } else { Answer::status(404) };
            }
            _ => {}
        }
        if request.header("x-yatai-api-token") != Some(TOKEN) {
            return Answer::status(401).body("unauthorized");
        }
        match segments.as_slice() {
            ["api", "v1", "auth", "current"] => {
                ok(&json!({"name": "me", "email": EMAIL, "first_name": "", "last_name": "", "new": 1}))
            }
            ["api", "v1", "current_org"] => ok(&resource("team", "organization")),
            ["api", "v1", collection] => self.create_repository(request, collection),
            ["api", "v1", collection, name] => self.repository(collection, name),
            ["api", "v1", _, name, kind] if request.method == "GET" => self.list(kind, name),
            ["api", "v1", _, name, kind] => self.create(request, kind, name),
            ["api", "v1", _, name, kind, version, action @ ..] => {
                let key = ((*kind).to_owned(), (*name).to_owned(), (*version).to_owned());
                match action {
                    [] => self.item(request, &key),
                    [action] => self.act(request, &key, action),
                    _ => Answer::status(404),
                }
            }
            _ => Answer::status(404),
        }
    }

    fn create_repository(&mut self, request: &Received, collection: &str) -> Answer {
        let name = parse(request)["name"].as_str().unwrap_or_default().to_owned();
        self.repositories.insert((collection.to_owned(), name.clone()));
        self.repository(collection, &name)
    }

    fn repository(&self, collection: &str, name: &str) -> Answer {
        if !self.repositories.contains(&(collection.to_owned(), name.to_owned())) {
            // What old servers say.
            return Answer::status(400).body("record not found");
        }
        let mut repository = resource(name, collection);
        repository["latest_model"] = Value::Null;
        repository["latest_bento"] = Value::Null;
        ok(&repository)
    }

    fn create(&mut self, request: &Received, kind: &str, name: &str) -> Answer {
        let body = parse(request);
        let version = body["version"].as_str().unwrap_or_default().to_owned();
        let key = (kind.to_owned(), name.to_owned(), version);
        if self.items.contains_key(&key) {
            return Answer::status(400).body("it is there already");
        }
        self.items.insert(key.clone(), Item { body, status: "pending", ..Item::default() });
        ok(&self.json(&key, "", ""))
    }

    /// The newest first; `q` is a label of the form `label:KEY=VALUE`.
    fn list(&self, kind: &str, name: &str) -> Answer {
        let mut keys: Vec<&Key> = self.items.keys().filter(|key| key.0 == kind && key.1 == name).collect();
        keys.sort_by_key(|key| std::cmp::Reverse(self.items[*key].body["build_at"].as_str()));
        let items: Vec<Value> = keys.into_iter().map(|key| self.json(key, "", "")).collect();
        ok(&json!({"start": 0, "count": 10, "total": items.len(), "items": items}))
    }

    fn item(&mut self, request: &Received, key: &Key) -> Answer {
        let Some(item) = self.items.get_mut(key) else {
            return Answer::status(404).body("no such item");
        };
        if request.method == "PATCH" {
            let change = parse(request);
            for name in ["description", "manifest", "labels"] {
                item.body[name] = change[name].clone();
            }
        }
        ok(&self.json(key, "", ""))
    }

    fn act(&mut self, request: &Received, key: &Key, action: &str) -> Answer {
        let (base, way) = (self.base.clone(), self.way.unwrap_or(Way::Proxy));
        let place = format!("{base}/storage/{}/{}/{}", key.0, key.1, key.2);
        self.signed += 1;
        let signature = format!("signed-{}", self.signed);
        if action.starts_with("presign") && way != Way::Proxy {
            self.signatures.insert(signature.clone());
        }
        let Some(item) = self.items.get_mut(key) else {
            return Answer::status(404).body("no such item");
        };
        let signed = |suffix: &str| match way {
            Way::Proxy => String::new(),
            Way::Single | Way::Parts => format!("{place}{suffix}?signature={signature}"),
        };
        let (mut up, mut down) = (String::new(), String::new());
        match action {
            "presign_upload_url" => up = signed(""),
            "presign_download_url" => down = signed(""),
            "start_upload" => item.status = "uploading",
            "start_multipart_upload" => {
                item.upload_id = format!("upload-{}", self.signed);
                item.parts.clear();
            }
            "presign_multipart_upload_url" => {
                let wanted = parse(request);
                if wanted["upload_id"] != json!(item.upload_id) {
                    return Answer::status(400).body("no such upload");
                }
                up = signed(&format!("/{}", wanted["part_number"]));
            }
            "complete_multipart_upload" => {
                let named = parse(request);
                let have = item.parts.iter().map(|(n, part)| json!({"part_number": n, "etag": etag(part)}));
                if named != json!({"parts": have.collect::<Vec<_>>(), "upload_id": item.upload_id}) {
                    return Answer::status(400).body("other parts have arrived");
                }
                item.content = std::mem::take(&mut item.parts).into_values().flatten().collect();
                item.upload_id.clear();
            }
            "finish_upload" => {
                let how = parse(request);
                item.status = if how["status"] == "success" { "success" } else { "failed" };
                how["reason"].as_str().unwrap_or_default().clone_into(&mut item.reason);
            }
            "upload" => {
                item.content.clone_from(&request.body);
                item.status = "success";
            }
            "download" => return content(request, &item.content),
            _ => return Answer::status(404),
        }
        ok(&self.json(key, &up, &down))
    }

    fn storage(&mut self, request: &Received, segments: &[&str]) -> Answer {
        if request.headers.values().any(|value| value.contains(TOKEN)) {
            self.token_leaks.push(request.path.clone());
        }
        if !request.parameter("signature").is_some_and(|signature| self.signatures.contains(signature)) {
            return Answer::status(403).body("Request has expired");
        }
        let [_, kind, name, version, part @ ..] = segments else { return Answer::status(404) };
        let key = ((*kind).to_owned(), (*name).to_owned(), (*version).to_owned());
        let Some(item) = self.items.get_mut(&key) else { return Answer::status(404) };
        match (request.method.as_str(), part) {
            ("GET", []) => content(request, &item.content),
            ("PUT", []) => {
                item.content.clone_from(&request.body);
                Answer::status(200)
            }
            ("PUT", [number]) => {
                let tag = etag(&request.body);
                item.parts.insert(number.parse().expect("a number"), request.body.clone());
                Answer::status(200).header("ETag", tag)
            }
            _ => Answer::status(405),
        }
    }

    fn json(&self, key: &Key, up: &str, down: &str) -> Value {
        let item = &self.items[key];
        let strategy = match self.way {
            Some(Way::Parts) => json!("presigned_url"),
            // A server without a storage need not say so, and a client has to find out.
            _ => Value::Null,
        };
        let mut json = resource(&key.1, key.0.trim_end_matches('s'));
        let more = json!({
            "labels": item.body.get("labels").cloned().unwrap_or_else(|| json!([])),
            "version": key.2, "image_build_status": "pending", "upload_status": item.status,
            "upload_finished_reason": item.reason, "presigned_upload_url": up, "presigned_download_url": down,
            "manifest": item.body["manifest"], "transmission_strategy": strategy,
            "upload_id": item.upload_id, "upload_started_at": null, "upload_finished_at": null,
            "build_at": item.body.get("build_at").cloned().unwrap_or_else(|| json!(SOME_TIME)),
        });
        for (name, value) in more.as_object().expect("it is one") {
            json[name] = value.clone();
        }
        json
    }
}

fn resource(name: &str, kind: &str) -> Value {
    json!({
        "uid": "u", "created_at": SOME_TIME, "updated_at": null, "deleted_at": null, "name": name,
        "resource_type": kind, "labels": [], "description": "", "something_new": {},
    })
}

fn ok(document: &Value) -> Answer {
    Answer::status(200).header("Content-Type", "application/json").body(document.to_string())
}

fn parse(request: &Received) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

fn etag(content: &[u8]) -> String {
    format!("\"{}\"", &Digest::of(content).hex()[..16])
}

/// Contents, or the rest of them where they are still what the client thinks.
fn content(request: &Received, content: &[u8]) -> Answer {
    let tag = etag(content);
    let answer = |status| Answer::status(status).header("ETag", &tag).header("Accept-Ranges", "bytes");
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let range = range.filter(|_| request.header("if-range").is_none_or(|wanted| wanted == tag));
    match range.map(|start| start.parse::<usize>().expect("a number")) {
        None => answer(200).body(content),
        Some(start) if start >= content.len() => answer(416),
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
            answer(206).header("Content-Range", range).body(&content[start..])
        }
    }
}
