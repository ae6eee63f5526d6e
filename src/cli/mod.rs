//! The command line: what was typed, what was meant, what is shown.

mod args;
mod commands;
mod diagnostics;
mod printer;
mod progress;

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::args::{Cli, CommonArgs};
use self::printer::{Printer, Volume};
use self::progress::TerminalReport;
use crate::env::Environment;
use crate::ops::{Context, ContextError};
use crate::report::Interrupt;

/// Runs the command line `arguments`, the program's name first.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, mistakes to standard error; there is nowhere left to report more.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let printer = Printer::new(Volume::Normal, false);
    let run = AssertUnwindSafe(|| commands::run(cli.command, Environment::of_process()));
    match std::panic::catch_unwind(run) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            let diagnosis = diagnostics::diagnose(error.as_ref());
            printer.error(&diagnostics::text(error.as_ref(), &diagnosis));
            ExitCode::from(diagnosis.kind.status())
        }
        // What went wrong has been told by the panic itself.
        Err(_) => {
            printer.error(
                "\nhint: this is a defect of ekiben: please report it with the command and the text above\n",
            );
            ExitCode::from(OWN_DEFECT)
        }
    }
}

/// The exit status of a defect of our own (`EX_SOFTWARE` of sysexits.h).
const OWN_DEFECT: u8 = 70;

/// Whatever a command may fail with; [`diagnostics`] tells them apart.
type CommandError = Box<dyn Error>;

/// What a command works with: the surroundings, and the printer.
struct Session {
    context: Context,
    printer: Printer,
}

impl Session {
    /// Reads the surroundings, and has the first `SIGINT` or `SIGTERM` stop the operation in good order.
    fn new(
        common: CommonArgs,
        stdout_is_document: bool,
        environment: Environment,
    ) -> Result<Self, ContextError> {
        let volume = volume(common, &environment);
        let printer = Printer::new(volume, stdout_is_document);
        let interrupt = Interrupt::default();
        let context = Context::new(environment, Arc::new(TerminalReport::new(printer)), interrupt.clone())?;
        // Taken before anything is said, so that whoever reads can already stop what they read about.
        let signals = {
            let _runtime = context.runtime.enter();
            // A closed terminal hangs up: that is a wish to stop like the others.
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()]
                .map(signal)
        };
        context.runtime.spawn(raise_on_signal(signals, interrupt));
        Ok(Self { context, printer })
    }
}

fn volume(common: CommonArgs, environment: &Environment) -> Volume {
    let verbosity = environment.text("BENTOML_VERBOSITY").and_then(|value| value.parse::<i32>().ok());
    if common.quiet || verbosity.is_some_and(|verbosity| verbosity < 0) {
        Volume::Quiet
    } else if common.verbose || verbosity.is_some_and(|verbosity| verbosity > 0) {
        Volume::Verbose
    } else {
        Volume::Normal
    }
}

async fn raise_on_signal(signals: [io::Result<Signal>; 4], interrupt: Interrupt) {
    // Without handlers the signals end the process at once, which leaves staging files to be swept later.
    let [Ok(mut interrupted), Ok(mut terminated), Ok(mut hung_up), Ok(mut quitted)] = signals else {
        return;
    };
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        _ = hung_up.recv() => {}
        _ = quitted.recv() => {}
    }
    interrupt.raise();
}
