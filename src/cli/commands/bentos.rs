//! `ekiben list` and `get`.

use std::process::ExitCode;

use jiff::tz::TimeZone;

use super::super::args::{GetArgs, ListArgs, ListOutput};
use super::super::printer::Printer;
use super::super::progress::human_size;
use super::super::{CommandError, Session};
use super::items::{self, Row};
use crate::env::Environment;
use crate::parallel;
use crate::store::{Bento, Home, tree_size};

/// Column titles of the list.
const TITLES: [&str; 4] = ["Tag", "Size", "Model Size", "Creation Time"];

pub(super) fn list(args: &ListArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let Session { context, printer } =
        Session::new(args.common, args.output != ListOutput::Table, environment)?;
    let filter = args.name.as_deref().map(|name| items::query(name, printer)).transpose()?;
    let home = Home::open(&context.home)?;
    let listing = home.bentos().list(filter.as_ref())?;
    items::warn_of(&listing.broken, printer);
    let zone = TimeZone::system();
    let rows: Vec<_> = parallel::map(&listing.items, |bento| row(bento, &home, &zone, printer));
    printer.data(&items::list(&rows, &TITLES, args.output));
    Ok(ExitCode::SUCCESS)
}

fn row(bento: &Bento, home: &Home, zone: &TimeZone, printer: Printer) -> Row {
    let size = tree_size(&bento.path).map(|size| human_size(size.bytes)).unwrap_or_default();
    Row::new(vec![
        ("Tag", "tag", bento.info.tag.to_string()),
        ("Size", "size", size),
        ("Model Size", "model_size", human_size(model_size(bento, home, printer))),
        ("Creation Time", "creation_time", items::local_time(&bento.info.creation_time, zone)),
    ])
}

/// The size of the bento's models that are in the store.
fn model_size(bento: &Bento, home: &Home, printer: Printer) -> u64 {
    let models = home.models();
    let mut total = 0;
    for model in bento.info.all_models().into_iter().filter(|model| model.is_in_store()) {
        if models.contains(&model.tag) {
            total += tree_size(&models.item_path(&model.tag)).map(|size| size.bytes).unwrap_or_default();
        } else {
            printer.warn(&format!("Bento: {}: Missing model {}", bento.info.tag, model.tag));
        }
    }
    total
}

pub(super) fn get(args: &GetArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let Session { context, printer } = Session::new(args.common, true, environment)?;
    let bento = Home::open(&context.home)?.bentos().get(&items::query(&args.tag, printer)?)?;
    printer.data(&items::get(&bento.document, &bento.path, args.output));
    Ok(ExitCode::SUCCESS)
}
