//! The command line of `ekiben-serve`, and the options that `ekiben serve` shares with it.

use std::ffi::OsString;
use std::num::NonZero;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser};
use serde_json::{Map, Number, Value};

use super::arguments;
use super::config::Secret;
use super::error::{ServeError, chain};
use super::log::complain;
use super::reload::Watch;
use super::settings::{FirstFailure, Mode, Settings};
use super::target::Target;
use super::worker::message::Level;
use crate::env::Environment;

/// Words that mean serving, as upstream has them.
const SERVE_WORDS: [&str; 2] = ["serve", "serve-http"];

/// What is said about an option that is the default.
const PRODUCTION_NOTE: &str = "`--production` has no effect: it is the default";

/// The options of serving.
#[derive(Args, Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct ServeArgs {
    /// A bento's directory, a project's directory, or a service: `module:Class` [default: .]
    pub target: Option<String>,
    /// The port to listen on [default: 3000] [env: `BENTOML_PORT`]
    #[arg(short, long)]
    pub port: Option<u16>,
    /// The IP address to listen on [default: 0.0.0.0] [env: `BENTOML_HOST`]
    #[arg(long)]
    pub host: Option<String>,
    /// The directory that the service is imported in [default: the target's]
    #[arg(long, value_name = "DIR")]
    pub working_dir: Option<PathBuf>,
    /// Seconds until a request is answered with 504 [default: 60] [env: `BENTOML_TIMEOUT`]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<Number>,
    /// Workers of a service with runners [default: one for each core] [env: `BENTOML_API_WORKERS`]
    #[arg(long, value_name = "N")]
    pub api_workers: Option<NonZero<u32>>,
    /// How much memory a worker may hold before it is replaced, such as `2Gi` [default: any] [env: `EKIBEN_WORKER_MEMORY_LIMIT`]
    #[arg(long, value_name = "SIZE")]
    pub worker_memory_limit: Option<String>,
    /// Seconds that a shutdown waits for requests [default: as long as they take]
    #[arg(long, value_name = "SECONDS")]
    pub timeout_graceful_shutdown: Option<u64>,
    /// Seconds that an idle connection is kept [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub timeout_keep_alive: Option<u64>,
    /// Connections that the kernel keeps for the server [default: 2048]
    #[arg(long, value_name = "N")]
    pub backlog: Option<u32>,
    /// An argument that the service reads with `bentoml.use_arguments`; may be repeated
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = arguments::parse)]
    pub args: Vec<(String, String)>,
    /// A YAML file with such arguments
    #[arg(long, value_name = "FILE")]
    pub arg_file: Option<PathBuf>,
    /// Runs one worker that keeps the terminal, for a debugger
    #[arg(long, conflicts_with = "production")]
    pub development: bool,
    /// Has no effect: it is the default
    #[arg(long, hide = true)]
    pub production: bool,
    /// Makes an environment for the service, which ekiben refuses
    #[arg(long, hide = true, value_name = "KIND")]
    pub env: Option<String>,
    /// Writes the server's address to a file or pipe once the service is imported; ends when a worker does not start, and
    /// with its standard input
    #[arg(long, hide = true, value_name = "FILE")]
    pub announce: Option<PathBuf>,
    /// Loads the service again when a file of its directory changes
    #[arg(long)]
    pub reload: bool,
    /// The Python interpreter of the workers [default: python3]
    #[arg(long, value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// Logs errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Logs everything
    #[arg(long, visible_alias = "debug", conflicts_with = "quiet")]
    pub verbose: bool,
    /// The options of TLS.
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// The options of TLS; each is a key of the configuration's section `ssl`.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// The server's certificate, and those between it and its authority (PEM); turns TLS on
    #[arg(long = "ssl-certfile", value_name = "FILE")]
    pub certfile: Option<String>,
    /// The private key (PEM) [default: the file of the certificate]
    #[arg(long = "ssl-keyfile", value_name = "FILE")]
    pub keyfile: Option<String>,
    /// What the private key is encrypted with; others can see it in the list of processes, unlike `ssl.keyfile_password`
    #[arg(long = "ssl-keyfile-password", value_name = "TEXT")]
    pub keyfile_password: Option<Secret>,
    /// The authorities of clients (PEM)
    #[arg(long = "ssl-ca-certs", value_name = "FILE")]
    pub ca_certs: Option<String>,
    /// Certificates of clients: 0 are not asked for, 1 are optional, 2 are required
    #[arg(long = "ssl-cert-reqs", value_name = "N")]
    pub cert_reqs: Option<u8>,
    /// 17 is TLS 1.2 and 1.3, 5 is TLS 1.2 alone, as in Python's `ssl` [default: 17]
    #[arg(long = "ssl-version", id = "ssl-version", value_name = "N")]
    pub version: Option<u8>,
    /// Cipher suites of TLS 1.2 by OpenSSL's names, with `:` between [default: all that are safe]
    #[arg(long = "ssl-ciphers", value_name = "LIST")]
    pub ciphers: Option<String>,
}

impl TlsArgs {
    /// Returns the options as configuration.
    fn section(&self) -> Map<String, Value> {
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let members = [
            ("enabled", self.certfile.is_some().then_some(Value::Bool(true))),
            ("certfile", text(&self.certfile)),
            ("keyfile", text(&self.keyfile)),
            ("keyfile_password", self.keyfile_password.as_ref().map(|secret| secret.reveal().into())),
            ("ca_certs", text(&self.ca_certs)),
            ("cert_reqs", self.cert_reqs.map(Value::from)),
            ("version", self.version.map(Value::from)),
            ("ciphers", text(&self.ciphers)),
        ];
        let members: Map<String, Value> =
            members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        if members.is_empty() { Map::new() } else { Map::from_iter([("ssl".to_owned(), members.into())]) }
    }
}

#[derive(Debug, Parser)]
#[command(name = "ekiben-serve", version, about = "Serves a BentoML service")]
#[command(override_usage = "ekiben-serve [serve|serve-http] [OPTIONS] [TARGET]")]
struct CommandLine {
    #[command(flatten)]
    arguments: ServeArgs,
}

impl ServeArgs {
    /// Completes the options with the environment; `target` is what was found for the option's text.
    pub fn settings(&self, target: Target, environment: Environment) -> Result<Settings, ServeError> {
        if let Some(kind) = &self.env {
            return Err(ServeError::MadeEnvironment { kind: kind.clone() });
        }
        let host = self.host.as_deref().or_else(|| environment.text("BENTOML_HOST"));
        let host = host.map(|host| host.parse().map_err(|_| ServeError::Host { host: host.to_owned() }));
        let defaults = Settings::new(target, environment);
        let environment = defaults.environment;
        let is_contained = environment.is_on("BENTOML_CONTAINERIZED");
        Ok(Settings {
            host: host.transpose()?,
            port: self.port.map_or_else(|| port(&environment), |port| Ok(Some(port)))?,
            python: self.python.clone().unwrap_or(defaults.python),
            timeout: self
                .timeout
                .clone()
                .map_or_else(|| timeout(&environment), |timeout| Ok(Some(timeout)))?,
            api_workers: self
                .api_workers
                .map_or_else(|| api_workers(&environment), |count| Ok(Some(count)))?,
            graceful_shutdown: self.timeout_graceful_shutdown.map(Duration::from_secs),
            keep_alive: self.timeout_keep_alive.map_or(defaults.keep_alive, Duration::from_secs),
            backlog: self.backlog,
            mode: if self.development { Mode::Development } else { Mode::Production },
            // With `--reload` the next start waits for a change.
            first_failure: if is_contained || self.reload || self.announce.is_some() {
                FirstFailure::Exit
            } else {
                FirstFailure::Retry
            },
            log_level: self.log_level(&environment),
            arguments: arguments::read(self.arg_file.as_deref(), &self.args)?,
            announce: self.announce.clone(),
            notes: self.production.then_some(PRODUCTION_NOTE).into_iter().collect(),
            flags: self.flags(&environment),
            reload: self.reload.then(|| Watch::everything(defaults.target.sources())),
            target: defaults.target,
            read_ahead: defaults.read_ahead,
            sdk_path: defaults.sdk_path,
            environment,
        })
    }

    /// Finds the target where no bento store is at hand: a directory or an import string.
    pub fn locate(&self) -> Result<Target, ServeError> {
        let text = self.target.as_deref().unwrap_or(".");
        let working_dir = self.working_dir.as_deref();
        let found = Target::locate(text, working_dir)?;
        Ok(found.unwrap_or_else(|| Target::import(text, working_dir)))
    }

    /// Returns the options that are keys of the configuration.
    fn flags(&self, environment: &Environment) -> Map<String, Value> {
        let mut flags = self.tls.section();
        let limit = self.worker_memory_limit.as_deref();
        if let Some(limit) = limit.or_else(|| environment.text("EKIBEN_WORKER_MEMORY_LIMIT")) {
            flags.insert("worker_memory_limit".to_owned(), limit.into());
        }
        flags
    }

    fn log_level(&self, environment: &Environment) -> Level {
        if self.quiet || (!self.verbose && environment.is_on("BENTOML_QUIET")) {
            return Level::Error;
        }
        if self.verbose || environment.is_on("BENTOML_DEBUG") { Level::Debug } else { Level::Info }
    }
}

/// Runs the program `ekiben-serve`; as the entrypoint of an image also any other command.
pub fn main(arguments: impl Iterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let arguments: Vec<OsString> = arguments.skip(1).collect();
    let ended = match choose(&arguments, environment) {
        Choice::Serve(options) => match CommandLine::try_parse_from(with_name(options)) {
            Ok(CommandLine { arguments }) => serve(arguments, environment),
            Err(error) => {
                // Help goes to standard output, mistakes to standard error; there is nowhere to report more.
                let _ = error.print();
                return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
            }
        },
        Choice::Run(command) => Err(run(command)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("Error: [serve] `serve` failed: {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

enum Choice<'a> {
    Serve(&'a [OsString]),
    Run(&'a [OsString]),
}

/// Tells serving from other commands, as upstream's entrypoint script does (build contract 8.7).
fn choose<'a>(arguments: &'a [OsString], environment: &Environment) -> Choice<'a> {
    let is_entrypoint = bento_path(environment).is_some();
    match arguments.first().and_then(|first| first.to_str()) {
        Some(word) if SERVE_WORDS.contains(&word) => Choice::Serve(&arguments[1..]),
        Some(word) if is_entrypoint && !word.starts_with('-') => Choice::Run(arguments),
        _ => Choice::Serve(arguments),
    }
}

fn serve(mut arguments: ServeArgs, environment: &Environment) -> Result<(), ServeError> {
    if arguments.target.is_none() {
        arguments.target = bento_path(environment).map(str::to_owned);
    }
    let target = arguments.locate()?;
    super::run(arguments.settings(target, environment.clone())?)
}

fn run(command: &[OsString]) -> ServeError {
    let (program, arguments) =
        command.split_first().map_or((OsString::new(), [].as_slice()), |(p, a)| (p.clone(), a));
    let source = std::process::Command::new(&program).args(arguments).exec();
    ServeError::Exec { command: program.to_string_lossy().into_owned(), source }
}

/// Returns the bento of the image that this is the entrypoint of.
fn bento_path(environment: &Environment) -> Option<&str> {
    environment.text("BENTO_PATH").filter(|_| environment.is_on("BENTOML_CONTAINERIZED"))
}

fn timeout(environment: &Environment) -> Result<Option<Number>, ServeError> {
    let Some(text) = environment.text("BENTOML_TIMEOUT") else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|_| ServeError::Timeout { found: text.to_owned() })
}

fn api_workers(environment: &Environment) -> Result<Option<NonZero<u32>>, ServeError> {
    let Some(text) = environment.text("BENTOML_API_WORKERS") else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| ServeError::ApiWorkers { found: text.to_owned() })
}

/// `PORT` is what platforms set; it wins over the image's own `BENTOML_PORT`.
fn port(environment: &Environment) -> Result<Option<u16>, ServeError> {
    let found =
        ["PORT", "BENTOML_PORT"].iter().find_map(|variable| Some((*variable, environment.text(variable)?)));
    let Some((variable, text)) = found else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| ServeError::Port { variable, found: text.to_owned() })
}

fn with_name(options: &[OsString]) -> impl Iterator<Item = OsString> {
    std::iter::once(OsString::from("ekiben-serve")).chain(options.iter().cloned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn options_of_tls_are_configuration() {
        let section = |line: &str| {
            let line = line.split_whitespace().map(OsString::from);
            CommandLine::parse_from([OsString::from("ekiben-serve")].into_iter().chain(line))
                .arguments
                .tls
                .section()
        };
        assert_eq!(section(""), Map::new());
        let found = section("--ssl-certfile c --ssl-version 5 --ssl-keyfile-password 1");
        let expected =
            json!({"ssl": {"enabled": true, "certfile": "c", "keyfile_password": "1", "version": 5}});
        assert_eq!(Value::Object(found), expected);
        // What is configured to be off stays off.
        assert_eq!(Value::Object(section("--ssl-cert-reqs 2")), json!({"ssl": {"cert_reqs": 2}}));
    }
}
