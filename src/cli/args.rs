//! The command line as typed.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::oci::compress::Compression;
use crate::oci::platform::Platform;
use crate::serve::ServeArgs;
use crate::transport::TransportName;

/// Packs BentoML services into container images, and serves them.
#[derive(Debug, Parser)]
#[command(
    name = "ekiben",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes the image of a bento to a registry, a file, a directory or a local engine
    Containerize(ContainerizeArgs),
    /// Serves a bento, or the service of a project
    #[command(alias = "serve-http")]
    Serve(ServeCommandArgs),
}

/// The verbs of the model store.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Stores a directory as a model
    Create(CreateModelArgs),
    /// Lists models
    List(ListArgs),
    /// Shows a model
    Get(GetArgs),
}

/// Options that every command takes.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct CommonArgs {
    /// Says only what went wrong
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Says more
    #[arg(long, visible_alias = "debug", global = true)]
    pub verbose: bool,
    /// Accepted for scripts written for other tools; ekiben never reports usage
    #[arg(long, hide = true, global = true)]
    pub do_not_track: bool,
}

/// Arguments of `build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The project's directory, or its service as `module:attribute`
    #[arg(default_value = ".")]
    pub build_ctx: String,
    /// The bentofile, if it is not `bentofile.yaml` in the project
    #[arg(short = 'f', long, value_name = "PATH")]
    pub bentofile: Option<PathBuf>,
    /// Name of the bento
    #[arg(long)]
    pub name: Option<String>,
    /// Version of the bento; a fresh one by default
    #[arg(long)]
    pub version: Option<String>,
    /// Label of the bento; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub labels: Vec<(String, String)>,
    /// Template argument of the service; may be repeated
    #[arg(long = "arg", value_name = "KEY=VALUE", value_parser = key_value)]
    pub args: Vec<(String, String)>,
    /// YAML file with template arguments
    #[arg(long, value_name = "PATH")]
    pub arg_file: Option<PathBuf>,
    /// Platform that Python packages are locked for, in uv's words, such as `x86_64-manylinux_2_28`
    #[arg(long)]
    pub platform: Option<String>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = BuildOutput::Default)]
    pub output: BuildOutput,
    /// Writes the bento's image too, as `containerize` does
    #[arg(long)]
    pub containerize: bool,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What `build` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BuildOutput {
    /// A summary for people
    Default,
    /// `__tag__:NAME:VERSION`
    Tag,
    /// A JSON document
    Json,
    /// A YAML document
    Yaml,
}

/// Arguments of `containerize`.
#[derive(Debug, Args)]
pub struct ContainerizeArgs {
    /// The bento, as `NAME:VERSION` or `NAME` for its latest version
    #[arg(value_name = "BENTO:TAG")]
    pub bento: String,
    /// Name of the image; may be repeated. The bento's own tag by default
    #[arg(short = 't', long = "image-tag", visible_alias = "docker-image-tag", value_name = "NAME:TAG")]
    pub image_tags: Vec<String>,
    /// Where to write the image; may be repeated [docker://REGISTRY/REPOSITORY:TAG, docker-daemon:NAME:TAG,
    /// oci:DIRECTORY, oci-archive:FILE, docker-archive:FILE]. The local engine by default, or a file where none answers
    #[arg(long = "to", value_name = "DESTINATION")]
    pub to: Vec<TransportName>,
    /// The base image, instead of the bento's own [also debian:SUITE and scratch]
    #[arg(long, value_name = "SOURCE")]
    pub base: Option<TransportName>,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    pub platform: Option<Platform>,
    /// How code and dependencies are compressed [gzip, zstd, none]
    #[arg(long, default_value_t = Compression::Gzip)]
    pub compression: Compression,
    /// Who assembles the image
    #[arg(long, value_name = "NAME", default_value = "native")]
    pub backend: String,
    /// Option of the original tool's builders; `platform` and `no-cache` have an effect here
    #[arg(long = "opt", value_name = "ARG[=VALUE]")]
    pub opts: Vec<String>,
    /// Features of the original tool; without effect here
    #[arg(long, value_name = "FEATURE[,FEATURE]", hide = true)]
    pub enable_features: Vec<String>,
    /// Accepted for scripts written for the original tool; ekiben needs no root
    #[arg(long, hide = true)]
    pub run_as_root: bool,
    /// Looks for newer base packages and images instead of taking those found before
    #[arg(long, visible_alias = "pull", action = ArgAction::SetTrue)]
    pub refresh: bool,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub output: DocumentOutput,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What commands print that have something to say about one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DocumentOutput {
    /// A summary for people
    Text,
    /// A JSON document
    Json,
    /// A YAML document
    Yaml,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeCommandArgs {
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Arguments of the `list` commands.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only this name, or this one version
    pub name: Option<String>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = ListOutput::Table)]
    pub output: ListOutput,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What the `list` commands print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListOutput {
    /// A table for people
    Table,
    /// A JSON document
    Json,
    /// A YAML document
    Yaml,
}

/// Arguments of the `get` commands.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// `NAME:VERSION`, or `NAME` for the latest version
    pub tag: String,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = GetOutput::Yaml)]
    pub output: GetOutput,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What the `get` commands print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GetOutput {
    /// A YAML document
    Yaml,
    /// A JSON document
    Json,
    /// The directory of the item
    Path,
}

/// Arguments of `models create`.
#[derive(Debug, Args)]
pub struct CreateModelArgs {
    /// Name of the model, with a version or a fresh one
    #[arg(value_name = "NAME[:VERSION]")]
    pub tag: String,
    /// The directory with the model's files
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Label of the model; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub labels: Vec<(String, String)>,
    /// Metadata of the model, as a YAML or JSON value; may be repeated
    #[arg(long = "metadata", value_name = "KEY=VALUE", value_parser = key_value)]
    pub metadata: Vec<(String, String)>,
    /// The framework module that loads it, such as `bentoml.sklearn`
    #[arg(long, default_value = "")]
    pub module: String,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub output: DocumentOutput,
    #[command(flatten)]
    pub common: CommonArgs,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form `KEY=VALUE`"))?;
    Ok((key.to_owned(), value.to_owned()))
}
