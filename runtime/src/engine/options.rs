//! How an engine is to run, and what memory that takes.

use crate::exec::Arena;
use crate::kv::{KvShape, KvType};
use crate::model::{Layout, Model};
use crate::program::Cache;
use crate::sys::default_threads;
use crate::{Error, ErrorKind, Result};
use tc_kernels::cut;
use tc_kernels::table::{Features, Tier};

const MAX_THREADS: usize = 1024;
/// Tokens in one call; also keeps the tasks of an instruction countable in 32 bits.
const MAX_CHUNK: usize = 1 << 13;
const MAX_SEQUENCES: usize = 1 << 12;
/// Positions where the caller does not say, for models that could take more.
const DEFAULT_CONTEXT: usize = 8192;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// 0: as many as there are processors.
    pub threads: usize,
    /// Tokens that one call may have; more are faster to prefill and take more memory.
    pub chunk: usize,
    /// Rows of logits that one call may give.
    pub max_rows: usize,
    pub kv_dtype: KvType,
    /// Positions of one sequence; 0: what the model was made for, but at most 8192.
    pub context: usize,
    pub max_sequences: usize,
    /// Use no kernels newer than these, for tests and comparisons.
    pub tier: Option<Tier>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            threads: 0,
            chunk: 512,
            max_rows: 1,
            kv_dtype: KvType::F16,
            context: 0,
            max_sequences: 1,
            tier: None,
        }
    }
}

/// Every byte an engine will use, the code and the stacks of its threads apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The file's weights: mapped, shared with every process that runs them.
    pub weight_bytes: u64,
    /// Intermediate values of one call, and of attention's segments.
    pub arena_bytes: u64,
    /// One block of 64 positions.
    pub kv_block_bytes: u64,
    /// The KV cache at its largest; it takes this only as sequences grow.
    pub kv_max_bytes: u64,
    /// Block tables and the arrays that describe a call.
    pub call_bytes: u64,
    pub context: usize,
    pub chunk: usize,
}

impl MemoryPlan {
    /// Everything, with the cache at its largest.
    pub fn max_bytes(&self) -> u64 {
        self.weight_bytes + self.arena_bytes + self.kv_max_bytes + self.call_bytes
    }
}

/// What the engine will use, to the byte.
pub fn memory_plan(model: &Model, options: &EngineOptions) -> Result<MemoryPlan> {
    Settings::new(model, options).map(|settings| settings.memory_plan(model))
}

/// Options with every default decided and every limit checked.
pub struct Settings {
    pub threads: usize,
    pub chunk: usize,
    pub arena: Arena,
    /// For the segments of one token's context; 0 where contexts are not cut.
    pub sums_bytes: usize,
    pub kv: KvShape,
    pub features: Features,
}

impl Settings {
    pub fn new(model: &Model, options: &EngineOptions) -> Result<Settings> {
        let max_positions = model.info().max_positions;
        let context = match options.context {
            0 => max_positions.min(DEFAULT_CONTEXT),
            context if context <= max_positions => context,
            context => {
                let message = format!("a context of {context} is more than the {max_positions} positions of the model");
                return Err(Error::new(ErrorKind::LimitExceeded, message));
            }
        };
        check("threads", options.threads, 0, MAX_THREADS)?;
        check("chunk", options.chunk, 1, MAX_CHUNK)?;
        check("max_rows", options.max_rows, 1, MAX_CHUNK)?;
        check("max_sequences", options.max_sequences, 1, MAX_SEQUENCES)?;
        // A call is never longer than all sequences together.
        let chunk = options.chunk.min(context * options.max_sequences);
        let threads = if options.threads == 0 { default_threads().min(MAX_THREADS) } else { options.threads };
        let features = Features::detect();
        let Layout { token_arena, row_arena, .. } = model.layout();
        Ok(Settings {
            threads,
            chunk,
            arena: Arena::plan(token_arena, row_arena, chunk, options.max_rows.min(chunk)),
            sums_bytes: sums_bytes(model, threads, context),
            kv: KvShape::new(model.info().cache, options.kv_dtype, context, options.max_sequences),
            features: options.tier.map_or(features, |tier| features.limited_to(tier)),
        })
    }

    /// What an engine reserves besides the cache: the arena, then what segments need.
    pub fn memory_bytes(&self) -> usize {
        self.sums_begin() + self.sums_bytes
    }

    pub fn sums_begin(&self) -> usize {
        self.arena.bytes.next_multiple_of(64)
    }

    pub fn memory_plan(&self, model: &Model) -> MemoryPlan {
        let indices = 3 * self.chunk + self.arena.rows + self.kv.blocks();
        MemoryPlan {
            weight_bytes: model.info().weight_bytes,
            arena_bytes: self.memory_bytes() as u64,
            kv_block_bytes: self.kv.block_bytes as u64,
            kv_max_bytes: self.kv.bytes() as u64,
            call_bytes: 4 * indices as u64,
            context: self.kv.context,
            chunk: self.chunk,
        }
    }
}

/// Where KV heads keep all threads busy, contexts stay whole.
fn sums_bytes(model: &Model, threads: usize, context: usize) -> usize {
    let Cache { kv_heads, head_dim, .. } = model.info().cache;
    let (heads, kv_heads, head_dim) = (model.layout().heads as usize, kv_heads as usize, head_dim as usize);
    match heads > 0 && cut::is_worth_it(kv_heads, threads) {
        true => cut::bytes(heads, kv_heads, head_dim, context),
        false => 0,
    }
}

fn check(name: &str, value: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{name} is {value}; it must be between {least} and {most}")))
}
