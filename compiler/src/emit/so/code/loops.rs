//! Elementwise instructions as loops of vectors. The arithmetic is the kernels', step by step, so that results have the same bits.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlags, SourceLoc, Type, Value};
use tc_kernels::abi::ElementwiseArgs;
use tc_kernels::exp;
use tcrt::program::verify::Op;

use super::super::inline::{Loop, operands};
use super::Emitter;
use super::body::Body;

const LANES: usize = 4;
/// Vectors in one round of the loop: enough to hide the latency of a chain.
const UNROLL: usize = 4;
const VECTOR: usize = 4 * LANES;
const ROUND: usize = UNROLL * VECTOR;

/// Where the rows of a loop's buffers are.
type Rows = BTreeMap<usize, Value>;

impl Body<'_, '_> {
    /// Rows `begin .. end`; `args` are the instructions' arguments in the state, where the buffers' addresses are.
    pub fn rows(&mut self, inside: &Loop, args: &[u64], begin: Value, end: Value) {
        let (first, done) = (self.e.b.create_block(), self.e.b.create_block());
        let next = self.e.b.create_block();
        let any = self.e.b.ins().icmp(IntCC::UnsignedLessThan, begin, end);
        self.e.b.ins().brif(any, first, &[], done, &[]);
        self.e.b.switch_to_block(first);
        let bases = self.bases(inside, args);
        self.e.b.ins().jump(next, &[begin.into()]);
        let row = self.e.b.append_block_param(next, I32);
        self.e.b.switch_to_block(next);
        let wide = self.e.b.ins().uextend(I64, row);
        let at = |body: &mut Self, (buffer, base): (&usize, &Value)| {
            let stride = body.source.program.buffers[*buffer].stride;
            let offset = body.e.b.ins().imul_imm(wide, i64::from(stride));
            (*buffer, body.e.b.ins().iadd(*base, offset))
        };
        let rows = bases.iter().map(|base| at(self, base)).collect();
        self.columns(inside, &rows);
        let following = self.e.b.ins().iadd_imm(row, 1);
        let more = self.e.b.ins().icmp(IntCC::UnsignedLessThan, following, end);
        self.e.b.ins().brif(more, next, &[following.into()], done, &[]);
        self.e.b.switch_to_block(done);
    }

    /// The only row.
    pub fn row(&mut self, inside: &Loop, args: &[u64]) {
        self.e.b.set_srcloc(SourceLoc::new(inside.instructions[0] as u32));
        let bases = self.bases(inside, args);
        self.columns(inside, &bases);
    }

    /// Addresses of the first rows of what is loaded or stored.
    fn bases(&mut self, inside: &Loop, args: &[u64]) -> Rows {
        let (mut bases, mut made) = (Rows::new(), BTreeSet::new());
        for at in &inside.instructions {
            let Op::Elementwise { a, b, y, .. } = self.source.ops[*at] else { continue };
            let fields = [
                (Some(a).filter(|a| !made.contains(a)), offset_of!(ElementwiseArgs, a)),
                (b.filter(|b| !made.contains(b)), offset_of!(ElementwiseArgs, b)),
                (Some(y).filter(|y| inside.stored.contains(y)), offset_of!(ElementwiseArgs, y)),
            ];
            for (buffer, field) in fields {
                if let Some(buffer) = buffer {
                    let field = args[*at] as usize + field;
                    bases.entry(buffer).or_insert_with(|| self.e.load(I64, self.state, field));
                }
            }
            made.insert(y);
        }
        bases
    }

    fn columns(&mut self, inside: &Loop, rows: &Rows) {
        let dim = inside.instructions.first().map_or(0, |at| match self.source.ops[*at] {
            Op::Elementwise { dim, .. } => dim as usize,
            _ => 0,
        });
        let bytes = 4 * dim;
        let looped = bytes / ROUND * ROUND;
        if looped > 0 {
            self.rounds(inside, rows, looped);
        }
        let mut at = looped;
        while at < bytes {
            let (kind, size) = if at + VECTOR <= bytes { (F32X4, VECTOR) } else { (F32, 4) };
            self.values(inside, rows, kind, at);
            at += size;
        }
    }

    fn rounds(&mut self, inside: &Loop, rows: &Rows, bytes: usize) {
        let (round, done) = (self.e.b.create_block(), self.e.b.create_block());
        let begin = self.e.b.ins().iconst(I64, 0);
        self.e.b.ins().jump(round, &[begin.into()]);
        let offset = self.e.b.append_block_param(round, I64);
        self.e.b.switch_to_block(round);
        let here = rows.iter().map(|(buffer, row)| (*buffer, self.e.b.ins().iadd(*row, offset))).collect();
        for vector in 0..UNROLL {
            self.values(inside, &here, F32X4, vector * VECTOR);
        }
        let next = self.e.b.ins().iadd_imm(offset, ROUND as i64);
        let more = self.e.b.ins().icmp_imm(IntCC::UnsignedLessThan, next, bytes as i64);
        self.e.b.ins().brif(more, round, &[next.into()], done, &[]);
        self.e.b.switch_to_block(done);
    }

    /// One value or vector of each result, `at` bytes into the rows.
    fn values(&mut self, inside: &Loop, rows: &Rows, kind: Type, at: usize) {
        let mut known = Rows::new();
        for instruction in &inside.instructions {
            let Some((reads, y)) = operands(&self.source.ops[*instruction]) else { continue };
            for buffer in &reads {
                known
                    .entry(*buffer)
                    .or_insert_with(|| self.e.b.ins().load(kind, MemFlags::new(), rows[buffer], at as i32));
            }
            let values: Vec<Value> = reads.iter().map(|buffer| known[buffer]).collect();
            let value = self.compute(*instruction, kind, &values);
            known.insert(y, value);
            if inside.stored.contains(&y) {
                self.e.b.ins().store(MemFlags::new(), value, rows[&y], at as i32);
            }
        }
    }

    fn compute(&mut self, at: usize, kind: Type, values: &[Value]) -> Value {
        let scale = match self.source.ops[at] {
            Op::Elementwise { scale, .. } => scale,
            _ => 1.0,
        };
        match (self.source.kernel(at), values) {
            ("add", [a, b]) => {
                let scale = self.e.float(kind, scale);
                let scaled = self.e.b.ins().fmul(scale, *b);
                self.e.b.ins().fadd(*a, scaled)
            }
            ("mul", [a, b]) => self.e.b.ins().fmul(*a, *b),
            ("scale", [a]) => {
                let scale = self.e.float(kind, scale);
                self.e.b.ins().fmul(scale, *a)
            }
            ("silu", [a]) => self.e.silu(kind, *a),
            (other, _) => unreachable!("{other} is no elementwise kernel"),
        }
    }
}

impl Emitter<'_> {
    fn float(&mut self, kind: Type, value: f32) -> Value {
        let value = self.b.ins().f32const(value);
        if kind == F32 { value } else { self.b.ins().splat(kind, value) }
    }

    fn int(&mut self, kind: Type, value: u32) -> Value {
        let value = self.b.ins().iconst(I32, i64::from(value as i32));
        if kind == F32 { value } else { self.b.ins().splat(I32X4, value) }
    }

    /// `x / (1 + e^-x)`
    fn silu(&mut self, kind: Type, x: Value) -> Value {
        let minus = self.b.ins().fneg(x);
        let e = self.exp(kind, minus);
        let one = self.float(kind, 1.0);
        let below = self.b.ins().fadd(one, e);
        self.b.ins().fdiv(x, below)
    }

    /// As `tc_kernels::exp::exp`.
    fn exp(&mut self, kind: Type, x: Value) -> Value {
        let x = self.choose(kind, FloatCC::GreaterThan, x, exp::LEAST);
        let x = self.choose(kind, FloatCC::LessThan, x, exp::MOST);
        let (log2_e, round) = (self.float(kind, std::f32::consts::LOG2_E), self.float(kind, exp::ROUND));
        let scaled = self.b.ins().fmul(x, log2_e);
        let rounded = self.b.ins().fadd(scaled, round);
        let n = self.b.ins().fsub(rounded, round);
        let r = exp::LN_2.iter().fold(x, |r, part| {
            let part = self.float(kind, *part);
            let part = self.b.ins().fmul(n, part);
            self.b.ins().fsub(r, part)
        });
        let mut p = self.float(kind, exp::POLYNOMIAL[0]);
        for c in &exp::POLYNOMIAL[1..] {
            let c = self.float(kind, *c);
            let product = self.b.ins().fmul(p, r);
            p = self.b.ins().fadd(product, c);
        }
        let one = self.float(kind, 1.0);
        let (square, linear) = (self.b.ins().fmul(r, r), self.b.ins().fadd(r, one));
        let high = self.b.ins().fmul(p, square);
        let p = self.b.ins().fadd(high, linear);
        let bits = self.b.ins().bitcast(if kind == F32 { I32 } else { I32X4 }, MemFlags::new(), rounded);
        let bias = self.int(kind, exp::BIAS.wrapping_sub(exp::ROUND.to_bits()));
        let biased = self.b.ins().iadd(bits, bias);
        let power = self.b.ins().ishl_imm(biased, i64::from(exp::EXPONENT));
        let power = self.b.ins().bitcast(kind, MemFlags::new(), power);
        self.b.ins().fmul(p, power)
    }

    /// `x` where it compares with `bound` so, else `bound`.
    fn choose(&mut self, kind: Type, holds: FloatCC, x: Value, bound: f32) -> Value {
        let bound = self.float(kind, bound);
        let mask = self.b.ins().fcmp(holds, x, bound);
        if kind == F32 {
            return self.b.ins().select(mask, x, bound);
        }
        let mask = self.b.ins().bitcast(kind, MemFlags::new(), mask);
        self.b.ins().bitselect(mask, x, bound)
    }
}
