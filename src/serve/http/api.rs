//! A call of an API: admitted, queued, sent to a worker's slot, and answered.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SERVER, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::body::{Body, ReadError, Streamed, read};
use super::exchange::Exchange;
use super::front::Service;
use super::reply;
use crate::serve::error::chain;
use crate::serve::payload::Payload;
use crate::serve::worker::message::{Level, MessageError, ResponseHead};
use crate::serve::worker::pool::{Answered, Call, CallError, Hold, Outcome};
use crate::serve::worker::roster::Health;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-bentoml-request-id");
const TRACE_ID: HeaderName = HeaderName::from_static("x-bentoml-trace-id");

/// Headers that belong to one connection: a worker's answer has none of its own.
const CONNECTION_HEADERS: [HeaderName; 4] =
    [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, HeaderName::from_static("keep-alive")];

/// Answers a request for the API `endpoint`.
pub async fn answer(
    service: &Arc<Service>,
    endpoint: usize,
    request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Response<Body> {
    if request.method() != Method::POST {
        return reply::wrong_method("POST");
    }
    if let Some(response) = refuse(service) {
        return response;
    }
    let Ok(permit) = service.permits.clone().map(Semaphore::try_acquire_owned).transpose() else {
        return reply::error(StatusCode::TOO_MANY_REQUESTS, "Too many requests");
    };
    // A limit beyond the clock's end is no limit.
    let deadline = exchange.started.checked_add(service.config.timeout.limit);
    let call = run(service, endpoint, request, exchange, deadline);
    let mut response = match deadline {
        Some(deadline) => {
            tokio::time::timeout_at(deadline.into(), call).await.unwrap_or_else(|_| timed_out(service))
        }
        None => call.await,
    };
    if let Body::Streamed(streamed) = response.body_mut() {
        streamed.permit = permit;
    }
    response
}

/// Refuses a request that no worker will take soon.
pub fn refuse(service: &Service) -> Option<Response<Body>> {
    if service.pool.is_staffed() {
        return None;
    }
    let health = service.roster.health();
    // A worker that died is started again at once: its queue waits for it.
    let will_be_served = matches!(health, Health::Ready | Health::Restarting);
    let (ready, total) = service.roster.counts();
    (!will_be_served).then(|| reply::not_ready(&health.to_string(), ready, total))
}

/// The answer to a request that took too long.
pub fn timed_out(service: &Service) -> Response<Body> {
    let message = format!("Not able to process the request in {} seconds", service.config.timeout.written);
    reply::error(StatusCode::GATEWAY_TIMEOUT, &message)
}

async fn run(
    service: &Arc<Service>,
    endpoint: usize,
    request: Request<Incoming>,
    exchange: &mut Exchange,
    deadline: Option<Instant>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = match read(body, service.config.max_body_size).await {
        Ok(body) => body,
        Err(error) => return unread(&error),
    };
    let call = call(service, endpoint, head, body, exchange, deadline);
    let (worker, mut response) = perform(service, call).await;
    exchange.worker = worker;
    sign(service, exchange, &mut response);
    response
}

/// Lets a worker answer a call; returns its number, and the answer without the front's headers.
pub async fn perform(service: &Arc<Service>, call: Call) -> (u32, Response<Body>) {
    let (Answered { worker, outcome }, hold) = service.pool.submit(call).answer().await;
    let response = match outcome {
        Ok(outcome) => respond(outcome, hold),
        Err(error) => failed(service, worker, &error),
    };
    (worker, response)
}

fn call(
    service: &Service,
    endpoint: usize,
    head: Parts,
    body: Payload,
    exchange: &Exchange,
    deadline: Option<Instant>,
) -> Call {
    let (name, request_id) = (Arc::clone(&service.apis[endpoint]), Arc::clone(&exchange.identity.request));
    Call { endpoint, name, head, body, deadline, request_id }
}

/// The answer to a request whose body could not be read.
pub fn unread(error: &ReadError) -> Response<Body> {
    match error {
        ReadError::TooLarge { limit } => {
            let message = format!("Request body is larger than {limit} bytes");
            reply::error(StatusCode::PAYLOAD_TOO_LARGE, &message)
        }
        ReadError::Broken(_) => reply::error(StatusCode::BAD_REQUEST, "Cannot read the request body"),
    }
}

fn respond(outcome: Outcome, hold: Hold) -> Response<Body> {
    let (ResponseHead { status, mut headers }, body) = match outcome {
        Outcome::Whole(head, body) => (head, Body::whole(body)),
        Outcome::Streamed(head, chunks) => (head, Body::Streamed(Box::new(Streamed::new(chunks, hold)))),
    };
    for name in &CONNECTION_HEADERS {
        headers.remove(name);
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn failed(service: &Service, worker: u32, error: &CallError) -> Response<Body> {
    service.log.line(Level::Error, service.component(worker), chain(error));
    match error {
        CallError::WorkerLost { .. } => {
            let message = "The worker that ran this request died; it is being started again.";
            reply::error(StatusCode::SERVICE_UNAVAILABLE, message)
        }
        CallError::Unsendable(MessageError::Frame(_)) => {
            reply::text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request Header Fields Too Large")
        }
        CallError::Unsendable(_) | CallError::Head(_) => {
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, reply::HIDDEN)
        }
    }
}

/// Adds the headers that every answer of an API has.
pub fn sign(service: &Service, exchange: &Exchange, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(SERVER, service.server.clone());
    if let Ok(request) = HeaderValue::from_str(&exchange.identity.request) {
        headers.insert(REQUEST_ID, request);
    }
    if service.config.has_trace_header
        && let Ok(trace) = HeaderValue::from_str(&exchange.identity.trace)
    {
        headers.insert(TRACE_ID, trace);
    }
}
