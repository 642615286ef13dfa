//! Instructions whose work can be cut the same way, so that a thread goes from one to the next with what it has made itself.

use tc_kernels::abi::{ACT_GROUP, BLOCK_ROWS};
use tc_kernels::table::by_groups;
use tcrt::program::verify::{Heads, Op};

use super::schedule::{Part, Phase, Schedule, Span, Step};
use crate::lower::barriers::{Access, Place};
use crate::program::Program;

const BLOCK: u32 = BLOCK_ROWS as u32;

/// A matmul and SwiGLU of its rows.
pub struct ByColumns {
    pub step: Step,
    /// The matmul's rows, of which a task of either part touches only its own columns.
    pub columns: Place,
}

/// Gate and up, then SwiGLU, where a group of activations that are quantized together is made of whole blocks of rows.
pub fn by_columns(program: &Program, ops: &[Op], linear: usize, swiglu: usize) -> Option<ByColumns> {
    const GROUP: u32 = ACT_GROUP as u32;
    let (Op::Linear { w, y, .. }, Op::Swiglu { x, dim, .. }) = (&ops[linear], &ops[swiglu]) else { return None };
    let by_groups = by_groups(program.instructions[swiglu].kernel.name)?;
    if y != x || program.weights[*w].rows != 2 * dim || !dim.is_multiple_of(GROUP) {
        return None;
    }
    let blocks = |first: u32| Span { first: first / BLOCK, each: GROUP / BLOCK };
    let gate_and_up = Part::of(program, linear, vec![blocks(0), blocks(*dim)]);
    let swiglu = Part { kernel: by_groups, ..Part::whole(program, swiglu) };
    let step = Step { chain: vec![gate_and_up, swiglu], tasks: dim / GROUP };
    let made = &program.buffers[*y];
    Some(ByColumns { step, columns: Place::Arena { over_rows: made.over_rows, bytes: made.range() } })
}

/// Two phases, the matmul that makes queries, keys and values and the attention over them, as one, where every thread gets
/// equally many KV heads: then each makes the rows of its own heads, and needs nobody else's.
#[derive(Debug)]
pub struct ByHeads {
    /// Its tasks are heads.
    pub step: Step,
    /// What each task stands for in the two phases: the blocks, and the task of attention.
    pub tasks_each: u32,
}

/// Beyond this, a barrier costs nothing against the matmul, which is better cut finer than by heads.
const MAX_BY_HEADS: u64 = 1 << 20;

pub fn by_heads(program: &Program, ops: &[Op], schedule: &Schedule, [first, second]: [&Phase; 2]) -> Option<ByHeads> {
    let ([matmul], [attend]) = (first.steps.as_slice(), second.steps.as_slice()) else { return None };
    let ([linear], [rope, attention]) = (matmul.chain.as_slice(), attend.chain.as_slice()) else { return None };
    let (Op::Linear { w, y, .. }, Op::RopeKv { qkv, heads, .. }) = (&ops[linear.at], &ops[rope.at]) else {
        return None;
    };
    let Heads { heads, kv_heads, head_dim, .. } = *heads;
    let whole_blocks = head_dim.is_multiple_of(BLOCK);
    let weight = &program.weights[*w];
    let all_rows = weight.rows == (heads + 2 * kv_heads) * head_dim;
    if y != qkv || !whole_blocks || !all_rows || weight.bytes() > MAX_BY_HEADS || !second.prologue.is_empty() {
        return None;
    }
    // But for the rows that go from one to the other by heads, the phases must have nothing in common.
    let made = Place::Arena { over_rows: false, bytes: program.buffers[*y].range() };
    let of = |at: &usize| schedule.shared_accesses(program, *at);
    let before: Vec<Access> = first.prologue.iter().chain([&linear.at]).flat_map(of).collect();
    let after = [rope.at, attention.at].iter().flat_map(of).collect::<Vec<Access>>();
    let apart = |access: &Access| before.iter().all(|before| !before.conflicts(access));
    if !after.iter().filter(|access| access.place != made).all(apart) {
        return None;
    }
    // Of queries, and of keys or values.
    let (queries, keys) = (heads / kv_heads * head_dim / BLOCK, head_dim / BLOCK);
    let behind = kv_heads * queries;
    let spans = [(0, queries), (behind, keys), (behind + kv_heads * keys, keys)];
    let rows = Part::of(program, linear.at, spans.map(|(first, each)| Span { first, each }).to_vec());
    let step = Step { chain: vec![rows, rope.clone(), attention.clone()], tasks: kv_heads };
    Some(ByHeads { step, tasks_each: queries + 2 * keys + 1 })
}
