//! Norm, rotation and cache write of one `[q | k | v]` row in one op; attention then reads the cache.
//!
//! ```text
//! %2: f32[n, 64] = slice_cols %1 {…}                 %2: f32[n, 64] = rope_kv %1, %t, q_norm = @qn: … {layer = 0, …}
//! %3: f32[n, 32] = slice_cols %1 {…}                 %3: f32[n, 64] = cached_attention %2 {layer = 0, …}
//! %4: f32[n, 32] = slice_cols %1 {…}
//! %5: f32[n, 64] = rms_norm %2, @qn: … {chunk = 8}
//! %6: f32[n, 64] = rope %5, %t
//! %7: f32[n, 32] = rope %3, %t
//! %8: f32[n, 64] = attention %6, %7, %4 {layer = 0, …}
//! ```
//! Where q, k and v are not one row already, `concat_cols` makes it.

use tc_ir::{Graph, Op, Value, Weight};

use super::rewrite::{Rewriter, join_slices, rewrite};

pub(super) fn run(graph: &Graph) -> Graph {
    rewrite(graph, |rewriter, _, op| match *op {
        Op::Attention { q, k, v, layer, heads, kv_heads, head_dim, scale, window } => {
            let (q, k) = (Rotated::find(graph, q, head_dim)?, Rotated::find(graph, k, head_dim)?);
            let eps = common_eps(&q, &k)?;
            if q.table != k.table {
                return None;
            }
            let qkv = joined(graph, rewriter, &[q.x, k.x, v])?;
            let (q_norm, k_norm) = (q.norm.map(|(w, _)| w.clone()), k.norm.map(|(w, _)| w.clone()));
            let table = rewriter.mapped(q.table);
            let q = rewriter.push(Op::RopeKv { qkv, table, q_norm, k_norm, layer, heads, kv_heads, head_dim, eps });
            Some(rewriter.push(Op::CachedAttention { q, layer, heads, kv_heads, head_dim, scale, window }))
        }
        _ => None,
    })
}

/// `rope(x)` or `rope(rms_norm(x))`.
struct Rotated<'g> {
    x: Value,
    norm: Option<(&'g Weight, f32)>,
    table: Value,
}

impl<'g> Rotated<'g> {
    fn find(graph: &'g Graph, value: Value, head_dim: u32) -> Option<Rotated<'g>> {
        let Op::Rope { x, table } = graph.op(value) else { return None };
        match graph.op(*x) {
            Op::RmsNorm { x, w, eps, chunk: Some(chunk) } if *chunk == head_dim => {
                Some(Rotated { x: *x, norm: Some((w, *eps)), table: *table })
            }
            _ => Some(Rotated { x: *x, norm: None, table: *table }),
        }
    }
}

/// The kernel has one eps; 0 where it norms nothing.
fn common_eps(q: &Rotated, k: &Rotated) -> Option<f32> {
    match (q.norm, k.norm) {
        (Some((_, q)), Some((_, k))) if q != k => None,
        (Some((_, eps)), _) | (None, Some((_, eps))) => Some(eps),
        (None, None) => Some(0.0),
    }
}

/// One value with the columns of all.
fn joined(graph: &Graph, rewriter: &mut Rewriter, parts: &[Value]) -> Option<Value> {
    let parts: Vec<Value> = join_slices(graph, parts).into_iter().map(|part| rewriter.mapped(part)).collect();
    parts.into_iter().reduce(|a, b| rewriter.push(Op::ConcatCols { a, b }))
}
