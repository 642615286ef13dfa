//! Sums of some tokens, which are cleared for no more tokens than there are.

use core::mem::MaybeUninit;

use crate::cpu::x86::rows::Rows16;

use super::Avx2;

/// A token's sums of 16 rows.
pub type Sum = <Avx2 as Rows16>::Float;

/// Tokens that share a decoding of the weights: 11 KB of sums, and sixes.
pub const TOKENS: usize = 174;

pub struct Sums([MaybeUninit<Sum>; TOKENS]);

impl Sums {
    pub fn new() -> Sums {
        Sums([const { MaybeUninit::uninit() }; TOKENS])
    }

    /// Zero for the first `tokens`.
    pub fn clear(&mut self, isa: Avx2, tokens: usize) -> &mut [Sum] {
        let sums = &mut self.0[..tokens];
        for sum in &mut *sums {
            sum.write(isa.float(0.0));
        }
        // SAFETY: all of them have just been written.
        unsafe { core::slice::from_raw_parts_mut(sums.as_mut_ptr().cast(), tokens) }
    }
}
