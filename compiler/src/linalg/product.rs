//! Products of dense matrices, each on the core that asks for it: who has several to make lets every core make one.

use super::gram::{TALL, WIDE, multiply};

/// Terms of the sums that are packed at a time: then two panels of the right side stay in the first cache, those of the left in the second.
const DEEP: usize = 192;

/// A row-major matrix as one side of a product.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    values: &'a [f32],
    cols: usize,
    along: Along,
}

/// What of a matrix is summed over.
#[derive(Clone, Copy)]
enum Along {
    Rows,
    Columns,
}

impl<'a> Side<'a> {
    /// Each of its rows meets each of the other side's vectors.
    pub fn rows(values: &'a [f32], cols: usize) -> Side<'a> {
        Side { values, cols, along: Along::Rows }
    }

    /// Each of its columns does.
    pub fn columns(values: &'a [f32], cols: usize) -> Side<'a> {
        Side { values, cols, along: Along::Columns }
    }

    fn vectors(self) -> usize {
        match self.along {
            Along::Rows => self.values.len() / self.cols,
            Along::Columns => self.cols,
        }
    }

    fn depth(self) -> usize {
        match self.along {
            Along::Rows => self.cols,
            Along::Columns => self.values.len() / self.cols,
        }
    }

    /// Numbers `begin..begin + depth` of vectors `first..first + N`; those of vectors that are not there are zero.
    fn pack<const N: usize>(self, first: usize, begin: usize, packed: &mut [[f32; N]]) {
        let count = N.min(self.vectors() - first);
        if count < N {
            packed.fill([0.0; N]);
        }
        match self.along {
            Along::Columns => {
                let rows = self.values[begin * self.cols..].chunks(self.cols);
                packed.iter_mut().zip(rows).for_each(|(out, row)| out[..count].copy_from_slice(&row[first..][..count]));
            }
            Along::Rows => {
                for i in 0..count {
                    let row = &self.values[(first + i) * self.cols + begin..][..packed.len()];
                    packed.iter_mut().zip(row).for_each(|(out, value)| out[i] = *value);
                }
            }
        }
    }
}

/// A right side that is packed once for many products.
pub struct Panels {
    /// Of each [`WIDE`] vectors, number after number.
    packed: Vec<[f32; WIDE]>,
    vectors: usize,
    depth: usize,
}

impl Panels {
    pub fn of(side: Side) -> Panels {
        let (vectors, depth) = (side.vectors(), side.depth());
        let mut packed = vec![[0.0; WIDE]; vectors.div_ceil(WIDE) * depth];
        let panels = packed.chunks_exact_mut(depth.max(1)).zip((0..).step_by(WIDE));
        panels.for_each(|(panel, first)| side.pack(first, 0, panel));
        Panels { packed, vectors, depth }
    }

    /// As [`Side::pack`] makes them, here from `first` on, a multiple of [`WIDE`].
    fn part(&self, first: usize, begin: usize, deep: usize) -> &[[f32; WIDE]] {
        &self.packed[first / WIDE * self.depth..][begin..][..deep]
    }
}

#[derive(Clone, Copy)]
enum Right<'a> {
    Side(Side<'a>),
    Panels(&'a Panels),
}

/// Adds to `out[i][j]` the product of vector `i` of the left side and vector `j` of the right.
pub fn add_dense(out: &mut [f32], left: Side, right: Side) {
    add_products(out, left, Right::Side(right), super::has_many_registers());
}

/// The same with a right side that is packed.
pub fn add_packed(out: &mut [f32], left: Side, right: &Panels) {
    add_products(out, left, Right::Panels(right), super::has_many_registers());
}

/// As many panels meet a band at a time as there are registers for.
fn add_products(out: &mut [f32], left: Side, right: Right, many_registers: bool) {
    let (tall, depth) = (left.vectors(), left.depth());
    let (wide, right_depth) = match right {
        Right::Side(side) => (side.vectors(), side.depth()),
        Right::Panels(panels) => (panels.vectors, panels.depth),
    };
    debug_assert_eq!((out.len(), right_depth), (tall * wide, depth));
    let bands = tall.div_ceil(TALL);
    let mut packed = vec![[0.0; TALL]; bands * DEEP.min(depth)];
    let mut panels = [(); 2].map(|()| vec![[0.0; WIDE]; DEEP.min(depth)]);
    for begin in (0..depth).step_by(DEEP) {
        let deep = DEEP.min(depth - begin);
        let packed = &mut packed[..bands * deep];
        packed.chunks_exact_mut(deep).enumerate().for_each(|(band, packed)| left.pack(band * TALL, begin, packed));
        for first in (0..wide).step_by(2 * WIDE) {
            // The second one may begin where there is no vector any more.
            let firsts = [first, first + WIDE];
            let [a, b] = match right {
                Right::Panels(right) if firsts[1] < wide => firsts.map(|first| right.part(first, begin, deep)),
                Right::Panels(right) => [right.part(first, begin, deep); 2],
                Right::Side(right) => {
                    let each = panels.iter_mut().zip(firsts);
                    each.for_each(|(panel, first)| right.pack(first.min(wide), begin, &mut panel[..deep]));
                    panels.each_ref().map(|panel| &panel[..deep])
                }
            };
            for (band, out) in packed.chunks_exact(deep).zip(out.chunks_mut(TALL * wide)) {
                two_panels(band, [a, b], out, wide, first, many_registers);
            }
        }
    }
}

/// Adds to columns `first..` of some rows of `size` numbers; of the second panel as far as there are any left.
pub(super) fn two_panels(
    band: &[[f32; TALL]],
    [a, b]: [&[[f32; WIDE]]; 2],
    out: &mut [f32],
    size: usize,
    first: usize,
    together: bool,
) {
    if together {
        return super::wide(
            #[inline(always)]
            || add(out, size, first, multiply(band, [a, b])),
        );
    }
    for (panel, first) in [(a, first), (b, (first + WIDE).min(size))] {
        super::wide(
            #[inline(always)]
            || add(out, size, first, multiply(band, [panel])),
        );
    }
}

/// As far as there are so many columns.
#[inline(always)]
fn add<const P: usize>(out: &mut [f32], size: usize, first: usize, sums: [[[f32; WIDE]; P]; TALL]) {
    for (out, sums) in out.chunks_exact_mut(size).zip(sums) {
        let (whole, rest) = out[first..].as_chunks_mut::<WIDE>();
        // Of a fixed number, additions become vectors'.
        for (out, sums) in whole.iter_mut().zip(&sums) {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out += sum;
            }
        }
        if let Some(sums) = sums.get(whole.len()) {
            rest.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn products_of_rows_and_of_columns() {
        for [tall, wide, depth] in [[1, 1, 1], [6, 16, 256], [13, 35, 300], [13, 60, 200], [7, 20, 10], [50, 7, 3]] {
            let (a, b) = (noise(1, tall * depth), noise(2, wide * depth));
            let transposed = |values: &[f32], rows: usize, cols: usize| -> Vec<f32> {
                (0..rows * cols).map(|at| values[at % rows * cols + at / rows]).collect()
            };
            let (a_columns, b_columns) = (transposed(&a, tall, depth), transposed(&b, wide, depth));
            for left in [Side::rows(&a, depth), Side::columns(&a_columns, tall)] {
                for right in [Side::rows(&b, depth), Side::columns(&b_columns, wide)] {
                    let [mut out, mut few, mut packed] = [(); 3].map(|()| vec![1.0; tall * wide]);
                    add_products(&mut out, left, Right::Side(right), true);
                    add_products(&mut few, left, Right::Side(right), false);
                    add_packed(&mut packed, left, &Panels::of(right));
                    assert!(out == few && out == packed, "{tall} {wide} {depth}");
                    for (at, found) in out.iter().enumerate() {
                        let (a, b) = (&a[at / wide * depth..][..depth], &b[at % wide * depth..][..depth]);
                        let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                        assert!((f64::from(*found) - 1.0 - sum).abs() < 1e-4, "{tall} {wide} {depth}: {at}");
                    }
                }
            }
        }
    }
}
