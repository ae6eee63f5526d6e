//! WebSockets of mounted applications: the front speaks the protocol with the client, the worker runs the application.
//!
//! The request is answered as any other one, with 101 when the application takes it; then the connection belongs to
//! the relay.

pub mod counts;
pub mod handshake;
pub mod relay;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::handshake::Handshake;
use self::relay::{Relay, Takeover};
use super::body::Body;
use super::exchange::Exchange;
use super::front::Service;
use super::{api, reply};
use crate::serve::error::chain;
use crate::serve::worker::call::CallError;
use crate::serve::worker::link::Link;
use crate::serve::worker::message::{Level, ResponseHead, header_text};
use crate::serve::worker::socket_message::{Acceptance, ConnectHeader};
use crate::serve::worker::sockets::{Opened, Opening, Sockets};

/// Answers a request for a WebSocket at a place in the metrics, if any application is mounted there.
pub async fn answer(
    service: &Arc<Service>,
    place: Option<usize>,
    mut request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Response<Body> {
    let handshake = match Handshake::read(request.headers()) {
        Ok(handshake) => handshake,
        Err(refusal) => return refusal,
    };
    // Upstream refuses them as its router does: without a word.
    let Some(label) = place else { return refused() };
    if let Some(response) = api::refuse(service) {
        return response;
    }
    let Ok(permit) = service.permits.clone().map(Semaphore::try_acquire_owned).transpose() else {
        return reply::error(StatusCode::TOO_MANY_REQUESTS, "Too many requests");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let Some(opened) = open(service, &request, &handshake, exchange) else {
        let (ready, total) = service.roster.counts();
        return reply::not_ready(&service.roster.health().to_string(), ready, total);
    };
    exchange.worker = opened.outbox.worker();
    let deadline = exchange.started.checked_add(service.config.timeout.limit);
    let asked = Asked { handshake, upgrade, permit, label };
    let opening = settle(service, opened, asked, exchange);
    match deadline {
        Some(deadline) => {
            let settled = tokio::time::timeout_at(deadline.into(), opening).await;
            settled.unwrap_or_else(|_| api::timed_out(service))
        }
        None => opening.await,
    }
}

/// The answer where no application takes WebSockets.
fn refused() -> Response<Body> {
    let mut response = Response::new(Body::whole(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

/// A request for a WebSocket that an application was asked for.
struct Asked {
    handshake: Handshake,
    upgrade: OnUpgrade,
    permit: Option<OwnedSemaphorePermit>,
    label: usize,
}

/// Asks the worker with the fewest of them.
fn open(
    service: &Service,
    request: &Request<Incoming>,
    handshake: &Handshake,
    exchange: &Exchange,
) -> Option<Opened> {
    let mut links: Vec<Arc<Link>> = service.pool.links();
    links.sort_by_key(|link| link.sockets.count());
    let pairs =
        request.headers().iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), header_text(value)));
    let headers: Vec<_> = pairs.collect();
    let peer = exchange.peer;
    links.iter().find_map(|link| {
        let head = ConnectHeader {
            id: 0,
            path: request.uri().path().into(),
            query: request.uri().query().unwrap_or_default().into(),
            headers: headers.clone(),
            subprotocols: handshake.subprotocols.iter().map(|name| name.as_str().into()).collect(),
            client: (peer.address.ip().to_string().into(), peer.address.port()),
            scheme: if peer.is_secure { "wss".into() } else { "ws".into() },
            request_id: exchange.identity.request.as_ref().into(),
        };
        Sockets::open(link, head)
    })
}

/// Waits for the application's word.
async fn settle(service: &Arc<Service>, opened: Opened, asked: Asked, exchange: &Exchange) -> Response<Body> {
    let Opened { opening, events, mut outbox } = opened;
    let worker = outbox.worker();
    let opening = opening.await.unwrap_or(Err(CallError::WorkerLost { worker }));
    match opening {
        Ok(Opening::Accepted(Acceptance { subprotocol, mut headers })) => {
            if let Some(name) = subprotocol.filter(|name| !name.is_empty()) {
                let Ok(name) = HeaderValue::from_str(&name) else {
                    let text = "the application chose a subprotocol that no header can have";
                    service.log.line(Level::Error, service.component(worker), text);
                    return reply::text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
                };
                headers.insert(SEC_WEBSOCKET_PROTOCOL, name);
            }
            let Asked { handshake, upgrade, permit, label } = asked;
            let mut response = handshake.answer(headers);
            let relay =
                Relay::new(service, exchange, upgrade, (events, outbox), (permit, label, Instant::now()));
            response.extensions_mut().insert(Takeover::new(relay));
            response
        }
        Ok(Opening::Denied(ResponseHead { status, headers }, body)) => {
            outbox.forget();
            let mut response = Response::new(Body::whole(body));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            api::strip(response.headers_mut());
            response
        }
        Err(error) => {
            service.log.line(Level::Error, service.component(worker), chain(&error));
            match error {
                CallError::WorkerLost { .. } => api::lost(),
                _ => reply::text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
            }
        }
    }
}
