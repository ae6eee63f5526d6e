//! `ekiben containerize`.

use std::process::ExitCode;

use thiserror::Error;

use super::super::args::{ContainerizeArgs, DocumentOutput};
use super::super::progress::human_size;
use super::super::{CommandError, Session};
use super::{document, items};
use crate::env::Environment;
use crate::oci::compress::Compression;
use crate::oci::platform::{ParsePlatformError, Platform};
use crate::oci::reference::{ParseReferenceError, Reference, without_credentials};
use crate::ops::containerize::{Outcome, Settings, containerize};
use crate::transport::{ParseNameError, TransportName};

/// The backends of the original tool, which run a builder: what ekiben does itself.
const BUILDERS: [&str; 6] = ["docker", "buildx", "podman", "buildah", "nerdctl", "buildctl"];
/// The backend that ekiben is.
const NATIVE: &str = "native";

/// The command line of `containerize` cannot be meant.
#[derive(Debug, Error)]
pub(in crate::cli) enum UsageError {
    /// The backend is unknown.
    #[error("there is no backend `{name}`")]
    Backend {
        /// The name as typed.
        name: String,
    },
    /// The image's name is none.
    #[error("`{text}` cannot be the name of an image")]
    ImageTag {
        /// The name as typed.
        text: String,
        /// Why.
        #[source]
        source: ParseReferenceError,
    },
    /// The source or destination is none.
    #[error(transparent)]
    Transport(#[from] ParseNameError),
    /// The platform given with `--opt` is none.
    #[error(transparent)]
    Platform(#[from] ParsePlatformError),
}

pub(super) fn run(args: &ContainerizeArgs, environment: Environment) -> Result<ExitCode, CommandError> {
    let session = Session::new(args.common, args.output != DocumentOutput::Text, environment)?;
    let settings = settings(args, &session)?;
    let outcome = containerize(&settings, &session.context)?;
    match args.output {
        DocumentOutput::Text => session.printer.summary(&summary(&outcome, &settings)),
        DocumentOutput::Json => session.printer.data(&document::json(&outcome)),
        DocumentOutput::Yaml => session.printer.data(&document::yaml(&outcome)),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn settings(args: &ContainerizeArgs, session: &Session) -> Result<Settings, CommandError> {
    let warn = |text: &str| session.printer.warn(text);
    if BUILDERS.contains(&args.backend.as_str()) {
        warn(&format!("`--backend {}` has no effect: ekiben assembles images itself", args.backend));
    } else if args.backend != NATIVE {
        return Err(UsageError::Backend { name: args.backend.clone() }.into());
    }
    if !args.enable_features.is_empty() {
        warn("`--enable-features` has no effect: ekiben serves without optional features");
    }
    let parse = |text: &String| {
        text.parse::<Reference>()
            .map_err(|source| UsageError::ImageTag { text: without_credentials(text), source })
    };
    let options = Options::parse(&args.opts, &warn)?;
    let base = args.base.as_ref().map(|name| name.parse::<TransportName>()).transpose();
    let base = base.map_err(UsageError::from)?;
    Ok(Settings {
        bento: items::query(&args.bento, session.printer)?,
        image_tags: args.image_tags.iter().map(parse).collect::<Result<_, _>>()?,
        destinations: args
            .to
            .iter()
            .map(|name| name.parse())
            .collect::<Result<_, ParseNameError>>()
            .map_err(UsageError::from)?,
        base,
        platform: args.platform.clone().or(options.platform),
        compression: args.compression,
        refresh: args.refresh || options.refresh,
        verify: args.verify,
    })
}

/// What `--opt` can say that has a meaning here.
#[derive(Default)]
struct Options {
    platform: Option<Platform>,
    refresh: bool,
}

impl Options {
    fn parse(opts: &[String], warn: &dyn Fn(&str)) -> Result<Self, UsageError> {
        let mut options = Self::default();
        for opt in opts {
            let (name, value) = opt.split_once(['=', ':']).unwrap_or((opt, ""));
            match name.trim_start_matches('-').replace('-', "_").as_str() {
                "platform" => options.platform = Some(value.parse()?),
                "no_cache" | "pull" => options.refresh = true,
                _ => {
                    warn(&format!(
                        "`--opt {opt}` has no effect: it is for the builders of the original tool"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// The closing words, the original tool's where they say the same.
pub(super) fn summary(outcome: &Outcome, settings: &Settings) -> String {
    let name = outcome.bento.split(':').next().unwrap_or_default();
    let tags: Vec<_> = outcome.image_tags.iter().map(|tag| format!("\"{tag}\"")).collect();
    let packed = outcome.layers.iter().filter(|layer| layer.packed).count();
    let compression = if settings.compression == Compression::None { "" } else { ", compressed" };
    let mut lines = vec![
        String::new(),
        format!("Successfully built Bento container for \"{name}\" with tag(s) {}", tags.join(" ")),
        format!(
            "  {} in {} layers{compression}, {packed} of them packed now, on {}",
            human_size(outcome.size),
            outcome.layers.len(),
            outcome.base
        ),
        format!("  {}", outcome.digest),
    ];
    for receipt in &outcome.receipts {
        let done = if receipt.was_there { "unchanged" } else { "written" };
        lines.push(format!("  {done}: {} ({} new)", receipt.destination, human_size(receipt.bytes_written)));
    }
    if let Some(command) = run_command(outcome, settings) {
        lines.push("To run your newly built Bento container, run:".to_owned());
        lines.push(command.trim_end().to_owned());
    }
    lines.join("\n") + "\n"
}

/// The commands that run what was written, for the first destination that an engine can use.
fn run_command(outcome: &Outcome, settings: &Settings) -> Option<String> {
    let tag = outcome.image_tags.first()?;
    let destination = outcome.receipts.first()?.destination.parse().ok();
    let destination = settings.destinations.first().cloned().or(destination)?;
    let run = |image: &str| format!("    docker run --rm -p 3000:3000 {image}\n");
    match destination {
        TransportName::Engine(reference) => Some(run(&crate::transport::familiar(&reference))),
        TransportName::Registry(reference) => Some(run(&reference.to_string())),
        TransportName::OciArchive { ref path, .. } | TransportName::DockerArchive { ref path, .. } => {
            let own = destination.image_name();
            let name = own.as_deref().unwrap_or(tag);
            Some(format!("    docker load --input {}\n{}", path.display(), run(name)))
        }
        TransportName::Layout { .. } | TransportName::Debian { .. } | TransportName::Scratch => None,
    }
}
