//! Large values that two workers share: the front passes their descriptors on, and reads none (docs/adr/0011).
//!
//! Beside the socket of the frames, each worker has a second one, on which a descriptor goes ahead of every frame whose
//! body is not in it. Both are in order, so that the next descriptor is the next such frame's.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use rustix::io::{Errno, pread};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use thiserror::Error;

/// What makes sure that a body stays as it was when it was sent.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

/// How much is read at a time of a body that could not be passed on.
const STEP: usize = 1 << 20;

/// Why a shared body cannot be used.
#[derive(Debug, Error)]
pub enum SealedError {
    /// There is no descriptor.
    #[error("the descriptor of a shared body is missing")]
    Missing(#[source] io::Error),
    /// There is a message without one, or with several.
    #[error("a message of the second socket has {count} descriptors")]
    Count {
        /// How many it has.
        count: usize,
    },
    /// It could still be changed.
    #[error("a shared body is not sealed")]
    Open,
    /// It is longer or shorter than announced.
    #[error("a shared body has {found} bytes, but its frame says {length}")]
    Length {
        /// What the frame says.
        length: u64,
        /// What it has.
        found: u64,
    },
    /// It cannot be looked at.
    #[error("cannot read a shared body")]
    Read(#[source] io::Error),
}

/// A body in memory that nobody can change any more.
#[derive(Debug)]
pub struct Sealed {
    descriptor: OwnedFd,
    length: u64,
}

/// The front's end of a worker's second socket.
#[derive(Debug)]
pub struct Passage {
    socket: OwnedFd,
}

impl Sealed {
    /// Takes a descriptor for a body of `length` bytes.
    pub fn new(descriptor: OwnedFd, length: u64) -> Result<Self, SealedError> {
        let unreadable = |error: Errno| SealedError::Read(error.into());
        // What has no seals is no such file.
        let seals = fcntl_get_seals(&descriptor).map_err(|_| SealedError::Open)?;
        if !seals.contains(SEALS) {
            return Err(SealedError::Open);
        }
        let found = u64::try_from(fstat(&descriptor).map_err(unreadable)?.st_size).unwrap_or(0);
        if found != length {
            return Err(SealedError::Length { length, found });
        }
        Ok(Self { descriptor, length })
    }

    /// Returns its length.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads it into memory of this process.
    pub fn read(&self) -> Result<Vec<Bytes>, SealedError> {
        let (mut pieces, mut offset) = (Vec::new(), 0);
        while offset < self.length {
            let step = usize::try_from(self.length - offset).map_or(STEP, |left| left.min(STEP));
            let mut piece = BytesMut::zeroed(step);
            let read = pread(&self.descriptor, &mut piece[..], offset);
            let read = read.map_err(|error| SealedError::Read(error.into()))?;
            if read == 0 {
                return Err(SealedError::Length { length: self.length, found: offset });
            }
            piece.truncate(read);
            pieces.push(piece.freeze());
            offset += read as u64;
        }
        Ok(pieces)
    }
}

impl Passage {
    /// Makes both ends; the second is the worker's.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self { socket: ours }, theirs))
    }

    /// Passes a body on; a worker that has not taken the last ones yet, or is gone, gets none.
    pub fn pass(&self, body: &Sealed) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [body.descriptor.as_fd()];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.socket, &[IoSlice::new(&[0])], &mut ancillary, flags)?;
        Ok(())
    }

    /// Takes the body of a frame that has just been read; it has been sent before.
    pub fn take(&self, length: u64) -> Result<Arc<Sealed>, SealedError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        recvmsg(&self.socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)
            .map_err(|error| SealedError::Missing(error.into()))?;
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(found) = message {
                descriptors.extend(found);
            }
        }
        match (descriptors.pop(), descriptors.len()) {
            (Some(descriptor), 0) => Ok(Arc::new(Sealed::new(descriptor, length)?)),
            (last, others) => Err(SealedError::Count { count: others + usize::from(last.is_some()) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, fcntl_add_seals, memfd_create};
    use rustix::io::write;

    use super::*;

    fn file(bytes: &[u8], seals: SealFlags) -> OwnedFd {
        let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert_eq!(write(&file, bytes).unwrap(), bytes.len());
        fcntl_add_seals(&file, seals).unwrap();
        file
    }

    fn theirs(socket: OwnedFd) -> Passage {
        Passage { socket }
    }

    #[test]
    fn a_body_arrives_as_it_was() {
        let bytes = vec![7; STEP + 3];
        let (ours, worker) = Passage::pair().unwrap();
        let worker = theirs(worker);
        let body = Sealed::new(file(&bytes, SEALS), bytes.len() as u64).unwrap();
        ours.pass(&body).unwrap();
        drop(body);
        let taken = worker.take(bytes.len() as u64).unwrap();
        assert_eq!(taken.read().unwrap().concat(), bytes);
        assert_eq!(taken.length(), bytes.len() as u64);
    }

    #[test]
    fn what_could_change_or_is_not_what_was_announced_is_refused() {
        let open = file(b"abc", SealFlags::SHRINK);
        assert!(matches!(Sealed::new(open, 3), Err(SealedError::Open)));
        let pipe = OwnedFd::from(std::io::pipe().unwrap().0);
        assert!(matches!(Sealed::new(pipe, 3), Err(SealedError::Open)));
        let short = Sealed::new(file(b"abc", SEALS), 4).unwrap_err();
        assert_eq!(short.to_string(), "a shared body has 3 bytes, but its frame says 4");
        let (ours, worker) = Passage::pair().unwrap();
        assert!(matches!(ours.take(1), Err(SealedError::Missing(_))));
        rustix::io::write(&worker, b"x").unwrap();
        assert!(matches!(ours.take(1), Err(SealedError::Count { count: 0 })));
        drop(worker);
        assert!(matches!(ours.take(1), Err(SealedError::Count { count: 0 } | SealedError::Missing(_))));
        let body = Sealed::new(file(b"abc", SEALS), 3).unwrap();
        assert!(ours.pass(&body).is_err(), "nobody is there");
    }

    #[test]
    fn a_worker_that_takes_nothing_is_passed_only_so_much() {
        let (ours, _worker) = Passage::pair().unwrap();
        let body = Sealed::new(file(b"abc", SEALS), 3).unwrap();
        let passed = (0..100_000).take_while(|_| ours.pass(&body).is_ok()).count();
        assert!((10..10_000).contains(&passed), "{passed}");
    }
}
