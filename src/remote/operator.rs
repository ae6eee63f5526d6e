//! From a location and an environment to the library's handle of a service.

use opendal::layers::RetryLayer;
use opendal::services::{Azblob, Dropbox, Ftp, Gcs, S3, Sftp};
use opendal::{Builder, HttpTransporter, OperationContext, Operator};

use super::Remotes;
use super::credentials::{self, AwsKey};
use super::error::RemoteError;
use super::fetch::Fetch;
use super::location::{Location, Scheme};
use crate::http;

/// Where S3 is when nothing says so, as for the tools of AWS.
const DEFAULT_REGION: &str = "us-east-1";
/// How often what may pass is tried again.
const RETRIES: usize = 4;
/// Who logs in to FTP without a name, by RFC 1635.
const ANONYMOUS: (&str, &str) = ("anonymous", "anonymous@");

impl Remotes {
    /// The service of a location that is not HTTP.
    pub(super) fn operator(&self, location: &Location) -> Result<Operator, RemoteError> {
        let operator = match location.scheme {
            Scheme::S3 => build(location, self.s3(location)?)?,
            Scheme::Gcs => build(location, self.gcs(location))?,
            Scheme::Azblob => build(location, self.azblob(location)?)?,
            Scheme::Ftp | Scheme::Ftps => build(location, self.ftp(location)?)?,
            Scheme::Sftp => build(location, self.sftp(location)?)?,
            Scheme::Dropbox => build(location, self.dropbox(location)?)?,
            Scheme::Http | Scheme::Https => return Err(location.malformed("is not a place of this service")),
        };
        let dropbox = self.environment.text("DROPBOX_API_URL").and_then(|url| url.parse().ok());
        let fetch = Fetch { client: self.client()?, dropbox };
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(fetch));
        Ok(operator.with_context(context).layer(RetryLayer::new().with_max_times(RETRIES).with_jitter()))
    }

    fn s3(&self, location: &Location) -> Result<S3, RemoteError> {
        let first = |names: &[&str]| names.iter().find_map(|name| self.environment.text(name));
        let region = first(&["AWS_REGION", "AWS_DEFAULT_REGION"]).unwrap_or(DEFAULT_REGION);
        let mut builder = S3::default().bucket(&location.host).region(region);
        builder = builder.disable_config_load().disable_ec2_metadata();
        if let Some(endpoint) = first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]) {
            builder = builder.endpoint(endpoint);
        }
        Ok(match credentials::aws_key(&self.environment)? {
            Some(AwsKey { id, secret, session }) => {
                let builder = builder.access_key_id(&id).secret_access_key(secret.expose());
                match session {
                    Some(session) => builder.session_token(session.expose()),
                    None => builder,
                }
            }
            None => builder.skip_signature(),
        })
    }

    fn gcs(&self, location: &Location) -> Gcs {
        let builder = Gcs::default().bucket(&location.host).disable_config_load().disable_vm_metadata();
        if let Some(emulator) = self.environment.text("STORAGE_EMULATOR_HOST") {
            let endpoint =
                if emulator.contains("://") { emulator.to_owned() } else { format!("http://{emulator}") };
            return builder.endpoint(endpoint.trim_end_matches('/')).skip_signature();
        }
        if let Some(token) = self.environment.text("GOOGLE_OAUTH_ACCESS_TOKEN") {
            return builder.token(token.to_owned());
        }
        match credentials::google_file(&self.environment) {
            Some(path) => builder.credential_path(&path.to_string_lossy()),
            None => builder.skip_signature(),
        }
    }

    fn azblob(&self, location: &Location) -> Result<Azblob, RemoteError> {
        let account = credentials::azure_account(&self.environment).for_place(location);
        let endpoint = account.endpoint.ok_or_else(|| RemoteError::Credentials {
            url: location.to_string(),
            wanted: "`AZURE_STORAGE_CONNECTION_STRING`, or `AZURE_STORAGE_ACCOUNT` and `AZURE_STORAGE_KEY`",
        })?;
        let mut builder =
            Azblob::default().container(location.bucket()).endpoint(endpoint.trim_end_matches('/'));
        if let Some(name) = &account.name {
            builder = builder.account_name(name);
        }
        Ok(match (&account.key, &account.signature) {
            (Some(key), _) => builder.account_key(key.expose()),
            (None, Some(signature)) => builder.sas_token(signature.expose().trim_start_matches('?')),
            (None, None) => builder.skip_signature(),
        })
    }

    fn ftp(&self, location: &Location) -> Result<Ftp, RemoteError> {
        let scheme = if location.scheme == Scheme::Ftps { "ftps" } else { "ftp" };
        if location.scheme == Scheme::Ftps {
            // The library makes its connections itself, and does not survive a certificate that it cannot read.
            http::check_system_roots()?;
        }
        let builder = Ftp::default().endpoint(&format!("{scheme}://{}", location.authority())).root("/");
        Ok(match credentials::of_host(location, &self.environment)? {
            Some((user, password)) => builder.user(&user).password(password.expose()),
            None => builder.user(ANONYMOUS.0).password(ANONYMOUS.1),
        })
    }

    /// What `ssh` knows of the host holds here, too: its configuration, its agent, its known hosts.
    fn sftp(&self, location: &Location) -> Result<Sftp, RemoteError> {
        if location.password.is_some() {
            return Err(location.malformed("has a password, which `ssh` takes from nobody: use a key"));
        }
        let path = self.environment.path("PATH").unwrap_or_default();
        let has_ssh =
            path.to_string_lossy().split(':').any(|place| std::path::Path::new(place).join("ssh").is_file());
        if !has_ssh {
            return Err(RemoteError::NoSsh { url: location.to_string() });
        }
        let mut builder = Sftp::default().endpoint(&format!("ssh://{}", location.authority())).root("/");
        if let Some(user) = &location.user {
            builder = builder.user(user);
        }
        if let Some(key) = self.environment.text("EKIBEN_SSH_KEY") {
            builder = builder.key(key);
        }
        Ok(builder)
    }

    fn dropbox(&self, location: &Location) -> Result<Dropbox, RemoteError> {
        let text = |name| self.environment.text(name);
        let builder = Dropbox::default();
        if let Some(token) = text("DROPBOX_ACCESS_TOKEN").or_else(|| text("DROPBOX_TOKEN")) {
            return Ok(builder.access_token(token));
        }
        match (text("DROPBOX_REFRESH_TOKEN"), text("DROPBOX_APP_KEY"), text("DROPBOX_APP_SECRET")) {
            (Some(token), Some(key), Some(secret)) => {
                Ok(builder.refresh_token(token).client_id(key).client_secret(secret))
            }
            _ => Err(RemoteError::Credentials {
                url: location.to_string(),
                wanted: "`DROPBOX_ACCESS_TOKEN`, or `DROPBOX_REFRESH_TOKEN`, `DROPBOX_APP_KEY` and `DROPBOX_APP_SECRET`",
            }),
        }
    }
}

fn build(location: &Location, builder: impl Builder) -> Result<Operator, RemoteError> {
    Operator::new(builder).map_err(|error| RemoteError::of_service(location.to_string(), "reach", &error))
}
