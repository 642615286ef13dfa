//! Where a program leaves its last hidden states.

use super::Op;
use crate::program::{Buffer, BufferKind, Program};
use tc_kernels::abi::Over;

/// Rows of hidden states in the arena of rows, as the head has read them: after the last norm, in the head's own precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    pub offset: u64,
    /// Bytes from one row to the next.
    pub stride: u32,
    pub width: u32,
    pub kind: BufferKind,
}

/// What the last matrix over rows is multiplied by, where it is still there when the program has ended.
pub fn find(program: &Program, ops: &[Op]) -> Option<Hidden> {
    let head = ops.iter().rposition(|op| matches!(op, Op::Linear { over: Over::Rows, .. }))?;
    let Op::Linear { x, .. } = ops[head] else { return None };
    let buffer = program.buffers.get(x).filter(|buffer| buffer.over_rows)?;
    let spoilt = ops[head..].iter().any(|op| overlap(&program.buffers[op.result()], buffer));
    let Buffer { offset, stride, width, kind, .. } = *buffer;
    (!spoilt).then_some(Hidden { offset, stride, width, kind })
}

fn overlap(a: &Buffer, b: &Buffer) -> bool {
    let end = |buffer: &Buffer| buffer.offset + u64::from(buffer.stride);
    a.over_rows == b.over_rows && a.offset < end(b) && b.offset < end(a)
}
