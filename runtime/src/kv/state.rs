//! A sequence's part of the cache as bytes: for each block, layer, keys or values, and head, the positions that are filled, one
//! after the other, then their scales, where the type has them. So a state does not depend on how kernels lay keys out, and never holds what was forgotten.

use super::{KvCache, SeqId};
use crate::program::Cache;
use crate::{Error, Result};
use std::ops::Range;
use tc_kernels::abi::{KV_BLOCK, KV_TILE, KvType};

/// The filled positions of one head's keys or values in one block.
struct Run {
    /// Where the run begins in memory.
    start: usize,
    positions: usize,
    keys: bool,
    head_dim: usize,
    dtype: KvType,
}

impl KvCache {
    /// Bytes that `len` positions take.
    pub fn state_bytes(&self, cache: Cache, len: usize) -> usize {
        let heads = 2 * cache.layers as usize * cache.kv_heads as usize;
        heads * self.shape.dtype.position_bytes(cache.head_dim as usize) * len
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
            run.pieces().for_each(|piece| bytes.extend_from_slice(&memory[piece]));
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
        let mut bytes = bytes;
        for run in self.runs(id, cache, len).collect::<Vec<_>>() {
            let memory = self.memory.bytes_mut(run.start, run.span())?;
            for piece in run.pieces() {
                let (now, later) = bytes.split_at(piece.len());
                memory[piece].copy_from_slice(now);
                bytes = later;
            }
        }
        self.advance(id, len);
        Ok(())
    }

    /// Everything that the first `len` positions fill, in the order of a state.
    fn runs(&self, id: SeqId, cache: Cache, len: usize) -> impl Iterator<Item = Run> {
        let (heads, head_dim) = (cache.kv_heads as usize, cache.head_dim as usize);
        let dtype = self.shape.dtype;
        (0..len.div_ceil(KV_BLOCK)).flat_map(move |entry| {
            let block = self.tables[self.entry(id, entry)] as usize * self.shape.block_bytes;
            let positions = (len - entry * KV_BLOCK).min(KV_BLOCK);
            (0..2 * cache.layers as usize * heads).map(move |run| {
                let start = block + run * dtype.head_bytes(head_dim);
                Run { start, positions, keys: run / heads % 2 == 0, head_dim, dtype }
            })
        })
    }
}

impl Run {
    /// Bytes of a whole run in memory.
    fn span(&self) -> usize {
        self.dtype.head_bytes(self.head_dim)
    }

    /// Where elements lie in the run, position by position (`RopeKvArgs` says how keys lie), and then the scales.
    fn pieces(&self) -> impl Iterator<Item = Range<usize>> {
        let &Run { positions, keys, head_dim, dtype, .. } = self;
        let (element, scale) = (dtype.element_bytes(), dtype.scale_bytes());
        let at = move |p: usize, i: usize| match keys {
            true => (p / KV_TILE * head_dim + i) * KV_TILE + p % KV_TILE,
            false => p * head_dim + i,
        };
        let elements = (0..positions).flat_map(move |p| (0..head_dim).map(move |i| at(p, i) * element));
        let scales = (0..positions).map(move |p| KV_BLOCK * head_dim * element + p * scale);
        let scales = scales.filter(move |_| scale > 0);
        elements.map(move |at| at..at + element).chain(scales.map(move |at| at..at + scale))
    }
}
