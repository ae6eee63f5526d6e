//! `export` and `import`, of models and bentos.

use std::io;
use std::process::ExitCode;

use super::super::args::{DocumentOutput, ExportArgs, ExportFormat, ImportArgs};
use super::super::{CommandError, Session};
use super::document;
use crate::archive::Format;
use crate::env::Environment;
use crate::ops::archives::{self, ArchivesError, ExportForm, ExportSettings, Packable, Place, Unpackable};
use crate::store::{Home, Item};
use crate::tag::Tag;

impl From<ExportFormat> for ExportForm {
    fn from(format: ExportFormat) -> Self {
        match format {
            ExportFormat::Native => Self::Native,
            ExportFormat::Tar => Self::Archive(Format::Tar),
            ExportFormat::Gz => Self::Archive(Format::Gzip),
            ExportFormat::Xz => Self::Archive(Format::Xz),
            ExportFormat::Bz2 => Self::Archive(Format::Bzip2),
            ExportFormat::Zst => Self::Archive(Format::Zstd),
            ExportFormat::Zip => Self::Archive(Format::Zip),
            ExportFormat::Folder => Self::Folder,
        }
    }
}

pub(super) fn export<I: Packable>(
    args: &ExportArgs,
    environment: Environment,
) -> Result<ExitCode, CommandError> {
    let is_standard = Place::parse(&args.out_path)? == Place::Standard;
    let carries_document = is_standard || args.output != DocumentOutput::Text;
    let Session { context, printer } = Session::new(args.common, carries_document, environment)?;
    if is_standard && printer.shows_bytes() {
        return Err(ArchivesError::Terminal.into());
    }
    let settings = ExportSettings {
        tag: args.tag.parse()?,
        to: args.out_path.clone(),
        form: args.format.map(ExportForm::from),
    };
    let home = Home::open(&context.home)?;
    let (remotes, activity) = (context.remotes(home.scratch()), context.activity());
    let exported = archives::export::<I>(&settings, &home, &remotes, &mut printer.bytes(), &activity)?;
    let text = match args.output {
        DocumentOutput::Text => format!("{} exported to {}.\n", shown::<I>(&exported.tag), exported.path),
        DocumentOutput::Json => document::json(&exported),
        DocumentOutput::Yaml => document::yaml(&exported),
    };
    match args.output {
        // Standard output is the archive.
        _ if is_standard => printer.aside(&text),
        DocumentOutput::Text => printer.summary(&text),
        DocumentOutput::Json | DocumentOutput::Yaml => printer.data(&text),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn import<I: Unpackable>(
    args: &ImportArgs,
    environment: Environment,
) -> Result<ExitCode, CommandError> {
    let Session { context, printer } =
        Session::new(args.common, args.output != DocumentOutput::Text, environment)?;
    let home = Home::open(&context.home)?;
    let standard = Box::new(io::stdin());
    let (remotes, activity) = (context.remotes(home.scratch()), context.activity());
    let imported = archives::import::<I>(&args.path, &home, &remotes, standard, &activity)?;
    match args.output {
        DocumentOutput::Text => printer.summary(&format!("{} imported.\n", shown::<I>(&imported.tag))),
        DocumentOutput::Json => printer.data(&document::json(&imported)),
        DocumentOutput::Yaml => printer.data(&document::yaml(&imported)),
    }
    Ok(ExitCode::SUCCESS)
}

/// An item as the original tool names it in what it tells.
pub(super) fn shown<I: Item>(tag: &Tag) -> String {
    format!("{}(tag=\"{tag}\")", I::KIND)
}
