//! Numbers of 4 bits times a few tokens, as where sequences decode together: so few that a step costs more to make bytes of, once for all
//! in memory, than anew for each four of them in registers.

use core::mem::MaybeUninit;

use crate::cpu::views::{Epilogue, Q8Rows};
use crate::cpu::x86::numbers::{self, factor};
use crate::cpu::x86::rows::Rows16;
use crate::cpu::x86::steps::{Decode, Decoded, Decoder, Steps};
use crate::layout::{Format, Kind};
use crate::pack::Block;

use super::Avx2;
use super::linear_q8::add_min;
use super::small::{self, Constants};
use super::sums::{Sum, Sums};

/// The most tokens that this is the faster way for.
pub const TOKENS: usize = 24;
/// Steps that all tokens pass by while these lie in the first cache: 4 KB.
const STEPS: usize = 16;

/// Kinds whose steps are 16 scales or less and a plane of 4 bits.
pub const fn takes(kind: u32) -> bool {
    matches!(Kind::ALL[kind as usize], Kind::I4 | Kind::I4Min | Kind::K4)
}

/// A step as it is stored, and its scales and minima.
pub struct Packed {
    numbers: *const u8,
    scales: Sum,
    mins: Sum,
}

/// # Safety
/// `steps` are a block's of this kind.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn unpack_scales<const KIND: u32>(isa: Avx2, steps: &mut Steps, out: &mut [MaybeUninit<Packed>]) -> usize {
    let format = const { numbers::format::<KIND>() };
    steps.each::<KIND, _>(out, |step, out| {
        let (header, (subs, numbers)) = (step.header, step.bytes.split_at(format.sub_bytes()));
        let scales = factor::<Avx2, KIND>(isa, header, subs, (0, 0));
        let mins = if format.min { factor::<Avx2, KIND>(isa, header, subs, (1, 0)) } else { isa.float(0.0) };
        // SAFETY: `each` gives places in `out`.
        unsafe { out.write(Packed { numbers: numbers.as_ptr(), scales, mins }) };
    })
}

/// No more than `TOKENS` of them.
///
/// # Safety
/// `unpack` does what its type says.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn some_tokens(isa: Avx2, w: &Block, x: Q8Rows, y: &Epilogue, unpack: Decode<Avx2, Packed>) {
    // Found out here, it is no reason for the compiler to make a copy for each kind.
    let Some(format) = w.kind.format() else { return };
    let mut sums = Sums::new();
    let sums = sums.clear(isa, x.count().next_multiple_of(4));
    let mut steps = [const { MaybeUninit::<Packed>::uninit() }; STEPS];
    // SAFETY: the caller's promise.
    let mut decoder = unsafe { Decoder::new(w, unpack) };
    while let Some(steps) = decoder.next(isa, &mut steps) {
        for (i, sums) in sums.as_chunks_mut().0.iter_mut().enumerate() {
            four_tokens(isa, &steps, format, x, 4 * i, sums);
        }
    }
    for t in 0..x.count() {
        y.store(t, &isa.rows(sums[t]));
    }
}

/// Tokens `t..t + 4`; the last stands for those that there are not.
#[target_feature(enable = "avx2,fma,f16c")]
fn four_tokens(isa: Avx2, w: &Decoded<Packed>, format: Format, x: Q8Rows, t: usize, sums: &mut [Sum; 4]) {
    let constants = &Constants::new(numbers::zero::<Avx2>(format) as i16);
    // Groups of the step that is next, for each token.
    let mut x = [t, t + 1, t + 2, t + 3].map(|t| x.row(t.min(x.count() - 1))[w.first..][..w.steps.len()].as_ptr());
    let mut ahead = w.ahead.in_parts(if t == 0 { w.steps.len() } else { 0 });
    for step in w.steps {
        ahead.next();
        // SAFETY: rows have a group for each step, as was checked; the numbers are those of a step of `w`.
        unsafe {
            if format.min {
                add_min(isa, step.mins, [1, 1], x.map(|x| &*x), sums);
            }
            small::four(step.numbers, &step.scales, x, constants, sums);
        }
        x = x.map(|x| x.wrapping_add(1));
    }
}
