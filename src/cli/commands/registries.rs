//! `push` and `pull`, of models and bentos, to and from registries of images.

use std::process::ExitCode;

use thiserror::Error;

use super::super::args::{CommonArgs, DocumentOutput, PushArgs};
use super::super::{CommandError, Session};
use super::document;
use crate::env::Environment;
use crate::oci::reference::{Reference, without_credentials};
use crate::ops::archives::{IfPresent, Packable, Unpackable};
use crate::ops::artifacts::{self, Places};
use crate::store::{Home, Item, Kind};
use crate::transport::{ParseNameError, TransportName};

pub(super) fn push<I: Packable>(
    args: &PushArgs,
    destination: &str,
    environment: Environment,
) -> Result<ExitCode, CommandError> {
    let reference = registry(destination)?;
    let is_text = args.output == DocumentOutput::Text;
    let Session { context, printer } = Session::new(args.common, !is_text, environment)?;
    let (home, transports) = (Home::open(&context.home)?, context.transports()?);
    let places = Places { home: &home, transports: &transports, cache: &context.cache };
    let pushed = artifacts::push::<I>(&args.tag.parse()?, &reference, &places)?;
    match args.output {
        DocumentOutput::Text => {
            let (tag, receipt) = (&pushed.tag, &pushed.receipt);
            let how = if receipt.was_there { "was there" } else { "is there now" };
            printer.summary(&format!(
                "Successfully pushed {} \"{tag}\": {}@{} {how}.\n",
                word::<I>(),
                receipt.destination,
                receipt.digest
            ));
        }
        DocumentOutput::Json => printer.data(&document::json(&pushed)),
        DocumentOutput::Yaml => printer.data(&document::yaml(&pushed)),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pull<I: Unpackable>(
    source: &str,
    if_present: IfPresent,
    (common, output): (CommonArgs, DocumentOutput),
    environment: Environment,
) -> Result<ExitCode, CommandError> {
    let reference = registry(source)?;
    let is_text = output == DocumentOutput::Text;
    let Session { context, printer } = Session::new(common, !is_text, environment)?;
    let (home, transports) = (Home::open(&context.home)?, context.transports()?);
    let places = Places { home: &home, transports: &transports, cache: &context.cache };
    let pulled = artifacts::pull::<I>(&reference, &places, if_present, context.now()?)?;
    match output {
        DocumentOutput::Text => {
            let tag = &pulled.tag;
            printer.summary(&match (I::KIND, pulled.was_there) {
                (_, false) => format!("Successfully pulled {} \"{tag}\"\n", word::<I>()),
                (Kind::Model, true) => format!("Model \"{tag}\" already exists locally, skipping\n"),
                (Kind::Bento, true) => format!("Bento \"{tag}\" exists in local bento store\n"),
            });
        }
        DocumentOutput::Json => printer.data(&document::json(&pulled)),
        DocumentOutput::Yaml => printer.data(&document::yaml(&pulled)),
    }
    Ok(ExitCode::SUCCESS)
}

/// A text does not name a place in a registry.
#[derive(Debug, Error)]
#[error("`{text}` is no place in a registry")]
pub(in crate::cli) struct NotARegistry {
    text: String,
    #[source]
    source: Option<ParseNameError>,
}

/// The place in a registry that `docker://…` names.
fn registry(text: &str) -> Result<Reference, NotARegistry> {
    let refuse = |source| NotARegistry { text: without_credentials(text), source };
    match text.parse() {
        Ok(TransportName::Registry(reference)) => Ok(reference),
        Ok(_) => Err(refuse(None)),
        Err(error) => Err(refuse(Some(error))),
    }
}

fn word<I: Item>() -> String {
    I::KIND.to_string().to_lowercase()
}
