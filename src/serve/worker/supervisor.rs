//! Keeps a worker running: starts it, watches it, starts it again when it dies, and ends it.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

use super::link::{Event, Link, LinkError};
use super::message::{Failure, Level};
use super::pool::Pool;
use super::process::{Process, SpawnError, WorkerCommand};
use super::roster::{Roster, WorkerState};
use super::switchboard::Switchboard;
use crate::serve::log::Log;
use crate::serve::manifest::{ServiceManifest, UnitKind};
use crate::serve::settings::FirstFailure;

/// Starts without success before a server whose workers were never ready gives up.
const FIRST_STARTS: u32 = 3;

/// The pause after the first failure; it doubles with each further one.
const BACKOFF: Duration = Duration::from_millis(100);

/// The longest pause.
const BACKOFF_LIMIT: Duration = Duration::from_secs(10);

/// A worker that has run for this long has not failed at its start.
const SETTLED: Duration = Duration::from_secs(30);

/// How long a worker may take to end once its socket is closed, or to end before it was ever ready.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// How long a socket may stay open once its process has ended: a child of the worker may hold it.
const SOCKET_GRACE: Duration = Duration::from_secs(1);

/// What the workers are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Run.
    Serving,
    /// Finish what has begun, and end.
    Draining,
    /// End at once.
    Killing,
}

/// A worker that will not be started again.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The process could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The worker said why.
    #[error("the service cannot start ({stage}): {message}")]
    Failed {
        /// What it was doing.
        stage: String,
        /// One line.
        message: String,
    },
    /// The worker broke the protocol.
    #[error("worker {worker} was given up")]
    Link {
        /// The worker's number.
        worker: u32,
        /// How it broke it.
        source: LinkError,
    },
    /// The process ended without a word.
    #[error("worker {worker} ended before it was ready ({status})")]
    Ended {
        /// The worker's number.
        worker: u32,
        /// How it ended.
        status: ExitStatus,
    },
    /// The operating system does not tell how the process ended.
    #[error("cannot wait for worker {worker}")]
    Wait {
        /// The worker's number.
        worker: u32,
        /// Why not.
        source: std::io::Error,
    },
}

impl WorkerError {
    /// Whether the next start would fail too: there is no such interpreter.
    fn is_lasting(&self) -> bool {
        matches!(self, Self::Spawn(error) if error.is_no_program())
    }
}

/// What workers are there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The service that clients call; its first worker describes everything.
    Entry,
    /// What that service calls.
    Unit(UnitKind),
}

impl Role {
    /// Returns what a unit is called at the beginning of a sentence.
    fn title(self) -> &'static str {
        match self {
            Self::Entry | Self::Unit(UnitKind::Service) => "Service",
            Self::Unit(UnitKind::Runner) => "Runner",
        }
    }
}

/// What a supervisor tells the server.
#[derive(Debug)]
pub enum News {
    /// What the service is; told once per start.
    Described(Box<ServiceManifest>),
    /// The server cannot go on.
    GaveUp(WorkerError),
}

/// Starts and watches workers.
#[derive(Debug)]
pub struct Supervisor {
    /// What the workers are there for.
    pub role: Role,
    /// How workers are started.
    pub command: WorkerCommand,
    /// The way to other units.
    pub switchboard: Arc<Switchboard>,
    /// Where their states are kept.
    pub roster: Arc<Roster>,
    /// The server's log.
    pub log: Log,
    /// What happens when a worker fails at its first start.
    pub first_failure: FirstFailure,
    /// What the workers are to do.
    pub phase: watch::Receiver<Phase>,
    /// Where ready workers go; there is none before the service is described.
    pub pool: watch::Receiver<Option<Staffing>>,
    /// Where news go.
    pub news: mpsc::UnboundedSender<News>,
}

/// Where ready workers go.
#[derive(Clone, Debug)]
pub struct Staffing {
    /// The pool they join.
    pub pool: Arc<Pool>,
    /// The service's name.
    pub service: Arc<str>,
    /// What the service is called in the log, before the worker's number.
    pub component: Arc<str>,
}

/// One life of a worker.
struct Life {
    worker: u32,
    process: Process,
    link: Arc<Link>,
    events: mpsc::UnboundedReceiver<Event>,
    failure: Option<Failure>,
    broken: Option<LinkError>,
    ready_since: Option<Instant>,
}

impl Supervisor {
    /// Keeps worker number `worker` running until the server drains.
    pub async fn keep(&self, worker: u32) {
        let mut failures = 0;
        while self.phase() == Phase::Serving {
            self.roster.set(worker, WorkerState::Importing);
            let (lived, error) = match self.command.spawn(worker) {
                Ok((process, socket)) => self.live(worker, process, socket).await,
                Err(error) => (Duration::ZERO, WorkerError::from(error)),
            };
            if self.phase() != Phase::Serving {
                return;
            }
            failures = if lived >= SETTLED { 1 } else { failures + 1 };
            self.report(worker, &error);
            if self.is_final(worker, failures) || (error.is_lasting() && !self.roster.is_proven(worker)) {
                // A server that is gone needs no news.
                let _ = self.news.send(News::GaveUp(error));
                return;
            }
            self.roster.set(worker, WorkerState::Waiting { failures });
            self.pause(failures).await;
        }
    }

    async fn live(&self, worker: u32, process: Process, socket: UnixStream) -> (Duration, WorkerError) {
        let (link, events) = Link::open(worker, socket, Arc::clone(&self.switchboard));
        let mut life = Life { worker, process, link, events, failure: None, broken: None, ready_since: None };
        self.watch(&mut life).await;
        if let Some(Staffing { pool, .. }) = self.staffing() {
            pool.leave(worker);
        }
        life.link.close();
        let lived = life.ready_since.map_or(Duration::ZERO, |since| since.elapsed());
        (lived, self.bury(life).await)
    }

    /// Watches a worker until its socket is closed or it is to be killed.
    async fn watch(&self, life: &mut Life) {
        let mut phase = self.phase.clone();
        let mut seen = Phase::Serving;
        let mut deadline: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                event = life.events.recv() => match event {
                    Some(Event::Closed(error)) => {
                        life.broken = error;
                        return;
                    }
                    Some(event) => self.take_note(life, event).await,
                    None => return,
                },
                _ = life.process.wait(), if deadline.is_none() => deadline = Some(Instant::now() + SOCKET_GRACE),
                next = later_phase(&mut phase, seen) => match next {
                    Phase::Draining => {
                        seen = Phase::Draining;
                        deadline = drain(life);
                    }
                    _ => return,
                },
                () = sleep_until(deadline) => return,
            }
        }
    }

    async fn take_note(&self, life: &mut Life, event: Event) {
        let component = self.component(life.worker);
        match event {
            Event::Described(manifest) => {
                self.roster.set(life.worker, WorkerState::Initializing);
                if self.role == Role::Entry {
                    let _ = self.news.send(News::Described(manifest));
                }
            }
            Event::Command(group) => life.process.adopt(group),
            Event::Ready => {
                let Some(Staffing { pool, service, .. }) = self.wait_staffing().await else { return };
                life.ready_since = Some(Instant::now());
                self.roster.set(life.worker, WorkerState::Ready);
                let component = self.component(life.worker);
                self.log.line(
                    Level::Info,
                    &component,
                    format!("{} {service} initialized", self.role.title()),
                );
                pool.join(life.worker, Arc::clone(&life.link));
            }
            Event::Failed(failure) => {
                if !failure.detail.is_empty() {
                    self.log.line(Level::Error, &component, failure.detail.trim_end());
                }
                life.failure = Some(failure);
            }
            Event::Log(level, text) => self.log.line(level, &component, text),
            Event::Closed(_) => {}
        }
    }

    /// Sees a process off whose socket is closed; tells why it was given up.
    async fn bury(&self, mut life: Life) -> WorkerError {
        let worker = life.worker;
        let status = tokio::select! {
            status = life.process.wait() => status,
            () = self.lose_patience() => {
                life.process.kill().await;
                life.process.wait().await
            }
        };
        life.process.end_adopted();
        match (life.failure, life.broken, status) {
            (Some(failure), _, _) => WorkerError::Failed { stage: failure.stage, message: failure.message },
            (None, Some(source), _) => WorkerError::Link { worker, source },
            (None, None, Ok(status)) => WorkerError::Ended { worker, status },
            (None, None, Err(source)) => WorkerError::Wait { worker, source },
        }
    }

    /// Waits until a worker without a socket has had its time: its shutdown hooks have theirs when it drains.
    async fn lose_patience(&self) {
        let mut phase = self.phase.clone();
        if self.phase() == Phase::Serving {
            let drains = phase.wait_for(|phase| *phase > Phase::Serving);
            if tokio::time::timeout(EXIT_GRACE, drains).await.is_err() {
                return;
            }
        }
        // A server that is gone is not draining any more.
        let _ = phase.wait_for(|phase| *phase == Phase::Killing).await;
    }

    /// Waits until the service's description has been taken up; `None` when the server ends before.
    async fn wait_staffing(&self) -> Option<Staffing> {
        let (mut pool, mut phase) = (self.pool.clone(), self.phase.clone());
        tokio::select! {
            staffing = pool.wait_for(Option::is_some) => staffing.ok()?.clone(),
            _ = phase.wait_for(|phase| *phase > Phase::Serving) => None,
        }
    }

    fn report(&self, worker: u32, error: &WorkerError) {
        let text = match error {
            WorkerError::Ended { status, .. } if self.roster.is_proven(worker) => {
                format!("the worker died ({status})")
            }
            other => crate::serve::error::chain(other),
        };
        self.log.line(Level::Error, &self.component(worker), text);
    }

    fn is_final(&self, worker: u32, failures: u32) -> bool {
        let has_others = self.roster.counts().0 > 0;
        match self.first_failure {
            FirstFailure::Exit if !self.roster.is_proven(worker) => true,
            FirstFailure::Exit => !has_others && failures > FIRST_STARTS,
            FirstFailure::Retry => !self.roster.is_proven(worker) && !has_others && failures >= FIRST_STARTS,
        }
    }

    async fn pause(&self, failures: u32) {
        let pause =
            BACKOFF.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(BACKOFF_LIMIT);
        let mut phase = self.phase.clone();
        let stop = phase.wait_for(|phase| *phase != Phase::Serving);
        // Either way the loop looks at the phase.
        let _ = tokio::time::timeout(pause, stop).await;
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    fn staffing(&self) -> Option<Staffing> {
        self.pool.borrow().clone()
    }

    fn component(&self, worker: u32) -> Arc<str> {
        match self.staffing() {
            Some(Staffing { component, .. }) => format!("{component}:{worker}").into(),
            None => format!("worker:{worker}").into(),
        }
    }
}

/// Waits for the phase after `seen`; a server that is gone kills.
async fn later_phase(phase: &mut watch::Receiver<Phase>, seen: Phase) -> Phase {
    phase.wait_for(|phase| *phase > seen).await.map_or(Phase::Killing, |phase| *phase)
}

/// Asks a worker to end; one that was never ready gets until the returned time.
fn drain(life: &Life) -> Option<Instant> {
    if life.ready_since.is_some() {
        life.link.drain();
        return None;
    }
    life.process.terminate();
    Some(Instant::now() + EXIT_GRACE)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
