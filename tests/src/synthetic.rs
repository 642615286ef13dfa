//! The generator both sides derive weights from; its twin is `tests/synthetic.py`, and a shared check vector holds them together.
//!
//! For the tensor `name` (Hugging Face name, UTF-8), row-major element index `i` and a seed, all in wrapping 64-bit integers:
//!
//! ```text
//! state = (fnv1a64(name) ^ (seed * 0x9E3779B97F4A7C15)) + i
//! z     = splitmix64(state)              the output function, after adding 0x9E3779B97F4A7C15 to its argument
//! unit  = (z >> 40) * 2^-23 - 1          in [-1, 1), exact in f32
//! value = 1 + unit * 2^-2                for a norm's gain       (the name ends in "norm.weight")
//!         unit * 2^-2                    for a bias              (the name ends in ".bias")
//!         unit                           for the token embedding (the name ends in "embed_tokens.weight")
//!         unit * 2^(1 - log2(cols) / 2)  for a linear layer, the exponent in integers (both divisions rounded down)
//! ```
//!
//! Every value is exact in f32. The linear layers' scale keeps activations near 1 and logits lively at any width.

const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

fn splitmix64(state: u64) -> u64 {
    let z = state.wrapping_add(GOLDEN_RATIO);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The values of the tensor `name`, in row-major order.
pub fn tensor(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    let (offset, scale) = offset_and_scale(name, shape);
    let start = fnv1a64(name) ^ seed.wrapping_mul(GOLDEN_RATIO);
    let count = shape.iter().product::<usize>() as u64;
    (0..count)
        .map(|i| splitmix64(start.wrapping_add(i)) >> 40)
        .map(|z| offset + (z as f32 * 2f32.powi(-23) - 1.0) * scale)
        .collect()
}

fn offset_and_scale(name: &str, shape: &[usize]) -> (f32, f32) {
    if name.ends_with("norm.weight") {
        (1.0, 0.25)
    } else if name.ends_with(".bias") {
        (0.0, 0.25)
    } else if name.ends_with("embed_tokens.weight") {
        (0.0, 1.0)
    } else {
        let cols = shape.last().copied().unwrap_or(1).max(1);
        (0.0, 2f32.powi(1 - (cols.ilog2() / 2) as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Printed by: python -c "import synthetic; print(synthetic.tensor(NAME, SHAPE, 7).ravel()[-3:])"
    #[test]
    fn agrees_with_the_python_generator() {
        for (name, shape, last) in [
            ("model.embed_tokens.weight", &[40, 16][..], [-0.3310535, 0.2600844, -0.3099054]),
            ("model.layers.0.self_attn.q_proj.weight", &[32, 64][..], [0.1774146, -0.20418799, -0.17495683]),
            ("model.layers.1.mlp.down_proj.weight", &[64, 172][..], [0.18808931, 0.23672083, -0.057039946]),
            ("model.layers.1.self_attn.v_proj.bias", &[48][..], [0.11495447, 0.120924115, -0.15662578]),
            ("model.norm.weight", &[16][..], [0.77607155, 0.8274176, 1.0130274]),
        ] {
            let values = tensor(name, shape, 7);
            assert_eq!(values.len(), shape.iter().product::<usize>());
            assert_eq!(values[values.len() - 3..], last, "{name}");
        }
    }
}
