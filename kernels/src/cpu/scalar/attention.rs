//! Softmax attention in two passes: the largest score, then the weighted sum.

use crate::cpu::views::{Element, Heads};

pub fn attention(heads: Heads) {
    if heads.cache.f16 { attention_as::<u16>(heads) } else { attention_as::<f32>(heads) }
}

fn attention_as<E: Element>(mut heads: Heads) {
    let (head_dim, scale, cache) = (heads.head_dim, heads.scale, heads.cache);
    for (h, q) in heads.q().chunks(head_dim).enumerate() {
        let scores = || {
            heads.spans().flat_map(move |(begin, end)| {
                let (k, v) = cache.rows::<E>(begin, end);
                k.chunks(head_dim).zip(v.chunks(head_dim)).map(move |(k, v)| (scale * dot(q, k), v))
            })
        };
        let largest = scores().fold(f32::NEG_INFINITY, |m, (score, _)| m.max(score));
        let total: f32 = scores().map(|(score, _)| (score - largest).exp()).sum();
        let scores = scores();
        let y = &mut heads.y()[h * head_dim..][..head_dim];
        y.fill(0.0);
        for (score, v) in scores {
            let weight = (score - largest).exp() / total;
            for (y, v) in y.iter_mut().zip(v) {
                *y += weight * v.to_f32();
            }
        }
    }
}

fn dot<E: Element>(q: &[f32], k: &[E]) -> f32 {
    q.iter().zip(k).map(|(q, k)| q * k.to_f32()).sum()
}
