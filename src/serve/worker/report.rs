//! One call of a unit from its beginning to its end: counted, and traced below what makes it.

use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;
use jiff::Timestamp;

use super::switchboard::Extension;
use crate::serve::http::identity::Identities;
use crate::serve::tracing::{Attribute, Entered, Span};

/// The status that is counted of a call whose caller does not wait any more.
const CALLER_LEFT: u16 = 499;

/// A call of a unit on its way; dropping it before its end means that the caller left.
#[derive(Debug)]
pub struct Report {
    extension: Arc<Extension>,
    endpoint: usize,
    started: Instant,
    trace: Option<Traced>,
    is_over: bool,
}

/// A call that is being traced.
#[derive(Debug)]
struct Traced {
    trace: Arc<str>,
    id: Arc<str>,
    parent: Option<u64>,
    started: u64,
    name: String,
    _entered: Entered,
}

impl Report {
    /// Begins with a call of the method at `endpoint`, on behalf of the request or call `parent`.
    pub fn begin(
        extension: &Arc<Extension>,
        endpoint: usize,
        method: &str,
        parent: &str,
        identities: &Identities,
    ) -> Self {
        if let Some(metrics) = &extension.metrics {
            metrics.begin(endpoint);
        }
        let traced = extension.tracer.as_ref().and_then(|tracer| {
            let trace = tracer.open.trace_of(parent)?;
            let id = identities.span();
            let started = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
            let parent = u64::from_str_radix(parent, 16).ok();
            let (name, entered) = (format!("{} {method}", extension.id), tracer.open.enter(&id, &trace));
            Some(Traced { trace, id, parent, started, name, _entered: entered })
        });
        let extension = Arc::clone(extension);
        Self { extension, endpoint, started: Instant::now(), trace: traced, is_over: false }
    }

    /// Returns the identity that the unit's worker is given: its own where the call is traced, so that what it calls is
    /// found to be below it.
    pub fn identity(&self) -> Option<Arc<str>> {
        self.trace.as_ref().map(|traced| Arc::clone(&traced.id))
    }

    /// Ends with the answer of a worker; 0 is the front.
    pub fn end(mut self, worker: u32, status: StatusCode) {
        self.record(worker, status);
    }

    fn record(&mut self, worker: u32, status: StatusCode) {
        self.is_over = true;
        let duration = self.started.elapsed();
        if let Some(metrics) = &self.extension.metrics {
            metrics.end(self.endpoint, status.as_u16(), duration);
        }
        let (Some(traced), Some(tracer)) = (self.trace.take(), &self.extension.tracer) else { return };
        let mut attributes = vec![
            ("ekiben.unit", Attribute::from(&*self.extension.id)),
            ("http.status_code", Attribute::Number(status.as_u16().into())),
        ];
        if worker > 0 {
            attributes.push(("ekiben.worker", Attribute::Number(worker.into())));
        }
        let Traced { trace, id, parent, started, name, .. } = traced;
        let unit = Some(Arc::clone(&self.extension.name));
        let is_error = status.is_server_error();
        tracer.send(Span { unit, trace, id, parent, name, started, duration, attributes, is_error });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.is_over {
            self.record(0, StatusCode::from_u16(CALLER_LEFT).unwrap_or_default());
        }
    }
}
