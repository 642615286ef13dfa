//! The descriptor and what it leads to, before their addresses are known.

use std::mem::offset_of;

use tc_kernels::abi::{Call, args_size};
use tcrt::native::abi::{
    Bytes, Descriptor, HIDDEN_F32, HIDDEN_Q8, HIDDEN_Q8X2, MAGIC, MAJOR, MINOR, Need, Pair, Text, Weights,
};
use tcrt::program::verify::{Hidden, Verified};
use tcrt::program::{BufferKind, Program};

use super::super::Artifact;

/// What a pointer leads to.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    Rodata(u64),
    Data(u64),
    /// A function by its number.
    Function(usize),
    Weights,
}

#[derive(Debug, Default)]
pub struct Image {
    pub rodata: Vec<u8>,
    /// Read-only once its pointers are relocated. Begins with the descriptor.
    pub data: Vec<u8>,
    /// Where in `data` pointers go, and where they lead.
    pub pointers: Vec<(u64, Target)>,
}

/// Where the weights of an artifact are.
pub enum Place<'a> {
    Inside,
    /// In a file of this name, beside it.
    Beside(&'a str),
}

/// Where in the image the id of weights that are beside goes, once it is known.
pub const WEIGHTS_ID: usize = offset_of!(Descriptor, weights) + offset_of!(Weights, id);

pub fn image(
    artifact: &Artifact,
    verified: &Verified,
    kernels: &[&str],
    state_size: u64,
    steps: u32,
    weights: &Place,
) -> Image {
    let program = verified.program();
    let mut image = Image::default();
    image.data.resize(size_of::<Descriptor>(), 0);
    image.bytes(offset_of!(Descriptor, magic), &MAGIC);
    image.bytes(offset_of!(Descriptor, major), &MAJOR.to_le_bytes());
    image.bytes(offset_of!(Descriptor, minor), &MINOR.to_le_bytes());
    let numbers = [
        (offset_of!(Descriptor, size), size_of::<Descriptor>() as u32),
        (offset_of!(Descriptor, call_size), size_of::<Call>() as u32),
        (offset_of!(Descriptor, kernel_count), kernels.len() as u32),
        (offset_of!(Descriptor, vocab), program.vocab),
        (offset_of!(Descriptor, max_positions), program.max_positions),
        (offset_of!(Descriptor, layers), program.cache.layers),
        (offset_of!(Descriptor, kv_heads), program.cache.kv_heads),
        (offset_of!(Descriptor, head_dim), program.cache.head_dim),
        (offset_of!(Descriptor, instruction_count), program.instructions.len() as u32),
        (offset_of!(Descriptor, weight_count), program.weights.len() as u32),
        (offset_of!(Descriptor, stop_token_count), artifact.stop_tokens.len() as u32),
        (offset_of!(Descriptor, steps), steps),
        (offset_of!(Descriptor, heads), verified.query_heads()),
    ];
    for (at, number) in numbers {
        image.bytes(at, &number.to_le_bytes());
    }
    image.memory_plan(program, state_size);
    verified.hidden().into_iter().for_each(|hidden| image.hidden(&hidden));
    image.lists(artifact, kernels);
    image.blob(offset_of!(Descriptor, tokenizer), &artifact.tokenizer);
    image.blob(offset_of!(Descriptor, chat), &artifact.chat);
    image.weights(offset_of!(Descriptor, weights), program.weights_segment.size, weights);
    let functions = [offset_of!(Descriptor, prepare), offset_of!(Descriptor, run), offset_of!(Descriptor, run_one)];
    for (number, at) in functions.into_iter().enumerate() {
        image.pointers.push((at as u64, Target::Function(number)));
    }
    image
}

impl Image {
    fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&mut self, at: usize, value: u64) {
        self.bytes(at, &value.to_le_bytes());
    }

    fn memory_plan(&mut self, program: &Program, state_size: u64) {
        let logits = &program.buffers[program.logits as usize];
        self.word(offset_of!(Descriptor, token_arena), program.token_arena);
        self.word(offset_of!(Descriptor, row_arena), program.row_arena);
        self.word(offset_of!(Descriptor, logits_offset), logits.offset);
        self.bytes(offset_of!(Descriptor, logits_stride), &logits.stride.to_le_bytes());
        self.word(offset_of!(Descriptor, state_size), state_size);
    }

    fn hidden(&mut self, hidden: &Hidden) {
        let kind = match hidden.kind {
            BufferKind::F32 => HIDDEN_F32,
            BufferKind::Q8 => HIDDEN_Q8,
            BufferKind::Q8x2 => HIDDEN_Q8X2,
        };
        self.word(offset_of!(Descriptor, hidden_offset), hidden.offset);
        self.bytes(offset_of!(Descriptor, hidden_stride), &hidden.stride.to_le_bytes());
        self.bytes(offset_of!(Descriptor, hidden_width), &hidden.width.to_le_bytes());
        self.bytes(offset_of!(Descriptor, hidden_kind), &kind.to_le_bytes());
    }

    fn lists(&mut self, artifact: &Artifact, kernels: &[&str]) {
        let needs = self.list::<Need>(offset_of!(Descriptor, kernels), kernels.len());
        for (i, name) in kernels.iter().enumerate() {
            let at = needs + i * size_of::<Need>();
            self.text(at + offset_of!(Need, name), name);
            self.word(at + offset_of!(Need, args_size), args_size(name).unwrap_or_default() as u64);
        }
        let metadata = self.list::<Pair>(offset_of!(Descriptor, metadata), artifact.metadata.len());
        self.word(offset_of!(Descriptor, metadata_count), artifact.metadata.len() as u64);
        for (i, (key, value)) in artifact.metadata.iter().enumerate() {
            let at = metadata + i * size_of::<Pair>();
            self.text(at + offset_of!(Pair, key), key);
            self.text(at + offset_of!(Pair, value), value);
        }
        let tokens: Vec<u8> = artifact.stop_tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        let target = self.constant(&tokens);
        self.pointers.push((offset_of!(Descriptor, stop_tokens) as u64, target));
    }

    /// Room for a list, to which the pointer at `at` leads.
    fn list<T>(&mut self, at: usize, count: usize) -> usize {
        let begin = self.data.len().next_multiple_of(8);
        self.data.resize(begin + count * size_of::<T>(), 0);
        self.pointers.push((at as u64, Target::Data(begin as u64)));
        begin
    }

    fn constant(&mut self, bytes: &[u8]) -> Target {
        let begin = self.rodata.len().next_multiple_of(16);
        self.rodata.resize(begin, 0);
        self.rodata.extend(bytes);
        Target::Rodata(begin as u64)
    }

    fn text(&mut self, at: usize, text: &str) {
        let target = self.constant(text.as_bytes());
        self.pointers.push(((at + offset_of!(Text, data)) as u64, target));
        self.word(at + offset_of!(Text, size), text.len() as u64);
    }

    fn blob(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let target = self.constant(bytes);
        self.pointers.push(((at + offset_of!(Bytes, data)) as u64, target));
        self.word(at + offset_of!(Bytes, size), bytes.len() as u64);
    }

    fn weights(&mut self, at: usize, size: u64, place: &Place) {
        self.word(at + offset_of!(Weights, size), size);
        match place {
            Place::Inside => self.pointers.push(((at + offset_of!(Weights, data)) as u64, Target::Weights)),
            Place::Beside(name) => self.text(at + offset_of!(Weights, file), name),
        }
    }
}
