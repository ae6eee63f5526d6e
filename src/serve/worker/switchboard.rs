//! Calls between workers: which unit is meant, and the way there and back.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;

use super::call::{Answered, Call, CallError, Caller, Kinship, Outcome};
use super::link::Link;
use super::message::{Encoding, Invoke, ToWorker};
use super::pool::Pool;
use super::roster::{Health, Roster};
use super::stream::Chunks;
use crate::serve::payload::Payload;

/// The units that workers can call.
#[derive(Debug, Default)]
pub struct Switchboard {
    units: RwLock<BTreeMap<String, Arc<Extension>>>,
}

/// A unit that can be called.
#[derive(Debug)]
pub struct Extension {
    /// Its workers, and the calls that wait for them.
    pub pool: Arc<Pool>,
    /// How the workers are.
    pub roster: Arc<Roster>,
    /// Its methods, by name, with their place in the pool.
    pub methods: BTreeMap<String, (usize, Arc<str>)>,
    /// How long a call may take.
    pub timeout: Duration,
}

/// Why a call has no answer of its unit.
enum Refused {
    NoUnit,
    NoMethod,
    Failing,
    TimedOut(Duration),
    Failed(CallError),
}

impl Switchboard {
    /// Adds a unit, or replaces one.
    pub fn connect(&self, id: String, extension: Arc<Extension>) {
        // Nothing panics while the lock is held.
        self.units.write().unwrap_or_else(PoisonError::into_inner).insert(id, extension);
    }

    /// Makes a call for a worker, and sends it the answer.
    pub async fn invoke(self: Arc<Self>, caller: Arc<Link>, invoke: Invoke, body: Bytes) {
        let id = invoke.id;
        let name = format!("{}.{}", invoke.unit, invoke.endpoint);
        if let Err(refused) = self.run(&caller, invoke, body).await {
            let (status, text) = refused.told(&name);
            let message = ToWorker::Outcome { id, status: status.as_u16(), encoding: None };
            caller.send(&message, Bytes::from(json!({ "error": text }).to_string()).into());
        }
    }

    async fn run(&self, caller: &Link, invoke: Invoke, body: Bytes) -> Result<(), Refused> {
        let extension = {
            let units = self.units.read().unwrap_or_else(PoisonError::into_inner);
            units.get(&invoke.unit).map(Arc::clone).ok_or(Refused::NoUnit)?
        };
        if !extension.pool.is_staffed() && extension.roster.health() == Health::Failing {
            return Err(Refused::Failing);
        }
        let (endpoint, name) = extension.methods.get(&invoke.endpoint).ok_or(Refused::NoMethod)?;
        let id = invoke.id;
        let deadline = Instant::now().checked_add(extension.timeout);
        let call = Call {
            endpoint: *endpoint,
            name: Arc::clone(name),
            caller: Caller::Worker,
            body: body.into(),
            kinship: kinship(&invoke),
            encoding: Some(invoke.encoding),
            rows: invoke.rows.max(1),
            deadline,
            request_id: invoke.request_id.into(),
        };
        let answer = extension.pool.submit(call).answer();
        let limit = extension.timeout;
        let (Answered { outcome, .. }, mut hold) =
            tokio::time::timeout(limit, answer).await.map_err(|_| Refused::TimedOut(limit))?;
        match outcome.map_err(Refused::Failed)? {
            Outcome::Value(encoding, body) => {
                caller.send(&ToWorker::Outcome { id, status: 200, encoding: Some(encoding) }, body.into());
            }
            Outcome::Whole(head, body) => {
                let status = head.status.as_u16();
                caller.send(&ToWorker::Outcome { id, status, encoding: None }, body.into());
            }
            Outcome::Streamed(_, chunks) => {
                forward(caller, id, chunks).await;
                hold.release();
            }
        }
        Ok(())
    }
}

/// Passes a stream on, piece by piece.
async fn forward(caller: &Link, id: u64, mut chunks: Chunks) {
    let error = loop {
        match std::future::poll_fn(|context| chunks.poll_next(context)).await {
            Some(Ok(chunk)) => caller.send(&ToWorker::Item { id }, chunk.into()),
            Some(Err(error)) => break Some(error.to_string().into()),
            None => break None,
        }
    };
    caller.send(&ToWorker::Done { id, error }, Payload::default());
}

/// Tells which calls an invocation may be merged with.
fn kinship(invoke: &Invoke) -> Kinship {
    match (&invoke.key, &invoke.encoding) {
        (None, _) => Kinship::Alone,
        (Some(_), Encoding::Array(head)) if !head.shape.is_empty() => Kinship::Rows(head.with_rows(0)),
        (Some(key), _) => Kinship::Key(key.clone()),
    }
}

impl Refused {
    /// What the caller is told about a call of `name`.
    fn told(self, name: &str) -> (StatusCode, String) {
        match self {
            Self::NoUnit => (StatusCode::NOT_FOUND, format!("nothing serves `{name}`")),
            Self::NoMethod => (StatusCode::NOT_FOUND, format!("there is no method `{name}`")),
            Self::Failing => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("the workers of `{name}` fail to start"))
            }
            Self::TimedOut(limit) => {
                let seconds = limit.as_secs_f64();
                (StatusCode::GATEWAY_TIMEOUT, format!("`{name}` took longer than {seconds} seconds"))
            }
            Self::Failed(CallError::Overloaded { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "Service Busy".to_owned())
            }
            Self::Failed(CallError::WorkerLost { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("the worker of `{name}` died during the call"))
            }
            Self::Failed(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}
