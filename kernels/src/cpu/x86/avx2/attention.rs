//! Attention with a running softmax over the cache's blocks; query heads of one KV head share its loads.
//!
//! After each block: `m` the largest score so far, `l` the sum of `exp(score - m)`, `y` the sum of `exp(score - m) v`;
//! where `m` grows, `l` and `y` are multiplied by `exp(m_old - m_new)`. At the end `y / l`.

use core::arch::x86_64::*;

use crate::abi::KV_BLOCK;
use crate::cpu::scalar;
use crate::cpu::views::Heads;

use super::lanes::{Cell, exp, largest, load, store, sum, sum_each};

#[target_feature(enable = "avx2,fma,f16c")]
pub fn attention(heads: Heads) {
    if !heads.head_dim.is_multiple_of(8) {
        return scalar::attention::attention(heads);
    }
    if heads.cache.f16 { all_heads::<u16>(heads) } else { all_heads::<f32>(heads) }
}

/// Heads in threes: 3 heads × 4 positions of scores fill the registers.
#[target_feature(enable = "avx2,fma,f16c")]
fn all_heads<E: Cell>(mut heads: Heads) {
    let mut h = 0;
    while h < heads.count {
        h += match heads.count - h {
            1 => some_heads::<E, 1>(&mut heads, h),
            2 | 4 => some_heads::<E, 2>(&mut heads, h),
            _ => some_heads::<E, 3>(&mut heads, h),
        };
    }
}

/// Heads `first..first + H`; returns `H`.
#[target_feature(enable = "avx2,fma,f16c")]
fn some_heads<E: Cell, const H: usize>(heads: &mut Heads, first: usize) -> usize {
    let (head_dim, scale, cache) = (heads.head_dim, heads.scale, heads.cache);
    let q = &heads.q()[first * head_dim..][..H * head_dim];
    let spans = heads.spans();
    let y = &mut heads.y()[first * head_dim..][..H * head_dim];
    y.fill(0.0);
    let (mut most, mut total) = ([f32::NEG_INFINITY; H], [0.0; H]);
    for (begin, end) in spans {
        let (k, v) = cache.rows::<E>(begin, end);
        let mut scores = [[f32::NEG_INFINITY; KV_BLOCK]; H];
        dots::<E, H>(q, k, head_dim, &mut scores);
        let mut shrink = [0.0; H];
        for h in 0..H {
            shrink[h] = soften(&mut scores[h], scale, end - begin, &mut most[h], &mut total[h]);
        }
        weigh::<E, H>(&scores, v, head_dim, shrink, y);
    }
    for (y, total) in y.chunks_exact_mut(head_dim).zip(total) {
        let inverse = _mm256_set1_ps(1.0 / total);
        for y in y.as_chunks_mut().0 {
            store(y, _mm256_mul_ps(load(y), inverse));
        }
    }
    H
}

/// `scores[h][p] = q_h · k_p`, four positions at a time.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dots<E: Cell, const H: usize>(q: &[f32], k: &[E], head_dim: usize, scores: &mut [[f32; KV_BLOCK]; H]) {
    let steps = head_dim / 8;
    let (q, _) = q.as_chunks::<8>();
    let fours = k.chunks_exact(4 * head_dim);
    let rest = fours.remainder();
    let mut p = 0;
    for four in fours {
        let (four, _) = four.as_chunks::<8>();
        let mut sums = [[_mm256_setzero_ps(); 4]; H];
        for i in 0..steps {
            for j in 0..4 {
                // SAFETY: this function has the features.
                let k = unsafe { E::load8(&four[j * steps + i]) };
                for h in 0..H {
                    sums[h][j] = _mm256_fmadd_ps(load(&q[h * steps + i]), k, sums[h][j]);
                }
            }
        }
        for h in 0..H {
            // SAFETY: four scores from p on: a span has at most KV_BLOCK positions.
            unsafe { _mm_storeu_ps(scores[h][p..p + 4].as_mut_ptr(), sum_each(sums[h])) }
        }
        p += 4;
    }
    for row in rest.chunks_exact(head_dim) {
        let (row, _) = row.as_chunks::<8>();
        for h in 0..H {
            let mut total = _mm256_setzero_ps();
            for i in 0..steps {
                // SAFETY: this function has the features.
                total = _mm256_fmadd_ps(load(&q[h * steps + i]), unsafe { E::load8(&row[i]) }, total);
            }
            scores[h][p] = sum(total);
        }
        p += 1;
    }
}

/// Turns one head's scores into weights and updates its `m` and `l`; returns by what earlier sums shrink.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn soften(scores: &mut [f32; KV_BLOCK], scale: f32, count: usize, most: &mut f32, total: &mut f32) -> f32 {
    let scale = _mm256_set1_ps(scale);
    let used = &mut scores.as_chunks_mut::<8>().0[..count.div_ceil(8)];
    let mut here = _mm256_set1_ps(*most);
    for score in used.iter_mut() {
        let scaled = _mm256_mul_ps(load(score), scale);
        here = _mm256_max_ps(scaled, here);
        store(score, scaled);
    }
    let new = largest(here);
    let mut sums = _mm256_setzero_ps();
    for score in used {
        let weight = exp(_mm256_sub_ps(load(score), _mm256_set1_ps(new)));
        sums = _mm256_add_ps(sums, weight);
        store(score, weight);
    }
    let shrink = (*most - new).exp();
    *most = new;
    *total = *total * shrink + sum(sums);
    shrink
}

/// `y_h = y_h * shrink_h + sum over p of scores[h][p] * v_p`, 32 values of a head at a time: 3 heads × 4 vectors of sums.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weigh<E: Cell, const H: usize>(
    scores: &[[f32; KV_BLOCK]; H],
    v: &[E],
    head_dim: usize,
    shrink: [f32; H],
    y: &mut [f32],
) {
    let steps = head_dim / 8;
    let (v, _) = v.as_chunks::<8>();
    let (y, _) = y.as_chunks_mut::<8>();
    let mut i = 0;
    while i < steps {
        i += if i + 4 <= steps {
            weigh_part::<E, H, 4>(scores, v, steps, i, &shrink, y)
        } else {
            weigh_part::<E, H, 1>(scores, v, steps, i, &shrink, y)
        };
    }
}

/// Vectors `i..i + V` of each head; returns `V`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weigh_part<E: Cell, const H: usize, const V: usize>(
    scores: &[[f32; KV_BLOCK]; H],
    v: &[[E; 8]],
    steps: usize,
    i: usize,
    shrink: &[f32; H],
    y: &mut [[f32; 8]],
) -> usize {
    let mut sums = [[_mm256_setzero_ps(); V]; H];
    for h in 0..H {
        for j in 0..V {
            sums[h][j] = _mm256_mul_ps(load(&y[h * steps + i + j]), _mm256_set1_ps(shrink[h]));
        }
    }
    for (p, row) in v.chunks_exact(steps).take(KV_BLOCK).enumerate() {
        let row = &row[i..i + V];
        for j in 0..V {
            // SAFETY: this function has the features.
            let v = unsafe { E::load8(&row[j]) };
            for h in 0..H {
                sums[h][j] = _mm256_fmadd_ps(_mm256_set1_ps(scores[h][p]), v, sums[h][j]);
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
