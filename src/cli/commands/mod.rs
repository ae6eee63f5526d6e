//! One file for each group of verbs: typed arguments to settings, an operation, its outcome to words.

mod bentos;
mod build;
mod containerize;
mod document;
mod items;
mod models;
mod serve;

use std::process::ExitCode;

use super::CommandError;
use super::args::{Command, ModelsCommand};

use crate::env::Environment;
pub(super) use containerize::UsageError;

/// Runs a command; what it prints goes to the terminal, what it returns is the exit status.
pub(super) fn run(command: Command, environment: Environment) -> Result<ExitCode, CommandError> {
    match command {
        Command::Build(args) => build::run(&args, environment),
        Command::Containerize(args) => containerize::run(&args, environment),
        Command::Serve(args) => serve::run(&args, &environment),
        Command::List(args) => bentos::list(&args, environment),
        Command::Get(args) => bentos::get(&args, environment),
        Command::Models(ModelsCommand::Create(args)) => models::create(&args, environment),
        Command::Models(ModelsCommand::List(args)) => models::list(&args, environment),
        Command::Models(ModelsCommand::Get(args)) => models::get(&args, environment),
    }
}
