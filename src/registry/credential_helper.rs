//! Credential helpers: programs named `docker-credential-…` (docker/docker-credential-helpers, Development).

use std::ffi::OsStr;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::error::RegistryError;
use super::keychain::Credentials;
use crate::redact::{self, Secret};

/// How long a helper may take: some ask the user for a passphrase.
const TIMEOUT: Duration = Duration::from_mins(2);
/// What helpers print when they have nothing, with an exit status of 1.
const NOT_FOUND: &str = "credentials not found";
/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";

/// What a helper says.
pub(super) enum Answer {
    Credentials(Credentials),
    Unknown,
    NotInstalled,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    username: String,
    secret: String,
}

/// Asks `helper` for the credentials of `server`.
pub(super) async fn get(
    helper: &str,
    server: &str,
    search_path: Option<&OsStr>,
) -> Result<Answer, RegistryError> {
    let explain =
        |source| RegistryError::Helper { helper: helper.to_owned(), server: server.to_owned(), source };
    if helper.contains(['/', '\\']) {
        return Err(explain(io::Error::new(
            io::ErrorKind::InvalidInput,
            "that is not the name of a program",
        )));
    }
    let output = match tokio::time::timeout(TIMEOUT, run(helper, server, search_path)).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Answer::NotInstalled),
        Ok(Err(error)) => return Err(explain(error)),
        Err(_) => return Err(explain(io::ErrorKind::TimedOut.into())),
    };
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = redact::text(String::from_utf8_lossy(&said).trim());
        if said.contains(NOT_FOUND) {
            return Ok(Answer::Unknown);
        }
        return Err(explain(io::Error::other(format!("it ended with {} and said: {said}", output.status))));
    }
    let malformed = |_| explain(io::Error::new(io::ErrorKind::InvalidData, "it does not answer with JSON"));
    let Output { username, secret } = serde_json::from_slice(&output.stdout).map_err(malformed)?;
    Ok(match (username.as_str(), secret.as_str()) {
        ("", "") => Answer::Unknown,
        (TOKEN_USER, _) => Answer::Credentials(Credentials::IdentityToken(Secret::new(secret))),
        _ => Answer::Credentials(Credentials::Password { user: username, password: Secret::new(secret) }),
    })
}

async fn run(helper: &str, server: &str, search_path: Option<&OsStr>) -> io::Result<std::process::Output> {
    let mut command = Command::new(helper);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    if let Some(path) = search_path {
        command.env("PATH", path);
    }
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input still decides by its exit status.
        let _ = input.write_all(server.as_bytes()).await;
    }
    child.wait_with_output().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    async fn ask(script: &str) -> Result<Answer, RegistryError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker-credential-test");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let search_path = format!("{}:/usr/bin:/bin", directory.path().display());
        get("docker-credential-test", "reg.example", Some(search_path.as_ref())).await
    }

    #[tokio::test]
    async fn answers_are_understood() {
        let script = r#"read -r server; [ "$1" = get ] && printf '{"ServerURL":"%s","Username":"me","Secret":"pw"}' "$server""#;
        let Ok(Answer::Credentials(Credentials::Password { user, password })) = ask(script).await else {
            panic!("no password")
        };
        assert_eq!((user.as_str(), password.expose()), ("me", "pw"));
        let script = r#"printf '{"Username":"<token>","Secret":"t"}'"#;
        assert!(matches!(ask(script).await, Ok(Answer::Credentials(Credentials::IdentityToken(_)))));
        let script = "echo 'credentials not found in native keychain'; exit 1";
        assert!(matches!(ask(script).await, Ok(Answer::Unknown)));
        assert!(matches!(get("docker-credential-none", "x", None).await, Ok(Answer::NotInstalled)));
    }

    #[tokio::test]
    async fn a_failing_helper_is_named() {
        let error = ask("echo 'token=hunter2 is locked' >&2; exit 3").await.err().unwrap();
        assert_eq!(error.to_string(), "`docker-credential-test` gives no credentials for `reg.example`");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "it ended with exit status: 3 and said: token=*** is locked");
        assert!(ask("echo '{'").await.is_err());
        assert!(get("../x", "reg.example", None).await.is_err());
    }
}
