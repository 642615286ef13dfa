//! Kernels that work row by row: norms, quantization, SwiGLU, elementwise, embed, gather, concat.

#![allow(unsafe_code, reason = "kernels are called through their ABI")]

mod common;

use common::{Aligned, Noise, Packed, assert_close, call_of, each_variant, run, scalar};
use tc_kernels::abi::{
    ACT_GROUP, Call, ConcatArgs, ElementwiseArgs, EmbedArgs, GatherArgs, NormArgs, Over, QuantizeArgs, RopeTableArgs,
    SwigluArgs,
};
use tc_kernels::exp::exp;
use tc_kernels::layout::{Kind, Q8_GROUP_BYTES, padded_cols, padded_width, q8_row_bytes};
use tc_kernels::pack::unpack_row;
use tc_kernels::table::{Chosen, Features, Tier, select};

const WIDTHS: [usize; 9] = [1, 7, 16, 33, 64, 172, 288, 576, 1000];
const TOKENS: usize = 3;

/// A Q8 row's integers, scales and sums.
fn q8_parts(row: &[u8], cols: usize) -> (Vec<i8>, Vec<f32>, Vec<[i16; 2]>) {
    let mut parts = (Vec::new(), Vec::new(), Vec::new());
    for group in row.chunks_exact(Q8_GROUP_BYTES).take(padded_cols(cols) / ACT_GROUP) {
        let (q, rest) = group.split_at(ACT_GROUP);
        let [scale, [a, b, c, d]] = *rest.as_chunks::<4>().0 else { panic!("a group ends with 8 bytes") };
        parts.0.extend(q.iter().map(|q| *q as i8));
        parts.1.push(f32::from_le_bytes(scale));
        parts.2.push([i16::from_le_bytes([a, b]), i16::from_le_bytes([c, d])]);
    }
    parts
}

fn dequantized(row: &[u8], cols: usize) -> Vec<f32> {
    let (q, scales, _) = q8_parts(row, cols);
    q.iter().enumerate().take(cols).map(|(i, q)| f32::from(*q) * scales[i / ACT_GROUP]).collect()
}

/// What the two planes of a Q8x2 row give together.
fn dequantized_x2(row: &[u8], cols: usize) -> Vec<f32> {
    let (first, second) = row.split_at(row.len() / 2);
    dequantized(first, cols).iter().zip(dequantized(second, cols)).map(|(a, b)| a + b).collect()
}

/// What a kernel writes for `TOKENS` rows, as f32 or, in so many planes, as Q8 bytes.
fn rows_of(planes: usize, dim: usize, run: impl FnOnce(*mut u8, u32)) -> Vec<Vec<u8>> {
    let stride = if planes > 0 { planes * q8_row_bytes(dim) } else { 4 * padded_width(dim) };
    let mut y = Aligned::new(TOKENS * stride);
    run(y.mut_ptr(), stride as u32);
    y.bytes().chunks(stride).take(TOKENS).map(<[u8]>::to_vec).collect()
}

fn floats(row: &[u8], dim: usize) -> Vec<f32> {
    row.as_chunks().0[..dim].iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Q8 rows may differ by one step where rounding decides, and their sums must be true.
fn assert_q8_close(actual: &[u8], expected: &[u8], dim: usize, what: &str) {
    let (q, scales, sums) = q8_parts(actual, dim);
    let (expected_q, expected_scales, _) = q8_parts(expected, dim);
    for (i, (a, e)) in q.iter().zip(&expected_q).enumerate() {
        assert!((i32::from(*a) - i32::from(*e)).abs() <= 1, "{what}: q[{i}] is {a}, should be {e}");
        assert!(i < dim || *a == 0, "{what}: padding");
    }
    for (g, (a, e)) in scales.iter().zip(&expected_scales).enumerate() {
        assert!((a - e).abs() <= 1e-5 * e.abs(), "{what}: scale {g} is {a}, should be {e}");
        let sum = |half: usize| q[g * ACT_GROUP + 16 * half..][..16].iter().map(|q| i16::from(*q)).sum();
        assert_eq!(sums[g], [sum(0), sum(1)], "{what}: sums {g}");
    }
}

fn norm(kernel: &Chosen, planes: usize, dim: usize) -> Vec<Vec<u8>> {
    let mut noise = Noise(dim as u64);
    let stride = padded_width(dim);
    let x = Aligned::rows(&(0..TOKENS).map(|_| noise.values(dim)).collect::<Vec<_>>(), stride);
    let w = noise.values(dim);
    rows_of(planes, dim, |y, y_stride| {
        let args = NormArgs {
            x: x.ptr().cast(),
            w: w.as_ptr(),
            y,
            x_stride: stride as u32,
            y_stride,
            dim: dim as u32,
            eps: 1e-5,
            over: Over::Tokens as u32,
        };
        // SAFETY: buffers are as large as the shapes say.
        unsafe { run(kernel, &args, &call_of(TOKENS)) };
    })
}

#[test]
fn norms_against_scalar() {
    each_variant("rms_norm", |kernel| {
        for dim in WIDTHS {
            for (a, e) in norm(kernel, 0, dim).iter().zip(norm(&scalar("rms_norm"), 0, dim)) {
                assert_close(&floats(a, dim), &floats(&e, dim), 3e-6, &format!("dim {dim}"));
            }
        }
    });
    each_variant("rms_norm_q8", |kernel| {
        for dim in WIDTHS {
            for (a, e) in norm(kernel, 1, dim).iter().zip(norm(&scalar("rms_norm_q8"), 1, dim)) {
                assert_q8_close(a, &e, dim, &format!("dim {dim}"));
            }
        }
    });
}

fn quantize(kernel: &Chosen, planes: usize, rows: &[Vec<f32>], dim: usize) -> Vec<Vec<u8>> {
    let stride = padded_width(dim);
    let x = Aligned::rows(rows, stride);
    rows_of(planes, dim, |y, y_stride| {
        let args = QuantizeArgs {
            x: x.ptr().cast(),
            y,
            x_stride: stride as u32,
            y_stride,
            dim: dim as u32,
            over: Over::Tokens as u32,
        };
        // SAFETY: buffers are as large as the shapes say.
        unsafe { run(kernel, &args, &call_of(TOKENS)) };
    })
}

#[test]
fn quantize_against_scalar_and_its_error_bound() {
    each_variant("quantize_q8", |kernel| {
        for dim in WIDTHS {
            let mut noise = Noise(dim as u64);
            let rows: Vec<Vec<f32>> = (0..TOKENS).map(|_| noise.values(dim)).collect();
            let actual = quantize(kernel, 1, &rows, dim);
            for ((a, e), x) in actual.iter().zip(quantize(&scalar("quantize_q8"), 1, &rows, dim)).zip(&rows) {
                assert_eq!(q8_parts(a, dim).0, q8_parts(&e, dim).0, "dim {dim}");
                assert_q8_close(a, &e, dim, &format!("dim {dim}"));
                // Half a step of |x| <= 1.
                assert_close(&dequantized(a, dim), x, 0.5 / 127.0 + 1e-6, &format!("dim {dim}"));
            }
        }
    });
}

#[test]
fn quantizing_zeros_and_tiny_values_gives_zeros() {
    each_variant("quantize_q8", |kernel| {
        for value in [0.0, 1e-40, -1e-37] {
            for row in quantize(kernel, 1, &vec![vec![value; 40]; TOKENS], 40) {
                let (q, scales, sums) = q8_parts(&row, 40);
                assert!(
                    q.iter().all(|q| *q == 0) && scales.iter().all(|v| *v == 0.0) && sums.iter().all(|v| *v == [0, 0]),
                    "{value}"
                );
            }
        }
    });
}

/// Two planes leave half of 1/254 of 1/127 of a group's largest value, besides what variants differ by.
fn assert_x2_close(row: &[u8], exact: &[f32], differ: f32, what: &str) {
    for (g, (actual, exact)) in
        dequantized_x2(row, exact.len()).chunks(ACT_GROUP).zip(exact.chunks(ACT_GROUP)).enumerate()
    {
        let largest = exact.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        assert_close(actual, exact, largest / 127.0 / 254.0 * 0.51 + differ, &format!("{what}, group {g}"));
    }
}

#[test]
fn two_planes_are_nearly_exact() {
    let exact = |name: &str| scalar(name.trim_end_matches("_q8x2"));
    each_variant("quantize_q8x2", |kernel| {
        for dim in WIDTHS {
            let mut noise = Noise(dim as u64);
            let rows: Vec<Vec<f32>> = (0..TOKENS).map(|_| noise.values(dim)).collect();
            for (row, x) in quantize(kernel, 2, &rows, dim).iter().zip(&rows) {
                assert_x2_close(row, x, 0.0, &format!("dim {dim}"));
            }
        }
    });
    each_variant("rms_norm_q8x2", |kernel| {
        for dim in WIDTHS {
            for (row, x) in norm(kernel, 2, dim).iter().zip(norm(&exact(kernel.kernel), 0, dim)) {
                assert_x2_close(row, &floats(&x, dim), 3e-6, &format!("dim {dim}"));
            }
        }
    });
    each_variant("swiglu_q8x2", |kernel| {
        for dim in WIDTHS {
            for (row, x) in swiglu(kernel, 2, dim).iter().zip(swiglu(&exact(kernel.kernel), 0, dim)) {
                assert_x2_close(row, &floats(&x, dim), 2e-5, &format!("dim {dim}"));
            }
        }
    });
}

fn swiglu(kernel: &Chosen, planes: usize, dim: usize) -> Vec<Vec<u8>> {
    let mut noise = Noise(dim as u64);
    let stride = padded_width(2 * dim);
    // Gates from −120 to 120: where exp overflows too.
    let row = |noise: &mut Noise| (0..2 * dim).map(|i| noise.value() * if i < dim { 120.0 } else { 1.0 }).collect();
    let x = Aligned::rows(&(0..TOKENS).map(|_| row(&mut noise)).collect::<Vec<_>>(), stride);
    rows_of(planes, dim, |y, y_stride| {
        let over = Over::Tokens as u32;
        let args = SwigluArgs { x: x.ptr().cast(), y, x_stride: stride as u32, y_stride, dim: dim as u32, over };
        // SAFETY: buffers are as large as the shapes say.
        unsafe { run(kernel, &args, &call_of(TOKENS)) };
    })
}

/// Tasks that a call of five tokens and two rows has.
#[test]
fn swiglu_counts_tokens_or_rows() {
    let call = Call { rows: 2, ..call_of(5) };
    for (name, each) in [("swiglu", 1), ("swiglu_q8", 1), ("swiglu_q8x2", 1), ("swiglu_q8_groups", 3)] {
        for (over, count) in [(Over::Tokens, 5), (Over::Rows, 2)] {
            let (x, y) = (core::ptr::null(), core::ptr::null_mut());
            let args = SwigluArgs { x, y, x_stride: 192, y_stride: 120, dim: 96, over: over as u32 };
            // SAFETY: who counts tasks reads nothing but the arguments and the call.
            let tasks = unsafe { (scalar(name).tasks)((&raw const args).cast(), &call) };
            assert_eq!(tasks, each * count, "{name} {over:?}");
        }
    }
}

#[test]
fn swiglu_against_scalar() {
    each_variant("swiglu", |kernel| {
        for dim in WIDTHS {
            for (a, e) in swiglu(kernel, 0, dim).iter().zip(swiglu(&scalar("swiglu"), 0, dim)) {
                assert_close(&floats(a, dim), &floats(&e, dim), 2e-5, &format!("dim {dim}"));
            }
        }
    });
    each_variant("swiglu_q8", |kernel| {
        for dim in WIDTHS {
            for (a, e) in swiglu(kernel, 1, dim).iter().zip(swiglu(&scalar("swiglu_q8"), 1, dim)) {
                assert_q8_close(a, &e, dim, &format!("dim {dim}"));
            }
        }
    });
}

/// However the columns are cut, they become what they become together.
#[test]
fn swiglu_by_groups_gives_the_same_row() {
    for (name, by_groups, planes) in [("swiglu_q8", "swiglu_q8_groups", 1), ("swiglu_q8x2", "swiglu_q8x2_groups", 2)] {
        each_variant(by_groups, |kernel| {
            let tier = Tier::from_name(kernel.variant).unwrap();
            let whole = select(name, Features::detect().limited_to(tier)).unwrap();
            for dim in WIDTHS {
                assert_eq!(swiglu(kernel, planes, dim), swiglu(&whole, planes, dim), "dim {dim}");
            }
        });
        assert_eq!(swiglu(&scalar(by_groups), planes, 172), swiglu(&scalar(name), planes, 172));
    }
}

/// What an elementwise kernel makes of two rows of noise, `y` being `a` or a buffer of its own.
fn elementwise(name: &str, in_place: bool) -> Vec<f32> {
    let (dim, stride) = (33, padded_width(33));
    let mut noise = Noise(5);
    let rows = |noise: &mut Noise| Aligned::rows(&(0..TOKENS).map(|_| noise.values(dim)).collect::<Vec<_>>(), stride);
    let (mut a, b) = (rows(&mut noise), rows(&mut noise));
    let mut y = Aligned::new(4 * TOKENS * stride);
    let out: *mut f32 = if in_place { a.mut_ptr().cast() } else { y.mut_ptr().cast() };
    let args = ElementwiseArgs {
        a: if in_place { out } else { a.ptr().cast() },
        b: b.ptr().cast(),
        y: out,
        a_stride: stride as u32,
        b_stride: stride as u32,
        y_stride: stride as u32,
        dim: dim as u32,
        scale: 0.5,
        over: Over::Tokens as u32,
    };
    // SAFETY: buffers are as large as the shapes say.
    unsafe { run(&scalar(name), &args, &call_of(TOKENS)) };
    let result = if in_place { &a } else { &y };
    result.floats().chunks(stride).take(TOKENS).flat_map(|row| row[..dim].to_vec()).collect()
}

type Formula = fn(f32, f32) -> f32;

#[test]
fn elementwise_kernels_compute_what_they_say() {
    let mut noise = Noise(5);
    let (a, b) = (noise.values(3 * 33), noise.values(3 * 33));
    let cases: [(&str, Formula); 4] = [
        ("add", |a, b| a + 0.5 * b),
        ("mul", |a, b| a * b),
        ("silu", |a, _| a / (1.0 + exp(-a))),
        ("scale", |a, _| 0.5 * a),
    ];
    for (name, f) in cases {
        let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| f(*a, *b)).collect();
        for in_place in [false, true] {
            assert_eq!(elementwise(name, in_place), expected, "{name}");
        }
    }
}

#[test]
fn embed_gives_scaled_rows() {
    let mut noise = Noise(3);
    for kind in Kind::ALL {
        let (rows, cols) = (35, 172);
        let group = if kind.is_quantized() { 64 } else { 0 };
        let table = Packed::noise(kind, group, rows, cols, &mut noise);
        let tokens = [34u32, 0, 17];
        let stride = padded_width(cols);
        let mut y = Aligned::new(4 * 3 * stride);
        let args = EmbedArgs { table: table.matrix(), y: y.mut_ptr().cast(), y_stride: stride as u32, scale: 2.0 };
        let mut call = call_of(3);
        call.tokens = tokens.as_ptr();
        // SAFETY: buffers are as large as the shapes say.
        unsafe { run(&scalar("embed"), &args, &call) };
        for (token, y) in tokens.iter().zip(y.floats().chunks(stride)) {
            let mut row = vec![0.0; cols];
            unpack_row(kind, group, cols, table.data.bytes(), *token as usize, &mut row);
            let expected: Vec<f32> = row.iter().map(|v| 2.0 * v).collect();
            assert_eq!(&y[..cols], expected, "{kind:?} token {token}");
        }
    }
}

#[test]
fn gather_takes_the_rows_asked_for() {
    let mut noise = Noise(9);
    let rows: Vec<Vec<f32>> = (0..4).map(|_| noise.values(20)).collect();
    let x = Aligned::rows(&rows, 32);
    let mut y = Aligned::new(4 * 2 * 32);
    let out_rows = [3u32, 1];
    let mut call = call_of(4);
    (call.rows, call.out_rows) = (2, out_rows.as_ptr());
    let args = GatherArgs { x: x.ptr().cast(), y: y.mut_ptr().cast(), x_stride: 32, y_stride: 32, dim: 20 };
    // SAFETY: buffers are as large as the shapes say.
    unsafe { run(&scalar("gather_rows"), &args, &call) };
    assert_eq!(&y.floats()[..20], rows[3]);
    assert_eq!(&y.floats()[32..52], rows[1]);
}

#[test]
fn concat_puts_columns_side_by_side() {
    let mut noise = Noise(10);
    let a: Vec<Vec<f32>> = (0..3).map(|_| noise.values(20)).collect();
    let b: Vec<Vec<f32>> = (0..3).map(|_| noise.values(7)).collect();
    let (left, right) = (Aligned::rows(&a, 32), Aligned::rows(&b, 16));
    let mut y = Aligned::new(4 * 3 * 32);
    let args = ConcatArgs {
        a: left.ptr().cast(),
        b: right.ptr().cast(),
        y: y.mut_ptr().cast(),
        a_stride: 32,
        b_stride: 16,
        y_stride: 32,
        a_dim: 20,
        b_dim: 7,
    };
    // SAFETY: buffers are as large as the shapes say.
    unsafe { run(&scalar("concat_cols"), &args, &call_of(3)) };
    for (t, row) in y.floats().chunks(32).enumerate() {
        assert_eq!(row[..27], [&a[t][..], &b[t]].concat());
        assert!(row[27..].iter().all(|x| x.is_nan()), "beyond the columns");
    }
}

/// Against the formula in f64, with and without dynamic NTK scaling.
#[test]
fn rope_table_gives_angles() {
    let (half, theta, magnitude) = (8usize, 10_000.0f64, 1.25);
    let frequency = |theta: f64, i: usize| theta.powf(-(i as f64) / half as f64);
    let inv_freq: Vec<f32> = (0..half).map(|i| frequency(theta, i) as f32).collect();
    let positions = [0u32, 7, 99, 300];
    for factor in [0.0f64, 2.0] {
        let mut y = Aligned::new(4 * 4 * 16);
        let args = RopeTableArgs {
            inv_freq: inv_freq.as_ptr(),
            y: y.mut_ptr().cast(),
            y_stride: 16,
            half: half as u32,
            magnitude: magnitude as f32,
            theta: theta as f32,
            dynamic_factor: factor as f32,
            original: 100,
        };
        let mut call = call_of(4);
        call.positions = positions.as_ptr();
        // SAFETY: buffers are as large as the shapes say.
        unsafe { run(&scalar("rope_table"), &args, &call) };
        for (&p, y) in positions.iter().zip(y.floats().chunks(16)) {
            let d = 2.0 * half as f64;
            let base = if factor > 0.0 && p >= 100 {
                theta * (factor * (f64::from(p) + 1.0) / 100.0 - (factor - 1.0)).powf(d / (d - 2.0))
            } else {
                theta
            };
            for i in 0..half {
                let (sin, cos) = (f64::from(p) * frequency(base, i)).sin_cos();
                assert!((f64::from(y[i]) - magnitude * cos).abs() < 5e-5, "position {p}, cos {i}");
                assert!((f64::from(y[half + i]) - magnitude * sin).abs() < 5e-5, "position {p}, sin {i}");
            }
        }
    }
}
