//! One server from its start to its end.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::batch::policy::Limits;
use super::config::service::Timeout;
use super::config::{Layers, ServiceConfig, Ssl};
use super::crew::{Crew, Shared};
use super::descriptors;
use super::error::{ServeError, chain};
use super::http::front::{self, Front, Service, Surroundings};
use super::http::listener::{Port, listen};
use super::http::tls::{self, Protection};
use super::log::Log;
use super::manifest::{Batching, Endpoint, ServiceManifest, Style, Unit, UnitKind};
use super::readahead::{Places, ReadAhead};
use super::reload::{Change, Watcher};
use super::settings::{Mode, Settings};
use super::shutdown::{Signals, end_with_starter, reap_orphans};
use super::target::Target;
use super::tracing::{Origin, Tracer};
use super::units::{Company, Plan};
use super::worker::message::Level;
use super::worker::placement::{Machine, Placement, PlacementError};
use super::worker::pool::{Capacity, Pool};
use super::worker::process::WorkerCommand;
use super::worker::roster::Roster;
use super::worker::supervisor::{News, Role, Staffing};
use super::worker::switchboard::Switchboard;

/// Threads of the front for each so many cores. Workers do the work: more would only take turns with them.
const CORES_PER_THREAD: usize = 4;

/// Most threads of the front.
const THREADS: usize = 8;

/// How long calls may take to end before the service is loaded again.
const RELOAD_GRACE: Duration = Duration::from_secs(5);

/// How long connections may take to send their last answers once the workers are gone.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Serves until a signal ends the server.
pub fn run(settings: Settings) -> Result<(), ServeError> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.div_ceil(CORES_PER_THREAD).min(THREADS);
    let runtime = if threads == 1 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
    };
    let runtime = runtime.map_err(ServeError::SetUp)?;
    descriptors::raise();
    let (log, writer) = Log::to_stdout(settings.log_level);
    let ended = runtime.block_on(serve(settings, log));
    runtime.shutdown_background();
    writer.close();
    ended
}

async fn serve(settings: Settings, log: Log) -> Result<(), ServeError> {
    let mut signals = Signals::install().map_err(ServeError::SetUp)?;
    if settings.announce.is_some() && settings.mode == Mode::Production {
        end_with_starter();
    }
    let layers = Layers::load(&settings.environment)?.with_flags(settings.flags.clone());
    let mut watcher = Watcher::start(settings.reload.clone()).await;
    let (mut server, mut news) = Server::new(settings, layers, log);
    server.protect(ServiceConfig::protection(&server.layers.general())?.as_ref())?;
    if let Some(address) = server.early_address()? {
        server.open(address)?;
    }
    server.entry.hire(1);
    let reading_ahead = server.read_ahead();
    let reaper = tokio::spawn(reap_orphans());
    let failed = loop {
        let change = tokio::select! {
            failed = server.follow(&mut news) => match &mut watcher {
                None => break Some(failed),
                Some(watcher) => {
                    server.complain(&failed);
                    tokio::select! {
                        change = watcher.next() => change,
                        () = signals.next() => break None,
                    }
                }
            },
            change = Watcher::next_of(watcher.as_mut()) => change,
            () = signals.next() => break None,
        };
        news = server.reload(&change).await;
    };
    drop(reading_ahead);
    let ended = server.end(&mut signals, failed.is_some()).await;
    reaper.abort();
    match failed {
        Some(error) => Err(error),
        None => ended,
    }
}

/// A running server.
struct Server {
    settings: Settings,
    layers: Layers,
    log: Log,
    front: Arc<Front>,
    shared: Shared,
    entry: Crew,
    units: Vec<Crew>,
    machine: Machine,
    port: Option<JoinHandle<()>>,
    /// Host and port as clients on this machine write them; empty until there is a port.
    authority: String,
    closing: watch::Sender<bool>,
    protection: watch::Sender<Protection>,
}

impl Server {
    fn new(settings: Settings, layers: Layers, log: Log) -> (Self, mpsc::UnboundedReceiver<News>) {
        let roster = Arc::new(Roster::default());
        let (news, received) = mpsc::unbounded_channel();
        let shared = Shared {
            switchboard: Arc::new(Switchboard::default()),
            log: log.clone(),
            first_failure: settings.first_failure,
            news,
        };
        let machine = Machine::new(&settings.environment);
        let mut command = worker_command(&settings, None);
        command.awaits_place = machine.gives_devices();
        command.runners.clone_from(layers.runners());
        command.monitoring = layers.monitoring();
        let server = Self {
            front: Arc::new(Front::new(Arc::clone(&roster))),
            entry: Crew::new(Role::Entry, command, &shared, roster),
            units: Vec::new(),
            machine,
            port: None,
            authority: String::new(),
            closing: watch::channel(false).0,
            shared,
            protection: watch::channel(None).0,
            settings,
            layers,
            log,
        };
        (server, received)
    }

    /// Returns the address, where it does not depend on what the service declares.
    fn early_address(&self) -> Result<Option<SocketAddr>, ServeError> {
        let (host, port) = ServiceConfig::address(&self.layers.general())?;
        let (host, port) = (self.settings.host.or(host), self.settings.port.or(port));
        if host.is_none() && self.settings.mode == Mode::Development {
            return Ok(None); // it depends on the style of the service
        }
        let any = Ipv4Addr::UNSPECIFIED.into();
        Ok(port.map(|port| SocketAddr::new(host.unwrap_or(any), port)))
    }

    /// Begins to read the models that the worker will load.
    fn read_ahead(&mut self) -> ReadAhead {
        let models = std::mem::take(&mut self.settings.read_ahead);
        let bento = match &self.settings.target {
            Target::Bento(bento) => Some(bento.directory.as_path()),
            Target::Import { .. } => None,
        };
        let places = Places::new(&self.entry.command().environment, bento);
        ReadAhead::start(models, places, self.log.clone())
    }

    fn open(&mut self, address: SocketAddr) -> Result<(), ServeError> {
        let backlog = self.settings.backlog.unwrap_or(2048);
        let listener = listen(address, backlog)?;
        self.announce(address, &listener);
        let port = Port {
            front: Arc::clone(&self.front),
            keep_alive: self.settings.keep_alive,
            log: self.log.clone(),
            closing: self.closing.subscribe(),
            protection: self.protection.subscribe(),
        };
        self.port = Some(tokio::spawn(port.accept(listener)));
        Ok(())
    }

    fn announce(&mut self, address: SocketAddr, listener: &TcpListener) {
        let port = listener.local_addr().map_or(address.port(), |bound| bound.port());
        let host = match address {
            address if address.ip().is_unspecified() => "localhost".to_owned(),
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let mode = match self.settings.mode {
            Mode::Production => "production",
            Mode::Development => "development",
        };
        self.authority = format!("{host}:{port}");
        let text = format!(
            "Starting {mode} HTTP BentoServer from \"{}\" listening on {} (Press CTRL+C to quit)",
            self.settings.target.label(),
            self.url()
        );
        self.log.line(Level::Info, &"cli".into(), text);
    }

    fn url(&self) -> String {
        let scheme = if self.protection.borrow().is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Tells the program that has started the server where it listens, once the service is known to be one.
    fn tell_starter(&mut self) -> Result<(), ServeError> {
        let Some(path) = self.settings.announce.take() else { return Ok(()) };
        let url = self.url();
        let written =
            OpenOptions::new().append(true).open(&path).and_then(|mut file| writeln!(file, "{url}"));
        written.map_err(|source| ServeError::Announce { path, source })
    }

    /// Gives the port keys, if it has none yet: connections without them end.
    fn protect(&mut self, ssl: Option<&Ssl>) -> Result<(), ServeError> {
        let Some(ssl) = ssl.filter(|_| self.protection.borrow().is_none()) else { return Ok(()) };
        self.protection.send_replace(Some(tls::acceptor(ssl)?));
        if self.port.is_some() {
            let text = "the service has TLS: from now on the port takes https only";
            self.log.line(Level::Info, &"cli".into(), text);
        }
        Ok(())
    }

    /// Tells why the service cannot be served, where a change of its files may help.
    fn complain(&self, error: &ServeError) {
        let text = format!("{}; waiting for a change", chain(error));
        self.log.line(Level::Error, &"cli".into(), text);
    }

    /// Begins again with the files as they are now. The port stays open and answers 503 meanwhile.
    async fn reload(&mut self, change: &Change) -> mpsc::UnboundedReceiver<News> {
        let component = "observer".into();
        self.log.line(Level::Warning, &component, change.to_string());
        self.log.line(Level::Warning, &component, "Detected changes. Reloading...");
        let (fresh, news) = Self::new(self.settings.clone(), self.layers.clone(), self.log.clone());
        let before = self.front.restart(Arc::clone(&fresh.entry.roster));
        // Calls that take longer than that are cut: their handlers are what was changed.
        let _ = tokio::time::timeout(RELOAD_GRACE, self.retire(before.as_deref())).await;
        self.kill().await;
        if let Some(service) = before {
            service.pool.abandon();
            service.close().await;
        }
        let stale = std::mem::replace(self, fresh);
        let Self { front, port, closing, protection, .. } = stale;
        (self.front, self.port, self.closing, self.protection) = (front, port, closing, protection);
        self.entry.hire(1);
        news
    }

    /// Lets what runs end, and then the workers.
    async fn retire(&mut self, service: Option<&Service>) {
        if let Some(service) = service {
            service.pool.settle().await;
        }
        self.entry.drain().await;
        for crew in &mut self.units {
            crew.drain().await;
        }
    }

    /// Ends all workers at once.
    async fn kill(&mut self) {
        self.entry.kill().await;
        for crew in &mut self.units {
            crew.kill().await;
        }
    }

    /// Does what workers make necessary, until the server cannot go on.
    async fn follow(&mut self, news: &mut mpsc::UnboundedReceiver<News>) -> ServeError {
        let mut described: Option<Vec<String>> = None;
        while let Some(event) = news.recv().await {
            let manifest = match event {
                News::Described(manifest) => manifest,
                News::GaveUp(error) => return error.into(),
            };
            let names: Vec<String> =
                manifest.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
            match &described {
                None => {
                    if let Err(error) = self.staff(&manifest) {
                        return error;
                    }
                    described = Some(names);
                }
                Some(before) if *before != names => {
                    let text = "the service has changed since the server was started: start it again";
                    self.log.line(Level::Warning, &"cli".into(), text);
                }
                Some(_) => {}
            }
        }
        // The supervisor keeps a sender for as long as this server lives.
        std::future::pending().await
    }

    /// Begins to serve what the first worker describes.
    fn staff(&mut self, manifest: &ServiceManifest) -> Result<(), ServeError> {
        let (config, merged) = self.configure(manifest)?;
        self.note(&config, manifest.style);
        self.protect(config.ssl.as_ref())?;
        let tracer = self.tracer(manifest, &config)?.map(Arc::new);
        // Two programs of a service cannot have its port at the same time.
        let memory_limit = config.worker_memory_limit.filter(|_| manifest.command.is_none());
        let workers = config.workers;
        if self.port.is_none() {
            self.settings.backlog = self.settings.backlog.or(Some(config.backlog));
            self.open(SocketAddr::new(config.host, config.port))?;
        }
        self.tell_starter()?;
        let placement = self.place(&manifest.name, &merged, workers)?;
        let units = self.staff_units(manifest, tracer.as_ref())?;
        let slots = self.slots(manifest, config.threads);
        let capacity = Capacity { slots, is_serial: manifest.slots == 1 };
        let pool = Pool::new(limits(&manifest.endpoints), capacity);
        let surroundings = Surroundings {
            pool: Arc::clone(&pool),
            roster: Arc::clone(&self.entry.roster),
            units,
            log: self.log.clone(),
            version: self.settings.target.version().to_owned(),
            tracer,
        };
        let service = Arc::new(Service::new(manifest, config, surroundings));
        let (name, component) = (Arc::clone(&service.name), Arc::clone(service.component(0)));
        let staffing = Staffing { pool, service: name, component, memory_limit };
        self.front.serve(service);
        self.entry.place(placement);
        self.entry.staff(staffing);
        for worker in 2..=workers {
            self.entry.hire(worker);
        }
        Ok(())
    }

    /// Starts the workers of what the service calls; returns how they are.
    fn staff_units(
        &mut self,
        manifest: &ServiceManifest,
        tracer: Option<&Arc<Tracer>>,
    ) -> Result<Vec<front::Unit>, ServeError> {
        let version = self.settings.target.version().to_owned();
        let company = Company { service: &manifest.name, version: &version, tracer };
        let mut units = Vec::new();
        for unit in &manifest.units {
            let plan = self.plan(unit)?;
            let mut command = worker_command(&self.settings, Some(unit.id()));
            command.batching = plan.batching;
            command.monitoring = self.layers.monitoring();
            let roster = Arc::new(Roster::default());
            let mut crew = Crew::new(Role::Unit(unit.kind), command, &self.shared, Arc::clone(&roster));
            crew.place(plan.placement.clone());
            let (extension, shown) = plan.open(unit, &roster, company);
            crew.staff(Staffing {
                pool: Arc::clone(&shown.pool),
                service: Arc::clone(&shown.name),
                component: unit.id().into(),
                memory_limit: plan.memory_limit,
            });
            self.shared.switchboard.connect(unit.id(), Arc::new(extension));
            units.push(shown);
            for worker in 1..=plan.workers {
                crew.hire(worker);
            }
            self.units.push(crew);
        }
        Ok(units)
    }

    /// Plans how a unit is to be run.
    fn plan(&mut self, unit: &Unit) -> Result<Plan, ServeError> {
        let mut plan = match unit.kind {
            UnitKind::Service => {
                let merged = self.layers.merge(&unit.name, &unit.config)?;
                Plan::service(&merged, |workers| self.place(&unit.name, &merged, workers))?
            }
            UnitKind::Runner => {
                let place = |config: &_| match &unit.workers {
                    Some(workers) => Ok(Placement::decided(workers.clone())),
                    None => Ok(self.machine.place_runner(&unit.name, unit.abilities, config)?),
                };
                Plan::runner(&self.layers.runner(&unit.name)?, place)?
            }
        };
        if let Some(timeout) = self.timeout()? {
            plan.set_timeout(timeout);
        }
        Ok(plan)
    }

    /// Gives a service its devices; where there are not enough, it goes on without.
    fn place(
        &mut self,
        name: &str,
        merged: &Map<String, Value>,
        workers: u32,
    ) -> Result<Placement, ServeError> {
        match self.machine.place_service(name, merged, workers) {
            Err(error @ PlacementError::TooFew { .. }) => {
                self.log.line(Level::Warning, &"cli".into(), error.to_string());
                Ok(Placement::default())
            }
            placed => Ok(placed?),
        }
    }

    /// Merges what the service declares, the configuration from outside of it, and the command line.
    fn configure(
        &self,
        manifest: &ServiceManifest,
    ) -> Result<(ServiceConfig, Map<String, Value>), ServeError> {
        let merged = match manifest.style {
            Style::Class => self.layers.merge(&manifest.name, &manifest.config)?,
            Style::Legacy => self.layers.api_server(),
        };
        let mut config = ServiceConfig::new(&merged)?;
        if let Some(timeout) = self.timeout()? {
            config.timeout = timeout;
        }
        let is_local = manifest.style == Style::Legacy && self.settings.mode == Mode::Development;
        if is_local && ServiceConfig::address(&merged)?.0.is_none() {
            config.host = IpAddr::V4(Ipv4Addr::LOCALHOST); // as upstream has it
        }
        match (manifest.style, self.settings.api_workers) {
            (Style::Legacy, Some(workers)) => config.workers = workers.get(),
            (Style::Class, Some(_)) => {
                let text = "`--api-workers` is for services with runners: set `workers` in the decorator";
                self.log.line(Level::Warning, &"cli".into(), text);
            }
            (_, None) => {}
        }
        if self.settings.mode == Mode::Development {
            config.workers = 1;
        }
        config.host = self.settings.host.unwrap_or(config.host);
        config.port = self.settings.port.unwrap_or(config.port);
        Ok((config, merged))
    }

    /// The time that a call may take, where the command line says so.
    fn timeout(&self) -> Result<Option<Timeout>, ServeError> {
        let given = self.settings.timeout.clone().map(Value::Number);
        Ok(given.map(|given| Timeout::new(Some(&given))).transpose()?)
    }

    /// Tells of what is configured and has no effect.
    fn note(&self, config: &ServiceConfig, style: Style) {
        for note in &self.settings.notes {
            self.log.line(Level::Warning, &"cli".into(), *note);
        }
        for note in &config.notes {
            self.log.line(Level::Info, &"cli".into(), *note);
        }
        for key in self.layers.others().filter(|_| style == Style::Class) {
            let text = format!("`{key}` in the configuration has no effect here: only `services` has");
            self.log.line(Level::Warning, &"cli".into(), text);
        }
    }

    fn tracer(
        &self,
        manifest: &ServiceManifest,
        config: &ServiceConfig,
    ) -> Result<Option<Tracer>, ServeError> {
        let (bento, version) = match &self.settings.target {
            Target::Bento(bento) => (Some(bento.name.clone()), Some(bento.version.clone())),
            Target::Import { .. } => (None, None),
        };
        let origin = Origin { service: manifest.name.clone(), bento, version };
        Ok(Tracer::start(&config.tracing, &origin, &self.settings.environment, &self.log)?)
    }

    /// Returns how many calls a worker takes; `threads` from outside of the service can only lower it.
    fn slots(&self, manifest: &ServiceManifest, threads: u32) -> u32 {
        let declared = manifest.config.get("threads").and_then(Value::as_u64).unwrap_or(1);
        let is_synchronous = u64::from(manifest.slots) == declared;
        if is_synchronous && u64::from(threads) > declared {
            let text = format!(
                "`threads` is {threads}, but the service declares {declared}: set it in the decorator"
            );
            self.log.line(Level::Warning, &"cli".into(), text);
        }
        if is_synchronous { manifest.slots.min(threads) } else { manifest.slots }
    }

    /// Ends the server: the port first, then the requests, then the workers.
    async fn end(&mut self, signals: &mut Signals, is_failed: bool) -> Result<(), ServeError> {
        let limit = if is_failed { Some(Duration::ZERO) } else { self.settings.graceful_shutdown };
        self.closing.send_replace(true);
        let forced = self.wind_down(signals, limit).await;
        self.kill().await;
        // Calls that were cut have been answered just now.
        let _ = tokio::time::timeout(LAST_WORDS, last_answers(&mut self.port)).await;
        if let Some(service) = self.front.service() {
            service.close().await;
        }
        forced
    }

    async fn wind_down(&mut self, signals: &mut Signals, limit: Option<Duration>) -> Result<(), ServeError> {
        let Self { port, entry, units, log, .. } = self;
        let gracefully = async {
            last_answers(port).await;
            entry.drain().await;
            // Whoever is called by others ends after them: the service's dependencies come before their own.
            for crew in units {
                crew.drain().await;
            }
        };
        tokio::select! {
            () = gracefully => Ok(()),
            () = elapse(limit) => {
                if limit.is_some_and(|limit| !limit.is_zero()) {
                    let text = "the time for a graceful shutdown is over: requests are cut";
                    log.line(Level::Warning, &"cli".into(), text);
                }
                Ok(())
            }
            () = signals.next() => Err(ServeError::Forced),
        }
    }
}

/// Waits until the port's last connection has ended.
async fn last_answers(port: &mut Option<JoinHandle<()>>) {
    if let Some(open) = port {
        // A task that is gone has no connections.
        let _ = open.await;
        *port = None;
    }
}

/// Waits for as long as the limit says, if it says anything.
async fn elapse(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Returns the limits of the batches of each API.
fn limits(endpoints: &[Endpoint]) -> Vec<Option<Limits>> {
    endpoints.iter().map(|endpoint| endpoint.batch.as_ref().map(Batching::limits)).collect()
}

fn worker_command(settings: &Settings, unit: Option<String>) -> WorkerCommand {
    let mut environment = settings.environment.clone();
    if let Target::Bento(bento) = &settings.target {
        for (name, value) in &bento.variables {
            if environment.text(name).is_none() {
                environment.set(name, value);
            }
        }
    }
    WorkerCommand {
        python: settings.python.clone(),
        target: settings.target.clone(),
        sdk_path: settings.sdk_path.clone(),
        environment,
        arguments: settings.arguments.clone(),
        runners: Map::new(),
        monitoring: Map::new(),
        mode: settings.mode,
        unit,
        batching: None,
        awaits_place: false,
        placement: Arc::default(),
    }
}
