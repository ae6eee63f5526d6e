//! Authorisation at one registry: what it asks for, the credentials, and the tokens for them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Sleep;

use super::challenge::Challenge;
use super::error::RegistryError;
use super::keychain::{Credentials, CredentialsOrigin, Found, Keychain};
use super::refusal::Refusal;
use super::scopes::Scopes;
use crate::http::{self, Body, HeaderValue, Method, Request, Url, header};
use crate::redact::{self, Secret};

/// Most of a token service's answer that is read.
const MAX_TOKEN: u64 = 1024 * 1024;
/// How long a token lives when its service does not say (distribution, Token Authentication).
const DEFAULT_LIFETIME: u64 = 60;
/// Part of its life after which a token is renewed, so that it does not expire on the way.
const FRESH_FOR: f64 = 0.8;
/// How ekiben calls itself at token services.
const CLIENT_ID: &str = "ekiben";

/// Knows how to be let in at one registry.
pub(super) struct Authenticator {
    registry: String,
    http: http::Client,
    keychain: Arc<Keychain>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    tokens: BTreeMap<(String, Scopes), Token>,
    found: BTreeMap<String, Found>,
}

struct Token {
    header: HeaderValue,
    expiry: Pin<Box<Sleep>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Authenticator {
    pub(super) fn new(registry: String, http: http::Client, keychain: Arc<Keychain>) -> Self {
        Self { registry, http, keychain, state: Mutex::default() }
    }

    /// Remembers what the registry asks for.
    pub(super) async fn challenged(&self, challenge: Challenge) {
        self.state.lock().await.challenge = Some(challenge);
    }

    /// The `Authorization` header for a request, as far as the registry is known to want one.
    pub(super) async fn header(
        &self,
        repository: &str,
        scopes: &Scopes,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let mut state = self.state.lock().await;
        let Some(challenge) = state.challenge.clone() else { return Ok(None) };
        let found = self.find(&mut state, repository).await?;
        match challenge {
            Challenge::Basic => Ok(found.credentials.as_ref().and_then(basic)),
            Challenge::Bearer { realm, service } => {
                if let Some(Credentials::RegistryToken(token)) = &found.credentials {
                    return Ok(bearer(token.expose()));
                }
                let key = (repository.to_owned(), scopes.clone());
                if let Some(token) = state.tokens.get_mut(&key)
                    && token.expiry.as_mut().now_or_never().is_none()
                {
                    return Ok(Some(token.header.clone()));
                }
                // Others wait for the lock meanwhile: they want the same token, or need the service as much.
                let token = self.fetch(&realm, service.as_deref(), &found, scopes).await?;
                let header = token.header.clone();
                state.tokens.insert(key, token);
                Ok(Some(header))
            }
        }
    }

    /// Forgets a header that the registry refused. Whether another one may be had: a password stays what it is.
    pub(super) async fn refused(&self, header: Option<&HeaderValue>) -> bool {
        let mut state = self.state.lock().await;
        state.tokens.retain(|_, token| Some(&token.header) != header);
        header.is_none() || state.challenge != Some(Challenge::Basic)
    }

    /// The credentials that requests for a repository carry.
    pub(super) async fn origin(&self, repository: &str) -> Result<CredentialsOrigin, RegistryError> {
        let mut state = self.state.lock().await;
        Ok(self.find(&mut state, repository).await?.origin)
    }

    async fn find(&self, state: &mut State, repository: &str) -> Result<Found, RegistryError> {
        if let Some(found) = state.found.get(repository) {
            return Ok(found.clone());
        }
        let found = self.keychain.find(&self.registry, repository).await?;
        state.found.insert(repository.to_owned(), found.clone());
        Ok(found)
    }

    async fn fetch(
        &self,
        realm: &str,
        service: Option<&str>,
        found: &Found,
        scopes: &Scopes,
    ) -> Result<Token, RegistryError> {
        let malformed =
            |what: &str| RegistryError::Protocol { registry: self.registry.clone(), what: what.to_owned() };
        let url: Url = realm.parse().map_err(|_| malformed("a token service whose address is not a URL"))?;
        let is_safe = url.scheme() == "https" || url.scheme() == "http" && http::is_loopback(&url);
        if !is_safe && (found.credentials.is_some() || url.scheme() != "http") {
            return Err(RegistryError::InsecureRealm {
                registry: self.registry.clone(),
                realm: redact::url(&url),
            });
        }
        let request = token_request(url.clone(), service, found.credentials.as_ref(), scopes);
        let of_http = |error| RegistryError::of_http(&self.registry, error);
        let response = self.http.send(request).await.map_err(of_http)?;
        if !response.status().is_success() {
            return Err(RegistryError::Token {
                registry: self.registry.clone(),
                realm: redact::url(&url),
                credentials: found.origin.clone(),
                refusal: Refusal::read(response).await,
            });
        }
        let body = response.bytes(MAX_TOKEN).await.map_err(of_http)?;
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| malformed("a token service that does not answer with JSON"))?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        let header = token
            .as_deref()
            .and_then(bearer)
            .ok_or_else(|| malformed("a token service that gives no token"))?;
        let lifetime = Duration::from_secs(answer.expires_in.unwrap_or(DEFAULT_LIFETIME).min(24 * 3600));
        Ok(Token { header, expiry: Box::pin(tokio::time::sleep(lifetime.mul_f64(FRESH_FOR))) })
    }
}

/// `GET` with a password or none, `POST` with an identity token.
fn token_request(
    mut url: Url,
    service: Option<&str>,
    credentials: Option<&Credentials>,
    scopes: &Scopes,
) -> Request {
    if let Some(Credentials::IdentityToken(token)) = credentials {
        let scope = scopes.iter().collect::<Vec<_>>().join(" ");
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", service.unwrap_or_default())
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", &scope)
            .append_pair("refresh_token", token.expose())
            .finish();
        return Request::new(Method::POST, url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::Bytes(form.into()));
    }
    {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(service.map(|service| ("service", service)));
        query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
        if let Some(Credentials::Password { user, .. }) = credentials {
            query.append_pair("account", user);
        }
    }
    let mut request = Request::new(Method::GET, url);
    if let Some(value) = credentials.and_then(basic) {
        request.headers.insert(header::AUTHORIZATION, value);
    }
    request
}

fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    match credentials {
        Credentials::Password { user, password } => {
            let pair = Secret::new(STANDARD.encode(format!("{user}:{}", password.expose())));
            sensitive(&format!("Basic {}", pair.expose()))
        }
        Credentials::IdentityToken(_) => None,
        Credentials::RegistryToken(token) => bearer(token.expose()),
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
