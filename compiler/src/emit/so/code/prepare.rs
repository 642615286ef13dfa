//! `prepare`: what a thread's state holds once the engine's addresses are known.

use std::mem::offset_of;

use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{Function, InstBuilder, Value};
use tcrt::native::abi::Context;

use super::super::args::{Base, Image};
use super::super::state::Portion;
use super::{Emitter, Source, TRUSTED, build};

/// Portions of a step for each thread: so many that one slow thread does not hold the rest for long.
const MAX_TURNS: i64 = 16;

/// Fills in a thread's state.
pub fn function(source: &Source) -> Function {
    build(source.convention, &[I64, I64, I32], &[], |e| {
        let (context, state) = (e.parameters[0], e.parameters[1]);
        let threads = e.load(I32, context, offset_of!(Context, threads));
        for (portion, at) in &source.state.portions {
            e.prepare_portion(state, threads, *portion, *at);
        }
        if let Some((heads, at)) = source.state.heads {
            e.prepare_share(state, threads, heads, at);
        }
        let bases = Bases {
            weights: e.load(I64, context, offset_of!(Context, weights)),
            tokens: e.load(I64, context, offset_of!(Context, tokens_arena)),
            rows: e.load(I64, context, offset_of!(Context, rows_arena)),
            max_tokens: e.load_wide(context, offset_of!(Context, max_tokens)),
            max_rows: e.load_wide(context, offset_of!(Context, max_rows)),
            state,
        };
        for (image, at) in &source.state.images {
            e.prepare_image(&bases, image, *at);
        }
        e.b.ins().return_(&[]);
    })
}

struct Bases {
    weights: Value,
    tokens: Value,
    rows: Value,
    max_tokens: Value,
    max_rows: Value,
    state: Value,
}

impl Emitter<'_> {
    /// `ceil(tasks / (threads * turns))`: equal portions, as many for each thread as are worth their trips to the counter.
    fn prepare_portion(&mut self, state: Value, threads: Value, portion: Portion, at: u64) {
        let tasks = self.b.ins().iconst(I32, i64::from(portion.tasks));
        let each = self.b.ins().udiv(tasks, threads);
        let least = self.b.ins().iconst(I32, i64::from(portion.least));
        let turns = self.b.ins().udiv(each, least);
        let (one, most) = (self.b.ins().iconst(I32, 1), self.b.ins().iconst(I32, MAX_TURNS));
        let turns = self.b.ins().umax(turns, one);
        let turns = self.b.ins().umin(turns, most);
        let portions = self.b.ins().imul(threads, turns);
        let value = self.divide_up(tasks, portions);
        let value = self.alone_or(threads, tasks, value);
        self.b.ins().store(TRUSTED, value, state, at as i32);
    }

    fn prepare_share(&mut self, state: Value, threads: Value, heads: u32, at: u64) {
        let heads = self.b.ins().iconst(I32, i64::from(heads));
        let (share, rest) = (self.b.ins().udiv(heads, threads), self.b.ins().urem(heads, threads));
        let none = self.b.ins().iconst(I32, 0);
        let share = self.b.ins().select(rest, none, share);
        self.b.ins().store(TRUSTED, share, state, at as i32);
    }

    fn divide_up(&mut self, value: Value, by: Value) -> Value {
        let sum = self.b.ins().iadd(value, by);
        let sum = self.b.ins().iadd_imm(sum, -1);
        self.b.ins().udiv(sum, by)
    }

    fn prepare_image(&mut self, bases: &Bases, image: &Image, at: u64) {
        for (word, bytes) in image.bytes.as_chunks::<8>().0.iter().enumerate() {
            let offset = 8 * word;
            let value = match image.pointers.iter().find(|(at, _)| *at == offset) {
                Some((_, address)) => self.address(bases, *address),
                // The state begins with zeros.
                None if *bytes == [0; 8] => continue,
                None => self.b.ins().iconst(I64, i64::from_le_bytes(*bytes)),
            };
            self.b.ins().store(TRUSTED, value, bases.state, at as i32 + offset as i32);
        }
    }

    fn address(&mut self, bases: &Bases, (base, offset): (Base, u64)) -> Value {
        let offset = offset as i64;
        match base {
            Base::Weights => self.b.ins().iadd_imm(bases.weights, offset),
            Base::State => self.b.ins().iadd_imm(bases.state, offset),
            Base::Tokens => {
                let offset = self.b.ins().imul_imm(bases.max_tokens, offset);
                self.b.ins().iadd(bases.tokens, offset)
            }
            Base::Rows => {
                let offset = self.b.ins().imul_imm(bases.max_rows, offset);
                self.b.ins().iadd(bases.rows, offset)
            }
        }
    }
}
