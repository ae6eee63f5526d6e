//! The only place that writes to the terminal: data to standard output, words for people beside it.

use std::io::{self, IsTerminal as _};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Volume {
    /// Only what the user asked for, and errors.
    Quiet,
    /// What is going on, and warnings.
    Normal,
    /// Everything.
    Verbose,
}

/// Writes to standard output and standard error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printer {
    volume: Volume,
    tells_on_stdout: bool,
}

impl Printer {
    /// A printer of the given volume. Where standard output carries a document, what is going on is not told there.
    pub(super) fn new(volume: Volume, stdout_is_document: bool) -> Self {
        Self { volume, tells_on_stdout: !stdout_is_document }
    }

    /// Whether bars can be drawn.
    pub(super) fn draws(self) -> bool {
        self.volume > Volume::Quiet && io::stderr().is_terminal()
    }

    /// Prints what the user asked for: always, and exactly so.
    #[expect(clippy::unused_self, reason = "whoever prints shows that it may")]
    pub(super) fn data(self, text: &str) {
        write(&mut io::stdout().lock(), text);
    }

    /// Where bytes go that the user asked for.
    #[expect(clippy::unused_self, reason = "whoever prints shows that it may")]
    pub(super) fn bytes(self) -> impl io::Write {
        io::stdout().lock()
    }

    /// Whether bytes would go to a terminal.
    #[expect(clippy::unused_self, reason = "whoever prints shows that it may")]
    pub(super) fn shows_bytes(self) -> bool {
        io::stdout().is_terminal()
    }

    /// Asks; beside standard output where that carries a document.
    pub(super) fn ask(self, question: &str) {
        if self.tells_on_stdout {
            write(&mut io::stdout().lock(), question);
        } else {
            write(&mut io::stderr().lock(), question);
        }
    }

    /// Prints closing words beside standard output.
    pub(super) fn aside(self, text: &str) {
        if self.volume > Volume::Quiet {
            write(&mut io::stderr().lock(), text);
        }
    }

    /// Prints the closing words for people, which are not for programs.
    pub(super) fn summary(self, text: &str) {
        if self.volume > Volume::Quiet && self.tells_on_stdout {
            write(&mut io::stdout().lock(), text);
        }
    }

    /// Tells what is going on.
    pub(super) fn info(self, text: &str) {
        if self.volume > Volume::Quiet && self.tells_on_stdout {
            write(&mut io::stdout().lock(), &format!("INFO: {text}\n"));
        }
    }

    /// Warns.
    pub(super) fn warn(self, text: &str) {
        if self.volume > Volume::Quiet {
            write(&mut io::stderr().lock(), &format!("WARNING: {text}\n"));
        }
    }

    /// Prints an error's text.
    #[expect(clippy::unused_self, reason = "whoever prints shows that it may")]
    pub(super) fn error(self, text: &str) {
        write(&mut io::stderr().lock(), text);
    }
}

/// Writes what can be written: a reader that has gone away, as `head` does, is no error.
fn write(stream: &mut impl io::Write, text: &str) {
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}
