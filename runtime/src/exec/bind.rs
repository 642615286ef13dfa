//! From a verified program's operations to steps: every index becomes a pointer, every kernel the best variant for this CPU.

use crate::program::verify::{Heads, Op, Verified};
use crate::program::{Buffer, Program, Weight, WeightKind};
use crate::sys::{Args, Memory, Step};
use crate::{Error, ErrorKind, Result};
use std::ptr;
use tc_kernels::abi::{
    AttentionArgs, ConcatArgs, ElementwiseArgs, EmbedArgs, GatherArgs, LinearArgs, Matrix, NormArgs, QuantizeArgs,
    RopeKvArgs, RopeTableArgs, SwigluArgs,
};
use tc_kernels::table::{Chosen, Features, in_parts, select};

/// Where the buffers of `tokens` tokens and `rows` rows lie: first those over tokens, then those over rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arena {
    pub tokens: usize,
    pub rows: usize,
    rows_begin: usize,
    pub bytes: usize,
}

impl Arena {
    /// For arenas of so many bytes for each token and for each row.
    pub fn plan(token_arena: u64, row_arena: u64, tokens: usize, rows: usize) -> Arena {
        // The verifier bounds both arenas to 2^32 bytes, the engine `tokens` and `rows` to 2^16.
        let rows_begin = (token_arena as usize * tokens).next_multiple_of(64);
        Arena { tokens, rows, rows_begin, bytes: rows_begin + row_arena as usize * rows }
    }

    /// Byte at which the part over rows begins.
    pub fn rows_begin(&self) -> usize {
        self.rows_begin
    }

    /// Byte at which a buffer begins whose planned offset this is.
    pub fn offset(&self, offset: u64, over_rows: bool) -> usize {
        let offset = offset as usize;
        if over_rows { self.rows_begin + offset * self.rows } else { offset * self.tokens }
    }
}

/// Makes the program's steps over these weights and this arena, which must outlive them.
pub fn bind(
    verified: &Verified,
    weights: &[u8],
    memory: &Memory,
    arena: Arena,
    features: Features,
) -> Result<Vec<Step>> {
    let binder = Binder { program: verified.program(), weights, memory, arena };
    let instructions = verified.program().instructions.iter().zip(verified.ops());
    let step = |(instruction, op): (&crate::program::Instruction, &Op)| {
        let kernel = &binder.program.kernels[usize::from(instruction.kernel)];
        // One token's work is for all threads.
        let kernel = choose(in_parts(kernel).unwrap_or(kernel), features)?;
        Ok(Step::new(&kernel, binder.args(op), instruction.barrier))
    };
    instructions.map(step).collect()
}

/// The best variant of a kernel.
pub fn choose(name: &str, features: Features) -> Result<Chosen> {
    let missing = || Error::new(ErrorKind::Unsupported, format!("this runtime has no kernel '{name}'"));
    select(name, features).ok_or_else(missing)
}

struct Binder<'a> {
    program: &'a Program,
    weights: &'a [u8],
    memory: &'a Memory,
    arena: Arena,
}

impl Binder<'_> {
    fn args(&self, op: &Op) -> Args {
        match *op {
            Op::Embed { table, y, scale } => {
                Args::Embed(EmbedArgs { table: self.matrix(table), y: self.floats(y), y_stride: self.stride(y), scale })
            }
            Op::RopeTable { inv_freq, y, half, magnitude, theta, dynamic_factor, original } => {
                Args::RopeTable(RopeTableArgs {
                    inv_freq: self.vector(Some(inv_freq)),
                    y: self.floats(y),
                    y_stride: self.stride(y),
                    half,
                    magnitude,
                    theta,
                    dynamic_factor,
                    original,
                })
            }
            Op::Norm { x, w, y, dim, eps, over } => Args::Norm(NormArgs {
                x: self.floats(x),
                w: self.vector(Some(w)),
                y: self.bytes(y),
                x_stride: self.stride(x),
                y_stride: self.byte_stride(y),
                dim,
                eps,
                over: over as u32,
            }),
            Op::Quantize { x, y, dim, over } => Args::Quantize(QuantizeArgs {
                x: self.floats(x),
                y: self.bytes(y),
                x_stride: self.stride(x),
                y_stride: self.byte_stride(y),
                dim,
                over: over as u32,
            }),
            Op::Linear { x, w, bias, residual, y, alpha, over } => Args::Linear(LinearArgs {
                w: self.matrix(w),
                x: self.bytes(x),
                bias: self.vector(bias),
                residual: residual.map_or(ptr::null(), |residual| self.floats(residual)),
                y: self.floats(y),
                x_stride: self.byte_stride(x),
                y_stride: self.stride(y),
                alpha,
                over: over as u32,
            }),
            Op::Swiglu { x, y, dim, over } => Args::Swiglu(SwigluArgs {
                x: self.floats(x),
                y: self.bytes(y),
                x_stride: self.stride(x),
                y_stride: self.byte_stride(y),
                dim,
                over: over as u32,
            }),
            Op::RopeKv { qkv, table, q_norm, k_norm, q, heads, eps } => {
                let Heads { heads, kv_heads, head_dim, layer } = heads;
                Args::RopeKv(RopeKvArgs {
                    qkv: self.floats(qkv),
                    table: self.floats(table),
                    q_norm: self.vector(q_norm),
                    k_norm: self.vector(k_norm),
                    q_out: self.floats(q),
                    qkv_stride: self.stride(qkv),
                    table_stride: self.stride(table),
                    q_stride: self.stride(q),
                    heads,
                    kv_heads,
                    head_dim,
                    layer,
                    eps,
                })
            }
            Op::Attention { q, y, heads, window, scale } => {
                let Heads { heads, kv_heads, head_dim, layer } = heads;
                let (q_stride, y_stride) = (self.stride(q), self.stride(y));
                let (q, y) = (self.floats(q), self.floats(y));
                Args::Attention(AttentionArgs {
                    q,
                    y,
                    q_stride,
                    y_stride,
                    heads,
                    kv_heads,
                    head_dim,
                    layer,
                    window,
                    scale,
                })
            }
            Op::Gather { x, y, dim } => Args::Gather(GatherArgs {
                x: self.floats(x),
                y: self.floats(y),
                x_stride: self.stride(x),
                y_stride: self.stride(y),
                dim,
            }),
            Op::Concat { a, b, y, a_dim, b_dim } => Args::Concat(ConcatArgs {
                a: self.floats(a),
                b: self.floats(b),
                y: self.floats(y),
                a_stride: self.stride(a),
                b_stride: self.stride(b),
                y_stride: self.stride(y),
                a_dim,
                b_dim,
            }),
            Op::Elementwise { a, b, y, dim, scale, over } => Args::Elementwise(ElementwiseArgs {
                a: self.floats(a),
                b: b.map_or(ptr::null(), |b| self.floats(b)),
                y: self.floats(y),
                a_stride: self.stride(a),
                b_stride: b.map_or(0, |b| self.stride(b)),
                y_stride: self.stride(y),
                dim,
                scale,
                over: over as u32,
            }),
        }
    }

    fn buffer(&self, i: usize) -> &Buffer {
        &self.program.buffers[i]
    }

    fn bytes(&self, i: usize) -> *mut u8 {
        let buffer = self.buffer(i);
        self.memory.as_ptr().wrapping_add(self.arena.offset(buffer.offset, buffer.over_rows))
    }

    fn floats(&self, i: usize) -> *mut f32 {
        self.bytes(i).cast()
    }

    fn byte_stride(&self, i: usize) -> u32 {
        self.buffer(i).stride
    }

    fn stride(&self, i: usize) -> u32 {
        self.byte_stride(i) / 4
    }

    fn weight(&self, weight: &Weight) -> *const u8 {
        self.weights.as_ptr().wrapping_add(weight.offset as usize)
    }

    fn matrix(&self, i: usize) -> Matrix {
        let weight = &self.program.weights[i];
        let kind = match weight.kind {
            WeightKind::Matrix(kind) => kind as u32,
            // The verifier gives matrices where matrices belong.
            WeightKind::Vector => u32::MAX,
        };
        Matrix { data: self.weight(weight), rows: weight.rows, cols: weight.cols, kind, group: weight.group }
    }

    /// Null for none.
    fn vector(&self, i: Option<usize>) -> *const f32 {
        i.map_or(ptr::null(), |i| self.weight(&self.program.weights[i]).cast())
    }
}
