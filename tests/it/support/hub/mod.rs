//! A server that speaks the model hub's protocol: repositories from folders, over real sockets, with the storage of large
//! files under another host's name, and with the faults of real ones. `hub_peer` has the hub's own client download from it.
//!
//! `cargo run --example hub` serves directories with it for benchmarks and for looking at it by hand.

mod content;
mod faults;
mod listing;
mod repository;
mod routes;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

pub(crate) use self::content::LfsRule;
pub(crate) use self::faults::Fault;
use self::faults::Faults;
use self::repository::Stored;
use super::fake_server::{Answer, Handler, Received, Server};

/// Entries of a page of a listing, as the real hub has them.
const PAGE: usize = 1000;

/// Says that a fault stays.
pub(crate) const ALWAYS: usize = usize::MAX;

/// Which of the two hosts was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// The API and small files.
    Hub,
    /// Large files, by signed URLs.
    Storage,
}

/// A request and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) host: Host,
    pub(crate) request: Received,
    /// The path without escapes.
    pub(crate) path: String,
    /// 0 if the connection was closed without an answer.
    pub(crate) status: u16,
    sent: Arc<AtomicU64>,
}

impl Logged {
    /// Bytes of the answer's body that were handed to the system; it may hold some that the client never took.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn range(&self) -> Option<&str> {
        self.request.header("range")
    }

    pub(crate) fn authorization(&self) -> Option<&str> {
        self.request.header("authorization")
    }
}

/// How the hub answers for a file that is not in the storage.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SmallFiles {
    /// At once.
    Direct,
    /// With a relative redirect to a cache on the same host, as the real hub does.
    Redirected,
}

/// A hub that listens until it is dropped.
pub(crate) struct Hub {
    server: Server,
    storage: Server,
    shared: Arc<Shared>,
    folder: TempDir,
}

struct Shared {
    state: Mutex<State>,
}

struct Storage(Arc<Shared>);

struct State {
    endpoint: String,
    storage: String,
    repositories: BTreeMap<String, Stored>,
    /// Old names of repositories.
    renamed: BTreeMap<String, String>,
    tokens: BTreeSet<String>,
    faults: Faults,
    log: Vec<Logged>,
    page: usize,
    offers_xet: bool,
    small_files: SmallFiles,
    compresses: bool,
    signatures: BTreeSet<String>,
    signed: usize,
}

impl Hub {
    pub(crate) fn start() -> Self {
        let state = State {
            endpoint: String::new(),
            storage: String::new(),
            repositories: BTreeMap::new(),
            renamed: BTreeMap::new(),
            tokens: BTreeSet::new(),
            faults: Faults::default(),
            log: Vec::new(),
            page: PAGE,
            offers_xet: false,
            small_files: SmallFiles::Direct,
            compresses: false,
            signatures: BTreeSet::new(),
            signed: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let server = Server::start(Arc::clone(&shared) as Arc<dyn Handler>);
        let storage = Server::start(Arc::new(Storage(Arc::clone(&shared))));
        {
            let mut state = shared.state();
            state.endpoint = format!("http://{}", server.address);
            // Another host by name, too.
            state.storage = format!("http://localhost:{}", storage.address.port());
        }
        let folder = tempfile::Builder::new().prefix("hub-").tempdir().expect("a temporary directory");
        Self { server, storage, shared, folder }
    }

    /// What `HF_ENDPOINT` has to be.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Where large files come from.
    pub(crate) fn storage_endpoint(&self) -> String {
        format!("http://localhost:{}", self.storage.address.port())
    }

    /// A repository, made at the first mention: `organisation/name`, or a name alone.
    pub(crate) fn repository(&self, id: &str) -> Repository<'_> {
        self.shared.state().repositories.entry(id.to_owned()).or_default();
        Repository { hub: self, id: id.to_owned() }
    }

    /// Lets an old name lead to a repository.
    pub(crate) fn rename(&self, old: &str, new: &str) {
        self.shared.state().renamed.insert(old.to_owned(), new.to_owned());
    }

    /// Makes a token known, which opens nothing by itself.
    pub(crate) fn add_token(&self, token: &str) {
        self.shared.state().tokens.insert(token.to_owned());
    }

    /// Makes the next `times` requests fail that have this method and whose path, without escapes, contains this. Paths
    /// of the storage begin with `/lfs/`. Several faults apply to one request if each can.
    pub(crate) fn fail(&self, method: &str, fragment: &str, times: usize, fault: Fault) {
        self.shared.state().faults.add(method, fragment, times, fault);
    }

    /// The faults that have not happened as often as they should, apart from those that always do.
    pub(crate) fn faults_left(&self) -> usize {
        self.shared.state().faults.left()
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.shared.state().faults = Faults::default();
    }

    /// Entries of a page of a listing.
    pub(crate) fn set_page(&self, entries: usize) {
        self.shared.state().page = entries;
    }

    /// Whether answers for large files name the Xet protocol as another way. There is no server behind it.
    pub(crate) fn offer_xet(&self, offers: bool) {
        self.shared.state().offers_xet = offers;
    }

    pub(crate) fn set_small_files(&self, way: SmallFiles) {
        self.shared.state().small_files = way;
    }

    /// Whether small files are sent compressed to those who take that, in chunks and without a length, as the real hub
    /// does. Such an answer knows no ranges.
    pub(crate) fn compress_small_files(&self, compresses: bool) {
        self.shared.state().compresses = compresses;
    }

    /// Lets no URL of the storage that was given out so far be good any more.
    pub(crate) fn expire_signatures(&self) {
        self.shared.state().signatures.clear();
    }

    /// Every request so far, in the order of arrival.
    pub(crate) fn log(&self) -> Vec<Logged> {
        self.shared.state().log.clone()
    }

    /// The requests since the last call, as `GET /path` and with `storage` in front of those that the storage got.
    pub(crate) fn take_log(&self) -> Vec<String> {
        let log = self.take_requests();
        let line = |logged: Logged| match logged.host {
            Host::Hub => format!("{} {}", logged.request.method, logged.path),
            Host::Storage => format!("storage {} {}", logged.request.method, logged.path),
        };
        log.into_iter().map(line).collect()
    }

    /// The requests since the last call, which are then forgotten.
    pub(crate) fn take_requests(&self) -> Vec<Logged> {
        std::mem::take(&mut self.shared.state().log)
    }

    /// The requests with this method and this in their path.
    pub(crate) fn requests(&self, method: &str, fragment: &str) -> Vec<Logged> {
        let is_wanted = |logged: &Logged| logged.request.method == method && logged.path.contains(fragment);
        self.log().into_iter().filter(is_wanted).collect()
    }

    /// Bytes sent in answer to `GET`s with this in their path.
    pub(crate) fn sent(&self, fragment: &str) -> u64 {
        self.requests("GET", fragment).iter().map(Logged::sent).sum()
    }

    /// Requests to the storage that brought a known token, wherever in the request, or any `Authorization` along: there
    /// must be none.
    pub(crate) fn token_leaks(&self) -> Vec<String> {
        let tokens = self.shared.state().tokens.clone();
        let leaks = |logged: &Logged| {
            let text = format!("{:?}", logged.request);
            logged.host == Host::Storage
                && (logged.authorization().is_some() || tokens.iter().any(|token| text.contains(token)))
        };
        self.log().into_iter().filter(leaks).map(|logged| logged.path).collect()
    }
}

/// A repository of a hub, to be filled and changed.
pub(crate) struct Repository<'a> {
    hub: &'a Hub,
    id: String,
}

impl Repository<'_> {
    /// Adds a commit with the files of a directory to `main`, and tells its hash, which follows from the files alone. The
    /// files are served from where they are: they must stay as they are.
    pub(crate) fn commit(&self, directory: &Path) -> String {
        self.commit_with(directory, &LfsRule::default())
    }

    /// Adds a commit whose large files are told apart by a rule of its own.
    pub(crate) fn commit_with(&self, directory: &Path, rule: &LfsRule) -> String {
        let files = content::read_directory(directory, rule);
        self.change(|stored| stored.commit(files))
    }

    /// Adds a commit with these files to `main`.
    pub(crate) fn commit_files(&self, files: &[(&str, &[u8])]) -> String {
        let folder = tempfile::Builder::new().tempdir_in(self.hub.folder.path()).expect("a directory").keep();
        for (path, bytes) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().expect("a file is in a folder"))
                .expect("a folder can be made");
            std::fs::write(path, bytes).expect("a file can be written");
        }
        self.commit(&folder)
    }

    /// Lets a branch lead to a commit; it may be new.
    pub(crate) fn branch(&self, name: &str, commit: &str) -> &Self {
        self.change(|stored| stored.branches.insert(name.to_owned(), commit.to_owned()));
        self
    }

    /// Lets a tag lead to a commit.
    pub(crate) fn tag(&self, name: &str, commit: &str) -> &Self {
        self.change(|stored| stored.tags.insert(name.to_owned(), commit.to_owned()));
        self
    }

    /// From now on everybody sees the repository, and its files are for those who were let in.
    pub(crate) fn gate(&self) -> &Self {
        self.change(|stored| stored.is_gated = true);
        self
    }

    /// From now on only those who were let in see that it is there.
    pub(crate) fn hide(&self) -> &Self {
        self.change(|stored| stored.is_private = true);
        self
    }

    /// Lets the owner of a token in.
    pub(crate) fn admit(&self, token: &str) -> &Self {
        self.hub.add_token(token);
        self.change(|stored| stored.admitted.insert(token.to_owned()));
        self
    }

    /// Changes what the hub says that a commit holds: the entries of its listing, before they are cut into pages. The
    /// files stay what they are.
    pub(crate) fn tamper(
        &self,
        change: impl Fn(&mut Vec<serde_json::Value>) + Send + Sync + 'static,
    ) -> &Self {
        self.change(|stored| stored.tampering = Some(Arc::new(change)));
        self
    }

    /// Lists a file of the commit under one more name, which may be none that a file can have, and serves it under that
    /// name to whoever asks: a client that trusts the name writes where it must not.
    pub(crate) fn list_also(&self, file: &str, name: &str) -> &Self {
        self.change(|stored| stored.aliases.insert(name.to_owned(), file.to_owned()));
        self
    }

    fn change<T>(&self, change: impl FnOnce(&mut Stored) -> T) -> T {
        let mut state = self.hub.shared.state();
        change(state.repositories.get_mut(&self.id).expect("the handle's repository is there"))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request with whatever goes wrong, and keeps it in the log.
    fn exchange(
        &self,
        host: Host,
        request: &Received,
        route: impl FnOnce(&mut State, &Received, &faults::Chosen) -> Answer,
    ) -> Option<Answer> {
        let path = routes::unescape(&request.path);
        let mut state = self.state();
        let chosen = state.faults.choose(&request.method, &path);
        // Counted when it arrives, whatever becomes of it.
        let (index, sent) = (state.log.len(), Arc::<AtomicU64>::default());
        state.log.push(Logged { host, request: request.clone(), path, status: 0, sent: Arc::clone(&sent) });
        if let Some(delay) = chosen.delay() {
            drop(state);
            std::thread::sleep(delay);
            state = self.state();
        }
        if chosen.expires() {
            state.signatures.retain(|signature| Some(signature.as_str()) != request.parameter("signature"));
        }
        let answer = match chosen.instead() {
            Some(answer) => answer,
            None => Some(chosen.apply(route(&mut state, request, &chosen))),
        };
        let answer = Answer { sent, ..answer? };
        if let Some(logged) = state.log.get_mut(index) {
            logged.status = answer.status;
        }
        Some(answer)
    }
}

impl Handler for Shared {
    fn cut(&self, _: &Received) -> Option<usize> {
        None
    }

    fn answer(&self, request: Received) -> Option<Answer> {
        self.exchange(Host::Hub, &request, State::route)
    }
}

impl Handler for Storage {
    fn cut(&self, _: &Received) -> Option<usize> {
        None
    }

    fn answer(&self, request: Received) -> Option<Answer> {
        self.0.exchange(Host::Storage, &request, State::fetch)
    }
}
