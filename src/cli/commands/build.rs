//! `ekiben build`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::super::args::{BuildArgs, BuildOutput, LockArgs};
use super::super::progress::human_size;
use super::super::{CommandError, Session};
use super::{containerize, document};
use crate::env::Environment;
use crate::oci::compress::Compression;
use crate::ops::build::{Outcome, Settings, Surroundings, build};
use crate::ops::containerize as image;

pub(super) fn run(args: &BuildArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let session = Session::new(args.common, args.output != BuildOutput::Default, environment)?;
    let Session { context, printer } = &session;
    let outcome = build(&settings(args), &Surroundings::of(context)?)?;
    if args.output == BuildOutput::Default {
        printer.summary(&summary(&outcome, args.containerize));
    }
    let image = args.containerize.then(|| image_settings(&outcome));
    let written = image.as_ref().map(|settings| image::containerize(settings, context)).transpose()?;
    match args.output {
        BuildOutput::Default => {
            if let Some((written, settings)) = written.as_ref().zip(image.as_ref()) {
                printer.summary(&containerize::summary(written, settings));
            }
        }
        BuildOutput::Tag => printer.data(&format!("__tag__:{}\n", outcome.tag)),
        BuildOutput::Json => printer.data(&document::json(&BuildDocument { outcome, image: written })),
        BuildOutput::Yaml => printer.data(&document::yaml(&BuildDocument { outcome, image: written })),
    }
    Ok(ExitCode::SUCCESS)
}

/// What was built, and what was written of it.
#[derive(Serialize)]
struct BuildDocument {
    #[serde(flatten)]
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<image::Outcome>,
}

fn image_settings(outcome: &Outcome) -> image::Settings {
    image::Settings {
        bento: outcome.tag.clone().into(),
        image_tags: Vec::new(),
        destinations: Vec::new(),
        base: None,
        platform: None,
        compression: Compression::Gzip,
        refresh: false,
        verify: false,
    }
}

pub(super) fn lock_settings(args: &LockArgs) -> Settings {
    Settings {
        bentofile: args.bentofile.clone(),
        arguments: args.args.clone(),
        argument_file: args.arg_file.clone(),
        ..project(&args.build_ctx)
    }
}

/// The project is a directory; anything else names the service of the working directory, as the original tool has it.
fn project(text: &str) -> Settings {
    let is_directory = !text.contains(':') && Path::new(text).is_dir();
    let (context, service) = if is_directory { (text, None) } else { (".", Some(text.to_owned())) };
    Settings { context: PathBuf::from(context), service, ..Settings::default() }
}

fn settings(args: &BuildArgs) -> Settings {
    Settings {
        bentofile: args.bentofile.clone(),
        name: args.name.clone(),
        version: args.version.clone(),
        labels: args.labels.clone(),
        arguments: args.args.clone(),
        argument_file: args.arg_file.clone(),
        platform: args.platform.clone(),
        ..project(&args.build_ctx)
    }
}

fn summary(outcome: &Outcome, is_containerized: bool) -> String {
    let tag = &outcome.tag;
    let packages = outcome.python_packages.map(|count| format!(", {count} Python packages locked"));
    let mut lines = vec![
        String::new(),
        format!("Successfully built Bento(tag=\"{tag}\")."),
        format!("  {} files, {}{}", outcome.files, human_size(outcome.size), packages.unwrap_or_default()),
    ];
    lines.extend(outcome.models.iter().map(|model| format!("  model {model}")));
    if !is_containerized {
        lines.extend([String::new(), "Next steps:".to_owned()]);
        for (purpose, verb) in [("Write its container image", "containerize"), ("Serve it here", "serve")] {
            lines.extend([format!("* {purpose}:"), format!("    $ ekiben {verb} {tag}")]);
        }
    }
    lines.join("\n") + "\n"
}
