//! `push` and `pull`, of models and bentos.

use std::cell::RefCell;
use std::path::Path;
use std::process::ExitCode;

use super::super::args::{DocumentOutput, PullBentoArgs, PullModelArgs, PushArgs};
use super::super::printer::Printer;
use super::super::{CommandError, Session};
use super::{document, registries};
use crate::cloud::Route;
use crate::env::Environment;
use crate::ops::archives::{IfPresent, Packable};
use crate::ops::cloud::{self, ExchangeError, Outcome, PullSettings, PushSettings, Remote, Transferred};
use crate::ops::hub;
use crate::store::{Bento, Kind, Model};
use crate::tag::TagQuery;

/// Tells what became of each item: at once to people, at the end to programs.
struct Teller {
    printer: Printer,
    output: DocumentOutput,
    told: RefCell<Vec<Transferred>>,
}

impl Teller {
    fn new(printer: Printer, output: DocumentOutput) -> Self {
        Self { printer, output, told: RefCell::default() }
    }

    fn tell(&self, transferred: &Transferred) {
        match self.output {
            DocumentOutput::Text => self.printer.summary(&format!("{}\n", sentence(transferred))),
            DocumentOutput::Json | DocumentOutput::Yaml => self.told.borrow_mut().push(transferred.clone()),
        }
    }

    fn finish(self) -> ExitCode {
        let told = self.told.into_inner();
        match self.output {
            DocumentOutput::Text => {}
            DocumentOutput::Json => self.printer.data(&document::json(&told)),
            DocumentOutput::Yaml => self.printer.data(&document::yaml(&told)),
        }
        ExitCode::SUCCESS
    }
}

/// Whether a text names a place elsewhere, rather than a model or bento: tags have no slashes.
fn is_place(text: &str) -> bool {
    text.contains("://")
}

pub(super) fn push<I: Packable>(args: &PushArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    if let Some(destination) = &args.destination {
        return registries::push::<I>(args, destination, environment);
    }
    let Session { context, printer } =
        Session::new(args.common, args.output != DocumentOutput::Text, environment)?;
    let query: TagQuery = args.tag.parse()?;
    let remote = Remote::open(&context, args.server.context.as_deref())?;
    let settings = PushSettings { force: args.force, threads: args.threads.get() };
    let teller = Teller::new(printer, args.output);
    let tell = |transferred: &Transferred| teller.tell(transferred);
    context.runtime.block_on(async {
        match I::KIND {
            Kind::Model => cloud::push_model(&remote, &query, settings, &tell).await,
            Kind::Bento => cloud::push_bento(&remote, &query, settings, &tell).await,
        }
    })?;
    Ok(teller.finish())
}

pub(super) fn pull_model(args: &PullModelArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    if let Some(name) = args.source.as_deref().filter(|source| source.starts_with(hub::SCHEME)) {
        return super::hub::pull(args, name, environment);
    }
    if let Some(place) = args.source.as_deref().filter(|source| is_place(source)) {
        return registries::pull::<Model>(
            place,
            if_present(args.force),
            (args.common, args.output),
            environment,
        );
    }
    let Session { context, printer } =
        Session::new(args.common, args.output != DocumentOutput::Text, environment)?;
    let wanted = wanted(args, printer)?;
    let remote = Remote::open(&context, args.server.context.as_deref())?;
    let settings = PullSettings { force: args.force, with_models: false };
    let teller = Teller::new(printer, args.output);
    let tell = |transferred: &Transferred| teller.tell(transferred);
    for (query, filter) in &wanted {
        let pulling = cloud::pull_model(&remote, query, filter.as_deref(), settings, &tell);
        context.runtime.block_on(pulling)?;
    }
    Ok(teller.finish())
}

/// What `--force` means to a registry.
fn if_present(force: bool) -> IfPresent {
    if force { IfPresent::Replace } else { IfPresent::Keep }
}

/// The models to pull: the named one, or those of the bentofile.
fn wanted(args: &PullModelArgs, printer: Printer) -> Result<Vec<(TagQuery, Option<String>)>, CommandError> {
    if let Some(tag) = &args.source {
        if args.bentofile.is_some() {
            printer.warn("the bentofile is ignored, because a model is named");
        }
        return Ok(vec![(tag.parse()?, None)]);
    }
    let declared = cloud::declared_models(Path::new("."), args.bentofile.as_deref())?;
    Ok(declared.into_iter().map(|model| (model.tag, model.filter)).collect())
}

pub(super) fn pull_bento(args: &PullBentoArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    if is_place(&args.source) {
        return registries::pull::<Bento>(
            &args.source,
            if_present(args.force),
            (args.common, args.output),
            environment,
        );
    }
    let Session { context, printer } =
        Session::new(args.common, args.output != DocumentOutput::Text, environment)?;
    let query: TagQuery = args.source.parse()?;
    if query.version().is_none() {
        return Err(ExchangeError::NoVersion { tag: args.source.clone() }.into());
    }
    let remote = Remote::open(&context, args.server.context.as_deref())?;
    let settings = PullSettings { force: args.force, with_models: args.with_models };
    let teller = Teller::new(printer, args.output);
    let tell = |transferred: &Transferred| teller.tell(transferred);
    context.runtime.block_on(cloud::pull_bento(&remote, &query, settings, &tell))?;
    Ok(teller.finish())
}

/// What became of an item, in the words of the original tool.
fn sentence(transferred: &Transferred) -> String {
    let Transferred { kind, tag, outcome, route, .. } = transferred;
    match (outcome, kind) {
        (Outcome::Pushed, kind) => match (route, kind) {
            (Some(Route::Proxy), Kind::Model) => format!("\u{2705} Successfully pushed model \"{tag}\""),
            (Some(Route::Proxy), Kind::Bento) => format!("\u{2705} Successfully pushed bento \"{tag}\""),
            (_, Kind::Model) => format!("Successfully pushed model \"{tag}\""),
            (_, Kind::Bento) => format!("Successfully pushed Bento \"{tag}\""),
        },
        (Outcome::PresentThere, Kind::Model) => {
            format!("Model \"{tag}\" already exists in remote model store, skipping")
        }
        (Outcome::PresentThere, Kind::Bento) => {
            format!("Push skipped: Bento \"{tag}\" already exists in remote Bento store")
        }
        (Outcome::Registered, _) => format!("Skip uploading non-bentoml model {tag}"),
        (Outcome::Pulled, Kind::Model) => format!("Successfully pulled model \"{tag}\""),
        (Outcome::Pulled, Kind::Bento) => format!("Successfully pulled bento \"{tag}\""),
        (Outcome::PresentHere, Kind::Model) => format!("Model \"{tag}\" already exists locally, skipping"),
        (Outcome::PresentHere, Kind::Bento) => format!("Bento \"{tag}\" exists in local bento store"),
        (Outcome::NewerHere, _) => {
            format!("Newer version of model \"{}\" exists locally, skipping", tag.name())
        }
        (Outcome::NoContent, _) => format!("No content to download for model {tag}"),
    }
}
