//! Writes flatbuffers, just enough for a program: what the runtime's own reader is tested against.

use tcrt::program::header::IDENTIFIER;
use tcrt::program::{Operand, Program, Segment};

enum Value {
    None,
    /// In little-endian.
    Scalar(Vec<u8>),
    Reference(Node),
}

enum Node {
    Table(Vec<Value>),
    /// Count and elements, for strings with the zero behind.
    Vector(usize, Vec<u8>),
    References(Vec<Node>),
}

/// The program as a flatbuffer.
pub fn encode(program: &Program) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(IDENTIFIER);
    let root = write(&mut out, program_table(program));
    out[..4].copy_from_slice(&(root as u32).to_le_bytes());
    out
}

/// Appends a node and what it refers to, and says where it lies. References lead forwards only, so children come behind.
fn write(out: &mut Vec<u8>, node: Node) -> usize {
    pad(out);
    match node {
        Node::Table(fields) => write_table(out, fields),
        Node::Vector(count, bytes) => {
            let at = out.len();
            out.extend((count as u32).to_le_bytes());
            out.extend(bytes);
            at
        }
        Node::References(nodes) => {
            let at = out.len();
            out.extend((nodes.len() as u32).to_le_bytes());
            out.resize(out.len() + 4 * nodes.len(), 0);
            for (i, node) in nodes.into_iter().enumerate() {
                link(out, at + 4 + 4 * i, node);
            }
            at
        }
    }
}

fn write_table(out: &mut Vec<u8>, fields: Vec<Value>) -> usize {
    // 4 bytes of vtable offset, then each field at a multiple of 8 from the table's beginning.
    let (mut size, mut offsets) = (8, Vec::new());
    for field in &fields {
        let bytes = match field {
            Value::None => 0,
            Value::Scalar(bytes) => bytes.len(),
            Value::Reference(_) => 4,
        };
        offsets.push(if bytes == 0 { 0 } else { size });
        size += bytes.next_multiple_of(8);
    }
    let vtable = out.len();
    out.extend((4 + 2 * fields.len() as u16).to_le_bytes());
    out.extend((size as u16).to_le_bytes());
    offsets.iter().for_each(|offset| out.extend((*offset as u16).to_le_bytes()));
    pad(out);
    let at = out.len();
    out.resize(at + size, 0);
    out[at..at + 4].copy_from_slice(&((at - vtable) as i32).to_le_bytes());
    for (field, offset) in fields.into_iter().zip(offsets) {
        match field {
            Value::None => {}
            Value::Scalar(bytes) => out[at + offset..][..bytes.len()].copy_from_slice(&bytes),
            Value::Reference(node) => link(out, at + offset, node),
        }
    }
    at
}

fn link(out: &mut Vec<u8>, from: usize, node: Node) {
    let to = write(out, node);
    out[from..from + 4].copy_from_slice(&((to - from) as u32).to_le_bytes());
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(8), 0);
}

fn string(text: &str) -> Node {
    Node::Vector(text.len(), [text.as_bytes(), &[0]].concat())
}

fn text(text: &str) -> Value {
    if text.is_empty() { Value::None } else { Value::Reference(string(text)) }
}

fn u32(value: u32) -> Value {
    Value::Scalar(value.to_le_bytes().to_vec())
}

fn u64(value: u64) -> Value {
    Value::Scalar(value.to_le_bytes().to_vec())
}

fn bool(value: bool) -> Value {
    Value::Scalar(vec![u8::from(value)])
}

fn scalars<T, const N: usize>(values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Value {
    Value::Reference(Node::Vector(values.len(), values.iter().flat_map(bytes).collect()))
}

fn tables<T>(values: &[T], table: impl Fn(&T) -> Vec<Value>) -> Value {
    Value::Reference(Node::References(values.iter().map(|value| Node::Table(table(value))).collect()))
}

fn segment(segment: Segment) -> Value {
    Value::Scalar([segment.offset.to_le_bytes(), segment.size.to_le_bytes()].concat())
}

fn operand(operand: &Operand) -> [u8; 8] {
    let (kind, index) = match *operand {
        Operand::None => (0, 0),
        Operand::Buffer(index) => (1, index),
        Operand::Weight(index) => (2, index),
    };
    let [a, b, c, d] = u32::to_le_bytes(index);
    [kind, 0, 0, 0, a, b, c, d]
}

fn program_table(p: &Program) -> Node {
    let cache = vec![u32(p.cache.layers), u32(p.cache.kv_heads), u32(p.cache.head_dim)];
    Node::Table(vec![
        tables(&p.metadata, |(key, value)| vec![text(key), text(value)]),
        u32(p.vocab),
        u32(p.max_positions),
        Value::Reference(Node::Table(cache)),
        Value::Reference(Node::References(p.kernels.iter().map(|name| string(name)).collect())),
        tables(&p.weights, |w| {
            vec![text(&w.name), text(w.kind.name()), u32(w.rows), u32(w.cols), u32(w.group), u64(w.offset), u64(w.size)]
        }),
        tables(&p.buffers, |b| {
            vec![text(&b.name), text(b.kind.name()), u32(b.width), bool(b.over_rows), u64(b.offset), u32(b.stride)]
        }),
        tables(&p.instructions, |i| {
            vec![
                Value::Scalar(i.kernel.to_le_bytes().to_vec()),
                scalars(&i.operands, operand),
                scalars(&i.ints, |int| int.to_le_bytes()),
                scalars(&i.floats, |float| float.to_le_bytes()),
                bool(i.barrier),
                text(&i.note),
            ]
        }),
        u64(p.token_arena),
        u64(p.row_arena),
        u32(p.logits),
        scalars(&p.stop_tokens, |token| token.to_le_bytes()),
        segment(p.weights_segment),
        segment(p.tokenizer_segment),
        segment(p.chat_segment),
    ])
}
