//! The collector that spans are sent to: OTLP over HTTP.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::{GzEncoder, ZlibEncoder};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::Url;

use super::TracingError;
use crate::env::Environment;
use crate::serve::config::tracing::{Encoding, Exporter};
use crate::serve::http::tls::trust::Trust;

/// Where collectors on the same machine listen.
const DEFAULT: &str = "http://localhost:4318";

/// What is added to an endpoint that is not of traces alone.
const PATH: &str = "v1/traces";

/// Variables of OpenTelemetry: for traces, and for everything.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// Spans that could not be sent.
#[derive(Debug, Error)]
pub(super) enum SendError {
    /// No connection.
    #[error("cannot connect to `{url}`")]
    Connect {
        /// The collector.
        url: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke, or HTTP is not what is spoken there.
    #[error("cannot send to `{url}`")]
    Send {
        /// The collector.
        url: String,
        /// Why not.
        source: hyper::Error,
    },
    /// The collector does not want them.
    #[error("`{url}` answered {status}")]
    Refused {
        /// The collector.
        url: String,
        /// Its answer.
        status: StatusCode,
    },
    /// The collector does not answer.
    #[error("`{url}` does not answer")]
    Late {
        /// The collector.
        url: String,
    },
}

impl SendError {
    /// Whether the next attempt may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Send { .. } => true,
            Self::Late { .. } => false,
            Self::Refused { status, .. } => [429, 502, 503, 504].contains(&status.as_u16()),
        }
    }
}

/// A collector.
pub(super) struct Collector {
    host: String,
    port: u16,
    target: String,
    shown: String,
    headers: HeaderMap,
    encoding: Encoding,
    trust: Option<Trust>,
    timeout: Duration,
}

impl Collector {
    /// Takes the configuration, and what it leaves to the environment.
    pub(super) fn new(exporter: &Exporter, environment: &Environment) -> Result<Self, TracingError> {
        let url = endpoint(exporter, environment)?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(TracingError::Endpoint { found: show(&url) });
        };
        let is_secure = url.scheme() == "https";
        let trust = is_secure.then(|| Trust::new(host, exporter.authorities.as_deref())).transpose()?;
        let target =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut headers = headers(exporter, environment)?;
        let value = HeaderValue::from_str(&authority);
        headers.insert(HOST, value.map_err(|_| TracingError::Endpoint { found: show(&url) })?);
        headers.insert(CONTENT_TYPE, PROTOBUF);
        match exporter.compression {
            Encoding::Identity => {}
            Encoding::Gzip => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"))),
            Encoding::Deflate => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("deflate"))),
        }
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            target,
            shown: show(&url),
            headers,
            encoding: exporter.compression,
            trust,
            timeout: exporter.timeout,
        })
    }

    /// Sends one body.
    pub(super) async fn post(&self, body: &[u8]) -> Result<(), SendError> {
        let late = || SendError::Late { url: self.shown.clone() };
        let sent = tokio::time::timeout(self.timeout, self.deliver(body)).await;
        let status = sent.unwrap_or_else(|_| Err(late()))?;
        if status.is_success() {
            return Ok(());
        }
        Err(SendError::Refused { url: self.shown.clone(), status })
    }

    async fn deliver(&self, body: &[u8]) -> Result<StatusCode, SendError> {
        let connect = |source| SendError::Connect { url: self.shown.clone(), source };
        let body = pack(self.encoding, body).map_err(connect)?;
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(connect)?;
        match &self.trust {
            Some(trust) => self.talk(trust.connect(socket).await.map_err(connect)?, body).await,
            None => self.talk(socket, body).await,
        }
    }

    async fn talk<S>(&self, socket: S, body: Bytes) -> Result<StatusCode, SendError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let failed = |source| SendError::Send { url: self.shown.clone(), source };
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(failed)?;
        let mut request = Request::post(self.target.as_str()).body(Full::new(body)).unwrap_or_default();
        request.headers_mut().clone_from(&self.headers);
        // The connection ends with its one answer, or with the sender.
        let connection = tokio::spawn(connection);
        let answered = sender.send_request(request).await;
        connection.abort();
        answered.map(|response| response.status()).map_err(failed)
    }
}

fn endpoint(exporter: &Exporter, environment: &Environment) -> Result<Url, TracingError> {
    let [of_traces, of_all] = ENDPOINTS.map(|name| environment.text(name));
    let text = exporter
        .endpoint
        .as_deref()
        .or(of_traces)
        .map_or_else(|| format!("{}/{PATH}", of_all.unwrap_or(DEFAULT).trim_end_matches('/')), str::to_owned);
    // What is no URL is not shown: it may be a key that was put into the wrong place.
    let url = Url::parse(&text).map_err(|_| TracingError::Endpoint { found: "…".to_owned() })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(TracingError::Endpoint { found: show(&url) });
    }
    Ok(url)
}

/// A URL without name, password and query, any of which may be a secret.
fn show(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

fn headers(exporter: &Exporter, environment: &Environment) -> Result<HeaderMap, TracingError> {
    let mut headers = HeaderMap::new();
    let listed = HEADERS.iter().find_map(|name| environment.text(name)).unwrap_or_default();
    let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
    let listed = listed.split(',').filter_map(|pair| pair.split_once('='));
    let listed = listed.map(|(name, value)| (name.trim().to_owned(), decode(value)));
    let own = exporter.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    for (name, value) in listed.chain(own) {
        let parsed = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(&value).ok());
        let (parsed, mut value) = parsed.ok_or(TracingError::Header { name })?;
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    Ok(headers)
}

fn pack(encoding: Encoding, body: &[u8]) -> io::Result<Bytes> {
    let level = flate2::Compression::fast();
    Ok(match encoding {
        Encoding::Identity => Bytes::copy_from_slice(body),
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(body)?;
            encoder.finish()?.into()
        }
        Encoding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(body)?;
            encoder.finish()?.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn collector(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Result<Collector, TracingError> {
        let exporter = Exporter {
            endpoint: endpoint.map(str::to_owned),
            compression: Encoding::Identity,
            headers: BTreeMap::new(),
            authorities: None,
            timeout: Duration::from_secs(1),
            longest_text: None,
        };
        Collector::new(&exporter, &variables.iter().copied().collect())
    }

    #[test]
    fn the_endpoint_is_configured_or_the_environments() {
        let shown = |endpoint, variables: &[(&str, &str)]| collector(endpoint, variables).unwrap().shown;
        assert_eq!(shown(None, &[]), "http://localhost:4318/v1/traces");
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.example/otlp/");
        assert_eq!(shown(None, &[all]), "https://c.example/otlp/v1/traces");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/t");
        assert_eq!(shown(None, &[all, traces]), "http://c:1/t");
        assert_eq!(shown(Some("http://u:p@[::1]:5/x?key=1"), &[traces]), "http://[::1]:5/x");
    }

    #[test]
    fn secrets_are_in_no_message() {
        for endpoint in ["ftp://user:geheim@c/?k=geheim", "geheim"] {
            let message = collector(Some(endpoint), &[]).err().unwrap().to_string();
            assert!(message.contains("must be a URL of HTTP") && !message.contains("geheim"), "{message}");
        }
        let headers = [("OTEL_EXPORTER_OTLP_HEADERS", "api-key=ge%20heim,x y=geheim")];
        let message = collector(None, &headers).err().unwrap().to_string();
        assert_eq!(message, "the header `x y` of `tracing.otlp` cannot be sent");
        let found = collector(None, &[("OTEL_EXPORTER_OTLP_HEADERS", "api-key=ge%20heim")]).unwrap();
        assert_eq!(found.headers["api-key"], "ge heim");
    }
}
