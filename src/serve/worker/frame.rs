//! The frames of the worker protocol: lengths, a JSON header, a body (docs/formats/worker-protocol.md).

use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::sealed::{Passage, Sealed, SealedError};
use crate::serve::payload::Payload;

/// Bytes before the header: its length as `u32` and the body's as `u64`, little-endian.
pub const PREFIX: usize = 12;

/// Longest header a reader accepts.
pub const HEADER_LIMIT: u32 = 1 << 20;

/// Longest body a reader accepts.
pub const BODY_LIMIT: u64 = 4 << 30;

/// Of the body's length: the body is not in the frame, but in the next descriptor of the second socket.
pub const SHARED: u64 = 1 << 63;

/// Most that is reserved at once for a frame still to arrive: what a peer announces is believed in steps.
const RESERVE_STEP: usize = 64 << 20;

/// Least room for a read, so that many small frames take one system call.
const READ_ROOM: usize = 16 * 1024;

/// A frame that cannot be read or written.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// The header's length is zero or above the limit.
    #[error("a frame's header has {length} bytes, allowed are 1 to {HEADER_LIMIT}")]
    HeaderLength {
        /// The length announced, or needed.
        length: u64,
    },
    /// The body's length is above the limit.
    #[error("a frame's body has {length} bytes, allowed are {BODY_LIMIT}")]
    BodyLength {
        /// The length announced, or needed.
        length: u64,
    },
}

/// A frame as received; both parts share the buffer they were read into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The JSON header.
    pub header: Bytes,
    /// The body.
    pub body: Bytes,
    /// The length of a body that is not in the frame.
    pub shared: Option<u64>,
}

/// Takes frames out of a byte stream.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes the next whole frame, or `None` while bytes are missing.
    pub fn decode(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(Lengths { header, body, shared }) = self.lengths()? else { return Ok(None) };
        if self.buffer.len() < PREFIX + header + body {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        let mut frame = self.buffer.split_to(header + body).freeze();
        let body = frame.split_off(header);
        Ok(Some(Frame { header: frame, body, shared }))
    }

    /// Returns the buffer with room for what is missing of the frame at its front.
    pub fn room(&mut self) -> Result<&mut BytesMut, FrameError> {
        let missing = match self.lengths()? {
            Some(Lengths { header, body, .. }) => (PREFIX + header + body).saturating_sub(self.buffer.len()),
            None => PREFIX,
        };
        self.buffer.reserve(missing.clamp(READ_ROOM, RESERVE_STEP));
        Ok(&mut self.buffer)
    }

    fn lengths(&self) -> Result<Option<Lengths>, FrameError> {
        let Some((header, rest)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let header = u32::from_le_bytes(*header);
        if header == 0 || header > HEADER_LIMIT {
            return Err(FrameError::HeaderLength { length: header.into() });
        }
        let Some(body) = rest.first_chunk::<8>() else { return Ok(None) };
        let (header, length) = (header as usize, u64::from_le_bytes(*body));
        let shared = Some(length & !SHARED).filter(|_| length >= SHARED);
        let too_long = FrameError::BodyLength { length: shared.unwrap_or(length) };
        if shared.unwrap_or(length) > BODY_LIMIT || shared == Some(0) {
            return Err(too_long);
        }
        let body = if shared.is_some() { 0 } else { usize::try_from(length).map_err(|_| too_long)? };
        Ok(Some(Lengths { header, body, shared }))
    }
}

/// What the prefix of a frame says.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    header: usize,
    body: usize,
    shared: Option<u64>,
}

/// A frame to be written: prefix and header in one piece, then the body's pieces.
#[derive(Debug)]
pub struct Encoded {
    pieces: Vec<Bytes>,
    next: usize,
    /// The body, where it is not in the frame.
    shared: Option<Arc<Sealed>>,
}

impl Encoded {
    /// Builds a frame; `fill` writes the header's JSON.
    pub fn new<E>(fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>, body: Payload) -> Result<Self, E>
    where
        E: From<FrameError>,
    {
        let mut head = Vec::with_capacity(512);
        head.resize(PREFIX, 0);
        fill(&mut head)?;
        let header = (head.len() - PREFIX) as u64;
        if header == 0 || header > u64::from(HEADER_LIMIT) {
            return Err(FrameError::HeaderLength { length: header }.into());
        }
        let length = body.length();
        if length > BODY_LIMIT {
            return Err(FrameError::BodyLength { length }.into());
        }
        let shared = body.shared().cloned();
        let flag = if shared.is_some() { SHARED } else { 0 };
        head[..4].copy_from_slice(&header.to_le_bytes()[..4]);
        head[4..PREFIX].copy_from_slice(&(length | flag).to_le_bytes());
        let mut pieces = body.into_parts();
        pieces.insert(0, head.into());
        Ok(Self { pieces, next: 0, shared })
    }

    /// Lets a shared body go its own way, ahead of the frame, or puts it into the frame after all.
    pub fn share(&mut self, passage: &Passage) -> Result<(), SealedError> {
        let Some(shared) = self.shared.take() else { return Ok(()) };
        if passage.pass(&shared).is_ok() {
            return Ok(());
        }
        let mut head = Vec::from(self.pieces.swap_remove(0));
        head[4..PREFIX].copy_from_slice(&shared.length().to_le_bytes());
        self.pieces = shared.read()?;
        self.pieces.insert(0, head.into());
        Ok(())
    }

    /// Tells whether every byte has been written.
    pub fn is_done(&self) -> bool {
        self.next == self.pieces.len()
    }

    /// Adds what is left to write to `slices`, up to their capacity.
    pub fn gather<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>, limit: usize) {
        let room = limit.saturating_sub(slices.len());
        slices.extend(self.pieces[self.next..].iter().take(room).map(|piece| IoSlice::new(piece)));
    }

    /// Takes note that `written` more bytes are out; returns how many of them were another frame's.
    pub fn advance(&mut self, mut written: usize) -> usize {
        while written > 0 && !self.is_done() {
            let piece = &mut self.pieces[self.next];
            let step = written.min(piece.len());
            piece.advance(step);
            written -= step;
            if piece.is_empty() {
                self.next += 1;
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(header: &[u8], body: &[u8]) -> Result<Vec<u8>, FrameError> {
        let fill = |out: &mut Vec<u8>| {
            out.extend_from_slice(header);
            Ok::<(), FrameError>(())
        };
        Encoded::new(fill, Bytes::copy_from_slice(body).into()).map(|frame| frame.pieces.concat())
    }

    fn feed(decoder: &mut Decoder, bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        decoder.room()?.extend_from_slice(bytes);
        decoder.decode()
    }

    /// A reader MUST refuse a frame over these limits.
    #[test]
    fn frames_over_the_limits_are_refused() {
        let mut prefix = [0u8; PREFIX];
        assert_eq!(feed(&mut Decoder::default(), &prefix), Err(FrameError::HeaderLength { length: 0 }));
        prefix[..4].copy_from_slice(&(HEADER_LIMIT + 1).to_le_bytes());
        let too_long = Err(FrameError::HeaderLength { length: u64::from(HEADER_LIMIT) + 1 });
        assert_eq!(feed(&mut Decoder::default(), &prefix), too_long);
        prefix[..4].copy_from_slice(&1u32.to_le_bytes());
        prefix[4..].copy_from_slice(&(BODY_LIMIT + 1).to_le_bytes());
        let too_long = Err(FrameError::BodyLength { length: BODY_LIMIT + 1 });
        assert_eq!(feed(&mut Decoder::default(), &prefix), too_long);
        assert_eq!(encode(b"", b""), Err(FrameError::HeaderLength { length: 0 }));
    }

    #[test]
    fn an_announced_body_is_not_reserved_at_once() {
        let mut decoder = Decoder::default();
        let mut prefix = [0u8; PREFIX];
        prefix[..4].copy_from_slice(&1u32.to_le_bytes());
        prefix[4..].copy_from_slice(&BODY_LIMIT.to_le_bytes());
        assert_eq!(feed(&mut decoder, &prefix), Ok(None));
        assert!(decoder.room().unwrap().capacity() <= RESERVE_STEP * 2);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_in_any_split(
            frames in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..200),
                proptest::collection::vec(any::<u8>(), 0..2000)), 1..5),
            step in 1usize..700,
        ) {
            let bytes = frames.iter().map(|(h, b)| encode(h, b).unwrap()).collect::<Vec<_>>().concat();
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.room().unwrap().extend_from_slice(piece);
                while let Some(frame) = decoder.decode().unwrap() {
                    found.push((frame.header.to_vec(), frame.body.to_vec()));
                }
            }
            prop_assert_eq!(found, frames);
        }

        #[test]
        fn any_bytes_give_a_frame_an_error_or_a_wait(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut decoder = Decoder::default();
            if let Ok(buffer) = decoder.room() {
                buffer.extend_from_slice(&bytes);
                let _ = decoder.decode();
            }
        }

        #[test]
        fn partial_writes_lose_nothing(body in proptest::collection::vec(any::<u8>(), 0..500), step in 1usize..50) {
            let fill = |out: &mut Vec<u8>| { out.extend_from_slice(b"{}"); Ok::<(), FrameError>(()) };
            let mut frame = Encoded::new(fill, Bytes::from(body.clone()).into()).unwrap();
            let mut out = Vec::new();
            while !frame.is_done() {
                let mut slices = Vec::new();
                frame.gather(&mut slices, 8);
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                let written = step.min(all.len());
                out.extend_from_slice(&all[..written]);
                prop_assert_eq!(frame.advance(written), 0);
            }
            prop_assert_eq!(out, encode(b"{}", &body).unwrap());
        }
    }
}
