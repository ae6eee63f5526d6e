//! Calls between workers: which unit is meant, and the way there and back.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;
use tokio::sync::Semaphore;

use super::call::{Answered, Call, CallError, Caller, Kinship, Outcome};
use super::link::Link;
use super::message::{Encoding, Invoke, ToWorker};
use super::pool::Pool;
use super::report::Report;
use super::roster::{Health, Roster};
use super::stream::Chunks;
use crate::serve::http::identity::Identities;
use crate::serve::http::metrics::Metrics;
use crate::serve::payload::Payload;
use crate::serve::tracing::Tracer;

/// The units that workers can call.
#[derive(Debug)]
pub struct Switchboard {
    units: RwLock<BTreeMap<String, Arc<Extension>>>,
    /// Gives calls that are traced their identities.
    identities: Identities,
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
    /// The unit's name.
    pub name: Arc<str>,
    /// The name by which it is called.
    pub id: Arc<str>,
    /// How many more calls are taken; `None` is any number.
    pub permits: Option<Semaphore>,
    /// The counts of its calls, unless they are off.
    pub metrics: Option<Arc<Metrics>>,
    /// Where spans go, if they go anywhere.
    pub tracer: Option<Arc<Tracer>>,
}

/// Why a call has no answer of its unit.
enum Refused {
    NoUnit,
    NoMethod,
    Failing,
    TooMany,
    TimedOut(Duration),
    Failed(CallError),
}

impl Default for Switchboard {
    fn default() -> Self {
        Self { units: RwLock::default(), identities: Identities::new(0.0) }
    }
}

impl Switchboard {
    /// Adds a unit, or replaces one.
    pub fn connect(&self, id: String, extension: Arc<Extension>) {
        // Nothing panics while the lock is held.
        self.units.write().unwrap_or_else(PoisonError::into_inner).insert(id, extension);
    }

    /// Makes a call for a worker, and sends it the answer.
    pub async fn invoke(self: Arc<Self>, caller: Arc<Link>, invoke: Invoke, body: Payload) {
        let id = invoke.id;
        let name = format!("{}.{}", invoke.unit, invoke.endpoint);
        let refuse = |refused: Refused| {
            let (status, text) = refused.told(&name);
            let message = ToWorker::Outcome { id, status: status.as_u16(), encoding: None };
            caller.send(&message, Bytes::from(json!({ "error": text }).to_string()).into());
            status
        };
        let (extension, endpoint, method) = match self.find(&invoke) {
            Ok(found) => found,
            Err(refused) => {
                refuse(refused);
                return;
            }
        };
        let parent = invoke.request_id.as_str();
        let report = Report::begin(&extension, endpoint, &method, parent, &self.identities);
        let request_id = report.identity().unwrap_or_else(|| parent.into());
        match extension.run(&caller, (endpoint, method), request_id, invoke, body).await {
            Ok((worker, status)) => report.end(worker, status),
            Err(refused) => report.end(0, refuse(refused)),
        }
    }

    fn find(&self, invoke: &Invoke) -> Result<(Arc<Extension>, usize, Arc<str>), Refused> {
        let units = self.units.read().unwrap_or_else(PoisonError::into_inner);
        let extension = units.get(&invoke.unit).ok_or(Refused::NoUnit)?;
        let (endpoint, method) = extension.methods.get(&invoke.endpoint).ok_or(Refused::NoMethod)?;
        Ok((Arc::clone(extension), *endpoint, Arc::clone(method)))
    }
}

impl Extension {
    /// Lets a worker of the unit answer, and passes the answer on; returns who it was, and the status.
    async fn run(
        &self,
        caller: &Link,
        (endpoint, name): (usize, Arc<str>),
        request_id: Arc<str>,
        invoke: Invoke,
        body: Payload,
    ) -> Result<(u32, StatusCode), Refused> {
        if !self.pool.is_staffed() && self.roster.health() == Health::Failing {
            return Err(Refused::Failing);
        }
        let _permit = match &self.permits {
            Some(permits) => Some(permits.try_acquire().map_err(|_| Refused::TooMany)?),
            None => None,
        };
        let (id, limit) = (invoke.id, self.timeout);
        let call = Call {
            endpoint,
            name,
            caller: Caller::Worker,
            body,
            kinship: kinship(&invoke),
            encoding: Some(invoke.encoding),
            rows: invoke.rows.max(1),
            deadline: Instant::now().checked_add(limit),
            request_id,
        };
        let answer = self.pool.submit(call).answer();
        let (Answered { worker, outcome }, mut hold) =
            tokio::time::timeout(limit, answer).await.map_err(|_| Refused::TimedOut(limit))?;
        let status = match outcome.map_err(Refused::Failed)? {
            Outcome::Value(encoding, body) => {
                caller.send(&ToWorker::Outcome { id, status: 200, encoding: Some(encoding) }, body);
                StatusCode::OK
            }
            Outcome::Whole(head, body) => {
                let status = head.status.as_u16();
                caller.send(&ToWorker::Outcome { id, status, encoding: None }, body.into());
                head.status
            }
            Outcome::Streamed(head, chunks) => {
                forward(caller, id, chunks).await;
                hold.release();
                head.status
            }
        };
        Ok((worker, status))
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
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "Too many requests".to_owned()),
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
