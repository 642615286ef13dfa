//! Trellis-coded numbers: a number of `b` bits chooses one of `2^(b + 1)` levels, together with the numbers before it.
//!
//! The levels are dealt to four subsets in turn (level `l` is in subset `l % 4`). The lowest bit of each number goes through a
//! convolutional code of [`MEMORY`] bits, and its two outputs name the number's subset; its other bits say which level of that. So each number
//! has a choice of `2^b` levels, half of them all, but a row of numbers lies on points that are spread in all its dimensions as if they were
//! packed more densely than a grid's: the squared error is some 20 to 25 % less than that of a table with as many bits. (Marcellin and Fischer 1990; the code is Ungerboeck's with 32 states, 1982.)
//! A quantizer finds the best row with Viterbi's algorithm; reading one takes no more than a few exclusive ors, since a subset depends on
//! bits that are stored and on nothing else.
//!
//! The code runs along a row, from zeros at its beginning. Within a step of 32 inputs it goes as their bits lie in a dword of the layout's plane:
//! inputs 0, 4, …, 28, then 1, 5, …, 29, and so on. In such a dword, a bit's predecessors are the bits below.

use crate::abi::ACT_GROUP;

/// Levels of numbers of 2, 3 and 4 bits, which minimize the squared error of normally distributed numbers in groups of 32 whose scale is the best for each.
pub const LEVELS_2: [i8; 32] = symmetric([6, 20, 37, 63]);
pub const LEVELS_3: [i8; 32] = symmetric([3, 10, 17, 24, 32, 40, 50, 63]);
pub const LEVELS_4: [i8; 32] = symmetric([2, 5, 9, 12, 16, 20, 23, 27, 31, 35, 39, 43, 47, 52, 57, 63]);

/// How much more than a level a byte of a kernel is. Bytes of 7 bits have sums of two products in 16 bits, so that a kernel without a dot product of bytes need not
/// look at signs.
pub const ZERO: u8 = 64;

/// These levels below zero and above it.
const fn symmetric<const N: usize>(above: [i8; N]) -> [i8; 32] {
    let (mut levels, mut i) = ([0; 32], 0);
    while i < N {
        (levels[N - 1 - i], levels[N + i]) = (-above[i], above[i]);
        i += 1;
    }
    levels
}

/// How many bits before it a number depends on.
pub const MEMORY: u32 = 5;
/// What a subset's high bit is the parity of: a bit, and those so many before.
pub const HIGH_TAPS: [u32; 2] = [2, 5];
/// Its low bit is the bit so many before.
pub const LOW_TAP: u32 = 3;

/// The input of a step whose bit is number `t` of a dword.
pub const fn input(t: usize) -> usize {
    4 * (t % 8) + t / 8
}

/// The low bits of a row's numbers in a step, as the layout's plane has them.
pub fn dword(q: &[u8; ACT_GROUP]) -> u32 {
    (0..ACT_GROUP).fold(0, |bits, t| bits | u32::from(q[input(t)] & 1) << t)
}

/// The low and the high bits of the subsets of a step's numbers, whose low bits are `bits`, after a step whose are `before`.
pub const fn subsets(bits: u32, before: u32) -> [u32; 2] {
    [earlier(bits, before, LOW_TAP), bits ^ earlier(bits, before, HIGH_TAPS[0]) ^ earlier(bits, before, HIGH_TAPS[1])]
}

/// For each bit, the one `count` before it.
const fn earlier(bits: u32, before: u32, count: u32) -> u32 {
    bits << count | before >> (32 - count)
}

/// The levels of a step's numbers. `before` are the low bits of the step before, and in the end of this one.
pub fn levels(q: &[u8; ACT_GROUP], before: &mut u32) -> [u8; ACT_GROUP] {
    let bits = dword(q);
    let [low, high] = subsets(bits, *before);
    let mut levels = [0; ACT_GROUP];
    for t in 0..ACT_GROUP {
        let subset = (high >> t & 1) << 1 | low >> t & 1;
        levels[input(t)] = (q[input(t)] >> 1) << 2 | subset as u8;
    }
    *before = bits;
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code as a shift register, bit by bit.
    #[test]
    fn levels_are_what_a_shift_register_says() {
        let (mut seed, mut register, mut before) = (1u32, [0u8; 6], 0);
        for _ in 0..8 {
            let q: [u8; ACT_GROUP] = core::array::from_fn(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 28) as u8
            });
            let levels = levels(&q, &mut before);
            for first in 0..4 {
                for input in (first..ACT_GROUP).step_by(4) {
                    register.rotate_right(1);
                    register[0] = q[input] & 1;
                    let [now, _, two, three, _, five] = register;
                    assert_eq!(levels[input], q[input] / 2 * 4 + (now ^ two ^ five) * 2 + three);
                }
            }
        }
    }
}
