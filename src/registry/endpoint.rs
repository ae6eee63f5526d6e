//! The way to one registry: scheme and host, authorisation, and what every answer has in common.

use std::sync::Arc;

use super::auth::Authenticator;
use super::backoff::{Attempts, Backoff};
use super::challenge::Challenge;
use super::error::RegistryError;
use super::keychain::Keychain;
use super::refusal::Refusal;
use super::scopes::Scopes;
use crate::http::{self, HttpError, Method, Request, Response, StatusCode, Url, header};
use crate::oci::reference::{DEFAULT_REGISTRY, Repository as Name};

/// The host behind the name of Docker Hub.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// One registry.
pub(super) struct Endpoint {
    registry: String,
    base: Url,
    http: http::Client,
    auth: Authenticator,
    backoff: Backoff,
}

impl Endpoint {
    /// Finds out how the registry of a repository is to be talked to: by HTTPS, and on this machine by plain HTTP
    /// where it is spoken.
    pub(super) async fn find(
        name: &Name,
        http: &http::Client,
        keychain: &Arc<Keychain>,
        backoff: &Backoff,
    ) -> Result<Arc<Self>, RegistryError> {
        let registry = name.registry.clone();
        let host = if registry == DEFAULT_REGISTRY { DOCKER_HUB_HOST } else { &registry };
        let parse = |scheme: &str| {
            let url: Result<Url, _> = format!("{scheme}://{host}/v2/").parse();
            url.map_err(|_| RegistryError::Protocol {
                registry: registry.clone(),
                what: "nothing: that is not the name of a host".to_owned(),
            })
        };
        let plain = parse("http")?;
        let is_plain = http::is_loopback(&plain) && speaks_plain_http(http, &plain, &registry).await?;
        let base = if is_plain { plain } else { parse("https")? };
        let auth = Authenticator::new(registry.clone(), http.clone(), Arc::clone(keychain));
        Ok(Arc::new(Self { registry, base, http: http.clone(), auth, backoff: backoff.clone() }))
    }

    pub(super) fn registry(&self) -> &str {
        &self.registry
    }

    pub(super) fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// The URL of something below `/v2/`.
    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.base.join(path).map_err(|_| self.protocol(format!("`{path}`, which is not part of a URL")))
    }

    /// The URL that a `Location` header means; it never leaves a secure connection.
    pub(super) fn location(&self, response: &Response) -> Result<Url, RegistryError> {
        let text = response
            .header(header::LOCATION.as_str())
            .ok_or_else(|| self.protocol("no `Location` for the upload".to_owned()))?;
        let bad = || self.protocol("a `Location` that is not a URL".to_owned());
        let mut url = response.url().join(text).map_err(|_| bad())?;
        if self.base.scheme() == "https" && url.scheme() == "http" && url.host_str() == self.base.host_str() {
            // A registry behind a proxy that does not tell it about TLS names its own plain address.
            url.set_scheme("https").map_err(|()| bad())?;
            url.set_port(self.base.port()).map_err(|()| bad())?;
        }
        if url.scheme() != "https" && !(url.scheme() == "http" && self.base.scheme() == "http") {
            return Err(self.protocol("a `Location` without encryption".to_owned()));
        }
        Ok(url)
    }

    /// Sends the request that `make` makes, with authorisation, which is renewed once when refused.
    ///
    /// Statuses that ask to come back later, and refusals for want of authorisation, are errors; the rest is the
    /// caller's to judge.
    pub(super) async fn call(
        &self,
        name: &Name,
        scopes: &Scopes,
        make: impl Fn() -> Request,
    ) -> Result<Response, RegistryError> {
        let mut is_renewed = false;
        loop {
            let mut request = make();
            let mut authorization = None;
            if http::is_same_origin(&request.url, &self.base) {
                authorization = self.auth.header(&name.path, scopes).await?;
                if let Some(value) = authorization.clone() {
                    request.headers.insert(header::AUTHORIZATION, value);
                }
            }
            let response = self.http.send(request).await.map_err(|error| self.http_error(error))?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return self.judge(name, response).await;
            }
            let challenge = self.challenge(&response)?;
            if is_renewed || !self.auth.refused(authorization.as_ref()).await || challenge.is_none() {
                return self.judge(name, response).await;
            }
            if let Some(challenge) = challenge {
                self.auth.challenged(challenge).await;
            }
            is_renewed = true;
        }
    }

    /// Sends a request that can be repeated, as often as transient errors demand.
    pub(super) async fn call_again(
        &self,
        name: &Name,
        scopes: &Scopes,
        make: impl Fn() -> Request,
    ) -> Result<Response, RegistryError> {
        let mut attempts = Attempts::new(&self.backoff);
        loop {
            match self.call(name, scopes, &make).await {
                Ok(response) => return Ok(response),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    /// The error for an answer that is not the one wanted.
    pub(super) async fn unexpected(&self, attempted: impl Into<String>, response: Response) -> RegistryError {
        let refusal = Refusal::read(response).await;
        RegistryError::Status { registry: self.registry.clone(), attempted: attempted.into(), refusal }
    }

    pub(super) fn protocol(&self, what: String) -> RegistryError {
        RegistryError::Protocol { registry: self.registry.clone(), what }
    }

    pub(super) fn http_error(&self, error: HttpError) -> RegistryError {
        RegistryError::of_http(&self.registry, error)
    }

    /// What the registry asks for; an error when it asks for something unknown.
    fn challenge(&self, response: &Response) -> Result<Option<Challenge>, RegistryError> {
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
        let texts: Vec<_> = headers.iter().filter_map(|value| value.to_str().ok()).collect();
        let challenge = Challenge::choose(texts.iter().copied());
        if challenge.is_none() && !texts.is_empty() {
            let challenge = crate::redact::text(&texts.join(", "));
            return Err(RegistryError::Challenge { registry: self.registry.clone(), challenge });
        }
        Ok(challenge)
    }

    async fn judge(&self, name: &Name, response: Response) -> Result<Response, RegistryError> {
        let registry = self.registry.clone();
        match response.status().as_u16() {
            401 | 403 => Err(RegistryError::Unauthorized {
                registry,
                repository: name.path.clone(),
                credentials: self.auth.origin(&name.path).await?,
                refusal: Refusal::read(response).await,
            }),
            429 => {
                let refusal = Refusal::read(response).await;
                Err(RegistryError::TooManyRequests { registry, retry_after: refusal.retry_after, refusal })
            }
            408 | 502..=504 => Err(self.unexpected("answer", response).await),
            _ => Ok(response),
        }
    }
}

/// Asks a registry on this machine whether it speaks plain HTTP. Servers that want TLS answer 400, or hang up.
async fn speaks_plain_http(http: &http::Client, url: &Url, registry: &str) -> Result<bool, RegistryError> {
    match http.send(Request::new(Method::GET, url.clone())).await {
        Ok(response) => Ok(response.status() != StatusCode::BAD_REQUEST),
        Err(error @ (HttpError::Connect { .. } | HttpError::Timeout { .. })) => {
            Err(RegistryError::of_http(registry, error))
        }
        Err(_) => Ok(false),
    }
}
