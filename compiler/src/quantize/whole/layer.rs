//! A layer that runs forwards and backwards, one window at a time.

use super::attention::{Attention, Qkv};
use super::ops::{Angles, rms_norm, rms_norm_back, swiglu, swiglu_back};
use crate::linalg::{Panels, Side, add_dense, add_packed};

/// The order of a layer's matrices.
pub const LINEARS: [&str; 7] = ["q", "k", "v", "o", "gate", "up", "down"];

pub struct Linear {
    /// Row after row.
    pub weights: Vec<f32>,
    pub cols: usize,
    pub bias: Option<Vec<f32>>,
    packed: Panels,
}

pub struct Layer<'a> {
    pub linears: [Linear; 7],
    pub attn_norm: Vec<f32>,
    pub ffn_norm: Vec<f32>,
    /// Of the heads of q and of k.
    pub head_norms: Option<[Vec<f32>; 2]>,
    pub attention: Attention,
    pub angles: &'a Angles,
    pub eps: f32,
    pub residual_multiplier: f32,
}

/// What a window was on its way through a layer.
pub struct Trace {
    attn_in: Vec<f32>,
    /// Before norms and rotation.
    plain_q: Vec<f32>,
    plain_k: Vec<f32>,
    qkv: Qkv,
    shares: Vec<f32>,
    mixed: Vec<f32>,
    o: Vec<f32>,
    middle: Vec<f32>,
    ffn_in: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    inner: Vec<f32>,
    down: Vec<f32>,
    pub out: Vec<f32>,
}

/// How a loss changes with what went into a layer, and with the outputs of each of its matrices.
pub struct Changes {
    pub input: Vec<f32>,
    pub outputs: [Vec<f32>; 7],
}

impl Linear {
    pub fn new(weights: Vec<f32>, cols: usize, bias: Option<Vec<f32>>) -> Linear {
        let packed = Panels::of(Side::rows(&weights, cols));
        Linear { weights, cols, bias, packed }
    }

    pub fn rows(&self) -> usize {
        self.weights.len() / self.cols
    }

    pub fn forward(&self, x: &[f32]) -> Vec<f32> {
        let (rows, tokens) = (self.rows(), x.len() / self.cols);
        let mut out = match &self.bias {
            Some(bias) => bias.repeat(tokens),
            None => vec![0.0; tokens * rows],
        };
        add_packed(&mut out, Side::rows(x, self.cols), &self.packed);
        out
    }

    /// How a loss changes with the weights.
    pub fn change(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let mut change = vec![0.0; self.weights.len()];
        add_dense(&mut change, Side::columns(dy, self.rows()), Side::columns(x, self.cols));
        change
    }

    /// How a loss changes with a factor of each row, from what they gave.
    pub fn row_changes(&self, y: &[f32], dy: &[f32]) -> Vec<f32> {
        let rows = self.rows();
        let mut changes = vec![0.0; rows];
        for (y, dy) in y.chunks_exact(rows).zip(dy.chunks_exact(rows)) {
            changes.iter_mut().zip(y.iter().zip(dy)).for_each(|(change, (y, dy))| *change += y * dy);
        }
        if let Some(bias) = &self.bias {
            for dy in dy.chunks_exact(rows) {
                changes.iter_mut().zip(bias.iter().zip(dy)).for_each(|(change, (bias, dy))| *change -= bias * dy);
            }
        }
        changes
    }

    /// Adds to `dx`.
    fn backward(&self, dy: &[f32], dx: &mut [f32]) {
        add_dense(dx, Side::rows(dy, self.rows()), Side::columns(&self.weights, self.cols));
    }
}

impl Layer<'_> {
    pub fn forward(&self, x: &[f32]) -> Trace {
        let [q, k, v, o, gate, up, down] = &self.linears;
        let attn_in = rms_norm(x, &self.attn_norm, self.eps);
        let (plain_q, plain_k) = (q.forward(&attn_in), k.forward(&attn_in));
        let turned = |plain: &Vec<f32>, which: usize, linear: &Linear| {
            let mut turned = match &self.head_norms {
                Some(norms) => rms_norm(plain, &norms[which], self.eps),
                None => plain.clone(),
            };
            self.angles.turn(&mut turned, linear.rows());
            turned
        };
        let qkv = Qkv { q: turned(&plain_q, 0, q), k: turned(&plain_k, 1, k), v: v.forward(&attn_in) };
        let (mixed, shares) = self.attention.forward(&qkv);
        let o = o.forward(&mixed);
        let middle = self.residual(x, &o);
        let ffn_in = rms_norm(&middle, &self.ffn_norm, self.eps);
        let (gate, up) = (gate.forward(&ffn_in), up.forward(&ffn_in));
        let inner = swiglu(&gate, &up);
        let down = down.forward(&inner);
        let out = self.residual(&middle, &down);
        Trace { attn_in, plain_q, plain_k, qkv, shares, mixed, o, middle, ffn_in, gate, up, inner, down, out }
    }

    /// `x` is what `trace` began with.
    pub fn backward(&self, x: &[f32], trace: &Trace, d_out: &[f32]) -> Changes {
        let [q, k, v, o, gate, up, down] = &self.linears;
        let scaled = |values: &[f32]| -> Vec<f32> { values.iter().map(|d| d * self.residual_multiplier).collect() };
        let d_down = scaled(d_out);
        let mut d_inner = vec![0.0; trace.inner.len()];
        down.backward(&d_down, &mut d_inner);
        let [d_gate, d_up] = swiglu_back(&trace.gate, &trace.up, &d_inner);
        let mut d_ffn_in = vec![0.0; trace.ffn_in.len()];
        gate.backward(&d_gate, &mut d_ffn_in);
        up.backward(&d_up, &mut d_ffn_in);
        let mut d_x = d_out.to_vec();
        rms_norm_back(&trace.middle, &self.ffn_norm, self.eps, &d_ffn_in, &mut d_x);

        let d_o = scaled(&d_x);
        let mut d_mixed = vec![0.0; trace.mixed.len()];
        o.backward(&d_o, &mut d_mixed);
        let turned = self.attention.backward(&trace.qkv, &trace.shares, &d_mixed);
        let d_q = self.turned_back(turned.q, &trace.plain_q, 0);
        let d_k = self.turned_back(turned.k, &trace.plain_k, 1);
        let mut d_attn_in = vec![0.0; trace.attn_in.len()];
        for (linear, d) in [(q, &d_q), (k, &d_k), (v, &turned.v)] {
            linear.backward(d, &mut d_attn_in);
        }
        rms_norm_back(x, &self.attn_norm, self.eps, &d_attn_in, &mut d_x);
        Changes { input: d_x, outputs: [d_q, d_k, turned.v, d_o, d_gate, d_up, d_down] }
    }

    /// To before the rotation and the norm of q or k.
    fn turned_back(&self, mut d: Vec<f32>, plain: &[f32], which: usize) -> Vec<f32> {
        self.angles.turn_back(&mut d, self.linears[which].rows());
        match &self.head_norms {
            None => d,
            Some(norms) => {
                let mut d_plain = vec![0.0; d.len()];
                rms_norm_back(plain, &norms[which], self.eps, &d, &mut d_plain);
                d_plain
            }
        }
    }

    fn residual(&self, x: &[f32], y: &[f32]) -> Vec<f32> {
        x.iter().zip(y).map(|(x, y)| x + self.residual_multiplier * y).collect()
    }
}

impl Changes {
    /// Of the window.
    pub fn positions(&self, layer: &Layer) -> usize {
        self.input.len() / layer.attn_norm.len()
    }
}

impl Trace {
    /// What each of the matrices read.
    pub fn inputs(&self) -> [&[f32]; 7] {
        let (attention, ffn) = (&*self.attn_in, &*self.ffn_in);
        [attention, attention, attention, &self.mixed, ffn, ffn, &self.inner]
    }

    /// What each of them gave, before norms and rotation.
    pub fn outputs(&self) -> [&[f32]; 7] {
        [&self.plain_q, &self.plain_k, &self.qkv.v, &self.o, &self.gate, &self.up, &self.down]
    }
}
