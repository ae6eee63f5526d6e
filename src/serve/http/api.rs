//! A call of an API: admitted, queued, sent to a worker's slot, and answered.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue, RETRY_AFTER, SERVER,
    TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::body::{Body, ReadError, Source, Streamed, read};
use super::exchange::Exchange;
use super::front::Service;
use super::identity::Identity;
use super::reply;
use crate::serve::config::IdentityFormat;
use crate::serve::config::identity_format::NumberFormat;
use crate::serve::error::chain;
use crate::serve::manifest::Style;
use crate::serve::payload::Payload;
use crate::serve::worker::call::{Answered, Call, CallError, Caller, Kinship, Outcome};
use crate::serve::worker::message::{Encoding, Level, MessageError, ResponseHead};
use crate::serve::worker::pool::Hold;
use crate::serve::worker::roster::Health;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-bentoml-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
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
    admit(service, endpoint, request, exchange).await
}

/// Admits a request, and lets a worker answer it.
pub async fn admit(
    service: &Arc<Service>,
    endpoint: usize,
    request: Request<impl Into<Source>>,
    exchange: &mut Exchange,
) -> Response<Body> {
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
    request: Request<impl Into<Source>>,
    exchange: &mut Exchange,
    deadline: Option<Instant>,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let body = match read(body, service.config.max_body_size).await {
        Ok(body) => body,
        Err(error) => return unread(&error),
    };
    pass_trace(service, &exchange.identity, &mut head);
    let call = call(service, endpoint, head, body, &exchange.identity.request, deadline);
    let (worker, mut response) = perform(service, call).await;
    exchange.worker = worker;
    if service.is_api[endpoint] {
        sign(service, exchange, &mut response);
    }
    response
}

/// Lets a worker answer a call; returns its number, and the answer without the front's headers.
pub async fn perform(service: &Arc<Service>, call: Call) -> (u32, Response<Body>) {
    let (Answered { worker, outcome }, hold) = service.pool.submit(call).answer().await;
    let response = match outcome {
        Ok(outcome) => respond(service, worker, outcome, hold),
        Err(error) => failed(service, worker, &error),
    };
    (worker, response)
}

/// Lets what the handler traces belong below the request.
pub fn pass_trace(service: &Service, identity: &Identity, head: &mut Parts) {
    if service.tracer.is_some()
        && let Ok(parent) = HeaderValue::from_str(&identity.traceparent())
    {
        head.headers.insert(TRACEPARENT, parent);
    }
}

/// Makes a call of an API of a request.
pub fn call(
    service: &Arc<Service>,
    endpoint: usize,
    head: Parts,
    body: Payload,
    request_id: &Arc<str>,
    deadline: Option<Instant>,
) -> Call {
    let mut call = Call {
        endpoint,
        name: Arc::clone(&service.apis[endpoint]),
        caller: Caller::Client(Box::new(head)),
        body,
        encoding: None,
        rows: 1,
        kinship: if service.batches[endpoint] { Kinship::Unread } else { Kinship::Alone },
        deadline,
        request_id: Arc::clone(request_id),
    };
    read_array(service, &mut call);
    call
}

/// Reads the body of a request that is one array and nothing else; any other stays as it is.
fn read_array(service: &Service, call: &mut Call) {
    let Some(input) = &service.arrays[call.endpoint] else { return };
    let is_json = call.caller.content_type().is_none_or(|declared| {
        let kind = declared.split(';').next().unwrap_or_default().trim();
        kind.is_empty() || kind.eq_ignore_ascii_case("application/json")
    });
    let Some(bytes) = call.body.as_single().filter(|_| is_json) else { return };
    let Some((head, elements)) = input.read(bytes) else { return };
    call.rows = head.rows().unwrap_or(1);
    call.kinship = Kinship::Rows(head.with_rows(0));
    call.encoding = Some(Encoding::Array(head));
    call.body = elements.into();
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

fn respond(service: &Service, worker: u32, outcome: Outcome, hold: Hold) -> Response<Body> {
    let (ResponseHead { status, mut headers }, body) = match outcome {
        Outcome::Value(..) => {
            let text = "the worker answered an HTTP request with a value for workers";
            service.log.line(Level::Error, service.component(worker), text);
            return reply::error(StatusCode::INTERNAL_SERVER_ERROR, reply::HIDDEN);
        }
        Outcome::Whole(head, body) => (head, Body::whole(body)),
        Outcome::Streamed(head, chunks) => (head, Body::Streamed(Box::new(Streamed::new(chunks, hold)))),
    };
    strip(&mut headers);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn failed(service: &Service, worker: u32, error: &CallError) -> Response<Body> {
    service.log.line(Level::Error, service.component(worker), chain(error));
    match error {
        CallError::WorkerLost { .. } => lost(),
        CallError::Abandoned => {
            reply::error(StatusCode::SERVICE_UNAVAILABLE, "The service is being loaded again.")
        }
        CallError::Unsendable(MessageError::Frame(_)) => {
            reply::text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request Header Fields Too Large")
        }
        CallError::Overloaded { .. } => {
            let mut response = reply::error(StatusCode::SERVICE_UNAVAILABLE, reply::HIDDEN);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
        CallError::Unsendable(_) | CallError::Head(_) | CallError::Indivisible { .. } => {
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, reply::HIDDEN)
        }
    }
}

/// The answer to a request whose worker died.
pub fn lost() -> Response<Body> {
    let message = "The worker that ran this request died; it is being started again.";
    reply::error(StatusCode::SERVICE_UNAVAILABLE, message)
}

/// Takes those headers out of a worker's answer that are for one connection.
pub fn strip(headers: &mut HeaderMap) {
    for name in &CONNECTION_HEADERS {
        headers.remove(name);
    }
}

/// Adds the headers that every answer of an API has.
pub fn sign(service: &Service, exchange: &Exchange, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(SERVER, service.server.clone());
    let IdentityFormat { trace, request } = &service.config.identities;
    if let Ok(request) = written(service.style, request, &exchange.identity.request) {
        headers.insert(REQUEST_ID, request);
    }
    if service.config.has_trace_header
        && let Ok(trace) = written(service.style, trace, &exchange.identity.trace)
    {
        headers.insert(TRACE_ID, trace);
    }
}

/// Writes an identity, which is hexadecimal, as services of this style write them: those of functions as decimals,
/// classes as configured.
fn written(style: Style, format: &NumberFormat, identity: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    match (style, u128::from_str_radix(identity, 16)) {
        (Style::Legacy, Ok(number)) => HeaderValue::from_str(&number.to_string()),
        _ => HeaderValue::from_str(&format.show(identity)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_written_as_the_style_has_them() {
        let IdentityFormat { trace, request } = IdentityFormat::default();
        let id = "0220f97cd44d1018";
        assert_eq!(written(Style::Class, &request, id).unwrap(), id);
        assert_eq!(written(Style::Class, &NumberFormat::parse("x").unwrap(), id).unwrap(), "220f97cd44d1018");
        assert_eq!(written(Style::Legacy, &request, id).unwrap(), "153396701863677976");
        let identity = "4bf92f3577b34da6a3ce929d0e0e4736";
        let decimal = "100985939111033328018442752961257817910";
        assert_eq!(written(Style::Legacy, &trace, identity).unwrap(), decimal);
    }
}
