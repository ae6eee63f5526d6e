//! `ekiben models gc`.

use std::process::ExitCode;

use serde::Serialize;
use thiserror::Error;

use super::super::args::{DocumentOutput, GcArgs};
use super::super::printer::Printer;
use super::super::progress::human_size;
use super::super::{CommandError, Session};
use super::archives::shown;
use super::delete::Answers;
use super::{document, items};
use crate::env::Environment;
use crate::ops::gc::{self, Garbage, GcSettings};
use crate::ops::models;
use crate::ops::unfinished::{self, Sweep, Unfinished};
use crate::store::{Home, Model};

/// Nothing says what may go.
#[derive(Debug, Error)]
#[error("nothing says which models may go")]
pub(in crate::cli) struct NoCriterion;

/// What was done with a model, or with a transfer that nobody went on with.
#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    what: What,
    deleted: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What {
    Model(Garbage),
    Transfer(Unfinished),
}

impl What {
    fn size(&self) -> u64 {
        match self {
            Self::Model(garbage) => garbage.size,
            Self::Transfer(unfinished) => unfinished.size,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Model(garbage) => shown::<Model>(&garbage.tag),
            Self::Transfer(unfinished) => format!("Unfinished transfer {}", unfinished.path.display()),
        }
    }
}

pub(super) fn run(args: &GcArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let labels = args.labels.iter().map(|text| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.clone(), None),
    });
    let settings = GcSettings { keep: args.keep, older_than: args.older_than, labels: labels.collect() };
    if settings.is_empty() {
        return Err(NoCriterion.into());
    }
    let is_text = args.output == DocumentOutput::Text;
    let Session { context, printer } = Session::new(args.common, !is_text, environment)?;
    let home = Home::open(&context.home)?;
    let plan = gc::plan(&settings, &home, context.now()?)?;
    items::warn_of(&plan.broken, printer);
    let mut answers = Answers::default();
    let mut outcomes = Vec::new();
    for garbage in plan.garbage {
        context.interrupt.check()?;
        let deleted = !args.dry_run
            && (args.yes
                || answers.confirm(&format!("model {}", garbage.tag), printer, &context.interrupt)?);
        if deleted {
            models::delete(&garbage.tag, &home)?;
        }
        outcomes.push(Outcome { what: What::Model(garbage), deleted });
        tell(&outcomes[outcomes.len() - 1], args.dry_run, printer);
    }
    // Not asked for: nothing is lost but the time that it would take again.
    let sweep = if args.dry_run { Sweep::Show } else { Sweep::Delete };
    for unfinished in unfinished::sweep(&home, context.now()?, sweep)? {
        outcomes.push(Outcome { what: What::Transfer(unfinished), deleted: !args.dry_run });
        tell(&outcomes[outcomes.len() - 1], args.dry_run, printer);
    }
    match args.output {
        DocumentOutput::Text if outcomes.is_empty() => printer.summary("Nothing to delete.\n"),
        DocumentOutput::Text => {
            let gone = outcomes.iter().filter(|outcome| outcome.deleted || args.dry_run);
            let total = human_size(gone.map(|outcome| outcome.what.size()).sum());
            printer.summary(&format!("{total} {}.\n", if args.dry_run { "would be freed" } else { "freed" }));
        }
        DocumentOutput::Json => printer.data(&document::json(&outcomes)),
        DocumentOutput::Yaml => printer.data(&document::yaml(&outcomes)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells what became of one.
fn tell(outcome: &Outcome, dry_run: bool, printer: Printer) {
    let (name, size) = (outcome.what.name(), human_size(outcome.what.size()));
    if outcome.deleted {
        printer.summary(&format!("{name} deleted, {size}.\n"));
    } else if dry_run {
        printer.summary(&format!("{name} would be deleted, {size}.\n"));
    }
}
