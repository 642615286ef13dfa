//! Arguments and buffers for each kernel.

use core::any::Any;
use core::ffi::c_void;
use core::ptr::null;

use super::{Case, Lines, Shape, Unit};
use crate::abi::{
    AttentionArgs, Call, ElementwiseArgs, KV_BLOCK, LinearArgs, Matrix, NormArgs, Over, QuantizeArgs, RopeKvArgs,
    SwigluArgs,
};
use crate::layout::{Kind, matrix_bytes, padded_width, q8_row_bytes};
use crate::table::{Features, Kernel, select};

/// Bytes of a value in an f16 cache.
const CACHED: usize = 2;

/// Bytes that no cache keeps from one run to the next.
const BEYOND_CACHES: usize = 64 << 20;

/// What a kernel's part of this file has made.
struct Made {
    args: Vec<Box<dyn Any>>,
    call: Call,
    buffers: Vec<Lines>,
    bytes: usize,
    operations: usize,
}

pub fn make<'a>(kernel: &'static Kernel, shape: Shape, tokens: usize, weights: &'a Lines) -> Option<Case<'a>> {
    let planes = match kernel.name.rsplit_once('_') {
        Some((_, "q8")) => 1,
        Some((_, "q8x2")) => 2,
        _ => 0,
    };
    let made = match (kernel.name, shape) {
        ("linear", Shape::Matrix { .. }) => linear(shape, tokens, weights, planes)?,
        ("linear_q8" | "linear_q8x2", Shape::Matrix { kind, .. }) if kind.is_quantized() => {
            linear(shape, tokens, weights, planes)?
        }
        ("rms_norm" | "rms_norm_q8" | "rms_norm_q8x2", Shape::Row { dim }) => norm(dim, tokens, planes),
        ("quantize_q8" | "quantize_q8x2", Shape::Row { dim }) => quantize(dim, tokens, planes),
        ("swiglu" | "swiglu_q8" | "swiglu_q8x2", Shape::Row { dim }) => swiglu(dim, tokens, planes),
        ("add" | "mul" | "silu" | "scale", Shape::Row { dim }) => elementwise(dim, tokens),
        ("rope_kv", Shape::Heads { .. }) => rope_kv(shape, tokens)?,
        ("attention", Shape::Heads { .. }) => attention(shape, tokens)?,
        _ => return None,
    };
    let Made { args, call, buffers, bytes, operations } = made;
    Some(Case {
        kernel,
        shape,
        tokens,
        bytes: bytes as u64,
        streams: matches!(shape, Shape::Matrix { .. }) && args.len() * bytes > BEYOND_CACHES,
        operations: operations as u64,
        unit: match (kernel.name, shape) {
            ("linear", Shape::Matrix { kind: Kind::Bf16, .. }) => Unit::Bf16,
            (name, Shape::Matrix { .. }) if name.starts_with("linear_q8") => Unit::Byte,
            _ => Unit::Float,
        },
        args,
        call,
        _buffers: buffers,
        _weights: weights,
    })
}

/// A call of `n` tokens without a cache.
fn call_of(n: usize) -> Call {
    Call {
        n: n as u32,
        rows: n as u32,
        tokens: null(),
        positions: null(),
        sequences: null(),
        out_rows: null(),
        kv: core::ptr::null_mut(),
        kv_block_bytes: 0,
        tables: null(),
        table_stride: 0,
        kv_dtype: 1,
        seen: 0,
        sums: core::ptr::null_mut(),
    }
}

fn one<A: 'static>(args: A) -> Vec<Box<dyn Any>> {
    vec![Box::new(args)]
}

/// As many matrices as `weights` hold.
fn linear(shape: Shape, n: usize, weights: &Lines, planes: usize) -> Option<Made> {
    let Shape::Matrix { kind, group, rows, cols } = shape else { return None };
    let (x, x_stride) = match planes {
        0 => (float_rows(cols, n), 4 * padded_width(cols)),
        _ => (q8_rows(cols, n, planes), planes * q8_row_bytes(cols)),
    };
    let mut y = Lines::floats(n * padded_width(rows));
    let size = matrix_bytes(kind, rows, cols, group).next_multiple_of(64);
    let args = |i: usize| LinearArgs {
        w: Matrix {
            data: weights.ptr().wrapping_add(i * size),
            rows: rows as u32,
            cols: cols as u32,
            kind: kind as u32,
            group: group as u32,
        },
        x: x.ptr(),
        bias: null(),
        residual: null(),
        y: y.mut_ptr().cast(),
        x_stride: x_stride as u32,
        y_stride: padded_width(rows) as u32,
        alpha: 1.0,
        over: Over::Tokens as u32,
    };
    let mut args = args;
    let args: Vec<Box<dyn Any>> = (0..weights.len() / size).map(|i| Box::new(args(i)) as Box<dyn Any>).collect();
    let bytes = size + n * (x_stride + 4 * rows);
    (!args.is_empty()).then(|| Made {
        args,
        call: call_of(n),
        buffers: vec![x, y],
        bytes,
        operations: 2 * rows * cols * n * planes.max(1),
    })
}

fn float_rows(dim: usize, n: usize) -> Lines {
    Lines::floats(n * padded_width(dim))
}

fn q8_rows(dim: usize, n: usize, planes: usize) -> Lines {
    let made = quantize(dim, n, planes);
    if let Some(kernel) = select(if planes == 1 { "quantize_q8" } else { "quantize_q8x2" }, Features::detect()) {
        let args: *const c_void = (&raw const *made.args[0]).cast();
        // SAFETY: `quantize` made them as the ABI says, and the CPU has the features.
        unsafe { (kernel.run)(args, &made.call, 0, n as u32) };
    }
    made.buffers.into_iter().next_back().unwrap_or_else(|| Lines::new(0))
}

/// A buffer for a kernel's result of `dim` values a token, and its stride in bytes.
fn result(dim: usize, n: usize, planes: usize) -> (Lines, usize) {
    let stride = if planes > 0 { planes * q8_row_bytes(dim) } else { 4 * padded_width(dim) };
    (Lines::new(n * stride), stride)
}

fn norm(dim: usize, n: usize, planes: usize) -> Made {
    let (x, w, (mut y, stride)) = (float_rows(dim, n), float_rows(dim, 1), result(dim, n, planes));
    let args = NormArgs {
        x: x.ptr().cast(),
        w: w.ptr().cast(),
        y: y.mut_ptr(),
        x_stride: padded_width(dim) as u32,
        y_stride: stride as u32,
        dim: dim as u32,
        eps: 1e-5,
        over: Over::Tokens as u32,
    };
    let bytes = n * (4 * dim + stride) + 4 * dim;
    Made { args: one(args), call: call_of(n), buffers: vec![x, w, y], bytes, operations: 4 * dim * n }
}

fn quantize(dim: usize, n: usize, planes: usize) -> Made {
    let (x, (mut y, stride)) = (float_rows(dim, n), result(dim, n, planes));
    let args = QuantizeArgs {
        x: x.ptr().cast(),
        y: y.mut_ptr(),
        x_stride: padded_width(dim) as u32,
        y_stride: stride as u32,
        dim: dim as u32,
        over: Over::Tokens as u32,
    };
    let bytes = n * (4 * dim + stride);
    Made { args: one(args), call: call_of(n), buffers: vec![x, y], bytes, operations: 3 * dim * n }
}

fn swiglu(dim: usize, n: usize, planes: usize) -> Made {
    let (x, (mut y, stride)) = (float_rows(2 * dim, n), result(dim, n, planes));
    let args = SwigluArgs {
        x: x.ptr().cast(),
        y: y.mut_ptr(),
        x_stride: padded_width(2 * dim) as u32,
        y_stride: stride as u32,
        dim: dim as u32,
        over: Over::Tokens as u32,
    };
    let bytes = n * (8 * dim + stride);
    Made { args: one(args), call: call_of(n), buffers: vec![x, y], bytes, operations: 4 * dim * n }
}

fn elementwise(dim: usize, n: usize) -> Made {
    let (a, b, mut y) = (float_rows(dim, n), float_rows(dim, n), float_rows(dim, n));
    let stride = padded_width(dim) as u32;
    let args = ElementwiseArgs {
        a: a.ptr().cast(),
        b: b.ptr().cast(),
        y: y.mut_ptr().cast(),
        a_stride: stride,
        b_stride: stride,
        y_stride: stride,
        dim: dim as u32,
        scale: 0.5,
        over: Over::Tokens as u32,
    };
    Made { args: one(args), call: call_of(n), buffers: vec![a, b, y], bytes: 12 * dim * n, operations: dim * n }
}

/// The last `n` tokens of a sequence of `context`, whose cache of one layer comes first among the buffers.
fn cached(kv_heads: usize, head_dim: usize, context: usize, n: usize) -> Option<(Call, Vec<Lines>)> {
    let (first, blocks) = (context.checked_sub(n)?, context.div_ceil(KV_BLOCK));
    let block_bytes = 2 * kv_heads * KV_BLOCK * head_dim * CACHED;
    let mut kv = Lines::new(blocks * block_bytes);
    let (positions, sequences) = (indices(first..context), indices((0..n).map(|_| 0)));
    let tables = indices(0..blocks);
    let call = Call {
        positions: positions.ptr().cast(),
        sequences: sequences.ptr().cast(),
        kv: kv.mut_ptr(),
        kv_block_bytes: block_bytes,
        tables: tables.ptr().cast(),
        table_stride: blocks as u32,
        ..call_of(n)
    };
    Some((call, vec![kv, positions, sequences, tables]))
}

/// Numbers as u32.
fn indices(numbers: impl Iterator<Item = usize> + Clone) -> Lines {
    let mut lines = Lines::new(4 * numbers.clone().count());
    for (cell, number) in lines.0.iter_mut().flat_map(|line| line.0.as_chunks_mut().0).zip(numbers) {
        *cell = (number as u32).to_ne_bytes();
    }
    lines
}

fn rope_kv(shape: Shape, n: usize) -> Option<Made> {
    let Shape::Heads { heads, kv_heads, head_dim, context } = shape else { return None };
    let (call, mut buffers) = cached(kv_heads, head_dim, context, n)?;
    let (width, q_width) = ((heads + 2 * kv_heads) * head_dim, heads * head_dim);
    let (qkv, table, mut q) = (float_rows(width, n), float_rows(head_dim, n), float_rows(q_width, n));
    let args = RopeKvArgs {
        qkv: qkv.ptr().cast(),
        table: table.ptr().cast(),
        q_norm: null(),
        k_norm: null(),
        q_out: q.mut_ptr().cast(),
        qkv_stride: padded_width(width) as u32,
        table_stride: padded_width(head_dim) as u32,
        q_stride: padded_width(q_width) as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: head_dim as u32,
        layer: 0,
        eps: 1e-5,
    };
    buffers.extend([qkv, table, q]);
    let bytes = n * (4 * (width + head_dim + q_width) + CACHED * 2 * kv_heads * head_dim);
    let operations = n * 3 * (q_width + kv_heads * head_dim);
    Some(Made { args: one(args), call, buffers, bytes, operations })
}

fn attention(shape: Shape, n: usize) -> Option<Made> {
    let Shape::Heads { heads, kv_heads, head_dim, context } = shape else { return None };
    let (call, mut buffers) = cached(kv_heads, head_dim, context, n)?;
    let width = heads * head_dim;
    let (q, mut y) = (float_rows(width, n), float_rows(width, n));
    let args = AttentionArgs {
        q: q.ptr().cast(),
        y: y.mut_ptr().cast(),
        q_stride: padded_width(width) as u32,
        y_stride: padded_width(width) as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: head_dim as u32,
        layer: 0,
        window: 0,
        scale: 0.125,
    };
    buffers.extend([q, y]);
    let seen: usize = (context - n + 1..=context).sum();
    let bytes = CACHED * 2 * kv_heads * head_dim * context + n * 8 * width;
    Some(Made { args: one(args), call, buffers, bytes, operations: 4 * width * seen })
}
