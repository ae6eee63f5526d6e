//! The pages for people and for scrapers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use hyper::{Response, StatusCode};

use super::batch_metrics::Batched;
use super::body::Body;
use super::front::{Service, Unit};
use super::metrics::Metrics;
use super::{metrics, reply, user_metrics};
use crate::serve::manifest::ServiceManifest;

/// The page at `/`; it reads `docs.json` beside it and nothing else.
const INDEX: &str = include_str!("../../../templates/front/index.html");

/// How long the user's metrics may take: a page without them is better than none.
const MEASURE_LIMIT: Duration = Duration::from_secs(2);

const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=1.0.0; charset=utf-8");

/// The page is all in one file, and talks to its own server alone.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
     img-src data: blob:; media-src blob:; base-uri 'none'; form-action 'none'",
);
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Writes the page at `/`.
pub fn index(manifest: &ServiceManifest) -> String {
    let prefix = manifest.path_prefix.trim_end_matches('/');
    INDEX
        .replace("{{name}}", &escape(&manifest.name))
        .replace("{{prefix}}", &prefix.escape_default().to_string())
}

/// The answer with a page of HTML.
pub fn html(page: Bytes) -> Response<Body> {
    let mut response = reply::typed(StatusCode::OK, HTML, page);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// The page `/metrics`: the front's series, then the user's.
pub async fn metrics(service: &Arc<Service>) -> Response<Body> {
    let Some(own) = &service.metrics else { return reply::not_found() };
    let (ready, total) = service.roster.counts();
    let (waiting, running) = service.pool.load();
    let (restarts, replacements) = (service.roster.restarts(), service.roster.replacements());
    let workers = metrics::Workers { ready, total, restarts, replacements, waiting, running };
    let own_apis = service.apis.iter().zip(&service.pool.batches);
    let batched_apis = own_apis.filter_map(|(method, batches)| {
        Some(Batched { space: "bentoml_service", unit: &service.name, method, batches: batches.as_ref()? })
    });
    let batched: Vec<Batched<'_>> =
        batched_apis.chain(service.units.iter().flat_map(Unit::batched)).collect();
    let units: Vec<&Metrics> = service.units.iter().filter_map(|unit| unit.metrics.as_deref()).collect();
    let mut page = own.render(workers, &batched, &units);
    if service.has_user_metrics {
        page.push_str(&measure(service).await);
    }
    reply::typed(StatusCode::OK, METRICS_TYPE, page)
}

async fn measure(service: &Service) -> String {
    let links = service.pool.links();
    let questions = links.iter().map(|link| async {
        let text = tokio::time::timeout(MEASURE_LIMIT, link.measure()).await.ok().flatten()?;
        Some((link.worker().to_string(), String::from_utf8_lossy(&text).into_owned()))
    });
    let answers = futures_util::future::join_all(questions).await;
    let pages: Vec<(String, String)> = answers.into_iter().flatten().collect();
    user_metrics::merge(&pages)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
