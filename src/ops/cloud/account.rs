//! Logging in, and choosing among the servers where the user is logged in.

use super::error::ExchangeError;
use crate::cloud::{self, Client, CloudContext, Contexts, DEFAULT_ENDPOINT, Invitation, Saved, Settings};
use crate::ops::Context;
use crate::redact::Secret;
use crate::store::Home;

/// The token of the environment.
const TOKEN_VARIABLE: &str = "BENTO_CLOUD_API_KEY";
/// The server of the environment.
const ENDPOINT_VARIABLE: &str = "BENTO_CLOUD_API_ENDPOINT";
/// The context of the environment.
const CONTEXT_VARIABLE: &str = "BENTOML_CLOUD_CONTEXT";

/// Who the user is, and where.
#[derive(Clone, Debug)]
pub struct Account {
    /// The name of the context.
    pub context: String,
    /// The address of the account.
    pub email: String,
    /// The organization of the account.
    pub organization: String,
    /// Whether the context had another token before.
    pub saved: Saved,
}

/// The context to use: that of the environment's token, else the named one, else the environment's, else the current.
pub fn choose(context: &Context, named: Option<&str>) -> Result<CloudContext, ExchangeError> {
    if let Some(token) = context.environment.text(TOKEN_VARIABLE) {
        return Ok(CloudContext::of_environment(token, context.environment.text(ENDPOINT_VARIABLE)));
    }
    let named = named.or_else(|| context.environment.text(CONTEXT_VARIABLE));
    let home = Home::open(&context.home)?;
    Ok(Contexts::open(home.path())?.get(named)?.clone())
}

/// The token that the environment has for a login.
pub fn token_of(context: &Context) -> Option<Secret> {
    context.environment.text(TOKEN_VARIABLE).map(Secret::new)
}

/// The server to log in to.
fn endpoint<'a>(context: &'a Context, typed: Option<&'a str>) -> &'a str {
    typed.or_else(|| context.environment.text(ENDPOINT_VARIABLE)).unwrap_or(DEFAULT_ENDPOINT)
}

/// Asks the server for a page on which the user makes a token, shows it with `show`, and waits for the token.
pub fn invitation(
    context: &Context,
    typed: Option<&str>,
    show: impl FnOnce(&Invitation),
) -> Result<Secret, ExchangeError> {
    let http = context.http()?;
    let endpoint = endpoint(context, typed);
    let waiting = async {
        let invitation = cloud::invite(&http, endpoint).await?;
        show(&invitation);
        cloud::wait_for_token(&http, &invitation).await
    };
    Ok(context.runtime.block_on(context.interrupt.guard(waiting))??)
}

/// Finds out whose token it is, and remembers it under the name of the context.
pub fn finish_login(
    context: &Context,
    typed_endpoint: Option<&str>,
    named: Option<&str>,
    api_token: Secret,
) -> Result<Account, ExchangeError> {
    let home = Home::open(&context.home)?;
    let named = named.or_else(|| context.environment.text(CONTEXT_VARIABLE));
    let contexts = Contexts::open(home.path())?;
    let mut new = CloudContext {
        name: named.unwrap_or(contexts.current_name()).to_owned(),
        endpoint: endpoint(context, typed_endpoint).to_owned(),
        api_token,
        email: None,
    };
    let client = Client::new(context.http()?, &new, Settings::new(home.scratch()))?;
    let verifying = context.interrupt.guard(cloud::verify(&client));
    let (user, organization) = context.runtime.block_on(verifying)??;
    new.email = Some(user.email.clone());
    let name = new.name.clone();
    let saved = Contexts::save(home.path(), new)?;
    Ok(Account { context: name, email: user.email, organization: organization.name, saved })
}
