//! Times the kernels that stand between the matrix products, for one token of SmolLM2-135M on one thread:
//! `cargo run --release -p tc-kernels --example between`.

#![allow(unsafe_code, reason = "kernels are called through their ABI")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use common::{Aligned, Noise, Packed, call_of, run};
use tc_kernels::abi::{
    AttentionArgs, Call, EmbedArgs, KV_BLOCK, NormArgs, Over, RopeKvArgs, RopeTableArgs, SwigluArgs,
};
use tc_kernels::layout::{Kind, q8_row_bytes};
use tc_kernels::table::{Features, select};

const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const HEAD_DIM: usize = 64;
const DIM: usize = HEADS * HEAD_DIM;
const FFN: usize = 1536;

fn main() {
    println!("cpu: {}", Features::detect());
    let mut noise = Noise(1);
    let x = Aligned::rows(&[noise.values(2 * FFN)], 2 * FFN);
    let w = noise.values(DIM);
    let mut y = Aligned::new(4 * 2 * FFN);
    norm_and_swiglu(&x, &w, &mut y);
    embed_and_angles(&mut y, &mut noise);
    for length in [1, 128, 512, 4096] {
        for f16 in [true, false] {
            cached(&x, &mut y, length, f16, &mut noise);
        }
    }
    for length in [128, 512, 4096] {
        prompt(length, &mut noise);
    }
}

fn norm_and_swiglu(x: &Aligned, w: &[f32], y: &mut Aligned) {
    let norm = NormArgs {
        x: x.ptr().cast(),
        w: w.as_ptr(),
        y: y.mut_ptr(),
        x_stride: DIM as u32,
        y_stride: q8_row_bytes(DIM) as u32,
        dim: DIM as u32,
        eps: 1e-5,
        over: Over::Tokens as u32,
    };
    time("rms_norm_q8", "576", &norm, &call_of(1));
    let swiglu = SwigluArgs {
        x: x.ptr().cast(),
        y: y.mut_ptr(),
        x_stride: 2 * FFN as u32,
        y_stride: q8_row_bytes(FFN) as u32,
        dim: FFN as u32,
        over: Over::Tokens as u32,
    };
    time("swiglu_q8", "1536", &swiglu, &call_of(1));
}

fn embed_and_angles(y: &mut Aligned, noise: &mut Noise) {
    let (token, position) = (3u32, 1000u32);
    let call = Call { tokens: &raw const token, positions: &raw const position, ..call_of(1) };
    let table = Packed::noise(Kind::I8, 32, 16, DIM, noise);
    let embed = EmbedArgs { table: table.matrix(), y: y.mut_ptr().cast(), y_stride: DIM as u32, scale: 1.0 };
    time("embed", "576 i8", &embed, &call);
    let inv_freq = noise.values(HEAD_DIM / 2);
    let angles = RopeTableArgs {
        inv_freq: inv_freq.as_ptr(),
        y: y.mut_ptr().cast(),
        y_stride: HEAD_DIM as u32,
        half: HEAD_DIM as u32 / 2,
        magnitude: 1.0,
        theta: 1e4,
        dynamic_factor: 0.0,
        original: 0,
    };
    time("rope_table", "64", &angles, &call);
}

/// `rope_kv` and `attention` at the end of a sequence of `length`.
fn cached(x: &Aligned, y: &mut Aligned, length: usize, f16: bool, noise: &mut Noise) {
    let block_bytes = 2 * KV_HEADS * KV_BLOCK * HEAD_DIM * if f16 { 2 } else { 4 };
    let blocks = length.div_ceil(KV_BLOCK);
    let mut pool = Aligned::new(blocks * block_bytes);
    pool.bytes_mut().fill(0x2c);
    let tables: Vec<u32> = (0..blocks as u32).collect();
    let (position, sequence) = (length as u32 - 1, 0u32);
    let call = Call {
        positions: &raw const position,
        sequences: &raw const sequence,
        kv: pool.mut_ptr(),
        kv_block_bytes: block_bytes,
        tables: tables.as_ptr(),
        table_stride: blocks as u32,
        kv_dtype: u32::from(f16),
        ..call_of(1)
    };
    let what = format!("{length} {}", if f16 { "f16" } else { "f32" });
    let angles = noise.values(HEAD_DIM);
    let rope = RopeKvArgs {
        qkv: x.ptr().cast(),
        table: angles.as_ptr(),
        q_norm: core::ptr::null(),
        k_norm: core::ptr::null(),
        q_out: y.mut_ptr().cast(),
        qkv_stride: 0,
        table_stride: 0,
        q_stride: DIM as u32,
        heads: HEADS as u32,
        kv_heads: KV_HEADS as u32,
        head_dim: HEAD_DIM as u32,
        layer: 0,
        eps: 0.0,
    };
    time("rope_kv", &what, &rope, &call);
    let attention = AttentionArgs {
        q: x.ptr().cast(),
        y: y.mut_ptr().cast(),
        q_stride: DIM as u32,
        y_stride: DIM as u32,
        heads: HEADS as u32,
        kv_heads: KV_HEADS as u32,
        head_dim: HEAD_DIM as u32,
        layer: 0,
        window: 0,
        scale: 0.125,
    };
    time("attention", &what, &attention, &call);
}

/// A prompt's last tokens at the end of `length`, one at a time and all in one range of tasks.
fn prompt(length: usize, noise: &mut Noise) {
    const TOKENS: usize = 32;
    let block_bytes = 2 * KV_HEADS * KV_BLOCK * HEAD_DIM * 2;
    let blocks = length.div_ceil(KV_BLOCK);
    let mut pool = Aligned::new(blocks * block_bytes);
    pool.bytes_mut().fill(0x2c);
    let tables: Vec<u32> = (0..blocks as u32).collect();
    let positions: Vec<u32> = (length as u32 - TOKENS as u32..length as u32).collect();
    let sequences = [0u32; TOKENS];
    let call = Call {
        positions: positions.as_ptr(),
        sequences: sequences.as_ptr(),
        kv: pool.mut_ptr(),
        kv_block_bytes: block_bytes,
        tables: tables.as_ptr(),
        table_stride: blocks as u32,
        kv_dtype: 1,
        ..call_of(TOKENS)
    };
    let q = Aligned::rows(&(0..TOKENS).map(|_| noise.values(DIM)).collect::<Vec<_>>(), DIM);
    let mut y = Aligned::new(4 * TOKENS * DIM);
    let args = AttentionArgs {
        q: q.ptr().cast(),
        y: y.mut_ptr().cast(),
        q_stride: DIM as u32,
        y_stride: DIM as u32,
        heads: HEADS as u32,
        kv_heads: KV_HEADS as u32,
        head_dim: HEAD_DIM as u32,
        layer: 0,
        window: 0,
        scale: 0.125,
    };
    let kernel = select("attention", Features::detect()).expect("a kernel of the table");
    let tasks = (TOKENS * KV_HEADS) as u32;
    for (what, step) in [("one by one", KV_HEADS as u32), ("together", tasks)] {
        let round = || {
            let begin = Instant::now();
            for first in (0..tasks).step_by(step as usize) {
                // SAFETY: buffers are as large as the shapes say.
                unsafe { (kernel.run)((&raw const args).cast(), &call, first, first + step) };
            }
            begin.elapsed().as_nanos() as f64 / TOKENS as f64
        };
        let best = (0..10).map(|_| round()).fold(f64::INFINITY, f64::min);
        println!("attention    {length} f16, {TOKENS} tokens {what:10} {best:10.0} ns a token");
    }
}

/// The best of 20 rounds, for others use this machine too.
fn time<A>(name: &str, what: &str, args: &A, call: &Call) {
    for features in [Features::NONE, Features::detect()] {
        let kernel = select(name, features).expect("a kernel of the table");
        let round = || {
            let begin = Instant::now();
            for _ in 0..20 {
                // SAFETY: buffers are as large as the shapes say.
                unsafe { run(&kernel, args, call) };
            }
            begin.elapsed().as_nanos() as f64 / 20.0
        };
        let best = (0..20).map(|_| round()).fold(f64::INFINITY, f64::min);
        println!("{name:12} {what:10} {:8} {best:10.0} ns", kernel.variant);
    }
}
