//! `linear`, `linear_q8` and `linear_q8x2`: every tier against the scalar reference, and against themselves in other batches.

#![allow(unsafe_code, reason = "kernels are called through their ABI")]

mod common;

use common::{Aligned, Noise, Packed, assert_close, call_of, each_variant, run, scalar};
use tc_kernels::abi::{LinearArgs, Over, QuantizeArgs};
use tc_kernels::layout::{Kind, padded_cols, padded_width, q8_row_bytes};
#[cfg(target_arch = "x86_64")]
use tc_kernels::table::LINEAR_Q8_MIRROR;
use tc_kernels::table::{Chosen, Features, Tier, select};

/// `(rows, cols)`: model widths that no power of two divides, and odd ones.
const SHAPES: [(usize, usize); 7] = [(16, 32), (5, 33), (17, 172), (40, 288), (33, 576), (16, 160), (3, 1)];
/// Blocks that are read as streams for one token: two times four, and one and two more.
const WIDE: [(usize, usize); 2] = [(140, 960), (149, 1057)];
const TOKENS: [usize; 9] = [1, 2, 3, 4, 5, 7, 13, 25, 31];

struct Case {
    w: Packed,
    x: Aligned,
    x_stride: usize,
    bias: Vec<f32>,
    residual: Aligned,
    n: usize,
}

impl Case {
    fn new(kind: Kind, group: usize, (rows, cols): (usize, usize), n: usize, planes: usize) -> Case {
        let mut noise = Noise((rows * 1000 + cols + n) as u64);
        let w = Packed::noise(kind, group, rows, cols, &mut noise);
        let floats: Vec<Vec<f32>> = (0..n).map(|_| noise.values(cols)).collect();
        let stride = padded_width(cols);
        let mut x = Aligned::rows(&floats, stride);
        let mut x_stride = 4 * stride;
        if planes > 0 {
            x = quantized(&x, stride, cols, n, planes);
            x_stride = planes * q8_row_bytes(cols);
        }
        let y_stride = padded_width(rows);
        let residual = Aligned::rows(&(0..n).map(|_| noise.values(y_stride)).collect::<Vec<_>>(), y_stride);
        Case { w, x, x_stride, bias: noise.values(rows), residual, n }
    }

    /// Tokens `first..first + n` alone.
    fn run(&self, kernel: &Chosen, first: usize, n: usize, extras: bool) -> Vec<f32> {
        let y_stride = padded_width(self.w.rows);
        let mut y = Aligned::new(4 * n * y_stride);
        if extras {
            // The residual is updated in place.
            y.floats_mut()[..n * y_stride].copy_from_slice(&self.residual.floats()[first * y_stride..][..n * y_stride]);
        }
        let out = y.mut_ptr().cast::<f32>();
        let args = LinearArgs {
            w: self.w.matrix(),
            x: self.x.bytes()[first * self.x_stride..].as_ptr(),
            bias: if extras { self.bias.as_ptr() } else { core::ptr::null() },
            residual: if extras { out } else { core::ptr::null() },
            y: out,
            x_stride: self.x_stride as u32,
            y_stride: y_stride as u32,
            alpha: if extras { 0.75 } else { 1.0 },
            over: Over::Tokens as u32,
        };
        // SAFETY: buffers are as large as the shapes say.
        unsafe { run(kernel, &args, &call_of(n)) };
        let rows = y.floats().chunks(y_stride).take(n);
        rows.flat_map(|row| row[..self.w.rows].to_vec()).collect()
    }
}

fn quantized(x: &Aligned, stride: usize, cols: usize, n: usize, planes: usize) -> Aligned {
    let y_stride = planes * q8_row_bytes(cols);
    let mut y = Aligned::new(n * y_stride);
    let args = QuantizeArgs {
        x: x.ptr().cast(),
        y: y.mut_ptr(),
        x_stride: stride as u32,
        y_stride: y_stride as u32,
        dim: cols as u32,
        over: Over::Tokens as u32,
    };
    // SAFETY: buffers are as large as the shapes say.
    unsafe { run(&scalar(if planes == 1 { "quantize_q8" } else { "quantize_q8x2" }), &args, &call_of(n)) };
    y
}

/// Groups of 32, 64, 128, the whole row, and 96, which divides few widths.
fn groups(kind: Kind, cols: usize) -> Vec<usize> {
    if kind.is_quantized() { vec![32, 64, 96, 128, padded_cols(cols)] } else { vec![0] }
}

/// What the scalar reference gives for the most tokens, without and with extras.
struct Expected {
    case: Case,
    bound: f32,
    values: [Vec<f32>; 2],
    what: String,
}

fn expected(name: &str, kinds: impl Iterator<Item = Kind>, planes: usize) -> Vec<Expected> {
    expected_of(name, kinds, planes, &SHAPES, TOKENS[TOKENS.len() - 1])
}

fn expected_of(
    name: &str,
    kinds: impl Iterator<Item = Kind>,
    planes: usize,
    shapes: &[(usize, usize)],
    tokens: usize,
) -> Vec<Expected> {
    let mut all = Vec::new();
    for kind in kinds {
        // The largest |w| of noise.
        let largest = kind.format().map_or(1, |format| (0..=255).map(|q| format.value(q).abs()).max().unwrap_or(1));
        for &shape in shapes {
            for group in groups(kind, shape.1) {
                let case = Case::new(kind, group, shape, tokens, planes);
                let what = format!("{name} {kind:?} g{group} {shape:?}");
                let bound = 2e-6 * largest as f32 * shape.1 as f32 + 1e-6;
                let values = [false, true].map(|extras| case.run(&scalar(name), 0, case.n, extras));
                assert!(values.iter().flatten().all(|v| v.is_finite()), "{what}: padding was used");
                all.push(Expected { case, bound, values, what });
            }
        }
    }
    all
}

fn against_scalar(name: &str, planes: usize) {
    let all = expected(name, Kind::ALL.into_iter().filter(|kind| planes == 0 || kind.is_quantized()), planes);
    each_variant(name, |kernel| variant_against_scalar(kernel, &all));
}

fn variant_against_scalar(kernel: &Chosen, all: &[Expected]) {
    for Expected { case, bound, values, what } in all {
        for n in TOKENS.into_iter().filter(|n| *n <= case.n) {
            for (extras, expected) in [false, true].into_iter().zip(values) {
                let what = format!("{what} {} n={n}", kernel.variant);
                assert_close(&case.run(kernel, 0, n, extras), &expected[..n * case.w.rows], *bound, &what);
            }
        }
    }
}

#[test]
fn linear_against_scalar() {
    against_scalar("linear", 0);
}

#[test]
fn linear_q8_against_scalar() {
    against_scalar("linear_q8", 1);
}

#[test]
fn linear_q8x2_against_scalar() {
    against_scalar("linear_q8x2", 2);
}

/// Two planes leave 1/254 of half of 1/127 of each input, which is at most 1 here.
#[test]
fn linear_q8x2_is_nearly_linear() {
    let name = "linear";
    for Expected { case, bound, values, what } in
        expected(name, Kind::ALL.into_iter().filter(|kind| kind.is_quantized()), 0)
    {
        let (kind, group) = (case.w.kind, case.w.group);
        let rounded = Case::new(kind, group, (case.w.rows, case.w.cols), case.n, 2);
        for (extras, exact) in [false, true].into_iter().zip(values) {
            let near = rounded.run(&scalar("linear_q8x2"), 0, case.n, extras);
            // `bound` is 2e-6 for each input times the largest weight.
            assert_close(&near, &exact, (1.0 / 127.0 / 254.0 / 2.0 / 2e-6 + 1.0) * bound, &what);
        }
    }
}

/// What tiers compute whose instructions this machine may not have.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_mirror_against_scalar() {
    let quantized = Kind::ALL.into_iter().filter(|kind| kind.is_quantized());
    variant_against_scalar(&LINEAR_Q8_MIRROR, &expected("linear_q8", quantized, 1));
}

/// Integer sums are exact and all tiers scale them alike.
#[cfg(target_arch = "x86_64")]
#[test]
fn all_tiers_of_linear_q8_agree_to_the_bit() {
    each_variant("linear_q8", |kernel| {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_quantized()) {
            for shape in SHAPES {
                for group in groups(kind, shape.1) {
                    // More than a tile of 16, and what is left.
                    let case = Case::new(kind, group, shape, 29, 1);
                    let what = format!("{} {kind:?} g{group} {shape:?}", kernel.variant);
                    assert_eq!(case.run(kernel, 0, 29, true), case.run(&LINEAR_Q8_MIRROR, 0, 29, true), "{what}");
                }
            }
        }
    });
}

/// Prefill, decode and ragged batches must agree to the bit.
#[test]
fn a_token_alone_equals_a_token_in_a_batch() {
    for (name, planes) in [("linear", 0), ("linear_q8", 1), ("linear_q8x2", 2)] {
        each_variant(name, |kernel| {
            for kind in Kind::ALL.into_iter().filter(|kind| planes == 0 || kind.is_quantized()) {
                let group = if kind.is_quantized() { 64 } else { 0 };
                let case = Case::new(kind, group, (48, 288), 31, planes);
                let together = case.run(kernel, 0, case.n, true);
                for n in [1, 2, 3, 4, 5, 8] {
                    for first in (0..case.n - n).step_by(n) {
                        let alone = case.run(kernel, first, n, true);
                        let same = &together[first * 48..][..n * 48];
                        assert_eq!(alone, same, "{name} {kind:?}: tokens {first}..{}", first + n);
                    }
                }
            }
        });
    }
}

/// What native code calls for one token is what it would get from the kernel for many.
#[test]
fn streams_of_wide_blocks_against_scalar() {
    for (name, planes) in [("linear", 0), ("linear_q8", 1)] {
        let kinds = Kind::ALL.into_iter().filter(|kind| planes == 0 || kind.is_quantized());
        let all = expected_of(name, kinds, planes, &WIDE, 2);
        each_variant(name, |kernel| variant_against_scalar(kernel, &all));
    }
}

#[test]
fn one_token_by_its_own_kernel_is_the_same() {
    each_variant("linear_q8_one", |kernel| {
        let tier = Tier::from_name(kernel.variant).unwrap();
        let general = select("linear_q8", Features::detect().limited_to(tier)).unwrap();
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_quantized()) {
            for shape in SHAPES.into_iter().chain(WIDE) {
                let case = Case::new(kind, 32, shape, 1, 1);
                for extras in [false, true] {
                    let what = format!("{kind:?} {shape:?}");
                    assert_eq!(case.run(kernel, 0, 1, extras), case.run(&general, 0, 1, extras), "{what}");
                }
            }
        }
    });
}

/// The largest integers that the layouts and Q8 rows can hold do not overflow any sum.
#[test]
fn extreme_values() {
    use tc_kernels::layout::{matrix_bytes, sub_scales};
    use tc_kernels::pack::{QuantizedRow, pack_quantized_block};
    each_variant("linear_q8", |kernel| {
        let ends = |kind: Kind| {
            let bits = kind.format()?.bits;
            Some([(kind, ((1u32 << bits) - 1) as i8), (kind, 0), (kind, (1u32 << (bits - 1)) as i8)])
        };
        for (kind, q) in Kind::ALL.into_iter().filter_map(ends).flatten() {
            for x in [1.0f32, -1.0] {
                let mut data = Aligned::new(matrix_bytes(kind, 16, 64, 64));
                let subs = &[127; 4][..sub_scales(kind, 64)];
                let (mins, sub_mins): (&[f32], &[i8]) = if kind.has_min() { (&[-1.0], subs) } else { (&[], &[]) };
                let row = QuantizedRow { q: &[q; 64], scales: &[1.0], mins, sub_scales: subs, sub_mins };
                let size = matrix_bytes(kind, 16, 64, 64);
                pack_quantized_block(kind, 64, &[row; 16], &mut data.bytes_mut()[..size]);
                let w = Packed { kind, group: 64, rows: 16, cols: 64, data };
                let x = quantized(&Aligned::rows(&[vec![x; 64]], 64), 64, 64, 1, 1);
                let case = Case { w, x, x_stride: q8_row_bytes(64), bias: vec![], residual: Aligned::new(0), n: 1 };
                let expected = case.run(&scalar("linear_q8"), 0, 1, false);
                let bound = 1e-6 * expected[0].abs() + 1e-2;
                assert_close(&case.run(kernel, 0, 1, false), &expected, bound, &format!("{kind:?} {q}"));
            }
        }
    });
}
