//! The `ekiben` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ekiben::cli::main(std::env::args_os())
}
