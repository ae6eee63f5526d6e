//! One request from its arrival to its answer's last byte: measured, logged, counted as in progress.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode};

use super::access_log::Answer;
use super::body::Body;
use super::connection::Peer;
use super::front::Service;
use super::identity::Identity;
use super::traced::Traced;
use crate::serve::tracing::Entered;
use crate::serve::worker::message::Level;

/// The status that is logged of a request whose client left before the answer was complete.
const CLIENT_LEFT: u16 = 499;

/// A request on its way; dropping it before its end means that the client left.
#[derive(Debug)]
pub struct Exchange {
    service: Arc<Service>,
    /// When the request arrived.
    pub started: Instant,
    /// The request's identity.
    pub identity: Identity,
    /// Who asks.
    pub peer: Peer,
    /// The worker that answered; 0 is the front itself.
    pub worker: u32,
    label: usize,
    line: Option<String>,
    traced: Option<Traced>,
    /// Known as a part of its trace to what it calls.
    _entered: Option<Entered>,
    answer: Option<(StatusCode, HeaderMap, Option<usize>)>,
    is_over: bool,
}

impl Exchange {
    /// Begins with a request's arrival; `label` is its place in the metrics.
    pub fn begin(service: &Arc<Service>, peer: Peer, request: &Request<Incoming>, label: usize) -> Self {
        let path = request.uri().path();
        let access = service.config.access_log.as_ref().filter(|access| !access.skips(path));
        let access = access.filter(|_| service.log.writes(Level::Info));
        let line = access.map(|access| access.request(peer, request.method(), path, request.headers()));
        if let Some(metrics) = &service.metrics {
            metrics.begin(label);
        }
        let identity = service.identities.identify(request.headers());
        let tracer = service.tracer.as_ref().filter(|_| identity.is_sampled);
        let traced = tracer.and_then(|tracer| Traced::begin(tracer, peer, request, service.label(label)));
        let entered = traced.as_ref().zip(tracer);
        let entered = entered.map(|(_, tracer)| tracer.open.enter(&identity.request, &identity.trace));
        Self {
            service: Arc::clone(service),
            started: Instant::now(),
            identity,
            traced,
            _entered: entered,
            peer,
            worker: 0,
            label,
            line,
            answer: None,
            is_over: false,
        }
    }

    /// Returns the half of the line of the access log that tells of the request.
    pub fn line(&self) -> Option<String> {
        self.line.clone()
    }

    /// Takes note of the answer's head; a streamed body ends the exchange itself.
    pub fn answered(mut self, mut response: Response<Body>) -> Response<Body> {
        let headers = if self.line.is_some() { response.headers().clone() } else { HeaderMap::new() };
        self.answer = Some((response.status(), headers, response.body().length()));
        match response.body_mut() {
            Body::Whole(_) => self.finish(),
            Body::Streamed(streamed) => streamed.exchange = Some(self),
            Body::Proxied(proxied) => proxied.exchange = Some(self),
        }
        response
    }

    /// Ends the exchange.
    pub fn finish(mut self) {
        let (status, headers, length) = self.answer.take().unwrap_or_default();
        self.record(status, &headers, length);
    }

    fn record(&mut self, status: StatusCode, headers: &HeaderMap, length: Option<usize>) {
        self.is_over = true;
        let duration = self.started.elapsed();
        if let Some(metrics) = &self.service.metrics {
            metrics.end(self.label, status.as_u16(), duration);
        }
        if let (Some(traced), Some(tracer)) = (self.traced.take(), &self.service.tracer) {
            tracer.send(traced.end(&self.identity, self.worker, status, duration));
        }
        let (Some(mut line), Some(access)) = (self.line.take(), &self.service.config.access_log) else {
            return;
        };
        let (identity, service) = (&self.identity, &self.service.name);
        let formats = &self.service.config.identities;
        access.response(&mut line, &Answer { status, headers, length, duration, identity, formats, service });
        self.service.log.line(Level::Info, self.service.component(self.worker), line);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_over {
            let left = StatusCode::from_u16(CLIENT_LEFT).unwrap_or_default();
            self.record(left, &HeaderMap::new(), None);
        }
    }
}
