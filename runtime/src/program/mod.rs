//! The program file: its header, its flatbuffer read into plain Rust types, and the check of every part of it.

pub mod flat;
pub mod header;
mod parse;
pub mod verify;

use crate::Result;
use header::{DATA_ALIGN, Header};
use tc_kernels::abi::KV_BLOCK;
use tc_kernels::layout::{Kind, padded_width, q8_row_bytes, q8x2_row_bytes};

/// Reads and checks a whole program file.
pub fn read(file: &[u8]) -> Result<verify::Verified> {
    let header = Header::decode(file)?;
    let bytes = Segment { offset: header.program_offset, size: header.program_size }.of(file);
    Program::parse(bytes).and_then(|program| verify::verify(program, &header)).map_err(|error| header.explain(error))
}

/// What a `.pte` says. `parse` only decodes it; `verify` decides whether it may run.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// For people: name, family, recipe, writer.
    pub metadata: Vec<(String, String)>,
    pub vocab: u32,
    pub max_positions: u32,
    pub cache: Cache,
    pub kernels: Vec<String>,
    pub weights: Vec<Weight>,
    pub buffers: Vec<Buffer>,
    pub instructions: Vec<Instruction>,
    /// Bytes of the arena for each token.
    pub token_arena: u64,
    /// Bytes of the arena for each row of logits.
    pub row_arena: u64,
    /// The buffer that holds the result.
    pub logits: u32,
    pub stop_tokens: Vec<u32>,
    pub weights_segment: Segment,
    pub tokenizer_segment: Segment,
    pub chat_segment: Segment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    pub layers: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
}

impl Cache {
    /// Values in one block: keys and values of `KV_BLOCK` positions in every layer.
    pub fn block_values(self) -> u64 {
        let (layers, heads, dim) = (u64::from(self.layers), u64::from(self.kv_heads), u64::from(self.head_dim));
        2 * KV_BLOCK as u64 * layers.saturating_mul(heads).saturating_mul(dim).min(u64::MAX >> 16)
    }
}

/// Bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub size: u64,
}

impl Segment {
    /// One past the last byte, where that is a number.
    pub fn end(self) -> Option<u64> {
        self.offset.checked_add(self.size)
    }

    /// These bytes of a file; none where they lie outside.
    pub fn of(self, file: &[u8]) -> &[u8] {
        let range = self.end().and_then(|end| Some(usize::try_from(self.offset).ok()?..usize::try_from(end).ok()?));
        range.and_then(|range| file.get(range)).unwrap_or_default()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    pub name: String,
    pub kind: WeightKind,
    pub rows: u32,
    pub cols: u32,
    pub group: u32,
    /// From the beginning of the weights segment.
    pub offset: u64,
    pub size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightKind {
    /// A packed matrix `[rows, cols]`.
    Matrix(Kind),
    /// Plain f32 `[rows]`.
    Vector,
}

impl WeightKind {
    pub fn from_name(name: &str) -> Option<WeightKind> {
        match name {
            "vector" => Some(WeightKind::Vector),
            _ => Kind::from_name(name).map(WeightKind::Matrix),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            WeightKind::Vector => "vector",
            WeightKind::Matrix(kind) => kind.name(),
        }
    }
}

/// A value's place in the arena, for one token or one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    pub name: String,
    pub kind: BufferKind,
    pub width: u32,
    /// One row for each requested row of logits instead of each token.
    pub over_rows: bool,
    pub offset: u64,
    pub stride: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferKind {
    F32,
    Q8,
    Q8x2,
}

impl BufferKind {
    pub fn name(self) -> &'static str {
        match self {
            BufferKind::F32 => "f32",
            BufferKind::Q8 => "q8",
            BufferKind::Q8x2 => "q8x2",
        }
    }

    /// Bytes that a row takes at least.
    pub fn row_bytes(self, width: usize) -> usize {
        match self {
            BufferKind::F32 => 4 * padded_width(width),
            BufferKind::Q8 => q8_row_bytes(width),
            BufferKind::Q8x2 => q8x2_row_bytes(width),
        }
    }

    /// What a stride is a multiple of: rows, and the two planes of one, begin where kernels want them to.
    pub fn alignment(self) -> usize {
        if self == BufferKind::Q8x2 { 2 * DATA_ALIGN as usize } else { DATA_ALIGN as usize }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Index into `Program::kernels`.
    pub kernel: u16,
    /// Positional, as are `ints` and `floats`: `signature.rs` of the kernels lists them.
    pub operands: Vec<Operand>,
    pub ints: Vec<i64>,
    pub floats: Vec<f32>,
    /// All threads wait here before this instruction begins.
    pub barrier: bool,
    pub note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    None,
    Buffer(u32),
    Weight(u32),
}
