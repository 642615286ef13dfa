//! The complete check of a program before its first instruction runs: places, sizes, shapes, kernel arguments, data races. What
//! passes needs no checks while it runs; what a kernel is handed follows from [`Op`]s alone.

mod hidden;
mod memory;
mod ops;
mod races;

pub use hidden::Hidden;
pub use ops::{Heads, Op};

use super::header::Header;
use super::{Cache, Program};
use crate::{Error, Result};

/// Rows, columns and widths are below this, so that no product of two of them with an element's size overflows.
pub const MAX_DIM: u32 = 1 << 24;
pub const MAX_POSITIONS: u32 = 1 << 28;
const MAX_LAYERS: u32 = 1 << 12;
/// Tasks of one instruction, tokens times heads, stay countable in 32 bits.
const MAX_HEADS: u32 = 1 << 12;
/// Bytes of one token's (or row's) values.
const MAX_ARENA: u64 = 1 << 32;
/// Values in one block of the cache.
const MAX_BLOCK_VALUES: u64 = 1 << 34;

/// A program that may run. Only `verify` makes one.
pub struct Verified {
    program: Program,
    ops: Vec<Op>,
}

impl Verified {
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What each of the program's instructions means.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Query heads of the attention that has the most.
    pub fn query_heads(&self) -> u32 {
        let heads = |op: &Op| match op {
            Op::Attention { heads, .. } => heads.heads,
            _ => 0,
        };
        self.ops.iter().map(heads).max().unwrap_or(0)
    }

    /// Where the program leaves its last hidden states, where it does.
    pub fn hidden(&self) -> Option<Hidden> {
        hidden::find(&self.program, &self.ops)
    }
}

/// Checks a program against the file it came from.
pub fn verify(program: Program, header: &Header) -> Result<Verified> {
    check_sizes(program.vocab, program.max_positions, program.cache, program.token_arena, program.row_arena)?;
    memory::check_segments(&program, header)?;
    memory::check_weights(&program)?;
    memory::check_buffers(&program)?;
    let ops = ops::read(&program)?;
    races::check(&program, &ops)?;
    Ok(Verified { program, ops })
}

/// The sizes that engines compute with, whatever kind of artifact they come from.
pub(crate) fn check_sizes(
    vocab: u32,
    max_positions: u32,
    cache: Cache,
    token_arena: u64,
    row_arena: u64,
) -> Result<()> {
    within("vocab", vocab, MAX_DIM)?;
    within("max_positions", max_positions, MAX_POSITIONS)?;
    let Cache { layers, kv_heads, head_dim } = cache;
    within("cache.layers", layers, MAX_LAYERS)?;
    within("cache.kv_heads", kv_heads, MAX_HEADS)?;
    within("cache.head_dim", head_dim, MAX_DIM)?;
    if cache.block_values() > MAX_BLOCK_VALUES {
        return Err(bad(format!("cache: {layers} layers of {kv_heads} heads of {head_dim} are too large")));
    }
    for (name, bytes) in [("token_arena", token_arena), ("row_arena", row_arena)] {
        if bytes > MAX_ARENA {
            return Err(bad(format!("{name}: {bytes} bytes, more than the {MAX_ARENA} allowed")));
        }
    }
    Ok(())
}

fn within(name: &str, value: u32, limit: u32) -> Result<()> {
    if (1..=limit).contains(&value) {
        return Ok(());
    }
    Err(bad(format!("{name}: {value} is not between 1 and {limit}")))
}

fn bad(message: impl Into<String>) -> Error {
    Error::invalid_file(message)
}
