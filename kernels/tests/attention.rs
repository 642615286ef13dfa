//! `rope_kv` and `attention` over a paged cache of several sequences, against the scalar reference and against f64.

#![allow(unsafe_code, reason = "kernels are called through their ABI")]

mod common;

use common::{Aligned, Noise, assert_close, call_of, each_variant, run, scalar};
use tc_kernels::abi::{AttentionArgs, Call, KV_BLOCK, KV_TILE, KvType, RopeKvArgs};
use tc_kernels::cut;
use tc_kernels::half::f16_to_f32;
use tc_kernels::layout::padded_width;
use tc_kernels::table::{Chosen, Features, Tier, select};

#[derive(Clone, Copy, Debug)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    window: usize,
    kv: KvType,
    norms: bool,
}

const LAYERS: usize = 2;
const LAYER: usize = 1;
/// Block tables of three sequences: blocks of the pool in no order, shared by none.
const TABLES: [[u32; 6]; 3] = [[5, 0, 9, 11, 13, 17], [3, 8, 1, 10, 12, 15], [7, 2, 6, 4, 16, 14]];
const BLOCKS: usize = 18;

/// The cache that both kernels work on.
struct Cache {
    pool: Aligned,
    block_bytes: usize,
}

impl Cache {
    fn new(shape: &Shape) -> Cache {
        let block_bytes = LAYERS * 2 * shape.kv_heads * shape.kv.head_bytes(shape.head_dim);
        Cache { pool: Aligned::new(BLOCKS * block_bytes), block_bytes }
    }

    fn call(&mut self, tokens: &Tokens, shape: &Shape) -> Call {
        Call {
            positions: tokens.positions.as_ptr(),
            sequences: tokens.sequences.as_ptr(),
            kv: self.pool.mut_ptr(),
            kv_block_bytes: self.block_bytes,
            tables: TABLES.as_ptr().cast(),
            table_stride: TABLES[0].len() as u32,
            kv_dtype: shape.kv as u32,
            ..call_of(tokens.positions.len())
        }
    }

    /// Element `i` of K (`part` 0) or V (1) as the ABI places it.
    fn get(&self, shape: &Shape, part: usize, head: usize, sequence: usize, position: usize, i: usize) -> f32 {
        let block = TABLES[sequence][position / KV_BLOCK] as usize;
        let head = ((LAYER * 2 + part) * shape.kv_heads + head) * shape.kv.head_bytes(shape.head_dim);
        let bytes = &self.pool.bytes()[block * self.block_bytes + head..][..shape.kv.head_bytes(shape.head_dim)];
        let p = position % KV_BLOCK;
        let key = (p / KV_TILE * shape.head_dim + i) * KV_TILE + p % KV_TILE;
        let at = if part == 0 { key } else { p * shape.head_dim + i };
        let float = |at: usize| f32::from_le_bytes(bytes.as_chunks().0[at]);
        match shape.kv {
            KvType::F32 => float(at),
            KvType::F16 => f16_to_f32(u16::from_le_bytes(bytes.as_chunks().0[at])),
            KvType::I8 => f32::from(bytes[at] as i8) * float(KV_BLOCK * shape.head_dim / 4 + p),
        }
    }
}

struct Tokens {
    positions: Vec<u32>,
    sequences: Vec<u32>,
}

/// Sequences of 330, 1 and 65 tokens, interleaved: more than a segment, least, and more than a block.
fn all_tokens() -> Tokens {
    let lengths = [330u32, 1, 65];
    let mut tokens = Tokens { positions: vec![], sequences: vec![] };
    for position in 0..330 {
        for (sequence, _) in lengths.iter().enumerate().filter(|(_, length)| position < **length) {
            tokens.positions.push(position);
            tokens.sequences.push(sequence as u32);
        }
    }
    tokens
}

struct Inputs {
    qkv: Aligned,
    angles: Aligned,
    norm: Vec<f32>,
}

fn inputs(shape: &Shape, tokens: &Tokens) -> Inputs {
    let mut noise = Noise(shape.head_dim as u64);
    let width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    let rows: Vec<Vec<f32>> = tokens.positions.iter().map(|_| noise.values(width)).collect();
    let angle_rows: Vec<Vec<f32>> = tokens
        .positions
        .iter()
        .map(|p| {
            let angle = |i: usize| *p as f32 * 10_000f32.powf(-2.0 * i as f32 / shape.head_dim as f32);
            let half = shape.head_dim / 2;
            (0..half).map(|i| angle(i).cos()).chain((0..half).map(|i| angle(i).sin())).collect()
        })
        .collect();
    Inputs {
        qkv: Aligned::rows(&rows, padded_width(width)),
        angles: Aligned::rows(&angle_rows, padded_width(shape.head_dim)),
        norm: noise.values(shape.head_dim),
    }
}

/// Writes the cache and returns q.
fn rope(kernel: &Chosen, shape: &Shape, tokens: &Tokens, inputs: &Inputs, cache: &mut Cache) -> Aligned {
    let stride = padded_width(shape.heads * shape.head_dim);
    let mut q = Aligned::new(4 * tokens.positions.len() * stride);
    let norm = if shape.norms { inputs.norm.as_ptr() } else { core::ptr::null() };
    let args = RopeKvArgs {
        qkv: inputs.qkv.ptr().cast(),
        table: inputs.angles.ptr().cast(),
        q_norm: norm,
        k_norm: norm,
        q_out: q.mut_ptr().cast(),
        qkv_stride: padded_width((shape.heads + 2 * shape.kv_heads) * shape.head_dim) as u32,
        table_stride: padded_width(shape.head_dim) as u32,
        q_stride: stride as u32,
        heads: shape.heads as u32,
        kv_heads: shape.kv_heads as u32,
        head_dim: shape.head_dim as u32,
        layer: LAYER as u32,
        eps: 1e-6,
    };
    let call = cache.call(tokens, shape);
    // SAFETY: buffers are as large as the shapes say.
    unsafe { run(kernel, &args, &call) };
    q
}

/// Attention of the tokens from `first` on.
fn attend(kernel: &Chosen, shape: &Shape, tokens: &Tokens, q: &Aligned, first: usize, cache: &mut Cache) -> Vec<f32> {
    let width = shape.heads * shape.head_dim;
    let stride = padded_width(width);
    let some = Tokens { positions: tokens.positions[first..].to_vec(), sequences: tokens.sequences[first..].to_vec() };
    let mut y = Aligned::new(4 * some.positions.len() * stride);
    let args = AttentionArgs {
        q: q.floats()[first * stride..].as_ptr(),
        y: y.mut_ptr().cast(),
        q_stride: stride as u32,
        y_stride: stride as u32,
        heads: shape.heads as u32,
        kv_heads: shape.kv_heads as u32,
        head_dim: shape.head_dim as u32,
        layer: LAYER as u32,
        window: shape.window as u32,
        scale: 1.0 / (shape.head_dim as f32).sqrt(),
    };
    let mut sums = Aligned::new(cut::bytes(shape.heads, shape.kv_heads, shape.head_dim, 330));
    let mut call = cache.call(&some, shape);
    if kernel.kernel == "attention_segments" {
        (call.seen, call.sums) = (some.positions[0] + 1, sums.mut_ptr());
    }
    let counters = shape.kv_heads.next_multiple_of(16);
    sums.floats_mut()[..counters].fill(0.0);
    // Twice: segments are counted anew each time, and what an earlier call has left of them is of no use.
    for _ in 0..2 {
        y.floats_mut().fill(f32::NAN);
        sums.floats_mut()[counters..].fill(f32::NAN);
        // SAFETY: buffers are as large as the shapes say.
        unsafe { run(kernel, &args, &call) };
        assert!(sums.floats()[..counters].iter().all(|count| *count == 0.0), "all are done, and none is counted");
    }
    y.floats().chunks(stride).take(some.positions.len()).flat_map(|row| row[..width].to_vec()).collect()
}

/// Every combination that reaches a path of its own: 1 to 8 heads on a KV head, head sizes with and without tails.
fn shapes() -> Vec<Shape> {
    let mut shapes = vec![];
    for (heads, kv_heads, head_dim) in
        [(9, 3, 64), (1, 1, 48), (4, 2, 8), (4, 1, 80), (5, 1, 128), (7, 1, 16), (20, 1, 32), (2, 1, 6), (2, 2, 20)]
    {
        for (window, kv, norms) in [
            (0, KvType::F32, false),
            (0, KvType::F16, true),
            (0, KvType::I8, true),
            (40, KvType::F16, false),
            (265, KvType::F32, true),
            (265, KvType::I8, false),
        ] {
            shapes.push(Shape { heads, kv_heads, head_dim, window, kv, norms });
        }
    }
    shapes
}

#[test]
fn rope_kv_against_scalar() {
    let tokens = all_tokens();
    each_variant("rope_kv", |kernel| {
        for shape in shapes() {
            let inputs = inputs(&shape, &tokens);
            let (mut cache, mut expected_cache) = (Cache::new(&shape), Cache::new(&shape));
            let q = rope(kernel, &shape, &tokens, &inputs, &mut cache);
            let expected = rope(&scalar("rope_kv"), &shape, &tokens, &inputs, &mut expected_cache);
            let (width, stride) = (shape.heads * shape.head_dim, padded_width(shape.heads * shape.head_dim));
            for (a, e) in q.floats().chunks(stride).zip(expected.floats().chunks(stride)) {
                assert_close(&a[..width], &e[..width], 4e-6, &format!("q of {shape:?}"));
            }
            // One unit in the last place of an f16 below 4; one step of the largest value there is over 127.
            let bound = match shape.kv {
                KvType::F32 => 4e-6,
                KvType::F16 => 0.002,
                KvType::I8 => 4.0 / 127.0,
            };
            for (&p, &s) in tokens.positions.iter().zip(&tokens.sequences) {
                for (part, head) in [(0, 0), (1, shape.kv_heads - 1)] {
                    for i in 0..shape.head_dim {
                        let value = |cache: &Cache| cache.get(&shape, part, head, s as usize, p as usize, i);
                        assert_close(&[value(&cache)], &[value(&expected_cache)], bound, &format!("{shape:?}"));
                    }
                }
            }
        }
    });
}

/// The formulas in f64, on the scalar kernels.
#[test]
fn scalar_attention_against_the_formula() {
    let tokens = all_tokens();
    for shape in shapes() {
        let inputs = inputs(&shape, &tokens);
        let mut cache = Cache::new(&shape);
        let q = rope(&scalar("rope_kv"), &shape, &tokens, &inputs, &mut cache);
        let y = attend(&scalar("attention"), &shape, &tokens, &q, 0, &mut cache);
        let (d, width) = (shape.head_dim, shape.heads * shape.head_dim);
        for t in (0..tokens.positions.len()).step_by(17) {
            let (position, sequence) = (tokens.positions[t] as usize, tokens.sequences[t] as usize);
            let begin = if shape.window > 0 { (position + 1).saturating_sub(shape.window) } else { 0 };
            for h in 0..shape.heads {
                let kv_head = h * shape.kv_heads / shape.heads;
                let q = &q.floats()[t * padded_width(width) + h * d..][..d];
                let cached = |part, p, i| f64::from(cache.get(&shape, part, kv_head, sequence, p, i));
                let weights: Vec<f64> = (begin..=position)
                    .map(|p| (0..d).map(|i| f64::from(q[i]) * cached(0, p, i)).sum::<f64>() / (d as f64).sqrt())
                    .map(f64::exp)
                    .collect();
                let total: f64 = weights.iter().sum();
                let expected: Vec<f32> = (0..d)
                    .map(|i| {
                        (weights.iter().zip(begin..).map(|(w, p)| w * cached(1, p, i)).sum::<f64>() / total) as f32
                    })
                    .collect();
                assert_close(&y[t * width + h * d..][..d], &expected, 4e-6, &format!("{shape:?} token {t} head {h}"));
            }
        }
    }
}

#[test]
fn attention_against_scalar() {
    let tokens = all_tokens();
    each_variant("attention", |kernel| {
        for shape in shapes() {
            let inputs = inputs(&shape, &tokens);
            let mut cache = Cache::new(&shape);
            let q = rope(&scalar("rope_kv"), &shape, &tokens, &inputs, &mut cache);
            let expected = attend(&scalar("attention"), &shape, &tokens, &q, 0, &mut cache);
            let actual = attend(kernel, &shape, &tokens, &q, 0, &mut cache);
            assert_close(&actual, &expected, 4e-6, &format!("{shape:?}"));
        }
    });
}

/// Segments of a context, whoever computes them, make what the whole does: to the bit, but for the scalar kernel, which sums a whole at once.
#[test]
fn attention_of_a_cut_context_is_that_of_a_whole_one() {
    let tokens = all_tokens();
    let last = tokens.positions.len() - 1;
    each_variant("attention_segments", |kernel| {
        let whole =
            select("attention", Features::detect().limited_to(Tier::from_name(kernel.variant).unwrap())).unwrap();
        for shape in shapes() {
            let inputs = inputs(&shape, &tokens);
            let mut cache = Cache::new(&shape);
            let q = rope(&scalar("rope_kv"), &shape, &tokens, &inputs, &mut cache);
            let mut attend = |kernel: &Chosen| attend(kernel, &shape, &tokens, &q, last, &mut cache);
            assert_close(
                &attend(&scalar("attention_segments")),
                &attend(&scalar("attention")),
                4e-6,
                &format!("{shape:?}"),
            );
            match shape.head_dim.is_multiple_of(16) {
                true => assert_eq!(attend(kernel), attend(&whole), "{} {shape:?}", kernel.variant),
                false => assert_close(&attend(kernel), &attend(&whole), 4e-6, &format!("{} {shape:?}", kernel.variant)),
            }
        }
    });
}

/// Prefill, decode and ragged batches must agree to the bit.
#[test]
fn a_token_alone_attends_as_in_a_batch() {
    let tokens = all_tokens();
    each_variant("attention", |kernel| {
        for shape in shapes() {
            let inputs = inputs(&shape, &tokens);
            let mut cache = Cache::new(&shape);
            let q = rope(&scalar("rope_kv"), &shape, &tokens, &inputs, &mut cache);
            let together = attend(kernel, &shape, &tokens, &q, 0, &mut cache);
            for first in [tokens.positions.len() - 1, tokens.positions.len() - 7, 160] {
                let alone = attend(kernel, &shape, &tokens, &q, first, &mut cache);
                assert_eq!(alone, &together[first * shape.heads * shape.head_dim..], "{shape:?} from {first}");
            }
        }
    });
}
