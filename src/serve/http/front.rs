//! Takes a request to its place.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::batch_metrics::Batched;
use super::body::{Body, Source};
use super::connection::Peer;
use super::exchange::Exchange;
use super::identity::Identities;
use super::metrics::{Metrics, Names};
use super::proxy::Proxy;
use super::routes::{Found, Page, Place, Routes};
use super::websocket::counts::SocketCounts;
use super::websocket::handshake::is_asked_for;
use super::{api, application, compression, cors, health, mounts, pages, reply, tasks, websocket};
use crate::serve::batch::json_array::ArrayInput;
use crate::serve::config::ServiceConfig;
use crate::serve::config::service::Endpoints;
use crate::serve::log::Log;
use crate::serve::manifest::{Endpoint, ServiceManifest, Style, UnitKind};
use crate::serve::tasks::Tasks;
use crate::serve::tracing::Tracer;
use crate::serve::worker::pool::Pool;
use crate::serve::worker::roster::Roster;

/// What answers requests: before the service is described, and after.
#[derive(Debug)]
pub struct Front {
    state: RwLock<State>,
}

#[derive(Clone, Debug)]
enum State {
    Starting(Arc<Roster>),
    Serving(Arc<Service>),
}

/// A described service, ready to take requests.
#[derive(Debug)]
pub struct Service {
    /// The service's name.
    pub name: Arc<str>,
    /// How the service is written.
    pub style: Style,
    /// The names of the APIs, in the manifest's order.
    pub apis: Vec<Arc<str>>,
    /// Which of them are APIs; the others are mounted applications.
    pub is_api: Vec<bool>,
    /// The way to the service's own program, if it has one.
    pub proxy: Option<Proxy>,
    /// What answers everything where middlewares stand around the service.
    pub application: Option<usize>,
    /// The service's configuration.
    pub config: ServiceConfig,
    /// The workers.
    pub pool: Arc<Pool>,
    /// How the workers are.
    pub roster: Arc<Roster>,
    /// What the service calls.
    pub units: Vec<Unit>,
    /// What each API that the front can read takes: one array.
    pub arrays: Vec<Option<ArrayInput>>,
    /// Which APIs merge calls.
    pub batches: Vec<bool>,
    /// The server's log.
    pub log: Log,
    /// Gives requests their identities.
    pub identities: Identities,
    /// The counts of requests, unless they are off.
    pub metrics: Option<Metrics>,
    /// Whether workers have metrics of their own.
    pub has_user_metrics: bool,
    /// Where spans of requests go, if they go anywhere.
    pub tracer: Option<Arc<Tracer>>,
    /// How many more requests of APIs are taken; `None` is any number.
    pub permits: Option<Arc<Semaphore>>,
    /// What was submitted to be run later.
    pub tasks: Tasks,
    /// The header `server`.
    pub server: HeaderValue,
    /// The document at `/schema.json`.
    pub schema: Bytes,
    /// The document at `/docs.json`.
    pub docs: Bytes,
    /// The page at `/`.
    pub index: Bytes,
    routes: Routes,
    components: Vec<Arc<str>>,
}

/// A runner or another service that the service calls, as the pages show it.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Which of the two.
    pub kind: UnitKind,
    /// Its name.
    pub name: Arc<str>,
    /// The names of its methods, in the pool's order.
    pub methods: Vec<Arc<str>>,
    /// How its workers are.
    pub roster: Arc<Roster>,
    /// Its workers.
    pub pool: Arc<Pool>,
    /// The counts of its calls, unless they are off.
    pub metrics: Option<Arc<Metrics>>,
}

impl Unit {
    /// Returns the methods whose calls are merged.
    pub fn batched(&self) -> impl Iterator<Item = Batched<'_>> {
        let space = match self.kind {
            UnitKind::Runner => "bentoml_runner",
            UnitKind::Service => "bentoml_service",
        };
        self.methods.iter().zip(&self.pool.batches).filter_map(move |(method, batches)| {
            Some(Batched { space, unit: &self.name, method, batches: batches.as_ref()? })
        })
    }
}

/// What a service is made of besides its description.
#[derive(Debug)]
pub struct Surroundings {
    /// The workers.
    pub pool: Arc<Pool>,
    /// How the workers are.
    pub roster: Arc<Roster>,
    /// What the service calls.
    pub units: Vec<Unit>,
    /// The server's log.
    pub log: Log,
    /// The bento's version.
    pub version: String,
    /// Where spans of requests go, if they go anywhere.
    pub tracer: Option<Arc<Tracer>>,
}

impl Service {
    /// Makes a service of its description and configuration.
    pub fn new(manifest: &ServiceManifest, mut config: ServiceConfig, surroundings: Surroundings) -> Self {
        let Surroundings { pool, roster, units, log, version, tracer } = surroundings;
        let routes = Routes::new(manifest, &config.endpoints);
        skip_health(&mut config, &manifest.path_prefix);
        let (name, style) = (manifest.name.as_str(), manifest.style);
        let apis = manifest.endpoints.iter().filter(|endpoint| endpoint.is_api()).count();
        let endpoints = manifest.endpoints.iter().map(|endpoint| endpoint.batch.as_ref());
        let runner = Some(name).filter(|_| style == Style::Class);
        let names = Names { service: name, version: &version, runner };
        let metrics = config.metrics.as_ref().map(|own| Metrics::new(own, routes.labels(), apis, names));
        let (role, server) = match style {
            Style::Class => ("entry_service", format!("BentoML Service/{name}")),
            Style::Legacy => ("api_server", "uvicorn".to_owned()),
        };
        let component = |worker: u32| match worker {
            0 => format!("{role}:{name}"),
            worker => format!("{role}:{name}:{worker}"),
        };
        Self {
            name: name.into(),
            style,
            apis: manifest.endpoints.iter().map(|endpoint| endpoint.name.as_str().into()).collect(),
            identities: Identities::new(config.tracing.sample_rate),
            is_api: manifest.endpoints.iter().map(Endpoint::is_api).collect(),
            proxy: manifest.command.map(|command| Proxy::new(command.port, &manifest.path_prefix)),
            application: manifest
                .endpoints
                .iter()
                .position(|endpoint| manifest.middlewares && !endpoint.is_api()),
            permits: config.max_concurrency.map(|limit| Arc::new(Semaphore::new(limit as usize))),
            tasks: Tasks::new(config.workers as usize * manifest.slots as usize),
            server: HeaderValue::from_str(&server).unwrap_or(HeaderValue::from_static("BentoML Service")),
            schema: manifest.schema.to_string().into(),
            docs: manifest.openapi.to_string().into(),
            index: pages::index(manifest).into(),
            components: (0..=config.workers).map(|worker| component(worker).into()).collect(),
            has_user_metrics: manifest.user_metrics,
            arrays: endpoints.clone().map(|batch| batch?.array.clone()).collect(),
            batches: endpoints.map(|batch| batch.is_some()).collect(),
            units,
            metrics,
            config,
            pool,
            roster,
            log,
            routes,
            tracer,
        }
    }

    /// Sends what is left to be told of requests that have ended, and takes what they have left on disk away.
    pub async fn close(&self) {
        self.tasks.bodies.close();
        if let Some(tracer) = &self.tracer {
            tracer.close().await;
        }
    }

    /// Returns the path that stands for a place in metrics and traces.
    pub fn label(&self, label: usize) -> &str {
        &self.routes.labels()[label]
    }

    /// Counts what happens to the WebSockets of a place.
    pub fn count_sockets(&self, label: usize, count: impl FnOnce(&SocketCounts)) {
        if let Some(metrics) = &self.metrics {
            count(metrics.sockets(label));
        }
    }

    /// Finds what is at a path that no mounted application answers.
    pub fn find_unmounted<'a>(&self, path: &'a str) -> Found<'a> {
        self.routes.find_unmounted(path)
    }

    /// Returns the name that a worker has in the log; 0 is the front.
    pub fn component(&self, worker: u32) -> &Arc<str> {
        self.components.get(worker as usize).unwrap_or(&self.components[0])
    }
}

/// Leaves the health pages out of the access log under all of their paths.
fn skip_health(config: &mut ServiceConfig, prefix: &str) {
    let prefix = prefix.trim_end_matches('/');
    let Some(access) = config.access_log.as_mut() else { return };
    if !prefix.is_empty() {
        let prefixed: Vec<String> = access.skip_paths.iter().map(|path| format!("{prefix}{path}")).collect();
        access.skip_paths.extend(prefixed);
    }
    let Endpoints { live, ready } = &config.endpoints;
    access.skip_paths.extend(live.iter().chain(ready).cloned());
}

impl Front {
    /// Makes a front that says that it is not ready.
    pub fn new(roster: Arc<Roster>) -> Self {
        Self { state: RwLock::new(State::Starting(roster)) }
    }

    /// Begins to serve.
    pub fn serve(&self, service: Arc<Service>) {
        self.set(State::Serving(service));
    }

    /// Begins again to say that it is not ready; gives the service that was served.
    pub fn restart(&self, roster: Arc<Roster>) -> Option<Arc<Service>> {
        match self.set(State::Starting(roster)) {
            State::Serving(service) => Some(service),
            State::Starting(_) => None,
        }
    }

    /// Returns what is served.
    pub fn service(&self) -> Option<Arc<Service>> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Serving(service) => Some(Arc::clone(service)),
            State::Starting(_) => None,
        }
    }

    /// Answers a request.
    pub async fn answer(&self, peer: Peer, request: Request<Incoming>) -> Response<Body> {
        // A copy, so that nothing is locked while the request runs.
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner).clone();
        match state {
            State::Starting(roster) => unready(&roster, &request),
            State::Serving(service) => answer(&service, peer, request).await,
        }
    }

    fn set(&self, state: State) -> State {
        std::mem::replace(&mut *self.state.write().unwrap_or_else(PoisonError::into_inner), state)
    }
}

async fn answer(service: &Arc<Service>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
    if service.config.ssl.is_some() && !peer.is_secure {
        // The connection is from before the service said that it has TLS, and is being closed.
        return reply::text(StatusCode::BAD_REQUEST, "This port takes HTTPS only");
    }
    if is_asked_for(&request) {
        return connect(service, peer, request).await;
    }
    let found = service.routes.find(request.uri().path());
    let label = match found {
        Found::Place(_, label) => label,
        _ => service.routes.unmatched(),
    };
    let compression = service.config.compression;
    let is_packed = compression.is_some() && compression::accepts_gzip(request.headers());
    let mut exchange = Exchange::begin(service, peer, &request, label);
    let mut response = match found {
        _ if let Some(endpoint) = service.application.filter(|_| !found.is_health()) => {
            application::answer(service, endpoint, request, &mut exchange).await
        }
        Found::Place(place, _) => visit(service, place, request, &mut exchange).await,
        Found::Redirect(path) => redirect(path, request.uri().query()),
        Found::Nothing => reply::not_found(),
    };
    if let Some(compression) = compression {
        response = compression.apply(is_packed, response).await;
    }
    exchange.answered(response)
}

/// Answers a request for a WebSocket.
async fn connect(service: &Arc<Service>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
    let place = service.routes.mount_label(request.uri().path());
    // A middleware may take those that no application is mounted for.
    let place = place.or(service.application.map(|_| service.routes.unmatched()));
    let label = place.unwrap_or(service.routes.unmatched());
    let mut exchange = Exchange::begin(service, peer, &request, label);
    let response = websocket::answer(service, place, request, &mut exchange).await;
    exchange.answered(response)
}

/// Answers before the service is described: nothing is known of its paths, and of a prefix before them.
fn unready(roster: &Roster, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if path.ends_with("/livez") || path.ends_with("/healthz") {
        return reply::text(StatusCode::OK, "\n");
    }
    let health = roster.health().to_string();
    if path.ends_with("/readyz") {
        return health::not_ready(&health);
    }
    let (ready, total) = roster.counts();
    reply::not_ready(&health, ready, total)
}

async fn visit(
    service: &Arc<Service>,
    place: Place,
    request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Response<Body> {
    let shared = service.config.cors.as_ref().map(|cors| cors::Request::of(cors, &request));
    if let Some(preflight) = shared.as_ref().and_then(cors::Request::preflight) {
        return preflight;
    }
    let mut response = match place {
        Place::Api(_) if *request.method() != Method::POST => {
            answer_other_method(service, request, exchange).await
        }
        Place::Api(endpoint) => api::answer(service, endpoint, request, exchange).await,
        Place::Task(endpoint, action) => tasks::answer(service, endpoint, action, request, exchange).await,
        Place::Mounted(endpoint) => mounts::answer(service, endpoint, request, exchange).await,
        Place::Proxied => proxied(service, request, exchange).await,
        Place::Page(page) => open_page(service, page, request.method()).await,
    };
    if let Some(shared) = shared {
        shared.permit(response.headers_mut());
    }
    response
}

/// Answers a request for an API's path with a method that the API does not have: whoever else has the path may.
async fn answer_other_method(
    service: &Arc<Service>,
    request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Response<Body> {
    match service.routes.mount_endpoint(request.uri().path()) {
        Some(endpoint) => mounts::answer(service, endpoint, request, exchange).await,
        None if service.proxy.is_some() => proxied(service, request, exchange).await,
        None => reply::wrong_method("POST"),
    }
}

/// The answer of the service's own program.
pub async fn proxied(
    service: &Arc<Service>,
    request: Request<impl Into<Source>>,
    exchange: &Exchange,
) -> Response<Body> {
    match &service.proxy {
        Some(proxy) => proxy.answer(service, request, exchange).await,
        None => reply::not_found(),
    }
}

/// The answer to a path with a slash too many.
pub fn redirect(path: &str, query: Option<&str>) -> Response<Body> {
    match query {
        Some(query) => reply::redirect(&format!("{path}?{query}")),
        None => reply::redirect(path),
    }
}

/// The answer of a page of the front.
pub async fn open_page(service: &Arc<Service>, page: Page, method: &Method) -> Response<Body> {
    match *method {
        Method::GET | Method::HEAD => open(service, page).await,
        _ => reply::wrong_method("GET, HEAD"),
    }
}

async fn open(service: &Arc<Service>, page: Page) -> Response<Body> {
    match page {
        Page::Live => health::live(service).await,
        Page::Ready => health::ready(service).await,
        Page::Metrics => pages::metrics(service).await,
        Page::Schema => reply::json(StatusCode::OK, service.schema.clone()),
        Page::Docs => reply::json(StatusCode::OK, service.docs.clone()),
        Page::Index => pages::html(service.index.clone()),
    }
}
