//! A fake registry that speaks the distribution protocol over real sockets, and can be made to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ekiben::oci::digest::Digest;
use ekiben::oci::reference::Reference;
use serde_json::json;

use super::fake_server::{Answer, Handler, Received, Server};

/// Who is let in.
#[derive(Clone, Default)]
pub(crate) enum Access {
    #[default]
    Everybody,
    /// User and password with every request.
    Basic(&'static str, &'static str),
    /// Tokens for user and password.
    Token(&'static str, &'static str),
    /// Tokens for an identity token.
    IdentityToken(&'static str),
}

/// Something that goes wrong.
#[derive(Clone)]
pub(crate) enum Fault {
    /// Hang up after so many bytes of the request's body, which are kept.
    CutRequest(usize),
    /// Hang up after so many bytes of the answer's body.
    CutAnswer(usize),
    /// Answer with this instead.
    Answer(Answer),
    /// Change a byte of the answer's body.
    WrongBytes,
    /// Do not know about ranges.
    IgnoreRange,
    /// Refuse a body of more than so many bytes.
    LimitBody(usize),
    /// Let no token that was given out so far be good any more.
    ExpireTokens,
}

/// A fake registry with its object store on another port.
pub(crate) struct FakeRegistry {
    server: Server,
    _storage: Server,
    shared: Arc<Shared>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) access: Access,
    pub(crate) manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    pub(crate) blobs: BTreeMap<(String, Digest), Vec<u8>>,
    pub(crate) uploads: BTreeMap<String, Upload>,
    /// Everything that was asked, with the status that was answered.
    pub(crate) log: Vec<(Received, u16)>,
    /// What was asked of the object store.
    pub(crate) storage_log: Vec<Received>,
    /// Method, part of the path, how often, what.
    faults: Vec<(String, String, usize, Fault)>,
    /// Send readers of blobs to the object store.
    pub(crate) redirects_blobs: bool,
    /// Let no repository have the blobs of another.
    pub(crate) refuses_mounts: bool,
    /// Upload locations with host.
    pub(crate) has_absolute_locations: bool,
    /// Say that these blobs are there when asked, although they are not.
    pub(crate) pretends: BTreeMap<Digest, u64>,
    tokens: BTreeMap<String, BTreeSet<String>>,
    counter: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Upload {
    pub(crate) repository: String,
    pub(crate) bytes: Vec<u8>,
    /// Has to come back with the next request of the session.
    state: String,
}

struct Shared {
    state: Mutex<State>,
    address: Mutex<String>,
    storage: Mutex<String>,
}

struct Storage(Arc<Shared>);

impl FakeRegistry {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            address: Mutex::default(),
            storage: Mutex::default(),
        });
        let server = Server::start(Arc::clone(&shared) as Arc<dyn Handler>);
        let storage = Server::start(Arc::new(Storage(Arc::clone(&shared))));
        *shared.address.lock().expect("nothing panicked") = server.address.to_string();
        // Another host by name, too.
        *shared.storage.lock().expect("nothing panicked") = format!("localhost:{}", storage.address.port());
        Self { server, _storage: storage, shared }
    }

    pub(crate) fn host(&self) -> String {
        self.server.address.to_string()
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.server.address).parse().expect("the name is a reference")
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Makes the next `times` requests with this method and path fail.
    pub(crate) fn fail(&self, method: &str, path: &str, times: usize, fault: Fault) {
        self.state().faults.push((method.to_owned(), path.to_owned(), times, fault));
    }

    /// Requests so far with this method and part of the path.
    pub(crate) fn requests(&self, method: &str, path: &str) -> Vec<Received> {
        let state = self.state();
        let is_wanted = |request: &&Received| request.method == method && request.path.contains(path);
        state.log.iter().map(|(request, _)| request).filter(is_wanted).cloned().collect()
    }

    pub(crate) fn forget_requests(&self) {
        self.state().log.clear();
    }
}

impl Shared {
    fn address(&self) -> String {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn storage(&self) -> String {
        self.storage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many of the ordered failures have not happened.
    pub(crate) fn faults_left(&self) -> usize {
        self.faults.iter().map(|(_, _, times, _)| times).sum()
    }

    /// Takes the fault for a request, if there is one of that kind.
    fn fault(&mut self, request: &Received, is_wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let found = self.faults.iter_mut().find(|(method, path, times, fault)| {
            *times > 0
                && request.method == *method
                && request.path.contains(path.as_str())
                && is_wanted(fault)
        });
        found.map(|(_, _, times, fault)| {
            *times -= 1;
            fault.clone()
        })
    }
}

impl Handler for Storage {
    fn cut(&self, _: &Received) -> Option<usize> {
        None
    }

    fn answer(&self, request: Received) -> Option<Answer> {
        let mut state = self.0.state();
        state.storage_log.push(request.clone());
        let digest = request.path.trim_start_matches('/').parse().ok()?;
        let bytes =
            state.blobs.iter().find(|((_, own), _)| *own == digest).map(|(_, bytes)| bytes.clone())?;
        Some(Answer::status(200).body(bytes))
    }
}

impl Handler for Shared {
    fn cut(&self, head: &Received) -> Option<usize> {
        let length = head.header("content-length").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        let is_wanted = |fault: &Fault| matches!(fault, Fault::CutRequest(count) if *count < length);
        match self.state().fault(head, is_wanted) {
            Some(Fault::CutRequest(count)) => Some(count),
            _ => None,
        }
    }

    fn answer(&self, request: Received) -> Option<Answer> {
        let mut state = self.state();
        if state.fault(&request, |fault| matches!(fault, Fault::ExpireTokens)).is_some() {
            state.tokens.clear();
        }
        let is_too_large =
            |fault: &Fault| matches!(fault, Fault::LimitBody(limit) if request.body.len() > *limit);
        let answer = if request.path == "/token" {
            token(&mut state, &request)
        } else if let Some(refusal) = self.refusal(&mut state, &request) {
            refusal
        } else if let Some(Fault::Answer(answer)) =
            state.fault(&request, |fault| matches!(fault, Fault::Answer(_)))
        {
            answer
        } else if state.fault(&request, is_too_large).is_some() {
            Answer::status(413)
        } else {
            self.obey(&mut state, &request)
        };
        let answer = spoil(&mut state, &request, answer);
        state.log.push((request, answer.status));
        Some(answer)
    }
}

/// Applies the faults that change a good answer.
fn spoil(state: &mut State, request: &Received, mut answer: Answer) -> Answer {
    match state.fault(request, |fault| matches!(fault, Fault::CutAnswer(_) | Fault::WrongBytes)) {
        Some(Fault::CutAnswer(count)) => answer.cut_after = Some(count),
        Some(_) => answer.body[0] ^= 1,
        None => {}
    }
    answer
}

/// The token service.
fn token(state: &mut State, request: &Received) -> Answer {
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    let scopes: BTreeSet<String> = match state.access {
        Access::Token(user, password)
            if request.header("authorization") == Some(basic(user, password).as_str()) =>
        {
            request.query.get("scope").into_iter().flatten().cloned().collect()
        }
        Access::IdentityToken(token)
            if form.get("refresh_token").map(String::as_str) == Some(token)
                && form.get("grant_type").map(String::as_str) == Some("refresh_token") =>
        {
            form["scope"].split(' ').map(str::to_owned).collect()
        }
        _ => return Answer::status(401).body(r#"{"details":"incorrect username or password"}"#),
    };
    state.counter += 1;
    let token = format!("token-{}", state.counter);
    state.tokens.insert(token.clone(), scopes);
    Answer::status(200).body(json!({"token": token, "expires_in": 300}).to_string())
}

impl Shared {
    /// The refusal of a request that may not be made.
    fn refusal(&self, state: &mut State, request: &Received) -> Option<Answer> {
        let authorization = request.header("authorization").unwrap_or_default();
        let challenge = match state.access {
            Access::Everybody => return None,
            Access::Basic(user, password) if authorization == basic(user, password) => return None,
            Access::Basic(..) => r#"Basic realm="fake""#.to_owned(),
            Access::Token(..) | Access::IdentityToken(_) => {
                let scopes = state.tokens.get(authorization.trim_start_matches("Bearer "));
                if scopes.is_some_and(|scopes| is_granted(scopes, request)) {
                    return None;
                }
                format!(r#"Bearer realm="http://{}/token",service="fake""#, self.address())
            }
        };
        let body = json!({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]});
        Some(Answer::status(401).header("WWW-Authenticate", challenge).body(body.to_string()))
    }

    fn obey(&self, state: &mut State, request: &Received) -> Answer {
        let Some(path) = request.path.strip_prefix("/v2/") else { return Answer::status(404) };
        if let Some((repository, name)) = path.split_once("/manifests/") {
            return manifest(state, request, repository, name);
        }
        if let Some((repository, id)) = path.split_once("/blobs/uploads/") {
            return self.upload(state, request, repository, id);
        }
        match path.split_once("/blobs/") {
            Some((repository, digest)) => self.blob(state, request, repository, digest),
            None => Answer::status(if path.is_empty() { 200 } else { 404 }),
        }
    }

    fn blob(&self, state: &mut State, request: &Received, repository: &str, digest: &str) -> Answer {
        let Ok(digest) = digest.parse::<Digest>() else { return Answer::status(400) };
        if let Some(size) = state.pretends.get(&digest).filter(|_| request.method == "HEAD") {
            return Answer::status(200).header("Content-Length", size);
        }
        let Some(bytes) = state.blobs.get(&(repository.to_owned(), digest)).cloned() else {
            return error(404, "BLOB_UNKNOWN");
        };
        if state.redirects_blobs && request.method == "GET" {
            let location = format!("http://{}/{digest}?X-Amz-Signature=s3cret", self.storage());
            return Answer::status(307).header("Location", location);
        }
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
        let start: Option<usize> = range.and_then(|range| range.strip_suffix('-')?.parse().ok());
        match start {
            Some(start) if state.fault(request, |fault| matches!(fault, Fault::IgnoreRange)).is_none() => {
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                Answer::status(206).header("Content-Range", range).body(&bytes[start..])
            }
            _ => Answer::status(200).body(bytes),
        }
    }

    fn upload(&self, state: &mut State, request: &Received, repository: &str, id: &str) -> Answer {
        if id.is_empty() {
            return self.begin(state, request, repository);
        }
        let Some(mut upload) =
            state.uploads.get(id).cloned().filter(|upload| upload.repository == repository)
        else {
            return error(404, "BLOB_UPLOAD_UNKNOWN");
        };
        // After a cut the client can only know the state of before; `GET` tells the new one, as docker-registry does.
        let is_known = request.parameter("_state") == Some(upload.state.as_str()) || request.method == "GET";
        if !is_known {
            return error(400, "BLOB_UPLOAD_INVALID");
        }
        match request.method.as_str() {
            "DELETE" => {
                state.uploads.remove(id);
                return Answer::status(204);
            }
            "PATCH" => {
                let range = request.header("content-range").unwrap_or_default();
                if range.split_once('-').and_then(|(start, _)| start.parse().ok()) != Some(upload.bytes.len())
                {
                    return error(416, "BLOB_UPLOAD_INVALID");
                }
            }
            _ => {}
        }
        upload.bytes.extend_from_slice(&request.body);
        if request.method == "PUT" && !request.is_cut {
            let stated = request.parameter("digest").and_then(|text| text.parse().ok());
            let actual = Digest::of(&upload.bytes);
            if stated != Some(actual) {
                return error(400, "DIGEST_INVALID");
            }
            state.uploads.remove(id);
            state.blobs.insert((repository.to_owned(), actual), upload.bytes);
            return Answer::status(201).header("Location", format!("/v2/{repository}/blobs/{actual}"));
        }
        state.counter += 1;
        upload.state = format!("state-{}", state.counter);
        let end = upload.bytes.len().saturating_sub(1);
        let answer = Answer::status(if request.method == "GET" { 204 } else { 202 })
            .header("Location", self.location(state, repository, id, &upload.state))
            .header("Range", format!("0-{end}"));
        state.uploads.insert(id.to_owned(), upload);
        answer
    }

    fn begin(&self, state: &mut State, request: &Received, repository: &str) -> Answer {
        if let (Some(digest), Some(from)) = (request.parameter("mount"), request.parameter("from"))
            && let Ok(digest) = digest.parse::<Digest>()
            && let Some(bytes) = state.blobs.get(&(from.to_owned(), digest)).cloned()
            && !state.refuses_mounts
        {
            state.blobs.insert((repository.to_owned(), digest), bytes);
            return Answer::status(201).header("Location", format!("/v2/{repository}/blobs/{digest}"));
        }
        state.counter += 1;
        let id = format!("upload-{}", state.counter);
        let upload =
            Upload { repository: repository.to_owned(), bytes: Vec::new(), state: format!("state-{id}") };
        let location = self.location(state, repository, &id, &upload.state);
        state.uploads.insert(id, upload);
        Answer::status(202).header("Location", location)
    }

    fn location(&self, state: &State, repository: &str, id: &str, nonce: &str) -> String {
        let path = format!("/v2/{repository}/blobs/uploads/{id}?_state={nonce}");
        if state.has_absolute_locations { format!("http://{}{path}", self.address()) } else { path }
    }
}

fn manifest(state: &mut State, request: &Received, repository: &str, name: &str) -> Answer {
    let key = (repository.to_owned(), name.to_owned());
    if request.method == "PUT" {
        let document: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let blobs = document["layers"].as_array().into_iter().flatten().chain([&document["config"]]);
        let digests = blobs.filter_map(|blob| blob["digest"].as_str()).filter_map(|text| text.parse().ok());
        let missing: Vec<Digest> =
            digests.filter(|digest| !state.blobs.contains_key(&(repository.to_owned(), *digest))).collect();
        if !missing.is_empty() {
            state.pretends.clear();
            let errors: Vec<_> = missing.iter().map(|digest| {
                json!({"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": {"digest": digest}})
            }).collect();
            return Answer::status(404).body(json!({"errors": errors}).to_string());
        }
        let digest = Digest::of(&request.body);
        let media_type = request.header("content-type").unwrap_or_default().to_owned();
        for name in [name.to_owned(), digest.to_string()] {
            let value = (media_type.clone(), request.body.clone());
            state.manifests.insert((repository.to_owned(), name), value);
        }
        return Answer::status(201).header("Docker-Content-Digest", digest);
    }
    match state.manifests.get(&key) {
        Some((media_type, bytes)) => Answer::status(200)
            .header("Content-Type", media_type)
            .header("Docker-Content-Digest", Digest::of(bytes))
            .body(bytes.clone()),
        None => error(404, "MANIFEST_UNKNOWN"),
    }
}

/// Whether the scopes allow a request. A mount needs the right to read the other repository, too.
fn is_granted(scopes: &BTreeSet<String>, request: &Received) -> bool {
    let has = |repository: &str, action: &str| {
        scopes.iter().any(|scope| {
            scope
                .strip_prefix(&format!("repository:{repository}:"))
                .is_some_and(|actions| actions.split(',').any(|own| own == action))
        })
    };
    let path = request.path.trim_start_matches("/v2/");
    let Some((repository, _)) = path.split_once("/manifests/").or_else(|| path.split_once("/blobs/")) else {
        return true;
    };
    let action = if matches!(request.method.as_str(), "GET" | "HEAD") { "pull" } else { "push" };
    has(repository, action) && request.parameter("from").is_none_or(|from| has(from, "pull"))
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

pub(crate) fn error(status: u16, code: &str) -> Answer {
    let message = code.to_lowercase().replace('_', " ");
    Answer::status(status).body(json!({"errors": [{"code": code, "message": message}]}).to_string())
}
