//! Where credentials come from: the files and helpers of Docker and Podman.
//!
//! The first place that knows the registry decides: `DOCKER_AUTH_CONFIG`, `REGISTRY_AUTH_FILE`, Docker's
//! `config.json`, Podman's `auth.json`. In each, a helper for the registry goes before the helper for all, and both
//! before what is written in the file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::credential_helper;
use super::error::RegistryError;
use crate::oci::reference::DEFAULT_REGISTRY;
use crate::redact::Secret;

/// The name under which Docker stores credentials for Docker Hub.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// Where to look, as found in the environment by the caller.
#[derive(Clone, Debug, Default)]
pub struct KeychainSettings {
    /// `DOCKER_AUTH_CONFIG`: the text of a configuration document, as GitLab passes it.
    pub docker_auth_config: Option<Secret>,
    /// `REGISTRY_AUTH_FILE`.
    pub registry_auth_file: Option<PathBuf>,
    /// `DOCKER_CONFIG`: the directory of `config.json`; `.docker` in the home directory by default.
    pub docker_config: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`: Podman keeps `containers/auth.json` there.
    pub runtime_directory: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// Directories in which helpers are looked for; by default those of this process.
    pub search_path: Option<OsString>,
}

/// Proof of who asks.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    /// User and password.
    Password { user: String, password: Secret },
    /// A long-lived token that the token service exchanges for short-lived ones.
    IdentityToken(Secret),
    /// A token for the registry itself.
    RegistryToken(Secret),
}

/// Which credentials were used, to say so in errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsOrigin {
    /// There are none.
    None {
        /// The registry, as `docker login` takes it.
        registry: String,
        /// Helpers that are configured and not installed.
        missing_helpers: Vec<String>,
    },
    /// From a file or variable.
    Document {
        /// The file or variable.
        place: String,
        /// The user; absent with a token.
        user: Option<String>,
    },
    /// From a helper program.
    Helper {
        /// The program.
        helper: String,
        /// The user; absent with a token.
        user: Option<String>,
    },
}

/// The answer of the keychain.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) credentials: Option<Credentials>,
    pub(super) origin: CredentialsOrigin,
}

/// Knows the credentials of all registries.
#[derive(Debug)]
pub(super) struct Keychain {
    settings: KeychainSettings,
}

#[derive(Default, Deserialize)]
struct Document {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Keychain {
    pub(super) fn new(settings: KeychainSettings) -> Self {
        Self { settings }
    }

    /// Looks for the credentials of a repository.
    pub(super) async fn find(&self, registry: &str, repository: &str) -> Result<Found, RegistryError> {
        let mut missing_helpers = Vec::new();
        for (place, document) in self.documents()? {
            for helper in document.helpers_for(registry) {
                let server = server_name(registry);
                match credential_helper::get(&helper, &server, self.settings.search_path.as_deref()).await? {
                    credential_helper::Answer::Credentials(credentials) => {
                        let origin = CredentialsOrigin::Helper { helper, user: credentials.user() };
                        return Ok(Found { credentials: Some(credentials), origin });
                    }
                    credential_helper::Answer::Unknown => {}
                    credential_helper::Answer::NotInstalled => missing_helpers.push(helper),
                }
            }
            if let Some(credentials) = document.written_for(registry, repository, &place)? {
                let origin = CredentialsOrigin::Document { place, user: credentials.user() };
                return Ok(Found { credentials: Some(credentials), origin });
            }
        }
        let origin = CredentialsOrigin::None { registry: registry.to_owned(), missing_helpers };
        Ok(Found { credentials: None, origin })
    }

    fn documents(&self) -> Result<Vec<(String, Document)>, RegistryError> {
        let mut documents = Vec::new();
        if let Some(text) = &self.settings.docker_auth_config {
            let place = "`DOCKER_AUTH_CONFIG`".to_owned();
            documents.push((place.clone(), parse(text.expose().as_bytes(), &place)?));
        }
        for path in self.files() {
            match std::fs::read(&path) {
                Ok(text) => {
                    let place = format!("`{}`", path.display());
                    documents.push((place.clone(), parse(&text, &place)?));
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(source) => return Err(RegistryError::CredentialsFile { path, source }),
            }
        }
        Ok(documents)
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let settings = &self.settings;
        let home = |path: &str| settings.home.as_ref().map(|home| home.join(path));
        let docker = settings.docker_config.clone().or_else(|| home(".docker"));
        let runtime = settings.runtime_directory.as_ref();
        [
            settings.registry_auth_file.clone(),
            docker.map(|directory| directory.join("config.json")),
            runtime.map(|directory| directory.join("containers/auth.json")),
            home(".config/containers/auth.json"),
        ]
        .into_iter()
        .flatten()
    }
}

impl Document {
    /// Programs that may know the registry, the most specific first.
    fn helpers_for(&self, registry: &str) -> Vec<String> {
        let own = self.helpers.iter().find(|(key, _)| normalised(key) == registry).map(|(_, helper)| helper);
        own.into_iter().chain(&self.store).map(|name| format!("docker-credential-{name}")).collect()
    }

    /// The credentials in the document for the longest prefix of the repository's name.
    fn written_for(
        &self,
        registry: &str,
        repository: &str,
        place: &str,
    ) -> Result<Option<Credentials>, RegistryError> {
        let mut name = format!("{registry}/{repository}");
        loop {
            for (_, entry) in self.auths.iter().filter(|(key, _)| normalised(key) == name) {
                let found = entry
                    .credentials()
                    .map_err(|source| RegistryError::CredentialsSyntax { place: place.to_owned(), source })?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            match name.rfind('/') {
                Some(slash) => name.truncate(slash),
                None => return Ok(None),
            }
        }
    }
}

impl AuthEntry {
    /// What the entry has; the empty entries that helpers leave behind have nothing.
    fn credentials(&self) -> io::Result<Option<Credentials>> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.registrytoken) {
            return Ok(Some(Credentials::RegistryToken(Secret::new(token))));
        }
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credentials::IdentityToken(Secret::new(token))));
        }
        if let Some(auth) = filled(&self.auth) {
            let malformed =
                || io::Error::new(io::ErrorKind::InvalidData, "`auth` is not base64 of `user:password`");
            let decoded = STANDARD.decode(auth.trim()).map_err(|_| malformed())?;
            let text = String::from_utf8(decoded).map_err(|_| malformed())?;
            let (user, password) = text.split_once(':').ok_or_else(malformed)?;
            let password = Secret::new(password.trim_end_matches('\0'));
            return Ok(Some(Credentials::Password { user: user.to_owned(), password }));
        }
        let both = filled(&self.username).zip(filled(&self.password));
        Ok(both.map(|(user, password)| Credentials::Password { user, password: Secret::new(password) }))
    }
}

impl Credentials {
    fn user(&self) -> Option<String> {
        match self {
            Self::Password { user, .. } => Some(user.clone()),
            _ => None,
        }
    }
}

impl fmt::Display for CredentialsOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |formatter: &mut fmt::Formatter<'_>, user: &Option<String>| match user {
            Some(user) => write!(formatter, "to user `{user}`, "),
            None => formatter.write_str("to the holder of the token, "),
        };
        match self {
            Self::None { registry, missing_helpers } => {
                write!(formatter, "without credentials (`docker login {registry}` stores some")?;
                for helper in missing_helpers {
                    write!(formatter, "; the configured helper `{helper}` is not installed")?;
                }
                formatter.write_str(")")
            }
            Self::Document { place, user } => {
                named(formatter, user)?;
                write!(formatter, "whose credentials are from {place}")
            }
            Self::Helper { helper, user } => {
                named(formatter, user)?;
                write!(formatter, "whose credentials are from `{helper}`")
            }
        }
    }
}

/// The name by which a helper knows a registry.
fn server_name(registry: &str) -> String {
    if registry == DEFAULT_REGISTRY { DOCKER_HUB_SERVER.to_owned() } else { registry.to_owned() }
}

/// The registry, and the path where there is one, that a key of `auths` or `credHelpers` means.
fn normalised(key: &str) -> String {
    let name = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let name = name.strip_suffix("/v1").or_else(|| name.strip_suffix("/v2")).unwrap_or(name);
    match name.split_once('/') {
        _ if matches!(name, "index.docker.io" | "registry-1.docker.io") => DEFAULT_REGISTRY.to_owned(),
        _ => name.to_owned(),
    }
}

fn parse(text: &[u8], place: &str) -> Result<Document, RegistryError> {
    // The parser's own message may quote the document, which is full of secrets.
    let explain = |error: serde_json::Error| RegistryError::CredentialsSyntax {
        place: place.to_owned(),
        source: io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is not the JSON it should be at line {}, column {}", error.line(), error.column()),
        ),
    };
    serde_json::from_slice(text).map_err(explain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keychain(text: &str) -> Keychain {
        let docker_auth_config = Some(Secret::new(text));
        Keychain::new(KeychainSettings { docker_auth_config, ..KeychainSettings::default() })
    }

    async fn user(keychain: &Keychain, registry: &str, repository: &str) -> String {
        match keychain.find(registry, repository).await.unwrap().credentials {
            Some(Credentials::Password { user, password }) => format!("{user}:{}", password.expose()),
            Some(Credentials::IdentityToken(token)) => format!("identity {}", token.expose()),
            Some(Credentials::RegistryToken(token)) => format!("registry {}", token.expose()),
            None => String::new(),
        }
    }

    #[tokio::test]
    async fn the_longest_prefix_wins() {
        let keychain = keychain(
            r#"{"auths": {"reg.example:5000": {"username": "host", "password": "1"},
                "reg.example:5000/team": {"username": "team", "password": "2"},
                "https://reg.example:5000/team/app": {"auth": "YXBwOjM6Mw=="},
                "https://index.docker.io/v1/": {"identitytoken": "t"},
                "other.example": {}, "third.example": {"registrytoken": "r"}}}"#,
        );
        for (registry, repository, expected) in [
            ("reg.example:5000", "x", "host:1"),
            ("reg.example:5000", "team/other", "team:2"),
            ("reg.example:5000", "team/app", "app:3:3"),
            ("docker.io", "library/python", "identity t"),
            ("other.example", "x", ""),
            ("third.example", "x", "registry r"),
            ("reg.example", "x", ""),
        ] {
            assert_eq!(user(&keychain, registry, repository).await, expected, "{registry}/{repository}");
        }
    }

    #[tokio::test]
    async fn files_are_asked_in_order() {
        let home = tempfile::tempdir().unwrap();
        let write = |path: &str, user: &str| {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(
                &path,
                format!(r#"{{"auths": {{"r.example": {{"username": "{user}", "password": "p"}}}}}}"#),
            )
            .unwrap();
            path
        };
        let mut settings =
            KeychainSettings { home: Some(home.path().to_owned()), ..KeychainSettings::default() };
        let find = async |settings: &KeychainSettings| {
            user(&Keychain::new(settings.clone()), "r.example", "a").await
        };
        assert_eq!(find(&settings).await, "");
        write(".config/containers/auth.json", "podman");
        assert_eq!(find(&settings).await, "podman:p");
        write("run/containers/auth.json", "runtime");
        settings.runtime_directory = Some(home.path().join("run"));
        assert_eq!(find(&settings).await, "runtime:p");
        write(".docker/config.json", "docker");
        assert_eq!(find(&settings).await, "docker:p");
        settings.registry_auth_file = Some(write("auth.json", "file"));
        assert_eq!(find(&settings).await, "file:p");
    }

    #[tokio::test]
    async fn a_bad_document_is_named_and_not_quoted() {
        for text in [
            "{",
            r#"{"auths": {"r.example": "hunter2"}}"#,
            r#"{"auths": {"r.example": {"auth": "hunter2"}}}"#,
        ] {
            let error = keychain(text).find("r.example", "a").await.unwrap_err();
            assert_eq!(error.to_string(), "cannot understand the credentials in `DOCKER_AUTH_CONFIG`");
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(!cause.contains("hunter2"), "{cause}");
        }
    }
}
