//! What lowering makes and emitters write: one linear list of instructions over planned memory. The fields are those of
//! `runtime/schema/program.fbs`, which says what they mean; here are only the ones that a file does not have.

use tc_kernels::layout::matrix_bytes;
use tc_kernels::signature::Signature;

pub use tcrt::program::BufferKind;

use crate::recipe::WeightType;

#[derive(Clone, Debug)]
pub struct Program {
    pub vocab: u32,
    pub max_positions: u32,
    pub cache: CacheShape,
    pub weights: Vec<Weight>,
    pub buffers: Vec<Buffer>,
    pub instructions: Vec<Instruction>,
    pub token_arena: u64,
    pub row_arena: u64,
    pub logits: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    pub layers: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    pub name: String,
    /// Names of the constants whose rows, one below the other, it is.
    pub parts: Vec<String>,
    pub storage: Storage,
    pub rows: u32,
    pub cols: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    Packed(WeightType),
    /// Plain f32; `cols` is 1.
    Vector,
}

impl Weight {
    pub fn kind_name(&self) -> &'static str {
        match self.storage {
            Storage::Packed(weight) => weight.kind.name(),
            Storage::Vector => "vector",
        }
    }

    pub fn group(&self) -> u32 {
        match self.storage {
            Storage::Packed(weight) => weight.group,
            Storage::Vector => 0,
        }
    }

    pub fn bytes(&self) -> u64 {
        let (rows, cols) = (self.rows as usize, self.cols as usize);
        match self.storage {
            Storage::Packed(WeightType { kind, group }) => matrix_bytes(kind, rows, cols, group as usize) as u64,
            Storage::Vector => 4 * rows as u64,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub name: String,
    pub kind: BufferKind,
    pub width: u32,
    pub over_rows: bool,
    pub offset: u64,
}

impl Buffer {
    /// Bytes from one token (or row) to the next; a multiple of 64, but not of 1024: a matmul's results for all tokens would
    /// lie in a few sets of the cache, and push each other out before their lines are full.
    pub fn stride(&self) -> u64 {
        let bytes = self.kind.row_bytes(self.width as usize);
        (if bytes.is_multiple_of(1024) { bytes + self.kind.alignment() } else { bytes }) as u64
    }

    /// Bytes for one token (or row) in its arena.
    pub fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + self.stride()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    None,
    Buffer(u32),
    Weight(u32),
}

#[derive(Clone, Debug)]
pub struct Instruction {
    pub kernel: &'static Signature,
    pub operands: Vec<Operand>,
    pub ints: Vec<i64>,
    pub floats: Vec<f32>,
    pub barrier: bool,
    pub note: String,
}

impl Instruction {
    /// The buffers that it reads and writes: index, and whether it writes.
    pub fn buffers(&self) -> impl Iterator<Item = (u32, bool)> {
        self.operands.iter().zip(self.kernel.operands).filter_map(|(operand, takes)| match operand {
            Operand::Buffer(index) => Some((*index, takes.output)),
            Operand::None | Operand::Weight(_) => None,
        })
    }

    /// The cache's layer that it touches.
    pub fn layer(&self) -> Option<i64> {
        let at = self.kernel.ints.iter().position(|name| *name == "layer")?;
        self.ints.get(at).copied()
    }
}
