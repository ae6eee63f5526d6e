//! The front of an image: serves its bento, or runs the command it is given.

use std::process::ExitCode;

use ekiben::env::Environment;

fn main() -> ExitCode {
    ekiben::serve::command::main(std::env::args_os(), &Environment::of_process())
}
