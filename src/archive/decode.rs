//! Finding out the form of an archive, and decompressing it.

use std::io::{self, BufRead as _, BufReader, Chain, Cursor, Read};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{MtStreamBuilder, Stream};

use super::format::Format;

/// Enough to tell a form: the header of a tar.
const SNIFFED: usize = 512;
/// Above this, blocks are decompressed one after the other.
const XZ_THREADING_MEMORY: u64 = 1 << 30;
/// The most memory that an archive can make us take; level 9 takes 65 MiB.
const XZ_MOST_MEMORY: u64 = 1 << 30;
/// Threads beyond this wait for the disk.
const XZ_THREADS: usize = 16;
/// Bytes that are read ahead.
const READ_AHEAD: usize = 256 << 10;
/// log2 of the largest window of zstd that is accepted: that of `zstd --ultra --long=27`.
const ZSTD_WINDOW: u32 = 27;

/// An archive from its beginning, after a look at it.
pub(super) type Sniffed<R> = Chain<Cursor<Vec<u8>>, R>;

/// Looks at the beginning.
pub(super) fn sniff<R: Read>(mut input: R) -> io::Result<(Option<Format>, Sniffed<R>)> {
    let mut head = Vec::with_capacity(SNIFFED);
    Read::by_ref(&mut input).take(SNIFFED as u64).read_to_end(&mut head)?;
    Ok((Format::of_bytes(&head), Cursor::new(head).chain(input)))
}

/// The tar in an archive that is one.
pub(super) fn decoder<'a, R: Read + 'a>(format: Format, input: R) -> io::Result<Box<dyn Read + 'a>> {
    let input = BufReader::with_capacity(READ_AHEAD, input);
    Ok(match format {
        Format::Xz => Box::new(XzReader { decoder: Some(XzDecoder::new_stream(input, xz_stream()?)) }),
        Format::Gzip => Box::new(MultiGzDecoder::new(input)),
        Format::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        Format::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Format::Tar | Format::Zip => Box::new(input),
    })
}

fn xz_stream() -> io::Result<Stream> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = MtStreamBuilder::new();
    builder.threads(u32::try_from(cores.min(XZ_THREADS)).unwrap_or(1));
    builder.memlimit_threading(XZ_THREADING_MEMORY).memlimit_stop(XZ_MOST_MEMORY);
    Ok(builder.decoder()?)
}

/// Decompresses xz streams, one after the other, to the end of the file.
struct XzReader<R: Read> {
    /// None after the last stream.
    decoder: Option<XzDecoder<BufReader<R>>>,
}

impl<R: Read> Read for XzReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.decoder = self.next_stream()?;
        }
        Ok(0)
    }
}

impl<R: Read> XzReader<R> {
    fn next_stream(&mut self) -> io::Result<Option<XzDecoder<BufReader<R>>>> {
        let Some(ended) = self.decoder.take() else { return Ok(None) };
        let mut input = ended.into_inner();
        if !skip_padding(&mut input)? {
            return Ok(None);
        }
        Ok(Some(XzDecoder::new_stream(input, xz_stream()?)))
    }
}

/// Zeros in groups of four may follow a stream; whether something else comes behind them.
fn skip_padding<R: Read>(input: &mut BufReader<R>) -> io::Result<bool> {
    let mut zeros = 0_u64;
    let has_more = loop {
        let ahead = match input.fill_buf() {
            // Nobody may ask again: the stream that has ended is gone.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            ahead => ahead?,
        };
        let count = ahead.iter().take_while(|byte| **byte == 0).count();
        let (has_more, is_end) = (count < ahead.len(), ahead.is_empty());
        input.consume(count);
        zeros += count as u64;
        if has_more || is_end {
            break has_more;
        }
    };
    if zeros.is_multiple_of(4) {
        return Ok(has_more);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the padding behind the xz stream has a wrong length"))
}
