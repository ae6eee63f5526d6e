//! Who we are: what the usual variables and files of each service say.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::error::RemoteError;
use super::location::Location;
use super::netrc;
use crate::env::Environment;
use crate::redact::Secret;

/// A key of S3.
pub(super) struct AwsKey {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) session: Option<Secret>,
}

/// The key of the variables, else of the profile in the credentials file.
pub(super) fn aws_key(environment: &Environment) -> Result<Option<AwsKey>, RemoteError> {
    let text = |name| environment.text(name).map(str::to_owned);
    if let (Some(id), Some(secret)) = (text("AWS_ACCESS_KEY_ID"), text("AWS_SECRET_ACCESS_KEY")) {
        let session = text("AWS_SESSION_TOKEN").map(Secret::new);
        return Ok(Some(AwsKey { id, secret: Secret::new(secret), session }));
    }
    let standard = || environment.path("HOME").map(|home| home.join(".aws/credentials"));
    let Some(path) = environment.path("AWS_SHARED_CREDENTIALS_FILE").or_else(standard) else {
        return Ok(None);
    };
    let profile = environment.text("AWS_PROFILE").unwrap_or("default");
    Ok(read_if_present(path)?.and_then(|file| aws_profile(&file, profile)))
}

fn aws_profile(file: &str, profile: &str) -> Option<AwsKey> {
    let mut is_meant = false;
    let (mut id, mut secret, mut session) = (None, None, None);
    for line in file.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_meant = name.trim() == profile;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| is_meant) {
            let value = value.trim().to_owned();
            match key.trim() {
                "aws_access_key_id" => id = Some(value),
                "aws_secret_access_key" => secret = Some(Secret::new(value)),
                "aws_session_token" => session = Some(Secret::new(value)),
                _ => {}
            }
        }
    }
    Some(AwsKey { id: id?, secret: secret?, session })
}

/// The account of Azure.
#[derive(Default)]
pub(super) struct AzureAccount {
    pub(super) name: Option<String>,
    pub(super) key: Option<Secret>,
    pub(super) signature: Option<Secret>,
    pub(super) endpoint: Option<String>,
}

/// The account of the connection string, else of the single variables.
pub(super) fn azure_account(environment: &Environment) -> AzureAccount {
    let first = |names: &[&str]| names.iter().find_map(|name| environment.text(name)).map(str::to_owned);
    let mut account = AzureAccount {
        name: first(&["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"]),
        key: first(&["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"]).map(Secret::new),
        signature: first(&["AZURE_STORAGE_SAS_TOKEN"]).map(Secret::new),
        endpoint: first(&["AZURE_STORAGE_ENDPOINT"]),
    };
    let connection = first(&["AZURE_STORAGE_CONNECTION_STRING"]).unwrap_or_default();
    let mut suffix = "core.windows.net".to_owned();
    for (key, value) in connection.split(';').filter_map(|part| part.split_once('=')) {
        let value = value.to_owned();
        match key.trim() {
            "AccountName" => account.name = Some(value),
            "AccountKey" => account.key = Some(Secret::new(value)),
            "SharedAccessSignature" => account.signature = Some(Secret::new(value)),
            "BlobEndpoint" => account.endpoint = Some(value),
            "EndpointSuffix" => suffix = value,
            _ => {}
        }
    }
    if account.endpoint.is_none() {
        account.endpoint = account.name.as_ref().map(|name| format!("https://{name}.blob.{suffix}"));
    }
    account
}

impl AzureAccount {
    /// The account of a place: its own where its URL names one, `abfs://CONTAINER@ACCOUNT.dfs.…/…`. Credentials that the
    /// environment gives for another account stay here.
    pub(super) fn for_place(self, location: &Location) -> Self {
        if location.user.is_none() {
            return self;
        }
        let name = location.host.split('.').next().map(str::to_owned);
        let endpoint = Some(format!("https://{}", location.authority().replacen(".dfs.", ".blob.", 1)));
        if self.name.is_some() && self.name != name {
            return Self { name, endpoint, ..Self::default() };
        }
        Self { name, endpoint, ..self }
    }
}

/// User and password of a host: those of the URL, else those of the netrc file.
pub(super) fn of_host(
    location: &Location,
    environment: &Environment,
) -> Result<Option<(String, Secret)>, RemoteError> {
    if let Some(user) = &location.user {
        let password = location.password.clone().unwrap_or_else(|| Secret::new(""));
        return Ok(Some((user.clone(), password)));
    }
    let standard = || environment.path("HOME").map(|home| home.join(".netrc"));
    let Some(path) = environment.path("NETRC").or_else(standard) else { return Ok(None) };
    Ok(read_if_present(path)?.and_then(|file| netrc::find(&file, &location.host)))
}

/// The file with Google's credentials.
pub(super) fn google_file(environment: &Environment) -> Option<PathBuf> {
    let well_known = || {
        let home = environment.path("HOME")?;
        Some(home.join(".config/gcloud/application_default_credentials.json")).filter(|path| path.is_file())
    };
    environment.path("GOOGLE_APPLICATION_CREDENTIALS").or_else(well_known)
}

fn read_if_present(path: PathBuf) -> Result<Option<String>, RemoteError> {
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(RemoteError::CredentialsFile { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().copied().collect()
    }

    #[test]
    fn keys_come_from_variables_before_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        let file = "[default]\naws_access_key_id = one\naws_secret_access_key=a\n[other]\naws_access_key_id=two\n\
                    aws_secret_access_key = b=c\naws_session_token = t\n[half]\naws_access_key_id=three\n";
        fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap();
        let key = |pairs: &[(&str, &str)]| {
            let pairs = [&[("AWS_SHARED_CREDENTIALS_FILE", path)], pairs].concat();
            let key = aws_key(&environment(&pairs)).unwrap()?;
            Some(format!("{} {} {}", key.id, key.secret.expose(), key.session.is_some()))
        };
        assert_eq!(key(&[]).as_deref(), Some("one a false"));
        assert_eq!(key(&[("AWS_PROFILE", "other")]).as_deref(), Some("two b=c true"));
        assert_eq!(key(&[("AWS_PROFILE", "half")]), None);
        let pairs = [("AWS_ACCESS_KEY_ID", "v"), ("AWS_SECRET_ACCESS_KEY", "s")];
        assert_eq!(key(&pairs).as_deref(), Some("v s false"));
        assert!(aws_key(&environment(&[("HOME", "/nowhere")])).unwrap().is_none());
    }

    #[test]
    fn connection_strings_are_read() {
        let text =
            "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=a2V5==;EndpointSuffix=core.example";
        let account = azure_account(&environment(&[("AZURE_STORAGE_CONNECTION_STRING", text)]));
        assert_eq!(account.endpoint.as_deref(), Some("https://me.blob.core.example"));
        assert_eq!(account.key.as_ref().map(Secret::expose), Some("a2V5=="));
        let account = azure_account(&environment(&[("AZURE_STORAGE_ACCOUNT", "you")]));
        assert_eq!(account.endpoint.as_deref(), Some("https://you.blob.core.windows.net"));
        assert!(account.key.is_none());
    }

    #[test]
    fn an_account_in_the_url_gets_no_credentials_of_another() {
        let account = |pairs: &[(&str, &str)], url: &str| {
            let location = Location::parse(url).expect("a URL").unwrap();
            let account = azure_account(&environment(pairs)).for_place(&location);
            let key = account.key.is_some() || account.signature.is_some();
            (account.name.unwrap_or_default(), account.endpoint.unwrap_or_default(), key)
        };
        let mine = ("mine".to_owned(), "https://mine.blob.core.windows.net".to_owned(), true);
        let pairs = [("AZURE_STORAGE_ACCOUNT", "mine"), ("AZURE_STORAGE_SAS_TOKEN", "?sig=s")];
        assert_eq!(account(&pairs, "az://box/a"), mine);
        assert_eq!(account(&pairs, "abfs://box@mine.dfs.core.windows.net/a"), mine);
        assert_eq!(account(&pairs, "az://mine.blob.core.windows.net/box/a"), mine);
        // A key alone is for whatever the URL names.
        assert_eq!(account(&[("AZURE_STORAGE_KEY", "k")], "abfss://box@mine.dfs.core.windows.net/a"), mine);
        let theirs = ("theirs".to_owned(), "https://theirs.blob.example:8443".to_owned(), false);
        assert_eq!(account(&pairs, "abfs://box@theirs.dfs.example:8443/a"), theirs);
    }
}
