//! The arguments of an instruction as bytes: all that is known now, and the pointers that an engine will have.

use std::mem::offset_of;

use tc_kernels::abi::{
    AttentionArgs, ConcatArgs, ElementwiseArgs, EmbedArgs, GatherArgs, LinearArgs, Matrix, NormArgs, QuantizeArgs,
    RopeKvArgs, RopeTableArgs, SwigluArgs,
};
use tcrt::program::verify::{Heads, Op};
use tcrt::program::{Program, WeightKind};

/// What a pointer is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    Weights,
    /// The arena of tokens; the offset is for one token.
    Tokens,
    /// The arena of rows; the offset is for one row.
    Rows,
    /// The thread's own state.
    State,
}

pub type Address = (Base, u64);

/// A kernel's arguments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    pub bytes: Vec<u8>,
    /// Where in the bytes pointers go, and where they lead.
    pub pointers: Vec<(usize, Address)>,
}

/// The arguments of one instruction, whose buffers lie where `place` says; their order in the instruction is the kernel's.
pub struct Arguments<'a, P: Fn(usize, bool) -> Address> {
    pub program: &'a Program,
    /// Of a buffer that the instruction reads, or (where true) writes.
    pub place: P,
}

impl<P: Fn(usize, bool) -> Address> Arguments<'_, P> {
    pub fn image(&self, op: &Op) -> Image {
        match *op {
            Op::Embed { table, y, scale } => Writer::new::<EmbedArgs>()
                .matrix(offset_of!(EmbedArgs, table), self.program, table)
                .pointer(offset_of!(EmbedArgs, y), self.out(y))
                .u32(offset_of!(EmbedArgs, y_stride), self.stride(y))
                .f32(offset_of!(EmbedArgs, scale), scale),
            Op::RopeTable { inv_freq, y, half, magnitude, theta, dynamic_factor, original } => {
                Writer::new::<RopeTableArgs>()
                    .pointer(offset_of!(RopeTableArgs, inv_freq), self.weight(inv_freq))
                    .pointer(offset_of!(RopeTableArgs, y), self.out(y))
                    .u32(offset_of!(RopeTableArgs, y_stride), self.stride(y))
                    .u32(offset_of!(RopeTableArgs, half), half)
                    .f32(offset_of!(RopeTableArgs, magnitude), magnitude)
                    .f32(offset_of!(RopeTableArgs, theta), theta)
                    .f32(offset_of!(RopeTableArgs, dynamic_factor), dynamic_factor)
                    .u32(offset_of!(RopeTableArgs, original), original)
            }
            Op::Norm { x, w, y, dim, eps, over } => Writer::new::<NormArgs>()
                .pointer(offset_of!(NormArgs, x), self.from(x))
                .pointer(offset_of!(NormArgs, w), self.weight(w))
                .pointer(offset_of!(NormArgs, y), self.out(y))
                .u32(offset_of!(NormArgs, x_stride), self.stride(x))
                .u32(offset_of!(NormArgs, y_stride), self.byte_stride(y))
                .u32(offset_of!(NormArgs, dim), dim)
                .f32(offset_of!(NormArgs, eps), eps)
                .u32(offset_of!(NormArgs, over), over as u32),
            Op::Quantize { x, y, dim, over } => Writer::new::<QuantizeArgs>()
                .pointer(offset_of!(QuantizeArgs, x), self.from(x))
                .pointer(offset_of!(QuantizeArgs, y), self.out(y))
                .u32(offset_of!(QuantizeArgs, x_stride), self.stride(x))
                .u32(offset_of!(QuantizeArgs, y_stride), self.byte_stride(y))
                .u32(offset_of!(QuantizeArgs, dim), dim)
                .u32(offset_of!(QuantizeArgs, over), over as u32),
            Op::Linear { x, w, bias, residual, y, alpha, over } => Writer::new::<LinearArgs>()
                .matrix(offset_of!(LinearArgs, w), self.program, w)
                .pointer(offset_of!(LinearArgs, x), self.from(x))
                .optional(offset_of!(LinearArgs, bias), bias.map(|bias| self.weight(bias)))
                .optional(offset_of!(LinearArgs, residual), residual.map(|residual| self.from(residual)))
                .pointer(offset_of!(LinearArgs, y), self.out(y))
                .u32(offset_of!(LinearArgs, x_stride), self.byte_stride(x))
                .u32(offset_of!(LinearArgs, y_stride), self.stride(y))
                .f32(offset_of!(LinearArgs, alpha), alpha)
                .u32(offset_of!(LinearArgs, over), over as u32),
            Op::Swiglu { x, y, dim, over } => Writer::new::<SwigluArgs>()
                .pointer(offset_of!(SwigluArgs, x), self.from(x))
                .pointer(offset_of!(SwigluArgs, y), self.out(y))
                .u32(offset_of!(SwigluArgs, x_stride), self.stride(x))
                .u32(offset_of!(SwigluArgs, y_stride), self.byte_stride(y))
                .u32(offset_of!(SwigluArgs, dim), dim)
                .u32(offset_of!(SwigluArgs, over), over as u32),
            Op::RopeKv { qkv, table, q_norm, k_norm, q, heads: Heads { heads, kv_heads, head_dim, layer }, eps } => {
                Writer::new::<RopeKvArgs>()
                    .pointer(offset_of!(RopeKvArgs, qkv), self.from(qkv))
                    .pointer(offset_of!(RopeKvArgs, table), self.from(table))
                    .optional(offset_of!(RopeKvArgs, q_norm), q_norm.map(|norm| self.weight(norm)))
                    .optional(offset_of!(RopeKvArgs, k_norm), k_norm.map(|norm| self.weight(norm)))
                    .pointer(offset_of!(RopeKvArgs, q_out), self.out(q))
                    .u32(offset_of!(RopeKvArgs, qkv_stride), self.stride(qkv))
                    .u32(offset_of!(RopeKvArgs, table_stride), self.stride(table))
                    .u32(offset_of!(RopeKvArgs, q_stride), self.stride(q))
                    .u32(offset_of!(RopeKvArgs, heads), heads)
                    .u32(offset_of!(RopeKvArgs, kv_heads), kv_heads)
                    .u32(offset_of!(RopeKvArgs, head_dim), head_dim)
                    .u32(offset_of!(RopeKvArgs, layer), layer)
                    .f32(offset_of!(RopeKvArgs, eps), eps)
            }
            Op::Attention { q, y, heads: Heads { heads, kv_heads, head_dim, layer }, window, scale } => {
                Writer::new::<AttentionArgs>()
                    .pointer(offset_of!(AttentionArgs, q), self.from(q))
                    .pointer(offset_of!(AttentionArgs, y), self.out(y))
                    .u32(offset_of!(AttentionArgs, q_stride), self.stride(q))
                    .u32(offset_of!(AttentionArgs, y_stride), self.stride(y))
                    .u32(offset_of!(AttentionArgs, heads), heads)
                    .u32(offset_of!(AttentionArgs, kv_heads), kv_heads)
                    .u32(offset_of!(AttentionArgs, head_dim), head_dim)
                    .u32(offset_of!(AttentionArgs, layer), layer)
                    .u32(offset_of!(AttentionArgs, window), window)
                    .f32(offset_of!(AttentionArgs, scale), scale)
            }
            Op::Gather { x, y, dim } => Writer::new::<GatherArgs>()
                .pointer(offset_of!(GatherArgs, x), self.from(x))
                .pointer(offset_of!(GatherArgs, y), self.out(y))
                .u32(offset_of!(GatherArgs, x_stride), self.stride(x))
                .u32(offset_of!(GatherArgs, y_stride), self.stride(y))
                .u32(offset_of!(GatherArgs, dim), dim),
            Op::Concat { a, b, y, a_dim, b_dim } => Writer::new::<ConcatArgs>()
                .pointer(offset_of!(ConcatArgs, a), self.from(a))
                .pointer(offset_of!(ConcatArgs, b), self.from(b))
                .pointer(offset_of!(ConcatArgs, y), self.out(y))
                .u32(offset_of!(ConcatArgs, a_stride), self.stride(a))
                .u32(offset_of!(ConcatArgs, b_stride), self.stride(b))
                .u32(offset_of!(ConcatArgs, y_stride), self.stride(y))
                .u32(offset_of!(ConcatArgs, a_dim), a_dim)
                .u32(offset_of!(ConcatArgs, b_dim), b_dim),
            Op::Elementwise { a, b, y, dim, scale, over } => Writer::new::<ElementwiseArgs>()
                .pointer(offset_of!(ElementwiseArgs, a), self.from(a))
                .optional(offset_of!(ElementwiseArgs, b), b.map(|b| self.from(b)))
                .pointer(offset_of!(ElementwiseArgs, y), self.out(y))
                .u32(offset_of!(ElementwiseArgs, a_stride), self.stride(a))
                .u32(offset_of!(ElementwiseArgs, b_stride), b.map_or(0, |b| self.stride(b)))
                .u32(offset_of!(ElementwiseArgs, y_stride), self.stride(y))
                .u32(offset_of!(ElementwiseArgs, dim), dim)
                .f32(offset_of!(ElementwiseArgs, scale), scale)
                .u32(offset_of!(ElementwiseArgs, over), over as u32),
        }
        .0
    }

    fn from(&self, buffer: usize) -> Address {
        (self.place)(buffer, false)
    }

    fn out(&self, buffer: usize) -> Address {
        (self.place)(buffer, true)
    }

    fn weight(&self, weight: usize) -> Address {
        (Base::Weights, self.program.weights[weight].offset)
    }

    fn byte_stride(&self, buffer: usize) -> u32 {
        self.program.buffers[buffer].stride
    }

    fn stride(&self, buffer: usize) -> u32 {
        self.byte_stride(buffer) / 4
    }
}

/// Where a buffer of the plan lies that all threads share.
pub fn shared_place(program: &Program, buffer: usize) -> Address {
    let buffer = &program.buffers[buffer];
    (if buffer.over_rows { Base::Rows } else { Base::Tokens }, buffer.offset)
}

struct Writer(Image);

impl Writer {
    fn new<T>() -> Writer {
        // Arguments begin at multiples of 8.
        Writer(Image { bytes: vec![0; size_of::<T>().next_multiple_of(8)], pointers: Vec::new() })
    }

    fn u32(mut self, at: usize, value: u32) -> Writer {
        self.0.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn f32(self, at: usize, value: f32) -> Writer {
        self.u32(at, value.to_bits())
    }

    fn pointer(mut self, at: usize, address: Address) -> Writer {
        self.0.pointers.push((at, address));
        self
    }

    fn optional(self, at: usize, address: Option<Address>) -> Writer {
        match address {
            Some(address) => self.pointer(at, address),
            None => self,
        }
    }

    fn matrix(self, at: usize, program: &Program, weight: usize) -> Writer {
        let weight = &program.weights[weight];
        let kind = match weight.kind {
            WeightKind::Matrix(kind) => kind as u32,
            // The verifier gives matrices where matrices belong.
            WeightKind::Vector => u32::MAX,
        };
        self.pointer(at + offset_of!(Matrix, data), (Base::Weights, weight.offset))
            .u32(at + offset_of!(Matrix, rows), weight.rows)
            .u32(at + offset_of!(Matrix, cols), weight.cols)
            .u32(at + offset_of!(Matrix, kind), kind)
            .u32(at + offset_of!(Matrix, group), weight.group)
    }
}
