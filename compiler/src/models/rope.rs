//! Inverse frequencies of rotary embeddings, with their scalings. Formulas: `modeling_rope_utils.py` of transformers.

use std::f64::consts::PI;

use crate::config::{Rope, RopeScaling};

/// The constant's name; `$` keeps it apart from a checkpoint's tensors.
pub const INV_FREQ: &str = "$inv_freq";

/// `theta^(-2i/d)` for each pair `i` of a head of `d`, after scaling.
pub fn inverse_frequencies(rope: &Rope, head_dim: usize) -> Vec<f32> {
    let dim = head_dim as f64;
    let plain = (0..head_dim / 2).map(|i| rope.theta.powf(-2.0 * i as f64 / dim));
    let scaled = |i: usize, frequency: f64| match &rope.scaling {
        // Dynamic scaling depends on the length of the sequence; the kernel does it.
        RopeScaling::None | RopeScaling::Dynamic { .. } => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Factors(factors) => frequency / factors.get(i).map_or(1.0, |factor| f64::from(*factor)),
        RopeScaling::Llama3 { factor, low, high, original } => {
            llama3(frequency, [*factor, *low, *high, *original as f64])
        }
        RopeScaling::Yarn { factor, original, beta_fast, beta_slow, truncate, .. } => {
            let ramp = YarnRamp::new(rope.theta, dim, *original as f64, [*beta_fast, *beta_slow], *truncate);
            let kept = 1.0 - ramp.at(i as f64);
            frequency / factor * (1.0 - kept) + frequency * kept
        }
    };
    plain.enumerate().map(|(i, frequency)| scaled(i, frequency) as f32).collect()
}

/// Wavelengths that are long against the original context are stretched, short ones kept, and those between interpolated.
fn llama3(frequency: f64, [factor, low, high, original]: [f64; 4]) -> f64 {
    let turns = original * frequency / (2.0 * PI);
    if turns < low {
        frequency / factor
    } else if turns > high {
        frequency
    } else {
        let smooth = (turns - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

/// From 0 at the pair that makes `beta_fast` turns over the original context to 1 at the one that makes `beta_slow`.
struct YarnRamp {
    low: f64,
    high: f64,
}

impl YarnRamp {
    fn new(theta: f64, dim: f64, original: f64, betas: [f64; 2], truncate: bool) -> Self {
        let pair_of = |turns: f64| dim * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
        let [low, high] = betas.map(pair_of);
        let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(dim - 1.0));
        // As in the original: a ramp of no width would divide by zero.
        Self { low, high: if low == high { high + 0.001 } else { high } }
    }

    fn at(&self, pair: f64) -> f64 {
        ((pair - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: RopeScaling) -> Vec<f32> {
        inverse_frequencies(&Rope { theta: 10_000.0, scaling }, 8)
    }

    #[test]
    fn plain_and_divided() {
        assert_eq!(frequencies(RopeScaling::None), [1.0, 0.1, 0.01, 0.001]);
        assert_eq!(frequencies(RopeScaling::Linear { factor: 4.0 }), [0.25, 0.025, 0.0025, 0.00025]);
        assert_eq!(frequencies(RopeScaling::Factors(vec![1.0, 1.0, 2.0, 8.0])), [1.0, 0.1, 0.005, 0.000_125]);
    }

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        let scaled = frequencies(RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 1024 });
        assert_eq!(scaled[0], 1.0);
        assert_eq!(scaled[1], 0.1);
        // 1024 * 0.01 / 2 pi = 1.63 turns: between the two.
        assert!(scaled[2] > 0.01 / 8.0 && scaled[2] < 0.01);
        assert_eq!(scaled[3], 0.001 / 8.0);
    }

    #[test]
    fn yarn_goes_from_kept_to_divided() {
        let yarn = RopeScaling::Yarn {
            factor: 4.0,
            original: 1024,
            beta_fast: 32.0,
            beta_slow: 1.0,
            magnitude: 1.0,
            truncate: true,
        };
        let scaled = frequencies(yarn);
        assert_eq!(scaled[0], 1.0);
        assert!(scaled[1] < 0.1 && scaled[1] > 0.025);
        assert_eq!(scaled[3], 0.00025);
    }
}
