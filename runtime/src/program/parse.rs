//! From the flatbuffer's tables to plain Rust types. Field numbers are those of `runtime/schema/program.fbs`.
//!
//! Limits on counts and lengths keep what is allocated within a small multiple of the file, though many tables may point at one
//! string; real programs stay far below them.

use super::flat::{self, Field, Table};
use super::header::IDENTIFIER;
use super::{Buffer, BufferKind, Cache, Instruction, Operand, Program, Segment, Weight, WeightKind};
use crate::{Error, ErrorKind, Result};

const MAX_METADATA: usize = 256;
const MAX_METADATA_BYTES: usize = 1 << 16;
const MAX_NAME_BYTES: usize = 1024;
const MAX_KERNELS: usize = 1024;
const MAX_WEIGHTS: usize = 1 << 16;
const MAX_BUFFERS: usize = 1 << 13;
const MAX_INSTRUCTIONS: usize = 1 << 15;
const MAX_ARGUMENTS: usize = 16;
const MAX_STOP_TOKENS: usize = 1024;

impl Program {
    /// Decodes the flatbuffer part of a program file.
    pub fn parse(bytes: &[u8]) -> Result<Program> {
        flat::root(bytes, &IDENTIFIER).and_then(program).map_err(|error| error.in_place("program"))
    }
}

fn program(table: Table) -> Result<Program> {
    Ok(Program {
        metadata: table.tables((0, "metadata"), MAX_METADATA, key_value)?,
        vocab: table.u32((1, "vocab"))?,
        max_positions: table.u32((2, "max_positions"))?,
        cache: cache(table.table((3, "cache"))?).map_err(|error| error.in_place("cache"))?,
        kernels: table.strings((4, "kernels"), MAX_KERNELS, MAX_NAME_BYTES)?,
        weights: table.tables((5, "weights"), MAX_WEIGHTS, weight)?,
        buffers: table.tables((6, "buffers"), MAX_BUFFERS, buffer)?,
        instructions: table.tables((7, "instructions"), MAX_INSTRUCTIONS, instruction)?,
        token_arena: table.u64((8, "token_arena"))?,
        row_arena: table.u64((9, "row_arena"))?,
        logits: table.u32((10, "logits"))?,
        stop_tokens: scalars(table, (11, "stop_tokens"), MAX_STOP_TOKENS, u32::from_le_bytes)?,
        weights_segment: segment(table, (12, "weights_segment"))?,
        tokenizer_segment: segment(table, (13, "tokenizer_segment"))?,
        chat_segment: segment(table, (14, "chat_segment"))?,
    })
}

fn key_value(table: Table) -> Result<(String, String)> {
    let key = table.string((0, "key"), MAX_NAME_BYTES)?;
    Ok((key.to_owned(), table.string((1, "value"), MAX_METADATA_BYTES)?.to_owned()))
}

fn cache(table: Table) -> Result<Cache> {
    Ok(Cache {
        layers: table.u32((0, "layers"))?,
        kv_heads: table.u32((1, "kv_heads"))?,
        head_dim: table.u32((2, "head_dim"))?,
    })
}

fn weight(table: Table) -> Result<Weight> {
    let kind = table.string((1, "kind"), MAX_NAME_BYTES)?;
    Ok(Weight {
        name: table.string((0, "name"), MAX_NAME_BYTES)?.to_owned(),
        kind: WeightKind::from_name(kind).ok_or_else(|| unknown("kind of weight", kind))?,
        rows: table.u32((2, "rows"))?,
        cols: table.u32((3, "cols"))?,
        group: table.u32((4, "group"))?,
        offset: table.u64((5, "offset"))?,
        size: table.u64((6, "size"))?,
    })
}

fn buffer(table: Table) -> Result<Buffer> {
    let kind = match table.string((1, "kind"), MAX_NAME_BYTES)? {
        "f32" => BufferKind::F32,
        "q8" => BufferKind::Q8,
        "q8x2" => BufferKind::Q8x2,
        other => return Err(unknown("kind of buffer", other)),
    };
    Ok(Buffer {
        name: table.string((0, "name"), MAX_NAME_BYTES)?.to_owned(),
        kind,
        width: table.u32((2, "width"))?,
        over_rows: table.bool((3, "over_rows"))?,
        offset: table.u64((4, "offset"))?,
        stride: table.u32((5, "stride"))?,
    })
}

fn instruction(table: Table) -> Result<Instruction> {
    let operands = table.elements::<8>((1, "operands"), MAX_ARGUMENTS)?;
    Ok(Instruction {
        kernel: table.u16((0, "kernel"))?,
        operands: operands.iter().map(operand).collect::<Result<_>>()?,
        ints: scalars(table, (2, "ints"), MAX_ARGUMENTS, i64::from_le_bytes)?,
        floats: scalars(table, (3, "floats"), MAX_ARGUMENTS, f32::from_le_bytes)?,
        barrier: table.bool((4, "barrier"))?,
        note: table.string((5, "note"), MAX_NAME_BYTES)?.to_owned(),
    })
}

/// A struct of a u8 and, aligned, a u32.
fn operand(&[kind, _, _, _, i0, i1, i2, i3]: &[u8; 8]) -> Result<Operand> {
    let index = u32::from_le_bytes([i0, i1, i2, i3]);
    match kind {
        0 => Ok(Operand::None),
        1 => Ok(Operand::Buffer(index)),
        2 => Ok(Operand::Weight(index)),
        _ => Err(unknown("kind of operand", &kind.to_string())),
    }
}

fn segment(table: Table, field: Field) -> Result<Segment> {
    table.u64_pair(field).map(|(offset, size)| Segment { offset, size })
}

fn scalars<const N: usize, T>(table: Table, field: Field, limit: usize, decode: fn([u8; N]) -> T) -> Result<Vec<T>> {
    Ok(table.elements::<N>(field, limit)?.iter().map(|bytes| decode(*bytes)).collect())
}

fn unknown(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("'{}' is no {what} this runtime knows", name.escape_debug()))
}
