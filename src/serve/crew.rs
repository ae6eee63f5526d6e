//! The workers of one unit, from the first to the last.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::log::Log;
use super::settings::FirstFailure;
use super::worker::placement::Placement;
use super::worker::process::WorkerCommand;
use super::worker::roster::Roster;
use super::worker::supervisor::{News, Phase, Role, Staffing, Supervisor};
use super::worker::switchboard::Switchboard;

/// What all crews of a server share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The way from one unit to another.
    pub switchboard: Arc<Switchboard>,
    /// The server's log.
    pub log: Log,
    /// What happens when a worker fails at its first start.
    pub first_failure: FirstFailure,
    /// Where news go.
    pub news: mpsc::UnboundedSender<News>,
}

/// The workers of one unit.
#[derive(Debug)]
pub struct Crew {
    /// How they are.
    pub roster: Arc<Roster>,
    supervisor: Arc<Supervisor>,
    workers: JoinSet<()>,
    staffing: watch::Sender<Option<Staffing>>,
    phase: watch::Sender<Phase>,
}

impl Crew {
    /// Makes a crew without workers.
    pub fn new(role: Role, command: WorkerCommand, shared: &Shared, roster: Arc<Roster>) -> Self {
        let (staffing, pool) = watch::channel(None);
        let (phase, phases) = watch::channel(Phase::Serving);
        let supervisor = Supervisor {
            role,
            command,
            switchboard: Arc::clone(&shared.switchboard),
            roster: Arc::clone(&roster),
            log: shared.log.clone(),
            first_failure: shared.first_failure,
            phase: phases,
            pool,
            news: shared.news.clone(),
        };
        Self { roster, supervisor: Arc::new(supervisor), workers: JoinSet::new(), staffing, phase }
    }

    /// Returns how the workers are started.
    pub fn command(&self) -> &WorkerCommand {
        &self.supervisor.command
    }

    /// Says which devices the workers use that are started from now on; only the first time counts.
    pub fn place(&self, placement: Placement) {
        let _ = self.supervisor.command.placement.set(placement);
    }

    /// Says where ready workers go.
    pub fn staff(&self, staffing: Staffing) {
        self.staffing.send_replace(Some(staffing));
    }

    /// Starts worker number `worker`, and keeps it running.
    pub fn hire(&mut self, worker: u32) {
        let supervisor = Arc::clone(&self.supervisor);
        self.workers.spawn(supervisor.keep(worker));
    }

    /// Lets all workers finish what they have begun, and end.
    pub async fn drain(&mut self) {
        self.phase.send_replace(Phase::Draining);
        while self.workers.join_next().await.is_some() {}
    }

    /// Ends all workers at once.
    pub async fn kill(&mut self) {
        self.phase.send_replace(Phase::Killing);
        while self.workers.join_next().await.is_some() {}
    }
}
