//! `delete`, of models and bentos.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::super::args::{DeleteArgs, DocumentOutput};
use super::super::printer::Printer;
use super::super::{CommandError, Session};
use super::archives::shown;
use super::document;
use crate::env::Environment;
use crate::ops;
use crate::report::Interrupt;
use crate::store::{Bento, Home, Item, Model, Store};
use crate::tag::{Tag, TagQuery};

/// How often a question looks whether somebody asked to stop.
const PATIENCE: Duration = Duration::from_millis(50);

/// A `delete` that cannot go on.
#[derive(Debug, Error)]
pub(in crate::cli) enum DeleteError {
    /// A target is no tag.
    #[error(
        "Invalid value for 'DELETE_TARGETS...': Bad formatting: \"{target}\". Please present a valid bento bundle name or \
         \"name:version\" tag. For list of bento bundles, separate delete targets by \",\", for example: \
         \"my_service:v1,my_service:v2,classifier\""
    )]
    Target {
        /// What was given.
        target: String,
    },
    /// Nobody is there to answer.
    #[error("Aborted!")]
    Aborted,
}

/// What was done with a target.
#[derive(Serialize)]
struct Outcome {
    tag: Tag,
    deleted: bool,
}

pub(super) fn models(args: &DeleteArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    run::<Model>(args, environment, Home::models, |tag, home| Ok(ops::models::delete(tag, home)?))
}

pub(super) fn bentos(args: &DeleteArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    run::<Bento>(args, environment, Home::bentos, |tag, home| Ok(home.bentos().delete(tag)?))
}

fn run<I: Item>(
    args: &DeleteArgs,
    environment: Environment,
    store: fn(&Home) -> Store<I>,
    delete: fn(&Tag, &Home) -> Result<(), CommandError>,
) -> Result<ExitCode, CommandError> {
    let targets = targets(&args.targets)?;
    let is_text = args.output == DocumentOutput::Text;
    let Session { context, printer } = Session::new(args.common, !is_text, environment)?;
    let home = Home::open(&context.home)?;
    let mut answers = Answers::default();
    let mut outcomes = Vec::new();
    for target in targets {
        for tag in ops::delete::targets(&target, &store(&home))? {
            context.interrupt.check()?;
            let subject = format!("{} {tag}", I::KIND.to_string().to_lowercase());
            let deleted = args.yes || answers.confirm(&subject, printer, &context.interrupt)?;
            if deleted {
                delete(&tag, &home)?;
                printer.summary(&format!("{} deleted.\n", shown::<I>(&tag)));
            }
            outcomes.push(Outcome { tag, deleted });
        }
    }
    match args.output {
        DocumentOutput::Text => {}
        DocumentOutput::Json => printer.data(&document::json(&outcomes)),
        DocumentOutput::Yaml => printer.data(&document::yaml(&outcomes)),
    }
    Ok(ExitCode::SUCCESS)
}

/// All targets, before anything is deleted.
fn targets(arguments: &[String]) -> Result<Vec<TagQuery>, DeleteError> {
    let split = ops::delete::split(arguments).into_iter();
    split.map(|target| target.parse().map_err(|_| DeleteError::Target { target })).collect()
}

/// The lines of standard input, as they are needed.
#[derive(Default)]
pub(super) struct Answers {
    lines: Option<mpsc::Receiver<String>>,
}

impl Answers {
    /// Asks until the answer is yes or no; nothing means no.
    pub(super) fn confirm(
        &mut self,
        subject: &str,
        printer: Printer,
        interrupt: &Interrupt,
    ) -> Result<bool, CommandError> {
        loop {
            printer.ask(&format!("delete {subject}? [y/N]: "));
            let Some(answer) = self.line(interrupt)? else {
                printer.ask("\n");
                return Err(DeleteError::Aborted.into());
            };
            match answer.trim().to_lowercase().as_str() {
                "y" | "yes" | "t" | "true" | "on" | "1" => return Ok(true),
                "" | "n" | "no" | "f" | "false" | "off" | "0" => return Ok(false),
                _ => printer.ask("Error: invalid input\n"),
            }
        }
    }

    /// The next line; none at the end of the input.
    fn line(&mut self, interrupt: &Interrupt) -> Result<Option<String>, CommandError> {
        let lines = self.lines.get_or_insert_with(|| {
            // Reading cannot be interrupted; waiting for a thread that reads can.
            let (sender, receiver) = mpsc::sync_channel(0);
            std::thread::spawn(move || {
                for line in io::stdin().lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
            receiver
        });
        loop {
            interrupt.check()?;
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => return Ok(Some(line)),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(None),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
