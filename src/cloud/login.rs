//! Getting a token in a browser, and finding out whose it is.

use std::time::Duration;

use serde_json::Value as Json;

use super::client::{Client, endpoint};
use super::error::CloudError;
use super::objects::{Organization, User};
use crate::http::{self, Method, Request, StatusCode, Url};
use crate::redact::Secret;

/// Pause between two questions whether the user is done.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Largest answer to such a question.
const MAX_ANSWER: u64 = 64 * 1024;

/// A page on which the user can make a token.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// The page.
    pub page: String,
    question: Url,
    endpoint: String,
}

/// Asks a server for a page on which the user can make a token.
pub async fn invite(http: &http::Client, server: &str) -> Result<Invitation, CloudError> {
    let server = endpoint(server)?.as_str().trim_end_matches('/').to_owned();
    let url = |path: String| {
        format!("{server}{path}")
            .parse::<Url>()
            .map_err(|_| CloudError::Endpoint { endpoint: server.clone() })
    };
    let code_url = url("/api/v1/auth/code".to_owned())?;
    let shown = http::origin(&code_url);
    let unexpected = || CloudError::Protocol { endpoint: shown.clone(), expected: "a code" };
    let (status, answer) = ask(http, code_url).await?;
    let code = answer["code"].as_str().filter(|_| status.is_success()).ok_or_else(unexpected)?;
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("code", code).finish();
    Ok(Invitation {
        page: format!("{server}/api_tokens?{query}"),
        question: url(format!("/api/v1/auth/token?{query}"))?,
        endpoint: shown,
    })
}

/// Waits, without end, until the user has made the token.
pub async fn wait_for_token(http: &http::Client, invitation: &Invitation) -> Result<Secret, CloudError> {
    loop {
        match ask(http, invitation.question.clone()).await {
            Ok((status, answer)) if status.is_success() => {
                let token = answer["token"].as_str().filter(|token| !token.is_empty());
                return token.map(Secret::new).ok_or_else(|| CloudError::Protocol {
                    endpoint: invitation.endpoint.clone(),
                    expected: "a token",
                });
            }
            // Not yet.
            Ok(_) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

/// Finds out whose token a client has.
pub async fn verify(client: &Client) -> Result<(User, Organization), CloudError> {
    let user = client.current_user().await?.ok_or_else(|| client.unexpected("a user"))?;
    let organization = client.current_organization().await?;
    Ok((user, organization.ok_or_else(|| client.unexpected("an organization"))?))
}

/// Asks without a token; whatever is no JSON counts as null.
async fn ask(http: &http::Client, url: Url) -> Result<(StatusCode, Json), CloudError> {
    let endpoint = http::origin(&url);
    let exchange = |source| CloudError::Exchange { endpoint: endpoint.clone(), source };
    let response = http.send(Request::new(Method::GET, url)).await.map_err(exchange)?;
    let status = response.status();
    let bytes = response.bytes(MAX_ANSWER).await.map_err(exchange)?;
    Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
}
