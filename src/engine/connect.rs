//! Finding the engine: which address, which version of its interface, which kind of store.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

use super::error::{EngineError, Tried, reason};

/// How long an engine may take for its first answer: one that is there answers in milliseconds, one that systemd must
/// start first in a second or two.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// How long it may take for any other: loading an image takes as long as the disk does.
const ANY_ANSWER: Duration = Duration::from_hours(6);
/// Docker's usual socket.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// Podman's sockets: of the system, and below `XDG_RUNTIME_DIR`.
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
/// The first version of the interface whose engine, Docker 23, takes layers compressed with zstd.
const ZSTD_SINCE: (usize, usize) = (1, 42);

/// Where to look for an engine, as found in the environment by the caller.
#[derive(Clone, Debug, Default)]
pub struct EngineSettings {
    /// `DOCKER_HOST`; when given, no other address is tried.
    pub host: Option<String>,
    /// `XDG_RUNTIME_DIR`, in which engines without root have their sockets.
    pub runtime_directory: Option<PathBuf>,
}

/// How an engine keeps images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Docker's own: layers are kept unpacked, an image's id is the digest of its configuration.
    Classic,
    /// containerd's: blobs are kept as they come, an image's id is the digest of its manifest or index.
    Containerd,
    /// Podman's.
    Podman,
}

/// An engine that answers.
#[derive(Clone)]
pub struct Engine {
    pub(super) docker: Docker,
    pub(super) host: String,
    store: Store,
    takes_zstd: bool,
}

impl Engine {
    /// Connects to the engine that `settings` name, or the first of the usual ones that answers.
    pub async fn connect(settings: &EngineSettings) -> Result<Self, EngineError> {
        let mut tried = Vec::new();
        for host in hosts(settings) {
            match Self::connect_to(&host).await? {
                Ok(engine) => return Ok(engine),
                Err(reason) => tried.push(Tried { host, reason }),
            }
        }
        Err(EngineError::NotFound { tried })
    }

    /// How the engine keeps images.
    pub fn store(&self) -> Store {
        self.store
    }

    /// Whether layers compressed with zstd can be loaded.
    pub fn takes_zstd(&self) -> bool {
        self.takes_zstd
    }

    /// The engine's address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Connects to one address; the inner error is why nobody answers there.
    async fn connect_to(host: &str) -> Result<Result<Self, String>, EngineError> {
        let docker = match client(host)? {
            Ok(docker) => docker,
            Err(error) => return Ok(Err(reason(&error))),
        };
        let first = async {
            let mut docker = docker.negotiate_version().await?;
            let (version, info) = (docker.version().await?, docker.info().await?);
            docker.set_timeout(ANY_ANSWER);
            Ok::<_, bollard::errors::Error>((docker, version, info))
        };
        let (docker, version, info) = match tokio::time::timeout(FIRST_ANSWER, first).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => return Ok(Err(reason(&error))),
            Err(_) => return Ok(Err(format!("it does not answer in {} s", FIRST_ANSWER.as_secs()))),
        };
        let components = version.components.unwrap_or_default();
        let is_podman = components.iter().any(|component| component.name.starts_with("Podman"));
        let status = info.driver_status.unwrap_or_default();
        let is_containerd =
            status.iter().flatten().any(|word| word.starts_with("io.containerd.snapshotter."));
        let store = match (is_podman, is_containerd) {
            (true, _) => Store::Podman,
            (false, true) => Store::Containerd,
            (false, false) => Store::Classic,
        };
        let spoken = docker.client_version();
        let takes_zstd =
            store != Store::Classic || (spoken.major_version, spoken.minor_version) >= ZSTD_SINCE;
        Ok(Ok(Self { docker, host: host.to_owned(), store, takes_zstd }))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Engine({}, {:?})", self.host, self.store)
    }
}

/// The addresses to try, in order.
fn hosts(settings: &EngineSettings) -> Vec<String> {
    if let Some(host) = settings.host.as_ref().filter(|host| !host.is_empty()) {
        return vec![host.clone()];
    }
    let below = |path: &str| settings.runtime_directory.as_ref().map(|directory| directory.join(path));
    let sockets = [
        Some(DOCKER_SOCKET.into()),
        below("docker.sock"),
        below("podman/podman.sock"),
        Some(PathBuf::from(PODMAN_SOCKET)),
    ];
    sockets.into_iter().flatten().map(|path| format!("unix://{}", path.display())).collect()
}

fn client(host: &str) -> Result<Result<Docker, bollard::errors::Error>, EngineError> {
    let timeout = FIRST_ANSWER.as_secs();
    match host.split_once("://") {
        Some(("unix", _)) => Ok(Docker::connect_with_unix(host, timeout, API_DEFAULT_VERSION)),
        Some(("tcp" | "http", _)) => Ok(Docker::connect_with_http(host, timeout, API_DEFAULT_VERSION)),
        _ => Err(EngineError::Address { host: crate::redact::text(host) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_address_that_was_tried_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let host = format!("unix://{}/none.sock", directory.path().display());
        let settings = EngineSettings { host: Some(host.clone()), runtime_directory: None };
        let error = Engine::connect(&settings).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("no container engine answers (`{host}`: there is no such socket)")
        );
    }

    #[tokio::test]
    async fn other_addresses_are_refused() {
        let settings = EngineSettings { host: Some("ssh://me:pw@host".to_owned()), runtime_directory: None };
        let error = Engine::connect(&settings).await.unwrap_err();
        assert!(matches!(&error, EngineError::Address { host } if host == "ssh://***@host"), "{error:?}");
    }

    #[test]
    fn the_usual_sockets_are_tried_in_order() {
        let settings = EngineSettings { host: None, runtime_directory: Some("/run/user/7".into()) };
        let expected = [
            "unix:///var/run/docker.sock",
            "unix:///run/user/7/docker.sock",
            "unix:///run/user/7/podman/podman.sock",
            "unix:///run/podman/podman.sock",
        ];
        assert_eq!(hosts(&settings), expected);
    }
}
