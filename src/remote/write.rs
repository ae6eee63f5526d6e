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
    /// Sent in parts, as they come; `part` is the path until all of it is there, if that is another one.
    Service { writer: Box<Writer>, part: Option<String>, size: u64 },
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
                let partial =
                    (location.scheme == Scheme::Sftp).then(|| partial_path(location)).transpose()?;
                let opening = operator.writer_with(partial.as_deref().unwrap_or(location.path()));
                let opening = match location.scheme {
                    Scheme::Ftp | Scheme::Ftps | Scheme::Sftp => opening,
                    _ => opening.concurrent(PARTS).chunk(part),
                };
                let failed = |error| RemoteError::of_service(url.clone(), "write", &error);
                let writer = Box::new(self.wait(async { opening.await.map_err(failed) })?);
                Sink::Service { writer, part: partial, size: 0 }
            }
        };
        Ok(RemoteWriter { remotes: self.clone(), location: location.clone(), sink })
    }
}

impl Remotes {
    /// Looks whether everything has arrived. A connection for data says nothing of that: with TLS 1.3, a server that has
    /// sent something meanwhile loses the end of the file when the library closes it, and still says that all is well.
    fn check_size(&self, location: &Location, sent: u64) -> Result<(), RemoteError> {
        let operator = self.operator(location)?;
        let url = location.to_string();
        self.wait(async {
            let found = operator.stat(location.path()).await;
            let found = found.map_err(|error| RemoteError::of_service(url.clone(), "write", &error))?;
            let arrived = found.content_length();
            if arrived == sent {
                return Ok(());
            }
            let _ = operator.delete(location.path()).await;
            Err(RemoteError::Cut { url, sent, arrived })
        })
    }

    /// Gives a file its name, in place of what has it.
    fn publish(&self, location: &Location, part: &str) -> Result<(), RemoteError> {
        let operator = self.operator(location)?;
        let path = location.path();
        let failed = |error| RemoteError::of_service(location.to_string(), "write", &error);
        let aside = partial_path(location)?;
        self.wait(async {
            let Err(error) = operator.rename(part, path).await else { return Ok(()) };
            // Old servers rename only to a name that nobody has. A file that has it is not lost if that fails, too.
            let is_taken = operator.stat(path).await.is_ok_and(|found| found.is_file());
            if !is_taken || operator.rename(path, &aside).await.is_err() {
                return Err(failed(error));
            }
            if let Err(error) = operator.rename(part, path).await {
                let _ = operator.rename(&aside, path).await;
                return Err(failed(error));
            }
            operator.delete(&aside).await.map_err(failed)
        })
    }
}

/// A name beside that of the location, which no other upload has.
fn partial_path(location: &Location) -> Result<String, RemoteError> {
    let failed = |error: getrandom::Error| RemoteError::Spool {
        url: location.to_string(),
        source: io::Error::other(error),
    };
    let number = getrandom::u32().map_err(failed)?;
    Ok(format!("{}.{number:08x}.part", location.path()))
}

impl RemoteWriter {
    /// Sends what is still here, and waits until the place has all of it; what fails is taken back.
    pub fn finish(mut self) -> Result<(), RemoteError> {
        let finished = self.send();
        if finished.is_err() {
            self.abort();
        }
        finished
    }

    fn send(&mut self) -> Result<(), RemoteError> {
        let Self { remotes, location, sink } = self;
        let url = location.to_string();
        let failed = |error: &opendal::Error| RemoteError::of_service(url.clone(), "write", error);
        let (file, size) = match sink {
            Sink::Service { writer, part, size } => {
                let closing = async { writer.close().await.map(drop).map_err(|error| failed(&error)) };
                remotes.wait(closing)?;
                if matches!(location.scheme, Scheme::Ftp | Scheme::Ftps) {
                    remotes.check_size(location, *size)?;
                }
                return part.as_ref().map_or(Ok(()), |part| remotes.publish(location, part));
            }
            Sink::Spooled { file, size } => (file, *size),
        };
        let spool = |source| RemoteError::Spool { url: url.clone(), source };
        file.rewind().map_err(spool)?;
        if location.scheme == Scheme::Dropbox {
            let mut bytes = Vec::new();
            io::Read::read_to_end(file, &mut bytes).map_err(spool)?;
            let operator = remotes.operator(location)?;
            let path = location.path().to_owned();
            let work = async { operator.write(&path, bytes).await.map(drop).map_err(|error| failed(&error)) };
            return remotes.wait(work);
        }
        let file = file.try_clone().map_err(spool)?;
        let body = Body::stream(blocking::stream(move || Ok(file)), size);
        let request = remotes.web_request(Method::PUT, location)?.body(body);
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
        let Sink::Service { mut writer, part, .. } = sink else { return };
        remotes.runtime.block_on(async {
            // What is still under way when the connection goes is nobody's any more.
            let aborting = tokio::time::timeout(ABORT_PATIENCE, writer.abort());
            let _ = aborting.await;
            drop(writer);
            if let (Some(part), Ok(operator)) = (part, remotes.operator(&location)) {
                let _ = tokio::time::timeout(ABORT_PATIENCE, operator.delete(&part)).await;
            }
        });
    }
}

impl Write for RemoteWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let url = || self.location.to_string();
        match &mut self.sink {
            Sink::Service { writer, size, .. } => {
                *size += bytes.len() as u64;
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
