//! `ekiben models create`, `list` and `get`.

use std::process::ExitCode;

use jiff::tz::TimeZone;

use super::super::args::{CreateModelArgs, DocumentOutput, GetArgs, ListArgs, ListOutput};
use super::super::progress::human_size;
use super::super::{CommandError, Session};
use super::document;
use super::items::{self, Row};
use crate::env::Environment;
use crate::ops::models::{self, CreateSettings};
use crate::store::{Home, Model, TreeSize};
use crate::yaml::Value;

/// Column titles of the list.
const TITLES: [&str; 4] = ["Tag", "Module", "Size", "Creation Time"];

pub(super) fn create(args: &CreateModelArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let Session { context, printer } =
        Session::new(args.common, args.output != DocumentOutput::Text, environment)?;
    let settings = CreateSettings {
        tag: items::query(&args.tag, printer)?,
        directory: args.from.clone(),
        labels: args.labels.clone(),
        metadata: args.metadata.iter().map(|(key, text)| (key.clone(), metadata(text))).collect(),
    };
    let home = Home::open(&context.home)?;
    let created = models::create(&settings, &home, context.now()?, &context.interrupt)?;
    match args.output {
        DocumentOutput::Text => {
            let size = human_size(created.size);
            let files = if created.files == 1 { "file" } else { "files" };
            printer.summary(&format!(
                "Model(tag=\"{}\") created: {} {files}, {size}.\n",
                created.tag, created.files
            ));
        }
        DocumentOutput::Json => printer.data(&document::json(&created)),
        DocumentOutput::Yaml => printer.data(&document::yaml(&created)),
    }
    Ok(ExitCode::SUCCESS)
}

/// A metadata value: what it is as JSON, else the text itself.
fn metadata(text: &str) -> Value {
    serde_json::from_str::<serde_json::Value>(text).map_or_else(|_| Value::text(text), Value::from)
}

pub(super) fn list(args: &ListArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let Session { context, printer } =
        Session::new(args.common, args.output != ListOutput::Table, environment)?;
    let filter = args.name.as_deref().map(|name| items::query(name, printer)).transpose()?;
    let zone = TimeZone::system();
    let models = Home::open(&context.home)?.models();
    let listing = models.list_views(filter.as_ref(), |model, size| row(model, size, &zone))?;
    items::warn_of(&listing.broken, printer);
    printer.data(&items::list(&listing.items, &TITLES, args.output));
    Ok(ExitCode::SUCCESS)
}

fn row(model: &Model, size: Option<TreeSize>, zone: &TimeZone) -> Row {
    Row::new(vec![
        ("Tag", "tag", model.info.tag.to_string()),
        ("Module", "module", model.info.module.clone()),
        ("Size", "size", size.map(|size| human_size(size.bytes)).unwrap_or_default()),
        ("Creation Time", "creation_time", items::local_time(&model.info.creation_time, zone)),
    ])
}

pub(super) fn get(args: &GetArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let Session { context, printer } = Session::new(args.common, true, environment)?;
    let model = Home::open(&context.home)?.models().get(&items::query(&args.tag, printer)?)?;
    printer.data(&items::get(&model.document, &model.path, args.output));
    Ok(ExitCode::SUCCESS)
}
