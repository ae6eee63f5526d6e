//! Digests of a content while it arrives.
//!
//! Ranges arrive in any order, and a digest wants its bytes in theirs. So a thread follows the arrival: it reads from
//! the file what is there without a gap, moments after it was written, when it still is in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sha1::{Digest as _, Sha1};

use super::snapshot::ContentId;
use crate::blocking;
use crate::oci::digest::{Digest, Hasher, PairHasher};

/// Bytes read at a time: large enough to hide the cost of a call, small enough for the processor's cache.
const PIECE: usize = 512 * 1024;
/// The same, as files count.
const PIECE_SIZE: u64 = PIECE as u64;

/// What stands around a content in something larger whose digest is wanted too.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// What stands before the content: whole blocks of a digest, as the headers of a tar are.
    pub before: Bytes,
    /// What stands after it.
    pub after: Bytes,
}

/// What is wanted of a content besides its being here.
#[derive(Clone, Debug)]
pub enum Examine {
    /// Nothing: one that is here was compared with its digest before.
    Nothing,
    /// That it is compared with its digest, also where it was here.
    Content,
    /// That too, and its digest with this around it.
    Enveloped(Envelope),
}

impl Examine {
    fn envelope(self) -> Option<Envelope> {
        match self {
            Self::Enveloped(envelope) => Some(envelope),
            Self::Nothing | Self::Content => None,
        }
    }
}

/// How much of a file is there without a gap.
#[derive(Debug)]
pub(super) struct Frontier {
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: u64,
    is_abandoned: bool,
}

impl Frontier {
    /// A file of that size, of which nothing is there.
    pub(super) fn new(size: u64) -> Self {
        Self { size, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Says that so many bytes are there. Followers are woken for whole pieces: not for each of the network's.
    pub(super) fn advance(&self, ready: u64) {
        let mut state = self.state();
        let is_worth_waking = ready == self.size || ready / PIECE_SIZE > state.ready / PIECE_SIZE;
        state.ready = state.ready.max(ready);
        if is_worth_waking {
            self.changed.notify_all();
        }
    }

    /// Says that nothing more will come.
    pub(super) fn abandon(&self) {
        self.state().is_abandoned = true;
        self.changed.notify_all();
    }

    /// Waits until a piece more than `seen` is there, or the rest; `None` when that will never be.
    fn wait_for_more(&self, seen: u64) -> Option<u64> {
        let enough = (seen + PIECE_SIZE).min(self.size);
        let is_short = |state: &mut State| state.ready < enough && !state.is_abandoned;
        let waited = self.changed.wait_while(self.state(), is_short);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        (state.ready >= enough).then_some(state.ready)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a content was found to be.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) content: ContentId,
    /// Digest and size with the envelope around it.
    pub(super) enveloped: Option<(Digest, u64)>,
}

/// A file that arrives.
#[derive(Clone)]
pub(super) struct Arrival {
    pub(super) file: Arc<File>,
    pub(super) size: u64,
    pub(super) frontier: Arc<Frontier>,
}

impl Arrival {
    /// Finds out what the content is, in the way in which `expected` is given; `None` when it does not arrive.
    pub(super) async fn digest(self, expected: ContentId, examine: Examine) -> io::Result<Option<Found>> {
        let envelope = examine.envelope();
        blocking::run(move || match (expected, envelope) {
            (ContentId::Sha256(_), None) => {
                let hasher = self.follow(Hasher::new(io::sink()), write)?;
                Ok(hasher
                    .map(|hasher| Found { content: ContentId::Sha256(hasher.digest().0), enveloped: None }))
            }
            (ContentId::Sha256(_), Some(Envelope { before, after })) => {
                let hasher = self.follow(PairHasher::new(&before), PairHasher::update)?;
                Ok(hasher.map(|hasher| {
                    let (content, enveloped) = hasher.finish(&after);
                    Found { content: ContentId::Sha256(content), enveloped: Some(enveloped) }
                }))
            }
            (ContentId::Git(_), envelope) => self.git_digest(envelope),
        })
        .await
    }

    fn git_digest(&self, envelope: Option<Envelope>) -> io::Result<Option<Found>> {
        let mut git = Sha1::new();
        git.update(format!("blob {}\0", self.size));
        let pair = envelope.as_ref().map(|envelope| PairHasher::new(&envelope.before));
        let hashers = self.follow((git, pair), |(git, pair), piece| {
            git.update(piece);
            if let Some(pair) = pair {
                pair.update(piece);
            }
        })?;
        Ok(hashers.map(|(git, pair)| {
            let enveloped = pair.zip(envelope).map(|(pair, envelope)| pair.finish(&envelope.after).1);
            Found { content: ContentId::Git(git.finalize().into()), enveloped }
        }))
    }

    /// Gives every byte to `take`, in order; `None` when they do not all arrive.
    fn follow<H>(&self, mut hasher: H, take: impl Fn(&mut H, &[u8])) -> io::Result<Option<H>> {
        let mut buffer = vec![0; PIECE];
        let mut seen = 0;
        while seen < self.size {
            let Some(ready) = self.frontier.wait_for_more(seen) else { return Ok(None) };
            while seen < ready {
                let length = usize::try_from(ready - seen).unwrap_or(PIECE).min(PIECE);
                self.file.read_exact_at(&mut buffer[..length], seen)?;
                take(&mut hasher, &buffer[..length]);
                seen += length as u64;
            }
        }
        Ok(Some(hasher))
    }
}

fn write(hasher: &mut Hasher<io::Sink>, bytes: &[u8]) {
    io::Write::write_all(hasher, bytes).expect("a sink takes everything");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn arrival(bytes: &[u8]) -> Arrival {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let size = bytes.len() as u64;
        Arrival { file: Arc::new(file), size, frontier: Arc::new(Frontier::new(size)) }
    }

    #[tokio::test]
    async fn a_content_is_told_by_all_its_bytes_in_order() {
        let bytes: Vec<u8> = (0..3 * PIECE + 17).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let arrival = arrival(&bytes);
        let frontier = Arc::clone(&arrival.frontier);
        let sender = async {
            for ready in [1, PIECE as u64, 5, 2 * PIECE as u64 + 3, bytes.len() as u64] {
                frontier.advance(ready);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (before, after) = (Bytes::from_static(&[b'<'; 512]), Bytes::from_static(b">"));
        let all = [&before, bytes.as_slice(), &after].concat();
        let envelope = Envelope { before, after };
        let expected = ContentId::Sha256(Digest::of(&bytes));
        let (found, ()) = tokio::join!(arrival.digest(expected, Examine::Enveloped(envelope)), sender);
        let found = found.unwrap().unwrap();
        assert_eq!(found.content, expected);
        assert_eq!(found.enveloped, Some((Digest::of(&all), all.len() as u64)));
    }

    #[tokio::test]
    async fn small_files_have_the_names_that_git_gives_them() {
        for (text, name) in [
            ("", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
            ("hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
        ] {
            let arrival = arrival(text.as_bytes());
            arrival.frontier.advance(text.len() as u64);
            let envelope = Envelope { before: Bytes::from_static(&[0; 64]), after: Bytes::new() };
            let examine = Examine::Enveloped(envelope);
            let found = arrival.digest(ContentId::Git([0; 20]), examine).await.unwrap().unwrap();
            assert_eq!(found.content.to_string(), name);
            let all = [&[0; 64], text.as_bytes()].concat();
            assert_eq!(found.enveloped, Some((Digest::of(&all), all.len() as u64)));
        }
    }

    #[tokio::test]
    async fn what_never_arrives_is_nothing() {
        let arrival = arrival(b"abc");
        arrival.frontier.advance(2);
        arrival.frontier.abandon();
        assert!(arrival.digest(ContentId::Git([0; 20]), Examine::Content).await.unwrap().is_none());
    }
}
