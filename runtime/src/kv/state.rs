//! A sequence's part of the cache as bytes: for each block, layer, keys or values, and head, the positions that are filled, one
//! after the other. So a state does not depend on how kernels lay keys out, and never holds what was forgotten.

use super::{KvCache, SeqId};
use crate::program::Cache;
use crate::{Error, Result};
use tc_kernels::abi::{KV_BLOCK, KV_TILE};

/// The filled positions of one head's keys or values in one block.
struct Run {
    /// Where the run begins in memory.
    start: usize,
    positions: usize,
    keys: bool,
    head_dim: usize,
    element: usize,
}

impl KvCache {
    /// Bytes that `len` positions take.
    pub fn state_bytes(&self, cache: Cache, len: usize) -> usize {
        let heads = 2 * cache.layers as usize * cache.kv_heads as usize;
        heads * cache.head_dim as usize * self.shape.dtype.bytes() * len
    }

    /// Gives the bytes of the filled positions to `put`, run by run; the inner error is that of `put`.
    pub fn save<E>(
        &self,
        id: SeqId,
        cache: Cache,
        mut put: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>> {
        let mut bytes = Vec::new();
        for run in self.runs(id, cache, self.len(id)?) {
            let memory = self.memory.bytes(run.start, run.span())?;
            bytes.clear();
            run.elements().for_each(|at| bytes.extend_from_slice(&memory[at..][..run.element]));
            if let Err(error) = put(&bytes) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Replaces the sequence by `len` positions with these bytes. Where it fails, the sequence is empty or as it was.
    pub fn restore(&mut self, id: SeqId, cache: Cache, len: usize, bytes: &[u8]) -> Result<()> {
        if bytes.len() != self.state_bytes(cache, len) {
            return Err(Error::invalid_file(format!("{} bytes are not the cache of {len} positions", bytes.len())));
        }
        self.check_room(0, len)?;
        self.truncate(id, 0)?;
        self.grow(id, len)?;
        let mut elements = bytes.chunks_exact(self.shape.dtype.bytes());
        for run in self.runs(id, cache, len).collect::<Vec<_>>() {
            let memory = self.memory.bytes_mut(run.start, run.span())?;
            run.elements()
                .zip(&mut elements)
                .for_each(|(at, element)| memory[at..][..run.element].copy_from_slice(element));
        }
        self.advance(id, len);
        Ok(())
    }

    /// Everything that the first `len` positions fill, in the order of a state.
    fn runs(&self, id: SeqId, cache: Cache, len: usize) -> impl Iterator<Item = Run> {
        let (heads, head_dim) = (cache.kv_heads as usize, cache.head_dim as usize);
        let element = self.shape.dtype.bytes();
        (0..len.div_ceil(KV_BLOCK)).flat_map(move |entry| {
            let block = self.tables[self.entry(id, entry)] as usize * self.shape.block_bytes;
            let positions = (len - entry * KV_BLOCK).min(KV_BLOCK);
            (0..2 * cache.layers as usize * heads).map(move |run| {
                let start = block + run * KV_BLOCK * head_dim * element;
                Run { start, positions, keys: run / heads % 2 == 0, head_dim, element }
            })
        })
    }
}

impl Run {
    /// Bytes of a whole run in memory.
    fn span(&self) -> usize {
        KV_BLOCK * self.head_dim * self.element
    }

    /// Where the elements lie in the run, position by position; `RopeKvArgs` says how keys lie.
    fn elements(&self) -> impl Iterator<Item = usize> {
        let &Run { positions, keys, head_dim, element, .. } = self;
        let at = move |p: usize, i: usize| match keys {
            true => (p / KV_TILE * head_dim + i) * KV_TILE + p % KV_TILE,
            false => p * head_dim + i,
        };
        (0..positions).flat_map(move |p| (0..head_dim).map(move |i| at(p, i) * element))
    }
}
