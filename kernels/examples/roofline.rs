//! Times the matrix kernels against the machine: `cargo run --release -p tc-kernels --example roofline -- [KERNEL] [KIND] [TIER]`.
//!
//! For one token the figure to look at is GB/s of weights, beside the memory's read bandwidth; for many tokens it is
//! GOP/s (two operations for each multiply-add). `cache` repeats one matrix, `memory` goes through 256 MB of them.

#![allow(unsafe_code, reason = "kernels are called through their ABI")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use common::{Aligned, Noise, Packed, call_of};
use tc_kernels::abi::{LinearArgs, Over, QuantizeArgs};
use tc_kernels::layout::{Kind, matrix_bytes, padded_width, q8_row_bytes};
use tc_kernels::table::{Chosen, Features, Tier, select};

const SHAPES: [(usize, usize); 3] = [(1536, 576), (8192, 2048), (14336, 4096)];
const TOKENS: [usize; 4] = [1, 4, 8, 128];
const KINDS: [(&str, Kind, usize); 6] = [
    ("linear_q8", Kind::I4, 32),
    ("linear_q8", Kind::I4Min, 32),
    ("linear_q8", Kind::I8, 32),
    ("linear", Kind::I4, 32),
    ("linear", Kind::F16, 0),
    ("linear", Kind::F32, 0),
];
const ROUNDS: usize = 15;
/// More than any cache.
const STREAM: usize = 256 << 20;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let features = match wanted.get(2).map(|name| Tier::from_name(name).expect("a tier")) {
        Some(tier) => Features::detect().limited_to(tier),
        None => Features::detect(),
    };
    println!("cpu: {}, used: {features}", Features::detect());
    for threads in [1, 2] {
        println!("read bandwidth, {threads} threads: {:.1} GB/s", read_bandwidth(threads));
    }
    println!("kernel    variant weights  rows x cols    tokens thr  cache GB/s  GOP/s   memory GB/s");
    for (name, kind, group) in KINDS {
        if wanted.first().is_some_and(|n| n != name) || wanted.get(1).is_some_and(|k| k != kind.name()) {
            continue;
        }
        let kernel = select(name, features).expect("a kernel of the table");
        for (rows, cols) in SHAPES {
            for n in TOKENS {
                for threads in [1, 2] {
                    line(&kernel, kind, group, (rows, cols), n, threads);
                }
            }
        }
    }
}

fn line(kernel: &Chosen, kind: Kind, group: usize, (rows, cols): (usize, usize), n: usize, threads: usize) {
    let bytes = matrix_bytes(kind, rows, cols, group);
    let w = Packed::noise(kind, group, rows.min(512), cols, &mut Noise(1)).repeated(rows);
    let cached = [w];
    let seconds = time_linear(kernel, &cached, n, threads);
    let operations = 2.0 * (rows * cols * n) as f64;
    print!(
        "{:9} {:7} {:7} {rows:6} x {cols:5} {n:8} {threads:3} {:10.1} {:8.1}",
        kernel.kernel,
        kernel.variant,
        kind.name(),
        bytes as f64 / seconds / 1e9,
        operations / seconds / 1e9,
    );
    if n == 1 {
        let many: Vec<Packed> = (0..STREAM.div_ceil(bytes)).map(|_| cached[0].clone()).collect();
        print!("{:13.1}", bytes as f64 / time_linear(kernel, &many, n, threads) / 1e9);
    }
    println!();
}

/// Seconds for one matrix.
fn time_linear(kernel: &Chosen, matrices: &[Packed], n: usize, threads: usize) -> f64 {
    let (rows, cols) = (matrices[0].rows, matrices[0].cols);
    let (x, x_stride) = inputs(kernel.kernel, cols, n);
    let mut y = Aligned::new(4 * n * padded_width(rows));
    let (x_at, y_at) = (x.ptr() as usize, y.mut_ptr() as usize);
    let work = |thread: usize, turns: usize| {
        for turn in 0..turns {
            let args = LinearArgs {
                w: matrices[turn % matrices.len()].matrix(),
                x: x_at as *const u8,
                bias: core::ptr::null(),
                residual: core::ptr::null(),
                y: y_at as *mut f32,
                x_stride: x_stride as u32,
                y_stride: padded_width(rows) as u32,
                alpha: 1.0,
                over: Over::Tokens as u32,
            };
            let call = call_of(n);
            let tasks = (rows / 16) as u32;
            let (begin, end) = (tasks * thread as u32 / threads as u32, tasks * (thread as u32 + 1) / threads as u32);
            // SAFETY: buffers are as large as the shapes say, and threads take different tasks.
            unsafe { (kernel.run)((&raw const args).cast(), &call, begin, end) };
        }
    };
    best_seconds(threads, matrices.len(), work)
}

fn inputs(name: &str, cols: usize, n: usize) -> (Aligned, usize) {
    let mut noise = Noise(2);
    let floats = Aligned::rows(&(0..n).map(|_| noise.values(cols)).collect::<Vec<_>>(), padded_width(cols));
    if name == "linear" {
        return (floats, 4 * padded_width(cols));
    }
    let mut q8 = Aligned::new(n * q8_row_bytes(cols));
    let args = QuantizeArgs {
        x: floats.ptr().cast(),
        y: q8.mut_ptr(),
        x_stride: padded_width(cols) as u32,
        y_stride: q8_row_bytes(cols) as u32,
        dim: cols as u32,
        over: Over::Tokens as u32,
    };
    // SAFETY: buffers are as large as the shapes say.
    unsafe { common::run(&common::scalar("quantize_q8"), &args, &call_of(n)) };
    (q8, q8_row_bytes(cols))
}

/// Seconds of one turn, all threads together: the best of `ROUNDS` rounds, for others use this machine too.
fn best_seconds(threads: usize, least_turns: usize, work: impl Fn(usize, usize) + Sync) -> f64 {
    let round = |turns: usize| {
        let barrier = Barrier::new(threads);
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|thread| {
                    let (work, barrier) = (&work, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        let begin = Instant::now();
                        work(thread, turns);
                        begin.elapsed()
                    })
                })
                .collect();
            handles.into_iter().map(|h| h.join().unwrap_or(Duration::ZERO)).max().unwrap_or_default().as_secs_f64()
        })
    };
    let once = round(least_turns) / least_turns as f64;
    let turns = ((0.002 / once) as usize).max(least_turns);
    (0..ROUNDS).map(|_| round(turns) / turns as f64).fold(once, f64::min)
}

fn read_bandwidth(threads: usize) -> f64 {
    let data = vec![1u64; STREAM / 8];
    let part = data.len() / threads;
    let seconds = best_seconds(threads, 1, |thread, turns| {
        for _ in 0..turns {
            let mut sums = [0u64; 16];
            for chunk in data[thread * part..][..part].as_chunks::<16>().0 {
                for (sum, value) in sums.iter_mut().zip(chunk) {
                    *sum = sum.wrapping_add(*value);
                }
            }
            std::hint::black_box(sums);
        }
    });
    STREAM as f64 / seconds / 1e9
}
