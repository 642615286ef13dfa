//! The program as a flatbuffer. Slots are numbered as the fields of `runtime/schema/program.fbs` are.

use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, VOffsetT, Vector, WIPOffset};
use tcrt::program::header::IDENTIFIER;
use tcrt::program::{Buffer, Instruction, Operand, Program, Segment, Weight};

type Builder = FlatBufferBuilder<'static>;
/// A finished table, string or vector.
type Offset = WIPOffset<UnionWIPOffset>;

/// The place of a table's field `n` in its vtable.
const fn slot(n: VOffsetT) -> VOffsetT {
    4 + 2 * n
}

mod key_value {
    pub const KEY: u16 = super::slot(0);
    pub const VALUE: u16 = super::slot(1);
}

mod weight {
    pub const NAME: u16 = super::slot(0);
    pub const KIND: u16 = super::slot(1);
    pub const ROWS: u16 = super::slot(2);
    pub const COLS: u16 = super::slot(3);
    pub const GROUP: u16 = super::slot(4);
    pub const OFFSET: u16 = super::slot(5);
    pub const SIZE: u16 = super::slot(6);
}

mod buffer {
    pub const NAME: u16 = super::slot(0);
    pub const KIND: u16 = super::slot(1);
    pub const WIDTH: u16 = super::slot(2);
    pub const OVER_ROWS: u16 = super::slot(3);
    pub const OFFSET: u16 = super::slot(4);
    pub const STRIDE: u16 = super::slot(5);
}

mod instruction {
    pub const KERNEL: u16 = super::slot(0);
    pub const OPERANDS: u16 = super::slot(1);
    pub const INTS: u16 = super::slot(2);
    pub const FLOATS: u16 = super::slot(3);
    pub const BARRIER: u16 = super::slot(4);
    pub const NOTE: u16 = super::slot(5);
}

mod cache {
    pub const LAYERS: u16 = super::slot(0);
    pub const KV_HEADS: u16 = super::slot(1);
    pub const HEAD_DIM: u16 = super::slot(2);
}

mod program {
    pub const METADATA: u16 = super::slot(0);
    pub const VOCAB: u16 = super::slot(1);
    pub const MAX_POSITIONS: u16 = super::slot(2);
    pub const CACHE: u16 = super::slot(3);
    pub const KERNELS: u16 = super::slot(4);
    pub const WEIGHTS: u16 = super::slot(5);
    pub const BUFFERS: u16 = super::slot(6);
    pub const INSTRUCTIONS: u16 = super::slot(7);
    pub const TOKEN_ARENA: u16 = super::slot(8);
    pub const ROW_ARENA: u16 = super::slot(9);
    pub const LOGITS: u16 = super::slot(10);
    pub const STOP_TOKENS: u16 = super::slot(11);
    pub const WEIGHTS_SEGMENT: u16 = super::slot(12);
    pub const TOKENIZER_SEGMENT: u16 = super::slot(13);
    pub const CHAT_SEGMENT: u16 = super::slot(14);
}

/// The bytes of the flatbuffer; their number does not depend on the segments' places.
pub fn encode(p: &Program) -> Vec<u8> {
    let b = &mut Builder::new();
    let metadata = vector(b, &p.metadata, |b, (key, value)| {
        let (key, value) = (string(b, key), string(b, value));
        table(b, |b| {
            b.push_slot_always(key_value::KEY, key);
            b.push_slot_always(key_value::VALUE, value);
        })
    });
    let kernels = vector(b, &p.kernels, |b, name| string(b, name));
    let weights = vector(b, &p.weights, encode_weight);
    let buffers = vector(b, &p.buffers, encode_buffer);
    let instructions = vector(b, &p.instructions, encode_instruction);
    let stop_tokens = b.create_vector(&p.stop_tokens);
    let cache = table(b, |b| {
        b.push_slot_always(cache::LAYERS, p.cache.layers);
        b.push_slot_always(cache::KV_HEADS, p.cache.kv_heads);
        b.push_slot_always(cache::HEAD_DIM, p.cache.head_dim);
    });
    let start = b.start_table();
    b.push_slot_always(program::METADATA, metadata);
    b.push_slot_always(program::VOCAB, p.vocab);
    b.push_slot_always(program::MAX_POSITIONS, p.max_positions);
    b.push_slot_always(program::CACHE, cache);
    b.push_slot_always(program::KERNELS, kernels);
    b.push_slot_always(program::WEIGHTS, weights);
    b.push_slot_always(program::BUFFERS, buffers);
    b.push_slot_always(program::INSTRUCTIONS, instructions);
    b.push_slot_always(program::TOKEN_ARENA, p.token_arena);
    b.push_slot_always(program::ROW_ARENA, p.row_arena);
    b.push_slot_always(program::LOGITS, p.logits);
    b.push_slot_always(program::STOP_TOKENS, stop_tokens);
    push_segment(b, program::WEIGHTS_SEGMENT, p.weights_segment);
    push_segment(b, program::TOKENIZER_SEGMENT, p.tokenizer_segment);
    push_segment(b, program::CHAT_SEGMENT, p.chat_segment);
    let root = b.end_table(start);
    b.finish(root, std::str::from_utf8(&IDENTIFIER).ok());
    b.finished_data().to_vec()
}

fn encode_weight(b: &mut Builder, w: &Weight) -> Offset {
    let (name, kind) = (string(b, &w.name), shared_string(b, w.kind.name()));
    table(b, |b| {
        b.push_slot_always(weight::NAME, name);
        b.push_slot_always(weight::KIND, kind);
        b.push_slot_always(weight::ROWS, w.rows);
        b.push_slot_always(weight::COLS, w.cols);
        b.push_slot(weight::GROUP, w.group, 0);
        b.push_slot_always(weight::OFFSET, w.offset);
        b.push_slot_always(weight::SIZE, w.size);
    })
}

fn encode_buffer(b: &mut Builder, buf: &Buffer) -> Offset {
    let (name, kind) = (string(b, &buf.name), shared_string(b, buf.kind.name()));
    table(b, |b| {
        b.push_slot_always(buffer::NAME, name);
        b.push_slot_always(buffer::KIND, kind);
        b.push_slot_always(buffer::WIDTH, buf.width);
        b.push_slot(buffer::OVER_ROWS, buf.over_rows, false);
        b.push_slot_always(buffer::OFFSET, buf.offset);
        b.push_slot_always(buffer::STRIDE, buf.stride);
    })
}

fn encode_instruction(b: &mut Builder, i: &Instruction) -> Offset {
    let operands: Vec<u64> = i.operands.iter().map(operand).collect();
    let operands = b.create_vector(&operands);
    let ints = b.create_vector(&i.ints);
    let floats = b.create_vector(&i.floats);
    let note = string(b, &i.note);
    table(b, |b| {
        b.push_slot_always(instruction::KERNEL, i.kernel);
        b.push_slot_always(instruction::OPERANDS, operands);
        b.push_slot_always(instruction::INTS, ints);
        b.push_slot_always(instruction::FLOATS, floats);
        b.push_slot(instruction::BARRIER, i.barrier, false);
        b.push_slot_always(instruction::NOTE, note);
    })
}

/// `struct Operand { kind: uint8; index: uint32; }`: the kind in the first byte, the index in the last four.
fn operand(operand: &Operand) -> u64 {
    let (kind, index) = match operand {
        Operand::None => (0, 0),
        Operand::Buffer(index) => (1, *index),
        Operand::Weight(index) => (2, *index),
    };
    kind | u64::from(index) << 32
}

/// `struct Segment { offset: uint64; size: uint64; }`, inline. The buffer grows downwards, so the last field goes first.
fn push_segment(b: &mut Builder, slot: VOffsetT, segment: Segment) {
    b.push(segment.size);
    b.push_slot_always(slot, segment.offset);
}

fn string(b: &mut Builder, text: &str) -> Offset {
    b.create_string(text).as_union_value()
}

/// One of a few texts that many tables name.
fn shared_string(b: &mut Builder, text: &str) -> Offset {
    b.create_shared_string(text).as_union_value()
}

fn table(b: &mut Builder, fields: impl FnOnce(&mut Builder)) -> Offset {
    let start = b.start_table();
    fields(b);
    WIPOffset::new(b.end_table(start).value())
}

fn vector<T>(
    b: &mut Builder,
    items: &[T],
    mut encode: impl FnMut(&mut Builder, &T) -> Offset,
) -> WIPOffset<Vector<'static, Offset>>
where
    Offset: flatbuffers::Push,
{
    let offsets: Vec<Offset> = items.iter().map(|item| encode(b, item)).collect();
    WIPOffset::new(b.create_vector(&offsets).value())
}
