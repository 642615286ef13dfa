//! A toy Llama of odd widths, once as a program and once as plain loops.

use super::Random;
use super::build::Builder;
use tc_kernels::layout::Kind;
use tcrt::program::{BufferKind, Cache, Operand};

pub const EPS: f32 = 1e-5;

#[derive(Clone, Copy)]
pub struct Shape {
    pub vocab: usize,
    pub dim: usize,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub positions: usize,
    pub window: usize,
    /// Of int8 activations, which go with int8 weights; 0 for f32 ones.
    pub planes: usize,
}

pub const SHAPE: Shape = Shape {
    vocab: 43,
    dim: 24,
    hidden: 40,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    head_dim: 6,
    positions: 300,
    window: 0,
    planes: 0,
};

pub struct Layer {
    attention_norm: Vec<f32>,
    qkv: Vec<f32>,
    bias: Vec<f32>,
    q_norm: Vec<f32>,
    wo: Vec<f32>,
    ffn_norm: Vec<f32>,
    gate_up: Vec<f32>,
    down: Vec<f32>,
}

pub struct Toy {
    pub shape: Shape,
    embedding: Vec<f32>,
    inv_freq: Vec<f32>,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    head: Vec<f32>,
    pub builder: Builder,
}

impl Toy {
    pub fn new(shape: Shape) -> Toy {
        let mut random = Random(7);
        let mut values = |count: usize, scale: f32, add: f32| -> Vec<f32> {
            (0..count).map(|_| add + scale * random.float()).collect()
        };
        let Shape { dim, hidden, heads, kv_heads, head_dim, .. } = shape;
        let qkv = (heads + 2 * kv_heads) * head_dim;
        let layers = (0..shape.layers).map(|_| Layer {
            attention_norm: values(dim, 0.3, 1.0),
            qkv: values(qkv * dim, 0.4, 0.0),
            bias: values(qkv, 0.2, 0.0),
            q_norm: values(head_dim, 0.3, 1.0),
            wo: values(dim * heads * head_dim, 0.4, 0.0),
            ffn_norm: values(dim, 0.3, 1.0),
            gate_up: values(2 * hidden * dim, 0.4, 0.0),
            down: values(dim * hidden, 0.4, 0.0),
        });
        let layers = layers.collect();
        let cache = Cache { layers: shape.layers as u32, kv_heads: kv_heads as u32, head_dim: head_dim as u32 };
        let mut toy = Toy {
            shape,
            layers,
            embedding: values(shape.vocab * dim, 1.0, 0.0),
            inv_freq: (0..head_dim / 2).map(|i| 100f32.powf(-2.0 * i as f32 / head_dim as f32)).collect(),
            norm: values(dim, 0.3, 1.0),
            head: values(shape.vocab * dim, 0.6, 0.0),
            builder: Builder::new(shape.vocab as u32, shape.positions as u32, cache),
        };
        toy.build();
        toy
    }

    pub fn file(&mut self) -> Vec<u8> {
        self.builder.file()
    }

    fn build(&mut self) {
        let Shape { dim, hidden, heads, kv_heads, head_dim, window, planes, .. } = self.shape;
        let b = &mut self.builder;
        let (kind, group) = if planes > 0 { (Kind::I8, 32) } else { (Kind::F32, 0) };
        let row = BufferKind::F32;
        let q8 = [BufferKind::F32, BufferKind::Q8, BufferKind::Q8x2][planes];
        let [norm, linear, swiglu, quantize] = [
            ["rms_norm", "linear", "swiglu", ""],
            ["rms_norm_q8", "linear_q8", "swiglu_q8", "quantize_q8"],
            ["rms_norm_q8x2", "linear_q8x2", "swiglu_q8x2", "quantize_q8x2"],
        ][planes];
        let widths = ((heads + 2 * kv_heads) * head_dim, heads * head_dim);
        let x = b.buffer("x", row, dim, false);
        let angles = b.buffer("angles", row, head_dim, false);
        let normed = b.buffer("normed", q8, dim, false);
        let qkv = b.buffer("qkv", row, widths.0, false);
        let q = b.buffer("q", row, widths.1, false);
        let mixed = b.buffer("mixed", row, widths.1, false);
        let mixed_q8 = b.buffer("mixed_q8", q8, widths.1, false);
        let gate_up = b.buffer("gate_up", row, 2 * hidden, false);
        let act = b.buffer("act", q8, hidden, false);
        let last = b.buffer("last", row, dim, true);
        let last_normed = b.buffer("last_normed", q8, dim, true);
        let raw = b.buffer("raw", row, self.shape.vocab, true);
        let logits = b.buffer("logits", row, self.shape.vocab, true);
        let none = Operand::None;
        let table = b.matrix("embedding", kind, group, dim, &mut self.embedding);
        b.op("embed", &[table, x], &[], &[1.5]);
        let inv_freq = b.vector("inv_freq", &self.inv_freq);
        b.op("rope_table", &[inv_freq, angles], &[0], &[1.0, 100.0, 0.0]);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let i = i as i64;
            let w = b.vector("attention_norm", &layer.attention_norm);
            b.op(norm, &[x, w, normed], &[], &[EPS]);
            let (w, bias) = (b.matrix("qkv", kind, group, dim, &mut layer.qkv), b.vector("bias", &layer.bias));
            b.op(linear, &[normed, w, bias, none, qkv], &[], &[1.0]);
            let q_norm = b.vector("q_norm", &layer.q_norm);
            let ints = [heads as i64, kv_heads as i64, head_dim as i64, i];
            b.op("rope_kv", &[qkv, angles, q_norm, none, q], &ints, &[EPS]);
            let ints = [heads as i64, kv_heads as i64, head_dim as i64, i, window as i64];
            b.op("attention", &[q, mixed], &ints, &[0.5]);
            let from = if planes > 0 { mixed_q8 } else { mixed };
            if planes > 0 {
                b.op(quantize, &[mixed, mixed_q8], &[], &[]);
            }
            let w = b.matrix("wo", kind, group, widths.1, &mut layer.wo);
            b.op(linear, &[from, w, none, x, x], &[], &[0.7]);
            let w = b.vector("ffn_norm", &layer.ffn_norm);
            b.op(norm, &[x, w, normed], &[], &[EPS]);
            let w = b.matrix("gate_up", kind, group, dim, &mut layer.gate_up);
            b.op(linear, &[normed, w, none, none, gate_up], &[], &[1.0]);
            b.op(swiglu, &[gate_up, act], &[], &[]);
            let w = b.matrix("down", kind, group, hidden, &mut layer.down);
            b.op(linear, &[act, w, none, x, x], &[], &[1.0]);
        }
        b.op("gather_rows", &[x, last], &[], &[]);
        let w = b.vector("norm", &self.norm);
        b.op(norm, &[last, w, last_normed], &[], &[EPS]);
        let w = b.matrix("head", kind, group, dim, &mut self.head);
        b.op(linear, &[last_normed, w, none, none, raw], &[], &[1.0]);
        b.op("scale", &[raw, logits], &[], &[0.5]);
        let Operand::Buffer(logits) = logits else { unreachable!("a buffer") };
        b.program.logits = logits;
    }

    /// The logits after each token, by plain loops in f32.
    pub fn reference(&self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let Shape { dim, hidden, heads, kv_heads, head_dim, window, .. } = self.shape;
        let mut past: Vec<Vec<(Vec<f32>, Vec<f32>)>> = vec![Vec::new(); self.layers.len()];
        let mut all = Vec::new();
        for (position, token) in tokens.iter().enumerate() {
            let mut x: Vec<f32> = self.embedding[*token as usize * dim..][..dim].iter().map(|v| 1.5 * v).collect();
            for (layer, past) in self.layers.iter().zip(&mut past) {
                let mut qkv = times(&layer.qkv, &norm(&x, &layer.attention_norm));
                qkv.iter_mut().zip(&layer.bias).for_each(|(value, bias)| *value += bias);
                let (q, kv) = qkv.split_at(heads * head_dim);
                let (k, v) = kv.split_at(kv_heads * head_dim);
                let q: Vec<f32> =
                    q.chunks(head_dim).flat_map(|q| self.rotate(&norm(q, &layer.q_norm), position)).collect();
                let k: Vec<f32> = k.chunks(head_dim).flat_map(|k| self.rotate(k, position)).collect();
                past.push((k, v.to_vec()));
                let first = if window > 0 { past.len().saturating_sub(window) } else { 0 };
                let mixed: Vec<f32> = q
                    .chunks(head_dim)
                    .enumerate()
                    .flat_map(|(h, q)| attend(q, &past[first..], h * kv_heads / heads * head_dim))
                    .collect();
                let out = times(&layer.wo, &mixed);
                x.iter_mut().zip(out).for_each(|(x, out)| *x += 0.7 * out);
                let gate_up = times(&layer.gate_up, &norm(&x, &layer.ffn_norm));
                let (gate, up) = gate_up.split_at(hidden);
                let act: Vec<f32> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                let out = times(&layer.down, &act);
                x.iter_mut().zip(out).for_each(|(x, out)| *x += out);
            }
            all.push(self.logits(&norm(&x, &self.norm)));
        }
        all
    }

    /// What the head makes of a hidden state.
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        times(&self.head, hidden).iter().map(|logit| 0.5 * logit).collect()
    }

    fn rotate(&self, x: &[f32], position: usize) -> Vec<f32> {
        let half = x.len() / 2;
        let at = |i: usize| {
            let (sin, cos) = (position as f32 * self.inv_freq[i % half]).sin_cos();
            if i < half { x[i] * cos - x[i + half] * sin } else { x[i] * cos + x[i - half] * sin }
        };
        (0..x.len()).map(at).collect()
    }
}

fn norm(x: &[f32], w: &[f32]) -> Vec<f32> {
    let mean = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
    x.iter().zip(w).map(|(x, w)| x / (mean + EPS).sqrt() * w).collect()
}

fn times(w: &[f32], x: &[f32]) -> Vec<f32> {
    w.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn attend(q: &[f32], past: &[(Vec<f32>, Vec<f32>)], at: usize) -> Vec<f32> {
    let score = |k: &[f32]| 0.5 * q.iter().zip(&k[at..]).map(|(q, k)| q * k).sum::<f32>();
    let scores: Vec<f32> = past.iter().map(|(k, _)| score(k)).collect();
    let most = scores.iter().fold(f32::NEG_INFINITY, |most, score| most.max(*score));
    let total: f32 = scores.iter().map(|score| (score - most).exp()).sum();
    let mean = |i: usize| past.iter().zip(&scores).map(|((_, v), s)| (s - most).exp() / total * v[at + i]).sum();
    (0..q.len()).map(mean).collect()
}
