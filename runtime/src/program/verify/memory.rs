//! Where things lie: segments in the file, weights in their segment, buffers in the arena.

use super::super::header::{DATA_ALIGN, HEADER_BYTES, Header, SEGMENT_ALIGN};
use super::super::{Buffer, BufferKind, Program, Segment, Weight, WeightKind};
use super::{MAX_DIM, bad, within};
use crate::Result;
use tc_kernels::abi::ACT_GROUP;
use tc_kernels::layout::matrix_bytes;

/// Bytes that a row may leave unused, so that rows do not lie in the same sets of the cache.
const MAX_PADDING: usize = 4096;

/// The header, the program and the segments lie inside the file and apart from each other.
pub fn check_segments(program: &Program, header: &Header) -> Result<()> {
    let mut taken = vec![
        ("header", Segment { offset: 0, size: HEADER_BYTES as u64 }),
        ("program", Segment { offset: header.program_offset, size: header.program_size }),
    ];
    let segments = [
        ("weights_segment", program.weights_segment),
        ("tokenizer_segment", program.tokenizer_segment),
        ("chat_segment", program.chat_segment),
    ];
    for (name, segment) in segments {
        if segment.size == 0 {
            continue;
        }
        let Segment { offset, size } = segment;
        if !offset.is_multiple_of(SEGMENT_ALIGN) {
            return Err(bad(format!("{name}: offset {offset} is not a multiple of {SEGMENT_ALIGN}")));
        }
        if segment.end().is_none_or(|end| end > header.file_size) {
            return Err(bad(format!(
                "{name}: {size} bytes at {offset} run past the file's {} bytes",
                header.file_size
            )));
        }
        if let Some((other, _)) = taken.iter().find(|(_, other)| overlap(*other, segment)) {
            return Err(bad(format!("{name}: overlaps the {other}")));
        }
        taken.push((name, segment));
    }
    Ok(())
}

fn overlap(a: Segment, b: Segment) -> bool {
    a.end().is_none_or(|end| b.offset < end) && b.end().is_none_or(|end| a.offset < end)
}

/// Each weight has the size its shape gives, and they lie in the weights segment one after another.
pub fn check_weights(program: &Program) -> Result<()> {
    for (i, weight) in program.weights.iter().enumerate() {
        check_weight(weight, program.weights_segment).map_err(|error| error.in_place(place(i, weight)))?;
    }
    let mut order: Vec<usize> = (0..program.weights.len()).collect();
    order.sort_by_key(|i| program.weights[*i].offset);
    for pair in order.windows(2) {
        let (before, after) = (&program.weights[pair[0]], &program.weights[pair[1]]);
        if before.offset + before.size > after.offset {
            let message = format!("{}: overlaps {}", place(pair[1], after), place(pair[0], before));
            return Err(bad(message));
        }
    }
    Ok(())
}

fn place(i: usize, weight: &Weight) -> String {
    format!("weights[{i}] ({})", weight.name.escape_debug())
}

fn check_weight(weight: &Weight, segment: Segment) -> Result<()> {
    within("rows", weight.rows, MAX_DIM)?;
    within("cols", weight.cols, MAX_DIM)?;
    let (rows, cols, group) = (weight.rows as usize, weight.cols as usize, weight.group as usize);
    let quantized = matches!(weight.kind, WeightKind::Matrix(kind) if kind.is_quantized());
    if quantized && (group == 0 || group % ACT_GROUP != 0) {
        return Err(bad(format!("group {group} is not a multiple of {ACT_GROUP}")));
    }
    if !quantized && group != 0 {
        return Err(bad(format!("group {group} on a weight of kind {}", weight.kind.name())));
    }
    let size = match weight.kind {
        WeightKind::Matrix(kind) => matrix_bytes(kind, rows, cols, group),
        WeightKind::Vector if cols != 1 => return Err(bad(format!("a vector with {cols} columns"))),
        WeightKind::Vector => 4 * rows,
    };
    if weight.size != size as u64 {
        let kind = weight.kind.name();
        return Err(bad(format!("{} bytes, but {rows} x {cols} in {kind} take {size}", weight.size)));
    }
    let end = weight.offset.checked_add(weight.size);
    if !weight.offset.is_multiple_of(DATA_ALIGN) || end.is_none_or(|end| end > segment.size) {
        let message = format!("{size} bytes at {} are misaligned or outside the weights segment", weight.offset);
        return Err(bad(message));
    }
    Ok(())
}

/// Each buffer has a stride that its width fits in and lies in its arena; the logits are f32 rows that the vocabulary fits in.
pub fn check_buffers(program: &Program) -> Result<()> {
    for (i, buffer) in program.buffers.iter().enumerate() {
        let place = format_args!("buffers[{i}] ({})", buffer.name.escape_debug()).to_string();
        check_buffer(buffer, program).map_err(|error| error.in_place(place))?;
    }
    let logits = usize::try_from(program.logits).ok().and_then(|i| program.buffers.get(i));
    let Some(logits) = logits else {
        return Err(bad(format!("logits: there is no buffer {}", program.logits)));
    };
    if logits.kind != BufferKind::F32 || !logits.over_rows || logits.width < program.vocab {
        return Err(bad(format!("logits: buffer {} is not f32 rows of {} values", program.logits, program.vocab)));
    }
    Ok(())
}

fn check_buffer(buffer: &Buffer, program: &Program) -> Result<()> {
    within("width", buffer.width, MAX_DIM)?;
    let width = buffer.width as usize;
    let (row, stride) = (buffer.kind.row_bytes(width), buffer.stride as usize);
    if stride < row || !stride.is_multiple_of(buffer.kind.alignment()) || stride - row > MAX_PADDING {
        let kind = buffer.kind.name();
        return Err(bad(format!("stride {stride}, but a row of {width} in {kind} takes {row}")));
    }
    let arena = if buffer.over_rows { program.row_arena } else { program.token_arena };
    let end = buffer.offset.checked_add(stride as u64);
    if !buffer.offset.is_multiple_of(DATA_ALIGN) || end.is_none_or(|end| end > arena) {
        let message = format!("{stride} bytes at {} are misaligned or outside the arena's {arena}", buffer.offset);
        return Err(bad(message));
    }
    Ok(())
}
