//! Matrix times activations: both dequantized, then a plain sum.

use crate::abi::{ACT_GROUP, BLOCK_ROWS};
use crate::cpu::views::{Epilogue, Q8Rows, Rows};
use crate::pack::Block;

pub fn linear(w: Block, x: Rows, y: Epilogue) {
    for t in 0..x.count() {
        let x = x.row(t);
        y.store(
            t,
            &block_times(w, |first, values| {
                let part = &x[first..x.len().min(first + ACT_GROUP)];
                values[..part.len()].copy_from_slice(part);
            }),
        );
    }
}

pub fn linear_q8(w: Block, x: Q8Rows, y: Epilogue) {
    for t in 0..x.count() {
        let x = x.row(t);
        y.store(
            t,
            &block_times(w, |first, values| {
                let group = &x[first / ACT_GROUP];
                *values = group.q.map(|q| group.scale * f32::from(q));
            }),
        );
    }
}

/// Sums of the block's 16 rows; `inputs(first, out)` gives 32 inputs, zero beyond the last.
fn block_times(w: Block, inputs: impl Fn(usize, &mut [f32; ACT_GROUP])) -> [f32; BLOCK_ROWS] {
    let mut sums = [0.0; BLOCK_ROWS];
    for s in 0..w.cols.div_ceil(ACT_GROUP) {
        let mut x = [0.0; ACT_GROUP];
        inputs(s * ACT_GROUP, &mut x);
        for (r, sum) in sums.iter_mut().enumerate() {
            let mut row = [0.0; ACT_GROUP];
            w.decode(r, s, &mut row);
            *sum += row.iter().zip(&x).map(|(w, x)| w * x).sum::<f32>();
        }
    }
    sums
}
