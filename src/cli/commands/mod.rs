//! One file for each group of verbs: typed arguments to settings, an operation, its outcome to words.

mod archives;
mod bentos;
mod build;
mod cloud;
mod containerize;
mod delete;
mod document;
mod exchange;
mod gc;
mod hub;
mod items;
mod models;
mod registries;
mod serve;

use std::process::ExitCode;

use super::CommandError;
use super::args::{CloudCommand, Command, ModelsCommand};
use crate::env::Environment;
use crate::store::{Bento, Model};

pub(super) use cloud::LoginError;
pub(super) use containerize::UsageError;
pub(super) use delete::DeleteError;
pub(super) use gc::NoCriterion;
pub(super) use registries::NotARegistry;

/// Runs a command; what it prints goes to the terminal, what it returns is the exit status.
pub(super) fn run(command: Command, environment: Environment) -> Result<ExitCode, CommandError> {
    match command {
        Command::Build(args) => build::run(&args, environment),
        Command::Lock(args) => hub::lock(&args, environment),
        Command::Containerize(args) => containerize::run(&args, environment),
        Command::Serve(args) => serve::run(&args, &environment),
        Command::List(args) => bentos::list(&args, environment),
        Command::Get(args) => bentos::get(&args, environment),
        Command::Delete(args) => delete::bentos(&args, environment),
        Command::Export(args) => archives::export::<Bento>(&args, environment),
        Command::Import(args) => archives::import::<Bento>(&args, environment),
        Command::Push(args) => exchange::push::<Bento>(&args, environment),
        Command::Pull(args) => exchange::pull_bento(&args, environment),
        Command::Cloud(CloudCommand::Login(args)) => cloud::login(&args, environment),
        Command::Cloud(CloudCommand::CurrentContext(args)) => cloud::current_context(&args, environment),
        Command::Cloud(CloudCommand::ListContext(args)) => cloud::list_context(&args, environment),
        Command::Cloud(CloudCommand::UpdateCurrentContext(args)) => {
            cloud::update_current_context(&args, environment)
        }
        Command::Models(ModelsCommand::Create(args)) => models::create(&args, environment),
        Command::Models(ModelsCommand::List(args)) if args.hf => hub::list(&args, environment),
        Command::Models(ModelsCommand::List(args)) => models::list(&args.list, environment),
        Command::Models(ModelsCommand::Get(args)) => models::get(&args, environment),
        Command::Models(ModelsCommand::Delete(args)) => delete::models(&args, environment),
        Command::Models(ModelsCommand::Export(args)) => archives::export::<Model>(&args, environment),
        Command::Models(ModelsCommand::Import(args)) => archives::import::<Model>(&args, environment),
        Command::Models(ModelsCommand::Push(args)) => exchange::push::<Model>(&args, environment),
        Command::Models(ModelsCommand::Pull(args)) => exchange::pull_model(&args, environment),
        Command::Models(ModelsCommand::Gc(args)) if args.hf => hub::gc(&args, environment),
        Command::Models(ModelsCommand::Gc(args)) => gc::run(&args, environment),
    }
}
