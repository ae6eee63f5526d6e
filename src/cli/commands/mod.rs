//! One file for each group of verbs: typed arguments to settings, an operation, its outcome to words.

mod containerize;
mod document;
mod serve;

use std::process::ExitCode;

use super::CommandError;
use super::args::Command;

use crate::env::Environment;
pub(super) use containerize::UsageError;

/// Runs a command; what it prints goes to the terminal, what it returns is the exit status.
pub(super) fn run(command: Command, environment: Environment) -> Result<ExitCode, CommandError> {
    match command {
        Command::Containerize(args) => containerize::run(&args, environment),
        Command::Serve(args) => serve::run(&args, environment),
    }
}
