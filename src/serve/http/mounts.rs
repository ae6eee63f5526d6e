//! Requests for mounted applications, which run in the workers.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::{Request, Response};

use super::body::{Body, Source};
use super::exchange::Exchange;
use super::front::{Service, open_page, proxied, redirect};
use super::routes::{Found, Place};
use super::{api, application, reply};

/// The worker's word that no application answers a path.
const UNCLAIMED: HeaderName = HeaderName::from_static("x-ekiben-unclaimed");

/// Answers a request for a path below which applications are mounted; what none of them claims is the front's.
pub async fn answer(
    service: &Arc<Service>,
    endpoint: usize,
    mut request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Response<Body> {
    request.extensions_mut().insert(exchange.peer.origin());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut again = None;
    let asked = if service.proxy.is_some() {
        // What no application claims goes to the service's own program, with the body.
        let (head, body) = request.into_parts();
        let body = match application::kept(service, body).await {
            Ok(body) => body,
            Err(response) => return response,
        };
        again = Some(Request::from_parts(head.clone(), body.clone()));
        Request::from_parts(head, Source::Read(body))
    } else {
        request.map(Source::Wire)
    };
    let mut response = api::admit(service, endpoint, asked, exchange).await;
    if response.headers_mut().remove(UNCLAIMED).is_none() {
        return response;
    }
    match (service.find_unmounted(uri.path()), again) {
        (Found::Place(Place::Proxied | Place::Api(_), _), Some(request)) => {
            proxied(service, request, exchange).await
        }
        (Found::Place(Place::Api(_), _), None) => reply::wrong_method("POST"),
        (Found::Place(Place::Page(page), _), _) => open_page(service, page, &method).await,
        (Found::Redirect(path), _) => redirect(path, uri.query()),
        _ => reply::not_found(),
    }
}
