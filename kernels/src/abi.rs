//! The kernel ABI: what an executor (or generated code) hands to a kernel.
//!
//! A kernel is one function `run(args, call, begin, end)`. `args` is the kernel's own struct: pointers, shapes and
//! scalars, all constant once a session exists. `call` holds what changes from call to call. `begin..end` is a range of
//! the kernel's *tasks*: independent pieces of work that different threads take in any order; `tasks(args, call)` says
//! how many there are. Every thread runs the same schedule; a barrier stands where one instruction reads what another
//! wrote (DESIGN: SPMD execution).
//!
//! Padding: every f32 buffer row is padded to a multiple of 16 values, so kernels may always write whole blocks of 16
//! output rows. Q8 and Q8x2 rows are padded to a multiple of 32 inputs and the padding is zero. What lies in the padding of an f32
//! row is arbitrary: no kernel's result depends on it.
//!
//! # Safety
//!
//! Who calls a kernel promises that
//! - `args` and `call` are of the kernel's types, and every pointer in them (except the optional ones, which may be null)
//!   is valid for the shapes, strides and counts that they give; buffers, rows and packed matrices begin at multiples of
//!   64 bytes, plain vectors at multiples of 4;
//! - tokens, positions, sequences, rows and block ids are in range; positions of one sequence in one call differ;
//! - `begin <= end <= tasks(args, call)`, and no two threads run the same task;
//! - outputs overlap no inputs, except that `residual` may be `y`, and `y` of an elementwise kernel may be `a` or `b`;
//! - what an instruction reads has been written before its first task begins;
//! - kinds, groups, heads and dims are those that a verified program may have: `linear_q8` and `linear_q8x2` take quantized kinds,
//!   `group` is a multiple of 32 for them, `heads` is a multiple of `kv_heads`, `head_dim` is even, no size is zero;
//! - the CPU has the features that the variant needs (`table::select` sees to it).

use core::ffi::c_void;

/// `run(args, call, begin, end)`; see the module's text.
pub type Run = unsafe extern "C" fn(args: *const c_void, call: *const Call, begin: u32, end: u32);
/// How many tasks this call has.
pub type Tasks = unsafe extern "C" fn(args: *const c_void, call: *const Call) -> u32;

/// Output rows in one block of a packed weight.
pub const BLOCK_ROWS: usize = 16;
/// Inputs that share a scale in a quantized activation row; weight groups are multiples of it.
pub const ACT_GROUP: usize = 32;
/// Positions in one block of the KV cache.
pub const KV_BLOCK: usize = 64;
/// Positions whose keys lie interleaved.
pub const KV_TILE: usize = 8;
/// Positions of a context whose attention is summed apart.
pub const SEGMENT: usize = 256;

/// What changes from call to call: a ragged batch of `n` tokens.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Tokens in this call.
    pub n: u32,
    /// Rows whose logits are asked for.
    pub rows: u32,
    /// `[n]` token ids, each below the vocabulary's size.
    pub tokens: *const u32,
    /// `[n]` position of each token in its sequence.
    pub positions: *const u32,
    /// `[n]` which block table each token's sequence has.
    pub sequences: *const u32,
    /// `[rows]` indices into the `n` tokens.
    pub out_rows: *const u32,
    /// The KV pool. Block `b` begins at `kv + b * kv_block_bytes`.
    pub kv: *mut u8,
    pub kv_block_bytes: usize,
    /// `[sequences][table_stride]` block ids: position `p` of a sequence lies in block `table[p / KV_BLOCK]`.
    pub tables: *const u32,
    pub table_stride: u32,
    /// Element type of the cache, a `KvType`.
    pub kv_dtype: u32,
    /// Where the only token's context is to be cut into segments: the positions that it sees, its own counted. Else 0.
    pub seen: u32,
    /// For `attention_segments`, `cut::bytes` of it, zero before the first call; null where `seen` never is more than 0.
    pub sums: *mut u8,
}

/// Element types of the cache. A head's keys (or values) in a block are `KV_BLOCK * head_dim` elements; those of I8 are followed by
/// a scale in f32 for each position: `max |x| / 127`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    F32 = 0,
    F16 = 1,
    I8 = 2,
}

impl KvType {
    pub const ALL: [KvType; 3] = [KvType::F32, KvType::F16, KvType::I8];

    /// What the number stands for; f32 where nothing.
    pub const fn of(number: u32) -> KvType {
        match number {
            1 => KvType::F16,
            2 => KvType::I8,
            _ => KvType::F32,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::I8 => "i8",
        }
    }

    pub const fn element_bytes(self) -> usize {
        match self {
            KvType::F32 => 4,
            KvType::F16 => 2,
            KvType::I8 => 1,
        }
    }

    /// Bytes of a position's scale.
    pub const fn scale_bytes(self) -> usize {
        if matches!(self, KvType::I8) { 4 } else { 0 }
    }

    /// Bytes of one position's key, or of its value, for one head.
    pub const fn position_bytes(self, head_dim: usize) -> usize {
        head_dim * self.element_bytes() + self.scale_bytes()
    }

    /// Bytes of a head's keys, or of its values, in a block.
    pub const fn head_bytes(self, head_dim: usize) -> usize {
        KV_BLOCK * self.position_bytes(head_dim)
    }
}

/// Whether an instruction works on all `n` tokens or only on the `rows` whose logits are asked for.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Tokens = 0,
    Rows = 1,
}

/// A packed weight matrix `[rows, cols]` as kernels see it; `layout.rs` says what the bytes mean.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    pub data: *const u8,
    pub rows: u32,
    pub cols: u32,
    /// A `layout::Kind` as a number.
    pub kind: u32,
    /// Inputs per scale: a multiple of 32; for float kinds 0.
    pub group: u32,
}

/// `y[t, :] = scale * table[tokens[t], :]`. Task: one token.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EmbedArgs {
    pub table: Matrix,
    pub y: *mut f32,
    pub y_stride: u32,
    pub scale: f32,
}

/// Rotation angles of each token: `y[t, 0..half] = m cos(p f_i)`, `y[t, half..2 half] = m sin(p f_i)`, where `p` is the
/// token's position, `f` the inverse frequencies and `m` the magnitude. With `dynamic_factor > 0` (dynamic NTK) a
/// token at position `p >= original` uses the base for the length `p + 1`:
/// `theta' = theta * (factor * len / original - (factor - 1)) ^ (d / (d - 2))`, `d = 2 half`. Task: one token.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RopeTableArgs {
    pub inv_freq: *const f32,
    pub y: *mut f32,
    pub y_stride: u32,
    pub half: u32,
    pub magnitude: f32,
    pub theta: f32,
    pub dynamic_factor: f32,
    pub original: u32,
}

/// `y = x / sqrt(mean(x^2) + eps) * w`, as f32 (`rms_norm`) or as a Q8 or Q8x2 row (`rms_norm_q8`, `rms_norm_q8x2`). Task: one token or row.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NormArgs {
    pub x: *const f32,
    pub w: *const f32,
    pub y: *mut u8,
    /// In elements of f32.
    pub x_stride: u32,
    /// In bytes.
    pub y_stride: u32,
    pub dim: u32,
    pub eps: f32,
    pub over: u32,
}

/// f32 rows to Q8 or Q8x2 rows (`quantize_q8`, `quantize_q8x2`). Task: one token or row.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct QuantizeArgs {
    pub x: *const f32,
    pub y: *mut u8,
    pub x_stride: u32,
    pub y_stride: u32,
    pub dim: u32,
    pub over: u32,
}

/// `y = alpha * (W x + bias) + residual`; `x` is f32 (`linear`), Q8 rows (`linear_q8`) or Q8x2 rows (`linear_q8x2`). `bias` and `residual` may be
/// null; `residual` may be `y` itself. Task: one block of 16 output rows, for all tokens. `linear_q8_one` is for calls of one token
/// and one row.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LinearArgs {
    pub w: Matrix,
    pub x: *const u8,
    pub bias: *const f32,
    pub residual: *const f32,
    pub y: *mut f32,
    /// In bytes.
    pub x_stride: u32,
    /// In elements of f32, for `y` and `residual`.
    pub y_stride: u32,
    pub alpha: f32,
    pub over: u32,
}

/// `y = silu(x[0..dim]) * x[dim..2 dim]`, as f32 (`swiglu`) or as a Q8 or Q8x2 row (`swiglu_q8`, `swiglu_q8x2`). Task: one token or row.
/// `swiglu_q8_groups` and `swiglu_q8x2_groups` do the same by groups of columns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SwigluArgs {
    pub x: *const f32,
    pub y: *mut u8,
    pub x_stride: u32,
    pub y_stride: u32,
    pub dim: u32,
    /// Native artifacts older than 1.2 have zero here, which is tokens.
    pub over: u32,
}

/// Per token: norms (where `q_norm`, `k_norm` are given) and rotates q and k of a merged `[q | k | v]` row, writes q to
/// `q_out`, and k and v to the cache's layer. Rotation is by halves: `(x_i, x_{i+half})`. Task: one (token, KV head) pair with
/// the query heads that share the KV head, token-major, just as `attention` divides its work.
///
/// In a KV block, layer `l` begins at `l * 2 * kv_heads * KV_BLOCK * head_dim` elements: first K as
/// `[kv_heads][KV_BLOCK / KV_TILE][head_dim][KV_TILE]`, then V as `[kv_heads][KV_BLOCK][head_dim]`. So eight positions' scores,
/// as eight of a head's outputs, are one vector of sums, and no horizontal sum is needed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RopeKvArgs {
    pub qkv: *const f32,
    pub table: *const f32,
    pub q_norm: *const f32,
    pub k_norm: *const f32,
    pub q_out: *mut f32,
    pub qkv_stride: u32,
    pub table_stride: u32,
    pub q_stride: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub layer: u32,
    pub eps: f32,
}

/// Causal attention of each token over its own sequence's cache up to and with its position; `window` > 0 keeps only the
/// last `window` positions. Task: one (token, KV head) pair, token-major. `attention_segments` does the same, and where the call cuts contexts, a
/// task is one (KV head, segment) pair.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AttentionArgs {
    pub q: *const f32,
    pub y: *mut f32,
    pub q_stride: u32,
    pub y_stride: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub layer: u32,
    pub window: u32,
    pub scale: f32,
}

/// What some positions of a context add to a query's attention, besides the sum of `exp(score - most) v`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Partial {
    /// The largest score.
    pub most: f32,
    /// The sum of `exp(score - most)`.
    pub total: f32,
}

impl Partial {
    pub const NONE: Partial = Partial { most: f32::NEG_INFINITY, total: 0.0 };
}

/// `y[r, :] = x[out_rows[r], :]`. Task: one row.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GatherArgs {
    pub x: *const f32,
    pub y: *mut f32,
    pub x_stride: u32,
    pub y_stride: u32,
    pub dim: u32,
}

/// `y[t, :] = [a[t, :] | b[t, :]]`. Task: one token.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ConcatArgs {
    pub a: *const f32,
    pub b: *const f32,
    pub y: *mut f32,
    pub a_stride: u32,
    pub b_stride: u32,
    pub y_stride: u32,
    pub a_dim: u32,
    pub b_dim: u32,
}

/// Elementwise on f32 rows: `add` (a + scale * b), `mul` (a * b), `silu` (silu(a)), `scale` (scale * a); `b` null where unused.
/// Task: one token or row.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ElementwiseArgs {
    pub a: *const f32,
    pub b: *const f32,
    pub y: *mut f32,
    pub a_stride: u32,
    pub b_stride: u32,
    pub y_stride: u32,
    pub dim: u32,
    pub scale: f32,
    pub over: u32,
}

/// Bytes of a kernel's arguments. Native artifacts hold these structs as they were when they were made, so a struct that
/// changes is a new kernel with a new name, and the loader compares sizes.
pub fn args_size(kernel: &str) -> Option<usize> {
    Some(match kernel {
        "embed" => size_of::<EmbedArgs>(),
        "rope_table" => size_of::<RopeTableArgs>(),
        "rms_norm" | "rms_norm_q8" | "rms_norm_q8x2" => size_of::<NormArgs>(),
        "quantize_q8" | "quantize_q8x2" => size_of::<QuantizeArgs>(),
        "linear" | "linear_q8" | "linear_q8x2" | "linear_q8_one" => size_of::<LinearArgs>(),
        "swiglu" | "swiglu_q8" | "swiglu_q8x2" | "swiglu_q8_groups" | "swiglu_q8x2_groups" => size_of::<SwigluArgs>(),
        "rope_kv" => size_of::<RopeKvArgs>(),
        "attention" | "attention_segments" => size_of::<AttentionArgs>(),
        "gather_rows" => size_of::<GatherArgs>(),
        "concat_cols" => size_of::<ConcatArgs>(),
        "add" | "mul" | "silu" | "scale" => size_of::<ElementwiseArgs>(),
        _ => return None,
    })
}
