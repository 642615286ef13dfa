//! Where everything in a file goes.

use tcrt::program::header::{HEADER_BYTES, SEGMENT_ALIGN};
use tcrt::program::{self as file, Segment, WeightKind};

use super::super::{Artifact, EmitError, weights};
use super::encode::encode;
use crate::program::{Buffer, Instruction, Operand, Storage, Weight};

pub const PROGRAM_OFFSET: u64 = HEADER_BYTES as u64;

#[derive(Debug)]
pub struct Layout {
    pub program: file::Program,
    pub flatbuffer: Vec<u8>,
    pub file_size: u64,
}

/// The program as the file has it. The flatbuffer's size does not depend on where the segments are, so it is encoded once to learn
/// the size, and again with the segments' places in it.
pub fn layout(artifact: &Artifact) -> Result<Layout, EmitError> {
    let mut program = file_program(artifact)?;
    let size = encode(&program).len() as u64;
    let mut end = PROGRAM_OFFSET + size;
    let mut place = |size: u64| {
        let offset = end.next_multiple_of(SEGMENT_ALIGN);
        end = offset + size;
        Segment { offset, size }
    };
    // The weights go last: a small change to a tokenizer does not move them in a copy of the file.
    program.tokenizer_segment = place(artifact.tokenizer.len() as u64);
    program.chat_segment = place(artifact.chat.len() as u64);
    program.weights_segment = place(program.weights_segment.size);
    let flatbuffer = encode(&program);
    debug_assert_eq!(flatbuffer.len() as u64, size);
    Ok(Layout { program, flatbuffer, file_size: end })
}

fn file_program(artifact: &Artifact) -> Result<file::Program, EmitError> {
    let program = artifact.program;
    let mut kernels: Vec<String> = Vec::new();
    let instructions =
        program.instructions.iter().map(|instruction| file_instruction(instruction, &mut kernels)).collect();
    let (offsets, weights_size) = weights::place(program);
    let weights = program.weights.iter().zip(offsets).map(|(weight, offset)| file_weight(weight, offset)).collect();
    let none = Segment { offset: 0, size: 0 };
    Ok(file::Program {
        metadata: artifact.metadata.clone(),
        vocab: program.vocab,
        max_positions: program.max_positions,
        cache: file::Cache {
            layers: program.cache.layers,
            kv_heads: program.cache.kv_heads,
            head_dim: program.cache.head_dim,
        },
        weights,
        buffers: program.buffers.iter().map(file_buffer).collect(),
        instructions,
        kernels,
        token_arena: program.token_arena,
        row_arena: program.row_arena,
        logits: program.logits,
        stop_tokens: artifact.stop_tokens.clone(),
        weights_segment: Segment { offset: 0, size: weights_size },
        tokenizer_segment: none,
        chat_segment: none,
    })
}

fn file_weight(weight: &Weight, offset: u64) -> file::Weight {
    let kind = match weight.storage {
        Storage::Packed(packed) => WeightKind::Matrix(packed.kind),
        Storage::Vector => WeightKind::Vector,
    };
    file::Weight {
        name: weight.name.clone(),
        kind,
        rows: weight.rows,
        cols: weight.cols,
        group: weight.group(),
        offset,
        size: weight.bytes(),
    }
}

fn file_buffer(buffer: &Buffer) -> file::Buffer {
    file::Buffer {
        name: buffer.name.clone(),
        kind: buffer.kind,
        width: buffer.width,
        over_rows: buffer.over_rows,
        offset: buffer.offset,
        stride: buffer.stride() as u32,
    }
}

fn file_instruction(instruction: &Instruction, kernels: &mut Vec<String>) -> file::Instruction {
    let name = instruction.kernel.name;
    let kernel = kernels.iter().position(|known| known == name).unwrap_or_else(|| {
        kernels.push(name.to_string());
        kernels.len() - 1
    });
    let operand = |operand: &Operand| match operand {
        Operand::None => file::Operand::None,
        Operand::Buffer(index) => file::Operand::Buffer(*index),
        Operand::Weight(index) => file::Operand::Weight(*index),
    };
    file::Instruction {
        kernel: kernel as u16,
        operands: instruction.operands.iter().map(operand).collect(),
        ints: instruction.ints.clone(),
        floats: instruction.floats.clone(),
        barrier: instruction.barrier,
        note: instruction.note.clone(),
    }
}
