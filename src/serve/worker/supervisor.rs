//! Keeps a worker running: starts it, watches it, starts it again when it dies, and ends it.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::link::{Event, Link, LinkError};
use super::memory::{LOOK, Memory};
use super::message::{Failure, Level, ToWorker};
use super::pool::Pool;
use super::process::{Ends, Process, SpawnError, WorkerCommand};
use super::restarts::{Lived, Restarts};
use super::roster::{Roster, WorkerState};
use super::switchboard::Switchboard;
use crate::serve::log::Log;
use crate::serve::manifest::{ServiceManifest, UnitKind};
use crate::serve::payload::Payload;
use crate::serve::settings::FirstFailure;

/// Starts without success before a server whose workers were never ready gives up.
const FIRST_STARTS: u32 = 3;

/// How long a worker may take to end once its socket is closed, or to end before it was ever ready.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// How long a socket may stay open once its process has ended: a child of the worker may hold it.
const SOCKET_GRACE: Duration = Duration::from_secs(1);

/// How long a worker that was replaced may take to finish what it has begun.
const RETIREMENT: Duration = Duration::from_mins(5);

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
    /// A worker that holds more memory is replaced.
    pub memory_limit: Option<Memory>,
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
    /// The worker that this one takes over from, which serves until then.
    replaces: Option<Predecessor>,
    /// Whether it may be replaced for the memory that it holds.
    may_outgrow: bool,
    /// Whether it waits to be told its devices.
    awaits_place: bool,
}

/// A worker that serves on until another has taken over; that is told here.
type Predecessor = oneshot::Sender<()>;

/// Why a worker is not watched any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It has ended, or is to end at once.
    Over,
    /// It holds more memory than it may.
    Outgrown(Memory, Memory),
}

impl Supervisor {
    /// Keeps worker number `worker` running until the server drains.
    pub async fn keep(self: Arc<Self>, worker: u32) {
        // Workers that have been replaced, and finish what they have begun.
        let mut retired = JoinSet::new();
        self.keep_current(worker, &mut retired).await;
        while retired.join_next().await.is_some() {}
    }

    async fn keep_current(self: &Arc<Self>, worker: u32, retired: &mut JoinSet<()>) {
        let mut restarts = Restarts::new(Instant::now());
        let mut replaces: Option<Predecessor> = None;
        while self.phase() == Phase::Serving {
            replaces = replaces.filter(|predecessor| !predecessor.is_closed());
            if replaces.is_none() {
                self.roster.set(worker, WorkerState::Importing);
            }
            let awaits_place = self.command.awaits_place(worker);
            let (lived, error) = match self.command.spawn(worker) {
                Ok((process, ends)) => {
                    let mut life = self.begin(worker, process, ends);
                    (life.replaces, life.awaits_place) = (replaces.take(), awaits_place);
                    if let Turn::Outgrown(held, limit) = self.watch(&mut life).await {
                        self.note_outgrown(worker, held, limit);
                        replaces = Some(self.retire(life, retired));
                        continue;
                    }
                    replaces = life.replaces.take();
                    self.end(life).await
                }
                Err(error) => (Lived { served: Duration::ZERO, has_answered: false }, error.into()),
            };
            if self.phase() != Phase::Serving {
                return;
            }
            let pause = restarts.ended(lived, Instant::now());
            self.report(worker, &error);
            if self.is_final(worker, restarts.failures())
                || (error.is_lasting() && !self.roster.is_proven(worker))
            {
                // A server that is gone needs no news.
                let _ = self.news.send(News::GaveUp(error));
                return;
            }
            if replaces.as_ref().is_none_or(Predecessor::is_closed) {
                self.roster.set(worker, WorkerState::Waiting { failures: restarts.failures() });
            }
            self.pause(pause).await;
        }
    }

    fn begin(&self, worker: u32, process: Process, ends: Ends) -> Life {
        let (link, events) = Link::open(worker, ends, Arc::clone(&self.switchboard));
        Life {
            worker,
            process,
            link,
            events,
            failure: None,
            broken: None,
            ready_since: None,
            replaces: None,
            may_outgrow: true,
            awaits_place: false,
        }
    }

    /// Takes the calls away from a worker whose socket is closed, and sees it off.
    async fn end(&self, life: Life) -> (Lived, WorkerError) {
        if let Some(Staffing { pool, .. }) = self.staffing() {
            pool.leave(life.worker, &life.link);
        }
        life.link.close();
        let served = life.ready_since.map_or(Duration::ZERO, |since| since.elapsed());
        let lived = Lived { served, has_answered: life.link.has_answered() };
        (lived, self.bury(life).await)
    }

    /// Lets a worker serve until another has taken over from it, and then finish.
    fn retire(self: &Arc<Self>, mut life: Life, retired: &mut JoinSet<()>) -> Predecessor {
        let (replaced, mut is_replaced) = oneshot::channel();
        let supervisor = Arc::clone(self);
        life.may_outgrow = false;
        retired.spawn(async move {
            let worker = life.worker;
            let is_over = tokio::select! {
                _ = supervisor.watch(&mut life) => true,
                // Nobody takes over any more when the server ends: the phase says what is to be done.
                taken = &mut is_replaced => taken.is_err() && supervisor.phase() == Phase::Killing,
            };
            let was_replaced = !is_over;
            if was_replaced {
                life.link.drain();
                // What takes longer is given up with the memory that it holds.
                let _ = tokio::time::timeout(RETIREMENT, supervisor.watch(&mut life)).await;
            } else if supervisor.phase() == Phase::Serving {
                is_replaced.close();
                if is_replaced.try_recv().is_err() {
                    supervisor.roster.set(worker, WorkerState::Initializing);
                }
            }
            let (_, error) = supervisor.end(life).await;
            if !was_replaced && supervisor.phase() == Phase::Serving {
                supervisor.report(worker, &error);
            }
        });
        replaced
    }

    /// Watches a worker until its socket is closed, it is to be killed, or it is to be replaced.
    async fn watch(&self, life: &mut Life) -> Turn {
        let mut phase = self.phase.clone();
        let mut seen = Phase::Serving;
        let mut deadline: Option<Instant> = None;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                event = life.events.recv() => match event {
                    Some(Event::Closed(error)) => {
                        life.broken = error;
                        return Turn::Over;
                    }
                    Some(event) => self.take_note(life, event).await,
                    None => return Turn::Over,
                },
                _ = life.process.wait(), if deadline.is_none() => deadline = Some(Instant::now() + SOCKET_GRACE),
                next = later_phase(&mut phase, seen) => match next {
                    Phase::Draining => {
                        seen = Phase::Draining;
                        deadline = drain(life);
                    }
                    _ => return Turn::Over,
                },
                () = sleep_until(deadline) => return Turn::Over,
                _ = look.tick(), if self.may_outgrow(life) && seen == Phase::Serving => {
                    if let Some((held, limit)) = self.outgrown(life) {
                        return Turn::Outgrown(held, limit);
                    }
                }
            }
        }
    }

    /// Whether it matters how much memory a worker holds.
    fn may_outgrow(&self, life: &Life) -> bool {
        let is_limited =
            || self.pool.borrow().as_ref().is_some_and(|staffing| staffing.memory_limit.is_some());
        life.may_outgrow && life.ready_since.is_some() && is_limited()
    }

    /// Returns what a worker holds and what it may, when that is less.
    fn outgrown(&self, life: &Life) -> Option<(Memory, Memory)> {
        let limit = self.staffing()?.memory_limit?;
        let held = life.process.memory()?;
        (held > limit).then_some((held, limit))
    }

    /// Leaves a worker alone that holds more than its limit from the beginning: the next one would too.
    fn weigh(&self, life: &mut Life) {
        if let Some((held, limit)) = self.outgrown(life) {
            life.may_outgrow = false;
            let text = format!(
                "the worker holds {held} before its first call, more than `worker_memory_limit` ({limit}): it is left alone"
            );
            self.log.line(Level::Warning, &self.component(life.worker), text);
        }
    }

    fn note_outgrown(&self, worker: u32, held: Memory, limit: Memory) {
        self.roster.replaced();
        let text = format!(
            "the worker holds {held}, more than `worker_memory_limit` ({limit}): it is being replaced"
        );
        self.log.line(Level::Warning, &self.component(worker), text);
    }

    async fn take_note(&self, life: &mut Life, event: Event) {
        let component = self.component(life.worker);
        match event {
            Event::Described(manifest) => {
                if life.replaces.as_ref().is_none_or(Predecessor::is_closed) {
                    self.roster.set(life.worker, WorkerState::Initializing);
                }
                if self.role == Role::Entry {
                    let _ = self.news.send(News::Described(manifest));
                }
                if life.awaits_place && self.wait_staffing().await.is_some() {
                    let placed =
                        self.command.placement.get().map(|placement| placement.variables(life.worker));
                    let variables =
                        placed.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
                    life.link.send(&ToWorker::Place { variables: variables.collect() }, Payload::default());
                }
            }
            Event::Command(group) => life.process.adopt(group),
            Event::Ready => {
                let Some(Staffing { pool, service, .. }) = self.wait_staffing().await else { return };
                life.ready_since = Some(Instant::now());
                let component = self.component(life.worker);
                self.log.line(
                    Level::Info,
                    &component,
                    format!("{} {service} initialized", self.role.title()),
                );
                self.weigh(life);
                pool.join(life.worker, Arc::clone(&life.link));
                if let Some(predecessor) = life.replaces.take() {
                    // One that has ended meanwhile has nothing left to finish.
                    let _ = predecessor.send(());
                }
                // Last: a predecessor that ends now has said so before.
                self.roster.set(life.worker, WorkerState::Ready);
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

    async fn pause(&self, pause: Duration) {
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
