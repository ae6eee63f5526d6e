//! Manifests: reading by tag or digest, and writing (distribution-spec, Pulling and Pushing Manifests).

use bytes::Bytes;
use serde::Deserialize;

use super::backoff::Attempts;
use super::error::RegistryError;
use super::repository::Repository;
use super::scopes::Scopes;
use crate::http::{Body, Method, Request, StatusCode, header};
use crate::oci::digest::Digest;

/// Size up to which registries must take manifests (distribution-spec, Pushing Manifests); none larger is read.
const MAX_MANIFEST: u64 = 4 * 1024 * 1024;
/// Names the digest of the manifest that an answer is about.
const DIGEST_HEADER: &str = "docker-content-digest";
/// The kinds of manifests that are understood.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest or an index, its digest checked.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Digest of the bytes.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// As the registry has them.
    pub bytes: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// A manifest whose media type is read from the document, or told from its members (image-spec, manifest.md).
    pub fn from_bytes(bytes: Bytes) -> Result<Self, serde_json::Error> {
        let kind: Kind = serde_json::from_slice(&bytes)?;
        let media_type = kind.media_type.unwrap_or_else(|| {
            let guess = match (kind.manifests, kind.layers) {
                (Some(_), None) => "application/vnd.oci.image.index.v1+json",
                (None, Some(_)) => "application/vnd.oci.image.manifest.v1+json",
                _ => "application/json",
            };
            guess.to_owned()
        });
        Ok(Self { digest: Digest::of(&bytes), media_type, bytes })
    }

    /// Whether this is a list of manifests.
    pub fn is_index(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            "application/vnd.oci.image.index.v1+json"
                | "application/vnd.docker.distribution.manifest.list.v2+json"
        )
    }

    /// Whether this is the manifest of an image.
    pub fn is_image(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            "application/vnd.oci.image.manifest.v1+json"
                | "application/vnd.docker.distribution.manifest.v2+json"
        )
    }
}

impl Repository {
    /// The digest of what a tag or digest names, if the registry has it and says so. Costs no pull.
    pub async fn manifest_digest(&self, reference: &str) -> Result<Option<Digest>, RegistryError> {
        let url = self.url(&format!("manifests/{reference}"))?;
        let make = || Request::new(Method::HEAD, url.clone()).header(header::ACCEPT, ACCEPT);
        let response = self.endpoint.call_again(&self.name, &self.scopes, make).await?;
        let digest = response.header(DIGEST_HEADER).and_then(|text| text.parse().ok());
        Ok(digest.filter(|_| response.status() == StatusCode::OK))
    }

    /// Reads what a tag or digest names, and checks its digest.
    pub async fn manifest(&self, reference: &str) -> Result<Manifest, RegistryError> {
        let mut attempts = Attempts::new(self.endpoint.backoff());
        loop {
            match self.try_manifest(reference).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    async fn try_manifest(&self, reference: &str) -> Result<Manifest, RegistryError> {
        let url = self.url(&format!("manifests/{reference}"))?;
        let make = || Request::new(Method::GET, url.clone()).header(header::ACCEPT, ACCEPT);
        let response = self.endpoint.call(&self.name, &self.scopes, make).await?;
        let what = format!("manifest `{}`", self.full_name(reference));
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(self.not_found(what, response).await),
            _ => return Err(self.endpoint.unexpected(format!("give {what}"), response).await),
        }
        let header_digest = response.header(DIGEST_HEADER).map(str::to_owned);
        let bytes = response.bytes(MAX_MANIFEST).await.map_err(|error| self.endpoint.http_error(error))?;
        let actual = Digest::of(&bytes);
        // A digest asked for decides; for a tag the registry's own word is checked.
        let stated = reference.parse().ok().or_else(|| header_digest.and_then(|text| text.parse().ok()));
        if let Some(stated) = stated.filter(|stated| *stated != actual) {
            let registry = self.name.registry.clone();
            return Err(RegistryError::DigestMismatch { registry, what, stated, actual });
        }
        Manifest::from_bytes(bytes).map_err(|error| {
            self.endpoint.protocol(format!("{what} that is not the JSON it should be: {error}"))
        })
    }

    /// Writes a manifest under a tag or its digest. Everything it names must be there.
    pub async fn put_manifest(&self, reference: &str, manifest: &Manifest) -> Result<(), RegistryError> {
        let url = self.url(&format!("manifests/{reference}"))?;
        let make = || {
            Request::new(Method::PUT, url.clone())
                .header(header::CONTENT_TYPE, &manifest.media_type)
                .body(Body::Bytes(manifest.bytes.clone()))
        };
        let response = self.endpoint.call_again(&self.name, &Scopes::push(&self.name.path), make).await?;
        let what = format!("manifest `{}`", self.full_name(reference));
        if !response.status().is_success() {
            return Err(self.endpoint.unexpected(format!("take {what}"), response).await);
        }
        match response.header(DIGEST_HEADER).and_then(|text| text.parse().ok()) {
            Some(actual) if actual != manifest.digest => Err(RegistryError::DigestMismatch {
                registry: self.name.registry.clone(),
                what,
                stated: manifest.digest,
                actual,
            }),
            _ => Ok(()),
        }
    }

    fn full_name(&self, reference: &str) -> String {
        let separator = if reference.contains(':') { '@' } else { ':' };
        format!("{}{separator}{reference}", self.name.path)
    }
}
