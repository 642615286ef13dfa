//! Builds programs by hand: every buffer has its own place, a barrier stands before every instruction.

use tc_kernels::layout::{Kind, block_bytes, padded_cols};
use tc_kernels::pack::{QuantizedRow, pack_float_block, pack_quantized_block};
use tcrt::program::header::{HEADER_BYTES, Header, SEGMENT_ALIGN};
use tcrt::program::{Buffer, BufferKind, Cache, Instruction, Operand, Program, Segment, Weight, WeightKind};

pub struct Builder {
    pub program: Program,
    pub weights: Vec<u8>,
    pub tokenizer: Vec<u8>,
}

impl Builder {
    pub fn new(vocab: u32, max_positions: u32, cache: Cache) -> Builder {
        let none = Segment { offset: 0, size: 0 };
        let program = Program {
            metadata: vec![("name".into(), "toy".into())],
            vocab,
            max_positions,
            cache,
            kernels: Vec::new(),
            weights: Vec::new(),
            buffers: Vec::new(),
            instructions: Vec::new(),
            token_arena: 0,
            row_arena: 0,
            logits: 0,
            stop_tokens: vec![2],
            weights_segment: none,
            tokenizer_segment: none,
            chat_segment: none,
        };
        Builder { program, weights: Vec::new(), tokenizer: Vec::new() }
    }

    pub fn buffer(&mut self, name: &str, kind: BufferKind, width: usize, over_rows: bool) -> Operand {
        let stride = kind.row_bytes(width);
        let arena = if over_rows { &mut self.program.row_arena } else { &mut self.program.token_arena };
        let offset = *arena;
        *arena += stride as u64;
        let (width, stride) = (width as u32, stride as u32);
        self.program.buffers.push(Buffer { name: name.into(), kind, width, over_rows, offset, stride });
        Operand::Buffer(self.program.buffers.len() as u32 - 1)
    }

    pub fn vector(&mut self, name: &str, values: &[f32]) -> Operand {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.weight(name, WeightKind::Vector, values.len(), 1, 0, &bytes)
    }

    /// Packs a matrix given row by row; quantized kinds round each group to its largest value. What it holds is written back.
    pub fn matrix(&mut self, name: &str, kind: Kind, group: usize, cols: usize, values: &mut [f32]) -> Operand {
        let size = block_bytes(kind, cols, group);
        let mut bytes = Vec::new();
        for rows in values.chunks_mut(16 * cols) {
            let mut block = vec![0; size];
            if kind.is_quantized() {
                pack_i8(group, cols, rows, &mut block);
            } else {
                let rows: Vec<&[f32]> = rows.chunks(cols).collect();
                pack_float_block(kind, &rows, &mut block);
            }
            bytes.extend(block);
        }
        self.weight(name, WeightKind::Matrix(kind), values.len() / cols, cols, group, &bytes)
    }

    fn weight(
        &mut self,
        name: &str,
        kind: WeightKind,
        rows: usize,
        cols: usize,
        group: usize,
        bytes: &[u8],
    ) -> Operand {
        self.weights.resize(self.weights.len().next_multiple_of(64), 0);
        let (offset, size) = (self.weights.len() as u64, bytes.len() as u64);
        self.weights.extend(bytes);
        let (rows, cols, group) = (rows as u32, cols as u32, group as u32);
        self.program.weights.push(Weight { name: name.into(), kind, rows, cols, group, offset, size });
        Operand::Weight(self.program.weights.len() as u32 - 1)
    }

    pub fn op(&mut self, kernel: &str, operands: &[Operand], ints: &[i64], floats: &[f32]) {
        let kernels = &mut self.program.kernels;
        let at = kernels.iter().position(|name| name == kernel).unwrap_or_else(|| {
            kernels.push(kernel.into());
            kernels.len() - 1
        });
        self.program.instructions.push(Instruction {
            kernel: at as u16,
            operands: operands.to_vec(),
            ints: ints.to_vec(),
            floats: floats.to_vec(),
            barrier: true,
            note: String::new(),
        });
    }

    /// Lays out the segments; the program is final after this.
    pub fn file(&mut self) -> Vec<u8> {
        // The program's size does not depend on the segments' offsets.
        let program_size = super::flat::encode(&self.program).len();
        let align = SEGMENT_ALIGN as usize;
        let weights = (HEADER_BYTES + program_size).next_multiple_of(align);
        self.program.weights_segment = Segment { offset: weights as u64, size: self.weights.len() as u64 };
        let mut end = weights + self.weights.len();
        if !self.tokenizer.is_empty() {
            let offset = end.next_multiple_of(align);
            self.program.tokenizer_segment = Segment { offset: offset as u64, size: self.tokenizer.len() as u64 };
            end = offset + self.tokenizer.len();
        }
        let mut file = Header::new(HEADER_BYTES as u64, program_size as u64, end as u64).encode().to_vec();
        file.extend(super::flat::encode(&self.program));
        file.resize(weights, 0);
        file.extend(&self.weights);
        if !self.tokenizer.is_empty() {
            file.resize(self.program.tokenizer_segment.offset as usize, 0);
            file.extend(&self.tokenizer);
        }
        file
    }
}

fn pack_i8(group: usize, cols: usize, rows: &mut [f32], block: &mut [u8]) {
    let groups = padded_cols(cols).div_ceil(group);
    let mut packed = Vec::new();
    for row in rows.chunks_mut(cols) {
        let (mut q, mut scales) = (Vec::new(), vec![0.0f32; groups]);
        for (values, scale) in row.chunks_mut(group).zip(&mut scales) {
            // A power of two is exact in f16.
            let largest = values.iter().fold(1e-9f32, |most, value| most.max(value.abs()));
            *scale = (largest / 127.0).log2().ceil().exp2();
            q.extend(values.iter().map(|value| (value / *scale).round() as i8));
            values.iter_mut().for_each(|value| *value = (*value / *scale).round() * *scale);
        }
        packed.push((q, scales));
    }
    let rows: Vec<QuantizedRow> =
        packed.iter().map(|(q, scales)| QuantizedRow { q, scales, ..QuantizedRow::default() }).collect();
    pack_quantized_block(Kind::I8, group, &rows, block);
}
