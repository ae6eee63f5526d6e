//! HTTP to other machines: the one client, its trust, its time limits and its redirects.
//!
//! Everything that knows the HTTP crate is here. Certificates are checked against the system's roots (`SSL_CERT_FILE`
//! and `SSL_CERT_DIR` name others) and those of [`ClientSettings::extra_roots`]; proxies are taken from the usual
//! variables. Redirects are followed for `GET` and `HEAD` only; credentials never go to another origin.

mod backoff;
mod body;
mod error;
mod response;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use backoff::Backoff;
pub use body::Body;
pub use error::HttpError;
pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode};
pub use response::Response;
pub use url::Url;

use crate::redact::{self, Secret};
use error::host_of;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// What servers are told about the client.
const USER_AGENT: &str = concat!("ekiben/", env!("CARGO_PKG_VERSION"));
/// Redirects followed for one request: browsers stop at 20, curl at 50; object stores need one or two.
const MAX_REDIRECTS: usize = 10;

/// How the client behaves.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Files of additional certificate authorities, in PEM.
    pub extra_roots: Vec<PathBuf>,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long nothing may move, in either direction, before a request is given up.
    pub stall_timeout: Duration,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            extra_roots: Vec::new(),
            connect_timeout: Duration::from_secs(15),
            // Registries verify a large blob before they answer, and object stores copy it: minutes are normal.
            stall_timeout: Duration::from_mins(5),
        }
    }
}

/// A client. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: reqwest::Client,
    stall_timeout: Duration,
}

/// A request to be sent.
#[derive(Debug)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// With what.
    pub url: Url,
    /// Headers; the body's length is added.
    pub headers: HeaderMap,
    /// What is sent along.
    pub body: Body,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Body::Empty }
    }

    /// This request with a header; a value that cannot be in a header is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// This request with a header that is a secret: it is sent to this origin only, whatever redirects say.
    #[must_use]
    pub fn secret_header(mut self, name: HeaderName, value: &Secret) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(value.expose()) {
            value.set_sensitive(true);
            self.headers.insert(name, value);
        }
        self
    }

    /// This request with a body.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }
}

impl Client {
    /// Makes a client.
    pub fn new(settings: &ClientSettings) -> Result<Self, HttpError> {
        let inner = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(settings.connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(tls(&settings.extra_roots)?)
            // Each blob gets a connection of its own: one shared by all would be as slow as its slowest stream.
            .http1_only()
            .build()
            .map_err(|source| HttpError::Setup(source.into()))?;
        Ok(Self { inner, stall_timeout: settings.stall_timeout })
    }

    /// Sends a request and returns the head of the answer, whatever its status.
    pub async fn send(&self, request: Request) -> Result<Response, HttpError> {
        let follows = matches!(request.method, Method::GET | Method::HEAD);
        let Request { method, mut url, mut headers, mut body } = request;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(&method, &url, headers.clone(), std::mem::take(&mut body)).await?;
            let location = response.redirect().filter(|_| follows);
            let Some(location) = location else { return Ok(response) };
            let next = next_url(&method, &url, location)?;
            if !is_same_origin(&url, &next) {
                headers = without_secrets(&headers);
            }
            url = next;
        }
        let location = redact::url(&url);
        Err(HttpError::Redirect {
            method,
            url: location.clone(),
            location,
            reason: "there are too many redirects",
        })
    }

    async fn send_once(
        &self,
        method: &Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Response, HttpError> {
        let (size, moved) = (body.size(), body.moved());
        if size > 0 || !matches!(*method, Method::GET | Method::HEAD) {
            headers.insert(header::CONTENT_LENGTH, size.into());
        }
        let request = self.inner.request(method.clone(), url.clone()).headers(headers);
        let sending = body.attach(request).send();
        let stalled = async {
            loop {
                let before = moved.count();
                tokio::time::sleep(self.stall_timeout).await;
                if before == moved.count() {
                    break;
                }
            }
        };
        tokio::select! {
            result = sending => match result {
                Ok(inner) => Ok(Response::new(inner, method.clone(), url.clone(), self.stall_timeout)),
                Err(source) => Err(HttpError::of(method, url, source)),
            },
            () = stalled => Err(HttpError::Timeout {
                method: method.clone(), url: redact::url(url), seconds: self.stall_timeout.as_secs(),
            }),
        }
    }
}

/// Whether two URLs have the same scheme, host and port, so that credentials for one are meant for the other.
pub fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && host_of(one) == host_of(other)
}

/// The headers that any server may see.
fn without_secrets(headers: &HeaderMap) -> HeaderMap {
    let is_plain = |name: &HeaderName, value: &HeaderValue| {
        !value.is_sensitive() && name != header::AUTHORIZATION && name != header::COOKIE
    };
    let plain = headers.iter().filter(|(name, value)| is_plain(name, value));
    plain.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Scheme, host and port of a URL: where it leads, and nothing that opens doors there.
pub fn origin(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(
        || format!("{}://{host}", url.scheme()),
        |port| format!("{}://{host}:{port}", url.scheme()),
    )
}

/// Whether a URL is on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The target of a redirect, unless it gives up TLS.
fn next_url(method: &Method, url: &Url, location: &str) -> Result<Url, HttpError> {
    let refuse = |location: String, reason| HttpError::Redirect {
        method: method.clone(),
        url: redact::url(url),
        location,
        reason,
    };
    let next = url.join(location).map_err(|_| refuse(redact::text(location), "that is not a URL"))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(refuse(redact::url(&next), "only `http` and `https` are followed"));
    }
    if url.scheme() == "https" && next.scheme() == "http" {
        return Err(refuse(redact::url(&next), "a secure connection must stay one"));
    }
    Ok(next)
}

/// Whether every root of the system can be used: a library that reads them by itself takes all or none.
pub fn check_system_roots() -> Result<(), HttpError> {
    let found = rustls_native_certs::load_native_certs();
    let setup = |source: Box<dyn std::error::Error + Send + Sync>| HttpError::SystemRoots(source);
    if let Some(error) = found.errors.into_iter().next() {
        return Err(setup(error.into()));
    }
    let mut roots = rustls::RootCertStore::empty();
    found
        .certs
        .into_iter()
        .try_for_each(|certificate| roots.add(certificate))
        .map_err(|error| setup(error.into()))
}

/// The roots of the system, and additional ones.
fn tls(extra_roots: &[PathBuf]) -> Result<rustls::ClientConfig, HttpError> {
    let mut roots = rustls::RootCertStore::empty();
    // A system without roots, or with broken ones, can still talk to itself and to servers of the extra roots.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for path in extra_roots {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|source| HttpError::Roots { path: path.clone(), source: source.into() })?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| HttpError::Setup(source.into()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let refuse =
        |source: Box<dyn std::error::Error + Send + Sync>| HttpError::Roots { path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| refuse(source.into()))?;
    if found.is_empty() { Err(refuse("there is no certificate in it".into())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert!(is_same_origin(&url("https://h/a"), &url("https://h:443/b?c")));
        for other in ["http://h/", "https://h:444/", "https://g/"] {
            assert!(!is_same_origin(&url("https://h/"), &url(other)), "{other}");
        }
    }

    #[test]
    fn a_redirect_keeps_tls() {
        let from = url("https://h/a");
        assert_eq!(next_url(&Method::GET, &from, "/b").unwrap(), url("https://h/b"));
        for location in ["http://h/a", "file:///etc/passwd", "https://"] {
            assert!(next_url(&Method::GET, &from, location).is_err(), "{location}");
        }
    }

    #[test]
    fn secrets_stay_with_their_origin() {
        let request = Request::new(Method::GET, url("https://h/a"))
            .header(header::ACCEPT, "text/plain")
            .header(header::COOKIE, "c")
            .secret_header(HeaderName::from_static("x-token"), &Secret::new("t"));
        assert!(!format!("{request:?}").contains("\"t\""));
        let names: Vec<_> = without_secrets(&request.headers).keys().map(ToString::to_string).collect();
        assert_eq!(names, ["accept"]);
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, "nothing\n").unwrap();
        let settings = ClientSettings { extra_roots: vec![path.clone()], ..ClientSettings::default() };
        let error = Client::new(&settings).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read certificates from `{}`", path.display()));
    }
}
