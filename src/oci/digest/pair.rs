//! Two SHA-256 digests in one pass: of a content, and of something larger in which it stands.
//!
//! Where the content begins at a whole block of the larger thing, as it does behind the headers of a tar, both digests see
//! the same blocks. What follows from a block alone (its message schedule) is then computed once, and the rounds of the two
//! fill each other's pauses: on processors with instructions for SHA-256, the second digest costs less than half of
//! the first.

#[cfg(all(target_arch = "x86_64", any(test, not(debug_assertions))))]
mod sha_ni;

use sha2::block_api::compress256;

use super::Digest;

/// Bytes that are mixed in at a time (FIPS 180-4, 5.2.1).
const BLOCK: usize = 64;
/// What a digest begins with (FIPS 180-4, 5.3.3).
const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

type Block = [u8; BLOCK];
type State = [u32; 8];

/// Hashes a content by itself, and with something before and after it.
pub struct PairHasher {
    /// Of the content, and of the larger thing.
    states: [State; 2],
    /// Bytes before the content.
    before: u64,
    /// Bytes of the content so far.
    size: u64,
    /// Those that are no whole block yet.
    begun: Vec<u8>,
}

impl PairHasher {
    /// A content behind `before`.
    ///
    /// # Panics
    /// When `before` does not end with a block of 64 bytes.
    pub fn new(before: &[u8]) -> Self {
        let (blocks, rest) = before.as_chunks();
        assert!(rest.is_empty(), "the content begins with a block");
        let mut enveloped = INITIAL;
        compress256(&mut enveloped, blocks);
        let begun = Vec::with_capacity(BLOCK);
        Self { states: [INITIAL, enveloped], before: before.len() as u64, size: 0, begun }
    }

    /// Takes what follows of the content.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if !self.begun.is_empty() {
            let count = bytes.len().min(BLOCK - self.begun.len());
            self.begun.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if let Some(block) = self.begun.as_array() {
                compress(&mut self.states, &[*block]);
                self.begun.clear();
            }
        }
        let (blocks, rest) = bytes.as_chunks();
        compress(&mut self.states, blocks);
        self.begun.extend_from_slice(rest);
    }

    /// The digest of the content, and digest and size with what stands around it.
    pub fn finish(self, after: &[u8]) -> (Digest, (Digest, u64)) {
        let [content, enveloped] = self.states;
        let size = self.before + self.size + after.len() as u64;
        let rest = [&self.begun, after].concat();
        (complete(content, self.begun, self.size), (complete(enveloped, rest, size), size))
    }
}

/// Mixes in what is left of `size` bytes, and the padding (FIPS 180-4, 5.1.1).
fn complete(mut state: State, mut rest: Vec<u8>, size: u64) -> Digest {
    rest.push(0x80);
    let padded = (rest.len() + size_of::<u64>()).next_multiple_of(BLOCK);
    rest.resize(padded - size_of::<u64>(), 0);
    rest.extend_from_slice(&(size * 8).to_be_bytes());
    compress256(&mut state, rest.as_chunks().0);
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    Digest(digest)
}

/// Mixes the same blocks into both states.
fn compress(states: &mut [State; 2], blocks: &[Block]) {
    // Without optimisation every instruction is a call; the library is optimised in all profiles.
    #[cfg(all(target_arch = "x86_64", not(debug_assertions)))]
    if sha_ni::compress(states, blocks) {
        return;
    }
    for state in states {
        compress256(state, blocks);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn both(before: &[u8], pieces: &[Vec<u8>], after: &[u8]) -> (Digest, (Digest, u64)) {
        let mut hasher = PairHasher::new(before);
        for piece in pieces {
            hasher.update(piece);
        }
        hasher.finish(after)
    }

    proptest! {
        #[test]
        fn both_are_the_digests_of_what_they_stand_for(
            before in prop::collection::vec(any::<Block>(), 0..20),
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            after in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let before = before.as_flattened();
            let content = pieces.concat();
            let all = [before, &content, &after].concat();
            let expected = (Digest::of(&content), (Digest::of(&all), all.len() as u64));
            prop_assert_eq!(both(before, &pieces, &after), expected);
        }

        #[cfg(target_arch = "x86_64")]
        #[test]
        fn the_processor_computes_as_the_library_does(
            states in any::<[State; 2]>(),
            blocks in prop::collection::vec(any::<Block>(), 0..5),
        ) {
            let mut expected = states;
            for state in &mut expected {
                compress256(state, &blocks);
            }
            let mut found = states;
            prop_assert!(sha_ni::compress(&mut found, &blocks) == sha_ni::is_able());
            prop_assert!(found == expected || !sha_ni::is_able());
        }
    }

    #[test]
    fn a_content_that_fills_its_last_block_is_padded_with_another() {
        for length in [0, 55, 56, 63, 64, 65, 119, 120, 128] {
            let content = vec![b'a'; length];
            let (alone, (enveloped, size)) = both(&[], std::slice::from_ref(&content), &[]);
            assert_eq!((alone, enveloped, size), (Digest::of(&content), Digest::of(&content), length as u64));
        }
    }
}
