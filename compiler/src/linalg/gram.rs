//! `XᵀX` and `XᵀY`, which are what most of the time of a calibration goes into.

use super::product::two_panels;
use crate::parallel;

/// A tile of the result is summed in registers: `TALL` by `WIDE`, which with AVX2 are twelve of sixteen.
pub(super) const TALL: usize = 6;
pub(super) const WIDE: usize = 16;
/// Rows of `X` whose panels stay in the cache.
const DEEP: usize = 256;

/// Adds `XᵀX` to the upper triangle of `gram`; `rows` are those of `X`, of `size` numbers each.
pub fn add_gram(gram: &mut [f32], rows: &[&[f32]], size: usize) {
    add(gram, rows, size, rows, size, |band| band * TALL / WIDE);
}

/// Adds `XᵀY` to `product`; the rows of `X` have `width` numbers each.
pub fn add_product(product: &mut [f32], x: &[&[f32]], width: usize, y: &[&[f32]]) {
    add(product, x, width, y, product.len() / width, |_| 0);
}

/// `first` is the first panel of columns that a band of rows of the result has.
fn add(out: &mut [f32], x: &[&[f32]], width: usize, y: &[&[f32]], size: usize, first: impl Fn(usize) -> usize + Sync) {
    for (x, y) in x.chunks(DEEP).zip(y.chunks(DEEP)) {
        let panels: Vec<Vec<[f32; WIDE]>> = (0..size).step_by(WIDE).map(|first| panel(y, first)).collect();
        // Long rows of a triangle come first, so that no core has one left at the end.
        let bands = out[..width * size].chunks_mut(TALL * size).enumerate();
        parallel::for_each(bands, |(band, out)| {
            let left: Vec<[f32; TALL]> = panel(x, band * TALL);
            for (pair, first) in panels[first(band)..].chunks(2).zip((first(band) * WIDE..).step_by(2 * WIDE)) {
                two_panels(&left, [&pair[0], &pair[pair.len() - 1]], out, size, first, super::has_many_registers());
            }
        });
    }
}

/// `N` columns from `first` on of all rows; columns that are not there are zero.
fn panel<const N: usize>(rows: &[&[f32]], first: usize) -> Vec<[f32; N]> {
    let take = |row: &&[f32]| match row[first..].first_chunk() {
        Some(whole) => *whole,
        None => std::array::from_fn(|i| row.get(first + i).copied().unwrap_or(0.0)),
    };
    rows.iter().map(take).collect()
}

/// The products of a band of the left side with `P` panels of the right, side by side.
#[inline(always)]
pub(super) fn multiply<const P: usize>(left: &[[f32; TALL]], right: [&[[f32; WIDE]]; P]) -> [[[f32; WIDE]; P]; TALL] {
    let mut sums = [[[0.0; WIDE]; P]; TALL];
    for (at, left) in left.iter().enumerate() {
        for panel in 0..P {
            let right = &right[panel][at];
            for row in 0..TALL {
                for i in 0..WIDE {
                    sums[row][panel][i] = left[row].mul_add(right[i], sums[row][panel][i]);
                }
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn sums_of_products() {
        for (count, size) in [(1, 1), (3, 8), (5, 21), (600, 30), (20, 75)] {
            let values = noise(7, count * size);
            let rows: Vec<&[f32]> = values.chunks(size).collect();
            let mut gram = vec![1.0; size * size];
            add_gram(&mut gram, &rows, size);
            for (i, j) in (0..size).flat_map(|i| (i..size).map(move |j| (i, j))) {
                let sum: f64 = rows.iter().map(|row| f64::from(row[i]) * f64::from(row[j])).sum();
                assert!((f64::from(gram[i * size + j]) - sum - 1.0).abs() < 1e-3, "{count} {size}: {i}, {j}");
            }
            let (width, other) = (size + 3, noise(8, count * (size + 3)));
            let others: Vec<&[f32]> = other.chunks(width).collect();
            let mut product = vec![1.0; width * size];
            add_product(&mut product, &others, width, &rows);
            for (i, j) in (0..width).flat_map(|i| (0..size).map(move |j| (i, j))) {
                let sum: f64 = others.iter().zip(&rows).map(|(x, y)| f64::from(x[i]) * f64::from(y[j])).sum();
                assert!((f64::from(product[i * size + j]) - sum - 1.0).abs() < 1e-3, "{count} {size}: {i}, {j}");
            }
        }
    }
}
