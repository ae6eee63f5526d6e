//! What the span of a request tells, in the attributes of the original's instrumentation.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HOST, HeaderName, USER_AGENT};
use hyper::{Request, StatusCode, Version};
use jiff::Timestamp;

use super::connection::Peer;
use super::identity::Identity;
use crate::serve::tracing::{Attribute, Span, Tracer};
use crate::serve::worker::message::header_text;

/// A request that is being traced.
#[derive(Debug)]
pub struct Traced {
    started: u64,
    name: String,
    attributes: Vec<(&'static str, Attribute)>,
}

impl Traced {
    /// Begins with a request's arrival, unless it is excluded. Queries are left out: they may have secrets.
    pub fn begin(tracer: &Tracer, peer: Peer, request: &Request<Incoming>, route: &str) -> Option<Self> {
        let header =
            |name: HeaderName| request.headers().get(name).map(|value| header_text(value).into_owned());
        let (host, path) = (header(HOST).unwrap_or_default(), request.uri().path());
        if tracer.excludes(|| format!("{}://{host}{path}", peer.scheme())) {
            return None;
        }
        let method = request.method().as_str();
        let flavor = if request.version() == Version::HTTP_10 { "1.0" } else { "1.1" };
        let mut attributes = vec![
            ("http.method", method.into()),
            ("http.scheme", peer.scheme().into()),
            ("http.host", host.into()),
            ("http.flavor", flavor.into()),
            ("http.target", path.into()),
            ("http.route", route.into()),
            ("net.peer.ip", peer.address.ip().to_string().into()),
            ("net.peer.port", Attribute::Number(peer.address.port().into())),
        ];
        attributes.extend(header(USER_AGENT).map(|agent| ("http.user_agent", agent.into())));
        let started = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
        Some(Self { started, name: format!("{method} {route}"), attributes })
    }

    /// Ends with the answer.
    pub fn end(mut self, identity: &Identity, worker: u32, status: StatusCode, duration: Duration) -> Span {
        self.attributes.push(("http.status_code", Attribute::Number(status.as_u16().into())));
        if worker > 0 {
            self.attributes.push(("ekiben.worker", Attribute::Number(worker.into())));
        }
        Span {
            unit: None,
            trace: identity.trace.clone(),
            id: identity.request.clone(),
            parent: identity.parent,
            name: self.name,
            started: self.started,
            duration,
            attributes: self.attributes,
            is_error: status.is_server_error(),
        }
    }
}
