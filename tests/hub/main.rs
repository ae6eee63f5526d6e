//! The tests' model hub as a program: serves directories as repositories until its input ends.
//!
//! ```text
//! cargo run --release --example hub -- [--page ENTRIES] [--token TOKEN] ORGANISATION/NAME=DIRECTORY…
//! ```
//!
//! Prints one line of JSON as soon as it listens: `{"endpoint": …, "storage": …, "commits": {"ORGANISATION/NAME": …}}`.
//! `HF_ENDPOINT` has to be that endpoint. With `--token` the repositories are gated, and the token's owner is let in.

#[path = "../it/support/fake_server.rs"]
mod fake_server;
#[path = "../it/support/hub/mod.rs"]
#[expect(dead_code, reason = "some faults have no switch here")]
mod hub;

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use self::hub::Hub;

const USAGE: &str = "usage: hub [--page ENTRIES] [--token TOKEN] ORGANISATION/NAME=DIRECTORY...";

fn main() -> io::Result<ExitCode> {
    let hub = Hub::start();
    let (mut token, mut commits) = (None, BTreeMap::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let is_understood = match argument.as_str() {
            "--page" => {
                arguments.next().and_then(|text| text.parse().ok()).map(|page| hub.set_page(page)).is_some()
            }
            "--token" => {
                token = arguments.next();
                token.is_some()
            }
            repository => match repository.split_once('=') {
                Some((id, directory)) if Path::new(directory).is_dir() => {
                    commits.insert(id.to_owned(), hub.repository(id).commit(Path::new(directory)));
                    true
                }
                _ => false,
            },
        };
        if !is_understood {
            writeln!(io::stderr(), "{USAGE}")?;
            return Ok(ExitCode::from(2));
        }
    }
    if let Some(token) = &token {
        for id in commits.keys() {
            hub.repository(id).gate().admit(token);
        }
    }
    let ready = json!({"endpoint": hub.endpoint(), "storage": hub.storage_endpoint(), "commits": commits});
    writeln!(io::stdout(), "{ready}")?;
    // Whoever started it holds the other end.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(ExitCode::SUCCESS)
}
