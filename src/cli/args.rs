//! The command line as typed.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::oci::compress::Compression;
use crate::oci::platform::Platform;
use crate::ops::gc::Age;
use crate::serve::ServeArgs;

/// Packs BentoML services into container images, and serves them.
#[derive(Debug, Parser)]
#[command(
    name = "ekiben",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(super) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Builds a bento from a project into the bento store
    Build(BuildArgs),
    /// Writes down today's commits of a project's Hugging Face models, and the digests of their layers
    Lock(LockArgs),
    /// Writes the image of a bento to a registry, a file, a directory or a local engine
    Containerize(ContainerizeArgs),
    /// Serves a bento, or the service of a project
    #[command(alias = "serve-http")]
    Serve(ServeCommandArgs),
    /// Lists bentos
    List(ListArgs),
    /// Shows a bento
    Get(GetArgs),
    /// Deletes bentos
    Delete(DeleteArgs),
    /// Writes a bento and its models to an archive
    Export(ExportArgs),
    /// Reads a bento and its models from an archive
    Import(ImportArgs),
    /// Pushes a bento and its models to a server or a registry
    Push(PushArgs),
    /// Pulls a bento from a server, or from a registry with its models
    Pull(PullBentoArgs),
    /// Works with the model store
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Works with accounts on BentoCloud and servers like it
    #[command(subcommand)]
    Cloud(CloudCommand),
}

/// The verbs of the model store.
#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// Stores a directory as a model
    Create(CreateModelArgs),
    /// Lists models
    List(ListModelsArgs),
    /// Shows a model
    Get(GetArgs),
    /// Deletes models that no bento needs
    Delete(DeleteArgs),
    /// Writes a model to an archive
    Export(ExportArgs),
    /// Reads a model from an archive
    Import(ImportArgs),
    /// Pushes a model to a server or a registry
    Push(PushArgs),
    /// Pulls a model from a server or a registry
    Pull(PullModelArgs),
    /// Deletes old models that no bento needs
    Gc(GcArgs),
}

/// The verbs of accounts.
#[derive(Debug, Subcommand)]
pub(super) enum CloudCommand {
    /// Logs in, and remembers the token
    Login(LoginArgs),
    /// Shows the context that is used
    CurrentContext(ContextArgs),
    /// Lists the names of all contexts
    ListContext(ContextArgs),
    /// Chooses the context that is used from now on
    UpdateCurrentContext(UpdateContextArgs),
}

/// Options that every command takes.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct CommonArgs {
    /// Says only what went wrong
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Says more
    #[arg(long, visible_alias = "debug", global = true)]
    pub(super) verbose: bool,
    /// Accepted for scripts written for other tools; ekiben never reports usage
    #[arg(long, hide = true, global = true)]
    pub(super) do_not_track: bool,
}

/// Arguments of `build`.
#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// The project's directory, or its service as `module:attribute`
    #[arg(default_value = ".")]
    pub(super) build_ctx: String,
    /// The bentofile, if it is not `bentofile.yaml` in the project
    #[arg(short = 'f', long, value_name = "PATH")]
    pub(super) bentofile: Option<PathBuf>,
    /// Name of the bento
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Version of the bento; a fresh one by default
    #[arg(long)]
    pub(super) version: Option<String>,
    /// Label of the bento; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) labels: Vec<(String, String)>,
    /// Template argument of the service; may be repeated
    #[arg(long = "arg", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) args: Vec<(String, String)>,
    /// YAML file with template arguments
    #[arg(long, value_name = "PATH")]
    pub(super) arg_file: Option<PathBuf>,
    /// Platform that packages are locked for and images are made for, such as `linux/arm64`, or in uv's words
    /// `x86_64-manylinux_2_28`; this machine's by default
    #[arg(long)]
    pub(super) platform: Option<String>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = BuildOutput::Default)]
    pub(super) output: BuildOutput,
    /// Writes the bento's image too, as `containerize` does
    #[arg(long)]
    pub(super) containerize: bool,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// What `build` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BuildOutput {
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
pub(super) struct ContainerizeArgs {
    /// The bento, as `NAME:VERSION` or `NAME` for its latest version
    #[arg(value_name = "BENTO:TAG")]
    pub(super) bento: String,
    /// Name of the image; may be repeated. The bento's own tag by default
    #[arg(short = 't', long = "image-tag", visible_alias = "docker-image-tag", value_name = "NAME:TAG")]
    pub(super) image_tags: Vec<String>,
    /// Where to write the image; may be repeated [`docker://REGISTRY/REPOSITORY:TAG`, `docker-daemon:NAME:TAG`,
    /// `oci:DIRECTORY`, `oci-archive:FILE`, `docker-archive:FILE`]. The local engine by default, or a file where none answers
    #[arg(long = "to", value_name = "DESTINATION")]
    pub(super) to: Vec<String>,
    /// The base image, instead of the bento's own [also debian:SUITE and scratch]
    #[arg(long, value_name = "SOURCE")]
    pub(super) base: Option<String>,
    /// Platform of the image; the one that the bento was built for by default
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    pub(super) platform: Option<Platform>,
    /// How code and dependencies are compressed [gzip, zstd, none]
    #[arg(long, default_value_t = Compression::Gzip)]
    pub(super) compression: Compression,
    /// Who assembles the image
    #[arg(long, value_name = "NAME", default_value = "native")]
    pub(super) backend: String,
    /// Option of the original tool's builders; `platform` and `no-cache` have an effect here
    #[arg(long = "opt", value_name = "ARG[=VALUE]")]
    pub(super) opts: Vec<String>,
    /// Features of the original tool; without effect here
    #[arg(long, value_name = "FEATURE[,FEATURE]", hide = true)]
    pub(super) enable_features: Vec<String>,
    /// Accepted for scripts written for the original tool; ekiben needs no root
    #[arg(long, hide = true)]
    pub(super) run_as_root: bool,
    /// Makes the layers of Hugging Face models from their files, and compares them with what the lock says
    #[arg(long)]
    pub(super) verify: bool,
    /// Looks for newer base packages and images instead of taking those found before
    #[arg(long, visible_alias = "pull", action = ArgAction::SetTrue)]
    pub(super) refresh: bool,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub(super) output: DocumentOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// What commands print that have something to say about one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DocumentOutput {
    /// A summary for people
    Text,
    /// A JSON document
    Json,
    /// A YAML document
    Yaml,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeCommandArgs {
    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

/// `models list`.
#[derive(Debug, Args)]
pub(super) struct ListModelsArgs {
    /// Lists what is in the cache of Hugging Face models instead of the store
    #[arg(long)]
    pub(super) hf: bool,
    #[command(flatten)]
    pub(super) list: ListArgs,
}

/// `lock`.
#[derive(Debug, Args)]
pub(super) struct LockArgs {
    /// The project's directory, or its service as `module:attribute`
    #[arg(default_value = ".")]
    pub(super) build_ctx: String,
    /// The bentofile, if it is not `bentofile.yaml` in the project
    #[arg(short = 'f', long, value_name = "PATH")]
    pub(super) bentofile: Option<PathBuf>,
    /// Template argument of the service; may be repeated
    #[arg(long = "arg", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) args: Vec<(String, String)>,
    /// YAML file with template arguments
    #[arg(long, value_name = "PATH")]
    pub(super) arg_file: Option<PathBuf>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub(super) output: DocumentOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Arguments of the `list` commands.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only this name, or this one version
    pub(super) name: Option<String>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = ListOutput::Table)]
    pub(super) output: ListOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// What the `list` commands print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListOutput {
    /// A table for people
    Table,
    /// A JSON document
    Json,
    /// A YAML document
    Yaml,
}

/// Arguments of the `get` commands.
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// `NAME:VERSION`, or `NAME` for the latest version
    pub(super) tag: String,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = GetOutput::Yaml)]
    pub(super) output: GetOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// What the `get` commands print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GetOutput {
    /// A YAML document
    Yaml,
    /// A JSON document
    Json,
    /// The directory of the item
    Path,
}

/// Arguments of the `delete` commands.
#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// `NAME:VERSION`, or `NAME` for all versions; several are separated by spaces or commas
    #[arg(value_name = "DELETE_TARGETS", required = true)]
    pub(super) targets: Vec<String>,
    /// Does not ask
    #[arg(short, long, visible_alias = "assume-yes")]
    pub(super) yes: bool,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub(super) output: DocumentOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Arguments of `models gc`. A model goes when it fits all that are given and no bento needs it.
#[derive(Debug, Args)]
pub(super) struct GcArgs {
    /// Keeps so many newest versions of each name
    #[arg(long, value_name = "N")]
    pub(super) keep: Option<usize>,
    /// Only models of this age [`90d`, `2w`, `12h`, `30m`]
    #[arg(long, value_name = "AGE")]
    pub(super) older_than: Option<Age>,
    /// Only models with this label; may be repeated
    #[arg(long = "label", value_name = "KEY[=VALUE]")]
    pub(super) labels: Vec<String>,
    /// Tidies the cache of Hugging Face models instead of the store
    #[arg(long, conflicts_with = "labels")]
    pub(super) hf: bool,
    /// Says what would go, and deletes nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Does not ask
    #[arg(short, long, visible_alias = "assume-yes")]
    pub(super) yes: bool,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub(super) output: DocumentOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Arguments of the `export` commands.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// `NAME:VERSION`, or `NAME` for the latest version
    pub(super) tag: String,
    /// A file, a directory, a URL (`s3://BUCKET/KEY`, `sftp://HOST/PATH`, …), or `-` for standard output; the last extension chooses the form
    /// [`.tar`, `.gz`, `.xz`, `.bz2`, `.zst`, `.zip`; tar and xz by default]
    #[arg(default_value = "", hide_default_value = true)]
    pub(super) out_path: String,
    /// The form, whatever the name
    #[arg(long, value_enum)]
    pub(super) format: Option<ExportFormat>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub(super) output: DocumentOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// The forms that can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// What `.bento` and `.bentomodel` are: tar and xz
    Native,
    /// A plain tar
    Tar,
    /// Tar and gzip
    Gz,
    /// Tar and xz
    Xz,
    /// Tar and bzip2
    Bz2,
    /// Tar and zstd
    Zst,
    /// A zip
    Zip,
    /// A directory
    Folder,
}

/// Arguments of the `import` commands.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// An archive, a directory, a URL (`s3://BUCKET/KEY`, `https://HOST/PATH`, …), or `-` for standard input
    pub(super) path: String,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub(super) output: DocumentOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Arguments of `models create`.
#[derive(Debug, Args)]
pub(super) struct CreateModelArgs {
    /// Name of the model, with a version or a fresh one
    #[arg(value_name = "NAME[:VERSION]")]
    pub(super) tag: String,
    /// The directory with the model's files
    #[arg(long, value_name = "DIR")]
    pub(super) from: PathBuf,
    /// Label of the model; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) labels: Vec<(String, String)>,
    /// Metadata of the model, as a JSON value, else as text; may be repeated
    #[arg(long = "metadata", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) metadata: Vec<(String, String)>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub(super) output: DocumentOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Which server a command talks to.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Cloud context to use instead of the current one
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
}

/// Arguments of the `push` commands.
#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// `NAME:VERSION`, or `NAME` for the latest version
    pub(super) tag: String,
    /// A place in a registry (`docker://REGISTRY/REPOSITORY:TAG`); the server of the cloud context by default
    #[arg(value_name = "DESTINATION")]
    pub(super) destination: Option<String>,
    /// Sends it even if the server has it already
    #[arg(short, long)]
    pub(super) force: bool,
    /// Most parts of a file that are sent at the same time
    #[arg(short, long, value_name = "NUMBER", default_value = "10")]
    pub(super) threads: NonZeroUsize,
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub(super) output: DocumentOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Arguments of `models pull`.
#[derive(Debug, Args)]
pub(super) struct PullModelArgs {
    /// `NAME:VERSION`, `NAME` for the server's latest version, or a place in a registry
    /// (`docker://REGISTRY/REPOSITORY:TAG`), or a repository of the Hugging Face Hub
    /// (`hf://ORGANISATION/NAME@REVISION`); without it, the models of the bentofile
    #[arg(value_name = "SOURCE")]
    pub(super) source: Option<String>,
    /// Fetches it even if it is here already, and replaces what is here
    #[arg(short, long)]
    pub(super) force: bool,
    /// Only files of a Hugging Face repository that fit this pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(super) include: Vec<String>,
    /// No files of a Hugging Face repository that fit this pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(super) exclude: Vec<String>,
    /// The bentofile, if it is neither `bentofile.yaml` nor `pyproject.toml`
    #[arg(short = 'F', long, value_name = "PATH")]
    pub(super) bentofile: Option<PathBuf>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub(super) output: DocumentOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Arguments of `pull`.
#[derive(Debug, Args)]
pub(super) struct PullBentoArgs {
    /// `NAME:VERSION`, or a place in a registry (`docker://REGISTRY/REPOSITORY:TAG`)
    #[arg(value_name = "SOURCE")]
    pub(super) source: String,
    /// Fetches it even if it is here already, and replaces what is here
    #[arg(short, long)]
    pub(super) force: bool,
    /// Fetches the bento's models too
    #[arg(long)]
    pub(super) with_models: bool,
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = DocumentOutput::Text)]
    pub(super) output: DocumentOutput,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Arguments of `cloud login`.
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// Address of the server [default: the public service]
    #[arg(long, value_name = "URL")]
    pub(super) endpoint: Option<String>,
    /// The token; other users of this machine can read command lines, so that it is better asked for or piped
    #[arg(long, value_name = "TOKEN")]
    pub(super) api_token: Option<String>,
    /// Reads the token from standard input
    #[arg(long, conflicts_with = "api_token")]
    pub(super) api_token_stdin: bool,
    /// Shows a page on which a token can be made, and waits for it
    #[arg(long, conflicts_with_all = ["api_token", "api_token_stdin"])]
    pub(super) web: bool,
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Arguments of `cloud current-context` and `cloud list-context`.
#[derive(Debug, Args)]
pub(super) struct ContextArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Arguments of `cloud update-current-context`.
#[derive(Debug, Args)]
pub(super) struct UpdateContextArgs {
    /// Name of the context
    #[arg(value_name = "CONTEXT_NAME")]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form `KEY=VALUE`"))?;
    Ok((key.to_owned(), value.to_owned()))
}
