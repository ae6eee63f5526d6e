//! `ekiben serve`.

use std::process::ExitCode;

use super::super::CommandError;
use super::super::args::ServeCommandArgs;
use crate::env::Environment;
use crate::ops;

pub(super) fn run(args: &ServeCommandArgs, environment: &Environment) -> Result<ExitCode, CommandError> {
    ops::serve::serve(&args.serve, environment)?;
    Ok(ExitCode::SUCCESS)
}
