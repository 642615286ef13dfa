//! The KV cache: a pool of blocks of 64 positions that sequences take as they grow, and share where they began alike.
//!
//! The pool is reserved for the longest that all sequences may become, and takes memory only as blocks are used. A block that
//! several sequences hold is never written: who appends to it gets a copy first.

mod blocks;
mod state;
#[cfg(test)]
mod tests;

use crate::program::Cache;
use crate::sys::Memory;
use crate::{Error, ErrorKind, Result};
use blocks::Blocks;
/// Positions of a block, and the type of its elements.
pub use tc_kernels::abi::{KV_BLOCK, KvType};

/// A sequence of an engine. One that was removed is recognised, even when its slot is in use again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeqId {
    slot: u32,
    generation: u32,
}

impl SeqId {
    /// The row of the block tables.
    pub(crate) fn slot(self) -> usize {
        self.slot as usize
    }
}

/// How large the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    pub dtype: KvType,
    pub block_bytes: usize,
    /// Positions a sequence may have.
    pub context: usize,
    pub sequences: usize,
    /// Blocks that a sequence of `context` positions takes.
    pub blocks_each: usize,
}

impl KvShape {
    pub fn new(cache: Cache, dtype: KvType, context: usize, sequences: usize) -> KvShape {
        // The verifier bounds a block to 2^34 values.
        let heads = 2 * cache.layers as usize * cache.kv_heads as usize;
        let block_bytes = heads * dtype.head_bytes(cache.head_dim as usize);
        KvShape { dtype, block_bytes, context, sequences, blocks_each: context.div_ceil(KV_BLOCK) }
    }

    pub fn blocks(&self) -> usize {
        self.blocks_each * self.sequences
    }

    /// Bytes of the whole pool.
    pub fn bytes(&self) -> usize {
        self.blocks().saturating_mul(self.block_bytes)
    }
}

pub(crate) struct KvCache {
    shape: KvShape,
    memory: Memory,
    blocks: Blocks,
    /// `[sequences][blocks_each]` block ids.
    tables: Vec<u32>,
    sequences: Vec<Sequence>,
}

#[derive(Clone, Copy, Default)]
struct Sequence {
    alive: bool,
    generation: u32,
    /// Positions filled.
    len: usize,
    /// Entries of its table in use; at least as many as `len` needs.
    held: usize,
}

impl KvCache {
    pub fn new(shape: KvShape) -> Result<KvCache> {
        let blocks = u32::try_from(shape.blocks());
        let blocks = blocks
            .map_err(|_| Error::new(ErrorKind::LimitExceeded, "the KV cache would have more than 2^32 blocks"))?;
        Ok(KvCache {
            memory: Memory::reserve(shape.bytes()).map_err(|error| error.in_place("KV cache"))?,
            blocks: Blocks::new(blocks),
            tables: vec![0; shape.blocks()],
            sequences: vec![Sequence::default(); shape.sequences],
            shape,
        })
    }

    pub fn shape(&self) -> KvShape {
        self.shape
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    pub fn tables(&self) -> &[u32] {
        &self.tables
    }

    /// Blocks that sequences hold.
    pub fn used_blocks(&self) -> usize {
        self.blocks.used()
    }

    pub fn add(&mut self) -> Result<SeqId> {
        let slot = self.sequences.iter().position(|sequence| !sequence.alive).ok_or_else(|| {
            let message = format!("all {} sequences of this engine are in use", self.sequences.len());
            Error::new(ErrorKind::LimitExceeded, message)
        })?;
        let sequence = &mut self.sequences[slot];
        let generation = sequence.generation.wrapping_add(1);
        *sequence = Sequence { alive: true, generation, len: 0, held: 0 };
        Ok(SeqId { slot: slot as u32, generation })
    }

    pub fn remove(&mut self, id: SeqId) -> Result<()> {
        self.truncate(id, 0)?;
        self.sequences[id.slot()].alive = false;
        Ok(())
    }

    pub fn len(&self, id: SeqId) -> Result<usize> {
        self.sequence(id).map(|sequence| sequence.len)
    }

    fn sequence(&self, id: SeqId) -> Result<&Sequence> {
        let found = self.sequences.get(id.slot()).filter(|found| found.alive && found.generation == id.generation);
        found.ok_or_else(|| Error::invalid_argument("there is no such sequence (it may have been removed)"))
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, id: SeqId, len: usize) -> Result<()> {
        let sequence = *self.sequence(id)?;
        if len > sequence.len {
            return Err(Error::invalid_argument(format!(
                "cannot rewind a sequence of {} tokens to {len}",
                sequence.len
            )));
        }
        let keep = len.div_ceil(KV_BLOCK);
        for entry in keep..sequence.held {
            self.blocks.release(self.tables[self.entry(id, entry)]);
        }
        let sequence = &mut self.sequences[id.slot()];
        (sequence.len, sequence.held) = (len, keep);
        Ok(())
    }

    /// A new sequence with the same past, which costs no memory until the two differ.
    pub fn fork(&mut self, id: SeqId) -> Result<SeqId> {
        let len = self.len(id)?;
        let copy = self.add()?;
        let held = len.div_ceil(KV_BLOCK);
        for entry in 0..held {
            let block = self.tables[self.entry(id, entry)];
            self.blocks.share(block);
            let to = self.entry(copy, entry);
            self.tables[to] = block;
        }
        let sequence = &mut self.sequences[copy.slot()];
        (sequence.len, sequence.held) = (len, held);
        Ok(copy)
    }

    /// Makes room for `more` positions that nobody else shares. `advance` makes them part of the sequence; until then, and also where
    /// this fails, the sequence is as it was.
    pub fn grow(&mut self, id: SeqId, more: usize) -> Result<()> {
        let Sequence { len, held, .. } = *self.sequence(id)?;
        self.check_room(len, more)?;
        let (first, end) = (len / KV_BLOCK, (len + more).div_ceil(KV_BLOCK));
        for entry in first..end {
            let at = self.entry(id, entry);
            if entry >= held {
                self.tables[at] = self.blocks.take()?;
                self.sequences[id.slot()].held = entry + 1;
            } else if self.blocks.is_shared(self.tables[at]) {
                self.tables[at] = self.copy_block(self.tables[at])?;
            }
        }
        Ok(())
    }

    fn check_room(&self, len: usize, more: usize) -> Result<()> {
        let context = self.shape.context;
        if more <= context - len {
            return Ok(());
        }
        let message = format!("{more} more tokens do not fit: the context is {context}, {len} are taken");
        Err(Error::new(ErrorKind::LimitExceeded, message))
    }

    /// The sequence's next `more` positions, which `grow` made room for, are filled.
    pub fn advance(&mut self, id: SeqId, more: usize) {
        self.sequences[id.slot()].len += more;
    }

    fn copy_block(&mut self, block: u32) -> Result<u32> {
        let copy = self.blocks.take()?;
        let size = self.shape.block_bytes;
        self.memory.copy_within(block as usize * size, copy as usize * size, size)?;
        self.blocks.release(block);
        Ok(copy)
    }

    fn entry(&self, id: SeqId, entry: usize) -> usize {
        id.slot() * self.shape.blocks_each + entry
    }
}
