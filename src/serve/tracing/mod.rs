//! Spans of requests, sent to a collector in batches (runtime contract 8.3).
//!
//! Where no exporter is configured there is no tracer, and nothing here runs.

mod collector;
mod open;
mod spans;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regex::RegexSet;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::config::Tracing;
use super::error::chain;
use super::http::tls::TlsError;
use super::log::Log;
use super::worker::message::Level;
use crate::env::Environment;

use collector::Collector;

pub use open::{Entered, Open};
pub use spans::{Attribute, Span};

/// Spans that wait for the collector; more are dropped and counted, as the original's exporter does.
const BACKLOG: usize = 2048;

/// Most spans in one request to the collector.
const BATCH: usize = 512;

/// How long spans are gathered. OpenTelemetry's own default, and its variable.
const GATHER: (&str, Duration) = ("OTEL_BSP_SCHEDULE_DELAY", Duration::from_secs(5));

/// How long the last spans may take when the server ends.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Pauses between attempts to send one batch.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// A collector that cannot be used.
#[derive(Debug, Error)]
pub enum TracingError {
    /// The endpoint is not a URL of HTTP.
    #[error("the endpoint of `tracing.otlp` must be a URL of HTTP, but is `{found}`")]
    Endpoint {
        /// What it is, without what may be secret.
        found: String,
    },
    /// A header that HTTP cannot carry.
    #[error("the header `{name}` of `tracing.otlp` cannot be sent")]
    Header {
        /// The header's name.
        name: String,
    },
    /// The collector's authority cannot be used.
    #[error("cannot use TLS with the endpoint of `tracing.otlp`")]
    Tls(#[from] TlsError),
}

/// Who the spans are of.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The service.
    pub service: String,
    /// The bento, where there is one.
    pub bento: Option<String>,
    /// The bento's version, where there is one.
    pub version: Option<String>,
}

/// Takes spans and sends them.
#[derive(Debug)]
pub struct Tracer {
    /// What is being traced.
    pub open: Arc<Open>,
    spans: mpsc::Sender<Message>,
    excluded: RegexSet,
    lost: Arc<AtomicU64>,
}

enum Message {
    Span(Box<Span>),
    Close(oneshot::Sender<()>),
}

impl Tracer {
    /// Begins to send spans to what is configured; `None` when nothing is.
    pub fn start(
        config: &Tracing,
        origin: &Origin,
        environment: &Environment,
        log: &Log,
    ) -> Result<Option<Self>, TracingError> {
        let Some(exporter) = config.exporter.as_ref().filter(|_| !environment.is_on("OTEL_SDK_DISABLED"))
        else {
            return Ok(None);
        };
        let collector = Collector::new(exporter, environment)?;
        let encoder = wire::Encoder::new(origin, environment, exporter.longest_text);
        let (spans, received) = mpsc::channel(BACKLOG);
        let lost = Arc::new(AtomicU64::new(0));
        let (variable, default) = GATHER;
        let gather = environment.text(variable).and_then(|text| text.trim().parse().ok());
        let sender = Sender {
            received,
            collector,
            encoder,
            gather: gather.map_or(default, Duration::from_millis),
            lost: Arc::clone(&lost),
            log: log.clone(),
        };
        tokio::spawn(sender.run());
        Ok(Some(Self { open: Arc::default(), spans, excluded: config.excluded_urls.clone(), lost }))
    }

    /// Tells whether a request of this URL is left out.
    pub fn excludes(&self, url: impl FnOnce() -> String) -> bool {
        !self.excluded.is_empty() && self.excluded.is_match(&url())
    }

    /// Hands in a span; one too many is dropped.
    pub fn send(&self, span: Span) {
        if self.spans.try_send(Message::Span(Box::new(span))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends what is left; a collector that is not there cannot hold the server.
    pub async fn close(&self) {
        let (closed, is_closed) = oneshot::channel();
        let close = async {
            if self.spans.send(Message::Close(closed)).await.is_ok() {
                let _ = is_closed.await;
            }
        };
        // Spans that are not sent by then are lost with the server.
        let _ = timeout(CLOSE_LIMIT, close).await;
    }
}

/// The task that gathers spans and sends them.
struct Sender {
    received: mpsc::Receiver<Message>,
    collector: Collector,
    encoder: wire::Encoder,
    gather: Duration,
    lost: Arc<AtomicU64>,
    log: Log,
}

impl Sender {
    async fn run(mut self) {
        let mut is_open = true;
        while is_open {
            let mut batch = Vec::new();
            let mut closing = None;
            let Some(first) = self.received.recv().await else { return };
            let deadline = Instant::now() + self.gather;
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Span(span) => batch.push(*span),
                    Message::Close(closed) => {
                        closing = Some(closed);
                        break;
                    }
                }
                if batch.len() < BATCH {
                    next = timeout_at(deadline, self.received.recv()).await.ok().flatten();
                }
            }
            self.send(&batch).await;
            is_open = closing.is_none();
            if let Some(closed) = closing {
                // Whoever closes has stopped to wait when nobody listens.
                let _ = closed.send(());
            }
        }
    }

    async fn send(&self, batch: &[Span]) {
        if batch.is_empty() {
            return;
        }
        let body = self.encoder.encode(batch);
        let mut pauses = PAUSES.iter();
        let error = loop {
            match self.collector.post(&body).await {
                Ok(()) => break None,
                Err(error) if error.is_transient() => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => break Some(error),
                },
                Err(error) => break Some(error),
            }
        };
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let text = match error {
            Some(error) => {
                let lost = lost + batch.len() as u64;
                format!("{lost} spans were lost: {}", chain(&error))
            }
            None if lost > 0 => format!("{lost} spans were lost: more came than could be sent"),
            None => return,
        };
        self.log.line(Level::Warning, &"tracing".into(), text);
    }
}
