//! `include/tcrt_model.h` in Rust: what an artifact and the runtime see of each other. Compilers fill these structs by their
//! offsets, so they are never constructed from here but for the context.

use crate::exec::Round;
use std::ffi::{c_char, c_void};
use tc_kernels::abi::{Call, Run, Tasks};

pub const MAGIC: [u8; 8] = *b"TCRTMOD\0";
pub const MAJOR: u16 = 1;
pub const MINOR: u16 = 3;
/// The object that an artifact exports.
pub const SYMBOL: &str = "tcrt_model_descriptor";

pub const NOTE_OWNER: &[u8] = b"TCRT\0";
pub const NOTE_TYPE: u32 = 1;
/// Bytes of the note's descriptor.
pub const NOTE_BYTES: usize = 8;

pub const WEIGHTS_MAGIC: [u8; 8] = *b"TCRTWGT\0";
/// Where the weights begin in a file of their own.
pub const WEIGHTS_OFFSET: u64 = 16384;
pub const WEIGHTS_HEADER_BYTES: usize = 40;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    pub data: *const c_char,
    pub size: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes {
    pub data: *const c_void,
    pub size: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pair {
    pub key: Text,
    pub value: Text,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Need {
    pub name: Text,
    pub args_size: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Weights {
    pub data: *const u8,
    pub size: u64,
    pub id: [u8; 16],
    pub file: Text,
}

pub type Prepare = unsafe extern "C" fn(context: *const Context, state: *mut c_void, thread: u32);
pub type Entry = unsafe extern "C" fn(context: *const Context, worker: *const Worker, call: *const Call) -> u64;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Descriptor {
    pub magic: [u8; 8],
    pub major: u16,
    pub minor: u16,
    pub size: u32,
    pub call_size: u32,
    pub kernel_count: u32,
    pub kernels: *const Need,
    pub metadata: *const Pair,
    pub metadata_count: u64,
    pub vocab: u32,
    pub max_positions: u32,
    pub layers: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub instruction_count: u32,
    pub weight_count: u32,
    pub stop_token_count: u32,
    pub stop_tokens: *const u32,
    pub tokenizer: Bytes,
    pub chat: Bytes,
    pub weights: Weights,
    pub token_arena: u64,
    pub row_arena: u64,
    pub logits_offset: u64,
    pub logits_stride: u32,
    pub steps: u32,
    pub state_size: u64,
    pub prepare: Option<Prepare>,
    pub run: Option<Entry>,
    pub run_one: Option<Entry>,
    // Since 1.1.
    pub hidden_offset: u64,
    pub hidden_stride: u32,
    pub hidden_width: u32,
    pub hidden_kind: u32,
    // Since 1.3.
    pub heads: u32,
}

impl Descriptor {
    /// What a descriptor of version 1.0 has.
    pub const LEAST_BYTES: usize = std::mem::offset_of!(Descriptor, hidden_offset);
}

pub const HIDDEN_F32: u32 = 0;
pub const HIDDEN_Q8: u32 = 1;
pub const HIDDEN_Q8X2: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Kernel {
    pub run: Run,
    pub tasks: Tasks,
}

/// No task is left to take.
pub const NONE: u32 = u32::MAX;

/// One thread in one call.
#[repr(C)]
pub struct Worker {
    pub state: *mut c_void,
    pub thread: u32,
    pub _unused: u32,
    /// The runtime's own.
    pub round: Round,
}

#[repr(C)]
pub struct Context {
    pub kernels: *const Kernel,
    pub weights: *const u8,
    pub tokens_arena: *mut u8,
    pub rows_arena: *mut u8,
    pub max_tokens: u32,
    pub max_rows: u32,
    pub threads: u32,
    pub _unused: u32,
    pub take: unsafe extern "C" fn(*const Context, *const Worker, step: u32, tasks: u32, portion: u32) -> u32,
    pub done: unsafe extern "C" fn(*const Context, *const Worker, tasks: u32, upto: u64),
    pub wait: unsafe extern "C" fn(*const Context, *const Worker, upto: u64),
}
