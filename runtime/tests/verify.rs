//! Each fault in a program is found before it runs, and named.

mod support;

use std::sync::OnceLock;
use support::toy::{SHAPE, Toy};
use tcrt::ErrorKind;
use tcrt::program::header::{HEADER_BYTES, Header, MAJOR, MINOR};
use tcrt::program::verify::verify;
use tcrt::program::{Instruction, Operand, Program};

/// A sound program and the header of its file.
fn sound() -> (Program, Header) {
    static SOUND: OnceLock<(Program, Header)> = OnceLock::new();
    let made = SOUND.get_or_init(|| {
        let mut toy = Toy::new(SHAPE);
        let file = toy.file();
        (toy.builder.program, Header::decode(&file).unwrap())
    });
    made.clone()
}

fn fault(change: impl FnOnce(&mut Program)) -> String {
    let (mut program, header) = sound();
    change(&mut program);
    let error = verify(program, &header).err().expect("the program is refused");
    assert!(matches!(error.kind, ErrorKind::InvalidFile | ErrorKind::Unsupported), "{error}");
    assert!(!error.to_string().contains('\n'));
    error.to_string()
}

fn check(expected: &str, change: impl FnOnce(&mut Program)) {
    let message = fault(change);
    assert!(message.contains(expected), "expected: {expected}\n     got: {message}");
}

/// The first instruction of this kernel.
fn first<'a>(program: &'a mut Program, kernel: &str) -> &'a mut Instruction {
    let kernel = program.kernels.iter().position(|name| name == kernel).unwrap() as u16;
    program.instructions.iter_mut().find(|instruction| instruction.kernel == kernel).unwrap()
}

fn buffer(program: &Program, name: &str) -> usize {
    program.buffers.iter().position(|buffer| buffer.name == name).unwrap()
}

#[test]
fn a_sound_program_passes_and_reads_back_as_written() {
    let mut toy = Toy::new(SHAPE);
    let file = toy.file();
    let verified = tcrt::program::read(&file).unwrap();
    assert_eq!(*verified.program(), toy.builder.program);
    assert_eq!(verified.ops().len(), toy.builder.program.instructions.len());
}

#[test]
fn a_newer_file_is_read_and_what_is_not_known_of_it_is_put_down_to_its_age() {
    let mut file = Toy::new(SHAPE).file();
    let refused = |file: &[u8]| tcrt::program::read(file).err().map(|error| (error.kind, error.to_string()));
    let newer = (MINOR + 1).to_le_bytes();
    let versions = format!("the file has format {MAJOR}.{}; this runtime, which knows {MAJOR}.{MINOR}", MINOR + 1);
    file[10..12].copy_from_slice(&newer);
    assert_eq!(refused(&file), None);
    let name = file.windows(8).position(|bytes| bytes == b"rms_norm").expect("a kernel of the toy");
    file[name..name + 8].copy_from_slice(b"new_norm");
    let (kind, message) = refused(&file).expect("a kernel that is not known");
    assert!(kind == ErrorKind::Unsupported && message.contains("new_norm") && message.contains(&versions), "{message}");
    file[10..12].copy_from_slice(&MINOR.to_le_bytes());
    let (_, message) = refused(&file).expect("a kernel that is not known");
    assert!(message.contains("new_norm") && !message.contains("the file has format"), "{message}");
}

#[test]
fn sizes() {
    check("vocab: 0 is not between", |p| p.vocab = 0);
    check("vocab: 4294967295 is not between", |p| p.vocab = u32::MAX);
    check("max_positions: 0 ", |p| p.max_positions = 0);
    check("cache.layers: 0 ", |p| p.cache.layers = 0);
    check("cache: 4096 layers of 4096 heads of 16777216 are too large", |p| {
        (p.cache.layers, p.cache.kv_heads, p.cache.head_dim) = (4096, 4096, 1 << 24);
    });
    check("token_arena: ", |p| p.token_arena = u64::MAX);
}

#[test]
fn segments() {
    check("weights_segment: offset 16385 is not a multiple of 16384", |p| p.weights_segment.offset += 1);
    check("run past the file's", |p| p.weights_segment.size += 1);
    check("run past the file's", |p| p.weights_segment.offset = u64::MAX - 16383);
    check("chat_segment: overlaps the weights_segment", |p| {
        (p.chat_segment.offset, p.chat_segment.size) = (p.weights_segment.offset, 1);
    });
    check("chat_segment: overlaps the header", |p| p.chat_segment.size = 1);
    let (program, mut header) = sound();
    header.program_size = program.weights_segment.offset;
    let error = verify(program, &header).err().unwrap().to_string();
    assert_eq!(error, "weights_segment: overlaps the program");
    assert_eq!(header.program_offset, HEADER_BYTES as u64);
}

#[test]
fn weights() {
    check("weights[0] (embedding): rows: 0 is not between", |p| p.weights[0].rows = 0);
    check("weights[0] (embedding): 6144 bytes, but 49 x 24 in f32 take 8192", |p| p.weights[0].rows = 49);
    check("weights[0] (embedding): 6145 bytes, but 43 x 24 in f32 take 6144", |p| p.weights[0].size = 6145);
    check("misaligned or outside the weights segment", |p| p.weights[3].offset += 1);
    check("misaligned or outside the weights segment", |p| p.weights[3].offset = 1 << 40);
    check("misaligned or outside the weights segment", |p| p.weights[3].offset = u64::MAX - 63);
    check("weights[2] (attention_norm): overlaps weights[0]", |p| p.weights[2].offset = 64);
    check("a vector with 2 columns", |p| p.weights[1].cols = 2);
    check("group 32 on a weight of kind f32", |p| p.weights[0].group = 32);
    let kind = tcrt::program::WeightKind::Matrix(tc_kernels::layout::Kind::I8);
    for group in [0, 33] {
        check(&format!("group {group} is not a multiple of 32"), |p| {
            (p.weights[0].kind, p.weights[0].group) = (kind, group)
        });
    }
    check("weights[0] (a\\nb): ", |p| (p.weights[0].name, p.weights[0].rows) = ("a\nb".into(), 0));
}

#[test]
fn buffers() {
    check("buffers[0] (x): width: 0 is not between", |p| p.buffers[0].width = 0);
    check("buffers[0] (x): stride 96, but a row of 24 in f32 takes 128", |p| p.buffers[0].stride = 96);
    check("buffers[0] (x): stride 192, but a row of 24 in q8x2 takes 128", |p| {
        (p.buffers[0].kind, p.buffers[0].stride) = (tcrt::program::BufferKind::Q8x2, 192);
    });
    check("misaligned or outside the arena's", |p| p.buffers[0].offset = 32);
    check("misaligned or outside the arena's", |p| p.buffers[0].offset = p.token_arena);
    check("misaligned or outside the arena's", |p| p.buffers[0].offset = u64::MAX - 63);
    check("logits: there is no buffer 99", |p| p.logits = 99);
    check("logits: buffer 0 is not f32 rows of 43 values", |p| p.logits = 0);
    check("is not f32 rows of 48 values", |p| p.vocab = 48);
}

#[test]
fn operands() {
    check("instructions[0]: there is no kernel 900", |p| p.instructions[0].kernel = 900);
    check("instructions[0] (conv2d): this runtime has no kernel 'conv2d'", |p| p.kernels[0] = "conv2d".into());
    check("instructions[0] (embed): 1 operands, but the kernel takes 2", |p| p.instructions[0].operands.truncate(1));
    check("2 ints, but the kernel takes 0", |p| p.instructions[0].ints = vec![1, 2]);
    check("0 floats, but the kernel takes 1", |p| p.instructions[0].floats.clear());
    check("table is not a matrix", |p| p.instructions[0].operands[0] = Operand::Weight(1));
    check("table is not a matrix", |p| p.instructions[0].operands[0] = Operand::Weight(9999));
    check("table is not a matrix", |p| p.instructions[0].operands[0] = Operand::Buffer(0));
    check("y is not a buffer of f32 rows", |p| p.instructions[0].operands[1] = Operand::None);
    check("y is not a buffer of f32 rows", |p| p.instructions[0].operands[1] = Operand::Buffer(u32::MAX));
    check("scale: NaN is not finite", |p| p.instructions[0].floats[0] = f32::NAN);
    check("original: -1 is out of range", |p| first(p, "rope_table").ints[0] = -1);
    check("window: 4294967296 is out of range", |p| first(p, "attention").ints[4] = 1 << 32);
}

#[test]
fn shapes() {
    check("the table's rows is 43, less than vocab, 44", |p| {
        p.vocab = 44;
        let logits = p.logits as usize;
        p.buffers[logits].width = 44;
    });
    check("(embed): y's width is 6, but the table's columns is 24", |p| {
        p.instructions[0].operands[1] = Operand::Buffer(buffer(p, "angles") as u32);
    });
    check("(rope_table): y's width is 24", |p| first(p, "rope_table").operands[1] = Operand::Buffer(0));
    check("(rms_norm): w's length is 6, but x's width is 24", |p| {
        let q_norm = p.weights.iter().position(|weight| weight.name == "q_norm").unwrap() as u32;
        first(p, "rms_norm").operands[1] = Operand::Weight(q_norm);
    });
    check("(linear): x's width is 48, but w's columns is 24", |p| {
        first(p, "linear").operands[0] = Operand::Buffer(buffer(p, "qkv") as u32);
    });
    check("(linear): y's width is 24, less than w's rows, 48", |p| {
        first(p, "linear").operands[4] = Operand::Buffer(buffer(p, "mixed") as u32);
    });
    check("(linear): bias's length is 24, but w's rows is 48", |p| {
        let norm = p.weights.iter().position(|weight| weight.name == "attention_norm").unwrap() as u32;
        first(p, "linear").operands[2] = Operand::Weight(norm);
    });
    check("(linear): residual's width is 24, but y's width is 48", |p| {
        first(p, "linear").operands[3] = Operand::Buffer(0)
    });
    check("(swiglu): x's width is 48, but twice y's width is 80", |p| {
        first(p, "swiglu").operands[0] = Operand::Buffer(buffer(p, "qkv") as u32);
    });
    check("(gather_rows): y is not over rows", |p| {
        first(p, "gather_rows").operands[1] = Operand::Buffer(buffer(p, "normed") as u32);
    });
    check("some of its buffers are over rows, some over tokens", |p| {
        let last = p.instructions.len() - 3;
        p.instructions[last].operands[2] = Operand::Buffer(buffer(p, "normed") as u32);
    });
    check("(swiglu): some of its buffers are over rows, some over tokens", |p| {
        let act = buffer(p, "act");
        p.buffers[act].over_rows = true;
        p.buffers[act].offset = 0;
    });
}

#[test]
fn heads() {
    check("(rope_kv): kv_heads is 4, but the cache's is 2", |p| first(p, "rope_kv").ints[1] = 4);
    check("(rope_kv): head_dim is 8, but the cache's is 6", |p| first(p, "rope_kv").ints[2] = 8);
    check("(rope_kv): layer 2, but the cache has 2", |p| first(p, "rope_kv").ints[3] = 2);
    check("(attention): 3 heads cannot share 2 kv_heads", |p| first(p, "attention").ints[0] = 3);
    check("(attention): 0 heads cannot share", |p| first(p, "attention").ints[0] = 0);
    check("(attention): q's width is 24, but heads * head_dim is 36", |p| first(p, "attention").ints[0] = 6);
    check("(rope_kv): qkv's width is 48, but (heads + 2 kv_heads) * head_dim is 60", |p| {
        first(p, "rope_kv").ints[0] = 6
    });
    check("(rope_kv): head_dim 3 is odd", |p| {
        p.cache.head_dim = 3;
        first(p, "rope_kv").ints[2] = 3;
    });
    check("(rope_kv): q_norm's length is 24, but head_dim is 6", |p| {
        let norm = p.weights.iter().position(|weight| weight.name == "attention_norm").unwrap() as u32;
        first(p, "rope_kv").operands[2] = Operand::Weight(norm);
    });
}

#[test]
fn races() {
    check("(rms_norm): a barrier is missing: 'x' is touched by instructions[0] at the same time", |p| {
        p.instructions.iter_mut().for_each(|instruction| instruction.barrier = false);
    });
    // The first two instructions have nothing to do with each other.
    let (mut program, header) = sound();
    program.instructions[0].barrier = false;
    program.instructions[1].barrier = false;
    assert!(verify(program, &header).is_ok());
    // A result may not overwrite what others may still be reading.
    let down =
        |p: &Program| p.instructions.iter().position(|i| p.kernels[usize::from(i.kernel)] == "swiglu").unwrap() + 1;
    check("a barrier is missing: 'act'", |p| {
        let at = down(p);
        p.instructions[at].barrier = false;
    });
    check("(attention): a barrier is missing: 'q' is touched", |p| first(p, "attention").barrier = false);
    check("(attention): a barrier is missing: 'layer 0 of the cache' is touched", |p| {
        // As if attention read something that rope_kv does not write.
        let mixed = Operand::Buffer(buffer(p, "mixed") as u32);
        let angles = Operand::Buffer(buffer(p, "normed") as u32);
        let q = first(p, "attention").operands[0];
        assert_ne!(q, mixed);
        let attention = first(p, "attention");
        attention.operands[0] = angles;
        attention.barrier = false;
    });
    check("(attention): a barrier is missing: 'attention\\'s sums' is touched", |p| {
        // The same again, to a buffer of its own.
        let at = p.instructions.iter().position(|i| p.kernels[usize::from(i.kernel)] == "attention").unwrap();
        let (mut again, y) = (p.instructions[at].clone(), p.buffers[buffer(p, "mixed")].clone());
        again.operands[1] = Operand::Buffer(p.buffers.len() as u32);
        again.barrier = false;
        p.buffers.push(tcrt::program::Buffer { name: "more".into(), offset: p.token_arena, ..y });
        p.token_arena += u64::from(p.buffers[p.buffers.len() - 1].stride);
        p.instructions.insert(at + 1, again);
    });
    check("layer 0 of the cache is read before anything was written to it", |p| {
        first(p, "rope_kv").ints[3] = 1;
    });
}

#[test]
fn places_that_are_lost() {
    check("(rms_norm): 'x' is read before anything was written to it", |p| drop(p.instructions.remove(0)));
    check("(rope_kv): 'angles' is read after instructions[2] wrote over it", |p| {
        let (normed, angles) = (buffer(p, "normed"), buffer(p, "angles"));
        p.buffers[angles].offset = p.buffers[normed].offset;
    });
    check("logits: 'logits' is read before anything was written to it", |p| drop(p.instructions.pop()));
    check("(linear): writes 'qkv' over 'normed', which it reads", |p| {
        let (normed, qkv) = (buffer(p, "normed"), buffer(p, "qkv"));
        p.buffers[normed].offset = p.buffers[qkv].offset + 64;
    });
    check("(swiglu): writes 'act' over 'gate_up', which it reads", |p| {
        let (act, gate_up) = (buffer(p, "act"), buffer(p, "gate_up"));
        p.buffers[act].offset = p.buffers[gate_up].offset;
    });
}
