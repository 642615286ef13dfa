//! `run`: a call of many tokens, instruction by instruction.

use std::mem::offset_of;

use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{Function, InstBuilder, SourceLoc, Value};
use tc_kernels::abi::{BLOCK_ROWS, Call, Over};
use tcrt::native::abi::Context;
use tcrt::program::verify::Op;

use super::super::inline::{Piece, pieces, touches};
use super::body::Body;
use super::{Emitter, Source, build};
use crate::lower::barriers::needed;

pub fn function(source: &Source) -> Function {
    build(source.convention, &[I64, I64, I64], &[I64], |e| {
        let mut body = Body::new(e, source);
        let call = body.call;
        let n = body.e.load(I32, call, offset_of!(Call, n));
        let rows = body.e.load(I32, call, offset_of!(Call, rows));
        let threads = body.e.load(I32, body.context, offset_of!(Context, threads));
        let mut done = body.e.b.ins().iconst(I64, 0);
        let all: Vec<usize> = (0..source.ops.len()).collect();
        let pieces = pieces(source.lowered, source.ops, &all);
        let touched: Vec<_> = pieces.iter().map(|piece| touches(source.lowered, source.ops, piece)).collect();
        for (piece, barrier) in pieces.iter().zip(needed(&touched)) {
            let at = piece.first();
            body.e.b.set_srcloc(SourceLoc::new(at as u32));
            if barrier {
                body.wait(done);
            }
            let tasks = body.e.tasks(&source.ops[at], &source.program.weights, n, rows);
            let wide = body.e.b.ins().uextend(I64, tasks);
            done = body.e.b.ins().iadd(done, wide);
            let portion = body.e.grain(tasks, threads);
            body.hand_out(at as u32, tasks, portion, done, 1, |body, begin, end| match piece {
                Piece::Kernel(at) => body.kernel(*at, source.kernel(*at), source.state.many[*at], begin, end),
                Piece::Loop(inside) => body.rows(inside, &source.state.many, begin, end),
            });
        }
        body.e.b.ins().return_(&[done]);
    })
}

impl Emitter<'_> {
    /// An eighth of a thread's share.
    fn grain(&mut self, tasks: Value, threads: Value) -> Value {
        let eight = self.b.ins().ishl_imm(threads, 3);
        let portion = self.b.ins().udiv(tasks, eight);
        let one = self.b.ins().iconst(I32, 1);
        let portion = self.b.ins().umax(portion, one);
        self.alone_or(threads, tasks, portion)
    }

    fn tasks(&mut self, op: &Op, weights: &[tcrt::program::Weight], n: Value, rows: Value) -> Value {
        let count = |over: Over| if over == Over::Rows { rows } else { n };
        match op {
            Op::Norm { over, .. }
            | Op::Quantize { over, .. }
            | Op::Swiglu { over, .. }
            | Op::Elementwise { over, .. } => count(*over),
            Op::Gather { .. } => rows,
            Op::Linear { w, over, .. } => {
                let blocks = weights[*w].rows.div_ceil(BLOCK_ROWS as u32);
                let (blocks, zero) = (self.b.ins().iconst(I32, i64::from(blocks)), self.b.ins().iconst(I32, 0));
                self.b.ins().select(count(*over), blocks, zero)
            }
            Op::RopeKv { heads, .. } | Op::Attention { heads, .. } => {
                self.b.ins().imul_imm(n, i64::from(heads.kv_heads))
            }
            Op::Embed { .. } | Op::RopeTable { .. } | Op::Concat { .. } => n,
        }
    }
}
