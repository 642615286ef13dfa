//! The little linear algebra that quantizing with second moments takes, on every core and in f32. Matrices are square and row-major.

mod factor;
mod gram;
mod product;

pub use factor::Factor;
pub use gram::{add_gram, add_product};
pub use product::{Panels, Side, add_dense, add_packed};

/// Lanes of a sum: enough to fill vector registers, so that a dot product does not wait for its own additions.
const LANES: usize = 16;

pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    wide(
        #[inline(always)]
        || {
            let (a, a_rest) = a.as_chunks::<LANES>();
            let (b, b_rest) = b.as_chunks::<LANES>();
            let mut sums = [0.0; LANES];
            for (a, b) in a.iter().zip(b) {
                for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                    *sum += a * b;
                }
            }
            let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
            sums.iter().sum::<f32>() + rest
        },
    )
}

/// The sum of `term` of each number, in as many lanes as [`dot`].
pub fn sum_of(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    wide(
        #[inline(always)]
        || {
            let (values, rest) = values.as_chunks::<LANES>();
            let mut sums = [0.0; LANES];
            for values in values {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += term(*value);
                }
            }
            sums.iter().sum::<f32>() + rest.iter().map(|value| term(*value)).sum::<f32>()
        },
    )
}

/// The largest number; infinitely little where there is none.
pub fn largest(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    wide(
        #[inline(always)]
        || {
            let (values, rest) = values.as_chunks::<LANES>();
            let mut most = [f32::NEG_INFINITY; LANES];
            for values in values {
                for (most, value) in most.iter_mut().zip(values) {
                    *most = larger(*most, *value);
                }
            }
            most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, value| larger(most, *value))
        },
    )
}

/// `y += factor * x`.
pub fn add_scaled(y: &mut [f32], factor: f32, x: &[f32]) {
    wide(
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y += factor * x;
            }
        },
    );
}

/// Adds `factors · rows` to `y`, where row `i` begins at `i * stride`. What is summed stays in registers while the rows pass.
pub fn add_combination(y: &mut [f32], factors: &[f32], rows: &[f32], stride: usize) {
    const WIDTH: usize = 4 * LANES;
    if factors.is_empty() {
        return;
    }
    wide(
        #[inline(always)]
        || {
            let (chunks, rest) = y.as_chunks_mut::<WIDTH>();
            let done = WIDTH * chunks.len();
            for (i, chunk) in chunks.iter_mut().enumerate() {
                let mut sums = *chunk;
                for (factor, row) in factors.iter().zip(rows[i * WIDTH..].chunks(stride)) {
                    for (sum, x) in sums.iter_mut().zip(&row[..WIDTH]) {
                        *sum = factor.mul_add(*x, *sum);
                    }
                }
                *chunk = sums;
            }
            if !rest.is_empty() {
                for (factor, row) in factors.iter().zip(rows[done..].chunks(stride)) {
                    for (y, x) in rest.iter_mut().zip(row) {
                        *y = factor.mul_add(*x, *y);
                    }
                }
            }
        },
    );
}

/// Runs `work` with the widest vectors that this processor has, as far as they make the same sums.
pub fn wide<T>(work: impl FnOnce() -> T) -> T {
    pulp::Arch::new().dispatch(work)
}

/// Whether [`wide`] works with 32 vector registers, of 16 lanes.
fn has_many_registers() -> bool {
    #[cfg(target_arch = "x86_64")]
    return matches!(pulp::Arch::new(), pulp::Arch::V4(_));
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn a_combination_adds_each_row_by_its_factor() {
        for (count, size, stride) in [(0, 5, 5), (1, 1, 1), (3, 64, 64), (32, 200, 211)] {
            let (factors, rows, mut y) = (noise(1, count), noise(2, count * stride), noise(3, size));
            let of =
                |at: usize| (0..count).map(|i| f64::from(factors[i]) * f64::from(rows[i * stride + at])).sum::<f64>();
            let expected: Vec<f64> = (0..size).map(|at| f64::from(y[at]) + of(at)).collect();
            add_combination(&mut y, &factors, &rows, stride);
            assert!(
                y.iter().zip(expected).all(|(y, expected)| (f64::from(*y) - expected).abs() < 1e-5),
                "{count} {size}"
            );
        }
    }
}
