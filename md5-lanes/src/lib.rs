//! MD5 (RFC 1321) of eight messages at a time.
//!
//! Each step of MD5 depends on the one before, so one message leaves most of a CPU core idle.
//! Eight messages in vector registers take about 1.6 times as long as one. Tests compare the
//! results with the `md-5` crate, which hashes the rest.
//!
//! It is a separate package because it is compiled for speed, and vm2docker-self for size.

use wide::u32x4;

/// Messages at a time: two registers of four lanes, so that one has work while the other waits.
pub const LANES: usize = 8;
/// Bytes of a block.
pub const BLOCK: usize = 64;
/// The state before the first block.
pub const START: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The state that MD5 carries from block to block.
pub type State = [u32; 4];

const REGISTERS: usize = LANES / 4;
type Word = [u32x4; REGISTERS];

/// Rotations of the four rounds of sixteen steps, by step modulo four. `ORDER` has the order in
/// which each round adds the words.
const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
const ORDER: [(usize, usize); 4] = [(1, 0), (5, 1), (3, 5), (7, 0)];

/// The integer parts of 2^32 times the sines of 1 to 64.
const SINES: [[u32; 16]; 4] = [
    [
        0xd76a_a478,
        0xe8c7_b756,
        0x2420_70db,
        0xc1bd_ceee,
        0xf57c_0faf,
        0x4787_c62a,
        0xa830_4613,
        0xfd46_9501,
        0x6980_98d8,
        0x8b44_f7af,
        0xffff_5bb1,
        0x895c_d7be,
        0x6b90_1122,
        0xfd98_7193,
        0xa679_438e,
        0x49b4_0821,
    ],
    [
        0xf61e_2562,
        0xc040_b340,
        0x265e_5a51,
        0xe9b6_c7aa,
        0xd62f_105d,
        0x0244_1453,
        0xd8a1_e681,
        0xe7d3_fbc8,
        0x21e1_cde6,
        0xc337_07d6,
        0xf4d5_0d87,
        0x455a_14ed,
        0xa9e3_e905,
        0xfcef_a3f8,
        0x676f_02d9,
        0x8d2a_4c8a,
    ],
    [
        0xfffa_3942,
        0x8771_f681,
        0x6d9d_6122,
        0xfde5_380c,
        0xa4be_ea44,
        0x4bde_cfa9,
        0xf6bb_4b60,
        0xbebf_bc70,
        0x289b_7ec6,
        0xeaa1_27fa,
        0xd4ef_3085,
        0x0488_1d05,
        0xd9d4_d039,
        0xe6db_99e5,
        0x1fa2_7cf8,
        0xc4ac_5665,
    ],
    [
        0xf429_2244,
        0x432a_ff97,
        0xab94_23a7,
        0xfc93_a039,
        0x655b_59c3,
        0x8f0c_cc92,
        0xffef_f47d,
        0x8584_5dd1,
        0x6fa8_7e4f,
        0xfe2c_e6e0,
        0xa301_4314,
        0x4e08_11a1,
        0xf753_7e82,
        0xbd3a_f235,
        0x2ad7_d2bb,
        0xeb86_d391,
    ],
];

/// Takes each message's state over its blocks, as many as the shortest has.
pub fn compress(states: &mut [State; LANES], messages: [&[[u8; BLOCK]]; LANES]) {
    let mut state: [Word; 4] = std::array::from_fn(|word| gather(|lane| states[lane][word]));
    let blocks = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    for block in 0..blocks {
        let block = messages.map(|message| &message[block]);
        let words: [Word; 16] = std::array::from_fn(|word| gather(|lane| little_endian(block[lane], word)));
        let mut mixed = state;
        round::<0>(&mut mixed, &words);
        round::<1>(&mut mixed, &words);
        round::<2>(&mut mixed, &words);
        round::<3>(&mut mixed, &words);
        state = std::array::from_fn(|word| std::array::from_fn(|at| state[word][at] + mixed[word][at]));
    }
    for (word, registers) in state.iter().enumerate() {
        let lanes = registers.iter().flat_map(|register| register.to_array());
        states.iter_mut().zip(lanes).for_each(|(state, lane)| state[word] = lane);
    }
}

#[inline(always)]
fn round<const N: usize>(state: &mut [Word; 4], words: &[Word; 16]) {
    let ([mut a, mut b, mut c, mut d], rotations, (factor, offset)) = (*state, ROTATIONS[N], ORDER[N]);
    let add = |step: usize| (&words[(factor * step + offset) % 16], SINES[N][step]);
    for step in (0..16).step_by(4) {
        a = mix::<N>(a, b, c, d, add(step), rotations[0]);
        d = mix::<N>(d, a, b, c, add(step + 1), rotations[1]);
        c = mix::<N>(c, d, a, b, add(step + 2), rotations[2]);
        b = mix::<N>(b, c, d, a, add(step + 3), rotations[3]);
    }
    *state = [a, b, c, d];
}

#[inline(always)]
fn mix<const N: usize>(
    a: Word,
    b: Word,
    c: Word,
    d: Word,
    (word, sine): (&Word, u32),
    rotation: u32,
) -> Word {
    std::array::from_fn(|at| {
        let (b, c, d) = (b[at], c[at], d[at]);
        let chosen = match N {
            0 => d ^ (b & (c ^ d)),
            1 => c ^ (d & (b ^ c)),
            2 => (c ^ d) ^ b,
            _ => c ^ (b | (d ^ u32x4::splat(!0))),
        };
        let sum = a[at] + (word[at] + u32x4::splat(sine)) + chosen;
        ((sum << rotation) | (sum >> (32 - rotation))) + b
    })
}

#[inline(always)]
fn gather(lane: impl Fn(usize) -> u32) -> Word {
    std::array::from_fn(|at| u32x4::new([lane(4 * at), lane(4 * at + 1), lane(4 * at + 2), lane(4 * at + 3)]))
}

#[inline(always)]
fn little_endian(block: &[u8; BLOCK], word: usize) -> u32 {
    u32::from_le_bytes([block[4 * word], block[4 * word + 1], block[4 * word + 2], block[4 * word + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_lane_is_md5(bytes in proptest::collection::vec(any::<u8>(), LANES * BLOCK..LANES * BLOCK * 5)) {
            let (blocks, _) = bytes.as_chunks::<BLOCK>();
            let each = blocks.len() / LANES;
            let messages: [_; LANES] = std::array::from_fn(|lane| &blocks[lane * each..(lane + 1) * each]);
            let mut states = [START; LANES];
            compress(&mut states, messages);
            for (state, message) in states.iter().zip(messages) {
                let mut expected = START;
                md5::block_api::compress(&mut expected, message);
                prop_assert_eq!(*state, expected);
            }
        }
    }
}
