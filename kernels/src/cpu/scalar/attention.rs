//! Softmax attention in two passes: the largest score, then the weighted sum.

use crate::cpu::cached::{Element, Heads, Span, each_element, spans};

pub fn attention(tokens: &mut [Heads]) {
    for heads in tokens {
        each_element!(heads.cache.kind, E => attention_as::<E>(heads));
    }
}

fn attention_as<E: Element>(heads: &mut Heads) {
    let (head_dim, scale, cache) = (heads.head_dim, heads.scale, heads.cache);
    let spans = spans(heads.begin, heads.end);
    for (h, q) in heads.q().chunks(head_dim).enumerate() {
        let scores = || {
            spans.clone().flat_map(move |(begin, end)| {
                let span = cache.span::<E>(begin, end);
                (0..span.len()).map(move |p| {
                    let [k_scale, v_scale] = span.scales(p);
                    (scale * k_scale * dot(q, &span, p), v_scale, &span.v[p * head_dim..][..head_dim])
                })
            })
        };
        let largest = scores().fold(f32::NEG_INFINITY, |m, (score, ..)| m.max(score));
        let total: f32 = scores().map(|(score, ..)| (score - largest).exp()).sum();
        let scores = scores();
        let y = &mut heads.y()[h * head_dim..][..head_dim];
        y.fill(0.0);
        for (score, v_scale, v) in scores {
            let weight = (score - largest).exp() / total * v_scale;
            for (y, v) in y.iter_mut().zip(v) {
                *y += weight * v.to_f32();
            }
        }
    }
}

fn dot<E: Element>(q: &[f32], span: &Span<E>, p: usize) -> f32 {
    q.iter().enumerate().map(|(i, q)| q * span.key(p, i).to_f32()).sum()
}
