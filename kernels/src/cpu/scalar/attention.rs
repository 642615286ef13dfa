//! Softmax attention in two passes: the largest score, then the weighted sum.

use crate::abi::Partial;
use crate::cpu::cached::{Element, Heads, Span, each_element, spans};
use crate::cpu::cut::Sums;

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
        let part = heads.sum_of(h).map(|sum| *sum = Partial { most: largest, total });
        let total = if part.is_some() { 1.0 } else { total };
        let y = heads.y_of(h);
        y.fill(0.0);
        for (score, v_scale, v) in scores {
            let weight = (score - largest).exp() / total * v_scale;
            for (y, v) in y.iter_mut().zip(v) {
                *y += weight * v.to_f32();
            }
        }
    }
}

/// The result of what all segments have left.
pub fn join(mut heads: Heads, sums: Sums) {
    for head in 0..heads.count {
        let largest = sums.of(head).fold(f32::NEG_INFINITY, |m, (_, part)| m.max(part.most));
        let share = |part: Partial| (part.most - largest).exp();
        let total: f32 = sums.of(head).map(|(_, part)| share(part) * part.total).sum();
        let y = heads.y_of(head);
        y.fill(0.0);
        for (part_y, part) in sums.of(head) {
            let weight = share(part) / total;
            for (y, part_y) in y.iter_mut().zip(part_y) {
                *y += weight * part_y;
            }
        }
    }
}

fn dot<E: Element>(q: &[f32], span: &Span<E>, p: usize) -> f32 {
    q.iter().enumerate().map(|(i, q)| q * span.key(p, i).to_f32()).sum()
}
