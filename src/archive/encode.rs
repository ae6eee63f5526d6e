//! Compressing what is written.

use std::io::{self, Write};

use bzip2::write::BzEncoder;
use flate2::write::GzEncoder;
use liblzma::stream::{Action, Check, MtStreamBuilder, Status, Stream};

use super::format::Format;
use crate::report::Interrupt;

/// The level of the original tool, and of the `xz` command.
const XZ_LEVEL: u32 = 6;
/// Three times the dictionary of that level, as liblzma itself has it. Named here because the bytes depend on it.
const XZ_BLOCK: u64 = 24 << 20;
/// Each thread takes some 170 MiB.
const XZ_THREADS: usize = 16;
/// How often a long compression looks whether somebody asked to stop.
const XZ_PATIENCE_MS: u32 = 300;
/// Compressed bytes that are kept before they are written.
const XZ_BUFFER: usize = 1 << 20;
/// Smaller than gzip at several times its speed.
const ZSTD_LEVEL: i32 = 3;

/// A writer that compresses.
pub(super) enum Encoder<W: Write> {
    Xz(XzWriter<W>),
    Gzip(GzEncoder<W>),
    Bzip2(BzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
    Plain(W),
}

impl<W: Write> Encoder<W> {
    /// A writer of that form; a zip is more than that, and none.
    pub(super) fn new(format: Format, sink: W, interrupt: &Interrupt) -> io::Result<Self> {
        Ok(match format {
            Format::Xz => Self::Xz(XzWriter::new(sink, interrupt)?),
            Format::Gzip => Self::Gzip(GzEncoder::new(sink, flate2::Compression::default())),
            Format::Bzip2 => Self::Bzip2(BzEncoder::new(sink, bzip2::Compression::best())),
            Format::Zstd => Self::Zstd(zstd_encoder(sink)?),
            Format::Tar | Format::Zip => Self::Plain(sink),
        })
    }

    /// Writes what is still held back.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Xz(writer) => writer.finish(),
            Self::Gzip(writer) => writer.finish(),
            Self::Bzip2(writer) => writer.finish(),
            Self::Zstd(writer) => writer.finish(),
            Self::Plain(sink) => Ok(sink),
        }
    }
}

fn zstd_encoder<W: Write>(sink: W) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(sink, ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Xz(writer) => writer.write(bytes),
            Self::Gzip(writer) => writer.write(bytes),
            Self::Bzip2(writer) => writer.write(bytes),
            Self::Zstd(writer) => writer.write(bytes),
            Self::Plain(sink) => sink.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses blocks on all cores. The bytes do not depend on their number.
///
/// It drives liblzma itself because the crate's own writer finishes the stream when it is dropped: whoever asks to
/// stop would wait for that.
pub(super) struct XzWriter<W> {
    stream: Stream,
    sink: W,
    buffer: Vec<u8>,
    interrupt: Interrupt,
}

impl<W: Write> XzWriter<W> {
    fn new(sink: W, interrupt: &Interrupt) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = u32::try_from(cores.min(XZ_THREADS)).unwrap_or(1);
        let mut builder = MtStreamBuilder::new();
        builder.threads(threads).preset(XZ_LEVEL).block_size(XZ_BLOCK);
        builder.check(Check::Crc64).timeout_ms(XZ_PATIENCE_MS);
        Ok(Self {
            stream: builder.encoder()?,
            sink,
            buffer: vec![0; XZ_BUFFER],
            interrupt: interrupt.clone(),
        })
    }

    /// One step: how much was taken, and whether the end is reached.
    fn step(&mut self, input: &[u8], action: Action) -> io::Result<(usize, bool)> {
        self.interrupt.check().map_err(io::Error::other)?;
        let (taken, given) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.process(input, &mut self.buffer, action)?;
        let given = count(self.stream.total_out() - given);
        self.sink.write_all(&self.buffer[..given])?;
        Ok((count(self.stream.total_in() - taken), status == Status::StreamEnd))
    }

    fn finish(mut self) -> io::Result<W> {
        while !self.step(&[], Action::Finish)?.1 {}
        Ok(self.sink)
    }
}

fn count(bytes: u64) -> usize {
    usize::try_from(bytes).expect("no more than a buffer holds")
}

impl<W: Write> Write for XzWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let (taken, _) = self.step(bytes, Action::Run)?;
            if taken > 0 || bytes.is_empty() {
                return Ok(taken);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
