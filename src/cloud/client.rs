//! The calls of the protocol, one function each.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::contexts::CloudContext;
use super::error::CloudError;
use super::objects::{ItemList, Organization, RemoteItem, Repository, User};
use super::retry::repeat;
use crate::http::{self, Backoff, Body, HeaderName, Method, Request, Response, StatusCode, Url, header};
use crate::redact::{self, MASK, Secret};
use crate::store::{FORMAT_VERSION, Kind};
use crate::tag::Tag;

/// Where the token goes.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-yatai-api-token");
/// Where the version of the protocol's other end goes.
const VERSION_HEADER: HeaderName = HeaderName::from_static("x-bentoml-version");
/// Where a server says under which number its people find a failure.
const TRACE_HEADER: &str = "x-trace-id";
/// Largest answer: the manifest of a bento has its README in it, which has up to 3 MiB.
const MAX_ANSWER: u64 = 64 << 20;
/// Largest part of a refusal that is read, and the part of it that is shown.
const MAX_REFUSAL: u64 = 1 << 20;
const SHOWN_REFUSAL: usize = 2000;
/// What old servers say with status 400 about what is not there.
const NOT_FOUND: &str = "record not found";

/// How servers are used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How transient errors are repeated.
    pub backoff: Backoff,
    /// Bytes of one part of an upload in parts.
    pub part_size: u64,
    /// Where unfinished transfers are remembered.
    pub scratch: PathBuf,
}

impl Settings {
    /// The usual settings; unfinished transfers are remembered in `scratch`.
    pub fn new(scratch: PathBuf) -> Self {
        // 100 MiB, as the original tool: object stores take parts from 5 MiB.
        Self { backoff: Backoff::default(), part_size: 100 << 20, scratch }
    }
}

/// The client of one server, for one account. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: http::Client,
    endpoint: Url,
    token: Secret,
    settings: Settings,
}

/// Where an item is on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemPath {
    /// Model or bento.
    pub kind: Kind,
    /// The name of its repository.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl ItemPath {
    /// The place of an item with an exact tag.
    pub fn new(kind: Kind, tag: &Tag) -> Self {
        Self { kind, name: tag.name().to_owned(), version: tag.version().to_owned() }
    }

    fn repositories(kind: Kind) -> &'static str {
        match kind {
            Kind::Model => "/api/v1/model_repositories",
            Kind::Bento => "/api/v1/bento_repositories",
        }
    }

    fn items(&self) -> String {
        format!("{}/{}/{}", Self::repositories(self.kind), self.name, self.kind.directory())
    }

    fn path(&self) -> String {
        format!("{}/{}", self.items(), self.version)
    }

    pub(super) fn action(&self, action: &str) -> String {
        format!("{}/{action}", self.path())
    }
}

impl Client {
    /// A client of the server of a context.
    pub fn new(http: http::Client, context: &CloudContext, settings: Settings) -> Result<Self, CloudError> {
        let token = context.api_token.clone();
        if token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CloudError::Token);
        }
        let endpoint = endpoint(&context.endpoint)?;
        Ok(Self { inner: Arc::new(Inner { http, endpoint, token, settings }) })
    }

    /// The server's address, as it may be shown.
    pub fn endpoint(&self) -> String {
        shown(&self.inner.endpoint)
    }

    /// How the server is used.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Whose token it is.
    pub async fn current_user(&self) -> Result<Option<User>, CloudError> {
        self.get("/api/v1/auth/current", "a user").await
    }

    /// The organization of the token.
    pub async fn current_organization(&self) -> Result<Option<Organization>, CloudError> {
        self.get("/api/v1/current_org", "an organization").await
    }

    /// Makes sure that there is a repository for items of a name.
    pub async fn ensure_repository(&self, kind: Kind, name: &str) -> Result<(), CloudError> {
        let all = ItemPath::repositories(kind);
        let one = format!("{all}/{name}");
        if self.get::<Repository>(&one, "a repository").await?.is_none() {
            let body = json!({"name": name, "description": ""});
            self.create::<Repository>(&one, all, &body, "a repository").await?;
        }
        Ok(())
    }

    /// An item, unless there is none.
    pub async fn item(&self, item: &ItemPath) -> Result<Option<RemoteItem>, CloudError> {
        self.get(&item.path(), "an item").await
    }

    /// Registers an item, unless somebody else has just done so.
    pub async fn create_item(&self, item: &ItemPath, body: &Json) -> Result<RemoteItem, CloudError> {
        self.create(&item.path(), &item.items(), body, "an item").await
    }

    /// Changes what is known about an item.
    pub async fn update_item(&self, item: &ItemPath, body: &Json) -> Result<RemoteItem, CloudError> {
        self.patch(&item.path(), Some(body)).await
    }

    /// The newest model of a name that fits a query.
    pub async fn latest_model(
        &self,
        name: &str,
        query: Option<&str>,
    ) -> Result<Option<RemoteItem>, CloudError> {
        let path = format!("{}/{name}/models?start=0&count=10", ItemPath::repositories(Kind::Model));
        let query = query.map(|query| {
            let pairs = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", query).finish();
            format!("&{pairs}")
        });
        let list: Option<ItemList> =
            self.get(&(path + &query.unwrap_or_default()), "a list of models").await?;
        Ok(list.and_then(|list| list.items.into_iter().next()))
    }

    /// Does something to an item that has no body, or a small one.
    pub(super) async fn act(
        &self,
        item: &ItemPath,
        action: &str,
        body: Option<&Json>,
    ) -> Result<RemoteItem, CloudError> {
        self.patch(&item.action(action), body).await
    }

    /// Sends one request to the server itself, with the token, and gives the answer whatever its status.
    pub(super) async fn send(&self, method: Method, path: &str, body: Body) -> Result<Response, CloudError> {
        self.exchange(self.request(method, path)?.body(body)).await
    }

    /// A request to the server itself.
    pub(super) fn request(&self, method: Method, path: &str) -> Result<Request, CloudError> {
        let url = format!("{}{path}", self.inner.endpoint.as_str().trim_end_matches('/'));
        let url = url.parse().map_err(|_| CloudError::Endpoint { endpoint: self.endpoint() })?;
        Ok(Request::new(method, url)
            .secret_header(TOKEN_HEADER, &self.inner.token)
            .header(VERSION_HEADER, FORMAT_VERSION))
    }

    /// Sends a request anywhere.
    pub(super) async fn exchange(&self, request: Request) -> Result<Response, CloudError> {
        let endpoint = http::origin(&request.url);
        let sent = self.inner.http.send(request).await;
        sent.map_err(|source| CloudError::Exchange { endpoint, source })
    }

    /// The error that an answer of the server means.
    pub(super) async fn refusal(&self, response: Response) -> CloudError {
        let status = response.status();
        let trace_id = response.header(TRACE_HEADER).map(|id| self.harmless(id));
        let message = self.message(response).await;
        match trace_id.filter(|_| status.is_server_error()) {
            Some(trace_id) => CloudError::Trace { status, trace_id },
            None => CloudError::Refused { status, message },
        }
    }

    /// What a server said, as it may be shown.
    pub(super) async fn message(&self, response: Response) -> String {
        let body = response.bytes(MAX_REFUSAL).await.unwrap_or_default();
        self.harmless(String::from_utf8_lossy(&body).trim())
    }

    fn harmless(&self, text: &str) -> String {
        let text = redact::text(&text.replace(self.inner.token.expose(), MASK));
        text.chars()
            .take(SHOWN_REFUSAL)
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect()
    }

    pub(super) fn unexpected(&self, expected: &'static str) -> CloudError {
        CloudError::Protocol { endpoint: self.endpoint(), expected }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        expected: &'static str,
    ) -> Result<Option<T>, CloudError> {
        repeat(&self.inner.settings.backoff, async || self.get_once(path, expected).await).await
    }

    async fn get_once<T: DeserializeOwned>(
        &self,
        path: &str,
        expected: &'static str,
    ) -> Result<Option<T>, CloudError> {
        let response = self.send(Method::GET, path, Body::Empty).await?;
        match self.accept(response, expected).await {
            Err(error) if is_absent(&error) => Ok(None),
            accepted => accepted.map(Some),
        }
    }

    async fn patch(&self, path: &str, body: Option<&Json>) -> Result<RemoteItem, CloudError> {
        repeat(&self.inner.settings.backoff, async || {
            let response = self.exchange(self.with_json(Method::PATCH, path, body)?).await?;
            self.accept(response, "an item").await
        })
        .await
    }

    /// Creates what is not there. A lost answer, and somebody who does the same, are no errors.
    async fn create<T: DeserializeOwned>(
        &self,
        one: &str,
        all: &str,
        body: &Json,
        expected: &'static str,
    ) -> Result<T, CloudError> {
        repeat(&self.inner.settings.backoff, async || {
            let created = match self.exchange(self.with_json(Method::POST, all, Some(body))?).await {
                Ok(response) => self.accept(response, expected).await,
                Err(error) => Err(error),
            };
            match created {
                Err(error) if error.is_unknown() || error.is_transient() => {
                    self.get_once(one, expected).await?.ok_or(error)
                }
                created => created,
            }
        })
        .await
    }

    fn with_json(&self, method: Method, path: &str, body: Option<&Json>) -> Result<Request, CloudError> {
        let request = self.request(method, path)?;
        Ok(match body {
            None => request,
            Some(body) => {
                let bytes = serde_json::to_vec(body).expect("bodies are plain data");
                request.header(header::CONTENT_TYPE, "application/json").body(Body::Bytes(bytes.into()))
            }
        })
    }

    async fn accept<T: DeserializeOwned>(
        &self,
        response: Response,
        expected: &'static str,
    ) -> Result<T, CloudError> {
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        let exchange = |source| CloudError::Exchange { endpoint: self.endpoint(), source };
        let bytes = response.bytes(MAX_ANSWER).await.map_err(exchange)?;
        serde_json::from_slice(&bytes).map_err(|_| self.unexpected(expected))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

/// The address of a server.
pub(super) fn endpoint(text: &str) -> Result<Url, CloudError> {
    let bad = || CloudError::Endpoint { endpoint: redact::text(text) };
    let url: Url = text.trim().parse().map_err(|_| bad())?;
    let is_plain =
        matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    if is_plain && url.has_host() { Ok(url) } else { Err(bad()) }
}

fn shown(endpoint: &Url) -> String {
    redact::url(endpoint).trim_end_matches('/').to_owned()
}

fn is_absent(error: &CloudError) -> bool {
    match error {
        CloudError::Refused { status: StatusCode::NOT_FOUND, .. } => true,
        CloudError::Refused { status: StatusCode::BAD_REQUEST, message } => message.contains(NOT_FOUND),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_and_a_host() {
        for text in ["https://cloud.example", "http://127.0.0.1:3000/", " http://h/prefix "] {
            assert!(endpoint(text).is_ok(), "{text}");
        }
        for text in ["", "cloud.example", "ftp://h", "https://h?token=x", "https://"] {
            assert!(endpoint(text).is_err(), "{text}");
        }
        assert_eq!(shown(&endpoint("http://u:secret@h/").unwrap()), "http://***@h");
    }

    #[test]
    fn items_are_below_their_repositories() {
        let tag = Tag::new("iris", "v1").unwrap();
        let model = ItemPath::new(Kind::Model, &tag);
        assert_eq!(model.action("upload"), "/api/v1/model_repositories/iris/models/v1/upload");
        let bento = ItemPath::new(Kind::Bento, &tag);
        assert_eq!(bento.path(), "/api/v1/bento_repositories/iris/bentos/v1");
    }
}
