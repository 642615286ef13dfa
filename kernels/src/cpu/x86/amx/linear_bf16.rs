//! Packed bf16 weights times f32 activations, by tiles of 16 tokens × 16 rows.
//!
//! Tiles multiply bf16 by bf16 and add in f32. An activation is given as two bf16, `x = high + low`, which leave 2^-18 of it at most; their
//! products with a weight are exact. That is near what f32's own sums are sure of, at two products of tiles for one. A token's result
//! does not depend on its company: some tokens are multiplied each in a row of its own, and one is multiplied by vectors as tiles would do
//! it, since they would not keep up with memory.
//!
//! For some inputs at a time, activations become planes of bf16, once for all blocks; a block's weights of these inputs become rows of pairs,
//! once for all tokens; and the sums wait in memory while other blocks have their turn.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::views::{Epilogue, Rows};
use crate::cpu::x86::avx512::widened;
use crate::cpu::x86::prefetch;
use crate::cpu::x86::rows::Rows16;
use crate::pack::{Block, Blocks};

use super::Amx;
use super::tiles::{self, Pairs};

/// Tokens that a part's weights are turned into pairs for.
const TOKENS: usize = TILES * tiles::TOKENS;
const TILES: usize = 4;
/// Groups of 32 inputs that are multiplied at a time: 32 KB of activations.
const STEPS: usize = 4;
const BLOCKS: usize = 8;
/// Groups of one token that are split at a time: 8 KB.
const ONE_TOKEN_STEPS: usize = 32;
/// Bytes of 32 inputs of a block.
const STEP_BYTES: usize = 2 * BLOCK_ROWS * ACT_GROUP;

/// A tile: 16 rows of 32 bf16 or of 16 f32.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Tile([__m512i; 16]);

impl Tile {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Tile {
        Tile([_mm512_setzero_si512(); 16])
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub fn linear(isa: Amx, blocks: Blocks, x: Rows, y: &dyn Fn(usize) -> Epilogue) {
    if x.count() == 1 {
        let parts = blocks.in_parts(BLOCKS).enumerate();
        return parts.for_each(|(i, some)| one_token(isa, some, x.row(0), &|b| y(i * BLOCKS + b)));
    }
    for first in (0..x.count()).step_by(TOKENS) {
        let some = x.some(first, TOKENS.min(x.count() - first));
        let tiles = Pairs::new(isa, some.count().min(tiles::TOKENS));
        for (i, blocks) in blocks.in_parts(BLOCKS).enumerate() {
            let blocks = if first == 0 { blocks } else { blocks.in_cache() };
            let y = |b| y(i * BLOCKS + b).from(first);
            match some.count() {
                // Few have less to clear.
                ..=tiles::TOKENS => some_blocks::<1>(isa, &tiles, blocks, some, &y),
                _ => some_blocks::<TILES>(isa, &tiles, blocks, some, &y),
            }
        }
    }
}

/// Up to `BLOCKS` blocks and `T` tiles of tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn some_blocks<const T: usize>(isa: Amx, tiles: &Pairs, blocks: Blocks, x: Rows, y: &dyn Fn(usize) -> Epilogue) {
    let mut sums = [[[_mm512_setzero_ps(); tiles::TOKENS]; T]; BLOCKS];
    let mut planes = [[[Tile::zero(); 2]; STEPS]; T];
    let mut memory = [const { MaybeUninit::uninit() }; STEPS];
    let (count, groups) = (x.count(), x.width().div_ceil(ACT_GROUP));
    for first in (0..groups).step_by(STEPS) {
        let steps = STEPS.min(groups - first);
        for t in 0..x.count() {
            for s in 0..steps {
                let [high, low] = split(x.row(t), (first + s) * ACT_GROUP);
                let planes = &mut planes[t / tiles::TOKENS][s];
                (planes[0].0[t % tiles::TOKENS], planes[1].0[t % tiles::TOKENS]) = (high, low);
            }
        }
        for (w, sums) in blocks.zip(&mut sums) {
            let w = pairs(&w, first, &mut memory[..steps]);
            for (t, (x, sums)) in planes.iter().zip(sums).enumerate().take(count.div_ceil(tiles::TOKENS)) {
                let [high, low] = tiles.multiply(&x[..steps], w);
                for (i, sum) in sums.iter_mut().enumerate().take(count - t * tiles::TOKENS) {
                    // SAFETY: the tiles have written these rows.
                    *sum = _mm512_add_ps(*sum, unsafe { _mm512_add_ps(high[i].assume_init(), low[i].assume_init()) });
                }
            }
        }
    }
    for (b, sums) in sums.iter().enumerate().take(blocks.count()) {
        let y = y(b);
        for (t, sums) in sums.as_flattened().iter().enumerate().take(x.count()) {
            y.store(t, &isa.0.rows(*sums));
        }
    }
}

/// Up to `BLOCKS` blocks and one token, to the bit as tiles do it: they sum a group's even and odd inputs apart, and add up what the two give.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn one_token(isa: Amx, blocks: Blocks, x: &[f32], y: &dyn Fn(usize) -> Epilogue) {
    let mut sums = [_mm512_setzero_ps(); BLOCKS];
    let mut planes = [[[0.0; ACT_GROUP]; 2]; ONE_TOKEN_STEPS];
    for (part, x) in x.chunks(ONE_TOKEN_STEPS * ACT_GROUP).enumerate() {
        let planes = &mut planes[..x.len().div_ceil(ACT_GROUP)];
        for (s, planes) in planes.iter_mut().enumerate() {
            let [high, low] = split(x, s * ACT_GROUP);
            *planes = [floats(high), floats(low)];
        }
        let first = part * ONE_TOKEN_STEPS * STEP_BYTES;
        for (w, sums) in blocks.zip(&mut sums) {
            let bytes = &w.bytes[first..][..planes.len() * STEP_BYTES];
            for (x, bytes) in planes.chunks(STEPS).zip(bytes.chunks(STEPS * STEP_BYTES)) {
                *sums = _mm512_add_ps(*sums, some_steps(&w, bytes, x));
            }
        }
    }
    for (b, sums) in sums.into_iter().enumerate().take(blocks.count()) {
        y(b).store(0, &isa.0.rows(sums));
    }
}

/// Up to `STEPS` groups of a block times both planes of one token.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn some_steps(w: &Block, bytes: &[u8], x: &[[[f32; ACT_GROUP]; 2]]) -> __m512 {
    let mut sums = [_mm512_setzero_ps(); 2];
    for (x, step) in x.iter().zip(bytes.chunks_exact(STEP_BYTES)) {
        prefetch(w, step);
        let mut products = [[_mm512_setzero_ps(); 2]; 2];
        for pair in 0..ACT_GROUP / 2 {
            for odd in 0..2 {
                let i = 2 * pair + odd;
                let w: &[u8; 2 * BLOCK_ROWS] = &step.as_chunks().0[i];
                // SAFETY: 32 bytes.
                let w = widened(unsafe { _mm256_loadu_si256(w.as_ptr().cast()) });
                for plane in 0..2 {
                    products[plane][odd] = _mm512_fmadd_ps(w, _mm512_set1_ps(x[plane][i]), products[plane][odd]);
                }
            }
        }
        for plane in 0..2 {
            sums[plane] = _mm512_add_ps(sums[plane], _mm512_add_ps(products[plane][0], products[plane][1]));
        }
    }
    _mm512_add_ps(sums[0], sums[1])
}

/// A plane as f32.
#[inline]
#[target_feature(enable = "avx512f")]
fn floats(plane: __m512i) -> [f32; ACT_GROUP] {
    let mut values = [0.0; ACT_GROUP];
    let [first, last] = halves(plane);
    // SAFETY: 32 values.
    unsafe {
        _mm512_storeu_ps(values.as_mut_ptr(), first);
        _mm512_storeu_ps(values.as_mut_ptr().add(16), last);
    }
    values
}

/// 32 bf16 as f32.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(plane: __m512i) -> [__m512; 2] {
    [widened(_mm512_castsi512_si256(plane)), widened(_mm512_extracti64x4_epi64::<1>(plane))]
}

/// Inputs `i..i + 32` as `high` and `low`, zero after the last.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn split(x: &[f32], i: usize) -> [__m512i; 2] {
    let x = &x[i..];
    let x = [0, 1].map(|h| {
        let count = x.len().saturating_sub(16 * h).min(16);
        // SAFETY: `count` values are there, and no others are read.
        unsafe { _mm512_maskz_loadu_ps(((1u32 << count) - 1) as __mmask16, x.as_ptr().wrapping_add(16 * h)) }
    });
    let high = _mm512_cvtne2ps_pbh(x[1], x[0]);
    // SAFETY: both are 64 bytes, of which any are allowed.
    let bits: __m512i = unsafe { core::mem::transmute(high) };
    let wide = halves(bits);
    let low = _mm512_cvtne2ps_pbh(_mm512_sub_ps(x[1], wide[1]), _mm512_sub_ps(x[0], wide[0]));
    // SAFETY: as above.
    [bits, unsafe { core::mem::transmute::<__m512bh, __m512i>(low) }]
}

/// Groups `first..` of a block, as many as `out` has, with each row's two consecutive inputs together, as tiles take them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pairs<'a>(w: &Block, first: usize, out: &'a mut [MaybeUninit<Tile>]) -> &'a [Tile] {
    let order = core::array::from_fn::<u16, 32, _>(|i| (i / 2 + i % 2 * BLOCK_ROWS) as u16);
    // SAFETY: 64 bytes.
    let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
    let bytes = &w.bytes[first * STEP_BYTES..][..out.len() * STEP_BYTES];
    for (step, out) in bytes.chunks_exact(STEP_BYTES).zip(&mut *out) {
        prefetch(w, step);
        let twos = step.as_chunks::<64>().0;
        // SAFETY: 64 bytes.
        let pair = |i: usize| unsafe { _mm512_permutexvar_epi16(order, _mm512_loadu_si512(twos[i].as_ptr().cast())) };
        out.write(Tile(core::array::from_fn(pair)));
    }
    // SAFETY: all of them have just been written.
    unsafe { core::slice::from_raw_parts(out.as_ptr().cast(), out.len()) }
}
