//! An artifact as text.

use std::fmt::{self, Write};

use tcrt::Model;
use tcrt::program::{Buffer, Instruction, Operand, Program, Weight};

pub fn describe(model: &Model) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, model);
    text
}

fn write(out: &mut String, model: &Model) -> fmt::Result {
    let info = model.info();
    let kind = if model.program().is_some() { "program file" } else { "native artifact" };
    writeln!(out, "{}: {kind}, {} bytes", model.name(), info.file_bytes)?;
    for (key, value) in &info.metadata {
        writeln!(out, "  {key:<24} {value}")?;
    }
    writeln!(out, "  {:<24} {:?}", "stop tokens", model.stop_tokens())?;
    match model.program() {
        Some(program) => write_program(out, model, program),
        None => writeln!(out, "  {:<24} {}", "instructions", info.instructions),
    }
}

fn write_program(out: &mut String, model: &Model, program: &Program) -> fmt::Result {
    writeln!(out, "  {:<24} {} bytes", "tokenizer", program.tokenizer_segment.size)?;
    writeln!(out, "  {:<24} {} bytes", "chat format", program.chat_segment.size)?;
    writeln!(out, "\n{} weights, {} bytes", program.weights.len(), model.info().weight_bytes)?;
    program.weights.iter().try_for_each(|weight| write_weight(out, weight))?;
    let barriers = program.instructions.iter().filter(|instruction| instruction.barrier).count();
    writeln!(out, "\n{} instructions, {barriers} barriers (|)", program.instructions.len())?;
    for (at, instruction) in program.instructions.iter().enumerate() {
        write_instruction(out, program, at, instruction)?;
    }
    write_memory(out, program)
}

fn write_weight(out: &mut String, weight: &Weight) -> fmt::Result {
    let group = if weight.group > 0 { format!("g{}", weight.group) } else { String::new() };
    let kind = format!("{}{group}", weight.kind.name());
    let shape = format!("[{}, {}]", weight.rows, weight.cols);
    writeln!(out, "  {:>12} {kind:<10} {shape:<16} {:>11}  {}", weight.offset, weight.size, weight.name)
}

fn write_instruction(out: &mut String, program: &Program, at: usize, instruction: &Instruction) -> fmt::Result {
    let kernel = program.kernels.get(usize::from(instruction.kernel)).map_or("?", String::as_str);
    let barrier = if instruction.barrier { '|' } else { ' ' };
    let operands: Vec<String> = instruction.operands.iter().map(|operand| operand_name(program, operand)).collect();
    write!(out, "{barrier} {at:>5} {kernel:<14} {}", operands.join(", "))?;
    if !instruction.ints.is_empty() {
        write!(out, " {:?}", instruction.ints)?;
    }
    if !instruction.floats.is_empty() {
        write!(out, " {:?}", instruction.floats)?;
    }
    writeln!(out, "  // {}", instruction.note)
}

fn operand_name(program: &Program, operand: &Operand) -> String {
    match operand {
        Operand::None => "-".to_string(),
        Operand::Buffer(index) => format!("b{index}"),
        Operand::Weight(index) => match program.weights.get(*index as usize) {
            Some(weight) => format!("@{}", weight.name),
            None => format!("@{index}"),
        },
    }
}

fn write_memory(out: &mut String, program: &Program) -> fmt::Result {
    let (tokens, rows) = (program.token_arena, program.row_arena);
    writeln!(out, "\nmemory: {tokens} bytes a token of a call, {rows} a row of logits")?;
    for (at, buffer) in program.buffers.iter().enumerate() {
        let Buffer { name, kind, width, over_rows, offset, stride } = buffer;
        let arena = if *over_rows { "rows" } else { "tokens" };
        writeln!(out, "  b{at:<5} {arena:<6} {offset:>8} +{stride:<8} {}[{width}]  // {name}", kind.name())?;
    }
    let cache = program.cache;
    let values = 2 * u64::from(cache.layers) * u64::from(cache.kv_heads) * u64::from(cache.head_dim);
    writeln!(out, "cache: {values} values a position ({} bytes in f16)", 2 * values)
}
