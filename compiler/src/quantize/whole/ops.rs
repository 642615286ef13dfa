//! What a layer does between its products, and the way back: from how a loss changes with what comes out to how it changes with what goes in.

use tc_kernels::exp::exp;

use crate::linalg::{dot, sum_of, wide};

/// `x / sqrt(mean x² + eps) * gain` of each `gain.len()` numbers.
pub fn rms_norm(x: &[f32], gain: &[f32], eps: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(gain.len()) {
        let inverse = inverse_rms(row, eps);
        out.extend(row.iter().zip(gain).map(|(x, gain)| x * inverse * gain));
    }
    out
}

/// Adds to `dx`.
pub fn rms_norm_back(x: &[f32], gain: &[f32], eps: f32, dy: &[f32], dx: &mut [f32]) {
    let size = gain.len();
    for ((x, dy), dx) in x.chunks_exact(size).zip(dy.chunks_exact(size)).zip(dx.chunks_exact_mut(size)) {
        let inverse = inverse_rms(x, eps);
        let d_scaled: Vec<f32> = dy.iter().zip(gain).map(|(dy, gain)| dy * gain).collect();
        let shared = dot(x, &d_scaled) * inverse * inverse * inverse / size as f32;
        for (dx, (x, d_scaled)) in dx.iter_mut().zip(x.iter().zip(&d_scaled)) {
            *dx += inverse * d_scaled - shared * x;
        }
    }
}

fn inverse_rms(row: &[f32], eps: f32) -> f32 {
    let squares = sum_of(row, |x| x * x);
    (squares / row.len() as f32 + eps).sqrt().recip()
}

/// `silu(gate) * up`.
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    wide(
        #[inline(always)]
        || gate.iter().zip(up).map(|(gate, up)| gate * sigmoid(*gate) * up).collect(),
    )
}

/// What the gate changes, and what `up` does; `dy` is what their product does.
pub fn swiglu_back(gate: &[f32], up: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
    let mut changes = [vec![0.0; gate.len()], vec![0.0; up.len()]];
    let [d_gate, d_up] = &mut changes;
    wide(
        #[inline(always)]
        || {
            let read = gate.iter().zip(up).zip(dy);
            for ((d_gate, d_up), ((x, up), dy)) in d_gate.iter_mut().zip(d_up).zip(read) {
                let s = sigmoid(*x);
                *d_gate = dy * up * s * (1.0 + x * (1.0 - s));
                *d_up = dy * x * s;
            }
        },
    );
    changes
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The angles of rotary embeddings, a row for each position: their cosines, and their sines.
pub struct Angles {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Angles {
    pub fn new(frequencies: &[f32], magnitude: f32, positions: usize) -> Angles {
        let angle = |at: usize| (at / frequencies.len()) as f64 * f64::from(frequencies[at % frequencies.len()]);
        let all = 0..positions * frequencies.len();
        Angles {
            half: frequencies.len(),
            cos: all.clone().map(|at| magnitude * angle(at).cos() as f32).collect(),
            sin: all.map(|at| magnitude * angle(at).sin() as f32).collect(),
        }
    }

    /// Turns every head of rows of `width` numbers, a row for each position.
    pub fn turn(&self, x: &mut [f32], width: usize) {
        self.each(x, width, |a, b, cos, sin| (a * cos - b * sin, b * cos + a * sin));
    }

    /// The way back.
    pub fn turn_back(&self, dy: &mut [f32], width: usize) {
        self.each(dy, width, |a, b, cos, sin| (a * cos + b * sin, b * cos - a * sin));
    }

    fn each(&self, x: &mut [f32], width: usize, turned: impl Fn(f32, f32, f32, f32) -> (f32, f32)) {
        let angles = self.cos.chunks_exact(self.half).zip(self.sin.chunks_exact(self.half));
        for (row, (cos, sin)) in x.chunks_exact_mut(width).zip(angles) {
            for head in row.chunks_exact_mut(2 * self.half) {
                let (a, b) = head.split_at_mut(self.half);
                for ((a, b), (cos, sin)) in a.iter_mut().zip(b).zip(cos.iter().zip(sin)) {
                    (*a, *b) = turned(*a, *b, *cos, *sin);
                }
            }
        }
    }
}
