//! Attention with a running softmax over the cache's blocks; query heads of one KV head share its loads.
//!
//! After each block: `m` the largest score so far, `l` the sum of `exp(score - m)`, `y` the sum of `exp(score - m) v`;
//! where `m` grows, `l` and `y` are multiplied by `exp(m_old - m_new)`. At the end `y / l`.

use core::arch::x86_64::*;

use crate::abi::{KV_BLOCK, KV_TILE};
use crate::cpu::scalar;
use crate::cpu::views::{ATTENTION_TOKENS, Heads, Span, spans};

use super::lanes::{Cell, exp, largest, load, store, sum};

/// Of each head and position of a block.
type Scores<const H: usize> = [[[f32; 8]; KV_BLOCK / 8]; H];

#[target_feature(enable = "avx2,fma,f16c")]
pub fn attention(tokens: &mut [Heads]) {
    match tokens {
        [] => {}
        [first, ..] if !first.head_dim.is_multiple_of(8) => scalar::attention::attention(tokens),
        [first, ..] if first.cache.f16 => all_heads::<u16>(tokens),
        _ => all_heads::<f32>(tokens),
    }
}

/// Up to three heads at a time with as many vectors of each as fit the registers.
#[target_feature(enable = "avx2,fma,f16c")]
fn all_heads<E: Cell>(tokens: &mut [Heads]) {
    let count = tokens[0].count;
    let mut h = 0;
    while h < count {
        h += match count - h {
            1 => some_heads::<E, 1, 4>(tokens, h),
            2 | 4 => some_heads::<E, 2, 4>(tokens, h),
            _ => some_heads::<E, 3, 3>(tokens, h),
        };
    }
}

/// `m` and `l` of each head.
#[derive(Clone, Copy)]
struct Running<const H: usize> {
    most: [f32; H],
    total: [f32; H],
}

/// Heads `first..first + H`, `V` vectors of each at a time; returns `H`. All tokens visit a block while it is in the
/// nearest cache; what a token computes does not depend on the others.
#[target_feature(enable = "avx2,fma,f16c")]
fn some_heads<E: Cell, const H: usize, const V: usize>(tokens: &mut [Heads], first: usize) -> usize {
    let mut running = [Running { most: [f32::NEG_INFINITY; H], total: [0.0; H] }; ATTENTION_TOKENS];
    let (begin, end) = tokens.iter().fold((usize::MAX, 0), |(b, e), token| (b.min(token.begin), e.max(token.end)));
    for token in &mut *tokens {
        let width = token.head_dim;
        token.y()[first * width..][..H * width].fill(0.0);
    }
    for (begin, end) in spans(begin, end) {
        for (token, running) in tokens.iter_mut().zip(&mut running) {
            let (begin, end) = (begin.max(token.begin), end.min(token.end));
            if begin < end {
                visit::<E, H, V>(token, first, token.cache.span(begin, end), running);
            }
        }
    }
    for (token, running) in tokens.iter_mut().zip(&running) {
        finish(token, first, &running.total);
    }
    H
}

/// One token's step over one block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn visit<E: Cell, const H: usize, const V: usize>(
    token: &mut Heads,
    first: usize,
    span: Span<E>,
    running: &mut Running<H>,
) {
    let (head_dim, scale) = (token.head_dim, token.scale);
    let mut scores = [[[0.0; 8]; KV_BLOCK / 8]; H];
    dots::<E, H, V>(&token.q()[first * head_dim..][..H * head_dim], &span, &mut scores);
    let mut shrink = [0.0; H];
    for h in 0..H {
        let scores = &mut scores[h].as_flattened_mut()[..span.k.len() / head_dim];
        scores[..span.skip].fill(f32::NEG_INFINITY);
        scores[span.skip + span.len()..].fill(f32::NEG_INFINITY);
        shrink[h] = soften(scores, scale, &mut running.most[h], &mut running.total[h]);
    }
    weigh::<E, H, V>(&scores, &span, shrink, &mut token.y()[first * head_dim..][..H * head_dim]);
}

/// `y / l`
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn finish<const H: usize>(token: &mut Heads, first: usize, total: &[f32; H]) {
    let head_dim = token.head_dim;
    for (y, total) in token.y()[first * head_dim..].chunks_exact_mut(head_dim).zip(total) {
        let inverse = _mm256_set1_ps(1.0 / total);
        for y in y.as_chunks_mut().0 {
            store(y, _mm256_mul_ps(load(y), inverse));
        }
    }
}

/// `scores[h][p] = q_h · k_p` for all positions of the span's tiles.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dots<E: Cell, const H: usize, const V: usize>(q: &[f32], span: &Span<E>, scores: &mut Scores<H>) {
    let tiles = span.k.len() / (KV_TILE * span.head_dim);
    let mut i = 0;
    while i < tiles {
        i += if i + V <= tiles {
            dots_part::<E, H, V>(q, span, i, scores)
        } else if i + 2 <= tiles {
            dots_part::<E, H, 2>(q, span, i, scores)
        } else {
            dots_part::<E, H, 1>(q, span, i, scores)
        };
    }
}

/// Tiles `i..i + V`; returns `V`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dots_part<E: Cell, const H: usize, const V: usize>(
    q: &[f32],
    span: &Span<E>,
    i: usize,
    scores: &mut Scores<H>,
) -> usize {
    let head_dim = span.head_dim;
    let mut tiles: [&[[E; 8]]; V] = [&[]; V];
    for j in 0..V {
        tiles[j] = &span.k.as_chunks().0[(i + j) * head_dim..][..head_dim];
    }
    let mut queries: [&[f32]; H] = [&[]; H];
    for h in 0..H {
        queries[h] = &q[h * head_dim..][..head_dim];
    }
    let mut sums = [[_mm256_setzero_ps(); V]; H];
    for d in 0..head_dim {
        let mut k = [_mm256_setzero_ps(); V];
        for j in 0..V {
            // SAFETY: this function has the features.
            k[j] = unsafe { E::load8(&tiles[j][d]) };
        }
        for h in 0..H {
            let q = _mm256_set1_ps(queries[h][d]);
            for j in 0..V {
                sums[h][j] = _mm256_fmadd_ps(q, k[j], sums[h][j]);
            }
        }
    }
    for h in 0..H {
        for j in 0..V {
            store(&mut scores[h][i + j], sums[h][j]);
        }
    }
    V
}

/// Turns one head's scores into weights and updates its `m` and `l`; returns by what earlier sums shrink.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn soften(scores: &mut [f32], scale: f32, most: &mut f32, total: &mut f32) -> f32 {
    let scale = _mm256_set1_ps(scale);
    let mut here = _mm256_set1_ps(*most);
    for score in scores.as_chunks_mut().0 {
        let scaled = _mm256_mul_ps(load(score), scale);
        here = _mm256_max_ps(scaled, here);
        store(score, scaled);
    }
    let new = largest(here);
    let mut sums = _mm256_setzero_ps();
    for score in scores.as_chunks_mut().0 {
        let weight = exp(_mm256_sub_ps(load(score), _mm256_set1_ps(new)));
        sums = _mm256_add_ps(sums, weight);
        store(score, weight);
    }
    let shrink = (*most - new).exp();
    *most = new;
    *total = *total * shrink + sum(sums);
    shrink
}

/// `y_h = y_h * shrink_h + sum over p of scores[h][p] * v_p`
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weigh<E: Cell, const H: usize, const V: usize>(scores: &Scores<H>, span: &Span<E>, shrink: [f32; H], y: &mut [f32]) {
    let steps = span.head_dim / 8;
    let mut i = 0;
    while i < steps {
        i += if i + V <= steps {
            weigh_part::<E, H, V>(scores, span, i, &shrink, y)
        } else if i + 2 <= steps {
            weigh_part::<E, H, 2>(scores, span, i, &shrink, y)
        } else {
            weigh_part::<E, H, 1>(scores, span, i, &shrink, y)
        };
    }
}

/// Vectors `i..i + V` of each head; returns `V`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weigh_part<E: Cell, const H: usize, const V: usize>(
    scores: &Scores<H>,
    span: &Span<E>,
    i: usize,
    shrink: &[f32; H],
    y: &mut [f32],
) -> usize {
    let steps = span.head_dim / 8;
    let (y, _) = y.as_chunks_mut::<8>();
    let mut weights: [&[f32]; H] = [&[]; H];
    for h in 0..H {
        weights[h] = &scores[h].as_flattened()[span.skip..][..span.len()];
    }
    let mut sums = [[_mm256_setzero_ps(); V]; H];
    for h in 0..H {
        for j in 0..V {
            sums[h][j] = _mm256_mul_ps(load(&y[h * steps + i + j]), _mm256_set1_ps(shrink[h]));
        }
    }
    for (p, row) in span.v.as_chunks().0.chunks_exact(steps).enumerate() {
        let row = &row[i..i + V];
        let mut v = [_mm256_setzero_ps(); V];
        for j in 0..V {
            // SAFETY: this function has the features.
            v[j] = unsafe { E::load8(&row[j]) };
        }
        for h in 0..H {
            let weight = _mm256_set1_ps(weights[h][p]);
            for j in 0..V {
                sums[h][j] = _mm256_fmadd_ps(weight, v[j], sums[h][j]);
            }
        }
    }
    for h in 0..H {
        for j in 0..V {
            store(&mut y[h * steps + i + j], sums[h][j]);
        }
    }
    V
}
