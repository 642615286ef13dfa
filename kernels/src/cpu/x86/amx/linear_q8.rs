//! Packed weights of any quantized kind times Q8 activations, by tiles of 16 tokens × 16 rows. The result is `vnni`'s, to the bit.
//!
//! Some steps of a block at a time become bytes, and all tokens pass by while these lie in the first cache. Of each step and tile there are
//! integer sums, which come out of the tiles through memory and are scaled and added up in vectors.

use core::arch::x86_64::*;
use core::hint::black_box;
use core::mem::MaybeUninit;

use crate::abi::ACT_GROUP;
use crate::cpu::Isa;
use crate::cpu::scalar;
use crate::cpu::views::{Epilogue, Q8Rows, Q8Tile};
use crate::cpu::x86::avx512::Avx512;
use crate::cpu::x86::numbers::{self, COLUMNS, each_kind};
use crate::cpu::x86::rows::Rows16;
use crate::cpu::x86::steps::{self, Decode, Decoded, Decoder, Step, Steps};
use crate::layout::Format;
use crate::pack::{Block, Blocks};

use super::Amx;
use super::tiles::{self, Bytes};

/// Tokens that share a decoding of the weights: 16 KB of sums.
pub const TOKENS: usize = 256;
/// Steps that are decoded at a time: 6 KB, and 16 KB of a tile's products.
const STEPS: usize = 8;

/// Tiles of these.
const PRODUCTS: usize = 2 * STEPS;

pub fn linear_q8(isa: Amx, blocks: Blocks, x: Q8Rows, y: &dyn Fn(usize) -> Epilogue) {
    if x.count() < tiles::TOKENS {
        return blocks.enumerate().for_each(|(i, w)| isa.0.linear_q8(w, x, y(i)));
    }
    each_kind!(blocks.kind(), KIND => {
        // SAFETY: a value of `Amx` proves that the CPU has the features; `decode` writes a step.
        unsafe { all_blocks(isa, blocks, x, y, const { numbers::format::<KIND>() }, black_box(decode::<KIND>)) }
    }, float => blocks.enumerate().for_each(|(i, w)| scalar::linear::linear_q8(w, x, y(i))));
}

/// # Safety
/// `decode` does what its type says.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn all_blocks(
    isa: Amx,
    blocks: Blocks,
    x: Q8Rows,
    y: &dyn Fn(usize) -> Epilogue,
    format: Format,
    decode: Decode<Avx512>,
) {
    let tiled = x.count() - x.count() % tiles::TOKENS;
    let tiles = Bytes::new(isa, ACT_GROUP / format.parts());
    for (i, w) in blocks.enumerate() {
        let y = y(i);
        for first in (0..tiled).step_by(TOKENS) {
            let some = x.some(first, TOKENS.min(tiled - first));
            // SAFETY: the caller's promise.
            unsafe { some_tokens(isa, &tiles, &w.at(first), some, &y.from(first), format, decode) };
        }
        if tiled < x.count() {
            isa.0.linear_q8(w.at(tiled), x.some(tiled, x.count() - tiled), y.from(tiled));
        }
    }
}

/// Whole tiles, up to `TOKENS` tokens.
///
/// # Safety
/// `decode` does what its type says.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn some_tokens(
    isa: Amx,
    tiles: &Bytes,
    w: &Block,
    x: Q8Rows,
    y: &Epilogue,
    format: Format,
    decode: Decode<Avx512>,
) {
    let mut sums = [_mm512_setzero_ps(); TOKENS];
    let mut decoded = [const { MaybeUninit::<Step<Avx512>>::uninit() }; STEPS];
    // SAFETY: the caller's promise.
    let mut decoder = unsafe { Decoder::new(w, decode) };
    while let Some(steps) = decoder.next(isa.0, &mut decoded) {
        match (format.parts(), format.min) {
            (1, false) => all_tiles::<1, false>(isa, tiles, &steps, x, &mut sums),
            (1, true) => all_tiles::<1, true>(isa, tiles, &steps, x, &mut sums),
            (_, false) => all_tiles::<2, false>(isa, tiles, &steps, x, &mut sums),
            (_, true) => all_tiles::<2, true>(isa, tiles, &steps, x, &mut sums),
        }
    }
    for t in 0..x.count() {
        y.store(t, &isa.0.rows(sums[t]));
    }
}

/// The values themselves as signed bytes, which tiles take.
///
/// # Safety
/// `steps` are a block's of this kind.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn decode<const KIND: u32>(isa: Avx512, steps: &mut Steps, out: &mut [MaybeUninit<Step<Avx512>>]) -> usize {
    let zero = _mm512_set1_epi8(const { numbers::zero::<Avx512>(numbers::format::<KIND>()) as u8 as i8 });
    steps.each::<KIND, _>(out, |step, out| {
        // SAFETY: `each` gives places in `out`.
        let step = unsafe {
            steps::decode::<Avx512, KIND>(isa, step, out);
            &mut *out
        };
        step.columns = step.columns.map(|bytes| _mm512_sub_epi8(bytes, zero));
    })
}

/// Adds what these steps add to all tokens' sums.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn all_tiles<const PARTS: usize, const MIN: bool>(
    isa: Amx,
    tiles: &Bytes,
    w: &Decoded<Step<Avx512>>,
    x: Q8Rows,
    sums: &mut [__m512; TOKENS],
) {
    let mut ahead = w.ahead.in_parts(x.count() / tiles::TOKENS);
    for (i, sums) in sums.as_chunks_mut().0[..x.count() / tiles::TOKENS].iter_mut().enumerate() {
        ahead.next();
        tile::<PARTS, MIN>(isa, tiles, w, x.tile(i * tiles::TOKENS), sums);
    }
}

/// The tokens of a tile.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tile<const PARTS: usize, const MIN: bool>(
    isa: Amx,
    tiles: &Bytes,
    w: &Decoded<Step<Avx512>>,
    x: Q8Tile<{ tiles::TOKENS }>,
    sums: &mut [__m512; tiles::TOKENS],
) {
    let mut products = [const { MaybeUninit::uninit() }; PRODUCTS];
    // Steps of which the compiler knows no number are not unrolled, of which there would be much.
    let products = black_box(&mut products[..]);
    for (s, step) in w.steps.iter().enumerate() {
        for part in 0..PARTS {
            let (inputs, columns) = (part * ACT_GROUP / PARTS, part * COLUMNS / PARTS);
            let (x, w) = (x.bytes(w.first + s, inputs), &step.columns[columns..]);
            // SAFETY: a group has as many bytes from its part's first on, and a step as many vectors, as the tiles have inputs and rows.
            unsafe { tiles.multiply(x, w.as_ptr(), &mut products[s * PARTS + part]) };
        }
    }
    // Sums in registers.
    let mut local = *sums;
    for (s, step) in w.steps.iter().enumerate() {
        let x = x.groups(w.first + s);
        for part in 0..PARTS {
            // SAFETY: the tiles have written these.
            let products = unsafe { products[s * PARTS + part].assume_init_ref() };
            for t in 0..tiles::TOKENS {
                let x_scale = isa.0.float(x[t].scale);
                if MIN {
                    let pick = if PARTS == 1 { [1, 1] } else { [1 - part as i16, part as i16] };
                    let total = isa.0.to_float(isa.0.weighted_sum(x[t].sums, pick));
                    local[t] = isa.0.fma(step.mins[part], isa.0.mul(total, x_scale), local[t]);
                }
                let product = isa.0.mul(isa.0.to_float(products[t]), x_scale);
                local[t] = isa.0.fma(product, step.scales[part], local[t]);
            }
        }
    }
    *sums = local;
}
