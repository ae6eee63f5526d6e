//! Health pages: what the front knows by itself, and what the service's own hooks say.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Response, StatusCode};

use super::body::Body;
use super::front::Service;
use super::{proxy, reply};
use crate::serve::manifest::Style;
use crate::serve::worker::link::Link;
use crate::serve::worker::message::{Level, Probe, Probed};
use crate::serve::worker::roster::Health;

/// How long a hook may take. Probes of orchestrators wait for a second by default; ours must not pile up.
const HOOK_LIMIT: Duration = Duration::from_secs(5);

/// What upstream writes into the body of a good answer.
const FINE: &str = "\n";

/// The page `/livez`: the front runs, and no worker says that it is not alive.
///
/// A worker that does not answer is busy, not dead: killing the container would not help it.
pub async fn live(service: &Arc<Service>) -> Response<Body> {
    for link in service.pool.links() {
        if let Some(Probed { ok: false, message }) = ask(&link, Probe::Alive).await {
            note(service, &link, "__is_alive__", message);
            let text = "Service is not healthy because .__is_alive__() returns False.";
            return reply::text(StatusCode::SERVICE_UNAVAILABLE, text);
        }
    }
    reply::text(StatusCode::OK, FINE)
}

/// The page `/readyz`: at least one worker takes calls and says that it is ready.
pub async fn ready(service: &Arc<Service>) -> Response<Body> {
    if service.config.probes_units && service.units.iter().any(|unit| unit.roster.health() != Health::Ready) {
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, "Runners are not ready.");
    }
    if service.proxy.is_some() && !proxy::is_running(service) {
        return not_ready("the command is being started");
    }
    let links = service.pool.links();
    if links.is_empty() {
        return not_ready(&service.roster.health().to_string());
    }
    let mut has_answer = false;
    for link in links {
        match ask(&link, Probe::Ready).await {
            Some(Probed { ok: true, .. }) => return reply::text(StatusCode::OK, FINE),
            Some(Probed { ok: false, message }) => {
                has_answer = true;
                note(service, &link, "__is_ready__", message);
            }
            None => {}
        }
    }
    if has_answer {
        let text = match service.style {
            Style::Class => "Service is not ready because .__is_ready__() returns False.",
            Style::Legacy => "Runners are not ready.",
        };
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    not_ready("no worker answers")
}

/// The page `/readyz` when it is clear without asking.
pub fn not_ready(reason: &str) -> Response<Body> {
    reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("Service is not ready: {reason}."))
}

async fn ask(link: &Link, probe: Probe) -> Option<Probed> {
    tokio::time::timeout(HOOK_LIMIT, link.probe(probe)).await.ok().flatten()
}

fn note(service: &Service, link: &Link, hook: &str, message: Option<String>) {
    if let Some(message) = message {
        let component = service.component(link.worker());
        service.log.line(Level::Warning, component, format!("{hook}: {message}"));
    }
}
