//! The compression function of SHA-256 (FIPS 180-4, 6.2.2) on two states at a time, by the processor's own instructions.

#![expect(unsafe_code, reason = "instructions that not every processor has")]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
};

use super::{Block, State};

/// Words of a block that are in one register.
const WORDS: usize = 4;
/// FIPS 180-4, 4.2.2.
const CONSTANTS: [[[u32; WORDS]; 4]; 4] = [
    [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    ],
    [
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    ],
    [
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    ],
    [
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ],
];

/// A state as the instructions want it: the words `a b e f`, and `c d g h`.
type Lanes = [__m128i; 2];

/// Mixes blocks into both states; `false`, and nothing done, on a processor without the instructions.
pub(super) fn compress(states: &mut [State; 2], blocks: &[Block]) -> bool {
    let is_able = is_able();
    if is_able {
        // SAFETY: the processor has the features that the function is compiled for, and it asks for nothing else.
        unsafe { compress_both(states, blocks) }
    }
    is_able
}

/// Whether the processor has the instructions.
pub(super) fn is_able() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress_both(states: &mut [State; 2], blocks: &[Block]) {
    let mut both = [lanes(states[0]), lanes(states[1])];
    for block in blocks {
        let before = both;
        let mut words = [load(block, 0), load(block, 1), load(block, 2), load(block, 3)];
        for (sixteen, constants) in CONSTANTS.iter().enumerate() {
            for index in 0..WORDS {
                if sixteen > 0 {
                    words[index] = next_words([0, 1, 2, 3].map(|older| words[(index + older) % WORDS]));
                }
                // Two rounds take the lower half of the sums, two the upper.
                let lower = _mm_add_epi32(words[index], register(constants[index]));
                let upper = _mm_shuffle_epi32(lower, 0b1110);
                for [abef, cdgh] in &mut both {
                    *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, lower);
                }
                for [abef, cdgh] in &mut both {
                    *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, upper);
                }
            }
        }
        for (lanes, before) in both.iter_mut().zip(before) {
            *lanes = [_mm_add_epi32(lanes[0], before[0]), _mm_add_epi32(lanes[1], before[1])];
        }
    }
    *states = [state(both[0]), state(both[1])];
}

/// Four words of the message schedule, from the sixteen before them.
#[target_feature(enable = "sha,ssse3")]
fn next_words([first, second, third, fourth]: [__m128i; 4]) -> __m128i {
    let seven_back = _mm_alignr_epi8(fourth, third, 4);
    _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(first, second), seven_back), fourth)
}

/// Four words of a block, which are written with their highest byte first.
#[target_feature(enable = "ssse3")]
fn load(block: &Block, group: usize) -> __m128i {
    let halves = block.as_chunks::<8>().0;
    let [lower, upper] = [halves[2 * group], halves[2 * group + 1]].map(i64::from_le_bytes);
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    _mm_shuffle_epi8(_mm_set_epi64x(upper, lower), order)
}

#[target_feature(enable = "sse2")]
fn register(words: [u32; WORDS]) -> __m128i {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm_set_epi32(d, c, b, a)
}

#[target_feature(enable = "sse2")]
#[expect(clippy::many_single_char_names, reason = "the standard names the words so")]
fn lanes(state: State) -> Lanes {
    let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
    [_mm_set_epi32(a, b, e, f), _mm_set_epi32(c, d, g, h)]
}

#[target_feature(enable = "sse4.1")]
#[expect(clippy::many_single_char_names, reason = "the standard names the words so")]
fn state([abef, cdgh]: Lanes) -> State {
    let [f, e, b, a] = words(abef);
    let [h, g, d, c] = words(cdgh);
    [a, b, c, d, e, f, g, h]
}

#[target_feature(enable = "sse4.1")]
fn words(lanes: __m128i) -> [u32; WORDS] {
    let words = [
        _mm_extract_epi32::<0>(lanes),
        _mm_extract_epi32::<1>(lanes),
        _mm_extract_epi32::<2>(lanes),
        _mm_extract_epi32::<3>(lanes),
    ];
    words.map(i32::cast_unsigned)
}
