//! Memory planning: which values share a buffer, and where each buffer lies in its arena.

use std::ops::RangeInclusive;

use tc_kernels::signature::Cache;

use crate::program::{Buffer, Operand, Program};

/// The instructions during which a buffer holds a value; `None` for a buffer that none touches.
pub fn lifetimes(program: &Program) -> Vec<Option<RangeInclusive<usize>>> {
    let mut lives: Vec<Option<RangeInclusive<usize>>> = vec![None; program.buffers.len()];
    let mut touch = |buffer: u32, at: usize| {
        if let Some(life) = lives.get_mut(buffer as usize) {
            let start = life.as_ref().map_or(at, |life| *life.start());
            *life = Some(start..=at);
        }
    };
    for (at, instruction) in program.instructions.iter().enumerate() {
        instruction.buffers().for_each(|(buffer, _)| touch(buffer, at));
        // Native code runs attention over a head as soon as the head is in the cache, while other heads are still read from here.
        if instruction.kernel.cache == Cache::Writes {
            instruction.buffers().for_each(|(buffer, _)| touch(buffer, at + 1));
        }
    }
    // The caller reads the result after the last instruction.
    touch(program.logits, program.instructions.len());
    lives
}

/// A matmul may write its result over its residual. Where that is the residual's last use, both are one buffer.
pub fn share_residuals(program: &mut Program) {
    let lives = lifetimes(program);
    let mut shared: Vec<u32> = (0..program.buffers.len() as u32).collect();
    for (at, instruction) in program.instructions.iter().enumerate() {
        let Some((residual, y)) = residual_and_result(program, at) else {
            continue;
        };
        let (from, to) = (&program.buffers[residual as usize], &program.buffers[y as usize]);
        let fits = (from.kind, from.width, from.over_rows) == (to.kind, to.width, to.over_rows);
        let ends_here = lives[residual as usize].as_ref().is_some_and(|life| *life.end() == at);
        let uses = instruction.buffers().filter(|(buffer, _)| *buffer == residual).count();
        if fits && ends_here && uses == 1 {
            shared[y as usize] = shared[residual as usize];
        }
    }
    rename_buffers(program, &shared);
}

fn residual_and_result(program: &Program, at: usize) -> Option<(u32, u32)> {
    let instruction = &program.instructions[at];
    let named = |name: &str| {
        let at = instruction.kernel.operands.iter().position(|operand| operand.name == name)?;
        match instruction.operands.get(at)? {
            Operand::Buffer(index) => Some(*index),
            Operand::None | Operand::Weight(_) => None,
        }
    };
    Some((named("residual")?, named("y")?))
}

/// Replaces buffer `i` by `shared[i]` everywhere and drops those that nobody names any more.
fn rename_buffers(program: &mut Program, shared: &[u32]) {
    let mut index = vec![0; shared.len()];
    let mut kept = Vec::new();
    for (old, buffer) in std::mem::take(&mut program.buffers).into_iter().enumerate() {
        if shared[old] as usize == old {
            index[old] = kept.len() as u32;
            kept.push(buffer);
        }
    }
    let rename = |buffer: u32| index[shared[buffer as usize] as usize];
    program.buffers = kept;
    program.logits = rename(program.logits);
    for operand in program.instructions.iter_mut().flat_map(|instruction| &mut instruction.operands) {
        if let Operand::Buffer(buffer) = operand {
            *buffer = rename(*buffer);
        }
    }
}

/// Largest first, each buffer goes to the lowest place that is free for its whole life. Rows and tokens have an arena each.
pub fn place_buffers(program: &mut Program) {
    let lives = lifetimes(program);
    let mut order: Vec<usize> = (0..program.buffers.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(program.buffers[*index].stride()));
    let mut placed: Vec<usize> = Vec::new();
    for index in order {
        let mut busy: Vec<_> = placed
            .iter()
            .filter(|other| program.buffers[**other].over_rows == program.buffers[index].over_rows)
            .filter(|other| overlap(lives[**other].as_ref(), lives[index].as_ref()))
            .map(|other| program.buffers[*other].range())
            .collect();
        busy.sort_by_key(|range| range.start);
        let size = program.buffers[index].stride();
        let end_of_busy =
            |at: u64, range: &std::ops::Range<u64>| if at + size <= range.start { at } else { at.max(range.end) };
        // Once a gap is large enough, `at` stays: later ranges begin no earlier.
        program.buffers[index].offset = busy.iter().fold(0, end_of_busy);
        placed.push(index);
    }
    program.token_arena = arena_end(&program.buffers, false);
    program.row_arena = arena_end(&program.buffers, true);
}

fn overlap(a: Option<&RangeInclusive<usize>>, b: Option<&RangeInclusive<usize>>) -> bool {
    a.zip(b).is_some_and(|(a, b)| a.start() <= b.end() && b.start() <= a.end())
}

fn arena_end(buffers: &[Buffer], over_rows: bool) -> u64 {
    buffers.iter().filter(|buffer| buffer.over_rows == over_rows).map(|buffer| buffer.range().end).max().unwrap_or(0)
}
