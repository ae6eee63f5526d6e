//! The hub's own client, `huggingface_hub`, in a home of its own, and its cache as text to compare others' with.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use super::command::Command;
use super::context::TestContext;
use super::hub::Hub;
use super::peers::{self, Venv};
use super::sources::repository;

/// Of a cache, what need not be the same: locks, listings that spare the client a request, and a mark for backups.
const INCIDENTAL: &[&str] = &[".locks", "CACHEDIR.TAG", "trees"];

/// Seconds after which the client takes a silent connection for dead, in place of 10.
const CLIENT_PATIENCE: &str = "2";

/// A refusal of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The class of the exception, such as `GatedRepoError`.
    pub(crate) class: String,
    pub(crate) status: Option<u64>,
    pub(crate) message: String,
}

/// The client and where it keeps what it downloads.
pub(crate) struct HubClient<'a> {
    context: &'a TestContext,
    hub: &'a Hub,
    home: PathBuf,
    token: Option<String>,
    uses_xet: bool,
    venv: Venv,
}

impl<'a> HubClient<'a> {
    /// With a home that is empty unless it is there already.
    pub(crate) fn new(context: &'a TestContext, hub: &'a Hub, home: &Path) -> Self {
        Self { context, hub, home: home.to_owned(), token: None, uses_xet: true, venv: Venv::Upstream }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Takes files over plain HTTP even if the hub offers the Xet protocol.
    pub(crate) fn without_xet(mut self) -> Self {
        self.uses_xet = false;
        self
    }

    /// Uses the client of another environment.
    pub(crate) fn of(mut self, venv: Venv) -> Self {
        self.venv = venv;
        self
    }

    /// What `HF_HUB_CACHE` is.
    pub(crate) fn cache(&self) -> PathBuf {
        self.home.join("hub")
    }

    /// Gives a command the surroundings that the client has.
    pub(crate) fn env(&self, command: Command) -> Command {
        let command = command
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("HF_HOME", &self.home)
            .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            .env("HF_HUB_DISABLE_TELEMETRY", "1")
            .env("HF_HUB_DOWNLOAD_TIMEOUT", CLIENT_PATIENCE)
            .env("HF_HUB_DISABLE_XET", if self.uses_xet { "0" } else { "1" });
        match &self.token {
            Some(token) => command.env("HF_TOKEN", token),
            None => command,
        }
    }

    /// The interpreter that has the client, in its surroundings.
    pub(crate) fn python(&self) -> Command {
        self.env(self.context.command(&peers::program(self.venv, "python")))
    }

    /// `snapshot_download(repo_id, **arguments)`: the snapshot's directory. `arguments` is an object.
    pub(crate) fn snapshot(&self, id: &str, arguments: &Value) -> Result<PathBuf, Refused> {
        self.call("snapshot_download", id, arguments)
            .map(|result| PathBuf::from(result.as_str().unwrap_or_default()))
    }

    /// `hf_hub_download(repo_id, **arguments)`: the file's place in the snapshot.
    pub(crate) fn file(&self, id: &str, arguments: &Value) -> Result<PathBuf, Refused> {
        self.call("hf_hub_download", id, arguments)
            .map(|result| PathBuf::from(result.as_str().unwrap_or_default()))
    }

    /// Any function of the client that wants a repository.
    pub(crate) fn call(&self, function: &str, id: &str, arguments: &Value) -> Result<Value, Refused> {
        let mut arguments = arguments.clone();
        arguments["repo_id"] = json!(id);
        let wanted = json!({"function": function, "arguments": arguments});
        let script = repository().join("tests/it/support/hub_client.py");
        // Retries are told on stderr.
        let answer = self.python().arg(script).arg(wanted.to_string()).any_stderr().run().json();
        match answer.get("error") {
            None => Ok(answer["result"].clone()),
            Some(class) => Err(Refused {
                class: class.as_str().unwrap_or_default().to_owned(),
                status: answer["status"].as_u64(),
                message: answer["message"].as_str().unwrap_or_default().to_owned(),
            }),
        }
    }
}

/// A cache of models as text, a line for every file and link: links with their targets, references with what they say,
/// other files with mode, size and SHA-256. Left out is what need not be the same.
pub(crate) fn cache_tree(cache: &Path) -> String {
    let mut text = String::new();
    let is_kept = |entry: &walkdir::DirEntry| {
        !entry.file_name().to_str().is_some_and(|name| INCIDENTAL.contains(&name)) || entry.depth() > 2
    };
    for entry in WalkDir::new(cache).sort_by_file_name().into_iter().filter_entry(is_kept) {
        let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", cache.display()));
        if entry.file_type().is_dir() {
            continue;
        }
        let path = entry.path();
        let name = path.strip_prefix(cache).expect("the walk started there").display();
        if entry.path_is_symlink() {
            let target = fs::read_link(path).expect("a link can be read");
            writeln!(text, "{name} -> {}", target.display()).expect("a string takes text");
            continue;
        }
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let is_reference = path
            .strip_prefix(cache)
            .is_ok_and(|path| path.components().nth(1).is_some_and(|part| part.as_os_str() == "refs"));
        if is_reference {
            writeln!(text, "{name} = {}", String::from_utf8_lossy(&bytes)).expect("a string takes text");
        } else {
            let mode = entry.metadata().expect("the file is there").permissions().mode() & 0o7777;
            let digest =
                Sha256::digest(&bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
            writeln!(text, "{name}: {mode:o}, {} bytes, {digest}", bytes.len()).expect("a string takes text");
        }
    }
    text
}
