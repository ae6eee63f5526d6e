//! What a URL says.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::error::RemoteError;
use crate::redact::{self, Secret};

/// The schemes, as they are written.
pub const SCHEMES: [(&str, Scheme); 17] = [
    ("s3", Scheme::S3),
    ("s3a", Scheme::S3),
    ("gs", Scheme::Gcs),
    ("gcs", Scheme::Gcs),
    ("az", Scheme::Azblob),
    ("abfs", Scheme::Azblob),
    ("abfss", Scheme::Azblob),
    ("azblob", Scheme::Azblob),
    ("ftp", Scheme::Ftp),
    ("ftps", Scheme::Ftps),
    ("sftp", Scheme::Sftp),
    ("ssh", Scheme::Sftp),
    ("http", Scheme::Http),
    ("https", Scheme::Https),
    ("webdav", Scheme::Http),
    ("webdavs", Scheme::Https),
    ("dropbox", Scheme::Dropbox),
];

/// How a place is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// S3 and what is compatible with it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azblob,
    /// FTP.
    Ftp,
    /// FTP with TLS.
    Ftps,
    /// SFTP.
    Sftp,
    /// HTTP, WebDAV included.
    Http,
    /// HTTP with TLS, WebDAV included.
    Https,
    /// Dropbox.
    Dropbox,
}

/// A place on another machine. Displayed without its password.
#[derive(Clone)]
pub struct Location {
    pub(super) scheme: Scheme,
    /// As written, for what is shown.
    prefix: String,
    /// The host, the bucket or the container.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// The user; of Azure, the container where the host is the account.
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    /// Below the host, without the first slash.
    path: String,
    /// Of HTTP.
    query: Option<String>,
}

impl Location {
    /// Reads `SCHEME://[USER[:PASSWORD]@]HOST[:PORT]/PATH`; `None` for what is no URL.
    pub fn parse(typed: &str) -> Option<Result<Self, RemoteError>> {
        let (prefix, rest) = typed.split_once("://")?;
        let lower = prefix.to_ascii_lowercase();
        Some(match SCHEMES.iter().find(|(name, _)| *name == lower) {
            Some((_, scheme)) => Self::of_parts(*scheme, &lower, rest),
            None => Err(RemoteError::Scheme { scheme: redact::text(prefix) }),
        })
    }

    fn of_parts(scheme: Scheme, prefix: &str, rest: &str) -> Result<Self, RemoteError> {
        let is_web = matches!(scheme, Scheme::Http | Scheme::Https);
        let (rest, query) = match rest.split_once('?').filter(|_| is_web) {
            Some((rest, query)) => (rest, Some(query.to_owned())),
            None => (rest, None),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user_info, host) = match authority.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info), host),
            None => (None, authority),
        };
        let (user, password) = match user_info.map(|info| info.split_once(':').unwrap_or((info, ""))) {
            Some((user, password)) => (decoded(user), decoded(password).map(Secret::new)),
            None => (None, None),
        };
        let (host, port) = split_port(host);
        let (user, path) = match (scheme, user) {
            // Container names have no dots: this is the host of an account, and the container comes behind it.
            (Scheme::Azblob, None) if host.contains('.') => {
                let (container, path) = path.split_once('/').unwrap_or((path, ""));
                (decoded(container), path)
            }
            (_, user) => (user, path),
        };
        let mut location = Self {
            scheme,
            prefix: prefix.to_owned(),
            host: host.to_owned(),
            port: None,
            user,
            password,
            path: path.to_owned(),
            query,
        };
        location.check_texts()?;
        if let Some(port) = port {
            location.port = Some(port.parse().map_err(|_| location.malformed("has a port that is none"))?);
        }
        if scheme == Scheme::Dropbox {
            // There is no host: all of it is the path.
            rest.clone_into(&mut location.path);
            location.host.clear();
        } else if location.host.is_empty() {
            return Err(location.malformed("names no host or bucket"));
        }
        if scheme == Scheme::Azblob && location.user.is_none() && location.host.contains('.') {
            return Err(location.malformed("names an account, but no container"));
        }
        if is_web && location.web_url().is_none() {
            return Err(location.malformed("is not a URL"));
        }
        Ok(location)
    }

    /// Refuses what would be more than a name to those who are told it: lines to FTP, options to `ssh`.
    fn check_texts(&self) -> Result<(), RemoteError> {
        let password = self.password.as_ref().map(Secret::expose);
        let texts = [Some(self.host.as_str()), self.user.as_deref(), password, Some(self.path.as_str())];
        if texts.into_iter().flatten().any(|text| text.contains(char::is_control)) {
            return Err(self.malformed("has a character that no name has"));
        }
        let is_option = |text: &str| text.starts_with('-');
        if self.scheme == Scheme::Sftp
            && (is_option(&self.host) || self.user.as_deref().is_some_and(is_option))
        {
            return Err(self.malformed("has a host or user that begins with `-`"));
        }
        Ok(())
    }

    /// The bucket, or of Azure the container.
    pub(super) fn bucket(&self) -> &str {
        match (&self.user, self.scheme) {
            (Some(container), Scheme::Azblob) => container,
            _ => &self.host,
        }
    }

    /// The path below the host or bucket.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same place with another path.
    #[must_use]
    pub fn with_path(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// The path as the original tool tells it: with the bucket, without the scheme.
    pub fn shown_path(&self) -> String {
        match self.scheme {
            Scheme::S3 | Scheme::Gcs | Scheme::Azblob => format!("{}/{}", self.bucket(), self.path),
            Scheme::Ftp | Scheme::Ftps | Scheme::Sftp | Scheme::Dropbox => format!("/{}", self.path),
            Scheme::Http | Scheme::Https => self.to_string(),
        }
    }

    /// The URL of HTTP, without user and password.
    pub(super) fn web_url(&self) -> Option<Url> {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{}/{}{query}", self.authority(), self.path).parse().ok()
    }

    /// Host and port.
    pub(super) fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }

    pub(super) fn malformed(&self, what: &'static str) -> RemoteError {
        RemoteError::Malformed { url: self.to_string(), what }
    }
}

fn decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    (!decoded.is_empty()).then(|| decoded.into_owned())
}

/// A colon in brackets belongs to an address.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A password can stand in place of the user, and signatures in the query.
        let user = match (&self.user, self.scheme) {
            (Some(container), Scheme::Azblob) => format!("{container}@"),
            (Some(_), _) => format!("{}@", redact::MASK),
            (None, _) => String::new(),
        };
        let query = if self.query.is_some() { format!("?{}", redact::MASK) } else { String::new() };
        let slash = if self.scheme == Scheme::Dropbox { "" } else { "/" };
        write!(f, "{}://{user}{}{slash}{}{query}", self.prefix, self.authority(), self.path)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port, &self.user, &self.password, &self.path, &self.query)
            == (
                other.scheme,
                &other.host,
                other.port,
                &other.user,
                &other.password,
                &other.path,
                &other.query,
            )
    }
}

impl Eq for Location {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn location(typed: &str) -> Location {
        Location::parse(typed).expect("a URL").unwrap()
    }

    #[test]
    fn urls_are_read_as_people_write_them() {
        let s3 = location("s3://bucket/a/b c#d?e.tar");
        assert_eq!((s3.scheme, s3.host.as_str(), s3.path()), (Scheme::S3, "bucket", "a/b c#d?e.tar"));
        assert_eq!(s3.shown_path(), "bucket/a/b c#d?e.tar");
        let ftp = location("ftp://me:p%40ss@host:2121/dir/");
        assert_eq!((ftp.user.as_deref(), ftp.port, ftp.path()), (Some("me"), Some(2121), "dir/"));
        assert_eq!(ftp.password.as_ref().map(Secret::expose), Some("p@ss"));
        assert_eq!(ftp.shown_path(), "/dir/");
        assert_eq!(location("dropbox://models/x.tar").path(), "models/x.tar");
        let web = location("webdavs://host/a?b=c");
        assert_eq!(web.web_url().unwrap().as_str(), "https://host/a?b=c");
        assert_eq!(location("http://[::1]:80/x").web_url().unwrap().as_str(), "http://[::1]/x");
        assert_eq!(location("gs://b").path(), "");
    }

    #[test]
    fn azure_has_containers_with_and_without_their_account() {
        for (typed, host, container, path, shown) in [
            ("az://box/a/b.tar", "box", "box", "a/b.tar", "box/a/b.tar"),
            ("azblob://box/", "box", "box", "", "box/"),
            ("abfs://box@acc.dfs.core.windows.net/a/b", "acc.dfs.core.windows.net", "box", "a/b", "box/a/b"),
            ("abfss://box@acc.dfs.core.windows.net", "acc.dfs.core.windows.net", "box", "", "box/"),
            ("az://acc.blob.core.windows.net/box/a/b", "acc.blob.core.windows.net", "box", "a/b", "box/a/b"),
        ] {
            let azure = location(typed);
            assert_eq!(
                (azure.host.as_str(), azure.bucket(), azure.path()),
                (host, container, path),
                "{typed}"
            );
            assert_eq!(azure.shown_path(), shown, "{typed}");
        }
        let error = Location::parse("az://acc.blob.core.windows.net/").expect("a URL").unwrap_err();
        assert!(error.to_string().ends_with("names an account, but no container"), "{error}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(Location::parse("a/b").is_none());
        for (typed, message) in [
            ("gopher://h/x", "Unknown or unsupported protocol gopher."),
            ("s3:///key", "`s3:///key` names no host or bucket"),
            ("ftp://h:port/x", "`ftp://h/x` has a port that is none"),
            ("http://h h/x", "`http://h h/x` is not a URL"),
            ("sftp://-oProxyCommand=id/x", "`sftp://-oProxyCommand=id/x` has a host or user that begins"),
            ("sftp://-oProxyCommand=id@h/x", "`sftp://***@h/x` has a host or user that begins"),
            ("ftp://h/a\r\nDELE b", "`ftp://h/a\r\nDELE b` has a character that no name has"),
            ("ftp://me%0d%0aQUIT:x@h/a", "`ftp://***@h/a` has a character that no name has"),
        ] {
            let error = Location::parse(typed).expect("a URL").unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_shown(secret in "[A-Za-z0-9]{8,20}", scheme in 0_usize..17) {
            let secret = format!("Zq{secret}");
            let name = SCHEMES[scheme].0;
            if SCHEMES[scheme].1 == Scheme::Dropbox {
                return Ok(());
            }
            let with_password = location(&format!("{name}://user:{secret}@host/path"));
            let shown = format!("{with_password} {with_password:?} {}", with_password.shown_path());
            prop_assert!(!shown.contains(&secret));
            if matches!(SCHEMES[scheme].1, Scheme::Http | Scheme::Https) {
                let signed = location(&format!("{name}://host/path?sig={secret}"));
                let shown = format!("{signed} {signed:?} {}", signed.shown_path());
                prop_assert!(!shown.contains(&secret));
            }
        }

        #[test]
        fn any_text_is_taken(typed in "\\PC{0,10}(://)?\\PC{0,30}") {
            if let Some(Ok(location)) = Location::parse(&typed) {
                let other = location.with_path("x");
                prop_assert_eq!(other.path(), "x");
            }
        }
    }
}
