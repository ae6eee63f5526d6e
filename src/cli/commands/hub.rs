//! Models of the Hugging Face Hub: `ekiben lock`, `models pull hf://…`, `models list --hf` and `models gc --hf`.

use std::process::ExitCode;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::args::{DocumentOutput, GcArgs, ListModelsArgs, ListOutput, LockArgs, PullModelArgs};
use super::super::printer::Printer;
use super::super::progress::human_size;
use super::super::{CommandError, Session};
use super::delete::Answers;
use super::gc::NoCriterion;
use super::items::{self, Row};
use super::{build, document};
use crate::env::Environment;
use crate::hub::{Patterns, RepositoryId};
use crate::ops::gc::GcSettings;
use crate::ops::hub::{self, HubItem, HubName, Locked, Pulled};

/// Column titles of the list.
const TITLES: [&str; 6] = ["Repository", "Commit", "References", "Files", "Size", "Modified"];

pub(super) fn lock(args: &LockArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let session = Session::new(args.common, args.output != DocumentOutput::Text, environment)?;
    let locked = hub::lock(&build::lock_settings(args), &session.context)?;
    show(args.output, session.printer, &locked, lock_summary);
    Ok(ExitCode::SUCCESS)
}

fn lock_summary(locked: &Locked) -> String {
    let line = |model: &hub::LockedItem| {
        let size = human_size(model.size);
        format!(
            "{}@{} is {}: {} files, {size}.\n",
            model.repository, model.revision, model.commit, model.files
        )
    };
    let models: String = locked.models.iter().map(line).collect();
    let count = match locked.models.len() {
        0 => "the service declares no model of the Hugging Face Hub".to_owned(),
        1 => format!("1 model in {} layers", locked.layers),
        count => format!("{count} models in {} layers", locked.layers),
    };
    format!("{models}Wrote {}: {count}.\n", locked.path.display())
}

pub(super) fn pull(
    args: &PullModelArgs,
    source: &str,
    environment: Environment,
) -> Result<ExitCode, CommandError> {
    let session = Session::new(args.common, args.output != DocumentOutput::Text, environment)?;
    let name: HubName = source.parse()?;
    let list = |patterns: &[String]| (!patterns.is_empty()).then(|| patterns.to_vec());
    let patterns = Patterns { include: list(&args.include), exclude: list(&args.exclude) };
    let pulled = hub::pull(&name, patterns, &session.context)?;
    show(args.output, session.printer, &pulled, |pulled: &Pulled| {
        let (size, new) = (human_size(pulled.size), human_size(pulled.downloaded));
        let Pulled { repository, revision, commit, path, files, .. } = pulled;
        format!(
            "Successfully pulled {repository}@{revision} ({commit}): {files} files, {size}, {new} of them new.\n{}\n",
            path.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list(args: &ListModelsArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let list = &args.list;
    let session = Session::new(list.common, list.output != ListOutput::Table, environment)?;
    let id = list.name.as_deref().map(str::parse::<RepositoryId>).transpose()?;
    let found = hub::list(id.as_ref(), &session.context)?;
    let zone = TimeZone::system();
    let rows: Vec<Row> = found.iter().map(|item| row(item, &zone)).collect();
    session.printer.data(&items::list(&rows, &TITLES, list.output));
    Ok(ExitCode::SUCCESS)
}

fn row(item: &HubItem, zone: &TimeZone) -> Row {
    Row::new(vec![
        ("Repository", "repository", item.repository.to_string()),
        ("Commit", "commit", item.commit.clone()),
        ("References", "references", item.references.join(", ")),
        ("Files", "files", item.files.to_string()),
        ("Size", "size", human_size(item.size)),
        ("Modified", "modified", items::local(item.modified, zone)),
    ])
}

/// What was done with a commit.
#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    garbage: HubItem,
    deleted: bool,
}

pub(super) fn gc(args: &GcArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let settings = GcSettings { keep: args.keep, older_than: args.older_than, labels: Vec::new() };
    if settings.is_empty() {
        return Err(NoCriterion.into());
    }
    let session = Session::new(args.common, args.output != DocumentOutput::Text, environment)?;
    let Session { context, printer } = &session;
    let plan = hub::plan(&settings, context, context.now()?)?;
    items::warn_of(&plan.broken, *printer);
    let mut answers = Answers::default();
    let (mut outcomes, mut total) = (Vec::new(), 0);
    for garbage in plan.garbage {
        context.interrupt.check()?;
        let name = format!("{}@{}", garbage.repository, garbage.commit);
        let question = format!("{name} of the Hugging Face cache");
        let deleted =
            !args.dry_run && (args.yes || answers.confirm(&question, *printer, &context.interrupt)?);
        if deleted {
            let freed = hub::remove(&garbage, context)?;
            total += freed;
            printer.summary(&format!("{name} deleted, {}.\n", human_size(freed)));
        } else if args.dry_run {
            total += garbage.size;
            printer.summary(&format!("{name} would be deleted, {}.\n", human_size(garbage.size)));
        }
        outcomes.push(Outcome { garbage, deleted });
    }
    show(args.output, *printer, &outcomes, |outcomes: &Vec<Outcome>| match outcomes.len() {
        0 => "Nothing to delete.\n".to_owned(),
        _ => format!(
            "{} {}.\n",
            human_size(total),
            if args.dry_run { "would be freed at most" } else { "freed" }
        ),
    });
    Ok(ExitCode::SUCCESS)
}

/// An outcome in words, or as a document.
fn show<T: Serialize>(output: DocumentOutput, printer: Printer, outcome: &T, words: impl Fn(&T) -> String) {
    match output {
        DocumentOutput::Text => printer.summary(&words(outcome)),
        DocumentOutput::Json => printer.data(&document::json(outcome)),
        DocumentOutput::Yaml => printer.data(&document::yaml(outcome)),
    }
}
