//! An engine runs one model for some sequences. Everything is one call, `forward`: a ragged batch of tokens, each appended to its
//! sequence, and logits for the rows asked for. Prefill, decode, batched decode and speculative verification are all this.

mod batch;
mod options;

pub use batch::BatchToken;
pub use options::{EngineOptions, MemoryPlan, memory_plan};

use crate::exec::{Arena, Schedule, Team, bind, handout};
use crate::kv::{KvCache, KvType, SeqId};
use crate::model::{Code, Model};
use crate::program::BufferKind;
use crate::sampling::all_finite;
use crate::sys::{Bound, Memory};
use crate::{Error, ErrorKind, Result};
use batch::Batch;
use options::Settings;
use std::sync::Arc;
use tc_kernels::abi::ACT_GROUP;
use tc_kernels::layout::Q8_GROUP_BYTES;

pub struct Engine {
    // The team's steps point into what follows, so it comes first: fields are dropped in order.
    team: Team,
    memory: Memory,
    kv: KvCache,
    model: Arc<Model>,
    arena: Arena,
    /// Byte of the memory at which the sums of segments begin, where contexts are cut.
    sums: Option<usize>,
    batch: Batch,
    plan: MemoryPlan,
    /// Whether the last call left its hidden states.
    hidden: bool,
}

impl Engine {
    pub fn new(model: Arc<Model>, options: &EngineOptions) -> Result<Engine> {
        let settings = Settings::new(&model, options)?;
        let plan = settings.memory_plan(&model);
        let (bytes, sums) = (settings.memory_bytes(), (settings.sums_bytes > 0).then(|| settings.sums_begin()));
        let Settings { threads, chunk, arena, kv, features, .. } = settings;
        let memory = Memory::reserve(bytes).map_err(|error| error.in_place("arena"))?;
        let (schedule, handout) = match model.code() {
            Code::Program { verified, .. } => {
                let steps =
                    bind(verified, model.weights(), &memory, arena, features).map_err(|error| model.at(error))?;
                let handout = handout(steps.len(), threads)?;
                (Schedule::Steps(steps), handout)
            }
            Code::Native(native) => {
                let handout = handout(native.steps(), threads)?;
                let code = Bound::new(native, &memory, arena, features, Arc::clone(&handout));
                (Schedule::Native(code.map_err(|error| model.at(error))?), handout)
            }
        };
        let team = Team::new(schedule, handout)?;
        let batch = Batch::new(chunk, arena.rows, kv.sequences);
        Ok(Engine { team, memory, kv: KvCache::new(kv)?, model, arena, sums, batch, plan, hidden: false })
    }

    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    pub fn plan(&self) -> &MemoryPlan {
        &self.plan
    }

    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// Positions that a sequence may have.
    pub fn context(&self) -> usize {
        self.plan.context
    }

    /// Tokens that a call may have.
    pub fn chunk(&self) -> usize {
        self.plan.chunk
    }

    /// Rows of logits that a call may give.
    pub fn max_rows(&self) -> usize {
        self.arena.rows
    }

    /// Bytes of the KV cache that sequences hold now.
    pub fn kv_bytes(&self) -> u64 {
        self.kv.used_blocks() as u64 * self.plan.kv_block_bytes
    }

    pub fn add_sequence(&mut self) -> Result<SeqId> {
        self.kv.add()
    }

    pub fn remove(&mut self, sequence: SeqId) -> Result<()> {
        self.kv.remove(sequence)
    }

    /// Forgets a sequence's tokens from `len` on.
    pub fn truncate(&mut self, sequence: SeqId, len: usize) -> Result<()> {
        self.kv.truncate(sequence, len)
    }

    /// A new sequence with the same past; the two share it in memory.
    pub fn fork(&mut self, sequence: SeqId) -> Result<SeqId> {
        self.kv.fork(sequence)
    }

    /// Tokens of a sequence.
    pub fn len(&self, sequence: SeqId) -> Result<usize> {
        self.kv.len(sequence)
    }

    pub fn kv_dtype(&self) -> KvType {
        self.kv.shape().dtype
    }

    /// Bytes of the cache that `len` tokens of a sequence take as a state.
    pub fn state_bytes(&self, len: usize) -> usize {
        self.kv.state_bytes(self.model.info().cache, len)
    }

    /// Gives a sequence's part of the cache to `put`, piece by piece; the inner error is that of `put`.
    pub fn save<E>(&self, sequence: SeqId, put: impl FnMut(&[u8]) -> Result<(), E>) -> Result<Result<(), E>> {
        self.kv.save(sequence, self.model.info().cache, put)
    }

    /// Replaces a sequence by one of `len` tokens with this part of the cache.
    pub fn restore(&mut self, sequence: SeqId, len: usize, cache: &[u8]) -> Result<()> {
        self.kv.restore(sequence, self.model.info().cache, len, cache)
    }

    /// Appends each token to its sequence, in order, and gives the logits of those that want them. Where it fails, every sequence is
    /// as it was.
    pub fn forward(&mut self, tokens: &[BatchToken]) -> Result<Logits<'_>> {
        self.run(tokens, false)
    }

    /// As `forward`; then `hidden` gives what those logits were made of.
    pub fn forward_with_hidden(&mut self, tokens: &[BatchToken]) -> Result<Logits<'_>> {
        self.run(tokens, true)
    }

    fn run(&mut self, tokens: &[BatchToken], hidden: bool) -> Result<Logits<'_>> {
        self.hidden = false;
        self.batch.set(tokens, &self.kv, self.model.info().vocab)?;
        for (sequence, more) in self.batch.growth() {
            self.kv.grow(sequence, more)?;
        }
        let call = self.batch.call(&self.kv, self.sums.map(|sums| self.memory.as_ptr().wrapping_add(sums)));
        self.team.run(&call, hidden);
        self.check_finite(tokens)?;
        self.hidden = hidden;
        for (sequence, more) in self.batch.growth() {
            self.kv.advance(sequence, more);
        }
        self.last_logits()
    }

    fn check_finite(&mut self, tokens: &[BatchToken]) -> Result<()> {
        let rows: Vec<usize> = self.batch.rows().collect();
        let logits = self.last_logits()?;
        for (row, at) in rows.into_iter().enumerate() {
            if !all_finite(logits.row(row)) {
                let message =
                    format!("the logits after token {} (number {at} of the call) are not finite", tokens[at].token);
                return Err(Error::new(ErrorKind::NotFinite, message));
            }
        }
        Ok(())
    }

    /// Adds the hidden state of one of the last call's rows to `sum`, which has as many values: the state after the last norm, as the
    /// head has read it.
    pub fn add_hidden(&self, row: usize, sum: &mut [f32]) -> Result<()> {
        let Some(place) = self.model.layout().hidden.filter(|_| self.hidden) else {
            return Err(Error::invalid_argument("the last call left no hidden states"));
        };
        if row >= self.batch.rows().count() || sum.len() != place.width as usize {
            return Err(Error::invalid_argument(format!("no hidden state of {} values for row {row}", sum.len())));
        }
        let begin = self.arena.offset(place.offset, true) + row * place.stride as usize;
        let bytes = self.memory.bytes(begin, place.stride as usize)?;
        match place.kind {
            BufferKind::F32 => add_floats(bytes, sum),
            BufferKind::Q8 => add_q8(bytes, sum),
            BufferKind::Q8x2 => bytes.chunks(bytes.len() / 2).for_each(|plane| add_q8(plane, sum)),
        }
        Ok(())
    }

    /// The logits of the last call, as it gave them or as the caller has changed them since.
    pub fn last_logits(&mut self) -> Result<Logits<'_>> {
        let layout = self.model.layout();
        let (rows, vocab) = (self.batch.rows().count(), self.model.info().vocab);
        let stride = layout.logits_stride as usize / 4;
        let values = self.memory.floats_mut(self.arena.offset(layout.logits_offset, true), rows * stride)?;
        Ok(Logits { values, stride, vocab, rows })
    }
}

fn add_floats(row: &[u8], sum: &mut [f32]) {
    for (sum, value) in sum.iter_mut().zip(row.as_chunks::<4>().0) {
        *sum += f32::from_le_bytes(*value);
    }
}

/// A Q8 row, as `kernels/src/layout.rs` has it.
fn add_q8(row: &[u8], sum: &mut [f32]) {
    for (sum, group) in sum.chunks_mut(ACT_GROUP).zip(row.as_chunks::<Q8_GROUP_BYTES>().0) {
        let (numbers, rest) = group.split_at(ACT_GROUP);
        let scale = f32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
        sum.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += scale * f32::from(number.cast_signed()));
    }
}

/// Rows of logits, in the order in which the call's tokens asked for them.
pub struct Logits<'a> {
    values: &'a mut [f32],
    stride: usize,
    vocab: usize,
    rows: usize,
}

impl<'a> Logits<'a> {
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The logits of one row.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..][..self.vocab]
    }

    /// As it lies in memory: the row, and what a program gives beyond the vocabulary's logits.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn whole_row(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..][..self.stride]
    }

    /// As `row`, for samplers, which change logits in place.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.stride..][..self.vocab]
    }

    /// The last row, where there is one.
    pub fn into_last(self) -> Option<&'a mut [f32]> {
        let last = self.rows.checked_sub(1)?;
        self.values.get_mut(last * self.stride..)?.get_mut(..self.vocab)
    }
}
