//! `cloud login` and the commands of contexts.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::process::ExitCode;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::json;

use super::super::args::{ContextArgs, LoginArgs, UpdateContextArgs};
use super::super::printer::Printer;
use super::super::{CommandError, Session};
use super::document;
use crate::cloud::{CloudContext, CloudError, Contexts, Saved};
use crate::env::Environment;
use crate::ops::Context;
use crate::ops::cloud::{self, ExchangeError};
use crate::redact::{MASK, Secret};
use crate::store::Home;

/// Longest token that is read from standard input: real ones have some dozen characters.
const MAX_TOKEN: u64 = 64 * 1024;

/// A login ends before the server is asked, or because it says no.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum LoginError {
    /// There is no token, and nobody to ask.
    #[error("there is no API token")]
    NoToken,
    /// Standard input cannot be read.
    #[error("cannot read the API token")]
    Read(#[source] io::Error),
    /// The server does not know the token.
    #[error("Error validating token: HTTP {status}: Bad credentials")]
    BadCredentials {
        /// What the server answered.
        status: u16,
    },
}

pub(super) fn login(args: &LoginArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let Session { context, printer } = Session::new(args.common, false, environment)?;
    let endpoint = args.endpoint.as_deref();
    let token = match token(args, &context, printer)? {
        Some(token) => token,
        None => cloud::invitation(&context, endpoint, |invitation| {
            printer.ask(&format!("Open {} in a browser, and make a token there.\n", invitation.page));
            printer.ask("Waiting for authentication...\n");
        })?,
    };
    let named = args.server.context.as_deref();
    let account = cloud::finish_login(&context, endpoint, named, token).map_err(explain)?;
    if account.saved == Saved::Replaced {
        printer.warn(&format!("Overriding existing cloud context config: {}", account.context));
    }
    printer.summary(&format!(
        "\u{2705} Configured BentoCloud credentials (current-context: {})\n\u{2705} Logged in as {} at {} organization\n",
        account.context, account.email, account.organization
    ));
    Ok(ExitCode::SUCCESS)
}

fn explain(error: ExchangeError) -> CommandError {
    match &error {
        ExchangeError::Cloud(refused) => match &**refused {
            CloudError::Refused { status, .. } if refused.is_unauthorized() => {
                LoginError::BadCredentials { status: status.as_u16() }.into()
            }
            _ => error.into(),
        },
        _ => error.into(),
    }
}

/// The token, or nothing where the user wants to make one in a browser.
fn token(args: &LoginArgs, context: &Context, printer: Printer) -> Result<Option<Secret>, LoginError> {
    if args.web {
        return Ok(None);
    }
    if args.api_token_stdin {
        let mut text = String::new();
        io::stdin().lock().take(MAX_TOKEN).read_to_string(&mut text).map_err(LoginError::Read)?;
        let token = text.trim();
        return if token.is_empty() { Err(LoginError::NoToken) } else { Ok(Some(Secret::new(token))) };
    }
    if let Some(token) = args.api_token.as_deref().map(str::trim).filter(|token| !token.is_empty()) {
        return Ok(Some(Secret::new(token)));
    }
    if let Some(token) = cloud::token_of(context) {
        return Ok(Some(token));
    }
    if !io::stdin().is_terminal() {
        return Err(LoginError::NoToken);
    }
    printer.ask("Paste your API token, or press Enter to make one in a browser: ");
    let typed = read_unseen().map_err(LoginError::Read)?;
    printer.ask("\n");
    let typed = typed.trim();
    Ok((!typed.is_empty()).then(|| Secret::new(typed)))
}

/// Reads a line that the terminal does not show.
fn read_unseen() -> io::Result<String> {
    let terminal = io::stdin();
    let shown = tcgetattr(&terminal)?;
    let mut unseen = shown.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &unseen)?;
    let _restored = Echo(shown);
    let mut line = String::new();
    terminal.lock().take(MAX_TOKEN).read_line(&mut line)?;
    Ok(line)
}

/// Has the terminal show again what is typed.
struct Echo(Termios);

impl Drop for Echo {
    fn drop(&mut self) {
        // There is nothing left to try.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

pub(super) fn current_context(
    args: &ContextArgs,
    environment: Environment,
) -> Result<ExitCode, CommandError> {
    let Session { context, printer } = Session::new(args.common, true, environment)?;
    let CloudContext { name, endpoint, email, .. } = cloud::choose(&context, args.server.context.as_deref())?;
    // The token is for the server alone.
    let shown = json!({"name": name, "endpoint": endpoint, "api_token": MASK, "email": email});
    printer.data(&document::json(&shown));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list_context(args: &ContextArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let Session { context, printer } = Session::new(args.common, true, environment)?;
    let contexts = Contexts::open(Home::open(&context.home)?.path())?;
    printer.data(&document::json(&contexts.names().collect::<Vec<_>>()));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn update_current_context(
    args: &UpdateContextArgs,
    environment: Environment,
) -> Result<ExitCode, CommandError> {
    let Session { context, printer } = Session::new(args.common, false, environment)?;
    Contexts::switch(Home::open(&context.home)?.path(), &args.name)?;
    printer.summary(&format!("Successfully switched to context: {}\n", args.name));
    Ok(ExitCode::SUCCESS)
}
