//! Services with middlewares: everything but the health pages goes to the worker, where the middlewares are.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};

use super::body::{Body, read};
use super::exchange::Exchange;
use super::front::{Service, open_page, proxied, redirect};
use super::routes::{Found, Place};
use super::{api, cors, reply, tasks};
use crate::serve::payload::Payload;

/// The worker's word that the front is to answer for a path: its value.
const OWN: HeaderName = HeaderName::from_static("x-ekiben-own");

/// The worker's word that the answer is that of an API.
const OF_API: HeaderName = HeaderName::from_static("x-ekiben-api");

/// Answers a request through the middlewares.
pub async fn answer(
    service: &Arc<Service>,
    endpoint: usize,
    request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Response<Body> {
    let shared = service.config.cors.as_ref().map(|cors| cors::Request::of(cors, &request));
    if let Some(preflight) = shared.as_ref().and_then(cors::Request::preflight) {
        return preflight;
    }
    let (mut head, body) = request.into_parts();
    let body = match kept(service, body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    head.extensions.insert(exchange.peer.origin());
    let asked = Request::from_parts(head.clone(), body.clone());
    let mut response = api::admit(service, endpoint, asked, exchange).await;
    if response.headers_mut().remove(OF_API).is_some() {
        let own = response.headers().clone();
        api::sign(service, exchange, &mut response);
        // What a middleware has set stays.
        replace(response.headers_mut(), own);
    }
    if let Some(path) = response.headers_mut().remove(OWN) {
        let path = path.to_str().unwrap_or_default().to_owned();
        let own = answer_own(service, &path, head, body, exchange).await;
        response = merged(own, response);
    }
    if let Some(shared) = shared {
        shared.permit(response.headers_mut());
    }
    response
}

/// Reads a body that may be needed twice.
pub async fn kept(service: &Service, body: Incoming) -> Result<Payload, Response<Body>> {
    let reading =
        tokio::time::timeout(service.config.timeout.limit, read(body, service.config.max_body_size));
    match reading.await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(api::unread(&error)),
        Err(_) => Err(api::timed_out(service)),
    }
}

/// Answers for a path that is the front's.
async fn answer_own(
    service: &Arc<Service>,
    path: &str,
    head: Parts,
    body: Payload,
    exchange: &mut Exchange,
) -> Response<Body> {
    match service.find_unmounted(path) {
        Found::Place(Place::Page(page), _) => open_page(service, page, &head.method).await,
        Found::Place(Place::Proxied | Place::Api(_), _) => {
            proxied(service, Request::from_parts(head, body), exchange).await
        }
        Found::Place(Place::Task(endpoint, action), _) => {
            let request = Request::from_parts(head, body);
            tasks::answer(service, endpoint, action, request, exchange).await
        }
        Found::Redirect(path) => redirect(path, head.uri.query()),
        Found::Place(..) | Found::Nothing => reply::not_found(),
    }
}

/// Gives the front's answer the headers, and another status, that the middlewares have set.
fn merged(mut own: Response<Body>, told: Response<Body>) -> Response<Body> {
    if told.status() != StatusCode::OK {
        *own.status_mut() = told.status();
    }
    let (mut told, _) = told.into_parts();
    told.headers.remove(CONTENT_LENGTH);
    replace(own.headers_mut(), told.headers);
    own
}

/// Puts headers in the place of those of the same names.
fn replace(headers: &mut HeaderMap, new: HeaderMap) {
    headers.extend(new);
}

#[cfg(test)]
mod tests {
    use hyper::header::{CONTENT_TYPE, HeaderValue, SET_COOKIE};

    use super::*;

    #[test]
    fn what_middlewares_set_is_kept() {
        let mut told = Response::new(Body::whole(bytes::Bytes::new()));
        *told.status_mut() = StatusCode::ACCEPTED;
        told.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        told.headers_mut().append(SET_COOKIE, HeaderValue::from_static("a=1"));
        told.headers_mut().append(SET_COOKIE, HeaderValue::from_static("b=2"));
        let answer = merged(reply::text(StatusCode::OK, "page"), told);
        assert_eq!((answer.status(), answer.body().length()), (StatusCode::ACCEPTED, Some(4)));
        assert!(
            answer.headers().contains_key(CONTENT_TYPE) && !answer.headers().contains_key(CONTENT_LENGTH)
        );
        assert_eq!(answer.headers().get_all(SET_COOKIE).iter().count(), 2);
    }
}
