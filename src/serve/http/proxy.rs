//! Requests for a service's own program (`cmd`, `__command__`): they go to its port as they come, and its answers come
//! back as they are made.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::body::{Body, Proxied, ReadError, Source};
use super::exchange::Exchange;
use super::front::Service;
use super::{api, reply};
use crate::serve::error::chain;
use crate::serve::worker::message::Level;

/// Headers that belong to one connection (RFC 9110, 7.6.1), besides those that `connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("te"),
    HeaderName::from_static("transfer-encoding"),
    HeaderName::from_static("upgrade"),
];

/// The worker that starts the command.
const COMMANDER: u32 = 1;

/// Connections that are kept for later.
const IDLE: usize = 64;

type Outgoing = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Why a request was not answered by the command.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// Nothing listens.
    #[error("cannot connect to the command's port {port}")]
    Connect {
        /// The port.
        port: u16,
        /// Why not.
        source: std::io::Error,
    },
    /// It does not speak HTTP, or broke off.
    #[error("the command does not answer")]
    Exchange(#[from] hyper::Error),
    /// The path cannot be asked for.
    #[error("cannot ask the command for `{path}`")]
    Path {
        /// The path.
        path: String,
        /// Why not.
        source: hyper::http::uri::InvalidUri,
    },
}

/// The way to a command.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    prefix: String,
    idle: Arc<Mutex<Vec<SendRequest<Outgoing>>>>,
}

impl Proxy {
    /// Makes the way to a command behind a port of this machine, for the paths below a prefix.
    pub fn new(port: u16, prefix: &str) -> Self {
        Self { port, prefix: prefix.trim_end_matches('/').to_owned(), idle: Arc::default() }
    }

    /// Lets the command answer a request.
    pub async fn answer(
        &self,
        service: &Service,
        request: Request<impl Into<Source>>,
        exchange: &Exchange,
    ) -> Response<Body> {
        if !is_running(service) {
            let (ready, total) = service.roster.counts();
            return reply::not_ready("the command is being started", ready, total);
        }
        let Ok(permit) = service.permits.clone().map(Semaphore::try_acquire_owned).transpose() else {
            return reply::error(StatusCode::TOO_MANY_REQUESTS, "Too many requests");
        };
        let (mut head, body) = request.into_parts();
        let limit = service.config.max_body_size;
        let body = match body.into() {
            Source::Wire(body) if body.size_hint().lower() > limit => {
                return api::unread(&ReadError::TooLarge { limit });
            }
            body => outgoing(body),
        };
        api::pass_trace(service, &exchange.identity, &mut head);
        let answer = self.forward(head, body);
        let answered = match exchange.started.checked_add(service.config.timeout.limit) {
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), answer).await {
                Ok(answered) => answered,
                Err(_) => return api::timed_out(service),
            },
            None => answer.await,
        };
        match answered {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                strip(&mut head.headers);
                let body = if body.is_end_stream() {
                    Body::whole(Bytes::new())
                } else {
                    Body::Proxied(Box::new(Proxied::new(body, permit)))
                };
                Response::from_parts(head, body)
            }
            Err(error) => {
                service.log.line(Level::Error, service.component(0), chain(&error));
                reply::text(StatusCode::SERVICE_UNAVAILABLE, "Upstream service unavailable.")
            }
        }
    }

    async fn forward(&self, head: Parts, body: Outgoing) -> Result<Response<Incoming>, ProxyError> {
        let mut request = self.request(head, body)?;
        // A connection that was kept may have been closed meanwhile; what was not sent is sent on a new one.
        while let Some(mut sender) = self.take_idle() {
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep(sender);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await?;
        self.keep(sender);
        Ok(response)
    }

    fn request(&self, head: Parts, body: Outgoing) -> Result<Request<Outgoing>, ProxyError> {
        let path = head.uri.path();
        let below = path.strip_prefix(&self.prefix).filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let uri = match head.uri.query() {
            Some(query) => format!("{below}?{query}"),
            None => below.to_owned(),
        };
        let uri: Uri = uri.parse().map_err(|source| ProxyError::Path { path: path.to_owned(), source })?;
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = head.headers;
        strip(request.headers_mut());
        if let Ok(host) = HeaderValue::from_str(&format!("localhost:{}", self.port)) {
            request.headers_mut().insert(HOST, host);
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<SendRequest<Outgoing>, ProxyError> {
        let port = self.port;
        let connect = |source| ProxyError::Connect { port, source };
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host(("localhost", port)).await.map_err(connect)?.collect();
        let stream = TcpStream::connect(addresses.as_slice()).await.map_err(connect)?;
        // Without it small requests wait; a socket that refuses it still works.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Whoever waits for an answer is told.
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// Keeps a connection for later, once its answer has been read.
    fn keep(&self, mut sender: SendRequest<Outgoing>) {
        let idle = Arc::clone(&self.idle);
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < IDLE {
                    idle.push(sender);
                }
            }
        });
    }

    fn take_idle(&self) -> Option<SendRequest<Outgoing>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(SendRequest::is_ready)
    }
}

/// Tells whether the command answers: its worker is ready when it does, and ends with it.
pub fn is_running(service: &Service) -> bool {
    service.roster.is_ready(COMMANDER)
}

/// Makes the body of a request to the command: it is sent on while it arrives.
fn outgoing(body: Source) -> Outgoing {
    match body {
        Source::Wire(body) => body.map_err(Into::into).boxed_unsync(),
        Source::Read(payload) => {
            let frames = payload.into_parts().into_iter().map(|piece| Ok(Frame::data(piece)));
            StreamBody::new(stream::iter(frames)).boxed_unsync()
        }
    }
}

/// Takes the headers out that belong to one connection.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::CONTENT_LENGTH;

    use super::*;
    use crate::serve::payload::Payload;

    #[test]
    fn the_command_sees_its_own_paths() {
        let request = |prefix: &str, uri: &str| {
            let (mut head, ()) = Request::builder().uri(uri).body(()).unwrap().into_parts();
            head.headers.insert(CONNECTION, HeaderValue::from_static("x-hop, close"));
            head.headers.insert("x-hop", HeaderValue::from_static("1"));
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            Proxy::new(8000, prefix).request(head, outgoing(Source::Read(Payload::default()))).unwrap()
        };
        let asked = request("/p/", "/p/v1/a%20b?x=%2F");
        assert_eq!(asked.uri(), "/v1/a%20b?x=%2F");
        assert_eq!(asked.headers()[HOST], "localhost:8000");
        assert!(!asked.headers().contains_key("x-hop") && !asked.headers().contains_key(CONNECTION));
        assert!(asked.headers().contains_key(CONTENT_LENGTH));
        assert_eq!(request("", "/v1").uri(), "/v1");
        assert_eq!(request("/p", "/public").uri(), "/public");
    }
}
