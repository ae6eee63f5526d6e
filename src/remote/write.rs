//! Writing a place on another machine from front to back.

use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::time::Duration;

use bytes::Bytes;
use opendal::Writer;

use super::Remotes;
use super::error::RemoteError;
use super::location::{Location, Scheme};
use crate::blocking;
use crate::http::{Body, Method};

/// Parts that are sent at once.
const PARTS: usize = 4;
/// The least size of a part: above the 5 MiB that S3 and Google ask for.
const LEAST_PART: u64 = 8 << 20;
/// S3 takes 10 000 parts, and an archive may be somewhat larger than what is in it.
const MOST_PARTS: u64 = 9000;
/// What Dropbox takes in one request.
const DROPBOX_LIMIT: u64 = 150_000_000;

/// How long taking back may take.
const ABORT_PATIENCE: Duration = Duration::from_secs(10);

/// A place that is written. It is there when [`RemoteWriter::finish`] says so; one that is dropped before may leave
/// something behind where a service has no other way.
pub struct RemoteWriter {
    remotes: Remotes,
    location: Location,
    sink: Sink,
}

enum Sink {
    /// Sent in parts, as they come.
    Service(Box<Writer>),
    /// Sent when all of it is known.
    Spooled { file: File, size: u64 },
}

impl Remotes {
    /// Opens a place for writing about so many bytes.
    pub fn write(&self, location: &Location, expected: u64) -> Result<RemoteWriter, RemoteError> {
        let url = location.to_string();
        let sink = match location.scheme {
            Scheme::Http | Scheme::Https | Scheme::Dropbox => {
                // So that what is wrong is said before something is packed.
                if location.scheme == Scheme::Dropbox {
                    self.operator(location)?;
                }
                let file = tempfile::tempfile_in(&self.scratch);
                Sink::Spooled { file: file.map_err(|source| RemoteError::Spool { url, source })?, size: 0 }
            }
            _ => {
                let operator = self.operator(location)?;
                let part = LEAST_PART.max(expected.div_ceil(MOST_PARTS));
                let part = usize::try_from(part).unwrap_or(usize::MAX);
                let opening = operator.writer_with(location.path());
                let opening = match location.scheme {
                    Scheme::Ftp | Scheme::Ftps | Scheme::Sftp => opening,
                    _ => opening.concurrent(PARTS).chunk(part),
                };
                let failed = |error| RemoteError::of_service(url.clone(), "write", &error);
                Sink::Service(Box::new(self.wait(async { opening.await.map_err(failed) })?))
            }
        };
        Ok(RemoteWriter { remotes: self.clone(), location: location.clone(), sink })
    }
}

impl RemoteWriter {
    /// Sends what is still here, and waits until the place has all of it.
    pub fn finish(self) -> Result<(), RemoteError> {
        let Self { remotes, location, sink } = self;
        let url = location.to_string();
        let failed = |error: &opendal::Error| RemoteError::of_service(url.clone(), "write", error);
        let (mut file, size) = match sink {
            Sink::Service(mut writer) => {
                return remotes
                    .wait(async { writer.close().await.map(drop).map_err(|error| failed(&error)) });
            }
            Sink::Spooled { file, size } => (file, size),
        };
        let spool = |source| RemoteError::Spool { url: url.clone(), source };
        file.rewind().map_err(spool)?;
        if location.scheme == Scheme::Dropbox {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut file, &mut bytes).map_err(spool)?;
            let operator = remotes.operator(&location)?;
            let path = location.path().to_owned();
            let work = async { operator.write(&path, bytes).await.map(drop).map_err(|error| failed(&error)) };
            return remotes.wait(work);
        }
        let body = Body::stream(blocking::stream(move || Ok(file)), size);
        let request = remotes.web_request(Method::PUT, &location)?.body(body);
        let client = remotes.client()?;
        let response = remotes.wait(async { Ok(client.send(request).await?) })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        Err(RemoteError::Status { url: url.clone(), action: "write", status: status.as_u16() })
    }

    /// Takes back what was sent. Best effort: the reason to do so is worth more than what becomes of it.
    pub fn abort(self) {
        let Self { remotes, location, sink } = self;
        let Sink::Service(mut writer) = sink else { return };
        remotes.runtime.block_on(async {
            // What is still under way when the connection goes is nobody's any more.
            let aborting = tokio::time::timeout(ABORT_PATIENCE, writer.abort());
            let is_aborted = matches!(aborting.await, Ok(Ok(())));
            if !is_aborted && location.scheme == Scheme::Sftp {
                drop(writer);
                if let Ok(operator) = remotes.operator(&location) {
                    let _ = tokio::time::timeout(ABORT_PATIENCE, operator.delete(location.path())).await;
                }
            }
        });
    }
}

impl Write for RemoteWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let url = || self.location.to_string();
        match &mut self.sink {
            Sink::Service(writer) => {
                let piece = Bytes::copy_from_slice(bytes);
                let failed = |error| RemoteError::of_service(self.location.to_string(), "write", &error);
                let work = async { writer.write(piece).await.map_err(failed) };
                self.remotes.wait(work).map_err(RemoteError::into_io)?;
                Ok(bytes.len())
            }
            Sink::Spooled { file, size } => {
                *size += bytes.len() as u64;
                if self.location.scheme == Scheme::Dropbox && *size > DROPBOX_LIMIT {
                    let error = RemoteError::TooLarge { url: url(), limit: DROPBOX_LIMIT };
                    return Err(error.into_io());
                }
                file.write_all(bytes)
                    .map_err(|source| RemoteError::Spool { url: url(), source }.into_io())?;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
