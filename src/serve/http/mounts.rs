//! Requests for mounted applications, which run in the workers.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::{Request, Response};

use super::body::Body;
use super::exchange::Exchange;
use super::front::{Service, open_page, redirect};
use super::routes::{Found, Place};
use super::{api, reply};

/// The worker's word that no application answers a path.
const UNCLAIMED: HeaderName = HeaderName::from_static("x-ekiben-unclaimed");

/// Answers a request for a path below which applications are mounted; what none of them claims is the front's.
pub async fn answer(
    service: &Arc<Service>,
    endpoint: usize,
    request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Response<Body> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = api::admit(service, endpoint, request, exchange).await;
    if response.headers_mut().remove(UNCLAIMED).is_none() {
        return response;
    }
    match service.find_own(uri.path()) {
        Found::Place(Place::Page(page), _) => open_page(service, page, &method).await,
        Found::Redirect(path) => redirect(path, uri.query()),
        _ => reply::not_found(),
    }
}
